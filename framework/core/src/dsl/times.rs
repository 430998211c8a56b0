//! Where the time of a source's records comes from.

use crate::{
    record::Timestamp,
    task::{Given, InvalidTimestamp},
};
use std::sync::Arc;

/// The time of a record, given the record as far as it is decoded.
type Time<K, V> = Arc<dyn Fn(Option<(&K, &V)>, Given) -> Timestamp + Send + Sync>;

/// Says what time a source's records have. Kafka's `TimestampExtractor`.
///
/// Records are processed in the order of these times, so they are found as soon as a record is the
/// first of its partition, and windows, joins and outputs know no other time. A negative time is
/// invalid.
///
/// ```
/// use millstream_core::prelude::*;
///
/// /// When it was measured, and what.
/// static READINGS: Topic<String, (i64, u64)> = Topic::new("readings", utf8(), bincode());
/// static OUT: Topic<String, u64> = Topic::new("out", utf8(), u64_be());
///
/// let measured = TimestampExtractor::from_fn(|_, reading: &(i64, u64)| reading.0)
///     .on_invalid(InvalidTimestamp::UsePartitionTime);
/// let builder = StreamsBuilder::new();
/// let readings = builder.stream(Consumed::of(&READINGS).with_timestamp(measured));
/// readings.map_values(|(_, value)| value).to(&OUT);
///
/// let mut driver = TopologyTestDriver::new(builder.build()?)?;
/// driver.pipe(&READINGS, "a".to_owned(), (1_000, 7), 9_999)?;
/// driver.pipe(&READINGS, "a".to_owned(), (-1, 8), 9_999)?;
/// let times: Vec<_> = driver.read(&OUT)?.iter().map(|record| record.timestamp).collect();
/// assert_eq!(times, [1_000, 1_000]);
/// # Ok::<(), millstream_core::Error>(())
/// ```
pub struct TimestampExtractor<K: 'static, V: 'static> {
    time: Time<K, V>,
    /// Whether the record must be decoded for it.
    decodes: bool,
    invalid: Option<InvalidTimestamp>,
}

impl<K, V> TimestampExtractor<K, V> {
    /// The time that the record has on the log: what sources do if nothing is said. Kafka's
    /// `FailOnInvalidTimestamp`.
    pub fn from_record() -> Self {
        Self::undecoded(|given| given.record)
    }

    /// When the record is about to be processed. Kafka's `WallclockTimestampExtractor`. The clock
    /// is the one that wall-clock punctuations see, and programs with such a source do not give
    /// equal outputs for equal inputs.
    pub fn wall_clock() -> Self {
        Self::undecoded(|given| given.wall_clock)
    }

    /// A time that the record itself speaks of. A tombstone of a table speaks of none and has its
    /// time on the log.
    pub fn from_fn(time: impl Fn(&K, &V) -> Timestamp + Send + Sync + 'static) -> Self {
        Self {
            time: Arc::new(move |decoded, given| match decoded {
                Some((key, value)) => time(key, value),
                None => given.record,
            }),
            decodes: true,
            invalid: None,
        }
    }

    /// What becomes of records whose time is negative. If nothing is said they are answered as
    /// bytes that cannot be decoded are: by the source's error policy.
    #[must_use]
    pub fn on_invalid(self, invalid: InvalidTimestamp) -> Self {
        Self {
            invalid: Some(invalid),
            ..self
        }
    }

    fn undecoded(time: impl Fn(Given) -> Timestamp + Send + Sync + 'static) -> Self {
        Self {
            time: Arc::new(move |_, given| time(given)),
            decodes: false,
            invalid: None,
        }
    }

    pub(crate) fn invalid(&self) -> Option<InvalidTimestamp> {
        self.invalid
    }

    pub(crate) fn decodes(&self) -> bool {
        self.decodes
    }

    pub(crate) fn time(&self, decoded: Option<(&K, &V)>, given: Given) -> Timestamp {
        (self.time)(decoded, given)
    }

    /// The same for records whose value may be missing.
    pub(crate) fn of_rows(self) -> TimestampExtractor<K, Option<V>> {
        let time = self.time;
        TimestampExtractor {
            time: Arc::new(move |decoded, given| {
                let present = decoded.and_then(|(key, value)| Some((key, value.as_ref()?)));
                time(present, given)
            }),
            decodes: self.decodes,
            invalid: self.invalid,
        }
    }
}
