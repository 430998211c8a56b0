//! A partition: its row, and its newest blocks in memory.
//!
//! Invariant: every block that covers an offset at or above `cached_from` is in `blocks`; without a
//! disk `cached_from` never moves and memory holds the whole partition.

use super::{
    block::{Block, Head},
    rows::PartitionRow,
    worth::Worth,
};
use millstream_core::record::Offset;
use std::collections::BTreeMap;

/// One partition of a topic.
#[derive(Debug, Default)]
pub(super) struct PartitionLog {
    pub(super) row: PartitionRow,
    blocks: BTreeMap<Offset, Block>,
    cached_from: Offset,
    /// Whether it is worth it to compact it.
    pub(super) worth: Worth,
    /// Small blocks below here were merged, or need not be.
    pub(super) merged_until: Offset,
    /// How far blocks were looked at for merging when there was nothing to do.
    pub(super) merge_seen: Offset,
    /// Whether blocks below the start may still be stored.
    pub(super) untrimmed: bool,
}

impl PartitionLog {
    /// A partition found on disk; its blocks stay there until they are asked for.
    pub(super) fn found(row: PartitionRow) -> Self {
        Self {
            row,
            cached_from: row.end,
            merged_until: row.start,
            untrimmed: true,
            ..Self::default()
        }
    }

    /// Whether reads from that offset on are answered from memory.
    pub(super) fn cached(&self, from: Offset) -> bool {
        from >= self.cached_from
    }

    pub(super) const fn cached_from(&self) -> Offset {
        self.cached_from
    }

    /// The blocks in memory, from the one that may hold `from` on.
    pub(super) fn blocks_from(&self, from: Offset) -> impl Iterator<Item = &Block> {
        let below = self.blocks.range(..=from).next_back();
        let begin = below.map_or(from, |(base, _)| *base);
        self.blocks.range(begin..).map(|(_, block)| block)
    }

    /// The block in memory that holds the first record at or after `from`, and its place there.
    pub(super) fn find(&self, from: Offset) -> Option<(&Block, usize)> {
        self.blocks_from(from).find_map(|block| {
            let position = block.position_of(from);
            (position < block.records.range.end).then_some((block, position))
        })
    }

    /// Takes over a block at the end.
    pub(super) fn append(&mut self, block: Block) {
        self.row.end = block.head.end;
        self.row.bytes += block.head.bytes;
        self.row.dirty_bytes += block.head.bytes;
        self.worth.written(block.head.bytes);
        self.blocks.insert(block.head.base, block);
    }

    /// Forgets the oldest block in memory if it is the one named; its size. One that is too large
    /// to be merged need not be read again to be found so.
    pub(super) fn evict(&mut self, base: Offset, merge_bytes: u64) -> Option<u64> {
        let oldest = self
            .blocks
            .first_entry()
            .filter(|entry| *entry.key() == base)?;
        let head = oldest.remove().head;
        self.cached_from = head.end;
        if head.bytes > merge_bytes && self.merged_until >= head.base {
            self.merged_until = self.merged_until.max(head.end);
        }
        Some(head.bytes)
    }

    /// Forgets the blocks in memory that begin below an offset; their size.
    pub(super) fn evict_below(&mut self, end: Offset) -> u64 {
        let mut bytes = 0;
        while let Some(entry) = self.blocks.first_entry().filter(|entry| *entry.key() < end) {
            let head = entry.remove().head;
            bytes += head.bytes;
            self.cached_from = self.cached_from.max(head.end);
        }
        bytes
    }

    /// Replaces blocks in memory by others that cover the same offsets.
    pub(super) fn replace(&mut self, old: &[Head], new: Vec<Block>) {
        for head in old {
            self.blocks.remove(&head.base);
        }
        self.blocks
            .extend(new.into_iter().map(|block| (block.head.base, block)));
    }
}
