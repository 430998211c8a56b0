//! The store behind `suppress`: changes of rows that wait to be told, the first in time first.
//!
//! It is an ordered buffer whose rows lie under a time and then the key, so that each key waits
//! once. Invariants: a key that waits keeps the time under which it was first put; what the store
//! has observed is part of its state, so that a restart lets nothing out that was let out before.

use super::{
    BufferStore, StateStore, StoreEnv, SuppressionBuffer,
    held::{Held, HeldFormat},
    stored::{RowBytes, corrupt},
};
use crate::{
    batch::RecordBatch,
    error::{Error, Result},
    record::{Headers, Timestamp},
    serde::{Encoded, Serde},
};
use hashbrown::HashMap;
use millstream_state::{
    Presence,
    ordered::{self, Reader},
};
use std::{any::Any, ops::Bound, sync::Arc};

/// Where the store keeps its times. Rows have keys of at least the eight bytes of their time.
const CLOCK: &[u8] = &[0];

/// What a store has seen of time.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Clock {
    observed: Timestamp,
    /// Windows that end there or before were closed by the wall clock.
    closed: Timestamp,
}

const BEGINNING: Clock = Clock {
    observed: Timestamp::MIN,
    closed: Timestamp::MIN,
};

/// A change that has left the store.
pub(crate) struct Released<K, V> {
    pub(crate) key: K,
    pub(crate) held: Held<V>,
    /// Under which time it waited.
    pub(crate) time: Timestamp,
    /// The timestamp of the last record that changed it.
    pub(crate) timestamp: Timestamp,
}

/// Changes that wait, by time and then by key.
pub struct SuppressStore<K: 'static, V: 'static> {
    name: Arc<str>,
    key: Serde<K>,
    buffer: BufferStore<Held<V>>,
    /// Under which time each key waits, where that does not follow from the key; never iterated.
    index: Option<HashMap<Vec<u8>, Timestamp>>,
    clock: Clock,
    logged: Clock,
    env: StoreEnv,
    scratch: Vec<u8>,
}

impl<K: 'static, V: 'static> SuppressStore<K, V> {
    /// Reads what the backend holds. `by_key` says that a key's time follows from the key.
    ///
    /// # Errors
    /// Where storage fails or does not hold such rows.
    pub(crate) fn open(
        name: Arc<str>,
        (key, value): (Serde<K>, Serde<V>),
        by_key: bool,
        env: StoreEnv,
    ) -> Result<Self> {
        let format = Box::new(HeldFormat(value));
        let mut store = Self {
            name,
            key,
            buffer: BufferStore::open_behind(format, CLOCK, env.clone())?,
            index: (!by_key).then(HashMap::new),
            clock: BEGINNING,
            logged: BEGINNING,
            env,
            scratch: Vec::new(),
        };
        store.load()?;
        Ok(store)
    }

    /// How many rows wait.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// How many bytes they take, roughly; what a limit in bytes is held against.
    pub fn bytes(&self) -> usize {
        self.buffer.bytes()
    }

    /// Takes notice of a time, and returns the greatest one so far.
    pub(crate) fn observe(&mut self, time: Timestamp) -> Timestamp {
        self.clock.observed = self.clock.observed.max(time);
        self.clock.observed
    }

    /// Says that windows that end there or before take no more changes.
    pub(crate) fn close(&mut self, end: Timestamp) {
        self.clock.closed = self.clock.closed.max(end);
    }

    /// Up to which end windows were closed by the wall clock.
    pub(crate) fn closed(&self) -> Timestamp {
        self.clock.closed
    }

    /// Lets a change wait, in place of one that waits for its key. `false`, and nothing happens,
    /// for a null key.
    pub(crate) fn hold(
        &mut self,
        key: &K,
        time: Timestamp,
        change: Held<V>,
        timestamp: Timestamp,
    ) -> Result<bool> {
        if !self.find(key, time)? {
            return Ok(false);
        }
        // Whoever listens knows the row as it was before all that was held back.
        self.buffer
            .put_over(&self.scratch, change, timestamp, |waiting, change| {
                std::mem::swap(&mut waiting.old, &mut change.old);
            })?;
        // Not before: what cannot be written does not wait.
        if let Some(index) = &mut self.index {
            let key = &self.scratch[size_of::<Timestamp>()..];
            if !index.contains_key(key) {
                index.insert(key.to_vec(), time);
            }
        }
        Ok(true)
    }

