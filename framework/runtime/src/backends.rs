//! Where tasks keep their committed bytes: one backend per task, in memory or under `state.dir`.

use crate::error::Result;
use millstream_core::record::TaskId;
use millstream_log::Error as LogError;
use millstream_state::{
    Backend, Buffered, DeclaredStore, Error as StateError, MemoryBackend, RocksBackend, Shared,
    StateDir, StoreFormats,
};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
};

/// Opens tasks' backends. A task's backend is opened by one owner at a time in an instance; what
/// was applied to it is there when it is opened again.
pub trait Backends: Send + Sync {
    /// Holds what a program says of a task's stores against what they were written as; `elsewhere`
    /// are the stores of its other tasks. To be called before [`Backends::open`].
    ///
    /// # Errors
    /// Where a store's rows are of another format, or were logged and are not now or the other way
    /// round, or the storage refuses.
    fn declare(&self, task: TaskId, stores: &[DeclaredStore], elsewhere: &[String]) -> Result<()>;

    /// The backend of a task, with these columns.
    ///
    /// # Errors
    /// Where the storage refuses.
    fn open(&self, task: TaskId, columns: &[String]) -> Result<Arc<dyn Backend>>;

    /// The backend of the instance's global tables, with these columns; opened once in an instance.
    ///
    /// # Errors
    /// Where the storage refuses.
    fn open_global(&self, columns: &[String]) -> Result<Arc<dyn Backend>>;

    /// The tasks of which something is kept, open or not; the global tables are of none. Nothing
    /// is kept where it goes with its last holder.
    ///
    /// # Errors
    /// Where the storage refuses.
    fn kept(&self) -> Result<Vec<TaskId>> {
        Ok(Vec::new())
    }

    /// Whether anybody still holds a task's backend, a reader perhaps.
    fn is_in_use(&self, task: TaskId) -> bool {
        let _ = task;
        false
    }

    /// Deletes what is kept of a task, which nobody may be using or opening.
    ///
    /// # Errors
    /// Where the storage refuses.
    fn remove(&self, task: TaskId) -> Result<()> {
        let _ = task;
        Ok(())
    }

    /// Deletes what removals have left behind that were interrupted or refused; not while somebody
    /// removes something.
    ///
    /// # Errors
    /// Where the storage refuses.
    fn sweep(&self) -> Result<()> {
        Ok(())
    }
}

/// A task by the name that its directory has.
fn task_of(name: &str) -> Option<TaskId> {
    let (subtopology, partition) = name.split_once('_')?;
    Some(TaskId {
        subtopology: subtopology.parse().ok()?,
        partition: partition.parse().ok()?,
    })
}

/// Backends in memory that live as long as this value: an instance's "disk" in tests.
#[derive(Default)]
pub struct MemoryBackends {
    opened: Mutex<BTreeMap<TaskId, Arc<MemoryBackend>>>,
    global: Mutex<Option<Arc<MemoryBackend>>>,
    formats: Mutex<BTreeMap<TaskId, StoreFormats>>,
}

impl Backends for MemoryBackends {
    fn declare(&self, task: TaskId, stores: &[DeclaredStore], elsewhere: &[String]) -> Result<()> {
        let mut formats = self.formats.lock().unwrap_or_else(PoisonError::into_inner);
        let formats = formats.entry(task).or_default();
        formats.declare(&task.to_string(), stores, elsewhere)?;
        Ok(())
    }

    fn open(&self, task: TaskId, columns: &[String]) -> Result<Arc<dyn Backend>> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let backend = opened
            .entry(task)
            .or_insert_with(|| Arc::new(MemoryBackend::new(columns)));
        Ok(backend.clone())
    }

    fn open_global(&self, columns: &[String]) -> Result<Arc<dyn Backend>> {
        let mut global = self.global.lock().unwrap_or_else(PoisonError::into_inner);
        let backend = global.get_or_insert_with(|| Arc::new(MemoryBackend::new(columns)));
        Ok(backend.clone())
    }

    fn kept(&self) -> Result<Vec<TaskId>> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(opened.keys().copied().collect())
    }

    fn is_in_use(&self, task: TaskId) -> bool {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let backend = opened.get(&task);
        backend.is_some_and(|backend| Arc::strong_count(backend) > 1)
    }

    fn remove(&self, task: TaskId) -> Result<()> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.remove(&task);
        let mut formats = self.formats.lock().unwrap_or_else(PoisonError::into_inner);
        formats.remove(&task);
        Ok(())
    }
}

/// Backends in memory that are gone when nobody holds them: each task's state is read anew from its
/// changelogs wherever it is opened, and a task that has moved away takes no memory.
#[derive(Default)]
pub struct TransientBackends {
    opened: Mutex<BTreeMap<TaskId, Weak<MemoryBackend>>>,
}

impl Backends for TransientBackends {
    /// Whatever there is, this very program has written.
    fn declare(&self, _: TaskId, _: &[DeclaredStore], _: &[String]) -> Result<()> {
        Ok(())
    }

