//! A program whose types changed, or what is logged of its stores, started on the state that the
//! old one left on disk.

use super::harness::*;
use millstream_core::{prelude::*, store::Storable};
use millstream_runtime::{backends::RocksBackends, streams::Streams};
use millstream_state::{Limits, Shared};
use serde_json::{Value, json};
use std::{ops::Bound, path::Path, sync::Arc};

/// The last of each key's numbers, as `make` keeps it.
fn kept<T: Storable>(make: fn(i64) -> T) -> Topology {
    let builder = StreamsBuilder::new();
    let grouped = builder.stream(&IN).group_by_key();
    let keep = move |_: &String, n: i64, row: &mut T| *row = make(n);
    let _ = grouped.aggregate("kept", move || make(0), keep);
    builder.build().unwrap()
}

fn streams(world: &World, dir: &Path, topology: Topology) -> Streams {
    let disk = RocksBackends::open(dir, Shared::new(Limits::default())).unwrap();
    Streams::new(
        Arc::new(topology),
        config("a"),
        world.source(),
        Arc::new(disk),
    )
    .unwrap()
}

fn row_of(streams: &Streams, key: &str) -> Option<Value> {
    streams
        .get("kept", &json!(key))
        .ok()
        .flatten()
        .map(|row| row.value)
}

#[test]
fn a_struct_with_one_field_more_is_refused_with_both_shapes() {
    let (world, dir) = (World::new(1), tempfile::tempdir().unwrap());
    let old = || kept(|n| (n, n.to_string()));
    let first = streams(&world, dir.path(), old());
    start(&first);
    world.feed(ones(2, 1));
    world.until("a row", || row_of(&first, "key-1") == Some(json!([1, "1"])));
    drop(first);

    let new = kept(|n| (n, n.to_string(), true));
    let changed = streams(&world, dir.path(), new);
    changed.start().unwrap();
    world.until("the refusal", || changed.failure().is_some());
    let failure = changed.failure().unwrap();
    let said = [
        "\"kept\"",
        "bincode(i64,str)",
        "bincode(i64,str,bool)",
        "reset --execute",
    ];
    for part in said {
        assert!(failure.contains(part), "{failure} does not say {part:?}");
    }
    drop(changed);

    // Nothing was lost: the old program goes on.
    let again = streams(&world, dir.path(), old());
    start(&again);
    world.until("the row", || {
        row_of(&again, "key-1") == Some(json!([1, "1"]))
    });
}

#[test]
fn an_enum_with_one_variant_more_goes_on_and_cannot_go_back() {
    let (world, dir) = (World::new(1), tempfile::tempdir().unwrap());
    // serde writes the three variants of a `Bound` as these two of a `Result`, and then one more.
    let two = || kept(Err::<(), i64>);
    let three = || kept(Bound::Included);
    let first = streams(&world, dir.path(), two());
    start(&first);
    world.feed(ones(2, 1));
    world.until("a row", || {
        row_of(&first, "key-1") == Some(json!({"Err": 1}))
    });
    drop(first);

    let more = streams(&world, dir.path(), three());
    start(&more);
    world.until("the row", || {
        row_of(&more, "key-1") == Some(json!({"Included": 1}))
    });
    drop(more);

    let back = streams(&world, dir.path(), two());
    back.start().unwrap();
    world.until("the refusal", || back.failure().is_some());
    let failure = back.failure().unwrap();
    assert!(failure.contains("bincode(<()|i64*2>)"), "{failure}");
}

#[test]
fn state_from_before_shapes_were_noted_is_taken_for_what_is_declared_and_then_noted() {
    let (world, dir) = (World::new(1), tempfile::tempdir().unwrap());
    let pairs = || kept(|n| (n, true));
    drop({
        let first = streams(&world, dir.path(), pairs());
        start(&first);
        first
    });
    let note = dir.path().join("0_0/STORES");
    let noted = std::fs::read_to_string(&note).unwrap();
    let format = "key-value/utf8/bincode(i64,bool)";
    assert_eq!(noted, format!("2\nkept\t{format}\tlogged\n"));
    std::fs::write(&note, "1\nkept\tkey-value/utf8/bincode\n").unwrap();
    start(&streams(&world, dir.path(), pairs()));
    assert_eq!(std::fs::read_to_string(&note).unwrap(), noted);
}

