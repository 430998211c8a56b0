//! The programs that cases run, by name, each as small as the operator it is about allows.
//!
//! Invariant: equal names give equal programs, whatever engine runs them.

mod processors;
mod stateful;
mod stateless;
mod tables;
mod windows;

use anyhow::{Result, bail};
use millstream_core::prelude::*;

static NUMBERS: Topic<String, i64> = Topic::new("numbers", utf8(), i64_be());
static MORE: Topic<String, i64> = Topic::new("more", utf8(), i64_be());
static MAYBE: Topic<Option<String>, i64> = Topic::new("maybe", option::<Utf8>(), i64_be());
static TEXT: Topic<String, String> = Topic::new("text", utf8(), utf8());
static ROWS: Topic<String, i64> = Topic::new("rows", utf8(), i64_be());
static OPTIONAL: Topic<String, Option<i64>> = Topic::new("optional", utf8(), option::<I64Be>());
static OUT: Topic<String, i64> = Topic::new("out", utf8(), i64_be());
static BIG: Topic<String, i64> = Topic::new("big", utf8(), i64_be());
static REST: Topic<String, i64> = Topic::new("rest", utf8(), i64_be());
static TEXT_OUT: Topic<String, String> = Topic::new("text-out", utf8(), utf8());
static COUNTS: Topic<String, u64> = Topic::new("counts", utf8(), u64_be());
static ROWS_OUT: Topic<String, Option<i64>> = Topic::new("rows-out", utf8(), option::<I64Be>());

/// The program of a name.
///
/// # Errors
/// Where there is none of that name, or it is not a legal one.
pub fn build(name: &str) -> Result<Topology> {
    let builder = StreamsBuilder::new();
    let known = stateless::declare(name, &builder)
        || stateless::declare_fallible(name, &builder)
        || stateful::declare(name, &builder)
        || tables::declare(name, &builder)
        || tables::declare_joins(name, &builder)
        || processors::declare(name, &builder)
        || windows::declare(name, &builder);
    if !known {
        bail!("there is no topology {name:?}");
    }
    Ok(builder.build()?)
}

/// A number in a text.
fn parse(text: &str) -> Result<i64, std::num::ParseIntError> {
    text.parse()
}

/// The first letter, as a key to group texts by.
fn initial(text: &str) -> String {
    text.chars().take(1).collect()
}
