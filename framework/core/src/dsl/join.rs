//! The stream-table join: each record meets the row that its key has at that moment.

use super::{
    Fun, Grouped, Joined, KStream, KTable,
    grace::{self, Graced},
    view::{Facts, View},
};
use crate::{
    link::Data,
    record::{Record, Timestamp},
    task::TaskContext,
};
use std::{panic::Location, sync::Arc};

/// What becomes of a record for whose key there is no row, which a record without a key is as well.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    LeftOut,
    Joined,
}

impl Missing {
    fn label(self) -> &'static str {
        match self {
            Self::LeftOut => "join",
            Self::Joined => "left_join",
        }
    }
}

impl<'b, K: Data, V: Data> KStream<'b, K, V> {
    /// Joins each record with its key's row; records without a row are left out, and those with a
    /// null key are dropped and counted. A table with versions shows the row that its key had at
    /// the record's time.
    #[track_caller]
    #[must_use = "a joined stream goes nowhere by itself"]
    pub fn join<T: Data, W: Data>(
        self,
        table: KTable<'b, K, T>,
        join: impl Fn(V, &T) -> W + Fun,
    ) -> KStream<'b, K, W> {
        self.join_with_key(table, move |_, value, row| join(value, row))
    }

    /// As [`KStream::join`], with a joiner that sees the key.
    #[track_caller]
    #[must_use = "a joined stream goes nowhere by itself"]
    pub fn join_with_key<T: Data, W: Data>(
        self,
        table: KTable<'b, K, T>,
        join: impl Fn(&K, V, &T) -> W + Fun,
    ) -> KStream<'b, K, W> {
        let join = move |key: &K, value, row: Option<&T>| row.map(|row| join(key, value, row));
        self.look_up(table, Missing::LeftOut, join)
    }

    /// Joins each record with its key's row, or with `None` where there is no row, which there
    /// never is for a null key (KIP-962).
    #[track_caller]
    #[must_use = "a joined stream goes nowhere by itself"]
    pub fn left_join<T: Data, W: Data>(
        self,
        table: KTable<'b, K, T>,
        join: impl Fn(V, Option<&T>) -> W + Fun,
    ) -> KStream<'b, K, W> {
        self.left_join_with_key(table, move |_, value, row| join(value, row))
    }

    /// As [`KStream::left_join`], with a joiner that sees the key.
    #[track_caller]
    #[must_use = "a joined stream goes nowhere by itself"]
    pub fn left_join_with_key<T: Data, W: Data>(
        self,
        table: KTable<'b, K, T>,
        join: impl Fn(&K, V, Option<&T>) -> W + Fun,
    ) -> KStream<'b, K, W> {
        let join = move |key: &K, value, row: Option<&T>| Some(join(key, value, row));
        self.look_up(table, Missing::Joined, join)
    }

    /// As [`KStream::join`], with a name and perhaps a grace period. A key that was changed before
    /// sends the stream through a repartition topic.
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
    /// let minute = Duration::from_secs(60);
    /// let rates = builder.table(&RATES, Materialized::from("rates").versioned(60 * minute));
    /// // A rate may come up to a minute after the sales to which it applies.
    /// let late_rates = Joined::from("sales-in-euro").with_grace_period(minute);
    /// builder.stream(&SALES).join_with(rates, late_rates, |sale, rate| sale * rate).to(&WORTH);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// let euro = || "euro".to_owned();
    /// driver.pipe(&SALES, euro(), 10, 1_000)?;
    /// driver.pipe(&RATES, euro(), 2, 900)?;
    /// driver.pipe(&SALES, euro(), 20, 61_000)?;
    /// assert_eq!(driver.read(&WORTH)?, [Record::new(euro(), 20, 1_000)]);
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[track_caller]
    #[must_use = "a joined stream goes nowhere by itself"]
    pub fn join_with<T: Data, W: Data>(
        self,
        table: KTable<'b, K, T>,
        joined: impl Into<Joined<K, V>>,
        join: impl Fn(V, &T) -> W + Fun,
    ) -> KStream<'b, K, W> {
        self.join_with_and_key(table, joined, move |_, value, row| join(value, row))
    }

    /// As [`KStream::join_with`], with a joiner that sees the key.
    #[track_caller]
    #[must_use = "a joined stream goes nowhere by itself"]
    pub fn join_with_and_key<T: Data, W: Data>(
        self,
        table: KTable<'b, K, T>,
        joined: impl Into<Joined<K, V>>,
        join: impl Fn(&K, V, &T) -> W + Fun,
    ) -> KStream<'b, K, W> {
        let join = move |key: &K, value, row: Option<&T>| row.map(|row| join(key, value, row));
        self.wait_for(table, Missing::LeftOut, &joined.into(), join)
    }

    /// As [`KStream::left_join`], with a name and perhaps a grace period.
    #[track_caller]
    #[must_use = "a joined stream goes nowhere by itself"]
    pub fn left_join_with<T: Data, W: Data>(
        self,
        table: KTable<'b, K, T>,
        joined: impl Into<Joined<K, V>>,
        join: impl Fn(V, Option<&T>) -> W + Fun,
    ) -> KStream<'b, K, W> {
        self.left_join_with_and_key(table, joined, move |_, value, row| join(value, row))
    }

    /// As [`KStream::left_join_with`], with a joiner that sees the key.
    #[track_caller]
    #[must_use = "a joined stream goes nowhere by itself"]
    pub fn left_join_with_and_key<T: Data, W: Data>(
        self,
        table: KTable<'b, K, T>,
        joined: impl Into<Joined<K, V>>,
        join: impl Fn(&K, V, Option<&T>) -> W + Fun,
    ) -> KStream<'b, K, W> {
        let join = move |key: &K, value, row: Option<&T>| Some(join(key, value, row));
        self.wait_for(table, Missing::Joined, &joined.into(), join)
    }

    #[track_caller]
    fn wait_for<T: Data, W: Data>(
        self,
        table: KTable<'b, K, T>,
        missing: Missing,
        joined: &Joined<K, V>,
        join: impl Fn(&K, V, Option<&T>) -> Option<W> + Fun,
    ) -> KStream<'b, K, W> {
        let (key, value) = (joined.key, joined.value);
        let stream = self.by_key(&joined.name, Grouped::with(key, value));
        let Some(grace) = joined.grace else {
            return stream.look_up(table, missing, join);
        };
        let grace = Timestamp::try_from(grace.as_millis()).unwrap_or(Timestamp::MAX);
        let (view, facts) = stream.meets(table);
        let mistake = match facts.history {
            None => Some(
                "a join has a grace period only with a table that has versions: give the \
                          table Materialized::versioned(..)"
                    .to_owned(),
            ),
            Some(history) if history < grace => Some(format!(
                "the grace period of {grace} ms is longer than the table's history of {history} ms"
            )),
            Some(_) => None,
        };
        if let Some(text) = mistake {
            self.builder.mistake(Location::caller(), text);
        }
        let waiting = grace::store(self.builder, joined);
        let (join, stores) = (Arc::new(join), [facts.stores(), vec![waiting.id]].concat());
        let met = stream.operator(missing.label(), stores, move |link| {
            let mut graced = Graced {
                name: link.name().to_owned(),
                waiting: waiting.reference(),
                grace,
                key,
                value,
                missing,
                view: view.clone(),
                join: join.clone(),
                down: link.downstream::<K, W>(),
            };
            move |ctx: &mut TaskContext, record: Record<K, V>| graced.take(ctx, record)
        });
        met.with_null_keys(missing)
    }

    /// How the table is read, where the stream's records meet its rows.
    #[track_caller]
    fn meets<T: Data>(self, table: KTable<'b, K, T>) -> (Arc<View<K, T>>, Facts) {
        self.builder
            .must_be_copartitioned(self.node, table.changes.node, Location::caller());
        self.builder.must_be(table.changes.builder);
        let (view, facts) = table.rows();
        table.must_remember(&facts, Location::caller());
        (view, facts)
    }

    #[track_caller]
    fn look_up<T: Data, W: Data>(
        self,
        table: KTable<'b, K, T>,
        missing: Missing,
        join: impl Fn(&K, V, Option<&T>) -> Option<W> + Fun,
    ) -> KStream<'b, K, W> {
        let at = Location::caller();
        if let Some(changed) = self.rekeyed {
            self.builder.mistake(
                at,
                format!(
                    "the stream's key was changed at {changed}, so its records are not where the \
                     table's rows are: put .repartition(\"a-name\") before the join"
                ),
            );
        }
        let (view, facts) = self.meets(table);
        let join = Arc::new(join);
        let key_serde = self
            .builder
            .key_serde::<K>(self.node)
            .filter(|_| missing == Missing::LeftOut);
        let met = self.operator(missing.label(), facts.stores(), move |link| {
            let (view, join, mut down) = (view.clone(), join.clone(), link.downstream::<K, W>());
            let name = link.name().to_owned();
            move |ctx: &mut TaskContext, record: Record<K, V>| {
                let Record {
                    key,
                    value,
                    timestamp,
                    headers,
                } = record;
                if key_serde.is_some_and(|serde| serde.is_null(&key)) {
                    return ctx.drop_null_key();
                }
                let at = (&key, timestamp);
                let join = |row: Option<(&T, _)>| join(&key, value, row.map(|(row, _)| row));
                match view.with_as_of(ctx, at, join) {
                    Ok(Some(value)) => down.push(
                        ctx,
                        Record {
                            key,
                            value,
                            timestamp,
                            headers,
                        },
                    ),
                    Ok(None) => Ok(()),
                    Err(error) => ctx.refuse(&name, error),
                }
            }
        });
        met.with_null_keys(missing)
    }

    /// What makes something of records without a key gets them (KIP-962).
    fn with_null_keys(self, missing: Missing) -> Self {
        if missing == Missing::Joined {
            self.builder.takes_null_keys(self.node);
        }
        self
    }
}
