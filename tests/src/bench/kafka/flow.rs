//! The course of a bench: fill once, then run after run each side, compare, and relate.

use super::{
    super::{
        Figures, Scene,
        workloads::{Agreement, Names, Workload},
    },
    job::{Job, Size, Stage},
    load::{Content, KEYS, Load, ROW_BYTES, Shape, Traffic, VALUE_BYTES},
    peers::Side,
};
use crate::servers::{KafkaCluster, KafkaOptions};
use anyhow::{Context, Result, bail};
use std::{collections::BTreeMap, path::Path};

/// Where the bench's cluster is; one of its own ends with it.
pub(super) struct Cluster {
    pub(super) servers: String,
    _own: Option<KafkaCluster>,
}

impl Cluster {
    /// The one that the environment names, or one node for this bench.
    pub(super) fn open() -> Result<Self> {
        if let Ok(servers) = std::env::var("MILLSTREAM_BENCH_BOOTSTRAP") {
            return Ok(Self {
                servers,
                _own: None,
            });
        }
        let options = KafkaOptions {
            sustained: true,
            ..KafkaOptions::default()
        };
        let own = KafkaCluster::start_with(1, &options)?;
        Ok(Self {
            servers: own.bootstrap_servers(),
            _own: Some(own),
        })
    }
}

/// Everything that stays the same over the runs of a bench.
struct Flow<'a> {
    bench: &'static str,
    workload: Workload,
    size: Size,
    load: &'a Load,
    directory: &'a Path,
    sides: Vec<Side>,
}

/// All runs of a workload.
pub(super) fn runs(scene: &Scene, workload: Workload) -> Result<Vec<Figures>> {
    let (size, cluster) = (Size::from_environment(workload)?, Cluster::open()?);
    let load = Load::new(&cluster.servers)?;
    let mut sides = vec![
        Side::Ours,
        Side::Embedded,
        Side::KafkaStreams { cached: false },
    ];
    if workload.has_state() {
        sides.push(Side::KafkaStreams { cached: true });
    }
    sides.push(Side::RawLoop);
    let flow = Flow {
        bench: scene.bench(),
        workload,
        size,
        load: &load,
        directory: scene.directory(),
        sides,
    };
    flow.fill(Shape::Uniform)?;
    if workload == Workload::Count {
        flow.fill(Shape::Zipf)?;
    }
    let run = |number| -> Result<Figures> {
        let mut figures = flow.run(number, Shape::Uniform)?;
        if workload == Workload::Count {
            let zipf = flow.run(number, Shape::Zipf)?;
            figures.extend(
                zipf.into_iter()
                    .map(|(name, figure)| (format!("zipf_{name}"), figure)),
            );
        }
        Ok(figures)
    };
    let figures: Result<Vec<_>> = (0..size.runs).map(run).collect();
    // A cluster that goes on is left as it was; what failed a run is the error to tell.
    let cleaned = flow.load.delete(&flow.name(""));
    figures.and_then(|figures| cleaned.map(|()| figures))
}

