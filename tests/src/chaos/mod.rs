//! The storm over a real cluster: instances of one program are killed, stopped and frozen, brokers
//! and the database die, at seeded random moments, and in the end every record counts once.
//!
//! Invariant: what is judged at the end is read from the cluster, the disks and the database alone;
//! nothing that an instance says of itself counts, but for which tasks it ran when it was asked to
//! end.

mod check;
mod child;
mod feed;
mod instance;
mod program;
mod reader;
mod recovery;
mod stores;
mod storm;
mod windows;

pub use child::{SUBCOMMAND, run as instance};
pub use recovery::run as recovery;

use crate::servers::{KafkaCluster, KafkaOptions, Kind, Postgres, PostgresOptions, Scratch};
use anyhow::{Context, Result, ensure};
use check::Verdict;
use feed::Feeder;
use instance::Instance;
use millstream_kafka::{KafkaConfig, KafkaLog};
use millstream_runtime::clock::{Clock, SystemClock};
use reader::Reader;
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, Sender},
    time::Duration,
};
use storm::{SESSION_MS, Storm};

/// Instances of the program.
const INSTANCES: usize = 3;
/// Partitions of every topic.
const PARTITIONS: u32 = 5;
/// How long the calm after the storm may take, and the judgement.
const CALM: Duration = Duration::from_secs(150);
/// How long a run may take for each of its blows, beside the rest.
const FOR_A_BLOW: Duration = Duration::from_secs(15);
/// How often a wait looks around.
const LOOK: Duration = Duration::from_millis(50);

/// What is asked of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// How often an instance is killed; a fifth of that it is stopped in order.
    pub kills: usize,
    /// How often one is frozen past its session.
    pub freezes: usize,
    /// How often a broker is killed.
    pub broker_losses: usize,
    /// 1 or 3.
    pub brokers: usize,
    /// Where everything that is random comes from.
    pub seed: u64,
    /// Whether predictions go to Postgres, which then dies too.
    pub database: bool,
    /// Where instances keep their state and say what they do; a directory that goes with the run
    /// where it is not given.
    pub keep: Option<PathBuf>,
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    tally: storm::Tally,
    verdict: Verdict,
}

impl Report {
    /// Whether nothing was wrong.
    pub fn is_good(&self) -> bool {
        self.verdict.is_good() && self.tally.deaths == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let storm::Tally {
            kills,
            freezes,
            broker_losses,
            ..
        } = self.tally;
        let Verdict {
            lost,
            duplicated,
            diverged,
            ..
        } = self.verdict;
        write!(
            f,
            "{kills} kills, {freezes} freezes, {broker_losses} broker losses: {lost} lost, \
             {duplicated} duplicated, {diverged} diverged"
        )
    }
}

/// What the parts of a run share: the servers, the clock, and whoever is told.
struct Weather<'a> {
    options: &'a Options,
    cluster: &'a KafkaCluster,
    postgres: Option<&'a Postgres>,
    clock: &'a SystemClock,
    deadline: Duration,
    tell: &'a dyn Fn(&str),
    /// Nothing ever comes out of it: waiting for that is how time passes.
    silence: (Sender<()>, Receiver<()>),
}

impl Weather<'_> {
    fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    fn say(&self, text: &str) {
        (self.tell)(&format!("{:8.2} s  {text}", self.elapsed().as_secs_f64()));
    }

    /// Lets a moment pass, at most so long.
    fn pause(&self, at_most: Duration) {
        let _nothing = self.silence.1.recv_timeout(LOOK.min(at_most));
    }

    fn in_time(&self) -> Result<()> {
        let over = self.elapsed() >= self.deadline;
        ensure!(!over, "the run is not over after {:?}", self.deadline);
        Ok(())
    }
}

/// The cluster as a log, for those who watch.
fn connect(cluster: &KafkaCluster, name: &str) -> Result<KafkaLog> {
    Ok(KafkaLog::connect(
        KafkaConfig {
            application_id: name.to_owned(),
            process_id: "chaos".to_owned(),
            replication_factor: -1,
            task_timeout: CALM,
            client: vec![("bootstrap.servers".into(), cluster.bootstrap_servers())],
            ..KafkaConfig::default()
        },
        SystemClock::stopwatch(),
    )?)
}

