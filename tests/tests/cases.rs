//! Every case on every engine: the semantics of the operators, to the byte.

use millstream_tests::{
    cases::{self, Case, OnLog, Open, TestDriver},
    package, servers,
};
use std::thread;

#[expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its cases has failed"
)]
fn all() -> Vec<Case> {
    let directory = package().join("cases");
    let cases = cases::load(&directory).unwrap();
    assert!(!cases.is_empty(), "no cases in {}", directory.display());
    cases
}

/// What became of the cases that failed.
fn failures<'a>(cases: impl Iterator<Item = &'a Case>, open: &Open<'_>) -> Vec<String> {
    let failed = cases.filter_map(|case| {
        let error = cases::run(case, open).err()?;
        Some(format!("{} ({}):\n{error:#}", case.name, case.topology))
    });
    failed.collect()
}

fn every_case_passes_on(open: &Open<'_>) {
    let cases = all();
    none(&failures(cases.iter(), open), cases.len());
}

fn none(failed: &[String], of: usize) {
    assert!(
        failed.is_empty(),
        "{} of {of} failed\n\n{}",
        failed.len(),
        failed.join("\n\n")
    );
}

#[test]
fn the_test_driver_passes_every_case() {
    every_case_passes_on(&TestDriver::open);
}

#[test]
fn the_runtime_on_the_embedded_log_passes_every_case() {
    every_case_passes_on(&OnLog::embedded);
}

/// Cases wait for the cluster most of the time, so that some run side by side.
const SIDE_BY_SIDE: usize = 6;

#[test]
fn the_runtime_on_a_kafka_cluster_passes_every_case() {
    if !servers::runs("cases on Kafka", &[servers::Kind::Kafka]) {
        return;
    }
    let cluster = servers::kafka().unwrap().bootstrap_servers();
    let cases = all();
    let open = |topology, settings: &cases::Settings| {
        let prefix = format!("{}-", servers::unique("cases"));
        OnLog::kafka(&cluster, &prefix, topology, settings)
    };
    let failed = thread::scope(|scope| {
        let mut threads = Vec::new();
        for turn in 0..SIDE_BY_SIDE {
            let own = cases.iter().skip(turn).step_by(SIDE_BY_SIDE);
            threads.push(scope.spawn(move || failures(own, &open)));
        }
        let joined = threads.into_iter().map(|thread| thread.join().unwrap());
        joined.flatten().collect::<Vec<_>>()
    });
    none(&failed, cases.len());
}

#[test]
fn a_case_that_tells_otherwise_fails() {
    // What each of these expects is wrong in one place only.
    let wrong = [
        r#"outputs.out = [{ key = "a", value = 2, time = 5 }]"#,
        r#"outputs.out = [{ key = "b", value = 1, time = 5 }]"#,
        r#"outputs.out = [{ key = "a", value = 1, time = 6 }]"#,
        r#"outputs.out = [{ key = "a", value = 1, time = 5, headers = [["h", "v"]] }]"#,
        r#"outputs.out = []"#,
        r#"outputs.other = []"#,
    ];
    let right = r#"outputs.out = [{ key = "a", value = 1, time = 5, headers = [] }]"#;
    let directory = tempfile::tempdir().unwrap();
    let outcome = |outputs: &str| {
        let case = format!(
            "[[case]]\nname = 'x'\ntopology = 'filter'\n\
             script = [{{ to = 'numbers', key = 'a', value = 1, time = 5 }}]\n{outputs}\n"
        );
        std::fs::write(directory.path().join("x.toml"), case).unwrap();
        cases::run(
            &cases::load(directory.path()).unwrap()[0],
            &TestDriver::open,
        )
    };
    outcome(right).unwrap();
    for outputs in wrong {
        let error = outcome(outputs).unwrap_err().to_string();
        assert!(error.contains("out holds"), "{outputs}: {error}");
    }
}
