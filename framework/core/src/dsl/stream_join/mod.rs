//! Joins of two streams: records of one key that are near in time.
//!
//! Each side keeps its records in a store of its own for as long as a partner may come, and looks
//! for partners in the other's. A stream that is joined with itself keeps them once.

mod declare;
mod itself;
mod joined;
mod side;
mod windows;

pub use joined::StreamJoined;
pub use windows::JoinWindows;

use super::{Fun, KStream};
use crate::link::Data;
use declare::Draft;
use side::Alone;
use std::sync::Arc;

impl<'b, K: Data, V: Data> KStream<'b, K, V> {
    /// Joins records of two streams with equal keys and times within a window: one result for each
    /// pair, with the later of the two times, in the order in which the second of a pair comes.
    ///
    /// Equal records are joined as often as they come. Records that come when everything they could
    /// meet is forgotten are dropped and counted, and so are those with a null key or a null value
    /// (where the type has one: `None` under an `option` serde). If the key of a side was changed
    /// before, that side goes through a repartition topic.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    /// use std::time::Duration;
    ///
    /// static ORDERS: Topic<String, u64> = Topic::new("orders", utf8(), u64_be());
    /// static PAYMENTS: Topic<String, u64> = Topic::new("payments", utf8(), u64_be());
    /// static PAID: Topic<String, u64> = Topic::new("paid", utf8(), u64_be());
    ///
    /// let builder = StreamsBuilder::new();
    /// let (orders, payments) = (builder.stream(&ORDERS), builder.stream(&PAYMENTS));
    /// let hour = JoinWindows::of_time_difference_with_no_grace(Duration::from_secs(3600));
    /// orders
    ///     .join_stream(payments, hour, "paid-orders", |order, payment| order - payment)
    ///     .to(&PAID);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// driver.pipe(&ORDERS, "a".to_owned(), 50, 1_000)?;
    /// driver.pipe(&PAYMENTS, "a".to_owned(), 20, 3_000)?;
    /// assert_eq!(driver.read(&PAID)?, [Record::new("a".to_owned(), 30, 3_000)]);
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[track_caller]
    #[must_use = "a joined stream goes nowhere by itself"]
    pub fn join_stream<V2: Data, W: Data>(
        self,
        other: KStream<'b, K, V2>,
        windows: JoinWindows,
        joined: impl Into<StreamJoined<K, V, V2>>,
        join: impl Fn(&V, &V2) -> W + Fun,
    ) -> KStream<'b, K, W> {
        self.join_stream_with_key(other, windows, joined, move |_, left, right| {
            join(left, right)
        })
    }

    /// As [`KStream::join_stream`], with a joiner that sees the key.
    #[track_caller]
    #[must_use = "a joined stream goes nowhere by itself"]
    pub fn join_stream_with_key<V2: Data, W: Data>(
        self,
        other: KStream<'b, K, V2>,
        windows: JoinWindows,
        joined: impl Into<StreamJoined<K, V, V2>>,
        join: impl Fn(&K, &V, &V2) -> W + Fun,
    ) -> KStream<'b, K, W> {
        let joined = joined.into();
        Draft::new((self, other), windows, joined).inner(join)
    }

    /// As [`KStream::join_stream`], and a left record that meets nothing until its window closes
    /// gives one result with `None`.
    ///
    /// Such results have the time of the left record and come when a record of either side shows
    /// that the window has closed, before the results of that record, ordered by time and key. A
    /// left record whose window has closed when it comes gives its result at once, even if the
    /// grace period would let a partner come still; and so does one with a null key (KIP-962). As
    /// in Kafka Streams, what has waited is looked through once the time is beyond the last of
    /// those that were left the time before, so it may be told a little later than it could be.
    ///
    /// Left records that have met nothing yet lie in memory, in every task, whatever holds the
    /// other stores ([`BufferStore`](crate::store::BufferStore)), and in a changelog: all those of
    /// a window and its grace period.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    /// use std::time::Duration;
    ///
    /// static ADS: Topic<String, String> = Topic::new("ads", utf8(), utf8());
    /// static CLICKS: Topic<String, u64> = Topic::new("clicks", utf8(), u64_be());
    /// static SEEN: Topic<String, String> = Topic::new("seen", utf8(), utf8());
    ///
    /// let builder = StreamsBuilder::new();
    /// let (ads, clicks) = (builder.stream(&ADS), builder.stream(&CLICKS));
    /// let minute = JoinWindows::of_time_difference_with_no_grace(Duration::from_secs(60));
    /// ads.left_join_stream(clicks, minute, "seen-ads", |ad, click: Option<&u64>| {
    ///     format!("{ad} {click:?}")
    /// })
    /// .to(&SEEN);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// driver.pipe(&ADS, "a".to_owned(), "shoes".to_owned(), 0)?;
    /// driver.pipe(&ADS, "b".to_owned(), "books".to_owned(), 60_000)?;
    /// driver.pipe(&CLICKS, "b".to_owned(), 1, 60_001)?;
    /// assert_eq!(
    ///     driver.read(&SEEN)?,
    ///     [
    ///         Record::new("a".to_owned(), "shoes None".to_owned(), 0),
    ///         Record::new("b".to_owned(), "books Some(1)".to_owned(), 60_001),
    ///     ]
    /// );
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[track_caller]
    #[must_use = "a joined stream goes nowhere by itself"]
    pub fn left_join_stream<V2: Data, W: Data>(
        self,
        other: KStream<'b, K, V2>,
        windows: JoinWindows,
        joined: impl Into<StreamJoined<K, V, V2>>,
        join: impl Fn(&V, Option<&V2>) -> W + Fun,
    ) -> KStream<'b, K, W> {
        self.left_join_stream_with_key(other, windows, joined, move |_, left, right| {
            join(left, right)
        })
    }

    /// As [`KStream::left_join_stream`], with a joiner that sees the key.
    #[track_caller]
    #[must_use = "a joined stream goes nowhere by itself"]
    pub fn left_join_stream_with_key<V2: Data, W: Data>(
        self,
        other: KStream<'b, K, V2>,
        windows: JoinWindows,
        joined: impl Into<StreamJoined<K, V, V2>>,
        join: impl Fn(&K, &V, Option<&V2>) -> W + Fun,
    ) -> KStream<'b, K, W> {
        let draft = Draft::new((self, other), windows, joined.into());
        let join = Arc::new(join);
        let (both, left) = (join.clone(), join);
        let alone: Alone<K, V, W> = Arc::new(move |key, value| left(key, value, None));
        draft.outer(move |k, l, r| both(k, l, Some(r)), alone, None)
    }

    /// As [`KStream::left_join_stream`] for both sides: the joiner gets at least one of the two. Of
    /// results with one and the same time, those of right records come first. What has met nothing
    /// yet waits in memory, of both sides.
    #[track_caller]
    #[must_use = "a joined stream goes nowhere by itself"]
    pub fn outer_join_stream<V2: Data, W: Data>(
        self,
        other: KStream<'b, K, V2>,
        windows: JoinWindows,
        joined: impl Into<StreamJoined<K, V, V2>>,
        join: impl Fn(Option<&V>, Option<&V2>) -> W + Fun,
    ) -> KStream<'b, K, W> {
        self.outer_join_stream_with_key(other, windows, joined, move |_, left, right| {
            join(left, right)
        })
    }

    /// As [`KStream::outer_join_stream`], with a joiner that sees the key.
    #[track_caller]
    #[must_use = "a joined stream goes nowhere by itself"]
    pub fn outer_join_stream_with_key<V2: Data, W: Data>(
        self,
        other: KStream<'b, K, V2>,
        windows: JoinWindows,
        joined: impl Into<StreamJoined<K, V, V2>>,
        join: impl Fn(&K, Option<&V>, Option<&V2>) -> W + Fun,
    ) -> KStream<'b, K, W> {
        let draft = Draft::new((self, other), windows, joined.into());
        let join = Arc::new(join);
        let (both, left, right) = (join.clone(), join.clone(), join);
        let left: Alone<K, V, W> = Arc::new(move |key, value| left(key, Some(value), None));
        let right: Alone<K, V2, W> = Arc::new(move |key, value| right(key, None, Some(value)));
        draft.outer(move |k, l, r| both(k, Some(l), Some(r)), left, Some(right))
    }
}
