//! Every query of the dashboard and of the alerts, put to a real Prometheus that scrapes a really
//! running flagship with the configuration that compose mounts.

use crate::{
    compose::{Compose, texts},
    docker, pass, read,
};
use millstream::metrics::Metric;
use millstream_tests::{
    package,
    servers::{self, Kind, Prometheus, Supervised, flagship},
};
use serde_json::Value;
use std::{collections::BTreeSet, process::Command, time::Duration};
use tempfile::TempDir;

/// What needs a Prometheus, as a whole.
const SUITE: &str = "docker";
/// More than is learned before the test is over; the flagship is killed on the way.
const SENTENCES: u64 = 3_000_000;
/// How often a query is put that must come to have an answer, and in what pace.
const ATTEMPTS: usize = 300;
const PACE: Duration = Duration::from_millis(100);
/// What Grafana puts in the place of its variables.
const VARIABLES: [(&str, &str); 2] = [("$__rate_interval", "3s"), ("$instance", ".*")];

/// The configuration, but for where the programs are and how often they are asked.
fn adapted(address: &str) -> String {
    let text = read("prometheus.yml");
    let (before, rest) = text
        .split_once("    dns_sd_configs:\n")
        .expect("the targets");
    let (_, after) = rest
        .split_once("    relabel_configs:\n")
        .expect("what follows the targets");
    let targets = format!("    static_configs:\n      - targets: [\"{address}\"]\n");
    let mut before = before.to_owned();
    for key in ["scrape_interval: ", "evaluation_interval: "] {
        let (head, tail) = before.split_once(key).expect("an interval");
        let (_, tail) = tail.split_once('\n').expect("a line");
        before = format!("{head}{key}250ms\n{tail}");
    }
    format!("{before}{targets}    relabel_configs:\n{after}")
}

/// A flagship and the Prometheus that scrapes it.
struct Watched {
    flagship: Option<Supervised>,
    prometheus: Prometheus,
    _dir: TempDir,
}

impl Watched {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (flagship, address) = flagship::start(&dir.path().join("state"), SENTENCES).unwrap();
        let config = dir.path().join("prometheus.yml");
        std::fs::write(&config, adapted(&address)).unwrap();
        std::fs::copy(docker().join("alerts.yml"), dir.path().join("alerts.yml")).unwrap();
        let data = dir.path().join("data");
        let prometheus = Prometheus::start(&config, &data, &flags()).unwrap();
        Self {
            flagship: Some(flagship),
            prometheus,
            _dir: dir,
        }
    }

    /// Asks until the answer is as it must become; `None` where it never is.
    fn until<T>(&mut self, answer: impl Fn(&Prometheus) -> Option<T>) -> Option<T> {
        for _ in 0..ATTEMPTS {
            if let Some(answer) = answer(&self.prometheus) {
                return Some(answer);
            }
            self.prometheus.process.runs_on(PACE).unwrap();
            if let Some(flagship) = &mut self.flagship {
                flagship.runs_on(Duration::from_millis(1)).unwrap();
            }
        }
        None
    }
}

/// The flags that compose gives it, but for places.
fn flags() -> Vec<String> {
    let compose = Compose::read();
    let command = &compose.services["prometheus"]["command"];
    let places = ["--config.file=", "--storage.tsdb.path="];
    let flags: Vec<&str> = texts(command);
    assert!(
        places
            .iter()
            .all(|place| flags.iter().any(|flag| flag.starts_with(place)))
    );
    let others = flags.into_iter();
    let others = others.filter(|flag| !places.iter().any(|place| flag.starts_with(place)));
    others.map(str::to_owned).collect()
}

fn dashboard() -> Value {
    serde_json::from_str(&read("grafana/dashboards/millstream.json")).unwrap()
}

/// Panel and query, for every target of every panel, and for the variables.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        let targets = panel["targets"].as_array();
        assert_eq!(panel["type"] == "row", targets.is_none(), "{title}");
        for target in targets.into_iter().flatten() {
            let mut query = target["expr"].as_str().unwrap().to_owned();
            for (variable, value) in VARIABLES {
                query = query.replace(variable, value);
            }
            assert!(!query.contains('$'), "{title}: {query}");
            found.push((title.to_owned(), query));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let query = variable["query"]["query"].as_str().unwrap();
        let inner = query
            .strip_prefix("label_values(")
            .and_then(|rest| rest.strip_suffix(')'));
        let (selector, label) = inner.and_then(|inner| inner.rsplit_once(", ")).unwrap();
        let name = variable["name"].as_str().unwrap();
        found.push((
            format!("${name}"),
            format!("count by ({label}) ({selector})"),
        ));
    }
    found
}

