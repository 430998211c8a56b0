//! A task: one partition of one subtopology, as a synchronous, deterministic value.
//!
//! Records go in ([`Task::add`], [`Task::process`]), outputs and one [`Commit`] come out. A task
//! has no clock, no thread and no I/O but its backend's reads. Invariants: the record with the
//! smallest timestamp over its inputs goes first; the backend is written only by
//! [`Task::committed`], after the log has accepted what [`Task::prepare_commit`] handed over.

mod ages;
mod ahead;
mod calls;
mod commit;
mod config;
mod context;
mod counts;
mod dead_letter;
mod extract;
mod handler;
mod input;
mod lost;
mod output;
mod packs;
mod place;
mod policy;
mod refusal;
mod reset;
mod resident;
mod restore;
mod timer;

pub use ages::Ages;
use calls::InHand;
pub(crate) use calls::{Calls, Origin};
pub use commit::{Commit, StoreChanges};
pub use config::{Emission, SourceChangelogs, TaskConfig, Topics};
pub use context::{RecordMetadata, TaskContext};
use counts::Marks;
pub use counts::{Counts, Letter};
pub use extract::InvalidTimestamp;
pub(crate) use extract::{Extractor, Given};
pub(crate) use handler::judge;
pub use handler::{DeadLetterRecord, ErrorHandler, ErrorHandlerContext};
use input::Input;
pub use input::Supply;
pub use output::Output;
pub(crate) use output::OutputId;
pub use place::Place;
pub use policy::{Dropped, ErrorPolicy, ErrorReason, Policies};
pub use reset::OffsetReset;
pub(crate) use resident::Resident;
pub use restore::restore_record;
use restore::write_changes;
pub(crate) use timer::Ticker;
pub use timer::{Cancellable, PunctuationType, Schedule};

use crate::{
    batch::Records,
    error::{Error, Result},
    link::{Flush, Linker},
    record::{Offset, RawRecord, TaskId, Timestamp, TopicPartition},
    store::StoreEnv,
    topology::{TopicName, Topology, global},
};
use millstream_state::{Backend, Column, Position, WriteBatch};
use std::sync::Arc;

/// After so many bytes of records a call of [`Task::process`] ends.
const STEP_BYTES: usize = 4 << 20;

/// One partition of one subtopology.
pub struct Task {
    id: TaskId,
    ctx: TaskContext,
    inputs: Vec<Input>,
    residents: Vec<Box<dyn Resident>>,
    /// Whether these have been started.
    started: bool,
    /// What waits for the commit, upstream before downstream.
    flushes: Vec<Box<dyn Flush>>,
    calls: Vec<Box<dyn Calls>>,
    backend: Arc<dyn Backend>,
    commit: Commit,
    batch: WriteBatch,
    processed: u64,
    marks: Marks,
    touched: bool,
}

impl Task {
    /// Links a task over a backend that is already restored. The backend's columns are the
    /// subtopology's stores, in their order.
    ///
    /// # Errors
    /// Where a store cannot read its backend, and for a program with global tables.
    pub fn open(
        topology: &Topology,
        id: TaskId,
        config: &TaskConfig,
        backend: Arc<dyn Backend>,
    ) -> Result<Self> {
        Self::open_with(topology, id, config, backend, None)
    }

