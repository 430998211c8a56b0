//! Punctuation: a processor asks to be called every so often of stream time or of wall clock.
//!
//! Invariant: whoever was cancelled before its turn is not called, and nobody is called twice for
//! the same advance of a clock.

use super::{Resident, Task, TaskContext};
use crate::{
    error::{Error, Result},
    record::Timestamp,
};
use std::{cell::Cell, collections::BTreeMap, rc::Rc};

/// How many generations of schedules that were made in one round may be called in it: a
/// punctuation that makes one which is due at once, again and again, would never end.
const GENERATIONS_MAX: usize = 10_000;
/// With so few timers nobody looks for cancelled ones among them.
const SWEEP_MIN: usize = 64;

/// Which clock a punctuation follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PunctuationType {
    /// The greatest record timestamp seen: advances only with records.
    StreamTime,
    /// The machine's clock, looked at between records.
    WallClockTime,
}

/// A wish to be called again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Milliseconds between two calls, at least 1.
    pub interval: Timestamp,
    /// Of which clock.
    pub clock: PunctuationType,
    /// When the first call is due, and the others so many intervals later (KIP-1146). Without it
    /// stream time is divided from 0 on, and wall clock from the making of the schedule on.
    pub start: Option<Timestamp>,
}

impl Schedule {
    /// Every `interval` milliseconds of stream time: at once when there is any, and then as soon
    /// as it reaches a multiple of the interval.
    pub const fn stream_time(interval: Timestamp) -> Self {
        Self {
            interval,
            clock: PunctuationType::StreamTime,
            start: None,
        }
    }

    /// Every `interval` milliseconds of wall clock, first when one interval has gone by.
    pub const fn wall_clock(interval: Timestamp) -> Self {
        Self {
            interval,
            clock: PunctuationType::WallClockTime,
            start: None,
        }
    }

    /// The same, due at `start` for the first time, in milliseconds of its clock. Of a start that
    /// is past, the first call is the next one that lies whole intervals after it.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    ///
    /// // Every hour, ten minutes past.
    /// let hourly = Schedule::wall_clock(3_600_000).starting_at(600_000);
    /// assert_eq!(hourly.start, Some(600_000));
    /// ```
    #[must_use]
    pub const fn starting_at(self, start: Timestamp) -> Self {
        Self {
            start: Some(start),
            ..self
        }
    }
}

/// A schedule that was made: with it a processor tells its punctuations apart, and ends one.
///
/// A copy is the same schedule. To let go of it cancels nothing.
#[derive(Clone)]
pub struct Cancellable(Rc<Made>);

struct Made {
    schedule: Schedule,
    cancelled: Cell<bool>,
}

impl Cancellable {
    /// Ends the schedule: its processor is not called for it again, also where that was due.
    pub fn cancel(&self) {
        self.0.cancelled.set(true);
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.get()
    }

    /// What it was made of.
    pub fn schedule(&self) -> Schedule {
        self.0.schedule
    }
}

impl PartialEq for Cancellable {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Cancellable {}

impl std::fmt::Debug for Cancellable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cancellable")
            .field("schedule", &self.0.schedule)
            .field("cancelled", &self.0.cancelled)
            .finish()
    }
}

/// A call that will be due.
struct Timer {
    of: Cancellable,
    /// Whose call it is.
    resident: usize,
}

/// When a timer is due, and its number: of those that are due together, who was made first is
/// called first.
type Due = (Timestamp, u64);

/// The timers of a task.
///
/// Stream-time calls are due at their start and whole intervals after it, so that a restarted task
/// knows from its stream time alone which ones have been: nothing about timers needs to be logged.
/// A gap of several intervals makes one call, not a burst, as in Kafka Streams. Where the wall
/// clock is put back, as NTP and people do, its calls are due from there on again, and not only
/// once it is where it was.
#[derive(Default)]
pub(crate) struct Timers {
    stream: BTreeMap<Due, Timer>,
    wall: BTreeMap<Due, Timer>,
    /// What the wall clock said last.
    told: Timestamp,
    /// Those of the wall clock, while nobody has told that.
    waiting: Vec<(u64, Timer)>,
    made: u64,
    /// While the task starts: up to which stream time everybody has been called before.
    resumed: Option<Timestamp>,
    /// Whether there are new ones that may be due without any advance of stream time.
    fresh: bool,
    /// Cancelled timers are looked for when there are so many.
    sweep_at: usize,
}

