//! Punctuation: a processor asks to be called every so often of stream time or of wall clock.

use super::TaskContext;
use crate::{error::Result, record::Timestamp};

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
}

impl Schedule {
    /// Every `interval` milliseconds of stream time.
    pub const fn stream_time(interval: Timestamp) -> Self {
        Self {
            interval,
            clock: PunctuationType::StreamTime,
        }
    }

    /// Every `interval` milliseconds of wall clock.
    pub const fn wall_clock(interval: Timestamp) -> Self {
        Self {
            interval,
            clock: PunctuationType::WallClockTime,
        }
    }
}

/// The call; it says whether it did anything.
type Fire = Box<dyn FnMut(&mut TaskContext, Timestamp) -> Result<bool>>;

/// A scheduled call.
///
/// Stream-time calls are due at multiples of their interval, so that a restarted task knows from
/// its stream time alone which ones have been: nothing about timers needs to be logged. A gap of
/// several intervals makes one call, not a burst, as in Kafka Streams.
pub struct Timer {
    schedule: Schedule,
    due: Option<Timestamp>,
    fire: Fire,
}

impl Timer {
    pub(crate) fn new(schedule: Schedule, fire: Fire) -> Self {
        let interval = schedule.interval.max(1);
        Self {
            schedule: Schedule {
                interval,
                ..schedule
            },
            due: None,
            fire,
        }
    }

    /// After a restart: what was due up to `stream_time` has been called before.
    pub(super) fn resume(&mut self, stream_time: Timestamp) {
        self.due = match self.schedule.clock {
            PunctuationType::StreamTime if stream_time >= 0 => Some(self.after(stream_time)),
            _ => None,
        };
    }

    /// Since when the processor is to be called, if its time has come.
    fn due(&mut self, clock: PunctuationType, now: Timestamp) -> Option<Timestamp> {
        if self.schedule.clock != clock {
            return None;
        }
        let due = match (self.due, clock) {
            (Some(due), _) => due,
            // Stream time begins at its first record, which is called at once.
            (None, PunctuationType::StreamTime) => 0,
            (None, PunctuationType::WallClockTime) => {
                self.due = Some(now.saturating_add(self.schedule.interval));
                return None;
            }
        };
        (due <= now).then_some(due)
    }

    /// Calls whom it is for, whose time came at `due`, and returns whether that did anything.
    fn call(&mut self, due: Timestamp, now: Timestamp, ctx: &mut TaskContext) -> Result<bool> {
        self.due = Some(match self.schedule.clock {
            PunctuationType::StreamTime => self.after(now),
            PunctuationType::WallClockTime => {
                let interval = self.schedule.interval;
                let missed = now.saturating_sub(due) / interval;
                due.saturating_add(interval.saturating_mul(missed.saturating_add(1)))
            }
        });
        (self.fire)(ctx, now)
    }

    /// The first multiple of the interval after a time. Records may say any time, also the last one
    /// there is.
    fn after(&self, time: Timestamp) -> Timestamp {
        let interval = self.schedule.interval;
        interval.saturating_mul(time.div_euclid(interval).saturating_add(1))
    }
}

/// Calls those whose time has come, and says whether any did something: a call may change state or
/// emit without any input having moved. Who has been due for longer is called first, else
/// who was declared first; each once, even if it is due again at once.
pub(super) fn call_due(
    timers: &mut [Timer],
    clock: PunctuationType,
    now: Timestamp,
    ctx: &mut TaskContext,
) -> Result<bool> {
    let numbered = timers.iter_mut().enumerate();
    let due = numbered.filter_map(|(at, timer)| Some((timer.due(clock, now)?, at)));
    let mut due: Vec<_> = due.collect();
    due.sort_unstable();
    let mut touched = false;
    for &(since, at) in &due {
        touched |= timers[at].call(since, now, ctx)?;
    }
    Ok(touched)
}
