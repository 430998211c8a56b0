//! Compaction: of each key only the newest record stays, at the offset it has.
//!
//! Where the front of a partition is cut off too, compaction is no duty: it is first looked whether
//! it is worth it, unless the last passes were (`worth.rs`). A pass first reads the records that no
//! pass has seen and remembers the newest offset of each of their keys, then rewrites all blocks
//! below, leaving out what a newer record replaced. It goes in bounded steps. A crash between them
//! loses the pass, not the log: the next one starts over.
//!
//! Invariant: a reader that starts at the front ends with the newest value of each key, whenever it
//! reads. A tombstone is kept for `delete.retention.ms` after the first pass that met it (as in
//! Kafka since KIP-534), so that whoever reads at least that often learns of every deletion.

use super::{
    Shared,
    block::{Block, batch_bytes, record_bytes},
    disk::{Spot, more_if},
    maintain::{Maintainer, Work},
    newest::{Newest, TOGETHER},
    sketch::Sketch,
};
use crate::api::{Cleanup, Result};
use millstream_core::{
    batch::RecordBatch,
    record::{Offset, RawRecord},
};
use std::{
    array,
    ops::{ControlFlow, Range},
};

/// A compaction under way. There is one at a time, so that its memory is bounded.
pub(super) struct Pass {
    pub(super) spot: Spot,
    sketch: Sketch,
    /// Of the records read so far.
    newest: Newest,
    /// How many records with keys were read for it, and how many records went.
    indexed: u64,
    removed: u64,
    /// How far it comes: below there everything is clean after it.
    upto: Offset,
    /// Below here everything was clean before the pass.
    clean_until: Offset,
    step: Step,
}

#[derive(Clone, Copy)]
enum Step {
    /// Looks how many keys come again; goes on at that offset.
    Survey(Offset),
    /// Remembers keys; goes on at that offset.
    Index(Offset),
    /// Rewrites blocks; goes on at that offset.
    Rewrite(Offset),
    Done,
}

impl Shared {
    /// Begins a pass where one is due in a topic that is compacted, and takes one further as far as
    /// the work's bytes go.
    pub(super) fn compact(
        &self,
        maintainer: &mut Maintainer,
        (spot, cleanup): (&Spot, Cleanup),
        work: &mut Work,
    ) -> Result<()> {
        let Some(delete_retention_ms) = cleanup.compacts() else {
            return Ok(());
        };
        if maintainer.pass.is_none() {
            let is_trimmed = matches!(cleanup, Cleanup::CompactDelete { .. });
            maintainer.pass = self.due(spot, is_trimmed)?;
        }
        let Some(pass) = maintainer.pass.as_mut().filter(|pass| pass.spot == *spot) else {
            return Ok(());
        };
        while work.budget > 0 {
            match pass.step {
                Step::Survey(from) => {
                    if self.survey(pass, from, work)? == Some(false) {
                        maintainer.pass = None;
                        break;
                    }
                }
                Step::Index(from) => self.index(pass, from, work)?,
                Step::Rewrite(from) => self.rewrite(pass, from, delete_retention_ms, work)?,
                Step::Done => {
                    self.finish(pass)?;
                    maintainer.pass = None;
                    break;
                }
            }
        }
        Ok(())
    }

    /// A pass over a partition, if it is time for one.
    fn due(&self, spot: &Spot, is_trimmed: bool) -> Result<Option<Pass>> {
        let mut state = self.lock()?;
        let Some(log) = state.partition_mut(spot) else {
            return Ok(None);
        };
        let row = log.row;
        let half = row.dirty_bytes.saturating_mul(2) >= row.bytes;
        let least = if is_trimmed {
            self.limits.compact_trimmed_bytes_min
        } else {
            self.limits.compact_bytes_min
        };
        let waits = is_trimmed && !log.worth.is_time(row.bytes);
        if !half || row.bytes < least || waits || row.clean_until >= row.end {
            return Ok(None);
        }
        let dirty = row.clean_until.max(row.start);
        let look_first = is_trimmed && log.worth.begin(dirty, row.end);
        Ok(Some(Pass {
            spot: spot.clone(),
            sketch: Sketch::default(),
            newest: Newest::default(),
            indexed: 0,
            removed: 0,
            upto: row.end,
            clean_until: row.clean_until,
            step: if look_first {
                Step::Survey(0)
            } else {
                Step::Index(row.clean_until)
            },
        }))
    }

