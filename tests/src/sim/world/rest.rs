//! Whether a healed world has come to rest, and what keeps it from it.
//!
//! Invariant: a world at rest has committed every input up to its end.

use super::{APPLICATION, World};
use anyhow::Result;
use millstream_core::record::{Offset, TopicPartition};
use millstream_log::Error as LogError;
use millstream_runtime::worker::Phase;

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
