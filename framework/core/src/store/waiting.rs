//! Records that wait for their time: the unmatched ones of an outer join, and those of a join that
//! gives its table time to catch up.
//!
//! Rows are ordered by time, then by side and key, then by arrival. Beside them lies how far the
//! operator's time has come, so that a restarted task tells what waits when the one before it would
//! have. Invariant: the two are committed together.

use super::{BufferStore, StateStore, StoreEnv, stored::corrupt};
use crate::{
    batch::RecordBatch,
    error::{Error, Result},
    record::Timestamp,
    serde,
};
use millstream_state::ordered;
use std::{any::Any, ops::Bound};

/// The key of the row that holds the times: no other row's key is as short.
const TIMES: &[u8] = &[0];
const TIME: usize = size_of::<Timestamp>();

/// The place of a waiting record, but for its number among its equals.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) time: Timestamp,
    pub(crate) side: u8,
    /// The key's bytes in the encoding that keeps their order.
    pub(crate) key: &'a [u8],
}

/// A record that waits no longer.
pub(crate) struct Due {
    pub(crate) time: Timestamp,
    pub(crate) side: u8,
    /// As its serde writes it.
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// What a look at a waiting record comes to.
pub(crate) enum Look {
    Take,
    Leave,
    /// Neither this record nor any behind it.
    Stop,
}

/// A store of records in the order of their times.
pub(crate) struct WaitingStore {
    env: StoreEnv,
    rows: BufferStore<Vec<u8>>,
    stream_time: Timestamp,
    least: Timestamp,
    /// What the row of times says.
    noted: (Timestamp, Timestamp),
    scratch: Vec<u8>,
}

impl WaitingStore {
    /// Reads what the backend holds.
    ///
    /// # Errors
    /// Where storage fails or does not hold such rows.
    pub(crate) fn open(env: StoreEnv) -> Result<Self> {
        let mut store = Self {
            rows: BufferStore::open(serde::bytes(), env.clone())?,
            env,
            stream_time: Timestamp::MIN,
            least: Timestamp::MAX,
            noted: (Timestamp::MIN, Timestamp::MAX),
            scratch: Vec::new(),
        };
        store.read_times()?;
        Ok(store)
    }

    /// Takes notice of a time, and returns the greatest one so far.
    #[inline]
    pub(crate) fn observe(&mut self, time: Timestamp) -> Timestamp {
        self.stream_time = self.stream_time.max(time);
        self.stream_time
    }

    /// Before which time nothing need be looked for; `Timestamp::MAX` where nothing waits.
    pub(crate) fn least(&self) -> Timestamp {
        self.least
    }

    /// Adds a record behind its equals.
    ///
    /// # Errors
    /// Where there are more equals than numbers.
    pub(crate) fn push(&mut self, at: Place<'_>, value: Vec<u8>) -> Result<()> {
        self.prefix(at);
        let end = self.end();
        let equals = (
            Bound::Included(&self.scratch[..]),
            Bound::Included(&end[..]),
        );
        let next = match self.rows.range(equals).next_back() {
            Some((last, ..)) => number(last).checked_add(1),
            None => Some(0),
        };
        let next = next.ok_or_else(|| Error::processing("too many records of one key and time"))?;
        let mut key = self.scratch.clone();
        ordered::put_u32(&mut key, next);
        self.rows.put(&key, value, at.time)?;
        self.least = self.least.min(at.time);
        Ok(())
    }

    /// Forgets the records of a place: they have met.
    pub(crate) fn remove(&mut self, at: Place<'_>) {
        let waiting = (Bound::Excluded(TIMES), Bound::Unbounded);
        if self.rows.range(waiting).next().is_none() {
            return;
        }
        self.prefix(at);
        let end = self.end();
        loop {
            let equals = (
                Bound::Included(&self.scratch[..]),
                Bound::Included(&end[..]),
            );
            let Some(key) = self.rows.range(equals).next().map(|(key, ..)| key.to_vec()) else {
                return;
            };
            self.rows.remove(&key);
        }
    }

