//! Sending what tasks have made: as it is, and between two tasks of the program as packs.
//!
//! Invariant: the records of a partition are sent in their order, and none is left when a task's
//! outputs have been sent.

use super::{Active, WorkerStats, commit::retry};
use crate::error::Result;
use millstream_core::{pack::Pack, record::Partition, task::Output};
use millstream_log::{Error as LogError, Log, murmur2};
use std::{collections::BTreeMap, sync::Arc};

/// How outputs are sent. It keeps memory, and how many partitions topics have that are sent packs.
#[derive(Default)]
pub(super) struct Sending {
    /// One for each partition of the topic with most of them.
    packs: Vec<Pack>,
    /// What goes to any partition: the log deals such packs out.
    keyless: Pack,
    partitions: BTreeMap<Arc<str>, Partition>,
}

impl Sending {
    /// Hands a task's outputs to the open transaction, and counts them.
    pub(super) fn send(
        &mut self,
        active: &mut Active,
        log: &mut dyn Log,
        stats: &mut WorkerStats,
    ) -> Result<()> {
        let mut sent = 0;
        for output in active.task.outputs() {
            if output.packed {
                self.send_packed(output, log)?;
            } else {
                for (partition, record) in output.placed() {
                    retry(|| log.send(&output.topic, partition, record))?;
                }
            }
            sent += output.records.len() as u64;
            output.clear();
        }
        active.sent += sent;
        stats.sent += sent;
        Ok(())
    }

    fn send_packed(&mut self, output: &Output, log: &mut dyn Log) -> Result<()> {
        if output.records.is_empty() {
            return Ok(());
        }
        let count = self.partitions_of(&output.topic, log)?;
        let bytes_max = output.bytes_max.min(log.record_bytes_max());
        let Self { packs, keyless, .. } = self;
        packs.resize_with(packs.len().max(count as usize), Pack::default);
        // What was left where sending has failed is made again.
        packs.iter_mut().for_each(Pack::clear);
        keyless.clear();
        let mut send = |pack: &mut Pack, partition| {
            pack.empty(|record| retry(|| log.send(&output.topic, partition, record)))
        };
        for (chosen, record) in output.placed() {
            let keyed = || record.key.map(|key| murmur2::partition(key, count));
            let partition = chosen.or_else(keyed);
            let pack = match partition {
                None => &mut *keyless,
                Some(partition) if partition < count => &mut packs[partition as usize],
                Some(partition) => {
                    let unknown = format!("{}-{partition}", output.topic);
                    return Err(LogError::UnknownTopic(unknown).into());
                }
            };
            if !pack.has_room(record, bytes_max) {
                send(pack, partition)?;
            }
            pack.push(record);
        }
        send(keyless, None)?;
        for (partition, pack) in (0..).zip(packs) {
            send(pack, Some(partition))?;
        }
        Ok(())
    }

    /// How many partitions a topic of the program has, which stays so while it runs.
    fn partitions_of(&mut self, topic: &Arc<str>, log: &mut dyn Log) -> Result<Partition> {
        if let Some(&partitions) = self.partitions.get(topic) {
            return Ok(partitions);
        }
        let unknown = || LogError::UnknownTopic(topic.to_string());
        let info = retry(|| log.topic(topic))?.ok_or_else(unknown)?;
        self.partitions.insert(topic.clone(), info.spec.partitions);
        Ok(info.spec.partitions)
    }
}
