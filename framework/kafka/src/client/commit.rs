//! How a client commits: alone or beside its thread, for its group or for a feed.
//!
//! Invariant: a commit that began is ended before anything else is done with the producer, and its
//! answer is kept until it is asked for.

use super::{FAILED_WAIT, KafkaClient};
use crate::{
    committer::Committer,
    config::Guarantee,
    errors::fatal,
    ffi::{GroupMetadata, PartitionList},
    places,
    producer::Producer,
};
use millstream_core::record::TopicPartition;
use millstream_log::{Commit, Committed, Error, Outcome, Result};
use std::{sync::Arc, time::Duration};

/// A producer that is committing is waited for so long at a time, by whoever needs it before it is
/// back.
const AWAY_WAIT: Duration = Duration::from_secs(1);

impl KafkaClient {
    /// The producer; one that is at the committer is waited for, and its answer kept.
    pub(super) fn producer(&mut self) -> Result<&mut Producer> {
        let limit = self.committer.as_ref().map(Committer::limit);
        for _ in 0..=limit.unwrap_or_default().as_secs() {
            if self.producer.is_some() || !self.bring_back(AWAY_WAIT)? {
                break;
            }
        }
        let away = || Error::Retry("the producer is still committing".into());
        self.producer.as_mut().ok_or_else(away)
    }

    /// Commits places of a group that this client is no member of.
    pub(super) fn commit_for(
        &mut self,
        group: &str,
        transaction: u64,
        places: &[(TopicPartition, Committed)],
    ) -> Result<Commit> {
        if self.subscription.is_some() {
            let text = "a subscribed client commits for its own group only";
            return Err(Error::Fatal(text.into()));
        }
        let result = self.try_commit_for(group, places);
        self.ended(transaction, result)
    }

    /// In a transaction a broker takes places from whoever names no member, whether the group has
    /// members or not. Places that come with records are those of a feed, whose group has none.
    /// Others may be those of a program that is to begin anew, which must not be moved beside its
    /// instances: they are looked for before, and after, since who has come meanwhile may go on
    /// from the places before. (Without transactions the broker refuses by itself.)
    fn try_commit_for(
        &mut self,
        group: &str,
        places: &[(TopicPartition, Committed)],
    ) -> Result<Commit> {
        let exactly_once = self.cluster.config.guarantee == Guarantee::ExactlyOnceV2;
        if !exactly_once || self.producer()?.is_open() {
            return self.try_commit(places, Some(group));
        }
        self.cluster.has_no_members(group)?;
        let commit = self.try_commit(places, Some(group))?;
        self.cluster.has_no_members(group)?;
        Ok(commit)
    }

    /// Takes the producer back from the committer if it comes within the wait; says whether it is
    /// worth waiting on.
    pub(super) fn bring_back(&mut self, wait: Duration) -> Result<bool> {
        let Some(committer) = &self.committer else {
            return Ok(false);
        };
        match committer.answer(wait) {
            Ok(None) => Ok(true),
            Ok(Some(answer)) => {
                self.producer = Some(answer.producer);
                self.finished = Some(answer.ends.map(|ends| Commit { ends }));
                Ok(false)
            }
            Err(error) => {
                // What it was doing is unknown; a producer of the same name will end it.
                self.committer = None;
                let mut producer = Producer::new(&self.cluster, &self.waker, self.id.clone());
                if self.subscription.is_some() {
                    producer.join(self.id.clone());
                }
                self.producer = Some(producer);
                self.finished = Some(Err(Error::UnknownOutcome(error.to_string())));
                Ok(false)
            }
        }
    }

    /// Drops the open transaction.
    pub(super) fn abort_open(&mut self) {
        match self.producer() {
            Ok(producer) => producer.abort(),
            Err(error) => tracing::warn!(%error, "aborting a transaction"),
        }
        // Nobody will ask any more.
        (self.finished, self.begun) = (None, None);
        self.unplaced.clear();
    }

    /// Refuses a commit of what is not ours to commit.
    pub(super) fn may_commit(&mut self, places: &[(TopicPartition, Committed)]) -> Result<()> {
        if self.subscription.is_some() {
            self.subscription()?;
        } else if !places.is_empty() {
            self.abort_open();
            return Err(Error::Fatal(
                "a client that has not subscribed has no places to commit".into(),
            ));
        }
        for (at, _) in places {
            if let Err(error) = self.owned(at) {
                self.abort_open();
                return Err(error);
            }
        }
        Ok(())
    }

