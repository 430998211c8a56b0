//! The running program over HTTP: its page, probes, metrics and queries, and a record posted from
//! outside that comes back predicted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

mod common;

use common::{Home, LIMIT, Served, request};
use serde_json::{Value, json};
use std::{
    io::Write,
    process::{Command, Stdio},
};

/// Sentences of the source.
const SENTENCES: u64 = 2_000;

/// The program, which serves what it learns of so many sentences.
fn serve() -> Served {
    Served::start(Home::new(), &["--generate", &SENTENCES.to_string()])
}

/// Waits until all of the source is learned and the metrics say so.
fn until_learned(served: &Served) -> String {
    served.until("/readyz", |status, _| status == 200);
    let series = "streams_model_learned_total{model=\"sentiment\",partition=\"0\"}";
    let learned = format!("{series} {SENTENCES}");
    let written =
        format!("streams_sink_rows_total{{outcome=\"written\",sink=\"predictions\"}} {SENTENCES}");
    served.until("/metrics", |_, text| {
        text.contains(&learned) && text.contains(&written)
    })
}

/// The sum over a metric's series, or of those with a label; `None` where there are none.
fn sum(metrics: &str, name: &str, label: &str) -> Option<f64> {
    let mut series = metrics.lines().filter(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(['{', ' ']))
            && line.contains(label)
    });
    let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
    let first = value(series.next()?);
    Some(series.map(value).fold(first, |sum, value| sum + value))
}

#[test]
fn metrics_tell_of_records_commits_sinks_and_the_model() {
    let served = serve();
    let metrics = until_learned(&served);
    let counts = f64::from(u32::try_from(SENTENCES).unwrap());
    for (name, label, expected) in [
        ("streams_client_state", "state=\"RUNNING\"", 1.0),
        ("streams_client_state", "state=\"ERROR\"", 0.0),
        ("streams_threads", "state=\"running\"", 1.0),
        ("streams_tasks", "role=\"active\",state=\"running\"", 1.0),
        ("streams_records_processed_total", "task=\"0_0\"", counts),
        ("streams_records_sent_total", "task=\"0_0\"", counts),
        ("streams_records_dropped_total", "", 0.0),
        ("streams_dead_letters_total", "", 0.0),
        ("streams_thread_failures_total", "", 0.0),
        ("streams_consumer_lag_records", "topic=\"reviews\"", 0.0),
        ("streams_sink_pending_rows", "sink=\"predictions\"", 0.0),
        ("streams_sink_rows_total", "outcome=\"refused\"", 0.0),
        ("streams_model_predictions_total", "sentiment", counts),
        ("streams_restore_remaining_records", "", 0.0),
        ("streams_model_info", "model=\"sentiment\"", 1.0),
        ("streams_build_info", "version=", 1.0),
    ] {
        // A series that would only say that something never happened need not be there.
        let found = sum(&metrics, name, label);
        let found = if expected == 0.0 {
            found.or(Some(0.0))
        } else {
            found
        };
        assert_eq!(found, Some(expected), "{name} {label} in\n{metrics}");
    }
    assert!(sum(&metrics, "streams_commits_total", "outcome=\"committed\"") > Some(0.0));
    assert_eq!(
        sum(&metrics, "streams_commits_total", "outcome=\"fenced\""),
        Some(0.0)
    );
    for (metric, window) in [
        ("accuracy", "all"),
        ("accuracy", "rolling-1000"),
        ("auc", "all"),
        ("log_loss", "all"),
    ] {
        let label = format!("metric=\"{metric}\",model=\"sentiment\",window=\"{window}\"");
        let value = sum(&metrics, "streams_model_quality", &label).unwrap();
        assert!(value > 0.0 && value < 1.0, "{label} {value}");
    }
    assert!(sum(&metrics, "process_resident_memory_bytes", "") > Some(1e6));
    promtool_finds_no_fault(&metrics);
}

