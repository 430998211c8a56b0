//! One thread's client of an embedded log.
//!
//! Invariant: what a member does is checked against its group under the lock under which it is
//! done, so that a member that was removed can neither commit nor read its tasks' input.

use super::{
    Shared,
    block::Limit,
    commit::Places,
    member::{fenced, first_place, known, owned, places},
    reading::Ahead,
    state::State,
    transaction::OpenTransaction,
};
use crate::api::{
    Commit, Committed, Error, Event, Instance, Log, Outcome, Page, Result, Subscription, TopicInfo,
    TopicSpec,
};
use millstream_core::{
    batch::Records,
    record::{Offset, Partition, RawRecord, TaskId, TopicPartition},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

/// What a client is to a group.
#[derive(Debug)]
enum Membership {
    /// It never subscribed, or left.
    None,
    /// It subscribed; whether the group still knows it is asked each time.
    Member { group: String, member: String },
    /// It was told that it was thrown out, and has not subscribed again.
    Lost { member: String },
}

/// A [`Log`] over an [`EmbeddedLog`](super::EmbeddedLog).
pub struct EmbeddedClient {
    shared: Arc<Shared>,
    id: u64,
    membership: Membership,
    open: OpenTransaction,
    /// Where `fetch` goes on, for each partition of the tasks it has.
    cursors: BTreeMap<TopicPartition, Offset>,
    ahead: Ahead,
    /// The log's count of commits when it was last told of news.
    seen: u64,
    /// The last commit made, to answer [`Log::resolve`] with its ends.
    last: Option<(u64, Commit)>,
}

impl EmbeddedClient {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let mut state = shared.lock_anyway();
        let (id, seen) = (state.new_client(), state.sequence);
        drop(state);
        Self {
            shared,
            id,
            membership: Membership::None,
            open: OpenTransaction::default(),
            cursors: BTreeMap::new(),
            ahead: Ahead::default(),
            seen,
            last: None,
        }
    }

    /// Tells those who wait of a commit, and remembers it.
    fn made(&mut self, transaction: u64, commit: Commit) -> Commit {
        if !commit.ends.is_empty() {
            self.shared.news.notify_all();
        }
        self.last = Some((transaction, commit.clone()));
        commit
    }

    /// The group and the member's name, or why there is none.
    fn member(&self) -> Result<(&str, &str)> {
        match &self.membership {
            Membership::Member { group, member } => Ok((group, member)),
            Membership::Lost { member } => Err(fenced(member)),
            Membership::None => Err(Error::Fatal("the client has not subscribed".into())),
        }
    }

    /// The next event, if there is one now.
    fn event(&mut self, state: &mut State) -> Option<Event> {
        let Membership::Member {
            group: group_name,
            member,
        } = &self.membership
        else {
            let news = state.sequence > self.seen;
            self.seen = state.sequence;
            return news.then_some(Event::Ready);
        };
        let Some(group) = known(state, group_name, member, self.id) else {
            self.membership = Membership::Lost {
                member: member.clone(),
            };
            self.cursors.clear();
            self.open.clear();
            return Some(Event::Lost);
        };
        let event = group.event(member);
        if let Some(Event::Assigned(_)) = event {
            let inputs: Vec<_> = group.inputs(member).cloned().collect();
            let mut before = std::mem::take(&mut self.cursors);
            for input in inputs {
                let place = before
                    .remove(&input)
                    .or_else(|| first_place(state, group_name, &input));
                self.cursors.insert(input, place.unwrap_or_default());
            }
        }
        event.or_else(|| self.ready(state).then_some(Event::Ready))
    }

    /// Whether a partition has records that were not fetched.
    fn ready(&self, state: &State) -> bool {
        self.cursors.iter().any(|(at, place)| {
            state
                .partition(at)
                .is_ok_and(|(_, log)| log.row.end > *place)
        })
    }

    /// Removes it from its group without a word, as death does.
    fn vanish(&mut self) {
        if let Membership::Member { group, member } = &self.membership {
            let mut state = self.shared.lock_anyway();
            if let Some(group) = known(&mut state, group, member, self.id) {
                group.remove(member);
            }
            drop(state);
            self.shared.news.notify_all();
        }
        self.membership = Membership::None;
        self.cursors.clear();
    }
}

impl Drop for EmbeddedClient {
    fn drop(&mut self) {
        self.vanish();
    }
}

impl Log for EmbeddedClient {
    fn topic(&mut self, name: &str) -> Result<Option<TopicInfo>> {
        Ok(self
            .shared
            .lock()?
            .topics
            .get(name)
            .map(|topic| topic.info.clone()))
    }