#[test]
fn a_store_of_a_task_that_has_another_number_now_is_none_that_was_renamed() {
    static OTHER: Topic<String, i64> = Topic::new("other", utf8(), i64_be());
    let (world, dir) = (World::new(1), tempfile::tempdir().unwrap());
    create(&world.log, OTHER.name, 1);
    let count = |builder: &StreamsBuilder, topic, store: &str| {
        let grouped = builder.stream(topic).group_by_key();
        let _ = grouped.aggregate(store, || 0, |_: &String, n, sum: &mut i64| *sum += n);
    };
    let one = StreamsBuilder::new();
    count(&one, &IN, "kept");
    let first = streams(&world, dir.path(), one.build().unwrap());
    start(&first);
    world.feed(ones(2, 3));
    world.until("a row", || row_of(&first, "key-1") == Some(json!(3)));
    drop(first);

    // Tasks are numbered in the order of the program: 0 is the new one's from here on.
    let two = StreamsBuilder::new();
    count(&two, &OTHER, "new");
    count(&two, &IN, "kept");
    let second = streams(&world, dir.path(), two.build().unwrap());
    start(&second);
    world.feed(ones(2, 1));
    world.until("the row", || row_of(&second, "key-1") == Some(json!(4)));
    assert_eq!(second.failure(), None);
}

/// The sum of each key's numbers, in a store that is logged or not.
fn summed(logged: bool) -> Topology {
    let builder = StreamsBuilder::new();
    let store = Materialized::from("kept");
    let store = if logged {
        store
    } else {
        store.with_logging_disabled()
    };
    let grouped = builder.stream(&IN).group_by_key();
    let _ = grouped.aggregate(store, || 0, |_: &String, n, sum: &mut i64| *sum += n);
    builder.build().unwrap()
}

/// Runs the program until so many more numbers of each key have come to this sum.
fn sums_to(world: &World, dir: &Path, logged: bool, (more, sum): (usize, i64)) {
    let streams = streams(world, dir, summed(logged));
    start(&streams);
    world.feed(ones(2, more));
    world.until("the sum", || row_of(&streams, "key-1") == Some(json!(sum)));
}

#[test]
fn a_store_that_is_logged_from_now_on_or_not_any_more_is_refused_and_left_alone() {
    let changes = [(true, "is no longer logged"), (false, "is logged now")];
    for (logged, why) in changes {
        let (world, dir) = (World::new(1), tempfile::tempdir().unwrap());
        sums_to(&world, dir.path(), logged, (3, 3));

        let changed = streams(&world, dir.path(), summed(!logged));
        changed.start().unwrap();
        world.until("the refusal", || changed.failure().is_some());
        let failure = changed.failure().unwrap();
        for part in ["\"kept\"", why, "reset --execute"] {
            assert!(failure.contains(part), "{failure} does not say {part:?}");
        }
        drop(changed);

        sums_to(&world, dir.path(), logged, (1, 4));
    }
}

#[test]
fn state_from_before_logging_was_noted_goes_on_as_declared() {
    for logged in [true, false] {
        let (world, dir) = (World::new(1), tempfile::tempdir().unwrap());
        sums_to(&world, dir.path(), logged, (3, 3));
        let note = dir.path().join("0_0/STORES");
        let noted = std::fs::read_to_string(&note).unwrap();
        std::fs::write(&note, "1\nkept\tkey-value/utf8/i64_be\n").unwrap();

        sums_to(&world, dir.path(), logged, (1, 4));
        assert_eq!(std::fs::read_to_string(&note).unwrap(), noted);
    }
}
