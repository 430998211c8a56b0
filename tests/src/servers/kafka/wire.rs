//! The little of Kafka's protocol that tells whether a cluster is ready, makes a topic in it
//! without the second that a JVM takes to start, and throws a member out of its group.
//!
//! Invariant: only versions before the flexible ones are spoken, in which every string and array
//! has its length before it, so a request is a plain concatenation.

use anyhow::{Context, Result, bail, ensure};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// The longest that one answer may take.
const LIMIT: Duration = Duration::from_secs(30);
/// The longest answer that is read, in bytes.
const ANSWER_MAX: usize = 1 << 20;

const METADATA: (i16, i16) = (3, 4);
const CREATE_TOPICS: (i16, i16) = (19, 4);
const LEAVE_GROUP: (i16, i16) = (13, 0);
const DESCRIBE_GROUPS: (i16, i16) = (15, 0);

/// The ids of the brokers that one of them knows to be alive.
pub(super) fn brokers(address: &str) -> Result<Vec<i32>> {
    let mut body = Vec::new();
    // No topic is asked for, and none is to be made.
    put_length(&mut body, 0)?;
    body.push(0);
    let answer = call(address, METADATA, &body)?;
    let mut answer = Answer(&answer);
    let _throttle = answer.int()?;
    let mut ids = Vec::new();
    for _ in 0..answer.int()? {
        ids.push(answer.int()?);
        let _host = answer.string()?;
        let _port = answer.int()?;
        let _rack = answer.string()?;
    }
    ids.sort_unstable();
    Ok(ids)
}

/// Whether a broker knows a topic. The controller makes it, and the brokers hear of it later.
pub(super) fn knows_topic(address: &str, name: &str) -> Result<bool> {
    let mut body = Vec::new();
    put_length(&mut body, 1)?;
    put_string(&mut body, name)?;
    body.push(0);
    let answer = call(address, METADATA, &body)?;
    let mut answer = Answer(&answer);
    let _throttle = answer.int()?;
    for _ in 0..answer.int()? {
        let _id = answer.int()?;
        let _host = answer.string()?;
        let _port = answer.int()?;
        let _rack = answer.string()?;
    }
    let _cluster = answer.string()?;
    let _controller = answer.int()?;
    let count = answer.int()?;
    ensure!(count == 1, "asked for one topic, told of {count}");
    Ok(answer.short()? == 0)
}

/// Makes a topic; returns when the controller has.
pub(super) fn create_topic(
    address: &str,
    name: &str,
    partitions: i32,
    replicas: i16,
    settings: &[(&str, &str)],
) -> Result<()> {
    let mut body = Vec::new();
    put_length(&mut body, 1)?;
    put_string(&mut body, name)?;
    body.extend(partitions.to_be_bytes());
    body.extend(replicas.to_be_bytes());
    put_length(&mut body, 0)?;
    put_length(&mut body, settings.len())?;
    for (key, value) in settings {
        put_string(&mut body, key)?;
        put_string(&mut body, value)?;
    }
    body.extend(i32::try_from(LIMIT.as_millis())?.to_be_bytes());
    body.push(0);
    let answer = call(address, CREATE_TOPICS, &body)?;
    let mut answer = Answer(&answer);
    let _throttle = answer.int()?;
    let count = answer.int()?;
    ensure!(count == 1, "asked for one topic, told of {count}");
    let _name = answer.string()?;
    let code = answer.short()?;
    let why = answer.string()?.unwrap_or_default();
    ensure!(code == 0, "topic {name}: error {code}: {why}");
    Ok(())
}

/// Throws the member out of a group whose `client.id` begins so, as the coordinator does with one
/// that it no longer hears of: it takes a farewell from whoever knows the member's id, and the
/// member hears of it at its next heartbeat.
pub(super) fn expel(address: &str, group: &str, client: &str) -> Result<()> {
    let mut body = Vec::new();
    put_length(&mut body, 1)?;
    put_string(&mut body, group)?;
    let answer = call(address, DESCRIBE_GROUPS, &body)?;
    let mut answer = Answer(&answer);
    let count = answer.int()?;
    ensure!(count == 1, "asked for one group, told of {count}");
    let code = answer.short()?;
    ensure!(code == 0, "group {group}: error {code}");
    for _name_state_kind_and_protocol in 0..4 {
        answer.string()?;
    }
    for _ in 0..answer.int()? {
        let id = answer.string()?.unwrap_or_default();
        let name = answer.string()?.unwrap_or_default();
        let _host = answer.string()?;
        let _metadata = answer.bytes()?;
        let _assignment = answer.bytes()?;
        // In front of the name a member may say where it can be asked.
        if name
            .rsplit('@')
            .next()
            .is_some_and(|name| name.starts_with(client))
        {
            return leave(address, group, &id);
        }
    }
    bail!("group {group} has no member {client}")
}

fn leave(address: &str, group: &str, member: &str) -> Result<()> {
    let mut body = Vec::new();
    put_string(&mut body, group)?;
    put_string(&mut body, member)?;
    let answer = call(address, LEAVE_GROUP, &body)?;
    let code = Answer(&answer).short()?;
    ensure!(code == 0, "member {member}: error {code}");
    Ok(())
}

fn call(address: &str, (api, version): (i16, i16), body: &[u8]) -> Result<Vec<u8>> {
    let address: SocketAddr = address.parse()?;
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let mut request = Vec::new();
    request.extend(api.to_be_bytes());
    request.extend(version.to_be_bytes());
    request.extend(1_i32.to_be_bytes());
    put_string(&mut request, "millstream-tests")?;
    request.extend(body);
    let mut framed = Vec::new();
    put_length(&mut framed, request.len())?;
    framed.extend(request);
    stream.write_all(&framed)?;

    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(i32::from_be_bytes(length))?;
    ensure!(length <= ANSWER_MAX, "an answer of {length} bytes");
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer)?;
    // The first four bytes repeat the request's number.
    Ok(answer.get(4..).context("an answer cut short")?.to_vec())
}

fn put_length(to: &mut Vec<u8>, length: usize) -> Result<()> {
    to.extend(i32::try_from(length)?.to_be_bytes());
    Ok(())
}

fn put_string(to: &mut Vec<u8>, text: &str) -> Result<()> {
    to.extend(i16::try_from(text.len())?.to_be_bytes());
    to.extend(text.as_bytes());
    Ok(())
}

/// What is left to read of an answer.
struct Answer<'a>(&'a [u8]);

impl<'a> Answer<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = (self.0.split_first_chunk()).context("an answer cut short")?;
        self.0 = rest;
        Ok(*taken)
    }

    fn int(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.take()?))
    }

    fn short(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.take()?))
    }

    fn string(&mut self) -> Result<Option<String>> {
        // A negative length stands for no string at all.
        let Ok(length) = usize::try_from(self.short()?) else {
            return Ok(None);
        };
        Ok(Some(String::from_utf8(self.part(length)?.to_vec())?))
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = usize::try_from(self.int()?)?;
        self.part(length)
    }

    fn part(&mut self, length: usize) -> Result<&'a [u8]> {
        let (part, rest) = (self.0.split_at_checked(length)).context("an answer cut short")?;
        self.0 = rest;
        Ok(part)
    }
}
