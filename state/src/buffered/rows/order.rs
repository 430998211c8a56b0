//! The rows of a column by key, for those who scan it.
//!
//! Most rows come and go without anybody asking for a range, so they are put into the order late,
//! all together, when somebody does. Invariant: between two sortings the order is right for those
//! rows that it has, the dead among them included.

use super::{Fresh, Guide, NONE, Place, Rows};
use crate::{Direction, SmallBytes};
use std::{
    mem,
    ops::{Bound, RangeBounds},
};

impl Rows {
    /// Takes those that went again out of the list of late rows: behind one that stays they would
    /// become ever more.
    pub(super) fn close_up(&mut self) {
        self.late.retain(|number| *number != NONE);
        self.passed = 0;
        for (place, number) in (0..).zip(&self.late) {
            self.rows[*number as usize].place = Place::Late(place);
        }
    }

    /// Takes the dead out of the order.
    pub(super) fn bury(&mut self) {
        if !self.gone.is_empty() {
            self.take_dead();
            self.guide();
        }
    }

    fn take_dead(&mut self) {
        if self.gone.is_empty() {
            return;
        }
        let gone = mem::take(&mut self.gone);
        // Rows are far larger than this, and whoever passes over the order meets them everywhere.
        let mut dead = vec![false; self.rows.len()];
        for number in &gone {
            dead[*number as usize] = true;
        }
        self.sorted.retain(|number| !dead[*number as usize]);
        gone.into_iter().for_each(|number| self.release(number));
    }

    fn guide(&mut self) {
        let number = |place: usize| self.sorted[place] as usize;
        let key = |place| self.key(&self.rows[number(place)]);
        self.guide = Guide::to(self.sorted.len(), key);
    }

    /// Whether [`Rows::range`] can be asked.
    pub(in super::super) fn is_sorted(&self) -> bool {
        self.late.is_empty()
    }

    /// Puts the rows that came since the last time into the order.
    ///
    /// They are few beside those that are there, mostly. So it is their places that are looked for,
    /// each from the last one on in steps that double, and not every row's.
    pub(in super::super) fn sort(&mut self) {
        self.take_dead();
        let late = self.late.iter().copied();
        let mut new: Vec<u32> = late.filter(|number| *number != NONE).collect();
        self.late.clear();
        let key = |number: &u32| self.key(&self.rows[*number as usize]);
        new.sort_unstable_by(|a, b| key(a).cmp(key(b)));
        let mut sorted = Vec::with_capacity(self.sorted.len() + new.len());
        let mut rest = self.sorted.as_slice();
        for number in &new {
            let mine = key(number);
            let mut step = 1;
            while rest.get(step - 1).is_some_and(|other| key(other) < mine) {
                step *= 2;
            }
            let near = &rest[step / 2..rest.len().min(step - 1).max(step / 2)];
            let before = step / 2 + near.partition_point(|other| key(other) < mine);
            let (passed, behind) = rest.split_at(before);
            sorted.extend_from_slice(passed);
            sorted.push(*number);
            rest = behind;
        }
        sorted.extend_from_slice(rest);
        self.sorted = sorted;
        for number in &new {
            self.rows[*number as usize].place = Place::Sorted;
        }
        self.guide();
    }

    /// Copies of the rows within bounds, from one end on: so many with values, and the deletions
    /// among them. What lies behind these a scan of so many rows does not come to.
    pub(in super::super) fn range(
        &self,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        (direction, limit): (Direction, usize),
    ) -> Vec<Fresh> {
        let key = |number: &u32| self.key(&self.rows[*number as usize]);
        let first = |is_before: &dyn Fn(&[u8]) -> bool| {
            let near = self.guide.near(is_before);
            near.start + self.sorted[near].partition_point(|at| is_before(key(at)))
        };
        let before = |bound: Bound<&[u8]>, with_it: bool| match bound {
            Bound::Included(edge) if !with_it => first(&|key| key < edge),
            Bound::Excluded(edge) if with_it => first(&|key| key < edge),
            Bound::Included(edge) | Bound::Excluded(edge) => first(&|key| key <= edge),
            Bound::Unbounded if with_it => self.sorted.len(),
            Bound::Unbounded => 0,
        };
        match direction {
            Direction::Ascending => {
                let rows = self.sorted[before(bounds.0, false)..].iter();
                self.copies(rows, bounds, limit)
            }
            Direction::Descending => {
                let rows = self.sorted[..before(bounds.1, true)].iter().rev();
                self.copies(rows, bounds, limit)
            }
        }
    }

