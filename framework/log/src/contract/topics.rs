//! Topics, their partitions, and which of them a record goes to.
//!
//! Invariant tested: a topic is what it was made as, and a key's partition is Kafka's.

use super::stage::{Stage, spec, value};
use crate::{
    api::{Cleanup, Error, TopicSpec},
    murmur2,
};
use millstream_core::record::RawRecord;

pub(super) fn made_twice(stage: &mut Stage<'_>) {
    let (input, output) = (stage.input(0), stage.output(0));
    let first = stage.topic(&input, 3);
    stage.harness.reopen();
    assert_eq!(stage.topic(&input, 3), first);
    let mut client = stage.client();
    assert_eq!(stage.ask(|| client.topic(&input.topic)), Some(first));
    assert_eq!(stage.ask(|| client.topic(&output.topic)), None);
}

pub(super) fn made_differently(stage: &mut Stage<'_>) {
    let input = stage.input(0);
    stage.topic(&input, 3);
    let mut client = stage.client();
    let cleanup = Cleanup::Compact {
        delete_retention_ms: 1_000,
    };
    for other in [
        spec(&input.topic, 4),
        TopicSpec {
            cleanup,
            ..spec(&input.topic, 3)
        },
    ] {
        let told = stage.told(|| client.create_topic(&other));
        let error = told.expect_err("another topic of the name");
        assert!(
            matches!(&error, Error::Fatal(message) if message.contains(&*input.topic)),
            "{error}"
        );
    }
    let none = stage.harness.name("none");
    stage.fatal(|| client.create_topic(&spec(&none, 0)));
}

pub(super) fn unknown(stage: &mut Stage<'_>) {
    stage.topic(&stage.input(0), 1);
    let mut client = stage.client();
    let names = |error: Error, name: &str| {
        assert!(
            matches!(&error, Error::UnknownTopic(what) if what.contains(name)),
            "{error}"
        );
    };
    for missing in [stage.output(0), stage.input(1)] {
        let topic = &*missing.topic;
        let end = stage.told(|| client.end(&missing));
        names(end.expect_err("an end"), topic);
        let start = stage.told(|| client.start(&missing));
        names(start.expect_err("a start"), topic);
        let page = stage.told(|| client.read(&missing, 0, 1));
        names(page.expect_err("a page"), topic);
        let sent = || client.send(topic, Some(missing.partition), value(b"x"));
        names(stage.told(sent).expect_err("a send"), topic);
    }
    let nowhere = stage.output(0);
    let sent = stage.told(|| client.send(&nowhere.topic, None, value(b"x")));
    names(sent.expect_err("a send"), &nowhere.topic);
}

pub(super) fn listed(stage: &mut Stage<'_>) {
    let all = [stage.input(0), stage.output(0)];
    for at in &all {
        stage.topic(at, 1);
    }
    let mut client = stage.client();
    stage.patiently(|| {
        let names = client.topic_names().expect("the names");
        for at in &all {
            let named = names.iter().filter(|name| **name == *at.topic).count();
            if named != 1 {
                return Err(format!("{} is {named} times among {names:?}", at.topic));
            }
        }
        Ok(())
    });
}

pub(super) fn partitioner(stage: &mut Stage<'_>) {
    let input = stage.input(0);
    stage.topic(&input, 7);
    let mut client = stage.client();
    for key in ["21", "foobar", "abc", "", "a-little-bit-long-string"] {
        let record = RawRecord {
            key: Some(key.as_bytes()),
            ..value(b"x")
        };
        stage.ask(|| client.send(&input.topic, None, record));
    }
    stage.ask(|| client.commit(1, &[]));
    let mut found = 0;
    for partition in 0..7 {
        let at = stage.input(partition);
        stage.pages(&mut *client, (&at, 0), 1 << 20, |records| {
            for (_, record) in records.iter() {
                let key = record.key.expect("a key");
                assert_eq!(murmur2::partition(key, 7), partition, "{key:?}");
                found += 1;
            }
        });
    }
    assert_eq!(found, 5);
}

pub(super) fn round_robin(stage: &mut Stage<'_>) {
    let input = stage.input(0);
    stage.topic(&input, 3);
    let mut client = stage.client();
    for _ in 0..6 {
        stage.ask(|| client.send(&input.topic, None, value(b"x")));
    }
    stage.ask(|| client.commit(1, &[]));
    for partition in 0..3 {
        let at = stage.input(partition);
        assert_eq!(stage.values(&mut *client, &at, 0), b"xx", "{partition}");
    }
}