/// Prometheus' own judgement, where its tool is at hand.
fn promtool_finds_no_fault(metrics: &str) {
    let cached = std::env::var("HOME").map(|home| format!("{home}/.cache/millstream/bin/promtool"));
    for tool in ["promtool".to_owned(), cached.unwrap_or_default()] {
        let mut command = Command::new(tool);
        command.args(["check", "metrics"]).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let Ok(mut child) = command.spawn() else {
            continue;
        };
        child
            .stdin
            .take()
            .unwrap()
            .write_all(metrics.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.trim().is_empty(), "{said}");
        return;
    }
}

#[test]
fn a_posted_review_comes_back_predicted() {
    let served = serve();
    until_learned(&served);
    let version = served.json("/api/v1/models")[0]["version"].clone();
    let post = |body: &Value| {
        request(
            &served.address,
            "POST",
            "/topics/reviews/records",
            &body.to_string(),
        )
    };
    let review = |text: &str, favourable: Value| json!({"text": text, "favourable": favourable});
    let (status, body) = post(&json!({"records": [
        {"key": "mine", "value": review("a joy, brilliant and moving, a gem", Value::Null)},
        {"key": "yours", "value": review("dull, a mess, a waste", json!(false)), "timestamp": 17},
    ]}));
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    let offsets = answer["offsets"].as_array().unwrap();
    assert_eq!(offsets.len(), 2);
    assert_eq!(offsets[0], json!({"partition": 0, "offset": SENTENCES}));
    assert_eq!(offsets[1], json!({"partition": 0, "offset": SENTENCES + 1}));

    let path = "/topics/predictions/records?limit=2";
    let page = served.until(path, |_, body| body.contains("\"yours\""));
    let page: Value = serde_json::from_str(&page).unwrap();
    let [mine, yours] = &page["records"].as_array().unwrap()[..] else {
        panic!("not two records: {page}");
    };
    assert_eq!(
        (&mine["key"], &yours["key"]),
        (&json!("mine"), &json!("yours"))
    );
    assert_eq!(yours["timestamp"], 17);
    let said = |record: &Value| record["value"]["prediction"]["predicted"].clone();
    assert_eq!(
        (said(mine), said(yours)),
        (json!(true), json!(false)),
        "{page}"
    );
    assert_eq!(mine["value"]["offset"], SENTENCES);
    // The one without a label taught nothing, the other one did.
    let learned = |body: &str| {
        let models: Value = serde_json::from_str(body).unwrap();
        models[0]["learned"] == SENTENCES + 1
    };
    served.until("/api/v1/models", |_, body| learned(body));
    // It is a label of a metric, where each other version would be another time series.
    assert_eq!(served.json("/api/v1/models")[0]["version"], version);
}

#[test]
fn bad_appends_are_told_from_good_ones() {
    let served = serve();
    let review = |text: &str| json!({"text": text, "favourable": null});
    for (path, body, expected) in [
        (
            "/topics/no-such/records",
            json!({"records": [{"value": 1}]}),
            404,
        ),
        ("/topics/reviews/records", json!({"records": []}), 400),
        (
            "/topics/reviews/records",
            json!({"records": [{"value": {"text": 7}}]}),
            400,
        ),
        // Without a key, or without a value: neither is a review that could be read.
        (
            "/topics/reviews/records",
            json!({"records": [{"value": review("fine")}]}),
            400,
        ),
        (
            "/topics/reviews/records",
            json!({"records": [{"key": "k"}]}),
            400,
        ),
        ("/topics/reviews/records", json!({"wrong": []}), 400),
        (
            "/topics/reviews/records",
            json!({"records": [{"partition": 9, "key": "k", "value": review("x")}]}),
            404,
        ),
        (
            "/topics/sentiment-sentiment-changelog/records",
            json!({"records": [{"value": 1}]}),
            403,
        ),
    ] {
        let (status, said) = request(&served.address, "POST", path, &body.to_string());
        assert_eq!(status, expected, "{path} {body}: {said}");
        let said: Value = serde_json::from_str(&said).unwrap();
        assert!(
            said["error"].is_object() || said["message"].is_string(),
            "{said}"
        );
    }
    // None of it is in the topic, where it would stop the program.
    let path = "/topics/reviews/records";
    let body = json!({"records": [{"key": "k", "value": review("fine")}]});
    assert_eq!(
        request(&served.address, "POST", path, &body.to_string()).0,
        200
    );
    served.until("/topics/predictions/records?limit=1", |_, body| {
        body.contains("\"k\"")
    });
    assert_eq!(served.json("/api/v1/status")["state"], "RUNNING");
}

