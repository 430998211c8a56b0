//! The ends of a program: topics written.
//!
//! A record that cannot be written is refused where it is encoded, before the log sees it. That is
//! Kafka's production exception handler, as far as its answer may be to go on: a log that refuses a
//! record drops the whole transaction.

use super::{
    Change, Fun, KStream, KTable, Produced, StreamsBuilder,
    partitioned::{Placing, of_streams, spread},
    produced::Settings,
};
use crate::{
    error::Result,
    link::Data,
    record::Record,
    serde::{Encoded, Serde},
    task::{ErrorHandler, OutputId, TaskContext},
    topology::{NodeId, NodeKind, TopicName, formats::Role},
};
use std::{panic::Location, sync::Arc};

/// A topic that is written, and what the program says of writing it.
pub(crate) struct Target(TopicName, Settings);

impl From<TopicName> for Target {
    fn from(topic: TopicName) -> Self {
        Self(topic, Settings::default())
    }
}

impl From<(TopicName, Settings)> for Target {
    fn from((topic, settings): (TopicName, Settings)) -> Self {
        Self(topic, settings)
    }
}

/// Writes a record as a topic of the user's has it: with the headers of its value, where that has a
/// place for some.
fn to_user<K: Data, V: Data>(
    (key, value): (Serde<K>, Serde<V>),
) -> impl Fn(&mut TaskContext, OutputId, &Record<K, V>) -> Result<()> + Fun + Copy {
    let value = value.apart();
    move |ctx, to, record| {
        ctx.emit(
            to,
            record,
            value.headers_or(&record.value, &record.headers),
            |k, out| key.encode(k, out),
            |v, out| value.encode(v, out),
        )
    }
}

impl<K: Data, V: Data> KStream<'_, K, V> {
    /// Writes the stream to a topic. The key chooses the partition, as Kafka's producer does.
    ///
    /// The topic's types must be the stream's, else the program does not compile:
    ///
    /// ```compile_fail,E0277
    /// use millstream_core::prelude::*;
    ///
    /// static IN: Topic<String, u64> = Topic::new("in", utf8(), u64_be());
    /// static OUT: Topic<String, String> = Topic::new("out", utf8(), utf8());
    ///
    /// let builder = StreamsBuilder::new();
    /// builder.stream(&IN).to(&OUT);
    /// ```
    #[track_caller]
    pub fn to(self, topic: impl Into<Produced<K, V>>) {
        let Produced {
            topic,
            settings,
            partitioner,
        } = topic.into();
        let name = TopicName::User(topic.name.to_owned());
        self.builder
            .add_format(&name, (topic.key, topic.value), Role::Sink);
        let write = to_user((topic.key, topic.value));
        self.sink_by((name, settings), write, partitioner.map(of_streams));
    }

    /// Writes each record to the topic that `choose` names for it. A record whose topic does not
    /// exist, or could not by its name, is refused.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    ///
    /// static LINES: Topic<String, String> = Topic::new("lines", utf8(), utf8());
    /// static ERRORS: Topic<String, String> = Topic::new("errors", utf8(), utf8());
    ///
    /// let builder = StreamsBuilder::new();
    /// let choose = |_: &String, line: &String| {
    ///     let is_error = line.starts_with("error");
    ///     (if is_error { "errors" } else { "others" }).to_owned()
    /// };
    /// builder.stream(&LINES).to_chosen(choose, utf8(), utf8());
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// driver.pipe(&LINES, "web".to_owned(), "started".to_owned(), 0)?;
    /// driver.pipe(&LINES, "web".to_owned(), "error 7".to_owned(), 1)?;
    /// let errors = driver.read_key_values(&ERRORS)?;
    /// assert_eq!(errors, [("web".to_owned(), Some("error 7".to_owned()))]);
    /// assert_eq!(driver.read_raw("others").len(), 1);
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[track_caller]
    pub fn to_chosen(
        self,
        choose: impl Fn(&K, &V) -> String + Fun,
        key: Serde<K>,
        value: Serde<V>,
    ) {
        self.sink_chosen(choose, (key, value), None);
    }

    /// As [`KStream::to_chosen`], with an answer of its own to records that cannot be written.
    #[track_caller]
    pub fn to_chosen_or(
        self,
        choose: impl Fn(&K, &V) -> String + Fun,
        key: Serde<K>,
        value: Serde<V>,
        answer: impl Into<ErrorHandler>,
    ) {
        self.sink_chosen(choose, (key, value), Some(answer.into()));
    }

    #[track_caller]
    fn sink_chosen(
        self,
        choose: impl Fn(&K, &V) -> String + Fun,
        (key, value): (Serde<K>, Serde<V>),
        handler: Option<ErrorHandler>,
    ) {
        let (choose, write) = (Arc::new(choose), to_user((key, value)));
        let kind = NodeKind::Sink { topic: None };
        let node = self
            .builder
            .add("sink", kind, vec![self.node], vec![], move |link| {
                let (choose, name) = (choose.clone(), link.name().to_owned());
                link.upstream(move |ctx: &mut TaskContext, record: Record<K, V>| {
                    let to = match ctx.output_chosen(&choose(&record.key, &record.value)) {
                        Ok(to) => to,
                        Err(error) => return ctx.refuse_output(&name, error),
                    };
                    write(ctx, to, &record).or_else(|error| ctx.refuse_output(&name, error))
                });
            });
        if let Some(handler) = handler {
            self.builder.answer(node, handler, Location::caller());
        }
    }

    #[track_caller]
    pub(crate) fn sink(
        self,
        topic: impl Into<Target>,
        key: Serde<K>,
        value: impl Fn(&V, &mut Vec<u8>) -> Result<Encoded> + Fun,
        placing: Option<Placing<K, V>>,
    ) {
        let write = move |ctx: &mut TaskContext, to, record: &Record<K, V>| {
            ctx.emit(
                to,
                record,
                &record.headers,
                |k, out| key.encode(k, out),
                |v, out| value(v, out),
            )
        };
        self.sink_by(topic, write, placing);
    }

    #[track_caller]
    fn sink_by(
        self,
        topic: impl Into<Target>,
        write: impl Fn(&mut TaskContext, OutputId, &Record<K, V>) -> Result<()> + Fun,
        placing: Option<Placing<K, V>>,
    ) {
        let Some(placing) = placing else {
            return self.builder.add_sink(topic, vec![self.node], write);
        };
        let write = move |ctx: &mut TaskContext, to, record: &Record<K, V>| {
            spread(ctx, to, record, &placing, &write)
        };
        self.builder.add_sink(topic, vec![self.node], write);
    }
}

