//! Programs that hold changes back: tables and windows of any kind, in buffers with every bound.

use super::{Cut, Quiet, SIDE, Script, TOLD, duration, sum, windows};
use millstream_core::{
    dsl::{Eager, Strict},
    prelude::*,
};

/// More than any of these programs can hold back.
const ENOUGH: usize = 1 << 24;

impl Script {
    /// The latest row of each key, some time after it began to change.
    pub(super) fn held_table(&self, builder: &StreamsBuilder) {
        let sums = sum(self.left(builder).group_by_key());
        sums.to(&SIDE);
        let wait = duration(self.spans.wait);
        let held = match self.eager() {
            Some(most) => sums.suppress("held", Suppressed::until_time_limit(wait, most)),
            None => sums.suppress("held", Suppressed::until_time_limit(wait, unbounded())),
        };
        let text = |row: Option<i64>| format!("row {row:?}");
        held.to_stream().map_values(text).to(&TOLD);
    }

    /// Windows, told when they close. Sliding ones also have bounds, which they do not reach.
    pub(super) fn held_windows(&self, builder: &StreamsBuilder, cut: Cut) {
        let grouped = self.group(self.left(builder));
        let windows = self.cut(grouped, cut, EmitStrategy::OnWindowUpdate);
        let most = match cut {
            Cut::Sliding => BufferConfig::max_bytes(ENOUGH)
                .with_max_records(ENOUGH)
                .shut_down_when_full(),
            _ => unbounded(),
        };
        windows::told(windows.suppress("held", Suppressed::until_window_closes(most)));
    }

    /// Windows that are open, told some time after they began to change, or when nothing comes.
    pub(super) fn limited_windows(&self, builder: &StreamsBuilder, cut: Cut) {
        let grouped = self.left(builder).group_by_key();
        let windows = self.cut(grouped, cut, EmitStrategy::OnWindowUpdate);
        let most = self.eager().unwrap_or(BufferConfig::max_records(ENOUGH));
        let limit = Suppressed::until_time_limit(duration(self.spans.wait), most);
        let limit = match self.spans.idle {
            Some(idle) => limit.emit_when_idle(duration(idle)),
            None => limit,
        };
        windows::told(windows.suppress("held", limit));
    }

    /// Windows that the wall clock closes.
    pub(super) fn quiet_windows(&self, builder: &StreamsBuilder, quiet: Quiet) {
        let idle = duration(self.spans.idle.unwrap_or_default());
        let grouped = self.left(builder).group_by_key();
        match quiet {
            Quiet::Closing => {
                let windows = grouped.windowed_by(self.time_windows(Cut::Tumbling));
                let closing = windows.emit_strategy(EmitStrategy::OnWindowClose);
                let closing = closing.close_when_idle(idle);
                windows::told(closing.aggregate("windows", || 0, super::add));
            }
            Quiet::Suppressed => {
                let windows = self.cut(grouped, Cut::Tumbling, EmitStrategy::OnWindowUpdate);
                let until = Suppressed::until_window_closes(unbounded()).close_when_idle(idle);
                windows::told(windows.suppress("held", until));
            }
        }
    }

    /// How much may be held back, where that is bounded.
    fn eager(&self) -> Option<BufferConfig<Eager>> {
        let (records, bytes) = (self.spans.held, self.spans.held_bytes);
        let most = BufferConfig::max_records(records.unwrap_or(ENOUGH));
        (records.is_some() || bytes.is_some()).then(|| match bytes {
            Some(bytes) => most.with_max_bytes(bytes),
            None => most,
        })
    }
}

fn unbounded() -> BufferConfig<Strict> {
    BufferConfig::unbounded()
}
