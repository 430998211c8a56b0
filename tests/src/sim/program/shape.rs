//! What the middle of a program may be, and what programs of each shape must have made.
//!
//! Invariant: a seed that was kept as a case keeps its shape when shapes are added, because new
//! ones go into a list of other seeds.

use millstream_log::Rng;

/// How time is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Cut {
    Tumbling,
    Hopping,
    Sliding,
    Session,
    Unlimited,
}

/// What the wall clock closes when no record comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Quiet {
    Closing,
    Suppressed,
}

/// Of which sides of a join records are told that meet nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Side {
    Inner,
    Left,
    Outer,
}

/// What is behind the calls of an asynchronous operator, or in front of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Asked {
    /// Sums, in which the order of the answers shows.
    Sum,
    /// The same, where only answers of the same key keep their order.
    Unordered,
    /// Sums of what was asked about records and the rows that they met before.
    Joined,
    /// Sums behind a repartition topic, where a second operator asks again.
    Moved,
    /// The latest answer about each change of a table.
    Changes,
    /// Windows, told when they close.
    Closing,
    /// Sessions, held back until they close.
    Suppressed,
}

/// What the middle of a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Shape {
    Count,
    Aggregate,
    Reduce,
    Table,
    Join,
    LeftJoin,
    JoinFiltered,
    Merge,
    Branch,
    Processor,
    Repartition,
    GroupBy,
    GroupByTable,
    /// Windows, told with every update.
    Windows(Cut),
    /// Windows, told when they close.
    Closing(Cut),
    /// Windows, held back until they close.
    SuppressWindows(Cut),
    /// A table whose changes are held back for some time.
    SuppressTable,
    Cogroup,
    CogroupWindows(Cut),
    StreamJoin(Side),
    /// A stream with itself.
    SelfJoin,
    /// Rows with a history, themselves and as a stream meets them.
    VersionedJoin,
    /// The same, where the stream waits for the rows.
    GracedJoin,
    TableJoin(Side),
    ForeignJoin(Side),
    GlobalJoin,
    /// A table whose changes are held back for some time, as far as so many bytes allow.
    SuppressBytes,
    /// Windows whose changes are held back for some time, as far as a buffer allows.
    LimitedWindows(Cut),
    /// Windows that are closed when no record comes.
    Quiet(Quiet),
    /// Records that wait for answers from outside.
    Asked(Asked),
    /// What a store remembers that forgets what was used least recently.
    Forgetting,
    /// What a store with headers has of the record before, and its headers.
    Recalling,
}

impl Shape {
    /// The shape of a seed. Of four seeds two are plain ones.
    pub(super) fn of(seed: u64, rng: &mut Rng) -> Self {
        let shapes: &[Self] = match (seed % 5, seed % 4) {
            (2 | 4, _) => &LATER,
            (_, 0 | 1) => &TIMED,
            _ => &PLAIN,
        };
        shapes[rng.index(shapes.len())]
    }

    /// Whether time matters.
    pub(super) fn is_timed(self) -> bool {
        !PLAIN.contains(&self)
    }

    /// Whether the last row of each key is the same however often changes are told. Of sessions
    /// that are held back it need not be: one is told at the very moment up to which it may still
    /// become part of another, or not at all if both come between two commits. Of a grouped table
    /// neither: a group whose rows all came and went between two commits never was.
    pub(super) fn ends_alike(self) -> bool {
        let tables = [
            Self::Count,
            Self::Aggregate,
            Self::Reduce,
            Self::Table,
            Self::Cogroup,
        ];
        let moved = [Self::Merge, Self::Repartition, Self::GroupBy];
        let windows = matches!(self, Self::Windows(_) | Self::CogroupWindows(_));
        let finals = self == Self::SuppressWindows(Cut::Sliding);
        let quiet = matches!(self, Self::Quiet(_));
        let joins = matches!(self, Self::TableJoin(_) | Self::ForeignJoin(_));
        let asked = self == Self::Asked(Asked::Changes);
        let windows = windows || finals || quiet;
        tables.contains(&self) || moved.contains(&self) || windows || joins || asked
    }

    /// Whether all that is told is the same, in the same order.
    pub(in crate::sim) fn tells_alike(self) -> bool {
        let held = matches!(self, Self::SuppressWindows(Cut::Tumbling | Cut::Hopping));
        let closing = matches!(self, Self::Closing(_) | Self::Asked(Asked::Closing));
        held || closing
    }
}

