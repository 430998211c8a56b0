//! Processors that keep the key, so that nothing behind them need be repartitioned.
//!
//! Invariant, kept by types: what they send has the key of the record in hand, so where there is no
//! such record they have nothing to send with.

use super::{
    ChildRef, ChildSet, DeclaredChildren, Fun, KStream, LinkedChildren, ProcessResult,
    StateContext, instance::Instance,
};
use crate::{
    error::Result,
    link::{Data, Fanout, Linker, Push},
    record::{Headers, Record, Timestamp},
    store::StoreSet,
    task::{Cancellable, RecordMetadata, Resident, TaskContext},
};
use std::{
    cell::RefCell,
    ops::{Deref, DerefMut},
    panic::Location,
    rc::Rc,
    sync::Arc,
};

/// An operator of the user's own that cannot change the key, so that nothing need be repartitioned.
///
/// ```
/// use millstream_core::prelude::*;
///
/// static BIDS: Topic<String, i64> = Topic::new("bids", utf8(), i64_be());
/// static SEEN: Topic<String, i64> = Topic::new("seen", utf8(), i64_be());
///
/// /// Lets so many bids pass in each second of stream time.
/// struct Limit(i64);
///
/// impl FixedKeyProcessor<String, i64> for Limit {
///     type Value = i64;
///
///     fn init(&mut self, ctx: &mut StateContext<'_>) -> ProcessResult {
///         ctx.schedule(Schedule::stream_time(1_000))?;
///         Ok(())
///     }
///
///     fn process(
///         &mut self,
///         _: &String,
///         bid: i64,
///         ctx: &mut FixedKeyContext<'_, String, i64>,
///     ) -> ProcessResult {
///         self.0 -= 1;
///         if self.0 >= 0 {
///             ctx.forward(bid)?;
///         }
///         Ok(())
///     }
///
///     fn punctuate(
///         &mut self,
///         _: &Cancellable,
///         _: Timestamp,
///         _: &mut StateContext<'_>,
///     ) -> ProcessResult {
///         self.0 = 1;
///         Ok(())
///     }
/// }
///
/// let builder = StreamsBuilder::new();
/// builder.stream(&BIDS).process_values((), |()| Limit(1)).to(&SEEN);
///
/// let mut driver = TopologyTestDriver::new(builder.build()?)?;
/// for time in [0, 500, 999, 1_000, 1_001, 1_002] {
///     driver.pipe(&BIDS, "a".to_owned(), time, time)?;
/// }
/// let seen: Vec<_> = driver.read(&SEEN)?.iter().map(|bid| bid.value).collect();
/// // Stream time reaches a second with the record of that time, which is judged before.
/// assert_eq!(seen, [0, 500, 1_001]);
/// # Ok::<(), millstream_core::Error>(())
/// ```
pub trait FixedKeyProcessor<K, V>: 'static {
    /// The value it sends on.
    type Value: Data;

    /// As [`Processor::init`](super::Processor::init).
    ///
    /// # Errors
    /// Any; the program stops then.
    fn init(&mut self, _ctx: &mut StateContext<'_>) -> ProcessResult {
        Ok(())
    }

    /// Takes one record.
    ///
    /// # Errors
    /// Any; see [`ProcessResult`].
    fn process(
        &mut self,
        key: &K,
        value: V,
        ctx: &mut FixedKeyContext<'_, K, Self::Value>,
    ) -> ProcessResult;

    /// Is called when a schedule that it has made is due, at `now` of that schedule's clock. There
    /// is no key then, so nothing can be sent: what is to be told has to wait for a record.
    ///
    /// # Errors
    /// Any; see [`ProcessResult`].
    fn punctuate(
        &mut self,
        _of: &Cancellable,
        _now: Timestamp,
        _ctx: &mut StateContext<'_>,
    ) -> ProcessResult {
        Ok(())
    }

    /// As [`Processor::close`](super::Processor::close).
    fn close(&mut self) {}
}

/// What a fixed-key processor may do with a record: all of [`StateContext`], and send.
pub struct FixedKeyContext<'a, K, V> {
    state: StateContext<'a>,
    down: &'a mut Fanout<K, V>,
    key: &'a K,
    timestamp: Timestamp,
    headers: &'a Headers,
}

impl<K: Data, V: Data> FixedKeyContext<'_, K, V> {
    /// Sends a value downstream under the record's key, timestamp and headers.
    ///
    /// # Errors
    /// What happens downstream.
    pub fn forward(&mut self, value: V) -> Result<()> {
        let record = self.record(value);
        let sent = self.down.push(self.state.task, record);
        self.state.heed(sent)
    }

    /// Sends a value to one of the processor's further outputs, as [`FixedKeyContext::forward`]
    /// does to the main one; see
    /// [`KStream::process_values_to`](super::super::KStream::process_values_to).
    ///
    /// # Errors
    /// What happens downstream.
    pub fn forward_to<CV: Data>(&mut self, child: &ChildRef<K, CV>, value: CV) -> Result<()> {
        let record = self.record(value);
        let sent = child.push(self.state.task, record);
        self.state.heed(sent)
    }

    /// As the record in hand, with another value.
    fn record<T>(&self, value: T) -> Record<K, T> {
        Record {
            key: self.key.clone(),
            value,
            timestamp: self.timestamp,
            headers: self.headers.clone(),
        }
    }

    /// The timestamp of the record in hand.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// The headers of the record in hand.
    pub fn headers(&self) -> &Headers {
        self.headers
    }

    /// Where the record in hand comes from.
    pub fn record_metadata(&self) -> Option<RecordMetadata> {
        self.state.task.record_metadata()
    }
}

impl<'a, K, V> Deref for FixedKeyContext<'a, K, V> {
    type Target = StateContext<'a>;

