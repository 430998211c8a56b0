//! The directory of one instance's state: who owns it, in which format it is, which tasks are in
//! it.
//!
//! ```text
//! <state.dir>/LOCK      locked while an instance runs
//! <state.dir>/FORMAT    the version of everything below
//! <state.dir>/0_3/      subtopology 0, partition 3
//! <state.dir>/global/   the global tables
//! ```
//!
//! Invariant: a task's directory is there whole or not at all. It is removed by first giving it a
//! name that is no task's, so that a crash half-way leaves rubbish for the next start, not a task;
//! and rubbish is in nobody's way, also where it cannot be deleted.

use crate::{DeclaredStore, Error, Result, StoreFormats, formats};
use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// The version of the on-disk format that this code reads and writes.
pub const FORMAT: u32 = 1;

/// The directory of what belongs to no task.
const GLOBAL: &str = "global";
const LOCK_FILE: &str = "LOCK";
/// In a task's directory: what its stores are made of.
const STORES_FILE: &str = "STORES";
const FORMAT_FILE: &str = "FORMAT";
/// What a task directory's name ends in while it is being removed; a number follows where such a
/// name is taken by what an earlier removal could not delete.
const REMOVED_SUFFIX: &str = ".removed";

/// A state directory that this instance owns until the value is dropped.
///
/// ```
/// use millstream_state::{Error, StateDir};
///
/// let parent = tempfile::tempdir().unwrap();
/// let state = StateDir::open(parent.path().join("state"))?;
/// assert!(matches!(StateDir::open(state.path()), Err(Error::Locked { .. })));
///
/// std::fs::create_dir(state.task_path("0_3")?).unwrap();
/// assert_eq!(state.tasks()?, ["0_3"]);
/// state.remove_task("0_3")?;
/// assert!(state.tasks()?.is_empty());
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Open for as long as the directory is owned; the lock goes with the file.
    _lock: File,
    /// Deletes a directory with all in it; tests let it fail.
    delete: fn(&Path) -> io::Result<()>,
}

