//! What the tests of the program share with those of the other apps, and what it is to them.

#![allow(
    dead_code,
    unused_imports,
    reason = "each test file is a crate of its own, and uses a part of this"
)]

#[path = "../../../testing/home.rs"]
mod home;
#[path = "../../../testing/running.rs"]
mod running;

pub(crate) use home::{Home, Program, kills_leave_no_trace};
pub(crate) use running::Served;

pub(crate) const PROGRAM: Program = Program {
    executable: env!("CARGO_BIN_EXE_clickstream"),
    database: "clickstream/clickstream.db",
    table: "predictions",
};
