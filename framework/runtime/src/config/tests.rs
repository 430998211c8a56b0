//! The configuration as a whole: precedence, getters, errors, and what people are shown.

use super::{getters::PLAIN, *};
use proptest::prelude::*;

/// The least that builds.
fn named() -> ConfigBuilder {
    ConfigBuilder::new().defaults(&[("application.id", "app")])
}

fn env(name: &str, value: &str) -> [(String, String); 1] {
    [(name.into(), value.into())]
}

#[test]
fn keys_are_sorted_and_their_defaults_are_of_their_kind() {
    for pair in KEYS.windows(2) {
        assert!(pair[0].name < pair[1].name, "{}", pair[1].name);
    }
    for key in KEYS {
        assert_eq!(Key::find(key.name), Some(key));
        assert!(
            key.default.is_none_or(|text| key.kind.read(text).is_some()),
            "{}",
            key.name
        );
        assert!(
            key.doc.ends_with('.') && !key.doc.contains("  "),
            "{}",
            key.name
        );
        assert!(
            !PREFIXES.iter().any(|prefix| key.name.starts_with(prefix)),
            "{}",
            key.name
        );
    }
    assert_eq!(Key::find("state"), None);
}

#[test]
fn each_getter_reads_a_key_of_its_kind() {
    let config = named().build().unwrap();
    for (read, name) in PLAIN {
        assert!(config.get(name).is_some(), "{name}");
        let kind = Key::find(name).unwrap().kind;
        let negative = kind.read("-1").is_some();
        let text = matches!(kind, Kind::Text | Kind::Name | Kind::Address | Kind::Place);
        match *read {
            "text" => assert!(text, "{name}"),
            "size" => assert!(!text && !negative, "{name}"),
            _ => assert!(!text, "{name}"),
        }
    }
}

#[test]
fn built_in_defaults() {
    let config = named().build().unwrap();
    assert_eq!(config.application_id(), "app");
    assert_eq!(config.bootstrap_servers(), None);
    assert_eq!(config.application_server(), "127.0.0.1:8080");
    assert_eq!(config.advertised_server(), None);
    assert_eq!(config.num_stream_threads(), 1);
    assert_eq!(config.num_standby_replicas(), 0);
    assert_eq!(
        config.processing_guarantee(),
        ProcessingGuarantee::ExactlyOnceV2
    );
    assert_eq!(config.commit_interval_ms(), 100);
    assert_eq!(config.statestore_cache_max_bytes(), 0);
    assert_eq!(config.statestore_read_cache_max_bytes(), 32 << 20);
    assert!(!config.reuse_ktable_source_topics());
    assert_eq!(config.statestore_uncommitted_max_bytes(), 64 << 20);
    assert_eq!(config.max_task_idle_ms(), 0);
    assert_eq!(config.buffered_records_per_partition(), 1000);
    assert_eq!(config.poll_ms(), 100);
    assert_eq!(config.log_summary_interval_ms(), 120_000);
    assert_eq!(config.repartition_purge_interval_ms(), 30_000);
    assert_eq!(
        config.deserialization_exception_handler(),
        ExceptionHandler::Fail
    );
    assert_eq!(
        config.processing_exception_handler(),
        ExceptionHandler::Fail
    );
    assert_eq!(
        config.production_exception_handler(),
        ExceptionHandler::Fail
    );
    assert_eq!(config.max_request_size(), 16 << 20);
    assert_eq!(config.dead_letter_topic(), None);
    assert_eq!(config.embedded_partitions(), 1);
    assert_eq!(config.replication_factor(), -1);
    assert_eq!(config.task_timeout_ms(), 300_000);
    assert_eq!(config.group_instance_id(), None);
    assert_eq!(config.log_durability(), Durability::Process);
    assert_eq!(config.rocksdb_block_cache_bytes(), 64 << 20);
    assert_eq!(config.rocksdb_write_buffer_bytes(), 96 << 20);
    assert_eq!(config.state_dir(), std::path::Path::new("millstream-data"));
}

