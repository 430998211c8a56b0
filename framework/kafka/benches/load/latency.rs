//! From the moment a record is sent to the moment what came of it is read, committed.
//!
//! A paced producer gives each record the current millisecond as its time; every workload passes a
//! record's time on to its output, so the reader of the output topic takes the difference. It is
//! right to about a millisecond, where commits come every hundred. Invariant: a record is sent when
//! it is due or later, never earlier, and its time is when it was due, so that a producer that was
//! held up makes latencies look longer, not shorter.

use crate::{
    check,
    common::{self, Options},
    input::Input,
    producer, send,
};
use anyhow::{Context, Result, bail};
use rdkafka::{Message, Offset, error::KafkaError, producer::Producer};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// How long the last records may take.
const TAIL: Duration = Duration::from_secs(5);
/// How often the producer looks whether records are due.
const PACE: Duration = Duration::from_millis(1);

/// Microseconds of the wall clock, which records carry from one process to another.
#[expect(
    clippy::disallowed_methods,
    reason = "the time at which a record was sent is what the latency is taken from"
)]
fn wall_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    })
}

/// Runs the load and tells the latencies of what came after the warm-up.
pub(crate) fn run(options: &Options) -> Result<String> {
    let over = AtomicBool::new(false);
    let measured_from = wall_micros() + options.number::<i64>("warmup")? * 1_000_000;
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| read(options, measured_from, &over));
        let sent = feed(options);
        over.store(true, Ordering::Release);
        let read = reading.join();
        let Ok(read) = read else {
            bail!("the reader panicked");
        };
        let (sent, mut micros) = (sent?, read?);
        if micros.is_empty() {
            bail!("nothing came out of {sent} records");
        }
        micros.sort_unstable();
        #[expect(clippy::cast_precision_loss, reason = "minutes at most")]
        let at = |percent: usize| micros[(micros.len() - 1) * percent / 100] as f64 / 1e3;
        Ok(format!(
            "{{\"sent\":{sent},\"measured\":{},\"p50_ms\":{:.1},\"p99_ms\":{:.1},\
             \"max_ms\":{:.1}}}",
            micros.len(),
            at(50),
            at(99),
            at(100)
        ))
    })
}

/// Sends `rate` records a second for warm-up and measurement; how many.
fn feed(options: &Options) -> Result<u64> {
    let topic = options.text("topic")?;
    let rate: u64 = options.number("rate")?;
    let seconds = options.number::<u64>("warmup")? + options.number::<u64>("seconds")?;
    let mut input = Input::new(options)?;
    let producer = producer(options, "1")?;
    let (begin, begin_micros) = (common::now(), wall_micros());
    let mut sent = 0_u64;
    while sent < rate * seconds {
        let passed = begin.elapsed().as_micros();
        let due = u64::try_from(passed * u128::from(rate) / 1_000_000)?.min(rate * seconds);
        for number in sent..due {
            let mut record = input.next();
            let after = i64::try_from(number * 1_000_000 / rate)?;
            record.timestamp = (begin_micros + after) / 1_000;
            send(&producer, topic, &record)?;
        }
        sent = due;
        producer.poll(Duration::ZERO);
        std::thread::park_timeout(PACE);
    }
    producer.flush(TAIL)?;
    Ok(sent)
}

/// Latencies in microseconds of all records sent after a moment.
fn read(options: &Options, measured_from: i64, over: &AtomicBool) -> Result<Vec<i64>> {
    let out = options.text("out")?;
    let consumer = check::reader(options, out, Offset::End)?;
    let mut micros = Vec::new();
    let mut last = common::now();
    loop {
        match consumer.poll(Duration::from_millis(10)) {
            None | Some(Err(KafkaError::PartitionEOF(_))) => {
                if over.load(Ordering::Acquire) && last.elapsed() > TAIL {
                    return Ok(micros);
                }
            }
            Some(message) => {
                let message = message?;
                let sent = message
                    .timestamp()
                    .to_millis()
                    .context("a record without time")?;
                last = common::now();
                if sent * 1_000 >= measured_from {
                    micros.push(wall_micros() - sent * 1_000);
                }
            }
        }
    }
}
