//! `fuzz --scripts N [--seed S]`: random programs on our test driver and on Kafka Streams' own.
//!
//! A difference is told with its seed, what differs, and the smallest program that shows it, as a
//! line for a golden file. The last line says `N scripts, D differences`; the exit code is not 0
//! where D is not.

use anyhow::{Context, Result, bail};
use millstream_tests::golden::{Peer, fuzz, peer::Stores};
use std::process::ExitCode;

/// After so many differences there is enough to look at.
const ENOUGH: usize = 20;

struct Arguments {
    scripts: u64,
    first: u64,
    stores: Stores,
}

fn arguments() -> Result<Arguments> {
    let mut parsed = Arguments {
        scripts: 1,
        first: 1,
        stores: Stores::Memory,
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
            "--scripts" => parsed.scripts = number()?,
            "--seed" => parsed.first = number()?,
            "--rocksdb" => parsed.stores = Stores::RocksDb,
            other => {
                bail!("unknown argument {other:?}; usage: fuzz --scripts N [--seed S] [--rocksdb]")
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
    let arguments = arguments()?;
    let mut peer = Peer::start(arguments.stores)?;
    let report = fuzz::fuzz(&mut peer, arguments.first, arguments.scripts, ENOUGH)?;
    for difference in &report.differences {
        println!("seed {}:\n{}", difference.seed, difference.told);
        println!("{}\n", serde_json::to_string(&difference.small)?);
    }
    for (why, count) in &report.refused {
        println!("Kafka Streams refused {count}: {why}");
    }
    let differences = report.differences.len();
    println!("{} scripts, {differences} differences", arguments.scripts);
    Ok(if differences == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
