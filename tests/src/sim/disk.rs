//! An instance's disk in the simulation: it survives the process, and can die in the middle of a
//! commit: before a batch is applied, or just after.

use millstream_core::record::TaskId;
use millstream_log::Rng;
use millstream_runtime::{
    Result,
    backends::{Backends, MemoryBackends},
};
use millstream_state::{
    Backend, BackendStats, BufferBudget, Buffered, Column, DeclaredStore, Direction, Error,
    Position, Presence, WriteBatch,
};
use std::{
    ops::{Bound, ControlFlow},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// How the message of an injected death begins.
pub(super) const CRASH: &str = "injected crash: ";

/// The faults of one disk.
pub(super) struct Faults {
    rng: Mutex<Rng>,
    /// Deaths per thousand applies.
    per_mille: AtomicU64,
    dead: AtomicBool,
}

impl Faults {
    fn strikes(&self) -> bool {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let strikes = rng.below(1000) < self.per_mille.load(Ordering::Relaxed);
        if strikes {
            self.dead.store(true, Ordering::Relaxed);
        }
        strikes
    }
}

/// Backends that outlive the workers using them, with faults.
pub(super) struct Disk {
    memory: MemoryBackends,
    faults: Arc<Faults>,
    /// Whether there are buffers in front of the backends, which die with the process, and how much
    /// they hold.
    buffers: Option<BufferBudget>,
}

impl Disk {
    pub(super) fn new(seed: u64, per_mille: u64) -> Self {
        let faults = Faults {
            rng: Mutex::new(Rng::new(seed)),
            per_mille: AtomicU64::new(per_mille),
            dead: AtomicBool::new(false),
        };
        Self {
            memory: MemoryBackends::default(),
            faults: Arc::new(faults),
            // Every other disk, from one that is full at once to one that never is.
            buffers: seed
                .is_multiple_of(2)
                .then(|| BufferBudget::new(1 << (seed / 2 % 20))),
        }
    }

    /// The process dies: nothing reaches the disk any more, not even from destructors.
    pub(super) fn die(&self) {
        self.faults.dead.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_dead(&self) -> bool {
        self.faults.dead.load(Ordering::Relaxed)
    }

    pub(super) fn restart(&self) {
        self.faults.dead.store(false, Ordering::Relaxed);
    }

    pub(super) fn heal(&self) {
        self.faults.per_mille.store(0, Ordering::Relaxed);
    }

    /// The bytes as they are, without faults.
    pub(super) fn inside(&self, task: TaskId, columns: &[String]) -> Result<Arc<dyn Backend>> {
        self.memory.open(task, columns)
    }
}

impl Backends for Disk {
    fn declare(&self, task: TaskId, stores: &[DeclaredStore], elsewhere: &[String]) -> Result<()> {
        self.memory.declare(task, stores, elsewhere)
    }

    fn open(&self, task: TaskId, columns: &[String]) -> Result<Arc<dyn Backend>> {
        let inner = self.memory.open(task, columns)?;
        let faulty = Arc::new(Faulty {
            inner,
            faults: self.faults.clone(),
        });
        Ok(match &self.buffers {
            Some(budget) => Arc::new(Buffered::new(faulty, budget.clone())),
            None => faulty,
        })
    }

    fn open_global(&self, columns: &[String]) -> Result<Arc<dyn Backend>> {
        let inner = self.memory.open_global(columns)?;
        Ok(Arc::new(Faulty {
            inner,
            faults: self.faults.clone(),
        }))
    }
}

struct Faulty {
    inner: Arc<dyn Backend>,
    faults: Arc<Faults>,
}

impl Faulty {
    fn alive(&self) -> millstream_state::Result<()> {
        if self.faults.dead.load(Ordering::Relaxed) {
            Err(died("call after"))
        } else {
            Ok(())
        }
    }
}

fn died(place: &str) -> Error {
    Error::Storage(format!("{CRASH}{place} a batch"))
}

impl Backend for Faulty {
    fn columns(&self) -> &[String] {
        self.inner.columns()
    }

    fn get(
        &self,
        column: Column,
        key: &[u8],
        out: &mut Vec<u8>,
    ) -> millstream_state::Result<Presence> {
        self.alive()?;
        self.inner.get(column, key, out)
    }

    fn scan(
        &self,
        column: Column,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        direction: Direction,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> millstream_state::Result<()> {
        self.alive()?;
        self.inner.scan(column, bounds, direction, visit)
    }

    fn apply(&self, batch: &WriteBatch) -> millstream_state::Result<()> {
        self.alive()?;
        if self.faults.strikes() {
            return Err(died("before"));
        }
        self.inner.apply(batch)?;
        if self.faults.strikes() {
            Err(died("after"))
        } else {
            Ok(())
        }
    }

    fn position(&self, column: Column) -> millstream_state::Result<Option<Position>> {
        self.inner.position(column)
    }

    fn clear(&self, column: Column) -> millstream_state::Result<()> {
        self.alive()?;
        self.inner.clear(column)
    }

    fn flush(&self) -> millstream_state::Result<()> {
        self.alive()
    }

    fn stats(&self) -> BackendStats {
        self.inner.stats()
    }
}
