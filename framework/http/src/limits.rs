//! Every bound of the server, in one place and with its default.

use std::time::Duration;

/// What a server allows. The defaults suit one program and the people and scrapers around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// Records in one append.
    pub append_records: usize,
    /// Records or store entries in one page, and in one step of a tail.
    pub page_size: usize,
    /// Records that a tail may fall behind the end before it skips, and says how many it skipped.
    pub tail_behind: i64,
    /// Connections at once; more wait in the operating system's queue.
    pub connections: usize,
    /// Clients of `/live` and of tails at once. Each holds at most one step in memory.
    pub streams: usize,
    /// Threads for calls into the program. More calls wait for one until their time is over.
    pub blocking_threads: usize,
    /// Time until a request is given up.
    pub request_timeout: Duration,
    /// Time without a byte until a connection is closed, longer than [`Limits::heartbeat`]; and
    /// the time from a request's first byte to its answer's, longer than
    /// [`Limits::request_timeout`].
    pub idle_timeout: Duration,
    /// Time between signs of life on a silent stream.
    pub heartbeat: Duration,
    /// Time between samples for the page.
    pub sample_interval: Duration,
    /// Time between looks of a tail that has seen the end.
    pub tail_interval: Duration,
    /// Time that open requests get to end when the server stops.
    pub stop_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 1 << 20,
            append_records: 1_000,
            page_size: 500,
            tail_behind: 5_000,
            connections: 256,
            streams: 32,
            blocking_threads: 16,
            request_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            heartbeat: Duration::from_secs(15),
            sample_interval: Duration::from_secs(1),
            tail_interval: Duration::from_millis(250),
            stop_timeout: Duration::from_secs(2),
        }
    }
}