    fn copies<'a>(
        &self,
        numbers: impl Iterator<Item = &'a u32>,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        limit: usize,
    ) -> Vec<Fresh> {
        let rows = numbers.map(|number| &self.rows[*number as usize]);
        let rows = rows.take_while(|row| RangeBounds::<[u8]>::contains(&bounds, self.key(row)));
        let mut left = limit;
        rows.filter(|row| row.is_alive())
            .take_while(|row| {
                let wanted = left > 0;
                left = left.saturating_sub(usize::from(row.value != NONE));
                wanted
            })
            .map(|row| (self.key(row).into(), self.value(row).map(SmallBytes::from)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Before, Column, Op};

    /// Of every other one of ten rows there is a deletion.
    fn rows() -> Rows {
        let mut rows = Rows::default();
        for n in (0..10_u8).rev() {
            let (column, key) = (Column(0), &[n][..]);
            let op = match n % 2 {
                0 => Op::Delete { column, key },
                _ => Op::Put {
                    column,
                    key,
                    value: b"v",
                    before: Before::Unknown,
                },
            };
            rows.set(rows.hash(key), op);
        }
        rows.sort();
        rows
    }

    #[test]
    fn no_more_rows_are_copied_than_a_scan_can_come_to() {
        let rows = rows();
        let keys = |from: Bound<u8>, to: Bound<u8>, first| {
            let (from, to) = (from.map(|n| [n]), to.map(|n| [n]));
            let bounds = (from.as_ref().map(|n| &n[..]), to.as_ref().map(|n| &n[..]));
            let copied = rows.range(bounds, first).into_iter();
            copied.map(|(key, _)| key[0]).collect::<Vec<_>>()
        };
        let (up, down) = (Direction::Ascending, Direction::Descending);
        let all = (0..10).collect::<Vec<_>>();
        assert_eq!(
            keys(Bound::Unbounded, Bound::Unbounded, (up, usize::MAX)),
            all
        );
        assert_eq!(
            keys(Bound::Unbounded, Bound::Unbounded, (up, 2)),
            [0, 1, 2, 3]
        );
        assert_eq!(
            keys(Bound::Unbounded, Bound::Unbounded, (down, 2)),
            [9, 8, 7]
        );
        assert_eq!(keys(Bound::Included(4), Bound::Unbounded, (up, 1)), [4, 5]);
        assert_eq!(keys(Bound::Unbounded, Bound::Excluded(4), (down, 1)), [3]);
        assert_eq!(keys(Bound::Excluded(7), Bound::Included(8), (down, 9)), [8]);
        assert_eq!(keys(Bound::Included(8), Bound::Included(2), (up, 9)), []);
        assert_eq!(keys(Bound::Included(8), Bound::Included(2), (down, 9)), []);
    }

    #[test]
    fn a_range_begins_at_its_bound_however_rows_came_and_went() {
        let (mut rows, column) = (Rows::default(), Column(0));
        let mut model = std::collections::BTreeSet::new();
        for round in 0..6_u16 {
            for n in (0..400_u16).filter(|n| (n * 7 + round * 5) % 11 < 4) {
                let key = &n.to_be_bytes()[..];
                let op = if model.remove(&n) {
                    Op::Delete { column, key }
                } else {
                    model.insert(n);
                    Op::Put {
                        column,
                        key,
                        value: b"v",
                        before: Before::Absent,
                    }
                };
                rows.set(rows.hash(key), op);
            }
            if round % 2 == 0 {
                rows.bury();
                rows.sort();
            } else {
                rows.sort();
                rows.bury();
            }
            for from in 0..=400_u16 {
                let edge = from.to_be_bytes();
                for (bound, first) in [
                    (Bound::Included(&edge[..]), from),
                    (Bound::Excluded(&edge[..]), from + 1),
                ] {
                    let bounds = (bound, Bound::Unbounded);
                    let found = rows.range(bounds, (Direction::Ascending, 1));
                    let found = found.first().map(|(key, _)| key.to_vec());
                    let next = model.range(first..).next();
                    assert_eq!(found, next.map(|n| n.to_be_bytes().to_vec()));
                }
            }
        }
    }
}
