//! Made-up visitors whose clicks follow a logistic law: the best possible log-loss is known.
//!
//! Invariant: the n-th event is the same for whoever asks, and nothing of the law is in the events.

use crate::model::{Action, Event, Item, features};
use anyhow::Result;
use millstream::{
    learn::math::{ln, sigmoid},
    prelude::Timestamp,
    run::{Next, Source},
};
use std::collections::VecDeque;

/// The law: what [`features`] weigh in the score of a click.
const TRUTH: [f64; 5] = [-0.25, 1.5, 2.0, -2.5, 0.5];
const ITEMS: u64 = 50;
const CATEGORIES: [&str; 4] = ["books", "garden", "music", "tools"];
/// 2024-01-01 in milliseconds.
const START: Timestamp = 1_704_067_200_000;
/// Between two items shown.
const STEP: Timestamp = 20_000;
/// Items that a visitor is shown in a visit, about.
const VISIT: u64 = 8;
const VISITORS: u64 = 500;

/// Visitors' events in the order of time.
pub(crate) struct Visitors {
    shown: u64,
    left: u64,
    waiting: VecDeque<(String, Event, Timestamp)>,
    /// Of each item shown, what is true of its click: the chance, and the outcome.
    last: Option<(f64, bool)>,
}

/// The items that there are.
pub(crate) struct Catalogue(u64);

impl Visitors {
    pub(crate) fn new(events: u64) -> Self {
        Self {
            shown: 0,
            left: events,
            waiting: VecDeque::new(),
            last: None,
        }
    }

    /// Shows the next item, and lets the visitor act on it.
    fn show(&mut self) {
        let number = self.shown;
        self.shown += 1;
        let mut random = Random(number);
        let visitor = (number / VISIT + random.below(3)) % VISITORS;
        let item = random.below(ITEMS);
        let position = u8::try_from(random.below(10)).unwrap_or(0);
        let time = START + STEP * i64::try_from(number).unwrap_or(0);
        let chance = chance(&features(&self::item(item).1, position, time));
        let clicked = random.unit() < chance;
        self.last = Some((chance, clicked));
        let steps = [
            (true, Action::Shown { position, clicked }),
            (clicked, Action::View),
            (random.unit() < 0.4, Action::Cart),
            (random.unit() < 0.5, Action::Purchase),
        ];
        let done = steps.into_iter().take_while(|(done, _)| *done);
        let events = (0..).zip(done).map(|(second, (_, action))| {
            let event = Event {
                item: self::item(item).0,
                action,
            };
            (format!("v{visitor:03}"), event, time + 1_000 * second)
        });
        self.waiting.extend(events);
    }
}

impl Iterator for Visitors {
    type Item = (String, Event, Timestamp);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        if self.waiting.is_empty() {
            self.show();
        }
        self.waiting.pop_front()
    }
}

impl Source<String, Event> for Visitors {
    fn next(&mut self, _: u64) -> Result<Next<String, Event>> {
        let record = |(visitor, event, time)| Next::Record(visitor, event, time);
        Ok(Iterator::next(self).map_or(Next::End, record))
    }
}

impl Catalogue {
    pub(crate) fn new() -> Self {
        Self(0)
    }
}

impl Iterator for Catalogue {
    type Item = (String, Item);

    fn next(&mut self) -> Option<Self::Item> {
        (self.0 < ITEMS).then(|| {
            self.0 += 1;
            item(self.0 - 1)
        })
    }
}

impl Source<String, Item> for Catalogue {
    fn next(&mut self, _: u64) -> Result<Next<String, Item>> {
        let record = |(item, row)| Next::Record(item, row, START);
        Ok(Iterator::next(self).map_or(Next::End, record))
    }
}

/// The log-loss over the first so many items shown of who knows the law.
pub(crate) fn best_log_loss(shown: u64) -> Option<f64> {
    let mut visitors = Visitors::new(u64::MAX);
    let (mut sum, mut count) = (0.0, 0.0);
    for _ in 0..shown {
        visitors.show();
        visitors.waiting.clear();
        if let Some((chance, clicked)) = visitors.last {
            sum -= ln(if clicked { chance } else { 1.0 - chance });
            count += 1.0;
        }
    }
    (count > 0.0).then(|| sum / count)
}

fn chance(features: &[f64]) -> f64 {
    let terms = features.iter().zip(TRUTH);
    sigmoid(terms.map(|(feature, weight)| feature * weight).sum())
}

fn item(number: u64) -> (String, Item) {
    // Numbers of their own, far from those of items shown.
    let mut random = Random(u64::MAX / 2 + number);
    let category = usize::try_from(number).unwrap_or(0) % CATEGORIES.len();
    let item = Item {
        category: CATEGORIES[category].to_owned(),
        discount: random.unit(),
        rating: random.unit(),
    };
    (format!("i{number:02}"), item)
}

/// Steele's SplitMix64; where it starts is hashed, so that neighbours have nothing in common.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = mixed(self.0.wrapping_add(0x9e37_79b9_7f4a_7c15));
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
