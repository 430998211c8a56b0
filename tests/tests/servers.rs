//! The tests' own servers: they start, they answer, they keep what they are to keep, and none of
//! them is left behind.

use anyhow::Result;
use millstream_kafka::{KafkaConfig, KafkaLog};
use millstream_log::Broker;
use millstream_runtime::clock::{Clock, SystemClock};
use millstream_tests::servers::{
    self, KafkaCluster, KafkaOptions, Kind, Postgres, PostgresOptions, Scratch, postgres::binary,
};
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

const SUITE: &str = "servers";

fn exists(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

#[test]
fn a_node_keeps_its_topics_over_a_kill() -> Result<()> {
    if !servers::runs(SUITE, &[Kind::Kafka]) {
        return Ok(());
    }
    let cluster = KafkaCluster::start(1)?;
    let topic = servers::unique("kept");
    cluster.create_topic(&topic, 3, &[("cleanup.policy", "compact")])?;
    let again = cluster.create_topic(&topic, 3, &[]).unwrap_err();
    assert!(again.to_string().contains("already exists"), "{again}");
    cluster.kill(1)?;
    assert_eq!(cluster.pid(1)?, None);
    assert!(cluster.alive(1).is_err(), "a killed node answers");
    cluster.restart(1)?;
    let told = cluster.tool("topics", &["--describe", "--topic", &topic])?;
    assert!(told.contains("PartitionCount: 3"), "{told}");
    assert!(told.contains("cleanup.policy=compact"), "{told}");
    // The features of a cluster that Kafka's own tool formats, not the oldest ones.
    let features = cluster.tool("features", &["describe"])?;
    for (name, level) in [("transaction.version", 2), ("group.version", 1)] {
        let line = features.lines().find(|line| line.contains(name));
        let wanted = format!("FinalizedVersionLevel: {level}");
        assert!(
            line.is_some_and(|line| line.contains(&wanted)),
            "{features}"
        );
    }
    let pid = cluster.pid(1)?.unwrap();
    assert!(exists(pid));
    drop(cluster);
    assert!(!exists(pid), "the broker outlived its cluster");
    Ok(())
}

#[test]
fn three_nodes_notice_who_dies_and_who_is_silent() -> Result<()> {
    if !servers::runs(SUITE, &[Kind::Kafka]) {
        return Ok(());
    }
    let cluster = KafkaCluster::start(3)?;
    cluster.create_topic("copied", 1, &[])?;
    for id in 1..=3 {
        cluster.knows(id, &[1, 2, 3])?;
    }
    cluster.kill(3)?;
    cluster.knows(1, &[1, 2])?;
    cluster.restart(3)?;
    cluster.knows(1, &[1, 2, 3])?;
    cluster.pause(2)?;
    cluster.knows(1, &[1, 3])?;
    cluster.resume(2)?;
    cluster.knows(1, &[1, 2, 3])?;
    cluster.term(1)?;
    cluster.knows(2, &[2, 3])?;
    // A cluster's end must reach a paused node as well.
    cluster.pause(2)?;
    let pids = [cluster.pid(2)?.unwrap(), cluster.pid(3)?.unwrap()];
    assert!(cluster.kill(4).is_err() && cluster.kill(0).is_err());
    drop(cluster);
    assert!(
        !pids.into_iter().any(exists),
        "a broker outlived its cluster"
    );
    Ok(())
}

fn connect(client: Vec<(String, String)>) -> Result<KafkaLog> {
    Ok(KafkaLog::connect(
        KafkaConfig {
            application_id: "secure".into(),
            process_id: "only".into(),
            task_timeout: Duration::from_secs(1),
            client,
            ..KafkaConfig::default()
        },
        SystemClock::stopwatch(),
    )?)
}

#[test]
fn the_secure_listener_wants_its_password() -> Result<()> {
    if !servers::runs(SUITE, &[Kind::Kafka]) {
        return Ok(());
    }
    let options = KafkaOptions {
        secure: true,
        sustained: true,
        settings: vec![("default.replication.factor".into(), "1".into())],
    };
    let cluster = KafkaCluster::start_with(1, &options)?;
    cluster.create_topic("guarded", 1, &[])?;
    let listed = cluster.secure_tool("topics", &["--list"])?;
    assert_eq!(listed.trim(), "guarded");
    // As librdkafka sees it, which is what the log stands on: with the password, and with another.
    let settings = cluster.secure_settings();
    let topics = connect(settings.clone())?.topics()?;
    assert_eq!(topics.len(), 1);
    assert_eq!(topics[0].spec.name, "guarded");
    let mut wrong = settings.clone();
    let password = wrong.iter_mut().find(|(key, _)| key == "sasl.password");
    password.unwrap().1.push_str("-not");
    assert!(connect(wrong).is_err(), "a wrong password is let in");
    let address = &settings[0].1;
    assert_ne!(*address, cluster.bootstrap_servers());
    // Whoever does not trust the authority sees a certificate, and not a good one.
    let mut client = Command::new("openssl");
    client.args([
        "s_client",
        "-verify_return_error",
        "-verify_ip",
        "127.0.0.1",
    ]);
    client.args(["-connect", address]).stdin(Stdio::null());
    assert!(!client.output()?.status.success());
    let authority = settings.iter().find(|(key, _)| key == "ssl.ca.location");
    client.args(["-CAfile", &authority.unwrap().1]);
    assert!(client.output()?.status.success());
    Ok(())
}

fn select(server: &Postgres, statement: &str) -> Result<String> {
    let mut psql = Command::new(binary("psql"));
    let output = psql
        .args(["-XAtq", &server.url(), "-c", statement])
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{errors}");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

#[test]
fn postgres_keeps_its_rows_over_stops_and_kills() -> Result<()> {
    if !servers::runs(SUITE, &[Kind::Postgres]) {
        return Ok(());
    }
    let server = Postgres::start(&PostgresOptions::default())?;
    assert_eq!(select(&server, "select 1")?, "1");
    assert_eq!(select(&server, "show fsync")?, "on");
    select(&server, "create table kept as select 7 as seven")?;
    server.stop()?;
    assert!(
        select(&server, "select 1").is_err(),
        "a stopped server answers"
    );
    server.restart()?;
    select(&server, "insert into kept values (8)")?;
    server.kill()?;
    server.restart()?;
    assert_eq!(select(&server, "select sum(seven) from kept")?, "15");
    let pid = server.pid().unwrap();
    drop(server);
    assert!(!exists(pid), "the server outlived its owner");
    Ok(())
}

#[test]
fn postgres_with_tls_speaks_nothing_else() -> Result<()> {
    if !servers::runs(SUITE, &[Kind::Postgres]) {
        return Ok(());
    }
    let options = PostgresOptions {
        tls: true,
        without_fsync: true,
        settings: vec![("max_connections".into(), "7".into())],
    };
    let server = Postgres::start(&options)?;
    let encrypted = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    assert_eq!(select(&server, encrypted)?, "t");
    assert_eq!(select(&server, "show max_connections")?, "7");
    assert_eq!(select(&server, "show fsync")?, "off");
    let plain = server.url().replace("verify-full", "disable");
    let output = Command::new(binary("psql")).arg(plain).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("no encryption"), "{errors}");
    Ok(())
}

#[test]
fn prometheus_answers_what_it_is_asked() -> Result<()> {
    if !servers::runs(SUITE, &[Kind::Prometheus]) {
        return Ok(());
    }
    let server = servers::prometheus("global:\n  scrape_interval: 1s\n")?;
    let pid = server.process.pid();
    assert_eq!(server.query("vector(3) + 4")?, [7.0]);
    assert!(server.query("not a query").is_err());
    drop(server);
    assert!(!exists(pid), "the server outlived its owner");
    Ok(())
}

#[test]
fn a_killed_owner_leaves_nothing_behind() -> Result<()> {
    if !servers::runs(SUITE, &[Kind::Postgres]) {
        return Ok(());
    }
    let mut owner = Command::new(env!("CARGO_BIN_EXE_servers"));
    owner.args(["postgres", "--without-fsync"]);
    let mut owner = owner.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut said = BufReader::new(owner.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line)?;
    let place: serde_json::Value = serde_json::from_str(&line)?;
    let url = place["url"].as_str().unwrap();
    let ask = |statement: &str| {
        Command::new(binary("psql"))
            .args(["-XAtq", url, "-c", statement])
            .output()
    };
    let told = String::from_utf8(ask("show data_directory")?.stdout)?;
    let directory = Path::new(told.trim());
    let pid = std::fs::read_to_string(directory.join("postmaster.pid"))?;
    let pid: u32 = pid.lines().next().unwrap().parse()?;
    assert!(exists(pid));
    owner.kill()?;
    owner.wait()?;
    let gone = || !exists(pid) && !directory.exists();
    let clock = SystemClock::new();
    // Whoever ends them does so within moments; `psql` paces the questions.
    while !gone() && clock.elapsed() < servers::LIMIT {
        ask("select 1")?;
    }
    assert!(gone(), "the server outlived its owner's death");
    Ok(())
}

/// This program again, for one test on a machine that has no Kafka.
fn without_kafka(ci: &str, counted: &Path) -> Result<Output> {
    let mut again = Command::new(std::env::current_exe()?);
    again.args([
        "--exact",
        "a_node_keeps_its_topics_over_a_kill",
        "--nocapture",
    ]);
    again.env("XDG_CACHE_HOME", counted.join("no-such-cache"));
    again.env("SKIPPED_SUITES", counted).env("CI", ci);
    Ok(again.output()?)
}

#[test]
fn a_suite_without_its_server_is_counted_and_fails_where_it_must_run() -> Result<()> {
    let scratch = Scratch::new()?;
    let counted = scratch.path().join("skipped");
    let alone = without_kafka("", &counted)?;
    assert!(alone.status.success());
    let said = String::from_utf8_lossy(&alone.stderr);
    assert!(said.contains("SKIPPED suite servers: no Kafka"), "{said}");
    let lines = std::fs::read_to_string(&counted)?;
    assert_eq!(lines.lines().count(), 1);
    assert!(lines.starts_with("servers: no Kafka in "), "{lines}");
    let watched = without_kafka("true", &counted)?;
    assert!(!watched.status.success());
    Ok(())
}
