//! Keeping a task's queues filled, and deciding how long an empty one holds the others up.

use super::assignment;
use crate::error::{Error, Result};
use millstream_core::{
    record::{Offset, Timestamp, TopicPartition},
    task::{OffsetReset, Supply, Task},
};
use millstream_log::{Error as LogError, Log};

/// Since when each input of a task has nothing more on the log; `None` while it may have.
#[derive(Default)]
pub(super) struct IdleInputs(Vec<Option<Timestamp>>);

/// How much a fetch takes, and how long a task waits for an input that has nothing.
#[derive(Clone, Copy)]
pub(super) struct FetchLimits {
    pub(super) buffered_records: usize,
    pub(super) max_task_idle_ms: i64,
}

impl IdleInputs {
    /// Tops up a task's queues, and tells it which inputs it need not wait for.
    pub(super) fn fetch(
        &mut self,
        task: &mut Task,
        log: &mut dyn Log,
        limits: FetchLimits,
        now: Timestamp,
    ) -> Result<()> {
        self.0.resize(task.inputs().len(), None);
        for input in 0..task.inputs().len() {
            let queued = task.queued(input);
            // Half empty before asking again: few large fetches, not many small ones.
            if queued > limits.buffered_records / 2 {
                continue;
            }
            let partition = task.inputs()[input].clone();
            match log.fetch(&partition, task.wanted(input, limits.buffered_records)) {
                Ok(Some(records)) => {
                    self.0[input] = None;
                    task.add(input, records);
                }
                Ok(None) => {
                    if queued == 0 {
                        task.pass(input, log.position(&partition)?);
                    }
                    let nothing = queued == 0 && log.end(&partition)? <= task.next_offset(input);
                    task.set_more(input, !nothing);
                    task.set_supply(input, self.supply(input, nothing, limits, now));
                }
                Err(LogError::OffsetOutOfRange {
                    offset, start, end, ..
                }) => {
                    if offset > end {
                        return Err(beyond(offset, end, &partition));
                    }
                    if offset < start {
                        go_on_after_loss(task, input, (offset, start), log, now)?;
                    } else {
                        // Whoever said so knew less of the partition than is known by now.
                        tracing::warn!(%partition, offset, start, end, "asking again for a place");
                        log.seek(&partition, offset)?;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// What `max.task.idle.ms` makes of an input without fetched records.
    fn supply(
        &mut self,
        input: usize,
        nothing: bool,
        limits: FetchLimits,
        now: Timestamp,
    ) -> Supply {
        if limits.max_task_idle_ms < 0 {
            return Supply::Exhausted;
        }
        if !nothing {
            self.0[input] = None;
            return Supply::Unknown;
        }
        // Where the clock was put back, the wait begins again.
        let since = self.0[input].map_or(now, |since| since.min(now));
        self.0[input] = Some(since);
        if now.saturating_sub(since) >= limits.max_task_idle_ms {
            Supply::Exhausted
        } else {
            Supply::Unknown
        }
    }
}

/// Goes on with an input whose records from `offset` up to `start` were deleted before they were
/// processed, where its source begins when there is no place: `auto.offset.reset`, as in Kafka.
/// What is passed over is counted ([`Dropped::lost`](millstream_core::task::Dropped)).
#[cold]
fn go_on_after_loss(
    task: &mut Task,
    input: usize,
    (offset, start): (Offset, Offset),
    log: &mut dyn Log,
    now: Timestamp,
) -> Result<()> {
    let partition = task.inputs()[input].clone();
    if task.offset_reset(input) == OffsetReset::Fail {
        let text = format!(
            "the records of {partition} from {offset} on were deleted before they were processed, \
             up to {start}, and the program is not to begin anywhere else (auto.offset.reset=none)"
        );
        return Err(LogError::Fatal(text).into());
    }
    let next = assignment::start(task, input, log, now)?.max(start);
    log.seek(&partition, next)?;
    let lost = task.lose(input, next);
    tell_lost(&partition, lost, next);
    Ok(())
}

/// Says how many records of a partition are gone, and at which the program goes on.
pub(super) fn tell_lost(partition: &TopicPartition, lost: u64, next: Offset) {
    tracing::error!(%partition, lost, next, "records were deleted before they were processed");
}

/// What is to become of a place behind the end nobody but a person can say: a topic that was made
/// anew is to be read from its start, and one that lost its end is not.
fn beyond(place: Offset, end: Offset, partition: &TopicPartition) -> Error {
    Error::Log(LogError::Fatal(format!(
        "the place {place} of {partition} lies behind its end {end}: the topic was made anew, or \
         has lost records; `reset` begins from its start"
    )))
}
