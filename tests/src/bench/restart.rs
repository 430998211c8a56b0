//! A restart after `kill -9` with a gigabyte of state on disk: from `exec` to `RUNNING`.
//!
//! A child fills its state and keeps on changing it. The parent kills it while it works, starts
//! another one in the same directory, and takes the time until that says that all its tasks run.

use super::{Bench, Figures, Meter, RUNS, Scene};
use anyhow::{Context, Result, bail};
use millstream::{Node, Program};
use millstream_core::{
    prelude::*,
    record::{RawRecord, TopicPartition},
};
use millstream_log::Log;
use millstream_runtime::{config::ConfigBuilder, streams::State};
use std::{path::Path, time::Duration};

pub(super) const GIGABYTE: Bench = Bench {
    name: "restart_1gb",
    runs,
    child,
};

static IN: Topic<u64, u64> = Topic::new("in", u64_be(), u64_be());

/// Keys times bytes: a gigabyte.
const KEYS: u64 = 2_000_000;
const VALUE_BYTES: usize = 500;
/// Records a child feeds at once, and how many may wait to be processed.
const CHUNK: u64 = 10_000;
const WAITING_MAX: u64 = 100_000;
/// Changes of the full state before a child says that it works, and before it gives up waiting to
/// be killed.
const WARM: u64 = 100_000;
const CHANGES_MAX: u64 = 100_000_000;
/// How long a program may take to run.
const START: Duration = Duration::from_secs(60);

fn runs(scene: &Scene) -> Result<Vec<Figures>> {
    let mut serving = scene.serve("serve", scene.directory())?;
    serving.figures().context("the first start")?;
    let built = serving.figures().context("filling the state")?;
    let mut all = Vec::new();
    for _ in 0..RUNS {
        drop(serving);
        let meter = Meter::start()?;
        serving = scene.serve("serve", scene.directory())?;
        let mut figures = serving.figures().context("running")?;
        figures.insert("restart_seconds".to_owned(), meter.elapsed().as_secs_f64());
        // Not killed before it has changed the state again, or there would be less to recover from.
        serving.figures().context("working")?;
        figures.extend(built.clone());
        all.push(figures);
    }
    Ok(all)
}

/// Says when it runs, then when it has changed the full state for a while; ends when it is killed.
fn child(_: &str, directory: &Path) -> Result<Figures> {
    let state = format!("state.dir={}", directory.display());
    let config = ConfigBuilder::new()
        .defaults(&[("application.id", "restart"), ("embedded.partitions", "1")])
        .set(&state)?
        .build()?;
    let node = Program::open(topology()?, config)?.start()?;
    let ran = |state| matches!(state, State::Running | State::Error);
    if node.streams().wait_for(ran, START) != State::Running {
        bail!("not running: {:?}", node.streams().failure());
    }
    let threads = node.streams().threads();
    let replayed: u64 = threads.iter().map(|thread| thread.stats.restored).sum();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    say(&[("replayed_records".to_owned(), replayed as f64)].into())?;
    let meter = Meter::start()?;
    let mut feeder = Feeder::new(&node)?;
    let begun = feeder.fed;
    let full = begun.max(KEYS) + WARM;
    while feeder.fed < full {
        feeder.feed(&node)?;
    }
    let mut figures = meter.figures(feeder.fed - begun)?;
    let bytes: u64 = node
        .streams()
        .tasks()
        .iter()
        .map(|t| t.backend.disk_bytes)
        .sum();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    figures.insert("state_mb".to_owned(), bytes as f64 / f64::from(1 << 20));
    say(&figures)?;
    while feeder.fed < full + CHANGES_MAX {
        feeder.feed(&node)?;
    }
    bail!("nobody killed this process")
}

#[expect(clippy::print_stdout, reason = "the parent reads it")]
fn say(figures: &Figures) -> Result<()> {
    println!("{}", serde_json::to_string(figures)?);
    Ok(())
}

/// The newest value of each key, spread to a size at which a gigabyte is soon there, so that the
/// input need not be one too. The bytes do not compress.
fn topology() -> Result<Topology> {
    let builder = StreamsBuilder::new();
    let store = Materialized::with("newest", u64_be(), bytes());
    builder.stream(&IN).group_by_key().aggregate(
        store,
        Vec::new,
        |key, seed, value: &mut Vec<u8>| {
            let mut random = (key ^ seed.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            value.clear();
            while value.len() < VALUE_BYTES {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                value.extend_from_slice(&random.to_be_bytes());
            }
        },
    );
    Ok(builder.build()?)
}

/// Gives the program records: each key once, then keys here and there for ever.
struct Feeder {
    client: Box<dyn Log>,
    partition: TopicPartition,
    fed: u64,
}

impl Feeder {
    fn new(node: &Node) -> Result<Self> {
        let mut client = node.log().client()?;
        let partition = TopicPartition::new(IN.name, 0);
        let fed = client.end(&partition)?.try_into()?;
        Ok(Self {
            client,
            partition,
            fed,
        })
    }

    /// Feeds a chunk, once few enough records wait.
    fn feed(&mut self, node: &Node) -> Result<()> {
        while self.fed - processed(node, self.fed) > WAITING_MAX {
            if let Some(failure) = node.streams().failure() {
                bail!(failure);
            }
            self.client.poll(Duration::from_millis(10))?;
        }
        for number in self.fed..self.fed + CHUNK {
            // An odd factor far from a power of two: all keys, in no order.
            let key = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % KEYS;
            let key = if number < KEYS { number } else { key };
            let record = RawRecord {
                key: Some(&key.to_be_bytes()),
                value: Some(&number.to_be_bytes()),
                timestamp: number.try_into()?,
                headers: &Headers::NONE,
            };
            self.client
                .send(IN.name, Some(self.partition.partition), record)?;
        }
        self.fed += CHUNK;
        self.client.commit(self.fed, &[])?;
        Ok(())
    }
}

/// How far the program has come, as last shown.
fn processed(node: &Node, fed: u64) -> u64 {
    let tasks = node.streams().tasks();
    let places = tasks.iter().flat_map(|task| &task.inputs);
    let next = places
        .map(|(_, next)| u64::try_from(*next).unwrap_or(0))
        .max();
    next.unwrap_or(0).min(fed)
}
