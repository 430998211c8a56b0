//! `simulate --seeds N [--seed S] [--kafka]`: the simulation over many seeds, or one again; on the
//! embedded log, or on a Kafka cluster that is started for it.
//!
//! The last line says `N seeds, M crashes, D divergences`; the exit code is not 0 where D is not.

use anyhow::{Context, Result, bail};
use millstream_runtime::worker::CommitOrder;
use millstream_tests::{
    servers,
    sim::{self, Report, Tally},
};
use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
};

/// How many divergences are told in full.
const TOLD_MAX: usize = 20;
/// How many seeds run side by side on a cluster, for which they mostly wait.
const ON_KAFKA: usize = 16;

struct Arguments {
    seeds: u64,
    first: u64,
    kafka: bool,
}

fn arguments() -> Result<Arguments> {
    let mut parsed = Arguments {
        seeds: 1,
        first: 1,
        kafka: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || -> Result<u64> {
            let text = words
                .next()
                .with_context(|| format!("{word} needs a number"))?;
            text.parse().with_context(|| format!("{word} {text}"))
        };
        match word.as_str() {
            "--seeds" => parsed.seeds = number()?,
            "--seed" => parsed.first = number()?,
            "--kafka" => parsed.kafka = true,
            other => {
                bail!("unknown argument {other:?}; usage: simulate --seeds N [--seed S] [--kafka]")
            }
        }
    }
    Ok(parsed)
}

#[expect(
    clippy::print_stdout,
    reason = "the program's result is its standard output"
)]
fn main() -> Result<ExitCode> {
    let Arguments {
        seeds,
        first,
        kafka,
    } = arguments()?;
    let cluster = match kafka {
        true => Some(servers::kafka()?.bootstrap_servers()),
        false => None,
    };
    let next = AtomicU64::new(first);
    let end = first.saturating_add(seeds);
    let threads = match cluster {
        Some(_) => ON_KAFKA,
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    let reports: Vec<(u64, Report)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| work(&next, end, cluster.as_deref())))
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_default())
            .collect()
    });
    let mut total = Tally::default();
    reports
        .iter()
        .for_each(|(_, report)| total += &report.tally);
    let mut diverged: Vec<_> = reports
        .iter()
        .filter(|(_, r)| !r.divergences.is_empty())
        .collect();
    diverged.sort_by_key(|(seed, _)| *seed);
    for (seed, report) in diverged.iter().take(TOLD_MAX) {
        for divergence in report.divergences.iter().take(3) {
            println!("seed {seed}: {divergence}");
        }
    }
    let lost = (end - first) - reports.len() as u64;
    println!("{total}");
    println!(
        "{} seeds, {} crashes, {} divergences",
        reports.len(),
        total.crashes,
        diverged.len() as u64 + lost
    );
    Ok(if diverged.is_empty() && lost == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn work(next: &AtomicU64, end: u64, cluster: Option<&str>) -> Vec<(u64, Report)> {
    let mut reports = Vec::new();
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return reports;
        }
        let report = match cluster {
            Some(servers) => {
                let prefix = format!("{}-", servers::unique("simulation"));
                sim::run_on_kafka(servers, &prefix, seed)
            }
            None => sim::run(seed, CommitOrder::LogThenDisk),
        };
        reports.push((seed, report));
    }
}
