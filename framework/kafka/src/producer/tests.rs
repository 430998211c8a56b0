//! Producers whose cluster is unwell.

use super::*;
use crate::mock::{Mock, TIMEOUT, TOPIC};
use millstream_core::record::Headers;
use std::sync::atomic::Ordering;

/// Tries within which something must come about, and how long is waited between them.
const TRIES_MAX: usize = 200;
const PAUSE: Duration = Duration::from_millis(20);

const RECORD: RawRecord<'_> = RawRecord {
    key: None,
    value: Some(b"a record"),
    timestamp: 1,
    headers: &Headers::NONE,
};

impl Producer {
    pub(crate) fn handle(&self) -> &Arc<Handle> {
        self.handle.as_ref().unwrap()
    }

    pub(crate) fn tells(&self) -> bool {
        self.tells
    }
}

fn producer(mock: &Mock, settings: &[(&str, &str)]) -> Producer {
    producer_of(mock, Guarantee::ExactlyOnceV2, settings)
}

fn producer_of(mock: &Mock, guarantee: Guarantee, settings: &[(&str, &str)]) -> Producer {
    let log = mock.log(guarantee, settings);
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

#[test]
fn records_are_waited_for_as_long_as_their_delivery_is_tried() {
    let mock = Mock::start();
    let waits = |guarantee, settings: &[(&str, &str)]| {
        let mut producer = producer_of(&mock, guarantee, settings);
        producer.ready().unwrap();
        (producer.settles - SETTLE).as_millis()
    };
    let (with, without) = (Guarantee::ExactlyOnceV2, Guarantee::AtLeastOnce);
    let own = ("message.timeout.ms", "7000");
    assert_eq!(waits(with, &[]), 10_000);
    assert_eq!(waits(with, &[("transaction.timeout.ms", "3000")]), 3_000);
    assert_eq!(waits(with, &[("transaction.timeout.ms", "30000")]), 30_000);
    assert_eq!(waits(with, &[own]), 7_000);
    assert_eq!(waits(with, &[("message.timeout.ms", "0")]), 10_000);
    assert_eq!(waits(without, &[]), 10_000);
    assert_eq!(waits(without, &[("message.timeout.ms", "120000")]), 120_000);
    let never = waits(without, &[("message.timeout.ms", "0")]);
    assert_eq!(never, TIMEOUT.as_millis());
}

#[test]
fn room_is_waited_for_by_time_and_not_by_what_happens_meanwhile() {
    for (timeout, limit) in [("10000", 15), ("40000", 45)] {
        let mock = Mock::start();
        // One record fills the queue, and stays there for longer than the test takes.
        let settings = [
            ("queue.buffering.max.messages", "1"),
            ("linger.ms", "9000"),
            ("transaction.timeout.ms", "40000"),
            ("message.timeout.ms", timeout),
        ];
        let mut producer = producer(&mock, &settings);
        producer.send(TOPIC, Some(0), RECORD).unwrap();
        mock.step.store(1, Ordering::Relaxed);
        let told = producer.send(TOPIC, Some(0), RECORD);
        assert!(matches!(told, Err(Error::Retry(_))), "{told:?}");
        // Its first look at the clock was at 0.
        assert_eq!(mock.seconds.load(Ordering::Relaxed), limit + 1);
    }
}
