//! What all handlers share, and the one way they call into the program.
//!
//! Invariant: the program is only ever called on a thread that may block, so that a slow store
//! cannot delay another client; and a call begins only while its request is waited for, so that
//! what was given up is not done later. Probes have threads of their own.

use crate::{
    Introspect, Limits,
    error::{ApiError, ApiResult},
    live::Live,
};
use millstream_metrics::Registry;
use std::sync::Arc;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::spawn_blocking,
};

/// The server's state, shared by all requests.
pub(crate) struct App {
    pub(crate) program: Arc<dyn Introspect>,
    pub(crate) registry: Registry,
    pub(crate) limits: Limits,
    pub(crate) live: Live,
    /// Whether the server listens on a loopback address.
    pub(crate) loopback: bool,
    /// Turns true once, when the server stops.
    pub(crate) stopping: watch::Receiver<bool>,
    /// Room for streams.
    pub(crate) streams: Arc<Semaphore>,
    /// Room for calls into the program, and for probes.
    pub(crate) calls: Arc<Semaphore>,
    pub(crate) probes: Arc<Semaphore>,
}

impl App {
    /// Asks the program something, where it may block.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn Introspect) -> T + Send + 'static,
    ) -> ApiResult<T> {
        self.ask_in(&self.calls, question).await
    }

    /// Asks what is known without the log, also while every other call waits for that.
    pub(crate) async fn probe<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn Introspect) -> T + Send + 'static,
    ) -> ApiResult<T> {
        self.ask_in(&self.probes, question).await
    }

    /// A call cannot be taken back once its thread has it, so that it waits for one here, where it
    /// goes with its request.
    async fn ask_in<T: Send + 'static>(
        &self,
        room: &Arc<Semaphore>,
        question: impl FnOnce(&dyn Introspect) -> T + Send + 'static,
    ) -> ApiResult<T> {
        let stopping = || ApiError::busy("stopping", "the server is being stopped");
        let permit = Arc::clone(room).acquire_owned().await;
        let permit = permit.map_err(|_| stopping())?;
        let program = Arc::clone(&self.program);
        let answer = spawn_blocking(move || {
            let _permit = permit;
            question(program.as_ref())
        });
        answer.await.map_err(|error| {
            tracing::error!(%error, "the program failed to answer a request");
            ApiError::internal("the program failed to answer; its log says more")
        })
    }

    /// A place among the streams, held as long as the stream is.
    pub(crate) fn stream_permit(&self) -> ApiResult<OwnedSemaphorePermit> {
        Arc::clone(&self.streams).try_acquire_owned().map_err(|_| {
            let most = self.limits.streams;
            ApiError::busy(
                "too_many_streams",
                format!("{most} streams are open, the most allowed"),
            )
        })
    }

    /// The page size a client gets: what it asked for, within bounds.
    pub(crate) fn page_size(&self, asked: Option<usize>, usual: usize) -> ApiResult<usize> {
        let most = self.limits.page_size;
        match asked {
            Some(limit) if limit == 0 || limit > most => Err(ApiError::bad_request(format!(
                "limit must be 1 to {most}, not {limit}"
            ))),
            Some(limit) => Ok(limit),
            None => Ok(usual.min(most)),
        }
    }
}
