//! What keeps records coming while the storm blows.
//!
//! Invariant: no number is used twice, not even after a transaction of which nobody knows whether
//! it was committed; so every record that is in the input is there once, and what is missing never
//! was there.

use super::program::{self, INPUT};
use anyhow::{Context, Result, anyhow};
use millstream_core::record::{Headers, RawRecord, Timestamp};
use millstream_kafka::KafkaLog;
use millstream_log::{Broker, Error as LogError, Log};
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::JoinHandle,
    time::Duration,
};

/// Between two transactions, and how many records each has: 400 records a second.
const PAUSE: Duration = Duration::from_millis(50);
const RECORDS: u64 = 20;
/// Records of one run, at most: whatever happens, the input is bounded.
const RECORDS_MAX: u64 = 400_000;
/// Records of a transaction where they are written as fast as can be.
const BATCH: usize = 5_000;
/// Between the times of two records, so that there is room for others between them.
const APART: Timestamp = 2;
/// One record in so many comes later than its time, and by how many others: it may find its window
/// open, or closed already.
const BELATED: (u64, u64) = (16, 150);
/// And one in so many when every window of its time has closed.
const LATE: (u64, u64) = (64, 2_000);

/// A thread that writes the input.
pub(super) struct Feeder {
    stop: Sender<()>,
    fed: Arc<AtomicU64>,
    /// The time of the next record to be written.
    reached: Arc<AtomicI64>,
    thread: JoinHandle<Result<()>>,
}

/// Writes many records as fast as can be, for a state of some size: their keys are a million. Says
/// which time lies behind all of theirs.
pub(super) fn at_once(log: &KafkaLog, start: Timestamp, records: u64) -> Result<Timestamp> {
    let mut client = log.writer("feeder")?;
    let end = program::MANY_KEYS + records;
    for first in (program::MANY_KEYS..end).step_by(BATCH) {
        let last = end.min(first + BATCH as u64);
        batch(&mut *client, start, first..last)?;
    }
    Ok(start + Timestamp::try_from(records)? * APART)
}

impl Feeder {
    /// Starts it. Times begin at `start`.
    pub(super) fn start(log: &KafkaLog, start: Timestamp) -> Result<Self> {
        let mut client = log.writer("feeder")?;
        let (stop, stopped) = mpsc::channel();
        let fed = Arc::<AtomicU64>::default();
        let reached = Arc::new(AtomicI64::new(start));
        let (count, last) = (Arc::clone(&fed), Arc::clone(&reached));
        let thread = std::thread::Builder::new()
            .name("feeder".into())
            .spawn(move || feed(&mut *client, start, &stopped, (&count, &last)))?;
        Ok(Self {
            stop,
            fed,
            reached,
            thread,
        })
    }

    /// Records committed so far, as far as is known.
    pub(super) fn fed(&self) -> u64 {
        self.fed.load(Ordering::Relaxed)
    }

    /// The time that no record has that was written before now.
    pub(super) fn reached(&self) -> Timestamp {
        self.reached.load(Ordering::Relaxed)
    }

    /// Ends it, and tells what it died of, if it did.
    pub(super) fn stop(self) -> Result<()> {
        // A thread that has ended hears nothing.
        let _ = self.stop.send(());
        self.thread
            .join()
            .map_err(|_| anyhow!("the feeder panicked"))?
    }
}

fn feed(
    client: &mut dyn Log,
    start: Timestamp,
    stopped: &Receiver<()>,
    (count, reached): (&AtomicU64, &AtomicI64),
) -> Result<()> {
    let mut number = 0;
    // The channel is the wait.
    while stopped.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
        if number >= RECORDS_MAX {
            continue;
        }
        reached.store(time(start, number + RECORDS), Ordering::Relaxed);
        match batch(client, start, number..number + RECORDS) {
            Ok(()) => {
                count.fetch_add(RECORDS, Ordering::Relaxed);
            }
            Err(LogError::Retry(_) | LogError::UnknownOutcome(_)) => {
                // Until the broker is back; what was in this batch is not written again.
                let _ = client.abort();
            }
            Err(error) => return Err(error).context("feeding"),
        }
        number += RECORDS;
    }
    Ok(())
}

fn batch(
    client: &mut dyn Log,
    start: Timestamp,
    numbers: std::ops::Range<u64>,
) -> millstream_log::Result<()> {
    let last = numbers.end;
    for number in numbers {
        let (key, value) = program::record(number);
        let record = RawRecord {
            key: Some(key.as_bytes()),
            value: Some(&value.to_be_bytes()),
            timestamp: time(start, number),
            headers: &Headers::NONE,
        };
        client.send(INPUT.name, None, record)?;
    }
    client.commit(last, &[])?;
    Ok(())
}

/// When a record was, by its own clock. No two have the same time: those that come in their turn
/// have even ones, of which a late one takes the odd one behind.
fn time(start: Timestamp, number: u64) -> Timestamp {
    let number = number.checked_sub(program::MANY_KEYS).unwrap_or(number);
    let at = |number: u64| {
        let passed = Timestamp::try_from(number).unwrap_or(Timestamp::MAX);
        start.saturating_add(passed.saturating_mul(APART))
    };
    let late = [LATE, BELATED].into_iter().find_map(|(one_in, by)| {
        let is_late = number % one_in == one_in - 1;
        is_late.then(|| number.checked_sub(by)).flatten()
    });
    late.map_or_else(|| at(number), |turn| at(turn) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_records_have_the_same_time_and_some_come_late() {
        let times: Vec<_> = (0..20_000).map(|number| time(7, number)).collect();
        assert_eq!(times.iter().collect::<BTreeSet<_>>().len(), times.len());
        let late = |by: i64| {
            let mut newest = Timestamp::MIN;
            let of = times.iter().filter(|time| {
                newest = newest.max(**time);
                newest - **time > by
            });
            of.count()
        };
        assert!(late(0) > 1_000 && late(3_000) > 200);
    }
}
