//! A client of the log that is kept from one look to the next.
//!
//! On a cluster a client is a connection, so whoever looks every second must not make one each
//! time. Invariant: a client that was fenced, or failed for good, is not asked again; the next look
//! makes a new one.

use millstream_log::{Broker, Error, Log, Result};
use std::sync::Arc;

/// Where a kept client comes from, and the client once it is needed.
pub(crate) struct KeptClient {
    log: Arc<dyn Broker>,
    client: Option<Box<dyn Log>>,
}

impl KeptClient {
    pub(crate) fn new(log: Arc<dyn Broker>) -> Self {
        Self { log, client: None }
    }

    /// Does something with the client.
    pub(crate) fn with<T>(&mut self, what: impl FnOnce(&mut dyn Log) -> Result<T>) -> Result<T> {
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(self.log.client()?),
        };
        let done = what(&mut **client);
        if let Err(Error::Fenced(_) | Error::UnknownOutcome(_) | Error::Fatal(_)) = done {
            self.client = None;
        }
        done
    }
}