impl StreamsBuilder {
    /// Writes the records of some nodes to a topic: `write` puts one into the topic's output.
    #[track_caller]
    pub(crate) fn add_sink<K: Data, V: Data>(
        &self,
        topic: impl Into<Target>,
        parents: Vec<NodeId>,
        write: impl Fn(&mut TaskContext, OutputId, &Record<K, V>) -> Result<()> + Fun,
    ) {
        let write = Arc::new(write);
        let Target(topic, settings) = topic.into();
        let bytes_max = settings.record_bytes_max;
        let kind = NodeKind::Sink {
            topic: Some(topic.clone()),
        };
        let node = self.add("sink", kind, parents, vec![], move |link| {
            let (write, name) = (write.clone(), link.name().to_owned());
            let to = link.context.output_id(&topic);
            if let Some(bytes_max) = bytes_max {
                link.context.limit_output(to, bytes_max);
            }
            link.upstream(move |ctx: &mut TaskContext, record: Record<K, V>| {
                write(ctx, to, &record).or_else(|error| ctx.refuse_output(&name, error))
            });
        });
        if let Some(name) = settings.name {
            self.rename(node, &name, Location::caller());
        }
        if let Some(handler) = settings.handler {
            self.answer(node, handler, Location::caller());
        }
    }
}

impl<K: Data, V: Data> KTable<'_, K, V> {
    /// Writes the table's changes to a topic: rows as values, deletions as tombstones.
    #[track_caller]
    pub fn to(self, topic: impl Into<Produced<K, V>>) {
        let Produced {
            topic,
            settings,
            partitioner,
        } = topic.into();
        let name = TopicName::User(topic.name.to_owned());
        let builder = self.changes.builder;
        builder.add_format(&name, (topic.key, topic.value), Role::Sink);
        let (key, value) = (topic.key, topic.value.apart());
        let write = move |ctx: &mut TaskContext, to, record: &Record<K, Change<V>>| {
            let (row, headers) = (record.value.new.as_ref(), &record.headers);
            ctx.emit(
                to,
                record,
                row.map_or(headers, |row| value.headers_or(row, headers)),
                |k, out| key.encode(k, out),
                |_, out| row.map_or(Ok(Encoded::Null), |row| value.encode(row, out)),
            )
        };
        let placing = partitioner.map(|choose| -> Placing<K, Change<V>> {
            Arc::new(move |record, partitions| {
                choose(&record.key, record.value.new.as_ref(), partitions)
            })
        });
        self.changes.sink_by((name, settings), write, placing);
    }
}
