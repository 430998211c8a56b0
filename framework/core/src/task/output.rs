//! What a task has made for one topic, until it is sent.

use crate::{
    batch::RecordBatch,
    error::{Error, Result},
    pack,
    record::{Partition, RawRecord, wire_size},
};
use std::sync::Arc;

/// The place of an output topic in a task's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutputId(pub(super) usize);

/// Records that a task made for one topic, in order. The key chooses the partition, unless the
/// program did.
pub struct Output {
    /// The topic's full name.
    pub topic: Arc<str>,
    /// The records.
    pub records: RecordBatch,
    /// Whether they go as packs, as they do between two tasks ([`pack`](crate::pack)).
    pub packed: bool,
    /// How large one may be, as [`wire_size`] reckons.
    pub bytes_max: usize,
    /// Partitions that the program chose: places among the records, growing, and what for them.
    pub(super) chosen: Vec<(usize, Partition)>,
    /// How many partitions the topic has, once it was asked.
    pub(super) partitions: Option<Partition>,
}

impl Output {
    /// The records, each with the partition that the program chose for it; `None` leaves it to the
    /// key.
    pub fn placed(&self) -> impl Iterator<Item = (Option<Partition>, RawRecord<'_>)> {
        let mut chosen = self.chosen.iter().peekable();
        let records = self.records.iter().enumerate();
        records.map(move |(index, (_, record))| {
            let to = chosen.next_if(|(at, _)| *at == index);
            (to.map(|(_, partition)| *partition), record)
        })
    }

    /// Forgets the records, when they have been sent, and keeps the memory.
    pub fn clear(&mut self) {
        self.records.clear();
        self.chosen.clear();
    }

    /// Takes the last record out again where it is too large.
    #[inline]
    pub(super) fn check_last(&mut self) -> Result<()> {
        if self.bytes_max == usize::MAX {
            return Ok(());
        }
        let last = self.records.len().saturating_sub(1);
        let record = self.records.get(last);
        let more = usize::from(self.packed && pack::must_be_packed(record)) * pack::OVERHEAD;
        let size = wire_size(record) + more;
        if size <= self.bytes_max {
            return Ok(());
        }
        self.records.remove_last();
        Err(self.too_large(size))
    }

    #[cold]
    fn too_large(&self, size: usize) -> Error {
        let (topic, most) = (&self.topic, self.bytes_max);
        Error::record_too_large(format!(
            "the record for {topic} has {size} bytes as it is sent, which is more than the {most} \
             that max.request.size or the sink allow"
        ))
    }
}
