//! What processors may do.

use super::{super::GlobalStore, ChildRef};
use crate::{
    error::{Error, Result},
    link::{Data, Fanout},
    record::{Record, TaskId, Timestamp},
    store::{StateStore, StoreRef},
    task::{Cancellable, RecordMetadata, Schedule, TaskContext},
};
use std::ops::{Deref, DerefMut};

/// What any processor may do at any time: look at stores and clocks, and make schedules. It is all
/// there is where nothing can be sent: in `init`, and in a fixed-key processor's punctuation, which
/// has no key to keep.
///
/// ```compile_fail,E0599
/// use millstream_core::prelude::*;
///
/// fn punctuate(ctx: &mut StateContext<'_>) -> ProcessResult {
///     Ok(ctx.forward(1)?)
/// }
/// ```
pub struct StateContext<'a> {
    pub(super) task: &'a mut TaskContext,
    /// For whom schedules are.
    pub(super) resident: usize,
    /// Whether something downstream has stopped the thread.
    pub(super) stopped: &'a mut bool,
}

impl StateContext<'_> {
    /// Notes what became of a record that was sent downstream, and hands that on.
    #[inline]
    pub(super) fn heed(&mut self, sent: Result<()>) -> Result<()> {
        sent.inspect_err(|error| *self.stopped |= error.is_final())
    }

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

    /// Asks to be called every so often, until that is cancelled. With each call comes a copy of
    /// what is returned here.
    ///
    /// A schedule of stream time that is due already is called for the record in hand, when that
    /// has been processed; one that a punctuation makes, in the same round. Of several that have
    /// been due for equally long, the one that was made first is called first.
    ///
    /// A schedule ends with the processor: what is made in `process` or `punctuate` must be made in
    /// `init` again, from a store, if it is to outlive a restart.
    ///
    /// # Errors
    /// Where the interval is less than a millisecond, or the start before 0.
    pub fn schedule(&mut self, schedule: Schedule) -> Result<Cancellable> {
        let clocks = (self.task.stream_time(), self.task.wall_clock());
        self.task.timers.add(self.resident, schedule, clocks)
    }

    /// The greatest timestamp the task has seen; `Timestamp::MIN` before the first record.
    pub fn stream_time(&self) -> Timestamp {
        self.task.stream_time()
    }

    /// The wall clock as the driver last told it: the only clock a processor may look at.
    pub fn wall_clock(&self) -> Timestamp {
        self.task.wall_clock()
    }

    /// The task in which the processor is: its part of the program, and its partition.
    pub fn task_id(&self) -> TaskId {
        self.task.task_id()
    }

    /// Asks for a commit soon.
    pub fn request_commit(&mut self) {
        self.task.request_commit();
    }
}

/// What a processor may do: all of [`StateContext`], and send.
pub struct ProcessorContext<'a, K, V> {
    pub(super) state: StateContext<'a>,
    pub(super) down: &'a mut Fanout<K, V>,
}

impl<K: Data, V: Data> ProcessorContext<'_, K, V> {
    /// Sends a record downstream, depth first: when this returns, all of it has happened.
    ///
    /// # Errors
    /// A negative timestamp, which no record can have, and what happens downstream.
    pub fn forward(&mut self, record: Record<K, V>) -> Result<()> {
        timely(record.timestamp)?;
        let sent = self.down.push(self.state.task, record);
        self.state.heed(sent)
    }

    /// Sends a record to one of the processor's further outputs, and not to its main one; see
    /// [`KStream::process_to`](super::super::KStream::process_to).
    ///
    /// # Errors
    /// As [`ProcessorContext::forward`].
    pub fn forward_to<CK: Data, CV: Data>(
        &mut self,
        child: &ChildRef<CK, CV>,
        record: Record<CK, CV>,
    ) -> Result<()> {
        timely(record.timestamp)?;
        let sent = child.push(self.state.task, record);
        self.state.heed(sent)
    }

    /// Where the record in hand comes from; `None` in a punctuation.
    pub fn record_metadata(&self) -> Option<RecordMetadata> {
        self.state.task.record_metadata()
    }
}

/// Refuses a time before 1970: no log takes such a record, and windows have no place for it.
fn timely(timestamp: Timestamp) -> Result<()> {
    if timestamp < 0 {
        let text = format!("a processor forwards a record with timestamp {timestamp}");
        return Err(Error::processing(text));
    }
    Ok(())
}

impl<'a, K, V> Deref for ProcessorContext<'a, K, V> {
    type Target = StateContext<'a>;

    fn deref(&self) -> &StateContext<'a> {
        &self.state
    }
}

impl<K, V> DerefMut for ProcessorContext<'_, K, V> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.state
    }
}
