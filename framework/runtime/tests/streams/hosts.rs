//! Which instance has the rows of a key, as every instance says it.

use super::{harness::*, kinds::*};
use millstream_core::{prelude::*, record::TaskId};
use millstream_log::murmur2;
use millstream_runtime::streams::{HostInfo, KeyQueryMetadata, Streams};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const PARTITIONS: u32 = 6;
const KEYS: usize = 30;

fn server(instance: &str) -> String {
    format!("{instance}.example.com:80")
}

fn instance(world: &World, name: &str, standbys: usize) -> Streams {
    let mut config = config(name);
    config.settings.server = Some(server(name));
    config.settings.standby_replicas = standbys;
    world.streams(every_kind(), config)
}

fn keys() -> impl Iterator<Item = String> {
    (0..KEYS).map(|key| format!("key-{key}"))
}

/// What an instance says of a key in each of its stores, asked with types and in JSON.
fn metadata(streams: &Streams, key: &String) -> Vec<KeyQueryMetadata> {
    let windowed = json!({ "key": key, "start": 0, "end": 10 });
    let plain = Value::from(key.as_str());
    let typed = [
        streams
            .key_value_store::<String, u64>("counts")
            .unwrap()
            .query_metadata_for_key(key),
        streams
            .window_store::<String, u64>("windows")
            .unwrap()
            .query_metadata_for_key(key),
        streams
            .session_store::<String, u64>("sessions")
            .unwrap()
            .query_metadata_for_key(key),
        streams
            .versioned_store::<String, i64>("versions")
            .unwrap()
            .query_metadata_for_key(key),
    ];
    let json = [
        ("counts", &plain),
        ("windows", &windowed),
        ("sessions", &windowed),
        ("versions", &plain),
    ];
    let json = json.map(|(store, key)| streams.query_metadata_for_key(store, key));
    typed.into_iter().chain(json).map(Result::unwrap).collect()
}

/// The server of whom an instance says that it runs a key's task, if all its stores say the same.
fn owner(streams: &Streams, key: &String) -> Option<HostInfo> {
    let all = metadata(streams, key);
    let first = all[0].clone();
    assert!(all.iter().all(|other| *other == first), "{key}: {all:?}");
    first.active_host
}

/// Waits until all instances say the same, and of all tasks.
fn until_told(world: &World, instances: &[&Streams], standbys: usize) {
    world.until("the same of all", || {
        let told = instances.iter().map(|one| {
            let told = (0..PARTITIONS).map(|n| {
                let told = one.query_metadata_for_partition("counts", n).unwrap();
                let server = |host: HostInfo| host.server.unwrap();
                let active = told.active_host.map(server);
                (
                    active,
                    told.standby_hosts
                        .into_iter()
                        .map(server)
                        .collect::<Vec<_>>(),
                )
            });
            told.collect::<Vec<_>>()
        });
        let told: Vec<_> = told.collect();
        let whole =
            |(active, standby): &(Option<_>, Vec<_>)| active.is_some() && standby.len() == standbys;
        told[0].iter().all(whole) && told.iter().all(|other| *other == told[0])
    });
}

#[test]
fn everybody_says_who_has_a_key_and_that_one_has_it() {
    let world = world(PARTITIONS);
    let names = ["a", "b", "c"];
    let all = names.map(|name| instance(&world, name, 0));
    all.iter().for_each(start);
    world.feed(ones(KEYS, 1));
    world.wait_for_outputs(KEYS);
    world.until("two tasks each", || {
        all.iter().all(|one| active(one).len() == 2)
    });
    until_told(&world, &all.each_ref(), 0);
    let mut owners = BTreeSet::new();
    for key in keys() {
        let told = all.each_ref().map(|one| owner(one, &key).unwrap());
        let ours: Vec<_> = (0..3).filter(|number| told[*number].ours).collect();
        assert_eq!(ours.len(), 1, "{key}: {told:?}");
        let expected = Some(server(names[ours[0]]));
        assert!(
            told.iter().all(|host| host.server == expected),
            "{key}: {told:?}"
        );
        for (number, one) in all.iter().enumerate() {
            let counts = one.key_value_store::<String, u64>("counts").unwrap();
            world.until("the row", || {
                counts.get(&key).is_ok() == (number == ours[0])
            });
        }
        owners.insert(ours[0]);
    }
    assert_eq!(owners.len(), 3, "keys are everywhere");
    let [a, b, c] = all;
    c.close();
    world.until("three tasks each", || {
        active(&a).len() == 3 && active(&b).len() == 3
    });
    until_told(&world, &[&a, &b], 0);
    assert_eq!(a.metadata_for_all_streams_clients().len(), 2);
    for key in keys() {
        let told = owner(&a, &key).unwrap().server;
        assert!(
            told == Some(server("a")) || told == Some(server("b")),
            "{told:?}"
        );
    }
}

