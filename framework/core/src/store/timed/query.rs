//! How people read a timed store.

use super::{At, TimedShape, keys};
use crate::{
    error::{Error, Result},
    record::Timestamp,
    serde::{Encoded, Serde, windowed},
    store::StoreKind,
    topology::StoreQuery,
    window::Window,
};
use millstream_state::ordered;
use serde_json::Value;

/// What a row's place means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimedKind {
    /// A window that starts there and has this size in milliseconds.
    Window(Timestamp),
    /// A session that ends there, and starts at its second time.
    Session,
    /// Something that happened or became true then.
    Instant,
}

impl TimedKind {
    /// The stretch of time that a row is about.
    pub fn window(self, at: At) -> Window {
        match self {
            Self::Window(size) => Window::new(at.time, at.time.saturating_add(size)),
            Self::Session => Window::new(at.second, at.time),
            Self::Instant => Window::new(at.time, at.time),
        }
    }

    pub(crate) fn at(self, window: Window) -> At {
        match self {
            Self::Window(_) | Self::Instant => At::time(window.start),
            Self::Session => At::new(window.end, window.start),
        }
    }
}

/// The serdes of a timed store, with their types forgotten.
pub(crate) struct TimedFormats<K: 'static, V: 'static> {
    pub(crate) key: Serde<K>,
    pub(crate) value: Serde<V>,
    pub(crate) shape: TimedShape,
}

impl<K, V> StoreQuery for TimedFormats<K, V> {
    fn key(&self, json: &Value) -> Result<Vec<u8>> {
        let (key, start, end) = windowed::read(json, "a window's key")?;
        let TimedShape { kind, wide, .. } = self.shape;
        let (mut bytes, mut out) = (Vec::new(), Vec::new());
        if self.key.codec().from_json(key, &mut bytes)? == Encoded::Null {
            return Err(Error::deserialization("a store has no null key"));
        }
        ordered::put_bytes(&mut out, &bytes);
        keys::put_at(&mut out, kind.at(Window::new(start, end)), wide);
        Ok(out)
    }

    fn show_key(&self, row: &[u8]) -> Result<Value> {
        let (bytes, at) = keys::read(row, self.shape.wide)?;
        let key = self.key.codec().to_json(Some(&bytes))?;
        Ok(windowed::show(&key, self.shape.kind.window(at)))
    }

    fn record_key(&self, row: &[u8]) -> Result<Vec<u8>> {
        keys::read(row, self.shape.wide).map(|(key, _)| key)
    }

    fn show_value(&self, bytes: &[u8]) -> Result<Value> {
        self.value.codec().to_json(Some(bytes))
    }

    fn is_row(&self, key: &[u8]) -> bool {
        key != keys::CLOCK
    }

    fn kind(&self) -> StoreKind {
        StoreKind::Timed(self.shape)
    }

    fn formats(&self) -> (String, String) {
        (self.key.codec().name(), self.value.codec().name())
    }
}
