//! Values that hold the headers of their record.
//!
//! A topic's record and a store's row have a place for headers beside the bytes of the value, and
//! there they go ([`Beside`]). Everywhere else, in repartition topics and in what waits for its
//! time, they lie in front of the value, also if the record has the same. Invariant: no way of
//! writing such a value loses a header, and beside its headers its bytes are those that the serde
//! within writes, so that a topic or a store may go from values alone to values with headers and
//! back.

use super::{Codec, ConstCodec, Encoded, Serde, null};
use crate::{
    error::{Error, Result},
    record::{Headers, RawRecord},
    wire::{Reader, put_headers},
};
use serde_json::Value;
use std::marker::PhantomData;

/// A value and the headers of the record or row that it is in. With the row's timestamp it is what
/// Kafka calls `ValueTimestampHeaders` (KIP-1271).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValueAndHeaders<V> {
    /// The value.
    pub value: V,
    /// The headers.
    pub headers: Headers,
}

/// What a codec of values with headers can do where there is a place for these beside the bytes.
pub trait Beside<T: 'static>: Sync {
    /// The values' bytes without their headers: values are read from there with none.
    fn bytes(&self) -> Serde<T>;
    /// The headers of a value; `None` where it is one that has no place for any, as `None` has not.
    fn headers<'a>(&self, value: &'a T) -> Option<&'a Headers>;
    /// Gives a value other headers.
    fn put(&self, value: &mut T, headers: Headers);
}

/// Values as `C` writes them, each with the headers of its record: a source of such a topic reads
/// both, and a sink writes the value's headers instead of those that came with the record.
///
/// A table of such a topic keeps the headers of its rows, and so does a store of such values
/// ([`Materialized::with_headers`](crate::store::Materialized::with_headers)): header-aware stores
/// (KIP-1271), of which each is asked for by its type, and in which what a result's headers are is
/// what the program makes them. For people, over HTTP and in JSON, it is the value alone.
///
/// ```
/// use millstream_core::prelude::*;
///
/// type Traced<V> = ValueAndHeaders<V>;
/// static ORDERS: Topic<String, Traced<u64>> =
///     Topic::new("orders", utf8(), with_headers::<U64Be>());
/// static TOTALS: Topic<String, Traced<u64>> =
///     Topic::new("totals", utf8(), with_headers::<U64Be>());
///
/// let builder = StreamsBuilder::new();
/// let grouped = Grouped::with(utf8(), with_headers::<U64Be>());
/// let orders = builder.stream(&ORDERS).group_by_key_with(grouped);
/// let add = |_: &String, order: Traced<u64>, total: &mut Traced<u64>| {
///     total.value += order.value;
///     // A total is traced to its last order.
///     total.headers = order.headers;
/// };
/// let totals = Materialized::with("totals", utf8(), u64_be()).with_headers();
/// orders.aggregate(totals, Traced::default, add).to(&TOTALS);
///
/// let mut driver = TopologyTestDriver::new(builder.build()?)?;
/// let mut order = Record::new("tea".to_owned(), Traced { value: 3, ..Traced::default() }, 7);
/// order.value.headers.push("trace", Some(b"4bf92f".to_vec()));
/// driver.pipe_record(&ORDERS, &order)?;
/// let total = &driver.read(&TOTALS)?[0];
/// assert_eq!((&total.value, &total.headers), (&order.value, &order.value.headers));
/// # Ok::<(), millstream_core::Error>(())
/// ```
pub const fn with_headers<C: ConstCodec>() -> Serde<ValueAndHeaders<C::Item>> {
    Serde::new(const { &WithHeaders::<C>::CODEC })
}

/// The codec behind [`with_headers`].
pub type WithHeaders<C> = Headed<PhantomData<fn() -> C>>;

impl<C: ConstCodec> ConstCodec for WithHeaders<C> {
    const CODEC: Self = Self {
        within: PhantomData,
        apart: Serde::new(const { &Alone(PhantomData::<fn() -> C>) }),
    };
}

impl<V> Serde<V> {
    /// As [`with_headers`], of a serde that is known only while the program is declared: to be
    /// called then, as [`Serde::composed`].
    pub fn with_headers(self) -> Serde<ValueAndHeaders<V>> {
        Serde::composed(Headed {
            within: self,
            apart: Serde::composed(Alone(self)),
        })
    }

