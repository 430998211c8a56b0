//! What a world stands on: a log, and what befalls it from outside.
//!
//! Invariant: a ground decides how things come about, and never what must come of them.

use super::world::APPLICATION;
use crate::cases::Prefixed;
use anyhow::{Result, anyhow};
use millstream_kafka::{KafkaConfig, KafkaLog};
use millstream_log::{Broker, EmbeddedLog, Faults, FaultyLog, Limits, Log, Rng};
use millstream_runtime::clock::{Clock, SystemClock};
use std::time::Duration;

/// How things are on a ground.
#[derive(Clone, Copy)]
pub(super) struct Habits {
    /// Steps of bad weather, and in how many of them each kind of misfortune comes once.
    pub(super) storm_steps: u64,
    pub(super) misfortune: u64,
    /// Whether misfortune comes only upon what has just done something. A cluster takes its time,
    /// and what befalls a program that waits for its tasks befalls it before it did anything.
    pub(super) only_the_busy: bool,
    /// How long a step may wait for news.
    pub(super) wait: Duration,
    /// Whether only compaction leaves offsets without records.
    pub(super) dense: bool,
    /// Whether a process that starts again has the names of the one before, and so ends what that
    /// one left open. Without it the log ends it by itself.
    pub(super) keeps_names: bool,
}

/// How long a worker is not stepped.
#[derive(Clone, Copy)]
pub(super) enum Sleep {
    /// So many steps that it would have made.
    Steps(u64),
    /// Until then, by the ground's clock.
    Until(Duration),
}

impl Sleep {
    /// It does not sleep.
    pub(super) const NONE: Self = Self::Steps(0);
}

/// A log with its surroundings.
pub(super) trait Ground {
    fn habits(&self) -> Habits;

    fn broker(&self) -> &dyn Broker;

    /// A client for a worker, an unreliable one if the ground is made so.
    fn client(&self, faults: &Faults) -> Result<Box<dyn Log>>;

    /// Has a member thrown out of its group while it sleeps.
    fn expire(&self, member: &str, rng: &mut Rng) -> Result<Sleep>;

    /// Counts a step that is not made; says whether the worker is awake now.
    fn wakes(&self, sleep: &mut Sleep) -> bool;

    /// What the log does in the background; whether records were compacted away.
    fn maintain(&self, now: i64) -> Result<bool>;
}

/// The log in memory, whose clients fail as a seed says.
pub(super) struct Embedded(EmbeddedLog);

impl Embedded {
    pub(super) fn new(limits: Limits) -> Self {
        Self(EmbeddedLog::in_memory_with(limits))
    }
}

impl Ground for Embedded {
    fn habits(&self) -> Habits {
        Habits {
            storm_steps: 600,
            misfortune: 200,
            only_the_busy: false,
            wait: Duration::ZERO,
            dense: true,
            keeps_names: false,
        }
    }

    fn broker(&self) -> &dyn Broker {
        &self.0
    }

    fn client(&self, faults: &Faults) -> Result<Box<dyn Log>> {
        Ok(Box::new(FaultyLog::new(self.0.client(), faults.clone())))
    }

    fn expire(&self, member: &str, rng: &mut Rng) -> Result<Sleep> {
        let steps = 1 + rng.below(40);
        self.0.expire(APPLICATION, member)?;
        Ok(Sleep::Steps(steps))
    }

    fn wakes(&self, sleep: &mut Sleep) -> bool {
        match sleep {
            Sleep::Steps(0) => true,
            Sleep::Steps(left) => {
                *left -= 1;
                false
            }
            Sleep::Until(_) => true,
        }
    }

    fn maintain(&self, now: i64) -> Result<bool> {
        Ok(self.0.maintain(now)?.records_compacted > 0)
    }
}

/// A Kafka cluster. Its clients do not fail by design: the weather is that of processes, which die
/// with their transactions open, and sleep past their session.
pub(super) struct Kafka {
    log: Prefixed<KafkaLog>,
    inner: KafkaLog,
    prefix: String,
    clock: SystemClock,
}

/// The shortest session that a test's cluster allows; how long a member may do nothing, or finish
/// its calls when its tasks are asked back, which is longer, since the machine may be slow: members
/// that are thrown out for it in turn would never come to an end; and how long one sleeps that is
/// to be taken for dead.
const SESSION_MS: &str = "1000";
const SILENCE_MS: &str = "4000";
const SLEEP: Duration = Duration::from_millis(4_500);
/// After how long the cluster ends the transaction of a process whose names do not come back.
const TRANSACTION_MS: &str = "10000";
/// How long a cluster that does not answer is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

impl Kafka {
    /// `prefix` is in front of all topics and groups.
    pub(super) fn connect(servers: &str, prefix: &str) -> Result<Self> {
        let own = |settings: &[(&str, &str)]| {
            let owned = settings.iter().map(|(key, value)| (*key, *value));
            owned.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
        };
        let config = KafkaConfig {
            application_id: format!("{prefix}{APPLICATION}"),
            process_id: "simulation".to_owned(),
            replication_factor: -1,
            task_timeout: PATIENCE,
            client: own(&[("bootstrap.servers", servers)]),
            consumer: own(&[
                ("session.timeout.ms", SESSION_MS),
                ("max.poll.interval.ms", SILENCE_MS),
                ("heartbeat.interval.ms", "100"),
            ]),
            producer: own(&[
                ("transaction.timeout.ms", TRANSACTION_MS),
                ("message.timeout.ms", TRANSACTION_MS),
            ]),
            ..KafkaConfig::default()
        };
        let inner = KafkaLog::connect(config, SystemClock::stopwatch())?;
        Ok(Self {
            log: Prefixed::new(inner.clone(), prefix),
            inner,
            prefix: prefix.to_owned(),
            clock: SystemClock::new(),
        })
    }
}

impl Ground for Kafka {
    fn habits(&self) -> Habits {
        Habits {
            storm_steps: 500,
            misfortune: 80,
            only_the_busy: true,
            wait: Duration::from_millis(5),
            dense: false,
            keeps_names: true,
        }
    }

    fn broker(&self) -> &dyn Broker {
        &self.log
    }

    fn client(&self, _: &Faults) -> Result<Box<dyn Log>> {
        let client: Box<dyn Log> = Box::new(self.inner.client());
        Ok(Box::new(Prefixed::new(client, &self.prefix)))
    }

    fn expire(&self, _: &str, _: &mut Rng) -> Result<Sleep> {
        let end = self.clock.elapsed().checked_add(SLEEP);
        end.map(Sleep::Until)
            .ok_or_else(|| anyhow!("the clock has run out"))
    }

    fn wakes(&self, sleep: &mut Sleep) -> bool {
        match sleep {
            Sleep::Steps(_) => true,
            Sleep::Until(end) => self.clock.elapsed() >= *end,
        }
    }

    fn maintain(&self, _: i64) -> Result<bool> {
        Ok(false)
    }
}
