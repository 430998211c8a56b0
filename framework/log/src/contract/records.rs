//! Sending, committing and reading back.
//!
//! Invariant tested: a transaction is seen whole or not at all, by everyone, for good.

use super::stage::{Stage, spec, value};
use crate::api::{Cleanup, Error, Event, Log, TopicSpec};
use millstream_core::record::{Header, Headers, RawRecord, TopicPartition};
use std::time::Duration;

/// Longer than any case should take: a poll that waits so long would be noticed.
const LONG: Duration = Duration::from_secs(30);

pub(super) fn atomic(stage: &mut Stage<'_>) {
    let all = [stage.input(0), stage.input(1), stage.output(0)];
    stage.topic(&all[0], 2);
    stage.topic(&all[2], 1);
    let (mut writer, mut reader) = (stage.client(), stage.client());
    for partition in &all {
        stage.send(&mut *writer, partition, value(b"x"));
        for partition in &all {
            let seen = stage.ask(|| reader.end(partition));
            let early = stage.terms.transactions && seen > 0;
            assert!(!early, "nothing before the commit");
        }
    }
    let commit = stage.ask(|| writer.commit(1, &[]));
    let mut ends = commit.ends;
    ends.sort();
    assert_eq!(ends, all.clone().map(|partition| (partition, 1)));
    for partition in &all {
        let given_out = stage.ask(|| reader.end_uncommitted(partition));
        assert!(given_out >= 1, "{given_out} is not behind all offsets");
    }
    for partition in &all {
        assert_eq!(stage.values(&mut *reader, partition, 0), b"x");
    }
    drop((writer, reader));
    stage.harness.reopen();
    let mut reader = stage.client();
    for partition in &all {
        assert_eq!(stage.values(&mut *reader, partition, 0), b"x");
    }
}

pub(super) fn abort(stage: &mut Stage<'_>) {
    let partition = stage.input(0);
    stage.topic(&partition, 1);
    let mut client = stage.client();
    stage.send(&mut *client, &partition, value(b"a"));
    client.abort().expect("an abort");
    assert_eq!(client.commit(1, &[]).expect("an empty commit").ends, []);
    stage.fill(&mut *client, &partition, 1..3);
    stage.send(&mut *client, &partition, value(b"b"));
    drop(client);
    stage.harness.reopen();
    let mut client = stage.client();
    let mut values = stage.values(&mut *client, &partition, 0);
    if !stage.terms.transactions {
        values.retain(|value| !b"ab".contains(value));
    }
    assert_eq!(values, [1, 2]);
}

/// What a partition has from its start on, in pages of so many bytes: offsets and values.
fn all(
    stage: &mut Stage<'_>,
    client: &mut dyn Log,
    partition: &TopicPartition,
    bytes: usize,
) -> (Vec<i64>, Vec<u8>) {
    let (mut offsets, mut values) = (Vec::new(), Vec::new());
    let end = stage.pages(client, (partition, 0), bytes, |records| {
        for (offset, record) in records.iter() {
            offsets.push(offset);
            values.extend(record.value.and_then(<[u8]>::first));
        }
    });
    let last = offsets.last().copied().unwrap_or(-1);
    let behind = last + 1..=last + 1 + stage.terms.marks;
    assert!(behind.contains(&end), "{end} is not {behind:?}");
    (offsets, values)
}

pub(super) fn dense(stage: &mut Stage<'_>) {
    let partition = stage.input(0);
    stage.topic(&partition, 1);
    for round in 0..4 {
        let mut client = stage.client();
        stage.fill(&mut *client, &partition, round * 5..round * 5 + 5);
        drop(client);
        stage.harness.reopen();
    }
    let mut client = stage.client();
    let sent: Vec<_> = (0..20).collect();
    assert_eq!(stage.values(&mut *client, &partition, 0), sent);
    let (offsets, values) = all(stage, &mut *client, &partition, 1);
    assert_eq!(offsets, stage.offsets(&[5; 4]));
    assert_eq!(values, sent);
    assert_eq!(stage.ask(|| client.start(&partition)), 0);
}

