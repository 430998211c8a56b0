//! Which part of a store's changelog speaks of rows that have all expired.
//!
//! Kafka Streams lets the brokers delete the changelogs of windows by age, by the clock on the wall
//! or by the records' own; here they are cut off in front, at an offset, so that what they lose is
//! not a matter of how old the events are. The trail is written down with the store's clock, since
//! tasks move more often than long windows expire. Invariant: all rows that were written before an
//! offset of the trail lie at or before the time that stands beside it.

use crate::{
    error::{Error, Result},
    record::{Offset, Timestamp},
};
use millstream_state::Position;
use std::collections::VecDeque;

/// A retention is cut into so many stretches: the changelog keeps one more than it would have to.
const STRETCHES: Timestamp = 16;
/// What is written in front of all stretches: the retention, the topic's identity, and since when
/// the last stretch has been written.
const HEAD_BYTES: usize = 8 + 16 + 8;
const STRETCH_BYTES: usize = 16;

/// A stretch of the changelog.
#[derive(Clone, Copy)]
struct Stretch {
    /// The time observed when it was written to last.
    until: Timestamp,
    /// Behind its last record.
    end: Offset,
}

/// How far the changelog was when, by event time.
#[derive(Default)]
pub(super) struct Trail {
    /// The identity of the changelog's topic: in another one the offsets mean nothing.
    topic: u128,
    ended: VecDeque<Stretch>,
    /// The stretch that is being written, and since when. It goes from owner to owner: each may be
    /// there for less than a stretch.
    last: Option<(Timestamp, Stretch)>,
    start: Option<Offset>,
}

impl Trail {
    /// The changelog is at that position, and no row in it is later than `observed`, which it says
    /// itself. Returns where it may begin.
    pub(super) fn reach(
        &mut self,
        observed: Timestamp,
        at: &Position,
        retention: Timestamp,
    ) -> Option<Offset> {
        if at.topic_id != self.topic {
            let topic = at.topic_id;
            *self = Self {
                topic,
                ..Self::default()
            };
        }
        let now = Stretch {
            until: observed,
            end: at.offset,
        };
        let since = match self.last.take() {
            Some((since, last)) if observed.saturating_sub(since) > retention / STRETCHES => {
                self.ended.push_back(last);
                observed
            }
            Some((since, _)) => since,
            None => observed,
        };
        self.last = Some((since, now));
        // The clock must stay: its newest record is behind a stretch that ended in an earlier time.
        let horizon = observed.saturating_sub(retention.max(1));
        while let Some(first) = self.ended.pop_front_if(|first| first.until <= horizon) {
            self.start = Some(first.end);
        }
        self.start
    }

    /// Appends what the next owner of the task must know, with what of the store is kept how long,
    /// for those who have its bytes alone.
    pub(super) fn put(&self, retention: Timestamp, out: &mut Vec<u8>) {
        out.extend_from_slice(&retention.to_be_bytes());
        let Some((since, last)) = self.last else {
            return;
        };
        out.extend_from_slice(&self.topic.to_be_bytes());
        out.extend_from_slice(&since.to_be_bytes());
        for stretch in self.ended.iter().chain([&last]) {
            out.extend_from_slice(&stretch.until.to_be_bytes());
            out.extend_from_slice(&stretch.end.to_be_bytes());
        }
    }

    /// Reads what [`Trail::put`] wrote. Nothing at all is an empty trail.
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        if bytes.is_empty() || bytes.len() == size_of::<Timestamp>() {
            return Ok(Self::default());
        }
        let head = bytes.split_first_chunk::<HEAD_BYTES>();
        let (head, stretches) = head.ok_or_else(malformed)?;
        let (stretches, []) = stretches.as_chunks::<STRETCH_BYTES>() else {
            return Err(malformed());
        };
        let mut ended: VecDeque<_> = stretches.iter().map(Stretch::read).collect();
        let last = ended.pop_back().ok_or_else(malformed)?;
        let [_, topic_high, topic_low, since] = numbers(head);
        Ok(Self {
            topic: u128::from(topic_high.cast_unsigned()) << 64
                | u128::from(topic_low.cast_unsigned()),
            ended,
            last: Some((since, last)),
            start: None,
        })
    }
}

impl Stretch {
    fn read(bytes: &[u8; STRETCH_BYTES]) -> Self {
        let [until, end] = numbers(bytes);
        Self { until, end }
    }
}

