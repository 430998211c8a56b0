//! A sink that shares its topic with others: a member of a group that says whose partition is
//! whose.
//!
//! Invariant: a member holds places only of partitions that the group gave it and has not asked
//! back. The group is not the fence, though: it may be late, or hear of a member's death when that
//! member is not dead at all. What keeps two members apart is the epoch in the database, and a
//! member that is refused there forgets the partition, whatever its group says. Nothing is
//! committed to the group: the places are in the database.

use super::Sink;
use crate::{
    config::Step,
    error::{Error, Trouble},
};
use millstream_core::record::{Partition, TaskId, TopicPartition};
use millstream_log::{self as log, Event, Subscription, TaskInputs};
use std::{sync::Arc, time::Duration};

/// Changes of the group that one step hears at most: a group that changes faster than its members
/// listen must not keep them from their work.
const CHANGES_MAX: usize = 16;

/// Who a sink is in its group.
pub(super) struct Member {
    group: String,
    member: String,
    instance: String,
    /// What was asked for, once the topic was found; the same for the rest of the sink's life.
    subscription: Option<Subscription>,
    /// Whether the group has this member, as far as it knows.
    joined: bool,
    /// Since when it is without a partition that its group says is its own.
    fenced_ms: Option<i64>,
}

impl Member {
    /// Whether the group has said all, and the database has not disagreed since.
    pub(super) fn is_content(&self) -> bool {
        self.joined && self.fenced_ms.is_none()
    }
}

impl Sink {
    /// Makes the sink a member of a group of sinks that share one topic and one table: each writes
    /// the partitions that the group gives it. Call it before the first [`Sink::step`].
    ///
    /// All members of a group must write the same topic into the same table, and no others may be
    /// in it. `member` is a name that no other member has; `instance` names the process that it
    /// belongs to. Where a newer writer has taken a partition, a member gives up that partition
    /// and waits for its group, instead of stopping with [`Error::Fenced`].
    ///
    /// A member must be stepped every few seconds, also while its database is away and while a
    /// step says [`Step::Retry`], or the group takes it for dead.
    #[must_use]
    pub fn shared(
        mut self,
        group: impl Into<String>,
        member: impl Into<String>,
        instance: impl Into<String>,
    ) -> Self {
        self.member = Some(Member {
            group: group.into(),
            member: member.into(),
            instance: instance.into(),
            subscription: None,
            joined: false,
            fenced_ms: None,
        });
        self
    }

    /// Whether it is a member of a group.
    pub fn is_shared(&self) -> bool {
        self.member.is_some()
    }

    /// Joins the group where it must, and hears what the group has to say, without waiting.
    pub(super) fn hear(&mut self, now_ms: i64) -> Result<(), Trouble> {
        let Some(member) = &self.member else {
            return Ok(());
        };
        // The group may be right, and whoever took the partition gone: only a new membership
        // tells, because a group repeats nothing to a member that it believes is content.
        let patience = self.config.backoff_max_ms;
        let waited = |since: i64| now_ms.saturating_sub(since) >= patience;
        if member.fenced_ms.is_some_and(waited) {
            self.log.leave()?;
            self.lose();
        }
        self.join()?;
        for _ in 0..CHANGES_MAX {
            match self.log.poll(Duration::ZERO)? {
                Event::Ready | Event::Idle => break,
                change => self.heard(&change)?,
            }
        }
        Ok(())
    }

    fn join(&mut self) -> Result<(), Trouble> {
        if self.member.as_ref().is_none_or(|member| member.joined) {
            return Ok(());
        }
        let partitions = self.count()?;
        let Some(member) = &mut self.member else {
            return Ok(());
        };
        let subscription = match &member.subscription {
            Some(made) => made.clone(),
            None => Subscription {
                group: member.group.clone(),
                member: member.member.clone(),
                instance: member.instance.clone(),
                server: None,
                tasks: (0..partitions).map(|n| task(&self.topic, n)).collect(),
                patterns: false,
                standbys: 0,
            },
        };
        member.subscription = Some(subscription.clone());
        self.log.subscribe(subscription)?;
        member.joined = true;
        Ok(())
    }

    /// Does what the group says. New partitions are claimed by the next step that has a database.
    pub(super) fn heard(&mut self, event: &Event) -> log::Result<()> {
        match event {
            Event::Assigned(assignment) => {
                let all = assignment.active.iter().map(|task| task.partition);
                self.share = Some(all.collect());
                if let Some(member) = &mut self.member {
                    member.fenced_ms = None;
                }
                self.forget(None);
            }
            Event::Revoked(tasks) => {
                // Between two steps there is no batch in hand. A COMMIT whose answer was lost may
                // be: whoever claims these partitions next waits for it.
                for task in tasks {
                    self.forget(Some(task.partition));
                }
                // Some groups take everything from everybody before they give out anew.
                if self.share.as_ref().is_some_and(|share| share.is_empty()) {
                    self.share = None;
                }
                self.publish();
                self.log.acknowledge(tasks)?;
            }
            Event::Lost => self.lose(),
            Event::Ready | Event::Idle => {}
        }
        Ok(())
    }

    /// Tells the log from where on news are news to this sink.
    pub(super) fn listen(&mut self) -> log::Result<()> {
        if self.member.is_none() {
            return Ok(());
        }
        for place in &self.places {
            if self.log.position(&place.partition)? < place.next {
                self.log.seek(&place.partition, place.next)?;
            }
        }
        Ok(())
    }

    /// What a member makes of an error that stops a sink which is by itself.
    pub(super) fn outlive(&mut self, trouble: Trouble, now_ms: i64) -> Result<Step, Trouble> {
        let Some(member) = &mut self.member else {
            return Err(trouble);
        };
        match &trouble {
            Trouble::Stop(error @ Error::Fenced { partition, .. }) => {
                tracing::warn!(sink = %self.table.name, %error, "sink gives up a partition");
                member.fenced_ms.get_or_insert(now_ms);
                self.stats.fenced += 1;
                self.settled = false;
                self.forget(Some(partition.partition));
            }
            Trouble::Stop(Error::Log(error @ log::Error::Fenced(_))) => {
                tracing::warn!(sink = %self.table.name, %error, "sink joins its group again");
                self.lose();
            }
            _ => return Err(trouble),
        }
        Ok(Step::Waiting)
    }

    /// The group has thrown this member out: others may have all that it had.
    pub(super) fn lose(&mut self) {
        if let Some(member) = &mut self.member {
            (member.joined, member.fenced_ms) = (false, None);
            self.share = None;
            self.forget(None);
        }
    }

    /// Forgets one partition, and in any case the places of those that are no longer its own.
    fn forget(&mut self, partition: Option<Partition>) {
        if let (Some(share), Some(partition)) = (&mut self.share, partition) {
            share.remove(&partition);
        }
        let share = self.share.as_ref();
        self.places
            .retain(|place| share.is_some_and(|share| share.contains(&place.partition.partition)));
        self.stats.next_offsets.clear();
        self.publish();
    }
}

/// A partition as a task of the group: it has no state, and one input.
fn task(topic: &Arc<str>, partition: Partition) -> TaskInputs {
    TaskInputs {
        task: TaskId {
            subtopology: 0,
            partition,
        },
        inputs: vec![TopicPartition::new(Arc::clone(topic), partition)],
        stateful: false,
    }
}
