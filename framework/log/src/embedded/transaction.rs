//! A client's open transaction: what was sent and not yet committed.
//!
//! Invariant: nothing of it is seen by anyone before the commit. A record's bytes are copied once,
//! into the arena of its partition, and that arena is what readers get after the commit.

use super::{
    block::{Head, RECORD_OVERHEAD, cut, sent_bytes},
    codec,
    disk::{Disk, Spot},
    limits::Limits,
    rows,
    state::Topic,
};
use crate::{
    api::{Error, Result},
    murmur2,
};
use hashbrown::HashMap;
use millstream_core::{
    batch::RecordBatch,
    record::{Offset, Partition, RawRecord},
};
use millstream_state::WriteBatch;
use std::{ops::Range, sync::Arc};

/// A client remembers at most this many topics that it sent to; beyond, it starts over.
const SLOTS_MAX: usize = 1_024;
/// So much memory for blocks is kept however little is sent, and so much at most.
const KEPT_BYTES: usize = 1 << 20;
const KEPT_BYTES_MAX: usize = 16 << 20;

/// A topic that the client sent to, and its buffers, one per partition.
struct Slot {
    topic: Arc<str>,
    id: u128,
    keys_needed: bool,
    round_robin: Partition,
    buffers: Vec<Buffer>,
}

/// What was sent to one partition.
#[derive(Default)]
struct Buffer {
    batch: RecordBatch,
    /// Records and bytes of the transaction before, with some room: growing a batch step by step
    /// would cost more than filling it.
    expected: (usize, usize),
}

impl Buffer {
    fn take(&mut self) -> RecordBatch {
        let batch = std::mem::take(&mut self.batch);
        let roomy = |size: usize| size + size / 8;
        self.expected = (roomy(batch.len()), roomy(batch.bytes()));
        batch
    }
}

/// What was sent to one partition, ready for the log.
pub(super) struct Pending {
    pub(super) spot: Spot,
    /// Offsets count from 0 until the log gives them their base.
    pub(super) batch: RecordBatch,
    pub(super) pieces: Vec<Piece>,
}

/// A stretch of a pending batch that becomes a block.
pub(super) struct Piece {
    /// Relative to the batch's base.
    pub(super) head: Head,
    pub(super) range: Range<usize>,
}

/// All that was sent.
pub(super) struct Sent {
    /// By topic and partition.
    pub(super) parts: Vec<Pending>,
    /// Their pieces' blocks in order, under keys that do not say yet where they begin; nothing
    /// where there is no disk.
    pub(super) blocks: WriteBatch,
}

#[derive(Default)]
pub(super) struct OpenTransaction {
    slots: Vec<Slot>,
    /// Asked only when two sends in a row go to different topics.
    by_name: HashMap<Arc<str>, usize>,
    last: usize,
    /// Partitions with records: slot and partition.
    touched: Vec<(usize, Partition)>,
    /// Memory for the blocks of the next commit.
    blocks: WriteBatch,
    bytes: usize,
    catalog: u64,
}

impl OpenTransaction {
    /// Whether nothing was sent.
    pub(super) const fn is_empty(&self) -> bool {
        self.touched.is_empty()
    }

    /// How much was sent, with what a record costs beside its bytes.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Before the first record of a transaction: forgets what it knew of topics if any topic was
    /// made or deleted since.
    pub(super) fn begin(&mut self, catalog: u64) {
        if self.catalog != catalog || self.slots.len() > SLOTS_MAX {
            *self = Self {
                catalog,
                ..Self::default()
            };
        }
    }

    /// The slot of a topic, if the client has sent to it.
    #[inline]
    pub(super) fn slot(&mut self, topic: &str) -> Option<usize> {
        if self
            .slots
            .get(self.last)
            .is_some_and(|slot| &*slot.topic == topic)
        {
            return Some(self.last);
        }
        self.last = *self.by_name.get(topic)?;
        Some(self.last)
    }

    /// Makes a slot for a topic.
    pub(super) fn learn(&mut self, topic: &Topic) -> usize {
        self.last = self.slots.len();
        self.by_name.insert(Arc::clone(&topic.name), self.last);
        self.slots.push(Slot {
            topic: Arc::clone(&topic.name),
            id: topic.info.id,
            keys_needed: topic.info.spec.cleanup.compacts().is_some(),
            round_robin: 0,
            buffers: topic.partitions.iter().map(|_| Buffer::default()).collect(),
        });
        self.last
    }

