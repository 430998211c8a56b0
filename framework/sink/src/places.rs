//! How far a sink has come, kept in the database beside the rows.
//!
//! Invariant: a place moves only in the transaction of the rows before it, and only under the epoch
//! its sink took with the partition. A writer that was replaced (a zombie) thus changes nothing any
//! more.

use crate::{
    backoff::Seldom,
    database::{Database, OFFSETS_TABLE, sql},
    error::{Error, Trouble},
    row::Column,
    table::TableSpec,
    value::{Kind, Value},
};
use millstream_core::record::{Offset, TopicPartition};
use millstream_log::{self as log, Log};
use std::sync::Arc;

const COLUMNS: [Column; 5] = [
    Column::new("sink", Kind::Text).key(),
    Column::new("topic", Kind::Text).key(),
    Column::new("partition", Kind::Integer).key(),
    Column::new("next_offset", Kind::Integer),
    Column::new("epoch", Kind::Integer),
];
const SELECT: &str = "SELECT next_offset, epoch FROM millstream_offsets \
    WHERE sink = ? AND topic = ? AND \"partition\" = ?";
const INSERT: &str = "INSERT INTO millstream_offsets \
    (sink, topic, \"partition\", next_offset, epoch) VALUES (?, ?, ?, ?, 0) \
    ON CONFLICT (sink, topic, \"partition\") DO NOTHING";
const TAKE: &str = "UPDATE millstream_offsets SET epoch = ? \
    WHERE sink = ? AND topic = ? AND \"partition\" = ?";
const SELECT_OTHER: &str = "SELECT topic FROM millstream_offsets WHERE sink = ? AND topic <> ?";
const ADVANCE: &str = "UPDATE millstream_offsets SET next_offset = ? \
    WHERE sink = ? AND topic = ? AND \"partition\" = ? AND epoch = ?";

/// The bookkeeping table.
pub(crate) fn table() -> TableSpec {
    TableSpec {
        name: OFFSETS_TABLE.into(),
        columns: COLUMNS.into(),
    }
}

/// The place in one partition, under the epoch this sink took.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) partition: TopicPartition,
    pub(crate) next: Offset,
    /// The partition's end when it was last read.
    pub(crate) end: Offset,
    epoch: i64,
    losses: Losses,
}

/// Offsets that retention took away unread and nobody was told of yet. Each partition has its own
/// turn in the log, since what is lost in one says nothing of the others.
#[derive(Clone, Debug)]
struct Losses {
    untold: u64,
    complaints: Seldom,
}

impl Place {
    /// Takes the next epoch of each of these partitions, inside the caller's transaction: from its
    /// commit on every older writer of them is refused.
    pub(crate) fn claim(
        database: &mut dyn Database,
        log: &mut dyn Log,
        sink: &str,
        partitions: &[TopicPartition],
        log_interval_ms: i64,
    ) -> Result<Vec<Self>, Trouble> {
        let insert = sql::statement(database.dialect(), INSERT);
        let take = sql::statement(database.dialect(), TAKE);
        let mut places = Vec::with_capacity(partitions.len());
        for partition in partitions {
            check_topic(database, sink, partition)?;
            let found = match stored(database, sink, partition)? {
                None => {
                    let [name, topic, number] = key(sink, partition);
                    let start = log.start(partition)?;
                    database.execute(&insert, &[name, topic, number, start.into()])?;
                    // Read again, because another writer may have been faster.
                    stored(database, sink, partition)?
                }
                found => found,
            };
            let Some((next, epoch)) = found else {
                return Err(Trouble::wait(format!("the place in {partition} is gone")));
            };
            let epoch = epoch + 1;
            let [name, topic, number] = key(sink, partition);
            database.execute(&take, &[epoch.into(), name, topic, number])?;
            places.push(Self {
                partition: partition.clone(),
                next,
                end: next,
                epoch,
                losses: Losses {
                    untold: 0,
                    complaints: Seldom::new(log_interval_ms),
                },
            });
        }
        Ok(places)
    }