#[test]
fn replicas_are_named_too_and_what_each_instance_has() {
    let world = world(PARTITIONS);
    let [a, b] = ["a", "b"].map(|name| instance(&world, name, 1));
    [&a, &b].into_iter().for_each(start);
    world.until("half each", || {
        active(&a).len() == 3 && active(&b).len() == 3
    });
    until_told(&world, &[&a, &b], 1);
    for partition in 0..PARTITIONS {
        let told = a
            .query_metadata_for_partition("windows", partition)
            .unwrap();
        assert_eq!(told.partition, partition);
        let both = [told.active_host.unwrap(), told.standby_hosts[0].clone()];
        assert_eq!(both.iter().filter(|host| host.ours).count(), 1, "{both:?}");
    }
    let mut all = BTreeSet::new();
    for instance in a.metadata_for_all_streams_clients() {
        let expected = if instance.host.ours { "a" } else { "b" };
        assert_eq!(instance.host.server, Some(server(expected)));
        assert!(
            ["counts", "windows", "recent", "rates"]
                .iter()
                .all(|store| { instance.state_store_names.contains(*store) })
        );
        assert!(instance.standby_state_store_names.contains("counts"));
        assert!(!instance.standby_state_store_names.contains("rates"));
        assert_eq!(instance.standby_tasks.len(), 3);
        all.extend(instance.active_tasks);
    }
    let task = |partition| TaskId {
        subtopology: 0,
        partition,
    };
    assert_eq!(all, (0..PARTITIONS).map(task).collect());
    for store in ["counts", "rates"] {
        assert_eq!(a.streams_metadata_for_store(store).unwrap().len(), 2);
    }
}

#[test]
fn a_global_table_is_with_whoever_is_asked() {
    let world = world(1);
    let a = instance(&world, "a", 0);
    let here = Some(HostInfo {
        server: Some(server("a")),
        ours: true,
    });
    let rates = a.key_value_store::<String, i64>("rates").unwrap();
    for told in [
        rates.query_metadata_for_key(&"any".into()).unwrap(),
        a.query_metadata_for_key("rates", &json!("any")).unwrap(),
        a.query_metadata_for_partition("rates", 0).unwrap(),
    ] {
        assert_eq!((told.partition, &told.active_host), (0, &here));
    }
    assert!(a.query_metadata_for_partition("rates", 1).is_err());
}

#[test]
fn what_is_not_known_is_not_told() {
    let world = world(2);
    let a = instance(&world, "a", 0);
    assert!(a.metadata_for_all_streams_clients().is_empty());
    assert_eq!(owner(&a, &"key".to_owned()), None);
    assert!(a.streams_metadata_for_store("counts").unwrap().is_empty());
    assert!(a.query_metadata_for_partition("counts", 1).is_ok());
    assert!(a.query_metadata_for_partition("counts", 2).is_err());
    assert!(a.query_metadata_for_partition("nope", 0).is_err());
    assert!(a.query_metadata_for_key("nope", &json!("key")).is_err());
    assert!(a.query_metadata_for_key("counts", &json!(7)).is_err());
    assert!(a.streams_metadata_for_store("nope").is_err());
    // An instance that does not say where it is has its tasks all the same.
    let mut config = config("b");
    config.settings.server = None;
    let b = world.streams(every_kind(), config);
    start(&b);
    let known = || owner(&b, &"key".to_owned());
    world.until("a host", || known().is_some());
    assert_eq!(
        known(),
        Some(HostInfo {
            server: None,
            ours: true
        })
    );
    b.close();
    assert_eq!(known(), None);
}

#[test]
fn a_key_is_in_one_of_the_partitions_whose_records_the_store_is_told() {
    // The store's topic has two partitions, and what it is merged with afterwards has four.
    let world = world(4);
    let builder = StreamsBuilder::new();
    let rates = builder.stream(&RATES);
    let _ = rates.group_by_key().count("told");
    rates.merge(builder.stream(&IN)).to(&OUT);
    let a = world.streams(builder.build().unwrap(), config("a"));
    let told = a.key_value_store::<String, u64>("told").unwrap();
    for key in keys() {
        let partition = told.query_metadata_for_key(&key).unwrap().partition;
        assert_eq!(partition, murmur2::partition(key.as_bytes(), 2), "{key}");
    }
}

#[test]
fn nobody_has_a_replica_of_a_store_that_is_not_logged() {
    let world = World::new(2);
    let [a, b] = ["a", "b"].map(|name| {
        let builder = StreamsBuilder::new();
        let numbers = builder.stream(&IN);
        let _ = numbers.group_by_key().count("counts");
        let unlogged = Materialized::from("unlogged").with_logging_disabled();
        let _ = numbers.group_by_key().count(unlogged);
        let mut config = config(name);
        config.settings.server = Some(server(name));
        config.settings.standby_replicas = 1;
        world.streams(builder.build().unwrap(), config)
    });
    [&a, &b].into_iter().for_each(start);
    world.until("one each", || {
        active(&a).len() == 1 && active(&b).len() == 1
    });
    world.until("replicas", || {
        let counts = a.query_metadata_for_partition("counts", 0).unwrap();
        counts.active_host.is_some() && counts.standby_hosts.len() == 1
    });
    let unlogged = a.query_metadata_for_partition("unlogged", 0).unwrap();
    assert!(unlogged.active_host.is_some() && unlogged.standby_hosts.is_empty());
    for instance in a.metadata_for_all_streams_clients() {
        assert!(instance.state_store_names.contains("unlogged"));
        assert_eq!(
            instance.standby_state_store_names,
            BTreeSet::from(["counts".to_owned()])
        );
    }
}