impl Timers {
    /// Makes a timer.
    ///
    /// # Errors
    /// Where the interval is less than a millisecond, or the start before 0.
    pub(crate) fn add(
        &mut self,
        resident: usize,
        schedule: Schedule,
        (stream_time, wall_clock): (Timestamp, Timestamp),
    ) -> Result<Cancellable> {
        let interval = schedule.interval;
        if interval < 1 {
            let text = format!("a schedule's interval must be 1 ms or more, not {interval} ms");
            return Err(Error::processing(text));
        }
        if let Some(start) = schedule.start.filter(|start| *start < 0) {
            let text = format!("a schedule must start at 0, the epoch, or later, not at {start}");
            return Err(Error::processing(text));
        }
        let of = Cancellable(Rc::new(Made {
            schedule,
            cancelled: Cell::new(false),
        }));
        let timer = Timer {
            of: of.clone(),
            resident,
        };
        let number = self.made;
        self.made += 1;
        match schedule.clock {
            PunctuationType::StreamTime => {
                let start = schedule.start.unwrap_or(0);
                // Without a start it is called at once, as in Kafka Streams.
                let past = schedule.start.is_some() && start < stream_time;
                let due = match self.resumed {
                    Some(resumed) if start <= resumed => next(start, interval, resumed),
                    None if past => next(start, interval, stream_time),
                    _ => Some(start),
                };
                self.insert(due, number, timer);
                self.fresh = true;
            }
            PunctuationType::WallClockTime if wall_clock < 0 => {
                self.waiting.push((number, timer));
            }
            PunctuationType::WallClockTime => {
                self.insert(first_of_wall(schedule, wall_clock), number, timer);
            }
        }
        Ok(of)
    }

    /// The task starts, and stream time was so far: what was due until then has been called.
    pub(super) fn resume(&mut self, stream_time: Timestamp) {
        self.resumed = Some(stream_time).filter(|time| *time >= 0);
    }

    /// The task has started.
    pub(super) fn resumed(&mut self) {
        self.resumed = None;
    }

    /// Whether stream time may have brought a call due, having `advanced` or not.
    #[inline]
    pub(super) fn may_be_due(&mut self, advanced: bool) -> bool {
        let fresh = std::mem::take(&mut self.fresh);
        (advanced || fresh) && !self.stream.is_empty()
    }

    /// Whether no call of the wall clock will ever be due.
    pub(super) fn ignore_wall_clock(&self) -> bool {
        self.wall.is_empty() && self.waiting.is_empty()
    }

    fn queue(&mut self, clock: PunctuationType) -> &mut BTreeMap<Due, Timer> {
        match clock {
            PunctuationType::StreamTime => &mut self.stream,
            PunctuationType::WallClockTime => &mut self.wall,
        }
    }

    /// A timer that is due at no time any more is gone.
    fn insert(&mut self, due: Option<Timestamp>, number: u64, timer: Timer) {
        let Some(due) = due else { return };
        if self.stream.len() + self.wall.len() >= self.sweep_at.max(SWEEP_MIN) {
            self.stream.retain(|_, timer| !timer.of.is_cancelled());
            self.wall.retain(|_, timer| !timer.of.is_cancelled());
            self.sweep_at = 2 * (self.stream.len() + self.wall.len());
        }
        self.queue(timer.of.schedule().clock)
            .insert((due, number), timer);
    }

    /// The wall clock is told, maybe for the first time.
    fn settle(&mut self, wall_clock: Timestamp) {
        if wall_clock < self.told {
            for ((due, number), timer) in std::mem::take(&mut self.wall) {
                let again = first_of_wall(timer.of.schedule(), wall_clock);
                self.insert(again.map(|again| again.min(due)), number, timer);
            }
        }
        self.told = wall_clock;
        for (number, timer) in std::mem::take(&mut self.waiting) {
            self.insert(
                first_of_wall(timer.of.schedule(), wall_clock),
                number,
                timer,
            );
        }
    }

