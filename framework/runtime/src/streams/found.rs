//! Where the rows of a store are that an instance has: whatever asks for them, and as what.
//!
//! Reads see the partitions that this instance has, active or standby. Invariant: that there is no
//! row of a key is told only where all partitions are here and read to their ends, since the
//! program may have put the row into any.

use super::{State, rows::StoreHome, shared::Shared};
use crate::{
    error::{Error, Result},
    worker::{TaskRole, TaskView},
};
use millstream_state::Backend;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What an instance has of a store.
pub(super) struct Found {
    /// The backends here, by partition; a global table's is that of partition 0.
    pub(super) backends: BTreeMap<u32, Arc<dyn Backend>>,
    /// Why rows may be elsewhere, or still to come, where they may.
    pub(super) lacking: Option<String>,
}

impl Found {
    /// An error where rows may be elsewhere.
    pub(super) fn whole(self) -> Result<()> {
        self.lacking
            .map_or(Ok(()), |why| Err(Error::IllegalState(why)))
    }

    /// The backends, `None` where there need not be any; an error where all rows are elsewhere.
    pub(super) fn some(self) -> Result<Option<BTreeMap<u32, Arc<dyn Backend>>>> {
        if self.backends.is_empty() {
            return self.whole().map(|()| None);
        }
        Ok(Some(self.backends))
    }
}

impl Shared {
    /// An error where the client does not run.
    pub(super) fn can_be_asked(&self) -> Result<()> {
        let state = self.state();
        if matches!(state, State::Rebalancing | State::Running) {
            return Ok(());
        }
        Err(Error::IllegalState(format!(
            "the stores of a client that is {state} cannot be read"
        )))
    }

    /// Where a store's rows are.
    pub(super) fn find(&self, home: StoreHome, store: &str) -> Result<Found> {
        self.can_be_asked()?;
        let subtopology = match home {
            StoreHome::Global => return Ok(self.find_global(store)),
            StoreHome::Tasks(subtopology) => subtopology,
        };
        let (mut backends, mut whole) = (BTreeMap::new(), BTreeSet::new());
        let views = self.views();
        // A task that passes between two threads may show in both, over the same rows.
        for task in views.values().flat_map(|thread| &thread.tasks) {
            if task.id.subtopology != subtopology {
                continue;
            }
            backends.insert(task.id.partition, task.committed.clone());
            if is_whole(task, store) {
                whole.insert(task.id);
            }
        }
        drop(views);
        let all = self.program.layout.tasks.iter().map(|task| task.id);
        let all = all.filter(|task| task.subtopology == subtopology).count();
        let lacking = (whole.len() < all).then(|| {
            let here = whole.len();
            format!(
                "of {all} partitions of the store {store:?} this instance can answer for {here}"
            )
        });
        Ok(Found { backends, lacking })
    }

    fn find_global(&self, store: &str) -> Found {
        let globals = &self.settings.globals;
        let lacking = (!globals.ready(&self.program))
            .then(|| format!("the topic of the store {store:?} is still being read"));
        let backend = globals.backend().into_iter();
        Found {
            backends: backend.map(|backend| (0, backend)).collect(),
            lacking,
        }
    }
}

/// Whether a task has here all rows of a store that were committed, or had them a moment ago. A
/// replica has those that are logged.
fn is_whole(task: &TaskView, store: &str) -> bool {
    match task.role {
        TaskRole::Active => true,
        TaskRole::Restoring => false,
        TaskRole::Standby => {
            let mut replays = task.restore.iter();
            replays.any(|replay| replay.store == store && replay.position >= replay.end)
        }
    }
}
