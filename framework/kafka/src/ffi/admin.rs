//! Requests about the cluster, its topics and their ends.
//!
//! Each is one round trip, waited for, with a time limit.

use super::{
    ERROR_TEXT_BYTES, c_string,
    conf::no_memory,
    error::{Code, KafkaError},
    handle::Handle,
    list::{self, Entry, PartitionList},
    millis, owned,
    queue::{Event, Queue},
};
use millstream_core::record::{Offset, TopicPartition};
use rdkafka::bindings::{
    self as c, rd_kafka_AdminOptions_t, rd_kafka_ResourceType_t, rd_kafka_admin_op_t as Op,
    rd_kafka_queue_t,
};
use std::{ffi::c_char, ptr::NonNull, sync::Arc, time::Duration};

/// The longest that librdkafka lets a request take.
const UNFINISHED: Duration = Duration::from_secs(3_600);

/// Which records an end counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// Those of open transactions too.
    ReadUncommitted,
    ReadCommitted,
}

/// A topic to be made.
pub(crate) struct NewTopic<'a> {
    pub(crate) name: &'a str,
    pub(crate) partitions: u32,
    /// -1: the broker's default.
    pub(crate) replication: i16,
    pub(crate) settings: Vec<(&'a str, String)>,
}

/// A topic as the cluster knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicDescription {
    pub(crate) id: u128,
    pub(crate) partitions: u32,
    /// Whether every partition has a leader.
    pub(crate) ready: bool,
}

struct Options(NonNull<rd_kafka_AdminOptions_t>);

impl Options {
    fn new(handle: &Handle, op: Op, wait: Duration) -> Result<Self, KafkaError> {
        // SAFETY: the handle lives.
        let raw = unsafe { c::rd_kafka_AdminOptions_new(handle.raw(), op) };
        let options = NonNull::new(raw).map(Self).ok_or_else(no_memory)?;
        let mut text = [0 as c_char; ERROR_TEXT_BYTES];
        // SAFETY: the options are ours and the buffer is as long as we say.
        KafkaError::check(unsafe {
            c::rd_kafka_AdminOptions_set_request_timeout(
                options.0.as_ptr(),
                millis(wait),
                text.as_mut_ptr(),
                text.len(),
            )
        })?;
        Ok(options)
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: they are ours, once.
        unsafe { c::rd_kafka_AdminOptions_destroy(self.0.as_ptr()) }
    }
}

/// The array of pointers that a result has.
///
/// # Safety
/// `array` has `count` elements, or is null with none.
pub(super) unsafe fn elements<'a, T>(array: *mut *const T, count: usize) -> &'a [*const T] {
    if array.is_null() {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(array, count) }
}

impl Handle {
    /// Makes a request and waits for its answer. Twice the time limit passes at most: librdkafka
    /// ends a request itself.
    pub(super) fn ask(
        self: &Arc<Self>,
        op: Op,
        wait: Duration,
        request: impl FnOnce(*const rd_kafka_AdminOptions_t, *mut rd_kafka_queue_t),
        tune: impl FnOnce(*mut rd_kafka_AdminOptions_t),
    ) -> Result<Event, KafkaError> {
        self.ask_within(op, (wait, wait * 2), request, tune)
    }

    /// As [`Handle::ask`], of a group's coordinator, with the limit kept by us.
    ///
    /// When librdkafka 2.12 ends such a request itself because the coordinator is away, it looks at
    /// it once more when the coordinator is back, after it was freed, and ends the process by an
    /// assertion (`eonce->refcnt > 0`). So it may take the request for unfinished for a long time;
    /// an answer that comes after we have stopped to wait goes into a queue that is gone. Only for
    /// questions: what changes something must not be done so late.
    pub(super) fn ask_coordinator(
        self: &Arc<Self>,
        op: Op,
        wait: Duration,
        request: impl FnOnce(*const rd_kafka_AdminOptions_t, *mut rd_kafka_queue_t),
        tune: impl FnOnce(*mut rd_kafka_AdminOptions_t),
    ) -> Result<Event, KafkaError> {
        self.ask_within(op, (UNFINISHED, wait), request, tune)
    }

