//! A topic as a typed constant, shared by source, sink, test and query.

use crate::serde::Serde;

/// A topic's name with the serdes of its keys and values.
pub struct Topic<K: 'static, V: 'static> {
    /// The name on the log.
    pub name: &'static str,
    /// How keys are written.
    pub key: Serde<K>,
    /// How values are written.
    pub value: Serde<V>,
}

impl<K, V> Clone for Topic<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Topic<K, V> {}

impl<K, V> Topic<K, V> {
    /// Puts the three together, at compile time if need be.
    pub const fn new(name: &'static str, key: Serde<K>, value: Serde<V>) -> Self {
        Self { name, key, value }
    }
}
