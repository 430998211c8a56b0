//! Aggregates of programs that are data.

use super::{
    Graph, Handle, Table, interned, key, keys, nullable, stored, tables,
    windows::{self, WindowTable},
};
use crate::golden::{
    Op,
    functions::{self, Fold, Map, Selector},
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
            Handle::TableGroup(table, key, map) => {
                of_rows(op, *table, (key, *map), Clone::clone, name)?
            }
            Handle::WindowGroup(table, key, map) => {
                of_rows(op, *table, (key, *map), windows::text, name)?
            }
            Handle::WindowTableGroup(table, key, map) => {
                let table = of_windowed_rows(op, *table, (key, *map), name)?;
                return Ok(Handle::WindowTable(table));
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

/// Of a table's rows, by keys without windows that are made of texts of theirs.
fn of_rows<'b, K: Data>(
    op: &Op,
    table: KTable<'b, K, i64>,
    (key, map): (&Selector, Map),
    text: fn(&K) -> Key,
    name: &str,
) -> Result<Table<'b>> {
    if matches!(map, Map::Nullable(_)) {
        let group = tables::grouped_nullable(table, (key, map), text);
        return of_nullable_rows(op, group, name);
    }
    let group = tables::grouped(table, (key, map), text);
    of_table_group(op, group, (stored(name), counts(name)))
}

/// Of a table's rows by windows, by other keys with these windows.
fn of_windowed_rows<'b>(
    op: &Op,
    table: WindowTable<'b>,
    (key, map): (&Selector, Map),
    name: &str,
) -> Result<WindowTable<'b>> {
    let key = key.clone();
    let select = move |k: &Windowed<Key>, v: &i64| {
        let group = key.key(&k.key, Some(*v));
        (
            Windowed::new(group, k.window),
            map.of(Some(*v)).unwrap_or_default(),
        )
    };
    let group = table.group_by_with(select, Grouped::with(keys::windowed(), i64_be()));
    let counts = Materialized::with(name, keys::windowed(), u64_be());
    of_table_group(op, group, (windows::stored(name), counts))
}

fn of_table_group<'b, K: Data>(
    op: &Op,
    group: KGroupedTable<'b, K, i64>,
    (stored, counts): (Materialized<K, i64>, Materialized<K, u64>),
) -> Result<KTable<'b, K, i64>> {
    Ok(match *op {
        Op::Count { .. } => counted(group.count(counts)),
        Op::Reduce { fold, .. } => reduced(group, stored, fold),
        Op::Aggregate { init, .. } => group.aggregate(
            stored,
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

fn reduced<'b, K: Data>(
    group: KGroupedTable<'b, K, i64>,
    store: Materialized<K, i64>,
    fold: Fold,
) -> KTable<'b, K, i64> {
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