/// What every instance is told.
fn settings(cluster: &KafkaCluster) -> Vec<String> {
    vec![
        format!("bootstrap.servers={}", cluster.bootstrap_servers()),
        format!("consumer.session.timeout.ms={SESSION_MS}"),
        "consumer.heartbeat.interval.ms=500".to_owned(),
    ]
}

fn make_topics(cluster: &KafkaCluster) -> Result<()> {
    let partitions = i32::try_from(PARTITIONS)?;
    program::TOPICS
        .iter()
        .try_for_each(|name| cluster.create_topic(name, partitions, &[("retention.ms", "-1")]))
}

/// Lets a storm blow, and judges what is left.
///
/// # Errors
/// Where a server does not start, or the run is not over in time.
pub fn run(options: &Options, tell: &dyn Fn(&str)) -> Result<Report> {
    let clock = SystemClock::new();
    let cluster = KafkaCluster::start_with(options.brokers, &KafkaOptions::default())?;
    make_topics(&cluster)?;
    let postgres = match options.database {
        true => Some(Postgres::start(&PostgresOptions::default())?),
        false => None,
    };
    let blows = 2 * options.kills + options.freezes + options.broker_losses + 2;
    let blows = u32::try_from(blows)?;
    let scratch = Scratch::new()?;
    let root = options.keep.as_deref().unwrap_or(scratch.path());
    let weather = Weather {
        options,
        cluster: &cluster,
        postgres: postgres.as_ref(),
        clock: &clock,
        deadline: clock.elapsed() + 2 * CALM + FOR_A_BLOW * blows,
        tell,
        silence: mpsc::channel(),
    };
    weather.say(&format!(
        "seed {}, files in {}",
        options.seed,
        root.display()
    ));
    under_weather(&weather, root)
}

fn under_weather(weather: &Weather<'_>, root: &Path) -> Result<Report> {
    let settings = settings(weather.cluster);
    let database = weather
        .postgres
        .map_or_else(|| "-".to_owned(), Postgres::url);
    let mut instances: Vec<_> = (0..INSTANCES)
        .map(|number| Instance::new(root, &format!("instance-{number}"), &database, &settings))
        .collect();
    instances.iter_mut().try_for_each(Instance::start)?;
    let feeder = Feeder::start(&connect(weather.cluster, "feeder")?, weather.clock.now())?;
    let blown = Storm::new(weather, &mut instances, weather.options.seed).blow();
    let fed = feeder.fed();
    let tally = blown?;
    feeder.stop()?;
    weather.say(&format!(
        "calm: {fed} records were fed, and the instances catch up"
    ));
    let mut reader = Reader::new(&connect(weather.cluster, "reader")?)?;
    let mut verdict = Verdict::default();
    let caught_up = reader.wait_until_caught_up(weather, &mut instances);
    if let Err(error) = caught_up {
        verdict.diverged(&format!("{error:#}"));
    }
    stores::wait_until_placed(weather, &instances, &reader)?;
    check::wait_for_table(weather, &mut reader)?;
    instances.iter_mut().try_for_each(Instance::ask_to_end)?;
    for (number, instance) in instances.iter_mut().enumerate() {
        let ended = instance.ended();
        ended.with_context(|| format!("the end of instance {number}"))?;
    }
    weather.say("all instances have ended");
    check::outputs(&mut reader, &mut verdict)?;
    check::transactions(weather, &mut reader, &mut verdict)?;
    check::table(weather, &mut reader, &mut verdict)?;
    stores::check(&instances, &mut reader, &mut verdict)?;
    verdict.wrong.iter().for_each(|wrong| weather.say(wrong));
    weather.say(&format!(
        "{} records were judged, {verdict:?}",
        reader.judged()
    ));
    if tally.deaths > 0 {
        weather.say(&format!("{} instances died by themselves", tally.deaths));
    }
    Ok(Report { tally, verdict })
}

/// Whether this machine has what a run needs; where not, it says so and counts, as suites do.
pub fn runs(database: bool) -> bool {
    let needs: &[Kind] = match database {
        true => &[Kind::Kafka, Kind::Postgres],
        false => &[Kind::Kafka],
    };
    crate::servers::runs("chaos", needs)
}
