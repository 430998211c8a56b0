//! The processor API: the user's own operators, with stores, schedules and several outputs.
//!
//! Invariant: a processor lives as long as its task goes on from one commit to the next. Where the
//! task begins or goes back, a new one is made and initialized from the committed stores.

mod children;
mod context;
mod fixed_key;
mod instance;

pub use children::{Child, ChildRef, ChildSet, DeclaredChildren, LinkedChildren};
pub use context::{ProcessorContext, StateContext};
pub(super) use fixed_key::resident;
pub use fixed_key::{FixedKeyContext, FixedKeyProcessor};
pub(super) use instance::unboxed;

use super::{Fun, KStream};
use crate::{
    error::Result,
    link::{Data, Fanout},
    record::{Record, Timestamp},
    store::StoreSet,
    task::{Cancellable, Resident, TaskContext},
};
use instance::Instance;
use std::{cell::RefCell, panic::Location, rc::Rc, sync::Arc};

/// What a processor returns: `?` works on any error, and is a refusal of the record, which the
/// node's policy answers, or else the source's, or else the program's. But where storage failed
/// below a store, or something downstream has stopped the program, it stops, also where the
/// processor puts that into an error of its own (storage's must be among that one's
/// [`source`](std::error::Error::source)s). From `init` any error ends the program, as in Kafka
/// Streams.
pub type ProcessResult = std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// An operator of the user's own. Each task has its own instance; all of its lasting state must be
/// in stores, since an instance dies with every rebalance and every commit that fails.
///
/// ```
/// use millstream_core::prelude::*;
///
/// static SENSORS: Topic<String, i64> = Topic::new("sensors", utf8(), i64_be());
/// static SILENT: Topic<String, i64> = Topic::new("silent", utf8(), i64_be());
///
/// /// Tells once that nothing came for a second, and looks again when something comes.
/// struct Silence {
///     last: StoreRef<KeyValueStore<String, i64>>,
///     watch: Option<Cancellable>,
/// }
///
/// impl Processor<String, i64> for Silence {
///     type Key = String;
///     type Value = i64;
///
///     // Schedules are not stored: what was made for a row is made anew from that row.
///     fn init(&mut self, ctx: &mut StateContext<'_>) -> ProcessResult {
///         if ctx.store(self.last).get(&"any".to_owned())?.is_some() {
///             self.watch = Some(ctx.schedule(Schedule::wall_clock(1_000))?);
///         }
///         Ok(())
///     }
///
///     fn process(
///         &mut self,
///         record: Record<String, i64>,
///         ctx: &mut ProcessorContext<'_, String, i64>,
///     ) -> ProcessResult {
///         ctx.store(self.last).put(&"any".to_owned(), record.timestamp)?;
///         let next = ctx.schedule(Schedule::wall_clock(1_000))?;
///         if let Some(before) = self.watch.replace(next) {
///             before.cancel();
///         }
///         Ok(())
///     }
///
///     fn punctuate(
///         &mut self,
///         of: &Cancellable,
///         now: Timestamp,
///         ctx: &mut ProcessorContext<'_, String, i64>,
///     ) -> ProcessResult {
///         of.cancel();
///         let last = ctx.store(self.last).delete(&"any".to_owned())?;
///         Ok(ctx.forward(Record::new("any".to_owned(), last.unwrap_or(0), now))?)
///     }
/// }
///
/// let builder = StreamsBuilder::new();
/// let last = builder.store("last");
/// let silent = builder.stream(&SENSORS).process(last, |last| Silence { last, watch: None });
/// silent.to(&SILENT);
///
/// let mut driver = TopologyTestDriver::new(builder.build()?)?;
/// driver.pipe(&SENSORS, "a".to_owned(), 1, 17)?;
/// driver.advance_wall_clock(999)?;
/// driver.pipe(&SENSORS, "b".to_owned(), 2, 18)?;
/// driver.advance_wall_clock(1_500)?;
/// assert!(driver.read(&SILENT)?.is_empty());
/// driver.advance_wall_clock(2_000)?;
/// driver.advance_wall_clock(9_000)?;
/// assert_eq!(driver.read_key_values(&SILENT)?, [("any".to_owned(), Some(18))]);
/// # Ok::<(), millstream_core::Error>(())
/// ```
pub trait Processor<K, V>: 'static {
    /// The key it sends on.
    type Key: Data;
    /// The value it sends on.
    type Value: Data;

    /// Is called once, before anything else: the place to make schedules. Its stores are there;
    /// nothing can be sent yet.
    ///
    /// A schedule that is made here goes on where it was before a restart, since stream time does.
    /// One that was made for a record has to be made here again, from what a store says of it.
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
        record: Record<K, V>,
        ctx: &mut ProcessorContext<'_, Self::Key, Self::Value>,
    ) -> ProcessResult;

    /// Is called when a schedule that it has made is due, at `now` of that schedule's clock.
    ///
    /// # Errors
    /// Any; see [`ProcessResult`]. There is no record then, so a dead letter says only why.
    fn punctuate(
        &mut self,
        _of: &Cancellable,
        _now: Timestamp,
        _ctx: &mut ProcessorContext<'_, Self::Key, Self::Value>,
    ) -> ProcessResult {
        Ok(())
    }

    /// Is called last, once, where `init` was and went well: the place to let go of what is not
    /// the program's. The work since the last commit may or may not be lost, and nothing can be
    /// stored or sent any more. A crash or a panic calls nobody.
    fn close(&mut self) {}
}

