//! The backend on disk: one RocksDB per task, a column family per column.
//!
//! Invariant: a batch and its positions are one RocksDB write, so no position says more than the
//! data has after any crash; and nothing that a crash leaves behind is ever a reason to delete a
//! directory.
//!
//! The default column family belongs to this file: it holds the positions, keyed by the column's
//! name, so that columns may be renumbered from one version of a program to the next. The families
//! of the columns carry a prefix, so that no store name can collide with it.
//!
//! # Why there is a write-ahead log
//!
//! The changelog could restore whatever a crash takes, so RocksDB could do without a log of its own
//! (`atomic_flush` keeps the columns in step then). It was measured with 9 million puts of 100
//! bytes under random keys, 1,000 to a batch, two columns, 1.1 GB on disk, killed with SIGKILL at
//! the end, on two cores busy with other work:
//!
//! | log                  | writer's CPU | writes    | reopening | lost                  |
//! |----------------------|--------------|-----------|-----------|-----------------------|
//! | on, not synced       | 2.7 us a put | 152,000/s | 0.8 s     | nothing               |
//! | off, `atomic_flush`  | 2.2 us a put | 238,000/s | 0.03 s    | 347 of 9,000 batches  |
//!
//! A fifth more CPU per put buys that a restarted process replays nothing over the network. Those
//! puts are deduplicated per commit already, so there are few of them. The log is not synced: the
//! operating system keeps what a dead process wrote. Its total size is bounded, because that bound,
//! and not the size of the state, is what reopening takes its time for: the table was made with
//! 64 MiB, and 32 MiB brought reopening below 0.6 s at no cost that could be measured.
//!
//! After a loss of power the tail of the log may be missing. RocksDB then opens at the end of the
//! last whole batch; where there are several column families it syncs the finished logs before it
//! lists a new table file, so no column can be ahead of another.

mod options;
mod position;

pub use options::{Limits, Shared};

use crate::{
    Backend, BackendStats, Column, Direction, Error, Op, Position, Presence, Result, Visitor,
    WriteBatch,
};
use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, DB, DEFAULT_COLUMN_FAMILY_NAME, ErrorKind, ReadOptions,
    WriteOptions, properties,
};
use std::{
    collections::BTreeSet,
    fs,
    ops::Bound,
    path::Path,
    sync::{PoisonError, RwLock},
};

/// What stands before a column's name in the name of its column family.
const FAMILY_PREFIX: &str = "column:";
/// What stands before a column's name in the key of its position.
const POSITION_PREFIX: &[u8] = b"position:";

/// What an applied batch survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The death of the process: the operating system has the batch, its disk may not. After a loss
    /// of power an older state is found, which the changelog brings up to date.
    #[default]
    Process,
    /// The death of the machine: each batch waits for the disk. For data without a changelog.
    Machine,
}

/// A [`Backend`] in a directory.
///
/// ```
/// use millstream_state::{Backend, Column, Limits, Presence, RocksBackend, Shared, WriteBatch};
///
/// let directory = tempfile::tempdir().unwrap();
/// let shared = Shared::new(Limits::default()); // one for the whole process
/// let columns = ["counts".to_owned()];
/// {
///     let backend = RocksBackend::open(directory.path(), &columns, &shared)?;
///     let mut batch = WriteBatch::new();
///     batch.put(Column(0), b"apple", b"3");
///     backend.apply(&batch)?;
/// }
/// let backend = RocksBackend::open(directory.path(), &columns, &shared)?;
/// let mut value = Vec::new();
/// assert_eq!(backend.get(Column(0), b"apple", &mut value)?, Presence::Found);
/// # Ok::<(), millstream_state::Error>(())
/// ```
pub struct RocksBackend {
    db: DB,
    columns: Vec<String>,
    /// The column families' names, in the order of `columns`.
    families: Vec<String>,
    undeclared: Vec<String>,
    reads: ReadOptions,
    shared: Shared,
    writes: WriteOptions,
    /// Held shared by writers and alone by `clear`, which has to know the last key for a moment.
    clearing: RwLock<()>,
}

