//! Six stateless operators in a row: as six nodes with typed edges, as one fused node, and not at
//! all. The difference is what the operators cost above decoding a record and folding it up.

use super::{Bench, Figures, Meter};
use anyhow::{Result, bail};
use millstream_core::{
    batch::{RecordBatch, Records},
    prelude::*,
    record::{RawRecord, TaskId},
    task::{Place, Task, TaskConfig},
};
use millstream_state::MemoryBackend;
use std::{
    hint::black_box,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

pub(super) const SIX: Bench = Bench {
    name: "stateless_six",
    runs: |scene| scene.runs_of(&["all"]),
    child,
};

static IN: Topic<u64, u64> = Topic::new("in", u64_be(), u64_be());

/// Records of one batch: few enough to stay in the processor's cache, so that operators are
/// measured and not memory.
const BATCH: u64 = 1_000;
const BATCHES: u64 = 20_000;

fn child(_: &str, _: &Path) -> Result<Figures> {
    let (decode, _) = measure(|stream| stream)?;
    let (fused, _) = measure(|stream| {
        stream.fused(|pipe| {
            pipe.map_values(|v| v ^ 5)
                .filter(|_, v| v % 8 != 7)
                .map_values(|v| v.wrapping_mul(3))
                .map_values(|v| v + 1)
                .filter(|_, v| v % 16 != 9)
                .map_values(|v| v >> 1)
        })
    })?;
    let (typed, mut figures) = measure(|stream| {
        stream
            .map_values(|v| v ^ 5)
            .filter(|_, v| v % 8 != 7)
            .map_values(|v| v.wrapping_mul(3))
            .map_values(|v| v + 1)
            .filter(|_, v| v % 16 != 9)
            .map_values(|v| v >> 1)
    })?;
    figures.insert("ns_per_record_decode".to_owned(), decode);
    figures.insert("ns_per_record_typed".to_owned(), typed - decode);
    figures.insert("ns_per_record_fused".to_owned(), fused - decode);
    Ok(figures)
}

/// Nanoseconds of processor time per record, and the usual figures.
fn measure(
    operators: impl for<'b> FnOnce(KStream<'b, u64, u64>) -> KStream<'b, u64, u64>,
) -> Result<(f64, Figures)> {
    let builder = StreamsBuilder::new();
    let sum = Arc::new(AtomicU64::new(0));
    let into = sum.clone();
    operators(builder.stream(&IN)).for_each(move |_, value| {
        // A load and a store: an atomic addition would cost more than an operator.
        into.store(
            into.load(Ordering::Relaxed).wrapping_add(value),
            Ordering::Relaxed,
        );
    });
    let id = TaskId {
        subtopology: 0,
        partition: 0,
    };
    let config = TaskConfig::new("bench");
    let backend = Arc::new(MemoryBackend::new::<&str>(&[]));
    let mut task = Task::open(&builder.build()?, id, &config, backend)?;
    let batch = Arc::new(batch()?);
    let meter = Meter::start()?;
    for _ in 0..BATCHES {
        task.resume(0, Place::start(0));
        task.add(0, black_box(Records::all(batch.clone())));
        task.process(usize::MAX)?;
    }
    let (records, cpu) = (BATCH * BATCHES, meter.cpu_seconds()?);
    let processed = task.counts().processed;
    if processed != records || sum.load(Ordering::Relaxed) == 0 {
        bail!("{} of {records} records were processed", processed);
    }
    let figures = meter.figures(records)?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let nanoseconds = cpu * 1e9 / records as f64;
    Ok((nanoseconds, figures))
}

fn batch() -> Result<RecordBatch> {
    let mut batch = RecordBatch::new();
    for number in 0..BATCH {
        let bytes = number.to_be_bytes();
        let record = RawRecord {
            key: Some(&bytes),
            value: Some(&bytes),
            timestamp: 0,
            headers: &Headers::NONE,
        };
        if !batch.push(number.try_into()?, record) {
            bail!("the batch is full");
        }
    }
    Ok(batch)
}
