//! A reset that dies: wherever that is, nothing starts from what it has left behind, and the next
//! reset finishes it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

mod common;

use common::{LINES, REPARTITION, count, feed, records, settings, topology, until};
use millstream::{
    Feed, Program,
    core::record::{Offset, TopicPartition},
    log::{
        Broker, Cleanup, CrashPoint, EmbeddedLog, Error, FaultRates, Faults, FaultyLog, Log,
        Result, TopicInfo, TopicSpec,
    },
};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

const TEXT: [&str; 4] = ["to be or", "not to be", "be that as", "it may be"];
const CHANGELOG: &str = "words-counts-changelog";

/// What is left of a program's life, in deletions of topics.
const FOREVER: u32 = u32::MAX;

/// A log whose user may die at each thing that it changes.
struct Mortal {
    log: EmbeddedLog,
    faults: Faults,
    deletions: AtomicU32,
}

impl Mortal {
    fn new() -> Arc<Self> {
        let log = EmbeddedLog::in_memory();
        for name in ["lines", "counts"] {
            let spec = TopicSpec {
                name: name.to_owned(),
                partitions: 2,
                cleanup: Cleanup::Delete { retention_ms: None },
            };
            log.create_topic(&spec).unwrap();
        }
        Arc::new(Self {
            log,
            faults: Faults::new(1, FaultRates::default()),
            deletions: AtomicU32::new(FOREVER),
        })
    }

    /// The program's life begins anew.
    fn revive(&self) {
        self.faults.restart();
        self.deletions.store(FOREVER, Ordering::Relaxed);
    }

    fn open(self: &Arc<Self>, dir: &Path) -> Program {
        Program::open_on(topology(), settings(dir, &[]).unwrap(), self.clone()).unwrap()
    }

    /// Runs until a word was counted so often; how often it was.
    fn run(self: &Arc<Self>, dir: &Path, times: u64) -> Option<u64> {
        let node = self.open(dir).start().unwrap();
        until(&node, "the count of a word", || {
            count(&node, "be") >= Some(times)
        });
        let counted = count(&node, "be");
        node.close().unwrap();
        counted
    }
}

impl Broker for Mortal {
    fn client(&self) -> Result<Box<dyn Log>> {
        let client = FaultyLog::new(self.log.client(), self.faults.clone());
        Ok(Box::new(client))
    }

    fn topics(&self) -> Result<Vec<TopicInfo>> {
        self.log.topics()
    }

    fn delete_topic(&self, name: &str) -> Result<()> {
        let left = self.deletions.load(Ordering::Relaxed);
        let died = || Error::Fatal("the process died".to_owned());
        self.deletions
            .store(left.checked_sub(1).ok_or_else(died)?, Ordering::Relaxed);
        self.log.delete_topic(name)
    }

    fn delete_records(&self, at: &TopicPartition, before: Offset) -> Result<Offset> {
        self.log.delete_records(at, before)
    }
}

/// Where a reset dies.
#[derive(Clone, Copy, Debug)]
enum Death {
    /// At a commit of places, the first or the second.
    Commit(CrashPoint, u64),
    /// When it has deleted the state of the first of the tasks.
    State,
    /// Before it deletes a further topic.
    Topic(u32),
}

/// All places, and whether a reset has begun there and not ended.
const DEATHS: [(Death, bool); 7] = [
    (Death::Commit(CrashPoint::BeforeCommit, 1), false),
    (Death::Commit(CrashPoint::AfterCommit, 1), true),
    (Death::State, true),
    (Death::Topic(0), true),
    (Death::Topic(1), true),
    (Death::Commit(CrashPoint::BeforeCommit, 2), true),
    (Death::Commit(CrashPoint::AfterCommit, 2), false),
];

