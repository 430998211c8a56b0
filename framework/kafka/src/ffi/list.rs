//! Lists of partitions with offsets: how librdkafka takes and gives them.

use super::{
    c_string,
    conf::no_memory,
    error::{Code, KafkaError},
    owned,
};
use millstream_core::record::{Offset, TopicPartition};
use rdkafka::bindings::{self as c, rd_kafka_topic_partition_list_t, rd_kafka_topic_partition_t};
use std::{ffi::c_void, ptr::NonNull};

/// `RD_KAFKA_PARTITION_UA`: no partition in particular.
const UNASSIGNED: i32 = -1;

/// A partition, an offset and text with it, and the error of just this partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) at: TopicPartition,
    /// `None` where there is none.
    pub(crate) offset: Option<Offset>,
    pub(crate) metadata: Vec<u8>,
    pub(crate) outcome: Result<(), KafkaError>,
}

/// An owned list.
pub(crate) struct PartitionList(NonNull<rd_kafka_topic_partition_list_t>);

// SAFETY: a list is a value of its own.
unsafe impl Send for PartitionList {}

impl PartitionList {
    /// An empty list with room for so many.
    pub(crate) fn new(room: usize) -> Result<Self, KafkaError> {
        let room = i32::try_from(room).unwrap_or(i32::MAX);
        // SAFETY: no precondition.
        let raw = unsafe { c::rd_kafka_topic_partition_list_new(room) };
        NonNull::new(raw).map(Self).ok_or_else(no_memory)
    }

    /// Names of topics, for a subscription.
    pub(crate) fn topics<'a>(
        names: impl ExactSizeIterator<Item = &'a str>,
    ) -> Result<Self, KafkaError> {
        let mut list = Self::new(names.len())?;
        for name in names {
            list.add(name, UNASSIGNED)?;
        }
        Ok(list)
    }

    /// Partitions, each with an offset or what stands for one.
    pub(crate) fn offsets<'a>(
        entries: impl ExactSizeIterator<Item = (&'a TopicPartition, Offset)>,
    ) -> Result<Self, KafkaError> {
        let mut list = Self::new(entries.len())?;
        for (at, offset) in entries {
            let partition = i32::try_from(at.partition).unwrap_or(i32::MAX);
            // SAFETY: the entry was just added and lives as long as the list does not grow.
            unsafe { (*list.add(&at.topic, partition)?).offset = offset };
        }
        Ok(list)
    }

    /// Adds a place to commit, with the text that goes with it.
    pub(crate) fn push_place(
        &mut self,
        at: &TopicPartition,
        offset: Offset,
        metadata: &str,
    ) -> Result<(), KafkaError> {
        let partition = i32::try_from(at.partition).unwrap_or(i32::MAX);
        let entry = self.add(&at.topic, partition)?;
        // SAFETY: the entry was just added. librdkafka frees its metadata with its own allocator,
        // which is the C library's, so the copy is made there.
        unsafe {
            (*entry).offset = offset;
            let copy = c::rd_kafka_mem_malloc(std::ptr::null_mut(), metadata.len().max(1));
            if copy.is_null() {
                return Err(no_memory());
            }
            std::ptr::copy_nonoverlapping(metadata.as_ptr(), copy.cast::<u8>(), metadata.len());
            (*entry).metadata = copy.cast::<c_void>();
            (*entry).metadata_size = metadata.len();
        }
        Ok(())
    }

    fn add(
        &mut self,
        topic: &str,
        partition: i32,
    ) -> Result<*mut rd_kafka_topic_partition_t, KafkaError> {
        let name = c_string(topic);
        // SAFETY: the list lives; the name is copied.
        let entry = unsafe {
            c::rd_kafka_topic_partition_list_add(self.0.as_ptr(), name.as_ptr(), partition)
        };
        if entry.is_null() {
            Err(no_memory())
        } else {
            Ok(entry)
        }
    }

    pub(super) fn raw(&self) -> *mut rd_kafka_topic_partition_list_t {
        self.0.as_ptr()
    }

    /// Copies a list of librdkafka's.
    ///
    /// # Safety
    /// `list` is null or a list that lives during the call.
    pub(super) unsafe fn read(list: *const rd_kafka_topic_partition_list_t) -> Vec<Entry> {
        // SAFETY: the caller's promise.
        let Some(list) = (unsafe { list.as_ref() }) else {
            return Vec::new();
        };
        let count = usize::try_from(list.cnt).unwrap_or(0);
        if count == 0 || list.elems.is_null() {
            return Vec::new();
        }
        // SAFETY: a list has `cnt` elements.
        let entries = unsafe { std::slice::from_raw_parts(list.elems, count) };
        // SAFETY: the elements are those of a list that lives.
        entries.iter().map(|entry| unsafe { read(entry) }).collect()
    }
}

/// # Safety
/// The entry is an element of a list that lives.
pub(super) unsafe fn read(entry: &rd_kafka_topic_partition_t) -> Entry {
    // SAFETY: the name ends with a zero byte; metadata has as many bytes as are said.
    unsafe {
        let metadata = if entry.metadata.is_null() || entry.metadata_size == 0 {
            Vec::new()
        } else {
            let bytes = entry.metadata.cast::<u8>();
            std::slice::from_raw_parts(bytes, entry.metadata_size).to_vec()
        };
        let partition = u32::try_from(entry.partition).unwrap_or(0);
        let outcome = match entry.err {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
            code => Err(KafkaError::of(code)),
        };
        Entry {
            at: TopicPartition::new(owned(entry.topic), partition),
            offset: (entry.offset >= 0).then_some(entry.offset),
            metadata,
            outcome,
        }
    }
}

impl Drop for PartitionList {
    fn drop(&mut self) {
        // SAFETY: the list is ours.
        unsafe { c::rd_kafka_topic_partition_list_destroy(self.0.as_ptr()) }
    }
}
