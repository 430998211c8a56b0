//! Every bound of an embedded log, by name.

/// How much an embedded log takes and holds. The defaults suit a program on a laptop; simulations
/// make them small to reach every path with little data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of newest blocks kept in memory beside the disk. In memory alone all are kept.
    pub cache_bytes_max: u64,
    /// How many newest blocks are kept in memory beside the disk.
    pub cache_blocks_max: usize,
    /// Bytes of one record: `max.message.bytes`.
    pub record_bytes_max: usize,
    /// Bytes of one client's open transaction.
    pub transaction_bytes_max: usize,
    /// Whoever has so many bytes of finished records commits them without waiting longer.
    pub commit_bytes: usize,
    /// A commit that gives a partition more than this is stored as several blocks of equal size.
    pub block_bytes_max: usize,
    /// Blocks are merged until they are this large: half of the largest, so that none of those is
    /// looked at.
    pub merge_bytes: u64,
    /// So many small blocks in a row are merged even when they stay below `merge_bytes`.
    pub merge_blocks: usize,
    /// A partition below this size is never compacted.
    pub compact_bytes_min: u64,
    /// The same of one whose front is cut off too, which is bounded without compaction: what is
    /// read back in about a second need not be made shorter, and what comes and goes fast would be
    /// cut off before it had been worth the work.
    pub compact_trimmed_bytes_min: u64,
    /// Bytes of keys that one compaction remembers; a partition with more takes several.
    pub compact_keys_bytes_max: usize,
    /// Bytes of blocks that one call of `maintain` reads.
    pub maintain_bytes_max: u64,
    /// Bytes of blocks that compaction reads before it writes what it keeps of them: they are in
    /// memory as read, as written and in the storage's own buffers.
    pub rewrite_bytes_max: u64,
    /// How far ahead of a reader blocks are decoded.
    pub read_ahead_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cache_bytes_max: 64 << 20,
            cache_blocks_max: 4_096,
            record_bytes_max: 16 << 20,
            transaction_bytes_max: 256 << 20,
            commit_bytes: 3 << 20,
            block_bytes_max: 256 << 10,
            merge_bytes: 128 << 10,
            merge_blocks: 32,
            compact_bytes_min: 32 << 20,
            compact_trimmed_bytes_min: 64 << 20,
            compact_keys_bytes_max: 32 << 20,
            maintain_bytes_max: 16 << 20,
            rewrite_bytes_max: 2 << 20,
            read_ahead_bytes: 1 << 20,
        }
    }
}
