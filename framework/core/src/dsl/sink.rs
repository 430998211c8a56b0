//! The ends of a program: topics written.

use super::{Change, Fun, KStream, KTable, StreamsBuilder};
use crate::{
    error::Result,
    link::Data,
    record::Record,
    serde::{Encoded, Serde},
    task::{OutputId, TaskContext},
    topic::Topic,
    topology::{NodeId, NodeKind, TopicName},
};
use std::sync::Arc;

impl<K: Data, V: Data> KStream<'_, K, V> {
    /// Writes the stream to a topic. The key chooses the partition, as Kafka's producer does.
    ///
    /// The topic's types must be the stream's, else the program does not compile:
    ///
    /// ```compile_fail,E0308
    /// use millstream_core::prelude::*;
    ///
    /// static IN: Topic<String, u64> = Topic::new("in", utf8(), u64_be());
    /// static OUT: Topic<String, String> = Topic::new("out", utf8(), utf8());
    ///
    /// let builder = StreamsBuilder::new();
    /// builder.stream(&IN).to(&OUT);
    /// ```
    #[track_caller]
    pub fn to(self, topic: &Topic<K, V>) {
        let Topic { name, key, value } = *topic;
        let name = TopicName::User(name.to_owned());
        self.builder.add_format(name.clone(), key, value);
        self.sink(name, key, move |v, out| value.encode(v, out));
    }

    /// Writes each record to the topic that `choose` names for it; the topics must exist. A record
    /// whose topic's name is not a legal one is refused.
    #[track_caller]
    pub fn to_chosen(
        self,
        choose: impl Fn(&K, &V) -> String + Fun,
        key: Serde<K>,
        value: Serde<V>,
    ) {
        let choose = Arc::new(choose);
        let kind = NodeKind::Sink { topic: None };
        self.builder
            .add("sink", kind, vec![self.node], vec![], move |link| {
                let (choose, name) = (choose.clone(), link.name().to_owned());
                link.upstream(move |ctx: &mut TaskContext, record: Record<K, V>| {
                    let to = match ctx.output_chosen(&choose(&record.key, &record.value)) {
                        Ok(to) => to,
                        Err(error) => return ctx.refuse(&name, error),
                    };
                    let written = ctx.emit(
                        to,
                        &record,
                        |k, out| key.encode(k, out),
                        |v, out| value.encode(v, out),
                    );
                    written.or_else(|error| ctx.refuse(&name, error))
                });
            });
    }

    #[track_caller]
    pub(crate) fn sink(
        self,
        topic: TopicName,
        key: Serde<K>,
        value: impl Fn(&V, &mut Vec<u8>) -> Result<Encoded> + Fun,
    ) {
        let write = move |ctx: &mut TaskContext, to, record: &Record<K, V>| {
            ctx.emit(
                to,
                record,
                |k, out| key.encode(k, out),
                |v, out| value(v, out),
            )
        };
        self.builder.add_sink(topic, vec![self.node], write);
    }
}

impl StreamsBuilder {
    /// Writes the records of some nodes to a topic: `write` puts one into the topic's output.
    #[track_caller]
    pub(crate) fn add_sink<K: Data, V: Data>(
        &self,
        topic: TopicName,
        parents: Vec<NodeId>,
        write: impl Fn(&mut TaskContext, OutputId, &Record<K, V>) -> Result<()> + Fun,
    ) {
        let write = Arc::new(write);
        let kind = NodeKind::Sink {
            topic: Some(topic.clone()),
        };
        self.add("sink", kind, parents, vec![], move |link| {
            let (write, name) = (write.clone(), link.name().to_owned());
            let to = link.context.output_id(&topic);
            link.upstream(move |ctx: &mut TaskContext, record: Record<K, V>| {
                write(ctx, to, &record).or_else(|error| ctx.refuse(&name, error))
            });
        });
    }
}

impl<K: Data, V: Data> KTable<'_, K, V> {
    /// Writes the table's changes to a topic: rows as values, deletions as tombstones.
    #[track_caller]
    pub fn to(self, topic: &Topic<K, V>) {
        let Topic { name, key, value } = *topic;
        let name = TopicName::User(name.to_owned());
        self.changes.builder.add_format(name.clone(), key, value);
        self.changes
            .sink(name, key, move |change: &Change<V>, out| {
                match &change.new {
                    Some(row) => value.encode(row, out),
                    None => Ok(Encoded::Null),
                }
            });
    }
}
