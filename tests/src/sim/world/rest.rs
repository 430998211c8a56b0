//! Whether a healed world has come to rest, and what keeps it from it.
//!
//! Invariant: a world at rest runs all tasks, and has committed every input up to its end.

use super::{APPLICATION, World};
use anyhow::Result;
use millstream_core::record::{Offset, TopicPartition};
use millstream_log::Error as LogError;
use millstream_runtime::worker::{Phase, TaskRole};
use std::collections::BTreeSet;

impl World {
    /// An input that is not committed up to its end, with the place and the end.
    pub(super) fn behind(&mut self) -> Result<Option<(TopicPartition, Offset, Offset)>> {
        let tasks = self.program.layout.tasks.iter();
        let inputs: Vec<_> = tasks.flat_map(|task| task.inputs.iter().cloned()).collect();
        let places = match self.client.committed_as(APPLICATION, &inputs) {
            Err(LogError::Retry(_)) => vec![None; inputs.len()],
            places => places?,
        };
        for (input, place) in inputs.into_iter().zip(places) {
            let (place, end) = (
                place.map_or(0, |place| place.offset),
                self.client.end(&input)?,
            );
            if place < end {
                return Ok(Some((input, place, end)));
            }
        }
        Ok(None)
    }

    /// Whether every task runs somewhere, and no worker is about to take or give any.
    pub(super) fn all_tasks_run(&self) -> bool {
        let mut workers = self.instances.iter().flat_map(|i| &i.workers);
        let mut running = BTreeSet::new();
        let settled = workers.all(|(worker, _)| {
            let tasks = worker.tasks().into_iter();
            let active = tasks.filter(|task| task.role == TaskRole::Active);
            running.extend(active.map(|task| task.id));
            worker.phase() == Phase::Running
        });
        settled && running.len() == self.program.layout.tasks.len()
    }

    /// The tasks of the workers that do not run all of theirs, with how far their stores are.
    pub(super) fn unsettled(&self) -> String {
        let workers = self.instances.iter().flat_map(|i| &i.workers);
        let unsettled = workers.filter(|(worker, _)| worker.phase() != Phase::Running);
        let unsettled: Vec<_> = unsettled
            .flat_map(|(worker, _)| worker.tasks())
            .map(|task| {
                let places = task.restore.iter();
                let places: Vec<_> = places.map(|store| (store.position, store.end)).collect();
                (task.id, task.role, places)
            })
            .collect();
        format!("{unsettled:?}")
    }
}