/// Resets a program that dies in the middle of it.
fn reset_dying(log: &Arc<Mortal>, dir: &Path, death: Death) {
    let program = log.open(dir);
    match death {
        Death::Commit(point, nth) => log.faults.crash_at(point, nth),
        Death::State => log.faults.crash_at(CrashPoint::AfterCommit, 1),
        Death::Topic(nth) => log.deletions.store(nth, Ordering::Relaxed),
    }
    assert!(program.reset(true).is_err(), "{death:?}");
    if matches!(death, Death::State) {
        let tasks = dir.join("words/tasks");
        std::fs::remove_dir_all(tasks.join("0_0")).unwrap();
        assert!(tasks.join("1_1").exists(), "not all of it");
    }
    log.revive();
}

/// State that is no task's any more is in nobody's way, also where it cannot be deleted.
#[test]
fn files_that_cannot_be_deleted_keep_no_reset_from_its_end() {
    let (log, dir) = (Mortal::new(), tempfile::tempdir().unwrap());
    feed_both(&log);
    assert_eq!(log.run(dir.path(), 4), Some(4));
    // What an earlier deletion has left is deleted first, and a file is no directory.
    let tasks = dir.path().join("words/tasks");
    std::fs::write(tasks.join("0_1.removed"), "").unwrap();
    let said = log.open(dir.path()).reset(true).unwrap();
    let told = said
        .iter()
        .find(|line| line.starts_with("some files are left over"));
    assert!(
        told.is_some_and(|line| line.contains("0_1.removed")),
        "{said:?}"
    );
    assert!(
        ["0_0", "0_1", "1_0", "1_1"]
            .iter()
            .all(|task| !tasks.join(task).exists())
    );
    assert_eq!(log.run(dir.path(), 4), Some(4), "every word once more");
    assert_eq!(records(&*log, "counts").len(), 24);
}

/// Lines for both partitions.
fn feed_both(log: &Mortal) {
    feed(log, &TEXT);
    let at = |partition| TopicPartition::new("lines", partition);
    let mut client = log.log.client();
    let ends = [0, 1].map(|partition| client.end(&at(partition)).unwrap());
    assert!(ends.iter().all(|end| *end > 0), "{ends:?}");
}

#[test]
fn a_reset_that_died_lets_nothing_start_and_is_finished_by_the_next() {
    for (death, begun) in DEATHS {
        let (log, dir) = (Mortal::new(), tempfile::tempdir().unwrap());
        feed_both(&log);
        assert_eq!(log.run(dir.path(), 4), Some(4));
        reset_dying(&log, dir.path(), death);

        // Neither where it died nor on another machine.
        let elsewhere = tempfile::tempdir().unwrap();
        for dir in [dir.path(), elsewhere.path()].iter().filter(|_| begun) {
            let Err(error) = log.open(dir).start() else {
                panic!("it started after {death:?}");
            };
            let said = format!("{error:#}");
            assert!(said.contains("run `reset --execute` again"), "{said}");
        }
        if begun {
            let program = log.open(dir.path());
            program.reset(false).unwrap();
            program.reset(true).unwrap();
        }
        let internal = |info: &TopicInfo| [CHANGELOG, REPARTITION].contains(&&*info.spec.name);
        let left = log.topics().unwrap().iter().filter(|t| internal(t)).count();
        let kept = matches!(death, Death::Commit(CrashPoint::BeforeCommit, 1));
        assert_eq!(left, if kept { 2 } else { 0 }, "{death:?}");

        // Every word once, but for the run that was never reset, which goes on.
        let outputs = records(&*log, "counts").len();
        assert_eq!(outputs, 12);
        let mut feed = Feed::open(&*log, "more", &LINES).unwrap();
        feed.send(&"5".to_owned(), &"be".to_owned(), 5).unwrap();
        feed.commit().unwrap();
        assert_eq!(log.run(dir.path(), 5), Some(5), "{death:?}");
        let again = if kept { 1 } else { 13 };
        assert_eq!(records(&*log, "counts").len(), outputs + again, "{death:?}");
    }
}
