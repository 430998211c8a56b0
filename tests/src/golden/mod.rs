//! Kafka Streams as the oracle: programs that are data, which both engines run, and whose outputs
//! are compared record by record.
//!
//! A program is one line of JSON: `nodes`, a list of operators that refer to earlier ones by their
//! place in it, and a `script` of what happens, each step `[TOPIC, KEY, VALUE, TIME]` (perhaps with
//! the value of a header `h` after it) or `[CLOCK]`, which moves the wall clock. All keys are texts
//! and all values whole numbers, either may be null, so that any operator fits any other; a value
//! that is a text is bytes that are no number. `on_error` is what becomes of bad records. A golden
//! file has such lines together with what Kafka Streams made of them: `outputs`, by topic, how many
//! records it `dropped`, and the step at which it `failed`, if it was to, perhaps with what it had
//! made `before`. What every operator and parameter means stands in [`op`] and [`functions`], and
//! once more in `tests/jvm`.
//!
//! Invariant: a difference between the engines is either a failure or named, with its reason, in
//! `tests/golden/differences.toml`.

pub mod build;
pub mod cases;
pub mod compare;
pub mod coverage;
mod dice;
pub mod differences;
pub mod functions;
pub mod fuzz;
pub mod grammar;
pub mod judge;
pub mod kind;
pub mod op;
pub mod parts;
pub mod peer;
pub mod policy;
mod processing;
mod processors;
pub mod program;
mod reads;
mod recalling;
pub mod run;
pub mod script;
pub mod shrink;

pub use dice::Dice;
pub use op::Op;
pub use peer::Peer;
pub use program::{Answer, Output, Program, Step, load};
