//! The left side of a foreign-key join: it subscribes to right rows, and makes results of answers.
//!
//! Invariant: a result is only ever made of the left row of now. An answer for an earlier row,
//! which its hash shows, is dropped, except where it says that there is nothing for the foreign key
//! that the row still has: then there is no result until a later answer comes.

use super::{
    super::{Change, Fun, KStream, KTable, stream::handle},
    joined::Places,
    murmur3,
    wire::{self, Answered, Instruction, Right},
};
use crate::{
    error::Result,
    link::{Data, Fanout},
    record::Record,
    serde::{Encoded, Serde},
    task::TaskContext,
    topology::{NodeKind, TopicName},
};
use millstream_state::SmallBytes;
use std::{cell::RefCell, rc::Rc, sync::Arc};

/// Which rows have results.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Those whose foreign key has a row.
    Inner,
    /// All.
    Left,
}

/// What a change of a left row leads to.
#[derive(Clone)]
enum Told<V> {
    /// Something for the right side to do, under a foreign key.
    Subscription {
        foreign_key: SmallBytes,
        instruction: Instruction,
        /// Whether the row had another foreign key before, or none.
        new: bool,
        hash: u128,
    },
    /// A row that no answer is needed for: one without a foreign key, or a deleted one.
    Row(Option<V>),
}

/// The children of the node that tells it, in this order.
const TO_RIGHT_SIDE: usize = 0;
const TO_RESULT: usize = 1;

/// What both nodes of the left side know of its rows.
pub(super) struct Left<K: 'static, V: 'static, K2: 'static, F> {
    pub(super) kind: Kind,
    pub(super) foreign_key: Arc<F>,
    pub(super) key: Serde<K>,
    /// What of a row is hashed: its bytes alone, so that a table that comes to have headers, or
    /// loses them, still knows its rows.
    pub(super) row: Serde<V>,
    pub(super) right_key: Serde<K2>,
}

impl<K, V, K2, F> Clone for Left<K, V, K2, F> {
    fn clone(&self) -> Self {
        Self {
            foreign_key: self.foreign_key.clone(),
            ..*self
        }
    }
}

impl<K, V, K2, F: Fn(&K, &V) -> Option<K2>> Left<K, V, K2, F> {
    /// A row's foreign key as the right side's topic writes it.
    fn foreign_key(&self, key: &K, row: &V, out: &mut Vec<u8>) -> Result<Option<SmallBytes>> {
        let Some(foreign_key) = (self.foreign_key)(key, row) else {
            return Ok(None);
        };
        out.clear();
        let encoded = self.right_key.encode(&foreign_key, out)?;
        Ok((encoded == Encoded::Bytes).then(|| SmallBytes::from(&out[..])))
    }

    fn hash(&self, row: &V, out: &mut Vec<u8>) -> Result<u128> {
        wire::present(self.row, row, out)?;
        Ok(murmur3::hash128(out))
    }

    /// What the right side is asked to do for a row with this foreign key.
    fn instruction(&self, before: Option<&SmallBytes>, now: &SmallBytes) -> Instruction {
        match before {
            // Every row has a result, so every subscription needs an answer.
            _ if self.kind == Kind::Left => Instruction::PropagateNullIfNoFkValAvailable,
            Some(before) if before != now => Instruction::PropagateNullIfNoFkValAvailable,
            _ => Instruction::PropagateOnlyIfFkValAvailable,
        }
    }
}

