//! Static fusion: a chain of stateless operators inside one node, declared as
//! `stream.fused(|p| p.map_values(..))`.
//!
//! A node costs a call through a pointer; a fused step costs what the compiler leaves of it, which
//! for small closures is nothing. The topology shows the chain as one operator.

use super::{Fun, KStream};
use crate::{error::Result, link::Data, record::Record, task::TaskContext};
use std::{marker::PhantomData, sync::Arc};

/// A chain of steps from one kind of record to another.
pub trait Pipe: Fun + Sized {
    /// The records that go in.
    type In;
    /// The key of those that come out.
    type Key: Data;
    /// Their value.
    type Value: Data;

    /// Runs one record through the chain.
    ///
    /// # Errors
    /// What `out` returns.
    fn drive(
        &self,
        record: Self::In,
        out: &mut impl FnMut(Record<Self::Key, Self::Value>) -> Result<()>,
    ) -> Result<()>;

    /// Makes another value of each value.
    fn map_values<W: Data, F: Fn(Self::Value) -> W + Fun>(self, map: F) -> MapValues<Self, F, W> {
        MapValues(self, map, PhantomData)
    }

    /// Keeps the records for which `keep` holds.
    fn filter<F: Fn(&Self::Key, &Self::Value) -> bool + Fun>(self, keep: F) -> Filter<Self, F> {
        Filter(self, keep)
    }

    /// Makes any number of values of each value.
    fn flat_map_values<I: IntoIterator<Item: Data> + 'static, F: Fn(Self::Value) -> I + Fun>(
        self,
        map: F,
    ) -> FlatMapValues<Self, F, I> {
        FlatMapValues(self, map, PhantomData)
    }
}

/// The beginning of a chain.
pub struct Start<K, V>(PhantomData<fn() -> (K, V)>);
/// See [`Pipe::map_values`].
pub struct MapValues<P, F, W>(P, F, PhantomData<fn() -> W>);
/// See [`Pipe::filter`].
pub struct Filter<P, F>(P, F);
/// See [`Pipe::flat_map_values`].
pub struct FlatMapValues<P, F, I>(P, F, PhantomData<fn() -> I>);

impl<K: Data, V: Data> Pipe for Start<K, V> {
    type In = Record<K, V>;
    type Key = K;
    type Value = V;

    #[inline]
    fn drive(
        &self,
        record: Record<K, V>,
        out: &mut impl FnMut(Record<K, V>) -> Result<()>,
    ) -> Result<()> {
        out(record)
    }
}

impl<P: Pipe, W: Data, F: Fn(P::Value) -> W + Fun> Pipe for MapValues<P, F, W> {
    type In = P::In;
    type Key = P::Key;
    type Value = W;

    #[inline]
    fn drive(
        &self,
        record: P::In,
        out: &mut impl FnMut(Record<P::Key, W>) -> Result<()>,
    ) -> Result<()> {
        self.0.drive(record, &mut |record| {
            let Record {
                key,
                value,
                timestamp,
                headers,
            } = record;
            out(Record {
                key,
                value: (self.1)(value),
                timestamp,
                headers,
            })
        })
    }
}

impl<P: Pipe, F: Fn(&P::Key, &P::Value) -> bool + Fun> Pipe for Filter<P, F> {
    type In = P::In;
    type Key = P::Key;
    type Value = P::Value;

    #[inline]
    fn drive(
        &self,
        record: P::In,
        out: &mut impl FnMut(Record<P::Key, P::Value>) -> Result<()>,
    ) -> Result<()> {
        self.0.drive(record, &mut |record| {
            if (self.1)(&record.key, &record.value) {
                out(record)
            } else {
                Ok(())
            }
        })
    }
}

impl<P, F, I> Pipe for FlatMapValues<P, F, I>
where
    P: Pipe,
    I: IntoIterator<Item: Data> + 'static,
    F: Fn(P::Value) -> I + Fun,
{
    type In = P::In;
    type Key = P::Key;
    type Value = I::Item;

    #[inline]
    fn drive(
        &self,
        record: P::In,
        out: &mut impl FnMut(Record<P::Key, I::Item>) -> Result<()>,
    ) -> Result<()> {
        self.0.drive(record, &mut |record| {
            let Record {
                key,
                value,
                timestamp,
                headers,
            } = record;
            for value in (self.1)(value) {
                let (key, headers) = (key.clone(), headers.clone());
                out(Record {
                    key,
                    value,
                    timestamp,
                    headers,
                })?;
            }
            Ok(())
        })
    }
}

impl<'b, K: Data, V: Data> KStream<'b, K, V> {
    /// Runs a chain of steps as one operator. None of its steps can change the key.
    #[track_caller]
    pub fn fused<P: Pipe<In = Record<K, V>>>(
        self,
        chain: impl FnOnce(Start<K, V>) -> P,
    ) -> KStream<'b, P::Key, P::Value> {
        let pipe = Arc::new(chain(Start(PhantomData)));
        self.operator("fused", vec![], move |link| {
            let (pipe, mut down) = (pipe.clone(), link.downstream());
            move |ctx: &mut TaskContext, record: Record<K, V>| {
                pipe.drive(record, &mut |record| down.push(ctx, record))
            }
        })
    }
}