    /// Looks at the keys of more records; once it has seen all, whether a pass is worth it.
    fn survey(&self, pass: &mut Pass, from: Offset, work: &mut Work) -> Result<Option<bool>> {
        let Pass { spot, sketch, .. } = pass;
        let next = self.records(spot, from..pass.upto, work, &mut |_, record| {
            if let Some(key) = record.key {
                sketch.add(key);
            }
            more_if(true)
        })?;
        if let Some(next) = next {
            pass.step = Step::Survey(next);
            return Ok(None);
        }
        pass.step = Step::Index(pass.clean_until);
        let sketch = std::mem::take(&mut pass.sketch);
        let found = (sketch.repeated(), sketch.records());
        let mut state = self.lock()?;
        let log = state.partition_mut(&pass.spot);
        Ok(log.map(|log| log.worth.seen(found, pass.upto, log.row.bytes)))
    }

    /// Records how far the partition is clean, and what came in since the pass began.
    fn finish(&self, pass: &Pass) -> Result<()> {
        let (spot, upto, mut dirty_bytes) = (&pass.spot, pass.upto, 0);
        // One that cannot be read counts as what it takes on the disk: the pass was not over it.
        self.heads(spot, upto, &mut |head, _| {
            dirty_bytes += if head.base >= upto { head.bytes } else { 0 };
            more_if(true)
        })?;
        self.update(spot, |row| {
            row.clean_until = upto;
            row.dirty_bytes = dirty_bytes;
        })?;
        if let Some(log) = self.lock()?.partition_mut(spot) {
            let did = (pass.removed, pass.indexed);
            log.worth.finished(did, upto, log.row.bytes);
        }
        Ok(())
    }

    /// Remembers the keys of more records, up to the bound on keys.
    fn index(&self, pass: &mut Pass, from: Offset, work: &mut Work) -> Result<()> {
        let (spot, upto, mut full) = (pass.spot.clone(), pass.upto, false);
        let next = self.records(&spot, from..upto, work, &mut |offset, record| {
            full = pass.newest.bytes() >= self.limits.compact_keys_bytes_max;
            if !full {
                pass.remember(offset, record);
            }
            more_if(!full)
        })?;
        pass.step = match next {
            Some(next) if !full => Step::Index(next),
            next => {
                pass.upto = next.unwrap_or(upto);
                Step::Rewrite(0)
            }
        };
        Ok(())
    }

    /// Shows the records of a stretch that are still there, as far as the work's bytes go and
    /// `visit` wants them; where to go on, unless all were shown.
    fn records(
        &self,
        spot: &Spot,
        Range { start, end }: Range<Offset>,
        work: &mut Work,
        visit: &mut dyn FnMut(Offset, RawRecord<'_>) -> ControlFlow<()>,
    ) -> Result<Option<Offset>> {
        let from = self.row(spot)?.map_or(start, |row| row.start.max(start));
        let (mut next, mut refused) = (from, None);
        self.blocks(spot, from, &mut |block| {
            if block.head.base >= end || work.budget == 0 {
                return ControlFlow::Break(());
            }
            if block.head.end <= from {
                return ControlFlow::Continue(());
            }
            work.spend(block.head.bytes);
            let records = block.records.iter();
            refused = records
                .filter(|(offset, _)| (from..end).contains(offset))
                .find_map(|(offset, record)| visit(offset, record).is_break().then_some(offset));
            next = block.head.end;
            more_if(refused.is_none())
        })?;
        Ok(refused.or((work.budget == 0).then_some(next)))
    }

    /// Leaves out of some more blocks what newer records replaced.
    fn rewrite(
        &self,
        pass: &mut Pass,
        from: Offset,
        delete_retention_ms: i64,
        work: &mut Work,
    ) -> Result<()> {
        let horizon = horizon(work.now, delete_retention_ms);
        let (mut old, mut next, mut kept) = (Vec::new(), None, Vec::new());
        let mut output = Output::new(self.limits.block_bytes_max);
        let (mut changed, mut taken, mut all_removed) = (false, 0, 0);
        self.blocks(&pass.spot, from, &mut |block| {
            if block.head.base >= pass.upto {
                return more_if(false);
            }
            if work.budget == 0 || taken >= self.limits.rewrite_bytes_max {
                next = Some(block.head.base);
                return more_if(false);
            }
            work.spend(block.head.bytes);
            taken += block.head.bytes;
            old.push(block.head);
            pass.keep(&block, work.now, &mut kept);
            let removed = output.add(&block, horizon, pass.upto, &kept);
            work.done.records_compacted += removed;
            all_removed += removed;
            changed |= removed > 0;
            more_if(true)
        })?;
        let new = output.finish();
        let stamped = || new.iter().map(|block| block.head.horizon);
        changed |= new.len() < old.len() || !stamped().eq(old.iter().map(|head| head.horizon));
        if changed {
            self.replace(&pass.spot, &old, new)?;
        }
        pass.removed += all_removed;
        pass.step = next.map_or(Step::Done, Step::Rewrite);
        Ok(())
    }
}

impl Pass {
    fn remember(&mut self, offset: Offset, record: RawRecord<'_>) {
        let Some(key) = record.key else { return };
        self.indexed += 1;
        self.newest.note(key, offset);
    }

