//! What the nodes of a program are to those who read them, and by which feature.
//!
//! Invariant: what has a kind here, Kafka Streams builds; the grammar and the shrinking of failures
//! rely on it.

mod windowed;

pub use windowed::{Windowing, looks_up_cogroup};

use super::{
    Op,
    functions::{By, Map},
    op::{Emit, Given, How, Joining, Place, Side, Suppression, Times, Trying, Until},
};
use anyhow::{Result, bail, ensure};

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A stream.
    Stream {
        /// Whether its key was changed since the last repartition.
        rekeyed: bool,
    },
    /// Several streams.
    Branches {
        /// How many.
        count: usize,
        /// As of streams.
        rekeyed: bool,
    },
    /// A grouped stream.
    Group {
        /// As of streams.
        rekeyed: bool,
    },
    /// Several grouped streams.
    Cogroup,
    /// A group or a cogroup with windows.
    Windowed(Windowing),
    /// A table.
    Table {
        /// Whether its rows have a history.
        versioned: bool,
        /// What is known of its rows.
        rows: Rows,
    },
    /// A table grouped by another key.
    TableGroup,
    /// A table by windowed keys.
    WindowTable(Windowing),
    /// A table by windowed keys, grouped by other keys with the same windows.
    WindowTableGroup(Windowing),
    /// A table that every instance has in full.
    Global,
    /// Rows that every instance makes of a topic.
    GlobalStore,
    /// A store that is a copy of a topic.
    ReadOnly,
    /// The end.
    Sink,
}

/// What is known of a table's rows where its changes are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// What there is now, and what a change replaces.
    Exact,
    /// What there is now.
    Current,
    /// Neither, but changes can be told on: the rows are nowhere to be looked up.
    Told,
    /// The same behind a filter, which tells of rows that never were that they are gone.
    Sifted,
    /// Nothing that engines agree on: Kafka Streams keeps some in stores without being asked, and
    /// takes others for told that never were.
    Untold,
}

impl Rows {
    /// Whether a join may ask for them.
    fn is_looked_up(self) -> bool {
        matches!(self, Self::Exact | Self::Current)
    }
}

/// The kinds of all nodes.
///
/// # Errors
/// Where a node cannot read what it reads.
pub fn kinds(nodes: &[Op]) -> Result<Vec<Kind>> {
    let mut kinds = Vec::new();
    for op in nodes {
        kinds.push(kind(op, &kinds)?);
    }
    Ok(kinds)
}

/// The kind of one more node.
///
/// # Errors
/// Where it cannot read what it reads.
pub fn kind(op: &Op, kinds: &[Kind]) -> Result<Kind> {
    let reads = op.reads();
    ensure!(
        reads.iter().all(|place| *place < kinds.len()),
        "{op:?} reads what comes later"
    );
    // A merged stream, or a table joined, with itself is another thing to us than to Kafka Streams.
    if let Op::Merge { of, with } = op {
        ensure!(of != with, "a stream is merged with itself");
    }
    let first = reads.first().map(|place| kinds[*place]);
    Ok(match (op, first) {
        (Op::Stream { .. }, _) => Kind::Stream { rekeyed: false },
        (Op::GlobalTable { .. }, _) => Kind::Global,
        (Op::GlobalStore { .. }, _) => Kind::GlobalStore,
        (Op::ReadOnly { .. }, _) => Kind::ReadOnly,
        (Op::LookUp { with, .. }, Some(Kind::Stream { rekeyed }))
            if matches!(kinds[*with], Kind::ReadOnly | Kind::GlobalStore) =>
        {
            Kind::Stream { rekeyed }
        }
        (Op::Table { history, .. }, _) => table(history.is_some()),
        (Op::Join(joining), _) => join(joining, kinds)?,
        (
            Op::ForeignJoin {
                of,
                with,
                kind,
                stored,
                ..
            },
            _,
        ) => foreign_join(kinds[*of], kinds[*with], *kind, *stored)?,
        (Op::Merge { with, .. }, Some(Kind::Stream { rekeyed })) => match kinds[*with] {
            Kind::Stream { rekeyed: other } => Kind::Stream {
                rekeyed: rekeyed || other,
            },
            other => bail!("{op:?} with {other:?}"),
        },
        (_, Some(Kind::Stream { rekeyed })) => of_stream(op, rekeyed)?,
        (_, Some(Kind::Table { versioned, rows })) => of_table(op, versioned, rows)?,
        (Op::Branch { at, .. }, Some(Kind::Branches { count, rekeyed })) if *at < count => {
            Kind::Stream { rekeyed }
        }
        (_, Some(Kind::WindowTable(windows))) => windowed::of_table(op, windows)?,
        (_, Some(Kind::WindowTableGroup(windows))) => windowed::of_group(op, windows)?,
        (_, Some(first)) => of_group(op, first, kinds)?,
        (_, None) => bail!("{op:?} reads nothing"),
    })
}

