//! The `try_*` operators: closures that may refuse a record.
//!
//! A refused record goes no further at this operator, while what its siblings made of it stays; the
//! operator's policy decides, or else the source's, or else the program's, whether the thread
//! stops, or the record is counted and perhaps kept as a dead letter. That is Kafka's processing
//! exception handler (KIP-1033), which Kafka has for the whole program only.

use super::{Fun, KStream, KTable, process::unboxed};
use crate::{
    link::Data,
    record::Record,
    task::{ErrorPolicy, TaskContext},
};
use std::{panic::Location, sync::Arc};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<'b, K: Data, V: Data> KStream<'b, K, V> {
    /// Says what becomes of the records that the operator before this refuses, whatever their
    /// source and the program say: a `try_*` operator, a processor or a join. Those of an
    /// aggregation are its table's: [`KTable::on_error`](super::KTable::on_error).
    /// Behind `stream(..)` it says so of the source, as
    /// [`Consumed::on_error`](super::Consumed::on_error).
    ///
    /// ```
    /// use millstream_core::prelude::*;
    ///
    /// static TEXTS: Topic<String, String> = Topic::new("texts", utf8(), utf8());
    /// static NUMBERS: Topic<String, i64> = Topic::new("numbers", utf8(), i64_be());
    ///
    /// let builder = StreamsBuilder::new();
    /// builder
    ///     .stream(&TEXTS)
    ///     .try_map_values(|text| text.parse::<i64>())
    ///     .on_error(ErrorPolicy::DeadLetterTo("no-numbers"))
    ///     .to(&NUMBERS);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// driver.pipe(&TEXTS, "a".to_owned(), "seven".to_owned(), 0)?;
    /// driver.pipe(&TEXTS, "a".to_owned(), "7".to_owned(), 1)?;
    /// assert_eq!(driver.read_key_values(&NUMBERS)?, [("a".to_owned(), Some(7))]);
    /// let (_, value, _, headers) = driver.read_raw("no-numbers").remove(0);
    /// assert_eq!(value.as_deref(), Some(&b"seven"[..]));
    /// let why = headers.last("__streams.errors.message").and_then(|why| why.value.as_deref());
    /// assert_eq!(why, Some(&b"invalid digit found in string"[..]));
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[track_caller]
    pub fn on_error(self, policy: ErrorPolicy) -> Self {
        self.builder.answer(self.node, policy, Location::caller());
        self
    }

    /// Makes any number of records of each record, or refuses it.
    #[track_caller]
    #[must_use = "a mapped stream goes nowhere by itself"]
    pub fn try_flat_map<K2: Data, V2: Data, I, E>(
        self,
        map: impl Fn(K, V) -> Result<I, E> + Fun,
    ) -> KStream<'b, K2, V2>
    where
        I: IntoIterator<Item = (K2, V2)>,
        E: Into<BoxError>,
    {
        self.attempt("try_flat_map", map).with_new_key()
    }

    /// Makes another key and value of each record, or refuses it.
    #[track_caller]
    #[must_use = "a mapped stream goes nowhere by itself"]
    pub fn try_map<K2: Data, V2: Data, E: Into<BoxError>>(
        self,
        map: impl Fn(K, V) -> Result<(K2, V2), E> + Fun,
    ) -> KStream<'b, K2, V2> {
        self.attempt("try_map", move |key, value| map(key, value).map(Some))
            .with_new_key()
    }

    /// Gives each record another key, or refuses it.
    #[track_caller]
    #[must_use = "a rekeyed stream goes nowhere by itself"]
    pub fn try_select_key<K2: Data, E: Into<BoxError>>(
        self,
        select: impl Fn(&K, &V) -> Result<K2, E> + Fun,
    ) -> KStream<'b, K2, V> {
        let select = move |key: K, value: V| select(&key, &value).map(|key| Some((key, value)));
        self.attempt("try_select_key", select).with_new_key()
    }

    /// Makes another value of each value, or refuses the record.
    #[track_caller]
    #[must_use = "a mapped stream goes nowhere by itself"]
    pub fn try_map_values<V2: Data, E: Into<BoxError>>(
        self,
        map: impl Fn(V) -> Result<V2, E> + Fun,
    ) -> KStream<'b, K, V2> {
        self.attempt("try_map_values", move |key, value| {
            map(value).map(|v| Some((key, v)))
        })
    }

    /// Makes any number of values of each value, or refuses the record.
    #[track_caller]
    #[must_use = "a mapped stream goes nowhere by itself"]
    pub fn try_flat_map_values<I: IntoIterator<Item: Data>, E: Into<BoxError>>(
        self,
        map: impl Fn(V) -> Result<I, E> + Fun,
    ) -> KStream<'b, K, I::Item> {
        self.attempt("try_flat_map_values", move |key: K, value| {
            map(value).map(|values| values.into_iter().map(move |v| (key.clone(), v)))
        })
    }

    /// Keeps the records for which `keep` holds, or refuses them.
    #[track_caller]
    #[must_use = "a filtered stream goes nowhere by itself"]
    pub fn try_filter<E: Into<BoxError>>(
        self,
        keep: impl Fn(&K, &V) -> Result<bool, E> + Fun,
    ) -> Self {
        self.attempt("try_filter", move |key, value| {
            keep(&key, &value).map(|keep| keep.then_some((key, value)))
        })
    }

    /// Ends the stream in a side effect that may fail. One with an error policy of its own is a
    /// `try_filter` that keeps nothing, with [`KStream::on_error`] behind it.
    #[track_caller]
    pub fn try_for_each<E: Into<BoxError>>(self, act: impl Fn(K, V) -> Result<(), E> + Fun) {
        self.attempt("try_foreach", move |key, value| {
            act(key, value).map(|()| None::<(K, V)>)
        });
    }

    /// What all of them are.
    #[track_caller]
    fn attempt<K2: Data, V2: Data, I, E>(
        self,
        label: &'static str,
        map: impl Fn(K, V) -> Result<I, E> + Fun,
    ) -> KStream<'b, K2, V2>
    where
        I: IntoIterator<Item = (K2, V2)>,
        E: Into<BoxError>,
    {
        let map = Arc::new(map);
        self.operator(label, vec![], move |link| {
            let (map, mut down, name) = (map.clone(), link.downstream(), link.name().to_owned());
            move |ctx: &mut TaskContext, record: Record<K, V>| {
                let Record {
                    key,
                    value,
                    timestamp,
                    headers,
                } = record;
                let made = match map(key, value) {
                    Ok(made) => made,
                    Err(error) => return ctx.refuse(&name, unboxed(error.into())),
                };
                for (key, value) in made {
                    let headers = headers.clone();
                    down.push(
                        ctx,
                        Record {
                            key,
                            value,
                            timestamp,
                            headers,
                        },
                    )?;
                }
                Ok(())
            }
        })
    }
}

