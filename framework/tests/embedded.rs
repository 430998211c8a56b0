//! A program on its directory: it is alone there, it goes on where it was, and it clears away what
//! it has passed on to itself.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

mod common;

use common::{MARK, REPARTITION, count, feed, open, records, until};
use millstream::{
    core::record::TopicPartition,
    log::{EmbeddedLog, Error},
    state::{Backend, Column, Direction, Limits, RocksBackend, Shared},
};
use std::{ops::Bound, ops::ControlFlow, path::Path};

const TEXT: [&str; 4] = ["to be or", "not to be", "be that as", "it may be"];

#[test]
fn a_directory_is_one_programs() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path(), &[]).unwrap();
    let Err(error) = open(dir.path(), &[]) else {
        panic!("two programs on one log");
    };
    let said = format!("{error:#}");
    let path = dir.path().to_str().unwrap();
    assert!(said.contains(path) && said.contains("in use"), "{said}");
    // One that runs holds it as one does that was only opened.
    let node = first.start().unwrap();
    assert!(open(dir.path(), &[]).is_err());
    node.close().unwrap();
    open(dir.path(), &[]).unwrap();
}

#[test]
fn another_application_has_a_directory_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let _one = open(dir.path(), &[]).unwrap();
    open(dir.path(), &["application.id=other"]).unwrap();
}

#[test]
fn state_outlives_the_program_however_it_ends() {
    goes_on_where_it_was("default.dsl.store=rocksDB");
}

/// What is in memory comes back from the changelogs.
#[test]
fn state_in_memory_outlives_the_program_however_it_ends() {
    let dir = goes_on_where_it_was("default.dsl.store=in_memory");
    let tasks = dir.path().join("words/tasks");
    let files = std::fs::read_dir(tasks).unwrap();
    let mut names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["FORMAT", "LOCK"]);
}

fn goes_on_where_it_was(stores: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=4 {
        let program = open(dir.path(), &["embedded.partitions=2", stores]).unwrap();
        let lines: Vec<_> = TEXT.iter().cycle().take(4 * round).copied().collect();
        feed(program.log(), &lines);
        let node = program.start().unwrap();
        let expected = Some(4 * round as u64);
        until(&node, "the count of a word", || {
            count(&node, "be") == expected
        });
        assert_eq!(count(&node, "may"), Some(round as u64));
        assert_eq!(count(&node, "never"), None);
        if round % 2 == 0 {
            node.close().unwrap();
        } else {
            // Nothing is held any more once it is dropped: the next round opens it at once.
            drop(node);
        }
    }
    let program = open(dir.path(), &["embedded.partitions=2"]).unwrap();
    let mut of_be = records(program.log(), "counts");
    of_be.retain(|(key, _)| key == "be");
    let counts: Vec<_> = (of_be.iter())
        .map(|(_, value)| value.parse::<u64>().unwrap())
        .collect();
    assert!(
        counts.is_sorted() && counts.last() == Some(&16),
        "{counts:?}"
    );
    dir
}