impl StateDir {
    /// Creates the directory where it is missing, takes its lock and checks its format. What a
    /// crash has left of a removal is deleted; where that does not succeed, [`StateDir::sweep`]
    /// says why.
    ///
    /// # Errors
    /// [`Error::Locked`] while another instance has it, [`Error::Format`] where it holds tasks of
    /// another version, [`Error::Storage`] where the file system refuses.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Self::open_with(path.into(), |path| fs::remove_dir_all(path))
    }

    fn open_with(path: PathBuf, delete: fn(&Path) -> io::Result<()>) -> Result<Self> {
        fs::create_dir_all(&path).map_err(|error| refused(&path, &error))?;
        let lock_path = path.join(LOCK_FILE);
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(|error| refused(&lock_path, &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Locked { path }),
            Err(TryLockError::Error(error)) => return Err(refused(&lock_path, &error)),
        }
        let state = Self {
            path,
            _lock: lock,
            delete,
        };
        state.check_format()?;
        // Nobody reads what stays: it costs room on the disk, and no start.
        let _swept = state.sweep();
        Ok(state)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a task, such as `0_3`, keeps its state. Nothing is created.
    ///
    /// # Errors
    /// The name is not `<subtopology>_<partition>`.
    pub fn task_path(&self, task: &str) -> Result<PathBuf> {
        if !is_task(task) {
            return Err(Error::Storage(format!(
                "{task:?} is no task: expected <subtopology>_<partition>"
            )));
        }
        Ok(self.path.join(task))
    }

    /// Holds a task's stores against those that its directory was written with, and notes new ones;
    /// `elsewhere` are those that other tasks of the program have. To be called before the backend
    /// is opened.
    ///
    /// A directory from before formats were noted is taken for what is declared, and so is one from
    /// before it was noted which stores are logged.
    ///
    /// # Errors
    /// [`Error::StoreFormat`] for a store whose rows are of another format,
    /// [`Error::StoreLogging`] for one that was logged and is not now or the other way round,
    /// [`Error::StoreRenamed`] for one that seems to be another one renamed, [`Error::Corrupt`]
    /// where the note cannot be read, [`Error::Format`] where a later version wrote it,
    /// [`Error::Storage`] where the file system refuses.
    pub fn declare(
        &self,
        task: &str,
        stores: &[DeclaredStore],
        elsewhere: &[String],
    ) -> Result<()> {
        self.note(task, |formats| formats.declare(task, stores, elsewhere))?;
        Ok(())
    }

    /// Notes that a store was taken out of the program, and not renamed. Its rows stay. `false`:
    /// the task has no such store, or it was noted before.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the note cannot be read, [`Error::Storage`] where the file system
    /// refuses.
    pub fn retire(&self, task: &str, store: &str) -> Result<bool> {
        self.note(task, |formats| Ok(formats.retire(store)))
    }

    /// Changes what is noted of a task's stores, and writes it down if that says it is other now.
    fn note(
        &self,
        task: &str,
        change: impl FnOnce(&mut StoreFormats) -> Result<bool>,
    ) -> Result<bool> {
        let directory = self.task_path(task)?;
        let path = directory.join(STORES_FILE);
        let mut formats = match fs::read_to_string(&path) {
            Ok(text) => StoreFormats::parse(&text).ok_or_else(|| unreadable(&directory, &text))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => StoreFormats::default(),
            Err(error) => return Err(refused(&path, &error)),
        };
        let changed = change(&mut formats)?;
        if changed {
            let write = || -> io::Result<()> {
                fs::create_dir_all(&directory)?;
                write_whole(&path, &formats.to_string())
            };
            write().map_err(|error| refused(&path, &error))?;
        }
        Ok(changed)
    }

    /// Where the global tables lie. Nothing is created.
    pub fn global_path(&self) -> PathBuf {
        self.path.join(GLOBAL)
    }

    /// Deletes the global tables; their backend must be closed. `false`: there were none.
    ///
    /// # Errors
    /// [`Error::Storage`] where the file system refuses.
    pub fn remove_global(&self) -> Result<bool> {
        self.remove(GLOBAL)
    }

    /// The tasks that have a directory, sorted by subtopology and partition.
    ///
    /// # Errors
    /// [`Error::Storage`] where the file system refuses.
    pub fn tasks(&self) -> Result<Vec<String>> {
        let mut tasks: Vec<String> = self
            .entries()?
            .into_iter()
            .filter(|name| is_task(name))
            .collect();
        tasks.sort_by_cached_key(|name| {
            // By length first, which puts 0_9 before 0_10 without a limit on the numbers.
            name.split('_')
                .map(|part| (part.len(), part.to_owned()))
                .collect::<Vec<_>>()
        });
        Ok(tasks)
    }

    /// Deletes a task's state; the backend in it must be closed. `false`: there was none.
    ///
    /// # Errors
    /// The name is no task's, or the file system refuses. The task may be gone all the same, and
    /// only the room that it takes is not free yet: [`StateDir::sweep`] tries that again.
    pub fn remove_task(&self, task: &str) -> Result<bool> {
        self.task_path(task)?;
        self.remove(task)
    }

    fn remove(&self, name: &str) -> Result<bool> {
        let path = self.path.join(name);
        let removed = format!("{name}{REMOVED_SUFFIX}");
        // What an attempt that failed half-way has left goes too, or is in the way no longer.
        let left = self.delete(&removed);
        let numbered = (1_u64..).map(|number| format!("{removed}.{number}"));
        let mut names = std::iter::once(removed.clone()).chain(numbered);
        let free = names.find(|name| fs::symlink_metadata(self.path.join(name)).is_err());
        let doomed = free.unwrap_or(removed);
        match fs::rename(&path, self.path.join(&doomed)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return left.map(|()| false),
            Err(error) => return Err(refused(&path, &error)),
        }
        // It must not be a task again, with half of its files, after a loss of power.
        sync(&self.path).map_err(|error| refused(&self.path, &error))?;
        self.delete(&doomed).and(left)?;
        Ok(true)
    }

    /// Deletes a directory in this one, if there is one of that name.
    fn delete(&self, name: &str) -> Result<()> {
        let path = self.path.join(name);
        match (self.delete)(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(refused(&path, &error)),
            _ => Ok(()),
        }
    }

    /// A directory without a version is new, unless there are tasks in it already.
    fn check_format(&self) -> Result<()> {
        let path = self.path.join(FORMAT_FILE);
        let found = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).trim().to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.tasks()?.is_empty() => {
                return write_whole(&path, &format!("{FORMAT}\n"))
                    .map_err(|error| refused(&path, &error));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => "unknown".to_owned(),
            Err(error) => return Err(refused(&path, &error)),
        };
        if found == FORMAT.to_string() {
            return Ok(());
        }
        Err(Error::Format {
            path: self.path.clone(),
            found,
            expected: FORMAT,
        })
    }

    /// Finishes removals that were interrupted or refused. Not to be called while another thread
    /// removes something.
    ///
    /// # Errors
    /// [`Error::Storage`] where the file system refuses; what it does not refuse is gone, and the
    /// rest in nobody's way.
    pub fn sweep(&self) -> Result<()> {
        let mut swept = Ok(());
        for name in self.entries()?.iter().filter(|name| is_removed(name)) {
            swept = swept.and(self.delete(name));
        }
        swept
    }

    /// The names of the directories in this one; names that are not Unicode are nobody's of ours.
    fn entries(&self) -> Result<Vec<String>> {
        let list = || -> io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in fs::read_dir(&self.path)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    names.extend(entry.file_name().into_string().ok());
                }
            }
            Ok(names)
        };
        list().map_err(|error| refused(&self.path, &error))
    }
}

/// Under another name first: a file that exists is a file that is complete.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(fresh, path)
}

/// Whether a name is two numbers with an underscore between them. Nothing else ever becomes a path.
fn is_task(name: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name.split_once('_')
        .is_some_and(|(left, right)| number(left) && number(right))
}

/// Whether a name is one that a task, or the global tables, got to be removed.
fn is_removed(name: &str) -> bool {
    let Some((of, rest)) = name.split_once(REMOVED_SUFFIX) else {
        return false;
    };
    let number = rest.strip_prefix('.').map(str::parse::<u64>);
    let ends = rest.is_empty() || matches!(number, Some(Ok(_)));
    ends && (is_task(of) || of == GLOBAL)
}

/// Waits until the disk has the names in a directory, where the system knows how to.
fn sync(directory: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

/// Why the note of a task's stores says nothing: a later program may write it in another way.
fn unreadable(directory: &Path, text: &str) -> Error {
    match text.lines().next() {
        Some(found)
            if found
                .parse::<u32>()
                .is_ok_and(|found| found > formats::VERSION) =>
        {
            Error::Format {
                path: directory.to_owned(),
                found: found.to_owned(),
                expected: formats::VERSION,
            }
        }
        _ => Error::Corrupt(format!(
            "{} is damaged",
            directory.join(STORES_FILE).display()
        )),
    }
}

fn refused(path: &Path, error: &io::Error) -> Error {
    Error::Storage(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
