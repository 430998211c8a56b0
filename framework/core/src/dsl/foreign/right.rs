//! The right side of a foreign-key join: it keeps who wants to hear of which row, and answers.
//!
//! Invariant: answers for one foreign key are sent in the order of what they answer, subscriptions
//! and changes of the right row alike, so the left side may judge them by their order.
//!
//! That a subscription is new is believed, since only the left side can know. Where that is wrong,
//! as after the loss of its state, a subscription that has ended may stay in the store. It does no
//! harm: it has the hash of a row that is not the row of now, and answers to such are dropped; and
//! if that row comes back, it names the same right row, and its subscription is this one.

use super::{
    super::{Change, Fun, KStream, KTable, view::View},
    joined::Places,
    wire::{self, Answer, Instruction, Subscription},
};
use crate::{
    error::Result,
    link::{Data, Fanout},
    record::{Record, Timestamp},
    serde::Serde,
    store::{KeyValueStore, StoreHandle, StoreRef},
    task::{OutputId, TaskContext},
};
use millstream_state::SmallBytes;
use std::{ops::ControlFlow, rc::Rc, sync::Arc};

/// The hash of each left row that wants to hear of a right one: by foreign key, then by left key.
pub(super) type Subscriptions = KeyValueStore<SmallBytes, u128>;

/// Answers by left key as bytes: nothing on this side needs to read them.
type Answers = Fanout<SmallBytes, Answer>;

/// Keeps each subscription, or deletes it, and answers it with the right row of now.
#[track_caller]
pub(super) fn subscribed<'b, K: Data, V: Data>(
    subscriptions: KStream<'b, SmallBytes, Subscription>,
    table: KTable<'b, K, V>,
    store: StoreHandle<Subscriptions>,
    (key, value): (Serde<K>, Serde<V>),
) -> KStream<'b, SmallBytes, Answer> {
    let (view, facts) = table.rows();
    let (stores, writers) = ([vec![store.id], facts.stores()].concat(), facts.writers());
    subscriptions.operator("subscription_join", stores, move |link| {
        // An answer made of a row that nobody is told of, because it went before the commit, would
        // never be taken back.
        link.want_each_of(writers.iter().copied());
        let mut desk = Desk {
            view: view.clone(),
            store: store.reference(),
            key,
            value,
            down: link.downstream(),
            scratch: Vec::new(),
        };
        let name = link.name().to_owned();
        move |ctx: &mut TaskContext, record: Record<SmallBytes, Subscription>| match desk
            .take(ctx, &record)
        {
            Ok(Some((value, timestamp))) => {
                let (key, headers) = (record.value.key, record.headers);
                desk.down.push(
                    ctx,
                    Record {
                        key,
                        value,
                        timestamp,
                        headers,
                    },
                )
            }
            Ok(None) => Ok(()),
            Err(error) => ctx.refuse(&name, error),
        }
    })
}

/// Writes an answer to the topic that takes it to the left row's task.
pub(super) fn send<K: Data>(
    places: Places<K>,
) -> impl Fn(&mut TaskContext, OutputId, &Record<SmallBytes, Answer>) -> Result<()> + Fun {
    move |ctx, to, answer| {
        places.write((ctx, to), &answer.key, |ctx| {
            ctx.emit(
                to,
                answer,
                &answer.headers,
                |key, out| wire::raw().encode(key, out),
                |answer, out| Ok(wire::write_answer(answer, out)),
            )
        })
    }
}

/// Where subscriptions are taken, in a task.
struct Desk<K: 'static, V: 'static> {
    view: Arc<View<K, V>>,
    store: StoreRef<Subscriptions>,
    key: Serde<K>,
    value: Serde<V>,
    down: Answers,
    scratch: Vec<u8>,
}

