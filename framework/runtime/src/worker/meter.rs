//! How long a worker's doings took, and what each store's replay came to: what its plain counts
//! cannot tell, told to the registry as it happens.
//!
//! Invariant: the worker decides nothing by it. One without a meter, as in the simulation, does the
//! same steps in the same order.

use crate::{
    clock::Clock,
    replica::{FullRestore, Replica},
};
use millstream_core::{record::TaskId, task::Ages};
use millstream_metrics::{Counter, Histogram, Metric, Registry};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How much of a store's changelog was replayed, all in all.
#[derive(Clone, Copy)]
pub(super) struct Replayed {
    pub(super) records: u64,
    pub(super) bytes: u64,
}

/// What measures a worker.
pub struct Meter {
    clock: Arc<dyn Clock>,
    registry: Registry,
    /// Made once, since a commit is too frequent to look its series up; `None` if it was refused.
    commits: Option<Histogram>,
    /// Likewise, for each task that has processed here.
    batches: BTreeMap<TaskId, Option<Histogram>>,
    /// Likewise, of the commits of each task.
    ages: BTreeMap<TaskId, Option<(Counter, Histogram)>>,
    /// When the replay of a task began. At most one entry for each task of the program.
    replays: BTreeMap<TaskId, Duration>,
    /// Since when an assignment is waited for.
    rebalancing: Option<Duration>,
}

impl Meter {
    /// Measures a thread, which is named by its number as in the other metrics.
    pub fn new(clock: Arc<dyn Clock>, registry: Registry, thread: &str) -> Self {
        let commits = histogram(&registry, Metric::CommitDuration, &[("thread", thread)]);
        Self {
            clock,
            registry,
            commits,
            batches: BTreeMap::new(),
            ages: BTreeMap::new(),
            replays: BTreeMap::new(),
            rebalancing: None,
        }
    }

    /// Now, to measure from.
    pub(super) fn moment(&self) -> Duration {
        self.clock.elapsed()
    }

    /// The log has answered a commit that was asked for then, whatever the answer.
    pub(super) fn answered(&self, asked: Duration) {
        if let Some(commits) = &self.commits {
            commits.observe_duration(self.since(asked));
        }
    }

    /// A task has processed a batch that it began then.
    pub(super) fn processed(&mut self, task: TaskId, began: Duration) {
        let took = self.since(began);
        let registry = &self.registry;
        let batches = self.batches.entry(task).or_insert_with(|| {
            let name = task.to_string();
            histogram(registry, Metric::ProcessDuration, &[("task", &name)])
        });
        if let Some(batches) = batches {
            batches.observe_duration(took);
        }
    }

    /// What came of a task's records is committed. The step in which the log says so may have begun
    /// before they came.
    pub(super) fn committed(&mut self, task: TaskId, ages: Ages) {
        let now = self.clock.now();
        let Some(greatest) = ages.greatest_ms(now) else {
            return;
        };
        let registry = &self.registry;
        let told = self.ages.entry(task).or_insert_with(|| {
            let name = task.to_string();
            let labels = [("task", name.as_str())];
            let all = counter(registry, Metric::RecordLatency, &labels)?;
            Some((all, histogram(registry, Metric::CommitRecordAge, &labels)?))
        });
        if let Some((all, oldest)) = told {
            all.add_duration(Duration::from_millis(ages.total_ms(now)));
            oldest.observe_duration(Duration::from_millis(greatest));
        }
    }

    /// An assignment will come: the group was joined, or has asked for tasks. What it asks for
    /// meanwhile belongs to the same rebalance.
    pub(super) fn rebalances(&mut self) {
        let now = self.moment();
        self.rebalancing.get_or_insert(now);
    }

    /// It has come, and was taken over.
    pub(super) fn assigned(&mut self) {
        let Some(began) = self.rebalancing.take() else {
            return;
        };
        if let Some(rebalances) = histogram(&self.registry, Metric::RebalanceDuration, &[]) {
            rebalances.observe_duration(self.since(began));
        }
    }

    /// A task's replay begins.
    pub(super) fn replay(&mut self, task: TaskId) {
        let now = self.moment();
        self.replays.insert(task, now);
    }

    /// A replica has come further; `before` is what each of its stores had. Nothing more is told as
    /// well, so that the series of every store is there from its start.
    pub(super) fn replayed(&self, replica: &Replica, before: &[Replayed]) {
        let partition = replica.task().partition.to_string();
        for (store, before) in replica.progress().zip(before) {
            let labels = [("store", &*store.store), ("partition", &*partition)];
            let records = store.records.saturating_sub(before.records);
            self.count(Metric::RestoreRecords, &labels, records);
            let bytes = store.bytes.saturating_sub(before.bytes);
            self.count(Metric::RestoreBytes, &labels, bytes);
        }
    }

    /// A task has all that its changelogs have, and begins to run.
    pub(super) fn caught_up(&mut self, task: TaskId, replica: &Replica) {
        let Some(began) = self.replays.remove(&task) else {
            return;
        };
        let took = self.since(began);
        let partition = task.partition.to_string();
        for progress in replica.progress() {
            let store = ("store", progress.store.as_str());
            if let Some(restores) = histogram(&self.registry, Metric::RestoreDuration, &[store]) {
                restores.observe_duration(took);
            }
            let reason = progress.full.map_or("behind", FullRestore::word);
            self.count(Metric::Restores, &[store, ("reason", reason)], 1);
            // A restore may be over before anybody looks: then this says that there is no more.
            let labels = [store, ("partition", &*partition)];
            match self.registry.gauge(Metric::RestoreRemaining, &labels) {
                Ok(remaining) => remaining.set(0.0),
                Err(error) => tracing::debug!(%error, "a metric was refused"),
            }
        }
    }

    fn count(&self, metric: Metric, labels: &[(&str, &str)], by: u64) {
        if let Some(counter) = counter(&self.registry, metric, labels) {
            counter.add(by);
        }
    }

    fn since(&self, began: Duration) -> Duration {
        self.clock.elapsed().saturating_sub(began)
    }
}

fn counter(registry: &Registry, metric: Metric, labels: &[(&str, &str)]) -> Option<Counter> {
    let made = registry.counter(metric, labels);
    made.inspect_err(|error| tracing::debug!(%error, "a metric was refused"))
        .ok()
}

fn histogram(registry: &Registry, metric: Metric, labels: &[(&str, &str)]) -> Option<Histogram> {
    let made = registry.histogram(metric, labels);
    made.inspect_err(|error| tracing::debug!(%error, "a metric was refused"))
        .ok()
}
