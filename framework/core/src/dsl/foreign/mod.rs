//! Table-table joins by a foreign key: each left row meets the right row that it names.
//!
//! The two rows may lie in different tasks. So a left row sends a *subscription* to the task of its
//! foreign key, which keeps it and answers with the right row, now and whenever that changes:
//!
//! ```text
//!   left table --> <name>-subscription-registration --> <name>-subscription-store <-- right table
//!     result <---- <name>-subscription-response <------------ answers <---------------'
//! ```
//!
//! Subscriptions are partitioned by the foreign key's bytes, answers by the left key's, each as the
//! table's own topic writes them, or as the program says that the keys of that topic lie
//! ([`TableJoined`]). Invariant: once all topics are drained, what was told is the join of the two
//! tables, in whatever order their tasks ran. Two things differ from Kafka Streams to make it so. A
//! deleted left row, or one that loses its foreign key, is told by the left side
//! itself and not by an answer, which a new row might overtake. And an inner join heeds an answer
//! that says "nothing" also for an earlier row, if the foreign key is still the same. As there, a
//! row that is deleted and comes back equal while answers are on their way cannot be told from the
//! first one.

mod joined;
mod left;
mod murmur3;
mod right;
mod wire;

use super::{Fun, KTable, stream::handle, table::derived, view::Facts};
use crate::{link::Data, store::Materialized, topology::NodeId};
use joined::Places;
pub use joined::TableJoined;
use left::{Kind, Left};
use std::{panic::Location, sync::Arc};