fn of_stream(op: &Op, rekeyed: bool) -> Result<Kind> {
    Ok(match op {
        Op::Filter { .. }
        | Op::FilterNot { .. }
        | Op::MapValues { .. }
        | Op::FlatMapValues { .. }
        | Op::Peek { .. }
        | Op::ProcessValues { .. } => Kind::Stream { rekeyed },
        Op::Map { .. }
        | Op::SelectKey { .. }
        | Op::FlatMap { .. }
        | Op::Process { .. }
        | Op::Schedules { .. }
        | Op::ProcessVersions { .. }
        | Op::ProcessHeaders { .. } => Kind::Stream { rekeyed: true },
        Op::Children { .. } => Kind::Branches {
            count: 2,
            rekeyed: true,
        },
        Op::Try(Trying { how, .. }) => match how {
            How::Map | How::SelectKey | How::FlatMap => Kind::Stream { rekeyed: true },
            How::MapValues | How::FlatMapValues | How::Filter => Kind::Stream { rekeyed },
            How::ForEach => Kind::Sink,
        },
        Op::Split {
            branches, default, ..
        } => Kind::Branches {
            count: branches.len() + usize::from(*default),
            rekeyed,
        },
        Op::Repartition { .. } => Kind::Stream { rekeyed: false },
        Op::GroupByKey { .. } => Kind::Group { rekeyed },
        Op::GroupBy {
            map: None,
            windowed: false,
            ..
        } => Kind::Group { rekeyed: true },
        Op::ToTable { history, .. } => table(history.is_some()),
        Op::To { by, .. } => {
            // Their topics are known before the program runs.
            let few = by.as_ref().is_none_or(|by| by.by() != By::Take);
            ensure!(few, "{op:?} goes to any topic");
            Kind::Sink
        }
        _ => bail!("{op:?} of a stream"),
    })
}

fn table(versioned: bool) -> Kind {
    let rows = Rows::Exact;
    Kind::Table { versioned, rows }
}

fn of_table(op: &Op, versioned: bool, rows: Rows) -> Result<Kind> {
    Ok(match op {
        Op::Filter { stored, .. }
        | Op::FilterNot { stored, .. }
        | Op::MapValues {
            stored,
            keyed: false,
            ..
        } => {
            ensure!(rows != Rows::Untold, "{op:?} of a table without rows");
            let filters = matches!(op, Op::Filter { .. } | Op::FilterNot { .. });
            let sifted = rows == Rows::Sifted || filters && rows == Rows::Told;
            ensure!(
                !stored || !sifted && rows != Rows::Told,
                "{op:?} tells rows that are gone and never were"
            );
            let rows = match (*stored, sifted) {
                (true, _) => Rows::Exact,
                (false, true) => Rows::Sifted,
                (false, false) => rows,
            };
            Kind::Table { versioned, rows }
        }
        Op::GroupBy {
            windowed: false, ..
        } if rows == Rows::Exact => Kind::TableGroup,
        Op::TransformValues { history, .. } => table(history.is_some()),
        Op::ToStream { .. } => Kind::Stream { rekeyed: false },
        Op::To {
            by: None,
            refuses: None,
            ..
        } => Kind::Sink,
        Op::Suppress(Suppression {
            until: Until::Time, ..
        }) if !versioned && rows == Rows::Exact => Kind::Table {
            versioned,
            rows: Rows::Untold,
        },
        _ => bail!("{op:?} of a table"),
    })
}

