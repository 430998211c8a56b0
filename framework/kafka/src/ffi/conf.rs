//! A configuration on its way to becoming a handle.

use super::{
    ERROR_TEXT_BYTES, c_string,
    error::{Code, KafkaError},
    handle::{Context, Handle, Kind, callbacks},
    owned,
};
use rdkafka::bindings::{self as c, rd_kafka_conf_res_t, rd_kafka_conf_t};
use std::{ffi::c_char, ptr::NonNull, sync::Arc};

/// librdkafka's settings. Belongs to us until a handle takes it.
pub(crate) struct Conf(NonNull<rd_kafka_conf_t>);

impl Conf {
    /// The defaults of librdkafka.
    pub(crate) fn new() -> Result<Self, KafkaError> {
        // SAFETY: no precondition.
        let raw = unsafe { c::rd_kafka_conf_new() };
        NonNull::new(raw).map(Self).ok_or_else(no_memory)
    }

    /// Sets a key; librdkafka says what is wrong with an unknown key or a bad value. The value is
    /// not repeated: it may be a secret.
    pub(crate) fn set(&mut self, key: &str, value: &str) -> Result<(), KafkaError> {
        let (name, value) = (c_string(key), c_string(value));
        let mut text = [0 as c_char; ERROR_TEXT_BYTES];
        // SAFETY: both strings end with a zero byte, and the buffer is as long as we say.
        let result = unsafe {
            c::rd_kafka_conf_set(
                self.0.as_ptr(),
                name.as_ptr(),
                value.as_ptr(),
                text.as_mut_ptr(),
                text.len(),
            )
        };
        match result {
            rd_kafka_conf_res_t::RD_KAFKA_CONF_OK => Ok(()),
            rd_kafka_conf_res_t::RD_KAFKA_CONF_UNKNOWN => Err(KafkaError::new(
                Code::RD_KAFKA_RESP_ERR__INVALID_ARG,
                format!("{key} is not a setting of the Kafka client"),
            )),
            rd_kafka_conf_res_t::RD_KAFKA_CONF_INVALID => Err(KafkaError::new(
                Code::RD_KAFKA_RESP_ERR__INVALID_ARG,
                // SAFETY: librdkafka ended the text in our buffer with a zero byte.
                format!("{key}: {}", unsafe { owned(text.as_ptr()) }),
            )),
        }
    }

    /// Makes the handle. Its threads run from here on.
    pub(crate) fn build(self, kind: Kind, context: Arc<Context>) -> Result<Handle, KafkaError> {
        callbacks(self.0, kind, &context);
        let mut text = [0 as c_char; ERROR_TEXT_BYTES];
        // SAFETY: the configuration is ours; the buffer is as long as we say.
        let raw = unsafe {
            c::rd_kafka_new(
                kind.native(),
                self.0.as_ptr(),
                text.as_mut_ptr(),
                text.len(),
            )
        };
        let Some(raw) = NonNull::new(raw) else {
            // The configuration is still ours, and `self` frees it.
            // SAFETY: librdkafka ended the text in our buffer with a zero byte.
            let text = unsafe { owned(text.as_ptr()) };
            return Err(KafkaError::new(Code::RD_KAFKA_RESP_ERR__INVALID_ARG, text));
        };
        std::mem::forget(self);
        Ok(Handle::new(raw, context))
    }
}

impl Drop for Conf {
    fn drop(&mut self) {
        // SAFETY: no handle has taken it, or `forget` would have kept us from here.
        unsafe { c::rd_kafka_conf_destroy(self.0.as_ptr()) }
    }
}

pub(super) fn no_memory() -> KafkaError {
    KafkaError::new(
        Code::RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE,
        "librdkafka gave nothing: out of memory",
    )
}
