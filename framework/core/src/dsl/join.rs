//! The stream-table join: each record meets the row that its key has at that moment.

use super::{Fun, KStream, KTable};
use crate::{link::Data, record::Record, task::TaskContext};
use std::{panic::Location, sync::Arc};

/// What becomes of a record for whose key there is no row, which a record without a key is as well.
#[derive(Clone, Copy)]
enum Missing {
    LeftOut,
    Joined,
}

impl<'b, K: Data, V: Data> KStream<'b, K, V> {
    /// Joins each record with its key's row; records without a row are left out.
    #[track_caller]
    pub fn join<T: Data, W: Data>(
        self,
        table: KTable<'b, K, T>,
        join: impl Fn(V, &T) -> W + Fun,
    ) -> KStream<'b, K, W> {
        self.look_up(table, Missing::LeftOut, move |value, row: Option<&T>| {
            row.map(|row| join(value, row))
        })
    }

    /// Joins each record with its key's row, or with `None` where there is no row.
    #[track_caller]
    pub fn left_join<T: Data, W: Data>(
        self,
        table: KTable<'b, K, T>,
        join: impl Fn(V, Option<&T>) -> W + Fun,
    ) -> KStream<'b, K, W> {
        self.look_up(table, Missing::Joined, move |value, row: Option<&T>| {
            Some(join(value, row))
        })
    }

    #[track_caller]
    fn look_up<T: Data, W: Data>(
        self,
        table: KTable<'b, K, T>,
        missing: Missing,
        join: impl Fn(V, Option<&T>) -> Option<W> + Fun,
    ) -> KStream<'b, K, W> {
        let label = match missing {
            Missing::LeftOut => "join",
            Missing::Joined => "left_join",
        };
        let at = Location::caller();
        if let Some(changed) = self.rekeyed {
            self.builder.mistake(
                at,
                format!(
                    "the stream's key was changed at {changed}, so its records are not where the \
                     table's rows are: put .repartition(\"a-name\") before the join"
                ),
            );
        }
        self.builder
            .must_be_copartitioned(self.node, table.changes.node, at);
        self.builder.must_be(table.changes.builder);
        let (view, facts) = table.rows();
        let join = Arc::new(join);
        let joined = self.operator(label, facts.stores(), move |link| {
            let (view, join, mut down) = (view.clone(), join.clone(), link.downstream::<K, W>());
            let name = link.name().to_owned();
            move |ctx: &mut TaskContext, record: Record<K, V>| {
                let Record {
                    key,
                    value,
                    timestamp,
                    headers,
                } = record;
                match view.with(ctx, &key, |row| join(value, row.map(|(row, _)| row))) {
                    Ok(Some(value)) => down.push(
                        ctx,
                        Record {
                            key,
                            value,
                            timestamp,
                            headers,
                        },
                    ),
                    Ok(None) => Ok(()),
                    Err(error) => ctx.refuse(&name, error),
                }
            }
        });
        if matches!(missing, Missing::Joined) {
            self.builder.takes_null_keys(joined.node);
        }
        joined
    }
}
