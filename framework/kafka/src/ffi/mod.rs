//! librdkafka's C interface, made safe: all `unsafe` code of the project is below this module.
//!
//! What is above it sees owned values only. Invariants: a queue, a topic or a message lives no
//! longer than the handle it came from; whatever C gives us to free is freed once, by a `Drop`.

mod admin;
mod admin_groups;
mod conf;
mod error;
mod group;
mod handle;
mod list;
mod message;
mod produce;
mod queue;

pub(crate) use admin::{Isolation, NewTopic, TopicDescription, is_unknown_topic};
pub(crate) use admin_groups::MemberDescription;
pub(crate) use conf::Conf;
pub(crate) use error::{Code, KafkaError};
pub(crate) use group::{GroupEvent, GroupMetadata};
pub(crate) use handle::{Context, Handle, Kind};
pub(crate) use list::{Entry, PartitionList};
pub(crate) use message::Message;
pub(crate) use produce::{Outgoing, Slot};
pub(crate) use queue::{Queue, Topic};

use std::{
    ffi::{CStr, CString, c_char, c_int},
    time::Duration,
};

/// Room for the explanations that librdkafka writes into buffers of ours.
const ERROR_TEXT_BYTES: usize = 512;

/// A duration as librdkafka takes it; what is too long for it is as long as it can be.
fn millis(wait: Duration) -> c_int {
    c_int::try_from(wait.as_millis()).unwrap_or(c_int::MAX)
}

/// Text as C reads it. Names of topics, groups and settings hold no zero byte; one that does is
/// cut there, and the broker then says that it knows no such thing.
fn c_string(text: &str) -> CString {
    let upto = text.split('\0').next().unwrap_or_default();
    CString::new(upto).unwrap_or_default()
}

/// A copy of C's text; nothing for a null pointer.
///
/// # Safety
/// `text` is null or points to a string that ends with a zero byte and lives during the call.
unsafe fn owned(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}
