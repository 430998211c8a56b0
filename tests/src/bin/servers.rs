//! Starts one of the tests' servers in the foreground, for people and for benchmarks:
//!
//! ```text
//! servers kafka [--nodes 1|3] [--secure] [--sustained]
//! servers postgres [--tls] [--without-fsync]
//! servers prometheus CONFIGURATION
//! ```
//!
//! Prints one line of JSON that says where it is, and goes on until its standard input closes or
//! it is told to end. Invariant: the server ends with it, however it ends.

use anyhow::{Context, Result, bail};
use millstream_tests::servers::{self, KafkaCluster, KafkaOptions, Postgres, PostgresOptions};
use serde_json::{Map, Value, json};
use std::{
    io::{Read, Write},
    process::ExitCode,
};

#[expect(clippy::print_stderr, reason = "a command says why it fails")]
fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("servers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (kind, rest) = words
        .split_first()
        .context("say which: kafka, postgres, prometheus")?;
    match *kind {
        "kafka" => kafka(rest),
        "postgres" => postgres(rest),
        "prometheus" => prometheus(rest),
        other => bail!("no server {other}: there are kafka, postgres, prometheus"),
    }
}

fn kafka(words: &[&str]) -> Result<()> {
    let mut options = KafkaOptions::default();
    let mut nodes = 1;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--nodes" => nodes = words.next().context("--nodes 1|3")?.parse()?,
            "--secure" => options.secure = true,
            "--sustained" => options.sustained = true,
            other => bail!("kafka knows --nodes, --secure and --sustained, not {other}"),
        }
    }
    let cluster = KafkaCluster::start_with(nodes, &options)?;
    let secure: Map<String, Value> = (cluster.secure_settings().into_iter())
        .map(|(key, value)| (key, value.into()))
        .collect();
    serve(&json!({ "bootstrap.servers": cluster.bootstrap_servers(), "secure": secure }))
}

fn postgres(words: &[&str]) -> Result<()> {
    let mut options = PostgresOptions::default();
    for word in words {
        match *word {
            "--tls" => options.tls = true,
            "--without-fsync" => options.without_fsync = true,
            other => bail!("postgres knows --tls and --without-fsync, not {other}"),
        }
    }
    let server = Postgres::start(&options)?;
    serve(&json!({ "url": server.url() }))
}

fn prometheus(words: &[&str]) -> Result<()> {
    let [path] = words else {
        bail!("prometheus takes a file, its configuration");
    };
    let text = std::fs::read_to_string(path).with_context(|| (*path).to_owned())?;
    let server = servers::prometheus(&text)?;
    serve(&json!({ "address": server.address() }))
}

/// Says where it is, and waits for the end of standard input.
fn serve(place: &Value) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{place}")?;
    out.flush()?;
    let mut input = std::io::stdin();
    let mut unheard = [0; 1024];
    while input.read(&mut unheard)? > 0 {}
    Ok(())
}
