//! Rows into Postgres: the sink beside `psql \copy` of the same rows, on one server, in one run.
//!
//! The records are in an embedded log in memory before; what is measured is reading, decoding and
//! writing them in transactions of the size meant for servers. `psql` gets a file of ready lines
//! and writes them in one transaction into a table of the same definition. Both wait for the disk.
//!
//! Invariant: the server is this run's own and ends with it, and a row too few is an error.

use super::{Bench, Figures, Meter};
use anyhow::{Context, Result, bail, ensure};
use millstream_core::{prelude::*, record::RawRecord};
use millstream_log::{Cleanup, EmbeddedLog, Log, TopicSpec};
use millstream_sink::{
    Column, Location, Millis, RecordMeta, Row, Sink, SinkConfig, Step, Table, Values, row,
};
use serde::{Deserialize, Serialize};
use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
};

pub(super) const COPY: Bench = Bench {
    name: "sink_postgres",
    runs: |scene| scene.runs_of(&["all"]),
    child,
};

/// Starts a server and ends it with this process; what the sink's own tests use.
const SCRIPT: &str = include_str!("../../../framework/sink/src/tests/server.sh");
/// What a server of this size is usually set to; the rest is Debian's.
const SETTINGS: [&str; 3] = ["fsync = on", "shared_buffers = 256MB", "max_wal_size = 4GB"];

const RECORDS: u64 = 400_000;
/// So many keys that most batches find few of theirs twice.
const KEYS: u64 = 100_000;
const RECORDS_PER_BLOCK: u64 = 10_000;

#[derive(Serialize, Deserialize)]
struct Verdict {
    at: i64,
    score: f64,
    label: Option<String>,
    model: i64,
    good: bool,
}

static VERDICTS: Topic<String, Verdict> = Topic::new("verdicts", utf8(), json());

/// A row per record.
struct Each {
    id: String,
    at: Millis,
    score: f64,
    label: Option<String>,
    model: i64,
    good: bool,
}
row!(Each {
    id,
    at,
    score,
    label,
    model,
    good
});

/// A row per key.
struct Newest(Each);

impl Row for Newest {
    fn columns() -> &'static [Column] {
        static COLUMNS: std::sync::LazyLock<Vec<Column>> = std::sync::LazyLock::new(|| {
            let mut columns = Each::columns().to_vec();
            columns[0].key = true;
            columns
        });
        &COLUMNS
    }

    fn bind(&self, values: &mut Values) {
        self.0.bind(values);
    }
}

fn each(id: &str, verdict: &Verdict) -> Each {
    Each {
        id: id.to_owned(),
        at: Millis(verdict.at),
        score: verdict.score,
        label: verdict.label.clone(),
        model: verdict.model,
        good: verdict.good,
    }
}

fn child(_: &str, directory: &Path) -> Result<Figures> {
    let log = EmbeddedLog::in_memory();
    fill(&log)?;
    let server = Server::start()?;
    let table = Table::<Each>::new("each_record");
    let (mut figures, rate) = write(&log, &server, table, each)?;

    let file = directory.join("rows.tsv");
    let file = file.to_str().context("a path that is text")?;
    server.psql(&format!("\\copy each_record to '{file}'"))?;
    server.psql("CREATE TABLE copied (LIKE each_record INCLUDING ALL)")?;
    server.psql("CHECKPOINT")?;
    let meter = Meter::start()?;
    let said = server.psql(&format!("\\copy copied from '{file}'"))?;
    let seconds = meter.elapsed().as_secs_f64();
    ensure!(
        said.trim() == format!("COPY {RECORDS}"),
        "psql said {said:?}"
    );

    server.psql("DROP TABLE copied; CHECKPOINT")?;
    let table = Table::<Newest>::new("each_key");
    let (_, upserts) = write(&log, &server, table, |id, verdict| {
        Newest(each(id, verdict))
    })?;
    let copied = as_float(RECORDS) / seconds;
    figures.insert("psql_rows_per_second".to_owned(), copied);
    figures.insert("ratio_to_psql".to_owned(), rate / copied);
    figures.insert("upserts_per_second".to_owned(), upserts);
    Ok(figures)
}

