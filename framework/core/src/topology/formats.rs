//! Between people's JSON and bytes, for any pair of serdes.

use super::{RecordFormat, StoreQuery};
use crate::{
    error::{Error, Result},
    serde::{Encoded, Serde},
};
use serde_json::Value;

/// The serdes of a topic or a store, with their types forgotten.
pub(crate) struct Formats<K: 'static, V: 'static> {
    pub(crate) key: Serde<K>,
    pub(crate) value: Serde<V>,
}

fn read<T>(serde: Serde<T>, json: &Value) -> Result<Option<Vec<u8>>> {
    let mut out = Vec::new();
    Ok(match serde.codec().from_json(json, &mut out)? {
        Encoded::Bytes => Some(out),
        Encoded::Null => None,
    })
}

impl<K, V> RecordFormat for Formats<K, V> {
    fn show_key(&self, bytes: Option<&[u8]>) -> Result<Value> {
        self.key.codec().to_json(bytes)
    }

    fn show_value(&self, bytes: Option<&[u8]>) -> Result<Value> {
        match bytes {
            // A deleted row of a table has no value of the topic's type; it shows as null.
            None => Ok(Value::Null),
            some => self.value.codec().to_json(some),
        }
    }

    fn read_key(&self, json: &Value) -> Result<Option<Vec<u8>>> {
        read(self.key, json)
    }

    fn read_value(&self, json: &Value) -> Result<Option<Vec<u8>>> {
        read(self.value, json)
    }
}

impl<K, V> StoreQuery for Formats<K, V> {
    fn key(&self, json: &Value) -> Result<Vec<u8>> {
        read(self.key, json)?.ok_or_else(|| Error::deserialization("a store has no null key"))
    }

    fn show_key(&self, bytes: &[u8]) -> Result<Value> {
        self.key.codec().to_json(Some(bytes))
    }

    fn show_value(&self, bytes: &[u8]) -> Result<Value> {
        self.value.codec().to_json(Some(bytes))
    }
}
