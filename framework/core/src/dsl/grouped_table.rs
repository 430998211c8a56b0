//! `KGroupedTable`: aggregates over a table's rows that follow every change of them.
//!
//! A changed row is taken back from the group it was in and added to the one it is in. Both travel
//! through a repartition topic as changes; where the group stays the same it is one record, so that
//! the result is told once.

use super::{Change, Fun, Grouped, KStream, KTable, aggregate::Aggregate, table::stored};
use crate::{
    error::{Error, Result},
    link::Data,
    record::Record,
    serde::{Encoded, Serde},
    store::Materialized,
    task::TaskContext,
};
use std::sync::Arc;

/// A table grouped by a new key, waiting to be aggregated.
///
/// A row that changes within its group makes one result. One that leaves its group for another is
/// taken back first, with a result of the old group, and then added, with one of the new group.
/// The time of a result is the later of the aggregate's and the change's. Rows with a null group
/// are in none.
///
/// ```
/// use millstream_core::prelude::*;
///
/// static HOMES: Topic<String, String> = Topic::new("homes", utf8(), utf8());
/// static PEOPLE: Topic<String, u64> = Topic::new("people", utf8(), u64_be());
///
/// let builder = StreamsBuilder::new();
/// let homes = builder.table(&HOMES, "homes");
/// homes.group_by(|who, city| (city.clone(), who.clone())).count("people").to(&PEOPLE);
///
/// let mut driver = TopologyTestDriver::new(builder.build()?)?;
/// for (who, city, time) in [("ann", "rome", 0), ("bob", "rome", 1), ("ann", "oslo", 2)] {
///     driver.pipe(&HOMES, who.to_owned(), city.to_owned(), time)?;
/// }
/// let people = driver.read_key_values(&PEOPLE)?;
/// let people: Vec<_> = people.iter().map(|(city, n)| (city.as_str(), n.unwrap_or(0))).collect();
/// // Ann leaves Rome before she comes to Oslo.
/// assert_eq!(people, [("rome", 1), ("rome", 2), ("rome", 1), ("oslo", 1)]);
/// # Ok::<(), millstream_core::Error>(())
/// ```
pub struct KGroupedTable<'b, K: 'static, V: 'static> {
    changes: KStream<'b, K, Change<V>>,
    serdes: Grouped<K, V>,
}

impl<'b, K2: Data, V2: Data> KGroupedTable<'b, K2, V2> {
    #[track_caller]
    pub(super) fn new<K: Data, V: Data>(
        table: KTable<'b, K, V>,
        select: impl Fn(&K, &V) -> (K2, V2) + Fun,
        serdes: Grouped<K2, V2>,
    ) -> Self {
        let select = Arc::new(select);
        let changes = table.changes.operator("group_by", vec![], move |link| {
            let (select, mut down) = (select.clone(), link.downstream::<K2, Change<V2>>());
            let (key, name) = (serdes.key, link.name().to_owned());
            link.want_old();
            move |ctx: &mut TaskContext, record: Record<K, Change<V>>| {
                let old = record
                    .value
                    .old
                    .as_ref()
                    .map(|row| select(&record.key, row));
                let new = record
                    .value
                    .new
                    .as_ref()
                    .map(|row| select(&record.key, row));
                let same_group = match (&old, &new) {
                    (Some((was, _)), Some((is, _))) => match same(key, was, is) {
                        Ok(same) => same,
                        Err(error) => return ctx.refuse(&name, error),
                    },
                    _ => false,
                };
                let mut send = |key: K2, old: Option<V2>, new: Option<V2>| {
                    let (timestamp, headers) = (record.timestamp, record.headers.clone());
                    down.push(
                        ctx,
                        Record {
                            key,
                            value: Change { old, new },
                            timestamp,
                            headers,
                        },
                    )
                };
                match (old, new) {
                    (Some((_, old)), Some((key, new))) if same_group => {
                        send(key, Some(old), Some(new))
                    }
                    (old, new) => {
                        if let Some((key, old)) = old {
                            send(key, Some(old), None)?;
                        }
                        new.map_or(Ok(()), |(key, new)| send(key, None, Some(new)))
                    }
                }
            }
        });
        Self { changes, serdes }
    }