    /// As [`Task::open`], with the backend that holds the rows of the program's global tables, a
    /// column each in their order. Somebody else keeps that up to date; the task only reads it.
    ///
    /// # Errors
    /// Where a store cannot read its backend, or there are global tables and no rows of them.
    pub fn open_with(
        topology: &Topology,
        id: TaskId,
        config: &TaskConfig,
        backend: Arc<dyn Backend>,
        globals: Option<Arc<dyn Backend>>,
    ) -> Result<Self> {
        if globals.is_none() && !topology.globals.is_empty() {
            return Err(global::missing());
        }
        if config.executor.is_none() && topology.is_asynchronous() {
            let text = "the program has asynchronous operators, and nobody to run their calls";
            return Err(Error::topology(text));
        }
        let sub = (usize::try_from(id.subtopology).ok())
            .and_then(|number| topology.subtopologies.get(number))
            .ok_or_else(|| Error::topology(format!("no subtopology for task {id}")))?;
        let mut stores: Vec<_> = topology.stores.iter().map(|_| None).collect();
        let mut commit = Commit::default();
        for (column, &store) in (0u16..).map(Column).zip(&sub.stores) {
            let spec = topology.store(store);
            let env = StoreEnv {
                backend: backend.clone(),
                column,
                cache_bytes: if spec.cached { config.cache_bytes } else { 0 },
                trimmed: config.trims(&spec.name),
            };
            stores[store.0] = Some((spec.open)(env)?);
            let changes = StoreChanges::of(spec, config, id.partition, (store, column));
            commit.changes.push(changes);
        }
        let ctx = TaskContext::new(id, config, stores, globals);
        let linked = Linker::link(topology, &sub.nodes, ctx);
        let (mut ctx, residents, flushes) = (linked.context, linked.residents, linked.flushes);
        let (calls, names) = (linked.calls, linked.source_names);
        let by_source = policy::of_sources(topology);
        let resets = reset::of_sources(topology, config);
        let (mut inputs, mut answers) = (Vec::new(), Vec::new());
        let mut extractors = linked.extractors;
        for (topic, pushes) in linked.sources {
            answers.push(by_source.get(&topic).cloned());
            let reset = resets.get(&topic).copied().unwrap_or_default();
            let times = extractors.remove(&topic);
            let node = names.get(&topic).copied().unwrap_or_default();
            let packed = matches!(topic, TopicName::Repartition(_));
            inputs.push(Input::new(node, pushes, reset, times, packed));
            let name = topic.resolve(&config.application_id);
            ctx.inputs.push(TopicPartition::new(name, id.partition));
        }
        ctx.answer_by(topology, config, answers)?;
        Ok(Self {
            id,
            ctx,
            inputs,
            residents,
            started: false,
            flushes,
            calls,
            backend,
            commit,
            batch: WriteBatch::new(),
            processed: 0,
            marks: Marks::default(),
            touched: false,
        })
    }

    /// The task's name.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// The input partitions; their order is the numbering that the other methods use.
    pub fn inputs(&self) -> &[TopicPartition] {
        &self.ctx.inputs
    }

    /// Keeps only the inputs that exist on the log: where the topics of a subtopology have
    /// different numbers of partitions, the tasks of high partitions read fewer of them.
    pub fn retain_inputs(&mut self, existing: &[TopicPartition]) {
        let kept: Vec<_> = self
            .ctx
            .inputs
            .iter()
            .map(|tp| existing.contains(tp))
            .collect();
        let mut flags = kept.iter();
        self.ctx.inputs.retain(|_| flags.next() == Some(&true));
        let mut flags = kept.iter();
        self.inputs.retain(|_| flags.next() == Some(&true));
        let mut flags = kept.iter();
        let answers = &mut self.ctx.answers.sources;
        answers.retain(|_| flags.next() == Some(&true));
    }

    /// The next record to process of an input.
    pub fn next_offset(&self, input: usize) -> Offset {
        self.inputs[input].next
    }

    /// How many records of an input are fetched and not processed.
    pub fn queued(&self, input: usize) -> usize {
        self.inputs[input].queued()
    }

    /// Goes on from an input's committed place, or where it went on after a loss ([`Task::lose`])
    /// behind that. Returns how many records are lost because they have to be done again, and are
    /// gone since. Call it for every input before the first record.
    pub fn resume(&mut self, input: usize, place: Place) -> u64 {
        let lost = self.lose_behind(input, place.offset, place.offset);
        let resumed = &mut self.inputs[input];
        resumed.rewind(place);
        if let Some(begun) = resumed.begun {
            resumed.pass(begun);
        }
        self.ctx.stream_time = self
            .inputs
            .iter()
            .map(|i| i.time)
            .max()
            .unwrap_or(Timestamp::MIN);
        self.stop();
        lost
    }

    /// Queues fetched records. Those before the input's next offset are ignored.
    pub fn add(&mut self, input: usize, records: Records) {
        self.inputs[input].add(records);
        self.inputs[input].supply = Supply::Unknown;
    }

    /// Says that an input has no records below `offset`. With nothing queued the place moves there,
    /// and the next commit holds it: a log may write marks of its own behind the records, and what
    /// is committed should not look as if it lagged behind them.
    pub fn pass(&mut self, input: usize, offset: Offset) {
        self.inputs[input].pass(offset);
    }

    /// Says whether the log has more of an input than is queued (`max.task.idle.ms`).
    pub fn set_supply(&mut self, input: usize, supply: Supply) {
        self.inputs[input].supply = supply;
    }

