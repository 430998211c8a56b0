//! From a changelog's records to a backend's bytes.
//!
//! Invariant: active tasks, standbys and restore all come through here, so their bytes are equal;
//! only where a store was wrong in what it supposed to be new, an active task may keep a row that
//! its changelog has deleted.

use super::{StoreChanges, Task};
use crate::{record::RawRecord, store::RowStart, topology::Topology};
use millstream_state::{Before, Column, WriteBatch};

impl Task {
    /// The stores that had to make something new of what they found when they were opened, and how
    /// much ([`StateStore::repaired`](crate::store::StateStore::repaired)).
    pub fn repaired<'t>(&self, topology: &'t Topology) -> Vec<(&'t str, u64)> {
        let stores = self.commit.changes.iter().filter_map(|changes| {
            let repaired = self.ctx.stores[changes.store.0].as_ref()?.repaired();
            Some((&*topology.store(changes.store).name, repaired))
        });
        stores.filter(|(_, repaired)| *repaired > 0).collect()
    }
}

/// Writes a store's changes of one commit into its column. What is new, as far as the store knows,
/// is said to be.
pub(super) fn write_changes(batch: &mut WriteBatch, changes: &StoreChanges) {
    let (column, records) = (changes.column, &changes.records);
    for index in 0..records.len() {
        let record = records.get(index);
        let before = records.before(index);
        match (record.key, record.value, before) {
            (Some(key), Some(value), Before::Absent | Before::Supposed) if changes.exact => {
                let start = RowStart::new(record.timestamp, record.headers);
                let parts = &[start.as_ref(), value][..];
                match before {
                    Before::Supposed => batch.suppose_parts(column, key, parts),
                    _ => batch.insert_parts(column, key, parts),
                }
            }
            // It came and went within the commit.
            (_, None, Before::Supposed) if changes.exact => {}
            _ => restore_record(batch, column, record),
        }
    }
}

/// Writes one changelog record into a column: the key, and the value behind its timestamp and, if
/// there are some, its headers.
pub fn restore_record(batch: &mut WriteBatch, column: Column, record: RawRecord<'_>) {
    let Some(key) = record.key else { return };
    match record.value {
        Some(value) => {
            let start = RowStart::new(record.timestamp, record.headers);
            batch.put_parts(column, key, &[start.as_ref(), value]);
        }
        None => batch.delete(column, key),
    }
}
