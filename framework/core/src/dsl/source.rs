//! Sources: from a topic's bytes to typed records with a time.

use super::{Consumed, Fun, KStream, StreamsBuilder, TimestampExtractor, stream};
use crate::{
    error::{Error, Result},
    link::{Data, Linker, RawPush},
    pack::is_pack,
    record::{Offset, RawRecord, Record},
    serde::Serde,
    task::{Extractor, Given, TaskContext},
    topology::{NodeId, NodeKind, TopicName, formats::Role},
};
use std::{cell::RefCell, panic::Location, rc::Rc, sync::Arc};

/// How a source reads its topic.
pub(crate) struct Reading<K: 'static, V: 'static> {
    pub(crate) kind: NodeKind,
    pub(crate) key: Serde<K>,
    /// Whether records without a key are wanted, as those of tables never are; others are dropped
    /// and counted.
    pub(crate) null_keys: bool,
    pub(crate) times: Option<TimestampExtractor<K, V>>,
}

/// The record that was decoded for its time and is still to be processed.
type Ahead<K, V> = Rc<RefCell<Option<(Offset, K, V)>>>;

impl StreamsBuilder {
    /// Reads several topics as one stream. Between the topics there is no order but that of the
    /// records' times, as between any inputs of a task.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    ///
    /// static SHOP: Topic<String, u64> = Topic::new("shop", utf8(), u64_be());
    /// static WEB: Topic<String, u64> = Topic::new("web", utf8(), u64_be());
    /// static SOLD: Topic<String, u64> = Topic::new("sold", utf8(), u64_be());
    ///
    /// let builder = StreamsBuilder::new();
    /// builder.streams([&SHOP, &WEB]).group_by_key().count("sold").to(&SOLD);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// driver.pipe(&SHOP, "tea".to_owned(), 1, 0)?;
    /// driver.pipe(&WEB, "tea".to_owned(), 1, 0)?;
    /// assert_eq!(driver.read_key_values(&SOLD)?.last(), Some(&("tea".to_owned(), Some(2))));
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[track_caller]
    #[expect(clippy::expect_used, reason = "N is above 0")]
    pub fn streams<K: Data, V: Data, C: Into<Consumed<K, V>>, const N: usize>(
        &self,
        topics: [C; N],
    ) -> KStream<'_, K, V> {
        const { assert!(N > 0, "a stream reads at least one topic") };
        let mut merged: Option<KStream<'_, K, V>> = None;
        for topic in topics {
            let stream = self.stream(topic);
            merged = Some(match merged {
                Some(before) => before.merge(stream),
                None => stream,
            });
        }
        merged.expect("there is at least one topic")
    }

    /// Reads all topics whose names match a pattern as one stream: the topic's name is a regular
    /// expression, which must match from end to end. Kafka Streams' `stream(Pattern)`.
    ///
    /// Which topics those are is asked of the log when the program starts; one that appears later
    /// is taken up by the next start of all its instances. Where a place was committed in a topic,
    /// it goes on from there; another begins where [`Consumed::with_offset_reset`] or
    /// `auto.offset.reset` says, so from the earliest record on nothing is lost. There are as many
    /// tasks as the largest of the topics has partitions, and none while no topic matches. A
    /// program with state keeps the number of partitions that its changelogs and repartition topics
    /// were made with: it does not start on topics that would need another.
    ///
    /// The program's own changelogs and repartition topics match no pattern, and neither do topics
    /// that begin with `__`. A topic that two patterns match, or a pattern and another source, is
    /// an error. Look-around and references backward, which Java has, are none of the expressions.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    ///
    /// static SALES: Topic<String, u64> = Topic::new("sales-.*", utf8(), u64_be());
    /// static OSLO: Topic<String, u64> = Topic::new("sales-oslo", utf8(), u64_be());
    /// static TOKYO: Topic<String, u64> = Topic::new("sales-tokyo", utf8(), u64_be());
    /// static SOLD: Topic<String, u64> = Topic::new("sold", utf8(), u64_be());
    ///
    /// let builder = StreamsBuilder::new();
    /// builder.stream_matching(&SALES).group_by_key().count("sold").to(&SOLD);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// driver.pipe(&OSLO, "tea".to_owned(), 1, 0)?;
    /// driver.pipe(&TOKYO, "tea".to_owned(), 1, 0)?;
    /// assert_eq!(driver.read_key_values(&SOLD)?.last(), Some(&("tea".to_owned(), Some(2))));
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[track_caller]
    pub fn stream_matching<K: Data, V: Data>(
        &self,
        topics: impl Into<Consumed<K, V>>,
    ) -> KStream<'_, K, V> {
        let consumed = topics.into();
        let pattern = TopicName::Pattern(consumed.topic.name.to_owned());
        self.read_events(pattern, consumed)
    }

    /// A source of events, of a topic or of several.
    #[track_caller]
    pub(super) fn read_events<K: Data, V: Data>(
        &self,
        name: TopicName,
        consumed: Consumed<K, V>,
    ) -> KStream<'_, K, V> {
        let Consumed {
            topic,
            handler,
            times,
            reset,
        } = consumed;
        self.add_format(&name, (topic.key, topic.value), Role::Stream);
        let kind = NodeKind::Source {
            topic: name,
            handler,
            reset,
        };
        let reading = Reading {
            kind,
            key: topic.key,
            null_keys: true,
            times,
        };
        let value = topic.value.apart();
        self.read(reading, move |raw| value.decode(raw.value, raw.headers))
    }

    /// A source of any kind.
    #[track_caller]
    pub(crate) fn read<K: Data, V: Data>(
        &self,
        reading: Reading<K, V>,
        value: impl Fn(RawRecord<'_>) -> Result<V> + Fun,
    ) -> KStream<'_, K, V> {
        let Reading {
            kind,
            key,
            null_keys,
            times,
        } = reading;
        let NodeKind::Source { topic, .. } = kind.clone() else {
            return stream::handle(self, NodeId(0), None);
        };
        self.add_key(&topic, key);
        if times.is_some() {
            self.extracts_times(&topic, Location::caller());
        }
        let (value, times) = (Arc::new(value), times.map(Arc::new));
        let node = self.add("source", kind, vec![], vec![], move |link| {
            let repartition = matches!(topic, TopicName::Repartition(_));
            let source = Source {
                name: link.name().to_owned(),
                key,
                value: value.clone(),
                times: times.clone(),
                null_keys: null_keys && (!repartition || link.takes_null_keys()),
            };
            let mut down = link.downstream::<K, V>();
            if !matches!(topic, TopicName::Pattern(_)) {
                let send = move |ctx: &mut TaskContext, record| down.push(ctx, record);
                return source.link(link, topic.clone(), send);
            }
            // What reads one topic does not read another meanwhile.
            let down = Rc::new(RefCell::new(down));
            for topic in link.read_for(&topic) {
                let down = down.clone();
                let send = move |ctx: &mut TaskContext, record| down.borrow_mut().push(ctx, record);
                source.link(link, topic, send);
            }
        });
        stream::handle(self, node, None)
    }
}