/// What neither the dashboard nor an alert asks for, and why not.
const LEFT_OUT: [(Metric, &str); 16] = [
    (
        Metric::BuildInfo,
        "to be joined with others, and one of itself",
    ),
    (
        Metric::ModelInfo,
        "to be joined with others, and one of itself",
    ),
    (
        Metric::RecordLateness,
        "says what a grace period should be, not how the program is",
    ),
    (
        Metric::RebalanceDuration,
        "their number is shown; for whoever asks why they are many",
    ),
    (Metric::RestoreBytes, "records are shown"),
    (
        Metric::RestoreEta,
        "only while a store is restored; the page of the program has it",
    ),
    (
        Metric::Restores,
        "what is left of them is shown; for whoever asks why there are any",
    ),
    (
        Metric::LogRequests,
        "only on a cluster, and Kafka has panels of its own",
    ),
    (
        Metric::SuppressionBufferRecords,
        "only where a program suppresses, which the flagship does not",
    ),
    (
        Metric::SuppressionBufferBytes,
        "only where a program suppresses, which the flagship does not",
    ),
    (Metric::LogRetries, "only on a cluster"),
    (Metric::LogTimeouts, "only on a cluster"),
    (Metric::LogTraffic, "only on a cluster"),
    (Metric::LogRoundTrip, "only on a cluster"),
    (Metric::LogQueuedRecords, "only on a cluster"),
    (Metric::SeriesOverflow, "about the metrics, not the program"),
];

/// The names of metrics in a query, without what Prometheus puts behind those of histograms.
fn names(query: &str) -> impl Iterator<Item = &str> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words
        .filter(|word| word.starts_with("streams_"))
        .map(|word| {
            let parts = ["_bucket", "_sum", "_count"].into_iter();
            let mut wholes = parts.filter_map(|part| word.strip_suffix(part));
            wholes.next().unwrap_or(word)
        })
}

/// A metric that nobody is shown is one that nobody misses when it is wrong.
#[test]
fn every_metric_is_shown_or_left_out_on_purpose() {
    let (panels, alerts) = (queries(&dashboard()), read("alerts.yml"));
    let panels = panels.iter().flat_map(|(_, query)| names(query));
    let shown: BTreeSet<&str> = panels.chain(names(&alerts)).collect();
    let mut offenders = Vec::new();
    for metric in Metric::ALL {
        let is_shown = shown.contains(metric.spec().name);
        match LEFT_OUT.iter().find(|(left_out, _)| left_out == metric) {
            None if !is_shown => offenders.push(format!("{metric} is shown nowhere")),
            Some((_, why)) if is_shown => offenders.push(format!("{metric} is shown: {why}")),
            _ => {}
        }
    }
    pass("the dashboard and the list of metrics disagree", &offenders);
    let known: BTreeSet<&str> = Metric::ALL.iter().map(|m| m.spec().name).collect();
    let unknown = shown.difference(&known).map(|name| (*name).to_owned());
    pass("there are no such metrics", &unknown.collect::<Vec<_>>());
}

#[test]
fn every_panel_shows_data_and_every_alert_can_be_judged() {
    if !servers::runs(SUITE, &[Kind::Prometheus]) {
        return;
    }
    let mut watched = Watched::start();
    let queries = queries(&dashboard());
    assert!(queries.len() > 20, "{queries:?}");
    let mut offenders = Vec::new();
    for (title, query) in queries {
        // A query that is none fails at once, in Prometheus' own words.
        let data = watched.until(|prometheus| match prometheus.query(&query) {
            Ok(numbers) => (!numbers.is_empty()).then_some(Ok(())),
            Err(error) => Some(Err(error)),
        });
        match data {
            Some(Ok(())) => {}
            Some(Err(error)) => offenders.push(format!("{title}: {error}: {query}")),
            None => offenders.push(format!("{title}: never a number: {query}")),
        }
    }
    pass("these panels show nothing", &offenders);
    alerts_are_judged(&mut watched);
    an_instance_that_dies_is_noticed(&mut watched);
}

