//! Retention, trimming and merging: what keeps a log from growing forever and from crumbling.
//!
//! Invariant: maintenance changes no record that a reader may still ask for: it only moves a start,
//! drops blocks below it (`retain`), or replaces blocks by others with the same records (compaction
//! aside, see `compact`). One thread maintains at a time; each call does a bounded piece, going
//! round the partitions. One that fails, because a block of it cannot be read, holds up no other.

use super::{
    Shared,
    block::{Block, Head},
    codec,
    compact::Pass,
    dead,
    disk::{HeadVisitor, Spot},
    failed::{Failed, as_one},
    rows::{self, PartitionRow},
    state::put_row,
};
use crate::api::{Cleanup, Result};
use millstream_core::{batch::RecordBatch, record::Offset};
use millstream_state::WriteBatch;
use std::{ops::ControlFlow, sync::Arc};

/// What one call of maintenance did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintenance {
    /// Blocks dropped whole, by retention or after `delete_records`.
    pub blocks_dropped: u64,
    /// Blocks that were merged into larger ones.
    pub blocks_merged: u64,
    /// Records that compaction removed.
    pub records_compacted: u64,
    /// Whether the call stopped at its bound with work left.
    pub more: bool,
}

/// Where maintenance is.
#[derive(Default)]
pub(super) struct Maintainer {
    /// The partition looked at last.
    last: Option<Spot>,
    pub(super) pass: Option<Pass>,
    failed: Failed,
}

/// One call's time, remaining bytes and record of what it did.
pub(super) struct Work {
    pub(super) now: i64,
    pub(super) budget: u64,
    pub(super) done: Maintenance,
}

impl Work {
    pub(super) const fn spend(&mut self, bytes: u64) {
        self.budget = self.budget.saturating_sub(bytes);
    }
}

/// Small neighbours that may become one block.
struct Run {
    heads: Vec<Head>,
    /// Everything below here is large enough, or was looked at.
    passed: Offset,
    /// Whether the block after the run does not fit into it, so that it cannot grow.
    closed: bool,
}

impl Shared {
    pub(super) fn maintain(&self, now: i64) -> Result<Maintenance> {
        let mut maintainer = self.maintainer.lock().map_err(|_| dead())?;
        let spots = self.spots()?;
        let gone = |pass: &mut Pass| !spots.iter().any(|(spot, _)| *spot == pass.spot);
        maintainer.pass.take_if(gone);
        let is_there = |id| spots.iter().any(|(spot, _)| spot.id == id);
        maintainer.failed.wake(now, is_there);
        let mut errors = Vec::new();
        let budget = self.limits.maintain_bytes_max;
        let mut work = Work {
            now,
            budget,
            done: Maintenance::default(),
        };
        let order = |spot: &Spot| (Arc::clone(&spot.topic), spot.id.1);
        let last = maintainer.last.as_ref().map(order);
        let begin = spots.partition_point(|(spot, _)| Some(order(spot)) <= last);
        let (before, after) = spots.split_at(begin);
        for (spot, cleanup) in after.iter().chain(before) {
            if work.budget == 0 {
                work.done.more = true;
                break;
            }
            maintainer.last = Some(spot.clone());
            if maintainer.failed.rests(spot) {
                continue;
            }
            if let Err(error) = self.maintain_one(&mut maintainer, (spot, *cleanup), &mut work) {
                maintainer.failed.add(spot, now);
                // There is one pass at a time, and no other would ever begin.
                maintainer.pass.take_if(|pass| pass.spot == *spot);
                errors.push(error);
            }
        }
        work.done.more |= maintainer.pass.is_some();
        as_one(errors).map(|()| work.done)
    }

    /// What there is to do for one partition, as far as the work's bytes go.
    fn maintain_one(
        &self,
        maintainer: &mut Maintainer,
        (spot, cleanup): (&Spot, Cleanup),
        work: &mut Work,
    ) -> Result<()> {
        let expired = match cleanup.ages() {
            Some(retention) => {
                let cutoff = work.now.saturating_sub(retention);
                self.expire_records(spot, cutoff, work)
            }
            None => Ok(()),
        };
        self.trim(spot, work).and(expired)?;
        self.compact(maintainer, (spot, cleanup), work)?;
        match &maintainer.pass {
            Some(pass) if pass.spot == *spot => Ok(()),
            _ => self.merge(spot, work),
        }
    }