/// What a source does with the records of a topic.
struct Source<K: 'static, V: 'static, D> {
    name: String,
    key: Serde<K>,
    value: Arc<D>,
    times: Option<Arc<TimestampExtractor<K, V>>>,
    null_keys: bool,
}

impl<K: Data, V: Data, D: Fn(RawRecord<'_>) -> Result<V> + Fun> Source<K, V, D> {
    /// Puts it below a topic.
    fn link(
        &self,
        link: &mut Linker<'_>,
        topic: TopicName,
        mut send: impl FnMut(&mut TaskContext, Record<K, V>) -> Result<()> + 'static,
    ) {
        let (key, value, name) = (self.key, self.value.clone(), self.name.clone());
        let (decode_value, null_keys) = (value.clone(), self.null_keys);
        let decode = move |raw: RawRecord<'_>| Ok((key.decode(raw.key)?, value(raw)?));
        let ahead = self.times.as_ref().map(|times| {
            let ahead: Ahead<K, V> = Rc::default();
            let (times, kept, decode) = (times.clone(), ahead.clone(), decode.clone());
            let invalid = times.invalid();
            let time = move |offset, raw: RawRecord<'_>, given: Given| {
                let spoken = times.decodes() && (null_keys || raw.key.is_some());
                if !spoken {
                    return Ok(times.time(None, given));
                }
                let (key, value) = decode(raw)?;
                let time = times.time(Some((&key, &value)), given);
                kept.replace(Some((offset, key, value)));
                Ok(time)
            };
            let time = Box::new(time);
            let extractor = Extractor { time, invalid };
            link.extractors.insert(topic.clone(), extractor);
            ahead
        });
        let foreign = !matches!(topic, TopicName::Repartition(_));
        let push: RawPush = Box::new(move |ctx, raw| {
            if raw.key.is_none() && foreign && is_pack(raw) {
                let text = "a pack of records, which only the program that made it can read";
                return ctx.refuse_unread(&name, Error::deserialization(text));
            }
            if !null_keys && raw.key.is_none() {
                // It has no place, but is not lost if it is to be kept for being unreadable.
                return match decode_value(raw) {
                    Ok(_) => ctx.drop_null_key(),
                    Err(error) => ctx.refuse_unread(&name, error),
                };
            }
            let known = ahead.as_ref().and_then(|ahead| take(ahead, ctx.offset()));
            match known.map_or_else(|| decode(raw), Ok) {
                Ok((key, value)) => {
                    let (timestamp, headers) = (raw.timestamp, raw.headers.clone());
                    let record = Record {
                        key,
                        value,
                        timestamp,
                        headers,
                    };
                    send(ctx, record)
                }
                Err(error) => ctx.refuse_unread(&name, error),
            }
        });
        link.source(topic, push);
    }
}

fn take<K, V>(ahead: &Ahead<K, V>, offset: Offset) -> Option<(K, V)> {
    let (of, key, value) = ahead.borrow_mut().take()?;
    (of == offset).then_some((key, value))
}
