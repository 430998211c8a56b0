//! How long a partition stands still when the instance that has it is killed.
//!
//! What is measured is what a reader of the output sees: from the kill until, in every partition,
//! there is a committed record that was fed after the kill. It holds the group's session, the
//! rebalance, the restore and the first commit. Invariant: the instances, the load and the state
//! are the same in all cases; only what is left of the killed one differs.

use super::{
    CALM, INSTANCES, Options, PARTITIONS, SESSION_MS, Weather, connect,
    feed::{self, Feeder},
    instance::Instance,
    make_topics,
    program::ECHO,
    settings,
};
use crate::servers::{KafkaCluster, Scratch};
use anyhow::{Context, Result, bail};
use millstream_core::record::{Offset, Timestamp, TopicPartition};
use millstream_kafka::KafkaLog;
use millstream_log::{Broker, Error as LogError, Log};
use millstream_runtime::clock::{Clock, SystemClock};
use std::{fs, path::Path, sync::mpsc, time::Duration};

/// Records that make the state: as many keys in each of two stores, nearly.
const STATE_RECORDS: u64 = 300_000;
/// How long all measurements may take.
const LIMIT: Duration = Duration::from_secs(600);
const PAGE_BYTES: usize = 1 << 20;

/// What is left of the killed instance.
#[derive(Clone, Copy)]
enum Case {
    /// It starts again at once, with its state.
    Kept,
    /// As before, and it has a fixed name in its group.
    Named,
    /// It starts again at once, with nothing.
    Deleted,
    /// It stays away, and the others have standbys.
    Standby,
}

/// Measures all cases and tells a line for each.
///
/// # Errors
/// Where a server does not start, or nothing comes within a few minutes.
pub fn run(options: &Options, tell: &dyn Fn(&str)) -> Result<()> {
    let clock = SystemClock::new();
    let cluster = KafkaCluster::start(options.brokers)?;
    make_topics(&cluster)?;
    let scratch = Scratch::new()?;
    let root = options.keep.as_deref().unwrap_or(scratch.path());
    let weather = Weather {
        options,
        cluster: &cluster,
        postgres: None,
        clock: &clock,
        deadline: clock.elapsed() + LIMIT,
        tell,
        silence: mpsc::channel(),
    };
    weather.say(&format!("files in {}", root.display()));
    let log = connect(&cluster, "recovery")?;
    let start = clock.now();
    let start = feed::at_once(&log, start, STATE_RECORDS)?;
    let feeder = Feeder::start(&log, start)?;
    let mut watch = Watch::new(&log)?;
    let cases = [
        (Case::Kept, "state kept"),
        (Case::Named, "state kept, with group.instance.id"),
        (Case::Deleted, "state deleted: full restore"),
        (Case::Standby, "a standby takes over"),
    ];
    for (case, name) in cases {
        let mut instances = start_all(&weather, root, case)?;
        let settled = watch.until_all_move(&weather, &mut instances, &feeder)?;
        weather.say(&format!(
            "all partitions move, {settled:.1?} after the start"
        ));
        if matches!(case, Case::Standby) {
            wait_for_standbys(&mut instances)?;
        }
        strike(&mut instances[0], case)?;
        let took = watch.until_all_move(&weather, &mut instances, &feeder)?;
        let session = Duration::from_millis(SESSION_MS);
        weather.say(&format!("{name}: {took:.2?} (session {session:?})"));
        stop_all(&mut instances)?;
    }
    feeder.stop()
}

fn start_all(weather: &Weather<'_>, root: &Path, case: Case) -> Result<Vec<Instance>> {
    let mut instances = Vec::new();
    for number in 0..INSTANCES {
        let name = format!("instance-{number}");
        let mut instance = Instance::new(root, &name, "-", &settings(weather.cluster));
        match case {
            Case::Named => instance.set(format!("group.instance.id={name}")),
            Case::Standby => instance.set("num.standby.replicas=1".to_owned()),
            Case::Kept | Case::Deleted => {}
        }
        instance.start()?;
        instances.push(instance);
    }
    Ok(instances)
}

/// Each says so once it has standbys and none of them is behind. With so little to do between two
/// commits, a look meets them so before long.
fn wait_for_standbys(instances: &mut [Instance]) -> Result<()> {
    for instance in instances {
        loop {
            let line = instance.hear("standby [")?;
            let none = line.contains("standby []");
            if !none && line.contains("restoring []") && line.ends_with(" 0 behind") {
                break;
            }
        }
    }
    Ok(())
}

fn strike(instance: &mut Instance, case: Case) -> Result<()> {
    instance.kill()?;
    match case {
        Case::Kept | Case::Named => instance.start(),
        Case::Deleted => {
            fs::remove_dir_all(&instance.directory).context("deleting the state")?;
            instance.start()
        }
        Case::Standby => Ok(()),
    }
}

fn stop_all(instances: &mut [Instance]) -> Result<()> {
    let mut alive: Vec<_> = instances.iter_mut().filter(|one| one.runs()).collect();
    for instance in &mut alive {
        instance.ask_to_end()?;
    }
    alive.into_iter().try_for_each(Instance::ended)
}

/// Follows the echo.
struct Watch {
    log: Box<dyn Log>,
    next: Vec<Offset>,
}

impl Watch {
    fn new(log: &KafkaLog) -> Result<Self> {
        let (log, next) = (Broker::client(log)?, vec![0; PARTITIONS as usize]);
        Ok(Self { log, next })
    }

    /// Waits until every partition has a record in its output that was fed after now; how long
    /// that took.
    fn until_all_move(
        &mut self,
        weather: &Weather<'_>,
        instances: &mut [Instance],
        feeder: &Feeder,
    ) -> Result<Duration> {
        let (began, mark) = (weather.elapsed(), feeder.reached());
        let mut waiting: Vec<u32> = (0..PARTITIONS).collect();
        while !waiting.is_empty() {
            weather.in_time()?;
            instances.iter_mut().try_for_each(Instance::lives)?;
            if weather.elapsed() > began + CALM {
                bail!("partitions {waiting:?} stand still");
            }
            let mut still = Vec::new();
            for partition in waiting {
                if !self.has_passed(partition, mark)? {
                    still.push(partition);
                }
            }
            waiting = still;
            if !waiting.is_empty() {
                weather.pause(Duration::from_millis(20));
            }
        }
        Ok(weather.elapsed() - began)
    }

    /// Reads on in a partition, as far as there is something; whether a record is later.
    fn has_passed(&mut self, partition: u32, mark: Timestamp) -> Result<bool> {
        let at = TopicPartition::new(ECHO.name, partition);
        let next = &mut self.next[partition as usize];
        loop {
            let page = match self.log.read(&at, *next, PAGE_BYTES) {
                Err(LogError::Retry(_)) => return Ok(false),
                page => page?,
            };
            let passed = page
                .records
                .iter()
                .any(|(_, record)| record.timestamp >= mark);
            if passed {
                // What follows is read by whoever waits next, whose mark is later.
                return Ok(true);
            }
            if page.next == *next {
                return Ok(false);
            }
            *next = page.next;
        }
    }
}