impl Flow<'_> {
    /// A topic or program of this bench alone.
    fn name(&self, rest: &str) -> String {
        format!("{}-{}-{rest}", self.bench, std::process::id())
    }

    fn input(&self, shape: Shape) -> String {
        self.name(&format!("in-{shape:?}").to_lowercase())
    }

    fn fill(&self, shape: Shape) -> Result<()> {
        let records = (self.size.records, KEYS);
        self.load
            .fill(&self.input(shape), records, shape, (2, VALUE_BYTES))?;
        let table = self.name("table");
        match self.workload {
            Workload::Join | Workload::ForeignJoin => {
                let row = (1, ROW_BYTES);
                self.load.fill(&table, (KEYS, KEYS), Shape::Each, row)
            }
            // The same times; as values are shorter, other keys.
            Workload::StreamJoin => self.load.fill(&table, records, shape, (2, ROW_BYTES)),
            _ => Ok(()),
        }
    }

    fn job(&self, side: Side, number: usize, what: &str) -> Job {
        let id = self.name(&format!("{what}-{number}-{}", side.name()));
        Job {
            workload: self.workload,
            servers: self.load.servers.clone(),
            topics: Names {
                input: self.name("none"),
                table: self.name("table"),
                output: format!("{id}-out"),
            },
            state: self.directory.join(&id),
            application_id: id,
            records: self.size.records * self.workload.inputs(),
            warmup: self.size.warmup() * self.workload.inputs(),
            restored: 0,
            stage: Stage::OnCluster,
            traffic: Vec::new(),
        }
    }

    /// One run of all sides over one input.
    fn run(&self, number: usize, shape: Shape) -> Result<Figures> {
        let (mut told, mut contents) = (BTreeMap::new(), BTreeMap::new());
        let mut traffic = Vec::new();
        for &side in &self.sides {
            let what = format!("{shape:?}").to_lowercase();
            let mut job = self.job(side, number, &what);
            job.topics.input = self.input(shape);
            self.load.topic(&job.topics.output)?;
            let replays = self.replays(side);
            if replays {
                job.traffic = self.replayed(&traffic, &job.application_id)?;
            }
            told.insert(side, side.run(self.bench, &job)?);
            if !replays {
                contents.insert(side, self.load.check(&job.topics.output)?);
            }
            if side == Side::Ours && self.workload.has_state() {
                traffic = self.load.traffic(&job.application_id)?;
                cut(&mut traffic, &job.application_id);
            }
            self.load.delete(&job.application_id)?;
        }
        compare(&contents, self.workload.agreement())?;
        let best = best(&told)?;
        let mut figures = figures(&told, best)?;
        let latencies = self.size.latency_seconds > 0 && self.workload.answers_at_once();
        if latencies && shape == Shape::Uniform {
            self.latencies(number, best, &told, &mut figures)?;
        }
        Ok(figures)
    }

    /// Whether a side does no work, and only sends what ours has sent.
    fn replays(&self, side: Side) -> bool {
        side == Side::RawLoop && self.workload.has_state()
    }

    /// What was sent by ours, to topics of the bare loop's, which are made.
    fn replayed(&self, ours: &[Traffic], id: &str) -> Result<Vec<Traffic>> {
        let mut replayed = ours.to_vec();
        for sent in &mut replayed {
            sent.topic.insert_str(0, id);
            self.load.topic(&sent.topic)?;
        }
        Ok(replayed)
    }

    /// Latency of each side at half of what the slowest of them can do.
    fn latencies(
        &self,
        number: usize,
        best: Side,
        told: &BTreeMap<Side, Figures>,
        figures: &mut Figures,
    ) -> Result<()> {
        let slowest = told.values().map(per_second).fold(f64::INFINITY, f64::min);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate"
        )]
        let rate = (slowest / 2.0) as u64;
        figures.insert(
            "latency_records_per_second".to_owned(),
            (slowest / 2.0).floor(),
        );
        for &side in &self.sides {
            let another = matches!(side, Side::KafkaStreams { .. }) && side != best;
            if another || self.replays(side) || side == Side::Embedded {
                continue;
            }
            let mut job = self.job(side, number, "latency");
            job.topics.input = format!("{}-in", job.application_id);
            (job.records, job.warmup) = (0, 0);
            let (input, output) = (&job.topics.input, &job.topics.output);
            self.load.topic(input)?;
            self.load.topic(output)?;
            let running = side.start(self.bench, &job)?;
            let latency = self.load.latency((input, output), rate, self.size)?;
            running.end()?;
            self.load.delete(&job.application_id)?;
            let prefix = prefix(side);
            figures.insert(format!("{prefix}p50_ms"), latency.p50_ms);
            figures.insert(format!("{prefix}p99_ms"), latency.p99_ms);
            if latency.measured == 0 {
                bail!("{}: no latency was measured", side.name());
            }
        }
        let ratio = figures["p99_ms"] / figures["kafka_streams_p99_ms"];
        figures.insert("p99_ratio_to_kafka_streams".to_owned(), ratio);
        Ok(())
    }
}

/// Cuts a program's name off those of its topics.
fn cut(traffic: &mut [Traffic], id: &str) {
    for sent in traffic {
        sent.topic.replace_range(..id.len(), "");
    }
}

/// What a side's figures begin with in the result.
fn prefix(side: Side) -> &'static str {
    match side {
        Side::Ours => "",
        Side::Embedded => "embedded_",
        Side::KafkaStreams { .. } => "kafka_streams_",
        Side::RawLoop => "raw_",
    }
}

/// All sides must have said the same; one with a cache must have come to the same end.
fn compare(contents: &BTreeMap<Side, Content>, agreement: Agreement) -> Result<()> {
    let ours = &contents[&Side::Ours];
    for (side, content) in contents {
        let same = match (side, agreement) {
            (Side::KafkaStreams { cached: true }, _) | (_, Agreement::Ends) => {
                content.ends_as(ours)
            }
            (_, Agreement::Records) => content.says_as(ours),
            (_, Agreement::Order) => content == ours,
        };
        if !same {
            bail!("ours: {ours:?}\n{}: {content:?}", side.name());
        }
    }
    Ok(())
}

/// The variant of Kafka Streams that took less processor time.
fn best(told: &BTreeMap<Side, Figures>) -> Result<Side> {
    let streams = told
        .iter()
        .filter(|(side, _)| matches!(side, Side::KafkaStreams { .. }));
    let best = streams.min_by(|a, b| cpu_per_million(a.1).total_cmp(&cpu_per_million(b.1)));
    best.map(|(side, _)| *side)
        .context("Kafka Streams did not run")
}

/// Records a second, from the end of the warm-up to the last record.
fn per_second(told: &Figures) -> f64 {
    told["records"] / told["seconds"]
}

/// Processor seconds for a million records.
fn cpu_per_million(told: &Figures) -> f64 {
    told["cpu_seconds"] * 1e6 / told["records"]
}

