//! A client of the cluster, with its threads, and what librdkafka calls back into.
//!
//! Invariant: the [`Context`] that callbacks get as a bare pointer is owned by the handle and freed
//! after librdkafka has ended the handle's threads.

use super::{
    c_string,
    error::{Code, KafkaError},
    millis, owned,
};
use crate::{statistics, wake::Waker};
use millstream_log::ClientStatistics;
use rdkafka::bindings::{
    self as c, rd_kafka_conf_res_t, rd_kafka_conf_t, rd_kafka_message_t, rd_kafka_t,
};
use std::{
    ffi::{c_char, c_int, c_void},
    ptr::NonNull,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// What a handle is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Producer,
    /// Reads partitions that it is told to read.
    Consumer,
    /// A member of a group; hears of rebalances as events.
    Member,
}

impl Kind {
    pub(super) fn native(self) -> c::rd_kafka_type_t {
        match self {
            Self::Producer => c::rd_kafka_type_t::RD_KAFKA_PRODUCER,
            Self::Consumer | Self::Member => c::rd_kafka_type_t::RD_KAFKA_CONSUMER,
        }
    }
}

/// What librdkafka's threads tell us.
#[derive(Default)]
pub(crate) struct Context {
    /// Ends a wait as soon as there is something to look at; shared by the handles of a client.
    waker: Arc<Waker>,
    /// A request timed out or a connection was lost since this was last asked: with old transaction
    /// protocols, a late request could then fall into the next transaction. librdkafka reports both
    /// in its log only, where the cause is an ordinary one.
    troubled: AtomicBool,
    /// Something failed since this was last asked, whatever it was: what a broker said before may
    /// not hold any more. An error that is the same as the last one may not be told, so none is
    /// left out here.
    doubtful: AtomicBool,
    /// Why the cluster would not let us in, when it last did not.
    denied: Mutex<Option<KafkaError>>,
    /// Records that the cluster refused for good, and the first reason.
    refused: AtomicU64,
    reason: Mutex<Option<KafkaError>>,
    /// What it last told of its connections.
    statistics: Mutex<Option<ClientStatistics>>,
}

impl Context {
    pub(crate) fn new(waker: Arc<Waker>) -> Arc<Self> {
        Arc::new(Self {
            waker,
            ..Self::default()
        })
    }

    pub(super) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Whether anything failed since the last call, also a connection that never came about.
    pub(crate) fn take_doubt(&self) -> bool {
        self.doubtful.swap(false, Ordering::AcqRel)
    }

    /// Whether there was trouble since the last call.
    pub(crate) fn take_trouble(&self) -> bool {
        self.troubled.swap(false, Ordering::AcqRel)
    }

    /// Why we were not let in since the last call, if we were not: a wrong password, or a
    /// certificate that is not trusted.
    pub(crate) fn take_denial(&self) -> Option<KafkaError> {
        let mut denied = self.denied.lock().unwrap_or_else(PoisonError::into_inner);
        denied.take()
    }

    /// The first record refused since the last call, if one was.
    pub(crate) fn take_refusal(&self) -> Option<KafkaError> {
        self.refused.store(0, Ordering::Release);
        let mut reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        reason.take()
    }

