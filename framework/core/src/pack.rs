//! Packs: many records of one partition as one record of the log.
//!
//! What a record costs a log's client hardly depends on its size, and between two tasks of a
//! program records are many and small. So what a step sends to one partition of a repartition topic
//! goes as packs, and whoever reads such a topic takes them apart. A pack is known by its only
//! header, so that others may lie between; one record alone stays what it is.
//!
//! Layout, version 1: the version byte; then each record as the difference to the timestamp before
//! and its parts ([`wire::put_parts`]).
//!
//! Invariant: no record depends on those that came with it. A task processes each in its own time,
//! and a commit may be amid a pack: its place says how much of the pack at its offset is done
//! ([`Place::taken`](crate::task::Place)).

use crate::{
    batch::{RecordBatch, Records},
    record::{Headers, RawRecord, Timestamp, wire_size},
    wire::{self, Reader},
};
use std::sync::{Arc, LazyLock};

/// The header that a pack has, without a value.
const HEADER: &str = "millstream.pack";
const VERSION: u8 = 1;

/// A pack has no more bytes than this, but for a record that is larger alone: by then what it costs
/// by itself is little beside them.
const PACK_BYTES: usize = 16 << 10;
/// And not more than so many records: a task that waits for one record has all of them in memory.
pub(crate) const PACK_RECORDS: usize = 128;

static HEADERS: LazyLock<Headers> = LazyLock::new(|| {
    let mut headers = Headers::NONE;
    headers.push(HEADER, None);
    headers
});

/// What a record that goes as a pack of its own has at most besides what it has by itself.
pub(crate) const OVERHEAD: usize = 64;

/// A pack being filled.
#[derive(Default)]
pub struct Pack {
    bytes: Vec<u8>,
    records: usize,
    /// Of the record before.
    timestamp: Timestamp,
    newest: Timestamp,
}

impl Pack {
    /// Whether it may take a record in beside those that it has, where a record of the log may have
    /// `bytes_max` bytes as [`wire_size`] reckons. What is empty takes any, which then goes alone.
    #[inline]
    pub fn has_room(&self, record: RawRecord<'_>, bytes_max: usize) -> bool {
        // What a record has when it is sent alone is more than it has in here.
        let size = self.bytes.len() + wire_size(record) + OVERHEAD;
        self.records < PACK_RECORDS && size <= PACK_BYTES.min(bytes_max)
    }

    /// Takes a record in.
    #[inline]
    pub fn push(&mut self, record: RawRecord<'_>) {
        if self.records == 0 {
            self.bytes.push(VERSION);
            (self.timestamp, self.newest) = (0, record.timestamp);
        }
        let since = record.timestamp.wrapping_sub(self.timestamp);
        wire::put_zigzag(&mut self.bytes, since);
        wire::put_parts(&mut self.bytes, record);
        self.records += 1;
        self.timestamp = record.timestamp;
        self.newest = self.newest.max(record.timestamp);
    }

    /// Empties it into what sends records, if there is anything in it: as one record of the log,
    /// which has the newest one's time. One record alone goes as it came.
    ///
    /// # Errors
    /// Those of `send`; it is empty all the same.
    pub fn empty<E>(&mut self, send: impl FnOnce(RawRecord<'_>) -> Result<(), E>) -> Result<(), E> {
        let pack = RawRecord {
            key: None,
            value: Some(&self.bytes),
            timestamp: self.newest,
            headers: &HEADERS,
        };
        let alone = (self.records == 1).then(|| only(&self.bytes)).flatten();
        let alone = alone.as_ref().map(|parts| parts.at(self.newest));
        let sent = match alone.filter(|record| !must_be_packed(*record)) {
            Some(record) => send(record),
            None if self.records == 0 => Ok(()),
            None => send(pack),
        };
        self.clear();
        sent
    }

    /// Forgets the records and keeps the memory, as far as the next ones may need it.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(PACK_BYTES);
        self.records = 0;
    }
}