    /// Says whether the log has records of an input that are not queued: a task with work to do is
    /// not idle, however long it was kept from it.
    pub fn set_more(&mut self, input: usize, more: bool) {
        self.inputs[input].more = more;
    }

    /// Processes up to `max` queued records, smallest timestamp first, and returns how many: fewer
    /// where they are large, since what is made of them is as large, and is looked after between
    /// two calls.
    ///
    /// With several inputs it stops early when one is empty whose supply is not exhausted, since
    /// its next record might be older than those at hand. It also stops where an asynchronous
    /// operator waits for as many answers as it may.
    ///
    /// # Errors
    /// A bad record under the policy to fail, or a storage failure. The task must then be aborted.
    pub fn process(&mut self, max: usize) -> Result<usize> {
        self.ensure_started()?;
        let (mut done, mut bytes) = (0, 0);
        while done < max && bytes < STEP_BYTES {
            if !self.calls.is_empty() {
                self.settle_calls()?;
                if self.waits_for_calls() {
                    break;
                }
            }
            let Some(input) = self.choose() else { break };
            bytes += self.process_head(input)?;
            done += 1;
        }
        self.processed += done as u64;
        Ok(done)
    }

    /// The input with the smallest head timestamp; the first of equals.
    #[inline]
    fn choose(&mut self) -> Option<usize> {
        if let [only] = &self.inputs[..] {
            return only.is_waiting().then_some(0);
        }
        let mut best: Option<(Timestamp, usize)> = None;
        for (number, input) in self.inputs.iter_mut().enumerate() {
            match input.turn(self.ctx.wall_clock) {
                Some(time) if best.is_none_or(|(least, _)| time < least) => {
                    best = Some((time, number));
                }
                Some(_) => {}
                None if input.supply == Supply::Exhausted => {}
                None => return None,
            }
        }
        best.map(|(_, number)| number)
    }

    #[inline]
    fn process_head(&mut self, number: usize) -> Result<usize> {
        let input = &mut self.inputs[number];
        let head = input.take_time(self.ctx.wall_clock);
        let Some(records) = input.take_head(&mut self.ctx.stores) else {
            return Ok(0);
        };
        let index = records.range.start;
        let raw = records.batch.get(index);
        let spot = input.spot(&records);
        self.ctx.source = Some(number);
        self.ctx.spot = spot;
        if !self.calls.is_empty() {
            self.ctx.in_hand = Some(InHand::new(records.batch.clone(), index));
        }
        let timestamp = match head {
            None => Some(raw.timestamp),
            Some(head) => self.ctx.time_of(head, input.time, &input.name)?,
        };
        let before = (self.ctx.stream_time, input.time);
        if records.batch.is_broken(index) {
            self.refuse_pack(number, raw.timestamp)?;
        } else if let Some(timestamp) = timestamp {
            self.process_at(number, RawRecord { timestamp, ..raw })?;
        }
        if !self.ctx.failures.is_empty() {
            self.turn_back_time(number, before);
            self.settle_failures(Some((number, spot, raw)))?;
        }
        let bytes = raw.key.map_or(0, <[u8]>::len) + raw.value.map_or(0, <[u8]>::len);
        self.inputs[number].put_back(records);
        let advanced = self.ctx.stream_time > before.0;
        if self.ctx.timers.may_be_due(advanced) {
            self.punctuate(PunctuationType::StreamTime, self.ctx.stream_time)?;
        }
        Ok(bytes)
    }

    /// Processes a record as of the time it has.
    #[inline]
    fn process_at(&mut self, number: usize, raw: RawRecord<'_>) -> Result<()> {
        let input = &mut self.inputs[number];
        self.ctx.timestamp = raw.timestamp;
        if raw.timestamp < 0 {
            // Kafka refuses such records too: no window and no stream time could hold them.
            return self.ctx.refuse_time(raw.timestamp, &input.name);
        }
        input.time = input.time.max(raw.timestamp);
        self.ctx.see_time(raw.timestamp);
        for push in &mut input.pushes {
            push(&mut self.ctx, raw)?;
        }
        Ok(())
    }

    /// The records made since the last call, by topic; the caller sends and then clears them.
    pub fn outputs(&mut self) -> &mut [Output] {
        &mut self.ctx.outputs
    }

    /// Whether some operator asked for a commit.
    pub fn commit_requested(&self) -> bool {
        self.ctx.commit_requested
    }

