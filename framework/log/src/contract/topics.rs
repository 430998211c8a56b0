//! Topics, their partitions, and which of them a record goes to.
//!
//! Invariant tested: a topic is what it was made as, and a key's partition is Kafka's.

use super::{Harness, at, spec, topic, value};
use crate::{
    api::{Cleanup, Error, TopicSpec},
    murmur2,
};
use millstream_core::record::{Headers, RawRecord};

pub(super) fn made_twice(harness: &mut dyn Harness) {
    let mut client = harness.client();
    let first = topic(&mut *client, "in", 3);
    drop(client);
    harness.reopen();
    let mut client = harness.client();
    assert_eq!(topic(&mut *client, "in", 3), first);
    assert_eq!(client.topic("in").expect("a look-up"), Some(first));
    assert_eq!(client.topic("out").expect("a look-up"), None);
}

pub(super) fn made_differently(harness: &mut dyn Harness) {
    let mut client = harness.client();
    topic(&mut *client, "in", 3);
    let cleanup = Cleanup::Compact {
        delete_retention_ms: 1_000,
    };
    for other in [
        spec("in", 4),
        TopicSpec {
            cleanup,
            ..spec("in", 3)
        },
    ] {
        let error = client
            .create_topic(&other)
            .expect_err("another topic of the name");
        assert!(
            matches!(&error, Error::Fatal(message) if message.contains("in")),
            "{error}"
        );
    }
    let error = client
        .create_topic(&spec("none", 0))
        .expect_err("no partitions");
    assert!(matches!(error, Error::Fatal(_)), "{error}");
}

pub(super) fn unknown(harness: &mut dyn Harness) {
    let mut client = harness.client();
    topic(&mut *client, "in", 1);
    let names = |error: Error, name: &str| {
        assert!(
            matches!(&error, Error::UnknownTopic(what) if what.contains(name)),
            "{error}"
        );
    };
    for missing in [at("out", 0), at("in", 1)] {
        names(client.end(&missing).expect_err("an end"), &missing.topic);
        names(client.start(&missing).expect_err("a start"), &missing.topic);
        names(
            client.read(&missing, 0, 1).expect_err("a page"),
            &missing.topic,
        );
        let sent = client.send(&missing.topic, Some(missing.partition), value(b"x"));
        names(sent.expect_err("a send"), &missing.topic);
    }
}

pub(super) fn partitioner(harness: &mut dyn Harness) {
    let mut client = harness.client();
    topic(&mut *client, "in", 7);
    for key in ["21", "foobar", "abc", "", "a-little-bit-long-string"] {
        let record = RawRecord {
            key: Some(key.as_bytes()),
            ..value(b"x")
        };
        client.send("in", None, record).expect("a send");
    }
    client.commit(1, &[]).expect("a commit");
    let mut found = 0;
    for partition in 0..7 {
        let page = client
            .read(&at("in", partition), 0, 1 << 20)
            .expect("a page");
        for (_, record) in page.records.iter() {
            let key = record.key.expect("a key");
            assert_eq!(murmur2::partition(key, 7), partition, "{key:?}");
            found += 1;
        }
    }
    assert_eq!(found, 5);
}

pub(super) fn round_robin(harness: &mut dyn Harness) {
    let mut client = harness.client();
    topic(&mut *client, "in", 3);
    let record = RawRecord {
        headers: &Headers::NONE,
        ..value(b"x")
    };
    for _ in 0..6 {
        client.send("in", None, record).expect("a send");
    }
    client.commit(1, &[]).expect("a commit");
    for partition in 0..3 {
        assert_eq!(
            client.end(&at("in", partition)).expect("an end"),
            2,
            "{partition}"
        );
    }
}
