//! One input partition of a task: what was fetched and not processed, and how far processing came.

use super::{
    Place,
    ahead::{Looking, Stores},
    extract::{Extractor, Head},
    lost::Lost,
    place::Spot,
    reset::OffsetReset,
};
use crate::{
    batch::Records,
    link::RawPush,
    pack::{self, PACK_RECORDS},
    record::{Offset, Timestamp},
};
use std::collections::VecDeque;

/// Whether more records may be waiting on the log than are queued here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supply {
    /// The log may have more: a task with several inputs waits for them, to keep timestamp order.
    Unknown,
    /// The queue holds all that the log has.
    Exhausted,
}

/// A partition's queue. Invariant: records leave it in offset order, each once, and `next` is the
/// offset of its head, or of the record to come; records of a pack have one offset.
pub(super) struct Input {
    /// The name of its first source: by it goes what is wrong with a record that none of them saw.
    pub(super) name: String,
    pub(super) pushes: Vec<RawPush>,
    pub(super) reset: OffsetReset,
    /// Where it began in this task's life, if that was not at a committed place.
    pub(super) begun: Option<Offset>,
    /// The same, where no place was committed, whatever its source says of beginning.
    pub(super) first: Option<Offset>,
    pub(super) lost: Lost,
    pub(super) next: Offset,
    pub(super) time: Timestamp,
    pub(super) supply: Supply,
    /// Whether the log is known to have records that are not queued yet.
    pub(super) more: bool,
    pub(super) moved: bool,
    /// Whether its records come in packs.
    packed: bool,
    /// How many a record of the log is reckoned to have, rather too many than too few.
    pack: usize,
    /// How many of the records at `next` have been processed: those of a pack have one offset.
    taken: u32,
    /// Where times come from if not from the log, and that of the first record.
    extractor: Option<Extractor>,
    head: Option<Head>,
    looking: Looking,
    queue: VecDeque<Records>,
    queued: usize,
    /// The offset after the last record that was queued.
    end: Offset,
}

impl Input {
    pub(super) fn new(
        name: &str,
        pushes: Vec<RawPush>,
        reset: OffsetReset,
        extractor: Option<Extractor>,
        packed: bool,
    ) -> Self {
        Self {
            name: name.to_owned(),
            pushes,
            reset,
            begun: None,
            first: None,
            lost: Lost::default(),
            next: 0,
            time: Timestamp::MIN,
            supply: Supply::Unknown,
            more: false,
            moved: false,
            packed,
            pack: if packed { PACK_RECORDS } else { 1 },
            taken: 0,
            extractor,
            head: None,
            looking: Looking::default(),
            queue: VecDeque::new(),
            queued: 0,
            end: 0,
        }
    }

    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    /// Where the first one of these lies, which are the next.
    #[inline]
    pub(super) fn spot(&self, records: &Records) -> Spot {
        Spot {
            offset: records.batch.offset(records.range.start),
            index: self.taken,
        }
    }

    /// Where it is, as a commit says it.
    pub(super) fn place(&self) -> Place {
        Place {
            offset: self.next,
            partition_time: self.time,
            taken: self.taken,
        }
    }

    /// Records below `end` were processed or queued before: a log may hand out a whole batch again.
    pub(super) fn add(&mut self, mut records: Records) {
        let known = records.batch.position_of(self.end);
        records.range.start = records.range.start.max(known);
        if !records.is_empty() {
            self.end = records.batch.offset(records.range.end - 1) + 1;
            if self.packed {
                let packs = records.len();
                records = pack::unpack(records);
                // Down by halves: a full pack may follow single records.
                self.pack = records.len().div_ceil(packs).max(self.pack / 2);
                if self.taken > 0 && self.queued == 0 {
                    self.skip_taken(&mut records);
                }
            }
            self.queued += records.len();
            self.queue.push_back(records);
        }
    }

    /// After a start amid a pack: what was processed of it is not processed again. Where it is not
    /// there any more, or cannot be read any more, nothing was.
    #[cold]
    fn skip_taken(&mut self, records: &mut Records) {
        let rest = records.range.start + self.taken as usize;
        if rest < records.range.end && records.batch.offset(rest) == self.next {
            records.range.start = rest;
        } else {
            self.taken = 0;
        }
    }

    /// How many records of the log are wanted, so that about `most` are queued.
    pub(super) fn wanted(&self, most: usize) -> usize {
        most.saturating_sub(self.queued).div_ceil(self.pack)
    }

    /// The offset after all that was processed or queued.
    pub(super) fn reach(&self) -> Offset {
        self.end.max(self.next)
    }

    /// There are no records below `offset`: with nothing queued, the next one is there or after.
    pub(super) fn pass(&mut self, offset: Offset) {
        if self.queued == 0 && offset > self.next {
            (self.next, self.taken) = (offset, 0);
            self.end = self.end.max(offset);
            self.moved = true;
        }
    }

    /// When the next record has its turn; `None` where there is none.
    #[inline]
    pub(super) fn turn(&mut self, wall_clock: Timestamp) -> Option<Timestamp> {
        let first = self.queue.front()?;
        if self.extractor.is_none() {
            return Some(first.batch.timestamp(first.range.start));
        }
        self.extract(wall_clock);
        self.head.as_ref().map(Head::turn)
    }

    /// Whether the queue has a record.
    #[inline]
    pub(super) fn is_waiting(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The time of the first record where times do not come from the log; `None` where they do.
    #[inline]
    pub(super) fn take_time(&mut self, wall_clock: Timestamp) -> Option<Head> {
        self.extractor.as_ref()?;
        self.extract(wall_clock);
        self.head.take()
    }

    #[cold]
    fn extract(&mut self, wall_clock: Timestamp) {
        if let (Some(extractor), None, Some(first)) =
            (&mut self.extractor, &self.head, self.queue.front())
        {
            let index = first.range.start;
            let (offset, raw) = (first.batch.offset(index), first.batch.get(index));
            let head = extractor.head(offset, raw, (self.time, wall_clock));
            self.head = Some(head);
        }
    }

    /// Takes the head's stretch of batch out of the queue, for [`Input::put_back`] after its first
    /// record was processed: moving it costs less than counting a reference per record.
    #[inline]
    pub(super) fn take_head(&mut self, stores: &mut Stores) -> Option<Records> {
        let records = self.queue.pop_front()?;
        self.looking.next(&records, stores);
        Some(records)
    }

    /// Puts a stretch back whose first record was processed, and moves on.
    #[inline]
    pub(super) fn put_back(&mut self, mut records: Records) {
        self.queued -= 1;
        let (offset, taken) = (records.batch.offset(records.range.start), self.taken);
        records.range.start += 1;
        self.moved = true;
        (self.next, self.taken) = (offset + 1, 0);
        if !records.is_empty() {
            if records.batch.offset(records.range.start) == offset {
                (self.next, self.taken) = (offset, taken + 1);
            }
            self.queue.push_front(records);
        }
    }

    /// Forgets what was fetched: the next record is the one at a place.
    pub(super) fn rewind(&mut self, place: Place) {
        self.queue.clear();
        self.looking = Looking::default();
        self.head = None;
        self.queued = 0;
        (self.next, self.taken) = (place.offset, place.taken);
        self.end = place.offset;
        self.time = place.partition_time;
        self.supply = Supply::Unknown;
        self.moved = false;
    }
}