    fn topic_names(&mut self) -> Result<Vec<String>> {
        let state = self.shared.lock()?;
        Ok(state.topics.keys().map(|name| name.to_string()).collect())
    }

    fn create_topic(&mut self, spec: &TopicSpec) -> Result<TopicInfo> {
        self.shared.create_topic(spec)
    }

    fn subscribe(&mut self, subscription: Subscription) -> Result<()> {
        let mut state = self.shared.lock()?;
        if let Membership::Member { group, member } = &self.membership
            && known(&mut state, group, member, self.id).is_some()
        {
            return Err(Error::Fatal(format!(
                "the client is already member {member} of {group}"
            )));
        }
        for input in subscription.tasks.iter().flat_map(|task| &task.inputs) {
            state.partition(input)?;
        }
        let group = state.groups.entry(subscription.group.clone()).or_default();
        group.join(self.id, &subscription)?;
        drop(state);
        // What a member that was thrown out had sent must not slip into its new life.
        self.open.clear();
        self.cursors.clear();
        let Subscription { group, member, .. } = subscription;
        self.membership = Membership::Member { group, member };
        self.shared.news.notify_all();
        Ok(())
    }

    fn poll(&mut self, wait: Duration) -> Result<Event> {
        let shared = Arc::clone(&self.shared);
        let mut event = None;
        let wait = shared
            .news
            .wait_timeout_while(shared.lock()?, wait, |state| {
                event = self.event(state);
                event.is_none()
            })
            .map_err(PoisonError::into_inner);
        wait.map_or_else(|_| Err(super::dead()), |_| Ok(event.unwrap_or(Event::Idle)))
    }

    fn acknowledge(&mut self, tasks: &[TaskId]) -> Result<()> {
        let (group, member) = self.member()?;
        let mut state = self.shared.lock()?;
        let found = known(&mut state, group, member, self.id).ok_or_else(|| fenced(member))?;
        found.acknowledge(member, tasks)?;
        let gone = |at: &TopicPartition| found.reader(at).is_some_and(|task| tasks.contains(&task));
        self.cursors.retain(|at, _| !gone(at));
        drop(state);
        self.shared.news.notify_all();
        Ok(())
    }

    fn leave(&mut self) -> Result<()> {
        self.open.clear();
        self.vanish();
        Ok(())
    }

    fn instances(&mut self) -> Result<Vec<Instance>> {
        let Membership::Member { group, member } = &self.membership else {
            return Ok(Vec::new());
        };
        let mut state = self.shared.lock()?;
        let found = known(&mut state, group, member, self.id);
        Ok(found.map_or_else(Vec::new, |group| group.instances(member)))
    }

