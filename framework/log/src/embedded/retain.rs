//! What goes from the front of a partition: records that are old, and blocks that nobody may read.
//!
//! Invariant: no block is deleted for what it says of itself unless its checksum vouches for that.
//! One that cannot be read goes when the blocks behind it do: it must not keep all of them.

use super::{
    Shared,
    disk::{Spot, more_if},
    maintain::Work,
    rows::PartitionRow,
};
use crate::api::Result;
use std::ops::ControlFlow;

/// So many blocks of a partition are dropped in one batch.
const TRIM_BLOCKS_MAX: usize = 1_024;

impl Shared {
    /// Moves the start past the oldest blocks whose newest record is older than the cutoff, and
    /// those that cannot be read in front of them.
    ///
    /// # Errors
    /// Where a block cannot be read and it is not known of any behind it that it is old.
    pub(super) fn expire_records(&self, spot: &Spot, cutoff: i64, work: &mut Work) -> Result<()> {
        let Some(row) = self.row(spot)? else {
            return Ok(());
        };
        let (mut start, mut broken) = (row.start, None);
        let mut more = false;
        self.heads(spot, start, &mut |head, why| {
            if let Some(why) = why {
                work.spend(head.bytes);
                broken.get_or_insert(why);
                return ControlFlow::Continue(());
            }
            more = head.newest < cutoff;
            if more {
                // What stays costs nothing: of each partition it is one block, and no more work.
                work.spend(head.bytes);
                start = start.max(head.end);
                broken = None;
            }
            // A call that may read no more leaves the rest to the next one.
            more_if(more && work.budget > 0)
        })?;
        work.done.more |= more && start < row.end;
        self.update(spot, |row| row.start = row.start.max(start.min(row.end)))?;
        broken.map_or(Ok(()), Err)
    }

    /// Drops blocks that lie below the start.
    pub(super) fn trim(&self, spot: &Spot, work: &mut Work) -> Result<()> {
        let row = {
            let mut state = self.lock()?;
            let Some(log) = state.partition_mut(spot).filter(|log| log.untrimmed) else {
                return Ok(());
            };
            log.untrimmed = false;
            log.row
        };
        let unfinished = self.trim_below(spot, &row, work);
        if !matches!(unfinished, Ok(false))
            && let Some(log) = self.lock()?.partition_mut(spot)
        {
            log.untrimmed = true;
        }
        work.done.more |= unfinished?;
        Ok(())
    }

    /// Drops some blocks that lie below the start; whether there may be more of them.
    fn trim_below(&self, spot: &Spot, row: &PartitionRow, work: &mut Work) -> Result<bool> {
        let (mut old, mut broken) = (Vec::new(), None);
        let mut unread = false;
        self.heads(spot, 0, &mut |head, why| {
            // Blocks do not overlap: what is in front of one that begins here ends here.
            if head.base <= row.start {
                old.extend(broken.take());
            }
            if head.base >= row.start || old.len() >= TRIM_BLOCKS_MAX {
                return ControlFlow::Break(());
            }
            work.spend(head.bytes);
            match why {
                Some(_) => broken = Some(head),
                None if head.end <= row.start => old.push(head),
                None => return ControlFlow::Break(()),
            }
            unread = work.budget == 0;
            more_if(!unread)
        })?;
        if row.start >= row.end {
            old.extend(broken);
        }
        self.replace(spot, &old, Vec::new())?;
        work.done.blocks_dropped += old.len() as u64;
        Ok(unread || old.len() >= TRIM_BLOCKS_MAX)
    }
}
