//! A suppressed table that is looked up shows what was told, whenever commits come.

use super::{
    bench, feed,
    harness::{LEFT, OUT},
};
use millstream_core::prelude::*;
use std::time::Duration;

/// Each record beside its key's count, as it is told ten seconds later.
fn asking(builder: &StreamsBuilder) {
    let left = builder.stream(&LEFT);
    let counts = left.group_by_key().count("counts");
    let limit = Duration::from_secs(10);
    let later = Suppressed::until_time_limit(limit, BufferConfig::unbounded());
    let calm = counts.suppress("calm", later).map_values(|_, count| count);
    let asked = left.left_join(calm, |text, count| format!("{text}{count:?}"));
    asked.to(&OUT);
}

#[test]
fn a_row_that_was_never_told_is_not_seen() {
    let mut one = bench(asking);
    feed(&mut one, 0, &[("a", "x", 0), ("a", "y", 1)]);
    assert_eq!(one.texts("out"), ["axNone", "ayNone"]);
    let mut two = bench(asking);
    feed(&mut two, 0, &[("a", "x", 0)]);
    two.commit();
    assert_eq!(two.texts("out"), ["axNone"]);
    feed(
        &mut two,
        1,
        &[("a", "y", 1), ("b", "z", 10_000), ("a", "u", 10_001)],
    );
    assert_eq!(two.texts("out"), ["ayNone", "bzNone", "auSome(2)"]);
}
