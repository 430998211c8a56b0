//! Interactive queries with the program's own types: Kafka Streams' `store(..)`, and of its newer
//! queries those of versioned stores.
//!
//! What a handle says of a key it says as the queries in JSON do, of the same rows: what lies where
//! is known to `StoreRows` and to the readers beside the stores in the core. Invariant: a handle
//! keeps nothing of the client alive, and between two calls, or two pages of rows, nothing is held
//! that a stream thread could wait for.

mod key_value;
mod rows;
mod session;
mod versioned;
mod window;

pub use key_value::ReadOnlyKeyValueStore;
pub use rows::Rows;
pub use session::ReadOnlySessionStore;
pub use versioned::ReadOnlyVersionedStore;
pub use window::ReadOnlyWindowStore;

use super::{
    Streams,
    found::Found,
    hosts::KeyQueryMetadata,
    rows::{StoreRows, StoredRow, Wanted},
    shared::Shared,
};
use crate::error::{Error, Result};
use millstream_core::{
    self as core,
    record::Timestamp,
    store::{KeyBounds, Materialized, StoreLayout},
};
use millstream_state::{Backend, Direction};
use std::{
    ops::Bound,
    sync::{Arc, Weak},
};

/// Which rows of a range are meant, by the bytes of a key and the time up to which rows have
/// expired.
type Which = Box<dyn Fn(&[u8], Timestamp) -> bool + Send + Sync>;
/// What a row says, if it is one of those that are asked for after all.
type Show<T> = Box<dyn Fn(&StoredRow) -> core::Result<Option<T>> + Send + Sync>;

/// A store as whoever asks for its rows finds it, again with every call.
#[derive(Clone)]
struct Source {
    shared: Weak<Shared>,
    store: Arc<str>,
    rows: StoreRows,
}

impl Source {
    /// The store of that name, and what makes its rows of bytes.
    fn of<K, V, R>(
        streams: &Streams,
        asked: &Materialized<K, V>,
        reader: impl FnOnce(&Materialized<K, V>, &StoreLayout) -> core::Result<R>,
    ) -> Result<(Self, R)> {
        let rows = StoreRows::of(&streams.shared.program.topology, asked.name())?;
        let reader = reader(asked, &rows.layout())?;
        let source = Self {
            shared: Arc::downgrade(&streams.shared),
            store: asked.name().into(),
            rows,
        };
        Ok((source, reader))
    }

    fn shared(&self) -> Result<Arc<Shared>> {
        self.shared.upgrade().ok_or_else(|| {
            let store = &self.store;
            Error::IllegalState(format!("the client that had the store {store:?} is gone"))
        })
    }

    fn find(&self) -> Result<Found> {
        self.shared()?.find(self.rows.home, &self.store)
    }

    /// Who has the rows of a key, given a place among them.
    fn hosts(&self, place: &[u8]) -> Result<KeyQueryMetadata> {
        self.shared()?.hosts_of_key(&self.store, &self.rows, place)
    }

    /// The backend of a partition that was here when its rows were asked for.
    fn backend(&self, partition: u32) -> Result<Arc<dyn Backend>> {
        let backend = self.find()?.backends.remove(&partition);
        backend.ok_or_else(|| {
            Error::IllegalState(format!(
                "partition {partition} of the store {:?}, whose rows are being read, is not here \
                 any more",
                self.store
            ))
        })
    }

    /// The row at a place, in whichever partition it is.
    fn get<T>(
        &self,
        key: &[u8],
        show: impl Fn(&StoredRow) -> core::Result<T>,
    ) -> Result<Option<T>> {
        let found = self.find()?;
        for backend in found.backends.values() {
            if let Some(row) = self.rows.get(&**backend, key)? {
                let shown = show(&row).map_err(|why| self.unreadable(&row, &why));
                return shown.map(Some);
            }
        }
        found.whole().map(|()| None)
    }

    /// The first row of a range that is of one key, where that is the one asked for.
    fn first<T>(
        &self,
        (from, to): &KeyBounds,
        which: &dyn Fn(&[u8], Timestamp) -> bool,
        show: impl Fn(&StoredRow) -> core::Result<Option<T>>,
    ) -> Result<Option<T>> {
        let (found, bounds) = (self.find()?, (borrowed(from), borrowed(to)));
        let wanted = Wanted {
            direction: Direction::Ascending,
            rows: 1,
            bytes: usize::MAX,
            which,
        };
        for backend in found.backends.values() {
            for row in self.rows.page(&**backend, bounds, &wanted)?.rows {
                let shown = show(&row).map_err(|why| self.unreadable(&row, &why))?;
                if shown.is_some() {
                    return Ok(shown);
                }
            }
        }
        found.whole().map(|()| None)
    }

    #[cold]
    fn unreadable(&self, row: &StoredRow, why: &core::Error) -> Error {
        Error::UnreadableRow {
            store: (*self.store).to_owned(),
            row: self.rows.unreadable(&row.key, why),
        }
    }
}

fn borrowed(side: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    side.as_ref().map(Vec::as_slice)
}

/// What is asked for cannot be a key of the store.
#[expect(
    clippy::needless_pass_by_value,
    reason = "it is what an error is mapped with"
)]
fn bad_key(error: core::Error) -> Error {
    Error::BadKey(error.to_string())
}
