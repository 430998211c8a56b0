//! How RocksDB is tuned, and what all backends of a process share.
//!
//! Invariant: memory and threads are bounded per process, not per task: one block cache, one budget
//! for unwritten data, and one pool of background threads, however many tasks are open.

use crate::BufferBudget;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode,
    DataBlockIndexType, LogLevel, Options, ReadOptions, WriteBufferManager,
};

const MIB: usize = 1 << 20;

/// Flushes and compactions that run at once, over all databases: they share the process's pool.
const BACKGROUND_JOBS: i32 = 2;
/// Unflushed writes that one database may have to replay when it opens; see the module above.
const MAX_WAL_BYTES: u64 = 32 * MIB as u64;
/// Unflushed writes of one column.
const WRITE_BUFFER_BYTES: usize = 16 * MIB;
/// Files one database keeps open; more are opened again on use.
const MAX_OPEN_FILES: i32 = 256;
/// Flushed files of a column that wait for a compaction, and those of a log's.
const FILES_MAX: i32 = 4;
const LOG_FILES_MAX: i32 = 24;
/// Bloom filter bits per key: about one point read in a hundred goes to a file in vain.
const FILTER_BITS: f64 = 10.0;

/// How much memory the backends of one process may use together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of blocks, their indexes and filters kept for reading.
    pub block_cache_bytes: usize,
    /// Bytes of writes not yet in a file: three quarters for the buffers in front of the databases,
    /// where a row is found by one look into a hash table, and one for what the databases have not
    /// flushed. Reaching it starts a flush; it never stops a writer. A mebibyte at least.
    pub write_buffer_bytes: usize,
}

impl Default for Limits {
    /// 128 MiB for reading and 96 MiB for writing: a process of a few hundred megabytes.
    fn default() -> Self {
        Self {
            block_cache_bytes: 128 * MIB,
            write_buffer_bytes: 96 * MIB,
        }
    }
}

/// What all [`RocksBackend`](super::RocksBackend)s of a process share. Make one and pass it around.
#[derive(Clone)]
pub struct Shared {
    cache: Cache,
    writes: WriteBufferManager,
    buffers: BufferBudget,
    /// How many files of a column may wait, as they were flushed, until they are compacted.
    files_max: i32,
    /// Whether blocks that a scan reads are kept in the cache.
    scans_fill: bool,
}

impl Shared {
    /// Caches of the given sizes, empty.
    pub fn new(limits: Limits) -> Self {
        // To the engine 0 is no bound at all.
        let write_buffer_bytes = limits.write_buffer_bytes.max(MIB);
        let memtables = write_buffer_bytes / 4;
        Self {
            cache: Cache::new_lru_cache(limits.block_cache_bytes),
            writes: WriteBufferManager::new_write_buffer_manager(memtables, false),
            buffers: BufferBudget::new(write_buffer_bytes - memtables),
            files_max: FILES_MAX,
            scans_fill: true,
        }
    }

    /// The same for a database that is written at its ends and read in long stretches, as a log is:
    /// to look into more files costs it little, and to write them together again is the larger part
    /// of what writing costs. What a stretch reads is not kept either: it is hardly ever read again
    /// soon, and memory that is used again at once stays in the processor's caches.
    #[must_use]
    pub fn for_a_log(&self) -> Self {
        Self {
            files_max: LOG_FILES_MAX,
            scans_fill: false,
            ..self.clone()
        }
    }

    /// Bytes that the block cache holds now.
    pub fn block_cache_bytes(&self) -> usize {
        self.cache.get_usage()
    }

    /// Bytes of writes that are held in memory now.
    pub fn write_buffer_bytes(&self) -> usize {
        self.writes.get_usage()
    }

    /// What the [`Buffered`](crate::Buffered) backends of the process hold together.
    pub fn buffers(&self) -> BufferBudget {
        self.buffers.clone()
    }

    /// The options of a scan.
    pub(super) fn scan(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        options.fill_cache(self.scans_fill);
        options
    }

    /// The options of one database.
    pub(super) fn database(&self) -> Options {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_write_buffer_manager(&self.writes);
        options.set_max_background_jobs(BACKGROUND_JOBS);
        options.set_max_open_files(MAX_OPEN_FILES);
        options.set_max_total_wal_size(MAX_WAL_BYTES);
        // A log that ends in the middle of a record is what a crash leaves: all whole records up to
        // there are taken, and the database opens.
        options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
        // Written-back little by little, so that no single sync has to wait for all of it.
        options.set_bytes_per_sync(MIB as u64);
        // The engine's own log is for post-mortems only: warnings, in two small files.
        options.set_log_level(LogLevel::Warn);
        options.set_keep_log_file_num(2);
        options.set_max_log_file_size(MIB);
        options.set_stats_dump_period_sec(0);
        options.set_stats_persist_period_sec(0);
        options
    }

    /// The options of one column: small values, read by key.
    pub(super) fn family(&self) -> Options {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&self.cache);
        blocks.set_block_size(4 << 10);
        // Of whole keys only: with first fields in it too, for the scans of one key's rows, it
        // takes twice the room in the cache and a look of its own at each level, and a session of
        // ten million keys costs the same: 32 us without, 33 with it.
        blocks.set_bloom_filter(FILTER_BITS, false);
        blocks.set_optimize_filters_for_memory(true);
        // Indexes and filters count against the cache, or memory would grow with the state. They
        // lie in pieces: the filter of a file with two million keys, in one, is larger than a shard
        // of the cache, would be kept by none, and would be read with every look-up.
        blocks.set_cache_index_and_filter_blocks(true);
        blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
        blocks.set_partition_filters(true);
        blocks.set_metadata_block_size(4 << 10);
        blocks.set_pin_top_level_index_and_filter(true);
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
        blocks.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
        blocks.set_format_version(6);
        let mut options = Options::default();
        options.set_block_based_table_factory(&blocks);
        // What a flush writes is soon compacted, and so is again, several times, what lies on the
        // level behind it. A column that is larger than that level, a quarter of a gigabyte, is
        // compressed below it.
        let none = DBCompressionType::None;
        options.set_compression_per_level(&[none, none, DBCompressionType::Lz4]);
        options.set_level_zero_file_num_compaction_trigger(self.files_max);
        // A writer is slowed down, and stopped, by so many more as without a word.
        options.set_level_zero_slowdown_writes_trigger(self.files_max + 16);
        options.set_level_zero_stop_writes_trigger(self.files_max + 32);
        options.set_write_buffer_size(WRITE_BUFFER_BYTES);
        // Small pieces, so that a column with ten keys does not occupy a megabyte. For the same
        // reason there is no bloom filter before the memtable: its size would be that of a full
        // one.
        options.set_arena_block_size(64 << 10);
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_on_writes_is_never_none() {
        for write_buffer_bytes in [0, 3] {
            let shared = Shared::new(Limits {
                write_buffer_bytes,
                ..Limits::default()
            });
            assert!(shared.writes.enabled());
        }
    }
}