    /// Adds a record to the slot's topic.
    #[inline]
    pub(super) fn push(
        &mut self,
        index: usize,
        partition: Option<Partition>,
        record: RawRecord<'_>,
        limits: &Limits,
    ) -> Result<()> {
        let slot = &mut self.slots[index];
        let sent = sent_bytes(record);
        // Not more than that, or one record that may be sent could be too much for any transaction.
        let bytes = sent + RECORD_OVERHEAD;
        if sent > limits.record_bytes_max {
            return Err(too_large(&slot.topic, sent, limits));
        }
        if self.bytes + bytes > limits.transaction_bytes_max {
            return Err(too_much(limits));
        }
        let count = u32::try_from(slot.buffers.len()).unwrap_or(u32::MAX);
        let partition = match (partition, record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => murmur2::partition(key, count),
            (None, None) => {
                let next = slot.round_robin;
                slot.round_robin = if next + 1 < count { next + 1 } else { 0 };
                next
            }
        };
        if slot.keys_needed && record.key.is_none() {
            return Err(key_missing(&slot.topic));
        }
        let Some(buffer) = slot.buffers.get_mut(partition as usize) else {
            return Err(Error::UnknownTopic(format!("{}-{partition}", slot.topic)));
        };
        if buffer.expected.0 > 0 {
            let (records, bytes) = std::mem::take(&mut buffer.expected);
            buffer.batch = RecordBatch::with_capacity(records, bytes);
        }
        let offset = Offset::try_from(buffer.batch.len()).unwrap_or(Offset::MAX);
        if !buffer.batch.push(offset, record) {
            return Err(too_much(limits));
        }
        if offset == 0 {
            self.touched.push((index, partition));
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Everything sent, cut into blocks, and encoded if it goes to disk. The transaction is empty
    /// afterwards.
    pub(super) fn take(&mut self, limits: &Limits, disk: Option<&Disk>) -> Sent {
        let mut parts: Vec<_> = self
            .touched
            .drain(..)
            .map(|(index, partition)| {
                let slot = &mut self.slots[index];
                let batch = slot.buffers[partition as usize].take();
                let spot = Spot {
                    id: (slot.id, partition),
                    topic: Arc::clone(&slot.topic),
                };
                let pieces = pieces(&batch, limits);
                Pending {
                    spot,
                    batch,
                    pieces,
                }
            })
            .collect();
        parts.sort_unstable_by(|a, b| {
            (&a.spot.topic, a.spot.id.1).cmp(&(&b.spot.topic, b.spot.id.1))
        });
        self.bytes = 0;
        let mut blocks = std::mem::take(&mut self.blocks);
        if let Some(disk) = disk {
            for part in &parts {
                let key = rows::block_key(part.spot.id, 0);
                for Piece { head, range } in &part.pieces {
                    blocks.put_with(disk.blocks, &key, |out| {
                        codec::encode(head, &part.batch, range.clone(), out);
                    });
                }
            }
        }
        Sent { parts, blocks }
    }

    /// Takes back the memory of what was sent, unless that is a lot, or far more than was needed.
    pub(super) fn keep(&mut self, mut blocks: WriteBatch) {
        let most = (4 * blocks.bytes()).clamp(KEPT_BYTES, KEPT_BYTES_MAX);
        if blocks.capacity() <= most {
            blocks.clear();
            self.blocks = blocks;
        }
    }

    /// Drops what was sent and keeps its memory for the next transaction.
    pub(super) fn clear(&mut self) {
        for (index, partition) in self.touched.drain(..) {
            self.slots[index].buffers[partition as usize].batch.clear();
        }
        self.bytes = 0;
    }
}

fn pieces(batch: &RecordBatch, limits: &Limits) -> Vec<Piece> {
    let piece = |range: Range<usize>| {
        let covers = batch.offset(range.start)..batch.offset(range.end - 1) + 1;
        let head = Head::of(batch, range.clone(), covers, None);
        Piece { head, range }
    };
    cut(batch, limits.block_bytes_max)
        .into_iter()
        .map(piece)
        .collect()
}

#[cold]
fn too_large(topic: &str, bytes: usize, limits: &Limits) -> Error {
    Error::Fatal(format!(
        "a record of {bytes} bytes for topic {topic} is larger than the {} that a record may have",
        limits.record_bytes_max
    ))
}

#[cold]
fn too_much(limits: &Limits) -> Error {
    Error::Fatal(format!(
        "the open transaction would hold more than {} bytes: commit more often \
         (commit.interval.ms)",
        limits.transaction_bytes_max
    ))
}

#[cold]
fn key_missing(topic: &str) -> Error {
    Error::Fatal(format!(
        "a record without a key cannot go to {topic}: compaction goes by key"
    ))
}
