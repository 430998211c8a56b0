//! Removals that a file system refuses; what else can happen is in `tests/dir.rs`.

use super::*;

/// Stands for a file system that refuses: a file that somebody has made immutable, a mount.
fn refuse(_: &Path) -> io::Result<()> {
    Err(io::ErrorKind::PermissionDenied.into())
}

#[test]
fn what_cannot_be_deleted_keeps_nobody_from_starting() {
    let parent = tempfile::tempdir().unwrap();
    let open = |delete| StateDir::open_with(parent.path().to_owned(), delete);
    drop(open(refuse).unwrap());
    let rubbish = parent.path().join("0_3.removed");
    fs::create_dir(&rubbish).unwrap();
    let state = open(refuse).unwrap();
    let told = state.sweep().unwrap_err().to_string();
    assert!(told.contains("0_3.removed"), "{told}");
    assert!(rubbish.exists() && state.tasks().unwrap().is_empty());
    drop(state);
    drop(open(|path| fs::remove_dir_all(path)).unwrap());
    assert!(!rubbish.exists());
}

#[test]
fn what_cannot_be_deleted_is_no_task_any_more_however_often_it_comes_back() {
    let parent = tempfile::tempdir().unwrap();
    let mut state = StateDir::open_with(parent.path().to_owned(), refuse).unwrap();
    for round in 1..=3 {
        fs::create_dir(state.task_path("0_3").unwrap()).unwrap();
        fs::create_dir(state.global_path()).unwrap();
        state.remove_task("0_3").unwrap_err();
        state.remove_global().unwrap_err();
        assert!(state.tasks().unwrap().is_empty() && !state.global_path().exists());
        assert_eq!(state.entries().unwrap().len(), 2 * round);
    }
    state.sweep().unwrap_err();
    state.delete = |path| fs::remove_dir_all(path);
    state.sweep().unwrap();
    assert_eq!(state.entries().unwrap(), [""; 0]);
}
