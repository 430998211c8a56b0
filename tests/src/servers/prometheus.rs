//! Debian's Prometheus, which `tests/setup/packages` unpacks, on a configuration of the test's.

use super::{
    Scratch, Supervised,
    http::{encoded, get},
};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::{
    fs,
    io::ErrorKind,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

/// How often it is asked whether it is ready, and how long it has between two times: a minute in
/// all, which a busy machine may need.
const READY_ATTEMPTS: usize = 600;
const READY_PACE: Duration = Duration::from_millis(100);

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    /// Its process.
    pub process: Supervised,
    address: String,
    /// Behind the process, which is gone when it is removed.
    _scratch: Option<Scratch>,
}

/// Whether this machine has it; `make test` sees to that on Debian.
pub fn is_here() -> bool {
    let mut ask = Command::new("prometheus");
    ask.arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    ask.status()
        .map_or_else(|error| error.kind() != ErrorKind::NotFound, |_| true)
}

impl Prometheus {
    /// Starts it with these flags beside those for configuration, data and address.
    ///
    /// # Errors
    /// What it says of a configuration or a flag that is wrong.
    pub fn start<S: AsRef<str>>(config: &Path, data: &Path, flags: &[S]) -> Result<Self> {
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .args(flags.iter().map(AsRef::as_ref));
        let mut process = Supervised::start(&command)?;
        let line = process.hear("\"Listening on\"")?;
        let (_, address) = line.split_once("address=").context("no address")?;
        let mut started = Self {
            process,
            address: address.trim().to_owned(),
            _scratch: None,
        };
        started.serves()?;
        Ok(started)
    }

    /// Asks it whether it is ready: its log tells that and its address in either order, so that
    /// who waits for one line has at times let the other pass.
    fn serves(&mut self) -> Result<()> {
        for _ in 0..READY_ATTEMPTS {
            if matches!(get(&self.address, "/-/ready"), Ok((200, _))) {
                return Ok(());
            }
            self.process.runs_on(READY_PACE)?;
        }
        bail!("prometheus is not ready for requests after {READY_ATTEMPTS} attempts");
    }

    /// Starts it on this configuration, with a directory of its own that goes when it does.
    ///
    /// # Errors
    /// As [`Prometheus::start`].
    pub fn with_configuration(text: &str) -> Result<Self> {
        let scratch = Scratch::new()?;
        let config = scratch.path().join("prometheus.yml");
        fs::write(&config, text)?;
        let mut started = Self::start::<&str>(&config, &scratch.path().join("data"), &[])?;
        started._scratch = Some(scratch);
        Ok(started)
    }

    /// Where it serves, as `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What its API answers to a path below `/api/v1/`.
    ///
    /// # Errors
    /// What it says of a request that is wrong.
    pub fn ask(&self, path: &str) -> Result<Value> {
        let (status, body) = get(&self.address, &format!("/api/v1/{path}"))?;
        let answer: Value = serde_json::from_str(&body).with_context(|| body.clone())?;
        if status != 200 {
            bail!("{status}: {}", answer["error"]);
        }
        ensure!(answer["status"] == "success", "{body}");
        Ok(answer["data"].clone())
    }

    /// The numbers that a query gives now, those that are no numbers left out.
    ///
    /// # Errors
    /// Where the query is none.
    pub fn query(&self, query: &str) -> Result<Vec<f64>> {
        let data = self.ask(&format!("query?query={}", encoded(query)))?;
        let series = data["result"].as_array().context("no result")?;
        let number = |one: &Value| one["value"][1].as_str()?.parse().ok();
        let numbers = series.iter().filter_map(number);
        Ok(numbers.filter(|number: &f64| number.is_finite()).collect())
    }
}
