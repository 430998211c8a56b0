//! The `try_*` operators: closures that may refuse a record.
//!
//! A refused record goes no further at this operator, while what its siblings made of it stays; the
//! operator's policy decides, or else the source's, or else the program's, whether the thread
//! stops, or the record is counted and perhaps kept as a dead letter. That is Kafka's processing
//! exception handler (KIP-1033), which Kafka has for the whole program only.

use super::{Fun, KStream, process::unboxed};
use crate::{link::Data, record::Record, task::TaskContext};
use std::sync::Arc;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<'b, K: Data, V: Data> KStream<'b, K, V> {
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
