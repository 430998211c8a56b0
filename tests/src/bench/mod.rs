//! Benchmarks: what a record costs, and how long a restart takes.
//!
//! Every figure is the median of five runs, and every run is a process of its own, so that memory,
//! caches and background threads of one run tell nothing about the next. Invariant: a run that did
//! not do all of its work is an error, never a figure. Nothing here is a test: no time is asserted.
//!
//! A new benchmark is a file with a [`Bench`] in it and a line in [`ALL`].

mod count;
mod embedded;
mod kafka;
mod keys;
mod learn;
mod meter;
mod operators;
mod restart;
mod retention;
mod scene;
mod sink_postgres;
mod stateless;
mod workloads;

pub use meter::{Figures, Meter};
pub use scene::{CHILD, Scene, Serving};

use anyhow::{Context, Result, bail};
use std::path::Path;

/// Runs of which the median is told.
pub const RUNS: usize = 5;

/// A benchmark.
pub struct Bench {
    /// Its name on the command line and in the result.
    pub name: &'static str,
    /// Measures [`RUNS`] times; what is measured runs in child processes, see [`Scene::child`].
    pub runs: fn(&Scene) -> Result<Vec<Figures>>,
    /// What a child process does, given the name of its part and a directory to work in.
    pub child: fn(&str, &Path) -> Result<Figures>,
}

/// All benchmarks, in the order in which they are run.
pub const ALL: &[Bench] = &[
    count::MEMORY,
    count::DISK,
    keys::COUNT,
    operators::TUMBLING,
    operators::SESSION,
    operators::STREAM_JOIN,
    operators::FOREIGN_JOIN,
    keys::TUMBLING,
    keys::SESSION,
    keys::STREAM_JOIN,
    keys::FOREIGN_JOIN,
    retention::TUMBLING,
    retention::SESSION,
    retention::STREAM_JOIN,
    stateless::SIX,
    learn::IMDB,
    restart::GIGABYTE,
    sink_postgres::COPY,
    kafka::STATELESS,
    kafka::COUNT,
    kafka::TABLE_JOIN,
    kafka::TUMBLING,
    kafka::SESSION,
    kafka::STREAM_JOIN,
    kafka::FOREIGN_JOIN,
    kafka::RESTORE,
];

/// The benchmark of a name.
///
/// # Errors
/// Where there is none; the message lists those there are.
pub fn find(name: &str) -> Result<&'static Bench> {
    let known = || {
        let names: Vec<_> = ALL.iter().map(|bench| bench.name).collect();
        format!("no benchmark {name:?}; there are {}", names.join(", "))
    };
    ALL.iter()
        .find(|bench| bench.name == name)
        .with_context(known)
}

/// Runs one benchmark; the medians of its figures as one line of JSON.
///
/// # Errors
/// Where a run fails or gives other figures than the rest.
pub fn run(bench: &Bench) -> Result<String> {
    let scene = Scene::new(bench.name)?;
    let runs = (bench.runs)(&scene).with_context(|| bench.name.to_owned())?;
    let Some(first) = runs.first() else {
        bail!("{}: there was no run", bench.name);
    };
    let mut line = serde_json::Map::new();
    line.insert("bench".to_owned(), bench.name.into());
    for name in first.keys() {
        let figures: Option<Vec<f64>> = runs.iter().map(|run| run.get(name).copied()).collect();
        let figures = figures.with_context(|| format!("a run without {name}"))?;
        line.insert(name.clone(), rounded(median(figures)));
    }
    Ok(serde_json::Value::Object(line).to_string())
}

/// The middle one; of an even number the lower of the two.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[(figures.len() - 1) / 2]
}

/// Three digits behind the point for small figures, none for those where they are noise.
fn rounded(figure: f64) -> serde_json::Value {
    const LARGE: f64 = 10_000.0;
    if figure.abs() < LARGE && figure.fract() != 0.0 {
        return ((figure * 1e3).round() / 1e3).into();
    }
    #[expect(clippy::cast_possible_truncation, reason = "counts are far below 2^53")]
    (figure.round() as i64).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_one_of_the_figures() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 1.0]) - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(rounded(1_234_567.8).to_string(), "1234568");
        assert_eq!(rounded(0.123_456).to_string(), "0.123");
        assert_eq!(rounded(5.0).to_string(), "5");
    }

    #[test]
    fn a_wrong_name_is_told_the_right_ones() {
        let error = find("embedded_count").err().unwrap().to_string();
        assert!(error.contains("embedded_count_memory"), "{error}");
    }
}
