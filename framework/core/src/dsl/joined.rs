//! What a stream-table join is called and how long its records wait.

use crate::{
    serde::Serde,
    store::{Storable, default_key, default_value},
    topology::Logging,
};
use std::time::Duration;

/// A stream-table join's name, serdes and grace period; a plain name is enough where the types are
/// [`Storable`]. Kafka's `Joined`.
///
/// The name is that of the repartition topic that a changed key needs, and of the store of waiting
/// records, `<name>-buffer`.
pub struct Joined<K: 'static, V: 'static> {
    pub(crate) name: String,
    pub(crate) key: Serde<K>,
    pub(crate) value: Serde<V>,
    pub(crate) grace: Option<Duration>,
    pub(crate) logging: Logging,
}

impl<K, V> Joined<K, V> {
    /// A join with this name, of records with these serdes.
    pub fn with(name: impl Into<String>, key: Serde<K>, value: Serde<V>) -> Self {
        Self {
            name: name.into(),
            key,
            value,
            grace: None,
            logging: Logging::Changelog,
        }
    }

    /// Lets each record wait until the stream's time is so much later than the record's, so that
    /// what the table learns late is known when they meet. Records come out in the order of their
    /// times. One that comes later than that itself is joined at once. (KIP-923.)
    ///
    /// All that waits lies in memory, in every task, whatever holds the other stores
    /// ([`BufferStore`](crate::store::BufferStore)), and in a changelog.
    ///
    /// The table must be [versioned](crate::store::Materialized::versioned), with a history that is
    /// at least as long.
    #[must_use]
    pub fn with_grace_period(self, grace: Duration) -> Self {
        Self {
            grace: Some(grace),
            ..self
        }
    }

    /// The same join without a changelog of what waits: cheaper, and lost with the disk.
    #[must_use]
    pub fn with_logging_disabled(self) -> Self {
        Self {
            logging: Logging::Disabled,
            ..self
        }
    }
}

impl<K: Storable, V: Storable> From<&str> for Joined<K, V> {
    fn from(name: &str) -> Self {
        Self::with(name, default_key(), default_value())
    }
}