    /// The greatest timestamp seen.
    pub fn stream_time(&self) -> Timestamp {
        self.ctx.stream_time
    }

    /// Typed access to a store, for test drivers.
    pub fn context(&mut self) -> &mut TaskContext {
        &mut self.ctx
    }

    /// Hands over what the commit must contain, besides the outputs. It stays the task's own until
    /// [`Task::committed`] or [`Task::abort`]; in between the task may go on, and what it does then
    /// is the next commit's. No record may be waiting for an answer
    /// ([`Task::outstanding_calls`]), also none that [`Task::flush`] makes.
    ///
    /// # Errors
    /// Where a value in a store cannot be encoded, and those of [`Task::flush`].
    pub fn prepare_commit(&mut self) -> Result<&Commit> {
        self.flush()?;
        self.mark_handed_over();
        let Self {
            ctx,
            commit,
            inputs,
            touched,
            ..
        } = self;
        let mut changed = *touched;
        for changes in &mut commit.changes {
            changes.records.clear();
            if let Some(store) = ctx.store_mut(changes.store) {
                store.drain(&mut changes.records)?;
                changed |= !changes.records.is_empty();
            }
        }
        commit.places.clear();
        let moved = inputs.iter().any(|input| input.moved);
        // What happens from here on belongs to the next commit.
        (*touched, ctx.commit_requested) = (false, false);
        for (number, input) in inputs.iter_mut().enumerate() {
            if std::mem::take(&mut input.moved) || (changed && !moved && number == 0) {
                let place = (ctx.inputs[number].clone(), input.place());
                commit.places.push(place);
            }
        }
        Ok(&self.commit)
    }

    /// What the last [`Task::prepare_commit`] handed over.
    pub fn handed_over(&self) -> &Commit {
        &self.commit
    }

    /// The log accepted the commit: only now the backend gets it, with the changelog position.
    ///
    /// `position` gives, for a changelog partition, how far it is now; `None` where the transaction
    /// wrote nothing there. Of a topic that a store is a copy of it gives the committed place.
    ///
    /// # Errors
    /// A storage failure: the task must be abandoned. Nothing is lost, since the changelog has it.
    pub fn committed(
        &mut self,
        position: impl Fn(&TopicPartition) -> Option<Position>,
    ) -> Result<()> {
        self.mark_committed();
        self.batch.clear();
        let (mut newest, mut forgetful) = (0, Vec::new());
        for changes in &mut self.commit.changes {
            write_changes(&mut self.batch, changes);
            let store = self.ctx.store_mut(changes.store);
            if let Some(horizon) = store.and_then(|store| store.expired()) {
                self.batch.set_horizon(changes.column, horizon);
            }
            let log = changes.changelog.as_ref().or(changes.source.as_ref());
            if let Some(position) = log.and_then(&position) {
                newest = newest.max(position.applied_at);
                self.batch.set_position(changes.column, position);
                if let Some(store) = self.ctx.store_mut(changes.store) {
                    changes.log_start = store.log_start(&position);
                }
            } else if log.is_some() && !changes.records.is_empty() {
                forgetful.push(changes.column);
            }
        }
        // These only forgot what has expired, and are where they were.
        for column in forgetful {
            if let Some(mut position) = self.backend.position(column)? {
                position.applied_at = position.applied_at.max(newest);
                self.batch.set_position(column, position);
            }
        }
        if !self.batch.is_empty() {
            self.backend.apply(&self.batch)?;
        }
        for store in self.ctx.stores.iter_mut().flatten() {
            store.applied()?;
        }
        Ok(())
    }

    /// Drops everything since the last commit. The caller then resumes every input at its committed
    /// place.
    ///
    /// # Errors
    /// A storage failure while a store goes back.
    pub fn abort(&mut self) -> Result<()> {
        for store in self.ctx.stores.iter_mut().flatten() {
            store.abort()?;
        }
        for output in &mut self.ctx.outputs {
            output.clear();
        }
        for changes in &mut self.commit.changes {
            changes.records.clear();
        }
        for flush in &mut self.flushes {
            flush.clear();
        }
        for calls in &mut self.calls {
            calls.clear();
        }
        self.take_back_counts();
        self.stop();
        self.ctx.failures.clear();
        (self.ctx.unread, self.ctx.held) = (0, None);
        self.ctx.commit_requested = false;
        self.touched = false;
        Ok(())
    }
}
