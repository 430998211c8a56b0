//! The compose file: what it publishes, what it waits for, what it mounts, and that the flagship
//! understands what it is told.

use crate::{docker, pass, read, yaml};
use millstream_tests::servers::flagship;
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    process::Stdio,
};

/// Projects whose full version has two numbers; all others have three.
const TWO_NUMBERS: &[&str] = &["postgres", "debian"];
/// The image that is built here.
const OWN_IMAGE: &str = "millstream/sentiment";

pub(crate) struct Compose {
    pub(crate) services: Map<String, Value>,
    volumes: Map<String, Value>,
}

impl Compose {
    pub(crate) fn read() -> Self {
        let mut file = yaml::parse(&read("compose.yaml")).unwrap();
        let mut take = |part: &str| match file[part].take() {
            Value::Object(map) => map,
            other => panic!("{part}: {other}"),
        };
        Self {
            services: take("services"),
            volumes: take("volumes"),
        }
    }

    /// The services that run the flagship.
    fn flagships(&self) -> impl Iterator<Item = (&String, &Value)> {
        let own = |service: &Value| text(&service["image"]).starts_with(OWN_IMAGE);
        let all: Vec<_> = self.services.iter().filter(|(_, one)| own(one)).collect();
        assert!(!all.is_empty(), "no service runs {OWN_IMAGE}");
        all.into_iter()
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The texts of a list; of nothing, none.
pub(crate) fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().map(text).collect()
}

/// `${NAME:-default}` as its default.
fn with_defaults(text: &str) -> String {
    let Some((before, rest)) = text.split_once("${") else {
        return text.to_owned();
    };
    let (variable, after) = rest.split_once('}').expect("a variable is closed");
    let (_, default) = variable.split_once(":-").expect("a variable has a default");
    format!("{before}{default}{}", with_defaults(after))
}

/// Why an image is not pinned; nothing where it is.
pub(crate) fn unpinned(image: &str) -> Option<String> {
    let Some((name, tag)) = image.rsplit_once(':') else {
        return Some(format!("{image} has no version"));
    };
    let numbers = tag.trim_start_matches('v').split(['.', '-']);
    let numbers = numbers
        .take_while(|part| part.parse::<u32>().is_ok())
        .count();
    let wanted = if TWO_NUMBERS.contains(&name) { 2 } else { 3 };
    (numbers < wanted).then(|| format!("{image} is not a full version"))
}

#[test]
fn images_are_pinned() {
    let compose = Compose::read();
    let images = compose
        .services
        .values()
        .map(|service| text(&service["image"]));
    pass(
        "pin these",
        &images.filter_map(unpinned).collect::<Vec<_>>(),
    );
    for bad in [
        "kafka",
        "kafka:latest",
        "kafka:4",
        "kafka:4.3",
        "postgres:15-bookworm",
    ] {
        assert!(unpinned(bad).is_some(), "{bad}");
    }
}

#[test]
fn ports_are_published_on_the_loopback_address_once_each() {
    let (compose, mut taken, mut offenders) = (Compose::read(), BTreeSet::new(), Vec::new());
    for (name, service) in &compose.services {
        for port in texts(&service["ports"]) {
            match port.split(':').collect::<Vec<_>>()[..] {
                ["127.0.0.1", outside, _] if taken.insert(outside.to_owned()) => {}
                _ => offenders.push(format!("{name}: {port}")),
            }
        }
        for key in ["network_mode", "privileged", "pid", "ipc"] {
            if !service[key].is_null() {
                offenders.push(format!("{name}: {key}"));
            }
        }
    }
    assert!(taken.len() >= 5, "{taken:?}");
    pass("these reach further than they should", &offenders);
}

/// Every service has a health check, but for one that does its work and ends; what is waited for
/// can come about.
#[test]
fn services_have_health_checks_and_wait_for_what_can_come() {
    let (compose, mut offenders) = (Compose::read(), Vec::new());
    let checked = |service: &Value| texts(&service["healthcheck"]["test"]).len() > 1;
    let ends = |service: &Value| text(&service["restart"]) == "no";
    for (name, service) in &compose.services {
        if checked(service) == ends(service) {
            offenders.push(format!("{name}: ends, or has a health check"));
        }
        let times = ["interval", "timeout", "retries", "start_period"];
        if checked(service)
            && times
                .iter()
                .any(|time| service["healthcheck"][time].is_null())
        {
            offenders.push(format!("{name}: the check has no {times:?}"));
        }
        let awaited = service["depends_on"].as_object();
        for (other, how) in awaited.into_iter().flatten() {
            let known = compose.services.get(other);
            let fits = known.is_some_and(|other| match text(&how["condition"]) {
                "service_healthy" => checked(other),
                "service_completed_successfully" => ends(other),
                _ => false,
            });
            if !fits {
                offenders.push(format!("{name}: waits for {other}"));
            }
        }
    }
    pass("these are never known to be ready", &offenders);
}

#[test]
fn what_is_mounted_exists_and_no_two_share_a_state() {
    let (compose, mut offenders) = (Compose::read(), Vec::new());
    let mut users: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, service) in &compose.services {
        for mount in texts(&service["volumes"]) {
            let (from, to) = mount.split_once(':').expect("a mount has two ends");
            if from.starts_with('.') {
                if !docker().join(from).exists() || !to.ends_with(":ro") {
                    offenders.push(format!("{name}: {mount} must exist and be read only"));
                }
            } else {
                *users.entry(from).or_default() += 1;
            }
        }
        if let Some(build) = service["build"].as_object() {
            let context = docker().join(text(&build["context"]));
            if !context.join(text(&build["dockerfile"])).is_file() {
                offenders.push(format!("{name}: no {}", build["dockerfile"]));
            }
        }
    }
    let declared: BTreeSet<&str> = compose.volumes.keys().map(String::as_str).collect();
    let used: BTreeSet<&str> = users.keys().copied().collect();
    assert_eq!(declared, used, "volumes declared, and volumes used");
    let shared = users.iter().filter(|(_, users)| **users > 1);
    offenders.extend(shared.map(|(name, _)| format!("{name} is shared")));
    pass("these mounts are wrong", &offenders);
}