/// Sends the subscriptions of a table's rows to a topic, each to where its foreign key lies, and
/// returns the node that also tells which rows need none.
#[track_caller]
pub(super) fn subscribe<'b, K: Data, V: Data, K2: Data, F: Fn(&K, &V) -> Option<K2> + Fun>(
    table: KTable<'b, K, V>,
    left: &Left<K, V, K2, F>,
    topic: TopicName,
    places: Places<K2>,
) -> Telling<'b, K, V> {
    let side = left.clone();
    let told = table.changes.operator("subscribe", vec![], move |link| {
        link.want_old();
        let (side, mut down) = (side.clone(), link.downstream::<K, Told<V>>());
        let (name, mut scratch) = (link.name().to_owned(), Vec::new());
        move |ctx: &mut TaskContext, record: Record<K, Change<V>>| match side.plan(
            &record.key,
            &record.value,
            &mut scratch,
        ) {
            Ok(plan) => side.tell(ctx, &mut down, record, plan),
            Err(error) => ctx.refuse(&name, error),
        }
    });
    let key = left.key;
    let write = move |ctx: &mut TaskContext, to, record: &Record<K, Told<V>>| match &record.value {
        Told::Subscription {
            foreign_key,
            instruction,
            new,
            hash,
        } => {
            let write_key = |out: &mut Vec<u8>| key.encode(&record.key, out);
            places.write((ctx, to), foreign_key, |ctx| {
                ctx.emit(
                    to,
                    record,
                    &record.headers,
                    |_, out| raw(foreign_key, out),
                    |_, out| wire::write_subscription((*instruction, *new), *hash, write_key, out),
                )
            })
        }
        Told::Row(_) => Ok(()),
    };
    told.builder.add_sink(topic, vec![told.node], write);
    Telling(told)
}

fn raw(bytes: &[u8], out: &mut Vec<u8>) -> Result<Encoded> {
    out.extend_from_slice(bytes);
    Ok(Encoded::Bytes)
}

/// The node that tells what changes of left rows lead to.
pub(super) struct Telling<'b, K, V>(KStream<'b, K, Told<V>>);

/// What a change of a left row asks of the right side.
struct Plan<V> {
    unsubscribe: Option<Told<V>>,
    subscribe: Option<Told<V>>,
    /// Whether the row before had a foreign key, and so may have a result.
    had_key: bool,
}

impl<K: Data, V: Data, K2: Data, F: Fn(&K, &V) -> Option<K2>> Left<K, V, K2, F> {
    fn plan(&self, key: &K, change: &Change<V>, scratch: &mut Vec<u8>) -> Result<Plan<V>> {
        let mut foreign_key = |row: Option<&V>| match row {
            Some(row) => self.foreign_key(key, row, scratch),
            None => Ok(None),
        };
        let before = foreign_key(change.old.as_ref())?;
        let now = foreign_key(change.new.as_ref())?;
        let had_key = before.is_some();
        let instruction = now
            .as_ref()
            .map(|now| self.instruction(before.as_ref(), now));
        let new = before != now;
        let unsubscribe = before.filter(|before| Some(before) != now.as_ref());
        let subscribe = match (&change.new, now, instruction) {
            (Some(row), Some(foreign_key), Some(instruction)) => Some(Told::Subscription {
                foreign_key,
                instruction,
                new,
                hash: self.hash(row, scratch)?,
            }),
            _ => None,
        };
        Ok(Plan {
            unsubscribe: unsubscribe.map(|foreign_key| Told::Subscription {
                foreign_key,
                instruction: Instruction::DeleteKeyNoPropagate,
                new: false,
                hash: 0,
            }),
            subscribe,
            had_key,
        })
    }

    fn tell(
        &self,
        ctx: &mut TaskContext,
        down: &mut Fanout<K, Told<V>>,
        record: Record<K, Change<V>>,
        plan: Plan<V>,
    ) -> Result<()> {
        let Record {
            key,
            value: Change { old, new },
            timestamp,
            headers,
        } = record;
        let mut send = |ctx: &mut TaskContext, child, key, value| {
            let headers = headers.clone();
            down.push_to(
                child,
                ctx,
                Record {
                    key,
                    value,
                    timestamp,
                    headers,
                },
            )
        };
        if let Some(unsubscribe) = plan.unsubscribe {
            send(ctx, TO_RIGHT_SIDE, key.clone(), unsubscribe)?;
        }
        if let Some(subscribe) = plan.subscribe {
            return send(ctx, TO_RIGHT_SIDE, key, subscribe);
        }
        match self.kind {
            Kind::Left if old.is_none() && new.is_none() => Ok(()),
            Kind::Left => send(ctx, TO_RESULT, key, Told::Row(new)),
            Kind::Inner => {
                if new.is_some() {
                    // A row without a foreign key has no place in an inner join.
                    ctx.drop_null_key()?;
                }
                if plan.had_key {
                    send(ctx, TO_RESULT, key, Told::Row(None))
                } else {
                    Ok(())
                }
            }
        }
    }
}