    /// The places of a block's records that stay.
    fn keep(&self, block: &Block, now: i64, kept: &mut Vec<usize>) {
        kept.clear();
        let has_come = block.head.horizon.is_some_and(|horizon| horizon <= now);
        let mut records = block.records.range.clone();
        while !records.is_empty() {
            let some: [_; TOGETHER] = array::from_fn(|_| {
                let place = records.next()?;
                let batch = &block.records.batch;
                Some((place, batch.offset(place), batch.get(place)))
            });
            let newest = self.newest.of(some.map(|record| record?.2.key));
            for ((place, offset, record), newest) in some.into_iter().flatten().zip(newest) {
                let expired = record.value.is_none() && offset < self.clean_until && has_come;
                let replaced = newest.is_some_and(|newest| offset < newest);
                if offset >= self.upto || !(expired || replaced) {
                    kept.push(place);
                }
            }
        }
    }
}

/// When tombstones that are met now may go. Rounded up to quarters of the retention, so that blocks
/// of nearby passes have equal horizons and can become one block.
fn horizon(now: i64, delete_retention_ms: i64) -> i64 {
    let step = delete_retention_ms / 4 + 1;
    let due = now.saturating_add(delete_retention_ms);
    due.div_euclid(step).saturating_add(1).saturating_mul(step)
}

/// The blocks that a step of rewriting makes.
struct Output {
    blocks: Vec<Block>,
    batch: RecordBatch,
    covers: Range<Offset>,
    horizon: Option<i64>,
    bytes_max: usize,
}

impl Output {
    fn new(bytes_max: usize) -> Self {
        let (blocks, batch) = (Vec::new(), RecordBatch::new());
        Self {
            blocks,
            batch,
            covers: 0..0,
            horizon: None,
            bytes_max,
        }
    }

    /// Takes over what is kept of a block, by places; how many records are not.
    fn add(&mut self, block: &Block, fresh_horizon: i64, upto: Offset, kept: &[usize]) -> u64 {
        let batch = &block.records.batch;
        let kept = || {
            kept.iter()
                .map(|place| (batch.offset(*place), batch.get(*place)))
        };
        let tombstones = kept().any(|(_, record)| record.value.is_none());
        // A block that the pass sees only in part is not clean: its tombstones' time has not begun.
        let partly = block.head.end > upto;
        let fresh = block.head.horizon.unwrap_or(fresh_horizon);
        let horizon = (tombstones && !partly).then_some(fresh);
        let differs = horizon.is_some() && self.horizon.is_some() && horizon != self.horizon;
        if differs || partly {
            self.cut();
        }
        let mut removed = block.records.len() as u64;
        for (offset, record) in kept() {
            if batch_bytes(&self.batch) + record_bytes(record) > self.bytes_max {
                self.cut();
            }
            if self.batch.is_empty() {
                self.covers.start = offset;
            }
            self.covers.end = offset + 1;
            self.horizon = self.horizon.or(horizon);
            // A batch takes far more than a block's bytes, so none is refused.
            removed -= u64::from(self.batch.push(offset, record));
        }
        removed
    }

    fn cut(&mut self) {
        if !self.batch.is_empty() {
            let batch = std::mem::take(&mut self.batch);
            self.blocks
                .push(Block::all(batch, self.covers.clone(), self.horizon));
        }
        self.horizon = None;
    }

    fn finish(mut self) -> Vec<Block> {
        self.cut();
        self.blocks
    }
}