impl RocksBackend {
    /// Opens the directory, and creates it and its columns where they do not exist yet.
    ///
    /// Columns on disk that are not asked for are kept; see [`RocksBackend::undeclared_columns`].
    ///
    /// # Errors
    /// [`Error::Locked`] where the directory is open already, [`Error::Corrupt`] where its files
    /// contradict each other, [`Error::Storage`] for a column declared twice and all other
    /// refusals.
    pub fn open(path: impl AsRef<Path>, columns: &[String], shared: &Shared) -> Result<Self> {
        let path = path.as_ref();
        let distinct: BTreeSet<&String> = columns.iter().collect();
        if distinct.len() != columns.len() {
            return Err(Error::Storage(format!(
                "a column is declared twice in {columns:?}"
            )));
        }
        fs::create_dir_all(path).map_err(|error| {
            Error::Storage(format!("cannot create {}: {error}", path.display()))
        })?;
        let families: Vec<String> = columns
            .iter()
            .map(|name| format!("{FAMILY_PREFIX}{name}"))
            .collect();
        let strangers: Vec<String> = families_on_disk(path, shared)?
            .into_iter()
            .filter(|name| name != DEFAULT_COLUMN_FAMILY_NAME && !families.contains(name))
            .collect();
        let default = ColumnFamilyDescriptor::new(DEFAULT_COLUMN_FAMILY_NAME, shared.family());
        let descriptors = (families.iter().chain(&strangers))
            .map(|name| ColumnFamilyDescriptor::new(name, shared.family()))
            .chain([default]);
        let db = DB::open_cf_descriptors(&shared.database(), path, descriptors)
            .map_err(|error| opening(error, path))?;
        let undeclared = strangers
            .iter()
            .map(|name| name.strip_prefix(FAMILY_PREFIX).unwrap_or(name).to_owned());
        let mut writes = WriteOptions::default();
        // Batches come sorted: the place of a row is next to that of the row before.
        writes.set_memtable_insert_hint_per_batch(true);
        Ok(Self {
            db,
            columns: columns.to_vec(),
            families,
            undeclared: undeclared.collect(),
            reads: ReadOptions::default(),
            shared: shared.clone(),
            writes,
            clearing: RwLock::new(()),
        })
    }

    /// Chooses what an applied batch survives; [`Durability::Process`] if not called.
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.writes.set_sync(durability == Durability::Machine);
        self
    }

    /// Columns found on disk that the program no longer declares, sorted.
    ///
    /// They are kept untouched, positions included: a program that is rolled back finds them again.
    pub fn undeclared_columns(&self) -> &[String] {
        &self.undeclared
    }

    fn family(&self, column: Column) -> Result<&ColumnFamily> {
        (self.families.get(usize::from(column.0)))
            .and_then(|name| self.db.cf_handle(name))
            .ok_or(Error::UnknownColumn(column.0))
    }

    fn meta(&self) -> Result<&ColumnFamily> {
        (self.db.cf_handle(DEFAULT_COLUMN_FAMILY_NAME))
            .ok_or_else(|| Error::Corrupt("the default column family is missing".to_owned()))
    }

    fn position_key(&self, column: Column) -> Result<Vec<u8>> {
        let name = self
            .columns
            .get(usize::from(column.0))
            .ok_or(Error::UnknownColumn(column.0))?;
        Ok([POSITION_PREFIX, name.as_bytes()].concat())
    }

    /// The smallest key above all keys of a column, or `None` where the column is empty.
    fn end(&self, family: &ColumnFamily) -> Result<Option<Vec<u8>>> {
        let mut cursor = self.db.raw_iterator_cf(family);
        cursor.seek_to_last();
        let end = cursor.key().map(successor);
        cursor.status().map_err(storage)?;
        Ok(end)
    }
}

impl Backend for RocksBackend {
    fn columns(&self) -> &[String] {
        &self.columns
    }

    fn get(&self, column: Column, key: &[u8], out: &mut Vec<u8>) -> Result<Presence> {
        out.clear();
        let family = self.family(column)?;
        let found = self
            .db
            .get_pinned_cf_opt(family, key, &self.reads)
            .map_err(storage)?;
        Ok(match found {
            Some(value) => {
                out.extend_from_slice(&value);
                Presence::Found
            }
            None => Presence::Missing,
        })
    }

    fn scan(
        &self,
        column: Column,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        direction: Direction,
        visit: Visitor<'_>,
    ) -> Result<()> {
        let family = self.family(column)?;
        // Half-open bounds are what the engine knows; a key's successor is itself and a zero.
        let from = match bounds.0 {
            Bound::Included(key) => key.to_vec(),
            Bound::Excluded(key) => successor(key),
            Bound::Unbounded => Vec::new(),
        };
        let to = match bounds.1 {
            Bound::Included(key) => Some(successor(key)),
            Bound::Excluded(key) => Some(key.to_vec()),
            Bound::Unbounded => None,
        };
        if to.as_ref().is_some_and(|to| from >= *to) {
            return Ok(());
        }
        let mut options = self.shared.scan();
        options.set_iterate_lower_bound(from);
        if let Some(to) = to {
            options.set_iterate_upper_bound(to);
        }
        let mut cursor = self.db.raw_iterator_cf_opt(family, options);
        match direction {
            Direction::Ascending => cursor.seek_to_first(),
            Direction::Descending => cursor.seek_to_last(),
        }
        while let Some((key, value)) = cursor.item() {
            if visit(key, value).is_break() {
                return Ok(());
            }
            match direction {
                Direction::Ascending => cursor.next(),
                Direction::Descending => cursor.prev(),
            }
        }
        cursor.status().map_err(storage)
    }

