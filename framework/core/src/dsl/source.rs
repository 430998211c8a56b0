//! Sources: from a topic's bytes to typed records with a time.

use super::{Consumed, Fun, KStream, StreamsBuilder, TimestampExtractor, stream};
use crate::{
    error::Result,
    link::{Data, RawPush},
    record::{Offset, RawRecord, Record},
    serde::Serde,
    task::{Extractor, Given},
    topology::{NodeId, NodeKind, TopicName},
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

    /// A source that decodes keys and values and sends them on.
    #[track_caller]
    pub(crate) fn source<K: Data, V: Data>(
        &self,
        kind: NodeKind,
        key: Serde<K>,
        value: impl Fn(Option<&[u8]>) -> Result<V> + Fun,
    ) -> KStream<'_, K, V> {
        let reading = Reading {
            kind,
            key,
            null_keys: true,
            times: None,
        };
        self.read(reading, value)
    }

    /// A source of any kind.
    #[track_caller]
    pub(crate) fn read<K: Data, V: Data>(
        &self,
        reading: Reading<K, V>,
        value: impl Fn(Option<&[u8]>) -> Result<V> + Fun,
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
            let (value, name) = (value.clone(), link.name().to_owned());
            let mut down = link.downstream::<K, V>();
            let repartition = matches!(topic, TopicName::Repartition(_));
            let null_keys = null_keys && (!repartition || link.takes_null_keys());
            let decode_value = value.clone();
            let decode = move |raw: RawRecord<'_>| Ok((key.decode(raw.key)?, value(raw.value)?));
            let ahead = times.as_ref().map(|times| {
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
            let push: RawPush = Box::new(move |ctx, raw| {
                if !null_keys && raw.key.is_none() {
                    // It has no place, but is not lost if it is to be kept for being unreadable.
                    return match decode_value(raw.value) {
                        Ok(_) => ctx.drop_null_key(),
                        Err(error) => ctx.refuse_unread(&name, error),
                    };
                }
                let known = ahead.as_ref().and_then(|ahead| take(ahead, ctx.offset()));
                match known.map_or_else(|| decode(raw), Ok) {
                    Ok((key, value)) => {
                        let (timestamp, headers) = (raw.timestamp, raw.headers.clone());
                        down.push(
                            ctx,
                            Record {
                                key,
                                value,
                                timestamp,
                                headers,
                            },
                        )
                    }
                    Err(error) => ctx.refuse_unread(&name, error),
                }
            });
            link.source(topic.clone(), push);
        });
        stream::handle(self, node, None)
    }
}

fn take<K, V>(ahead: &Ahead<K, V>, offset: Offset) -> Option<(K, V)> {
    let (of, key, value) = ahead.borrow_mut().take()?;
    (of == offset).then_some((key, value))
}
