//! Producers whose cluster is unwell.

use super::*;
use crate::mock::{Mock, TOPIC};
use millstream_core::record::Headers;

/// Tries within which something must come about, and how long is waited between them.
const TRIES_MAX: usize = 200;
const PAUSE: Duration = Duration::from_millis(20);

const RECORD: RawRecord<'_> = RawRecord {
    key: None,
    value: Some(b"a record"),
    timestamp: 1,
    headers: &Headers::NONE,
};

fn producer(mock: &Mock, settings: &[(&str, &str)]) -> Producer {
    let log = mock.log(Guarantee::ExactlyOnceV2, settings);
    Producer::new(log.cluster(), &Arc::default(), "p".into())
}

#[test]
fn a_producer_that_lost_a_connection_is_replaced() {
    let mock = Mock::start();
    let mut producer = producer(&mock, &[]);
    producer.send(TOPIC, Some(0), RECORD).unwrap();
    producer.commit(None).unwrap();
    let first = Arc::downgrade(producer.handle.as_ref().unwrap());
    // It is back before anybody connects again, and the others stay, so that librdkafka makes no
    // fuss about it.
    mock.cluster.broker_down(1).unwrap();
    mock.cluster.broker_up(1).unwrap();
    for _ in 0..TRIES_MAX {
        if producer.begin().is_ok() && first.strong_count() == 0 {
            break;
        }
        producer.abort();
        producer.waker.wait(PAUSE);
    }
    assert_eq!(first.strong_count(), 0, "it goes on");
    producer.send(TOPIC, Some(0), RECORD).unwrap();
    producer.commit(None).unwrap();
}
