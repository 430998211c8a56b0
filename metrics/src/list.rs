//! The list itself: each metric of the system once, with its help as its documentation.
//!
//! To add one, add an entry here and write it somewhere: a rule of the architecture asks for that.
//! Kafka Streams ships averages and rates over JMX; here are counters and histograms, and the
//! reader's query does the arithmetic.

use crate::metric::{
    Kind::{self, Counter, Gauge, Histogram},
    Spec,
    Unit::{self, Bytes, One, Seconds},
};

/// From a cached read to a batch that calls out: 100 microseconds to 10 seconds.
const WORK: &[f64] = &[
    0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];
/// From a store that was almost there to one that is read from the start: 0.1 seconds to 1 hour.
const LONG: &[f64] = &[0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0];

/// From a record that has just come to one that is read again: 10 milliseconds to 1 day.
const AGES: &[f64] = &[
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0, 86400.0,
];

/// Makes the enum, its list and its specs from one table, so that they cannot disagree.
macro_rules! metrics {
    ($($variant:ident = $name:literal, $unit:expr, $kind:expr, $labels:expr, $help:literal;)*) => {
        /// A metric of the system. See [`Metric::spec`] for its name, unit, kind and labels.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Metric {
            $(#[doc = $help] #[doc = concat!("\n\nIn the exposition: `", $name, "`.")] $variant,)*
        }

        impl Metric {
            /// Every metric, in the order of the list.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// All that is fixed about it.
            pub const fn spec(self) -> &'static Spec {
                match self {
                    $(Self::$variant => {
                        const UNIT: Unit = $unit;
                        const KIND: Kind = $kind;
                        const LABELS: &[&str] = &$labels;
                        &Spec { name: $name, help: $help, unit: UNIT, kind: KIND, labels: LABELS }
                    })*
                }
            }
        }
    };
}

