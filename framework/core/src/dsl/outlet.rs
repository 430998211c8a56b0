//! How changes of a table leave the operator that makes them: each at once, or one for each key
//! when the task commits.
//!
//! The second is Kafka's record cache: between two commits only the last change of a key is told,
//! with what the row was at the commit before. Invariants: keys are told in the order of their last
//! changes (as Kafka's `NamedCache` has them), so that this is what would have been told at once
//! with some of it left out, and no change meets a time that later ones have moved on; a row that
//! came and went in between is not told at all. Tables that meet another one by key tell each
//! change all the same: if both sides had changed between two commits, neither would know the row
//! that they made together before, and so not whether it is to be taken back (Kafka Streams, with
//! its cache, loses such deletions).

use super::Change;
use crate::{
    error::Result,
    link::{Data, Fanout, Flush, Linker},
    record::Record,
    serde::Encoded,
    task::{Emission, TaskContext},
};
use hashbrown::HashMap;
use std::{cell::RefCell, rc::Rc};

/// The downstream of an operator that changes a table.
pub(crate) enum Outlet<K: 'static, V: 'static> {
    Now(Fanout<K, Change<V>>),
    AtCommit(Rc<RefCell<Batch<K, V>>>),
}

/// Appends the bytes by which a key is known again.
type Encode<K> = Box<dyn Fn(&K, &mut Vec<u8>) -> Result<Encoded>>;

/// The changes since the last commit.
pub(crate) struct Batch<K: 'static, V: 'static> {
    down: Fanout<K, Change<V>>,
    encode: Encode<K>,
    /// Where a key's change is; never iterated.
    index: HashMap<Vec<u8>, usize>,
    /// In the order of first changes, until they are told.
    changes: Vec<Held<K, V>>,
    /// How many changes there have been.
    turns: u64,
    scratch: Vec<u8>,
}

struct Held<K, V> {
    record: Record<K, Change<V>>,
    /// Whether there was a row at the last commit, as far as is known.
    existed: bool,
    /// The number of the key's last change.
    turn: u64,
}

impl<K: Data, V: Data> Outlet<K, V> {
    /// The downstream of the node in hand; `encode` writes keys as the node's store does.
    pub(crate) fn new(
        link: &mut Linker<'_>,
        encode: impl Fn(&K, &mut Vec<u8>) -> Result<Encoded> + 'static,
    ) -> Self {
        let down = link.downstream();
        let each = link.context.emission() == Emission::PerUpdate || link.tells_each();
        if each || down.is_empty() {
            return Self::Now(down);
        }
        let batch = Rc::new(RefCell::new(Batch {
            down,
            encode: Box::new(encode),
            index: HashMap::new(),
            changes: Vec::new(),
            turns: 0,
            scratch: Vec::new(),
        }));
        link.flushes.push(Box::new(batch.clone()));
        Self::AtCommit(batch)
    }

    /// Whether nobody listens.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Now(down) if down.is_empty())
    }

    /// Whether somebody needs the old value of a change.
    #[inline]
    pub(crate) fn wants_old(&self) -> bool {
        match self {
            Self::Now(down) => down.wants_old(),
            Self::AtCommit(batch) => batch.borrow().down.wants_old(),
        }
    }

    /// Tells a change, or keeps it until the commit. `existed` says whether there was a row before
    /// it; where that is not known, yes.
    #[inline]
    pub(crate) fn push(
        &mut self,
        ctx: &mut TaskContext,
        record: Record<K, Change<V>>,
        existed: bool,
    ) -> Result<()> {
        match self {
            Self::Now(down) => down.push(ctx, record),
            Self::AtCommit(batch) => batch.borrow_mut().take(ctx, record, existed),
        }
    }

    /// Tells a change that is final.
    pub(crate) fn push_now(
        &mut self,
        ctx: &mut TaskContext,
        record: Record<K, Change<V>>,
    ) -> Result<()> {
        match self {
            Self::Now(down) => down.push(ctx, record),
            Self::AtCommit(batch) => batch.borrow_mut().down.push(ctx, record),
        }
    }
}

impl<K: Data, V: Data> Batch<K, V> {
    fn take(
        &mut self,
        ctx: &mut TaskContext,
        record: Record<K, Change<V>>,
        existed: bool,
    ) -> Result<()> {
        self.scratch.clear();
        if (self.encode)(&record.key, &mut self.scratch)? == Encoded::Null {
            return self.down.push(ctx, record);
        }
        self.turns += 1;
        let turn = self.turns;
        let known = self.index.get(&self.scratch).copied();
        match known.and_then(|place| self.changes.get_mut(place)) {
            Some(held) => {
                let old = held.record.value.old.take();
                held.record = record;
                held.record.value.old = old;
                held.turn = turn;
            }
            None => {
                self.index.insert(self.scratch.clone(), self.changes.len());
                self.changes.push(Held {
                    record,
                    existed,
                    turn,
                });
            }
        }
        Ok(())
    }
}

impl<K: Data, V: Data> Flush for Rc<RefCell<Batch<K, V>>> {
    fn flush(&mut self, ctx: &mut TaskContext) -> Result<()> {
        let batch = &mut *self.borrow_mut();
        batch.index.clear();
        // Sorted once, so that a key that changes very often costs no more than a number each time.
        batch.changes.sort_unstable_by_key(|held| held.turn);
        for Held {
            record, existed, ..
        } in batch.changes.drain(..)
        {
            if existed || record.value.new.is_some() {
                ctx.at_time(record.timestamp);
                let held = (record.timestamp, record.headers.clone());
                ctx.telling(held, |ctx| batch.down.push(ctx, record))?;
            }
        }
        Ok(())
    }

    fn clear(&mut self) {
        let mut batch = self.borrow_mut();
        batch.index.clear();
        batch.changes.clear();
    }
}