/// A processor of a task, and where it sends.
struct Node<K, V, P: Processor<K, V>> {
    instance: Instance<P>,
    down: Fanout<P::Key, P::Value>,
    types: std::marker::PhantomData<fn(K, V)>,
}

impl<K, V, P: Processor<K, V>> Node<K, V, P> {
    /// Lets the processor act, and its node's policy answer to what that returns.
    fn act(
        &mut self,
        task: &mut TaskContext,
        act: impl FnOnce(&mut P, &mut ProcessorContext<'_, P::Key, P::Value>) -> ProcessResult,
    ) -> Result<()> {
        let Self { instance, down, .. } = self;
        instance.act(task, |processor, state| {
            act(processor, &mut ProcessorContext { state, down })
        })
    }
}

impl<K: 'static, V: 'static, P: Processor<K, V>> Resident for Rc<RefCell<Node<K, V, P>>> {
    fn start(&mut self, task: &mut TaskContext, me: usize) -> Result<()> {
        self.borrow_mut().instance.start(task, me, P::init)
    }

    fn call(&mut self, task: &mut TaskContext, of: &Cancellable, now: Timestamp) -> Result<bool> {
        let called = |processor: &mut P, ctx: &mut ProcessorContext<'_, P::Key, P::Value>| {
            processor.punctuate(of, now, ctx)
        };
        // Nobody knows what a processor did.
        self.borrow_mut().act(task, called).map(|()| true)
    }

    fn stop(&mut self) {
        self.borrow_mut().instance.stop(P::close);
    }
}

impl<'b, K: Data, V: Data> KStream<'b, K, V> {
    /// Runs a processor on the stream, connected to some stores. `new` makes one for each task.
    #[track_caller]
    pub fn process<S: StoreSet, P: Processor<K, V>>(
        self,
        stores: S,
        new: impl Fn(S::Refs) -> P + Fun,
    ) -> KStream<'b, P::Key, P::Value> {
        self.process_to(stores, (), move |stores, ()| new(stores)).0
    }

    /// As [`KStream::process`], with further outputs that have names and types of their own: a
    /// [`Child`] or a tuple of them. The processor gets a [`ChildRef`] for each, to send there with
    /// [`ProcessorContext::forward_to`]; the streams of that come back beside its main one.
    ///
    /// In Kafka Streams these are children whom a processor names when it forwards. There
    /// `forward(record)` goes to all children; here it goes to the main output alone.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    ///
    /// static ORDERS: Topic<String, String> = Topic::new("orders", utf8(), utf8());
    /// static AMOUNTS: Topic<String, i64> = Topic::new("amounts", utf8(), i64_be());
    /// static REJECTED: Topic<(), String> = Topic::new("rejected-orders", unit(), utf8());
    ///
    /// struct Parse {
    ///     rejected: ChildRef<(), String>,
    /// }
    ///
    /// impl Processor<String, String> for Parse {
    ///     type Key = String;
    ///     type Value = i64;
    ///
    ///     fn process(
    ///         &mut self,
    ///         order: Record<String, String>,
    ///         ctx: &mut ProcessorContext<'_, String, i64>,
    ///     ) -> ProcessResult {
    ///         match order.value.parse() {
    ///             Ok(amount) => ctx.forward(order.with_value(amount))?,
    ///             Err(_) => ctx.forward_to(&self.rejected, order.with_key(()))?,
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let builder = StreamsBuilder::new();
    /// let orders = builder.stream(&ORDERS);
    /// let (valid, rejected) =
    ///     orders.process_to((), Child::new("rejected"), |(), rejected| Parse { rejected });
    /// valid.to(&AMOUNTS);
    /// rejected.to(&REJECTED);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// driver.pipe(&ORDERS, "a".to_owned(), "12".to_owned(), 0)?;
    /// driver.pipe(&ORDERS, "b".to_owned(), "twelve".to_owned(), 1)?;
    /// assert_eq!(driver.read_key_values(&AMOUNTS)?, [("a".to_owned(), Some(12))]);
    /// assert_eq!(driver.read_key_values(&REJECTED)?, [((), Some("twelve".to_owned()))]);
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[track_caller]
    pub fn process_to<S: StoreSet, C: ChildSet, P: Processor<K, V>>(
        self,
        stores: S,
        children: C,
        new: impl Fn(S::Refs, C::Refs) -> P + Fun,
    ) -> (KStream<'b, P::Key, P::Value>, C::Streams<'b>) {
        let (new, declared) = (Arc::new(new), children.clone());
        let processed = self.operator("process", stores.ids(), move |link| {
            let (new, refs) = (new.clone(), children.refs(&mut LinkedChildren::of(link)));
            let node = Rc::new(RefCell::new(Node {
                instance: Instance::new(link.name(), move || new(stores.refs(), refs.clone())),
                down: link.downstream::<P::Key, P::Value>(),
                types: std::marker::PhantomData,
            }));
            link.residents.push(Box::new(node.clone()));
            move |task: &mut TaskContext, record: Record<K, V>| {
                let mut node = node.borrow_mut();
                node.act(task, |processor, ctx| processor.process(record, ctx))
            }
        });
        let mut declaring = DeclaredChildren {
            builder: self.builder,
            parent: processed.node,
            // Nobody knows which key a processor gives its records.
            rekeyed: Some(Location::caller()),
            at: Location::caller(),
        };
        let streams = declared.streams(&mut declaring);
        (processed.with_new_key(), streams)
    }
}
