//! The facade: all of Millstream under one name, and the README as its documentation.
#![doc = include_str!("../../README.md")]

pub mod cli;
mod client;
mod embedded;
mod feed;
mod introspect;
mod kafka;
mod node;
mod output;
mod print;
mod program;
mod publish;
mod purge;
mod reset;
mod rounds;
pub mod run;
mod signals;

pub use cli::App;
pub use feed::Feed;
pub use millstream_core as core;
pub use millstream_core::{Error, Result};
pub use millstream_http as http;
pub use millstream_learn as learn;
pub use millstream_log as log;
pub use millstream_metrics as metrics;
pub use millstream_runtime as runtime;
pub use millstream_sink as sink;
pub use millstream_state as state;

pub use node::Node;
pub use print::PrintTo;
pub use program::{ModelsView, Program};

/// Everything a program needs to declare its topology.
pub mod prelude {
    pub use crate::PrintTo;
    pub use millstream_core::prelude::*;
}