    fn deref(&self) -> &StateContext<'a> {
        &self.state
    }
}

impl<K, V> DerefMut for FixedKeyContext<'_, K, V> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.state
    }
}

/// A fixed-key processor of a task.
struct Node<P, K, V>(Instance<P>, std::marker::PhantomData<fn(K, V)>);

impl<K, V, P: FixedKeyProcessor<K, V>> Resident for Rc<RefCell<Node<P, K, V>>>
where
    K: 'static,
    V: 'static,
{
    fn start(&mut self, task: &mut TaskContext, me: usize) -> Result<()> {
        self.borrow_mut().0.start(task, me, P::init)
    }

    fn call(&mut self, task: &mut TaskContext, of: &Cancellable, now: Timestamp) -> Result<bool> {
        let instance = &mut self.borrow_mut().0;
        // Nobody knows what a processor did.
        let called = instance.act(task, |processor, mut state| {
            processor.punctuate(of, now, &mut state)
        });
        called.map(|()| true)
    }

    fn stop(&mut self) {
        self.borrow_mut().0.stop(P::close);
    }
}

impl<'b, K: Data, V: Data> KStream<'b, K, V> {
    /// Runs a fixed-key processor on the stream, connected to some stores. `new` makes one for each
    /// task.
    #[track_caller]
    pub fn process_values<S: StoreSet, P: FixedKeyProcessor<K, V>>(
        self,
        stores: S,
        new: impl Fn(S::Refs) -> P + Fun,
    ) -> KStream<'b, K, P::Value> {
        self.process_values_to(stores, (), move |stores, ()| new(stores))
            .0
    }

    /// As [`KStream::process_values`], with further outputs as those of
    /// [`KStream::process_to`]: what is sent to them has the stream's key, so that nothing behind
    /// them need be repartitioned either.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    ///
    /// static BIDS: Topic<String, i64> = Topic::new("bids", utf8(), i64_be());
    /// static HIGH: Topic<String, i64> = Topic::new("high", utf8(), i64_be());
    /// static LOW: Topic<String, String> = Topic::new("low", utf8(), utf8());
    ///
    /// struct Sort {
    ///     low: ChildRef<String, String>,
    /// }
    ///
    /// impl FixedKeyProcessor<String, i64> for Sort {
    ///     type Value = i64;
    ///
    ///     fn process(
    ///         &mut self,
    ///         _: &String,
    ///         bid: i64,
    ///         ctx: &mut FixedKeyContext<'_, String, i64>,
    ///     ) -> ProcessResult {
    ///         match bid {
    ///             ..100 => ctx.forward_to(&self.low, format!("only {bid}"))?,
    ///             _ => ctx.forward(bid)?,
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let builder = StreamsBuilder::new();
    /// let bids = builder.stream(&BIDS);
    /// let (high, low) = bids.process_values_to((), Child::new("low"), |(), low| Sort { low });
    /// high.to(&HIGH);
    /// low.to(&LOW);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// driver.pipe(&BIDS, "a".to_owned(), 100, 0)?;
    /// driver.pipe(&BIDS, "b".to_owned(), 99, 1)?;
    /// assert_eq!(driver.read_key_values(&HIGH)?, [("a".to_owned(), Some(100))]);
    /// assert_eq!(driver.read_key_values(&LOW)?, [("b".to_owned(), Some("only 99".to_owned()))]);
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[track_caller]
    pub fn process_values_to<S: StoreSet, C: ChildSet, P: FixedKeyProcessor<K, V>>(
        self,
        stores: S,
        children: C,
        new: impl Fn(S::Refs, C::Refs) -> P + Fun,
    ) -> (KStream<'b, K, P::Value>, C::Streams<'b>) {
        let (new, declared) = (Arc::new(new), children.clone());
        let processed = self.operator("process_values", stores.ids(), move |link| {
            let (new, refs) = (new.clone(), children.refs(&mut LinkedChildren::of(link)));
            let down = link.downstream::<K, P::Value>();
            resident(link, move || new(stores.refs(), refs.clone()), down)
        });
        let mut declaring = DeclaredChildren {
            builder: self.builder,
            parent: processed.node,
            rekeyed: self.rekeyed,
            at: Location::caller(),
        };
        let streams = declared.streams(&mut declaring);
        (processed, streams)
    }
}

/// The processor of the node in hand, which sends what it makes of records `down`.
pub(in crate::dsl) fn resident<K: Data, V: Data, P: FixedKeyProcessor<K, V>, N>(
    link: &mut Linker<'_>,
    new: N,
    mut down: Fanout<K, P::Value>,
) -> impl Push<K, V> + use<K, V, P, N>
where
    N: Fn() -> P + 'static,
{
    let instance = Instance::new(link.name(), new);
    let node = Rc::new(RefCell::new(Node(instance, std::marker::PhantomData)));
    link.residents.push(Box::new(node.clone()));
    move |task: &mut TaskContext, record: Record<K, V>| {
        act(&mut node.borrow_mut(), &mut down, task, record)
    }
}

/// Lets a processor take a record.
#[inline]
fn act<K: Data, V: Data, P: FixedKeyProcessor<K, V>>(
    node: &mut Node<P, K, V>,
    down: &mut Fanout<K, P::Value>,
    task: &mut TaskContext,
    record: Record<K, V>,
) -> Result<()> {
    let (key, headers) = (&record.key, &record.headers);
    let (value, timestamp) = (record.value, record.timestamp);
    node.0.act(task, |processor: &mut P, state| {
        let mut ctx = FixedKeyContext {
            state,
            down,
            key,
            timestamp,
            headers,
        };
        processor.process(key, value, &mut ctx)
    })
}