    /// After a failure whose effect is unknown: goes on where the database says, if still allowed.
    pub(crate) fn verify(
        &mut self,
        database: &mut dyn Database,
        sink: &str,
    ) -> Result<(), Trouble> {
        match stored(database, sink, &self.partition)? {
            Some((next, epoch)) if epoch == self.epoch => {
                self.next = next;
                Ok(())
            }
            other => Err(self.fenced(sink, other.map_or(0, |(_, epoch)| epoch))),
        }
    }

    /// Moves the stored place, or finds that somebody else moves it now.
    pub(crate) fn advance(
        &self,
        database: &mut dyn Database,
        sink: &str,
        next: Offset,
    ) -> Result<(), Trouble> {
        let [name, topic, number] = key(sink, &self.partition);
        let values = [next.into(), name, topic, number, self.epoch.into()];
        let update = sql::statement(database.dialect(), ADVANCE);
        if database.execute(&update, &values)? == 1 {
            return Ok(());
        }
        let found = stored(database, sink, &self.partition)?;
        Err(self.fenced(sink, found.map_or(0, |(_, epoch)| epoch)))
    }

    /// The page at this place, and how many offsets before it retention took away unread.
    pub(crate) fn page(
        &self,
        log: &mut dyn Log,
        sink: &str,
        max_bytes: usize,
    ) -> Result<(log::Page, u64), Trouble> {
        let beyond = |end: Offset| Error::Source {
            sink: sink.into(),
            problem: format!(
                "its place {} in {} is beyond the end {end}: was the topic made anew? Remove its \
                 rows from millstream_offsets to start over",
                self.next, self.partition
            ),
        };
        match log.read(&self.partition, self.next, max_bytes) {
            Ok(page) if page.end < self.next => Err(beyond(page.end).into()),
            Ok(page) => Ok((page, 0)),
            Err(log::Error::OffsetOutOfRange { start, .. }) if start > self.next => {
                let page = log.read(&self.partition, start, max_bytes)?;
                Ok((page, start.abs_diff(self.next)))
            }
            Err(log::Error::OffsetOutOfRange { end, .. }) => Err(beyond(end).into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Says in the log what the place has passed over, now and since it was last said.
    pub(crate) fn tell_lost(&mut self, lost: u64, now_ms: i64, sink: &str) {
        self.losses.untold += lost;
        if self.losses.complaints.due(now_ms) {
            let lost = std::mem::take(&mut self.losses.untold);
            tracing::error!(
                sink, partition = %self.partition, lost,
                "the topic forgot records before the sink came to them"
            );
        }
    }

    fn fenced(&self, sink: &str, found: i64) -> Trouble {
        Trouble::Stop(Error::Fenced {
            sink: sink.into(),
            partition: self.partition.clone(),
            mine: self.epoch,
            found,
        })
    }
}

/// Coordinates name rows within one topic only, so a table that took a second topic would mix them.
fn check_topic(
    database: &mut dyn Database,
    sink: &str,
    partition: &TopicPartition,
) -> Result<(), Trouble> {
    let [name, topic, _] = key(sink, partition);
    let select = sql::statement(database.dialect(), SELECT_OTHER);
    let others = database.query(&select, &[name, topic])?;
    match others.first().map(Vec::as_slice) {
        Some([Value::Text(other)]) => Err(Trouble::Stop(Error::Source {
            sink: sink.into(),
            problem: format!(
                "its table is filled from topic {other}, not {}",
                partition.topic
            ),
        })),
        _ => Ok(()),
    }
}

/// What is stored, once nobody is changing it any more: a commit whose answer was lost may still be
/// under way, and a writer about to be replaced may be in the middle of its last transaction. Both
/// hold the lock of the row that is asked for here.
fn stored(
    database: &mut dyn Database,
    sink: &str,
    partition: &TopicPartition,
) -> Result<Option<(Offset, i64)>, Trouble> {
    let dialect = database.dialect();
    let select = sql::statement(dialect, &format!("{SELECT}{}", dialect.lock));
    let rows = database.query(&select, &key(sink, partition))?;
    Ok(match rows.first().map(Vec::as_slice) {
        Some([Value::Integer(next), Value::Integer(epoch)]) => Some((*next, *epoch)),
        _ => None,
    })
}

fn key(sink: &str, partition: &TopicPartition) -> [Value; 3] {
    [
        sink.into(),
        Arc::clone(&partition.topic).into(),
        partition.partition.into(),
    ]
}
