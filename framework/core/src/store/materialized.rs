//! How a program names a store and says what its bytes are.

use crate::{
    link::Data,
    serde::{self, Serde},
    topology::Logging,
};
use ::serde::{Serialize, de::DeserializeOwned};
use std::{any::Any, time::Duration};

/// What can be stored without naming a serde: anything serde can write and read back.
///
/// Text, numbers and raw bytes get their own plain formats, everything else bincode.
pub trait Storable: Data + Serialize + DeserializeOwned {}
impl<T: Data + Serialize + DeserializeOwned> Storable for T {}

/// A store's name, serdes and settings; a plain name is enough where the types are [`Storable`].
pub struct Materialized<K: 'static, V: 'static> {
    pub(crate) name: String,
    pub(crate) key: Serde<K>,
    pub(crate) value: Serde<V>,
    pub(crate) logging: Logging,
    pub(crate) retention: Option<Duration>,
}

impl<K, V> Materialized<K, V> {
    /// A store with these serdes.
    pub fn with(name: impl Into<String>, key: Serde<K>, value: Serde<V>) -> Self {
        Self {
            name: name.into(),
            key,
            value,
            logging: Logging::Changelog,
            retention: None,
        }
    }

    /// The same store, which keeps windows for at least so long after they began, or sessions after
    /// they ended: for those who look at them later. Only stores of windows have a retention; it is
    /// what the windows need themselves if nothing is said, and a mistake if it is less.
    #[must_use]
    pub fn with_retention(self, retention: Duration) -> Self {
        Self {
            retention: Some(retention),
            ..self
        }
    }

    /// The same store without a changelog: cheaper, and lost with its disk.
    #[must_use]
    pub fn with_logging_disabled(self) -> Self {
        Self {
            logging: Logging::Disabled,
            ..self
        }
    }
}

impl<K: Storable, V: Storable> From<&str> for Materialized<K, V> {
    fn from(name: &str) -> Self {
        Self::with(name, default_key(), default_value())
    }
}

/// The default serde of keys: byte order equals the order of the values for text and numbers, and
/// windows of equal keys follow their order in time.
pub(crate) fn default_key<T: Storable>() -> Serde<T> {
    choose(&[
        &serde::utf8(),
        &serde::bytes(),
        &serde::u64_be(),
        &serde::u32_be(),
        &serde::ordered_i64(),
        &serde::session_windowed::<serde::Utf8>(),
        &serde::session_windowed::<serde::Bytes>(),
        &serde::session_windowed::<serde::U64Be>(),
        &serde::session_windowed::<serde::U32Be>(),
        &serde::session_windowed::<serde::OrderedI64>(),
    ])
}

/// The default serde of values: Kafka's own for text and numbers.
pub(crate) fn default_value<T: Storable>() -> Serde<T> {
    choose(&[
        &serde::utf8(),
        &serde::bytes(),
        &serde::u64_be(),
        &serde::u32_be(),
        &serde::i64_be(),
        &serde::i32_be(),
        &serde::f64_be(),
    ])
}

/// The candidate whose type is `T`, else bincode. Decided once per program, not per record.
fn choose<T: Storable>(candidates: &[&dyn Any]) -> Serde<T> {
    let found = candidates
        .iter()
        .find_map(|serde| serde.downcast_ref::<Serde<T>>());
    found.copied().unwrap_or_else(serde::bincode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_types_get_plain_formats() {
        assert_eq!(
            default_key::<String>().codec().name(),
            serde::utf8().codec().name()
        );
        assert_eq!(
            default_key::<i64>().codec().name(),
            serde::ordered_i64().codec().name()
        );
        assert_eq!(
            default_value::<i64>().codec().name(),
            serde::i64_be().codec().name()
        );
        let pair = default_value::<(String, u8)>().codec().name();
        assert_eq!(pair, serde::bincode::<(String, u8)>().codec().name());
    }
}
