//! What must be known before a sink writes: its tables, its partitions, and its place in each.
//!
//! Invariant: a place is held only under an epoch that this sink has committed itself, and is
//! looked up anew after every failure whose effect is unknown.

use super::{Member, Sink};
use crate::{
    database::transaction,
    error::Trouble,
    places::{self, Place},
    schema,
};
use millstream_core::record::TopicPartition;
use std::{collections::BTreeSet, sync::Arc};

impl Sink {
    /// How many partitions the topic has.
    pub(super) fn count(&mut self) -> Result<u32, Trouble> {
        if let Some(known) = self.partitions {
            return Ok(known);
        }
        let Some(topic) = self.log.topic(&self.topic)? else {
            return Err(Trouble::wait(format!(
                "there is no topic {} yet",
                self.topic
            )));
        };
        self.partitions = Some(topic.spec.partitions);
        Ok(topic.spec.partitions)
    }

    /// Whether it knows its partitions, and has the place of each.
    pub(super) fn is_settled(&self) -> bool {
        let content = self.member.as_ref().is_none_or(Member::is_content);
        let share = self.share.as_ref().map(BTreeSet::len);
        content && self.prepared && share == Some(self.places.len())
    }

    /// Makes sure of table, epochs and places.
    pub(super) fn settle(&mut self) -> Result<(), Trouble> {
        if self.share.is_none() {
            // A sink by itself has all.
            self.share = Some((0..self.count()?).collect());
        }
        let share = self.share.iter().flatten();
        if self.settled && self.prepared && share.clone().count() == self.places.len() {
            return Ok(());
        }
        let (database, table) = (self.database.as_mut(), &self.table);
        if !self.settled {
            for place in &mut self.places {
                place.verify(database, &table.name)?;
            }
        }
        let claimed: BTreeSet<_> = self
            .places
            .iter()
            .map(|at| at.partition.partition)
            .collect();
        let missing: Vec<_> = share
            .filter(|partition| !claimed.contains(*partition))
            .map(|partition| TopicPartition::new(Arc::clone(&self.topic), *partition))
            .collect();
        if !missing.is_empty() || !self.prepared {
            let (prepared, log) = (self.prepared, self.log.as_mut());
            let interval = self.config.log_interval_ms;
            let places = transaction(database, |database| {
                if let Some(lock) = database.dialect().start_lock {
                    database.query(&lock.into(), &[])?;
                }
                if !prepared {
                    schema::prepare(database, &places::table())?;
                    schema::prepare(database, table)?;
                }
                Place::claim(database, log, &table.name, &missing, interval)
            })?;
            self.prepared = true;
            self.places.extend(places);
            // In the order in which all writers lock them.
            self.places.sort_by_key(|place| place.partition.partition);
        }
        self.settled = true;
        self.publish();
        Ok(())
    }
}
