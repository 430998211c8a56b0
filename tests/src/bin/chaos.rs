//! `chaos --kills N`: the storm over instances, brokers and the database; see `chaos` in the crate.
//!
//! ```text
//! chaos [--kills N] [--freezes F] [--broker-losses B] [--brokers 1|3] [--seed S]
//!       [--without-database] [--keep DIRECTORY]
//! chaos --recovery [--brokers 1|3] [--keep DIRECTORY]
//! ```
//!
//! Its last line is `N kills, F freezes, B broker losses: 0 lost, 0 duplicated, 0 diverged`; the
//! exit code is not 0 where one of the last three is not, an instance ended by itself, or the run
//! was not over in time.

use anyhow::{Context, Result, bail};
use millstream_tests::chaos::{self, Options};
use std::{
    hash::{BuildHasher, RandomState},
    process::ExitCode,
};

struct Arguments {
    options: Options,
    recovery: bool,
}

fn arguments(words: &[String]) -> Result<Arguments> {
    let mut options = Options {
        kills: 0,
        freezes: 0,
        broker_losses: 0,
        brokers: 1,
        seed: RandomState::new().hash_one("seed") >> 32,
        database: true,
        keep: None,
    };
    let mut recovery = false;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .with_context(|| format!("{word} needs a value"))
        };
        match word.as_str() {
            "--kills" => options.kills = value()?.parse()?,
            "--freezes" => options.freezes = value()?.parse()?,
            "--broker-losses" => options.broker_losses = value()?.parse()?,
            "--brokers" => options.brokers = value()?.parse()?,
            "--seed" => options.seed = value()?.parse()?,
            "--keep" => options.keep = Some(value()?.into()),
            "--without-database" => options.database = false,
            "--recovery" => recovery = true,
            other => bail!("chaos does not know {other}"),
        }
    }
    if options.brokers > 1 && options.broker_losses == 0 {
        options.broker_losses = options.kills / 10;
    }
    if options.freezes == 0 {
        options.freezes = options.kills / 5;
    }
    Ok(Arguments { options, recovery })
}

#[expect(clippy::print_stderr, reason = "a command says why it fails")]
fn main() -> ExitCode {
    // The reason is the last line, without a backtrace: of a long output one may see no more.
    run().unwrap_or_else(|error| {
        eprintln!("chaos: {error:#}");
        ExitCode::FAILURE
    })
}

#[expect(
    clippy::print_stdout,
    reason = "the program's result is its standard output"
)]
fn run() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some((chaos::SUBCOMMAND, rest)) = words.split_first().map(|(w, rest)| (&**w, rest)) {
        return Ok(millstream::cli::exit(chaos::instance(rest)));
    }
    let Arguments { options, recovery } = arguments(&words)?;
    if !chaos::runs(options.database && !recovery) {
        return Ok(ExitCode::SUCCESS);
    }
    let tell = |line: &str| println!("{line}");
    if recovery {
        return chaos::recovery(&options, &tell).map(|()| ExitCode::SUCCESS);
    }
    let report = chaos::run(&options, &tell)?;
    println!("{report}");
    Ok(if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
