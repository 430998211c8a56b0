//! The limit: a loop on bare librdkafka that consumes, transforms and produces exactly once.
//!
//! ```text
//! raw_loop bootstrap.servers=.. in=.. out=.. partitions=4 records=.. warmup=.. group=..
//!          commit.interval.ms=100 seconds.max=600
//! ```
//!
//! It does what the workload `kafka_stateless` does and nothing else: no tasks, no serdes, no
//! group membership, one reusable buffer. With `records=0` it works until its standard input ends.
//!
//! Records are taken in batches and sent one by one with `rd_kafka_produceva`: librdkafka's batch
//! call for producing would be cheaper, but cannot give a record the time of the one it came from,
//! and then the outputs of the sides would differ. Invariant: a transaction holds all output of the
//! records whose places it commits, and nothing else; any error ends the process.

#[path = "../common.rs"]
mod common;
mod meter;
mod native;

use anyhow::{Result, bail};
use common::Options;
use native::{Consumer, Producer};
use std::{
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

#[expect(clippy::print_stdout, reason = "the program's result")]
fn main() -> Result<()> {
    println!("{}", run(&Options::new(std::env::args().skip(1))?)?);
    Ok(())
}

fn run(options: &Options) -> Result<String> {
    let partitions: i32 = options.number("partitions")?;
    let (warmup, records): (u64, u64) = (options.number("warmup")?, options.number("records")?);
    let interval = Duration::from_millis(options.number("commit.interval.ms")?);
    let limit = Duration::from_secs(options.number("seconds.max")?);
    let begin = common::now();
    let servers = options.text("bootstrap.servers")?;
    let mut consumer = Consumer::new(servers, options.text("group")?, options.text("in")?)?;
    consumer.assign(partitions)?;
    let producer = Producer::new(servers, options.text("group")?, options.text("out")?)?;
    let over = if records == 0 {
        until_input_ends()?
    } else {
        Arc::default()
    };
    let mut run = Run {
        warmup,
        seen: 0,
        from: None,
        value: Vec::new(),
    };
    let mut last = None;
    let mut committed = common::now();
    let mut open = false;
    while !over.load(Ordering::Acquire) {
        let taken = consumer.take()?;
        if taken > 0 && !open {
            producer.begin()?;
            open = true;
        }
        run.process(&consumer, &producer)?;
        let finished = records > 0 && run.seen >= records;
        if finished {
            last = Some(common::now());
        }
        if open && (finished || committed.elapsed() >= interval) {
            producer.commit(&consumer)?;
            open = false;
            committed = common::now();
        }
        if finished {
            break;
        }
        if records > 0 && begin.elapsed() > limit {
            bail!("{} of {records} records in time", run.seen);
        }
    }
    drop(producer);
    drop(consumer);
    let Some((from, cpu)) = run.from else {
        bail!("only {} records came", run.seen);
    };
    Ok(format!(
        "{{\"records\":{},\"seconds\":{:.3},\"seconds_to_close\":{:.3},\"cpu_seconds\":{:.3},\
         \"cpu_seconds_total\":{:.3},\"max_rss_mb\":{:.1},\"startup_seconds\":{:.3}}}",
        run.seen - warmup,
        last.unwrap_or_else(common::now)
            .duration_since(from)
            .as_secs_f64(),
        from.elapsed().as_secs_f64(),
        meter::cpu_seconds()? - cpu,
        meter::cpu_seconds()?,
        meter::max_rss_mb()?,
        from.duration_since(begin).as_secs_f64(),
    ))
}

struct Run {
    warmup: u64,
    seen: u64,
    /// When the warm-up was over, and the processor time then.
    from: Option<(Instant, f64)>,
    value: Vec<u8>,
}

impl Run {
    /// Filters, transforms and sends what was taken last.
    fn process(&mut self, consumer: &Consumer, producer: &Producer) -> Result<()> {
        for message in consumer.messages() {
            self.seen += 1;
            if self.from.is_none() && self.seen > self.warmup {
                self.from = Some((common::now(), meter::cpu_seconds()?));
            }
            let Some(&[first, ..]) = message.value else {
                bail!("a record without a value");
            };
            if first & 7 == 0 {
                continue;
            }
            self.value.clear();
            let flipped = message
                .value
                .unwrap_or_default()
                .iter()
                .map(|byte| byte ^ 0x5a);
            self.value.extend(flipped);
            producer.send(&message, &self.value)?;
        }
        Ok(())
    }
}

/// A flag that is set when standard input ends.
fn until_input_ends() -> Result<Arc<AtomicBool>> {
    let over = Arc::new(AtomicBool::new(false));
    let flag = over.clone();
    std::thread::Builder::new().spawn(move || {
        // Whatever ends it, an error too, ends the work.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        flag.store(true, Ordering::Release);
    })?;
    Ok(over)
}
