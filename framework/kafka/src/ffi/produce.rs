//! The producing half: records, and the five calls of a transaction.
//!
//! Records are sent one by one with `produceva`: the batch call of librdkafka cannot carry a
//! record's own timestamp or headers. Invariant: the slot that a record's delivery is told to does
//! not move, and the producer keeps it until the handle is gone.

use super::{
    c_string,
    error::{Code, KafkaError},
    group::GroupMetadata,
    handle::Handle,
    list::PartitionList,
    millis,
    queue::Topic,
};
use millstream_core::record::{Headers, Offset, Partition, Timestamp};
use rdkafka::bindings::{
    self as c, rd_kafka_vtype_t as Vtype, rd_kafka_vu_s as Vu,
    rd_kafka_vu_s__bindgen_ty_1 as Union, rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 as Memory,
};
use std::{
    ffi::c_void,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

/// What is known of a partition in the open transaction; deliveries say the end.
pub(crate) struct Slot(AtomicI64);

/// Nothing was sent to the partition.
const UNTOUCHED: i64 = -2;
/// Something was sent, and nothing is delivered yet.
const SENT: i64 = -1;

impl Slot {
    pub(crate) fn new() -> Self {
        Self(AtomicI64::new(UNTOUCHED))
    }

    /// A record was written there. Deliveries of a partition come in order.
    pub(super) fn written(&self, offset: Offset) {
        self.0.store(offset + 1, Ordering::Release);
    }

    /// Whether this is the transaction's first record there. A delivery that comes before the
    /// question is answered counts: it can only be of this transaction, since a transaction ends
    /// with all its records settled.
    #[inline]
    pub(crate) fn first_touch(&self) -> bool {
        // A look is much cheaper than an exchange, and enough for all records but the first.
        if self.0.load(Ordering::Acquire) != UNTOUCHED {
            return false;
        }
        let touched =
            (self.0).compare_exchange(UNTOUCHED, SENT, Ordering::AcqRel, Ordering::Acquire);
        touched.is_ok()
    }

    /// The offset after the last record written, if one was; the partition is untouched again.
    pub(crate) fn take(&self) -> Option<Offset> {
        let end = self.0.swap(UNTOUCHED, Ordering::AcqRel);
        (end >= 0).then_some(end)
    }
}

/// A record on its way out, with where it goes.
pub(crate) struct Outgoing<'a> {
    pub(crate) topic: &'a Topic,
    pub(crate) partition: Partition,
    pub(crate) slot: &'a Slot,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) timestamp: Timestamp,
    pub(crate) headers: &'a Headers,
}

/// Settings of a record: topic, partition, flags, time, slot, and perhaps value, key, headers.
const SETTINGS_MAX: usize = 8;

impl Handle {
    /// Puts a record into librdkafka's queue; its bytes are copied.
    pub(crate) fn produce(&self, record: &Outgoing<'_>) -> Result<(), KafkaError> {
        let mut settings = [unused(); SETTINGS_MAX];
        let mut count = 0;
        let mut set = |vtype, union| {
            settings[count] = Vu { vtype, u: union };
            count += 1;
        };
        let slot = std::ptr::from_ref(record.slot).cast_mut();
        let number = i32::try_from(record.partition).unwrap_or(i32::MAX);
        let flags = c::RD_KAFKA_MSG_F_COPY;
        // To librdkafka zero means the current time, so the very first millisecond becomes the
        // second.
        let timestamp = if record.timestamp == 0 {
            1
        } else {
            record.timestamp
        };
        set(
            Vtype::RD_KAFKA_VTYPE_RKT,
            Union {
                rkt: record.topic.raw(),
            },
        );
        set(Vtype::RD_KAFKA_VTYPE_PARTITION, Union { i32_: number });
        set(Vtype::RD_KAFKA_VTYPE_MSGFLAGS, Union { i: flags });
        set(Vtype::RD_KAFKA_VTYPE_TIMESTAMP, Union { i64_: timestamp });
        set(
            Vtype::RD_KAFKA_VTYPE_OPAQUE,
            Union {
                ptr: slot.cast::<c_void>(),
            },
        );
        if let Some(value) = record.value {
            set(Vtype::RD_KAFKA_VTYPE_VALUE, memory(value));
        }
        if let Some(key) = record.key {
            set(Vtype::RD_KAFKA_VTYPE_KEY, memory(key));
        }
        let headers = native_headers(record.headers);
        if !headers.is_null() {
            set(Vtype::RD_KAFKA_VTYPE_HEADERS, Union { headers });
        }
        // SAFETY: all that the settings point to lives during the call, in which it is copied; the
        // slot lives until the handle is gone, by the invariant of this module.
        let sent = unsafe {
            KafkaError::take(c::rd_kafka_produceva(self.raw(), settings.as_ptr(), count))
        };
        if sent.is_err() && !headers.is_null() {
            // SAFETY: librdkafka takes headers over only with the record.
            unsafe { c::rd_kafka_headers_destroy(headers) };
        }
        sent
    }

