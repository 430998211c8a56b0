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
/// Bytes of a stretch, and of the topic's identity in front of all of them.
const STRETCH_BYTES: usize = 16;
const TOPIC_BYTES: usize = 16;

/// A stretch of the changelog that has ended.
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
    /// The stretch that is being written, and since when.
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

    /// Appends what the next owner of the task must know. The stretch that is being written is not
    /// among it: what it has will count for the next one.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.topic.to_be_bytes());
        for stretch in &self.ended {
            out.extend_from_slice(&stretch.until.to_be_bytes());
            out.extend_from_slice(&stretch.end.to_be_bytes());
        }
    }

    /// Reads what [`Trail::put`] wrote. Nothing at all is an empty trail.
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let mut trail = Self::default();
        let Some((topic, stretches)) = bytes.split_first_chunk::<TOPIC_BYTES>() else {
            return match bytes {
                [] => Ok(trail),
                _ => Err(malformed()),
            };
        };
        trail.topic = u128::from_be_bytes(*topic);
        let (stretches, []) = stretches.as_chunks::<STRETCH_BYTES>() else {
            return Err(malformed());
        };
        for stretch in stretches {
            let (until, end) = stretch.split_first_chunk::<8>().ok_or_else(malformed)?;
            let end = end.first_chunk::<8>().ok_or_else(malformed)?;
            trail.ended.push_back(Stretch {
                until: Timestamp::from_be_bytes(*until),
                end: Offset::from_be_bytes(*end),
            });
        }
        Ok(trail)
    }
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
            topic_id,
            applied_at: 0,
            transaction: 0,
        }
    }

    fn written(trail: &Trail) -> Trail {
        let mut bytes = Vec::new();
        trail.put(&mut bytes);
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
        assert_eq!(trail.reach(1_171, &at(1_171), 160), Some(1_011));
        // What the owner in between wrote counts for the one after it.
        assert_eq!(trail.reach(1_200, &at(1_200), 160), Some(1_011));
        assert_eq!(trail.reach(1_331, &at(1_331), 160), Some(1_171));
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
        for length in [1, 15, 17, 31, 33] {
            assert!(Trail::read(&vec![0; length]).is_err(), "{length}");
        }
    }
}
