//! Sending, committing and reading back.
//!
//! Invariant tested: a transaction is seen whole or not at all, by everyone, for good.

use super::{Harness, NOW, at, fill, spec, topic, value, values};
use crate::api::{Cleanup, Error, Event, Log, TopicSpec};
use millstream_core::record::{Header, Headers, RawRecord};
use std::time::Duration;

/// Longer than any case should take: a poll that waits so long would be noticed.
const LONG: Duration = Duration::from_secs(30);

pub(super) fn atomic(harness: &mut dyn Harness) {
    let (mut writer, mut reader) = (harness.client(), harness.client());
    topic(&mut *writer, "in", 2);
    topic(&mut *writer, "out", 1);
    let all = [at("in", 0), at("in", 1), at("out", 0)];
    for partition in &all {
        let sent = writer.send(&partition.topic, Some(partition.partition), value(b"x"));
        sent.expect("a send");
        for partition in &all {
            assert_eq!(
                reader.end(partition).expect("an end"),
                0,
                "nothing before the commit"
            );
        }
    }
    let commit = writer.commit(1, &[]).expect("a commit");
    let mut ends = commit.ends;
    ends.sort();
    assert_eq!(ends, all.clone().map(|partition| (partition, 1)));
    for partition in &all {
        assert_eq!(values(&mut *reader, partition, 0), b"x");
    }
    drop((writer, reader));
    harness.reopen();
    let mut reader = harness.client();
    for partition in &all {
        assert_eq!(values(&mut *reader, partition, 0), b"x");
    }
}

pub(super) fn abort(harness: &mut dyn Harness) {
    let mut client = harness.client();
    topic(&mut *client, "in", 1);
    let partition = at("in", 0);
    client.send("in", Some(0), value(b"a")).expect("a send");
    client.abort().expect("an abort");
    assert_eq!(client.commit(1, &[]).expect("an empty commit").ends, []);
    fill(&mut *client, &partition, 1..3);
    client.send("in", Some(0), value(b"b")).expect("a send");
    drop(client);
    harness.reopen();
    let mut client = harness.client();
    assert_eq!(values(&mut *client, &partition, 0), [1, 2]);
}

pub(super) fn dense(harness: &mut dyn Harness) {
    let partition = at("in", 0);
    let mut client = harness.client();
    topic(&mut *client, "in", 1);
    drop(client);
    for round in 0..4 {
        let mut client = harness.client();
        fill(&mut *client, &partition, round * 5..round * 5 + 5);
        drop(client);
        harness.reopen();
    }
    let mut client = harness.client();
    assert_eq!(
        values(&mut *client, &partition, 0),
        (0..20).collect::<Vec<_>>()
    );
    let (mut from, mut expected) = (0, 0..20);
    while from < 20 {
        let page = client.read(&partition, from, 1).expect("a page");
        for (offset, _) in page.records.iter() {
            assert_eq!(Some(offset), expected.next());
        }
        from = page.next;
    }
    assert_eq!(expected.next(), None);
    assert_eq!(client.start(&partition).expect("a start"), 0);
}

pub(super) fn faithful(harness: &mut dyn Harness) {
    let mut client = harness.client();
    topic(&mut *client, "in", 1);
    let header = |name: &str, value: Option<&[u8]>| Header {
        name: name.into(),
        value: value.map(<[u8]>::to_vec),
    };
    let headers: Headers = [
        header("a", Some(b"1")),
        header("a", None),
        header("", Some(b"")),
    ]
    .into_iter()
    .collect();
    let all = [
        RawRecord {
            key: None,
            value: None,
            timestamp: -1,
            headers: &Headers::NONE,
        },
        RawRecord {
            key: Some(b""),
            value: Some(b""),
            timestamp: 0,
            headers: &headers,
        },
        RawRecord {
            key: Some(b"k"),
            value: None,
            timestamp: i64::MAX,
            headers: &Headers::NONE,
        },
        RawRecord {
            key: None,
            value: Some(&[0xff; 999]),
            timestamp: i64::MIN,
            headers: &headers,
        },
    ];
    for record in all {
        client.send("in", Some(0), record).expect("a send");
    }
    client.commit(1, &[]).expect("a commit");
    for _ in 0..2 {
        let (mut from, mut expected) = (0, all.iter());
        while expected.len() > 0 {
            let page = client.read(&at("in", 0), from, 1 << 20).expect("a page");
            assert!(page.next > from, "{} records are missing", expected.len());
            for (_, record) in page.records.iter() {
                assert_eq!(Some(&record), expected.next());
            }
            from = page.next;
        }
        drop(client);
        harness.reopen();
        client = harness.client();
    }
}

