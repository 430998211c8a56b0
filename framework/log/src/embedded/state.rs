//! Everything an embedded log holds in memory, under one lock.
//!
//! Invariant: what the state shows is what the backend holds: a change is applied there first, in
//! one batch, and then to the state, before the lock is given back.

use super::{
    disk::{Contents, Disk, Spot},
    group::Group,
    limits::Limits,
    partition::PartitionLog,
    rows::{self, PartitionId, PartitionRow},
};
use crate::api::{Committed, Error, Result, TopicInfo, TopicSpec};
use millstream_core::record::{Offset, TopicPartition};
use millstream_state::WriteBatch;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};
use xxhash_rust::xxh3::xxh3_64;

/// The longest name of a topic, as in Kafka.
const NAME_LENGTH_MAX: usize = 249;
/// The most partitions of a topic: enough for one machine, and a typing error is found.
const PARTITIONS_MAX: u32 = 10_000;

/// A topic and its partitions.
pub(super) struct Topic {
    pub(super) info: TopicInfo,
    pub(super) name: Arc<str>,
    pub(super) partitions: Vec<PartitionLog>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) topics: BTreeMap<Arc<str>, Topic>,
    pub(super) groups: BTreeMap<String, Group>,
    pub(super) places: BTreeMap<String, BTreeMap<PartitionId, Committed>>,
    /// Counts commits with records, so that a tail knows whether there is news.
    pub(super) sequence: u64,
    next_topic: u64,
    next_client: u64,
    /// Blocks in memory that may be forgotten, oldest first.
    cache: VecDeque<(Arc<str>, PartitionId, Offset)>,
    cache_bytes: u64,
}

impl State {
    /// The state of a log found on disk.
    pub(super) fn found(contents: Contents) -> Self {
        let mut state = Self {
            next_topic: contents.next_topic,
            ..Self::default()
        };
        let rows: BTreeMap<_, _> = contents.partitions.into_iter().collect();
        for info in contents.topics {
            let row = |partition| rows.get(&(info.id, partition)).copied().unwrap_or_default();
            let partitions =
                (0..info.spec.partitions).map(|number| PartitionLog::found(row(number)));
            let (name, partitions) = (Arc::from(info.spec.name.as_str()), partitions.collect());
            state.topics.insert(
                Arc::clone(&name),
                Topic {
                    info,
                    name,
                    partitions,
                },
            );
        }
        for (group, id, place) in contents.places {
            state.places.entry(group).or_default().insert(id, place);
        }
        state
    }

    pub(super) const fn new_client(&mut self) -> u64 {
        self.next_client += 1;
        self.next_client
    }

    pub(super) fn topic(&self, name: &str) -> Result<&Topic> {
        self.topics
            .get(name)
            .ok_or_else(|| Error::UnknownTopic(name.into()))
    }

    pub(super) fn partition(&self, at: &TopicPartition) -> Result<(&Topic, &PartitionLog)> {
        let found = self.topics.get(&at.topic).and_then(|topic| {
            Some((
                topic,
                topic.partitions.get(usize::try_from(at.partition).ok()?)?,
            ))
        });
        found.ok_or_else(|| Error::UnknownTopic(at.to_string()))
    }

    /// The partition with that identity, unless its topic was deleted since.
    pub(super) fn partition_mut(&mut self, spot: &Spot) -> Option<&mut PartitionLog> {
        let topic = self.topics.get_mut(&spot.topic)?;
        if topic.info.id != spot.id.0 {
            return None;
        }
        topic.partitions.get_mut(usize::try_from(spot.id.1).ok()?)
    }

    pub(super) fn spot(&self, at: &TopicPartition) -> Result<Spot> {
        let (topic, _) = self.partition(at)?;
        Ok(Spot {
            id: (topic.info.id, at.partition),
            topic: Arc::clone(&topic.name),
        })
    }

    /// A group's place in a partition.
    pub(super) fn place(&self, group: &str, at: &TopicPartition) -> Result<Option<&Committed>> {
        let (topic, _) = self.partition(at)?;
        let places = self.places.get(group);
        Ok(places.and_then(|places| places.get(&(topic.info.id, at.partition))))
    }

