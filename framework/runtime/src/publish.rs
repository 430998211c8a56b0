//! From workers' plain counts to metrics. Counters get the difference to what was published last,
//! so that a replaced thread's counts begin anew without the metric going back.

use crate::{
    streams::{State, ThreadView},
    worker::{Phase, TaskRole, WorkerStats},
};
use millstream_core::task::Dropped;
use millstream_metrics::{Metric, Registry};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

/// The metrics of one client.
pub(crate) struct Publisher {
    registry: Registry,
    application_id: String,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    threads: BTreeMap<usize, (Phase, WorkerStats)>,
    processed: BTreeMap<String, u64>,
    sent: BTreeMap<String, u64>,
    dropped: BTreeMap<String, Dropped>,
    roles: BTreeMap<(usize, &'static str), u64>,
    /// Stores (with partition) that a thread was restoring.
    restoring: BTreeMap<usize, BTreeSet<(String, String)>>,
}

impl Publisher {
    pub(crate) fn new(registry: Registry, application_id: &str) -> Self {
        Self {
            registry,
            application_id: application_id.to_owned(),
            last: Mutex::default(),
        }
    }

    pub(crate) fn state(&self, now: State) {
        for state in State::ALL {
            let name = state.to_string();
            let labels = [
                ("application_id", self.application_id.as_str()),
                ("state", &name),
            ];
            self.gauge(Metric::ClientState, &labels, u64::from(state == now));
        }
    }

    pub(crate) fn thread_failed(&self) {
        self.count(Metric::ThreadFailures, &[], 1);
    }

    pub(crate) fn thread(&self, index: usize, view: &ThreadView) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let thread = format!("{}", index + 1);
        let before = last.threads.insert(index, (view.phase, view.stats));
        let before = before.map(|(_, stats)| stats).unwrap_or_default();
        let after = view.stats;
        let commits = [
            ("committed", after.commits, before.commits),
            ("aborted", after.aborted, before.aborted),
            ("fenced", after.fenced, before.fenced),
            ("unknown", after.unknown, before.unknown),
        ];
        for (outcome, after, before) in commits {
            let labels = [("thread", thread.as_str()), ("outcome", outcome)];
            self.count(Metric::Commits, &labels, since(after, before));
        }
        let rebalances = since(after.rebalances, before.rebalances);
        self.count(Metric::Rebalances, &[("reason", "assignment")], rebalances);
        let running = last
            .threads
            .values()
            .filter(|(p, _)| *p == Phase::Running)
            .count();
        let all = last.threads.len();
        self.gauge(Metric::Threads, &[("state", "running")], running as u64);
        self.gauge(
            Metric::Threads,
            &[("state", "rebalancing")],
            (all - running) as u64,
        );
        self.tasks(&mut last, index, view);
    }

    fn tasks(&self, last: &mut Last, index: usize, view: &ThreadView) {
        for role in ["active", "restoring", "standby"] {
            last.roles.insert((index, role), 0);
        }
        for task in &view.tasks {
            let role = match task.role {
                TaskRole::Active => "active",
                TaskRole::Restoring => "restoring",
                TaskRole::Standby => "standby",
            };
            *last.roles.entry((index, role)).or_default() += 1;
            let name = task.id.to_string();
            let labels = [("task", name.as_str())];
            if task.role == TaskRole::Active {
                let before = last.processed.insert(name.clone(), task.processed);
                let processed = since(task.processed, before.unwrap_or(0));
                self.count(Metric::RecordsProcessed, &labels, processed);
                let before = last.sent.insert(name.clone(), task.sent);
                let sent = since(task.sent, before.unwrap_or(0));
                self.count(Metric::RecordsSent, &labels, sent);
                let before = last
                    .dropped
                    .insert(name.clone(), task.dropped)
                    .unwrap_or_default();
                self.dropped(&name, task.dropped, before);
            }
            self.gauge(Metric::RocksdbDiskBytes, &labels, task.backend.disk_bytes);
            self.gauge(
                Metric::RocksdbMemoryBytes,
                &labels,
                task.backend.memory_bytes,
            );
        }
        self.restores(last, index, view);
        for role in ["active", "restoring", "standby"] {
            let of_role = last.roles.iter().filter(|((_, name), _)| *name == role);
            let number = of_role.map(|(_, number)| number).sum();
            let state = if role == "restoring" {
                "restoring"
            } else {
                "running"
            };
            let role = if role == "standby" {
                "standby"
            } else {
                "active"
            };
            self.gauge(Metric::Tasks, &[("role", role), ("state", state)], number);
        }
    }

    /// A store that is no longer restored has nothing left to read: its gauge must not stay.
    fn restores(&self, last: &mut Last, index: usize, view: &ThreadView) {
        let mut restoring = BTreeSet::new();
        for task in &view.tasks {
            for store in &task.restore {
                let of = (store.store.clone(), task.id.partition.to_string());
                let remaining = u64::try_from(store.end - store.position).unwrap_or(0);
                self.remaining(&of, remaining);
                restoring.insert(of);
            }
        }
        let before = last.restoring.insert(index, restoring.clone());
        for done in before.unwrap_or_default().difference(&restoring) {
            self.remaining(done, 0);
        }
    }

    fn remaining(&self, (store, partition): &(String, String), records: u64) {
        let labels = [("store", store.as_str()), ("partition", partition)];
        self.gauge(Metric::RestoreRemaining, &labels, records);
    }

    fn dropped(&self, task: &str, after: Dropped, before: Dropped) {
        let reasons = [
            (
                "deserialization",
                after.deserialization,
                before.deserialization,
            ),
            ("processing", after.processing, before.processing),
            ("null_key", after.null_key, before.null_key),
            (
                "invalid_timestamp",
                after.invalid_timestamp,
                before.invalid_timestamp,
            ),
        ];
        for (reason, after, before) in reasons {
            let labels = [("task", task), ("reason", reason)];
            self.count(Metric::RecordsDropped, &labels, since(after, before));
        }
        let letters = since(after.dead_lettered, before.dead_lettered);
        let labels = [("source", task), ("reason", "record")];
        self.count(Metric::DeadLetters, &labels, letters);
    }

    fn count(&self, metric: Metric, labels: &[(&str, &str)], by: u64) {
        match self.registry.counter(metric, labels) {
            Ok(counter) => counter.add(by),
            Err(error) => tracing::debug!(%error, "a metric was refused"),
        }
    }

    fn gauge(&self, metric: Metric, labels: &[(&str, &str)], value: u64) {
        match self.registry.gauge(metric, labels) {
            Ok(gauge) => gauge.set_count(value),
            Err(error) => tracing::debug!(%error, "a metric was refused"),
        }
    }
}

/// How much a count grew; one that began anew grew by all it is.
fn since(after: u64, before: u64) -> u64 {
    after.checked_sub(before).unwrap_or(after)
}