pub(super) fn pages(harness: &mut dyn Harness) {
    let mut client = harness.client();
    topic(&mut *client, "in", 1);
    let partition = at("in", 0);
    for round in 0..10 {
        fill(&mut *client, &partition, round * 10..round * 10 + 10);
    }
    for bytes in [0, 1, 500, 1 << 20] {
        let (mut from, mut found) = (0, Vec::new());
        loop {
            let page = client.read(&partition, from, bytes).expect("a page");
            assert_eq!(page.end, 100);
            found.extend(page.records.iter().map(|(offset, _)| offset));
            if page.next == page.end {
                break;
            }
            assert!(page.next > from);
            from = page.next;
        }
        assert_eq!(
            found,
            (0..100).collect::<Vec<_>>(),
            "in pages of {bytes} bytes"
        );
        drop(client);
        harness.reopen();
        client = harness.client();
    }
    assert_eq!(
        values(&mut *client, &partition, 37),
        (37..100).collect::<Vec<_>>()
    );
    assert!(
        client
            .read(&partition, 100, 1)
            .expect("the end")
            .records
            .is_empty()
    );
}

pub(super) fn deleted(harness: &mut dyn Harness) {
    let mut client = harness.client();
    topic(&mut *client, "in", 1);
    let partition = at("in", 0);
    fill(&mut *client, &partition, 0..10);
    fill(&mut *client, &partition, 10..20);
    drop(client);
    for before in [5, 12] {
        harness.delete_records(&partition, before);
        harness.reopen();
        let mut client = harness.client();
        assert_eq!(client.start(&partition).expect("a start"), before);
        for outside in [before - 1, 21] {
            let error = client.read(&partition, outside, 1).expect_err("outside");
            let expected = Error::OffsetOutOfRange {
                partition: partition.clone(),
                offset: outside,
                start: before,
                end: 20,
            };
            assert_eq!(error, expected);
        }
        let first = u8::try_from(before).unwrap_or_default();
        assert_eq!(
            values(&mut *client, &partition, before),
            (first..20).collect::<Vec<_>>()
        );
    }
}

pub(super) fn trimmed(harness: &mut dyn Harness) {
    let mut client = harness.client();
    let spec = TopicSpec {
        cleanup: Cleanup::CompactDelete {
            delete_retention_ms: 1_000,
            retention_ms: None,
        },
        ..spec("changes", 1)
    };
    let made = client.create_topic(&spec).expect("a topic is made");
    assert_eq!(made.spec, spec);
    // One that is compacted and no more will do where it is there: its records are the same.
    // For how long it keeps deletions is its own affair, and who asks for it is told.
    let compacted = TopicSpec {
        cleanup: Cleanup::Compact {
            delete_retention_ms: 2_000,
        },
        ..spec
    };
    assert_eq!(client.create_topic(&compacted), Ok(made));
    let partition = at("changes", 0);
    for number in 0..10u8 {
        let record = RawRecord {
            key: Some(&[number]),
            ..value(b"x")
        };
        client.send("changes", Some(0), record).expect("a send");
    }
    client.commit(1, &[]).expect("a commit");
    drop(client);
    harness.delete_records(&partition, 7);
    harness.reopen();
    let mut client = harness.client();
    assert_eq!(client.start(&partition).expect("a start"), 7);
    let page = client.read(&partition, 7, 1 << 20).expect("a page");
    let keys: Vec<_> = (page.records.iter())
        .map(|(_, record)| record.key.unwrap_or_default().to_vec())
        .collect();
    assert_eq!(keys, [[7], [8], [9]]);
}

pub(super) fn by_time(harness: &mut dyn Harness) {
    let mut client = harness.client();
    topic(&mut *client, "in", 1);
    let partition = at("in", 0);
    let found = |client: &mut dyn Log, time| {
        let found = client.offset_for_time(&partition, time);
        found.expect("an offset")
    };
    assert_eq!(found(&mut *client, 0), 0, "of an empty partition");
    // Out of order: the first that is late enough counts, not the nearest.
    for times in [[100, 300], [200, 400]] {
        for timestamp in times {
            let record = RawRecord {
                timestamp,
                ..value(b"x")
            };
            client.send("in", Some(0), record).expect("a send");
        }
        client.commit(1, &[]).expect("a commit");
    }
    let (mut all, mut from) = (Vec::new(), 0);
    while from < client.end(&partition).expect("an end") {
        let page = client.read(&partition, from, 100).expect("a page");
        let times = page.records.iter();
        all.extend(times.map(|(offset, record)| (offset, record.timestamp)));
        from = page.next;
    }
    for time in [0, 100, 101, 200, 300, 301, 400] {
        let first = all.iter().find(|(_, timestamp)| *timestamp >= time);
        let expected = first.expect("one is late enough").0;
        assert_eq!(found(&mut *client, time), expected, "{time}");
    }
    let end = client.end(&partition).expect("an end");
    assert_eq!(found(&mut *client, 401), end, "all are older");
    let unknown = client.offset_for_time(&at("in", 7), 0);
    assert!(matches!(unknown, Err(Error::UnknownTopic(_))));
}

pub(super) fn tail(harness: &mut dyn Harness) {
    let (mut writer, mut reader) = (harness.client(), harness.client());
    topic(&mut *writer, "in", 1);
    assert_eq!(reader.poll(NOW).expect("a poll"), Event::Idle);
    fill(&mut *writer, &at("in", 0), 0..1);
    assert_eq!(reader.poll(LONG).expect("a poll"), Event::Ready);
    assert_eq!(reader.poll(NOW).expect("a poll"), Event::Idle, "told once");
}
