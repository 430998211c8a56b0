//! Queues of messages and events, and the topics and partitions they come from.
//!
//! A partition's messages stay in a queue of its own, which nobody empties but its reader: that is
//! the flow control. Pausing would throw away what was fetched and fetch it again.

use super::{
    admin::is_unknown_topic,
    c_string,
    conf::no_memory,
    error::{Code, KafkaError},
    handle::{Context, Handle},
    message::Message,
    millis,
};
use millstream_core::record::{Offset, Partition};
use rdkafka::bindings::{
    self as c, rd_kafka_event_t, rd_kafka_message_t, rd_kafka_queue_t, rd_kafka_t, rd_kafka_topic_t,
};
use std::{collections::VecDeque, ffi::c_void, ptr::NonNull, sync::Arc, time::Duration};

/// How many messages one call takes from a queue at most.
const TAKE_MAX: usize = 1_024;

/// A queue of a handle.
pub(crate) struct Queue {
    raw: NonNull<rd_kafka_queue_t>,
    handle: Arc<Handle>,
}

// SAFETY: librdkafka's queues are made for use by many threads.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

/// An event, freed when it was looked at.
pub(super) struct Event(NonNull<rd_kafka_event_t>);

impl Event {
    pub(super) fn raw(&self) -> *mut rd_kafka_event_t {
        self.0.as_ptr()
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: it is ours, once.
        unsafe { c::rd_kafka_event_destroy(self.0.as_ptr()) }
    }
}

impl Queue {
    fn own(raw: *mut rd_kafka_queue_t, handle: &Arc<Handle>) -> Result<Self, KafkaError> {
        let raw = NonNull::new(raw).ok_or_else(no_memory)?;
        let handle = Arc::clone(handle);
        Ok(Self { raw, handle })
    }

    /// A new queue, for the answers to a request.
    pub(super) fn answers(handle: &Arc<Handle>) -> Result<Self, KafkaError> {
        // SAFETY: the handle lives.
        Self::own(unsafe { c::rd_kafka_queue_new(handle.raw()) }, handle)
    }

    /// The queue of a group member: rebalances come there. It wakes the handle's waker.
    pub(super) fn member(handle: &Arc<Handle>) -> Result<Self, KafkaError> {
        // SAFETY: the handle lives.
        let raw = unsafe { c::rd_kafka_queue_get_consumer(handle.raw()) };
        let queue = Self::own(raw, handle)?;
        queue.wakes();
        Ok(queue)
    }

    /// The queue of a partition, cut off from the handle's own; it wakes the handle's waker.
    pub(crate) fn partition(
        handle: &Arc<Handle>,
        topic: &str,
        partition: Partition,
    ) -> Result<Self, KafkaError> {
        let (name, number) = (
            c_string(topic),
            i32::try_from(partition).unwrap_or(i32::MAX),
        );
        // SAFETY: the handle lives and the name ends with a zero byte.
        let raw = unsafe { c::rd_kafka_queue_get_partition(handle.raw(), name.as_ptr(), number) };
        let queue = Self::own(raw, handle)?;
        // SAFETY: the queue lives. Forwarding to nothing is remembered, so that a later start of
        // the partition does not undo it.
        unsafe { c::rd_kafka_queue_forward(queue.raw.as_ptr(), std::ptr::null_mut()) };
        queue.wakes();
        Ok(queue)
    }

    fn wakes(&self) {
        let context = Arc::as_ptr(self.handle.context()).cast_mut();
        // SAFETY: the context lives as long as the handle, which this queue holds; `drop` takes the
        // callback away.
        unsafe {
            c::rd_kafka_queue_cb_event_enable(
                self.raw.as_ptr(),
                Some(on_news),
                context.cast::<c_void>(),
            );
        }
    }

    pub(super) fn raw(&self) -> *mut rd_kafka_queue_t {
        self.raw.as_ptr()
    }

    /// The next event within the wait.
    pub(super) fn event(&self, wait: Duration) -> Option<Event> {
        // SAFETY: the queue lives.
        let event = unsafe { c::rd_kafka_queue_poll(self.raw.as_ptr(), millis(wait)) };
        NonNull::new(event).map(Event)
    }

    /// Whether there is something in it.
    pub(crate) fn has_news(&self) -> bool {
        // SAFETY: the queue lives.
        unsafe { c::rd_kafka_queue_length(self.raw.as_ptr()) > 0 }
    }

    /// Takes what is there, up to a bound, without waiting.
    pub(crate) fn take(&self, into: &mut VecDeque<Message>) {
        let mut messages = [std::ptr::null_mut::<rd_kafka_message_t>(); TAKE_MAX];
        // SAFETY: the queue lives and the array is as long as we say.
        let count = unsafe {
            c::rd_kafka_consume_batch_queue(
                self.raw.as_ptr(),
                0,
                messages.as_mut_ptr(),
                messages.len(),
            )
        };
        let count = usize::try_from(count).unwrap_or(0).min(TAKE_MAX);
        let taken = messages[..count].iter().filter_map(|m| NonNull::new(*m));
        // SAFETY: librdkafka gave these to us.
        into.extend(taken.map(|message| unsafe { Message::own(message) }));
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the queue is ours, once; after the first call nothing calls back for it.
        unsafe {
            c::rd_kafka_queue_cb_event_enable(self.raw.as_ptr(), None, std::ptr::null_mut());
            c::rd_kafka_queue_destroy(self.raw.as_ptr());
        }
    }
}