    /// All partitions in a fixed order.
    fn spots(&self) -> Result<Vec<(Spot, Cleanup)>> {
        let state = self.lock()?;
        let of = |topic: &super::state::Topic| {
            let (id, name, cleanup) = (
                topic.info.id,
                Arc::clone(&topic.name),
                topic.info.spec.cleanup,
            );
            (0..topic.info.spec.partitions).map(move |partition| {
                (
                    Spot {
                        id: (id, partition),
                        topic: Arc::clone(&name),
                    },
                    cleanup,
                )
            })
        };
        Ok(state.topics.values().flat_map(of).collect())
    }

    /// Merges small neighbouring blocks. Beside a disk, blocks in memory are left alone until they
    /// are forgotten there, so that readers of fresh records go on sharing them.
    fn merge(&self, spot: &Spot, work: &mut Work) -> Result<()> {
        let (mut from, upper) = {
            let mut state = self.lock()?;
            let Some(log) = state.partition_mut(spot) else {
                return Ok(());
            };
            let upper = if self.disk.is_some() {
                log.cached_from()
            } else {
                log.row.end
            };
            if log.merge_seen == upper || log.merged_until >= upper {
                return Ok(());
            }
            (log.merged_until.max(log.row.start), upper)
        };
        while work.budget > 0 {
            let run = self.run(spot, from, upper, work)?;
            from = run.passed;
            let many = run.heads.len() >= self.limits.merge_blocks;
            if run.heads.len() < 2 || !(many || run.closed) {
                break;
            }
            let end = run.heads.last().map_or(from, |head| head.end);
            self.join(spot, &run.heads)?;
            work.done.blocks_merged += run.heads.len() as u64;
            from = end;
        }
        if let Some(log) = self.lock()?.partition_mut(spot) {
            log.merged_until = from;
            if work.budget > 0 {
                log.merge_seen = upper;
            }
        }
        Ok(())
    }

    /// The first small blocks from an offset on that fit together, below `upper`.
    fn run(&self, spot: &Spot, from: Offset, upper: Offset, work: &mut Work) -> Result<Run> {
        let mut run = Run {
            heads: Vec::new(),
            passed: from,
            closed: false,
        };
        let (mut bytes, limits) = (0, &self.limits);
        let mut broken = None;
        self.heads(spot, from, &mut |head, why| {
            broken = why;
            if broken.is_some()
                || head.base >= upper
                || work.budget == 0
                || run.heads.len() >= limits.merge_blocks
            {
                return ControlFlow::Break(());
            }
            if head.end <= from {
                return ControlFlow::Continue(());
            }
            work.spend(head.bytes);
            let fits = run.heads.last().is_none_or(|last| {
                last.horizon == head.horizon && bytes + head.bytes <= limits.merge_bytes
            });
            if !fits && run.heads.len() > 1 {
                run.closed = true;
                return ControlFlow::Break(());
            }
            if !fits {
                // A block alone between others that do not fit is as large as it gets.
                run.heads.clear();
                (run.passed, bytes) = (head.base, 0);
            }
            bytes += head.bytes;
            run.heads.push(head);
            ControlFlow::Continue(())
        })?;
        broken.map_or(Ok(run), Err)
    }

    /// Makes one block of several.
    fn join(&self, spot: &Spot, heads: &[Head]) -> Result<()> {
        let [first, .., last] = heads else {
            return Ok(());
        };
        let mut batch = RecordBatch::new();
        self.blocks(spot, first.base, &mut |block| {
            if block.head.base > last.base {
                return ControlFlow::Break(());
            }
            // The run's bytes are far below what a batch takes, so none is refused.
            for (offset, record) in block.records.iter() {
                let _taken = batch.push(offset, record);
            }
            ControlFlow::Continue(())
        })?;
        let block = Block::all(batch, first.base..last.end, first.horizon);
        self.replace(spot, heads, vec![block])
    }

