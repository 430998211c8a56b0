//! The few calls of librdkafka that the loop makes.
//!
//! Invariant: messages are read only between the `take` that got them and the next one, which gives
//! them back; topics and queues are freed before the handle they belong to.

use anyhow::{Context, Result, bail};
use rdkafka::bindings::{
    self as c, rd_kafka_resp_err_t as Code, rd_kafka_vtype_t as Vtype, rd_kafka_vu_s as Vu,
    rd_kafka_vu_s__bindgen_ty_1 as Union, rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 as Memory,
};
use std::{
    ffi::{CStr, CString, c_char, c_void},
    ptr, slice,
};

/// How many messages one call takes at most.
const BATCH: usize = 2_000;
/// How long it waits for them.
const WAIT_MS: i32 = 5;
/// How long the cluster may take for what a transaction needs.
const TRANSACTION_MS: i32 = 30_000;

/// The settings of both handles are those of the log over Kafka, so that the loop differs from it
/// in what it does and not in how it is tuned.
const CONSUMER: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("isolation.level", "read_committed"),
    ("auto.offset.reset", "error"),
    ("queued.min.messages", "5000"),
    ("queued.max.messages.kbytes", "4096"),
    ("fetch.queue.backoff.ms", "2"),
    ("fetch.wait.max.ms", "50"),
    ("fetch.message.max.bytes", "524288"),
];
const PRODUCER: &[(&str, &str)] = &[
    ("linger.ms", "20"),
    ("batch.num.messages", "2000"),
    ("batch.size", "1048576"),
    ("acks", "all"),
    ("compression.type", "none"),
    ("transaction.timeout.ms", "10000"),
    ("retry.backoff.ms", "10"),
    ("retry.backoff.max.ms", "1000"),
    ("queue.buffering.max.messages", "100000"),
    ("queue.buffering.max.kbytes", "262144"),
    ("sticky.partitioning.linger.ms", "0"),
];

/// A record as it lies in librdkafka's buffer.
pub(crate) struct Message<'a> {
    /// The place of its topic among those that are read.
    pub(crate) topic: usize,
    pub(crate) partition: i32,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
}

/// A consumer of all partitions of some topics.
pub(crate) struct Consumer {
    raw: *mut c::rd_kafka_t,
    queue: *mut c::rd_kafka_queue_t,
    topics: Vec<CString>,
    /// Handles by which messages name their topics, as far as they are known. They are compared
    /// only; the partitions that are assigned hold them for as long as the consumer lives.
    known: Vec<(*mut c::rd_kafka_topic_t, usize)>,
    /// What was taken, and of which topic.
    taken: Vec<*mut c::rd_kafka_message_t>,
    taken_of: Vec<usize>,
    /// The next offset to process, by topic and partition.
    next: Vec<Vec<i64>>,
}

impl Consumer {
    pub(crate) fn new(servers: &str, group: &str, topics: &[&str]) -> Result<Self> {
        let own = [("bootstrap.servers", servers), ("group.id", group)];
        let raw = handle(c::rd_kafka_type_t::RD_KAFKA_CONSUMER, CONSUMER, &own)?;
        // SAFETY: the handle was just made.
        let queue = unsafe {
            c::rd_kafka_poll_set_consumer(raw);
            c::rd_kafka_queue_get_consumer(raw)
        };
        let topics = topics.iter().map(|topic| CString::new(*topic));
        Ok(Self {
            raw,
            queue,
            topics: topics.collect::<std::result::Result<_, _>>()?,
            known: Vec::new(),
            taken: Vec::with_capacity(BATCH),
            taken_of: Vec::with_capacity(BATCH),
            next: Vec::new(),
        })
    }

    /// Reads so many partitions of each topic from their first record on.
    pub(crate) fn assign(&mut self, partitions: i32) -> Result<()> {
        self.next = vec![vec![-1; usize::try_from(partitions)?]; self.topics.len()];
        // SAFETY: the list is ours, and freed after the call that copies it.
        let code = unsafe {
            let list = c::rd_kafka_topic_partition_list_new(partitions);
            for topic in &self.topics {
                for partition in 0..partitions {
                    let at = c::rd_kafka_topic_partition_list_add(list, topic.as_ptr(), partition);
                    (*at).offset = i64::from(c::RD_KAFKA_OFFSET_BEGINNING);
                }
            }
            let code = c::rd_kafka_assign(self.raw, list);
            c::rd_kafka_topic_partition_list_destroy(list);
            code
        };
        check(code, "assign")
    }

