//! The live page over a program that is made up, to judge how it looks:
//! `cargo run -p millstream-http --example preview`.
//!
//! Each call of `status` is taken as a step in time, so that no clock is needed.

use millstream_http::{
    Appended, DEFAULT_ADDRESS, HttpServer, InstanceStatus, Introspect, ModelStatus, NewRecord,
    Quality, QueryError, Range, RangePage, ReadFrom, RecordPage, RecordView, RestoreProgress, Role,
    Status, StoreStatus, TaskStatus, TopicStatus, TopologyFormat,
};
use millstream_metrics::{Counter, Metric, Registry};
use serde_json::{Value, json};
use std::{
    error::Error,
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

const TEXTS: [&str; 5] = [
    "Worth every penny, the strap fits and the battery lasts a week. I would buy it again.",
    "Stopped working after two days",
    "Not what the picture shows; <b>the colour is wrong</b> and support never answered my letters.",
    "Ça marche très bien, merci",
    "Okay for the price.",
];

struct Preview {
    step: AtomicU32,
    processed: Counter,
    sent: Counter,
}

impl Preview {
    fn now(&self) -> f64 {
        f64::from(self.step.load(Ordering::Relaxed))
    }

    fn offset(&self) -> i64 {
        i64::from(self.step.load(Ordering::Relaxed)) * 2
    }

    fn record(offset: i64) -> RecordView {
        let number = usize::try_from(offset).unwrap_or_default();
        let probability = 0.5 + 0.49 * (0.7 * number as f64).sin();
        let (label, predicted) = (number % 3 != 1, probability > 0.5);
        let value = json!({
            "text": TEXTS[number % TEXTS.len()],
            "predicted": if predicted { "positive" } else { "negative" },
            "probability": probability,
            "label": if label { "positive" } else { "negative" },
            "correct": label == predicted,
            "model": "sentiment v12.4",
        });
        let key = json!(format!("B00{:05}", number * 7919 % 100_000));
        let timestamp = 1_700_000_000_000 + offset * 700;
        RecordView {
            partition: 0,
            offset,
            index: 0,
            timestamp,
            key,
            value,
        }
    }
}

impl Introspect for Preview {
    fn status(&self) -> Status {
        let step = self.step.fetch_add(1, Ordering::Relaxed);
        let wave = u64::from(step % 40).abs_diff(20) * 150 + u64::from(step * 7 % 11) * 40;
        self.processed.add(15_000 + wave);
        self.sent.add(14_000 + wave);
        let task = |id: &str, role, restored: u64| TaskStatus {
            id: id.to_owned(),
            role,
            state: if restored == 0 {
                "RUNNING"
            } else {
                "RESTORING"
            }
            .to_owned(),
            lag: (restored == 0).then_some(u64::from(step % 17) * 41),
            restore: match restored {
                0 => Vec::new(),
                _ => [("product-mood", 48_000), ("model-weights", 12_000)]
                    .map(|(store, total)| RestoreProgress {
                        store: store.to_owned(),
                        restored: (restored + u64::from(step) * 150).min(total),
                        total,
                        bytes: restored * 120,
                        records_per_second: Some(150),
                        seconds_left: Some(total.saturating_sub(restored) / 150),
                        why: Some("no position is stored here".to_owned()),
                    })
                    .to_vec(),
            },
        };
        Status {
            application_id: "sentiment".to_owned(),
            version: "0.1.0".to_owned(),
            state: "RUNNING".to_owned(),
            predictions_topic: Some("predictions".to_owned()),
            tasks: vec![
                task("0_0", Role::Active, 0),
                task("0_1", Role::Active, 0),
                task("1_0", Role::Active, 0),
                task("1_1", Role::Standby, 5_000),
            ],
        }
    }

    fn liveness(&self) -> Result<(), Vec<String>> {
        Ok(())
    }

    fn readiness(&self) -> Result<(), Vec<String>> {
        Ok(())
    }

    fn topology(&self, format: TopologyFormat) -> String {
        match format {
            TopologyFormat::Json => include_str!("preview.json").to_owned(),
            _ => "The preview has a picture only.\n".to_owned(),
        }
    }

    fn instances(&self) -> Vec<InstanceStatus> {
        Vec::new()
    }

    fn stores(&self) -> Vec<StoreStatus> {
        let (name, kind) = ("product-mood".to_owned(), "key-value".to_owned());
        vec![StoreStatus {
            name,
            kind,
            keys: Some(1),
        }]
    }

    fn get(&self, _: &str, _: &str) -> Result<Option<Value>, QueryError> {
        Ok(None)
    }

    fn range(&self, _: &str, _: &Range) -> Result<RangePage, QueryError> {
        Ok(RangePage::default())
    }

    fn topics(&self) -> Result<Vec<TopicStatus>, QueryError> {
        Ok(vec![TopicStatus {
            name: "predictions".to_owned(),
            partitions: 1,
        }])
    }

    fn partitions(&self, _: &str) -> Result<u32, QueryError> {
        Ok(1)
    }

    fn append(&self, _: &str, _: Vec<NewRecord>) -> Result<Vec<Appended>, QueryError> {
        Err(QueryError::Refused(
            "the preview takes no records".to_owned(),
        ))
    }

    fn read(
        &self,
        _: &str,
        _: u32,
        from: ReadFrom,
        limit: usize,
    ) -> Result<RecordPage, QueryError> {
        let end = self.offset();
        let first = match from {
            ReadFrom::Offset(offset) => offset.min(end),
            ReadFrom::Last(count) => (end - i64::try_from(count).unwrap_or(end)).max(0),
        };
        let records: Vec<_> = (first..end).take(limit).map(Self::record).collect();
        let next = records.last().map_or(first, |record| record.offset + 1);
        Ok(RecordPage {
            records,
            next,
            start: 0,
            end,
        })
    }

    fn models(&self) -> Vec<ModelStatus> {
        let learned = 1.0 - (-(self.now() + 20.0) / 60.0).exp();
        let noise = 0.012 * (self.now() * 1.7).sin() * (self.now() * 0.31).cos();
        let model = |name: &str, kind: &str, skill: f64| ModelStatus {
            name: name.to_owned(),
            kind: kind.to_owned(),
            version: "12.4".to_owned(),
            predictions: self.offset().unsigned_abs() * 9_000,
            learned: self.offset().unsigned_abs() * 8_400,
            partitions: Vec::new(),
            quality: [
                ("accuracy", 0.5 + skill * learned + noise),
                ("log_loss", 0.69 - 0.9 * skill * learned - noise),
                ("auc", 0.5 + 1.2 * skill * learned + noise / 2.0),
            ]
            .map(|(metric, value)| Quality {
                metric: metric.to_owned(),
                window: "rolling 1,000".to_owned(),
                value,
            })
            .to_vec(),
        };
        vec![
            model("sentiment", "hashed logistic regression, AdaGrad", 0.38),
            model("challenger", "naive Bayes", 0.31),
        ]
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let registry = Registry::new()?;
    let program = Preview {
        step: AtomicU32::new(20),
        processed: registry.counter(Metric::RecordsProcessed, &[("task", "0_0")])?,
        sent: registry.counter(Metric::RecordsSent, &[("task", "0_0")])?,
    };
    let server = HttpServer::start(DEFAULT_ADDRESS, Arc::new(program), registry)?;
    eprintln!("http://{}/ until standard input ends", server.local_addr());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    server.stop();
    Ok(())
}
