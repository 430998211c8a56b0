//! Programs of windows and of cogroups.

use super::{Cut, OUT, Script, Shape, TOLD, add, duration, right};
use millstream_core::prelude::*;

type WindowTable<'b> = KTable<'b, Windowed<String>, i64>;

impl Script {
    pub(super) fn windows(&self, builder: &StreamsBuilder) {
        let stream = self.left(builder);
        match self.shape {
            Shape::Windows(cut) => {
                told(self.cut(self.group(stream), cut, EmitStrategy::OnWindowUpdate));
            }
            Shape::Closing(cut) => {
                told(self.cut(self.group(stream), cut, EmitStrategy::OnWindowClose));
            }
            Shape::CogroupWindows(cut) => told(self.cut_cogroup(both(builder, stream), cut)),
            _ => both(builder, stream).aggregate("s", || 0).to(&OUT),
        }
    }

    /// Groups by the key that the windows are to have.
    pub(super) fn group<'b>(
        &self,
        stream: KStream<'b, String, i64>,
    ) -> KGroupedStream<'b, String, i64> {
        if self.moves() {
            let topic = Repartitioned::from("moved").partitions(self.partitions);
            let moved = stream.select_key(|_, v| format!("m{}", v % 5));
            moved.repartition(topic).group_by_key()
        } else {
            stream.group_by_key()
        }
    }

    pub(super) fn cut<'b>(
        &self,
        grouped: KGroupedStream<'b, String, i64>,
        cut: Cut,
        emit: EmitStrategy,
    ) -> WindowTable<'b> {
        match cut {
            Cut::Tumbling | Cut::Hopping => {
                let windows = grouped.windowed_by(self.time_windows(cut));
                windows.emit_strategy(emit).aggregate("windows", || 0, add)
            }
            Cut::Sliding => {
                let (size, grace) = (duration(self.spans.size), duration(self.spans.grace));
                let sliding = SlidingWindows::of_time_difference_and_grace(size, grace);
                let windows = grouped.windowed_by(sliding).emit_strategy(emit);
                windows.aggregate("windows", || 0, add)
            }
            Cut::Unlimited => {
                let unlimited = UnlimitedWindows::of().start_on(self.spans.size);
                let windows = grouped.windowed_by(unlimited).emit_strategy(emit);
                windows.aggregate("windows", || 0, add)
            }
            Cut::Session => {
                let windows = grouped.windowed_by(self.sessions()).emit_strategy(emit);
                windows.aggregate("windows", || 0, add, merge)
            }
        }
    }

    fn cut_cogroup<'b>(
        &self,
        cogroup: CogroupedKStream<'b, String, i64>,
        cut: Cut,
    ) -> WindowTable<'b> {
        match cut {
            Cut::Session => {
                let windows = cogroup.windowed_by(self.sessions());
                windows.aggregate("windows", || 0, merge)
            }
            _ => {
                let windows = cogroup.windowed_by(self.time_windows(cut));
                windows.aggregate("windows", || 0)
            }
        }
    }

    pub(super) fn time_windows(&self, cut: Cut) -> TimeWindows {
        let (size, grace) = (duration(self.spans.size), duration(self.spans.grace));
        let windows = TimeWindows::of_size_and_grace(size, grace);
        match cut {
            Cut::Hopping => windows.advance_by(duration(self.spans.advance)),
            _ => windows,
        }
    }

    fn sessions(&self) -> SessionWindows {
        let (gap, grace) = (duration(self.spans.size), duration(self.spans.grace));
        SessionWindows::of_inactivity_gap_and_grace(gap, grace)
    }
}

#[track_caller]
fn both<'b>(
    builder: &'b StreamsBuilder,
    left: KStream<'b, String, i64>,
) -> CogroupedKStream<'b, String, i64> {
    let right = right(builder).group_by_key();
    left.group_by_key()
        .cogroup(add)
        .cogroup(right, |key, value, sum| add(key, -value, sum))
}

/// The order of the sessions that become one shows in the result.
fn merge(_: &String, sum: &mut i64, later: i64) {
    *sum = (*sum * 5 + later) % 1_000_003;
}

/// Tells a table of windows under the key that its records had, so that one task writes all of a
/// partition.
pub(super) fn told(table: WindowTable<'_>) {
    let told = table.to_stream().map(|Windowed { key, window }, row| {
        let Window { start, end } = window;
        let text = match row {
            Some(sum) => format!("window {start}/{end} {sum}"),
            None => format!("gone {start}/{end}"),
        };
        (key, text)
    });
    told.to(&TOLD);
}