    /// How values are written where there is a place for headers beside their bytes.
    pub fn apart(self) -> Apart<V> {
        let beside = self.0.beside();
        Apart {
            bytes: beside.map_or(self, Beside::bytes),
            beside,
        }
    }
}

/// How values are written where there is a place for headers beside their bytes, as in the records
/// of a topic and in the rows of a store. Values of most types have no headers, and are written as
/// ever.
///
/// ```
/// use millstream_core::prelude::*;
///
/// let (plain, traced) = (u64_be().apart(), with_headers::<U64Be>().apart());
/// let mut headers = Headers::NONE;
/// headers.push("trace", Some(b"4bf92f".to_vec()));
/// let bytes = 7_u64.to_be_bytes();
/// assert_eq!(plain.decode(Some(&bytes), &headers)?, 7);
/// let value = traced.decode(Some(&bytes), &headers)?;
/// assert_eq!((value.value, traced.headers(&value)), (7, &headers));
/// # Ok::<(), millstream_core::Error>(())
/// ```
pub struct Apart<V: 'static> {
    /// What the bytes are.
    pub bytes: Serde<V>,
    beside: Option<&'static dyn Beside<V>>,
}

impl<V> Clone for Apart<V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<V> Copy for Apart<V> {}

impl<V> Apart<V> {
    /// Whether its values have headers.
    #[inline]
    pub fn has_headers(self) -> bool {
        self.beside.is_some()
    }

    /// The headers of a value, or none.
    #[inline]
    pub fn headers(self, value: &V) -> &Headers {
        self.headers_or(value, &Headers::NONE)
    }

    /// The headers of a value; where it has no place for any, those.
    #[inline]
    pub fn headers_or<'a>(self, value: &'a V, those: &'a Headers) -> &'a Headers {
        let own = self.beside.and_then(|beside| beside.headers(value));
        own.unwrap_or(those)
    }

    /// The name of the format of the bytes.
    pub fn name(self) -> String {
        self.bytes.codec().name()
    }

    /// What a value counts as in memory that is so many bytes: those, and its headers.
    #[inline]
    pub(crate) fn held_bytes(self, value: &V, bytes: usize) -> usize {
        bytes + self.headers(value).bytes()
    }

    /// Appends the value's bytes to `out`.
    ///
    /// # Errors
    /// Those of the serde.
    #[inline]
    pub fn encode(self, value: &V, out: &mut Vec<u8>) -> Result<Encoded> {
        self.bytes.encode(value, out)
    }

    /// Reads a value and gives it these headers, if it has a place for them.
    ///
    /// # Errors
    /// Those of the serde.
    #[inline]
    pub fn decode(self, bytes: Option<&[u8]>, headers: &Headers) -> Result<V> {
        let mut value = self.bytes.decode(bytes)?;
        if let Some(beside) = self.beside.filter(|_| !headers.is_empty()) {
            beside.put(&mut value, headers.clone());
        }
        Ok(value)
    }

    /// Reads the row that a record of a table's topic is: `None` deletes one.
    ///
    /// # Errors
    /// As [`Apart::decode`].
    #[inline]
    pub fn decode_row(self, raw: RawRecord<'_>) -> Result<Option<V>> {
        let value = raw.value.map(|bytes| self.decode(Some(bytes), raw.headers));
        value.transpose()
    }
}

/// The codec of the value within: a type, or a serde.
pub trait Within: Sync + 'static {
    /// The values.
    type Item: 'static;

    /// Asks their codec.
    fn ask<R>(&self, what: impl FnOnce(&dyn Codec<Item = Self::Item>) -> R) -> R;
}

impl<C: ConstCodec> Within for PhantomData<fn() -> C> {
    type Item = C::Item;

    #[inline]
    fn ask<R>(&self, what: impl FnOnce(&dyn Codec<Item = C::Item>) -> R) -> R {
        what(&C::CODEC)
    }
}

impl<V> Within for Serde<V> {
    type Item = V;

    #[inline]
    fn ask<R>(&self, what: impl FnOnce(&dyn Codec<Item = V>) -> R) -> R {
        what(self.0)
    }
}

