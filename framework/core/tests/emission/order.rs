//! What is behind a table that tells per commit, and cares for the order of time: changes come as
//! they would have come at once, with some of them left out, so that none is late for it.

use super::{bench, feed, harness::LEFT, harness::OUT};
use millstream_core::prelude::*;
use std::time::Duration;

const TEN: Duration = Duration::from_millis(10);

/// Tells windows as texts.
fn shown(table: KTable<'_, Windowed<String>, u64>) {
    let shown = |key: Windowed<String>, count: Option<u64>| {
        let Window { start, end } = key.window;
        let count = count.map_or("gone".to_owned(), |count| count.to_string());
        (format!("{} {start}..{end} ", key.key), count)
    };
    table.to_stream().map(shown).to(&OUT);
}

fn finals(builder: &StreamsBuilder, windows: TimeWindows) {
    let counts = builder.stream(&LEFT).group_by_key().windowed_by(windows);
    let until = Suppressed::until_window_closes(BufferConfig::unbounded());
    shown(counts.count("counts").suppress("finals", until));
}

#[test]
fn a_window_that_changed_before_another_closes_it_is_whole() {
    let windows = TimeWindows::of_size_with_no_grace(TEN);
    let windows = windows.advance_by(Duration::from_millis(5));
    let mut bench = bench(|builder| finals(builder, windows));
    feed(&mut bench, 0, &[("b", "", 6)]);
    bench.commit();
    assert!(bench.outputs("out").is_empty());
    // What closes 0..10 is the second change of a key that changed before b did.
    feed(&mut bench, 1, &[("a", "", 7), ("b", "", 8), ("a", "", 12)]);
    bench.commit();
    assert_eq!(bench.texts("out"), ["a 0..10 1", "b 0..10 2"]);
    feed(&mut bench, 4, &[("a", "", 30)]);
    bench.commit();
    let expected = ["a 5..15 2", "b 5..15 2", "a 10..20 1"];
    assert_eq!(bench.texts("out"), expected);
}

#[test]
fn a_window_that_is_within_its_grace_when_it_changes_is_not_late() {
    let windows = TimeWindows::of_size_and_grace(TEN, Duration::from_millis(3));
    let mut bench = bench(|builder| finals(builder, windows));
    feed(&mut bench, 0, &[("a", "", 5)]);
    bench.commit();
    feed(&mut bench, 1, &[("a", "", 12), ("a", "", 6), ("a", "", 13)]);
    bench.commit();
    assert_eq!(bench.texts("out"), ["a 0..10 2"]);
    assert_eq!(bench.task.dropped().late_record, 0);
}

#[test]
fn windows_of_changes_find_none_late_that_was_in_time() {
    let mut bench = bench(|builder| {
        let counts = builder.stream(&LEFT).group_by_key().count("counts");
        let changes = counts.to_stream().map_values(Option::unwrap_or_default);
        let windows = TimeWindows::of_size_with_no_grace(TEN);
        shown(changes.group_by_key().windowed_by(windows).count("changes"));
    });
    feed(&mut bench, 0, &[("a", "", 1), ("b", "", 2), ("a", "", 15)]);
    bench.commit();
    assert_eq!(bench.texts("out"), ["b 0..10 1", "a 10..20 1"]);
    assert_eq!(bench.task.dropped().late_record, 0);
}
