//! Throwing a member out of its group, as its coordinator does with one that it no longer hears of.
//!
//! A coordinator takes a farewell from whoever knows the member's id, so it is said in the member's
//! place; the member hears of it at its next heartbeat. Invariant: only versions of Kafka's
//! protocol before the flexible ones are spoken, in which everything has its length before it.

use anyhow::{Context, Result, bail, ensure};
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(30);
/// The longest answer that is read, in bytes.
const ANSWER_MAX: usize = 1 << 20;
const LEAVE_GROUP: (i16, i16) = (13, 0);
const DESCRIBE_GROUPS: (i16, i16) = (15, 0);

/// Throws out the member of a group whose `client.id` begins so.
pub(super) fn expel(group: &str, client: &str) -> Result<()> {
    let mut request = 1_i32.to_be_bytes().to_vec();
    put(&mut request, group)?;
    let answer = call(DESCRIBE_GROUPS, &request)?;
    let mut answer = Answer(&answer);
    let _groups = answer.int()?;
    let code = answer.short()?;
    ensure!(code == 0, "group {group}: error {code}");
    let [_name, _state, _kind, _protocol] = [(); 4].map(|()| answer.text());
    for _ in 0..answer.int()? {
        let (id, name) = (answer.text()?, answer.text()?);
        let _host = answer.text()?;
        let [_metadata, _assignment] = [(); 2].map(|()| answer.bytes());
        if name.starts_with(client) {
            return leave(group, &id);
        }
    }
    bail!("group {group} has no member {client}")
}

fn leave(group: &str, member: &str) -> Result<()> {
    let mut request = Vec::new();
    put(&mut request, group)?;
    put(&mut request, member)?;
    let answer = call(LEAVE_GROUP, &request)?;
    let code = Answer(&answer).short()?;
    ensure!(code == 0, "member {member}: error {code}");
    Ok(())
}

fn call((api, version): (i16, i16), body: &[u8]) -> Result<Vec<u8>> {
    let servers = millstream_tests::servers::kafka()?.bootstrap_servers();
    let mut stream = TcpStream::connect(servers)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut request = Vec::new();
    request.extend(api.to_be_bytes());
    request.extend(version.to_be_bytes());
    request.extend(1_i32.to_be_bytes());
    put(&mut request, "millstream-tests")?;
    request.extend(body);
    stream.write_all(&i32::try_from(request.len())?.to_be_bytes())?;
    stream.write_all(&request)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(i32::from_be_bytes(length))?;
    ensure!(length <= ANSWER_MAX, "an answer of {length} bytes");
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer)?;
    // The first four bytes repeat the request's number.
    Ok(answer.get(4..).context("an answer cut short")?.to_vec())
}

fn put(to: &mut Vec<u8>, text: &str) -> Result<()> {
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

    fn part(&mut self, length: usize) -> Result<&'a [u8]> {
        let (part, rest) = (self.0.split_at_checked(length)).context("an answer cut short")?;
        self.0 = rest;
        Ok(part)
    }

    fn text(&mut self) -> Result<String> {
        let length = usize::try_from(self.short()?)?;
        Ok(String::from_utf8(self.part(length)?.to_vec())?)
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = usize::try_from(self.int()?)?;
        self.part(length)
    }
}
