//! Joins of programs that are data, by what their two sides are.

use super::{Graph, Handle, Stream, Table, duration, key, stored, tables, windows};
use crate::golden::{
    Op, functions,
    op::{Joining, Side},
    program::Key,
};
use anyhow::{Result, bail};
use millstream_core::{
    dsl::{JoinWindows, Joined, StreamJoined, TableJoined},
    prelude::*,
};
use std::time::Duration;

impl<'b> Graph<'b> {
    pub(super) fn join(&self, joining: &Joining, name: &str) -> Result<Handle<'b>> {
        match (self.at(joining.of)?, self.at(joining.with)?) {
            (Handle::Table(left), Handle::Table(right)) => {
                let joined = tables::joined(*left, *right, joining.kind);
                let joined = tables::kept(joined, joining.stored, stored(name));
                Ok(Handle::Table(joined))
            }
            (Handle::WindowTable(left), Handle::WindowTable(right)) => {
                let joined = tables::joined(*left, *right, joining.kind);
                let joined = tables::kept(joined, joining.stored, windows::stored(name));
                Ok(Handle::WindowTable(joined))
            }
            (Handle::Stream(stream), Handle::Table(table)) => Ok(Handle::Stream(
                self.look_up(*stream, *table, joining, name)?,
            )),
            (Handle::Stream(left), Handle::Stream(right)) => {
                Ok(Handle::Stream(self.streams(*left, *right, joining, name)))
            }
            (Handle::Stream(stream), Handle::Global(table)) => Ok(Handle::Stream(
                self.look_up_global(*stream, *table, joining)?,
            )),
            _ => bail!("{joining:?} of others than streams and tables"),
        }
    }

    pub(super) fn foreign_join(&self, op: &Op, name: &str) -> Result<Handle<'b>> {
        let Op::ForeignJoin {
            of,
            with,
            kind,
            key,
            stored: keep,
        } = op
        else {
            bail!("{op:?} is no join by a foreign key");
        };
        let (left, right, key) = (self.table(*of)?, self.table(*with)?, key.clone());
        let joined = TableJoined::with(name, i64_be(), i64_be());
        // A key of the other table that is none at all is no key.
        let foreign_key = move |k: &Key, v: &i64| key.key(k, Some(*v)).map(Some);
        let both = |l: &i64, r: &i64| functions::joined(Some(*l), Some(*r));
        let one = |l: &i64, r: Option<&i64>| functions::joined(Some(*l), r.copied());
        let table = match kind {
            Side::Inner => left.foreign_key_join(right, foreign_key, both, joined),
            Side::Left => left.foreign_key_left_join(right, foreign_key, one, joined),
            Side::Outer => bail!("there is no outer join by a foreign key"),
        };
        Ok(Handle::Table(tables::kept(table, *keep, stored(name))))
    }

    fn look_up_global(
        &self,
        stream: Stream<'b>,
        table: GlobalKTable<'b, Key, i64>,
        joining: &Joining,
    ) -> Result<Stream<'b>> {
        let present = self.present(stream.stream);
        let Some(key) = joining.key.clone() else {
            bail!("{joining:?} without a key");
        };
        // A key of the table that is none at all is no key.
        let select = move |k: &Key, v: &i64| key.key(k, Some(*v)).map(Some);
        let both = |l, r: &i64| Some(functions::joined(Some(l), Some(*r)));
        let one = |l, r: Option<&i64>| Some(functions::joined(Some(l), r.copied()));
        let keyed = |k: &Key, joined| functions::keyed(joined, functions::code(k));
        let joined = match (joining.kind, joining.keyed) {
            (Side::Inner, true) => {
                present.join_global_with_key(table, select, move |k, l, r| keyed(k, both(l, r)))
            }
            (Side::Left, true) => {
                present.left_join_global_with_key(table, select, move |k, l, r| keyed(k, one(l, r)))
            }
            (Side::Inner, false) => present.join_global(table, select, both),
            (Side::Left, false) => present.left_join_global(table, select, one),
            (Side::Outer, _) => bail!("a stream and a global table have no outer join"),
        };
        Ok(Stream {
            stream: joined,
            ..stream
        })
    }

    /// A null value is dropped by any kind of join.
    fn look_up(
        &self,
        stream: Stream<'b>,
        table: Table<'b>,
        joining: &Joining,
        name: &str,
    ) -> Result<Stream<'b>> {
        let present = self.present(stream.stream);
        let both = |l, r: &i64| Some(functions::joined(Some(l), Some(*r)));
        let one = |l, r: Option<&i64>| Some(functions::joined(Some(l), r.copied()));
        let joined = Joined::with(name, key(), i64_be());
        let joined = match joining.grace {
            Some(grace) => joined.with_grace_period(duration(grace)),
            None => joined,
        };
        let named = stream.rekeyed || joining.grace.is_some();
        let keyed = |k: &Key, joined| functions::keyed(joined, functions::code(k));
        let (both_keyed, one_keyed) = (
            move |k: &Key, l, r: &i64| keyed(k, both(l, r)),
            move |k: &Key, l, r: Option<&i64>| keyed(k, one(l, r)),
        );
        let stream = match (joining.kind, named, joining.keyed) {
            (Side::Inner, true, true) => present.join_with_and_key(table, joined, both_keyed),
            (Side::Inner, true, false) => present.join_with(table, joined, both),
            (Side::Inner, false, true) => present.join_with_key(table, both_keyed),
            (Side::Inner, false, false) => present.join(table, both),
            (Side::Left, true, true) => present.left_join_with_and_key(table, joined, one_keyed),
            (Side::Left, true, false) => present.left_join_with(table, joined, one),
            (Side::Left, false, true) => present.left_join_with_key(table, one_keyed),
            (Side::Left, false, false) => present.left_join(table, one),
            (Side::Outer, ..) => bail!("a stream and a table have no outer join"),
        };
        Ok(Stream {
            stream,
            rekeyed: false,
        })
    }

    fn streams(
        &self,
        left: Stream<'b>,
        right: Stream<'b>,
        joining: &Joining,
        name: &str,
    ) -> Stream<'b> {
        let windows = duration(joining.grace.unwrap_or_default());
        let windows = JoinWindows::of_time_difference_and_grace(Duration::ZERO, windows)
            .before_ms(joining.before)
            .after_ms(joining.after);
        let joined = StreamJoined::with(name, key(), i64_be(), i64_be());
        let left = self.present(left.stream);
        let right = if joining.of == joining.with {
            left
        } else {
            self.present(right.stream)
        };
        let stream = match joining.kind {
            Side::Inner => left.join_stream(right, windows, joined, |l, r| {
                Some(functions::joined(Some(*l), Some(*r)))
            }),
            Side::Left => left.left_join_stream(right, windows, joined, |l, r| {
                Some(functions::joined(Some(*l), r.copied()))
            }),
            Side::Outer => left.outer_join_stream(right, windows, joined, |l, r| {
                Some(functions::joined(l.copied(), r.copied()))
            }),
        };
        Stream {
            stream,
            rekeyed: false,
        }
    }
}
