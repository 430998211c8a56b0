//! The log's columns in a [`Backend`]: opening, reading and rewriting blocks.
//!
//! Invariant: blocks are found by scanning, never by an index in memory, so that a log of any
//! length opens at once and costs memory per partition only. A block that is rewritten is never
//! missed by a reader: a look-up takes two scans, and [`Disk::rewriting`] keeps rewrites out
//! between them.

use super::{
    block::{Block, Head, batch_bytes},
    codec,
    rows::{self, PartitionId, PartitionRow},
};
use crate::api::{Committed, Error, Result, TopicInfo};
use millstream_core::{batch::RecordBatch, record::Offset};
use millstream_state::{Backend, Column, Direction, Presence, WriteBatch};
use std::{
    ops::{Bound, ControlFlow},
    sync::{Arc, PoisonError, RwLock, RwLockWriteGuard},
};

/// The names of the columns, as a backend for a log must have them.
pub(super) const COLUMNS: [&str; 4] = ["log-topics", "log-partitions", "log-places", "log-blocks"];

/// Told of a row's key and value; without an answer the row is corrupt.
type RowVisitor<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Option<()>;
/// Told of a block's base and bytes.
type BlockVisitor<'a> =
    &'a mut dyn FnMut(Offset, &[u8]) -> std::result::Result<ControlFlow<()>, codec::Corrupt>;

/// Told of a block's head; with a reason why the block cannot be read, of what stands for it.
pub(super) type HeadVisitor<'a> = &'a mut dyn FnMut(Head, Option<Error>) -> ControlFlow<()>;

/// A partition on disk, with its name for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) id: PartitionId,
    pub(super) topic: Arc<str>,
}

/// What a log that is opened finds.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) next_topic: u64,
    pub(super) topics: Vec<TopicInfo>,
    pub(super) partitions: Vec<(PartitionId, PartitionRow)>,
    pub(super) places: Vec<(String, PartitionId, Committed)>,
}

/// The backend and the numbers of the log's columns in it.
pub(super) struct Disk {
    backend: Arc<dyn Backend>,
    pub(super) topics: Column,
    pub(super) partitions: Column,
    pub(super) places: Column,
    pub(super) blocks: Column,
    rewrites: RwLock<()>,
}

impl Disk {
    pub(super) fn open(backend: Arc<dyn Backend>) -> Result<Self> {
        let names = backend.columns();
        let find = |name: &str| {
            let index = names.iter().position(|column| column == name);
            let number = index.and_then(|index| u16::try_from(index).ok());
            number.map(Column).ok_or_else(|| {
                Error::Fatal(format!(
                    "the backend of an embedded log needs the column {name}; open it with \
                     EmbeddedLog::COLUMNS"
                ))
            })
        };
        let [topics, partitions, places, blocks] = COLUMNS.map(find);
        Ok(Self {
            topics: topics?,
            partitions: partitions?,
            places: places?,
            blocks: blocks?,
            rewrites: RwLock::new(()),
            backend,
        })
    }

    /// Reads everything but the blocks.
    pub(super) fn contents(&self) -> Result<Contents> {
        let mut contents = Contents::default();
        let mut meta = Vec::new();
        if self
            .backend
            .get(self.topics, rows::META_KEY, &mut meta)
            .map_err(storage)?
            == Presence::Found
        {
            let (format, next_topic) =
                rows::decode_meta(&meta).ok_or_else(|| corrupt("its first row"))?;
            if format != rows::FORMAT {
                return Err(Error::Fatal(format!(
                    "the embedded log has format {format}, this version reads {}",
                    rows::FORMAT
                )));
            }
            contents.next_topic = next_topic;
        }
        self.rows(self.topics, &mut |key, value| {
            if key != rows::META_KEY {
                contents.topics.push(rows::decode_topic(key, value)?);
            }
            Some(())
        })?;
        self.rows(self.partitions, &mut |key, value| {
            let id = rows::decode_partition_key(key)?;
            contents.partitions.push((id, PartitionRow::decode(value)?));
            Some(())
        })?;
        self.rows(self.places, &mut |key, value| {
            let (group, id) = rows::decode_place_key(key)?;
            contents
                .places
                .push((group, id, rows::decode_place(value)?));
            Some(())
        })?;
        Ok(contents)
    }

    /// Visits all rows of a column; a row for which `visit` has no answer is corrupt.
    fn rows(&self, column: Column, visit: RowVisitor<'_>) -> Result<()> {
        let mut broken = None;
        let all = (Bound::Unbounded, Bound::Unbounded);
        self.backend
            .scan(
                column,
                all,
                Direction::Ascending,
                &mut |key, value| match visit(key, value) {
                    Some(()) => ControlFlow::Continue(()),
                    None => {
                        broken = Some(corrupt(&format!("row {key:02x?} of column {}", column.0)));
                        ControlFlow::Break(())
                    }
                },
            )
            .map_err(storage)?;
        broken.map_or(Ok(()), Err)
    }