impl<'b, K: Data, V: Data> KTable<'b, K, V> {
    /// The rows of this table whose foreign key has a row in the other, each with a result made of
    /// the two; a result disappears with either row, and with the foreign key (KIP-213).
    ///
    /// The tables need not be partitioned alike, and where one is not by its key's bytes, the join
    /// is told so ([`TableJoined::with_partitioner`]). Both sides trigger, and many rows of this
    /// one may name one row of the other. A row whose `foreign_key` is `None` is counted as
    /// dropped. What it says must follow from the row as its serde writes it, and is part of
    /// the state: a program in which it says something else of the same row needs another name
    /// for the join, or a reset. The time of a result is the later of the two rows' where a
    /// left row changed, and that of the right row where that did. Results come eventually and
    /// in no order across keys; tombstones may be told of keys that had none, as in Kafka
    /// Streams.
    ///
    /// The result cannot be looked up by key: to join or to group it, put
    /// [`materialize`](KTable::materialize) behind it.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    ///
    /// /// Who bought what.
    /// static ORDERS: Topic<u64, (String, String)> = Topic::new("orders", u64_be(), bincode());
    /// static MAILS: Topic<String, String> = Topic::new("mails", utf8(), utf8());
    /// static LETTERS: Topic<u64, String> = Topic::new("letters", u64_be(), utf8());
    ///
    /// let builder = StreamsBuilder::new();
    /// let mails = builder.table(&MAILS, "mails");
    /// let orders = builder.table(&ORDERS, "orders");
    /// let buyer = |_: &u64, order: &(String, String)| Some(order.0.clone());
    /// let letter = |order: &(String, String), mail: &String| format!("to {mail}: {}", order.1);
    /// orders.foreign_key_join(mails, buyer, letter, "order-mails").to(&LETTERS);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// driver.pipe(&ORDERS, 7, ("ann".to_owned(), "pen".to_owned()), 0)?;
    /// driver.pipe(&MAILS, "ann".to_owned(), "ann@a.example".to_owned(), 1)?;
    /// let letters = driver.read_key_values(&LETTERS)?;
    /// assert_eq!(letters, [(7, Some("to ann@a.example: pen".to_owned()))]);
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[track_caller]
    #[must_use = "a joined table goes nowhere by itself"]
    pub fn foreign_key_join<K2: Data, V2: Data, W: Data>(
        self,
        other: KTable<'b, K2, V2>,
        foreign_key: impl Fn(&K, &V) -> Option<K2> + Fun,
        join: impl Fn(&V, &V2) -> W + Fun,
        joined: impl Into<TableJoined<K, V, K2, V2>>,
    ) -> KTable<'b, K, W> {
        let combine = move |left: &V, right: Option<&V2>| right.map(|right| join(left, right));
        self.foreign(other, (Kind::Inner, foreign_key), combine, joined.into())
    }

    /// All rows of this table, each with a result made of it and the row that its foreign key has
    /// in the other table, if there is one. A row whose `foreign_key` is `None` has a result too.
    /// Everything else is as in [`foreign_key_join`](KTable::foreign_key_join).
    #[track_caller]
    #[must_use = "a joined table goes nowhere by itself"]
    pub fn foreign_key_left_join<K2: Data, V2: Data, W: Data>(
        self,
        other: KTable<'b, K2, V2>,
        foreign_key: impl Fn(&K, &V) -> Option<K2> + Fun,
        join: impl Fn(&V, Option<&V2>) -> W + Fun,
        joined: impl Into<TableJoined<K, V, K2, V2>>,
    ) -> KTable<'b, K, W> {
        let combine = move |left: &V, right: Option<&V2>| Some(join(left, right));
        self.foreign(other, (Kind::Left, foreign_key), combine, joined.into())
    }

    #[track_caller]
    fn foreign<K2: Data, V2: Data, W: Data, F: Fn(&K, &V) -> Option<K2> + Fun>(
        self,
        other: KTable<'b, K2, V2>,
        (kind, foreign_key): (Kind, F),
        combine: impl Fn(&V, Option<&V2>) -> Option<W> + Fun,
        joined: TableJoined<K, V, K2, V2>,
    ) -> KTable<'b, K, W> {
        let (builder, at) = (self.changes.builder, Location::caller());
        let TableJoined {
            name,
            left,
            right,
            choose,
            choose_other,
        } = joined;
        let result = Facts::default();
        let nothing = |changes| derived(changes, |_, _| Ok(None), result);
        if !builder.must_be(other.changes.builder) {
            return nothing(handle(builder, NodeId(0), None));
        }
        if self.rows().1.bases.is_empty() || other.rows().1.bases.is_empty() {
            return nothing(handle(builder, NodeId(0), None));
        }
        self.must_be_exact();
        let (this, other) = (self.in_order(true), other.in_order(true));
        let keys = (this.key_serde(), other.key_serde());
        let (Some(key), Some(right_key)) = keys else {
            let text = "the key of a table in a foreign-key join must be the key of its topic, or \
                        the join cannot know how to write it";
            builder.mistake(at, text.to_owned());
            return nothing(handle(builder, NodeId(0), None));
        };
        let topic = |side: &str, placed: bool, format: String| {
            let topic = format!("{name}-subscription-{side}");
            builder.add_repartition(&topic, (None, placed), format, at)
        };
        let placed = (choose.is_some(), choose_other.is_some());
        let places = (Places::of(key, choose), Places::of(right_key, choose_other));
        let keys = (key.codec().name(), right_key.codec().name());
        let asked = format!("{}/subscription<{}>", keys.1, keys.0);
        let told = format!("{}/answer<{}>", keys.0, right.codec().name());
        let registration = topic("registration", placed.1, asked);
        let response = topic("response", placed.0, told);
        let store = Materialized::with(
            format!("{name}-subscription-store"),
            wire::raw(),
            wire::hash(),
        );
        let store = builder.add_key_value(store, false, at);
        let side = Left {
            kind,
            foreign_key: Arc::new(foreign_key),
            key,
            row: left.apart().bytes,
            right_key,
        };
        let telling = left::subscribe(this, &side, registration.clone(), places.1);
        let subscriptions = builder.read_back(registration, wire::raw(), wire::read_subscription);
        builder.must_be_copartitioned(subscriptions.node, other.changes.node, at);
        let serdes = (right_key, right);
        let answers = [
            right::subscribed(subscriptions, other, store, serdes).node,
            right::changed(other, store, serdes).node,
        ];
        builder.add_sink(response.clone(), answers.to_vec(), right::send(places.0));
        let read = move |bytes: Option<&[u8]>| wire::read_answer(right, bytes);
        let answered = builder.read_back(response, key, read);
        builder.must_be_copartitioned(answered.node, this.changes.node, at);
        nothing(left::resolve(telling, answered, this, side, combine))
    }
}
