//! The limit: a loop on bare librdkafka that consumes, transforms and produces exactly once.
//!
//! ```text
//! raw_loop bootstrap.servers=.. in=..,.. out=.. partitions=4 records=.. warmup=.. group=..
//!          commit.interval.ms=100 seconds.max=600 sends=..
//! ```
//!
//! With `out` it does what the workload `kafka_stateless` does and nothing else: no tasks, no
//! serdes, no group membership, one reusable buffer. With `records=0` it works until its standard
//! input ends. With `sends` it does no work at all, but takes and sends as many records, of the
//! same sizes, as a program that does: what the client costs of that program's processor time.
//!
//! Records are taken in batches and sent one by one with `rd_kafka_produceva`: librdkafka's batch
//! call for producing would be cheaper, but cannot give a record the time of the one it came from,
//! and then the outputs of the sides would differ. Invariant: a transaction holds all output of the
//! records whose places it commits, and nothing else; any error ends the process.

#[path = "../common.rs"]
mod common;
mod meter;
mod native;
mod traffic;

use anyhow::{Result, bail};
use common::Options;
use native::{Consumer, Message, Producer};
use std::{
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use traffic::Stream;

/// As the other side of the bench that is native code.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

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
    let (servers, group) = (options.text("bootstrap.servers")?, options.text("group")?);
    let inputs: Vec<&str> = options.text("in")?.split(',').collect();
    let streams = options.text("sends").map(Stream::parse_all);
    let streams = streams.unwrap_or_else(|_| Ok(Vec::new()))?;
    let outputs = match options.text("out") {
        Ok(out) if streams.is_empty() => vec![out.to_owned()],
        _ => streams.iter().map(|stream| stream.topic.clone()).collect(),
    };
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    let mut consumer = Consumer::new(servers, group, &traffic::topics(&inputs, &streams))?;
    consumer.assign(partitions)?;
    let producer = Producer::new(servers, group, &outputs)?;
    let over = if records == 0 {
        until_input_ends()?
    } else {
        Arc::default()
    };
    let mut run = Run {
        inputs: inputs.len(),
        partitions,
        warmup,
        records,
        seen: 0,
        read: 0,
        from: None,
        value: Vec::new(),
        streams,
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
        let finished = run.finished();
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
    run.figures(begin, last)
}

struct Run {
    /// How many of the topics that are read are inputs.
    inputs: usize,
    partitions: i32,
    warmup: u64,
    records: u64,
    /// Records of the inputs, and those that were read back.
    seen: u64,
    read: u64,
    /// When the warm-up was over, and the processor time then.
    from: Option<(Instant, f64)>,
    value: Vec<u8>,
    streams: Vec<Stream>,
}

impl Run {
    /// Whether all was taken that there is to take.
    fn finished(&self) -> bool {
        let all_read = self.read >= traffic::to_read(&self.streams);
        self.records > 0 && self.seen >= self.records && all_read
    }

    /// Goes through what was taken last.
    fn process(&mut self, consumer: &Consumer, producer: &Producer) -> Result<()> {
        for message in consumer.messages() {
            if message.topic >= self.inputs {
                self.read += 1;
                continue;
            }
            self.seen += 1;
            if self.from.is_none() && self.seen > self.warmup {
                self.from = Some((common::now(), meter::cpu_seconds()?));
            }
            if self.streams.is_empty() {
                self.transform(&message, producer)?;
            }
            let passed = (self.seen, self.records);
            for (number, stream) in self.streams.iter_mut().enumerate() {
                stream.send((number, producer), &message, passed, self.partitions)?;
            }
        }
        Ok(())
    }

    /// Filters, transforms and sends a record.
    fn transform(&mut self, message: &Message<'_>, producer: &Producer) -> Result<()> {
        let value = message.value.unwrap_or_default();
        let Some(first) = value.first() else {
            bail!("a record without a value");
        };
        if first & 7 == 0 {
            return Ok(());
        }
        self.value.clear();
        self.value.extend(value.iter().map(|byte| byte ^ 0x5a));
        let key = message.key.unwrap_or_default();
        producer.send(0, (message.partition, message.timestamp), key, &self.value)
    }

    /// What is told of the run.
    fn figures(&self, begin: Instant, last: Option<Instant>) -> Result<String> {
        let Some((from, cpu)) = self.from else {
            bail!("only {} records came", self.seen);
        };
        Ok(format!(
            "{{\"records\":{},\"seconds\":{:.3},\"seconds_to_close\":{:.3},\
             \"cpu_seconds\":{:.3},\"cpu_seconds_total\":{:.3},\"max_rss_mb\":{:.1},\
             \"startup_seconds\":{:.3}}}",
            self.seen - self.warmup,
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
