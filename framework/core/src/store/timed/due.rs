//! The rows of all keys in the order of their time: what has closed is found without a search.
//!
//! The order is kept in memory only. It holds the rows whose time has not come, and which those are
//! follows from the rows and the observed time, so a restart finds them again by reading the store.
//! Invariant: a row is in it exactly while it exists and its time has not come.

use super::{At, TimedStore, keys};
use crate::{
    error::Result,
    record::Timestamp,
    store::stored::{corrupt, read_rows},
};
use millstream_state::SmallBytes;
use std::{collections::BTreeSet, ops::Bound};

/// What waits for its time.
pub(super) struct Due {
    /// How far the observed time must have passed a row's.
    after: Timestamp,
    /// By place, then by the bytes of the key: the order of Kafka's time-first stores.
    rows: BTreeSet<(At, SmallBytes)>,
}

/// A row whose time has come: key, place, value, and when it last changed.
pub(crate) type DueRow<K, V> = (K, At, V, Timestamp);

impl<K: 'static, V: 'static> TimedStore<K, V> {
    /// The same store, which also knows what has come to be `after` behind the observed time.
    pub(crate) fn telling_due(mut self, after: Timestamp) -> Result<Self> {
        self.due = Some(Due {
            after,
            rows: BTreeSet::new(),
        });
        self.load_due()?;
        Ok(self)
    }

    /// Whether rows would come due if the observed time were `now`.
    #[inline]
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        let due = self.due.as_ref();
        due.is_some_and(|due| due.first().is_some_and(|first| first <= now))
    }

    /// When all that waits now will be due; `None` where nothing waits.
    pub(crate) fn all_due(&self) -> Option<Timestamp> {
        let due = self.due.as_ref()?;
        let (last, _) = due.rows.last()?;
        Some(last.time.saturating_add(due.after))
    }

    /// Takes the next row that would be due if the observed time were `now`, in the order of places
    /// and then of keys. Call it before that time is observed: rows may expire as they come due.
    pub(crate) fn next_due(&mut self, now: Timestamp) -> Result<Option<DueRow<K, V>>>
    where
        V: Clone,
    {
        while self.is_due(now) {
            let Some((at, prefix)) = self.due.as_mut().and_then(|due| due.rows.pop_first()) else {
                break;
            };
            let number = self.resident_of(&prefix, at.time)?;
            let group = self.groups.get(number);
            let Ok(place) = group.find(at) else { continue };
            let row = &group.rows()[place];
            if let Some(value) = &row.value {
                let (value, timestamp) = (value.clone(), row.timestamp);
                return Ok(Some((self.decode_key(&prefix)?, at, value, timestamp)));
            }
        }
        Ok(None)
    }

    /// A key from the beginning of its rows' keys.
    pub(super) fn decode_key(&self, prefix: &[u8]) -> Result<K> {
        let mut bytes = Vec::new();
        keys::read_prefix(prefix, &mut bytes)?;
        let key = self.key.decode(Some(&bytes));
        key.map_err(|cause| corrupt(&self.env, &cause))
    }

    /// A row has come into being.
    #[inline]
    pub(super) fn wait(&mut self, group: u32, at: At) {
        if let Some(due) = &mut self.due {
            let prefix = &self.groups.get(group).prefix;
            due.rows.insert((at, prefix.clone()));
        }
    }

    /// A row has gone.
    #[inline]
    pub(super) fn wait_no_more(&mut self, group: u32, at: At) {
        if let Some(due) = &mut self.due {
            let prefix = &self.groups.get(group).prefix;
            due.rows.remove(&(at, prefix.clone()));
        }
    }

    /// Finds all that waits among what the backend holds.
    pub(super) fn load_due(&mut self) -> Result<()> {
        let (wide, observed) = (self.shape.wide, self.observed);
        let Some(due) = &mut self.due else {
            return Ok(());
        };
        due.rows.clear();
        let rows = (Bound::Excluded(keys::CLOCK), Bound::Unbounded);
        read_rows(&self.env, rows, |key, _| {
            let (prefix, at) = keys::parts(key, wide)?;
            if at.time.saturating_add(due.after) > observed {
                due.rows.insert((at, SmallBytes::from(prefix)));
            }
            Ok(())
        })
    }
}

impl Due {
    /// When the first row will be due.
    #[inline]
    fn first(&self) -> Option<Timestamp> {
        let (first, _) = self.rows.first()?;
        Some(first.time.saturating_add(self.after))
    }
}
