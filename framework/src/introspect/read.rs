//! Records of topics for people: those from an offset on, or the last ones. What came in one pack
//! is shown record by record, with one offset and its index among those that have it.
//!
//! Invariant: the last records have the newest among them, whatever pages the log hands out. A
//! cluster gives the rest of a page that it has given before, which ends where the topic ended
//! then.

use super::{Inspector, unavailable};
use millstream_core::{
    pack::unpack,
    record::{Offset, RawRecord, TopicPartition},
    topology::RecordFormat,
};
use millstream_http::{QueryError, ReadFrom, RecordPage, RecordView};
use millstream_log::{Error as LogError, Page, Result as LogResult};
use serde_json::Value;
use std::{collections::VecDeque, ops::Range, thread::park_timeout, time::Duration};

/// Bytes of a topic that are read at once.
const READ_BYTES: usize = 1 << 20;
/// Bytes that the last records come to at most: of large ones there are fewer than were asked for.
const LAST_BYTES: usize = 8 << 20;
/// A cluster marks the end of each transaction with an offset of its own, so that the last records
/// lie among twice as many offsets where every record is a transaction.
const OFFSETS_PER_RECORD: Offset = 2;
/// How often records that are there and do not come are asked for, and how long is waited between.
const READ_TRIES: usize = 100;
const READ_WAIT: Duration = Duration::from_millis(10);

/// Which records are wanted, at most so many. Who reads on gets no pack in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// The first ones; whoever wants more asks again.
    First(usize),
    /// Of all those up to the end the newest.
    Newest(usize),
}

impl Inspector {
    /// A page of records. Others may ask the log between its reads.
    pub(super) fn records(
        &self,
        at: &TopicPartition,
        from: ReadFrom,
        limit: usize,
    ) -> Result<RecordPage, QueryError> {
        let (topic, partition) = (&*at.topic, at.partition);
        if partition >= self.spec(topic)?.partitions {
            return Err(QueryError::UnknownPartition {
                topic: topic.to_owned(),
                partition,
            });
        }
        let bounds = self.with(|log| Ok((log.start(at)?, log.end(at)?)));
        let (start, end) = bounds.map_err(unavailable)?;
        let (first, wanted) = match from {
            ReadFrom::Offset(offset) => (offset, Wanted::First(limit)),
            ReadFrom::Last(records) => {
                let offsets = Offset::try_from(records).unwrap_or(Offset::MAX);
                let first = end.saturating_sub(offsets.saturating_mul(OFFSETS_PER_RECORD));
                (first, Wanted::Newest(records.min(limit)))
            }
        };
        let first = first.clamp(start, end);
        let read = |next| self.with(|log| log.read(at, next, READ_BYTES));
        let format = self.format(topic);
        let show = |place, record: RawRecord<'_>| view(at, place, record, format.as_deref());
        let (records, next) = match gather(first..end, wanted, read, show) {
            // The topic has forgotten them since it was asked where it begins.
            Err(LogError::OffsetOutOfRange { .. }) => (Vec::new(), first),
            gathered => gathered.map_err(unavailable)?,
        };
        Ok(RecordPage {
            records,
            next,
            start,
            end,
        })
    }
}