/// Shapes in which time does not matter.
const PLAIN: [Shape; 13] = [
    Shape::Count,
    Shape::Aggregate,
    Shape::Reduce,
    Shape::Table,
    Shape::Join,
    Shape::LeftJoin,
    Shape::JoinFiltered,
    Shape::Merge,
    Shape::Branch,
    Shape::Processor,
    Shape::Repartition,
    Shape::GroupBy,
    Shape::GroupByTable,
];

/// Shapes of windows and joins.
const TIMED: [Shape; 27] = [
    Shape::Windows(Cut::Tumbling),
    Shape::Windows(Cut::Hopping),
    Shape::Windows(Cut::Sliding),
    Shape::Windows(Cut::Session),
    Shape::Closing(Cut::Tumbling),
    Shape::Closing(Cut::Hopping),
    Shape::Closing(Cut::Sliding),
    Shape::Closing(Cut::Session),
    Shape::SuppressWindows(Cut::Tumbling),
    Shape::SuppressWindows(Cut::Hopping),
    Shape::SuppressWindows(Cut::Session),
    Shape::SuppressTable,
    Shape::Cogroup,
    Shape::CogroupWindows(Cut::Tumbling),
    Shape::CogroupWindows(Cut::Session),
    Shape::StreamJoin(Side::Inner),
    Shape::StreamJoin(Side::Left),
    Shape::StreamJoin(Side::Outer),
    Shape::SelfJoin,
    Shape::VersionedJoin,
    Shape::GracedJoin,
    Shape::TableJoin(Side::Inner),
    Shape::TableJoin(Side::Left),
    Shape::TableJoin(Side::Outer),
    Shape::ForeignJoin(Side::Inner),
    Shape::ForeignJoin(Side::Left),
    Shape::GlobalJoin,
];

/// Shapes that came later than the seeds that were kept as cases, none of which leaves 2 or 4 when
/// it is divided by 5.
const LATER: [Shape; 16] = [
    Shape::Windows(Cut::Unlimited),
    Shape::SuppressWindows(Cut::Sliding),
    Shape::SuppressBytes,
    Shape::LimitedWindows(Cut::Tumbling),
    Shape::LimitedWindows(Cut::Session),
    Shape::Quiet(Quiet::Closing),
    Shape::Quiet(Quiet::Suppressed),
    Shape::Asked(Asked::Sum),
    Shape::Asked(Asked::Unordered),
    Shape::Asked(Asked::Joined),
    Shape::Asked(Asked::Moved),
    Shape::Asked(Asked::Changes),
    Shape::Asked(Asked::Closing),
    Shape::Asked(Asked::Suppressed),
    Shape::Forgetting,
    Shape::Recalling,
];

/// How many shapes there are.
pub(in crate::sim) const SHAPES: usize = PLAIN.len() + TIMED.len() + LATER.len();

/// Everything that programs of many seeds must have made.
pub(in crate::sim) fn wanted() -> Vec<String> {
    let words = |shape: Shape| -> &[&str] {
        match shape {
            Shape::Windows(Cut::Session) | Shape::CogroupWindows(Cut::Session) => {
                &["window", "gone", "late"]
            }
            Shape::Windows(Cut::Unlimited) | Shape::Quiet(_) => &["window"],
            Shape::LimitedWindows(Cut::Session) => &["window", "gone"],
            Shape::LimitedWindows(_) => &["window", "late"],
            Shape::Windows(_) | Shape::CogroupWindows(_) => &["window", "late"],
            Shape::Closing(_) | Shape::SuppressWindows(_) => &["window", "late"],
            Shape::SuppressTable | Shape::SuppressBytes => &["row"],
            Shape::StreamJoin(Side::Inner) | Shape::SelfJoin => &["pair"],
            Shape::StreamJoin(Side::Left) => &["pair", "left"],
            Shape::StreamJoin(Side::Outer) => &["pair", "left", "right"],
            Shape::VersionedJoin => &["pair", "left", "late"],
            Shape::GracedJoin | Shape::GlobalJoin => &["pair", "left"],
            Shape::TableJoin(_) => &["row", "gone"],
            Shape::GroupByTable | Shape::ForeignJoin(_) => &["totals"],
            Shape::Asked(Asked::Closing | Asked::Suppressed) => &["window", "refused", "late"],
            Shape::Asked(Asked::Changes) => &["out"],
            Shape::Asked(_) => &["out", "refused"],
            Shape::Forgetting | Shape::Recalling => &["row", "gone"],
            _ => &["out"],
        }
    };
    let shapes = PLAIN.into_iter().chain(TIMED).chain(LATER);
    let all = shapes.flat_map(|shape| words(shape).iter().map(move |w| format!("{shape:?} {w}")));
    all.collect()
}
