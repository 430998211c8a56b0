//! Interactive queries: reading a running program's stores, as of the last commit. While a state is
//! brought back, which [`Streams::tasks`] tells, its rows are partly older, or missing.
//!
//! A backend holds only what was committed, so any thread may read it while tasks run. Here rows
//! are asked for and shown as JSON; `typed` gives them with the program's own types. Invariant:
//! that there is no row of a key is told only where [`Found`] says that all are here.

use super::{
    Streams,
    found::Found,
    rows::{StoreRow, StoreRows, UnreadableRow},
};
use crate::error::{Error, Result};
use serde_json::Value;
use std::{fmt, ops::Bound, str::FromStr};

/// Where the next page of a store's rows begins: a partition, and the bytes of a key there.
///
/// As text it is for whoever asked to give back, and means nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The partition; 0 for a global table, whose rows lie together.
    partition: u32,
    key: Vec<u8>,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.", self.partition)?;
        (self.key.iter()).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Cursor {
    type Err = Error;

    /// # Errors
    /// [`Error::BadCursor`] for what no page can have said.
    fn from_str(text: &str) -> Result<Self> {
        let pair = |pair: &[u8]| match pair {
            [high, low] => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
            }
            _ => None,
        };
        let read = || {
            let (partition, key) = text.split_once('.')?;
            Some(Self {
                partition: partition.parse().ok()?,
                key: key.as_bytes().chunks(2).map(pair).collect::<Option<_>>()?,
            })
        };
        read().ok_or_else(|| Error::BadCursor(text.to_owned()))
    }
}

/// A page ends behind the row that makes it so many stored bytes: several are asked for at once,
/// and a row is larger as JSON.
const PAGE_BYTES: usize = 1 << 20;

/// The first key behind another one.
fn successor(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

/// Rows of a store, some of those that were asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowPage {
    /// The rows, each read by itself: one that cannot be read has its place among the others.
    pub rows: Vec<std::result::Result<StoreRow, UnreadableRow>>,
    /// Where the next page begins, if there may be more.
    pub next: Option<Cursor>,
}

impl Streams {
    /// The committed row of a key. The key is JSON as the store's serde shows it: text for text. Of
    /// a task that is being restored it may be an older row, or none, until that is done.
    ///
    /// # Errors
    /// For an unknown store, a key that is none, a row that cannot be read, and failing storage.
    /// [`Error::IllegalState`] for a client that does not run, and where no row is found and there
    /// may be one all the same: another instance has some of the store's partitions, or one of them
    /// is being restored.
    pub fn get(&self, store: &str, key: &Value) -> Result<Option<StoreRow>> {
        let (rows, found) = self.find(store)?;
        let key = rows.key(key)?;
        for backend in found.backends.values() {
            if let Some(row) = rows.get(&**backend, &key)? {
                return rows.show(&row).map(Some);
            }
        }
        found.whole().map(|()| None)
    }

    /// The keys of a store that a text may stand for, as [`StoreRows::readings`] says.
    ///
    /// # Errors
    /// For an unknown store, and a text that stands for none.
    pub fn readings(&self, store: &str, written: &str) -> Result<Vec<Value>> {
        StoreRows::of(&self.shared.program.topology, store)?.readings(written)
    }

    /// At most `limit` committed rows between two keys, both included, `None` being without end;
    /// partition after partition, in the order of the keys' bytes within each. With the
    /// [`RowPage::next`] of a page as `cursor` it goes on where that page ended, so that pages have
    /// every row once that does not change meanwhile, as long as its partition stays here.
    ///
    /// # Errors
    /// As [`Streams::get`], but for rows that cannot be read, which are on the page, and for
    /// partitions that are not here: where none is, that is [`Error::IllegalState`], and else the
    /// page has the rows of those that are.
    pub fn rows(
        &self,
        store: &str,
        (from, to): (Option<&Value>, Option<&Value>),
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<RowPage> {
        let (rows, found) = self.find(store)?;
        let Some(backends) = found.some()? else {
            return Ok(RowPage::default());
        };
        let bytes = |key: Option<&Value>| key.map(|key| rows.key(key)).transpose();
        let (from, to) = (bytes(from)?, bytes(to)?);
        let to = to.as_deref().map_or(Bound::Unbounded, Bound::Included);
        let (mut page, mut bytes_left) = (RowPage::default(), PAGE_BYTES);
        let first = cursor.map_or(0, |cursor| cursor.partition);
        for (&partition, backend) in backends.range(first..) {
            let at = cursor.filter(|cursor| cursor.partition == partition);
            let at = at.map(|cursor| &*cursor.key).max(from.as_deref());
            let from = at.map_or(Bound::Unbounded, Bound::Included);
            // One more than there is room for says whether there is another page.
            let room = limit - page.rows.len();
            let wanted = (room.saturating_add(1), bytes_left);
            let mut found = rows.first(&**backend, (from, to), wanted)?;
            let beyond = (found.rows.len() > room).then(|| found.rows.swap_remove(room).key);
            page.rows
                .extend(found.rows.iter().map(|row| rows.look(row)));
            // Where the bytes ran out, the next page begins behind the last key looked at.
            let behind = || {
                found
                    .last
                    .filter(|_| found.bytes >= bytes_left)
                    .map(successor)
            };
            if let Some(key) = beyond.or_else(behind) {
                page.next = Some(Cursor { partition, key });
                break;
            }
            bytes_left = bytes_left.saturating_sub(found.bytes);
        }
        Ok(page)
    }

    fn find(&self, store: &str) -> Result<(StoreRows, Found)> {
        let shared = &self.shared;
        shared.can_be_asked()?;
        let rows = StoreRows::of(&shared.program.topology, store)?;
        let found = shared.find(rows.home, store)?;
        Ok((rows, found))
    }
}
