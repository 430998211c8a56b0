//! A record: what travels along the edges of a topology, and its undecoded form on the log.

use std::sync::Arc;

/// Milliseconds since 1970-01-01 UTC, as Kafka counts them.
pub type Timestamp = i64;
/// The place of a record in its partition.
pub type Offset = i64;
/// The number of a partition in its topic.
pub type Partition = u32;

/// A key, a value, the time it is about, and headers.
///
/// An absent key or value is a question of type: `Option<K>`, `()`.
#[derive(Clone, Debug, PartialEq)]
pub struct Record<K, V> {
    /// What partitions and groups.
    pub key: K,
    /// What is said.
    pub value: V,
    /// When it happened.
    pub timestamp: Timestamp,
    /// Names and bytes carried along; usually none, and then free to clone.
    pub headers: Headers,
}

impl<K, V> Record<K, V> {
    /// A record without headers.
    pub fn new(key: K, value: V, timestamp: Timestamp) -> Self {
        Self {
            key,
            value,
            timestamp,
            headers: Headers::NONE,
        }
    }

    /// The same record with another value.
    #[inline]
    pub fn with_value<W>(self, value: W) -> Record<K, W> {
        Record {
            key: self.key,
            value,
            timestamp: self.timestamp,
            headers: self.headers,
        }
    }

    /// The same record with another key.
    #[inline]
    pub fn with_key<L>(self, key: L) -> Record<L, V> {
        Record {
            key,
            value: self.value,
            timestamp: self.timestamp,
            headers: self.headers,
        }
    }
}

/// One header: a name, and bytes or null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The name; names may repeat.
    pub name: String,
    /// The bytes, `None` being Kafka's null.
    pub value: Option<Vec<u8>>,
}

/// The headers of a record, in order. Empty ones cost a null pointer; others are shared until
/// changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Option<Arc<Vec<Header>>>);

impl Headers {
    /// No headers.
    pub const NONE: Self = Self(None);

    /// Adds one at the end.
    pub fn push(&mut self, name: impl Into<String>, value: Option<Vec<u8>>) {
        let list = self.0.get_or_insert_with(Arc::default);
        Arc::make_mut(list).push(Header {
            name: name.into(),
            value,
        });
    }

    /// The last header of that name, as Kafka's `lastHeader`.
    pub fn last(&self, name: &str) -> Option<&Header> {
        self.iter().rev().find(|header| header.name == name)
    }

    /// All of them, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Header> {
        self.0.as_deref().map_or(&[][..], Vec::as_slice).iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.as_deref().is_none_or(Vec::is_empty)
    }

    /// About how many bytes of memory they take: names, values, and what each header takes beside
    /// them. None take none.
    ///
    /// ```
    /// use millstream_core::record::Headers;
    ///
    /// let mut headers = Headers::NONE;
    /// assert_eq!(headers.bytes(), 0);
    /// headers.push("trace", Some(vec![7; 1_000]));
    /// assert!(headers.bytes() >= 1_005);
    /// ```
    #[inline]
    pub fn bytes(&self) -> usize {
        let header = |header: &Header| {
            let value = header.value.as_ref().map_or(0, Vec::len);
            size_of::<Header>() + header.name.len() + value
        };
        self.iter().map(header).sum()
    }
}

impl<'a> IntoIterator for &'a Headers {
    type Item = &'a Header;
    type IntoIter = std::slice::Iter<'a, Header>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl FromIterator<Header> for Headers {
    fn from_iter<I: IntoIterator<Item = Header>>(headers: I) -> Self {
        let list: Vec<_> = headers.into_iter().collect();
        Self((!list.is_empty()).then(|| Arc::new(list)))
    }
}

/// A record as bytes, borrowed from wherever they lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RawRecord<'a> {
    /// The key's bytes, `None` being null.
    pub key: Option<&'a [u8]>,
    /// The value's bytes, `None` being null: a tombstone.
    pub value: Option<&'a [u8]>,
    /// When it happened.
    pub timestamp: Timestamp,
    /// Its headers.
    pub headers: &'a Headers,
}

/// What a batch of Kafka's format has besides its records.
const BATCH_OVERHEAD: usize = 61;
/// What a record has at most besides key, value and headers.
const RECORD_OVERHEAD: usize = 21;

/// How many bytes a record has at most when it is sent alone and uncompressed: what Kafka's
/// producer compares with `max.request.size`.
#[inline]
pub fn wire_size(record: RawRecord<'_>) -> usize {
    let part = |bytes: Option<&[u8]>| bytes.map_or(1, |bytes| with_length(bytes.len()));
    let header = |header: &Header| {
        let value = header.value.as_deref();
        with_length(header.name.len()) + part(value)
    };
    let headers = record.headers.iter();
    BATCH_OVERHEAD
        + RECORD_OVERHEAD
        + part(record.key)
        + part(record.value)
        + varint(headers.len())
        + headers.map(header).sum::<usize>()
}

#[inline]
fn with_length(length: usize) -> usize {
    varint(length) + length
}

/// How many bytes a length has: seven bits each, the lowest being the sign.
#[inline]
fn varint(length: usize) -> usize {
    let bits = usize::BITS - length.leading_zeros() + 1;
    bits.div_ceil(7) as usize
}

/// A topic's name and one of its partitions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The full name of the topic, `application.id` included where it is internal.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: Partition,
}

impl TopicPartition {
    /// Puts the two together.
    pub fn new(topic: impl Into<Arc<str>>, partition: Partition) -> Self {
        Self {
            topic: topic.into(),
            partition,
        }
    }
}

impl std::fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// A task's name: one partition of one subtopology, written `1_4` as Kafka Streams does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// The subtopology's number.
    pub subtopology: u32,
    /// The partition of its inputs.
    pub partition: Partition,
}

impl std::fmt::Display for TaskId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}_{}", self.subtopology, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_reckoned_as_kafka_does() {
        let mut headers = Headers::NONE;
        fn size(key: Option<&[u8]>, value: Option<&[u8]>, headers: &Headers) -> usize {
            wire_size(RawRecord {
                key,
                value,
                timestamp: 0,
                headers,
            })
        }
        assert_eq!(size(None, None, &headers), 61 + 21 + 1 + 1 + 1);
        assert_eq!(size(Some(b""), Some(b"abc"), &headers), 82 + 1 + 4 + 1);
        for (length, prefix) in [(63, 1), (64, 2), (8191, 2), (8192, 3), (1 << 20, 4)] {
            let value = vec![0; length];
            let expected = 82 + 1 + prefix + length + 1;
            assert_eq!(size(None, Some(&value), &headers), expected, "{length}");
        }
        headers.push("h", None);
        headers.push("name", Some(vec![0; 64]));
        assert_eq!(size(None, None, &headers), 82 + 3 + (2 + 1) + (5 + 66));
    }
}
