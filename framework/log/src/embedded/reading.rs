//! Reading committed records: from memory without a copy, or from disk a stretch at a time.
//!
//! Invariant: a reader sees each record from its place on once, in order, or is told that its place
//! is out of range; it is never carried over a gap that `delete_records` or retention made.

use super::{Shared, block::Limit, disk::Spot, state::State};
use crate::api::{Error, Result};
use millstream_core::{
    batch::{RecordBatch, Records},
    record::{Offset, TopicPartition},
};
use std::{collections::BTreeMap, sync::Arc};

/// A client keeps decoded stretches of at most this many partitions.
const AHEAD_MAX: usize = 32;

/// What a reader gets.
pub(super) struct Stretch {
    /// At least one record, or none before `next`.
    pub(super) records: Option<Records>,
    pub(super) next: Offset,
    pub(super) end: Offset,
}

/// Stretches that were decoded from disk and not read to their end.
#[derive(Default)]
pub(super) struct Ahead(BTreeMap<(u128, u32), (Offset, Arc<RecordBatch>)>);

impl Ahead {
    /// Records from `from` on, where the stretch kept for the partition covers that offset.
    fn get(&mut self, spot: &Spot, from: Offset, limit: Limit) -> Option<Records> {
        let (begin, batch) = self.0.get(&spot.id)?;
        let position = batch.position_of(from);
        if from < *begin || position == batch.len() {
            return None;
        }
        let batch = Arc::clone(batch);
        let range = limit.apply(&batch, position..batch.len());
        if range.end == batch.len() {
            self.0.remove(&spot.id);
        }
        Some(Records { batch, range })
    }

    fn keep(&mut self, spot: &Spot, from: Offset, batch: RecordBatch) {
        if self.0.len() >= AHEAD_MAX && !self.0.contains_key(&spot.id) {
            self.0.pop_first();
        }
        self.0.insert(spot.id, (from, Arc::new(batch)));
    }
}

impl Shared {
    /// Records from an offset on, after `check` has agreed that the caller may.
    pub(super) fn stretch(
        &self,
        ahead: &mut Ahead,
        at: &TopicPartition,
        from: Offset,
        limit: Limit,
        check: impl FnOnce(&State) -> Result<()>,
    ) -> Result<Stretch> {
        let (spot, end) = {
            let state = self.lock()?;
            check(&state)?;
            let end = in_range(&state, at, from)?;
            let (_, log) = state.partition(at)?;
            if let Some((block, position)) = log.cached(from).then(|| log.find(from)).flatten() {
                let batch = &block.records.batch;
                let range = limit.apply(batch, position..block.records.range.end);
                let records = Records {
                    batch: Arc::clone(batch),
                    range,
                };
                return Ok(read(records, end));
            }
            if log.cached(from) {
                return Ok(Stretch {
                    records: None,
                    next: end,
                    end,
                });
            }
            (state.spot(at)?, end)
        };
        if let Some(records) = ahead.get(&spot, from, limit) {
            return Ok(read(records, end));
        }
        let Some(disk) = &self.disk else {
            return Err(Error::Fatal(format!(
                "{at} has lost records that memory should hold"
            )));
        };
        let bytes = limit.bytes.min(self.limits.read_ahead_bytes);
        let batch = disk.load(&spot, from, end, bytes)?;
        // Records may have been deleted while the disk was read, and what was found is then not
        // what follows the reader's place.
        in_range(&*self.lock()?, at, from)?;
        if batch.is_empty() {
            return Ok(Stretch {
                records: None,
                next: end,
                end,
            });
        }
        ahead.keep(&spot, from, batch);
        match ahead.get(&spot, from, limit) {
            Some(records) => Ok(read(records, end)),
            None => Ok(Stretch {
                records: None,
                next: from,
                end,
            }),
        }
    }
}

fn read(records: Records, end: Offset) -> Stretch {
    let next = records.batch.offset(records.range.end - 1) + 1;
    Stretch {
        records: Some(records),
        next,
        end: end.max(next),
    }
}

/// The end of the partition, if `from` is between its start and there.
fn in_range(state: &State, at: &TopicPartition, from: Offset) -> Result<Offset> {
    let (_, log) = state.partition(at)?;
    let (start, end) = (log.row.start, log.row.end);
    if from < start || from > end {
        return Err(Error::OffsetOutOfRange {
            partition: at.clone(),
            offset: from,
            start,
            end,
        });
    }
    Ok(end)
}