    pub(crate) fn statistics(&self) -> Option<ClientStatistics> {
        let told = self.statistics.lock();
        told.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn tell(&self, told: ClientStatistics) {
        let last = self.statistics.lock();
        *last.unwrap_or_else(PoisonError::into_inner) = Some(told);
    }

    fn refuse(&self, code: Code) {
        self.refused.fetch_add(1, Ordering::AcqRel);
        let mut reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        reason.get_or_insert_with(|| KafkaError::of(code));
    }
}

/// A handle. Safe to use from several threads, as librdkafka's handles are.
pub(crate) struct Handle {
    raw: NonNull<rd_kafka_t>,
    context: Arc<Context>,
}

// SAFETY: librdkafka's handles are made for use by many threads at once.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    pub(super) fn new(raw: NonNull<rd_kafka_t>, context: Arc<Context>) -> Self {
        Self { raw, context }
    }

    pub(super) fn raw(&self) -> *mut rd_kafka_t {
        self.raw.as_ptr()
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Serves callbacks for at most so long.
    pub(crate) fn serve(&self, wait: Duration) {
        // SAFETY: the handle lives; callbacks touch only the context, which lives with it.
        unsafe { c::rd_kafka_poll(self.raw(), millis(wait)) };
    }

    /// What holds of a setting that is a number, whoever set it; `None` where there is no such one.
    pub(crate) fn setting(&self, key: &str) -> Option<u64> {
        let (name, mut text) = (c_string(key), [0 as c_char; super::ERROR_TEXT_BYTES]);
        let mut size = text.len();
        // SAFETY: the handle lives, the name ends with a zero byte, and the buffer is as long as we
        // say.
        let found = unsafe {
            let conf = c::rd_kafka_conf(self.raw());
            c::rd_kafka_conf_get(conf, name.as_ptr(), text.as_mut_ptr(), &raw mut size)
        };
        if found != rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
            return None;
        }
        // SAFETY: librdkafka ended the text with a zero byte.
        unsafe { owned(text.as_ptr()) }.parse().ok()
    }

    /// The error that made the handle useless, if there is one.
    pub(crate) fn fatal(&self) -> Option<KafkaError> {
        let mut text = [0 as c_char; super::ERROR_TEXT_BYTES];
        // SAFETY: the handle lives and the buffer is as long as we say.
        let code = unsafe { c::rd_kafka_fatal_error(self.raw(), text.as_mut_ptr(), text.len()) };
        if code == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        // SAFETY: librdkafka ended the text with a zero byte.
        let text = unsafe { owned(text.as_ptr()) };
        Some(KafkaError {
            fatal: true,
            ..KafkaError::new(code, text)
        })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // A member leaves its group by `close`, which is bounded; a consumer that is closed here
        // could wait without bound for somebody to serve its events.
        let flags = c::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE;
        // SAFETY: queues, topics and messages hold the handle, so none is left; the context is
        // freed after this.
        unsafe { c::rd_kafka_destroy_flags(self.raw(), flags as c_int) }
    }
}

/// Sets what librdkafka calls back.
pub(super) fn callbacks(conf: NonNull<rd_kafka_conf_t>, kind: Kind, context: &Arc<Context>) {
    let opaque = Arc::as_ptr(context).cast_mut().cast::<c_void>();
    // SAFETY: the configuration lives; the context outlives the handle, which will own it.
    unsafe {
        c::rd_kafka_conf_set_opaque(conf.as_ptr(), opaque);
        c::rd_kafka_conf_set_log_cb(conf.as_ptr(), Some(on_log));
        c::rd_kafka_conf_set_error_cb(conf.as_ptr(), Some(on_error));
        c::rd_kafka_conf_set_stats_cb(conf.as_ptr(), Some(on_statistics));
        match kind {
            Kind::Producer => c::rd_kafka_conf_set_dr_msg_cb(conf.as_ptr(), Some(on_delivery)),
            Kind::Member => {
                c::rd_kafka_conf_set_events(conf.as_ptr(), c::RD_KAFKA_EVENT_REBALANCE);
            }
            Kind::Consumer => {}
        }
    }
}

/// # Safety
/// Called by librdkafka with the pointer that [`callbacks`] set.
unsafe fn context<'a>(opaque: *mut c_void) -> &'a Context {
    // SAFETY: it is the handle's context, which outlives its threads and callbacks.
    unsafe { &*opaque.cast::<Context>() }
}

/// The level of lines that say also what was planned, such as the end of an idle connection.
const DEBUG: c_int = 7;

unsafe extern "C" fn on_log(
    handle: *const rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    text: *const c_char,
) {
    // SAFETY: both are strings that librdkafka has for the time of the call.
    let (facility, text) = unsafe { (owned(facility), owned(text)) };
    if level < DEBUG && !handle.is_null() && matches!(&*facility, "FAIL" | "REQTMOUT") {
        // SAFETY: the handle lives, and what it keeps for us is the pointer that we set.
        let context = unsafe { context(c::rd_kafka_opaque(handle)) };
        context.doubtful.store(true, Ordering::Release);
        if is_trouble(&facility, &text) {
            context.troubled.store(true, Ordering::Release);
        }
    }
    match level {
        0..=3 => tracing::error!(target: "millstream_kafka::client", facility, "{text}"),
        4 => tracing::warn!(target: "millstream_kafka::client", facility, "{text}"),
        5 | 6 => tracing::info!(target: "millstream_kafka::client", facility, "{text}"),
        _ => tracing::debug!(target: "millstream_kafka::client", facility, "{text}"),
    }
}