#[test]
fn what_is_set_is_read() {
    let config = named()
        .set("processing.guarantee=AT_LEAST_ONCE")
        .and_then(|b| b.set("bootstrap.servers=a:9092,b:9092"))
        .and_then(|b| b.set("deserialization.exception.handler=continue"))
        .and_then(|b| b.set("processing.exception.handler=dlq"))
        .and_then(|b| b.set("production.exception.handler=continue"))
        .and_then(|b| b.set("max.request.size=2MiB"))
        .and_then(|b| b.set("errors.dead.letter.queue.topic.name=dead"))
        .and_then(|b| b.set("log.durability=machine"))
        .and_then(|b| b.set("topology.optimization=reuse.ktable.source.topics"))
        .and_then(|b| b.set("embedded.partitions=8"))
        .and_then(|b| b.set("max.task.idle.ms=-1"))
        .and_then(ConfigBuilder::build)
        .unwrap();
    assert_eq!(
        config.processing_guarantee(),
        ProcessingGuarantee::AtLeastOnce
    );
    assert_eq!(
        config.commit_interval_ms(),
        30_000,
        "the guarantee decides the default"
    );
    assert_eq!(config.bootstrap_servers(), Some("a:9092,b:9092"));
    assert_eq!(
        config.deserialization_exception_handler(),
        ExceptionHandler::Continue
    );
    assert_eq!(config.processing_exception_handler(), ExceptionHandler::Dlq);
    assert_eq!(
        config.production_exception_handler(),
        ExceptionHandler::Continue
    );
    assert_eq!(config.max_request_size(), 2 << 20);
    assert!(config.reuse_ktable_source_topics());
    assert_eq!(config.dead_letter_topic(), Some("dead"));
    assert_eq!(config.log_durability(), Durability::Machine);
    assert_eq!(config.embedded_partitions(), 8);
    assert_eq!(config.max_task_idle_ms(), -1);
}

#[test]
fn the_keys_of_a_cluster_are_read_and_checked() {
    let config = named()
        .set("replication.factor=3")
        .and_then(|b| b.set("task.timeout.ms=5m"))
        .and_then(|b| b.set("group.instance.id=one"))
        .and_then(|b| b.set("client.rack=north"))
        .and_then(|b| b.set("security.protocol=SASL_SSL"))
        .and_then(|b| b.set("sasl.mechanism=PLAIN"))
        .and_then(|b| b.set("ssl.ca.location=/ca.pem"))
        .and_then(ConfigBuilder::build)
        .unwrap();
    assert_eq!(config.replication_factor(), 3);
    assert_eq!(config.task_timeout_ms(), 300_000);
    assert_eq!(config.group_instance_id(), Some("one"));
    assert_eq!(config.get("client.rack"), Some("north"));
    assert_eq!(config.get("security.protocol"), Some("SASL_SSL"));
    let sasl: Vec<_> = config.with_prefix("sasl.").collect();
    assert_eq!(sasl, [("mechanism", "PLAIN")]);
    let ssl: Vec<_> = config.with_prefix("ssl.").collect();
    assert_eq!(ssl, [("ca.location", "/ca.pem")]);
    let said = |setting| {
        let refused = named().set(setting).and_then(ConfigBuilder::build);
        refused.unwrap_err().to_string()
    };
    for wrong in ["replication.factor=0", "replication.factor=-2"] {
        let said = said(wrong);
        assert!(said.contains("from 1 to 32767 or -1"), "{said}");
    }
    assert!(said("security.protocol=tls").contains("sasl_plaintext"));
    assert!(said("group.instance.id=a/b").contains("group.instance.id"));
    assert!(said("security.protocl=ssl").contains("did you mean security.protocol?"));
    assert!(said("replication.facto=1").contains("did you mean replication.factor?"));
}

