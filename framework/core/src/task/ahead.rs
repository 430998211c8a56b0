//! Looking ahead: an input's next records, shown to the stores of the task.
//!
//! Which store a record will meet only its way through the topology shows. Stores that are keyed as
//! the log is have the keys as they are there, and those that do not find them are asked seldom.
//! Invariant: nothing depends on it but the time that look-ups take.

use crate::{
    batch::Records,
    store::{AHEAD, StateStore},
};
use std::array;

/// A store that has fewer of the keys is left alone for a while.
const FOUND_MIN: usize = AHEAD / 4;
/// How many looks a store is left alone for.
const REST: u8 = 15;

/// The stores of a task by their numbers in the whole topology.
pub(super) type Stores = [Option<Box<dyn StateStore>>];

/// What is known of an input's keys.
#[derive(Default)]
pub(super) struct Looking {
    /// How many records to come have been looked up.
    ahead: usize,
    /// By the stores' numbers: how often it need not be asked again.
    rests: Vec<u8>,
}

impl Looking {
    /// The next record is processed. Once none is left that was looked up, the next ones are.
    #[inline]
    pub(super) fn next(&mut self, records: &Records, stores: &mut Stores) {
        if self.ahead == 0 {
            self.look(records, stores);
        }
        self.ahead = self.ahead.saturating_sub(1);
    }

    fn look(&mut self, records: &Records, stores: &mut Stores) {
        self.rests.resize(stores.len(), 0);
        self.ahead = records.len().min(AHEAD);
        let (start, mut read) = (records.range.start, None);
        for (store, rest) in stores.iter_mut().zip(&mut self.rests) {
            let Some(store) = store else { continue };
            if *rest > 0 {
                *rest -= 1;
                continue;
            }
            let coming = read.get_or_insert_with(|| {
                array::from_fn::<&[u8], AHEAD, _>(|place| {
                    let key = (place < self.ahead).then(|| records.batch.get(start + place).key);
                    key.flatten().unwrap_or_default()
                })
            });
            let found = store.expect(&coming[..self.ahead]);
            // Too few keys say nothing: a batch may end with any.
            if found < FOUND_MIN && self.ahead == AHEAD {
                *rest = REST;
            }
        }
    }
}