/// A value's bytes alone; its headers are elsewhere.
struct Alone<W>(W);

impl<W: Within> Codec for Alone<W> {
    type Item = ValueAndHeaders<W::Item>;

    fn encode(&self, value: &Self::Item, out: &mut Vec<u8>) -> Result<Encoded> {
        self.0.ask(|codec| codec.encode(&value.value, out))
    }

    fn as_bytes<'a>(&self, value: &'a Self::Item) -> Option<&'a [u8]> {
        self.0.ask(|codec| codec.as_bytes(&value.value))
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<Self::Item> {
        Ok(ValueAndHeaders {
            value: self.0.ask(|codec| codec.decode(bytes))?,
            headers: Headers::NONE,
        })
    }

    fn is_null(&self, value: &Self::Item) -> bool {
        self.0.ask(|codec| codec.is_null(&value.value))
    }

    fn name(&self) -> String {
        self.0.ask(|codec| codec.name())
    }

    fn to_json(&self, bytes: Option<&[u8]>) -> Result<Value> {
        self.0.ask(|codec| codec.to_json(bytes))
    }

    fn from_json(&self, json: &Value, out: &mut Vec<u8>) -> Result<Encoded> {
        self.0.ask(|codec| codec.from_json(json, out))
    }
}

/// Where there is no other place, headers lie in front of the value; a null has a byte of its own,
/// since it may have headers.
pub struct Headed<W: Within> {
    within: W,
    apart: Serde<ValueAndHeaders<W::Item>>,
}

const NULL: u8 = 0;
const VALUE: u8 = 1;

impl<W: Within> Headed<W> {
    fn split<'a>(&self, bytes: Option<&'a [u8]>) -> Result<(Headers, Option<&'a [u8]>)> {
        let mut reader = Reader(bytes.ok_or_else(|| null(&self.name()))?);
        match (reader.headers(), reader.u8(), reader.0) {
            (Some(headers), Some(NULL), []) => Ok((headers, None)),
            (Some(headers), Some(VALUE), value) => Ok((headers, Some(value))),
            _ => Err(Error::deserialization("not a value behind its headers")),
        }
    }
}

impl<W: Within> Codec for Headed<W> {
    type Item = ValueAndHeaders<W::Item>;

    fn encode(&self, value: &Self::Item, out: &mut Vec<u8>) -> Result<Encoded> {
        put_headers(out, &value.headers);
        let kind = out.len();
        out.push(VALUE);
        if self.apart.encode(value, out)? == Encoded::Null {
            out[kind] = NULL;
        }
        Ok(Encoded::Bytes)
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<Self::Item> {
        let (headers, bytes) = self.split(bytes)?;
        let value = self.within.ask(|codec| codec.decode(bytes))?;
        Ok(ValueAndHeaders { value, headers })
    }

    /// A null is one with headers too: a table has no such row.
    fn is_null(&self, value: &Self::Item) -> bool {
        self.apart.is_null(value)
    }

    fn beside(&self) -> Option<&dyn Beside<Self::Item>> {
        Some(self)
    }

    fn name(&self) -> String {
        format!("with-headers<{}>", self.apart.codec().name())
    }

    fn to_json(&self, bytes: Option<&[u8]>) -> Result<Value> {
        self.apart.codec().to_json(self.split(bytes)?.1)
    }

    fn from_json(&self, json: &Value, out: &mut Vec<u8>) -> Result<Encoded> {
        put_headers(out, &Headers::NONE);
        let kind = out.len();
        out.push(VALUE);
        if self.apart.codec().from_json(json, out)? == Encoded::Null {
            out[kind] = NULL;
        }
        Ok(Encoded::Bytes)
    }
}

impl<W: Within> Beside<ValueAndHeaders<W::Item>> for Headed<W> {
    fn bytes(&self) -> Serde<ValueAndHeaders<W::Item>> {
        self.apart
    }

    fn headers<'a>(&self, value: &'a ValueAndHeaders<W::Item>) -> Option<&'a Headers> {
        Some(&value.headers)
    }

    fn put(&self, value: &mut ValueAndHeaders<W::Item>, headers: Headers) {
        value.headers = headers;
    }
}