impl<K: Data, V: Data> Desk<K, V> {
    /// The answer to a subscription, and the later of the times of the two rows.
    fn take(
        &mut self,
        ctx: &mut TaskContext,
        record: &Record<SmallBytes, Subscription>,
    ) -> Result<Option<(Answer, Timestamp)>> {
        let (foreign_key, timestamp) = (&record.key, record.timestamp);
        let Subscription {
            instruction,
            new,
            hash,
            ref key,
        } = record.value;
        self.scratch.clear();
        wire::write_key(foreign_key, key, &mut self.scratch)?;
        let at = SmallBytes::from(&self.scratch[..]);
        let deleted = instruction == Instruction::DeleteKeyNoPropagate;
        // Nothing is read: what was there does not matter.
        let subscriptions = ctx.store(self.store);
        if deleted {
            subscriptions.upsert(&at, None, timestamp, false)?;
            return Ok(None);
        }
        // One that comes and goes soon need not go to the disk.
        if new {
            subscriptions.put_new(&at, hash, timestamp)?;
        } else {
            subscriptions.upsert(&at, Some(hash), timestamp, false)?;
        }
        let row_key = self.key.decode(Some(foreign_key))?;
        let (scratch, value) = (&mut self.scratch, self.value);
        let time = self.view.with(ctx, &row_key, |found| {
            let row = found.map(|(row, time)| wire::present(value, row, scratch).map(|()| time));
            row.transpose()
        })??;
        let silent = instruction == Instruction::PropagateOnlyIfFkValAvailable;
        let bytes = match time {
            Some(_) => Rc::from(&self.scratch[..]),
            None if silent => return Ok(None),
            None => Rc::from(&foreign_key[..]),
        };
        let found = time.is_some();
        let answer = Answer { hash, found, bytes };
        Ok(Some((
            answer,
            time.max(Some(timestamp)).unwrap_or(timestamp),
        )))
    }
}

/// Tells every left row that has subscribed to a right one when that changes. The answer has the
/// time of the right row alone, as in Kafka Streams.
#[track_caller]
pub(super) fn changed<'b, K: Data, V: Data>(
    table: KTable<'b, K, V>,
    store: StoreHandle<Subscriptions>,
    (key, value): (Serde<K>, Serde<V>),
) -> KStream<'b, SmallBytes, Answer> {
    table
        .changes
        .operator("foreign_join", vec![store.id], move |link| {
            let (at, mut down, name) =
                (store.reference(), link.downstream(), link.name().to_owned());
            let (mut prefix, mut scratch, mut subscribed) = (Vec::new(), Vec::new(), Vec::new());
            move |ctx: &mut TaskContext, record: Record<K, Change<V>>| {
                let Record {
                    key: row_key,
                    value: Change { new, .. },
                    timestamp,
                    headers,
                } = record;
                let told = subscribers(
                    (ctx.store(at), key),
                    &row_key,
                    (&mut prefix, &mut scratch),
                    &mut subscribed,
                );
                let bytes: Result<Rc<[u8]>> = told.and_then(|()| match &new {
                    _ if subscribed.is_empty() => Ok(Rc::default()),
                    Some(row) => {
                        wire::present(value, row, &mut scratch)?;
                        Ok(Rc::from(&scratch[..]))
                    }
                    None => Ok(Rc::from(&scratch[..])),
                });
                let bytes = match bytes {
                    Ok(bytes) => bytes,
                    Err(error) => return ctx.refuse(&name, error),
                };
                for (key, hash) in subscribed.drain(..) {
                    let answer = Answer {
                        hash,
                        found: new.is_some(),
                        bytes: bytes.clone(),
                    };
                    down.push(
                        ctx,
                        Record {
                            key,
                            value: answer,
                            timestamp,
                            headers: headers.clone(),
                        },
                    )?;
                }
                Ok(())
            }
        })
}

/// All that subscribed to a foreign key, with the foreign key's bytes left in the second buffer.
fn subscribers<K: Data>(
    (store, key): (&mut Subscriptions, Serde<K>),
    foreign_key: &K,
    (prefix, foreign): (&mut Vec<u8>, &mut Vec<u8>),
    found: &mut Vec<(SmallBytes, u128)>,
) -> Result<()> {
    wire::present(key, foreign_key, foreign)?;
    prefix.clear();
    wire::write_prefix(foreign, prefix)?;
    found.clear();
    store.prefix_scan(prefix, |left_key, hash, _| {
        found.push((SmallBytes::from(left_key), hash));
        ControlFlow::Continue(())
    })
}
