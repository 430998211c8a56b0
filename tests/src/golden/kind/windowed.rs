//! Which operators tables by windowed keys have, and what those make.
//!
//! Invariant: where engines do not agree on what a window's row was before, none reads that.

use super::{Kind, Rows};
use crate::golden::{
    Op,
    functions::{Map, Selector},
    op::{Emit, Joining, Place, Suppression, Until, WindowKind, Windows},
};
use anyhow::{Result, bail, ensure};

/// What is known of windows, from the group that they are on to the tables of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windowing {
    /// Whether they close some time, and have been told before.
    pub open: bool,
    /// What is known of the rows of a table of them.
    pub rows: Rows,
    /// Whether their aggregate tells them when they close, and not before.
    pub closed: bool,
    /// Whether they are a cogroup's, and rows of theirs are in its store and in no other.
    pub many: bool,
    /// Whether engines agree on how long rows of theirs can be looked up.
    pub kept: bool,
}

pub(super) fn window(windows: &Windows, many: bool) -> Result<Kind> {
    let closed = windows.emit == Emit::Close;
    let closes = windows.kind != WindowKind::Unlimited;
    ensure!(closes || !closed, "these windows never close");
    ensure!(!(many && closed), "a cogroup tells every change");
    ensure!(closes || !windows.kept, "these windows are kept for ever");
    // What one of these was before it changes, Kafka Streams takes from another one, or has not.
    let moves = matches!(windows.kind, WindowKind::Sliding | WindowKind::Session);
    let windows = Windowing {
        open: closes && !closed,
        rows: match moves && !closed {
            true => Rows::Current,
            false => Rows::Exact,
        },
        closed,
        many,
        kept: windows.kept || closed || !closes,
    };
    Ok(Kind::Windowed(windows))
}

pub(super) fn of_table(op: &Op, windows: Windowing) -> Result<Kind> {
    let Windowing { open, rows, .. } = windows;
    let whole = rows == Rows::Exact;
    Ok(match op {
        Op::ToStream { .. } => Kind::Stream { rekeyed: true },
        Op::Filter { stored, .. } | Op::FilterNot { stored, .. } if whole => kept(windows, *stored),
        Op::MapValues {
            stored,
            keyed: false,
            map: Map::Line(_),
            ..
        } if rows != Rows::Untold => kept(windows, *stored),
        Op::TransformValues { history: None, .. } => kept(windows, true),
        Op::GroupBy {
            windowed: false, ..
        } if whole => Kind::TableGroup,
        // A window has a key.
        Op::GroupBy {
            windowed: true,
            key: Selector::One(_),
            map: Some(Map::Line(_)),
            ..
        } if whole => Kind::WindowTableGroup(Windowing {
            rows: Rows::Exact,
            closed: false,
            many: false,
            kept: true,
            ..windows
        }),
        Op::Suppress(Suppression { until, .. }) if open || *until == Until::Time => {
            Kind::WindowTable(Windowing {
                open: false,
                rows: Rows::Untold,
                ..windows
            })
        }
        _ => bail!("{op:?} of windows"),
    })
}

/// A table with a store of its own knows its rows.
fn kept(windows: Windowing, stored: bool) -> Kind {
    Kind::WindowTable(match stored {
        true => Windowing {
            rows: Rows::Exact,
            many: false,
            kept: true,
            ..windows
        },
        false => windows,
    })
}

/// Rows of windows meet where they are told alike, since our DSL lets nobody look final results up
/// in a store that has forgotten them, and where they are kept: by default each engine forgets them
/// when it sees fit.
pub(super) fn join(joining: &Joining, left: Windowing, right: Windowing) -> Result<Kind> {
    let read = |windows: Windowing| windows.rows != Rows::Untold && windows.kept;
    ensure!(
        read(left) && read(right) && left.closed == right.closed && joining.of != joining.with,
        "{joining:?} of {left:?} with {right:?}"
    );
    let joined = Windowing {
        open: left.open && right.open,
        rows: super::joined_rows(left.rows, right.rows, false),
        many: left.many || right.many,
        ..left
    };
    Ok(kept(joined, joining.stored))
}

/// Whether a join looks rows of a cogroup's windows up where the cogroup itself keeps them.
pub fn looks_up_cogroup(op: &Op, kinds: &[Kind]) -> bool {
    let many = |place: &Place| match kinds.get(*place) {
        Some(Kind::WindowTable(windows)) => windows.many,
        _ => false,
    };
    matches!(op, Op::Join(joining) if [joining.of, joining.with].iter().any(many))
}

/// An aggregate of a table's windows that are grouped by other keys.
pub(super) fn of_group(op: &Op, windows: Windowing) -> Result<Kind> {
    Ok(match op {
        Op::Count { .. } | Op::Reduce { .. } | Op::Aggregate { .. } => Kind::WindowTable(windows),
        _ => bail!("{op:?} of grouped windows"),
    })
}

/// What makes another operator of one that is applied to a table of windows.
pub(super) fn way(op: &Op) -> Option<String> {
    Some(match op {
        Op::GroupBy { windowed: true, .. } => "windowed".to_owned(),
        // What is kept under a name is another table than what is computed.
        Op::Filter { stored: true, .. }
        | Op::FilterNot { stored: true, .. }
        | Op::MapValues { stored: true, .. } => "stored".to_owned(),
        Op::Join(joining) => format!("{:?}", joining.kind).to_lowercase(),
        _ => return None,
    })
}
