//! The times of a partition's records where they are not those of the log.
//!
//! A record's time is wanted as soon as it is the first of its queue, since the first of all queues
//! goes next. Invariant: it is extracted once, and forgotten when the record has been processed or
//! the queue goes back.

use super::{ErrorReason, TaskContext};
use crate::{
    error::{Error, Result},
    record::{Offset, RawRecord, Timestamp},
};

/// What becomes of a record whose time is negative. Kafka's stock timestamp extractors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidTimestamp {
    /// The thread stops at the record, whatever the source's error policy. Kafka's
    /// `FailOnInvalidTimestamp`.
    Fail,
    /// The record is dropped and counted. Kafka's `LogAndSkipOnInvalidTimestamp`.
    Skip,
    /// The record has the greatest time that its partition had so far; a first record stops the
    /// thread. Kafka's `UsePartitionTimeOnInvalidTimestamp`.
    UsePartitionTime,
}

/// What is known of a record without decoding it.
#[derive(Clone, Copy)]
pub(crate) struct Given {
    /// Its time on the log.
    pub(crate) record: Timestamp,
    /// What time it is.
    pub(crate) wall_clock: Timestamp,
}

/// Says the time of the record at an offset.
pub(crate) type ReadTime = Box<dyn FnMut(Offset, RawRecord<'_>, Given) -> Result<Timestamp>>;

/// Where the times of a topic's records come from.
pub(crate) struct Extractor {
    pub(crate) time: ReadTime,
    pub(crate) invalid: Option<InvalidTimestamp>,
}

/// The time of a queue's first record.
pub(super) enum Head {
    /// It has this time.
    At(Timestamp),
    /// It is dropped: its time is this negative one, or its partition had none to lend it.
    Invalid(Timestamp, InvalidTimestamp),
    /// It is bytes that nobody can read.
    Unreadable(Error),
}

impl Head {
    /// When it is its turn: what cannot be processed holds nobody up.
    pub(super) fn turn(&self) -> Timestamp {
        match self {
            Self::At(time) => *time,
            Self::Invalid(..) | Self::Unreadable(_) => Timestamp::MIN,
        }
    }
}

impl Extractor {
    pub(super) fn head(
        &mut self,
        offset: Offset,
        raw: RawRecord<'_>,
        (partition_time, wall_clock): (Timestamp, Timestamp),
    ) -> Head {
        let record = raw.timestamp;
        match (self.time)(offset, raw, Given { record, wall_clock }) {
            Err(error) => Head::Unreadable(error),
            Ok(time) if time >= 0 => Head::At(time),
            Ok(time) => match self.invalid {
                Some(InvalidTimestamp::UsePartitionTime) if partition_time >= 0 => {
                    Head::At(partition_time)
                }
                Some(InvalidTimestamp::Skip) => Head::Invalid(time, InvalidTimestamp::Skip),
                Some(_) => Head::Invalid(time, InvalidTimestamp::Fail),
                // The task answers it as it answers the log's own.
                None => Head::At(time),
            },
        }
    }
}

impl TaskContext {
    /// The time of the record in hand, which is from this source, or `None` where it is dropped for
    /// what is wrong with it.
    ///
    /// # Errors
    /// Where that stops the thread.
    #[cold]
    pub(super) fn time_of(
        &mut self,
        head: Head,
        partition_time: Timestamp,
        source: &str,
    ) -> Result<Option<Timestamp>> {
        let (time, answer) = match head {
            Head::At(time) => return Ok(Some(time)),
            Head::Invalid(time, answer) => (time, answer),
            Head::Unreadable(error) => {
                self.timestamp = partition_time;
                return self.refuse(source, error).map(|()| None);
            }
        };
        if answer == InvalidTimestamp::Fail {
            return Err(self.at_record(source, invalid(time), None));
        }
        self.dropped.invalid_timestamp += 1;
        Ok(None)
    }

    /// A record of this source with a time that is not one.
    ///
    /// # Errors
    /// Where the source's error policy is to fail.
    #[cold]
    pub(super) fn refuse_time(&mut self, time: Timestamp, source: &str) -> Result<()> {
        self.refuse_for(ErrorReason::InvalidTimestamp, source, invalid(time))
    }
}

#[cold]
fn invalid(time: Timestamp) -> Error {
    Error::deserialization(format!("invalid timestamp {time}"))
}