/// The first record in a pack.
fn only(pack: &[u8]) -> Option<wire::Parts<'_>> {
    let mut reader = Reader(pack);
    reader.u8()?;
    reader.zigzag()?;
    reader.parts()
}

/// Whether a record of a log is a pack, or looks like one by what somebody else has given it: then
/// it can only go as a pack of its own.
#[inline]
pub fn is_pack(record: RawRecord<'_>) -> bool {
    record.headers.iter().any(|header| header.name == HEADER)
}

/// Whether even alone a record goes as a pack: it looks like one, or has the time 0, which a log's
/// client takes for no time at all.
#[inline]
pub(crate) fn must_be_packed(record: RawRecord<'_>) -> bool {
    record.timestamp == 0 || is_pack(record)
}

/// Takes the packs among the records apart. What was in one pack has its offset. A pack that cannot
/// be read stays as it is; a task refuses it.
pub fn unpack(records: Records) -> Records {
    if !records.iter().any(|(_, record)| is_pack(record)) {
        return records;
    }
    let mut batch = RecordBatch::new();
    for (offset, record) in records.iter() {
        let before = batch.len();
        let read = is_pack(record).then(|| read(record, |inner| batch.push(offset, inner)));
        if let Some(Some(())) = read {
            continue;
        }
        batch.truncate(before);
        // Keys and values have been in one batch before, and packs have only added to them.
        assert!(
            batch.push(offset, record),
            "a batch holds what one has held"
        );
        if read.is_some() {
            batch.mark_broken();
        }
    }
    Records::all(Arc::new(batch))
}

