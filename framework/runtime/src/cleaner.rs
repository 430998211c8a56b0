//! Deletes the state of tasks that this instance has not had for long (`state.cleanup.delay.ms`).
//!
//! A task that moves to another instance leaves its directory behind, and is glad of it if it comes
//! back soon; after a while it is only in the way. Invariants: nothing is deleted that a thread
//! holds, active, standby or being restored, or that anybody reads; nobody can take it while it is
//! deleted; and nothing that was held at any moment of the delay before.

use crate::{
    backends::Backends,
    error::Result,
    lease::{Lease, Leases},
};
use millstream_core::record::{TaskId, Timestamp};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Since when a task's state is known to be nobody's.
#[derive(Clone, Copy, Debug)]
struct Idle {
    since: Timestamp,
    /// How often it had been taken then: once more, and it was somebody's in between.
    taken: u64,
}

/// Looks after the directories that tasks leave behind.
#[derive(Debug)]
pub struct Cleaner {
    delay_ms: i64,
    next_look: Timestamp,
    idle: BTreeMap<TaskId, Idle>,
}

impl Cleaner {
    /// Deletes what nobody has had for `delay`; looks no more often than that.
    pub fn new(delay: Duration) -> Self {
        Self {
            delay_ms: i64::try_from(delay.as_millis()).unwrap_or(i64::MAX),
            next_look: Timestamp::MIN,
            idle: BTreeMap::new(),
        }
    }

    /// The instance has not all its tasks: what is nobody's now may be about to be somebody's, and
    /// the delay begins anew.
    pub fn wait(&mut self) {
        self.idle.clear();
        self.next_look = Timestamp::MIN;
    }

