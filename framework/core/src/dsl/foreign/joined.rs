//! What a foreign-key join is called, how it reads rows, and where the keys of its tables lie.

use super::super::{
    Fun,
    partitioned::{KeyPartitioner, Partitions, settle},
};
use crate::{
    error::Result,
    link::Data,
    serde::Serde,
    store::{Storable, default_value},
    task::{OutputId, TaskContext},
};
use std::sync::Arc;

/// The name of a foreign-key join, the serdes of its two tables' rows, and partitioners where a
/// table's topic is not partitioned by its key's bytes; a plain name is enough where the rows are
/// [`Storable`].
pub struct TableJoined<K: 'static, V: 'static, K2: 'static, V2: 'static> {
    pub(super) name: String,
    pub(super) left: Serde<V>,
    pub(super) right: Serde<V2>,
    pub(super) choose: Option<KeyPartitioner<K>>,
    pub(super) choose_other: Option<KeyPartitioner<K2>>,
}

impl<K, V, K2, V2> TableJoined<K, V, K2, V2> {
    /// Names the join's topics `<name>-subscription-registration` and `-response` and its store
    /// `<name>-subscription-store`.
    ///
    /// Left rows are only hashed, to tell them from earlier ones: `left` must write the same bytes
    /// for a row that was stored and read back, which a serde of hash maps does not.
    pub fn with(name: impl Into<String>, left: Serde<V>, right: Serde<V2>) -> Self {
        Self {
            name: name.into(),
            left,
            right,
            choose: None,
            choose_other: None,
        }
    }
}

impl<K: Data, V, K2: Data, V2> TableJoined<K, V, K2, V2> {
    /// Says in which of so many partitions a key of this table lies: the one that asks, on the left
    /// of the join. It must be where [`Produced::with_partitioner`] or
    /// [`Repartitioned::with_partitioner`] has put the key, or whoever else writes the table's
    /// topic; otherwise answers come to a task that does not have the row, and come to nothing.
    ///
    /// There is no value here, because a row's answer must find it whatever it has become, and so
    /// there is exactly one partition: several, or none (a [`Partitions::Each`] that is not of one)
    /// are refused, as is a partition that the topic does not have. What `choose` leaves open goes
    /// by the key's bytes, as all does for a table without a partitioner.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    ///
    /// static ORDERS: Topic<String, String> = Topic::new("orders", utf8(), utf8());
    /// static BUYERS: Topic<u64, String> = Topic::new("buyers", u64_be(), utf8());
    /// static NAMED: Topic<String, String> = Topic::new("named-orders", utf8(), utf8());
    ///
    /// /// Orders `fr-7` and `fr-8` lie together, as all of a country do.
    /// fn by_country(order: &str, partitions: u32) -> u32 {
    ///     let country = order.split('-').next().unwrap_or_default();
    ///     country.bytes().map(u32::from).sum::<u32>() % partitions
    /// }
    ///
    /// let builder = StreamsBuilder::new();
    /// let spread = Repartitioned::with("orders-by-country", utf8(), utf8())
    ///     .with_partitioner(|order: &String, _, partitions| by_country(order, partitions));
    /// let orders = builder.stream(&ORDERS).repartition(spread).to_table("orders");
    /// let joined = TableJoined::with("order-buyers", utf8(), utf8())
    ///     .with_partitioner(|order: &String, partitions| by_country(order, partitions))
    ///     // And whoever writes the topic of buyers deals them out by their numbers.
    ///     .with_other_partitioner(|buyer: &u64, count| (*buyer % u64::from(count)) as u32);
    /// let buyer = |_: &String, order: &String| order.parse().ok();
    /// let buyers = builder.table(&BUYERS, "buyers");
    /// orders.foreign_key_join(buyers, buyer, |_, name| name.clone(), joined).to(&NAMED);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// driver.pipe(&ORDERS, "fr-7".to_owned(), "12".to_owned(), 0)?;
    /// driver.pipe(&BUYERS, 12, "ann".to_owned(), 1)?;
    /// let named = driver.read_key_values(&NAMED)?;
    /// assert_eq!(named, [("fr-7".to_owned(), Some("ann".to_owned()))]);
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    ///
    /// [`Produced::with_partitioner`]: crate::dsl::Produced::with_partitioner
    /// [`Repartitioned::with_partitioner`]: crate::dsl::Repartitioned::with_partitioner
    #[must_use]
    pub fn with_partitioner<P: Into<Partitions>>(
        self,
        choose: impl Fn(&K, u32) -> P + Fun,
    ) -> Self {
        Self {
            choose: Some(Arc::new(move |key, count| choose(key, count).into())),
            ..self
        }
    }

    /// As [`TableJoined::with_partitioner`], of the other table, whose keys are the foreign ones.
    #[must_use]
    pub fn with_other_partitioner<P: Into<Partitions>>(
        self,
        choose: impl Fn(&K2, u32) -> P + Fun,
    ) -> Self {
        Self {
            choose_other: Some(Arc::new(move |key, count| choose(key, count).into())),
            ..self
        }
    }
}

impl<K, V: Storable, K2, V2: Storable> From<&str> for TableJoined<K, V, K2, V2> {
    fn from(name: &str) -> Self {
        Self::with(name, default_value(), default_value())
    }
}

/// Where the keys of one of the tables lie.
pub(super) struct Places<K: 'static> {
    key: Serde<K>,
    choose: Option<KeyPartitioner<K>>,
}

impl<K: Data> Places<K> {
    pub(super) fn of(key: Serde<K>, choose: Option<KeyPartitioner<K>>) -> Self {
        Self { key, choose }
    }

    /// Writes what is for a key, with `write`, to where that lies. The key comes as bytes, since
    /// only a partitioner needs to read it.
    pub(super) fn write(
        &self,
        (ctx, to): (&mut TaskContext, OutputId),
        key: &[u8],
        write: impl FnOnce(&mut TaskContext) -> Result<()>,
    ) -> Result<()> {
        match &self.choose {
            Some(choose) => settle(ctx, to, &self.key.decode(Some(key))?, choose, write),
            None => write(ctx),
        }
    }
}
