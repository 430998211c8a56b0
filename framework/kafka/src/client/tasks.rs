//! What the group gives a client and takes from it.
//!
//! Invariant: a client that is lost to its group has no tasks, and its next poll says so, once,
//! unless it joins again before.

use super::KafkaClient;
use crate::membership::Change;
use millstream_log::{Assignment, Event, Result};

impl KafkaClient {
    /// Takes over what the group gave.
    pub(super) fn assigned(&mut self, assignment: &Assignment) {
        // What could not be sent or committed before was other work, and perhaps long ago.
        self.sending.answered();
        self.committing.answered();
        self.active = assignment.active.iter().copied().collect();
        self.revoking.clear();
        self.inputs.clear();
        for task in self.subscription.iter().flat_map(|s| &s.tasks) {
            if self.active.contains(&task.task) {
                let inputs = task.inputs.iter().cloned();
                self.inputs.extend(inputs.map(|input| (input, task.task)));
            }
        }
        if let Some(sources) = &mut self.sources {
            // Changelogs of tasks that went elsewhere must not be read on; the others begin anew
            // where they were.
            sources.retain(|_| false);
        }
    }

    pub(super) fn forget_tasks(&mut self) {
        self.active.clear();
        self.inputs.clear();
        self.revoking.clear();
        if let Some(sources) = &mut self.sources {
            sources.retain(|_| false);
        }
    }

    /// What the group says, as the thread hears it.
    pub(super) fn group_event(&mut self) -> Result<Option<Event>> {
        if std::mem::take(&mut self.untold) {
            return Ok(Some(Event::Lost));
        }
        let Some(group) = &mut self.group else {
            return Ok(None);
        };
        let Some(change) = group.poll()? else {
            return Ok(None);
        };
        match change {
            Change::Assigned(assignment) => {
                self.assigned(&assignment);
                Ok(Some(Event::Assigned(assignment)))
            }
            Change::Revoked if self.active.is_empty() => {
                group.let_go()?;
                Ok(None)
            }
            Change::Revoked => {
                self.revoking = self.active.clone();
                Ok(Some(Event::Revoked(self.active.iter().copied().collect())))
            }
            Change::Lost => {
                self.forget_tasks();
                self.lost = true;
                Ok(Some(Event::Lost))
            }
        }
    }

    /// After this the member is in no group: it was told that somebody else has its tasks.
    pub(super) fn fenced(&mut self) {
        self.forget_tasks();
        // A poll may have said so before the call.
        self.untold |= !self.lost;
        self.lost = true;
        // Leaves; the next subscription joins anew.
        self.group = None;
    }
}
