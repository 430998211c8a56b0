//! `golden`: captures anew what Kafka Streams makes of the programs of the golden files.
//!
//! Answers are those of its stores in RocksDB, as by default.

use anyhow::{Result, ensure};
use millstream_tests::golden::{Peer, cases, peer::Stores};

#[expect(clippy::print_stdout, reason = "it says what it has done")]
fn main() -> Result<()> {
    let mut peer = Peer::start(Stores::RocksDb)?;
    for (file, programs) in cases::planned()? {
        let captured = cases::capture(&mut peer, &programs)?;
        ensure!(!captured.is_empty(), "no programs in {file}");
        cases::write(&file, &captured)?;
        println!("{file}: {} programs", captured.len());
    }
    Ok(())
}
