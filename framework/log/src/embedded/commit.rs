//! The commit: the one way records and places enter the log.
//!
//! Invariant: all records of a transaction and its places are checked before anything is changed,
//! reach the backend in one batch, and become visible under one lock.

use super::{
    Shared,
    block::Block,
    dead,
    disk::Disk,
    rows::{self, PartitionId},
    state::{State, put_row},
    transaction::{Pending, Sent},
};
use crate::api::{Commit, Committed, Error, Result};
use millstream_core::{
    batch::Records,
    record::{Offset, TopicPartition},
};
use millstream_state::WriteBatch;
use std::sync::Arc;

/// Places of a group that go with a commit.
#[derive(Clone, Copy)]
pub(super) struct Places<'a> {
    pub(super) group: &'a str,
    pub(super) places: &'a [(TopicPartition, Committed)],
}

impl Shared {
    /// Makes everything pending visible at once. The caller has checked who may, and tells those
    /// who wait once it has given back the lock.
    pub(super) fn commit(
        &self,
        state: &mut State,
        Sent { parts, blocks }: &mut Sent,
        places: Option<Places<'_>>,
    ) -> Result<Commit> {
        let places = resolve_places(state, places)?;
        let mut bases = Vec::with_capacity(parts.len());
        for part in &*parts {
            let log = state.partition_mut(&part.spot).ok_or_else(|| {
                Error::UnknownTopic(format!(
                    "{}: deleted while records were sent",
                    part.spot.topic
                ))
            })?;
            bases.push(log.row.end);
        }
        if let Some(disk) = &self.disk {
            write(state, disk, parts, &places, blocks)?;
            if !blocks.is_empty() {
                disk.apply(blocks)?;
            }
        }
        for (group, id, place) in places {
            let group = match state.places.get_mut(group) {
                Some(group) => group,
                None => state.places.entry(group.to_owned()).or_default(),
            };
            group.insert(id, place.clone());
        }
        state.sequence += u64::from(!parts.is_empty());
        let ends = parts.drain(..).zip(bases).map(|(part, base)| {
            let partition = part.spot.id.1;
            let topic = Arc::clone(&part.spot.topic);
            (
                TopicPartition { topic, partition },
                self.append(state, part, base),
            )
        });
        Ok(Commit {
            ends: ends.collect(),
        })
    }

    /// Hands one partition's records over to it; the partition was checked to exist.
    fn append(&self, state: &mut State, mut part: Pending, base: Offset) -> Offset {
        if base > 0 {
            part.batch.rebase(base);
        }
        let batch = Arc::new(part.batch);
        let mut end = base;
        for piece in part.pieces {
            let mut head = piece.head;
            head.base += base;
            head.end += base;
            end = head.end;
            let records = Records {
                batch: Arc::clone(&batch),
                range: piece.range,
            };
            if let Some(log) = state.partition_mut(&part.spot) {
                log.append(Block { head, records });
            }
            if self.disk.is_some() {
                state.cache(&part.spot, head.base, head.bytes, &self.limits);
            }
        }
        end
    }
}

/// The places by the identity of their partitions.
fn resolve_places<'a>(
    state: &State,
    places: Option<Places<'a>>,
) -> Result<Vec<(&'a str, PartitionId, &'a Committed)>> {
    let Some(Places { group, places }) = places else {
        return Ok(Vec::new());
    };
    let resolve = |(at, place): &'a (TopicPartition, Committed)| {
        let (topic, _) = state.partition(at)?;
        Ok((group, (topic.info.id, at.partition), place))
    };
    places.iter().map(resolve).collect()
}

/// Collects the whole commit for the backend: the blocks are there, and get their places.
fn write(
    state: &mut State,
    disk: &Disk,
    parts: &[Pending],
    places: &[(&str, PartitionId, &Committed)],
    batch: &mut WriteBatch,
) -> Result<()> {
    let mut number = 0;
    for part in parts {
        let log = state.partition_mut(&part.spot).ok_or_else(dead)?;
        let (base, mut row) = (log.row.end, log.row);
        for piece in &part.pieces {
            let key = batch.key_mut(number).ok_or_else(dead)?;
            key.copy_from_slice(&rows::block_key(part.spot.id, base + piece.head.base));
            number += 1;
            row.end = base + piece.head.end;
            row.bytes += piece.head.bytes;
            row.dirty_bytes += piece.head.bytes;
        }
        put_row(disk, batch, part.spot.id, &row);
    }
    for (group, id, place) in places {
        let offset = place.offset.to_be_bytes();
        let parts: [&[u8]; 2] = [&offset, &place.metadata];
        batch.put_parts(disk.places, &rows::place_key(group, *id), &parts);
    }
    Ok(())
}
