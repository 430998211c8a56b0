//! Which topics the log has, for sinks that let records choose theirs.
//!
//! Invariant: what is not known is left to the log, so that no record is refused because the log
//! was away for a moment.

use crate::streams::LogSource;
use millstream_core::task::Topics;
use millstream_log::Log;
use std::sync::{Mutex, PoisonError};

/// Asks the log, through a client of its own that is made when it is first needed.
pub(crate) struct LogTopics {
    logs: LogSource,
    client: Mutex<Option<Box<dyn Log>>>,
}

impl LogTopics {
    pub(crate) fn new(logs: LogSource) -> Self {
        Self {
            logs,
            client: Mutex::default(),
        }
    }

    fn ask(&self, name: &str) -> millstream_log::Result<bool> {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        let client = match &mut *client {
            Some(client) => client,
            none => none.insert((self.logs)()?),
        };
        Ok(client.topic(name)?.is_some())
    }
}

impl std::fmt::Debug for LogTopics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogTopics").finish_non_exhaustive()
    }
}

impl Topics for LogTopics {
    fn exists(&self, name: &str) -> bool {
        self.ask(name).unwrap_or_else(|error| {
            tracing::debug!(%error, name, "whether a topic exists is not known");
            true
        })
    }
}