    /// Gives back what was taken before, and takes more: as much as there is within a short wait.
    pub(crate) fn take(&mut self) -> Result<usize> {
        self.give_back();
        // SAFETY: the queue lives, and the vector has room for so many pointers.
        let count = unsafe {
            let into = self.taken.as_mut_ptr();
            c::rd_kafka_consume_batch_queue(self.queue, WAIT_MS, into, BATCH)
        };
        let count = usize::try_from(count).context("consume_batch_queue")?;
        // SAFETY: so many pointers were written.
        unsafe { self.taken.set_len(count) };
        for index in 0..count {
            // SAFETY: the message is ours until it is given back.
            let (code, topic, partition, offset) = unsafe {
                let m = &*self.taken[index];
                (m.err, m.rkt, m.partition, m.offset)
            };
            check(code, "a message")?;
            let topic = self.topic(topic)?;
            self.taken_of.push(topic);
            if let Some(next) = self.next[topic].get_mut(usize::try_from(partition)?) {
                *next = offset + 1;
            }
        }
        Ok(count)
    }

    /// The place of a topic among those that are read; its name is looked at once.
    fn topic(&mut self, raw: *mut c::rd_kafka_topic_t) -> Result<usize> {
        if let Some((_, place)) = self.known.iter().find(|(known, _)| *known == raw) {
            return Ok(*place);
        }
        // SAFETY: a message that was not given back holds its topic, and that its name.
        let name = unsafe { CStr::from_ptr(c::rd_kafka_topic_name(raw)) };
        let place = self.topics.iter().position(|topic| **topic == *name);
        let place = place.with_context(|| format!("a message of {name:?}"))?;
        self.known.push((raw, place));
        Ok(place)
    }

    /// What was taken last.
    pub(crate) fn messages(&self) -> impl Iterator<Item = Message<'_>> {
        let taken = self.taken.iter().zip(&self.taken_of);
        taken.map(|(&message, &topic)| {
            // SAFETY: messages live until they are given back, for which `self` must be borrowed
            // mutably.
            unsafe {
                let m = &*message;
                Message {
                    topic,
                    partition: m.partition,
                    timestamp: c::rd_kafka_message_timestamp(message, ptr::null_mut()),
                    key: bytes(m.key, m.key_len),
                    value: bytes(m.payload, m.len),
                }
            }
        })
    }

    fn give_back(&mut self) {
        self.taken_of.clear();
        for message in self.taken.drain(..) {
            // SAFETY: it is ours, once.
            unsafe { c::rd_kafka_message_destroy(message) };
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.give_back();
        // SAFETY: both are ours, once; the queue goes before the handle.
        unsafe {
            c::rd_kafka_queue_destroy(self.queue);
            c::rd_kafka_consumer_close(self.raw);
            c::rd_kafka_destroy(self.raw);
        }
    }
}

/// A transactional producer to some topics.
pub(crate) struct Producer {
    raw: *mut c::rd_kafka_t,
    topics: Vec<*mut c::rd_kafka_topic_t>,
}

impl Producer {
    pub(crate) fn new(servers: &str, id: &str, topics: &[&str]) -> Result<Self> {
        let own = [("bootstrap.servers", servers), ("transactional.id", id)];
        let raw = handle(c::rd_kafka_type_t::RD_KAFKA_PRODUCER, PRODUCER, &own)?;
        // SAFETY: the handle was just made.
        unsafe { done(c::rd_kafka_init_transactions(raw, TRANSACTION_MS), "init")? };
        let mut producer = Self {
            raw,
            topics: Vec::new(),
        };
        for topic in topics {
            let name = CString::new(*topic)?;
            // SAFETY: the handle lives; the name is copied.
            let topic = unsafe { c::rd_kafka_topic_new(raw, name.as_ptr(), ptr::null_mut()) };
            if topic.is_null() {
                bail!("{name:?} can be no topic");
            }
            producer.topics.push(topic);
        }
        Ok(producer)
    }

    pub(crate) fn begin(&self) -> Result<()> {
        // SAFETY: the handle lives.
        unsafe { done(c::rd_kafka_begin_transaction(self.raw), "begin") }
    }

