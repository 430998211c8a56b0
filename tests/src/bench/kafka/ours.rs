//! Our side: the workloads, run by `Streams` with state in RocksDB.
//!
//! The log is whatever [`broker`] or [`embedded`] opens; nothing below them knows which. The tests
//! at the end run every workload on the embedded log and compare with what the workloads are
//! defined to be.

use super::{
    super::{
        Figures, Meter,
        embedded::cache_bytes_per_store,
        workloads::{self, Seen, Workload},
    },
    carry::{Cleaner, carry, carry_in, embedded},
    job::{COMMIT_INTERVAL_MS, Job, PARTITIONS, SECONDS_MAX, Stage},
};
use anyhow::{Context, Result, bail};
use millstream::metrics::Registry;
use millstream_core::task::TaskConfig;
use millstream_kafka::{KafkaConfig, KafkaLog};
use millstream_log::Broker;
use millstream_runtime::{
    backends::RocksBackends,
    clock::{Clock, SystemClock},
    streams::{LogSource, State, Streams, StreamsConfig},
    worker::Settings,
};
use millstream_state::{Limits, Shared};
use std::{
    io::Read,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// How often the main thread looks how far the stream thread is: seldom, as on all sides, because
/// looking takes processor time too.
const LOOK: Duration = Duration::from_millis(5);

/// A program without a result for so long has no more to come.
const QUIET: Duration = Duration::from_secs(5);

/// `rocksdb.block.cache.bytes` and `rocksdb.write.buffer.bytes`: what every app gets.
const READ_BYTES: usize = 64 << 20;
const WRITE_BYTES: usize = 96 << 20;

/// Opens the log that a job names. Nothing is compressed, since the peers' defaults do not either;
/// all else is as the log recommends it.
fn broker(job: &Job) -> Result<Arc<dyn Broker>> {
    let pair = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    let log = KafkaLog::connect(
        KafkaConfig {
            application_id: job.application_id.clone(),
            process_id: "1".to_owned(),
            replication_factor: -1,
            task_timeout: Duration::from_secs(60),
            client: pair("bootstrap.servers", &job.servers),
            producer: pair("compression.type", "none"),
            ..KafkaConfig::default()
        },
        SystemClock::stopwatch(),
    )?;
    Ok(Arc::new(log))
}

/// Runs a job that was handed over as JSON.
pub(super) fn child(part: &str, _: &Path) -> Result<Figures> {
    let job: Job = serde_json::from_str(part).context("a job")?;
    let shared = Shared::new(Limits {
        block_cache_bytes: READ_BYTES,
        write_buffer_bytes: WRITE_BYTES,
    });
    match job.stage {
        Stage::OnCluster => run(broker(&job)?, &job, shared),
        Stage::Embedded => {
            let log = embedded(&job, &shared)?;
            let cleaner = Cleaner::start(&log);
            let figures = run(Arc::new(log), &job, shared);
            // Also where that failed: a process must not end while a thread has the storage open.
            let stopped = cleaner.stop();
            figures.and_then(|figures| stopped.map(|()| figures))
        }
        Stage::CarryIn => {
            carry_in(&*broker(&job)?, &embedded(&job, &shared)?, &job)?;
            Ok(Figures::new())
        }
        Stage::CarryOut => {
            let log = embedded(&job, &shared)?;
            carry(&log, &*broker(&job)?, &job.topics.output)?;
            drop(log);
            std::fs::remove_dir_all(job.log())?;
            Ok(Figures::new())
        }
    }
}

/// Runs a job to its end.
fn run(broker: Arc<dyn Broker>, job: &Job, shared: Shared) -> Result<Figures> {
    let clock = SystemClock::new();
    let whole = Meter::start()?;
    let seen = Seen::default();
    let streams = streams(broker, (job, shared), &seen)?;
    streams.start()?;
    let wait = |count: u64, over: &AtomicBool| -> Result<()> {
        while seen.records() < count && !over.load(Ordering::Acquire) {
            if streams.state() == State::Error {
                bail!("{:?}", streams.failure());
            }
            if clock.elapsed() > Duration::from_secs(SECONDS_MAX) {
                bail!("{} of {count} records in time", seen.records());
            }
            std::thread::park_timeout(LOOK);
        }
        Ok(())
    };
    if job.restored > 0 {
        return restored(&streams, job, &whole);
    }
    if job.records == 0 {
        wait(u64::MAX, &*until_input_ends()?)?;
        streams.close();
        return whole.figures(seen.records());
    }
    let never = AtomicBool::new(false);
    wait(job.warmup, &never)?;
    let startup = whole.elapsed();
    let meter = Meter::start()?;
    wait(job.records, &never)?;
    let busy = match job.workload {
        Workload::ForeignJoin => quiet(&seen, &meter),
        _ => meter.elapsed(),
    };
    if streams.close() != State::NotRunning {
        bail!("{:?}", streams.failure());
    }
    let told = [
        ("records", exact(job.records - job.warmup)),
        ("seconds", busy.as_secs_f64()),
        ("seconds_to_close", meter.elapsed().as_secs_f64()),
        ("cpu_seconds", meter.cpu_seconds()?),
        ("cpu_seconds_total", whole.cpu_seconds()?),
        ("max_rss_mb", whole.figures(job.records)?["max_rss_mb"]),
        ("startup_seconds", startup.as_secs_f64()),
    ];
    Ok(told.map(|(name, value)| (name.to_owned(), value)).into())
}

/// What goes over topics of the program's own is not over with the input: waits until nothing more
/// comes; how long it took until the last that came.
fn quiet(seen: &Seen, meter: &Meter) -> Duration {
    let (mut results, mut last) = (seen.results(), meter.elapsed());
    while meter.elapsed() < last + QUIET {
        std::thread::park_timeout(LOOK);
        let now = seen.results();
        if now != results {
            (results, last) = (now, meter.elapsed());
        }
    }
    last
}

/// From start to running, with nothing on disk.
fn restored(streams: &Streams, job: &Job, meter: &Meter) -> Result<Figures> {
    let limit = Duration::from_secs(SECONDS_MAX);
    let state = streams.wait_for(
        |state| matches!(state, State::Running | State::Error),
        limit,
    );
    let (seconds, cpu) = (meter.elapsed().as_secs_f64(), meter.cpu_seconds()?);
    if state != State::Running {
        bail!("{state}: {:?}", streams.failure());
    }
    let told = [
        ("records", exact(job.restored)),
        ("seconds", seconds),
        ("seconds_to_close", seconds),
        ("cpu_seconds", cpu),
        ("cpu_seconds_total", cpu),
        ("max_rss_mb", meter.figures(job.restored)?["max_rss_mb"]),
    ];
    let threads = streams.threads();
    let came: u64 = threads.iter().map(|thread| thread.stats.restored).sum();
    // Not fewer; more where the changelog still holds older values of a key.
    if came < job.restored {
        bail!("{came} of {} keys came back", job.restored);
    }
    streams.close();
    Ok(told.map(|(name, value)| (name.to_owned(), value)).into())
}

/// A flag that is set when standard input ends.
fn until_input_ends() -> Result<Arc<AtomicBool>> {
    let over = Arc::new(AtomicBool::new(false));
    let flag = over.clone();
    std::thread::Builder::new().spawn(move || {
        // Whatever ends it, an error too, ends the work.
        drop(std::io::stdin().read_to_end(&mut Vec::new()));
        flag.store(true, Ordering::Release);
    })?;
    Ok(over)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn exact(count: u64) -> f64 {
    count as f64
}

fn streams(broker: Arc<dyn Broker>, (job, shared): (&Job, Shared), seen: &Seen) -> Result<Streams> {
    let topology = Arc::new(workloads::topology(job.workload, &job.topics, seen)?);
    let mut task = TaskConfig::new(&*job.application_id);
    task.cache_bytes = cache_bytes_per_store(&topology, PARTITIONS);
    let id = &job.application_id;
    let mut settings = Settings::new(format!("{id}-1"), id.clone());
    settings.commit_interval_ms = COMMIT_INTERVAL_MS;
    let config = StreamsConfig::new(task, settings, Registry::new()?);
    let backends = Arc::new(RocksBackends::open(&job.state, shared)?);
    let logs: LogSource = Arc::new(move || broker.client());
    Ok(Streams::new(topology, config, logs, backends)?)
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{embedded::CACHE_BYTES, workloads::Names},
        *,
    };
    use millstream_core::record::{Headers, RawRecord, TopicPartition};
    use millstream_log::{Cleanup, EmbeddedLog, Log, TopicSpec};
    use std::collections::BTreeMap;

    const RECORDS: u64 = 2_000;
    const KEYS: u64 = 30;
    /// No commit takes place between so few records, so a page holds them all.
    const PAGE: usize = 1 << 20;

    fn value(number: u64) -> Vec<u8> {
        let mut value = vec![u8::try_from(number % 256).unwrap(); 100];
        value[8..16].copy_from_slice(&number.to_be_bytes());
        value
    }

    fn key(number: u64) -> Vec<u8> {
        format!("key-{:06}", number % KEYS).into_bytes()
    }

    fn filled(workload: Workload, state: &Path) -> (EmbeddedLog, Job) {
        let log = EmbeddedLog::in_memory();
        let job = Job {
            workload,
            servers: String::new(),
            topics: Names {
                input: "in".to_owned(),
                table: "table".to_owned(),
                output: "out".to_owned(),
            },
            application_id: "app".to_owned(),
            state: state.to_owned(),
            records: RECORDS,
            warmup: RECORDS / 4,
            restored: 0,
            stage: Stage::Embedded,
            traffic: Vec::new(),
        };
        let Names {
            input,
            table,
            output,
        } = &job.topics;
        for name in [input, table, output] {
            log.create_topic(&TopicSpec {
                name: name.clone(),
                partitions: 1,
                cleanup: Cleanup::Delete { retention_ms: None },
            })
            .unwrap();
        }
        let mut client = log.client();
        let mut send = |topic: &str, number: u64, time: u64, value: &[u8]| {
            let record = RawRecord {
                key: Some(&key(number)),
                value: Some(value),
                timestamp: time.try_into().unwrap(),
                headers: &Headers::NONE,
            };
            client.send(topic, Some(0), record).unwrap();
        };
        // One key has no row.
        (1..KEYS).for_each(|number| send("table", number, number, &[b'r'; 50]));
        (0..RECORDS).for_each(|number| send("in", number, 1_000 + number, &value(number)));
        client.commit(1, &[]).unwrap();
        (log, job)
    }

    fn shared() -> Shared {
        Shared::new(Limits::default())
    }

    type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

    fn output(log: &EmbeddedLog) -> Pairs {
        let mut client = log.client();
        let at = TopicPartition::new("out", 0);
        let (mut from, mut found) = (0, Vec::new());
        while from < client.end(&at).unwrap() {
            let page = client.read(&at, from, PAGE).unwrap();
            for (_, record) in page.records.iter() {
                found.push((record.key.unwrap().to_vec(), record.value.unwrap().to_vec()));
            }
            from = page.next;
        }
        found
    }

    fn run_all(workload: Workload) -> Pairs {
        let state = tempfile::tempdir().unwrap();
        let (log, job) = filled(workload, state.path());
        let figures = run(Arc::new(log.clone()), &job, shared()).unwrap();
        assert!((figures["records"] - 1_500.0).abs() < f64::EPSILON);
        output(&log)
    }

    #[test]
    fn no_workload_has_larger_caches_than_an_app() {
        let (_, job) = filled(Workload::ForeignJoin, Path::new("nowhere"));
        for (workload, stores) in [
            (Workload::Tumbling, 1),
            (Workload::Session, 1),
            (Workload::StreamJoin, 2),
            // And the one of subscriptions, which has none.
            (Workload::ForeignJoin, 2),
        ] {
            let seen = Seen::default();
            let topology = workloads::topology(workload, &job.topics, &seen).unwrap();
            assert_eq!(topology.cached_stores(), stores);
            let all = cache_bytes_per_store(&topology, PARTITIONS) * stores * PARTITIONS as usize;
            assert!(all <= CACHE_BYTES && all > CACHE_BYTES / 2, "{all}");
        }
    }

    #[test]
    fn stateless_keeps_and_flips() {
        let kept = (0..RECORDS).filter(|number| number % 8 != 0);
        let flip = |number| value(number).iter().map(|byte| byte ^ 0x5a).collect();
        let wanted: Pairs = kept.map(|number| (key(number), flip(number))).collect();
        assert_eq!(run_all(Workload::Stateless), wanted);
    }

    #[test]
    fn count_tells_every_count() {
        let mut counts = BTreeMap::<_, u64>::new();
        let wanted: Pairs = (0..RECORDS)
            .map(|number| {
                let count = counts.entry(key(number)).or_default();
                *count += 1;
                (key(number), count.to_be_bytes().to_vec())
            })
            .collect();
        assert_eq!(run_all(Workload::Count), wanted);
    }

    #[test]
    fn join_meets_the_rows() {
        let wanted: Pairs = (0..RECORDS)
            .filter(|number| number % KEYS != 0)
            .map(|number| {
                let value = [&value(number)[..16], &[b'r'; 50]].concat();
                (key(number), value)
            })
            .collect();
        assert_eq!(run_all(Workload::Join), wanted);
    }

    #[test]
    fn a_state_comes_back_from_its_changelog() {
        let state = tempfile::tempdir().unwrap();
        let (log, job) = filled(Workload::Restore, &state.path().join("first"));
        run(Arc::new(log.clone()), &job, shared()).unwrap();
        let again = Job {
            state: state.path().join("second"),
            restored: KEYS,
            ..job
        };
        let figures = run(Arc::new(log), &again, shared()).unwrap();
        assert!((figures["records"] - 30.0).abs() < f64::EPSILON);
    }
}