#[test]
fn page_probes_and_queries_answer() {
    let served = serve();
    until_learned(&served);
    for (path, part) in [
        ("/", "<!doctype html>"),
        ("/page.js", "followSummaries"),
        ("/page.css", "{"),
        ("/topology.js", "svg"),
        ("/healthz", "alive"),
        ("/readyz", "ready"),
        ("/topology", "Topologies:"),
        ("/topology?format=dot", "digraph"),
        ("/topology?format=mermaid", "-->"),
    ] {
        let (status, body) = served.get(path);
        assert_eq!(status, 200, "{path}");
        assert!(
            body.to_lowercase().contains(&part.to_lowercase()),
            "{path}: {body}"
        );
    }
    assert_eq!(
        served.json("/topology?format=json")["subtopologies"][0]["id"],
        0
    );
    let stores = served.json("/api/v1/stores");
    assert_eq!(
        (&stores[0]["name"], &stores[0]["kind"]),
        (&json!("sentiment"), &json!("weights"))
    );
    let topics = served.json("/api/v1/topics");
    let names: Vec<_> = topics
        .as_array()
        .unwrap()
        .iter()
        .map(|topic| &topic["name"])
        .collect();
    for name in ["reviews", "predictions", "sentiment-sentiment-changelog"] {
        assert!(names.contains(&&json!(name)), "{topics}");
    }
    let model = &served.json("/api/v1/models")[0];
    assert_eq!(
        (&model["name"], &model["learned"]),
        (&json!("sentiment"), &json!(SENTENCES))
    );
    assert_eq!(model["predictions"], SENTENCES);
    let accuracy = &model["quality"][0];
    assert_eq!(
        (&accuracy["metric"], &accuracy["window"]),
        (&json!("accuracy"), &json!("all"))
    );
    assert!(accuracy["value"].as_f64().unwrap() > 0.7, "{accuracy}");
    let status = served.json("/api/v1/status");
    assert_eq!(
        (&status["state"], &status["tasks"][0]["lag"]),
        (&json!("RUNNING"), &json!(0))
    );
    let page = served.json("/topics/reviews/records?offset=5&limit=3");
    assert_eq!(
        (&page["records"][0]["offset"], &page["next"]),
        (&json!(5), &json!(8))
    );
    assert!(page["records"][0]["value"]["text"].is_string(), "{page}");
}

#[test]
fn questions_nobody_can_answer_say_why() {
    let served = serve();
    for (path, expected) in [
        ("/no-such-page", 404),
        ("/stores/no-such", 404),
        ("/topics/no-such/records", 404),
        ("/topics/reviews/records?partition=7", 404),
        ("/topics/reviews/records?offset=-1", 400),
        ("/topics/reviews/records?limit=0", 400),
        ("/topology?format=svg", 400),
    ] {
        let (status, body) = served.get(path);
        assert_eq!(status, expected, "{path}: {body}");
    }
    let (status, _) = request(&served.address, "DELETE", "/topics/reviews/records", "");
    assert_eq!(status, 405);
    served.child.signal("-TERM");
    assert!(served.child.ends_within(LIMIT));
}