#[test]
fn transactions_that_a_cluster_would_give_up_are_refused() {
    let build = |settings: &[&str]| {
        let set = settings
            .iter()
            .try_fold(named(), |b, setting| b.set(setting));
        set.and_then(ConfigBuilder::build)
    };
    let (cluster, ten) = ("bootstrap.servers=a:1", "commit.interval.ms=10s");
    assert_eq!(
        build(&[cluster, ten]).unwrap_err().to_string(),
        "commit.interval.ms = 10000 (--set) must be less than producer.transaction.timeout.ms = \
         10000 (built-in default): the brokers abort a transaction that is open for so long, and \
         nothing would ever be committed"
    );
    let longer = "producer.transaction.timeout.ms=10001";
    assert_eq!(
        build(&[cluster, ten, longer])
            .unwrap()
            .transaction_timeout_ms(),
        10_001
    );
    let shorter = "producer.transaction.timeout.ms= 100";
    let said = build(&[cluster, shorter]).unwrap_err().to_string();
    assert!(
        said.contains("commit.interval.ms = 100 (built-in default)")
            && said.contains("producer.transaction.timeout.ms = 100 (--set)"),
        "{said}"
    );
    build(&[cluster, "commit.interval.ms=9999"]).unwrap();
    // Neither without transactions nor on the embedded log does anybody give up.
    build(&[cluster, ten, "processing.guarantee=at_least_once"]).unwrap();
    build(&[ten]).unwrap();
}

#[test]
fn the_stronger_source_wins_whatever_the_order_of_calls() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.properties");
    std::fs::write(&path, "# a file\npoll.ms = 2\npoll.ms = 3\n").unwrap();
    let set = |b: ConfigBuilder| b.set("poll.ms=6").and_then(|b| b.set("poll.ms=7"));
    let variable = |b: ConfigBuilder| b.env(env("MILLSTREAM_POLL_MS", "5"));
    let file = |b: ConfigBuilder| b.file(&path);
    let program = |b: ConfigBuilder| Ok(b.defaults(&[("poll.ms", "1")]));
    type Step<'a> = &'a dyn Fn(ConfigBuilder) -> Result<ConfigBuilder>;
    let steps: [(Step<'_>, i64, &str); 4] = [
        (&program, 1, "default of the program"),
        (&file, 3, "app.properties, line 3"),
        (&variable, 5, "environment variable MILLSTREAM_POLL_MS"),
        (&set, 7, "--set"),
    ];
    for last in 0..steps.len() {
        let (_, expect, origin) = steps[last];
        let weakest_first = steps[..=last]
            .iter()
            .try_fold(named(), |b, (step, ..)| step(b));
        let strongest_first = steps[..=last]
            .iter()
            .rev()
            .try_fold(named(), |b, (step, ..)| step(b));
        for builder in [weakest_first, strongest_first] {
            let config = builder.and_then(ConfigBuilder::build).unwrap();
            assert_eq!(config.poll_ms(), expect);
            assert!(
                config
                    .source("poll.ms")
                    .unwrap()
                    .to_string()
                    .ends_with(origin)
            );
        }
    }
}

#[test]
fn names_of_variables() {
    let table = [
        ("MILLSTREAM_STATE_DIR", "state.dir"),
        ("millstream_state_dir", "state.dir"),
        ("Millstream_CONSUMER_A__B___C_D", "consumer.a_b-c.d"),
        ("MILLSTREAM_SASL_MECHANISM", "sasl.mechanism"),
    ];
    for (name, key) in table {
        let config = named()
            .env(env(name, "x"))
            .and_then(ConfigBuilder::build)
            .unwrap();
        assert_eq!(config.get(key), Some("x"), "{name}");
    }
    let others = [
        env("PATH", "x"),
        env("MILLSTREAM", "x"),
        env("XMILLSTREAM_POLL_MS", "x"),
    ];
    let config = named()
        .env(others.concat())
        .and_then(ConfigBuilder::build)
        .unwrap();
    assert_eq!(config.poll_ms(), 100);
}

