//! The state directory: its lock, its format and its tasks, with the accidents that can happen.
#![cfg(feature = "fs")]

use millstream_state::{DeclaredStore, Error, FORMAT, StateDir};
use std::fs;

#[test]
fn one_owner_at_a_time_and_the_error_names_the_directory() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("deep/state");
    let owner = StateDir::open(&path).unwrap();
    let refusal = StateDir::open(&path).unwrap_err();
    assert!(matches!(&refusal, Error::Locked { path: named } if *named == path));
    assert!(refusal.to_string().contains(&path.display().to_string()));
    drop(owner);
    StateDir::open(&path).unwrap();
}

#[test]
fn another_format_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    drop(StateDir::open(directory.path()).unwrap());
    let file = directory.path().join("FORMAT");
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{FORMAT}\n"));
    for (text, named) in [("2\n", "2"), ("", ""), ("rubbish", "rubbish")] {
        fs::write(&file, text).unwrap();
        let refusal = StateDir::open(directory.path()).unwrap_err();
        let Error::Format {
            path,
            found,
            expected,
        } = refusal
        else {
            panic!("{refusal}")
        };
        assert_eq!(
            (path.as_path(), found.as_str(), expected),
            (directory.path(), named, FORMAT)
        );
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }
}

#[test]
fn tasks_without_a_format_are_of_an_unknown_one() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("0_0")).unwrap();
    let refusal = StateDir::open(directory.path()).unwrap_err();
    assert!(matches!(refusal, Error::Format { found, .. } if found == "unknown"));
}

#[test]
fn tasks_are_listed_in_the_order_of_their_numbers_and_nothing_else_is() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDir::open(directory.path()).unwrap();
    for name in ["0_10", "1_0", "0_9", "log", "0_1x", "_", "1_", "0_0_0"] {
        fs::create_dir(directory.path().join(name)).unwrap();
    }
    fs::write(directory.path().join("7_7"), "a file").unwrap();
    assert_eq!(state.tasks().unwrap(), ["0_9", "0_10", "1_0"]);
}

#[test]
fn no_name_leads_out_of_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDir::open(directory.path().join("state")).unwrap();
    for name in [
        "",
        "..",
        "../0_0",
        "0_0/..",
        "/0_0",
        "FORMAT",
        "0",
        "0_-1",
        "0_0.removed",
    ] {
        assert!(state.task_path(name).is_err(), "{name}");
        assert!(state.remove_task(name).is_err(), "{name}");
    }
    assert_eq!(
        state.task_path("12_345").unwrap(),
        directory.path().join("state/12_345")
    );
}

#[test]
fn a_removed_task_is_gone_with_all_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDir::open(directory.path()).unwrap();
    let task = state.task_path("0_3").unwrap();
    fs::create_dir_all(task.join("below")).unwrap();
    fs::write(task.join("below/file"), "x").unwrap();
    assert!(state.remove_task("0_3").unwrap());
    assert!(!state.remove_task("0_3").unwrap());
    assert!(!task.exists());
}

#[test]
fn what_a_removal_left_half_way_is_not_in_the_way_of_the_next_one() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDir::open(directory.path()).unwrap();
    let rubbish = directory.path().join("0_3.removed");
    for path in [&rubbish, &state.task_path("0_3").unwrap()] {
        fs::create_dir(path).unwrap();
        fs::write(path.join("file"), "x").unwrap();
    }
    assert!(state.remove_task("0_3").unwrap());
    assert!(!rubbish.exists() && state.tasks().unwrap().is_empty());
}

#[test]
fn an_interrupted_removal_is_finished_by_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    drop(StateDir::open(directory.path()).unwrap());
    let rubbish = directory.path().join("0_3.removed");
    let other = directory.path().join("mine.removed");
    fs::create_dir(&rubbish).unwrap();
    fs::create_dir(&other).unwrap();
    StateDir::open(directory.path()).unwrap();
    assert!(!rubbish.exists());
    assert!(other.exists(), "only what a task left is swept");
}

#[test]
fn what_stores_are_made_of_is_noted_and_held_against_the_program() {
    let stores = |list: &[(&str, &str)]| -> Vec<DeclaredStore> {
        let pairs = list.iter();
        pairs
            .map(|(name, format)| DeclaredStore::logged(*name, *format))
            .collect()
    };
    let directory = tempfile::tempdir().unwrap();
    let state = StateDir::open(directory.path()).unwrap();
    state
        .declare("0_0", &stores(&[("a", "x"), ("b", "y")]), &[])
        .unwrap();
    // One goes, one comes: the one that is not declared is still what it was.
    state
        .declare("0_0", &stores(&[("b", "y"), ("c", "z")]), &[])
        .unwrap();
    let refusal = state
        .declare("0_0", &stores(&[("a", "other")]), &[])
        .unwrap_err();
    let told = matches!(&refusal, Error::StoreFormat { task, store, found, declared }
        if (&**task, &**store, &**found, &**declared) == ("0_0", "a", "x", "other"));
    assert!(told, "{refusal}");
    // Another task is another matter, and so is one whose state was removed.
    state
        .declare("0_1", &stores(&[("a", "other")]), &[])
        .unwrap();
    assert!(state.remove_task("0_0").unwrap());
    state
        .declare("0_0", &stores(&[("a", "other")]), &[])
        .unwrap();

    let note = directory.path().join("0_0/STORES");
    assert_eq!(fs::read_to_string(&note).unwrap(), "2\na\tother\tlogged\n");
    fs::write(&note, "3\na\tother\n").unwrap();
    let refusal = state
        .declare("0_0", &stores(&[("a", "other")]), &[])
        .unwrap_err();
    assert!(matches!(refusal, Error::Format { .. }), "{refusal}");
}

