//! Windows of programs that are data, the aggregates over them, and what holds tables back.

use super::{Graph, Handle, Stream, duration, groups, key, keys, nullable};
use crate::golden::{
    Op,
    functions::{self, Fold},
    op::{Emit, Place, Suppression, Until, WindowKind, Windows},
    program::{Key, Value},
};
use anyhow::{Result, bail};
use millstream_core::{
    dsl::{FixedWindows, Strict},
    link::Data,
    prelude::*,
};
use std::time::Duration;

pub(super) type WindowTable<'b> = KTable<'b, Windowed<Key>, i64>;

impl<'b> Graph<'b> {
    pub(super) fn of_windows(
        &self,
        op: &Op,
        stream: Stream<'b>,
        windows: &Windows,
        name: &str,
    ) -> Result<WindowTable<'b>> {
        if let Op::Reduce { fold, .. } = *op {
            let group = self.present(stream.stream);
            return Ok(reduced(
                group.group_by_key_with(groups::grouped()),
                windows,
                fold,
                name,
            ));
        }
        if windows.kind == WindowKind::Sliding {
            // Only these drop null values; others hand them to the aggregator.
            let group = self.present(stream.stream);
            return folded(
                op,
                group.group_by_key_with(groups::grouped()),
                windows,
                name,
            );
        }
        let group = stream.stream;
        let group = group.group_by_key_with(Grouped::with(key(), nullable()));
        folded(op, group, windows, name)
    }

    /// Windows over several streams are only aggregated.
    pub(super) fn of_windows_of_many(
        &self,
        op: &Op,
        streams: &[Stream<'b>],
        windows: &Windows,
        name: &str,
    ) -> Result<WindowTable<'b>> {
        let Op::Aggregate { init, .. } = *op else {
            bail!("{op:?} of windows over several streams");
        };
        let group = if windows.kind == WindowKind::Sliding {
            // As with one stream: only these drop null values.
            let streams = streams.iter().map(|one| self.present(one.stream));
            groups::cogroup(streams, groups::grouped(), name)?
        } else {
            let streams = streams.iter().map(|one| one.stream);
            groups::cogroup(streams, Grouped::with(key(), nullable()), name)?
        };
        let (store, init) = (kept(super::stored(name), windows), move || init);
        Ok(match windows.kind {
            WindowKind::Tumbling | WindowKind::Hopping => {
                let group = group.windowed_by(time_windows(windows));
                group.aggregate(store, init)
            }
            WindowKind::Sliding => {
                let group = group.windowed_by(sliding_windows(windows));
                group.aggregate(store, init)
            }
            WindowKind::Unlimited => {
                let group = group.windowed_by(unlimited(windows));
                group.aggregate(store, init)
            }
            WindowKind::Session => {
                let group = group.windowed_by(sessions(windows));
                let merge = |_: &Key, sum: &mut i64, other| *sum = functions::merged(*sum, other);
                group.aggregate(store, init, merge)
            }
        })
    }

    pub(super) fn suppress(&self, suppression: &Suppression, name: &str) -> Result<Handle<'b>> {
        let Suppression { of, until, .. } = *suppression;
        Ok(match (self.at(of)?, until) {
            (Handle::WindowTable(table), Until::Close) => {
                let until = Suppressed::until_window_closes(strict(suppression));
                Handle::WindowTable(table.suppress(stored(name), until))
            }
            (Handle::WindowTable(table), Until::Time) => {
                Handle::WindowTable(held(*table, suppression, stored(name)))
            }
            (Handle::Table(table), Until::Time) => {
                Handle::Table(held(*table, suppression, super::stored(name)))
            }
            _ => bail!("{suppression:?} of node {of}"),
        })
    }

    /// A table by windows as a stream by texts.
    pub(super) fn flat(table: WindowTable<'b>) -> Stream<'b> {
        let stream = table.to_stream().map(|key, value| (text(&key), value));
        Stream {
            stream,
            rekeyed: true,
        }
    }

    pub(super) fn window_table(&self, place: Place) -> Option<WindowTable<'b>> {
        match self.at(place) {
            Ok(Handle::WindowTable(table)) => Some(*table),
            _ => None,
        }
    }
}

/// A windowed key as a text.
pub(super) fn text(key: &Windowed<Key>) -> Key {
    let Windowed { key, window } = key;
    let key = key.as_deref().unwrap_or_default();
    Some(format!("{key}@{}/{}", window.start, window.end))
}

fn held<'b, K: Data>(
    table: KTable<'b, K, i64>,
    suppression: &Suppression,
    store: Materialized<K, i64>,
) -> KTable<'b, K, i64> {
    let wait = duration(suppression.wait);
    let limited = suppression.max_records.is_some() || suppression.max_bytes.is_some();
    if suppression.strict || !limited {
        table.suppress(
            store,
            Suppressed::until_time_limit(wait, strict(suppression)),
        )
    } else {
        let buffer = strict(suppression).emit_early_when_full();
        table.suppress(store, Suppressed::until_time_limit(wait, buffer))
    }
}

