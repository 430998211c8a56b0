//! What windows may hold that a quiet wall clock closes, by brute force.
//!
//! Where the clock is patient, it strikes at the end, and outputs are those of a calm run. Where it
//! is hasty, it strikes among crashes between two portions of the input, and some of what comes
//! later is late. Invariant even then: each window is told once, and holds the first records of it
//! that were in time, so many as came before it was closed.

use super::{DEAD, LEFT, Script, Shape, Stage, TOLD, add};
use crate::sim::world::{Contents, Entry};
use millstream_log::Rng;
use std::collections::BTreeMap;

/// No storm lasts so long.
const PATIENT: i64 = 1_000_000;

/// A key, and the start of one of its windows.
type Place = (String, i64);

impl Script {
    /// Draws how long the wall clock waits. Where that is less than a storm lasts, there is one
    /// partition, so that it is known which records are late.
    pub(super) fn take_quiet(&mut self, rng: &mut Rng, hasty: bool) {
        self.spans.idle = Some(PATIENT);
        if hasty {
            self.spans.idle = Some(20 + rng.below(400) as i64);
            self.partitions = 1;
        }
    }

    /// Whether what is told depends on the wall clock. What cannot be decoded does not.
    pub(in crate::sim) fn depends_on_the_clock(&self, topic: &str) -> bool {
        let hasty = self.spans.idle.is_some_and(|idle| idle < PATIENT);
        matches!(self.shape, Shape::Quiet(_)) && hasty && topic != DEAD
    }

    /// After how long without records the wall clock strikes.
    pub(in crate::sim) fn idle(&self) -> i64 {
        self.spans.idle.unwrap_or_default()
    }

    /// What is wrong with the windows that were told, and how many of them were closed before all
    /// their records had come.
    pub(in crate::sim) fn hasty_windows(&self, found: &Contents) -> (Vec<String>, u64) {
        let expected = self.in_time();
        let mut wrong = Vec::new();
        let (mut told, mut early) = (BTreeMap::new(), 0);
        let entries = found.get(&(TOLD.name.to_owned(), 0)).into_iter().flatten();
        for entry in entries {
            let Some((place, sum)) = parsed(entry) else {
                wrong.push(format!("not a window: {entry:?}"));
                continue;
            };
            let records = expected.get(&place).map_or(&[][..], Vec::as_slice);
            let sums: Vec<i64> = sums(records).collect();
            if !sums.contains(&sum) {
                wrong.push(format!("{place:?} was told as {sum}, not one of {sums:?}"));
            }
            early += u64::from(sums.last() != Some(&sum));
            if told.insert(place.clone(), sum).is_some() {
                wrong.push(format!("{place:?} was told twice"));
            }
        }
        let last = told.keys().map(|(_, start)| *start).max();
        for place in expected.keys().filter(|place| !told.contains_key(place)) {
            early += 1;
            // A window that began before one that was closed is closed with it.
            if last < Some(place.1) {
                wrong.push(format!("{place:?} was not told"));
            }
        }
        (wrong, early)
    }

    /// The numbers of each window that are not late by the records before them, in order.
    fn in_time(&self) -> BTreeMap<Place, Vec<i64>> {
        let (size, grace) = (self.spans.size, self.spans.grace);
        let mut windows: BTreeMap<Place, Vec<i64>> = BTreeMap::new();
        let mut observed = i64::MIN;
        let inputs = self.input.iter().filter(|(topic, _)| *topic == LEFT.name);
        for (_, record) in inputs.flat_map(|(_, batch)| batch.iter()) {
            let (Some(key), Some(value)) = (record.key, record.value) else {
                continue;
            };
            let Ok(number) = value.try_into().map(i64::from_be_bytes) else {
                continue;
            };
            let key = String::from_utf8_lossy(key).into_owned();
            for number in self.staged(number) {
                observed = observed.max(record.timestamp);
                let start = record.timestamp - record.timestamp % size;
                if start + size > observed - grace {
                    windows
                        .entry((key.clone(), start))
                        .or_default()
                        .push(number);
                }
            }
        }
        windows
    }

    /// What the stages make of a number.
    fn staged(&self, number: i64) -> Vec<i64> {
        let stage = |numbers: Vec<i64>, stage: &Stage| -> Vec<i64> {
            let each = numbers.into_iter();
            match *stage {
                Stage::Add(n) => each.map(|v| v + n).collect(),
                Stage::Drop(n) => each.filter(|v| v % n != 0).collect(),
                Stage::Twice => each.flat_map(|v| [v, v + 1]).collect(),
            }
        };
        self.stages.iter().fold(vec![number], stage)
    }
}

/// What a window comes to after each of its numbers.
fn sums(numbers: &[i64]) -> impl Iterator<Item = i64> {
    numbers.iter().scan(0, |sum, number| {
        add(&String::new(), *number, sum);
        Some(*sum)
    })
}

/// `window start/end sum`.
fn parsed((key, value, ..): &Entry) -> Option<(Place, i64)> {
    let key = String::from_utf8(key.clone()?).ok()?;
    let text = std::str::from_utf8(value.as_deref()?).ok()?;
    let (window, sum) = text.strip_prefix("window ")?.split_once(' ')?;
    let (start, _) = window.split_once('/')?;
    Some(((key, start.parse().ok()?), sum.parse().ok()?))
}