    /// How many rows each group has; a group that has lost all of them has 0.
    #[track_caller]
    pub fn count(self, store: impl Into<Materialized<K2, u64>>) -> KTable<'b, K2, u64> {
        self.aggregate(
            store,
            || 0,
            |_, _, n| *n += 1,
            |_, _, n| *n = n.saturating_sub(1),
        )
    }

    /// Folds each group's rows with `add`, and takes them back with `subtract`: of a row that
    /// changes within its group first the old value is taken back, and then the new one is added.
    #[track_caller]
    pub fn reduce(
        self,
        store: impl Into<Materialized<K2, V2>>,
        add: impl Fn(V2, V2) -> V2 + Fun,
        subtract: impl Fn(V2, V2) -> V2 + Fun,
    ) -> KTable<'b, K2, V2> {
        self.change(store, move |_, change, row| {
            // The row is taken only if something is subtracted: it must survive a bare addition.
            if let Some(old) = change.old {
                *row = row.take().map(|so_far| subtract(so_far, old));
            }
            if let Some(new) = change.new {
                *row = Some(match row.take() {
                    Some(so_far) => add(so_far, new),
                    None => new,
                });
            }
        })
    }

    /// Changes an aggregate in place: `subtract` takes a row's old value back, `add` brings its new
    /// one, in this order.
    #[track_caller]
    pub fn aggregate<A: Data>(
        self,
        store: impl Into<Materialized<K2, A>>,
        init: impl Fn() -> A + Fun,
        add: impl Fn(&K2, V2, &mut A) + Fun,
        subtract: impl Fn(&K2, V2, &mut A) + Fun,
    ) -> KTable<'b, K2, A> {
        self.change(store, move |key, change, row| {
            // From a group that was never begun there is nothing to take back.
            if let (Some(old), Some(row)) = (change.old, row.as_mut()) {
                subtract(key, old, row);
            }
            if let Some(new) = change.new {
                add(key, new, row.get_or_insert_with(&init));
            }
        })
    }

    #[track_caller]
    fn change<A: Data>(
        self,
        store: impl Into<Materialized<K2, A>>,
        change: impl Fn(&K2, Change<V2>, &mut Option<A>) + Fun,
    ) -> KTable<'b, K2, A> {
        let materialized = store.into();
        let serde = materialized.key;
        let input = self.through(&materialized.name);
        let store = input.builder.store(materialized);
        let change = Arc::new(change);
        let changes = input.operator("aggregate", vec![store.id], move |link| {
            let (change, mut aggregate) = (change.clone(), Aggregate::new(link, store, serde));
            move |ctx: &mut TaskContext, record: Record<K2, Change<V2>>| {
                if record.value.old.is_none() && record.value.new.is_none() {
                    return Ok(());
                }
                aggregate.update(ctx, record, |key, rows, row| {
                    change(key, rows, row);
                    Ok(())
                })
            }
        });
        stored(changes, store)
    }

    /// Always through a repartition topic, as Kafka Streams does, named after the store unless it
    /// has a name of its own.
    #[track_caller]
    fn through(self, store: &str) -> KStream<'b, K2, Change<V2>> {
        let Grouped { key, value, .. } = self.serdes;
        let (builder, name) = (self.changes.builder, self.serdes.name_or(store));
        let formats = (key.codec().name(), value.codec().name());
        let format = format!("{}/change<{}>", formats.0, formats.1);
        let at = std::panic::Location::caller();
        let topic = builder.add_repartition(name, (None, false), format, at);
        let write = move |change: &Change<V2>, out: &mut Vec<u8>| encode(value, change, out);
        self.changes.sink(topic.clone(), key, write, None);
        builder.read_back(topic, key, move |bytes| decode(value, bytes))
    }
}

/// Whether two keys are the same on the log.
fn same<K>(serde: Serde<K>, a: &K, b: &K) -> Result<bool> {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    Ok(serde.encode(a, &mut left)? == serde.encode(b, &mut right)? && left == right)
}