fn foreign_join(of: Kind, with: Kind, side: Side, stored: bool) -> Result<Kind> {
    let exact = |kind| matches!(kind, Kind::Table { rows, .. } if rows == Rows::Exact);
    ensure!(
        exact(of) && exact(with),
        "a foreign join of {of:?} with {with:?}"
    );
    ensure!(
        side != Side::Outer,
        "there is no outer join by a foreign key"
    );
    Ok(Kind::Table {
        versioned: false,
        rows: if stored { Rows::Exact } else { Rows::Told },
    })
}

fn of_group(op: &Op, first: Kind, kinds: &[Kind]) -> Result<Kind> {
    Ok(match (op, first) {
        (Op::Cogroup { of }, _) => {
            let all = of
                .iter()
                .all(|place| matches!(kinds[*place], Kind::Group { .. }));
            ensure!(all, "{op:?} of others than groups");
            Kind::Cogroup
        }
        (Op::Window(windows), Kind::Group { .. } | Kind::Cogroup) => {
            let many = first == Kind::Cogroup;
            windowed::window(windows, many)?
        }
        (Op::Aggregate { .. }, Kind::Group { .. } | Kind::TableGroup | Kind::Cogroup)
        | (Op::Count { .. } | Op::Reduce { .. }, Kind::Group { .. } | Kind::TableGroup) => {
            table(false)
        }
        (Op::Aggregate { .. }, Kind::Windowed(windows)) => Kind::WindowTable(windows),
        (Op::Count { .. } | Op::Reduce { .. }, Kind::Windowed(windows)) if !windows.many => {
            Kind::WindowTable(windows)
        }
        _ => bail!("{op:?} of {first:?}"),
    })
}

fn join(joining: &Joining, kinds: &[Kind]) -> Result<Kind> {
    let Joining {
        kind,
        grace,
        key,
        stored,
        ..
    } = joining;
    let [of, with] = [joining.of, joining.with].map(|place: Place| kinds[place]);
    let table = matches!(with, Kind::Table { .. } | Kind::Global);
    let lookup = matches!(of, Kind::Stream { .. }) && table;
    ensure!(lookup || !joining.keyed, "{joining:?} does not see the key");
    Ok(match (of, with) {
        (Kind::Stream { .. }, Kind::Stream { .. }) if grace.is_some() => {
            Kind::Stream { rekeyed: false }
        }
        (Kind::Stream { .. }, Kind::Table { versioned, rows })
            if *kind != Side::Outer && rows.is_looked_up() && (versioned || grace.is_none()) =>
        {
            Kind::Stream { rekeyed: false }
        }
        (Kind::Stream { rekeyed }, Kind::Global) if *kind != Side::Outer && key.is_some() => {
            Kind::Stream { rekeyed }
        }
        (Kind::Table { rows: left, .. }, Kind::Table { rows: right, .. })
            if left.is_looked_up() && right.is_looked_up() && joining.of != joining.with =>
        {
            let rows = joined_rows(left, right, *stored);
            let versioned = false;
            Kind::Table { versioned, rows }
        }
        (Kind::WindowTable(left), Kind::WindowTable(right)) => {
            windowed::join(joining, left, right)?
        }
        _ => bail!("{joining:?} of {of:?} with {with:?}"),
    })
}

/// A join knows what its changes replace where both of its sides do, or a store of its own does.
fn joined_rows(left: Rows, right: Rows, stored: bool) -> Rows {
    match stored || (left == Rows::Exact && right == Rows::Exact) {
        true => Rows::Exact,
        false => Rows::Current,
    }
}

/// As [`feature`], and in which way where an operator has several that have code of their own.
pub fn variant(op: &Op, kinds: &[Kind]) -> String {
    let feature = feature(op, kinds);
    let Op::Join(joining) = op else {
        return feature;
    };
    let kind = format!("{:?}", joining.kind).to_lowercase();
    let way = if joining.of == joining.with {
        "_self"
    } else if joining.before < 0 || joining.after < 0 {
        "_past"
    } else {
        ""
    };
    format!("{feature}_{kind}{way}")
}

