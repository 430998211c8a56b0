//! The config values that DSL methods take where Kafka Streams has overloads.

use super::{
    Fun, Partitions, TimestampExtractor,
    partitioned::{Partitioner, partitioner},
};
use crate::{
    link::Data,
    serde::Serde,
    store::Storable,
    store::{default_key, default_value},
    task::{ErrorHandler, OffsetReset},
    topic::Topic,
};

/// How a source reads its topic; a plain `&Topic` is enough where the defaults do.
pub struct Consumed<K: 'static, V: 'static> {
    pub(crate) topic: Topic<K, V>,
    pub(crate) handler: Option<ErrorHandler>,
    pub(crate) times: Option<TimestampExtractor<K, V>>,
    pub(crate) reset: Option<OffsetReset>,
}

impl<K, V> Consumed<K, V> {
    /// Reads this topic.
    pub fn of(topic: &Topic<K, V>) -> Self {
        Self {
            topic: *topic,
            handler: None,
            times: None,
            reset: None,
        }
    }

    /// What time the records have, in place of the one they have on the log. There is no
    /// `default.timestamp.extractor` for all sources: each says so itself. A topic of which the
    /// times are extracted is read once only.
    #[must_use]
    pub fn with_timestamp(self, extractor: TimestampExtractor<K, V>) -> Self {
        Self {
            times: Some(extractor),
            ..self
        }
    }

    /// Where to begin in a partition of which no place was committed; overrides
    /// `auto.offset.reset`. A topic that is read in several places of the program begins in one.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    ///
    /// static ALARMS: Topic<String, String> = Topic::new("alarms", utf8(), utf8());
    /// static CALLS: Topic<String, String> = Topic::new("calls", utf8(), utf8());
    ///
    /// let builder = StreamsBuilder::new();
    /// // Nobody is called for alarms from before the program was there.
    /// let alarms = Consumed::of(&ALARMS).with_offset_reset(OffsetReset::Latest);
    /// builder.stream(alarms).to(&CALLS);
    ///
    /// // In the test driver all comes after the program has started.
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// driver.pipe(&ALARMS, "cellar".to_owned(), "smoke".to_owned(), 0)?;
    /// let calls = driver.read_key_values(&CALLS)?;
    /// assert_eq!(calls, [("cellar".to_owned(), Some("smoke".to_owned()))]);
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[must_use]
    pub fn with_offset_reset(self, reset: OffsetReset) -> Self {
        Self {
            reset: Some(reset),
            ..self
        }
    }

    /// What becomes of this source's bad records: of those that cannot be decoded, and of those
    /// that an operator or a sink refuses which has no policy of its own. For this source it is in
    /// place of all three of the program's, `deserialization.exception.handler`,
    /// `processing.exception.handler` and `production.exception.handler`. It is an
    /// [`ErrorPolicy`](crate::task::ErrorPolicy), or code that says of each which one
    /// ([`ErrorHandler`]).
    #[must_use]
    pub fn on_error(self, answer: impl Into<ErrorHandler>) -> Self {
        Self {
            handler: Some(answer.into()),
            ..self
        }
    }
}

impl<K, V> From<&Topic<K, V>> for Consumed<K, V> {
    fn from(topic: &Topic<K, V>) -> Self {
        Self::of(topic)
    }
}

/// The serdes of a repartition topic in front of a group, and its name.
pub struct Grouped<K: 'static, V: 'static> {
    pub(crate) key: Serde<K>,
    pub(crate) value: Serde<V>,
    pub(crate) name: Option<&'static str>,
}

impl<K, V> Grouped<K, V> {
    /// Writes keys and values so.
    pub fn with(key: Serde<K>, value: Serde<V>) -> Self {
        let name = None;
        Self { key, value, name }
    }

    /// Names the repartition topic, should there have to be one,
    /// `<application.id>-<name>-repartition`. Without this it has the name of the store behind the
    /// group.
    #[must_use]
    pub fn named(self, name: &'static str) -> Self {
        let name = Some(name);
        Self { name, ..self }
    }

    /// The repartition topic's name where the store has this one.
    pub(crate) fn name_or(self, store: &str) -> &str {
        self.name.unwrap_or(store)
    }
}

impl<K: Storable, V: Storable> Grouped<K, V> {
    pub(crate) fn by_default() -> Self {
        Self::with(default_key(), default_value())
    }
}

impl<K, V> Clone for Grouped<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K, V> Copy for Grouped<K, V> {}

/// A repartition topic: its name, serdes and number of partitions.
pub struct Repartitioned<K: 'static, V: 'static> {
    pub(crate) name: String,
    pub(crate) serdes: Grouped<K, V>,
    pub(crate) partitions: Option<u32>,
    pub(crate) partitioner: Option<Partitioner<K, V>>,
}

impl<K, V> Repartitioned<K, V> {
    /// A topic `<application.id>-<name>-repartition` with these serdes.
    pub fn with(name: impl Into<String>, key: Serde<K>, value: Serde<V>) -> Self {
        Self {
            name: name.into(),
            serdes: Grouped::with(key, value),
            partitions: None,
            partitioner: None,
        }
    }

    /// How many partitions, where the largest topic upstream should not decide it.
    #[must_use]
    pub fn partitions(self, partitions: u32) -> Self {
        Self {
            partitions: Some(partitions),
            ..self
        }
    }
}

impl<K: Data, V: Data> Repartitioned<K, V> {
    /// Chooses the partition of each record, as [`Produced::with_partitioner`] does. Records that
    /// are to meet, by their keys or in a join, must be sent to the same partition.
    ///
    /// [`Produced::with_partitioner`]: super::Produced::with_partitioner
    #[must_use]
    pub fn with_partitioner<P: Into<Partitions>>(
        self,
        choose: impl Fn(&K, Option<&V>, u32) -> P + Fun,
    ) -> Self {
        Self {
            partitioner: Some(partitioner(choose)),
            ..self
        }
    }
}

impl<K: Storable, V: Storable> From<&str> for Repartitioned<K, V> {
    fn from(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            serdes: Grouped::by_default(),
            partitions: None,
            partitioner: None,
        }
    }
}
