//! The verb `run`: how it ends when something else than its sources does.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

mod common;

use clap::Parser;
use common::{COUNTS, open};
use millstream::{
    run::{Run, RunOptions, Sight},
    sink::{Column, Kind, Location, RecordMeta, Row, Sink, SinkConfig, Table, Values, row},
};
use std::path::Path;

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    run: RunOptions,
}

struct Count {
    word: String,
}
row!(Count { word });

/// A row of a column that no database has.
struct Twice(String);

impl Row for Twice {
    fn columns() -> &'static [Column] {
        const {
            &[
                Column::new("word", Kind::Text),
                Column::new("length", Kind::Integer),
            ]
        }
    }
    fn bind(&self, values: &mut Values) {
        values.push(&self.0).push(0);
    }
}

/// How often a run may look at a program that does nothing any more.
const LOOKS_MAX: u32 = 1_000;

fn run(dir: &Path, sinks: bool) -> Run {
    let program = open(dir, &[]).unwrap();
    let options = ["run", "--until-caught-up", "--no-http"];
    let options = Options::parse_from(options).run;
    let location = Location::sqlite(dir.join("data.db"));
    let mut made = Vec::new();
    if sinks {
        let config = SinkConfig::default;
        let client = || program.log().client().unwrap();
        let first = Table::<Count>::new("counts");
        let row = |word: &String, _: &Option<u64>, _: &RecordMeta<'_>| Count { word: word.clone() };
        let mut first = Sink::new(client(), COUNTS, first, &location, config(), row).unwrap();
        first.step(0).unwrap();
        let row = |word: &String, _: &Option<u64>, _: &RecordMeta<'_>| Twice(word.clone());
        let second = Table::<Twice>::new("counts");
        made.push(Sink::new(client(), COUNTS, second, &location, config(), row).unwrap());
    }
    Run::start(program, made, &options).unwrap()
}

#[test]
fn a_program_that_is_closed_from_inside_ends_its_run() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = run(dir.path(), false);
    let mut looks = 0;
    run.watch("lines", |streams, _| {
        streams.request_close();
        looks += 1;
        anyhow::ensure!(looks < LOOKS_MAX, "it looks on and on");
        Ok(Sight::default())
    })
    .unwrap();
    run.close().unwrap();
}

#[test]
fn a_sink_that_ends_is_named_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = run(dir.path(), true);
    let mut looks = 0;
    let ended = run.watch("lines", |_, _| {
        looks += 1;
        anyhow::ensure!(looks < LOOKS_MAX, "it looks on and on");
        Ok(Sight::default())
    });
    let told = ended.unwrap_err().to_string();
    assert!(
        told.starts_with("the sink of table counts has ended: "),
        "{told}"
    );
    assert!(told.contains("length"), "{told}");
}