/// Whether a line of librdkafka's log says that a request timed out or a connection was lost.
fn is_trouble(facility: &str, text: &str) -> bool {
    match facility {
        "REQTMOUT" => true,
        "FAIL" => was_connected(text),
        _ => false,
    }
}

/// Whether a broker's failure is one of a connection over which requests may have gone. One that
/// never came about says in which state it was, as in "Connection refused (after 0ms in state
/// CONNECT)": while a broker is away there are many such, and they harm nothing.
fn was_connected(text: &str) -> bool {
    let state = text.rsplit_once("in state ").map(|(_, state)| state);
    state.is_none_or(|state| state.starts_with("UP") || state.starts_with("REAUTH"))
}

unsafe extern "C" fn on_error(
    _: *mut rd_kafka_t,
    code: c_int,
    reason: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: the pointer that we set, and a string for the time of the call.
    let (context, reason) = unsafe { (context(opaque), owned(reason)) };
    tracing::debug!(target: "millstream_kafka::client", code, "{reason}");
    for denial in [
        Code::RD_KAFKA_RESP_ERR__AUTHENTICATION,
        Code::RD_KAFKA_RESP_ERR__SSL,
    ] {
        if code == denial as c_int {
            let mut denied = context
                .denied
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *denied = Some(KafkaError::new(denial, reason.clone()));
        }
    }
    context.doubtful.store(true, Ordering::Release);
    if was_connected(&reason) {
        context.troubled.store(true, Ordering::Release);
    }
    context.waker().wake();
}

unsafe extern "C" fn on_statistics(
    _: *mut rd_kafka_t,
    json: *mut c_char,
    length: usize,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: librdkafka has so many bytes there for the time of the call; the pointer is the one
    // that we set.
    let (context, json) = unsafe {
        (
            context(opaque),
            std::slice::from_raw_parts(json.cast_const().cast::<u8>(), length),
        )
    };
    if let Some(told) = statistics::read(json) {
        context.tell(told);
    }
    // The text stays librdkafka's.
    0
}

/// A record's fate. Success moves the end of the partition it was written to; this runs once per
/// record, so it does no more than that.
unsafe extern "C" fn on_delivery(
    _: *mut rd_kafka_t,
    message: *const rd_kafka_message_t,
    opaque: *mut c_void,
) {
    // SAFETY: the message lives for the time of the call; its opaque pointer, where it has one, is
    // the address of a slot that its producer keeps until all records are settled.
    unsafe {
        let message = &*message;
        if message.err == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            let slot = message._private.cast::<super::Slot>();
            if let Some(slot) = slot.as_ref() {
                slot.written(message.offset);
            }
        } else {
            context(opaque).refuse(message.err);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_connections_and_late_answers_are_trouble_and_brokers_that_are_away_are_none() {
        let trouble = [
            (
                "REQTMOUT",
                "Timed out 1 in-flight, 0 retry-queued, 0 out-queue",
            ),
            ("FAIL", "b:1/1: Disconnected (after 70ms in state UP)"),
            (
                "FAIL",
                "b:1/1: reset (after 7ms in state UP, 1 identical error(s) suppressed)",
            ),
            ("FAIL", "b:1/1: what nobody has seen yet"),
        ];
        let none = [
            (
                "FAIL",
                "b:1/1: Connect failed: Connection refused (after 0ms in state CONNECT)",
            ),
            (
                "FAIL",
                "b:1/1: Disconnected (after 1ms in state APIVERSION_QUERY)",
            ),
            ("CONFWARN", "a setting has no effect"),
        ];
        assert!(
            trouble
                .iter()
                .all(|(facility, text)| is_trouble(facility, text))
        );
        assert!(
            !none
                .iter()
                .any(|(facility, text)| is_trouble(facility, text))
        );
    }
}
