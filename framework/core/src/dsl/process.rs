//! The processor API: the user's own operators, with stores and punctuation.

use super::{Fun, GlobalStore, KStream};
use crate::{
    error::{Error, Result},
    link::{Data, Fanout},
    record::{Headers, Record, Timestamp},
    store::{StateStore, StoreRef, StoreSet},
    task::{PunctuationType, RecordMetadata, Schedule, TaskContext, Timer},
};
use std::{cell::RefCell, rc::Rc, sync::Arc};

/// What a processor returns: `?` works on any error. Errors of stores keep their meaning; all
/// others are a refusal of the record, which the node's policy answers, or else the source's, or
/// else the program's.
pub type ProcessResult = std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// An operator of the user's own. Each task has its own instance; all of its lasting state must be
/// in stores, since an instance dies with every rebalance.
pub trait Processor<K, V>: 'static {
    /// The key it sends on.
    type Key: Data;
    /// The value it sends on.
    type Value: Data;

    /// When it wants to be called besides records. Asked once.
    fn schedules(&self) -> Vec<Schedule> {
        Vec::new()
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

    /// Is called when one of its schedules is due, at `now` of that clock.
    ///
    /// # Errors
    /// Any; see [`ProcessResult`]. There is no record then, so a dead letter says only why.
    fn punctuate(
        &mut self,
        _clock: PunctuationType,
        _now: Timestamp,
        _ctx: &mut ProcessorContext<'_, Self::Key, Self::Value>,
    ) -> ProcessResult {
        Ok(())
    }
}

/// What a processor may do.
pub struct ProcessorContext<'a, K, V> {
    task: &'a mut TaskContext,
    down: &'a mut Fanout<K, V>,
}

impl<K: Data, V: Data> ProcessorContext<'_, K, V> {
    /// A store that the processor was connected to.
    pub fn store<S: StateStore>(&mut self, at: StoreRef<S>) -> &mut S {
        self.task.store(at)
    }

    /// The row of a key in a global table, and its time. Global tables need not be connected.
    ///
    /// # Errors
    /// Where the key cannot be encoded, the row not be decoded, or storage fails.
    pub fn global<GK, GV>(
        &mut self,
        table: GlobalStore<GK, GV>,
        key: &GK,
    ) -> Result<Option<(GV, Timestamp)>> {
        table.row(self.task.globals.clone(), key)
    }

    /// Sends a record downstream, depth first: when this returns, all of it has happened.
    ///
    /// # Errors
    /// What happens downstream.
    pub fn forward(&mut self, record: Record<K, V>) -> Result<()> {
        self.down.push(self.task, record)
    }

    /// The greatest timestamp the task has seen.
    pub fn stream_time(&self) -> Timestamp {
        self.task.stream_time()
    }

    /// The wall clock as the driver last told it: the only clock a processor may look at.
    pub fn wall_clock(&self) -> Timestamp {
        self.task.wall_clock()
    }

    /// Where the record in hand comes from; `None` in a punctuation.
    pub fn record_metadata(&self) -> Option<RecordMetadata> {
        self.task.record_metadata()
    }

    /// Asks for a commit soon.
    pub fn request_commit(&mut self) {
        self.task.request_commit();
    }
}

/// An operator of the user's own that cannot change the key, so that nothing need be repartitioned.
pub trait FixedKeyProcessor<K, V>: 'static {
    /// The value it sends on.
    type Value: Data;

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
}

/// What a fixed-key processor may do.
pub struct FixedKeyContext<'a, K, V> {
    task: &'a mut TaskContext,
    down: &'a mut Fanout<K, V>,
    key: &'a K,
    timestamp: Timestamp,
    headers: &'a Headers,
}

impl<K: Data, V: Data> FixedKeyContext<'_, K, V> {
    /// A store that the processor was connected to.
    pub fn store<S: StateStore>(&mut self, at: StoreRef<S>) -> &mut S {
        self.task.store(at)
    }

    /// Sends a value downstream under the record's key, timestamp and headers.
    ///
    /// # Errors
    /// What happens downstream.
    pub fn forward(&mut self, value: V) -> Result<()> {
        let (key, headers) = (self.key.clone(), self.headers.clone());
        self.down.push(
            self.task,
            Record {
                key,
                value,
                timestamp: self.timestamp,
                headers,
            },
        )
    }

    /// The timestamp of the record in hand.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// Where the record in hand comes from.
    pub fn record_metadata(&self) -> Option<RecordMetadata> {
        self.task.record_metadata()
    }
}

/// An error that a user's `?` boxed is itself again.
pub(super) fn unboxed(error: Box<dyn std::error::Error + Send + Sync>) -> Error {
    match error.downcast::<Error>() {
        Ok(own) => *own,
        Err(foreign) => Error::processing(foreign),
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
        let new = Arc::new(new);
        let processed = self.operator("process", stores.ids(), move |link| {
            let name = link.name().to_owned();
            let down = link.downstream::<P::Key, P::Value>();
            let node = Rc::new(RefCell::new((new(stores.refs()), down)));
            let schedules = node.borrow().0.schedules();
            // Timers are reversed after linking, nodes and schedules alike.
            for schedule in schedules.into_iter().rev() {
                let (node, name) = (node.clone(), name.clone());
                let fire = move |task: &mut TaskContext, now| {
                    let (processor, down) = &mut *node.borrow_mut();
                    let mut ctx = ProcessorContext { task, down };
                    let called = processor.punctuate(schedule.clock, now, &mut ctx);
                    let called = called.or_else(|error| task.refuse(&name, unboxed(error)));
                    // Nobody knows what a processor did.
                    called.map(|()| true)
                };
                link.timers.push(Timer::new(schedule, Box::new(fire)));
            }
            move |task: &mut TaskContext, record: Record<K, V>| {
                let (processor, down) = &mut *node.borrow_mut();
                let mut ctx = ProcessorContext { task, down };
                let done = processor.process(record, &mut ctx);
                done.or_else(|error| task.refuse(&name, unboxed(error)))
            }
        });
        processed.with_new_key()
    }

    /// Runs a fixed-key processor on the stream, connected to some stores.
    #[track_caller]
    pub fn process_values<S: StoreSet, P: FixedKeyProcessor<K, V>>(
        self,
        stores: S,
        new: impl Fn(S::Refs) -> P + Fun,
    ) -> KStream<'b, K, P::Value> {
        let new = Arc::new(new);
        self.operator("process_values", stores.ids(), move |link| {
            let name = link.name().to_owned();
            let mut down = link.downstream::<K, P::Value>();
            let mut processor = new(stores.refs());
            move |task: &mut TaskContext, record: Record<K, V>| {
                let Record {
                    key,
                    value,
                    timestamp,
                    headers,
                } = record;
                let mut ctx = FixedKeyContext {
                    task,
                    down: &mut down,
                    key: &key,
                    timestamp,
                    headers: &headers,
                };
                let done = processor.process(&key, value, &mut ctx);
                done.or_else(|error| task.refuse(&name, unboxed(error)))
            }
        })
    }
}