#[cfg(unix)]
#[test]
fn only_our_own_variables_have_to_be_utf8() {
    use std::{ffi::OsString, os::unix::ffi::OsStringExt};
    let bytes = |text: &[u8]| OsString::from_vec(text.to_vec());
    let build = |name: &[u8], value: &[u8]| {
        let builder = named().env([(bytes(name), bytes(value))]);
        builder.and_then(ConfigBuilder::build)
    };
    assert_eq!(build(b"LS_COLORS", b"\xff").unwrap().poll_ms(), 100);
    assert_eq!(build(b"\xff_POLL_MS", b"5").unwrap().poll_ms(), 100);
    let refused = build(b"MILLSTREAM_SASL_PASSWORD", b"secret\xff").unwrap_err();
    let said = "the environment variable MILLSTREAM_SASL_PASSWORD is not UTF-8";
    assert_eq!(refused.to_string(), said);
    let refused = build(b"MILLSTREAM_POLL\xff", b"5").unwrap_err();
    let said = "the environment variable MILLSTREAM_POLL\u{fffd} is not UTF-8";
    assert_eq!(refused.to_string(), said);
}

#[test]
fn settings_of_kafkas_clients_are_known_by_heart() {
    let build = |b: Result<ConfigBuilder>| b.and_then(ConfigBuilder::build).unwrap_err();
    let table = [
        (
            build(named().set("session.timeout.ms=9000")),
            "unknown key \"session.timeout.ms\" (--set); it is one of Kafka's clients: write \
             consumer.session.timeout.ms",
        ),
        (
            build(named().env(env("MILLSTREAM_LINGER_MS", "5"))),
            "unknown key \"linger.ms\" (environment variable MILLSTREAM_LINGER_MS); it is one of \
             Kafka's clients: write producer.linger.ms",
        ),
        (
            build(named().set("socket.timeout.ms=5")),
            "unknown key \"socket.timeout.ms\" (--set); it is one of Kafka's clients: write \
             consumer.socket.timeout.ms or producer.socket.timeout.ms",
        ),
        (
            build(named().set("Acks=1")),
            "unknown key \"Acks\" (--set); Kafka's clients have it, and Millstream sets it itself",
        ),
    ];
    for (error, expected) in table {
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn errors_say_what_where_and_how_else() {
    let build = |b: Result<ConfigBuilder>| b.and_then(ConfigBuilder::build).unwrap_err();
    let table = [
        (
            build(named().set("num.stream.thread=2")),
            "unknown key \"num.stream.thread\" (--set); did you mean num.stream.threads?",
        ),
        (
            build(named().env(env("MILLSTREAM_POL_MS", "2"))),
            "unknown key \"pol.ms\" (environment variable MILLSTREAM_POL_MS); did you mean \
             poll.ms?",
        ),
        (
            build(Ok(named().defaults(&[("default.key.serde", "x")]))),
            "unknown key \"default.key.serde\" (default of the program)",
        ),
        (
            build(named().set("consumer.=2")),
            "unknown key \"consumer.\" (--set)",
        ),
        (
            build(named().set("poll.ms=soon")),
            "bad value \"soon\" for poll.ms (--set): expected milliseconds or a time like \
             100ms, 30s, 5m, 12h, 7d",
        ),
        (
            build(named().set("processing.guarantee=exactly_once")),
            "bad value \"exactly_once\" for processing.guarantee (--set): expected one of \
             exactly_once_v2, at_least_once",
        ),
        (
            build(named().env(env("MILLSTREAM_NUM_STREAM_THREADS", "0"))),
            "bad value \"0\" for num.stream.threads (environment variable \
             MILLSTREAM_NUM_STREAM_THREADS): expected a whole number from 1 to 1024",
        ),
        (
            build(named().set("embedded.partitions=0")),
            "bad value \"0\" for embedded.partitions (--set): expected a whole number from 1 to \
             4096",
        ),
        (
            build(named().set("num.standby.replicas=-1")),
            "bad value \"-1\" for num.standby.replicas (--set): expected a whole number from 0 to \
             100",
        ),
        (
            build(named().set("poll.ms")),
            "--set poll.ms: expected key=value",
        ),
        (
            build(named().set("producer.sasl.password:hunter2")),
            "--set producer.sasl.password: expected key=value",
        ),
        (
            build(Ok(ConfigBuilder::new())),
            "application.id is not set: The program's name: its group, and the prefix of its \
             internal topics. Must be set.",
        ),
        (
            build(named().set("processing.exception.handler=dlq")),
            "processing.exception.handler = dlq (--set) needs \
             errors.dead.letter.queue.topic.name to be set",
        ),
    ];
    for (error, expect) in table {
        assert_eq!(error.to_string(), expect);
    }
}

#[test]
fn an_overridden_mistake_is_still_one() {
    let builder = named()
        .defaults(&[("poll.ms", "soon")])
        .set("poll.ms=1")
        .unwrap();
    assert!(builder.build().is_err());
}

#[test]
fn keys_of_clients_pass_untouched() {
    let config = named()
        .set("consumer.fetch.max.bytes= 1 ")
        .and_then(|b| b.set("consumer.x=a=b"))
        .and_then(|b| b.set("producer.linger.ms="))
        .and_then(ConfigBuilder::build)
        .unwrap();
    let consumer: Vec<_> = config.with_prefix("consumer.").collect();
    assert_eq!(consumer, [("fetch.max.bytes", " 1 "), ("x", "a=b")]);
    assert_eq!(
        config.with_prefix("producer.").collect::<Vec<_>>(),
        [("linger.ms", "")]
    );
    assert_eq!(config.with_prefix("admin.").count(), 0);
}

#[test]
fn explain_shows_all_but_credentials() {
    let secrets = [
        "sasl.password",
        "ssl.key.pem",
        "sasl.oauthbearer.assertion.private.key.pem",
        "sasl.oauthbearer.assertion.private.key.passphrase",
        "consumer.ssl.truststore.password",
        "producer.sasl.oauthbearer.client.secret",
        "admin.sasl.jaas.config",
        "consumer.ssl.keystore.key",
        "consumer.ssl.key.PASSWORD",
    ];
    let mut builder = named().set("poll.ms=30s").unwrap();
    for key in secrets {
        builder = builder.set(&format!("{key}=hunter2")).unwrap();
    }
    let config = builder
        .set("consumer.x=a\nb = c")
        .and_then(ConfigBuilder::build)
        .unwrap();
    let text = config.explain();
    assert!(!text.contains("hunter2"), "{text}");
    assert!(!format!("{config:?}").contains("hunter2"));
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), KEYS.len() + secrets.len() + 1);
    assert!(lines.is_sorted());
    let line = |start: &str| {
        let line = lines.iter().find(|line| line.starts_with(start)).unwrap();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("poll.ms"), "poll.ms = 30s (--set)");
    assert_eq!(
        line("commit.interval.ms"),
        "commit.interval.ms = 100 (built-in default)"
    );
    assert_eq!(
        line("application.id"),
        "application.id = app (default of the program)"
    );
    assert_eq!(line("bootstrap.servers"), "bootstrap.servers is not set");
    assert_eq!(
        line("admin.sasl"),
        "admin.sasl.jaas.config = [hidden] (--set)"
    );
    assert_eq!(line("consumer.x"), "consumer.x = a\\nb = c (--set)");
}

proptest! {
    #[test]
    fn no_setting_panics(
        setting in "\\PC*",
        key in 0..KEYS.len(),
        value in "\\PC*|-?[0-9]{1,25}[a-zA-Z]{0,3}",
    ) {
        let _ = named().set(&setting).and_then(ConfigBuilder::build);
        let _ = named().env([(format!("MILLSTREAM_{setting}"), value.clone())]);
        let text = format!("{}={value}", KEYS[key].name);
        if let Ok(config) = named().set(&text).and_then(ConfigBuilder::build) {
            prop_assert_eq!(config.get(KEYS[key].name), Some(&*value));
        }
    }
}
