//! Operators of tables of programs that are data, whether their keys have windows or not.

use super::{Graph, Handle, stored, windows, with_history};
use crate::golden::{
    Op,
    functions::{self, Map, Selector},
    op::Side,
    policy::Policy,
    processors,
    program::Key,
};
use anyhow::{Result, bail, ensure};
use millstream_core::{link::Data, prelude::*};

/// A table that is computed row by row, in a store of its own if the program says so.
pub(super) fn values<'b, K: Data>(
    op: &Op,
    table: KTable<'b, K, i64>,
    store: Materialized<K, i64>,
) -> Result<KTable<'b, K, i64>> {
    let (derived, keep) = match *op {
        Op::Filter { test, stored, .. } => {
            (table.filter(move |_, v| test.passes(Some(*v))), stored)
        }
        Op::FilterNot { test, stored, .. } => {
            (table.filter_not(move |_, v| test.passes(Some(*v))), stored)
        }
        Op::MapValues { map, stored, .. } => {
            ensure!(matches!(map, Map::Line(_)), "a row cannot become null");
            let map = move |_: &K, v| map.of(Some(v)).unwrap_or_default();
            (table.map_values(map), stored)
        }
        _ => bail!("{op:?} of a table"),
    };
    Ok(kept(derived, keep, store))
}

impl<'b> Graph<'b> {
    pub(super) fn transform_values(&self, op: &Op, name: &str) -> Result<Handle<'b>> {
        let Op::TransformValues {
            of,
            history,
            refuses,
            on_error,
        } = op
        else {
            bail!("{op:?} does not transform values");
        };
        let (refuses, policy) = (*refuses, on_error.as_ref());
        let seen = self.builder.store(stored(&format!("{name}-seen")));
        Ok(match self.at(*of)? {
            Handle::WindowTable(table) => {
                let (by, store) = ((seen, windows::text as fn(&_) -> _), windows::stored(name));
                let made = processors::transform_values(*table, by, refuses, store);
                Handle::WindowTable(answered(made, policy))
            }
            Handle::Table(table) => {
                let (by, store) = (
                    (seen, Key::clone as fn(&_) -> _),
                    with_history(name, *history),
                );
                let made = processors::transform_values(*table, by, refuses, store);
                Handle::Table(answered(made, policy))
            }
            _ => bail!("{op:?} of what is no table"),
        })
    }
}

/// The table, whose operator says what becomes of what it refuses, if it does.
fn answered<'b, K: Data>(table: KTable<'b, K, i64>, policy: Option<&Policy>) -> KTable<'b, K, i64> {
    match policy {
        Some(policy) => table.on_error(policy.ours()),
        None => table,
    }
}

/// The table, with a store of its own if it is to have one.
pub(super) fn kept<K: Data>(
    table: KTable<'_, K, i64>,
    keep: bool,
    store: Materialized<K, i64>,
) -> KTable<'_, K, i64> {
    if keep {
        table.materialize(store)
    } else {
        table
    }
}

pub(super) fn joined<'b, K: Data>(
    left: KTable<'b, K, i64>,
    right: KTable<'b, K, i64>,
    kind: Side,
) -> KTable<'b, K, i64> {
    match kind {
        Side::Inner => left.join(right, |l, r| functions::joined(Some(*l), Some(*r))),
        Side::Left => left.left_join(right, |l, r| functions::joined(Some(*l), r.copied())),
        Side::Outer => left.outer_join(right, |l, r| functions::joined(l.copied(), r.copied())),
    }
}

/// The table grouped by other keys, which are made of the texts of its own.
pub(super) fn grouped<'b, K: Data>(
    table: KTable<'b, K, i64>,
    (key, map): (&Selector, Map),
    text: fn(&K) -> Key,
) -> KGroupedTable<'b, Key, i64> {
    let key = key.clone();
    let mapped = move |v: &i64| map.of(Some(*v)).unwrap_or_default();
    table.group_by(move |k, v| (key.key(&text(k), Some(*v)), mapped(v)))
}

/// As [`grouped`], where rows may be mapped to null.
pub(super) fn grouped_nullable<'b, K: Data>(
    table: KTable<'b, K, i64>,
    (key, map): (&Selector, Map),
    text: fn(&K) -> Key,
) -> KGroupedTable<'b, Key, Option<i64>> {
    let key = key.clone();
    let select = move |k: &K, v: &i64| (key.key(&text(k), Some(*v)), map.of(Some(*v)));
    table.group_by_with(select, Grouped::with(super::key(), super::nullable()))
}
