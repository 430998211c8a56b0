//! Requests about groups: who is in one, and the places it has committed.

use super::{
    admin::{absent, elements},
    c_string,
    error::KafkaError,
    handle::Handle,
    list::{Entry, PartitionList},
    owned,
};
use millstream_core::record::TopicPartition;
use rdkafka::bindings::{
    self as c, rd_kafka_admin_op_t as Op, rd_kafka_consumer_group_state_t as State,
};
use std::{sync::Arc, time::Duration};

/// A group as its coordinator knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupDescription {
    /// Whether all members have their assignment.
    pub(crate) stable: bool,
    pub(crate) members: Vec<MemberDescription>,
}

/// A member as its coordinator knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberDescription {
    /// What the coordinator calls it: no two members are called the same.
    pub(crate) id: String,
    /// What it calls itself, its `client.id`.
    pub(crate) client: String,
}

impl Handle {
    /// A group's places, in no order; only those that no transaction is about to change, or an
    /// error for the partition.
    pub(crate) fn group_places(
        self: &Arc<Self>,
        group: &str,
        partitions: &[TopicPartition],
        wait: Duration,
    ) -> Result<Vec<Entry>, KafkaError> {
        let list = PartitionList::offsets(partitions.iter().map(|at| (at, 0)))?;
        let name = c_string(group);
        // SAFETY: name and list are copied; the request is freed here.
        let event = unsafe {
            let request = c::rd_kafka_ListConsumerGroupOffsets_new(name.as_ptr(), list.raw());
            let mut requests = [request];
            let event = self.ask_coordinator(
                Op::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS,
                wait,
                |options, queue| {
                    let requests = requests.as_mut_ptr();
                    c::rd_kafka_ListConsumerGroupOffsets(self.raw(), requests, 1, options, queue);
                },
                |options| {
                    let set = c::rd_kafka_AdminOptions_set_require_stable_offsets(options, 1);
                    debug_assert!(KafkaError::take(set).is_ok());
                },
            );
            c::rd_kafka_ListConsumerGroupOffsets_destroy(request);
            event?
        };
        // SAFETY: all that is read here belongs to the event.
        unsafe {
            let result = c::rd_kafka_event_ListConsumerGroupOffsets_result(event.raw());
            let mut count = 0;
            let groups = c::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &raw mut count);
            group_result(elements(groups, count))
        }
    }

    /// Stores places of a group that has no members.
    pub(crate) fn store_places(
        self: &Arc<Self>,
        group: &str,
        places: &PartitionList,
        wait: Duration,
    ) -> Result<(), KafkaError> {
        let name = c_string(group);
        // SAFETY: name and list are copied; the request is freed here.
        let event = unsafe {
            let request = c::rd_kafka_AlterConsumerGroupOffsets_new(name.as_ptr(), places.raw());
            let mut requests = [request];
            let event = self.ask(
                Op::RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS,
                wait,
                |options, queue| {
                    let requests = requests.as_mut_ptr();
                    c::rd_kafka_AlterConsumerGroupOffsets(self.raw(), requests, 1, options, queue);
                },
                |_| {},
            );
            c::rd_kafka_AlterConsumerGroupOffsets_destroy(request);
            event?
        };
        // SAFETY: all that is read here belongs to the event.
        let entries = unsafe {
            let result = c::rd_kafka_event_AlterConsumerGroupOffsets_result(event.raw());
            let mut count = 0;
            let groups =
                c::rd_kafka_AlterConsumerGroupOffsets_result_groups(result, &raw mut count);
            group_result(elements(groups, count))?
        };
        entries.into_iter().try_for_each(|entry| entry.outcome)
    }

    /// Who is in a group.
    pub(crate) fn describe_group(
        self: &Arc<Self>,
        group: &str,
        wait: Duration,
    ) -> Result<GroupDescription, KafkaError> {
        let name = c_string(group);
        let mut names = [name.as_ptr()];
        let event = self.ask_coordinator(
            Op::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS,
            wait,
            // SAFETY: handle, names, options and queue live during the call.
            |options, queue| unsafe {
                let names = names.as_mut_ptr();
                c::rd_kafka_DescribeConsumerGroups(self.raw(), names, 1, options, queue);
            },
            |_| {},
        )?;
        // SAFETY: all that is read here belongs to the event.
        unsafe {
            let result = c::rd_kafka_event_DescribeConsumerGroups_result(event.raw());
            let mut count = 0;
            let groups = c::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count);
            let Some(&group) = elements(groups, count).first() else {
                return Err(absent("the group"));
            };
            KafkaError::read(c::rd_kafka_ConsumerGroupDescription_error(group))?;
            let state = c::rd_kafka_ConsumerGroupDescription_state(group);
            let count = c::rd_kafka_ConsumerGroupDescription_member_count(group);
            let member = |index| {
                let member = c::rd_kafka_ConsumerGroupDescription_member(group, index);
                MemberDescription {
                    id: owned(c::rd_kafka_MemberDescription_consumer_id(member)),
                    client: owned(c::rd_kafka_MemberDescription_client_id(member)),
                }
            };
            Ok(GroupDescription {
                stable: state == State::RD_KAFKA_CONSUMER_GROUP_STATE_STABLE,
                members: (0..count).map(member).collect(),
            })
        }
    }
}

/// # Safety
/// The results belong to an event that lives.
unsafe fn group_result(
    results: &[*const c::rd_kafka_group_result_t],
) -> Result<Vec<Entry>, KafkaError> {
    let Some(&result) = results.first() else {
        return Err(absent("the group"));
    };
    // SAFETY: the caller's promise.
    unsafe {
        KafkaError::read(c::rd_kafka_group_result_error(result))?;
        Ok(PartitionList::read(c::rd_kafka_group_result_partitions(
            result,
        )))
    }
}
