//! Which topics the log has, for sinks that let records choose topics or partitions.
//!
//! Invariant: no record is refused because the log was away for a moment. What is not known is left
//! to the log, and where it must be known, the thread stops.

use crate::streams::LogSource;
use millstream_core::{
    error::{Error, Result},
    record::Partition,
    task::Topics,
};
use millstream_log::{Error as LogError, Log};
use std::sync::{Mutex, PoisonError};

/// How often the log is asked for what must be known; a cluster answers each time within its own
/// patience.
const ATTEMPTS: usize = 5;

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

    fn ask(&self, name: &str) -> millstream_log::Result<Option<Partition>> {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        let client = match &mut *client {
            Some(client) => client,
            none => none.insert((self.logs)()?),
        };
        Ok(client.topic(name)?.map(|topic| topic.spec.partitions))
    }
}

impl std::fmt::Debug for LogTopics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogTopics").finish_non_exhaustive()
    }
}

impl Topics for LogTopics {
    fn exists(&self, name: &str) -> bool {
        self.ask(name).map_or_else(
            |error| {
                tracing::debug!(%error, name, "whether a topic exists is not known");
                true
            },
            |partitions| partitions.is_some(),
        )
    }

    fn partitions(&self, name: &str) -> Result<Partition> {
        let mut asked = self.ask(name);
        for _ in 1..ATTEMPTS {
            if matches!(asked, Ok(_) | Err(LogError::Fatal(_))) {
                break;
            }
            asked = self.ask(name);
        }
        let known = asked.map_err(|error| {
            Error::topology(format!(
                "how many partitions {name} has is not known: {error}"
            ))
        })?;
        known.ok_or_else(|| Error::topology(format!("there is no topic {name}")))
    }
}
