//! `bench [NAME...]`: benchmarks, all of them without a name; one line of JSON for each.
//!
//! It allocates as the project's apps do, and so do the child processes that it measures, which are
//! itself under other arguments; the peers have their own ways too.

use anyhow::{Context, Result};
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
    if let [first, name, part, directory] = &words[..]
        && first == CHILD
    {
        let figures = (bench::find(name)?.child)(part, Path::new(directory))?;
        println!("{}", serde_json::to_string(&figures)?);
        return Ok(());
    }
    let named: Result<Vec<_>> = words.iter().map(|name| bench::find(name)).collect();
    let named = named.context("usage: bench [NAME...]")?;
    let all = bench::ALL.iter().filter(|_| words.is_empty());
    for bench in named.into_iter().chain(all) {
        println!("{}", bench::run(bench)?);
    }
    Ok(())
}
