//! How a topic is written, where its serdes are not all there is to say.

use crate::{task::ErrorPolicy, topic::Topic};

/// How a sink writes its topic; a plain `&Topic` is enough where the defaults do.
///
/// ```
/// use millstream_core::prelude::*;
///
/// static TEXTS: Topic<String, String> = Topic::new("texts", utf8(), utf8());
/// static SHORT: Topic<String, String> = Topic::new("short", utf8(), utf8());
///
/// let builder = StreamsBuilder::new();
/// // The topic's `max.message.bytes` is 1000: what is larger is left out, and the rest goes on.
/// let short = Produced::of(&SHORT).record_bytes_max(1000).on_error(ErrorPolicy::Skip);
/// builder.stream(&TEXTS).to(short);
///
/// let mut driver = TopologyTestDriver::new(builder.build()?)?;
/// driver.pipe(&TEXTS, "a".to_owned(), "x".repeat(2000), 0)?;
/// driver.pipe(&TEXTS, "a".to_owned(), "x".to_owned(), 1)?;
/// assert_eq!(driver.read(&SHORT)?.len(), 1);
/// assert_eq!(driver.dropped().production, 1);
/// # Ok::<(), millstream_core::Error>(())
/// ```
pub struct Produced<K: 'static, V: 'static> {
    pub(crate) topic: Topic<K, V>,
    pub(crate) settings: Settings,
}

/// What of it is not about types.
#[derive(Clone, Copy, Default)]
pub(crate) struct Settings {
    pub(crate) policy: Option<ErrorPolicy>,
    pub(crate) record_bytes_max: Option<usize>,
}

impl<K, V> Produced<K, V> {
    /// Writes this topic.
    pub fn of(topic: &Topic<K, V>) -> Self {
        Self {
            topic: *topic,
            settings: Settings::default(),
        }
    }

    /// What becomes of records that cannot be written here; overrides what their source says and
    /// `production.exception.handler`.
    #[must_use]
    pub fn on_error(mut self, policy: ErrorPolicy) -> Self {
        self.settings.policy = Some(policy);
        self
    }

    /// How large a record may be, where the topic's `max.message.bytes` is less than
    /// `max.request.size`, as [`wire_size`](crate::record::wire_size) reckons: what is larger is
    /// refused here, since a broker that refuses it drops the transaction. Of several sinks of one
    /// topic in one task the least limit holds.
    #[must_use]
    pub fn record_bytes_max(mut self, bytes: usize) -> Self {
        self.settings.record_bytes_max = Some(bytes);
        self
    }
}

impl<K, V> From<&Topic<K, V>> for Produced<K, V> {
    fn from(topic: &Topic<K, V>) -> Self {
        Self::of(topic)
    }
}

impl<K, V> Clone for Produced<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K, V> Copy for Produced<K, V> {}
