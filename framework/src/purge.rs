//! Housekeeping of an embedded log: retention and compaction, and forgetting what was consumed of
//! repartition topics. Invariant: nothing is forgotten that a committed place has not passed.

use anyhow::{Context, Result};
use millstream_core::{record::TopicPartition, topology::InternalKind};
use millstream_log::{EmbeddedClient, EmbeddedLog, Log};
use millstream_runtime::{clock::Clock, program::Program};
use std::{
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
        log: EmbeddedLog,
        program: &Program,
        group: &str,
        purge: Duration,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let internal = program.layout.internal.iter();
        let repartitions: Vec<_> = internal
            .filter(|topic| topic.kind == InternalKind::Repartition)
            .flat_map(|topic| {
                (0..topic.partitions).map(|p| TopicPartition::new(topic.name.clone(), p))
            })
            .collect();
        let group = group.to_owned();
        let (stop, stopped) = channel();
        let run = move || {
            let mut client = log.client();
            let mut purged = clock.elapsed();
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let due = clock.elapsed() - purged >= purge;
                let consumed = if due { &repartitions[..] } else { &[] };
                if due {
                    purged = clock.elapsed();
                }
                if let Err(error) = tidy(&log, &mut client, &group, consumed, clock.now()) {
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

fn tidy(
    log: &EmbeddedLog,
    client: &mut EmbeddedClient,
    group: &str,
    repartitions: &[TopicPartition],
    now: i64,
) -> millstream_log::Result<()> {
    let places = client.committed_as(group, repartitions)?;
    for (partition, place) in repartitions.iter().zip(places) {
        if let Some(place) = place {
            log.delete_records(partition, place.offset)?;
        }
    }
    for _ in 0..PIECES_MAX {
        if !log.maintain(now)?.more {
            break;
        }
    }
    Ok(())
}