fn read(pack: RawRecord<'_>, mut take: impl FnMut(RawRecord<'_>) -> bool) -> Option<()> {
    let mut reader = Reader(pack.value?);
    if reader.u8()? != VERSION || reader.0.is_empty() {
        return None;
    }
    let mut timestamp: Timestamp = 0;
    while !reader.0.is_empty() {
        timestamp = timestamp.wrapping_add(reader.zigzag()?);
        if !take(reader.parts()?.at(timestamp)) {
            return None;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Header;
    use proptest::prelude::*;

    type Row = (
        i64,
        Option<Vec<u8>>,
        Option<Vec<u8>>,
        Vec<(String, Option<Vec<u8>>)>,
    );

    fn row() -> impl Strategy<Value = Row> {
        let headers = prop::collection::vec(any::<(String, Option<Vec<u8>>)>(), 0..3);
        (
            any::<i64>(),
            any::<Option<Vec<u8>>>(),
            any::<Option<Vec<u8>>>(),
            headers,
        )
    }

    fn headers((.., headers): &Row) -> Headers {
        let header = |(name, value): &(String, Option<Vec<u8>>)| Header {
            name: name.clone(),
            value: value.clone(),
        };
        headers.iter().map(header).collect()
    }

    fn with<T>(row: &Row, then: impl FnOnce(RawRecord<'_>) -> T) -> T {
        then(RawRecord {
            key: row.1.as_deref(),
            value: row.2.as_deref(),
            timestamp: row.0,
            headers: &headers(row),
        })
    }

    fn rows_of(records: &Records) -> Vec<(i64, Row)> {
        let row = |(offset, record): (i64, RawRecord<'_>)| {
            let headers = record.headers.iter();
            let headers = headers.map(|header| (header.name.clone(), header.value.clone()));
            let (key, value) = (
                record.key.map(<[u8]>::to_vec),
                record.value.map(<[u8]>::to_vec),
            );
            (offset, (record.timestamp, key, value, headers.collect()))
        };
        records.iter().map(row).collect()
    }

    /// What a log has of what was packed.
    fn sent(packs: &[&[Row]]) -> RecordBatch {
        let (mut batch, mut pack) = (RecordBatch::new(), Pack::default());
        for (rows, offset) in packs.iter().zip(7..) {
            for row in *rows {
                with(row, |record| pack.push(record));
            }
            let taken: Result<(), bool> =
                pack.empty(|record| batch.push(offset, record).then_some(()).ok_or(false));
            assert_eq!(taken, Ok(()));
        }
        batch
    }

    proptest! {
        #[test]
        fn records_come_out_as_they_went_in(
            one in prop::collection::vec(row(), 1..5),
            other in prop::collection::vec(row(), 1..5),
        ) {
            let batch = sent(&[&one, &other]);
            prop_assert_eq!(batch.len(), 2);
            prop_assert_eq!(one.len() > 1 || one[0].0 == 0, is_pack(batch.get(0)));
            let newest = one.iter().map(|row| row.0).max();
            prop_assert_eq!(Some(batch.get(0).timestamp), newest);
            let expected: Vec<_> = (one.into_iter().map(|row| (7, row)))
                .chain(other.into_iter().map(|row| (8, row)))
                .collect();
            let records = unpack(Records::all(Arc::new(batch)));
            prop_assert_eq!(rows_of(&records), expected);
        }

        #[test]
        fn a_pack_that_had_room_is_not_too_large(
            rows in prop::collection::vec(row(), 1..40),
            bytes_max in 100..2_000_usize,
        ) {
            let (mut pack, mut packed) = (Pack::default(), 0);
            for row in &rows {
                with(row, |record| {
                    if packed > 0 && !pack.has_room(record, bytes_max) {
                        return;
                    }
                    pack.push(record);
                    packed += 1;
                });
            }
            let sent: Result<(), usize> = pack.empty(|record| match wire_size(record) {
                size if packed == 1 || size <= bytes_max => Ok(()),
                size => Err(size),
            });
            prop_assert_eq!(sent, Ok(()));
        }

        #[test]
        fn what_is_no_pack_is_marked_and_kept(
            rows in prop::collection::vec(row(), 2..5),
            cut: prop::sample::Index,
        ) {
            let whole = sent(&[&rows]);
            let mut batch = RecordBatch::new();
            let bytes = whole.get(0).value.unwrap();
            let cut = &bytes[..cut.index(bytes.len())];
            let broken = RawRecord { value: Some(cut), ..whole.get(0) };
            prop_assert!(batch.push(7, whole.get(0)) && batch.push(8, broken));
            let records = unpack(Records::all(Arc::new(batch)));
            let last = records.batch.len() - 1;
            // Cut between two records it is a shorter pack; nobody cuts there but this test.
            if records.batch.is_broken(last) {
                prop_assert_eq!(records.batch.get(last), broken);
                prop_assert_eq!(records.batch.offset(last), 8);
                prop_assert_eq!(records.len(), rows.len() + 1);
            } else {
                prop_assert!(records.len() < 2 * rows.len() && records.len() > rows.len());
            }
        }
    }

    #[test]
    fn what_no_log_would_give_back_as_it_was_goes_as_a_pack_even_alone() {
        let packed = || vec![(HEADER.to_owned(), None)];
        let looks = |value| -> Row { (5, None, value, packed()) };
        for row in [
            looks(None),
            looks(Some(vec![])),
            looks(Some(vec![VERSION])),
            looks(Some(vec![VERSION, 0, 0, 0, 0])),
            // To librdkafka this is no time.
            (0, Some(vec![7]), Some(vec![8]), vec![]),
        ] {
            let batch = sent(&[std::slice::from_ref(&row)]);
            with(&row, |record| {
                assert!(wire_size(batch.get(0)) <= wire_size(record) + OVERHEAD);
            });
            let records = unpack(Records::all(Arc::new(batch)));
            assert_eq!(rows_of(&records), [(7, row)]);
        }
    }

    #[test]
    fn other_versions_and_empty_packs_are_broken() {
        for value in [
            None,
            Some(&[][..]),
            Some(&[VERSION]),
            Some(&[VERSION + 1, 0, 0, 0, 0]),
        ] {
            let mut batch = RecordBatch::new();
            let headers = &HEADERS;
            let (key, timestamp) = (None, 3);
            assert!(batch.push(
                1,
                RawRecord {
                    key,
                    value,
                    timestamp,
                    headers
                }
            ));
            let records = unpack(Records::all(Arc::new(batch)));
            assert!(records.batch.is_broken(0), "{value:?}");
        }
    }
}
