//! `bench [NAME...]`: benchmarks, all of them without a name; one line of JSON for each.

use anyhow::{Context, Result};
use millstream_tests::bench::{self, CHILD};
use std::path::Path;

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