    /// What a key's row was when it was last told; `None` where it does not wait.
    pub(crate) fn told(&mut self, key: &K, time: Timestamp) -> Result<Option<Option<&V>>> {
        if !self.find(key, time)? {
            return Ok(None);
        }
        let held = self.buffer.get(&self.scratch);
        Ok(held.map(|(held, _)| held.old.as_ref()))
    }

    /// Takes the first change out if its time is not after `until`.
    pub(crate) fn pop(&mut self, until: Timestamp) -> Result<Option<Released<K, V>>> {
        let due = |key: &[u8]| Reader::new(key).i64().is_ok_and(|time| time <= until);
        let Some((row, held, timestamp)) = self.buffer.pop_first_if(due) else {
            return Ok(None);
        };
        let mut reader = Reader::new(&row);
        let time = reader.i64()?;
        if let Some(index) = &mut self.index {
            index.remove(reader.rest());
        }
        let key = self.key.decode(Some(reader.rest()));
        let key = key.map_err(|cause| corrupt(&self.env, &cause))?;
        Ok(Some(Released {
            key,
            held,
            time,
            timestamp,
        }))
    }

    /// Puts the bytes of the row under which a key waits, or would wait, into `scratch`.
    fn find(&mut self, key: &K, time: Timestamp) -> Result<bool> {
        self.scratch.clear();
        ordered::put_i64(&mut self.scratch, time);
        if self.key.encode(key, &mut self.scratch)? == Encoded::Null {
            return Ok(false);
        }
        let key = &self.scratch[size_of::<Timestamp>()..];
        let waiting = self
            .index
            .as_ref()
            .and_then(|index| index.get(key).copied());
        if let Some(waiting) = waiting {
            let mut time = Vec::with_capacity(size_of::<Timestamp>());
            ordered::put_i64(&mut time, waiting);
            self.scratch[..size_of::<Timestamp>()].copy_from_slice(&time);
        }
        Ok(true)
    }

    fn load(&mut self) -> Result<()> {
        self.clock = BEGINNING;
        let Self { env, scratch, .. } = self;
        if env.backend.get(env.column, CLOCK, scratch)? == Presence::Found {
            let clock = RowBytes::split(scratch).and_then(|RowBytes { value: bytes, .. }| {
                let mut reader = Reader::new(bytes);
                let (observed, closed) = (reader.i64()?, reader.i64()?);
                Ok(Clock { observed, closed })
            });
            self.clock = clock.map_err(|cause| corrupt(env, &cause))?;
        }
        self.logged = self.clock;
        let Some(index) = &mut self.index else {
            return Ok(());
        };
        index.clear();
        let all = (Bound::Unbounded, Bound::Unbounded);
        for (row, ..) in self.buffer.range(all) {
            let mut reader = Reader::new(row);
            let time = reader.i64().map_err(Error::from);
            let time = time.map_err(|cause| corrupt(&self.env, &cause))?;
            index.insert(reader.rest().to_vec(), time);
        }
        Ok(())
    }
}

impl<K: 'static, V: 'static> StateStore for SuppressStore<K, V> {
    fn set_time(&mut self, _: Timestamp) {}

    fn dirty_bytes(&self) -> usize {
        self.buffer.dirty_bytes()
    }

    fn suppression_buffer(&self) -> Option<SuppressionBuffer> {
        Some(SuppressionBuffer {
            store: self.name.clone(),
            records: self.len(),
            bytes: self.bytes(),
        })
    }

    fn drain(&mut self, changes: &mut RecordBatch) -> Result<()> {
        self.buffer.drain(changes)?;
        if self.clock == self.logged {
            return Ok(());
        }
        let Clock { observed, closed } = self.clock;
        changes.encode(
            observed.max(0),
            &Headers::NONE,
            |out| {
                out.extend_from_slice(CLOCK);
                Ok(Encoded::Bytes)
            },
            |out| {
                ordered::put_i64(out, observed);
                ordered::put_i64(out, closed);
                Ok(Encoded::Bytes)
            },
        )?;
        self.logged = self.clock;
        Ok(())
    }

    fn applied(&mut self) -> Result<()> {
        self.buffer.applied()
    }

    fn abort(&mut self) -> Result<()> {
        self.buffer.abort()?;
        self.load()
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
