//! Looking ahead: the keys of an input's next records, for the stores of the task.
//!
//! Which store a record will meet only its way through the topology shows. Stores that are keyed as
//! the log is have the keys as they are there, and those that do not find them are asked seldom.
//! Invariant: nothing depends on it but the time that look-ups take.

use crate::{
    batch::Records,
    store::{AHEAD, StateStore},
};
use std::array;

/// Stores that have fewer of the keys are left alone for a while.
const FOUND_MIN: usize = AHEAD / 4;
/// For how many times as many keys.
const REST: u8 = 31;

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
            let keys =
                read.get_or_insert_with(|| {
                    let key = |place| records.batch.get(start + place).key.unwrap_or_default();
                    let none: &[u8] = &[];
                    array::from_fn::<_, AHEAD, _>(|place| {
                        if place < self.ahead { key(place) } else { none }
                    })
                });
            let keys = &keys[..self.ahead];
            if store.expect(keys) < FOUND_MIN.min(keys.len()) {
                *rest = REST;
            }
        }
    }
}