    fn ask_within(
        self: &Arc<Self>,
        op: Op,
        (limit, wait): (Duration, Duration),
        request: impl FnOnce(*const rd_kafka_AdminOptions_t, *mut rd_kafka_queue_t),
        tune: impl FnOnce(*mut rd_kafka_AdminOptions_t),
    ) -> Result<Event, KafkaError> {
        // Callbacks of such a handle are served here only, and would pile up.
        self.serve(Duration::ZERO);
        let (options, queue) = (Options::new(self, op, limit)?, Queue::answers(self)?);
        tune(options.0.as_ptr());
        request(options.0.as_ptr(), queue.raw());
        let event = queue.event(wait);
        let event = event.ok_or_else(|| KafkaError::of(Code::RD_KAFKA_RESP_ERR__TIMED_OUT))?;
        // SAFETY: the event is ours.
        unsafe {
            match c::rd_kafka_event_error(event.raw()) {
                Code::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(event),
                code => Err(KafkaError::new(
                    code,
                    owned(c::rd_kafka_event_error_string(event.raw())),
                )),
            }
        }
    }

    /// Topics by name; `None` for one that does not exist.
    pub(crate) fn describe_topic(
        self: &Arc<Self>,
        name: &str,
        wait: Duration,
    ) -> Result<Option<TopicDescription>, KafkaError> {
        let text = c_string(name);
        let mut names = [text.as_ptr()];
        // SAFETY: the name lives during the calls; the collection copies it and is freed here.
        let event = unsafe {
            let topics = c::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1);
            let event = self.ask(
                Op::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
                wait,
                |options, queue| c::rd_kafka_DescribeTopics(self.raw(), topics, options, queue),
                |_| {},
            );
            c::rd_kafka_TopicCollection_destroy(topics);
            event?
        };
        // SAFETY: all that is read here belongs to the event, which lives to the end.
        unsafe {
            let result = c::rd_kafka_event_DescribeTopics_result(event.raw());
            let mut count = 0;
            let topics = c::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
            let Some(&topic) = elements(topics, count).first() else {
                return Ok(None);
            };
            match KafkaError::read(c::rd_kafka_TopicDescription_error(topic)) {
                Ok(()) => {}
                Err(error) if is_unknown_topic(error.code) => return Ok(None),
                Err(error) => return Err(error),
            }
            let mut count = 0;
            let partitions = c::rd_kafka_TopicDescription_partitions(topic, &raw mut count);
            let mut known = elements(partitions, count).iter();
            let ready = known.all(|p| !c::rd_kafka_TopicPartitionInfo_leader(*p).is_null());
            let id = c::rd_kafka_TopicDescription_topic_id(topic);
            let half = |bits: i64| u128::from(bits.cast_unsigned());
            Ok(Some(TopicDescription {
                id: half(c::rd_kafka_Uuid_most_significant_bits(id)) << 64
                    | half(c::rd_kafka_Uuid_least_significant_bits(id)),
                partitions: u32::try_from(count).unwrap_or(u32::MAX),
                ready,
            }))
        }
    }

    /// The settings of a topic that has some.
    pub(crate) fn topic_settings(
        self: &Arc<Self>,
        name: &str,
        wait: Duration,
    ) -> Result<Vec<(String, String)>, KafkaError> {
        let text = c_string(name);
        // SAFETY: the name is copied; the resource is freed here.
        let event = unsafe {
            let kind = rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
            let resource = c::rd_kafka_ConfigResource_new(kind, text.as_ptr());
            let mut resources = [resource];
            let event = self.ask(
                Op::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS,
                wait,
                |options, queue| {
                    let resources = resources.as_mut_ptr();
                    c::rd_kafka_DescribeConfigs(self.raw(), resources, 1, options, queue);
                },
                |_| {},
            );
            c::rd_kafka_ConfigResource_destroy(resource);
            event?
        };
        // SAFETY: all that is read here belongs to the event, which lives to the end.
        unsafe {
            let result = c::rd_kafka_event_DescribeConfigs_result(event.raw());
            let mut count = 0;
            let resources = c::rd_kafka_DescribeConfigs_result_resources(result, &raw mut count);
            let Some(&resource) = elements(resources, count).first() else {
                return Ok(Vec::new());
            };
            KafkaError::check(c::rd_kafka_ConfigResource_error(resource))?;
            let mut count = 0;
            let entries = c::rd_kafka_ConfigResource_configs(resource, &raw mut count);
            let settings = elements(entries, count).iter().map(|&entry| {
                let name = owned(c::rd_kafka_ConfigEntry_name(entry));
                (name, owned(c::rd_kafka_ConfigEntry_value(entry)))
            });
            Ok(settings.collect())
        }
    }

    /// Makes a topic.
    pub(crate) fn make_topic(
        self: &Arc<Self>,
        topic: &NewTopic<'_>,
        wait: Duration,
    ) -> Result<(), KafkaError> {
        let (name, mut text) = (c_string(topic.name), [0 as c_char; ERROR_TEXT_BYTES]);
        // SAFETY: names and values are copied; the new topic is freed here.
        let event = unsafe {
            let new = c::rd_kafka_NewTopic_new(
                name.as_ptr(),
                i32::try_from(topic.partitions).unwrap_or(i32::MAX),
                i32::from(topic.replication),
                text.as_mut_ptr(),
                text.len(),
            );
            if new.is_null() {
                let why = owned(text.as_ptr());
                return Err(KafkaError::new(Code::RD_KAFKA_RESP_ERR__INVALID_ARG, why));
            }
            for (key, value) in &topic.settings {
                let (key, value) = (c_string(key), c_string(value));
                c::rd_kafka_NewTopic_set_config(new, key.as_ptr(), value.as_ptr());
            }
            let mut topics = [new];
            let event = self.ask(
                Op::RD_KAFKA_ADMIN_OP_CREATETOPICS,
                wait,
                |options, queue| {
                    c::rd_kafka_CreateTopics(self.raw(), topics.as_mut_ptr(), 1, options, queue);
                },
                |_| {},
            );
            c::rd_kafka_NewTopic_destroy(new);
            event?
        };
        // SAFETY: all that is read here belongs to the event.
        unsafe {
            let result = c::rd_kafka_event_CreateTopics_result(event.raw());
            let mut count = 0;
            let topics = c::rd_kafka_CreateTopics_result_topics(result, &raw mut count);
            topic_result(elements(topics, count))
        }
    }

    /// Deletes a topic.
    pub(crate) fn remove_topic(
        self: &Arc<Self>,
        name: &str,
        wait: Duration,
    ) -> Result<(), KafkaError> {
        let name = c_string(name);
        // SAFETY: the name is copied; the request is freed here.
        let event = unsafe {
            let old = c::rd_kafka_DeleteTopic_new(name.as_ptr());
            let mut topics = [old];
            let event = self.ask(
                Op::RD_KAFKA_ADMIN_OP_DELETETOPICS,
                wait,
                |options, queue| {
                    c::rd_kafka_DeleteTopics(self.raw(), topics.as_mut_ptr(), 1, options, queue);
                },
                |_| {},
            );
            c::rd_kafka_DeleteTopic_destroy(old);
            event?
        };
        // SAFETY: all that is read here belongs to the event.
        unsafe {
            let result = c::rd_kafka_event_DeleteTopics_result(event.raw());
            let mut count = 0;
            let topics = c::rd_kafka_DeleteTopics_result_topics(result, &raw mut count);
            topic_result(elements(topics, count))
        }
    }

    /// Deletes the records of a partition below an offset; the new start.
    pub(crate) fn remove_records(
        self: &Arc<Self>,
        at: &TopicPartition,
        before: Offset,
        wait: Duration,
    ) -> Result<Offset, KafkaError> {
        let list = PartitionList::offsets([(at, before)].into_iter())?;
        // SAFETY: the list is copied; the request is freed here.
        let event = unsafe {
            let request = c::rd_kafka_DeleteRecords_new(list.raw());
            let mut requests = [request];
            let event = self.ask(
                Op::RD_KAFKA_ADMIN_OP_DELETERECORDS,
                wait,
                |options, queue| {
                    let requests = requests.as_mut_ptr();
                    c::rd_kafka_DeleteRecords(self.raw(), requests, 1, options, queue);
                },
                |_| {},
            );
            c::rd_kafka_DeleteRecords_destroy(request);
            event?
        };
        // SAFETY: the result belongs to the event.
        let entries = unsafe {
            let result = c::rd_kafka_event_DeleteRecords_result(event.raw());
            PartitionList::read(c::rd_kafka_DeleteRecords_result_offsets(result))
        };
        first(entries)?.offset.ok_or_else(|| absent("a new start"))
    }

    /// What `offset` (a logical one: the start or the end; or a time, from 0 on) is in each
    /// partition, in the order asked; `None` where all records are older than the time.
    pub(crate) fn list_offsets(
        self: &Arc<Self>,
        partitions: &[TopicPartition],
        offset: Offset,
        isolation: Isolation,
        wait: Duration,
    ) -> Result<Vec<Option<Offset>>, KafkaError> {
        let list = PartitionList::offsets(partitions.iter().map(|at| (at, offset)))?;
        let level = match isolation {
            Isolation::ReadUncommitted => {
                c::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED
            }
            Isolation::ReadCommitted => {
                c::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED
            }
        };
        let event = self.ask(
            Op::RD_KAFKA_ADMIN_OP_LISTOFFSETS,
            wait,
            // SAFETY: handle, list, options and queue live during the call.
            |options, queue| unsafe {
                c::rd_kafka_ListOffsets(self.raw(), list.raw(), options, queue);
            },
            // SAFETY: the options live; an error, of which there is none for this kind, is ours.
            |options| unsafe {
                let set = c::rd_kafka_AdminOptions_set_isolation_level(options, level);
                debug_assert!(KafkaError::take(set).is_ok());
            },
        )?;
        // SAFETY: all that is read here belongs to the event.
        let found: Vec<Entry> = unsafe {
            let result = c::rd_kafka_event_ListOffsets_result(event.raw());
            let mut count = 0;
            let infos = c::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
            let infos = elements(infos, count).iter();
            infos
                .map(|&info| list::read(&*c::rd_kafka_ListOffsetsResultInfo_topic_partition(info)))
                .collect()
        };
        let wanted = partitions.iter().map(|at| {
            let entry = found.iter().find(|entry| entry.at == *at);
            let entry = entry.cloned().ok_or_else(|| absent("an offset"))?;
            entry.outcome.map(|()| entry.offset)
        });
        wanted.collect()
    }

    /// The names of all topics.
    pub(crate) fn topic_names(&self, wait: Duration) -> Result<Vec<String>, KafkaError> {
        let mut found = std::ptr::null();
        // SAFETY: the handle lives; what is found is ours and freed here.
        unsafe {
            let null = std::ptr::null_mut();
            KafkaError::check(c::rd_kafka_metadata(
                self.raw(),
                1,
                null,
                &raw mut found,
                millis(wait),
            ))?;
            let metadata = &*found;
            let count = usize::try_from(metadata.topic_cnt).unwrap_or(0);
            let topics = if count == 0 {
                &[][..]
            } else {
                std::slice::from_raw_parts(metadata.topics, count)
            };
            let names = topics.iter().map(|topic| owned(topic.topic)).collect();
            c::rd_kafka_metadata_destroy(found);
            Ok(names)
        }
    }
}

pub(crate) fn is_unknown_topic(code: Code) -> bool {
    matches!(
        code,
        Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
            | Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
            | Code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION
            | Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID
            | Code::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION
    )
}

pub(super) fn absent(what: &str) -> KafkaError {
    let text = format!("the cluster's answer lacks {what}");
    KafkaError::new(Code::RD_KAFKA_RESP_ERR__BAD_MSG, text)
}

fn first(entries: Vec<Entry>) -> Result<Entry, KafkaError> {
    let entry = entries.into_iter().next();
    let entry = entry.ok_or_else(|| absent("the partition"))?;
    entry.outcome.clone()?;
    Ok(entry)
}

/// # Safety
/// The results belong to an event that lives.
unsafe fn topic_result(results: &[*const c::rd_kafka_topic_result_t]) -> Result<(), KafkaError> {
    let Some(&result) = results.first() else {
        return Err(absent("the topic"));
    };
    // SAFETY: the caller's promise.
    unsafe {
        match c::rd_kafka_topic_result_error(result) {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
            code => {
                let why = owned(c::rd_kafka_topic_result_error_string(result));
                Err(KafkaError::new(code, why))
            }
        }
    }
}
