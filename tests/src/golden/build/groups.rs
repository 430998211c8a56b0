//! Aggregates of programs that are data.

use super::{Graph, Handle, Table, interned, key, nullable, stored};
use crate::golden::{
    Op,
    functions::{self, Fold, Map},
    op::Place,
    program::{Key, Value},
};
use anyhow::{Result, bail};
use millstream_core::{link::Data, prelude::*};

impl<'b> Graph<'b> {
    pub(super) fn aggregate(&self, op: &Op, name: &str) -> Result<Handle<'b>> {
        let of = op.reads().first().copied().unwrap_or_default();
        let table = match self.at(of)? {
            Handle::Group(stream) => {
                let group = self.present(stream.stream);
                of_group(op, group.group_by_key_with(grouped()), name)?
            }
            Handle::TableGroup(table, key, map @ Map::Nullable(_)) => {
                let (key, map) = (key.clone(), *map);
                let select = move |k: &Key, v: &i64| (key.key(k, Some(*v)), map.of(Some(*v)));
                let grouped = Grouped::with(super::key(), nullable());
                of_nullable_rows(op, table.group_by_with(select, grouped), name)?
            }
            Handle::TableGroup(table, key, map) => {
                let (key, map) = (key.clone(), *map);
                let mapped = move |v: &i64| map.of(Some(*v)).unwrap_or_default();
                let group = table.group_by(move |k, v| (key.key(k, Some(*v)), mapped(v)));
                of_table_group(op, group, name)?
            }
            Handle::Cogroup(streams) => match *op {
                Op::Aggregate { init, .. } => {
                    let streams = streams.iter().map(|one| self.present(one.stream));
                    let group = cogroup(streams, grouped(), name)?;
                    group.aggregate(stored(name), move || init)
                }
                _ => bail!("{op:?} of a cogroup"),
            },
            Handle::WindowedMany(streams, windows) => {
                let table = self.of_windows_of_many(op, streams, windows, name)?;
                return Ok(Handle::WindowTable(table));
            }
            Handle::Windowed(stream, windows) => {
                let table = self.of_windows(op, *stream, windows, name)?;
                return Ok(Handle::WindowTable(table));
            }
            _ => bail!("{op:?} is not supported yet"),
        };
        Ok(Handle::Table(table))
    }

    pub(super) fn cogrouped(&self, of: &[Place]) -> Result<Handle<'b>> {
        let groups = of.iter().map(|place| match self.at(*place)? {
            Handle::Group(stream) => Ok(*stream),
            _ => bail!("node {place} is no group"),
        });
        Ok(Handle::Cogroup(groups.collect::<Result<_>>()?))
    }
}

/// Streams under one aggregate; each adds with a factor of its own.
pub(super) fn cogroup<'b, V: Data + Into<Value>>(
    streams: impl Iterator<Item = KStream<'b, Key, V>>,
    grouped: Grouped<Key, V>,
    name: &str,
) -> Result<CogroupedKStream<'b, Key, i64>> {
    let mut cogroup: Option<CogroupedKStream<'b, Key, i64>> = None;
    for (factor, stream) in (1..).zip(streams) {
        let topic = interned(&format!("{name}-{factor}"));
        let group = stream.group_by_key_with(grouped.named(topic));
        let add = move |_: &Key, v: V, sum: &mut i64| {
            *sum = functions::added(*sum, v.into(), factor);
        };
        cogroup = Some(match cogroup {
            None => group.cogroup(add),
            Some(cogroup) => cogroup.cogroup(group, add),
        });
    }
    match cogroup {
        Some(cogroup) => Ok(cogroup),
        None => bail!("a cogroup of nothing"),
    }
}

fn of_group<'b>(op: &Op, group: KGroupedStream<'b, Key, i64>, name: &str) -> Result<Table<'b>> {
    Ok(match *op {
        Op::Count { .. } => counted(group.count(counts(name))),
        Op::Reduce { fold, .. } => group.reduce(stored(name), move |a, b| fold.of(a, b)),
        Op::Aggregate { init, .. } => group.aggregate(
            stored(name),
            move || init,
            |_, v, sum| *sum = functions::added(*sum, Some(v), 1),
        ),
        _ => bail!("{op:?} of a group"),
    })
}

fn of_table_group<'b>(
    op: &Op,
    group: KGroupedTable<'b, Key, i64>,
    name: &str,
) -> Result<Table<'b>> {
    Ok(match *op {
        Op::Count { .. } => counted(group.count(counts(name))),
        Op::Reduce { fold, .. } => reduced(group, stored(name), fold),
        Op::Aggregate { init, .. } => group.aggregate(
            stored(name),
            move || init,
            |_, v, sum| *sum = functions::added(*sum, Some(v), 1),
            |_, v, sum| *sum = functions::subtracted(*sum, v),
        ),
        _ => bail!("{op:?} of a grouped table"),
    })
}

/// Of rows that may be null, which are left out.
fn of_nullable_rows<'b>(
    op: &Op,
    group: KGroupedTable<'b, Key, Value>,
    name: &str,
) -> Result<Table<'b>> {
    let number = Option::unwrap_or_default;
    Ok(match *op {
        Op::Count { .. } => counted(group.count(counts(name))),
        Op::Reduce { fold, .. } => {
            let store = Materialized::with(name, key(), nullable());
            let add = move |a, b| Some(fold.of(number(a), number(b)));
            let subtract = move |a, b| Some(fold.taken_back(number(a), number(b)));
            let reduced = group.reduce(store, add, subtract);
            reduced.map_values(move |_, sum| number(sum))
        }
        Op::Aggregate { init, .. } => group.aggregate(
            stored(name),
            move || init,
            |_, v, sum| *sum = functions::added(*sum, v, 1),
            move |_, v, sum| *sum = functions::subtracted(*sum, number(v)),
        ),
        _ => bail!("{op:?} of a grouped table"),
    })
}

fn reduced<'b>(
    group: KGroupedTable<'b, Key, i64>,
    store: Materialized<Key, i64>,
    fold: Fold,
) -> Table<'b> {
    group.reduce(
        store,
        move |a, b| fold.of(a, b),
        move |a, b| fold.taken_back(a, b),
    )
}

pub(super) fn grouped() -> Grouped<Key, i64> {
    Grouped::with(key(), i64_be())
}

pub(super) fn counts(name: &str) -> Materialized<Key, u64> {
    Materialized::with(name, key(), u64_be())
}

/// Counts as the numbers that all values are.
pub(super) fn counted<K: Data>(counts: KTable<'_, K, u64>) -> KTable<'_, K, i64> {
    counts.map_values(|_, count| i64::try_from(count).unwrap_or(i64::MAX))
}
