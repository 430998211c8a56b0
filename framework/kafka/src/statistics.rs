//! What librdkafka tells of a handle's connections, once per `statistics.interval.ms`.
//!
//! Invariant: what cannot be read is left out and changes nothing: these are numbers for people.

use crate::ffi::Context;
use millstream_log::ClientStatistics;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

/// The part of librdkafka's document (its STATISTICS.md) that is of use.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    client_id: String,
    #[serde(default)]
    tx: u64,
    #[serde(default)]
    tx_bytes: u64,
    #[serde(default)]
    rx_bytes: u64,
    #[serde(default)]
    msg_cnt: u64,
    #[serde(default)]
    msg_size: u64,
    #[serde(default)]
    brokers: BTreeMap<String, BrokerPart>,
}

#[derive(Deserialize)]
struct BrokerPart {
    #[serde(default)]
    txretries: u64,
    #[serde(default)]
    req_timeouts: u64,
    #[serde(default)]
    rtt: Average,
}

#[derive(Default, Deserialize)]
struct Average {
    /// Microseconds.
    #[serde(default)]
    avg: u64,
}

/// Reads what librdkafka wrote.
pub(crate) fn read(json: &[u8]) -> Option<ClientStatistics> {
    let told: Document = serde_json::from_slice(json)
        .inspect_err(|error| tracing::debug!(%error, "statistics that cannot be read"))
        .ok()?;
    let brokers = || told.brokers.values();
    Some(ClientStatistics {
        requests: told.tx,
        sent_bytes: told.tx_bytes,
        received_bytes: told.rx_bytes,
        retries: brokers().map(|broker| broker.txretries).sum(),
        timeouts: brokers().map(|broker| broker.req_timeouts).sum(),
        round_trip: Duration::from_micros(brokers().map(|b| b.rtt.avg).max().unwrap_or(0)),
        queued_records: told.msg_cnt,
        queued_bytes: told.msg_size,
        client: told.client_id,
    })
}

/// The handles of a cluster that tell.
#[derive(Default)]
pub(crate) struct Tellers(Mutex<Vec<Weak<Context>>>);

impl Tellers {
    /// From now on what this handle tells is known, for as long as it lives.
    pub(crate) fn add(&self, context: &Arc<Context>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|context| context.strong_count() > 0);
        all.push(Arc::downgrade(context));
    }

    /// What those that live told last, by name.
    pub(crate) fn told(&self) -> Vec<ClientStatistics> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let living = all.iter().filter_map(Weak::upgrade);
        let mut told: Vec<_> = living.filter_map(|context| context.statistics()).collect();
        told.sort_by(|a, b| a.client.cmp(&b.client));
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_librdkafka_writes_is_read_and_what_it_does_not_is_nothing() {
        let json = br#"{ "name": "a#producer-1", "client_id": "a", "ts": 1, "tx": 7, "tx_bytes": 8,
            "rx": 6, "rx_bytes": 9, "msg_cnt": 3, "msg_size": 30, "topics": {},
            "brokers": {
                "one": { "txretries": 1, "req_timeouts": 2, "rtt": { "avg": 1500, "p99": 9 } },
                "two": { "txretries": 4, "rtt": { "avg": 800 } } } }"#;
        let told = read(json).unwrap();
        assert_eq!((told.client.as_str(), told.requests), ("a", 7));
        assert_eq!((told.sent_bytes, told.received_bytes), (8, 9));
        assert_eq!((told.retries, told.timeouts), (5, 2));
        assert_eq!(told.round_trip, Duration::from_micros(1500));
        assert_eq!((told.queued_records, told.queued_bytes), (3, 30));
        assert_eq!(read(b"{}"), Some(ClientStatistics::default()));
        assert_eq!(read(b"nonsense"), None);
    }

    #[test]
    fn a_handle_that_is_gone_tells_nothing() {
        let tellers = Tellers::default();
        let context = Context::new(Arc::default());
        tellers.add(&context);
        assert!(tellers.told().is_empty());
        context.tell(ClientStatistics::default());
        assert_eq!(tellers.told().len(), 1);
        drop(context);
        assert!(tellers.told().is_empty());
    }
}
