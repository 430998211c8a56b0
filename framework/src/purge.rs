//! Housekeeping: forgetting what was consumed of repartition topics and what has expired in
//! changelogs, and, where the log has none of its own, retention and compaction; and the state that
//! tasks left behind. Invariant: nothing is forgotten that a committed place or a committed clock
//! has not passed.

use crate::{
    client::KeptClient,
    rounds::{Round, Rounds, Turn},
};
use anyhow::{Context, Result};
use millstream_core::{
    record::{Offset, TopicPartition},
    topology::InternalKind,
};
use millstream_log::{Broker, Error};
use millstream_runtime::{clock::Clock, program::Program, streams::Streams};
use std::{
    collections::BTreeMap,
    sync::{Arc, mpsc::Sender},
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
        let client = KeptClient::new(log.clone());
        let mut consumed = Consumed::new(client, group, repartitions(program));
        let mut expired = Expired::default();
        let (stop, rounds) = Rounds::new(clock);
        let run = move || {
            let mut purged = rounds.clock().elapsed();
            let mut trimmed = purged;
            while rounds.wait(INTERVAL) {
                let (now, mut round) = (rounds.clock().elapsed(), rounds.begin());
                if now - purged >= purge {
                    match consumed.forget(&*log, &mut round) {
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
                    let starts = streams.tasks().into_iter().flat_map(|task| task.log_starts);
                    if let Err(error) = expired.forget(&*log, starts, &mut round) {
                        tracing::warn!(%error, "purging changelogs of what has expired");
                    }
                    trimmed = now;
                }
                if let Err(error) = streams.tidy_state() {
                    tracing::warn!(%error, "deleting state that tasks left behind");
                }
                if let Err(error) = maintain(&*log, rounds.clock().now(), &mut round) {
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
    /// Each partition with the place up to which its records were deleted: asking again for the
    /// same is a request to a cluster for nothing.
    partitions: Vec<(TopicPartition, Offset)>,
    turn: Turn,
}

impl Consumed {
    fn new(client: KeptClient, group: &str, partitions: Vec<TopicPartition>) -> Self {
        Self {
            client,
            group: group.to_owned(),
            partitions: partitions.into_iter().map(|at| (at, 0)).collect(),
            turn: Turn::default(),
        }
    }

    /// Deletes what every task has passed; `Retry` where a partition was in the middle of a commit.
    fn forget(&mut self, log: &dyn Broker, round: &mut Round<'_>) -> millstream_log::Result<()> {
        let mut put_off = Ok(());
        let (client, group) = (&mut self.client, &self.group);
        // One partition at a time: of many, one is nearly always in the middle of a commit.
        let forget = |(partition, purged): &mut (TopicPartition, Offset), round: &mut Round<'_>| {
            let at = std::slice::from_ref(&*partition);
            let asked = || client.with(|client| client.committed_as(group, at));
            let places = match round.ask(asked) {
                None => return Ok(()),
                Some(Err(Error::Retry(why))) => {
                    put_off = Err(Error::Retry(why));
                    return Ok(());
                }
                Some(places) => places?,
            };
            if let Some(place) = places.into_iter().flatten().next()
                && place.offset > *purged
                && let Some(deleted) = round.ask(|| log.delete_records(partition, place.offset))
            {
                deleted?;
                *purged = place.offset;
            }
            Ok(())
        };
        self.turn.each(&mut self.partitions, round, forget)?;
        put_off
    }
}

/// The changelogs of which something has expired, and what was forgotten of them.
#[derive(Default)]
struct Expired {
    purged: BTreeMap<TopicPartition, Offset>,
    turn: Turn,
}

impl Expired {
    /// Deletes what the tasks that run here can do without: of each changelog what lies before its
    /// start.
    fn forget(
        &mut self,
        log: &dyn Broker,
        starts: impl Iterator<Item = (TopicPartition, Offset)>,
        round: &mut Round<'_>,
    ) -> millstream_log::Result<()> {
        let mut failed = Ok(());
        let (purged, mut starts) = (&mut self.purged, starts.collect::<Vec<_>>());
        self.turn
            .each(&mut starts, round, |(changelog, start), round| {
                if purged.get(changelog).is_some_and(|at| *at >= *start) {
                    return Ok(());
                }
                match round.ask(|| log.delete_records(changelog, *start)) {
                    Some(Ok(_)) => drop(purged.insert(changelog.clone(), *start)),
                    // The others can be deleted all the same.
                    Some(Err(error)) if failed.is_ok() => failed = Err(error),
                    _ => {}
                }
                Ok(())
            })?;
        failed
    }
}

fn maintain(log: &dyn Broker, now: i64, round: &mut Round<'_>) -> millstream_log::Result<()> {
    for _ in 0..PIECES_MAX {
        if round.ask(|| log.maintain(now)).transpose()? != Some(true) {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounds::tests::rounds;
    use millstream_log::{Log, Result, TopicInfo};
    use std::sync::Mutex;

    /// Is away; hears what it is asked, and what then happens.
    struct Away(Mutex<(u32, Option<Sender<()>>)>);

    impl Away {
        fn refuse<T>(&self) -> Result<T> {
            let mut heard = self.0.lock().unwrap();
            heard.0 += 1;
            drop(heard.1.take());
            Err(Error::Retry("away".into()))
        }
    }

    impl Broker for Away {
        fn client(&self) -> Result<Box<dyn Log>> {
            self.refuse()
        }

        fn topics(&self) -> Result<Vec<TopicInfo>> {
            self.refuse()
        }

        fn delete_topic(&self, _: &str) -> Result<()> {
            self.refuse()
        }

        fn delete_records(&self, _: &TopicPartition, _: Offset) -> Result<Offset> {
            self.refuse()
        }

        fn maintain(&self, _: i64) -> Result<bool> {
            self.refuse()
        }
    }

    /// How many requests a round makes of a broker that refuses each after so many milliseconds;
    /// at the first one the program is stopped, or not.
    fn requests(millis: u64, stops: bool) -> u32 {
        let (stop, rounds) = rounds(millis);
        let (now, later) = if stops {
            (Some(stop), None)
        } else {
            (None, Some(stop))
        };
        let log = Arc::new(Away(Mutex::new((0, now))));
        let partitions: Vec<_> = (0..8).map(|p| TopicPartition::new("t", p)).collect();
        let client = KeptClient::new(log.clone());
        let mut consumed = Consumed::new(client, "g", partitions.clone());
        let mut round = rounds.begin();
        let put_off = consumed.forget(&*log, &mut round);
        assert!(matches!(put_off, Err(Error::Retry(_))), "{put_off:?}");
        let starts = partitions.into_iter().map(|at| (at, 5));
        drop(Expired::default().forget(&*log, starts, &mut round));
        drop(maintain(&*log, 0, &mut round));
        drop(later);
        log.0.lock().unwrap().0
    }

    #[test]
    fn a_broker_that_is_away_is_asked_once_a_round_and_not_at_all_after_a_stop() {
        // Eight places, eight changelogs and the log's own housekeeping.
        assert_eq!(requests(100, false), 17);
        assert_eq!(requests(5_000, false), 1);
        assert_eq!(requests(100, true), 1);
    }
}
