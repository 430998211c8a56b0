//! What the tests of the program share with those of the other apps, what it is to them, and its
//! input.

#![allow(
    dead_code,
    unused_imports,
    reason = "each test file is a crate of its own, and uses a part of this"
)]

#[path = "../../../testing/home.rs"]
mod home;
#[path = "../../../testing/running.rs"]
mod running;

pub(crate) use home::{Home, Program, last_object};
pub(crate) use running::{LIMIT, Running, Served, request};

use std::{fmt::Write as _, path::PathBuf};

pub(crate) const PROGRAM: Program = Program {
    executable: env!("CARGO_BIN_EXE_sentiment"),
    database: "sentiment/predictions.db",
    table: "predictions",
};

/// Reviews enough to be in the middle of for about a second: those of `fetch-data`, where they are,
/// else made-up ones of the same shape.
pub(crate) fn reviews(home: &Home) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let user = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let fetched = cache.or_else(user);
    let fetched = fetched.map(|cache| cache.join("millstream/data/imdb-mixed.tsv"));
    if let Some(file) = fetched.filter(|file| file.exists()) {
        return file;
    }
    let mut text = String::new();
    let mut state = 7_u64;
    for _ in 0..25_000 {
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state >> 33
        };
        let label = next() % 2;
        write!(text, "{label}\t").unwrap();
        for _ in 0..230 {
            // Half of the words tell nothing, the others lean towards their label.
            let word = next() % 20_000;
            let lean = if next() % 5 == 0 { 1 - label } else { label };
            let side = if word % 2 == 0 { 2 } else { lean };
            write!(text, "w{word}x{side} ").unwrap();
        }
        text.push('\n');
    }
    home.file("reviews.tsv", text)
}