const OLD: u8 = 1;
const NEW: u8 = 2;

/// A byte that says which sides are there; if both are, the old one's length; then the sides. A row
/// that is null is not there, and what has neither side is null itself.
fn encode<V>(serde: Serde<V>, change: &Change<V>, out: &mut Vec<u8>) -> Result<Encoded> {
    const HEAD: usize = 1 + size_of::<u32>();
    let head = out.len();
    out.extend([0; HEAD]);
    let put = |side: &Option<V>, flag, out: &mut Vec<u8>| -> Result<u8> {
        match side {
            // One that is null has nothing else than its headers, if it has any.
            Some(value) if serde.is_null(value) => Ok(0),
            Some(value) if serde.encode(value, out)? == Encoded::Bytes => Ok(flag),
            _ => Ok(0),
        }
    };
    let old = put(&change.old, OLD, out)?;
    let length = out.len() - head - HEAD;
    let flags = old | put(&change.new, NEW, out)?;
    if flags == 0 {
        out.truncate(head);
        return Ok(Encoded::Null);
    }
    out[head] = flags;
    if flags == OLD | NEW {
        let length = u32::try_from(length)
            .map_err(|_| Error::serialization("a row of a grouped table is too large"))?;
        out[head + 1..head + HEAD].copy_from_slice(&length.to_be_bytes());
    } else {
        out.drain(head + 1..head + HEAD);
    }
    Ok(Encoded::Bytes)
}

fn decode<V>(serde: Serde<V>, bytes: Option<&[u8]>) -> Result<Change<V>> {
    let broken = || Error::deserialization("not a change of a grouped table's row");
    let Some(bytes) = bytes else {
        let (old, new) = (None, None);
        return Ok(Change { old, new });
    };
    let (&flags, rest) = bytes.split_first().ok_or_else(broken)?;
    let one = |bytes: &[u8]| serde.decode(Some(bytes)).map(Some);
    Ok(match flags {
        OLD => Change {
            old: one(rest)?,
            new: None,
        },
        NEW => Change {
            old: None,
            new: one(rest)?,
        },
        3 => {
            let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(broken)?;
            let length = u32::from_be_bytes(*length) as usize;
            let (old, new) = rest.split_at_checked(length).ok_or_else(broken)?;
            Change {
                old: one(old)?,
                new: one(new)?,
            }
        }
        _ => return Err(broken()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serde::{Utf8, option, utf8};

    #[test]
    fn changes_survive_the_repartition_topic() {
        let sides = [None, Some(String::new()), Some("row".to_owned())];
        for old in &sides {
            for new in sides.iter().filter(|new| new.is_some() || old.is_some()) {
                let change = Change {
                    old: old.clone(),
                    new: new.clone(),
                };
                let mut out = Vec::new();
                encode(utf8(), &change, &mut out).unwrap();
                assert_eq!(decode(utf8(), Some(&out)).unwrap(), change);
                for cut in 0..out.len() {
                    // Whatever a cut-off record means, it must not panic.
                    let _ = decode(utf8(), Some(&out[..cut])).is_ok();
                }
            }
        }
        assert!(decode(utf8(), Some(&[9])).is_err());
        assert!(decode(utf8(), Some(&[])).is_err());
    }

    #[test]
    fn a_row_that_is_null_is_not_there() {
        let rows = option::<Utf8>();
        let (null, row) = (|| Some(None), || Some(Some("row".to_owned())));
        for (old, new, told) in [
            (null(), row(), (None, row())),
            (row(), null(), (row(), None)),
            (row(), row(), (row(), row())),
            (null(), null(), (None, None)),
            (None, null(), (None, None)),
        ] {
            let mut out = Vec::new();
            let encoded = encode(rows, &Change { old, new }, &mut out).unwrap();
            let bytes = (encoded == Encoded::Bytes).then_some(&out[..]);
            let change = decode(rows, bytes).unwrap();
            assert_eq!((change.old, change.new), told);
        }
    }
}