    /// Waits until every record is settled, without lingering.
    pub(crate) fn flush(&self, wait: Duration) -> Result<(), KafkaError> {
        // SAFETY: the handle lives.
        KafkaError::check(unsafe { c::rd_kafka_flush(self.raw(), millis(wait)) })
    }

    pub(crate) fn init_transactions(&self, wait: Duration) -> Result<(), KafkaError> {
        // SAFETY: the handle lives; the error is ours.
        unsafe { KafkaError::take(c::rd_kafka_init_transactions(self.raw(), millis(wait))) }
    }

    pub(crate) fn begin_transaction(&self) -> Result<(), KafkaError> {
        // SAFETY: the handle lives; the error is ours.
        unsafe { KafkaError::take(c::rd_kafka_begin_transaction(self.raw())) }
    }

    /// Adds places of a group to the transaction. With no place librdkafka would send nothing, and
    /// the transaction would not be fenced by the group.
    pub(crate) fn send_offsets(
        &self,
        places: &PartitionList,
        group: &GroupMetadata,
        wait: Duration,
    ) -> Result<(), KafkaError> {
        // SAFETY: all three live during the call; the error is ours.
        unsafe {
            KafkaError::take(c::rd_kafka_send_offsets_to_transaction(
                self.raw(),
                places.raw(),
                group.raw(),
                millis(wait),
            ))
        }
    }

    pub(crate) fn commit_transaction(&self, wait: Duration) -> Result<(), KafkaError> {
        // SAFETY: the handle lives; the error is ours.
        unsafe { KafkaError::take(c::rd_kafka_commit_transaction(self.raw(), millis(wait))) }
    }

    pub(crate) fn abort_transaction(&self, wait: Duration) -> Result<(), KafkaError> {
        // SAFETY: the handle lives; the error is ours.
        unsafe { KafkaError::take(c::rd_kafka_abort_transaction(self.raw(), millis(wait))) }
    }
}

fn unused() -> Vu {
    Vu {
        vtype: Vtype::RD_KAFKA_VTYPE_END,
        u: Union { i64_: 0 },
    }
}

/// Bytes as a setting. Empty bytes are not null: they get an address that is never read.
fn memory(bytes: &[u8]) -> Union {
    Union {
        mem: Memory {
            ptr: bytes.as_ptr().cast_mut().cast::<c_void>(),
            size: bytes.len(),
        },
    }
}

/// A copy of headers for librdkafka; null where there are none.
fn native_headers(headers: &Headers) -> *mut c::rd_kafka_headers_t {
    if headers.is_empty() {
        return std::ptr::null_mut();
    }
    // SAFETY: no precondition.
    let list = unsafe { c::rd_kafka_headers_new(headers.iter().len()) };
    for header in headers {
        let name = c_string(&header.name);
        let value = header.value.as_deref();
        let size = value.map_or(0, |value| {
            isize::try_from(value.len()).unwrap_or(isize::MAX)
        });
        let value = value.map_or(std::ptr::null(), |value| value.as_ptr().cast::<c_void>());
        // SAFETY: the list is ours; name and value are copied, and a null value is a null header.
        let added = unsafe { c::rd_kafka_header_add(list, name.as_ptr(), -1, value, size) };
        debug_assert_eq!(added, Code::RD_KAFKA_RESP_ERR_NO_ERROR);
    }
    list
}
