//! Programs of joins: of streams over time, of rows as they were, of tables by any key.

use super::{LEFT, ROWS, SIDE, Script, Shape, Side, TOLD, TOTALS, duration, right, rows};
use millstream_core::prelude::*;

impl Script {
    pub(super) fn stream_joins(&self, builder: &StreamsBuilder) {
        let stream = self.left(builder);
        let row = |v: i64, row: Option<&i64>| told(Some(&v), row);
        match self.shape {
            Shape::StreamJoin(side) => {
                let (right, near) = (right(builder), self.near());
                match side {
                    Side::Inner => {
                        stream.join_stream(right, near, "met", |l, r| told(Some(l), Some(r)))
                    }
                    Side::Left => {
                        stream.left_join_stream(right, near, "met", |l, r| told(Some(l), r))
                    }
                    Side::Outer => stream.outer_join_stream(right, near, "met", told),
                }
                .to(&TOLD);
            }
            Shape::SelfJoin => {
                let both = |l: &i64, r: &i64| told(Some(l), Some(r));
                stream
                    .join_stream(stream, self.near(), "met", both)
                    .to(&TOLD);
            }
            Shape::VersionedJoin => {
                let table = self.versions(builder);
                table.to(&SIDE);
                stream.left_join(table, row).to(&TOLD);
            }
            Shape::GracedJoin => {
                let grace = duration(self.spans.grace);
                let joined = Joined::from("met").with_grace_period(grace);
                let table = self.versions(builder);
                stream.left_join_with(table, joined, row).to(&TOLD);
            }
            _ => {
                let table = builder.global_table(&ROWS, "rows");
                let other = |_: &String, v: &i64| format!("k{}", v % 8);
                stream.left_join_global(table, other, row).to(&TOLD);
            }
        }
    }

    pub(super) fn table_join(&self, builder: &StreamsBuilder, side: Side) {
        let left = builder.table(&LEFT, "lefts");
        let right = if self.versioned {
            self.versions(builder)
        } else {
            rows(builder)
        };
        let joined = match side {
            Side::Inner => left.join(right, |l, r| l * 1000 + r),
            Side::Left => left.left_join(right, |l, r| l * 1000 + r.copied().unwrap_or(-1)),
            Side::Outer => left.outer_join(right, |l, r| {
                l.copied().unwrap_or(-1) * 1000 + r.copied().unwrap_or(-1)
            }),
        };
        let joined = if self.kept {
            joined.materialize("joined")
        } else {
            joined
        };
        let text = |row: Option<i64>| row.map_or("gone".to_owned(), |row| format!("row {row}"));
        joined.to_stream().map_values(text).to(&TOLD);
    }

    pub(super) fn foreign_join(builder: &StreamsBuilder, side: Side) {
        let left = builder.table(&LEFT, "lefts");
        // Some rows name none.
        let other = |_: &String, v: &i64| (v % 5 != 0).then(|| format!("k{}", v % 8));
        let joined = match side {
            Side::Left => left.foreign_key_left_join(
                rows(builder),
                other,
                |l, r| l * 1000 + r.copied().unwrap_or(-1),
                "met",
            ),
            _ => left.foreign_key_join(rows(builder), other, |l, r| l * 1000 + r, "met"),
        };
        joined.to(&TOTALS);
    }

    /// Which records of two streams are near each other. Partners may be as much later as windows
    /// advance, so that the window is seldom the same on both sides.
    fn near(&self) -> JoinWindows {
        let (size, grace) = (duration(self.spans.size), duration(self.spans.grace));
        JoinWindows::of_time_difference_and_grace(size, grace).after(duration(self.spans.advance))
    }

    fn versions<'b>(&self, builder: &'b StreamsBuilder) -> KTable<'b, String, i64> {
        let history = duration(self.spans.history);
        builder.table(&ROWS, Materialized::from("rows").versioned(history))
    }
}

/// What has met, in words.
fn told(left: Option<&i64>, right: Option<&i64>) -> String {
    match (left, right) {
        (Some(left), Some(right)) => format!("pair {left} {right}"),
        (Some(left), None) => format!("left {left}"),
        (None, Some(right)) => format!("right {right}"),
        (None, None) => "nothing".to_owned(),
    }
}
