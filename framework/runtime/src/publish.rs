//! From workers' plain counts to metrics. Counters get the difference to what was published last,
//! so that a replaced thread's counts begin anew without the metric going back; gauges of a task
//! go with it, so that what it was here is not shown beside what it is elsewhere.

use crate::{
    clock::Clock,
    streams::{State, ThreadView},
    worker::{Meter, Phase, TaskRole, Totals, WorkerStats},
};
use millstream_core::{
    record::TaskId,
    task::{Counts, Dropped},
};
use millstream_metrics::{Metric, Registry};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// What is shown of each task's size.
const TASK_SIZES: [Metric; 3] = [
    Metric::TaskDirtyBytes,
    Metric::RocksdbDiskBytes,
    Metric::RocksdbMemoryBytes,
];

/// What is shown of what `suppress` holds back.
const HELD_BACK: [Metric; 2] = [
    Metric::SuppressionBufferRecords,
    Metric::SuppressionBufferBytes,
];

/// The metrics of one client.
pub(crate) struct Publisher {
    registry: Registry,
    application_id: String,
    last: Mutex<Last>,
    /// What all tasks have dropped together, those that are elsewhere by now included.
    dropped: Mutex<Dropped>,
}

#[derive(Default)]
struct Last {
    threads: BTreeMap<usize, (Phase, WorkerStats)>,
    /// What each thread had done for each task.
    totals: BTreeMap<(usize, TaskId), Totals>,
    global: Dropped,
    roles: BTreeMap<(usize, &'static str), u64>,
    /// The tasks that each thread held.
    tasks: BTreeMap<usize, BTreeSet<String>>,
    /// Stores (with partition) in which a thread's tasks held changes back.
    holding: BTreeMap<usize, BTreeSet<(String, String)>>,
    /// Stores (with partition) that a thread was restoring.
    restoring: BTreeMap<usize, BTreeSet<(String, String)>>,
}

impl Publisher {
    pub(crate) fn new(registry: Registry, application_id: &str) -> Self {
        let publisher = Self {
            registry,
            application_id: application_id.to_owned(),
            last: Mutex::default(),
            dropped: Mutex::default(),
        };
        // There from the start: a query for growth does not see a series that begins at one.
        publisher.count(Metric::ThreadFailures, &[], 0);
        publisher
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

    /// A meter for the thread of that index.
    pub(crate) fn meter(&self, index: usize, clock: Arc<dyn Clock>) -> Meter {
        // It may be the successor of one that failed, and begins to count at nothing.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.totals.retain(|(of, _), _| *of != index);
        Meter::new(clock, self.registry.clone(), &thread_name(index))
    }

    /// Everything that was dropped, as threads have told it.
    pub(crate) fn all_dropped(&self) -> MutexGuard<'_, Dropped> {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn thread_failed(&self) {
        self.count(Metric::ThreadFailures, &[], 1);
    }

    pub(crate) fn thread(&self, index: usize, view: &ThreadView) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let thread = thread_name(index);
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
        self.threads(&last);
        for (task, totals) in &view.totals {
            let before = last.totals.entry((index, *task)).or_default();
            self.totals(&task.to_string(), totals, before);
        }
        self.tasks(&mut last, index, view);
    }