metrics! {
    // The client and its threads.
    BuildInfo = "streams_build_info", One, Gauge, ["version", "revision"],
        "What is running, always 1. The revision is unknown where no SOURCE_REVISION was built in.";
    ClientState = "streams_client_state", One, Gauge, ["application_id", "state"],
        "Whether the client is in this state, 0 or 1.";
    Threads = "streams_threads", One, Gauge, ["state"],
        "StreamThreads by the state they are in.";
    ThreadFailures = "streams_thread_failures_total", One, Counter, [],
        "StreamThreads that ended by an error.";

    // Records.
    RecordsProcessed = "streams_records_processed_total", One, Counter, ["task"],
        "Input records that a task has taken in.";
    RecordsSent = "streams_records_sent_total", One, Counter, ["task"],
        "Output records that a task has sent to topics, changelogs left out.";
    RecordsDropped = "streams_records_dropped_total", One, Counter, ["task", "reason"],
        "Records left out of processing, by the reason.";
    RecordLateness = "streams_record_lateness_seconds_total", Seconds, Counter, ["task"],
        "Time by which input records were older than the newest one before them, summed up.";
    RecordLatency = "streams_record_e2e_latency_seconds_total", Seconds, Counter, ["task"],
        "Time from input records' timestamps until what came of them was committed, summed up.";
    CommitRecordAge = "streams_commit_record_age_seconds", Seconds, Histogram(AGES), ["task"],
        "Age of the oldest input record of a commit when it was committed.";
    SuppressionEmits = "streams_suppression_emits_total", One, Counter, ["task"],
        "Changes that suppress had held back and has told.";
    FinalEmits = "streams_emit_final_records_total", One, Counter, ["task"],
        "Results of windows that were told when they closed.";
    DeadLetters = "streams_dead_letters_total", One, Counter, ["source", "reason"],
        "Records and rows put aside on a dead-letter topic, by where they came from and why.";
    ProcessDuration = "streams_process_duration_seconds", Seconds, Histogram(WORK), ["task"],
        "Time to process one batch of records.";
    ConsumerLagRecords = "streams_consumer_lag_records", One, Gauge, ["topic", "partition"],
        "Records (packs, of a repartition topic) committed in an input and not yet processed here.";

    // Tasks, rebalances and restore.
    Tasks = "streams_tasks", One, Gauge, ["role", "state"],
        "Tasks of this client by role and state.";
    Rebalances = "streams_rebalances_total", One, Counter, ["reason"],
        "Changes of the assignment that this client took part in.";
    RebalanceDuration = "streams_rebalance_duration_seconds", Seconds, Histogram(LONG), [],
        "Time from joining the group, or a revocation, to the assignment that follows it.";
    RestoreRecords = "streams_restore_records_total", One, Counter, ["store", "partition"],
        "Changelog records replayed into a store, to restore it or as a standby.";
    RestoreBytes = "streams_restore_bytes_total", Bytes, Counter, ["store", "partition"],
        "Bytes of changelog records replayed into a store, keys and values.";
    RestoreEta = "streams_restore_eta_seconds", Seconds, Gauge, ["store", "partition"],
        "Time until a store is restored, should replay go on as it went.";
    Restores = "streams_restores_total", One, Counter, ["store", "reason"],
        "Stores that were brought up to their changelog, by why: they were behind, or began anew.";
    RestoreRemaining = "streams_restore_remaining_records", One, Gauge, ["store", "partition"],
        "Changelog records still to read before a store is restored.";
    RestoreDuration = "streams_restore_duration_seconds", Seconds, Histogram(LONG), ["store"],
        "Time to restore one partition of a store.";

    // Commits.
    Commits = "streams_commits_total", One, Counter, ["thread", "outcome"],
        "Commits by what became of them: committed, aborted, fenced or unknown.";
    CommitDuration = "streams_commit_duration_seconds", Seconds, Histogram(WORK), ["thread"],
        "Time from the request of a commit to the log's answer, whatever that was.";

    // Stores.
    TaskDirtyBytes = "streams_task_dirty_bytes", Bytes, Gauge, ["task"],
        "Size of the changes to a task's stores that are not committed yet.";
    SuppressionBufferRecords =
        "streams_suppression_buffer_records", One, Gauge, ["store", "partition"],
        "Changes of a table that `suppress` holds back in a store.";
    SuppressionBufferBytes =
        "streams_suppression_buffer_bytes", Bytes, Gauge, ["store", "partition"],
        "Size of the changes held back, roughly: what a limit in bytes is held against.";
    RocksdbDiskBytes = "streams_rocksdb_disk_bytes", Bytes, Gauge, ["task"],
        "Size of the files that RocksDB keeps for a task.";
    RocksdbMemoryBytes = "streams_rocksdb_memory_bytes", Bytes, Gauge, ["task"],
        "Memory that RocksDB holds for a task's writes.";

    // Sinks.
    SinkRows = "streams_sink_rows_total", One, Counter, ["sink", "outcome"],
        "Records a sink is past: written, skipped, refused, or lost because the topic forgot them.";
    SinkPendingRows = "streams_sink_pending_rows", One, Gauge, ["sink"],
        "Rows that wait on the output topic for a sink, in partitions of which it has the place.";
    SinkState = "streams_sink_state", One, Gauge, ["sink", "state"],
        "Whether a sink is in this state, 0 or 1.";
    SinkTroubles = "streams_sink_troubles_total", One, Counter, ["sink", "kind"],
        "What a sink has got over: attempts to retry, partitions fenced, dead letters shortened.";

    // Models.
    ModelInfo = "streams_model_info", One, Gauge, ["model", "version"],
        "The version of a model that predicts now, always 1.";
    ModelPredictions =
        "streams_model_predictions_total", One, Counter, ["model", "partition"],
        "Predictions the model of a partition has made on this instance since it came here.";
    ModelLearned = "streams_model_learned_total", One, Counter, ["model", "partition"],
        "Labelled examples the model of a partition has learned from, wherever it was then.";
    ModelQuality = "streams_model_quality", One, Gauge, ["model", "metric", "window"],
        "Grade of a model's predictions made before it learned the label.";

    // The connections to a log behind a network.
    LogRequests = "streams_log_requests_total", One, Counter, ["client"],
        "Requests a client of the log has sent.";
    LogRetries = "streams_log_request_retries_total", One, Counter, ["client"],
        "Requests a client of the log has sent again.";
    LogTimeouts = "streams_log_request_timeouts_total", One, Counter, ["client"],
        "Requests of a client of the log that were not answered in time.";
    LogTraffic = "streams_log_traffic_bytes_total", Bytes, Counter, ["client", "direction"],
        "Bytes a client of the log has sent and received.";
    LogRoundTrip = "streams_log_round_trip_seconds", Seconds, Gauge, ["client"],
        "Mean time of a request to the slowest broker.";
    LogQueuedRecords = "streams_log_queued_records", One, Gauge, ["client"],
        "Records that wait in a client to be sent or acknowledged.";

    // The metrics themselves.
    SeriesOverflow = "streams_metric_series_overflow_total", One, Counter, ["metric"],
        "Requests for a label set beyond the bound, answered with the overflow series.";
}

impl std::fmt::Display for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.spec().name)
    }
}
