//! How a program names a store and says what its bytes are.

use crate::{
    link::Data,
    serde::{self, Serde, ValueAndHeaders},
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
    pub(crate) history: Option<Duration>,
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
            history: None,
            retention: None,
        }
    }

    /// The store's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A versioned store (KIP-889), which also knows what its rows were, as far back as so long
    /// behind the greatest time put: for [`table`](crate::dsl::StreamsBuilder::table),
    /// [`to_table`](crate::dsl::KStream::to_table),
    /// [`materialize`](crate::dsl::KTable::materialize) and
    /// [`transform_values`](crate::dsl::KTable::transform_values).
    ///
    /// Updates of such a table are applied by their times instead of their offsets; those that are
    /// older than the history are dropped and counted. A stream that is joined with it meets the
    /// row that its key had at the record's time. What joins or groups tables takes no notice of
    /// updates that come out of order.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    /// use std::time::Duration;
    ///
    /// static RATES: Topic<String, u64> = Topic::new("rates", utf8(), u64_be());
    /// static SALES: Topic<String, u64> = Topic::new("sales", utf8(), u64_be());
    /// static WORTH: Topic<String, u64> = Topic::new("worth", utf8(), u64_be());
    ///
    /// let builder = StreamsBuilder::new();
    /// let day = Duration::from_secs(86_400);
    /// let rates = builder.table(&RATES, Materialized::from("rates").versioned(day));
    /// builder.stream(&SALES).join(rates, |sale, rate| sale * rate).to(&WORTH);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// let euro = || "euro".to_owned();
    /// driver.pipe(&RATES, euro(), 2, 1_000)?;
    /// driver.pipe(&RATES, euro(), 3, 2_000)?;
    /// driver.pipe(&SALES, euro(), 10, 1_500)?;
    /// assert_eq!(driver.read_key_values(&WORTH)?, [(euro(), Some(20))]);
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[must_use]
    pub fn versioned(self, history_retention: Duration) -> Self {
        Self {
            history: Some(history_retention),
            ..self
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

    /// A header-aware store (KIP-1271): the same, of values with headers, which lie beside the
    /// values in its rows and in its changelog's records. Kafka's `..WithHeaders` stores, and
    /// `dsl.store.format=HEADERS` for one store; see [`with_headers`](serde::with_headers()).
    ///
    /// A store that was there before without headers goes on: its rows have none until they are
    /// written anew. So does one that is to have no headers any more. Who asks for its rows without
    /// headers gets the values alone. Stores of all shapes can be header-aware. What waits in a
    /// buffer, of a `suppress` or a join, has the headers in front of its values and so another
    /// format, with which the program does not go on; a global table is read again.
    ///
    /// To be called while a program is declared. Who asks for rows again and again names the serde
    /// itself, `Materialized::with("rows", utf8(), with_headers::<U64Be>())`.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    ///
    /// static VISITS: Topic<String, u64> = Topic::new("visits", utf8(), u64_be());
    ///
    /// /// Keeps the last visit of each visitor, with the headers of its record.
    /// struct Keep(StoreRef<KeyValueStore<String, ValueAndHeaders<u64>>>);
    ///
    /// impl Processor<String, u64> for Keep {
    ///     type Key = ();
    ///     type Value = ();
    ///
    ///     fn process(
    ///         &mut self,
    ///         visit: Record<String, u64>,
    ///         ctx: &mut ProcessorContext<'_, (), ()>,
    ///     ) -> ProcessResult {
    ///         let (value, headers) = (visit.value, visit.headers);
    ///         Ok(ctx.store(self.0).put(&visit.key, ValueAndHeaders { value, headers })?)
    ///     }
    /// }
    ///
    /// let builder = StreamsBuilder::new();
    /// let last = builder.store(Materialized::<String, u64>::from("last-visits").with_headers());
    /// let _ = builder.stream(&VISITS).process(last, Keep);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// let mut visit = Record::new("ann".to_owned(), 3, 1_000);
    /// visit.headers.push("trace", Some(b"4bf92f".to_vec()));
    /// driver.pipe_record(&VISITS, &visit)?;
    /// let row = driver.store(last)?.get(&visit.key)?.cloned().unwrap_or_default();
    /// assert_eq!((row.value, row.headers), (3, visit.headers));
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[must_use]
    pub fn with_headers(self) -> Materialized<K, ValueAndHeaders<V>> {
        Materialized {
            name: self.name,
            key: self.key,
            value: self.value.with_headers(),
            logging: self.logging,
            history: self.history,
            retention: self.retention,
        }
    }

    /// The same store without a changelog: cheaper, and lost with its disk.
    ///
    /// A store that was logged cannot go on without, nor the other way round: the program is
    /// refused at start until its state is reset.
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
