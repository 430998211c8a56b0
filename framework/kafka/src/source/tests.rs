//! What is known of an end, on librdkafka's mock of a cluster.

use super::*;
use crate::{
    config::Guarantee,
    mock::{Mock, TOPIC},
};
use std::time::Duration;

/// So many waits are longer than any broker takes to answer or to be missed.
const WAITS: usize = 6_000;
const WAIT: Duration = Duration::from_millis(10);

/// Waits until an end is known, or is not.
fn wait_until_known(sources: &mut Sources, at: &TopicPartition, known: bool) {
    for _ in 0..WAITS {
        if (sources.end(at) == Some(0)) == known {
            return;
        }
        sources.handle().serve(WAIT);
        std::thread::park_timeout(WAIT);
    }
    panic!("the end stays {:?}", sources.end(at));
}

#[test]
fn an_end_is_not_known_while_its_broker_is_away() {
    let mock = Mock::start();
    let log = mock.log(Guarantee::AtLeastOnce, &[]);
    let mut sources = Sources::new(log.cluster(), ("client", true), &Arc::default()).unwrap();
    let at = TopicPartition::new(TOPIC, 0);
    sources.seek(&at, 0).unwrap();
    wait_until_known(&mut sources, &at, true);
    for _ in 0..2 {
        mock.cluster.broker_down(1).unwrap();
        wait_until_known(&mut sources, &at, false);
        mock.cluster.broker_up(1).unwrap();
        wait_until_known(&mut sources, &at, true);
    }
}
