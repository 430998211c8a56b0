//! The command line: what a run comes to, also after a crash.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

mod common;

use common::{Home, kills_leave_no_trace};

const TABLES: [&str; 3] = ["sessions", "funnel", "predictions"];

#[test]
fn the_result_says_how_far_the_model_is_from_the_best_possible() {
    let home = Home::new();
    let result = home.outcome(&["--generate", "20000"]);
    let figure = |name: &str| result[name].as_f64().unwrap();
    let count = |name: &str| result[name].as_u64().unwrap();
    assert_eq!(count("records"), 20_050, "the catalogue and the events");
    let steps = ["shown", "views", "carts", "purchases"].map(count);
    assert_eq!(steps.iter().sum::<u64>(), 20_000);
    assert!(steps.is_sorted_by(|more, less| more > less), "{steps:?}");
    assert_eq!(count("predictions"), count("shown"));
    let distance = figure("log_loss") - figure("best_log_loss");
    assert_eq!(result["log_loss_above_best"], distance);
    assert!(distance > 0.0 && distance < 0.006, "{result}");
    assert!(count("sessions_closed") > 100, "{result}");
}

#[test]
fn a_longer_run_goes_on_where_a_shorter_one_ended() {
    let (whole, home) = (Home::new(), Home::new());
    let expected = whole.outcome(&["--generate", "3000"]);
    assert_eq!(home.outcome(&["--generate", "1000"])["records"], 1_050);
    // The model has seen the items that the best log-loss is of, each of them once.
    assert_eq!(home.outcome(&["--generate", "3000"]), expected);
    // What was taken stays taken.
    assert_eq!(home.outcome(&["--generate", "500"]), expected);
    for table in TABLES {
        assert_eq!(home.rows(table), whole.rows(table), "{table}");
    }
}

#[test]
fn kills_leave_no_trace_in_any_table() {
    kills_leave_no_trace(&["--generate", "30000"], &TABLES);
}

#[test]
fn the_readme_shows_the_topology() {
    let readme = include_str!("../README.md");
    let shown = Home::new().good(&["topology", "--format", "mermaid"]);
    assert!(readme.contains(shown.trim_end()), "{shown}");
}