    /// Replaces neighbouring blocks by others that cover the same offsets or fewer.
    pub(super) fn replace(&self, spot: &Spot, old: &[Head], new: Vec<Block>) -> Result<()> {
        let Some(last) = old.last() else {
            return Ok(());
        };
        let mut batch = WriteBatch::new();
        if let Some(disk) = &self.disk {
            for head in old {
                batch.delete(disk.blocks, &rows::block_key(spot.id, head.base));
            }
            for Block { head, records } in &new {
                let key = rows::block_key(spot.id, head.base);
                batch.put_with(disk.blocks, &key, |out| {
                    codec::encode(head, &records.batch, records.range.clone(), out);
                });
            }
        }
        let mut state = self.lock()?;
        let Some(log) = state.partition_mut(spot) else {
            return Ok(());
        };
        let mut row = log.row;
        resize(&mut row, old, &new);
        if let Some(disk) = &self.disk {
            put_row(disk, &mut batch, spot.id, &row);
            let _no_readers = disk.rewriting();
            disk.apply(&batch)?;
            log.row = row;
            state.evict_below(spot, last.end);
        } else {
            log.row = row;
            log.replace(old, new);
        }
        Ok(())
    }

    /// Changes a partition's row, on disk first.
    pub(super) fn update(&self, spot: &Spot, change: impl FnOnce(&mut PartitionRow)) -> Result<()> {
        let mut state = self.lock()?;
        let Some(log) = state.partition_mut(spot) else {
            return Ok(());
        };
        let mut row = log.row;
        change(&mut row);
        if row == log.row {
            Ok(())
        } else {
            self.put_row(&mut state, spot, row)
        }
    }

    /// A partition's row, unless its topic was deleted since.
    pub(super) fn row(&self, spot: &Spot) -> Result<Option<PartitionRow>> {
        Ok(self.lock()?.partition_mut(spot).map(|log| log.row))
    }

    /// The heads of blocks in order, from the one that may hold `from` on, until `visit` breaks;
    /// where a block cannot be read, why, and what stands for its head ([`Head::unread`]).
    pub(super) fn heads(&self, spot: &Spot, from: Offset, visit: HeadVisitor<'_>) -> Result<()> {
        if let Some(disk) = &self.disk {
            return disk.heads(spot, from, visit);
        }
        if let Some(log) = self.lock()?.partition_mut(spot) {
            let mut blocks = log.blocks_from(from);
            let _ended = blocks.try_for_each(|block| visit(block.head, None));
        }
        Ok(())
    }

    /// Whole blocks in order, from the one that may hold `from` on, until `visit` breaks.
    pub(super) fn blocks(
        &self,
        spot: &Spot,
        from: Offset,
        visit: &mut dyn FnMut(Block) -> ControlFlow<()>,
    ) -> Result<()> {
        if let Some(disk) = &self.disk {
            return disk.blocks(spot, from, visit);
        }
        if let Some(log) = self.lock()?.partition_mut(spot) {
            let _ended = log
                .blocks_from(from)
                .try_for_each(|block| visit(block.clone()));
        }
        Ok(())
    }
}

/// Counts the bytes that go and come. Of what goes, blocks that no compaction saw were dirty.
fn resize(row: &mut PartitionRow, old: &[Head], new: &[Block]) {
    let dirty = |head: &&Head| head.base >= row.clean_until;
    let sum = |heads: &mut dyn Iterator<Item = u64>| heads.sum::<u64>();
    let dirty_freed = sum(&mut old.iter().filter(dirty).map(|head| head.bytes));
    let new = || new.iter().map(|block| &block.head);
    let dirty_added = sum(&mut new().filter(dirty).map(|head| head.bytes));
    let freed = sum(&mut old.iter().map(|head| head.bytes));
    let added = sum(&mut new().map(|head| head.bytes));
    row.bytes = row.bytes.saturating_sub(freed) + added;
    row.dirty_bytes = row.dirty_bytes.saturating_sub(dirty_freed) + dirty_added;
}
