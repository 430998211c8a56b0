//! Table-table joins by primary key: whichever side changes meets the other's row of that moment.
//!
//! Invariant: what was told of a key, applied in order, is the join of the two rows that the sides
//! have now, once both have told their changes.

use super::{
    Change, Fun, KTable,
    stream::handle,
    table::{Silence, derived},
    view::{Facts, View},
};
use crate::{
    error::Result,
    link::{Data, Fanout, Linker},
    record::{Record, Timestamp},
    task::TaskContext,
    topology::NodeKind,
};
use std::{any::Any, cell::RefCell, panic::Location, rc::Rc, sync::Arc};

/// Which rows make a row of the result.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Inner,
    Left,
    Outer,
}

impl<'b, K: Data, V: Data> KTable<'b, K, V> {
    /// The keys that have a row on both sides, with a row made of the two.
    ///
    /// Both sides trigger: a change of either meets the other's row of that moment, and the
    /// result's timestamp is the later of the two rows'. Where a result ceases to be, a tombstone
    /// is told; where there was none and is none, nothing. Both tables must be partitioned alike.
    ///
    /// The result has no store: whoever looks a key up joins the rows again. To keep it in a store,
    /// put [`materialize`](KTable::materialize) behind it.
    ///
    /// A table joined with itself tells each change once. Where both sides are otherwise computed
    /// from one table, a record changes both at once: each tells of it, and of a deletion perhaps
    /// without need. Such a result must be materialized before it is grouped.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    ///
    /// static PRICES: Topic<String, u64> = Topic::new("prices", utf8(), u64_be());
    /// static STOCK: Topic<String, u64> = Topic::new("stock", utf8(), u64_be());
    /// static WORTH: Topic<String, u64> = Topic::new("worth", utf8(), u64_be());
    ///
    /// let builder = StreamsBuilder::new();
    /// let prices = builder.table(&PRICES, "prices");
    /// let stock = builder.table(&STOCK, "stock");
    /// prices.join(stock, |price, pieces| price * pieces).to(&WORTH);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// driver.pipe(&PRICES, "pen".to_owned(), 3, 0)?;
    /// driver.pipe(&STOCK, "pen".to_owned(), 10, 1)?;
    /// driver.pipe_tombstone(&PRICES, &"pen".to_owned(), 2)?;
    /// let pen = |worth| ("pen".to_owned(), worth);
    /// assert_eq!(driver.read_key_values(&WORTH)?, [pen(Some(30)), pen(None)]);
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[track_caller]
    #[must_use = "a joined table goes nowhere by itself"]
    pub fn join<V2: Data, W: Data>(
        self,
        other: KTable<'b, K, V2>,
        join: impl Fn(&V, &V2) -> W + Fun,
    ) -> KTable<'b, K, W> {
        self.meet(other, Kind::Inner, move |left, right| {
            Some(join(left?, right?))
        })
    }

    /// The keys that this table has, with a row made of its row and the other's, if there is one.
    /// Everything else is as in [`join`](KTable::join).
    #[track_caller]
    #[must_use = "a joined table goes nowhere by itself"]
    pub fn left_join<V2: Data, W: Data>(
        self,
        other: KTable<'b, K, V2>,
        join: impl Fn(&V, Option<&V2>) -> W + Fun,
    ) -> KTable<'b, K, W> {
        self.meet(other, Kind::Left, move |left, right| {
            Some(join(left?, right))
        })
    }

    /// The keys that either table has, with a row made of the one or two rows that there are.
    /// Everything else is as in [`join`](KTable::join); `join` is never called with two `None`s.
    #[track_caller]
    #[must_use = "a joined table goes nowhere by itself"]
    pub fn outer_join<V2: Data, W: Data>(
        self,
        other: KTable<'b, K, V2>,
        join: impl Fn(Option<&V>, Option<&V2>) -> W + Fun,
    ) -> KTable<'b, K, W> {
        self.meet(other, Kind::Outer, move |left, right| {
            (left.is_some() || right.is_some()).then(|| join(left, right))
        })
    }

    #[track_caller]
    fn meet<V2: Data, W: Data>(
        self,
        other: KTable<'b, K, V2>,
        kind: Kind,
        combine: impl Fn(Option<&V>, Option<&V2>) -> Option<W> + Fun,
    ) -> KTable<'b, K, W> {
        let (builder, at) = (self.changes.builder, Location::caller());
        let same_builder = builder.must_be(other.changes.builder);
        if same_builder && self.view == other.view {
            // A table joined with itself: both sides change at once, so each row meets itself.
            return self
                .in_order(true)
                .derive("table_join", Silence::Kept, move |_, row| {
                    combine(Some(&row), (&row as &dyn Any).downcast_ref())
                });
        }
        let (this, other) = (self.in_order(true), other.in_order(true));
        let (left, right) = (this.changes.node, other.changes.node);
        builder.must_be_copartitioned(left, right, at);
        let ((left_view, left_facts), (right_view, right_facts)) = (this.rows(), other.rows());
        // One record may change both sides; then the second one's view already shows what the
        // change that is told first knows nothing of.
        let at_once = same_builder
            && ((left_facts.bases.iter()).any(|(_, base)| builder.is_above(*base, right))
                || (right_facts.bases.iter()).any(|(_, base)| builder.is_above(*base, left)));
        let mut facts = left_facts.union(&right_facts);
        this.must_remember(&facts, at);
        facts.exact &= !at_once;
        let told = move |by, facts: &Facts| Told {
            by,
            vague: !facts.exact,
            at_once,
        };
        let (by_left, by_right) = match kind {
            Kind::Inner => (Needed::Both, Needed::Both),
            Kind::Left => (Needed::Own, Needed::Other),
            Kind::Outer => (Needed::Own, Needed::Own),
        };
        let (left_told, right_told) = (told(by_left, &left_facts), told(by_right, &right_facts));
        let combine = Arc::new(combine);
        let (both, rows) = (combine.clone(), (left_view.clone(), right_view.clone()));
        let (parents, operator) = (vec![left, right], NodeKind::Operator);
        let writers = facts.writers();
        let node = builder.add(
            "table_join",
            operator,
            parents,
            facts.stores(),
            move |link| {
                let down = Rc::new(RefCell::new(link.downstream()));
                link.want_each_of(writers.iter().copied());
                // Without the old rows it would be unknown whether a deletion must be told.
                link.want_old();
                let right = Side::new(link, right_told, &rows.0, &down);
                let swapped = both.clone();
                link.upstream_of(1, right.run(move |right, left| swapped(left, right)));
                let left = Side::new(link, left_told, &rows.1, &down);
                let straight = both.clone();
                link.upstream_of(0, left.run(move |left, right| straight(left, right)));
            },
        );
        let lookup = move |ctx: &mut TaskContext, key: &K| -> Result<Option<(W, Timestamp)>> {
            let left = left_view.get(ctx, key)?;
            if left.is_none() && kind != Kind::Outer {
                return Ok(None);
            }
            let (left, left_time) = left.unzip();
            right_view.with(ctx, key, |right| {
                let (right, right_time) = right.unzip();
                let joined = combine(left.as_ref(), right)?;
                Some((joined, left_time.max(right_time)?))
            })
        };
        derived(handle(builder, node, None), lookup, facts)
    }
}

