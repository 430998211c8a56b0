//! How far a program is behind all its inputs, the topics between its own tasks included.
//!
//! Invariant: places are read before ends, and ends are those of all that was written. A task
//! commits its place and what it sent on together, so whoever finds nothing left in that order has
//! seen everything that was in the inputs, and all that came of it, go through. The committed end
//! would not do: a cluster shows a place before it has marked what was committed with it in each
//! partition.

use anyhow::{Context, Result};
use millstream_core::record::TopicPartition;
use millstream_log::{Error as LogError, Log};
use millstream_runtime::streams::Streams;

/// Looks at the places of a program's group.
pub(crate) struct Lag {
    pub(crate) log: Box<dyn Log>,
    group: String,
    partitions: Vec<TopicPartition>,
}

impl Lag {
    pub(crate) fn of(streams: &Streams, group: &str, log: Box<dyn Log>) -> Self {
        let tasks = streams.program().layout.tasks.iter();
        let mut partitions: Vec<_> = tasks.flat_map(|task| task.inputs.clone()).collect();
        partitions.sort();
        partitions.dedup();
        Self {
            log,
            group: group.to_owned(),
            partitions,
        }
    }

    /// Of a program that reads nothing.
    #[cfg(test)]
    pub(crate) fn nothing(log: Box<dyn Log>) -> Self {
        Self {
            log,
            group: String::new(),
            partitions: Vec::new(),
        }
    }

    /// How many topics it looks at.
    pub(crate) fn topics(&self) -> usize {
        let same = |one: &TopicPartition, next: &TopicPartition| one.topic == next.topic;
        self.partitions.chunk_by(same).count()
    }

    /// Records that are not committed yet; `None` while the log cannot say, as in the middle of a
    /// commit.
    pub(crate) fn records(&mut self) -> Result<Option<i64>> {
        match self.count() {
            Ok(lag) => Ok(Some(lag)),
            Err(LogError::Retry(_)) => Ok(None),
            Err(error) => Err(error).context("how far the program is behind its topics"),
        }
    }

    fn count(&mut self) -> millstream_log::Result<i64> {
        let places = self.log.committed_as(&self.group, &self.partitions)?;
        let mut lag = 0;
        for (at, place) in self.partitions.iter().zip(places) {
            let next = match place {
                Some(place) => place.offset,
                None => self.log.start(at)?,
            };
            lag += self.log.end_uncommitted(at)? - next;
        }
        Ok(lag)
    }
}