    pub(super) fn apply(&self, batch: &WriteBatch) -> Result<()> {
        self.backend.apply(batch).map_err(storage)
    }

    pub(super) fn flush(&self) -> Result<()> {
        self.backend.flush().map_err(storage)
    }

    /// Keeps readers out while blocks that they may be looking for are replaced.
    pub(super) fn rewriting(&self) -> RwLockWriteGuard<'_, ()> {
        // The lock guards no data of its own, so a reader's panic leaves nothing half done.
        self.rewrites
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the removal of all blocks of a partition to a batch.
    pub(super) fn delete_blocks(&self, id: PartitionId, batch: &mut WriteBatch) -> Result<()> {
        let (first, last) = (rows::block_key(id, 0), rows::block_key(id, Offset::MAX));
        let all = (Bound::Included(&first[..]), Bound::Included(&last[..]));
        self.backend
            .scan(self.blocks, all, Direction::Ascending, &mut |key, _| {
                batch.delete(self.blocks, key);
                ControlFlow::Continue(())
            })
            .map_err(storage)
    }

    /// Visits the blocks from the one that may hold `from` on, as they are on disk, each read once:
    /// a reader that goes on where it was finds a block that begins there.
    fn scan(&self, spot: &Spot, from: Offset, visit: BlockVisitor<'_>) -> Result<()> {
        let _no_rewrites = self.rewrites.read().unwrap_or_else(PoisonError::into_inner);
        let [first, highest, last] =
            [0, from, Offset::MAX].map(|offset| rows::block_key(spot.id, offset));
        let mut broken = None;
        let mut visit = |key: &[u8], value: &[u8]| {
            let base = rows::decode_block_base(key).unwrap_or_default();
            visit(base, value).unwrap_or_else(|why| {
                broken = Some(corrupt_block(spot, base, why));
                ControlFlow::Break(())
            })
        };
        let mut flow = ControlFlow::Continue(());
        let below = (Bound::Included(&first[..]), Bound::Included(&highest[..]));
        self.backend
            .scan(
                self.blocks,
                below,
                Direction::Descending,
                &mut |key, value| {
                    flow = visit(key, value);
                    ControlFlow::Break(())
                },
            )
            .map_err(storage)?;
        if flow.is_continue() {
            let rest = (Bound::Excluded(&highest[..]), Bound::Included(&last[..]));
            self.backend
                .scan(self.blocks, rest, Direction::Ascending, &mut visit)
                .map_err(storage)?;
        }
        broken.map_or(Ok(()), Err)
    }

    /// Records from `from` to below `end` in one batch: whole blocks until there are `bytes_max`.
    pub(super) fn load(
        &self,
        spot: &Spot,
        from: Offset,
        end: Offset,
        bytes_max: usize,
    ) -> Result<RecordBatch> {
        let mut batch = RecordBatch::new();
        self.scan(spot, from, &mut |base, bytes| {
            if base >= end {
                return Ok(ControlFlow::Break(()));
            }
            codec::decode(bytes, base, from, &mut batch)?;
            Ok(more_if(batch.is_empty() || batch_bytes(&batch) < bytes_max))
        })?;
        Ok(batch)
    }

    /// The heads of blocks in order, from the one that may hold `from` on, until `visit` breaks,
    /// those that cannot be read included.
    pub(super) fn heads(&self, spot: &Spot, from: Offset, visit: HeadVisitor<'_>) -> Result<()> {
        self.scan(spot, from, &mut |base, bytes| {
            Ok(match codec::decode_head(bytes, base) {
                Ok(head) => visit(head, None),
                Err(why) => {
                    let unread = Head::unread(base, bytes.len());
                    visit(unread, Some(corrupt_block(spot, base, why)))
                }
            })
        })
    }

    /// Whole blocks in order, from the one that may hold `from` on, until `visit` breaks.
    pub(super) fn blocks(
        &self,
        spot: &Spot,
        from: Offset,
        visit: &mut dyn FnMut(Block) -> ControlFlow<()>,
    ) -> Result<()> {
        self.scan(spot, from, &mut |base, bytes| {
            Ok(visit(codec::decode_block(bytes, base)?))
        })
    }
}

/// Goes on with a scan, or ends it.
pub(super) const fn more_if(more: bool) -> ControlFlow<()> {
    if more {
        ControlFlow::Continue(())
    } else {
        ControlFlow::Break(())
    }
}

fn corrupt_block(spot: &Spot, base: Offset, why: codec::Corrupt) -> Error {
    let Spot { topic, id } = spot;
    corrupt(&format!(
        "the block of {topic}-{} at offset {base} ({why})",
        id.1
    ))
}

fn corrupt(what: &str) -> Error {
    Error::Fatal(format!("the embedded log is corrupt: {what}"))
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
fn storage(error: millstream_state::Error) -> Error {
    Error::Fatal(format!("the embedded log's storage refused: {error}"))
}