/// When a change of one side that leaves no result is told, because there may have been one before.
#[derive(Clone, Copy)]
struct Told {
    by: Needed,
    /// The old rows of the side that changes are not to be trusted.
    vague: bool,
    /// The other side may have lost its row by the same record.
    at_once: bool,
}

/// What there must have been for a result.
#[derive(Clone, Copy)]
enum Needed {
    /// Rows on both sides.
    Both,
    /// A row on the side that changes: the other has none, or there would be a result now.
    Own,
    /// A row on the other side, which has none: if it had one, that is for its own change to tell.
    Other,
}

impl Told {
    fn is(self, own: bool, other: bool) -> bool {
        let own = own || self.vague;
        match self.by {
            Needed::Both => own && (other || self.at_once),
            Needed::Own => own,
            Needed::Other => false,
        }
    }
}

/// One side of a join in a task: its changes meet the rows of the other.
struct Side<K: 'static, Other: 'static, W> {
    name: String,
    told: Told,
    other: Arc<View<K, Other>>,
    /// Shared by both sides: neither is reached from below the join, so it is never entered twice.
    down: Rc<RefCell<Fanout<K, Change<W>>>>,
}

impl<K: Data, Other: Data, W: Data> Side<K, Other, W> {
    fn new(
        link: &Linker<'_>,
        told: Told,
        other: &Arc<View<K, Other>>,
        down: &Rc<RefCell<Fanout<K, Change<W>>>>,
    ) -> Self {
        Self {
            name: link.name().to_owned(),
            told,
            other: other.clone(),
            down: down.clone(),
        }
    }

    fn run<Own: Data>(
        self,
        combine: impl Fn(Option<&Own>, Option<&Other>) -> Option<W> + 'static,
    ) -> impl FnMut(&mut TaskContext, Record<K, Change<Own>>) -> Result<()> + 'static {
        let wants_old = self.down.borrow().wants_old();
        move |ctx, record| {
            let Record {
                key,
                value: Change { old, new },
                timestamp,
                headers,
            } = record;
            let joined = self.other.with(ctx, &key, |found| {
                let (other, time) = found.unzip();
                let row = combine(new.as_ref(), other);
                if row.is_none() && !self.told.is(old.is_some(), other.is_some()) {
                    return None;
                }
                let old = if wants_old {
                    combine(old.as_ref(), other)
                } else {
                    None
                };
                let later = time.map_or(timestamp, |time| time.max(timestamp));
                Some((Change { old, new: row }, later))
            });
            match joined {
                Ok(Some((value, timestamp))) => self.down.borrow_mut().push(
                    ctx,
                    Record {
                        key,
                        value,
                        timestamp,
                        headers,
                    },
                ),
                Ok(None) => Ok(()),
                Err(error) => ctx.refuse(&self.name, error),
            }
        }
    }
}