/// Runs a sink to the end of the topic; the usual figures, and the records per second.
fn write<R: Row + 'static>(
    log: &EmbeddedLog,
    server: &Server,
    table: Table<R>,
    row: fn(&str, &Verdict) -> R,
) -> Result<(Figures, f64)> {
    let client = Box::new(log.client());
    let make = move |id: &String, verdict: &Verdict, _: &RecordMeta<'_>| row(id, verdict);
    let config = SinkConfig::server();
    let mut sink = Sink::new(client, VERDICTS, table, &server.location()?, config, make)?;
    let meter = Meter::start()?;
    loop {
        match sink.step(0)? {
            Step::Wrote { .. } => {}
            Step::Idle => break,
            Step::Waiting => bail!("the sink is in no group"),
            Step::Retry { reason, .. } => bail!("the sink had to wait: {reason}"),
        }
    }
    let seconds = meter.elapsed().as_secs_f64();
    let rows = sink.stats().rows;
    ensure!(rows == RECORDS, "{rows} of {RECORDS} records were written");
    Ok((meter.figures(RECORDS)?, as_float(RECORDS) / seconds))
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn as_float(count: u64) -> f64 {
    count as f64
}

fn fill(log: &EmbeddedLog) -> Result<()> {
    log.create_topic(&TopicSpec {
        name: VERDICTS.name.to_owned(),
        partitions: 1,
        cleanup: Cleanup::Delete { retention_ms: None },
    })?;
    let mut client = log.client();
    let mut value = Vec::new();
    for number in 0..RECORDS {
        // A multiplicative hash: keys in an order that has nothing to do with theirs.
        let hash = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let key = format!("key-{:07}", hash % KEYS);
        let at = i64::try_from(number)?;
        let verdict = Verdict {
            at: 1_700_000_000_000 + at,
            score: as_float(hash % 1_000) / 1_000.0,
            label: (number % 5 != 0).then(|| "kind and to the point".to_owned()),
            model: at % 17,
            good: hash % 2 == 0,
        };
        value.clear();
        VERDICTS.value.encode(&verdict, &mut value)?;
        let record = RawRecord {
            key: Some(key.as_bytes()),
            value: Some(&value),
            timestamp: verdict.at,
            headers: &Headers::NONE,
        };
        client.send(VERDICTS.name, Some(0), record)?;
        if (number + 1) % RECORDS_PER_BLOCK == 0 {
            client.commit(number, &[])?;
        }
    }
    client.commit(RECORDS, &[])?;
    Ok(())
}

/// A server of this run's own, on the disk.
struct Server {
    port: u16,
    script: Child,
    /// Closing it ends the server.
    input: Option<ChildStdin>,
}

impl Server {
    fn start() -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let binaries = binaries().context("no Postgres: apt-get install postgresql")?;
        let root = std::os::unix::fs::MetadataExt::uid(&Path::new("/proc/self").metadata()?) == 0;
        let mut command = Command::new(if root { "setpriv" } else { "sh" });
        if root {
            command.args([
                "--reuid=postgres",
                "--regid=postgres",
                "--init-groups",
                "sh",
            ]);
        }
        let mut script = command
            .args(["-c", SCRIPT, "server"])
            .arg(binaries)
            .arg(port.to_string())
            .args(SETTINGS)
            .envs([("PASSWORD", "unused"), ("FOLDER", "/var/tmp")])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (input, output) = (script.stdin.take(), script.stdout.take());
        let mut ready = String::new();
        BufReader::new(output.context("its output")?).read_line(&mut ready)?;
        ensure!(!ready.is_empty(), "Postgres did not start");
        Ok(Self {
            port,
            script,
            input,
        })
    }

    fn location(&self) -> Result<Location> {
        Ok(Location::postgres(&self.url())?)
    }

    fn url(&self) -> String {
        let port = self.port;
        format!("postgres://tester@127.0.0.1:{port}/postgres?sslmode=disable")
    }

    fn psql(&self, command: &str) -> Result<String> {
        let url = self.url();
        let arguments = ["-X", "-v", "ON_ERROR_STOP=1", "-d", &url, "-c", command];
        let done = Command::new("psql").args(arguments).output()?;
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        let failed = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "psql {command:?}: {failed}");
        Ok(said)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.input = None;
        // It has ended, or cannot be waited for, which is as good.
        drop(self.script.wait());
    }
}

/// Where Debian puts the newest version that is installed.
fn binaries() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut folders: Vec<_> = versions
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|folder| folder.join("initdb").exists())
        .collect();
    folders.sort();
    folders.pop()
}