/// What is told of a run, and how the sides stand to each other.
pub(super) fn figures(told: &BTreeMap<Side, Figures>, best: Side) -> Result<Figures> {
    let mut figures = Figures::new();
    for (&side, told) in told {
        if matches!(side, Side::KafkaStreams { .. }) && side != best {
            let name = "kafka_streams_other_cache_cpu_seconds_per_million".to_owned();
            figures.insert(name, cpu_per_million(told));
            continue;
        }
        let prefix = prefix(side);
        let mut tell = |name: &str, figure| figures.insert(format!("{prefix}{name}"), figure);
        tell("records_per_second", per_second(told));
        tell(
            "records_per_cpu_second",
            told["records"] / told["cpu_seconds"],
        );
        tell("cpu_seconds_per_million", cpu_per_million(told));
        tell("max_rss_mb", told["max_rss_mb"]);
    }
    let ours = told.get(&Side::Ours).context("our side did not run")?;
    figures.insert("records".to_owned(), ours["records"]);
    let cached = f64::from(u8::from(best == Side::KafkaStreams { cached: true }));
    figures.insert("kafka_streams_cached".to_owned(), cached);
    let theirs = &told[&best];
    let mut relate = |name: &str, ratio| figures.insert(name.to_owned(), ratio);
    relate(
        "cpu_ratio_to_kafka_streams",
        cpu_per_million(ours) / cpu_per_million(theirs),
    );
    relate(
        "rss_ratio_to_kafka_streams",
        ours["max_rss_mb"] / theirs["max_rss_mb"],
    );
    if let Some(embedded) = told.get(&Side::Embedded) {
        relate(
            "embedded_cpu_ratio_to_kafka_streams",
            cpu_per_million(embedded) / cpu_per_million(theirs),
        );
        relate(
            "embedded_rss_ratio_to_kafka_streams",
            embedded["max_rss_mb"] / theirs["max_rss_mb"],
        );
    }
    if let Some(raw) = told.get(&Side::RawLoop) {
        relate(
            "throughput_ratio_to_raw",
            per_second(ours) / per_second(raw),
        );
        relate(
            "raw_cpu_ratio_to_kafka_streams",
            cpu_per_million(raw) / cpu_per_million(theirs),
        );
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNCACHED: Side = Side::KafkaStreams { cached: false };
    const CACHED: Side = Side::KafkaStreams { cached: true };

    fn content(records: u64, order: &str) -> Content {
        let text = format!(
            "{{\"records\":{records},\"keys\":3,\"order\":\"{order}\",\
             \"records_hash\":\"b\",\"last_hash\":\"c\"}}"
        );
        serde_json::from_str(&text).unwrap()
    }

    fn told(cpu: f64, seconds: f64, rss: f64) -> Figures {
        let figures = [
            ("records", 1e6),
            ("seconds", seconds),
            ("cpu_seconds", cpu),
            ("max_rss_mb", rss),
        ];
        figures.map(|(name, value)| (name.to_owned(), value)).into()
    }

    #[test]
    fn only_a_cache_may_leave_records_out() {
        let ours = (Side::Ours, content(9, "a"));
        let fewer = content(5, "d");
        let cached = BTreeMap::from([ours.clone(), (CACHED, fewer.clone())]);
        compare(&cached, Agreement::Order).unwrap();
        let uncached = BTreeMap::from([ours.clone(), (UNCACHED, fewer)]);
        compare(&uncached, Agreement::Ends).unwrap();
        for agreement in [Agreement::Order, Agreement::Records] {
            let error = compare(&uncached, agreement).unwrap_err();
            assert!(error.to_string().contains("kafka_streams"), "{error}");
        }
        let shuffled = BTreeMap::from([ours, (UNCACHED, content(9, "d"))]);
        compare(&shuffled, Agreement::Records).unwrap();
        compare(&shuffled, Agreement::Order).unwrap_err();
    }

    #[test]
    fn ratios_are_ours_to_the_better_of_theirs() {
        let all = BTreeMap::from([
            (Side::Ours, told(1.0, 2.0, 100.0)),
            (UNCACHED, told(10.0, 10.0, 500.0)),
            (CACHED, told(8.0, 9.0, 600.0)),
            (Side::RawLoop, told(0.5, 1.0, 50.0)),
        ]);
        assert_eq!(best(&all).unwrap(), CACHED);
        let figures = figures(&all, CACHED).unwrap();
        let is = |name: &str, value: f64| assert!((figures[name] - value).abs() < 1e-9, "{name}");
        is("cpu_ratio_to_kafka_streams", 0.125);
        is("rss_ratio_to_kafka_streams", 1.0 / 6.0);
        is("throughput_ratio_to_raw", 0.5);
        is("raw_cpu_ratio_to_kafka_streams", 0.0625);
        is("kafka_streams_cpu_seconds_per_million", 8.0);
        is("kafka_streams_other_cache_cpu_seconds_per_million", 10.0);
    }
}