pub(super) fn faithful(stage: &mut Stage<'_>) {
    let partition = stage.input(0);
    stage.topic(&partition, 1);
    let mut client = stage.client();
    let headers: Headers = [("a", Some(&b"1"[..])), ("a", None), ("", Some(b""))]
        .into_iter()
        .map(|(name, value)| Header {
            name: name.into(),
            value: value.map(<[u8]>::to_vec),
        })
        .collect();
    let (earliest, latest) = stage.terms.timestamps.clone().into_inner();
    let record = |key, value, timestamp: i64, headers| RawRecord {
        key,
        value,
        timestamp: timestamp.clamp(earliest, latest),
        headers,
    };
    let all = [
        record(None, None, -1, &Headers::NONE),
        record(Some(b""), Some(b""), 0, &headers),
        record(Some(b"k"), None, latest, &Headers::NONE),
        record(None, Some(&[0xff; 999]), earliest, &headers),
        record(None, Some(b"v"), 7, &Headers::NONE),
    ];
    for record in all {
        stage.send(&mut *client, &partition, record);
    }
    stage.ask(|| client.commit(1, &[]));
    for _ in 0..2 {
        let mut expected = all.iter();
        stage.pages(&mut *client, (&partition, 0), 1 << 20, |records| {
            for (_, record) in records.iter() {
                assert_eq!(Some(&record), expected.next());
            }
        });
        assert_eq!(expected.len(), 0, "records are missing");
        drop(client);
        stage.harness.reopen();
        client = stage.client();
    }
}

pub(super) fn pages(stage: &mut Stage<'_>) {
    let partition = stage.input(0);
    stage.topic(&partition, 1);
    let mut client = stage.client();
    for round in 0..10 {
        stage.fill(&mut *client, &partition, round * 10..round * 10 + 10);
    }
    let offsets = stage.offsets(&[10; 10]);
    for bytes in [0, 1, 500, 1 << 20] {
        let (found, _) = all(stage, &mut *client, &partition, bytes);
        assert_eq!(found, offsets, "in pages of {bytes} bytes");
        drop(client);
        stage.harness.reopen();
        client = stage.client();
    }
    assert_eq!(
        stage.values(&mut *client, &partition, offsets[37]),
        (37..100).collect::<Vec<_>>()
    );
    let end = stage.ask(|| client.end(&partition));
    let behind = stage.ask(|| client.read(&partition, end, 1));
    assert!(behind.records.is_empty());
}

pub(super) fn deleted(stage: &mut Stage<'_>) {
    let partition = stage.input(0);
    stage.topic(&partition, 1);
    let mut client = stage.client();
    stage.fill(&mut *client, &partition, 0..10);
    stage.fill(&mut *client, &partition, 10..20);
    stage.values(&mut *client, &partition, 0);
    drop(client);
    let end = 20 + 2 * stage.terms.marks;
    let offsets = stage.offsets(&[10, 10]);
    for first in [5, 12] {
        let before = offsets[first];
        stage.harness.delete_records(&partition, before);
        stage.harness.reopen();
        let mut client = stage.client();
        assert_eq!(stage.ask(|| client.start(&partition)), before);
        for outside in [before - 1, end + 1] {
            let error = stage.refused(|| client.read(&partition, outside, 1));
            let expected = Error::OffsetOutOfRange {
                partition: partition.clone(),
                offset: outside,
                start: before,
                end,
            };
            assert_eq!(error, expected);
        }
        let left: Vec<_> = (0..20).skip(first).collect();
        assert_eq!(stage.values(&mut *client, &partition, before), left);
    }
}