#[test]
fn what_a_program_passed_to_itself_is_deleted_when_it_has_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("words/log");
    let program = open(dir.path(), &["repartition.purge.interval.ms=3600000"]).unwrap();
    feed(program.log(), &TEXT);
    let node = program.start().unwrap();
    until(&node, "the count of a word", || {
        count(&node, "be") == Some(4)
    });
    node.close().unwrap();
    assert!(marked(&log) > 0, "it is there until the purge");

    let settings = ["repartition.purge.interval.ms=100", "commit.interval.ms=20"];
    let node = open(dir.path(), &settings).unwrap().start().unwrap();
    let at = TopicPartition::new(REPARTITION, 0);
    let mut client = node.log().client().unwrap();
    let end = client.end(&at).unwrap();
    assert!(
        (1..=4).contains(&end),
        "{end}: the words of a line at least come in one pack"
    );
    until(&node, "the purge", || {
        node.log().client().unwrap().start(&at).unwrap() == end
    });
    assert!(records(node.log(), REPARTITION).is_empty());
    assert!(matches!(
        client.read(&at, 0, 1 << 20),
        Err(Error::OffsetOutOfRange { .. })
    ));
    // The user's own topics are nobody's to delete.
    assert_eq!(records(node.log(), "lines").len(), TEXT.len());
    drop(client);

    // Then new words, so that the storage of the old ones is passed too.
    let more: Vec<_> = TEXT.iter().cycle().take(40).copied().collect();
    feed(node.log(), &more);
    until(&node, "the count of a word", || {
        count(&node, "be") == Some(40)
    });
    until(&node, "the second purge", || {
        let mut client = node.log().client().unwrap();
        let start = client.start(&at).unwrap();
        start > end && start == client.end(&at).unwrap()
    });
    node.close().unwrap();
    assert_eq!(marked(&log), 0, "blocks of the repartition topic are left");
    // It goes on from there.
    let node = open(dir.path(), &settings).unwrap().start().unwrap();
    let all: Vec<_> = TEXT.iter().cycle().take(44).copied().collect();
    feed(node.log(), &all);
    until(&node, "the count of a word", || {
        count(&node, "be") == Some(44)
    });
}

/// The directories under the program's.
fn kept(dir: &Path) -> Vec<String> {
    let files = std::fs::read_dir(dir.join("words/tasks")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names
        .filter(|name| name.len() == 3 || name == "global")
        .collect();
    names.sort();
    names
}

#[test]
fn state_of_tasks_that_the_instance_has_not_is_deleted_after_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let program = open(dir.path(), &["state.cleanup.delay.ms=100"]).unwrap();
    let tasks = dir.path().join("words/tasks");
    // Two that the program has not got any more, one that it has, and what is no task's.
    for name in ["0_7", "7_0", "1_0", "global", "other"] {
        std::fs::create_dir(tasks.join(name)).unwrap();
    }
    std::fs::write(tasks.join("0_7/file"), "rows").unwrap();
    feed(program.log(), &TEXT);
    let node = program.start().unwrap();
    until(&node, "the end of old state", || {
        kept(dir.path()) == ["0_0", "1_0", "global"]
    });
    until(&node, "the count of a word", || {
        count(&node, "be") == Some(4)
    });
    node.close().unwrap();
    assert!(tasks.join("other").exists());
    assert_eq!(kept(dir.path()), ["0_0", "1_0", "global"]);
}

#[test]
fn a_program_that_is_cleaned_up_restores_what_it_had() {
    let dir = tempfile::tempdir().unwrap();
    let program = open(dir.path(), &[]).unwrap();
    feed(program.log(), &TEXT);
    let node = program.start().unwrap();
    until(&node, "the count of a word", || {
        count(&node, "be") == Some(4)
    });
    node.close().unwrap();
    std::fs::create_dir(dir.path().join("words/tasks/global")).unwrap();
    assert!(kept(dir.path()).len() > 1);
    let program = open(dir.path(), &[]).unwrap();
    program.clean_up().unwrap();
    assert_eq!(kept(dir.path()), [""; 0]);
    program.clean_up().unwrap();
    let node = program.start().unwrap();
    until(&node, "the count of a word", || {
        count(&node, "be") == Some(4)
    });
}

/// Rows of a stopped program's log in which the mark of the repartition topic is found.
fn marked(log: &Path) -> usize {
    let shared = Shared::new(Limits::default());
    let columns = EmbeddedLog::COLUMNS.map(str::to_owned);
    let backend = RocksBackend::open(log, &columns, &shared).unwrap();
    let mut found = 0;
    for column in 0..columns.len() {
        let column = Column(u16::try_from(column).unwrap());
        let all = (Bound::Unbounded, Bound::Unbounded);
        let mut look = |_: &[u8], value: &[u8]| {
            let mark = MARK.as_bytes();
            found += usize::from(value.windows(mark.len()).any(|part| part == mark));
            ControlFlow::Continue(())
        };
        backend
            .scan(column, all, Direction::Ascending, &mut look)
            .unwrap();
    }
    found
}
