//! How a topic is written, where its serdes are not all there is to say.

use super::{
    Fun, Partitions,
    partitioned::{Partitioner, partitioner},
};
use crate::{link::Data, task::ErrorHandler, topic::Topic};

/// How a sink writes its topic; a plain `&Topic` is enough where the defaults do.
///
/// ```
/// use millstream_core::prelude::*;
///
/// static TEXTS: Topic<String, String> = Topic::new("texts", utf8(), utf8());
/// static SHORT: Topic<String, String> = Topic::new("short", utf8(), utf8());
///
/// let builder = StreamsBuilder::new();
/// // The topic's `max.message.bytes` is 1000: what is larger is left out, and the rest goes on.
/// let short = Produced::of(&SHORT).record_bytes_max(1000).on_error(ErrorPolicy::Skip);
/// builder.stream(&TEXTS).to(short);
///
/// let mut driver = TopologyTestDriver::new(builder.build()?)?;
/// driver.pipe(&TEXTS, "a".to_owned(), "x".repeat(2000), 0)?;
/// driver.pipe(&TEXTS, "a".to_owned(), "x".to_owned(), 1)?;
/// assert_eq!(driver.read(&SHORT)?.len(), 1);
/// assert_eq!(driver.dropped().production, 1);
/// # Ok::<(), millstream_core::Error>(())
/// ```
pub struct Produced<K: 'static, V: 'static> {
    pub(crate) topic: Topic<K, V>,
    pub(crate) settings: Settings,
    pub(crate) partitioner: Option<Partitioner<K, V>>,
}

/// What of it is not about types.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    pub(crate) name: Option<String>,
    pub(crate) handler: Option<ErrorHandler>,
    pub(crate) record_bytes_max: Option<usize>,
}

impl<K, V> Produced<K, V> {
    /// Writes this topic.
    pub fn of(topic: &Topic<K, V>) -> Self {
        Self {
            topic: *topic,
            settings: Settings::default(),
            partitioner: None,
        }
    }

    /// Says what the sink is called (Kafka's `Produced.as`) in descriptions, errors and dead
    /// letters, as [`KStream::named`](super::KStream::named) does of an operator. Without it a sink
    /// is called after its topic, and those behind the first sink of a topic are numbered.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    ///
    /// static TEXTS: Topic<String, String> = Topic::new("texts", utf8(), utf8());
    /// static ALL: Topic<String, String> = Topic::new("all", utf8(), utf8());
    ///
    /// let builder = StreamsBuilder::new();
    /// let texts = builder.stream(&TEXTS);
    /// texts.to(&ALL);
    /// texts.map_values(|text| text.to_uppercase()).to(Produced::of(&ALL).named("loud"));
    /// let topology = builder.build()?;
    /// let names: Vec<_> = topology.nodes().iter().map(|node| node.name.as_str()).collect();
    /// assert_eq!(names, ["source-texts", "sink-all", "map-values-after-source-texts", "loud"]);
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.settings.name = Some(name.into());
        self
    }

    /// What becomes of records that cannot be written here; overrides what their source says and
    /// `production.exception.handler`. It may be code ([`ErrorHandler`]).
    #[must_use]
    pub fn on_error(mut self, answer: impl Into<ErrorHandler>) -> Self {
        self.settings.handler = Some(answer.into());
        self
    }

    /// How large a record may be, where the topic's `max.message.bytes` is less than
    /// `max.request.size`, as [`wire_size`](crate::record::wire_size) reckons: what is larger is
    /// refused here, since a broker that refuses it drops the transaction. Of several sinks of one
    /// topic in one task the least limit holds.
    #[must_use]
    pub fn record_bytes_max(mut self, bytes: usize) -> Self {
        self.settings.record_bytes_max = Some(bytes);
        self
    }
}

impl<K: Data, V: Data> Produced<K, V> {
    /// Chooses the partition of each record, given its key, its value (`None` where a table's row
    /// is deleted), and how many partitions the topic has: one (`u32`), the one of the key (`None`
    /// of an `Option<u32>`), or several (`Vec<u32>`).
    ///
    /// A record for a partition that the topic does not have is refused. Partitions that are added
    /// to a topic are seen by tasks that start after that; the test driver's topics have one. What
    /// reads the topic by key, as a group or a join does, must agree with the partitioner on where
    /// a key is.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    ///
    /// static ORDERS: Topic<String, u64> = Topic::new("orders", utf8(), u64_be());
    /// static BY_COUNTRY: Topic<String, u64> = Topic::new("by-country", utf8(), u64_be());
    ///
    /// let builder = StreamsBuilder::new();
    /// let orders = Produced::of(&BY_COUNTRY).with_partitioner(|key: &String, _, partitions| {
    ///     // All of a country lie together, whatever the number behind it.
    ///     let country = key.split('-').next()?;
    ///     Some(country.bytes().map(u32::from).sum::<u32>() % partitions)
    /// });
    /// builder.stream(&ORDERS).to(orders);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// driver.pipe(&ORDERS, "fr-7".to_owned(), 70, 0)?;
    /// assert_eq!(driver.read(&BY_COUNTRY)?.len(), 1);
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
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

impl<K, V> From<&Topic<K, V>> for Produced<K, V> {
    fn from(topic: &Topic<K, V>) -> Self {
        Self::of(topic)
    }
}

impl<K, V> Clone for Produced<K, V> {
    fn clone(&self) -> Self {
        Self {
            topic: self.topic,
            settings: self.settings.clone(),
            partitioner: self.partitioner.clone(),
        }
    }
}