/// How long the store's rows are kept by whoever wrote this.
pub(super) fn retention(bytes: &[u8]) -> Option<Timestamp> {
    let first = bytes.first_chunk::<8>()?;
    Some(Timestamp::from_be_bytes(*first))
}

/// The eight-byte numbers that bytes are made of; 0 where there are no more.
fn numbers<const N: usize>(bytes: &[u8]) -> [i64; N] {
    let (chunks, _) = bytes.as_chunks::<8>();
    let mut found = [0; N];
    for (number, chunk) in found.iter_mut().zip(chunks) {
        *number = i64::from_be_bytes(*chunk);
    }
    found
}

fn malformed() -> Error {
    Error::deserialization("not the trail of a changelog")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: Offset) -> Position {
        of_topic(7, offset)
    }

    fn of_topic(topic_id: u128, offset: Offset) -> Position {
        Position {
            offset,
            reach: offset,
            topic_id,
            applied_at: 0,
            transaction: 0,
        }
    }

    fn written(trail: &Trail) -> Trail {
        let mut bytes = Vec::new();
        trail.put(160, &mut bytes);
        assert_eq!(retention(&bytes), Some(160));
        Trail::read(&bytes).expect("what was written")
    }

    #[test]
    fn what_was_written_last_before_a_retention_is_where_it_may_begin() {
        let mut trail = Trail::default();
        assert_eq!(trail.reach(1_000, &at(10), 160), None);
        assert_eq!(trail.reach(1_010, &at(20), 160), None, "one stretch");
        assert_eq!(trail.reach(1_011, &at(30), 160), None, "another one");
        assert_eq!(trail.reach(1_169, &at(40), 160), None, "1010 is alive");
        assert_eq!(trail.reach(1_170, &at(50), 160), Some(20));
        assert_eq!(trail.reach(1_171, &at(50), 160), Some(30));
        assert_eq!(trail.reach(9_999, &at(60), 160), Some(50));
        assert_eq!(trail.reach(9_999, &at(70), 160), Some(50), "and stays");
    }

    /// The record that says what time it is has been written with the last change of the time.
    #[test]
    fn the_clock_stays_where_nothing_is_kept() {
        let mut trail = Trail::default();
        assert_eq!(trail.reach(5, &at(10), 0), None);
        assert_eq!(trail.reach(5, &at(20), 0), None);
        assert_eq!(trail.reach(6, &at(30), 0), Some(20));
    }

    #[test]
    fn it_stays_short() {
        let mut trail = Trail::default();
        for time in 0..100_000 {
            trail.reach(time, &at(time), 1_600);
            assert!(trail.ended.len() <= 17, "{}", trail.ended.len());
        }
    }

    #[test]
    fn it_outlives_its_task() {
        let mut trail = Trail::default();
        for time in [1_000, 1_011, 1_022] {
            trail.reach(time, &at(time), 160);
        }
        let mut trail = written(&trail);
        assert_eq!(trail.reach(1_040, &at(1_040), 160), None);
        let mut trail = written(&trail);
        assert_eq!(trail.reach(1_182, &at(1_182), 160), Some(1_022));
        assert_eq!(trail.reach(1_200, &at(1_200), 160), Some(1_040));
        assert_eq!(trail.reach(1_342, &at(1_342), 160), Some(1_182));
    }

    /// Each owner makes two commits, and the next one knows what was written with the second: where
    /// the changelog was after the first.
    #[test]
    fn owners_that_are_short_of_a_stretch_make_one_together() {
        let (mut known, mut start) = (Trail::default(), None);
        for time in (0..5_000).step_by(2) {
            let mut trail = known;
            trail.reach(time, &at(time), 1_600);
            known = written(&trail);
            start = trail.reach(time + 1, &at(time + 1), 1_600).or(start);
        }
        let start = start.expect("a start");
        assert!((3_200..3_400).contains(&start), "{start}");
    }

    #[test]
    fn it_is_of_one_topic() {
        let mut trail = Trail::default();
        for time in [1_000, 1_011, 1_022] {
            trail.reach(time, &at(time), 160);
        }
        let mut trail = written(&trail);
        assert_eq!(trail.reach(9_999, &of_topic(8, 5), 160), None);
    }

    #[test]
    fn other_bytes_are_no_trail() {
        assert!(Trail::read(&[]).is_ok(), "of a store from before");
        assert!(Trail::read(&[0; 8]).is_ok(), "of the first commit");
        for length in [1, 7, 9, 31, 32, 33, 47, 49] {
            assert!(Trail::read(&vec![0; length]).is_err(), "{length}");
        }
    }
}
