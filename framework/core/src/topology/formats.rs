//! Between people's JSON and bytes, for any pair of serdes.

use super::{RecordFormat, StoreQuery, TopicName};
use crate::{
    error::{Error, Result},
    serde::{Encoded, Serde},
    store::StoreKind,
};
use serde_json::Value;
use std::sync::Arc;

/// How people read and write a topic's records, where the program reads or writes it.
#[derive(Clone)]
pub struct TopicFormat {
    /// The topic.
    pub topic: TopicName,
    /// Its keys and values.
    pub format: Arc<dyn RecordFormat>,
    /// What the program does with the topic there.
    pub(super) role: Role,
}

/// What a program does with a topic; each reads other nulls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Writes it.
    Sink,
    /// Reads each record as its types.
    Stream,
    /// Reads rows: a null value deletes one, and a record without a key is dropped.
    Table,
    /// Reads rows with a processor, which wants a key of its type.
    GlobalStore,
}

impl TopicFormat {
    pub(crate) fn new<K, V>(
        topic: TopicName,
        (key, value): (Serde<K>, Serde<V>),
        role: Role,
    ) -> Self {
        // In the program's own topics headers lie in front of the values.
        let value = match topic {
            TopicName::Repartition(_) => value,
            TopicName::User(_) | TopicName::Pattern(_) => value.apart().bytes,
        };
        Self {
            topic,
            format: Arc::new(Formats { key, value }),
            role,
        }
    }

    /// Whether the program, where it reads the topic so, can read such a record: where it cannot,
    /// its error policy answers, and may stop it. Where it only writes the topic there is nothing
    /// that it could not read.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    ///
    /// static SALES: Topic<String, u64> = Topic::new("sales", utf8(), u64_be());
    /// static STOCK: Topic<String, u64> = Topic::new("stock", utf8(), u64_be());
    ///
    /// let builder = StreamsBuilder::new();
    /// let _ = (builder.stream(&SALES), builder.table(&STOCK, "stock"));
    /// let topology = builder.build()?;
    /// let [sales, stock] = topology.formats() else { panic!("not two topics") };
    /// assert!(sales.check(Some(b"tea"), None).is_err());
    /// // Of a table it is a deletion.
    /// assert!(stock.check(Some(b"tea"), None).is_ok());
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// What the serdes say of the key or the value.
    pub fn check(&self, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<()> {
        let (reads_key, reads_value) = match self.role {
            Role::Sink => (false, false),
            Role::Stream => (true, true),
            Role::Table => (key.is_some(), value.is_some()),
            Role::GlobalStore => (true, value.is_some()),
        };
        let at = |part: &str| {
            let place = format!("{part} of topic {}", self.topic.shown());
            move |error: Error| error.at(place)
        };
        if reads_key {
            self.format.check_key(key).map_err(at("the key"))?;
        }
        if reads_value {
            self.format.check_value(value).map_err(at("the value"))?;
        }
        Ok(())
    }
}

/// The serdes of a topic or a store, with their types forgotten.
pub(crate) struct Formats<K: 'static, V: 'static> {
    pub(crate) key: Serde<K>,
    pub(crate) value: Serde<V>,
}

fn read<T>(serde: Serde<T>, json: &Value) -> Result<Option<Vec<u8>>> {
    let mut out = Vec::new();
    Ok(match serde.codec().from_json(json, &mut out)? {
        Encoded::Bytes => Some(out),
        Encoded::Null => None,
    })
}

impl<K, V> RecordFormat for Formats<K, V> {
    fn show_key(&self, bytes: Option<&[u8]>) -> Result<Value> {
        self.key.codec().to_json(bytes)
    }

    fn show_value(&self, bytes: Option<&[u8]>) -> Result<Value> {
        match bytes {
            // A deleted row of a table has no value of the topic's type; it shows as null.
            None => Ok(Value::Null),
            some => self.value.codec().to_json(some),
        }
    }

    fn read_key(&self, json: &Value) -> Result<Option<Vec<u8>>> {
        read(self.key, json)
    }

    fn read_value(&self, json: &Value) -> Result<Option<Vec<u8>>> {
        read(self.value, json)
    }

    fn check_key(&self, bytes: Option<&[u8]>) -> Result<()> {
        self.key.decode(bytes).map(drop)
    }

    fn check_value(&self, bytes: Option<&[u8]>) -> Result<()> {
        self.value.decode(bytes).map(drop)
    }
}

impl<K, V> StoreQuery for Formats<K, V> {
    fn key(&self, json: &Value) -> Result<Vec<u8>> {
        read(self.key, json)?.ok_or_else(|| Error::deserialization("a store has no null key"))
    }

    fn show_key(&self, bytes: &[u8]) -> Result<Value> {
        self.key.codec().to_json(Some(bytes))
    }

    fn show_value(&self, bytes: &[u8]) -> Result<Value> {
        self.value.codec().to_json(Some(bytes))
    }

    fn kind(&self) -> StoreKind {
        StoreKind::KeyValue
    }

    fn formats(&self) -> (String, String) {
        (self.key.codec().name(), self.value.codec().name())
    }
}

#[cfg(test)]
mod tests {
    use crate::prelude::*;

    static EVENTS: Topic<String, u64> = Topic::new("events-.*", utf8(), u64_be());
    static ROWS: Topic<String, u64> = Topic::new("rows", utf8(), u64_be());
    static FACTS: Topic<String, u64> = Topic::new("facts", utf8(), u64_be());
    static OUT: Topic<String, u64> = Topic::new("out", utf8(), u64_be());

    struct Kept;

    impl GlobalProcessor<String, u64> for Kept {
        type Key = String;
        type Value = u64;

        fn process(
            &mut self,
            fact: Record<String, Option<u64>>,
            ctx: &mut GlobalContext<'_, String, u64>,
        ) -> ProcessResult {
            if let Some(value) = fact.value {
                ctx.store().put(&fact.key, value)?;
            }
            Ok(())
        }
    }

    #[test]
    fn who_reads_a_topic_says_which_nulls_it_may_have() {
        let builder = StreamsBuilder::new();
        let _ = builder.global_table(&ROWS, "rows");
        let _ = builder.global_store(&FACTS, "facts", || Kept);
        builder.stream_matching(&EVENTS).to(&OUT);
        let program = builder.build().unwrap();
        let program = program.matching("app", None, ["events-a"]).unwrap();
        let (key, value) = (Some(&b"k"[..]), Some(&[0; 8][..]));
        for (topic, no_key, no_value) in [
            ("events-a", false, false),
            ("rows", true, true),
            ("facts", false, true),
            ("out", true, true),
        ] {
            let known = program.formats().iter();
            let mut known = known.filter(|known| known.topic.shown() == topic);
            let known = known.next().unwrap();
            assert!(known.check(key, value).is_ok(), "{topic}");
            assert_eq!(known.check(None, value).is_ok(), no_key, "{topic}");
            assert_eq!(known.check(key, None).is_ok(), no_value, "{topic}");
        }
    }
}
