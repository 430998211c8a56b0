//! Housekeeping: forgetting what was consumed of repartition topics and what has expired in
//! changelogs, and, where the log has none of its own, retention and compaction; and the state that
//! tasks left behind. Invariant: nothing is forgotten that a committed place or a committed clock
//! has not passed.

use crate::client::KeptClient;
use anyhow::{Context, Result};
use millstream_core::{
    record::{Offset, TopicPartition},
    topology::InternalKind,
};
use millstream_log::{Broker, Error};
use millstream_runtime::{clock::Clock, program::Program, streams::Streams};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

/// How often there is something to tidy up.
const INTERVAL: Duration = Duration::from_secs(1);
/// Pieces of maintenance done in a row before the next wait.
const PIECES_MAX: usize = 64;

/// The thread that tidies up.
pub(crate) struct Purger {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Purger {
    pub(crate) fn start(
        log: Arc<dyn Broker>,
        streams: &Arc<Streams>,
        group: &str,
        purge: Duration,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let (streams, program) = (streams.clone(), streams.program());
        let mut consumed = Consumed {
            client: KeptClient::new(log.clone()),
            group: group.to_owned(),
            purged: vec![0; repartitions(program).len()],
            partitions: repartitions(program),
        };
        let mut expired = Expired::default();
        let (stop, stopped) = channel();
        let run = move || {
            let mut purged = clock.elapsed();
            let mut trimmed = purged;
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let now = clock.elapsed();
                if now - purged >= purge {
                    match consumed.forget(&*log) {
                        Ok(()) => purged = now,
                        // Somebody commits at this moment: the next round comes soon.
                        Err(Error::Retry(why)) => tracing::debug!(why, "purging is put off"),
                        Err(error) => {
                            tracing::warn!(%error, "purging repartition topics");
                            purged = now;
                        }
                    }
                }
                if now - trimmed >= purge {
                    if let Err(error) = expired.forget(&*log, &streams) {
                        tracing::warn!(%error, "purging changelogs of what has expired");
                    }
                    trimmed = now;
                }
                if let Err(error) = streams.tidy_state() {
                    tracing::warn!(%error, "deleting state that tasks left behind");
                }
                if let Err(error) = maintain(&*log, clock.now()) {
                    tracing::warn!(%error, "tidying up the log");
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("LogCleaner".to_owned())
            .spawn(run);
        Ok(Self {
            stop,
            thread: thread.context("no thread for the log's cleaner")?,
        })
    }

    pub(crate) fn stop(self) {
        drop(self.stop);
        // It only tidies up: if it panicked, the log is as it was.
        drop(self.thread.join());
    }
}

fn repartitions(program: &Program) -> Vec<TopicPartition> {
    let internal = program.layout.internal.iter();
    let topics = internal.filter(|topic| topic.kind == InternalKind::Repartition);
    topics
        .flat_map(|topic| (0..topic.partitions).map(|p| TopicPartition::new(topic.name.clone(), p)))
        .collect()
}

/// The repartition topics of a program, and what was forgotten of them.
struct Consumed {
    client: KeptClient,
    group: String,
    partitions: Vec<TopicPartition>,
    /// For each of them, the place up to which records were deleted: asking again for the same is a
    /// request to a cluster for nothing.
    purged: Vec<Offset>,
}

impl Consumed {
    /// Deletes what every task has passed; `Retry` where a partition was in the middle of a commit.
    fn forget(&mut self, log: &dyn Broker) -> millstream_log::Result<()> {
        let mut put_off = None;
        // One partition at a time: of many, one is nearly always in the middle of a commit.
        for (partition, purged) in self.partitions.iter().zip(&mut self.purged) {
            let (group, at) = (&self.group, std::slice::from_ref(partition));
            let places = match self.client.with(|client| client.committed_as(group, at)) {
                Err(Error::Retry(why)) => {
                    put_off = Some(Error::Retry(why));
                    continue;
                }
                places => places?,
            };
            if let Some(place) = places.into_iter().flatten().next()
                && place.offset > *purged
            {
                log.delete_records(partition, place.offset)?;
                *purged = place.offset;
            }
        }
        put_off.map_or(Ok(()), Err)
    }
}

/// The changelogs of which something has expired, and what was forgotten of them.
#[derive(Default)]
struct Expired {
    purged: BTreeMap<TopicPartition, Offset>,
}

impl Expired {
    /// Deletes what the tasks that run here can do without.
    fn forget(&mut self, log: &dyn Broker, streams: &Streams) -> millstream_log::Result<()> {
        let mut failed = Ok(());
        let starts = streams.tasks().into_iter().flat_map(|task| task.log_starts);
        for (changelog, start) in starts {
            if self.purged.get(&changelog).is_some_and(|at| *at >= start) {
                continue;
            }
            match log.delete_records(&changelog, start) {
                Ok(_) => drop(self.purged.insert(changelog, start)),
                // The others can be deleted all the same.
                Err(error) => failed = failed.and(Err(error)),
            }
        }
        failed
    }
}

fn maintain(log: &dyn Broker, now: i64) -> millstream_log::Result<()> {
    for _ in 0..PIECES_MAX {
        if !log.maintain(now)? {
            break;
        }
    }
    Ok(())
}