    /// Looks at the records in order and takes out those that are due. Where the search ended, or
    /// the last record if it came to the end, is from when the next one begins to make sense.
    ///
    /// # Errors
    /// Where a row is not one of such a store.
    pub(crate) fn take(&mut self, mut look: impl FnMut(Timestamp, u8) -> Look) -> Result<Vec<Due>> {
        let (mut taken, mut least) = (Vec::new(), Timestamp::MAX);
        let waiting = (Bound::Excluded(TIMES), Bound::Unbounded);
        for (key, ..) in self.rows.range(waiting) {
            let (time, side, _) = self.split(key)?;
            least = time;
            match look(time, side) {
                Look::Take => taken.push(key.to_vec()),
                Look::Leave => {}
                Look::Stop => break,
            }
        }
        self.least = least;
        let mut due = Vec::with_capacity(taken.len());
        for row in taken {
            let (time, side, rest) = self.split(&row)?;
            let mut key = Vec::new();
            (ordered::Reader::new(rest).bytes(&mut key)).map_err(|_| self.corrupt())?;
            if let Some((value, _)) = self.rows.remove(&row) {
                due.push(Due {
                    time,
                    side,
                    key,
                    value,
                });
            }
        }
        Ok(due)
    }

    /// A row that is none of such a store.
    #[cold]
    pub(crate) fn corrupt(&self) -> Error {
        corrupt(&self.env, &Error::deserialization("not a waiting record"))
    }

    /// The stored bytes of a record cannot be read, for this reason.
    #[cold]
    pub(crate) fn unreadable(&self, cause: &Error) -> Error {
        corrupt(&self.env, cause)
    }

    fn prefix(&mut self, at: Place<'_>) {
        self.scratch.clear();
        ordered::put_i64(&mut self.scratch, at.time);
        ordered::put_u8(&mut self.scratch, at.side);
        self.scratch.extend_from_slice(at.key);
    }

    /// The last row that the place in `scratch` can have. The encoding of a key is never the
    /// beginning of another.
    fn end(&self) -> Vec<u8> {
        let mut end = self.scratch.clone();
        end.extend([u8::MAX; size_of::<u32>()]);
        end
    }

    fn split<'r>(&self, row: &'r [u8]) -> Result<(Timestamp, u8, &'r [u8])> {
        let mut reader = ordered::Reader::new(row);
        let parts = (reader.i64().ok()).zip(reader.u8().ok());
        let (time, side) = parts.ok_or_else(|| self.corrupt())?;
        Ok((time, side, reader.rest()))
    }

    fn read_times(&mut self) -> Result<()> {
        let noted = match self.rows.get(TIMES) {
            None => (Timestamp::MIN, Timestamp::MAX),
            Some((bytes, _)) => {
                let halves = bytes.split_first_chunk::<TIME>();
                let pair = halves.and_then(|(first, rest)| Some((first, rest.first_chunk()?)));
                let (first, second) = pair.ok_or_else(|| self.corrupt())?;
                let time = |bytes: &[u8; TIME]| Timestamp::from_be_bytes(*bytes);
                (time(first), time(second))
            }
        };
        (self.noted, self.stream_time, self.least) = (noted, noted.0, noted.1);
        Ok(())
    }
}

/// The number at the end of a row's key.
fn number(key: &[u8]) -> u32 {
    key.last_chunk::<4>()
        .map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

impl StateStore for WaitingStore {
    fn set_time(&mut self, _: Timestamp) {}

    fn dirty_bytes(&self) -> usize {
        self.rows.dirty_bytes()
    }

    fn drain(&mut self, changes: &mut RecordBatch) -> Result<()> {
        let times = (self.stream_time, self.least);
        if times != self.noted {
            let bytes = [times.0.to_be_bytes(), times.1.to_be_bytes()].concat();
            self.rows.put(TIMES, bytes, times.0.max(0))?;
            self.noted = times;
        }
        self.rows.drain(changes)
    }

    fn applied(&mut self) -> Result<()> {
        self.rows.applied()
    }

    fn abort(&mut self) -> Result<()> {
        self.rows.abort()?;
        self.read_times()
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