/// Makes results of answers, and of rows that need none.
#[track_caller]
pub(super) fn resolve<'b, K: Data, V: Data, K2: Data, V2: Data, W: Data, F>(
    Telling(told): Telling<'b, K, V>,
    answers: KStream<'b, K, Answered<V2>>,
    table: KTable<'b, K, V>,
    left: Left<K, V, K2, F>,
    combine: impl Fn(&V, Option<&V2>) -> Option<W> + Fun,
) -> KStream<'b, K, Change<W>>
where
    F: Fn(&K, &V) -> Option<K2> + Fun,
{
    let (builder, (view, facts)) = (told.builder, table.rows());
    let (parents, combine) = (vec![told.node, answers.node], Arc::new(combine));
    let (operator, writers) = (NodeKind::Operator, facts.writers());
    let node = builder.add(
        "foreign_result",
        operator,
        parents,
        facts.stores(),
        move |link| {
            // Answers are judged by the row that the table has: the right side must know of each
            // that it had, or one that came and went before the commit hides that an answer is due.
            link.want_each_of(writers.iter().copied());
            let down = Rc::new(RefCell::new(link.downstream::<K, Change<W>>()));
            let (name, answered) = (link.name().to_owned(), down.clone());
            let (view, left, joined) = (view.clone(), left.clone(), combine.clone());
            let mut scratch = Vec::new();
            link.upstream_of(
                1,
                move |ctx: &mut TaskContext, record: Record<K, Answered<V2>>| {
                    let (key, answer) = (&record.key, &record.value);
                    let verdict = view.with(ctx, key, |found| match found {
                        Some((row, _)) => left.judge(key, row, answer, &*joined, &mut scratch),
                        // The deletion has been told.
                        None => Ok(None),
                    });
                    match verdict.and_then(|verdict| verdict) {
                        Ok(Some(new)) => answered
                            .borrow_mut()
                            .push(ctx, record.with_value(Change { old: None, new })),
                        Ok(None) => Ok(()),
                        Err(error) => ctx.refuse(&name, error),
                    }
                },
            );
            let combine = combine.clone();
            link.upstream_of(
                0,
                move |ctx: &mut TaskContext, record: Record<K, Told<V>>| {
                    let Told::Row(row) = &record.value else {
                        return Ok(());
                    };
                    let new = row.as_ref().and_then(|row| combine(row, None));
                    down.borrow_mut()
                        .push(ctx, record.with_value(Change { old: None, new }))
                },
            );
        },
    );
    handle(builder, node, None)
}

impl<K, V, K2, F: Fn(&K, &V) -> Option<K2>> Left<K, V, K2, F> {
    /// The result of an answer for the row of now, `Some(None)` being a tombstone; `None` where the
    /// answer is of no use any more.
    fn judge<V2, W>(
        &self,
        key: &K,
        row: &V,
        answer: &Answered<V2>,
        combine: impl Fn(&V, Option<&V2>) -> Option<W>,
        scratch: &mut Vec<u8>,
    ) -> Result<Option<Option<W>>> {
        if self.hash(row, scratch)? == answer.hash {
            let right = match &answer.right {
                Right::Row(right) => Some(right),
                Right::Nothing(_) => None,
            };
            return Ok(Some(combine(row, right)));
        }
        match &answer.right {
            // Only an inner join may have no later answer: it asks not to be told twice of nothing.
            Right::Nothing(asked) if self.kind == Kind::Inner => {
                let now = self.foreign_key(key, row, scratch)?;
                Ok((now.as_ref() == Some(asked)).then_some(None))
            }
            _ => Ok(None),
        }
    }
}
