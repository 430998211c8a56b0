//! The rows of a column by key, for those who scan it.
//!
//! Most rows come and go without anybody asking for a range, so they are put into the order late,
//! all together, when somebody does. Invariant: between two sortings the order is right for those
//! rows that it has, the dead among them included.

use super::{Fresh, NONE, Place, Row, Rows};
use crate::SmallBytes;
use std::ops::{Bound, RangeBounds};

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
        if self.gone == 0 {
            return;
        }
        let rows = &self.rows;
        let is_gone = |number: &u32| rows[*number as usize].place == Place::Gone;
        let gone: Vec<u32> = self
            .sorted
            .extract_if(.., |number| is_gone(number))
            .collect();
        gone.into_iter().for_each(|number| self.release(number));
        self.gone = 0;
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
        self.bury();
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
    }

    /// Copies of the rows within bounds, in order.
    pub(in super::super) fn range(&self, bounds: (Bound<&[u8]>, Bound<&[u8]>)) -> Vec<Fresh> {
        let row = |number: &u32| &self.rows[*number as usize];
        let key = |number: &u32| self.key(row(number));
        let start = match bounds.0 {
            Bound::Unbounded => 0,
            Bound::Included(from) => self.sorted.partition_point(|at| key(at) < from),
            Bound::Excluded(from) => self.sorted.partition_point(|at| key(at) <= from),
        };
        let inside = |row: &&Row| {
            let upper = (Bound::Unbounded, bounds.1);
            RangeBounds::<[u8]>::contains(&upper, self.key(row))
        };
        let rows = self.sorted[start..].iter().map(row).take_while(inside);
        rows.filter(|row| row.is_alive())
            .map(|row| (self.key(row).into(), self.value(row).map(SmallBytes::from)))
            .collect()
    }
}