    /// Takes the call out that has been due for longest; of equals the one that was made first.
    fn take_due(&mut self, clock: PunctuationType, now: Timestamp) -> Option<(Due, Timer)> {
        loop {
            let first = self.queue(clock).first_entry()?;
            if first.key().0 > now {
                return None;
            }
            let (due, timer) = first.remove_entry();
            if !timer.of.is_cancelled() {
                return Some((due, timer));
            }
        }
    }

    /// Puts a timer back that was called.
    fn put_back(&mut self, (due, number): Due, timer: Timer, now: Timestamp) {
        if !timer.of.is_cancelled() {
            let interval = timer.of.schedule().interval;
            self.insert(next(due, interval, now), number, timer);
        }
    }
}

/// When a schedule of the wall clock is due for the first time.
fn first_of_wall(schedule: Schedule, now: Timestamp) -> Option<Timestamp> {
    match schedule.start {
        None => now.checked_add(schedule.interval),
        Some(start) if start < now => next(start, schedule.interval, now),
        start => start,
    }
}

/// The first time after `now` that lies whole intervals after `from`, which is not after `now`;
/// records may say any time, also the last one there is, and there is none after that.
fn next(from: Timestamp, interval: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let (from, interval, now) = (i128::from(from), i128::from(interval), i128::from(now));
    let missed = (now - from) / interval;
    Timestamp::try_from(from + (missed + 1) * interval).ok()
}

/// What the DSL itself wants to know of the wall clock, whenever that moves.
pub(crate) struct Ticker<F>(pub(crate) F);

impl<F: FnMut(&mut TaskContext, Timestamp) -> Result<bool>> Resident for Ticker<F> {
    fn start(&mut self, ctx: &mut TaskContext, me: usize) -> Result<()> {
        let clocks = (ctx.stream_time, ctx.wall_clock);
        let made = ctx.timers.add(me, Schedule::wall_clock(1), clocks);
        made.map(drop)
    }

    fn call(&mut self, ctx: &mut TaskContext, _: &Cancellable, now: Timestamp) -> Result<bool> {
        (self.0)(ctx, now)
    }

    fn stop(&mut self) {}
}

impl Task {
    /// Tells the task what time it is; wall-clock punctuations that are due are called.
    ///
    /// # Errors
    /// What the punctuated processor returns, and a new processor's `init`.
    pub fn advance_wall_clock(&mut self, now: Timestamp) -> Result<()> {
        self.ctx.wall_clock = now;
        self.ensure_started()?;
        self.ctx.timers.settle(now);
        if !self.ctx.timers.ignore_wall_clock() {
            let mut inputs = self.inputs.iter();
            self.ctx.has_work = self.outstanding_calls() > 0
                || inputs.any(|input| input.more || input.is_waiting());
            self.punctuate(PunctuationType::WallClockTime, now)?;
        }
        self.punctuate_made()
    }

    /// Calls schedules of stream time that are new and due without an advance of it, as where they
    /// were made by no record, or for one that came out of its queue before.
    pub(super) fn punctuate_made(&mut self) -> Result<()> {
        let stream_time = self.ctx.stream_time;
        if stream_time >= 0 && self.ctx.timers.may_be_due(false) {
            self.punctuate(PunctuationType::StreamTime, stream_time)?;
        }
        Ok(())
    }

    /// Calls those whose time has come. Who has been due for longer is called first, else who was
    /// made first; what is made meanwhile and due as well comes in its turn, as in Kafka Streams.
    pub(super) fn punctuate(&mut self, clock: PunctuationType, now: Timestamp) -> Result<()> {
        self.ctx.source = None;
        self.ctx.timestamp = now;
        let (mut newest, mut generations) = (self.ctx.timers.made, 0);
        while let Some((due, timer)) = self.ctx.timers.take_due(clock, now) {
            if due.1 >= newest {
                newest = self.ctx.timers.made;
                generations += 1;
            }
            if generations > GENERATIONS_MAX {
                let text = "punctuations make schedules that are due at once, without end";
                return Err(Error::topology(text));
            }
            let resident = &mut self.residents[timer.resident];
            self.touched |= resident.call(&mut self.ctx, &timer.of, now)?;
            self.ctx.timers.put_back(due, timer, now);
        }
        self.settle_unowned()
    }
}