/// Prometheus has evaluated every rule, without an error, and there is every series they ask for.
fn alerts_are_judged(watched: &mut Watched) {
    let rules = watched.until(|prometheus| {
        let data = prometheus.ask("rules").unwrap();
        let rules = data["groups"][0]["rules"].as_array()?.clone();
        let judged = rules.iter().all(|rule| rule["health"] != "unknown");
        (judged && !rules.is_empty()).then_some(rules)
    });
    let (rules, mut offenders) = (rules.expect("the rules are evaluated"), Vec::new());
    let written = read("alerts.yml").matches("- alert: ").count();
    assert_eq!(rules.len(), written);
    let names = watched.prometheus.ask("label/__name__/values").unwrap();
    let names: BTreeSet<&str> = texts(&names).into_iter().collect();
    for rule in &rules {
        let (name, query) = (
            rule["name"].as_str().unwrap(),
            rule["query"].as_str().unwrap(),
        );
        if rule["health"] != "ok" {
            offenders.push(format!("{name}: {}", rule["lastError"]));
        }
        let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let unknown = words.filter(|word| word.starts_with("streams_") && !names.contains(word));
        offenders.extend(unknown.map(|word| format!("{name}: there is no {word}")));
        // An undisturbed run is no reason to call anybody.
        if rule["state"] == "firing" {
            offenders.push(format!("{name} fires: {}", rule["alerts"]));
        }
    }
    pass("these alerts are wrong", &offenders);
}

fn an_instance_that_dies_is_noticed(watched: &mut Watched) {
    drop(watched.flagship.take());
    let pending = watched.until(|prometheus| {
        let alerts = prometheus.ask("alerts").unwrap();
        let alerts = alerts["alerts"].as_array()?;
        let names = alerts.iter().map(|alert| &alert["labels"]["alertname"]);
        let names: BTreeSet<&str> = names.filter_map(Value::as_str).collect();
        ["InstanceDown", "NothingRuns"]
            .iter()
            .all(|name| names.contains(name))
            .then_some(())
    });
    assert!(
        pending.is_some(),
        "nobody notices that the flagship is gone"
    );
}

/// What Prometheus' own tool says of the files, and of each alert on made-up series.
#[test]
fn promtool_accepts_the_files_and_the_alerts_fire_when_they_should() {
    if !servers::runs(SUITE, &[Kind::Prometheus]) {
        return;
    }
    let fixture = package().join("fixtures/alerts-test.yml");
    let checks = [
        (["check", "config"], docker().join("prometheus.yml")),
        (["check", "rules"], docker().join("alerts.yml")),
        (["test", "rules"], fixture.clone()),
    ];
    for (verb, file) in checks {
        let output = Command::new("promtool")
            .args(verb)
            .arg(&file)
            .output()
            .unwrap();
        let told =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{verb:?}: {told}");
        assert!(!told.contains("FAILED"), "{verb:?}: {told}");
    }
    // Each alert is in the fixture twice at least: once when it fires, once when it does not.
    let (alerts, fixture) = (
        read("alerts.yml"),
        std::fs::read_to_string(fixture).unwrap(),
    );
    let names = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let untested = names.filter(|name| {
        let tested = format!("alertname: {name}\n");
        fixture.matches(&tested).count() < 2
            || !fixture.contains(&format!("{tested}        exp_alerts: []\n"))
    });
    pass(
        "never tried both ways",
        &untested.map(str::to_owned).collect::<Vec<_>>(),
    );
}

/// Grafana finds the dashboard where it looks, and the dashboard its source of numbers.
#[test]
fn the_dashboard_is_provisioned() {
    let source = read("grafana/provisioning/datasources/prometheus.yml");
    let dashboard = dashboard();
    let mut sources = Vec::new();
    collect_sources(&dashboard, &mut sources);
    assert!(sources.len() > 20);
    for uid in sources {
        assert!(source.contains(&format!("uid: {uid}\n")), "no source {uid}");
    }
    assert!(
        source.contains("url: http://prometheus:9090\n"),
        "compose's name of it"
    );
    let provider = read("grafana/provisioning/dashboards/millstream.yml");
    let path = provider
        .lines()
        .find_map(|line| line.trim().strip_prefix("path: "))
        .unwrap();
    let grafana = &Compose::read().services["grafana"];
    let mount = format!("./grafana/dashboards:{path}:ro");
    assert!(texts(&grafana["volumes"]).contains(&&*mount), "{mount}");
    let home = &grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"];
    assert_eq!(home, &format!("{path}/millstream.json"));
    // Panels lie beside each other, within the width, and have numbers of their own.
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels
        .iter()
        .map(|panel| panel["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids.len(), panels.len());
    let mut cells = BTreeSet::new();
    for panel in panels {
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        for x in at("x")..at("x") + at("w") {
            assert!(
                x < 24 && (at("y")..at("y") + at("h")).all(|y| cells.insert((x, y))),
                "{panel}"
            );
        }
    }
}

/// The uid of every source that is named anywhere within.
fn collect_sources<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    if let Some(uid) = value["datasource"]["uid"].as_str() {
        found.push(uid);
    }
    match value {
        Value::Array(list) => list.iter().for_each(|one| collect_sources(one, found)),
        Value::Object(map) => map.values().for_each(|one| collect_sources(one, found)),
        _ => {}
    }
}