    fn open(&self, task: TaskId, columns: &[String]) -> Result<Arc<dyn Backend>> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.retain(|_, backend| backend.strong_count() > 0);
        if let Some(backend) = opened.get(&task).and_then(Weak::upgrade) {
            return Ok(backend);
        }
        let backend = Arc::new(MemoryBackend::new(columns));
        opened.insert(task, Arc::downgrade(&backend));
        Ok(backend)
    }

    fn open_global(&self, columns: &[String]) -> Result<Arc<dyn Backend>> {
        Ok(Arc::new(MemoryBackend::new(columns)))
    }
}

/// Backends under a state directory, one RocksDB per task, behind a buffer. The directory is locked
/// while this lives.
pub struct RocksBackends {
    dir: StateDir,
    shared: Shared,
    /// Backends that somebody still holds: a query may outlive the task's thread for a moment, and
    /// a directory can be opened only once.
    opened: Mutex<BTreeMap<TaskId, Weak<Buffered>>>,
}

impl RocksBackends {
    /// Takes the directory.
    ///
    /// # Errors
    /// Where another instance has it, or it is of another format.
    pub fn open(dir: impl Into<PathBuf>, shared: Shared) -> Result<Self> {
        Ok(Self::in_dir(StateDir::open(dir)?, shared))
    }

    /// In a directory that was taken already.
    pub fn in_dir(dir: StateDir, shared: Shared) -> Self {
        Self {
            dir,
            shared,
            opened: Mutex::default(),
        }
    }
}

impl Backends for RocksBackends {
    fn declare(&self, task: TaskId, stores: &[DeclaredStore], elsewhere: &[String]) -> Result<()> {
        Ok(self.dir.declare(&task.to_string(), stores, elsewhere)?)
    }

    fn open(&self, task: TaskId, columns: &[String]) -> Result<Arc<dyn Backend>> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(backend) = opened.get(&task).and_then(Weak::upgrade) {
            return Ok(backend);
        }
        let path = self.dir.task_path(&task.to_string())?;
        let disk = match RocksBackend::open(path, columns, &self.shared) {
            // The one we had open has nobody left and is being closed.
            Err(StateError::Locked { .. }) if opened.contains_key(&task) => {
                let why = format!("the state of {task} is still being closed");
                return Err(LogError::Retry(why).into());
            }
            disk => disk?,
        };
        for column in disk.undeclared_columns() {
            tracing::warn!(%task, column, "a store on disk that the program no longer declares");
        }
        let backend = Arc::new(Buffered::new(Arc::new(disk), self.shared.buffers()));
        opened.insert(task, Arc::downgrade(&backend));
        Ok(backend)
    }

    fn open_global(&self, columns: &[String]) -> Result<Arc<dyn Backend>> {
        let disk = RocksBackend::open(self.dir.global_path(), columns, &self.shared)?;
        Ok(Arc::new(disk))
    }

    fn kept(&self) -> Result<Vec<TaskId>> {
        // Numbers that are too large for a task are no task's of ours, and stay.
        let names = self.dir.tasks()?;
        Ok(names.iter().filter_map(|name| task_of(name)).collect())
    }

    fn is_in_use(&self, task: TaskId) -> bool {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let backend = opened.get(&task);
        backend.is_some_and(|backend| backend.strong_count() > 0)
    }

    fn remove(&self, task: TaskId) -> Result<()> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.remove(&task);
        // The caller has the task's lease: others need not wait to open theirs.
        drop(opened);
        self.dir.remove_task(&task.to_string())?;
        Ok(())
    }

    fn sweep(&self) -> Result<()> {
        Ok(self.dir.sweep()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use millstream_state::{Column, Limits, Presence, WriteBatch};

    #[test]
    fn what_nobody_holds_is_gone_from_memory() {
        let backends = TransientBackends::default();
        let task = TaskId {
            subtopology: 0,
            partition: 0,
        };
        let columns = ["rows".to_owned()];
        let mut batch = WriteBatch::new();
        batch.put(Column(0), b"key", b"value");
        let has = |backend: &dyn Backend| {
            let found = backend.get(Column(0), b"key", &mut Vec::new());
            found.unwrap() == Presence::Found
        };
        let first = backends.open(task, &columns).unwrap();
        first.apply(&batch).unwrap();
        assert!(has(&*backends.open(task, &columns).unwrap()));
        drop(first);
        assert!(!has(&*backends.open(task, &columns).unwrap()));
    }

    /// Whoever looked at a task's rows last may be closing them while another thread opens them.
    #[test]
    fn what_is_still_being_closed_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let shared = Shared::new(Limits::default());
        let backends = RocksBackends::open(dir.path(), shared.clone()).unwrap();
        let task = TaskId {
            subtopology: 0,
            partition: 0,
        };
        let columns = ["rows".to_owned()];
        drop(backends.open(task, &columns).unwrap());
        let path = backends.dir.task_path(&task.to_string()).unwrap();
        let closing = RocksBackend::open(path, &columns, &shared).unwrap();
        let told = backends.open(task, &columns).map(drop).unwrap_err();
        assert!(matches!(told, Error::Log(LogError::Retry(_))), "{told}");
        drop(closing);
        backends.open(task, &columns).unwrap();
    }
}
