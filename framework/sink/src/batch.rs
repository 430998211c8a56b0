//! One step's worth of records: decoded into values, with the way back to the bytes of each.

use crate::{
    row::{Column, Row},
    value::Values,
};
use millstream_core::{
    batch::Records,
    record::{Headers, Offset, RawRecord, Timestamp, TopicPartition},
    topic::Topic,
};
use std::sync::Arc;

/// What is known of a record beside its key and value.
#[derive(Clone, Copy, Debug)]
pub struct RecordMeta<'a> {
    /// The partition it was read from.
    pub partition: &'a TopicPartition,
    /// Its place there.
    pub offset: Offset,
    /// When it happened.
    pub timestamp: Timestamp,
    /// Its headers.
    pub headers: &'a Headers,
}

/// Why a record has no row: the name goes into the header `exception`, the rest into `message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) exception: &'static str,
    pub(crate) message: String,
}

/// Turns a record into values; `false` where the program wants no row for it.
pub(crate) type Decode =
    Box<dyn Fn(RawRecord<'_>, &RecordMeta<'_>, &mut Values) -> Result<bool, Refusal> + Send>;

/// Erases the types: from here on a sink knows only bytes and values.
pub(crate) fn decoder<K: 'static, V: 'static, R: Row, O: Into<Option<R>>>(
    topic: Topic<K, V>,
    row: impl Fn(&K, &V, &RecordMeta<'_>) -> O + Send + 'static,
) -> Decode {
    let refuse = |exception, part: &str, error: &dyn std::fmt::Display| Refusal {
        exception,
        message: format!("{part}: {error}"),
    };
    let (of_keys, of_values) = (topic.key, topic.value.apart());
    Box::new(move |record, meta, values| {
        let undecodable = |part, error| refuse("DeserializationException", part, &error);
        let key = of_keys
            .decode(record.key)
            .map_err(|error| undecodable("key", error))?;
        let value = of_values
            .decode(record.value, record.headers)
            .map_err(|error| undecodable("value", error))?;
        let Some(row) = row(&key, &value, meta).into() else {
            return Ok(false);
        };
        values.push(meta.partition.partition).push(meta.offset);
        row.bind(values);
        values
            .end_row()
            .map_err(|problem| refuse("DataException", "row", &problem))?;
        Ok(true)
    })
}

/// A record of the batch: which page, which place in the page's memory.
pub(crate) type Origin = (usize, usize);

/// What one transaction will write.
pub(crate) struct Batch {
    pub(crate) values: Values,
    /// Where each row of `values` came from.
    pub(crate) origins: Vec<Origin>,
    /// Records that become dead letters.
    pub(crate) refused: Vec<(Origin, Refusal)>,
    /// Which place (by number) moves whereto.
    pub(crate) moves: Vec<(usize, Offset)>,
    pages: Vec<(TopicPartition, Records)>,
    pub(crate) records: usize,
    pub(crate) bytes: usize,
    pub(crate) skipped: u64,
    /// How many offsets were gone before a place (by number) came to them.
    pub(crate) lost: Vec<(usize, u64)>,
}

impl Batch {
    pub(crate) fn new(columns: Arc<[Column]>) -> Self {
        Self {
            values: Values::new(columns),
            origins: Vec::new(),
            refused: Vec::new(),
            moves: Vec::new(),
            pages: Vec::new(),
            records: 0,
            bytes: 0,
            skipped: 0,
            lost: Vec::new(),
        }
    }

    /// Forgets everything and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.values.clear();
        self.origins.clear();
        self.refused.clear();
        self.moves.clear();
        self.pages.clear();
        self.lost.clear();
        (self.records, self.bytes, self.skipped) = (0, 0, 0);
    }

    /// Decodes a page of one partition.
    pub(crate) fn add(&mut self, partition: &TopicPartition, records: Records, decode: &Decode) {
        let page = self.pages.len();
        for index in records.range.clone() {
            let record = records.batch.get(index);
            let meta = RecordMeta {
                partition,
                offset: records.batch.offset(index),
                timestamp: record.timestamp,
                headers: record.headers,
            };
            let size = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
            self.bytes += size(record.key) + size(record.value);
            match decode(record, &meta, &mut self.values) {
                Ok(true) => self.origins.push((page, index)),
                Ok(false) => self.skipped += 1,
                Err(refusal) => self.refused.push(((page, index), refusal)),
            }
        }
        self.records += records.len();
        self.pages.push((partition.clone(), records));
    }

    /// The partition, offset and bytes of a record.
    pub(crate) fn record(&self, (page, index): Origin) -> (&TopicPartition, Offset, RawRecord<'_>) {
        let (partition, records) = &self.pages[page];
        (
            partition,
            records.batch.offset(index),
            records.batch.get(index),
        )
    }
}
