//! The joins that the tests run.

use super::pair::{Key, LEFT, OUT, RIGHT};
use millstream_core::prelude::*;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Inner,
    Left,
    Outer,
}

/// A window in milliseconds: before, after, grace.
pub(crate) fn window((before, after, grace): (i64, i64, u64)) -> JoinWindows {
    JoinWindows::of_time_difference_and_grace(Duration::ZERO, Duration::from_millis(grace))
        .before_ms(before)
        .after_ms(after)
}

fn joined() -> StreamJoined<Key, i64, i64> {
    StreamJoined::with("j", LEFT.key, LEFT.value, RIGHT.value)
}

/// A join of the two inputs; results show what of either side they are made of.
pub(crate) fn join(kind: Kind, windows: JoinWindows) -> Topology {
    let builder = StreamsBuilder::new();
    let (left, right) = (builder.stream(&LEFT), builder.stream(&RIGHT));
    let show = |value: Option<&i64>| value.map_or("-".to_owned(), i64::to_string);
    let results = match kind {
        Kind::Inner => left.join_stream(right, windows, joined(), move |l, r| {
            format!("{} {}", show(Some(l)), show(Some(r)))
        }),
        Kind::Left => left.left_join_stream(right, windows, joined(), move |l, r| {
            format!("{} {}", show(Some(l)), show(r))
        }),
        Kind::Outer => left.outer_join_stream(right, windows, joined(), move |l, r| {
            format!("{} {}", show(l), show(r))
        }),
    };
    results.to(&OUT);
    builder.build().unwrap()
}

/// A join of the left input with itself, once known to be one and once as two equal streams.
pub(crate) fn self_join(windows: JoinWindows, known: bool) -> Topology {
    let builder = StreamsBuilder::new();
    let stream = builder.stream(&LEFT);
    let equal = || stream.map_values(|value| value);
    let (stream, other) = if known {
        (stream, stream)
    } else {
        (equal(), equal())
    };
    stream
        .join_stream(other, windows, joined(), |l, r| format!("{l} {r}"))
        .to(&OUT);
    builder.build().unwrap()
}
