//! The rows of a versioned store: where they lie, what their bytes are, and how people read them.

use super::{At, TimedShape, keys};
use crate::{
    error::{Error, Result},
    record::{Headers, Timestamp},
    serde::{Beside, Codec, Encoded, Serde},
    store::StoreKind,
    topology::StoreQuery,
};
use millstream_state::ordered;
use serde_json::{Value, json};

/// Where the version lies that holds now; the row's timestamp says since when.
pub(super) const NOW: At = At::time(Timestamp::MAX);
/// Rows are told apart by the times at which they end and begin.
pub(super) const WIDE: bool = true;

/// Writes a value behind a one, and a deleted stretch as a zero.
struct OrDeleted<V: 'static> {
    value: Serde<V>,
    beside: Option<VersionHeaders<V>>,
}

/// The headers of versions, where their values have some.
struct VersionHeaders<V: 'static> {
    of_values: &'static dyn Beside<V>,
    bytes: Serde<Option<V>>,
}

const DELETED: u8 = 0;
const VALUE: u8 = 1;

/// The serde of the rows of a [`VersionedStore`](super::VersionedStore), of that of its values: a
/// stretch for which a key was deleted is a row too. To be made once, when a program is declared.
pub fn versions_of<V: 'static>(value: Serde<V>) -> Serde<Option<V>> {
    let beside = value.codec().beside().map(|of_values| VersionHeaders {
        of_values,
        bytes: versions_of(of_values.bytes()),
    });
    Serde::composed(OrDeleted { value, beside })
}

/// What the serde of the rows is called whose values have this one.
pub(super) fn name<V>(value: Serde<V>) -> String {
    format!("versions<{}>", value.codec().name())
}

/// The bytes of a row's value; `None` where its key was deleted.
pub(super) fn split(bytes: Option<&[u8]>) -> Result<Option<&[u8]>> {
    match bytes {
        Some([DELETED]) => Ok(None),
        Some([VALUE, bytes @ ..]) => Ok(Some(bytes)),
        _ => Err(Error::deserialization(
            "neither a version nor a deleted one",
        )),
    }
}

impl<V> Codec for OrDeleted<V> {
    type Item = Option<V>;

    fn encode(&self, value: &Option<V>, out: &mut Vec<u8>) -> Result<Encoded> {
        match value {
            None => out.push(DELETED),
            Some(value) => {
                out.push(VALUE);
                if self.value.encode(value, out)? == Encoded::Null {
                    return Err(Error::serialization(
                        "a store cannot hold a value that its serde writes as null: delete the key",
                    ));
                }
            }
        }
        Ok(Encoded::Bytes)
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<Option<V>> {
        let bytes = split(bytes)?;
        bytes
            .map(|bytes| self.value.decode(Some(bytes)))
            .transpose()
    }

    fn beside(&self) -> Option<&dyn Beside<Option<V>>> {
        let beside = self.beside.as_ref();
        beside.map(|beside| beside as &dyn Beside<Option<V>>)
    }

    fn name(&self) -> String {
        name(self.value)
    }

    fn to_json(&self, bytes: Option<&[u8]>) -> Result<Value> {
        match bytes {
            Some([VALUE, value @ ..]) => self.value.codec().to_json(Some(value)),
            _ => Ok(Value::Null),
        }
    }

    fn from_json(&self, json: &Value, out: &mut Vec<u8>) -> Result<Encoded> {
        if json.is_null() {
            out.push(DELETED);
            return Ok(Encoded::Bytes);
        }
        out.push(VALUE);
        self.value.codec().from_json(json, out)
    }
}

impl<V> Beside<Option<V>> for VersionHeaders<V> {
    fn bytes(&self) -> Serde<Option<V>> {
        self.bytes
    }

    fn headers<'a>(&self, value: &'a Option<V>) -> Option<&'a Headers> {
        self.of_values.headers(value.as_ref()?)
    }

    fn put(&self, value: &mut Option<V>, headers: Headers) {
        if let Some(value) = value {
            self.of_values.put(value, headers);
        }
    }
}

/// How people read a versioned store: by key they get what holds now.
pub(crate) struct VersionedFormats<K: 'static, V: 'static> {
    pub(crate) key: Serde<K>,
    pub(crate) value: Serde<Option<V>>,
    pub(crate) shape: TimedShape,
}

impl<K, V> StoreQuery for VersionedFormats<K, V> {
    fn key(&self, json: &Value) -> Result<Vec<u8>> {
        let (mut bytes, mut out) = (Vec::new(), Vec::new());
        if self.key.codec().from_json(json, &mut bytes)? == Encoded::Null {
            return Err(Error::deserialization("a store has no null key"));
        }
        ordered::put_bytes(&mut out, &bytes);
        keys::put_at(&mut out, NOW, WIDE);
        Ok(out)
    }

    fn show_key(&self, row: &[u8]) -> Result<Value> {
        let (bytes, at) = keys::read(row, WIDE)?;
        let key = self.key.codec().to_json(Some(&bytes))?;
        Ok(if at == NOW {
            key
        } else {
            json!({ "key": key, "since": at.second, "until": at.time })
        })
    }

    fn record_key(&self, row: &[u8]) -> Result<Vec<u8>> {
        keys::read(row, WIDE).map(|(key, _)| key)
    }

    fn show_value(&self, bytes: &[u8]) -> Result<Value> {
        self.value.codec().to_json(Some(bytes))
    }

    fn is_row(&self, key: &[u8]) -> bool {
        key != keys::CLOCK
    }

    fn kind(&self) -> StoreKind {
        StoreKind::Versioned(self.shape)
    }

    fn formats(&self) -> (String, String) {
        (self.key.codec().name(), self.value.codec().name())
    }
}
