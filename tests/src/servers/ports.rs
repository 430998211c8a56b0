//! Free ports for servers that must know theirs before they start, and keep them over a restart.
//!
//! Invariant: no port is given twice by one process, and none lies where Linux takes the local port
//! of an outgoing connection from (32768 and above): between the death of a server and its restart
//! a client's connection could otherwise take its place.

use anyhow::{Result, bail};
use std::{
    hash::{BuildHasher, RandomState},
    net::{Ipv4Addr, TcpListener},
    sync::{
        OnceLock,
        atomic::{AtomicU16, Ordering},
    },
};

const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// So many ports that nothing listens on.
///
/// # Errors
/// Where there are not that many.
pub fn free(count: usize) -> Result<Vec<u16>> {
    static FROM: OnceLock<u16> = OnceLock::new();
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Each process begins elsewhere, so that two that run at once seldom try the same.
    let from = *FROM.get_or_init(|| {
        let random = RandomState::new().hash_one(std::process::id());
        u16::try_from(random % u64::from(COUNT)).unwrap_or_default()
    });
    let mut ports = Vec::with_capacity(count);
    for _ in 0..COUNT {
        if ports.len() == count {
            return Ok(ports);
        }
        let offset = (from + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
        let port = FIRST + offset;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            ports.push(port);
        }
    }
    bail!("no {count} free ports on loopback");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ports_are_free_and_given_once() {
        let held: Vec<_> = (0..4).flat_map(|_| free(3).unwrap()).collect();
        let distinct: BTreeSet<_> = held.iter().copied().collect();
        assert_eq!(distinct.len(), 12);
        for port in held {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        }
    }
}
