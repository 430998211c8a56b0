//! What every [`Log`] must do, as cases to run on any of them.
//!
//! Invariant: the cases use nothing but the trait and the few things that a [`Harness`] can do to a
//! log from outside, so that a log that passes can replace any other. What differs between logs and
//! may differ is said in its [`Terms`]; a case that a log does not hold is an [`Excuse`], and must
//! then fail as that says.
//!
//! The cases assert, and so panic where a log breaks the contract: they are for tests.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a case that fails panics, as tests do, and takes results whole to look at them"
)]

mod groups;
mod moves;
mod records;
mod stage;
mod topics;

use crate::api::Log;
use millstream_core::record::{Offset, Timestamp, TopicPartition};
pub use stage::Stage;
use std::{
    any::Any,
    ops::RangeInclusive,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::Duration,
};

/// A log for one case, and what can be done to it from outside.
pub trait Harness {
    /// Another client of the log.
    fn client(&mut self) -> Box<dyn Log>;

    /// Throws a member out of its group, as a log does with one that it no longer hears of.
    fn expire(&mut self, group: &str, member: &str);

    /// Deletes the records of a partition below an offset.
    fn delete_records(&mut self, partition: &TopicPartition, before: Offset);

    /// Closes the log and opens it again, where it can be. All clients were dropped before.
    fn reopen(&mut self) {}

    /// What the case's topic or group of this name is called. Where cases run on one log, each has
    /// names of its own; names that differ differ in the same order as here.
    fn name(&self, plain: &str) -> String {
        plain.to_owned()
    }

    /// Lets a little time pass, in which what is on its way may come.
    fn wait(&mut self, _at_most: Duration) {}

    /// How much time has passed, on a log that asks for patience.
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }

    /// What holds of this log and not of every other.
    fn terms(&self) -> Terms {
        Terms::default()
    }

    /// The cases that the log does not hold.
    fn cannot(&self) -> &'static [Excuse] {
        &[]
    }
}

/// A case that a log does not hold, and how that shows.
#[derive(Debug)]
pub struct Excuse {
    /// The name of the case.
    pub case: &'static str,
    /// Why the log does otherwise.
    pub why: &'static str,
    /// What the case says, among other things, when it fails for that.
    pub says: &'static str,
}

/// What may differ between logs.
#[derive(Clone, Debug)]
pub struct Terms {
    /// How long that which must come about may take. Where it is nothing, as in one process, all
    /// that was done is seen at once.
    pub patience: Duration,
    /// Whether records are seen with their commit only. Without transactions they may be seen
    /// before it, and also where it never comes.
    pub transactions: bool,
    /// Whether members keep the tasks they have as far as shares allow, and only what moves is
    /// asked back.
    pub sticky: bool,
    /// How many offsets a transaction leaves behind its records, in each partition it wrote to.
    pub marks: Offset,
    /// The timestamps that records can have.
    pub timestamps: RangeInclusive<Timestamp>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            patience: Duration::ZERO,
            transactions: true,
            sticky: true,
            marks: 0,
            timestamps: Timestamp::MIN..=Timestamp::MAX,
        }
    }
}

/// One demand of the contract.
pub type Case = fn(&mut Stage<'_>);

/// All demands with their names.
pub const CASES: &[(&str, Case)] = &[
    ("a topic made twice is one topic", topics::made_twice),
    (
        "a topic made differently is refused",
        topics::made_differently,
    ),
    ("unknown topics and partitions are named", topics::unknown),
    ("topics are listed by name", topics::listed),
    (
        "keys choose their partition as in Kafka",
        topics::partitioner,
    ),
    ("null keys go round", topics::round_robin),
    ("a commit is visible at once and whole", records::atomic),
    ("an abort leaves nothing", records::abort),
    ("offsets are dense and order is kept", records::dense),
    ("records come back as they were sent", records::faithful),
    ("pages lead to the end", records::pages),
    ("deleted records are out of range", records::deleted),
    (
        "a compacted topic can be cut off in front",
        records::trimmed,
    ),
    ("offsets are found by time", records::by_time),
    ("a tail is told of news", records::tail),
    ("places come back", groups::places),
    ("a member fetches from its place on", groups::fetch),
    ("a poll without news ends idle", groups::idle),
    (
        "a commit needs a subscription for places",
        groups::no_subscription,
    ),
    ("a lost answer can be asked for", groups::resolve),
    ("a commit that was begun is asked for", groups::begun),
    ("who feeds a group keeps places in it", groups::feed),
    ("two members share the tasks", moves::share),
    ("a revoked task waits for its owner", moves::revoke),
    ("a zombie is fenced", moves::zombie),
    (
        "a second client of a name fences the first",
        moves::same_name,
    ),
    ("a dropped client's tasks move at once", moves::dropped),
    (
        "standbys live on other instances and take over",
        moves::standbys,
    ),
    ("each hears what all others have", moves::instances),
    ("members must agree on the tasks", moves::disagree),
];

/// Runs all cases, each on a harness of its own.
pub fn run(mut make: impl FnMut() -> Box<dyn Harness>) {
    let wrong = CASES.iter().filter_map(|case| wrong(case, &mut *make()));
    told(wrong.collect());
}

/// As [`run`], all cases at once, for a log that takes most of their time to wait: each has a
/// thread of its own, on which its harness is made.
pub fn run_at_once(make: impl Fn() -> Box<dyn Harness> + Sync) {
    let wrong = thread::scope(|scope| {
        let run = |case: &'static (&str, Case)| {
            let named = thread::Builder::new().name(case.0.to_owned());
            let spawned = named.spawn_scoped(scope, || wrong(case, &mut *make()));
            spawned.expect("a thread for each case")
        };
        let threads: Vec<_> = CASES.iter().map(run).collect();
        let ended = threads.into_iter().map(|thread| thread.join());
        let ended = ended.map(|ended| ended.unwrap_or_else(|_| Some("a harness".to_owned())));
        ended.flatten().collect()
    });
    told(wrong);
}

/// What is wrong with a case on a harness, if anything is. What an assertion says is told when it
/// fails.
fn wrong((name, case): &(&str, Case), harness: &mut dyn Harness) -> Option<String> {
    let excuse = harness.cannot().iter().find(|excuse| excuse.case == *name);
    let ran = catch_unwind(AssertUnwindSafe(|| case(&mut Stage::new(harness))));
    match (ran, excuse) {
        (Ok(()), None) => None,
        (Ok(()), Some(Excuse { why, .. })) => Some(format!("\"{name}\" holds, although {why}")),
        (Err(_), None) => Some(format!("\"{name}\" failed, as told above")),
        (Err(told), Some(Excuse { says, .. })) => {
            let expected = said(&*told).is_some_and(|said| said.contains(says));
            (!expected).then(|| format!("\"{name}\" failed, as told above, and not by {says:?}"))
        }
    }
}

/// What a panic says.
fn said(told: &(dyn Any + Send)) -> Option<&str> {
    let text = told.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| told.downcast_ref::<&str>().copied())
}

fn told(wrong: Vec<String>) {
    assert!(
        wrong.is_empty(),
        "cases of the contract: {}",
        wrong.join(", ")
    );
}
