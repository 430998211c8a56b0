//! Records that the log deleted before they were processed.
//!
//! Invariant: each is counted once, and each is counted: also those that were processed or queued,
//! where an abort takes the task back to before them and the log has them no more.

use super::Task;
use crate::record::Offset;
use std::ops::Range;

/// The stretches of an input that were counted as lost, in order and apart from each other, as far
/// as the task may go back to before them.
#[derive(Default)]
pub(super) struct Lost(Vec<Range<Offset>>);

impl Lost {
    /// An input that has all up to `reach` goes on at `next`: says how much is lost anew.
    fn skip(&mut self, reach: Offset, next: Offset) -> u64 {
        // Where nothing has come since it last did, it has not even that much.
        let from = self.end().map_or(reach, |end| reach.max(end));
        if next <= from {
            return 0;
        }
        match self.0.last_mut() {
            Some(last) if last.end == from => last.end = next,
            _ => self.0.push(from..next),
        }
        length(&(from..next))
    }

    /// The input goes back to a place, and nothing is left from there up to `next`, or to where it
    /// last went on: says how much is lost anew.
    fn go_back(&mut self, place: Offset, next: Offset) -> u64 {
        let end = self.end().map_or(next, |end| end.max(next));
        self.forget(place);
        if end <= place {
            return 0;
        }
        let gaps = self.0.iter();
        let counted: u64 = gaps
            .map(|gap| length(&(gap.start.max(place)..gap.end)))
            .sum();
        self.0.clear();
        self.0.push(place..end);
        length(&(place..end)).saturating_sub(counted)
    }

    /// Nobody goes back any more to before a place.
    fn forget(&mut self, place: Offset) {
        self.0.retain(|gap| gap.end > place);
    }

    /// Where the input last went on.
    fn end(&self) -> Option<Offset> {
        self.0.last().map(|gap| gap.end)
    }
}

fn length(range: &Range<Offset>) -> u64 {
    u64::try_from(range.end - range.start).unwrap_or(0)
}

impl Task {
    /// Says that an input goes on at `offset`, and that what lies between that and what it has is
    /// lost; returns how much that is. After an abort it goes on there again, or what has come
    /// since then might be passed over, and what is counted is not counted again.
    pub fn lose(&mut self, input: usize, offset: Offset) -> u64 {
        let input = &mut self.inputs[input];
        let lost = input.lost.skip(input.reach(), offset);
        self.ctx.dropped.lost += lost;
        input.begun = Some(offset);
        input.pass(offset);
        lost
    }

    /// Counts what is lost because an input goes back to a place, from which it can go on only at
    /// `next`, or where it last did.
    pub(super) fn lose_behind(&mut self, input: usize, place: Offset, next: Offset) -> u64 {
        let lost = self.inputs[input].lost.go_back(place, next);
        self.ctx.dropped.lost += lost;
        lost
    }

    /// A commit was accepted.
    pub(super) fn forget_lost(&mut self) {
        if self.inputs.iter().all(|input| input.lost.0.is_empty()) {
            return;
        }
        for (partition, place) in &self.commit.places {
            let number = self.ctx.inputs.iter().position(|known| known == partition);
            if let Some(number) = number {
                self.inputs[number].lost.forget(place.offset);
            }
        }
    }
}