    fn apply(&self, batch: &WriteBatch) -> Result<()> {
        /// What the engine adds to an entry at most: its kind, its column and two lengths.
        const ENTRY_BYTES: usize = 12;
        let entries = batch.len() + batch.positions().len() * 8;
        let mut write =
            rocksdb::WriteBatch::with_capacity_bytes(batch.bytes() + entries * ENTRY_BYTES);
        for op in batch.ops_by_key() {
            match op {
                Op::Put {
                    column, key, value, ..
                } => write.put_cf(self.family(column)?, key, value),
                Op::Delete { column, key } => write.delete_cf(self.family(column)?, key),
            }
        }
        let mut reached: Vec<(Column, Position)> = Vec::new();
        for (column, position) in batch.positions() {
            // What the batch has said of the column before counts as if it were there already.
            match reached.iter_mut().find(|(said, _)| said == column) {
                Some((_, before)) => *before = position.after(Some(*before)),
                None => reached.push((*column, position.after(self.position(*column)?))),
            }
        }
        for (column, position) in &reached {
            let key = self.position_key(*column)?;
            write.put_cf(self.meta()?, key, position::encode(position));
        }
        let _writing = self.clearing.read().unwrap_or_else(PoisonError::into_inner);
        self.db.write_opt(write, &self.writes).map_err(storage)
    }

    fn position(&self, column: Column) -> Result<Option<Position>> {
        let key = self.position_key(column)?;
        let stored = self
            .db
            .get_pinned_cf_opt(self.meta()?, key, &self.reads)
            .map_err(storage)?;
        stored.map(|bytes| position::decode(&bytes)).transpose()
    }

    fn clear(&self, column: Column) -> Result<()> {
        let (family, position) = (self.family(column)?, self.position_key(column)?);
        let mut write = rocksdb::WriteBatch::default();
        write.delete_cf(self.meta()?, position);
        let alone = self
            .clearing
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let end = self.end(family)?;
        if let Some(end) = &end {
            write.delete_range_cf(family, &[][..], end);
        }
        self.db.write_opt(write, &self.writes).map_err(storage)?;
        drop(alone);
        // From here on the column is empty for every reader. The rest gives the disk back at once
        // and spares later reads the tombstone: whole files go first, the compaction is then small.
        if let Some(end) = &end {
            // Files that are gone do not come back: what says so must outlast the machine's power.
            self.db.flush_wal(true).map_err(storage)?;
            self.db
                .delete_file_in_range_cf(family, &[][..], end)
                .map_err(storage)?;
            self.db
                .compact_range_cf(family, None::<&[u8]>, None::<&[u8]>);
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.db.flush_wal(true).map_err(storage)
    }

    fn stats(&self) -> BackendStats {
        let sum = |property: &properties::PropName| {
            let families = self
                .families
                .iter()
                .filter_map(|name| self.db.cf_handle(name));
            families
                .filter_map(|family| self.db.property_int_value_cf(family, property).ok()?)
                .sum()
        };
        BackendStats {
            keys_estimate: sum(properties::ESTIMATE_NUM_KEYS),
            disk_bytes: sum(properties::TOTAL_SST_FILES_SIZE),
            memory_bytes: sum(properties::CUR_SIZE_ALL_MEM_TABLES),
        }
    }
}

/// The smallest key that is larger than the given one.
fn successor(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// The column families in a directory, sorted; none where there is no database yet.
fn families_on_disk(path: &Path, shared: &Shared) -> Result<BTreeSet<String>> {
    // CURRENT is the last file that the creation of a database writes.
    if !path.join("CURRENT").exists() {
        return Ok(BTreeSet::new());
    }
    let families = DB::list_cf(&shared.database(), path).map_err(|error| opening(error, path))?;
    Ok(families.into_iter().collect())
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is what `map_err` hands over"
)]
fn storage(error: rocksdb::Error) -> Error {
    match error.kind() {
        ErrorKind::Corruption => Error::Corrupt(error.to_string()),
        _ => Error::Storage(error.to_string()),
    }
}

/// As [`storage`], but knows the message of a directory that somebody else has open.
fn opening(error: rocksdb::Error, path: &Path) -> Error {
    let text = error.as_ref();
    // A lock file that cannot be opened is locked by nobody.
    let held = ["lock hold by current process", "While lock file"];
    let held = held.iter().any(|held| text.contains(held)) && text.contains("/LOCK: ");
    if error.kind() == ErrorKind::IOError && held {
        return Error::Locked {
            path: path.to_owned(),
        };
    }
    storage(error)
}