    /// Sends a record to a topic, by its place, with a partition and a time, once there is room for
    /// it; its bytes are copied.
    pub(crate) fn send(
        &self,
        topic: usize,
        (partition, timestamp): (i32, i64),
        key: &[u8],
        value: &[u8],
    ) -> Result<()> {
        let settings = [
            (
                Vtype::RD_KAFKA_VTYPE_RKT,
                Union {
                    rkt: self.topics[topic],
                },
            ),
            (Vtype::RD_KAFKA_VTYPE_PARTITION, Union { i32_: partition }),
            (
                Vtype::RD_KAFKA_VTYPE_MSGFLAGS,
                Union {
                    i: c::RD_KAFKA_MSG_F_COPY | c::RD_KAFKA_MSG_F_BLOCK,
                },
            ),
            (Vtype::RD_KAFKA_VTYPE_TIMESTAMP, Union { i64_: timestamp }),
            (Vtype::RD_KAFKA_VTYPE_KEY, memory(key)),
            (Vtype::RD_KAFKA_VTYPE_VALUE, memory(value)),
        ]
        .map(|(vtype, u)| Vu { vtype, u });
        // SAFETY: all that the settings point to lives during the call, which copies it.
        unsafe {
            let sent = c::rd_kafka_produceva(self.raw, settings.as_ptr(), settings.len());
            done(sent, "produce")
        }
    }

    /// Commits what was sent since `begin`, with the places that the consumer has come to.
    pub(crate) fn commit(&self, consumer: &Consumer) -> Result<()> {
        // SAFETY: handles live; list and group are ours, and freed after the call.
        unsafe {
            check(c::rd_kafka_flush(self.raw, TRANSACTION_MS), "flush")?;
            let list = c::rd_kafka_topic_partition_list_new(4);
            for (topic, next) in consumer.topics.iter().zip(&consumer.next) {
                for (partition, next) in (0..).zip(next).filter(|(_, next)| **next >= 0) {
                    let at = c::rd_kafka_topic_partition_list_add(list, topic.as_ptr(), partition);
                    (*at).offset = *next;
                }
            }
            let group = c::rd_kafka_consumer_group_metadata(consumer.raw);
            let wait = TRANSACTION_MS;
            let sent = c::rd_kafka_send_offsets_to_transaction(self.raw, list, group, wait);
            c::rd_kafka_consumer_group_metadata_destroy(group);
            c::rd_kafka_topic_partition_list_destroy(list);
            done(sent, "places")?;
            done(
                c::rd_kafka_commit_transaction(self.raw, TRANSACTION_MS),
                "commit",
            )
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // SAFETY: all are ours, once; the topics go before the handle.
        unsafe {
            for topic in self.topics.drain(..) {
                c::rd_kafka_topic_destroy(topic);
            }
            c::rd_kafka_destroy(self.raw);
        }
    }
}

fn memory(bytes: &[u8]) -> Union {
    Union {
        mem: Memory {
            ptr: bytes.as_ptr().cast_mut().cast::<c_void>(),
            size: bytes.len(),
        },
    }
}

/// # Safety
/// The memory is null, or so many bytes that live as long as the result.
unsafe fn bytes<'a>(at: *mut c_void, length: usize) -> Option<&'a [u8]> {
    if at.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    Some(unsafe { slice::from_raw_parts(at.cast::<u8>(), length) })
}

fn handle(
    kind: c::rd_kafka_type_t,
    tuned: &[(&str, &str)],
    own: &[(&str, &str)],
) -> Result<*mut c::rd_kafka_t> {
    let mut text = [0 as c_char; 512];
    // SAFETY: the configuration is ours until a handle takes it; the buffer is as long as we say.
    unsafe {
        let conf = c::rd_kafka_conf_new();
        for (name, value) in tuned.iter().chain(own) {
            let (name, value) = (CString::new(*name)?, CString::new(*value)?);
            let (at, length) = (text.as_mut_ptr(), text.len());
            let set = c::rd_kafka_conf_set(conf, name.as_ptr(), value.as_ptr(), at, length);
            if set != c::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
                bail!("{}", CStr::from_ptr(text.as_ptr()).to_string_lossy());
            }
        }
        let raw = c::rd_kafka_new(kind, conf, text.as_mut_ptr(), text.len());
        if raw.is_null() {
            bail!("{}", CStr::from_ptr(text.as_ptr()).to_string_lossy());
        }
        Ok(raw)
    }
}

fn check(code: Code, what: &str) -> Result<()> {
    if code == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Ok(());
    }
    // SAFETY: librdkafka's names of errors are static.
    let name = unsafe { CStr::from_ptr(c::rd_kafka_err2str(code)) };
    bail!("{what}: {}", name.to_string_lossy())
}

/// # Safety
/// The error is null or ours to free.
unsafe fn done(error: *mut c::rd_kafka_error_t, what: &str) -> Result<()> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: the caller's promise; the text is copied before the error is freed.
    let text = unsafe {
        let text = CStr::from_ptr(c::rd_kafka_error_string(error)).to_string_lossy();
        let text = text.into_owned();
        c::rd_kafka_error_destroy(error);
        text
    };
    bail!("{what}: {text}")
}
