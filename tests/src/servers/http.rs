//! One request, as plain as HTTP can be: version 1.0, so that the answer is whole and unchunked.

use anyhow::{Context, Result};
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

/// The longest that an answer may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Asks `address` for a path; returns status and body.
///
/// # Errors
/// Where there is no answer, or none that is HTTP.
pub fn get(address: &str, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).with_context(|| address.to_owned())?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("an answer without a head")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((
        status.context("an answer without a status")?,
        body.to_owned(),
    ))
}

/// Text as it may stand in a query's value.
pub fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}