/// The wanted records of a stretch, and where to read on. A cluster's come a moment after they are
/// asked for first; what has not come by then is left out.
fn gather(
    stretch: Range<Offset>,
    wanted: Wanted,
    mut read: impl FnMut(Offset) -> LogResult<Page>,
    show: impl Fn((Offset, u32), RawRecord<'_>) -> RecordView,
) -> LogResult<(Vec<RecordView>, Offset)> {
    // Each with its bytes on the log.
    let mut found: VecDeque<(usize, RecordView)> = VecDeque::new();
    let (mut bytes, mut tries) = (0, READ_TRIES);
    let mut next = stretch.start;
    while next < stretch.end && tries > 0 {
        let mut page = read(next)?;
        if let Wanted::First(most) = wanted {
            cut(&mut page, most);
        }
        let mut before = None;
        for (offset, record) in unpack(page.records.clone()).iter() {
            let index = match before {
                Some((of, index)) if of == offset => index + 1,
                _ => 0,
            };
            before = Some((offset, index));
            // Nobody could read on amid a pack.
            if matches!(wanted, Wanted::First(most) if found.len() >= most) && index == 0 {
                return Ok((views(found), offset));
            }
            let size = bytes_of(&record);
            bytes += size;
            found.push_back((size, show((offset, index), record)));
            if let Wanted::Newest(most) = wanted {
                while found.len() > most || bytes > LAST_BYTES && found.len() > 1 {
                    bytes -= found.pop_front().map_or(bytes, |(size, _)| size);
                }
            }
        }
        if page.records.is_empty() && page.next <= next {
            tries -= 1;
            park_timeout(READ_WAIT);
        }
        next = page.next.max(next);
        if matches!(wanted, Wanted::First(_)) && !found.is_empty() {
            break;
        }
    }
    Ok((views(found), next))
}

/// Leaves the first records of the log in a page: so many have as many records in them, or more.
fn cut(page: &mut Page, most: usize) {
    let records = &mut page.records;
    let end = records.range.start.saturating_add(most);
    if end < records.range.end {
        page.next = records.batch.offset(end);
        records.range.end = end;
    }
}

fn bytes_of(record: &RawRecord<'_>) -> usize {
    let of = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    of(record.key) + of(record.value)
}

fn views(found: VecDeque<(usize, RecordView)>) -> Vec<RecordView> {
    found.into_iter().map(|(_, view)| view).collect()
}

fn view(
    at: &TopicPartition,
    (offset, index): (Offset, u32),
    record: RawRecord<'_>,
    format: Option<&dyn RecordFormat>,
) -> RecordView {
    let hex = |bytes: Option<&[u8]>| match bytes {
        Some(bytes) => Value::String(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        None => Value::Null,
    };
    let shown = |bytes, show: &dyn Fn(&dyn RecordFormat) -> millstream_core::Result<Value>| {
        format
            .and_then(|format| show(format).ok())
            .unwrap_or_else(|| hex(bytes))
    };
    RecordView {
        partition: at.partition,
        offset,
        index,
        timestamp: record.timestamp,
        key: shown(record.key, &|format| format.show_key(record.key)),
        value: shown(record.value, &|format| format.show_value(record.value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_core::{
        batch::{RecordBatch, Records},
        pack::Pack,
        record::Headers,
    };
    use std::sync::Arc;

    /// A topic of numbers, read as a cluster's is: a reader gets the rest of the last page while it
    /// asks for what was in that.
    struct Paged {
        end: Offset,
        most: Offset,
        page: Range<Offset>,
        /// So many times a page is still on its way.
        late: usize,
    }

    fn number(offset: Offset) -> RecordView {
        RecordView {
            partition: 0,
            offset,
            index: 0,
            timestamp: offset,
            key: Value::Null,
            value: Value::Null,
        }
    }

    impl Paged {
        fn new(end: Offset, most: Offset) -> Self {
            let page = 0..0;
            Self {
                end,
                most,
                page,
                late: 0,
            }
        }

        fn read(&mut self, from: Offset) -> Page {
            let is_late = self.late > 0;
            self.late = self.late.saturating_sub(1);
            if !self.page.contains(&from) && !is_late {
                self.page = from..self.end.min(from + self.most);
            }
            let mut batch = RecordBatch::new();
            let stretch = if is_late {
                from..from
            } else {
                from..self.page.end
            };
            for offset in stretch.clone() {
                let value = vec![b'0'; usize::try_from(offset).unwrap()];
                let record = RawRecord {
                    key: None,
                    value: Some(&value),
                    timestamp: offset,
                    headers: &Headers::NONE,
                };
                assert!(batch.push(offset, record));
            }
            Page {
                records: Records::all(Arc::new(batch)),
                next: stretch.end,
                // What is known of the end may be old.
                end: self.page.end,
            }
        }

        fn offsets(&mut self, from: Offset, wanted: Wanted) -> (Vec<Offset>, Offset) {
            let (stretch, read) = (from..self.end, |next| Ok(self.read(next)));
            let show = |(offset, _), _: RawRecord<'_>| number(offset);
            let (records, next) = gather(stretch, wanted, read, show).unwrap();
            let offsets = records.iter().map(|record| record.offset);
            (offsets.collect(), next)
        }
    }

    #[test]
    fn the_last_records_have_those_that_came_since_the_page_they_begin_in() {
        let mut topic = Paged::new(50, 100);
        let all = topic.offsets(0, Wanted::Newest(50));
        assert_eq!(all, ((0..50).collect(), 50));
        topic.end = 52;
        let last = topic.offsets(42, Wanted::Newest(5));
        assert_eq!(last, (vec![47, 48, 49, 50, 51], 52));
    }

    #[test]
    fn the_last_records_are_waited_for_and_may_lie_in_many_pages() {
        let mut topic = Paged::new(30, 3);
        topic.late = 2;
        let last = topic.offsets(10, Wanted::Newest(10));
        assert_eq!(last, ((20..30).collect(), 30));
        assert_eq!(topic.offsets(30, Wanted::Newest(10)), (vec![], 30));
    }

    #[test]
    fn of_large_records_there_are_as_many_as_may_be_held_and_the_newest() {
        let size = Offset::try_from(LAST_BYTES / 4).unwrap();
        let mut topic = Paged::new(size + 6, 2);
        let last = topic.offsets(size, Wanted::Newest(5));
        assert_eq!(last, ((size + 3..size + 6).collect(), size + 6));
        // One is always shown.
        let mut topic = Paged::new(5 * size, 1);
        let last = topic.offsets(5 * size - 2, Wanted::Newest(5));
        assert_eq!(last, (vec![5 * size - 1], 5 * size));
    }

    #[test]
    fn who_reads_from_an_offset_on_is_told_where_to_go_on() {
        let mut topic = Paged::new(50, 10);
        assert_eq!(topic.offsets(20, Wanted::First(3)), (vec![20, 21, 22], 23));
        // The rest of a page is enough.
        let rest = topic.offsets(23, Wanted::First(30));
        assert_eq!(rest, ((23..30).collect(), 30));
    }

    #[test]
    fn what_never_comes_is_not_waited_for_for_ever() {
        let mut topic = Paged::new(50, 10);
        topic.late = usize::MAX;
        assert_eq!(topic.offsets(20, Wanted::First(3)), (vec![], 20));
        assert_eq!(topic.late, usize::MAX - READ_TRIES);
    }

    #[test]
    fn marks_are_passed_over_and_are_no_records() {
        // A record at each even offset, a mark at each odd one; a page without a record is at the
        // end of all marks.
        let mut topic = Paged::new(98, 1);
        let read = |from: Offset| {
            let at = from + from % 2;
            let mut page = topic.read(at);
            if at == 98 {
                page.next = 99;
            }
            Ok(page)
        };
        let show =
            |place, record: RawRecord<'_>| view(&TopicPartition::new("t", 0), place, record, None);
        let (records, next) = gather(80..99, Wanted::Newest(4), read, show).unwrap();
        let offsets: Vec<_> = records.iter().map(|record| record.offset).collect();
        assert_eq!((offsets, next), (vec![90, 92, 94, 96], 99));
    }

    #[test]
    fn a_pack_is_shown_record_by_record_and_whole_to_who_reads_on() {
        let mut batch = RecordBatch::new();
        let mut pack = Pack::default();
        for (offset, values) in [(0, 0..1), (1, 1..4), (3, 4..5)] {
            for timestamp in values {
                pack.push(RawRecord {
                    key: None,
                    value: Some(b"value"),
                    timestamp,
                    headers: &Headers::NONE,
                });
            }
            let sent = pack.empty(|record| batch.push(offset, record).then_some(()).ok_or(()));
            assert_eq!(sent, Ok(()));
        }
        let records = Records::all(Arc::new(batch));
        let read = |from: Offset| {
            let mut records = records.clone();
            records.range.start = records.batch.position_of(from);
            let (next, end) = (4, 4);
            Ok(Page { records, next, end })
        };
        let show = |(offset, index), record: RawRecord<'_>| RecordView {
            index,
            timestamp: record.timestamp,
            ..number(offset)
        };
        let gathered = |from, wanted| {
            let (views, next) = gather(from..4, wanted, read, show).unwrap();
            let shown = views
                .iter()
                .map(|view| (view.offset, view.index, view.timestamp));
            (shown.collect::<Vec<_>>(), next)
        };
        let (whole, last) = ([(0, 0, 0), (1, 0, 1), (1, 1, 2), (1, 2, 3)], (3, 0, 4));
        for limit in 2..=4 {
            assert_eq!(gathered(0, Wanted::First(limit)), (whole.to_vec(), 3));
        }
        assert_eq!(gathered(0, Wanted::First(1)), (whole[..1].to_vec(), 1));
        assert_eq!(gathered(3, Wanted::First(9)), (vec![last], 4));
        assert_eq!(gathered(0, Wanted::Newest(2)), (vec![(1, 2, 3), last], 4));
    }
}
