//! SIGTERM and SIGINT: the first asks the program to stop after a last commit, the second ends it
//! at once, which loses nothing that was committed.

use anyhow::{Context, Result};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};
use std::sync::{Arc, atomic::AtomicBool};

/// The exit code after a second signal.
const KILLED: i32 = 130;

/// A flag that the first SIGTERM or SIGINT sets; the second one ends the process.
///
/// # Errors
/// Where the system refuses to have signals handled.
pub fn stop_flag() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // In this order: at the first signal the flag is not set yet, so only the second one ends.
        flag::register_conditional_shutdown(signal, KILLED, stop.clone())
            .and_then(|_| flag::register(signal, stop.clone()))
            .context("listening for signals")?;
    }
    Ok(stop)
}
