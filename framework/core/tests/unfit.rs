//! A setting that a store cannot have is not left out in silence: `build()` tells it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use millstream_core::{
    prelude::*,
    store::{TimedKind, TimedShape},
};
use std::time::Duration;

static IN: Topic<String, i64> = Topic::new("in", utf8(), i64_be());
static ROWS: Topic<String, i64> = Topic::new("rows", utf8(), i64_be());
const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);

type Store = Materialized<String, i64>;

fn plain() -> Store {
    Materialized::from("rows")
}

/// Holds that one mistake is told, of this file, which names store and setting.
#[track_caller]
fn told<R>(setting: &str, store: Store, declare: impl FnOnce(&StreamsBuilder, Store) -> R) {
    let builder = StreamsBuilder::new();
    let _ = builder.stream(&IN);
    declare(&builder, store);
    let told = builder.build().err().unwrap().to_string();
    let fits = told.starts_with(file!()) && told.contains("the store \"rows\"");
    assert!(fits && told.lines().count() == 1, "{told}");
    assert!(told.contains(setting), "{told} does not name {setting}");
}

#[test]
fn only_tables_have_versions() {
    let told = |declare: &dyn Fn(&StreamsBuilder, Store)| {
        told("versioned(..)", plain().versioned(MINUTE), declare);
    };
    told(&|builder, store| {
        builder.store(store);
    });
    told(&|builder, store| {
        let shape = TimedShape {
            kind: TimedKind::Instant,
            retention: 10,
            wide: true,
        };
        builder.timed_store(store, shape);
    });
    told(&|builder, store| {
        let windows = TimeWindows::of_size_with_no_grace(MINUTE);
        let grouped = builder.stream(&IN).group_by_key().windowed_by(windows);
        grouped.reduce(store, |a, b| a + b);
    });
    told(&|builder, store| {
        let later = Suppressed::until_time_limit(MINUTE, BufferConfig::unbounded());
        let _ = builder.table(&ROWS, "source").suppress(store, later);
    });
    told(&|builder, store| {
        builder.global_table(&ROWS, store);
    });
    told(&|builder, store| {
        builder.versioned_store(store, HOUR);
    });
    // Whoever says the same twice gets it.
    let builder = StreamsBuilder::new();
    let _ = builder.stream(&IN);
    builder.versioned_store(plain().versioned(HOUR), HOUR);
    builder.build().unwrap();
}

#[test]
fn only_windows_have_a_retention() {
    let told = |declare: &dyn Fn(&StreamsBuilder, Store)| {
        told("with_retention(..)", plain().with_retention(HOUR), declare);
    };
    told(&|builder, store| {
        builder.store(store);
    });
    told(&|builder, store| {
        let later = Suppressed::until_time_limit(MINUTE, BufferConfig::unbounded());
        let _ = builder.table(&ROWS, "source").suppress(store, later);
    });
    told(&|builder, store| {
        builder.global_table(&ROWS, store);
    });
    told(&|builder, store| {
        builder.versioned_store(store, HOUR);
    });
    told(&|builder, store| {
        builder.table(&ROWS, store.versioned(HOUR));
    });
}
