//! Every case on every engine: the semantics of the operators, to the byte.

use millstream_tests::cases::{self, OnEmbeddedLog, Open, TestDriver};
use std::path::Path;

#[expect(
    clippy::expect_used,
    reason = "a test that cannot read its cases has failed"
)]
fn every_case_passes_on(open: &Open<'_>) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let cases = cases::load(&directory).expect("the cases can be read");
    let mut failed = Vec::new();
    for case in &cases {
        if let Err(error) = cases::run(case, open) {
            failed.push(format!("{} ({}):\n{error:#}", case.name, case.topology));
        }
    }
    let count = (failed.len(), cases.len());
    assert!(
        failed.is_empty(),
        "{count:?} failed\n\n{}",
        failed.join("\n\n")
    );
    assert!(count.1 > 0, "no cases in {}", directory.display());
}

#[test]
fn the_test_driver_passes_every_case() {
    every_case_passes_on(&TestDriver::open);
}

#[test]
fn the_runtime_on_the_embedded_log_passes_every_case() {
    every_case_passes_on(&OnEmbeddedLog::open);
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
