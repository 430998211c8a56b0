//! Where the reading of a topic begins when no place was committed.

use super::{Place, Task, TaskConfig};
use crate::{
    record::Offset,
    topology::{NodeKind, TopicName, Topology},
};
use millstream_state::Backend;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Where a source begins, in a partition of which the program has committed no place yet: Kafka's
/// `auto.offset.reset`. Topics of the program's own always begin at their first record.
///
/// It also says where the source goes on where the log has deleted records before they were
/// processed, as retention does to a program that stood for too long. These are counted as
/// [`Dropped::lost`](super::Dropped), except where the program stops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OffsetReset {
    /// At the first record that is there.
    #[default]
    Earliest,
    /// At what comes after the program has started. The place is committed with the first commit,
    /// so what has come since then is not passed over when the program ends early.
    Latest,
    /// At the first record that is not older than this, by its timestamp and the wall clock
    /// (KIP-1106); behind the last one if all are.
    ByDuration(Duration),
    /// Nowhere: the program stops, and says so.
    Fail,
}

impl Task {
    /// Where an input begins of which no place was committed.
    pub fn offset_reset(&self, input: usize) -> OffsetReset {
        self.inputs[input].reset
    }

    /// Where [`Task::begin`] has put an input that does not begin at the first record, or
    /// [`Task::lose`] one of which records are gone.
    pub fn begun(&self, input: usize) -> Option<Offset> {
        self.inputs[input].begun
    }

    /// As [`Task::resume`], for an input of which no place was committed: the next commit holds
    /// this one, so that it is found there and not looked for again.
    pub fn begin(&mut self, input: usize, offset: Offset) -> u64 {
        let first = self.inputs[input].first.replace(offset).unwrap_or(offset);
        let before = self.lose_behind(input, first, offset);
        let lost = before + self.resume(input, Place::start(offset));
        let input = &mut self.inputs[input];
        if input.reset != OffsetReset::Earliest {
            (input.begun, input.moved) = (Some(offset), true);
        }
        lost
    }
}

/// For test drivers, which let a task's successor go on where it is.
impl Task {
    pub(crate) fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    pub(crate) fn place(&self, input: usize) -> Place {
        self.inputs[input].place()
    }
}

/// Where the user's topics begin; `build()` saw to it that the sources of a topic agree.
pub(super) fn of_sources(
    topology: &Topology,
    config: &TaskConfig,
) -> BTreeMap<TopicName, OffsetReset> {
    let mut resets = BTreeMap::new();
    for node in &topology.nodes {
        if let NodeKind::Source { topic, reset, .. } = &node.kind
            && !matches!(topic, TopicName::Repartition(_))
        {
            for topic in topology.read_for(topic) {
                let own = resets.entry(topic).or_insert(config.offset_reset);
                *own = reset.unwrap_or(*own);
            }
        }
    }
    resets
}
