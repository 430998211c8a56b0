//! librdkafka's errors as values.

use super::owned;
use rdkafka::bindings::{self as c, rd_kafka_error_t, rd_kafka_resp_err_t};
use std::fmt;

/// The codes, by the names that Kafka's protocol and librdkafka give them.
pub(crate) type Code = rd_kafka_resp_err_t;

/// An error of a call or a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KafkaError {
    pub(crate) code: Code,
    pub(crate) text: String,
    /// The handle can do nothing more.
    pub(crate) fatal: bool,
    /// The transaction must be aborted.
    pub(crate) abortable: bool,
    /// The very same call may be made again.
    pub(crate) retriable: bool,
}

impl fmt::Display for KafkaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.text, self.code)
    }
}

impl KafkaError {
    /// The error of a code, with librdkafka's words for it.
    pub(crate) fn of(code: Code) -> Self {
        // SAFETY: the text is a constant of librdkafka's.
        let text = unsafe { owned(c::rd_kafka_err2str(code)) };
        Self {
            code,
            text,
            fatal: code == Code::RD_KAFKA_RESP_ERR__FATAL,
            abortable: false,
            retriable: false,
        }
    }

    pub(crate) fn new(code: Code, text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::of(code)
        }
    }

    /// A code as a result.
    pub(super) fn check(code: Code) -> Result<(), Self> {
        match code {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
            code => Err(Self::of(code)),
        }
    }

    /// Takes an error object as a result, and frees it; null is success.
    ///
    /// # Safety
    /// `error` is null or an error object that the caller owns.
    pub(super) unsafe fn take(error: *mut rd_kafka_error_t) -> Result<(), Self> {
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: not null, and by the caller's promise an object that we own.
        unsafe {
            let found = Self::read(error);
            c::rd_kafka_error_destroy(error);
            found
        }
    }

    /// Reads an error object that belongs to somebody else; null is success.
    ///
    /// # Safety
    /// `error` is null or an error object that lives during the call.
    pub(super) unsafe fn read(error: *const rd_kafka_error_t) -> Result<(), Self> {
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: not null, and by the caller's promise an object that lives.
        let found = unsafe {
            Self {
                code: c::rd_kafka_error_code(error),
                text: owned(c::rd_kafka_error_string(error)),
                fatal: c::rd_kafka_error_is_fatal(error) != 0,
                abortable: c::rd_kafka_error_txn_requires_abort(error) != 0,
                retriable: c::rd_kafka_error_is_retriable(error) != 0,
            }
        };
        match found.code {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
            _ => Err(found),
        }
    }
}