    fn committed(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<Committed>>> {
        let (group, member) = self.member()?;
        let mut state = self.shared.lock()?;
        known(&mut state, group, member, self.id).ok_or_else(|| fenced(member))?;
        places(&state, group, partitions)
    }

    fn seek(&mut self, partition: &TopicPartition, offset: Offset) -> Result<()> {
        let (group, member) = self.member()?;
        let state = self.shared.lock()?;
        owned(&state, group, member, self.id, partition)?;
        drop(state);
        self.cursors.insert(partition.clone(), offset);
        Ok(())
    }

    fn fetch(&mut self, partition: &TopicPartition, max: usize) -> Result<Option<Records>> {
        let Membership::Member { group, member } = &self.membership else {
            return Err(self.member().map_or_else(|error| error, |_| super::dead()));
        };
        let from = self.cursors.get(partition).copied().unwrap_or_default();
        let limit = Limit {
            records: max,
            bytes: usize::MAX,
        };
        let check = |state: &State| owned(state, group, member, self.id, partition);
        let stretch = self
            .shared
            .stretch(&mut self.ahead, partition, from, limit, check)?;
        if stretch.next != from {
            self.cursors.insert(partition.clone(), stretch.next);
        }
        Ok(stretch.records)
    }

    fn position(&mut self, partition: &TopicPartition) -> Result<Offset> {
        self.member()?;
        Ok(self.cursors.get(partition).copied().unwrap_or_default())
    }

    fn end(&mut self, partition: &TopicPartition) -> Result<Offset> {
        Ok(self.shared.lock()?.partition(partition)?.1.row.end)
    }

    fn start(&mut self, partition: &TopicPartition) -> Result<Offset> {
        Ok(self.shared.lock()?.partition(partition)?.1.row.start)
    }

    #[inline]
    fn send(
        &mut self,
        topic: &str,
        partition: Option<Partition>,
        record: RawRecord<'_>,
    ) -> Result<()> {
        if self.open.is_empty() {
            self.open.begin(self.shared.catalog.load(Ordering::Acquire));
        }
        let slot = match self.open.slot(topic) {
            Some(slot) => slot,
            None => self.open.learn(self.shared.lock()?.topic(topic)?),
        };
        self.open.push(slot, partition, record, &self.shared.limits)
    }

    fn commit(
        &mut self,
        transaction: u64,
        places: &[(TopicPartition, Committed)],
    ) -> Result<Commit> {
        let mut sent = (self.open).take(&self.shared.limits, self.shared.disk.as_ref());
        let mut state = self.shared.lock()?;
        let with = match &self.membership {
            Membership::None if places.is_empty() => None,
            _ => {
                let (group, member) = self.member()?;
                known(&mut state, group, member, self.id).ok_or_else(|| fenced(member))?;
                for (at, _) in places {
                    owned(&state, group, member, self.id, at)?;
                }
                Some(Places { group, places })
            }
        };
        let commit = self.shared.commit(&mut state, &mut sent, with)?;
        drop(state);
        self.open.keep(sent.blocks);
        Ok(self.made(transaction, commit))
    }

    fn commit_bytes(&self) -> usize {
        self.shared.limits.commit_bytes
    }

    fn room(&self) -> usize {
        (self.shared.limits.transaction_bytes_max / 4).saturating_sub(self.open.bytes())
    }

    fn record_bytes_max(&self) -> usize {
        self.shared.limits.record_bytes_max
    }

    fn abort(&mut self) -> Result<()> {
        self.open.clear();
        Ok(())
    }

    fn resolve(
        &mut self,
        transaction: u64,
        places: &[(TopicPartition, Committed)],
    ) -> Result<Outcome> {
        let last = self
            .last
            .as_ref()
            .filter(|(number, _)| *number == transaction);
        let commit = last.map(|(_, commit)| commit.clone());
        // Without places there is nothing on the log to go by, but this client knows what it did.
        let Some(((first, _), rest)) = places.split_first() else {
            return Ok(commit.map_or(Outcome::Aborted, Outcome::Committed));
        };
        let (group, member) = self.member()?;
        let mut state = self.shared.lock()?;
        known(&mut state, group, member, self.id).ok_or_else(|| fenced(member))?;
        for (at, _) in places {
            owned(&state, group, member, self.id, at)?;
        }
        let stored = |at| {
            let place = state.place(group, at)?;
            Ok(place.and_then(Committed::transaction) == Some(transaction))
        };
        let committed = stored(first)?;
        for (at, _) in rest {
            if stored(at)? != committed {
                return Err(Error::Fatal(format!(
                    "transaction {transaction} stored its place in one of {first} and {at} only"
                )));
            }
        }
        Ok(if committed {
            Outcome::Committed(commit.unwrap_or_default())
        } else {
            Outcome::Aborted
        })
    }

    fn read(&mut self, partition: &TopicPartition, from: Offset, max_bytes: usize) -> Result<Page> {
        let limit = Limit {
            records: usize::MAX,
            bytes: max_bytes,
        };
        let stretch = self
            .shared
            .stretch(&mut self.ahead, partition, from, limit, |_| Ok(()))?;
        Ok(Page {
            records: stretch
                .records
                .unwrap_or_else(|| Records::all(Arc::default())),
            next: stretch.next,
            end: stretch.end,
        })
    }

    fn commit_as(
        &mut self,
        group: &str,
        transaction: u64,
        places: &[(TopicPartition, Committed)],
    ) -> Result<Commit> {
        if !matches!(self.membership, Membership::None) {
            return Err(Error::Fatal(
                "a subscribed client commits for its own group only".into(),
            ));
        }
        let mut sent = (self.open).take(&self.shared.limits, self.shared.disk.as_ref());
        let mut state = self.shared.lock()?;
        if state.groups.get(group).is_some_and(|group| group.len() > 0) {
            return Err(Error::Fatal(format!(
                "group {group} has members: only they may commit"
            )));
        }
        let places = Some(Places { group, places });
        let commit = self.shared.commit(&mut state, &mut sent, places)?;
        drop(state);
        self.open.keep(sent.blocks);
        Ok(self.made(transaction, commit))
    }

    fn committed_as(
        &mut self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<Committed>>> {
        places(&*self.shared.lock()?, group, partitions)
    }
}
