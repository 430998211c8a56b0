//! Which deltas are alive and which chunk is next: the bookkeeping of the rolling snapshot.
//!
//! Invariant: live deltas are those younger than the oldest chunk, and fewer than there are slots,
//! because every commit makes at least one chunk as young as itself.

use super::{codec::FRAME_BYTES_MAX, table::Table};
use std::{collections::VecDeque, ops::Range};

/// A chunk of the snapshot is never larger, with every row alive.
const CHUNK_BYTES_MAX: usize = 64 << 10;
/// Gaps inside a chunk are below 2^14: a varint of two bytes.
const GAP_BYTES_MAX: usize = 2;
/// A commit writes snapshot chunks for one byte in so many of its delta.
const DELTA_BYTES_PER_SNAPSHOT_BYTE: usize = 4;

/// A delta that a restore would need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LiveDelta {
    pub(super) seq: u64,
    pub(super) parts: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ring {
    /// The last commit that changed the model.
    pub(super) seq: u64,
    /// The chunk that the next commit writes first.
    pub(super) next_chunk: usize,
    /// The commit that wrote each chunk last; zero for never.
    pub(super) as_of: Vec<u64>,
    /// Oldest first.
    pub(super) deltas: VecDeque<LiveDelta>,
    /// Whether the next commit writes every chunk: rows that were never in a delta are not zero.
    pub(super) warm: bool,
    /// Rows to a chunk.
    rows_per_chunk: usize,
}

impl Ring {
    pub(super) fn new(table: Option<&Table>) -> Self {
        let (rows, width) = table.map_or((0, 1), |table| (table.rows(), table.width()));
        let rows_per_chunk = (CHUNK_BYTES_MAX - FRAME_BYTES_MAX) / (4 * width + GAP_BYTES_MAX);
        Self {
            seq: 0,
            next_chunk: 0,
            as_of: vec![0; rows.div_ceil(rows_per_chunk)],
            deltas: VecDeque::new(),
            warm: false,
            rows_per_chunk,
        }
    }

    /// The number of chunks, and of slots.
    pub(super) fn chunks(&self) -> usize {
        self.as_of.len()
    }

    /// The chunk that a row lies in.
    pub(super) fn chunk_of(&self, row: u32) -> usize {
        row as usize / self.rows_per_chunk
    }

    /// The rows of a chunk.
    pub(super) fn rows_of(&self, chunk: usize, rows: usize) -> Range<u32> {
        let number = |row: usize| u32::try_from(row.min(rows)).unwrap_or(u32::MAX);
        number(chunk * self.rows_per_chunk)..number((chunk + 1) * self.rows_per_chunk)
    }

    /// The key of a delta's part.
    pub(super) fn delta_key(&self, seq: u64, part: u32) -> String {
        format!("D/{}/{part}", seq % self.chunks().max(1) as u64)
    }

    /// The key of a chunk.
    pub(super) fn chunk_key(chunk: usize) -> String {
        format!("S/{chunk}")
    }

    /// Takes the next chunk to write, and notes that this commit does.
    pub(super) fn take_chunk(&mut self) -> usize {
        let chunk = self.next_chunk;
        self.as_of[chunk] = self.seq;
        self.next_chunk = (chunk + 1) % self.chunks();
        chunk
    }

    /// Whether this commit has written enough of the snapshot beside such a delta.
    pub(super) fn is_enough(&self, written: usize, chunks: usize, delta_bytes: usize) -> bool {
        chunks == self.chunks()
            || !self.warm
                && chunks > 0
                && written.saturating_mul(DELTA_BYTES_PER_SNAPSHOT_BYTE) >= delta_bytes
    }

    /// The commit up to which no delta is needed.
    pub(super) fn floor(&self) -> u64 {
        self.as_of.iter().copied().min().unwrap_or(self.seq)
    }

    /// Takes out the next delta that no chunk needs any more.
    pub(super) fn take_obsolete(&mut self) -> Option<LiveDelta> {
        let floor = self.floor();
        self.deltas.pop_front_if(|delta| delta.seq <= floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Whatever the sizes of deltas: a slot is free when it is used again, and each is younger than
    /// the oldest chunk.
    #[test]
    fn no_slot_is_overwritten_while_a_restore_needs_it() {
        for (rows, width) in [(1, 2), (6_550, 2), (20_000, 2), (1 << 17, 2), (1 << 14, 6)] {
            let table = Table::new(rows, width);
            let mut ring = Ring::new(Some(&table));
            let mut slots = BTreeMap::new();
            for commit in 1..=3 * ring.chunks() as u64 + 3 {
                ring.seq = commit;
                let delta_bytes = usize::try_from(commit % 5).unwrap() * 100_000;
                let (mut chunks, mut written) = (0, 0);
                while !ring.is_enough(written, chunks, delta_bytes) {
                    ring.take_chunk();
                    chunks += 1;
                    written += 10_000;
                }
                assert!(chunks >= 1);
                while let Some(delta) = ring.take_obsolete() {
                    assert_eq!(slots.remove(&ring.delta_key(delta.seq, 0)), Some(delta.seq));
                }
                if ring.seq > ring.floor() {
                    let old = slots.insert(ring.delta_key(commit, 0), commit);
                    assert_eq!(old, None, "commit {commit} of {} chunks", ring.chunks());
                    ring.deltas.push_back(LiveDelta {
                        seq: commit,
                        parts: 1,
                    });
                }
                let needed: Vec<u64> = (ring.floor() + 1..=commit).collect();
                let mut held: Vec<u64> = slots.values().copied().collect();
                held.sort_unstable();
                assert_eq!(held, needed);
            }
        }
    }

    #[test]
    fn chunks_cover_the_table_once() {
        let table = Table::new(100_000, 2);
        let ring = Ring::new(Some(&table));
        let rows: Vec<u32> = (0..ring.chunks())
            .flat_map(|chunk| ring.rows_of(chunk, 100_000))
            .collect();
        assert!(rows.iter().copied().eq(0..100_000));
        assert!(
            rows.iter()
                .all(|row| ring.rows_of(ring.chunk_of(*row), 100_000).contains(row))
        );
        assert_eq!(Ring::new(None).chunks(), 0);
    }
}
