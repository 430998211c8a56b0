//! What a stream-stream join is called and how it writes things down.

use crate::{
    serde::Serde,
    store::{Storable, default_key, default_value},
    topology::Logging,
};

/// A join's name and serdes; a plain name is enough where the types are [`Storable`]. Kafka's
/// `StreamJoined`.
///
/// The name is that of the stores, `<name>-this-join-store`, `<name>-other-join-store` and, for
/// left and outer joins, `<name>-outer-shared-join-store`, and of the repartition topics
/// `<name>-left` and `<name>-right` where keys were changed before.
pub struct StreamJoined<K: 'static, L: 'static, R: 'static> {
    pub(crate) name: String,
    pub(crate) key: Serde<K>,
    pub(crate) left: Serde<L>,
    pub(crate) right: Serde<R>,
    pub(crate) logging: Logging,
}

impl<K, L, R> StreamJoined<K, L, R> {
    /// A join with this name and these serdes.
    pub fn with(name: impl Into<String>, key: Serde<K>, left: Serde<L>, right: Serde<R>) -> Self {
        Self {
            name: name.into(),
            key,
            left,
            right,
            logging: Logging::Changelog,
        }
    }

    /// The same join without changelogs: cheaper, and what waits to be joined is lost with the
    /// disk.
    #[must_use]
    pub fn with_logging_disabled(self) -> Self {
        Self {
            logging: Logging::Disabled,
            ..self
        }
    }
}

impl<K: Storable, L: Storable, R: Storable> From<&str> for StreamJoined<K, L, R> {
    fn from(name: &str) -> Self {
        Self::with(name, default_key(), default_value(), default_value())
    }
}