    /// A thread has ended: it is none of those that there are, and whatever it showed last, it
    /// holds nothing any more.
    pub(crate) fn thread_gone(&self, index: usize) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.threads.remove(&index);
        self.threads(&last);
        let nothing = ThreadView {
            phase: Phase::Rebalancing,
            stats: WorkerStats::default(),
            tasks: Vec::new(),
            totals: BTreeMap::new(),
        };
        self.tasks(&mut last, index, &nothing);
    }

    fn threads(&self, last: &Last) {
        let runs = |(phase, _): &&(Phase, WorkerStats)| *phase == Phase::Running;
        let (all, running) = (
            last.threads.len(),
            last.threads.values().filter(runs).count(),
        );
        for (state, count) in [("running", running), ("rebalancing", all - running)] {
            self.gauge(Metric::Threads, &[("state", state)], count as u64);
        }
    }

    /// What was dropped of global tables' topics shows as a task of their own.
    pub(crate) fn globals(&self, dropped: Dropped) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        self.dropped("global", dropped, &mut last.global);
    }

    /// Counts what was done for a task since `before`, and takes note of it. An abort takes counts
    /// back, which were published or not: what was is not published again.
    fn totals(&self, task: &str, now: &Totals, before: &mut Totals) {
        let labels = [("task", task)];
        let (counts, counted) = (&now.counts, &mut before.counts);
        let processed = growth(counts.processed, &mut counted.processed);
        self.count(Metric::RecordsProcessed, &labels, processed);
        let sent = growth(now.sent, &mut before.sent);
        self.count(Metric::RecordsSent, &labels, sent);
        let late = growth(counts.lateness_ms, &mut counted.lateness_ms);
        self.time(Metric::RecordLateness, &labels, Duration::from_millis(late));
        // The thread adds to it with each commit; it must be there before.
        self.time(Metric::RecordLatency, &labels, Duration::ZERO);
        let told = growth(counts.suppression_emits, &mut counted.suppression_emits);
        self.count(Metric::SuppressionEmits, &labels, told);
        let last = growth(counts.final_emits, &mut counted.final_emits);
        self.count(Metric::FinalEmits, &labels, last);
        self.dropped(task, counts.dropped, &mut counted.dropped);
        self.letters(task, counts, counted);
    }

    /// Dead letters by the topic that they came from. What the clock or a commit made came from
    /// none, and is told of the task.
    fn letters(&self, task: &str, now: &Counts, before: &mut Counts) {
        let before = Arc::make_mut(&mut before.letters);
        for (letter, count) in &*now.letters {
            let source = letter.source.as_deref().unwrap_or(task);
            let labels = [("source", source), ("reason", letter.reason)];
            let letters = growth(*count, before.entry(letter.clone()).or_default());
            self.all_dropped().dead_lettered += letters;
            self.count(Metric::DeadLetters, &labels, letters);
        }
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
            let sizes = [
                task.dirty_bytes as u64,
                task.backend.disk_bytes,
                task.backend.memory_bytes,
            ];
            for (metric, bytes) in TASK_SIZES.into_iter().zip(sizes) {
                self.gauge(metric, &labels, bytes);
            }
        }
        self.forget(last, index, view);
        self.held_back(last, index, view);
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

    /// A task that no thread holds any more has no size here.
    fn forget(&self, last: &mut Last, index: usize, view: &ThreadView) {
        let held = view.tasks.iter().map(|task| task.id.to_string()).collect();
        for task in gone(&mut last.tasks, index, held) {
            self.remove(&TASK_SIZES, &[("task", &task)]);
        }
    }

    /// What tasks hold back; one that no thread holds any more holds nothing back here.
    fn held_back(&self, last: &mut Last, index: usize, view: &ThreadView) {
        let mut holding = BTreeSet::new();
        for task in &view.tasks {
            for held in &task.suppression_buffers {
                let of = (held.store.to_string(), task.id.partition.to_string());
                self.left(HELD_BACK[0], &of, held.records as u64);
                self.left(HELD_BACK[1], &of, held.bytes as u64);
                holding.insert(of);
            }
        }
        for (store, partition) in gone(&mut last.holding, index, holding) {
            let labels = [("store", store.as_str()), ("partition", &partition)];
            self.remove(&HELD_BACK, &labels);
        }
    }

    /// A store that is no longer restored has nothing left to read: its gauge must not stay.
    fn restores(&self, last: &mut Last, index: usize, view: &ThreadView) {
        let mut restoring = BTreeSet::new();
        for task in &view.tasks {
            for store in &task.restore {
                let of = (store.store.clone(), task.id.partition.to_string());
                let remaining = u64::try_from(store.end - store.position).unwrap_or(0);
                self.left(Metric::RestoreRemaining, &of, remaining);
                if let Some(seconds) = store.seconds_left() {
                    self.left(Metric::RestoreEta, &of, seconds);
                }
                restoring.insert(of);
            }
        }
        let before = last.restoring.insert(index, restoring.clone());
        for done in before.unwrap_or_default().difference(&restoring) {
            self.left(Metric::RestoreRemaining, done, 0);
            self.left(Metric::RestoreEta, done, 0);
        }
    }

    fn remove(&self, metrics: &[Metric], labels: &[(&str, &str)]) {
        for metric in metrics {
            if let Err(error) = self.registry.remove(*metric, labels) {
                tracing::debug!(%error, "a metric was refused");
            }
        }
    }

    fn left(&self, metric: Metric, (store, partition): &(String, String), amount: u64) {
        let labels = [("store", store.as_str()), ("partition", partition)];
        self.gauge(metric, &labels, amount);
    }

    fn dropped(&self, task: &str, now: Dropped, before: &mut Dropped) {
        let all = &mut *self.all_dropped();
        macro_rules! reasons {
            ($($reason:ident),*) => {
                [$((
                    stringify!($reason), now.$reason, &mut before.$reason, &mut all.$reason
                )),*]
            };
        }
        let reasons = reasons![
            deserialization,
            processing,
            production,
            null_key,
            invalid_timestamp,
            late_record,
            lost
        ];
        for (reason, now, before, all) in reasons {
            let labels = [("task", task), ("reason", reason)];
            let grown = growth(now, before);
            *all += grown;
            self.count(Metric::RecordsDropped, &labels, grown);
        }
    }

    fn count(&self, metric: Metric, labels: &[(&str, &str)], by: u64) {
        match self.registry.counter(metric, labels) {
            Ok(counter) => counter.add(by),
            Err(error) => tracing::debug!(%error, "a metric was refused"),
        }
    }

    fn time(&self, metric: Metric, labels: &[(&str, &str)], by: Duration) {
        match self.registry.counter(metric, labels) {
            Ok(counter) => counter.add_duration(by),
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

/// The number of a thread as labels show it, counted from 1 as in its name.
fn thread_name(index: usize) -> String {
    format!("{}", index + 1)
}

/// How much a count is more than it ever was before.
fn growth(now: u64, before: &mut u64) -> u64 {
    let grown = now.saturating_sub(*before);
    *before += grown;
    grown
}

/// How much a count grew; one that began anew grew by all it is.
fn since(after: u64, before: u64) -> u64 {
    after.checked_sub(before).unwrap_or(after)
}

/// Notes what a thread shows now; what it showed before and no thread shows any more.
fn gone<T: Ord>(
    shown: &mut BTreeMap<usize, BTreeSet<T>>,
    index: usize,
    now: BTreeSet<T>,
) -> impl Iterator<Item = T> {
    let before = shown.insert(index, now).unwrap_or_default();
    let is_shown = |one: &T| shown.values().any(|of| of.contains(one));
    before.into_iter().filter(move |one| !is_shown(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_to_drop_a_record_has_a_series_that_counts_it_alone() {
        let registry = Registry::new().unwrap();
        let publisher = Publisher::new(registry.clone(), "app");
        let dropped = Dropped {
            deserialization: 1,
            processing: 2,
            production: 3,
            null_key: 4,
            invalid_timestamp: 5,
            late_record: 6,
            lost: 7,
            dead_lettered: 0,
        };
        let mut before = Dropped::default();
        publisher.dropped("0_0", dropped, &mut before);
        assert_eq!(before, dropped);
        // What was told is not told again.
        publisher.dropped("0_0", dropped, &mut before);
        let text = registry.render().unwrap();
        let counts = |series: &str| -> Vec<String> {
            let lines = text.lines().filter_map(|line| line.strip_prefix(series));
            lines.map(str::to_owned).collect()
        };
        let reasons = [
            "deserialization\",task=\"0_0\"} 1",
            "invalid_timestamp\",task=\"0_0\"} 5",
            "late_record\",task=\"0_0\"} 6",
            "lost\",task=\"0_0\"} 7",
            "null_key\",task=\"0_0\"} 4",
            "processing\",task=\"0_0\"} 2",
            "production\",task=\"0_0\"} 3",
        ];
        assert_eq!(counts("streams_records_dropped_total{reason=\""), reasons);
        assert_eq!(*publisher.all_dropped(), dropped);
    }
}
