//! Partitions that the program chooses, where the key does not choose them.
//!
//! Invariant: a record is written to partitions that the topic has, or refused; none is lost on the
//! way to a partition that is not there.

use super::Fun;
use crate::{
    error::{Error, Result},
    link::Data,
    record::Record,
    task::{OutputId, TaskContext},
};
use std::{slice, sync::Arc};

/// Where a record goes, of a topic's partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Partitions {
    /// To the one that its key chooses, as Kafka's producer does.
    ByKey,
    /// To this one.
    One(u32),
    /// To each of these (KIP-837). With none in the list the record is dropped, and counted among
    /// those that could not be written.
    Each(Vec<u32>),
}

impl From<u32> for Partitions {
    fn from(partition: u32) -> Self {
        Self::One(partition)
    }
}

impl From<Option<u32>> for Partitions {
    /// `None` leaves it to the key.
    fn from(partition: Option<u32>) -> Self {
        partition.map_or(Self::ByKey, Self::One)
    }
}

impl From<Vec<u32>> for Partitions {
    fn from(partitions: Vec<u32>) -> Self {
        Self::Each(partitions)
    }
}

/// A program's own partitioner: key, value, and how many partitions the topic has.
pub(crate) type Partitioner<K, V> = Arc<dyn Fn(&K, Option<&V>, u32) -> Partitions + Send + Sync>;

/// The same as a sink asks it, about what the sink is given.
pub(crate) type Placing<K, V> = Arc<dyn Fn(&Record<K, V>, u32) -> Partitions + Send + Sync>;

/// A partitioner as it is kept.
pub(crate) fn partitioner<K: Data, V: Data, P: Into<Partitions>>(
    choose: impl Fn(&K, Option<&V>, u32) -> P + Fun,
) -> Partitioner<K, V> {
    Arc::new(move |key, value, partitions| choose(key, value, partitions).into())
}

/// A partitioner of streams, whose values are never null.
pub(crate) fn of_streams<K: Data, V: Data>(choose: Partitioner<K, V>) -> Placing<K, V> {
    Arc::new(move |record, partitions| choose(&record.key, Some(&record.value), partitions))
}

/// A partitioner of keys alone: whatever the row is, its key has one place.
pub(crate) type KeyPartitioner<K> = Arc<dyn Fn(&K, u32) -> Partitions + Send + Sync>;

/// Writes a record wherever the partitioner says, with `write`, which writes it once.
pub(crate) fn spread<K, V>(
    ctx: &mut TaskContext,
    to: OutputId,
    record: &Record<K, V>,
    choose: &Placing<K, V>,
    write: impl Fn(&mut TaskContext, OutputId, &Record<K, V>) -> Result<()>,
) -> Result<()> {
    let count = ctx.output_partitions(to)?;
    let chosen = choose(record, count);
    let chosen = match &chosen {
        Partitions::ByKey => return write(ctx, to, record),
        Partitions::One(partition) => slice::from_ref(partition),
        Partitions::Each(partitions) => partitions,
    };
    must_be_there(ctx, to, chosen, count)?;
    if chosen.is_empty() {
        ctx.drop_unplaced();
    }
    for &partition in chosen {
        write(ctx, to, record)?;
        ctx.place_last(to, partition);
    }
    Ok(())
}

/// Writes a record, with `write`, to the one partition that the partitioner says for its key.
pub(crate) fn settle<K>(
    ctx: &mut TaskContext,
    to: OutputId,
    key: &K,
    choose: &KeyPartitioner<K>,
    write: impl FnOnce(&mut TaskContext) -> Result<()>,
) -> Result<()> {
    let count = ctx.output_partitions(to)?;
    let chosen = match choose(key, count) {
        Partitions::ByKey => return write(ctx),
        Partitions::One(partition) => partition,
        Partitions::Each(partitions) => match partitions[..] {
            [partition] => partition,
            _ => return Err(not_one(ctx, to, partitions.len())),
        },
    };
    must_be_there(ctx, to, &[chosen], count)?;
    write(ctx)?;
    ctx.place_last(to, chosen);
    Ok(())
}

fn must_be_there(ctx: &TaskContext, to: OutputId, chosen: &[u32], count: u32) -> Result<()> {
    match chosen.iter().find(|partition| **partition >= count) {
        Some(partition) => Err(not_there(ctx, to, *partition, count)),
        None => Ok(()),
    }
}

#[cold]
fn not_there(ctx: &TaskContext, to: OutputId, partition: u32, count: u32) -> Error {
    let topic = ctx.output_topic(to);
    Error::processing(format!(
        "the partitioner chose partition {partition} of {topic}, which has {count}"
    ))
}

#[cold]
fn not_one(ctx: &TaskContext, to: OutputId, count: usize) -> Error {
    let topic = ctx.output_topic(to);
    Error::processing(format!(
        "the partitioner chose {count} partitions of {topic}, but each key of a foreign-key join \
         must have exactly one"
    ))
}