pub(super) fn trimmed(stage: &mut Stage<'_>) {
    let mut client = stage.client();
    let spec = TopicSpec {
        cleanup: Cleanup::CompactDelete {
            delete_retention_ms: 1_000,
            retention_ms: None,
        },
        ..spec(&stage.harness.name("changes"), 1)
    };
    let made = stage.ask(|| client.create_topic(&spec));
    assert_eq!(made.spec, spec);
    // One that is compacted and no more will do where it is there: its records are the same.
    // For how long it keeps deletions is its own affair, and who asks for it is told.
    let partition = TopicPartition::new(&*spec.name, 0);
    let compacted = TopicSpec {
        cleanup: Cleanup::Compact {
            delete_retention_ms: 2_000,
        },
        ..spec
    };
    assert_eq!(stage.ask(|| client.create_topic(&compacted)), made);
    for number in 0..10u8 {
        let record = RawRecord {
            key: Some(&[number]),
            ..value(b"x")
        };
        stage.send(&mut *client, &partition, record);
    }
    stage.ask(|| client.commit(1, &[]));
    drop(client);
    stage.harness.delete_records(&partition, 7);
    stage.harness.reopen();
    let mut client = stage.client();
    assert_eq!(stage.ask(|| client.start(&partition)), 7);
    let mut keys = Vec::new();
    stage.pages(&mut *client, (&partition, 7), 1 << 20, |records| {
        keys.extend((records.iter()).map(|(_, record)| record.key.unwrap_or_default().to_vec()));
    });
    assert_eq!(keys, [[7], [8], [9]]);
}

pub(super) fn by_time(stage: &mut Stage<'_>) {
    let partition = stage.input(0);
    stage.topic(&partition, 1);
    let mut client = stage.client();
    let found = |stage: &mut Stage<'_>, client: &mut dyn Log, time| {
        stage.ask(|| client.offset_for_time(&partition, time))
    };
    assert_eq!(found(stage, &mut *client, 0), 0, "of an empty partition");
    // Out of order: the first that is late enough counts, not the nearest.
    for times in [[100, 300], [200, 400]] {
        for timestamp in times {
            let record = RawRecord {
                timestamp,
                ..value(b"x")
            };
            stage.send(&mut *client, &partition, record);
        }
        stage.ask(|| client.commit(1, &[]));
    }
    let mut all = Vec::new();
    stage.pages(&mut *client, (&partition, 0), 100, |records| {
        let times = records.iter();
        all.extend(times.map(|(offset, record)| (offset, record.timestamp)));
    });
    for time in [-1, 0, 100, 101, 200, 300, 301, 400] {
        let first = all.iter().find(|(_, timestamp)| *timestamp >= time);
        let expected = first.expect("one is late enough").0;
        assert_eq!(found(stage, &mut *client, time), expected, "{time}");
    }
    let end = stage.ask(|| client.end(&partition));
    assert_eq!(found(stage, &mut *client, 401), end, "all are older");
    let missing = stage.input(7);
    let unknown = stage.told(|| client.offset_for_time(&missing, 0));
    assert!(matches!(unknown, Err(Error::UnknownTopic(_))));
}

pub(super) fn tail(stage: &mut Stage<'_>) {
    let partition = stage.input(0);
    stage.topic(&partition, 1);
    let (mut writer, mut reader) = (stage.client(), stage.client());
    // A log may have nothing to tell of a partition that its client has not looked at.
    assert_eq!(stage.values(&mut *reader, &partition, 0), b"");
    let mut told = |stage: &mut Stage<'_>, wait, event: Event| {
        stage.patiently(|| match reader.poll(wait).expect("a poll") {
            told if told == event => Ok(()),
            told => Err(format!("{told:?} is told")),
        });
    };
    told(stage, Duration::ZERO, Event::Idle);
    stage.fill(&mut *writer, &partition, 0..1);
    told(stage, LONG, Event::Ready);
    let again = reader.poll(Duration::ZERO).expect("a poll");
    assert_eq!(again, Event::Idle, "told once");
}
