//! What takes time or all instances, as far as Kafka Streams does not do the same: the rest is in
//! the golden files. Invariant: a window is written as `KEY@START`.

use super::{COUNTS, MORE, NUMBERS, OUT, ROWS, TEXT, TEXT_OUT};
use millstream_core::{dsl::WindowedCogroupedKStream, prelude::*};
use std::time::Duration;

/// How long a program waits for records by the wall clock.
const IDLE: Duration = Duration::from_millis(100);

pub(super) fn declare(name: &str, builder: &StreamsBuilder) -> bool {
    let tumbling = TimeWindows::of_size_with_no_grace(Duration::from_millis(10));
    match name {
        "windows_idle" => {
            let windows = builder.stream(&TEXT).group_by_key().windowed_by(tumbling);
            let counts = windows
                .emit_strategy(EmitStrategy::OnWindowClose)
                .close_when_idle(IDLE)
                .count("counts")
                .to_stream();
            counts
                .map(|k, n| (flat(&k), n.unwrap_or_default()))
                .to(&COUNTS);
        }
        "cogroup_close" => {
            let sums = cogroup(builder, tumbling)
                .aggregate("out", || 0)
                .to_stream();
            sums.map(|k, n| (flat(&k), n.unwrap_or_default())).to(&OUT);
        }
        "cogroup_close_sessions" => {
            let (gap, grace) = (Duration::from_millis(5), Duration::from_millis(10));
            let gap = SessionWindows::of_inactivity_gap_and_grace(gap, grace);
            let sums = cogroup(builder, gap).aggregate("out", || 0, |_, sum, other| *sum += other);
            let sums = sums.to_stream();
            sums.map(|k, n| (flat(&k), n.unwrap_or_default())).to(&OUT);
        }
        "suppress_idle" => {
            let wait = Duration::from_millis(10);
            let until = Suppressed::until_time_limit(wait, BufferConfig::unbounded());
            let rows = builder.table(&ROWS, "rows");
            rows.suppress("held", until.emit_when_idle(IDLE)).to(&OUT);
        }
        "outer_join_streams" => {
            let near = Duration::from_millis(10);
            let windows = JoinWindows::of_time_difference_with_no_grace(near);
            let (left, right) = (builder.stream(&NUMBERS), builder.stream(&MORE));
            let join = |l: Option<&i64>, r: Option<&i64>| format!("{l:?} {r:?}");
            left.outer_join_stream(right, windows, "joined", join)
                .to(&TEXT_OUT);
        }
        "join_global" => {
            let rows = builder.global_table(&ROWS, "rows");
            let text = builder.stream(&TEXT);
            text.join_global(
                rows,
                |_, text| text.clone(),
                |text, row| format!("{text}/{row}"),
            )
            .to(&TEXT_OUT);
        }
        _ => return false,
    }
    true
}

/// Numbers, and ten times as much of others, told when windows close.
fn cogroup<W: millstream_core::window::Windows>(
    builder: &StreamsBuilder,
    windows: W,
) -> WindowedCogroupedKStream<'_, String, i64, W> {
    let more = builder.stream(&MORE).group_by_key();
    let cogroup = builder.stream(&NUMBERS).group_by_key();
    cogroup
        .cogroup(|_, n, sum: &mut i64| *sum += n)
        .cogroup(more, |_, n, sum| *sum += 10 * n)
        .windowed_by(windows)
        .emit_strategy(EmitStrategy::OnWindowClose)
}

fn flat(key: &Windowed<String>) -> String {
    format!("{}@{}", key.key, key.window.start)
}
