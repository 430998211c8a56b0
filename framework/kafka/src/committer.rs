//! The thread on which commits are made while their client goes on.
//!
//! A commit is a few round trips of waiting, in which the thread of the tasks can fetch and process
//! (it must not send: there is one transaction at a time). The producer itself goes to the
//! committer with the job and comes back with the answer. Invariant: the producer is in one place,
//! and while it is away nothing else can be done with it.

use crate::{
    ffi::{GroupMetadata, PartitionList},
    producer::Producer,
    wake::Waker,
};
use millstream_core::record::{Offset, TopicPartition};
use millstream_log::{Error, Result};
use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

/// A commit to be made.
pub(crate) struct Job {
    pub(crate) producer: Producer,
    pub(crate) places: Option<(PartitionList, Arc<GroupMetadata>)>,
}

/// A producer that is back, and where its transaction ended.
pub(crate) struct Answer {
    pub(crate) producer: Producer,
    pub(crate) ends: Result<Vec<(TopicPartition, Offset)>>,
}

/// The thread, with the way there and back.
pub(crate) struct Committer {
    jobs: Option<SyncSender<Job>>,
    answers: Receiver<Answer>,
    thread: Option<JoinHandle<()>>,
    /// How long the commit that was begun last may take.
    limit: Duration,
}

impl Committer {
    /// Starts the thread of a client; `waker` is told of each answer.
    pub(crate) fn start(client: &str, waker: &Arc<Waker>) -> Result<Self> {
        let (jobs, todo) = sync_channel::<Job>(1);
        let (done, answers) = sync_channel(1);
        let waker = Arc::clone(waker);
        let run = move || {
            for mut job in todo {
                let places = (job.places.as_ref()).map(|(list, proof)| (list, &**proof));
                let ends = job.producer.commit(places);
                let producer = job.producer;
                if done.send(Answer { producer, ends }).is_err() {
                    return;
                }
                waker.wake();
            }
        };
        let named = std::thread::Builder::new().name(format!("commit-{client}"));
        let thread = named.spawn(run);
        let thread = thread.map_err(|error| Error::Fatal(format!("no thread: {error}")))?;
        Ok(Self {
            jobs: Some(jobs),
            answers,
            thread: Some(thread),
            limit: Duration::ZERO,
        })
    }

    /// One whose thread has ended, with all that it had.
    #[cfg(test)]
    pub(crate) fn ended() -> Self {
        Self {
            jobs: None,
            answers: sync_channel(0).1,
            thread: None,
            limit: Duration::ZERO,
        }
    }

    /// Begins a commit. There is one at a time.
    pub(crate) fn begin(&mut self, job: Job) -> Result<()> {
        self.limit = job.producer.commit_limit();
        let jobs = self.jobs.as_ref();
        let sent = jobs.is_some_and(|jobs| jobs.send(job).is_ok());
        if sent { Ok(()) } else { Err(gone()) }
    }

    /// How long the commit that was begun last may take.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// The answer, if it comes within the wait.
    pub(crate) fn answer(&self, wait: Duration) -> Result<Option<Answer>> {
        match self.answers.recv_timeout(wait) {
            Ok(answer) => Ok(Some(answer)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(gone()),
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // If it panicked, its producer is gone, and with it the transaction.
            drop(thread.join());
        }
    }
}

fn gone() -> Error {
    Error::Fatal("the thread that commits has ended: the client must be made anew".into())
}