/// What a node stands for where features are listed: its operator, and what that is applied to
/// where this makes another operator of it.
pub fn feature(op: &Op, kinds: &[Kind]) -> String {
    let on = |place: &Place| match kinds.get(*place) {
        Some(Kind::Table {
            versioned: true, ..
        }) => "versioned_table",
        Some(Kind::Table { .. } | Kind::TableGroup) => "table",
        Some(Kind::Global) => "global_table",
        Some(Kind::Cogroup | Kind::Windowed(Windowing { many: true, .. })) => "cogroup",
        Some(Kind::Windowed(_) | Kind::WindowTable(_)) => "window",
        Some(Kind::WindowTableGroup(_)) => "window_group",
        _ => "stream",
    };
    let name = op.name();
    let of_windows = op.reads().first().is_some_and(|of| on(of) == "window");
    if let Some(way) = windowed::way(op).filter(|_| of_windows) {
        return format!("window_{name}_{way}");
    }
    match op {
        Op::LookUp { with, .. } if kinds.get(*with) == Some(&Kind::GlobalStore) => {
            format!("{name}_global")
        }
        Op::Join(joining) => {
            let grace = joining.grace.is_some() && on(&joining.with) != "stream";
            let grace = if grace { "_grace" } else { "" };
            let keyed = if joining.keyed { "_keyed" } else { "" };
            format!(
                "{}_{}_join{grace}{keyed}",
                on(&joining.of),
                on(&joining.with)
            )
        }
        Op::ForeignJoin { of, kind, .. } => {
            let kind = format!("{kind:?}").to_lowercase();
            format!("{}_{name}_{kind}", on(of))
        }
        Op::Window(windows) => {
            let kind = format!("{:?}", windows.kind).to_lowercase();
            let close = if windows.emit == Emit::Close {
                "_close"
            } else {
                ""
            };
            format!("{}_{kind}{close}", on(&windows.of))
        }
        Op::Suppress(suppression) => {
            let until = format!("{:?}", suppression.until).to_lowercase();
            let limited = suppression.max_records.is_some() || suppression.max_bytes.is_some();
            let limited = match (limited, suppression.until, suppression.strict) {
                (false, ..) => "",
                (true, Until::Close, _) | (true, _, true) => "_strict",
                (true, ..) => "_limited",
            };
            format!("{}_suppress_{until}{limited}", on(&suppression.of))
        }
        Op::GroupBy {
            of,
            map: Some(Map::Nullable(_)),
            ..
        } => format!("{}_{name}_null", on(of)),
        _ => match (way(op, &name), op.reads().first().map(on)) {
            (Some(way), _) => way,
            (None, None | Some("stream")) => name,
            (None, Some(on)) => format!("{on}_{name}"),
        },
    }
}

/// As [`feature`], of operators that a parameter makes other ones.
fn way(op: &Op, name: &str) -> Option<String> {
    Some(match op {
        Op::Stream {
            time: Some(time), ..
        }
        | Op::Table {
            time: Some(time), ..
        } => {
            let given = match time {
                Times::Value(_) => "",
                Times::Given((Given::Record, _)) => "_record",
                Times::Given((Given::Wall, _)) => "_wall",
            };
            format!("{name}_times{given}")
        }
        Op::MapValues { keyed: true, .. } | Op::FlatMapValues { keyed: true, .. } => {
            format!("{name}_keyed")
        }
        Op::Try(Trying { how, .. }) => {
            let how = serde_json::to_value(how).unwrap_or_default();
            format!("{name}_{}", how.as_str().unwrap_or_default())
        }
        Op::Process {
            refuses: Some(_), ..
        }
        | Op::ProcessValues {
            refuses: Some(_), ..
        }
        | Op::TransformValues {
            refuses: Some(_), ..
        } => format!("{name}_refusing"),
        Op::To { by, refuses, .. } if by.is_some() || refuses.is_some() => {
            let by = if by.is_some() { "_chosen" } else { "" };
            let refusing = if refuses.is_some() { "_refusing" } else { "" };
            format!("{name}{by}{refusing}")
        }
        Op::Table { history, .. }
        | Op::ToTable { history, .. }
        | Op::TransformValues { history, .. }
            if history.is_some() =>
        {
            format!("{name}_versioned")
        }
        _ => return None,
    })
}
