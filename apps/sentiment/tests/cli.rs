//! The command line: what each verb prints, and what it says about mistakes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

mod common;

use common::{Home, Running};
use serde_json::Value;

const LINES: &str = "1\ta joy from start to end\n\
    0\tdull and far too long\n\
    good\tthe label is none\n\
    \tnobody has said whether this is a joy\n\
    no tab at all\n\
    1\twarm and funny\t1700000000000\n";

#[test]
fn the_result_is_one_object_with_all_figures() {
    let home = Home::new();
    let result = home.run(&["--generate", "2000"]);
    for field in [
        "accuracy",
        "log_loss",
        "auc",
        "records_per_second",
        "cpu_seconds",
        "max_rss_mb",
    ] {
        assert!(
            result[field].as_f64().is_some_and(|v| v > 0.0),
            "{field}: {result}"
        );
    }
    assert_eq!(result["records"], 2000);
    assert_eq!(result["malformed"], 0);
    let fingerprint = result["fingerprint"].as_str().unwrap();
    assert!(fingerprint.len() == 16 && u64::from_str_radix(fingerprint, 16).unwrap() != 0);
    assert!(result["accuracy"].as_f64().unwrap() > 0.7, "{result}");
    assert_eq!(home.rows("predictions").len(), 2000);
}

#[test]
fn malformed_lines_are_counted_and_unlabelled_ones_teach_nothing() {
    let home = Home::new();
    let input = home.file("reviews.tsv", LINES);
    let result = home.run(&["--input", input.to_str().unwrap()]);
    assert_eq!(
        (&result["records"], &result["malformed"]),
        (&3.into(), &2.into())
    );
    let rows = home.rows("predictions");
    let ids: Vec<_> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["0", "1", "3", "5"], "keys are places in the source");
    assert_eq!(
        (&rows[2]["truth"], &rows[2]["correct"]),
        (&Value::Null, &Value::Null)
    );
    let versions: Vec<_> = rows
        .iter()
        .map(|row| row["version"].as_i64().unwrap())
        .collect();
    assert_eq!(
        versions,
        [0, 1, 2, 2],
        "a text without a label teaches nothing"
    );
    assert_eq!(rows[3]["written_at"], 1_700_000_000_000_i64);

    // Without the lines that teach nothing it learns the same.
    let taught = Home::new();
    let some = LINES.lines().filter(|line| line.starts_with(['0', '1']));
    let input = taught.file("reviews.tsv", some.collect::<Vec<_>>().join("\n"));
    let again = taught.run(&["--input", input.to_str().unwrap()]);
    assert_eq!(again["fingerprint"], result["fingerprint"]);
}

#[test]
fn a_second_run_goes_on_where_the_first_ended() {
    let home = Home::new();
    let (half, both) = LINES.split_at(LINES.find("good").unwrap());
    let input = home.file("reviews.tsv", half);
    let args = ["--input", input.to_str().unwrap()];
    assert_eq!(home.run(&args)["records"], 2);
    home.file("reviews.tsv", format!("{half}{both}"));
    assert_eq!(home.run(&args)["records"], 3);
    // What is there already takes no time to be taken.
    let idle = home.run(&args);
    assert_eq!(idle["records"], 3);
    assert_eq!(idle["records_per_second"], 0.0);
    let whole = Home::new();
    let input = whole.file("reviews.tsv", LINES);
    let expected = whole.run(&["--input", input.to_str().unwrap()]);
    assert_eq!(home.run(&args)["fingerprint"], expected["fingerprint"]);
    assert_eq!(home.rows("predictions"), whole.rows("predictions"));
}

#[test]
fn a_longer_run_of_made_up_sentences_goes_on_where_a_shorter_one_ended() {
    let (whole, home) = (Home::new(), Home::new());
    let expected = whole.run(&["--generate", "300"]);
    assert_eq!(home.run(&["--generate", "100"])["records"], 100);
    for sentences in ["300", "50"] {
        let told = home.run(&["--generate", sentences]);
        for name in ["records", "fingerprint"] {
            assert_eq!(told[name], expected[name], "{name}, {sentences}");
        }
    }
    assert_eq!(home.rows("predictions"), whole.rows("predictions"));
}