    pub(super) fn create(&mut self, spec: &TopicSpec, disk: Option<&Disk>) -> Result<TopicInfo> {
        if let Some(topic) = self.topics.get(spec.name.as_str()) {
            // Here records can be deleted from the front of any topic; and how long a deletion is
            // kept is the topic's affair, which whoever asks is told.
            let ways = |spec: &TopicSpec| (spec.cleanup.compacts().is_some(), spec.cleanup.ages());
            if topic.info.spec.partitions == spec.partitions && ways(&topic.info.spec) == ways(spec)
            {
                return Ok(topic.info.clone());
            }
            return Err(Error::Fatal(format!(
                "topic {} exists with {} partitions and {:?}, asked for are {} and {:?}",
                spec.name,
                topic.info.spec.partitions,
                topic.info.spec.cleanup,
                spec.partitions,
                spec.cleanup
            )));
        }
        check(spec)?;
        let number = self.next_topic + 1;
        let id = (u128::from(number) << 64) | u128::from(xxh3_64(spec.name.as_bytes()));
        let info = TopicInfo {
            id,
            spec: spec.clone(),
        };
        if let Some(disk) = disk {
            let mut batch = WriteBatch::new();
            batch.put(disk.topics, rows::META_KEY, &rows::encode_meta(number));
            batch.put(
                disk.topics,
                spec.name.as_bytes(),
                &rows::encode_topic(&info),
            );
            disk.apply(&batch)?;
        }
        self.next_topic = number;
        let name: Arc<str> = Arc::from(spec.name.as_str());
        let partitions = (0..spec.partitions)
            .map(|_| PartitionLog::default())
            .collect();
        let topic = Topic {
            info: info.clone(),
            name: Arc::clone(&name),
            partitions,
        };
        self.topics.insert(name, topic);
        Ok(info)
    }

    /// Forgets a topic, its records and every group's places in it.
    pub(super) fn delete(&mut self, name: &str, disk: Option<&Disk>) -> Result<()> {
        let topic = self.topic(name)?;
        let id = topic.info.id;
        if let Some(disk) = disk {
            let mut batch = WriteBatch::new();
            batch.delete(disk.topics, name.as_bytes());
            for partition in 0..topic.info.spec.partitions {
                batch.delete(disk.partitions, &rows::partition_key((id, partition)));
                disk.delete_blocks((id, partition), &mut batch)?;
            }
            for (group, places) in &self.places {
                for at in places.keys().filter(|at| at.0 == id) {
                    batch.delete(disk.places, &rows::place_key(group, *at));
                }
            }
            let _no_readers = disk.rewriting();
            disk.apply(&batch)?;
        }
        for places in self.places.values_mut() {
            places.retain(|at, _| at.0 != id);
        }
        let mut topic = self
            .topics
            .remove(name)
            .ok_or_else(|| Error::UnknownTopic(name.into()))?;
        if disk.is_some() {
            let forgotten = topic
                .partitions
                .iter_mut()
                .map(|log| log.evict_below(Offset::MAX));
            self.cache_bytes = self.cache_bytes.saturating_sub(forgotten.sum());
        }
        Ok(())
    }

    /// Remembers that a block came into memory, and forgets the oldest ones beyond the limits. Only
    /// for logs with a disk: without one, memory is all there is.
    pub(super) fn cache(&mut self, spot: &Spot, base: Offset, bytes: u64, limits: &Limits) {
        self.cache
            .push_back((Arc::clone(&spot.topic), spot.id, base));
        self.cache_bytes += bytes;
        while self.cache_bytes > limits.cache_bytes_max
            || self.cache.len() > limits.cache_blocks_max
        {
            let Some((topic, id, base)) = self.cache.pop_front() else {
                break;
            };
            let partition = self.partition_mut(&Spot { id, topic });
            let bytes = partition.and_then(|partition| partition.evict(base, limits.merge_bytes));
            self.cache_bytes = self.cache_bytes.saturating_sub(bytes.unwrap_or_default());
        }
    }

    /// Forgets the blocks in memory below an offset that is about to be rewritten on disk.
    pub(super) fn evict_below(&mut self, spot: &Spot, end: Offset) {
        let bytes = self
            .partition_mut(spot)
            .map(|partition| partition.evict_below(end));
        self.cache_bytes = self.cache_bytes.saturating_sub(bytes.unwrap_or_default());
    }
}

/// Adds a partition's row to a batch.
pub(super) fn put_row(disk: &Disk, batch: &mut WriteBatch, id: PartitionId, row: &PartitionRow) {
    batch.put(disk.partitions, &rows::partition_key(id), &row.encode());
}

/// Kafka's rules for names, and our bound on partitions.
fn check(spec: &TopicSpec) -> Result<()> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let name = &spec.name;
    if name.is_empty() || name.len() > NAME_LENGTH_MAX || !name.bytes().all(legal) {
        return Err(Error::Fatal(format!(
            "{name:?} is no topic name: 1 to {NAME_LENGTH_MAX} of a-z, A-Z, 0-9, '.', '_', '-'"
        )));
    }
    if spec.partitions == 0 || spec.partitions > PARTITIONS_MAX {
        return Err(Error::Fatal(format!(
            "topic {name} cannot have {} partitions, only 1 to {PARTITIONS_MAX}",
            spec.partitions
        )));
    }
    let times = [spec.cleanup.compacts(), spec.cleanup.ages()];
    if times.iter().flatten().any(|ms| *ms < 0) {
        return Err(Error::Fatal(format!(
            "topic {name} cannot keep records a negative time"
        )));
    }
    Ok(())
}