/// The real program parses each command, and has each variable among its settings.
#[test]
fn the_flagship_understands_its_command_and_environment() {
    let compose = Compose::read();
    for (name, service) in compose.flagships() {
        let mut command = flagship::command().unwrap();
        let arguments = texts(&service["command"]).into_iter().map(with_defaults);
        // With `--help` behind it a command is parsed to its end, and not run.
        let output = command
            .args(arguments)
            .arg("--help")
            .stdin(Stdio::null())
            .output();
        let output = output.unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {errors}");
        let mut command = flagship::command().unwrap();
        command.args(["config", "explain"]);
        let variables = service["environment"].as_object().expect("an environment");
        for (variable, value) in variables {
            assert!(variable.starts_with("MILLSTREAM_"), "{name}: {variable}");
            command.env(variable, with_defaults(text(value)));
        }
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {errors}");
        let told = String::from_utf8(output.stdout).unwrap();
        for variable in variables.keys().filter(|name| *name != "MILLSTREAM_LOG") {
            assert!(
                told.contains(variable),
                "{name}: {variable} does nothing in\n{told}"
            );
        }
    }
}

#[test]
fn a_command_that_the_flagship_does_not_know_is_noticed() {
    let mut command = flagship::command().unwrap();
    let output = command.args(["run", "--no-such-flag", "--help"]).output();
    assert!(!output.unwrap().status.success());
    let mut command = flagship::command().unwrap();
    command
        .args(["config", "explain"])
        .env("MILLSTREAM_STATE_DIRECTORY", "x");
    assert!(!command.output().unwrap().status.success());
}

/// The instances are all of one group, on one cluster, which is where the broker says it is.
#[test]
fn the_flagship_finds_its_cluster_and_prometheus_finds_the_flagship() {
    let compose = Compose::read();
    let advertised = text(&compose.services["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]);
    let scraped = read("prometheus.yml");
    let names = scraped
        .lines()
        .find_map(|line| line.trim().strip_prefix("- names: ["));
    let names = names
        .and_then(|names| names.strip_suffix(']'))
        .expect("the names scraped");
    let names: BTreeSet<&str> = names.split(", ").collect();
    let services: BTreeSet<&str> = compose.flagships().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, services, "what is scraped, and what runs");
    for (name, service) in compose.flagships() {
        let environment = &service["environment"];
        let servers = text(&environment["MILLSTREAM_BOOTSTRAP_SERVERS"]);
        let listener = format!("://{servers}");
        let listeners = advertised.split(',');
        assert!(
            listeners.into_iter().any(|one| one.ends_with(&listener)),
            "{name}: {servers}"
        );
        let (_, port) = text(&environment["MILLSTREAM_APPLICATION_SERVER"])
            .split_once(':')
            .unwrap();
        assert!(
            scraped.contains(&format!("port: {port}\n")),
            "{name}: {port} is not scraped"
        );
        for published in texts(&service["ports"]) {
            assert!(
                published.ends_with(&format!(":{port}")),
                "{name}: {published}"
            );
        }
        let check = texts(&service["healthcheck"]["test"]);
        assert_eq!(
            check,
            ["CMD", "ready", &format!("127.0.0.1:{port}")],
            "{name}"
        );
    }
}
