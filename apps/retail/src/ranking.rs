//! The best products of each day that has closed.
//!
//! The ranking is a processor of its own and no table: a table may tell its changes per commit, and
//! then only what the last of several products made of the ranking.
//! Invariant: with every product that changes the ranking of a day the whole of it is told, so what
//! was told last is how it stands, whenever commits happen.

use crate::model::Sales;
use millstream::prelude::*;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;

/// How many products of a day are ranked.
const RANKS: usize = 10;

/// A product and its sales of a day that has closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ranked {
    pub(crate) product: String,
    pub(crate) sales: Sales,
}

/// The best products of a day, by units.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Best {
    ranked: Vec<Ranked>,
    /// Whether the last product that came is among them.
    changed: bool,
}

impl Best {
    /// Puts a product where it belongs; of equal ones that with the smaller code is first.
    fn put(&mut self, it: Ranked) {
        let better = |other: &Ranked| {
            let units = |ranked: &Ranked| Reverse(ranked.sales.totals.units);
            (units(other), &other.product) < (units(&it), &it.product)
        };
        let at = self.ranked.partition_point(better);
        self.changed = at < RANKS;
        if self.changed {
            self.ranked.insert(at, it);
            self.ranked.truncate(RANKS);
        }
    }
}

/// Ranks the products of days, and tells the rankings by day and rank, from one on.
pub(crate) struct Ranking(pub(crate) StoreRef<KeyValueStore<Timestamp, Best>>);

impl Processor<Timestamp, Ranked> for Ranking {
    type Key = (Timestamp, u32);
    type Value = Ranked;

    fn process(
        &mut self,
        record: Record<Timestamp, Ranked>,
        ctx: &mut ProcessorContext<'_, Self::Key, Ranked>,
    ) -> ProcessResult {
        let (day, time) = (record.key, record.timestamp);
        let best = ctx.store(self.0).entry(&day, Best::default)?;
        best.put(record.value);
        if !best.changed {
            return Ok(());
        }
        for (rank, it) in (1..).zip(best.ranked.clone()) {
            ctx.forward(Record::new((day, rank), it, time))?;
        }
        Ok(())
    }
}
