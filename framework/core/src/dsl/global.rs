//! Global tables: every instance holds all rows, so that any record can look up any key.
//!
//! Invariant: a global table is no input of a task. Its rows change while records pass, whenever
//! its topic does, and a record meets the row of that moment, whatever the two timestamps say.

use super::{Consumed, Fun, KStream, StreamsBuilder};
use crate::{
    error::Result,
    link::Data,
    record::{Record, Timestamp},
    serde::Serde,
    store::Materialized,
    task::TaskContext,
    topology::{
        GlobalSpec, TopicName,
        formats::{Formats, Role},
        global::{GlobalRows, Making, Sought, writer},
    },
};
use millstream_state::{Backend, Column};
use std::{panic::Location, sync::Arc};

/// Run time: the rows of a global table, for processors and test drivers.
pub struct GlobalStore<K: 'static, V: 'static> {
    pub(crate) number: u16,
    key: Serde<K>,
    value: Serde<V>,
}

impl<K, V> Clone for GlobalStore<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K, V> Copy for GlobalStore<K, V> {}

impl<K, V> GlobalStore<K, V> {
    /// The row of a key and its time.
    pub(crate) fn row(
        self,
        backend: Option<Arc<dyn Backend>>,
        key: &K,
    ) -> Result<Option<(V, Timestamp)>> {
        Ok(match self.rows(backend).get(key)? {
            Sought::Row(row, time) => Some((row, time)),
            Sought::Missing | Sought::NullKey => None,
        })
    }

    fn rows(self, backend: Option<Arc<dyn Backend>>) -> GlobalRows<K, V> {
        GlobalRows {
            backend,
            column: Column(self.number),
            key: self.key,
            value: self.value.apart(),
            sought: Vec::new(),
            stored: Vec::new(),
        }
    }
}

/// A table of which every instance holds all rows: a handle to copy around while the program is
/// built. Streams join it by any key ([`KStream::join_global`]).
pub struct GlobalKTable<'b, K: 'static, V: 'static> {
    builder: &'b StreamsBuilder,
    store: GlobalStore<K, V>,
}

impl<K, V> Clone for GlobalKTable<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K, V> Copy for GlobalKTable<'_, K, V> {}

impl<K, V> GlobalKTable<'_, K, V> {
    /// The table's rows, for processors and test drivers.
    pub fn store(self) -> GlobalStore<K, V> {
        self.store
    }
}

impl StreamsBuilder {
    /// Reads a topic as a global table: each instance holds the rows of all its partitions, and has
    /// read them to the end before it processes its first record. Afterwards rows change as soon as
    /// the topic does, without regard to timestamps. Kafka Streams' `globalTable`.
    ///
    /// The topic is the table's changelog, so nothing is logged, and it should be compacted. Only
    /// committed records are read. A null value deletes its row; a record without a key is dropped
    /// and counted.
    #[track_caller]
    pub fn global_table<K: Data, V: Data>(
        &self,
        topic: impl Into<Consumed<K, V>>,
        materialized: impl Into<Materialized<K, V>>,
    ) -> GlobalKTable<'_, K, V> {
        let (consumed, materialized) = (topic.into(), materialized.into());
        let source = (consumed.topic.key, consumed.topic.value);
        let making = Making::Copied(writer(source, (materialized.key, materialized.value)));
        self.declare_global(consumed, materialized, making, Location::caller())
    }

    /// What global tables and stores have in common.
    pub(super) fn declare_global<K: Data, V: Data, SK: Data, SV: Data>(
        &self,
        consumed: Consumed<K, V>,
        materialized: Materialized<SK, SV>,
        making: Making,
        at: &'static Location<'static>,
    ) -> GlobalKTable<'_, SK, SV> {
        let Consumed {
            topic,
            handler,
            times,
            reset,
        } = consumed;
        let Materialized {
            name,
            key,
            value,
            // There is no changelog besides the topic, so nothing is logged either way.
            logging: _,
            history,
            retention,
        } = materialized;
        if times.is_some() || reset.is_some() {
            let text = format!(
                "the global table {name:?} has its whole topic, with the topic's times: leave out \
                 with_offset_reset(..) and with_timestamp(..)"
            );
            self.mistake(at, text);
        }
        self.no_versions(&name, history, at);
        self.no_retention(&name, retention, at);
        // With the headers of its values: where these come or go, the topic is read again, which
        // gives every row its own.
        let mut format = format!("key-value/{}/{}", key.codec().name(), value.codec().name());
        if matches!(making, Making::Processed(_)) {
            // Rows that were copied are not what a processor makes, whatever their serdes.
            format.push_str("/processed");
        }
        let role = match making {
            Making::Copied(_) => Role::Table,
            Making::Processed(_) => Role::GlobalStore,
        };
        let topic_name = TopicName::User(topic.name.to_owned());
        self.add_format(&topic_name, (topic.key, topic.value), role);
        let number = self.add_global(GlobalSpec {
            name,
            topic: topic.name.to_owned(),
            format,
            handlers: handler.into_iter().collect(),
            at,
            query: Arc::new(Formats {
                key,
                value: value.apart().bytes,
            }),
            making,
        });
        GlobalKTable {
            builder: self,
            store: GlobalStore { number, key, value },
        }
    }
}

