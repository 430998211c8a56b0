//! The backend that forgets: sorted maps in memory, for tests, simulations and tasks without a
//! disk.
//!
//! Invariant: a scan holds no lock while it calls its visitor. It keeps the map it began with, and
//! a batch that arrives meanwhile changes a copy; so a visitor may read, or even write, the same
//! backend, and no writer ever waits for a slow reader.

use crate::{
    Backend, BackendStats, Before, Column, Direction, Error, Op, Position, Presence, Result,
    SmallBytes, Visitor, WriteBatch,
};
use std::{
    collections::BTreeMap,
    iter::Peekable,
    ops::Bound,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

type Map = BTreeMap<SmallBytes, SmallBytes>;

/// What one column holds.
#[derive(Clone, Default)]
struct Store {
    /// Shared with the scans that run, and copied on write only while there are any.
    map: Arc<Map>,
    position: Option<Position>,
    /// Bytes of all keys and values, kept up to date because counting would visit every entry.
    bytes: usize,
}

impl Store {
    /// Applies the changes at the front that are the column's. They come in the order of their
    /// keys, so the next key is mostly a few steps on in the map, where no search is needed.
    fn apply<'a>(&mut self, column: Column, ops: &mut Peekable<impl Iterator<Item = Op<'a>>>) {
        /// Steps in the map before a search from the top is the shorter way.
        const STEPS_MAX: usize = 8;
        let map = Arc::make_mut(&mut self.map);
        let mut rest = map.range_mut::<[u8], _>(..);
        let mut at = rest.next();
        while let Some(op) = ops.next_if(|op| op.column() == column) {
            let key = op.key();
            for _ in 0..STEPS_MAX {
                match &at {
                    Some((here, _)) if ***here < *key => at = rest.next(),
                    _ => break,
                }
            }
            if matches!(&at, Some((here, _)) if ***here < *key) {
                rest = map.range_mut::<[u8], _>((Bound::Included(key), Bound::Unbounded));
                at = rest.next();
            }
            match (op, &mut at) {
                (Op::Put { value, before, .. }, Some((here, old))) if ***here == *key => {
                    debug_assert!(before != Before::Absent, "{key:?} was called new");
                    self.bytes = self.bytes - old.len() + value.len();
                    old.set(value);
                    continue;
                }
                (Op::Put { value, .. }, _) => {
                    self.bytes += key.len() + value.len();
                    map.insert(key.into(), value.into());
                }
                (Op::Delete { .. }, _) => {
                    if let Some(old) = map.remove(key) {
                        self.bytes -= key.len() + old.len();
                    }
                }
            }
            // The map has another shape now, and the place in it has to be found anew.
            rest = map.range_mut::<[u8], _>((Bound::Included(key), Bound::Unbounded));
            at = rest.next();
        }
    }
}

/// A [`Backend`] in memory.
///
/// ```
/// use millstream_state::{Backend, Column, MemoryBackend, Presence, WriteBatch};
///
/// let backend = MemoryBackend::new(&["counts"]);
/// let mut batch = WriteBatch::new();
/// batch.put(Column(0), b"apple", b"3");
/// backend.apply(&batch)?;
///
/// let mut value = Vec::new();
/// assert_eq!(backend.get(Column(0), b"apple", &mut value)?, Presence::Found);
/// assert_eq!(value, b"3");
/// # Ok::<(), millstream_state::Error>(())
/// ```
pub struct MemoryBackend {
    columns: Vec<String>,
    stores: RwLock<Vec<Store>>,
}

impl MemoryBackend {
    /// An empty backend with the named columns, numbered in the order given.
    pub fn new<N: AsRef<str>>(columns: &[N]) -> Self {
        Self {
            columns: columns
                .iter()
                .map(|name| name.as_ref().to_owned())
                .collect(),
            stores: RwLock::new(vec![Store::default(); columns.len()]),
        }
    }

    /// A lock that a panicking thread left behind is taken over: nothing between taking and
    /// releasing it calls foreign code, so what it guards is whole.
    fn read(&self) -> RwLockReadGuard<'_, Vec<Store>> {
        self.stores.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Vec<Store>> {
        self.stores.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, column: Column) -> Result<usize> {
        let index = usize::from(column.0);
        if index < self.columns.len() {
            Ok(index)
        } else {
            Err(Error::UnknownColumn(column.0))
        }
    }
}

impl Backend for MemoryBackend {
    fn columns(&self) -> &[String] {
        &self.columns
    }

    fn get(&self, column: Column, key: &[u8], out: &mut Vec<u8>) -> Result<Presence> {
        out.clear();
        let index = self.check(column)?;
        Ok(match self.read()[index].map.get(key) {
            Some(value) => {
                out.extend_from_slice(value);
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
        let index = self.check(column)?;
        if is_empty_range(bounds) {
            return Ok(());
        }
        let map = Arc::clone(&self.read()[index].map);
        let mut range = map.range::<[u8], _>(bounds);
        while let Some((key, value)) = match direction {
            Direction::Ascending => range.next(),
            Direction::Descending => range.next_back(),
        } {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn apply(&self, batch: &WriteBatch) -> Result<()> {
        // All columns are checked before the first change, so that a refused batch leaves no trace.
        for op in batch.ops() {
            self.check(op.column())?;
        }
        for (column, _) in batch.positions() {
            self.check(*column)?;
        }
        let mut stores = self.write();
        let mut ops = batch.ops_by_key().peekable();
        while let Some(column) = ops.peek().map(Op::column) {
            stores[usize::from(column.0)].apply(column, &mut ops);
        }
        for (column, position) in batch.positions() {
            let stored = &mut stores[usize::from(column.0)].position;
            *stored = Some(position.after(*stored));
        }
        Ok(())
    }

    fn position(&self, column: Column) -> Result<Option<Position>> {
        let index = self.check(column)?;
        Ok(self.read()[index].position)
    }

    fn clear(&self, column: Column) -> Result<()> {
        let index = self.check(column)?;
        self.write()[index] = Store::default();
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn stats(&self) -> BackendStats {
        let stores = self.read();
        BackendStats {
            keys_estimate: stores.iter().map(|store| store.map.len() as u64).sum(),
            disk_bytes: 0,
            memory_bytes: stores.iter().map(|store| store.bytes as u64).sum(),
        }
    }
}

/// Whether no key can lie between the bounds. The standard map panics on those it calls malformed.
fn is_empty_range(bounds: (Bound<&[u8]>, Bound<&[u8]>)) -> bool {
    use Bound::{Excluded, Included, Unbounded};
    match bounds {
        (Unbounded, _) | (_, Unbounded) => false,
        (Included(from), Included(to)) => from > to,
        (Included(from) | Excluded(from), Excluded(to)) | (Excluded(from), Included(to)) => {
            from >= to
        }
    }
}