unsafe extern "C" fn on_news(_: *mut rd_kafka_t, opaque: *mut c_void) {
    // SAFETY: the pointer is the handle's context, which lives while its queues can call back.
    let context = unsafe { &*opaque.cast::<Context>() };
    context.waker().wake();
}

/// A topic, known to a handle.
pub(crate) struct Topic {
    raw: NonNull<rd_kafka_topic_t>,
    handle: Arc<Handle>,
}

// SAFETY: librdkafka's topics are counted references, made for use by many threads.
unsafe impl Send for Topic {}
// SAFETY: as above.
unsafe impl Sync for Topic {}

impl Topic {
    pub(crate) fn new(handle: &Arc<Handle>, name: &str) -> Result<Self, KafkaError> {
        let name = c_string(name);
        // SAFETY: the handle lives; without a configuration of its own a topic has the handle's.
        let raw =
            unsafe { c::rd_kafka_topic_new(handle.raw(), name.as_ptr(), std::ptr::null_mut()) };
        let raw = NonNull::new(raw).ok_or_else(no_memory)?;
        let handle = Arc::clone(handle);
        Ok(Self { raw, handle })
    }

    pub(super) fn raw(&self) -> *mut rd_kafka_topic_t {
        self.raw.as_ptr()
    }

    /// How many partitions the topic has, which its handle knows as well from here on; `None` where
    /// the broker that is asked knows no such topic.
    pub(crate) fn partitions(&self, wait: Duration) -> Result<Option<Partition>, KafkaError> {
        let (handle, mut found) = (self.handle.raw(), std::ptr::null());
        // SAFETY: handle and topic live; what is found is ours and freed here.
        unsafe {
            let (topic, wait) = (self.raw(), millis(wait));
            let asked = c::rd_kafka_metadata(handle, 0, topic, &raw mut found, wait);
            KafkaError::check(asked)?;
            let metadata = &*found;
            let told = match metadata.topic_cnt {
                0 => Ok(None),
                _ => {
                    let topic = &*metadata.topics;
                    let count = Partition::try_from(topic.partition_cnt).unwrap_or(0);
                    match KafkaError::check(topic.err) {
                        Ok(()) => Ok((count > 0).then_some(count)),
                        Err(error) if is_unknown_topic(error.code) => Ok(None),
                        Err(error) => Err(error),
                    }
                }
            };
            c::rd_kafka_metadata_destroy(found);
            told
        }
    }

    /// Starts to fetch a partition from an offset on, into the partition's queue.
    pub(crate) fn start(&self, partition: Partition, from: Offset) -> Result<(), KafkaError> {
        let number = i32::try_from(partition).unwrap_or(i32::MAX);
        // SAFETY: the topic lives.
        let done = unsafe { c::rd_kafka_consume_start(self.raw(), number, from) };
        self.said(done)
    }

    /// Stops it; what was fetched and not taken is thrown away.
    pub(crate) fn stop(&self, partition: Partition) -> Result<(), KafkaError> {
        let number = i32::try_from(partition).unwrap_or(i32::MAX);
        // SAFETY: the topic lives.
        let done = unsafe { c::rd_kafka_consume_stop(self.raw(), number) };
        self.said(done)
    }

    /// These calls say what went wrong beside their result, to the thread that made them.
    fn said(&self, done: i32) -> Result<(), KafkaError> {
        if done == 0 {
            return Ok(());
        }
        // SAFETY: no precondition.
        let code = unsafe { c::rd_kafka_last_error() };
        let failed = KafkaError::check(code);
        failed.and_then(|()| Err(KafkaError::of(Code::RD_KAFKA_RESP_ERR__FAIL)))
    }

    /// The end of a partition as the last fetch found it, open transactions included; `None` before
    /// the first.
    pub(crate) fn known_end(&self, name: &str, partition: Partition) -> Option<Offset> {
        let (name, number) = (c_string(name), i32::try_from(partition).unwrap_or(i32::MAX));
        let (mut low, mut high) = (0, 0);
        // SAFETY: the handle lives, and the numbers are ours.
        let code = unsafe {
            c::rd_kafka_get_watermark_offsets(
                self.handle.raw(),
                name.as_ptr(),
                number,
                &raw mut low,
                &raw mut high,
            )
        };
        (code == Code::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: the reference is ours, once, and the handle still lives.
        unsafe { c::rd_kafka_topic_destroy(self.raw.as_ptr()) }
    }
}
