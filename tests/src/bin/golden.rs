//! `golden`: captures anew what Kafka Streams makes of the programs of the golden files.
//! `golden --kafka`: runs all of them on a Kafka cluster, where they must make the same.
//!
//! Answers are those of Kafka Streams' stores in RocksDB, as by default. On the cluster a program
//! takes a second or more, so that tests run few of them there; here each file gets a cluster of
//! its own, because one is slower the more topics it has. The last line says `N programs, D
//! differences`; the exit code is not 0 where D is not.

use anyhow::{Result, bail, ensure};
use millstream_tests::{
    golden::{
        Peer, cases,
        judge::{self, Golden},
        peer::Stores,
    },
    servers::KafkaCluster,
};
use std::{collections::BTreeMap, process::ExitCode};

fn main() -> Result<ExitCode> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] => capture(),
        ["--kafka"] => on_kafka(),
        _ => bail!("unknown arguments {words:?}; usage: golden [--kafka]"),
    }
}

#[expect(clippy::print_stdout, reason = "it says what it has done")]
fn capture() -> Result<ExitCode> {
    let mut peer = Peer::start(Stores::RocksDb)?;
    for (file, programs) in cases::planned()? {
        let captured = cases::capture(&mut peer, &programs)?;
        ensure!(!captured.is_empty(), "no programs in {file}");
        cases::write(&file, &captured)?;
        println!("{file}: {} programs", captured.len());
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "the result is its standard output")]
fn on_kafka() -> Result<ExitCode> {
    let all = judge::all()?;
    let mut files = BTreeMap::<_, Vec<_>>::new();
    for golden in all.iter().filter(|golden| Golden::fits_a_cluster(golden)) {
        files.entry(&golden.file).or_default().push(golden);
    }
    let (mut programs, mut differences) = (0, 0);
    for (file, some) in files {
        let cluster = KafkaCluster::start(1)?;
        let told = judge::differences_on_kafka(&some, &cluster.bootstrap_servers())?;
        println!("{file}: {} programs", some.len());
        for difference in &told {
            println!("{difference}\n");
        }
        programs += some.len();
        differences += told.len();
    }
    println!("{programs} programs, {differences} differences");
    Ok(match differences {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}
