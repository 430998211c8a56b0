//! Changes that come next, looked up together before their turn.
//!
//! Where a key's row is, only memory knows that the processor does not have at hand. Look-ups that
//! do not depend on each other wait for it at the same time. Invariant: nothing here changes a row;
//! a look-up made in vain costs a little time.

use super::rows::Rows;
use crate::Op;
use std::{array, hint::black_box};

/// How many rows are looked at together.
pub(super) const AHEAD: usize = 16;

/// Some changes, with the hashes of their keys.
pub(super) struct Next<'a>([Option<(Op<'a>, u64)>; AHEAD]);

impl<'a> Next<'a> {
    /// Takes the next changes, and looks at what there is of their rows; `None` at the end.
    pub(super) fn of(ops: &mut impl Iterator<Item = Op<'a>>, columns: &[Rows]) -> Option<Self> {
        let column = |op: &Op<'_>| &columns[usize::from(op.column().0)];
        let next: [_; AHEAD] = array::from_fn(|_| {
            let op = ops.next()?;
            Some((op, column(&op).hash(op.key())))
        });
        next[0]?;
        // The table first, then the rows, then their keys: each leads to the next.
        let rows = next.map(|next| {
            let (op, hash) = next?;
            let rows = column(&op);
            Some((rows, rows.likely(hash)?))
        });
        let keys = rows.map(|row| row.map(|(rows, number)| (rows, rows.spot(number))));
        let seen = keys.iter().flatten();
        // Somebody must want what was read, or it would not be.
        black_box(seen.fold(0, |seen, (rows, spot)| seen ^ rows.glance(*spot)));
        Some(Self(next))
    }

    /// The changes in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Op<'a>, u64)> {
        self.0.iter().flatten().copied()
    }
}
