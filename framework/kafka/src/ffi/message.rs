//! A message as librdkafka fetched it: its bytes lie in the buffer of the fetch.
//!
//! A message keeps that whole buffer alive, so it is to be copied or dropped soon.

use super::{error::Code, owned};
use millstream_core::record::{Header, Headers, Offset, Timestamp};
use rdkafka::bindings::{self as c, rd_kafka_message_t};
use std::ptr::NonNull;

/// An owned message, or a partition's news in the form of one.
pub(crate) struct Message(NonNull<rd_kafka_message_t>);

// SAFETY: a message is a value of its own; nothing of it is bound to the thread that fetched it.
unsafe impl Send for Message {}

impl Message {
    /// # Safety
    /// `raw` is a message that the caller owns and gives away.
    pub(super) unsafe fn own(raw: NonNull<rd_kafka_message_t>) -> Self {
        Self(raw)
    }

    fn get(&self) -> &rd_kafka_message_t {
        // SAFETY: it is ours until `drop`.
        unsafe { self.0.as_ref() }
    }

    /// Why this is no record, if it is none: the end of the partition is said in this way too.
    pub(crate) fn news(&self) -> Option<Code> {
        let code = self.get().err;
        (code != Code::RD_KAFKA_RESP_ERR_NO_ERROR).then_some(code)
    }

    /// librdkafka's explanation of [`Message::news`].
    pub(crate) fn explanation(&self) -> String {
        // SAFETY: the text belongs to the message, which lives.
        unsafe { owned(c::rd_kafka_message_errstr(self.0.as_ptr())) }
    }

    pub(crate) fn offset(&self) -> Offset {
        self.get().offset
    }

    pub(crate) fn timestamp(&self) -> Timestamp {
        // SAFETY: the message lives; the kind of timestamp is not asked for.
        unsafe { c::rd_kafka_message_timestamp(self.0.as_ptr(), std::ptr::null_mut()) }
    }

    pub(crate) fn key(&self) -> Option<&[u8]> {
        let message = self.get();
        // SAFETY: a key that is there has as many bytes as are said, for as long as the message.
        (!message.key.is_null())
            .then(|| unsafe { std::slice::from_raw_parts(message.key.cast(), message.key_len) })
    }

    pub(crate) fn value(&self) -> Option<&[u8]> {
        let message = self.get();
        // SAFETY: as for the key.
        (!message.payload.is_null())
            .then(|| unsafe { std::slice::from_raw_parts(message.payload.cast(), message.len) })
    }

    /// The headers; none costs one look.
    pub(crate) fn headers(&self) -> Headers {
        let mut raw = std::ptr::null_mut();
        // SAFETY: the message lives and keeps its headers.
        let found = unsafe { c::rd_kafka_message_headers(self.0.as_ptr(), &raw mut raw) };
        if found != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Headers::NONE;
        }
        // SAFETY: as above.
        let count = unsafe { c::rd_kafka_header_cnt(raw) };
        let header = |index| {
            let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
            // SAFETY: the list lives, and the index is below its count.
            unsafe {
                c::rd_kafka_header_get_all(
                    raw,
                    index,
                    &raw mut name,
                    &raw mut value,
                    &raw mut size,
                );
                let value = (!value.is_null())
                    .then(|| std::slice::from_raw_parts(value.cast::<u8>(), size).to_vec());
                Header {
                    name: owned(name),
                    value,
                }
            }
        };
        (0..count).map(header).collect()
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: it is ours, once.
        unsafe { c::rd_kafka_message_destroy(self.0.as_ptr()) }
    }
}
