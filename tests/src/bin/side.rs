//! `side --child BENCH JOB DIRECTORY`: our side of the side-by-side benches, for `bench` to start.
//!
//! A program of its own so that it allocates as the project's apps do; the peers have their own
//! ways too.

use anyhow::{Result, bail};
use millstream_tests::bench::{self, CHILD};
use std::path::Path;

/// As in the apps; `.cargo/config.toml` sets it up.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[expect(
    clippy::print_stdout,
    reason = "the program's result is its standard output"
)]
fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [first, name, job, directory] = &words[..] else {
        bail!("usage: side {CHILD} BENCH JOB DIRECTORY");
    };
    if first != CHILD {
        bail!("usage: side {CHILD} BENCH JOB DIRECTORY");
    }
    let figures = (bench::find(name)?.child)(job, Path::new(directory))?;
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}
