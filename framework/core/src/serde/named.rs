//! A serde under a name that the program chose.
//!
//! Invariant: only the name differs.

use super::{Beside, Codec, Encoded, Serde};
use crate::{error::Result, record::Headers};
use serde_json::Value;

struct Named<T: 'static> {
    name: String,
    inner: Serde<T>,
    beside: Option<NamedHeaders<T>>,
}

/// The values' headers, where they have some, and their bytes alone, which have the name too.
struct NamedHeaders<T: 'static> {
    inner: &'static dyn Beside<T>,
    bytes: Serde<T>,
}

impl<T> Serde<T> {
    /// The same serde under another name, for formats of which the program knows more than can be
    /// seen: what a `Deserialize` written by hand reads, or JSON whose fields changed their
    /// meaning. Stores and repartition topics are compared by the names of their formats, so
    /// another name is another format, and the same one is the same whatever the type is now.
    ///
    /// To be called while a program is declared, as [`Serde::composed`].
    ///
    /// ```
    /// use millstream_core::prelude::*;
    ///
    /// let prices = json::<u64>().named("json-price-v2");
    /// assert_eq!(prices.codec().name(), "json-price-v2");
    /// let rows = Materialized::with("prices", utf8(), prices);
    /// # let _ = rows;
    /// ```
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        let name = name.into();
        let beside = self.codec().beside().map(|inner| NamedHeaders {
            inner,
            bytes: inner.bytes().named(name.clone()),
        });
        Self::composed(Named {
            name,
            inner: self,
            beside,
        })
    }
}

impl<T> Codec for Named<T> {
    type Item = T;

    #[inline]
    fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<Encoded> {
        self.inner.encode(value, out)
    }

    #[inline]
    fn as_bytes<'a>(&self, value: &'a T) -> Option<&'a [u8]> {
        self.inner.as_bytes(value)
    }

    #[inline]
    fn decode(&self, bytes: Option<&[u8]>) -> Result<T> {
        self.inner.decode(bytes)
    }

    #[inline]
    fn is_null(&self, value: &T) -> bool {
        self.inner.is_null(value)
    }

    fn beside(&self) -> Option<&dyn Beside<T>> {
        let beside = self.beside.as_ref();
        beside.map(|beside| beside as &dyn Beside<T>)
    }

    fn name(&self) -> String {
        match self.beside {
            // The name is that of the bytes, which here have the headers in front of them.
            Some(_) => format!("with-headers<{}>", self.name),
            None => self.name.clone(),
        }
    }

    fn to_json(&self, bytes: Option<&[u8]>) -> Result<Value> {
        self.inner.codec().to_json(bytes)
    }

    fn from_json(&self, json: &Value, out: &mut Vec<u8>) -> Result<Encoded> {
        self.inner.codec().from_json(json, out)
    }
}

impl<T> Beside<T> for NamedHeaders<T> {
    fn bytes(&self) -> Serde<T> {
        self.bytes
    }

    fn headers<'a>(&self, value: &'a T) -> Option<&'a Headers> {
        self.inner.headers(value)
    }

    fn put(&self, value: &mut T, headers: Headers) {
        self.inner.put(value, headers);
    }
}
