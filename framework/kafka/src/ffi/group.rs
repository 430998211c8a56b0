//! Membership of a group: subscription, rebalance events, and the proof of membership that fences
//! a commit.

use super::{
    c_string,
    conf::no_memory,
    error::{Code, KafkaError},
    handle::Handle,
    list::PartitionList,
    owned,
    queue::Queue,
};
use rdkafka::bindings::{self as c, rd_kafka_consumer_group_metadata_t};
use std::{ptr::NonNull, sync::Arc, time::Duration};

/// What a group tells its member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GroupEvent {
    /// A new generation begins, and this member is part of it.
    Assigned,
    /// A rebalance begins: it goes on once the member has let go.
    Revoked,
    /// The member was thrown out.
    Lost,
    /// The group cannot go on as it is.
    Failed(KafkaError),
}

/// Group, generation and member at one moment: a commit that carries it is refused once the group
/// has moved on.
pub(crate) struct GroupMetadata(NonNull<rd_kafka_consumer_group_metadata_t>);

// SAFETY: an immutable value of its own.
unsafe impl Send for GroupMetadata {}
// SAFETY: as above.
unsafe impl Sync for GroupMetadata {}

impl GroupMetadata {
    /// Of a group without members, for a producer that keeps its own place: nothing fences it but
    /// its transactional id.
    pub(crate) fn without_members(group: &str) -> Result<Self, KafkaError> {
        let group = c_string(group);
        // SAFETY: the name ends with a zero byte and is copied.
        let raw = unsafe { c::rd_kafka_consumer_group_metadata_new(group.as_ptr()) };
        NonNull::new(raw).map(Self).ok_or_else(no_memory)
    }

    /// What the coordinator calls the member.
    pub(crate) fn member_id(&self) -> String {
        // SAFETY: the metadata lives, and its text is copied.
        unsafe { owned(c::rd_kafka_consumer_group_metadata_member_id(self.raw())) }
    }

    pub(super) fn raw(&self) -> *const rd_kafka_consumer_group_metadata_t {
        self.0.as_ptr()
    }
}

impl Drop for GroupMetadata {
    fn drop(&mut self) {
        // SAFETY: it is ours, once.
        unsafe { c::rd_kafka_consumer_group_metadata_destroy(self.0.as_ptr()) }
    }
}

impl Handle {
    /// Becomes a member; returns the queue in which the group's events come.
    pub(crate) fn subscribe(self: &Arc<Self>, topics: &PartitionList) -> Result<Queue, KafkaError> {
        // SAFETY: handle and list live.
        unsafe {
            KafkaError::check(c::rd_kafka_poll_set_consumer(self.raw()))?;
            KafkaError::check(c::rd_kafka_subscribe(self.raw(), topics.raw()))?;
        }
        Queue::member(self)
    }

    /// The next event of the group. Callbacks are served on the way.
    pub(crate) fn group_event(&self, queue: &Queue, wait: Duration) -> Option<GroupEvent> {
        let event = queue.event(wait)?;
        // SAFETY: handle and event live.
        let (kind, code, lost) = unsafe {
            (
                c::rd_kafka_event_type(event.raw()),
                c::rd_kafka_event_error(event.raw()),
                c::rd_kafka_assignment_lost(self.raw()) != 0,
            )
        };
        if kind != c::RD_KAFKA_EVENT_REBALANCE {
            return match code {
                Code::RD_KAFKA_RESP_ERR_NO_ERROR => None,
                code => Some(GroupEvent::Failed(KafkaError::of(code))),
            };
        }
        Some(match code {
            Code::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => GroupEvent::Assigned,
            Code::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS if lost => GroupEvent::Lost,
            Code::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => GroupEvent::Revoked,
            code => GroupEvent::Failed(KafkaError::of(code)),
        })
    }

    /// Takes all events that there are, waiting for a first one; whether the group waits for an
    /// answer to them.
    pub(crate) fn is_asked(&self, queue: &Queue, wait: Duration) -> bool {
        let (mut asked, mut wait) = (false, wait);
        while let Some(event) = queue.event(wait) {
            // SAFETY: the event lives.
            let kind = unsafe { c::rd_kafka_event_type(event.raw()) };
            asked |= kind == c::RD_KAFKA_EVENT_REBALANCE;
            wait = Duration::ZERO;
        }
        asked
    }

    /// Answers an assignment: librdkafka itself fetches nothing for the member.
    pub(crate) fn accept_assignment(&self) -> Result<(), KafkaError> {
        let nothing = PartitionList::new(0)?;
        // SAFETY: handle and list live.
        KafkaError::check(unsafe { c::rd_kafka_assign(self.raw(), nothing.raw()) })
    }

    /// Answers a revocation: the group may go on.
    pub(crate) fn let_go(&self) -> Result<(), KafkaError> {
        // SAFETY: the handle lives; null takes the assignment back.
        KafkaError::check(unsafe { c::rd_kafka_assign(self.raw(), std::ptr::null()) })
    }

    /// The membership as it is now.
    pub(crate) fn group_metadata(&self) -> Result<GroupMetadata, KafkaError> {
        // SAFETY: the handle lives, and what is given is ours.
        let raw = unsafe { c::rd_kafka_consumer_group_metadata(self.raw()) };
        NonNull::new(raw).map(GroupMetadata).ok_or_else(no_memory)
    }

    /// A queue for the events that come while the member leaves.
    pub(crate) fn leave_queue(self: &Arc<Self>) -> Result<Queue, KafkaError> {
        Queue::answers(self)
    }

    /// Begins to leave the group: goes on with the events of `queue` until [`Handle::has_left`].
    pub(crate) fn begin_to_leave(&self, queue: &Queue) -> Result<(), KafkaError> {
        // SAFETY: handle and queue live; the error is ours.
        unsafe { KafkaError::take(c::rd_kafka_consumer_close_queue(self.raw(), queue.raw())) }
    }

    pub(crate) fn has_left(&self) -> bool {
        // SAFETY: the handle lives.
        unsafe { c::rd_kafka_consumer_closed(self.raw()) != 0 }
    }

    /// Stores places of the group without a transaction, as this member.
    pub(crate) fn commit_places(&self, places: &PartitionList) -> Result<(), KafkaError> {
        // SAFETY: handle and list live.
        KafkaError::check(unsafe { c::rd_kafka_commit(self.raw(), places.raw(), 0) })
    }
}
