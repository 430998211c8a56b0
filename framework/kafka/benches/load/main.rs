//! The load of the side-by-side benches: makes topics, fills them, compares what came out, and
//! measures latency. One program for every side, so that none is measured by its own ruler.
//!
//! ```text
//! kafka_load topic   bootstrap.servers=.. topic=.. partitions=4
//! kafka_load delete  bootstrap.servers=.. topic=BEGINNING-OF-NAMES
//! kafka_load fill    bootstrap.servers=.. topic=.. partitions=4 records=..
//!                    keys=.. shape=uniform|zipf|each seed=1 value.bytes=100
//! kafka_load check   bootstrap.servers=.. topic=.. partitions=4
//! kafka_load traffic bootstrap.servers=.. topic=BEGINNING-OF-NAMES partitions=4
//! kafka_load latency bootstrap.servers=.. topic=.. partitions=4 out=..
//!                    rate=.. warmup=SECONDS seconds=.., and keys to value.bytes as for fill
//! ```
//!
//! Invariant: equal options give equal records, to the byte, on any machine.

mod check;
#[path = "../common.rs"]
mod common;
mod input;
mod latency;
mod traffic;

use anyhow::{Context, Result, anyhow, bail};
use common::Options;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    error::KafkaError,
    metadata::MetadataTopic,
    producer::{BaseProducer, BaseRecord, Producer},
    types::RDKafkaErrorCode,
};
use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Poll, Wake, Waker},
    thread::Thread,
    time::Duration,
};

/// How long the cluster may take for what it is asked.
const WAIT: Duration = Duration::from_secs(60);

#[expect(clippy::print_stdout, reason = "the program's result")]
fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let verb = words
        .next()
        .context("usage: kafka_load VERB NAME=VALUE...")?;
    let options = Options::new(words)?;
    let line = match &*verb {
        "topic" => topic(&options)?,
        "delete" => delete(&options)?,
        "fill" => fill(&options)?,
        "check" => check::run(&options)?,
        "traffic" => traffic::run(&options)?,
        "latency" => latency::run(&options)?,
        other => bail!("no verb {other:?}"),
    };
    println!("{line}");
    Ok(())
}

fn admin(options: &Options) -> Result<AdminClient<DefaultClientContext>> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", options.text("bootstrap.servers")?);
    Ok(config.create()?)
}

/// The topics whose names begin so.
fn beginning_with(admin: &AdminClient<DefaultClientContext>, prefix: &str) -> Result<Vec<String>> {
    let all = admin.inner().fetch_metadata(None, WAIT)?;
    let names = all.topics().iter().map(MetadataTopic::name);
    let own = names.filter(|name| name.starts_with(prefix));
    Ok(own.map(str::to_owned).collect())
}

/// Deletes all topics whose names begin so, which includes those that a program made for itself.
fn delete(options: &Options) -> Result<String> {
    let admin = admin(options)?;
    let names = beginning_with(&admin, options.text("topic")?)?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    if names.is_empty() {
        return Ok("{\"topics\":0}".to_owned());
    }
    let asked = AdminOptions::new().operation_timeout(Some(WAIT));
    for result in wait_for(admin.delete_topics(&names, &asked))? {
        result.map_err(|(name, code)| anyhow!("topic {name}: {code}"))?;
    }
    Ok(format!("{{\"topics\":{}}}", names.len()))
}

/// Makes a topic that keeps everything: records carry times of their own, which may be long ago.
fn topic(options: &Options) -> Result<String> {
    let admin = admin(options)?;
    let name = options.text("topic")?;
    let partitions = options.number("partitions")?;
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(-1))
        .set("retention.ms", "-1")
        .set("cleanup.policy", "delete");
    let asked = AdminOptions::new().operation_timeout(Some(WAIT));
    for result in wait_for(admin.create_topics([&topic], &asked))? {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => bail!("topic {name}: {code}"),
        }
    }
    Ok("{}".to_owned())
}

/// A producer that keeps each partition's order and loses nothing.
fn producer(options: &Options, linger_ms: &str) -> Result<BaseProducer> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", options.text("bootstrap.servers")?)
        .set("enable.idempotence", "true")
        .set("linger.ms", linger_ms)
        .set("batch.size", "1000000")
        .set("sticky.partitioning.linger.ms", "0")
        .set("queue.buffering.max.messages", "200000");
    Ok(config.create()?)
}

/// Sends a record, waiting while the client's queue is full.
fn send(producer: &BaseProducer, topic: &str, record: &input::Record<'_>) -> Result<()> {
    let mut outgoing = BaseRecord::to(topic)
        .key(record.key)
        .payload(record.value)
        .partition(record.partition)
        .timestamp(record.timestamp);
    loop {
        match producer.send(outgoing) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                outgoing = back;
                producer.poll(Duration::from_millis(1));
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}

fn fill(options: &Options) -> Result<String> {
    let topic = options.text("topic")?;
    let mut input = input::Input::new(options)?;
    let producer = producer(options, "20")?;
    let records: u64 = options.number("records")?;
    for _ in 0..records {
        send(&producer, topic, &input.next())?;
    }
    producer.flush(WAIT)?;
    Ok(format!("{{\"records\":{records}}}"))
}

/// Runs a future to its end on this thread.
fn wait_for<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future
            .as_mut()
            .poll(&mut std::task::Context::from_waker(&waker))
        {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
