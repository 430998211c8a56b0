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
/// Takes the first such record's number from its time.
#[expect(clippy::cast_possible_wrap, reason = "a small constant")]
const MANY_TIMES: Timestamp = program::MANY_KEYS as Timestamp;

/// A thread that writes the input.
pub(super) struct Feeder {
    stop: Sender<()>,
    fed: Arc<AtomicU64>,
    /// The time of the next record to be written.
    reached: Arc<AtomicI64>,
    thread: JoinHandle<Result<()>>,
}

/// Writes many records as fast as can be, for a state of some size: their keys are a million.
pub(super) fn at_once(log: &KafkaLog, start: Timestamp, records: u64) -> Result<()> {
    let mut client = log.writer("feeder")?;
    let end = program::MANY_KEYS + records;
    for first in (program::MANY_KEYS..end).step_by(BATCH) {
        let last = end.min(first + BATCH as u64);
        batch(&mut *client, start - MANY_TIMES, first..last)?;
    }
    Ok(())
}

impl Feeder {
    /// Starts it. Record `n` has the time `start + n`.
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

fn time(start: Timestamp, number: u64) -> Timestamp {
    start.saturating_add(Timestamp::try_from(number).unwrap_or(Timestamp::MAX))
}