    /// Looks, if it is time, and deletes, also what earlier removals have left; the tasks whose
    /// state is gone. `now` is in milliseconds.
    ///
    /// # Errors
    /// Where the storage refuses; what could not be deleted is tried again after another delay.
    pub fn step(
        &mut self,
        backends: &dyn Backends,
        leases: &Arc<Leases>,
        now: Timestamp,
    ) -> Result<Vec<TaskId>> {
        // One that lies further ahead than the delay is of a clock that was put back since.
        let wait = self.next_look.saturating_sub(now);
        if wait > 0 && wait <= self.delay_ms {
            return Ok(Vec::new());
        }
        self.next_look = now.saturating_add(self.delay_ms);
        let kept = backends.kept()?;
        self.idle.retain(|task, _| kept.contains(task));
        // What a removal has left behind is nobody's, whatever becomes of it.
        let (mut deleted, mut failed) = (Vec::new(), backends.sweep());
        for task in kept {
            // Whoever wants the task meanwhile waits until it is free again, and restores it.
            let lease = Lease::borrow(leases, task).filter(|_| !backends.is_in_use(task));
            let Some(_lease) = lease else {
                self.idle.remove(&task);
                continue;
            };
            let taken = leases.taken(task);
            let idle = self.idle.get(&task).filter(|idle| idle.taken == taken);
            // A clock that was put back begins anew.
            let idle = idle.filter(|idle| idle.since <= now);
            let Some(idle) = idle else {
                self.idle.insert(task, Idle { since: now, taken });
                continue;
            };
            if now.saturating_sub(idle.since) < self.delay_ms {
                continue;
            }
            match backends.remove(task) {
                Ok(()) => {
                    tracing::info!(%task, "deleted the state of a task that is elsewhere");
                    self.idle.remove(&task);
                    deleted.push(task);
                }
                Err(error) => failed = Err(error),
            }
        }
        failed.map(|()| deleted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::MemoryBackends;
    use millstream_state::{Backend, DeclaredStore, Error as StateError};

    fn task(partition: u32) -> TaskId {
        TaskId {
            subtopology: 0,
            partition,
        }
    }

    struct Left {
        disk: MemoryBackends,
        leases: Arc<Leases>,
        cleaner: Cleaner,
    }

    impl Left {
        fn look(&mut self, now: Timestamp) -> Vec<TaskId> {
            self.cleaner.step(&self.disk, &self.leases, now).unwrap()
        }
    }

    /// Two tasks that nobody has, looked at first at 0.
    fn left() -> Left {
        let disk = MemoryBackends::default();
        for number in 0..2 {
            drop(disk.open(task(number), &["rows".to_owned()]).unwrap());
        }
        disk.open_global(&["global".to_owned()]).unwrap();
        let mut left = Left {
            disk,
            leases: Arc::default(),
            cleaner: Cleaner::new(Duration::from_millis(100)),
        };
        assert_eq!(left.look(0), []);
        left
    }

    #[test]
    fn what_nobody_has_for_the_delay_goes() {
        let mut left = left();
        assert_eq!(left.look(99), []);
        assert_eq!(left.look(100), [task(0), task(1)]);
        assert_eq!(left.disk.kept().unwrap(), []);
        assert_eq!(left.look(300), []);
    }

    /// Tasks on a disk, and beside them rubbish that cannot be deleted.
    struct Littered(MemoryBackends);

    impl Backends for Littered {
        fn declare(&self, task: TaskId, stores: &[DeclaredStore], other: &[String]) -> Result<()> {
            self.0.declare(task, stores, other)
        }

        fn open(&self, task: TaskId, columns: &[String]) -> Result<Arc<dyn Backend>> {
            self.0.open(task, columns)
        }

        fn open_global(&self, columns: &[String]) -> Result<Arc<dyn Backend>> {
            self.0.open_global(columns)
        }

        fn kept(&self) -> Result<Vec<TaskId>> {
            self.0.kept()
        }

        fn remove(&self, task: TaskId) -> Result<()> {
            self.0.remove(task)
        }

        fn sweep(&self) -> Result<()> {
            Err(StateError::Storage("0_9.removed: refused".to_owned()).into())
        }
    }

    #[test]
    fn what_cannot_be_deleted_is_told_at_each_look_and_holds_nothing_up() {
        let Left {
            disk,
            leases,
            mut cleaner,
        } = left();
        let disk = Littered(disk);
        let told = cleaner.step(&disk, &leases, 100).unwrap_err().to_string();
        assert!(told.contains("0_9.removed"), "{told}");
        assert_eq!(disk.kept().unwrap(), []);
        assert!(cleaner.step(&disk, &leases, 200).is_err());
    }

    #[test]
    fn what_is_held_or_read_stays() {
        let mut left = left();
        let lease = Lease::take(&left.leases, task(0)).unwrap();
        let reader = left.disk.open(task(1), &["rows".to_owned()]).unwrap();
        for now in [100, 200, 300] {
            assert_eq!(left.look(now), []);
        }
        drop((lease, reader));
        // The delay begins when it is first seen to be nobody's.
        assert_eq!(left.look(400), []);
        assert_eq!(left.look(500), [task(0), task(1)]);
    }

    #[test]
    fn what_was_held_in_between_stays_for_another_delay() {
        let mut left = left();
        drop(Lease::take(&left.leases, task(1)).unwrap());
        assert_eq!(left.look(100), [task(0)]);
        assert_eq!(left.look(200), [task(1)]);
    }

    #[test]
    fn a_look_keeps_nobody_out_for_longer_than_it_takes() {
        let left = left();
        assert!(Lease::take(&left.leases, task(0)).is_some());
    }

    #[test]
    fn an_instance_without_its_tasks_begins_to_count_when_it_has_them() {
        let mut left = left();
        left.cleaner.wait();
        assert_eq!(left.look(100), []);
        assert_eq!(left.look(200), [task(0), task(1)]);
    }

    #[test]
    fn there_is_no_delay_too_long_or_too_short() {
        let mut left = left();
        left.cleaner = Cleaner::new(Duration::MAX);
        assert_eq!(left.look(0), []);
        assert_eq!(left.look(Timestamp::MAX - 1), []);
        left.cleaner = Cleaner::new(Duration::ZERO);
        assert_eq!(left.look(7), []);
        assert_eq!(left.look(7), [task(0), task(1)]);
    }
}
