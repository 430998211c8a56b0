//! The program through crashes: whatever moment it is killed at, what it has learned and the rows
//! in its table are in the end those of a run that nothing disturbed, to the bit.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

mod common;

use common::{Home, LIMIT, Running, reviews};
use millstream::log::Rng;
use serde_json::Value;
use std::{path::Path, sync::OnceLock, time::Duration};

/// How many kills there must have been.
const KILLS: usize = 24;
/// Kills of one run before it is left in peace.
const KILLS_A_RUN: usize = 12;
/// The seed of the moments; another may be given in `CRASH_SEED`.
const SEED: u64 = 20_260_117;

/// How often it is looked whether a child works.
const LOOK: Duration = Duration::from_millis(5);

/// What an undisturbed run comes to.
struct Reference {
    result: Value,
    rows: Vec<Value>,
}

/// The undisturbed run over the input, made once for all tests.
fn reference(input: &Path) -> &'static Reference {
    static REFERENCE: OnceLock<Reference> = OnceLock::new();
    REFERENCE.get_or_init(|| {
        let home = Home::new();
        let result = home.run(&["--input", input.to_str().unwrap()]);
        let rows = home.rows("predictions");
        Reference { result, rows }
    })
}

/// A child in the middle of its input: its threads run when this returns.
fn start(home: &Home, input: &Path) -> Running {
    let input = input.to_str().unwrap();
    let any_port = "application.server=127.0.0.1:0";
    let args = [
        "run",
        "--until-caught-up",
        "--set",
        any_port,
        "--input",
        input,
    ];
    Running::start(home.command(&args))
}

/// Runs what is left without disturbance, and holds everything against the reference.
fn finish_and_compare(home: &Home, input: &Path) {
    let expected = reference(input);
    let result = home.run(&["--input", input.to_str().unwrap()]);
    for field in ["fingerprint", "records", "accuracy", "log_loss", "auc"] {
        assert_eq!(result[field], expected.result[field], "{field}");
    }
    let rows = home.rows("predictions");
    assert_eq!(rows.len(), expected.rows.len());
    for (row, expected) in rows.iter().zip(&expected.rows) {
        assert_eq!(row, expected);
    }
}

/// Waits until the table has more rows than so many; `false` where the child ended before.
fn comes_beyond(rows: u64, child: &Running, home: &Home) -> bool {
    for _ in 0..LIMIT.as_millis() / LOOK.as_millis() {
        if home.progress() > rows {
            return true;
        }
        if child.ends_within(LOOK) {
            return false;
        }
    }
    panic!("the table stays at {rows} rows")
}

#[test]
fn kills_at_any_moment_leave_no_trace() {
    let seed = std::env::var("CRASH_SEED")
        .ok()
        .map(|seed| seed.parse().unwrap());
    let seed = seed.unwrap_or(SEED);
    println!("CRASH_SEED={seed}");
    let mut rng = Rng::new(seed);
    let (mut kills, mut in_the_middle) = (0, 0);
    while kills < KILLS {
        let home = Home::new();
        let input = reviews(&home);
        let all = reference(&input).rows.len() as u64;
        let mut rows = 0;
        for kill in 0..KILLS_A_RUN {
            let child = start(&home, &input);
            // One in four dies while it opens what the last one left, the others while they work.
            let opening = rng.below(4) == 0;
            if !opening && child.hear("http://").is_none() {
                break;
            }
            // A slow machine may not come to work in any moment: every other child must.
            let looked_at = kill % 2 == 1;
            if looked_at && !opening && !comes_beyond(rows, &child, &home) {
                break;
            }
            let moment = Duration::from_millis(rng.below(if opening { 60 } else { 250 }));
            if child.ends_within(moment) {
                break;
            }
            child.kill();
            kills += 1;
            // Not after every kill: who looks into the table also recovers its journal, which
            // else the next run must do.
            if looked_at {
                rows = home.progress();
                println!("kill {kills}: {rows} of {all} rows");
                in_the_middle += usize::from(rows > 0 && rows < all);
            }
        }
        finish_and_compare(&home, &input);
    }
    assert!(
        in_the_middle >= KILLS / 4,
        "only {in_the_middle} in the middle"
    );
}

#[test]
fn a_signal_ends_the_run_after_a_last_commit() {
    let home = Home::new();
    let input = reviews(&home);
    let child = start(&home, &input);
    child.hear("http://").expect("it ended before it began");
    assert!(!child.ends_within(Duration::from_millis(100)));
    child.signal("-TERM");
    assert_eq!(child.end().code(), Some(0));
    let rows = home.progress();
    let all = reference(&input).rows.len() as u64;
    assert!(rows < all, "the signal came too late to show anything");
    finish_and_compare(&home, &input);
}

#[test]
fn a_second_signal_ends_it_at_once_and_loses_nothing() {
    let home = Home::new();
    let input = reviews(&home);
    let child = start(&home, &input);
    child.hear("http://").expect("it ended before it began");
    assert!(!child.ends_within(Duration::from_millis(50)));
    child.signal("-TERM");
    child.signal("-TERM");
    let code = child.end().code();
    // The first may have done its work before the second arrives.
    assert!(matches!(code, Some(0 | 130)), "{code:?}");
    finish_and_compare(&home, &input);
}