    /// What the transaction must carry of the group's places; nothing where there are none.
    pub(super) fn fenced_places(
        &mut self,
        places: &[(TopicPartition, Committed)],
        alone: Option<&str>,
    ) -> Result<Option<(PartitionList, Arc<GroupMetadata>)>> {
        if places.is_empty() {
            return Ok(None);
        }
        let list = places::list(places)?;
        let proof = match (alone, &self.group) {
            (Some(group), _) => {
                let made = GroupMetadata::without_members(group);
                Some(Arc::new(made.map_err(fatal)?))
            }
            (None, Some(group)) => group.proof(),
            (None, None) => None,
        };
        let Some(proof) = proof else {
            self.abort_open();
            return Err(Error::Fenced("between two generations of the group".into()));
        };
        Ok(Some((list, proof)))
    }

    pub(super) fn try_commit(
        &mut self,
        places: &[(TopicPartition, Committed)],
        alone: Option<&str>,
    ) -> Result<Commit> {
        let fenced = self.fenced_places(places, alone)?;
        if fenced.is_none() && !self.producer()?.is_open() {
            return Ok(Commit::default());
        }
        let carried = fenced.as_ref().map(|(list, proof)| (list, &**proof));
        let ends = self.producer()?.commit(carried)?;
        if self.cluster.config.guarantee == Guarantee::ExactlyOnceV2 {
            return Ok(Commit { ends });
        }
        // Records are acknowledged once, and their places may have to be committed several times.
        self.unplaced.extend(ends);
        if let Some((list, _)) = &fenced {
            match (alone, &self.group) {
                (Some(group), _) => self.cluster.store_places(group, places)?,
                (None, Some(group)) => group.commit_places(list)?,
                (None, None) => {}
            }
        }
        let ends = std::mem::take(&mut self.unplaced).into_iter().collect();
        Ok(Commit { ends })
    }

    /// What became of a commit whose answer was lost.
    pub(super) fn settle(
        &mut self,
        transaction: u64,
        places: &[(TopicPartition, Committed)],
    ) -> Result<Outcome> {
        let group = self.subscription()?.group.clone();
        // A new producer of our name: the cluster first ends what the old one left open.
        let settled = self.producer()?.settle();
        self.patient(settled)?;
        let partitions: Vec<_> = places.iter().map(|(at, _)| at.clone()).collect();
        let found = self.cluster.places(&group, &partitions);
        let found = self.patient(found)?;
        match places::happened(transaction, places, &found) {
            Ok(true) => {
                self.committing.answered();
                let known = self.last.take_if(|(number, _)| *number == transaction);
                let commit = known.map(|(_, commit)| commit).unwrap_or_default();
                Ok(Outcome::Committed(commit))
            }
            Ok(false) => {
                // It came to nothing, like one that was refused.
                let why = Error::Retry("a commit without an answer did not happen".into());
                match self.committing.failed(why) {
                    Error::Retry(_) => Ok(Outcome::Aborted),
                    error => Err(error),
                }
            }
            Err(error) => {
                self.fenced();
                Err(error)
            }
        }
    }

    /// Takes note of a commit's end.
    pub(super) fn ended(&mut self, transaction: u64, result: Result<Commit>) -> Result<Commit> {
        match &result {
            Ok(commit) => {
                if let Some(sources) = &mut self.sources {
                    // Who writes a changelog need not read it.
                    let others = commit.ends.iter().map(|(at, _)| at);
                    let others = others.filter(|at| !self.inputs.contains_key(at));
                    others.for_each(|at| sources.close(at));
                }
                self.last = Some((transaction, commit.clone()));
                self.committing.answered();
            }
            Err(Error::UnknownOutcome(_)) => {
                // Should it turn out to have happened.
                let ends = self.producer.as_mut().map(Producer::take_tried);
                let ends = ends.unwrap_or_default();
                self.last = Some((transaction, Commit { ends }));
            }
            Err(Error::Fenced(_)) => self.fenced(),
            Err(_) => {}
        }
        match result {
            Err(error @ Error::Retry(_)) => {
                self.waker.wait(FAILED_WAIT);
                // Between two tries the work is done again, in which much else is answered.
                Err(self.committing.failed(error))
            }
            other => self.patient(other),
        }
    }
}