#[test]
fn the_topology_is_printed_in_four_formats() {
    let home = Home::new();
    let text = home.good(&["topology"]);
    assert!(
        text.starts_with("Topologies:") && text.contains("(topics: [reviews])"),
        "{text}"
    );
    assert_eq!(text, home.good(&["topology", "--format", "text"]));
    let json: Value = serde_json::from_str(&home.good(&["topology", "--format", "json"])).unwrap();
    assert_eq!(json["subtopologies"].as_array().unwrap().len(), 1);
    assert!(
        home.good(&["topology", "--format", "dot"])
            .starts_with("digraph")
    );
    let mermaid = home.good(&["topology", "--format", "mermaid"]);
    assert!(
        mermaid.starts_with("flowchart") || mermaid.starts_with("graph"),
        "{mermaid}"
    );
    assert!(
        home.bad(&["topology", "--format", "svg"])
            .contains("mermaid")
    );
}

#[test]
fn settings_are_explained_with_their_sources_and_without_secrets() {
    let home = Home::new();
    let file = home.file(
        "app.properties",
        "poll.ms=50\nconsumer.sasl.password=hunter2\n",
    );
    let file = file.to_str().unwrap();
    let set = [
        "config",
        "explain",
        "--config",
        file,
        "--set",
        "commit.interval.ms=250",
    ];
    let mut command = home.command(&set);
    command.env("MILLSTREAM_NUM_STREAM_THREADS", "3");
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |key: &str| {
        let found = text.lines().find(|line| line.starts_with(key));
        found
            .unwrap_or_else(|| panic!("no {key} in {text}"))
            .to_owned()
    };
    for (key, value, source) in [
        ("commit.interval.ms", "250", "--set"),
        ("num.stream.threads", "3", "MILLSTREAM_NUM_STREAM_THREADS"),
        ("poll.ms", "50", "app.properties"),
        ("application.id", "sentiment", "default of the program"),
        ("processing.guarantee", "exactly_once_v2", "built-in"),
        ("consumer.sasl.password", "", "app.properties"),
    ] {
        let line = line(key);
        assert!(line.contains(value) && line.contains(source), "{line}");
    }
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn mistakes_are_told_with_what_to_do() {
    let home = Home::new();
    let state = home.path().to_str().unwrap();
    for (args, parts) in [
        (
            &["topology", "--set", "comit.interval.ms=1"][..],
            &["comit.interval.ms", "did you mean commit.interval.ms?"][..],
        ),
        (&["topology", "--set", "poll.ms=soon"], &["poll.ms", "soon"]),
        (&["topology", "--set", "nonsense"], &["nonsense"]),
        (
            &["topology", "--config", "/no/such.toml"],
            &["/no/such.toml"],
        ),
        (
            &[
                "run",
                "--generate",
                "1",
                "--set",
                "bootstrap.servers=127.0.0.1:1",
                "--set",
                "task.timeout.ms=1s",
            ],
            &["Kafka cluster at bootstrap.servers = 127.0.0.1:1"],
        ),
        (
            &["run", "--input", "/no/such.tsv"],
            &["/no/such.tsv", "No such file"],
        ),
        (&["run", "--input", state], &[state, "is a directory"]),
        (
            &["run", "--input", "x", "--generate", "1"],
            &["--input", "--generate"],
        ),
        (
            &[
                "run",
                "--generate",
                "1",
                "--set",
                "application.server=nowhere",
            ],
            &["application.server", "nowhere"],
        ),
        (
            &[
                "run",
                "--generate",
                "1",
                "--set",
                "processing.guarantee=at_least_once",
            ],
            &["processing.guarantee=exactly_once_v2", "\"sentiment\""],
        ),
        (&["state", "no-such-store"], &["no-such-store"]),
        (&["state", "sentiment"], &["sentiment", "by key"]),
        (
            &["state", "retire", "sentiment"],
            &["declares", "sentiment"],
        ),
        (&["state", "retire", "gone"], &["no task has", "gone"]),
        (&["no-such-verb"], &["no-such-verb"]),
    ] {
        let said = home.bad(args);
        for part in parts {
            assert!(said.contains(part), "{args:?} said {said:?}, not {part:?}");
        }
    }
    assert_eq!(home.good(&["state"]), "sentiment\tweights\n");
}

#[test]
fn what_needs_no_cluster_asks_for_none() {
    let home = Home::new();
    home.run(&["--generate", "50"]);
    let cluster = ["--set", "bootstrap.servers=127.0.0.1:1"];
    let with = |args: &[&str]| home.good(&[args, &cluster].concat());
    assert_eq!(with(&["topology"]), home.good(&["topology"]));
    assert!(with(&["config", "explain"]).contains("127.0.0.1:1"));
    assert_eq!(with(&["state"]), "sentiment\tweights\n");
}

/// A note of a run of an older program, which had called its model otherwise.
#[test]
fn a_renamed_store_stops_the_program_until_the_old_one_is_retired() {
    let home = Home::new();
    home.run(&["--generate", "50"]);
    let tasks = home.path().join("sentiment/tasks");
    let note = tasks.join("0_0/STORES");
    let noted = std::fs::read_to_string(&note).unwrap();
    assert_eq!(noted, "2\nsentiment\tweights\tlogged\n");
    std::fs::write(&note, noted.replace("sentiment", "kindness")).unwrap();
    let again = ["run", "--generate", "50", "--until-caught-up", "--no-http"];
    let said = home.bad(&again);
    for part in ["kindness", "sentiment", "renamed", "state retire kindness"] {
        assert!(said.contains(part), "{said}");
    }
    let said = home.good(&["state", "retire", "kindness"]);
    assert!(said.contains("0_0"), "{said}");
    home.good(&again);
}

#[test]
fn a_state_directory_serves_one_instance() {
    let home = Home::new();
    let any_port = "application.server=127.0.0.1:0";
    let first = ["run", "--generate", "100", "--set", any_port];
    let child = Running::start(home.command(&first));
    child.hear("http://").expect("it ended before it began");
    let dir = home.path().to_str().unwrap();
    for args in [&["run", "--generate", "100", "--no-http"][..], &["reset"]] {
        let said = home.bad(args);
        assert!(said.contains(dir) && said.contains("in use"), "{said}");
    }
    child.signal("-INT");
    assert_eq!(child.end().code(), Some(0));
    home.good(&["reset"]);
}

#[test]
fn reset_begins_anew_and_only_when_told_to() {
    let home = Home::new();
    let source = ["--generate", "1500"];
    let (first, rows) = (home.run(&source), home.rows("predictions"));
    let plan = home.good(&["reset"]);
    assert!(plan.contains("nothing was done"), "{plan}");
    // Nothing was done: there is nothing new to learn.
    assert_eq!(home.run(&source)["fingerprint"], first["fingerprint"]);
    let done = home.good(&["reset", "--execute"]);
    for part in [
        "state of task 0_0",
        "sentiment-sentiment-changelog",
        "reviews-0",
    ] {
        assert!(plan.contains(part) && done.contains(part), "{plan}{done}");
    }
    assert!(!done.contains("nothing was done"), "{done}");
    let again = home.run(&source);
    assert_eq!(again["records"], 1500, "the model began anew");
    assert_eq!(again["fingerprint"], first["fingerprint"]);
    let without_places = |rows: Vec<Value>| -> Vec<Value> {
        let mut rows = rows;
        for row in rows.iter_mut().filter_map(Value::as_object_mut) {
            // The topic of predictions keeps what was in it: new ones have new offsets there.
            row.retain(|column, _| !column.starts_with('_'));
        }
        rows
    };
    assert_eq!(
        without_places(home.rows("predictions")),
        without_places(rows)
    );
    // Where nothing ever ran there is nothing to forget.
    assert!(
        Home::new()
            .good(&["reset", "--execute"])
            .contains("reviews-0")
    );
}