fn strict(suppression: &Suppression) -> BufferConfig<Strict> {
    let mut buffer = BufferConfig::unbounded();
    if let Some(records) = suppression.max_records {
        buffer = buffer.with_max_records(records);
    }
    if let Some(bytes) = suppression.max_bytes {
        buffer = buffer.with_max_bytes(bytes);
    }
    buffer
}

pub(super) fn stored(name: &str) -> Materialized<Windowed<Key>, i64> {
    Materialized::with(name, keys::windowed(), i64_be())
}

/// Windows that are told when they close are kept as long as in `tests/jvm/GoldenWindows.java`,
/// since a record may become part of a session that has been told.
fn kept<V>(store: Materialized<Key, V>, windows: &Windows) -> Materialized<Key, V> {
    if windows.emit == Emit::Update && !windows.kept {
        return store;
    }
    let kept = duration(windows.size) * 2 + duration(windows.grace);
    store.with_retention(kept + Duration::from_secs(60 * 60))
}

fn emit(windows: &Windows) -> EmitStrategy {
    match windows.emit {
        Emit::Update => EmitStrategy::OnWindowUpdate,
        Emit::Close => EmitStrategy::OnWindowClose,
    }
}

fn time_windows(windows: &Windows) -> TimeWindows {
    let cut = TimeWindows::of_size_and_grace(duration(windows.size), duration(windows.grace));
    match windows.advance {
        Some(advance) => cut.advance_by(duration(advance)),
        None => cut,
    }
}

fn sliding_windows(windows: &Windows) -> SlidingWindows {
    let (size, grace) = (duration(windows.size), duration(windows.grace));
    SlidingWindows::of_time_difference_and_grace(size, grace)
}

fn sessions(windows: &Windows) -> SessionWindows {
    let (size, grace) = (duration(windows.size), duration(windows.grace));
    SessionWindows::of_inactivity_gap_and_grace(size, grace)
}

fn unlimited(windows: &Windows) -> UnlimitedWindows {
    UnlimitedWindows::of().start_on(windows.start.unwrap_or_default())
}

/// Counts and aggregates, of values that may be null or not.
fn folded<'b, V: Data + Into<Value>>(
    op: &Op,
    group: KGroupedStream<'b, Key, V>,
    windows: &Windows,
    name: &str,
) -> Result<WindowTable<'b>> {
    match windows.kind {
        WindowKind::Tumbling | WindowKind::Hopping => {
            fixed(op, group, time_windows(windows), windows, name)
        }
        WindowKind::Sliding => fixed(op, group, sliding_windows(windows), windows, name),
        WindowKind::Unlimited => fixed(op, group, unlimited(windows), windows, name),
        WindowKind::Session => {
            let group = group
                .windowed_by(sessions(windows))
                .emit_strategy(emit(windows));
            match *op {
                Op::Count { .. } => Ok(groups::counted(
                    group.count(kept(groups::counts(name), windows)),
                )),
                Op::Aggregate { init, .. } => Ok(group.aggregate(
                    kept(super::stored(name), windows),
                    move || init,
                    |_, v, sum| *sum = functions::added(*sum, v.into(), 1),
                    |_, sum, other| *sum = functions::merged(*sum, other),
                )),
                _ => bail!("{op:?} of sessions"),
            }
        }
    }
}

fn fixed<'b, V: Data + Into<Value>, W: FixedWindows>(
    op: &Op,
    group: KGroupedStream<'b, Key, V>,
    cut: W,
    windows: &Windows,
    name: &str,
) -> Result<WindowTable<'b>> {
    let group = group.windowed_by(cut).emit_strategy(emit(windows));
    match *op {
        Op::Count { .. } => Ok(groups::counted(
            group.count(kept(groups::counts(name), windows)),
        )),
        Op::Aggregate { init, .. } => Ok(group.aggregate(
            kept(super::stored(name), windows),
            move || init,
            |_, v, sum| *sum = functions::added(*sum, v.into(), 1),
        )),
        _ => bail!("{op:?} of windows"),
    }
}

fn reduced<'b>(
    group: KGroupedStream<'b, Key, i64>,
    windows: &Windows,
    fold: Fold,
    name: &str,
) -> WindowTable<'b> {
    let (store, emit) = (kept(super::stored(name), windows), emit(windows));
    let reduce = move |a, b| fold.of(a, b);
    match windows.kind {
        WindowKind::Tumbling | WindowKind::Hopping => {
            let group = group.windowed_by(time_windows(windows));
            group.emit_strategy(emit).reduce(store, reduce)
        }
        WindowKind::Sliding => {
            let group = group.windowed_by(sliding_windows(windows));
            group.emit_strategy(emit).reduce(store, reduce)
        }
        WindowKind::Unlimited => {
            let group = group.windowed_by(unlimited(windows));
            group.emit_strategy(emit).reduce(store, reduce)
        }
        WindowKind::Session => {
            let group = group.windowed_by(sessions(windows));
            group.emit_strategy(emit).reduce(store, reduce)
        }
    }
}