impl<'b, K: Data, V: Data> KStream<'b, K, V> {
    /// Joins each record with the row of the key that `select` makes of it; records without a row
    /// are left out. The stream needs no repartitioning, and its key stays.
    ///
    /// `select` gives a key of the table, or an option of one: where that is `None`, the record is
    /// dropped and counted as one with a null key.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    ///
    /// static ORDERS: Topic<String, String> = Topic::new("orders", utf8(), utf8());
    /// static PRICES: Topic<String, u64> = Topic::new("prices", utf8(), u64_be());
    /// static PRICED: Topic<String, u64> = Topic::new("priced", utf8(), u64_be());
    ///
    /// let builder = StreamsBuilder::new();
    /// let prices = builder.global_table(&PRICES, "prices");
    /// builder
    ///     .stream(&ORDERS)
    ///     .join_global(prices, |_, item| item.clone(), |_, price| *price)
    ///     .to(&PRICED);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// driver.pipe(&PRICES, "tea".to_owned(), 3, 0)?;
    /// driver.pipe(&ORDERS, "order-1".to_owned(), "tea".to_owned(), 1)?;
    /// driver.pipe(&ORDERS, "order-2".to_owned(), "milk".to_owned(), 2)?;
    /// let priced = driver.read_key_values(&PRICED)?;
    /// assert_eq!(priced, [("order-1".to_owned(), Some(3))]);
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[track_caller]
    #[must_use = "a joined stream goes nowhere by itself"]
    pub fn join_global<GK: Data, GV: Data, S: Into<Option<GK>>, W: Data>(
        self,
        table: GlobalKTable<'b, GK, GV>,
        select: impl Fn(&K, &V) -> S + Fun,
        join: impl Fn(V, &GV) -> W + Fun,
    ) -> KStream<'b, K, W> {
        self.join_global_with_key(table, select, move |_, value, row| join(value, row))
    }

    /// As [`KStream::join_global`], with a joiner that sees the key: that of the record, which is
    /// what Kafka Streams gives a `ValueJoinerWithKey` here, and not the one that `select` makes.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    ///
    /// static ORDERS: Topic<String, String> = Topic::new("orders", utf8(), utf8());
    /// static PRICES: Topic<String, u64> = Topic::new("prices", utf8(), u64_be());
    /// static LINES: Topic<String, String> = Topic::new("lines", utf8(), utf8());
    ///
    /// let builder = StreamsBuilder::new();
    /// let prices = builder.global_table(&PRICES, "prices");
    /// let line = |order: &String, item, price: &u64| format!("{order}: {item} for {price}");
    /// let orders = builder.stream(&ORDERS);
    /// orders.join_global_with_key(prices, |_, item| item.clone(), line).to(&LINES);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// driver.pipe(&PRICES, "tea".to_owned(), 3, 0)?;
    /// driver.pipe(&ORDERS, "order-1".to_owned(), "tea".to_owned(), 1)?;
    /// let lines = driver.read_key_values(&LINES)?;
    /// assert_eq!(lines, [("order-1".to_owned(), Some("order-1: tea for 3".to_owned()))]);
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[track_caller]
    #[must_use = "a joined stream goes nowhere by itself"]
    pub fn join_global_with_key<GK: Data, GV: Data, S: Into<Option<GK>>, W: Data>(
        self,
        table: GlobalKTable<'b, GK, GV>,
        select: impl Fn(&K, &V) -> S + Fun,
        join: impl Fn(&K, V, &GV) -> W + Fun,
    ) -> KStream<'b, K, W> {
        let join = move |key: &K, value, row: Option<&GV>| row.map(|row| join(key, value, row));
        self.look_up_global("join_global", table, select, join, NullKey::Drops)
    }

    /// Joins each record with the row of the key that `select` makes of it, or with `None` where
    /// there is no row, or no key.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    ///
    /// static ORDERS: Topic<String, String> = Topic::new("orders", utf8(), utf8());
    /// static PRICES: Topic<String, u64> = Topic::new("prices", utf8(), u64_be());
    /// static PRICED: Topic<String, u64> = Topic::new("priced", utf8(), u64_be());
    ///
    /// let builder = StreamsBuilder::new();
    /// let prices = builder.global_table(&PRICES, "prices");
    /// let price = |_, price: Option<&u64>| price.copied().unwrap_or(0);
    /// let orders = builder.stream(&ORDERS);
    /// orders.left_join_global(prices, |_, item| item.clone(), price).to(&PRICED);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// driver.pipe(&ORDERS, "order-1".to_owned(), "tea".to_owned(), 0)?;
    /// driver.pipe(&PRICES, "tea".to_owned(), 3, 1)?;
    /// driver.pipe(&ORDERS, "order-2".to_owned(), "tea".to_owned(), 2)?;
    /// let priced = driver.read_key_values(&PRICED)?;
    /// let expected = [("order-1".to_owned(), Some(0)), ("order-2".to_owned(), Some(3))];
    /// assert_eq!(priced, expected);
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[track_caller]
    #[must_use = "a joined stream goes nowhere by itself"]
    pub fn left_join_global<GK: Data, GV: Data, S: Into<Option<GK>>, W: Data>(
        self,
        table: GlobalKTable<'b, GK, GV>,
        select: impl Fn(&K, &V) -> S + Fun,
        join: impl Fn(V, Option<&GV>) -> W + Fun,
    ) -> KStream<'b, K, W> {
        self.left_join_global_with_key(table, select, move |_, value, row| join(value, row))
    }

    /// As [`KStream::left_join_global`], with a joiner that sees the record's key, as that of
    /// [`KStream::join_global_with_key`] does.
    #[track_caller]
    #[must_use = "a joined stream goes nowhere by itself"]
    pub fn left_join_global_with_key<GK: Data, GV: Data, S: Into<Option<GK>>, W: Data>(
        self,
        table: GlobalKTable<'b, GK, GV>,
        select: impl Fn(&K, &V) -> S + Fun,
        join: impl Fn(&K, V, Option<&GV>) -> W + Fun,
    ) -> KStream<'b, K, W> {
        let join = move |key: &K, value, row: Option<&GV>| Some(join(key, value, row));
        self.look_up_global("left_join_global", table, select, join, NullKey::Joins)
    }

    #[track_caller]
    fn look_up_global<GK: Data, GV: Data, S: Into<Option<GK>>, W: Data>(
        self,
        label: &'static str,
        table: GlobalKTable<'b, GK, GV>,
        select: impl Fn(&K, &V) -> S + Fun,
        join: impl Fn(&K, V, Option<&GV>) -> Option<W> + Fun,
        null_key: NullKey,
    ) -> KStream<'b, K, W> {
        let (made, store) = (Arc::new((select, join)), table.store);
        let joined = self.operator(label, vec![], move |link| {
            let (made, mut down) = (made.clone(), link.downstream::<K, W>());
            let mut rows = store.rows(link.context.globals.clone());
            let name = link.name().to_owned();
            move |ctx: &mut TaskContext, record: Record<K, V>| {
                let (select, join) = &*made;
                let sought = match select(&record.key, &record.value).into() {
                    Some(key) => rows.get(&key),
                    None => Ok(Sought::NullKey),
                };
                let Record {
                    key,
                    value,
                    timestamp,
                    headers,
                } = record;
                let value = match sought {
                    Ok(Sought::NullKey) if null_key == NullKey::Drops => {
                        return ctx.drop_null_key();
                    }
                    Ok(Sought::NullKey | Sought::Missing) => join(&key, value, None),
                    Ok(Sought::Row(row, _)) => join(&key, value, Some(&row)),
                    Err(error) => return ctx.refuse(&name, error),
                };
                let Some(value) = value else { return Ok(()) };
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
        });
        if null_key == NullKey::Joins {
            self.builder.takes_null_keys(joined.node);
        }
        if self.builder.must_be(table.builder) {
            self.builder.reads_global(joined.node, table.store.number);
        }
        joined
    }
}

/// What a join does with a record that has no key in the table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NullKey {
    Drops,
    Joins,
}