impl<K: Data, V: Data> KTable<'_, K, V> {
    /// Says what becomes of the records that the operator which makes this table refuses, as
    /// [`KStream::on_error`] does: an aggregation, a join, or the reading of rows.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    ///
    /// static PARTS: Topic<String, i64> = Topic::new("parts", utf8(), i64_be());
    /// static SUMS: Topic<String, i64> = Topic::new("sums", utf8(), i64_be());
    ///
    /// let builder = StreamsBuilder::new();
    /// let add = |_: &String, part: i64, sum: &mut i64| {
    ///     *sum = sum.checked_add(part).ok_or("the sum is too large")?;
    ///     Ok::<_, &str>(())
    /// };
    /// let parts = builder.stream(&PARTS).group_by_key();
    /// parts.try_aggregate("sums", || 0, add).on_error(ErrorPolicy::Skip).to(&SUMS);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// for part in [1, i64::MAX, 2] {
    ///     driver.pipe(&PARTS, "a".to_owned(), part, 0)?;
    /// }
    /// let sums = driver.read_key_values(&SUMS)?;
    /// assert_eq!(sums, [("a".to_owned(), Some(1)), ("a".to_owned(), Some(3))]);
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[track_caller]
    #[must_use = "a table goes nowhere by itself"]
    pub fn on_error(self, policy: ErrorPolicy) -> Self {
        let (builder, node) = (self.changes.builder, self.changes.node);
        builder.answer(node, policy, Location::caller());
        self
    }
}