#[test]
fn a_renamed_store_is_refused_until_the_old_one_is_said_to_be_out() {
    let stores = |names: &[&str]| -> Vec<DeclaredStore> {
        let names = names.iter();
        names
            .map(|name| DeclaredStore::logged(*name, "x"))
            .collect()
    };
    let directory = tempfile::tempdir().unwrap();
    let state = StateDir::open(directory.path()).unwrap();
    state.declare("0_0", &stores(&["a", "b"]), &[]).unwrap();
    let refusal = state.declare("0_0", &stores(&["a", "c"]), &[]).unwrap_err();
    let told = matches!(&refusal, Error::StoreRenamed { task, was, store, format }
        if (&**task, &**was, &**store, &**format) == ("0_0", "b", "c", "x"));
    assert!(told, "{refusal}");
    assert!(refusal.to_string().contains("state retire b"), "{refusal}");
    // One more beside the old ones is no renaming.
    state
        .declare("0_0", &stores(&["a", "b", "d"]), &[])
        .unwrap();
    // What a run did without is out, and comes back as what it was.
    state.declare("0_0", &stores(&["a", "d"]), &[]).unwrap();
    state
        .declare("0_0", &stores(&["a", "d", "c"]), &[])
        .unwrap();
    state
        .declare("0_0", &stores(&["a", "b", "c"]), &[])
        .unwrap();
    // A person may say so too, once.
    state
        .declare("0_0", &stores(&["b", "c", "e"]), &[])
        .unwrap_err();
    assert!(state.retire("0_0", "a").unwrap());
    assert!(!state.retire("0_0", "a").unwrap());
    assert!(!state.retire("0_0", "never").unwrap());
    assert!(!state.retire("0_1", "a").unwrap());
    state
        .declare("0_0", &stores(&["b", "c", "e"]), &[])
        .unwrap();
    let note = fs::read_to_string(directory.path().join("0_0/STORES")).unwrap();
    let of = |word: &str| -> Vec<_> {
        let lines = note.lines().filter(|line| line.ends_with(word));
        lines.map(|line| &line[..1]).collect()
    };
    assert_eq!(of("\tx\tlogged\tretired"), ["a", "d"]);
    assert_eq!(of("\tx\tlogged"), ["b", "c", "e"]);
}

#[test]
fn global_tables_have_a_directory_that_is_no_task_and_goes_whole() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDir::open(directory.path()).unwrap();
    assert!(!state.remove_global().unwrap());
    fs::create_dir(state.global_path()).unwrap();
    assert_eq!(state.tasks().unwrap(), [""; 0]);
    assert!(state.remove_global().unwrap());
    fs::create_dir(directory.path().join("global.removed")).unwrap();
    drop(state);
    drop(StateDir::open(directory.path()).unwrap());
    assert!(!directory.path().join("global.removed").exists());
}

#[test]
fn a_store_that_another_task_has_now_was_not_renamed() {
    let store = |name: &str| [DeclaredStore::logged(name, "x")];
    let directory = tempfile::tempdir().unwrap();
    let state = StateDir::open(directory.path()).unwrap();
    state.declare("0_0", &store("b"), &[]).unwrap();
    state.declare("1_0", &store("c"), &[]).unwrap();
    // What is nowhere any more may still be what has come.
    let others = ["c".to_owned()];
    let refusal = state.declare("0_0", &store("a"), &others).unwrap_err();
    assert!(matches!(&refusal, Error::StoreRenamed { was, .. } if was == "b"));
    let others = ["b".to_owned(), "c".to_owned()];
    state.declare("0_0", &store("a"), &others).unwrap();
    // And it may come back.
    let refusal = state.declare("0_0", &store("d"), &others).unwrap_err();
    assert!(matches!(&refusal, Error::StoreRenamed { was, .. } if was == "a"));
    state
        .declare("0_0", &store("b"), &["a".to_owned()])
        .unwrap();
}

#[test]
fn a_note_of_a_later_version_is_not_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDir::open(directory.path()).unwrap();
    let told = |text: &str| {
        let task = directory.path().join("0_0");
        fs::create_dir_all(&task).unwrap();
        fs::write(task.join("STORES"), text).unwrap();
        state.declare("0_0", &[], &[]).unwrap_err()
    };
    let later = told("3\na\tx\n");
    assert!(
        matches!(&later, Error::Format { found, expected: 2, .. } if found == "3"),
        "{later}"
    );
    for damaged in ["1\na\n", "2\na\tx\tsometimes\n", "0\n", "", "x\n"] {
        assert!(matches!(told(damaged), Error::Corrupt(_)), "{damaged:?}");
    }
}
