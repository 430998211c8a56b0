//! A table's change that waits to be told, as bytes.
//!
//! Invariant: reading never panics, and takes nothing but what writing makes.

use super::buffer::RowFormat;
use crate::{
    error::{Error, Result},
    record::Headers,
    serde::{Encoded, Serde},
};
use millstream_state::ordered::{self, Reader};

/// A change that waits: what the row was when it was last told, what it is, and the headers of the
/// record that made it so.
pub(crate) struct Held<V> {
    pub(crate) old: Option<V>,
    pub(crate) new: Option<V>,
    pub(crate) headers: Headers,
}

const OLD: u8 = 1;
const NEW: u8 = 2;

/// The headers, a byte that says which sides there are, and the sides, the old one behind its
/// length.
pub(super) struct HeldFormat<V: 'static>(pub(super) Serde<V>);

impl<V: 'static> HeldFormat<V> {
    fn side(&self, value: &V, out: &mut Vec<u8>) -> Result<usize> {
        let start = out.len();
        match self.0.encode(value, out)? {
            Encoded::Bytes => Ok(out.len() - start),
            Encoded::Null => Err(Error::serialization(
                "a table cannot hold a value that its serde writes as null",
            )),
        }
    }
}

impl<V: 'static> RowFormat<Held<V>> for HeldFormat<V> {
    fn encode(&self, held: &Held<V>, out: &mut Vec<u8>) -> Result<Encoded> {
        put_headers(&held.headers, out);
        let flag = |side: &Option<V>, flag| if side.is_some() { flag } else { 0 };
        out.push(flag(&held.old, OLD) | flag(&held.new, NEW));
        if let Some(old) = &held.old {
            let at = out.len();
            out.extend([0; 4]);
            let length = u32::try_from(self.side(old, out)?)
                .map_err(|_| Error::serialization("a row of a table is too large"))?;
            out[at..at + 4].copy_from_slice(&length.to_be_bytes());
        }
        if let Some(new) = &held.new {
            self.side(new, out)?;
        }
        Ok(Encoded::Bytes)
    }

    fn decode(&self, bytes: &[u8]) -> Result<Held<V>> {
        let broken = || Error::deserialization("not a change that was held back");
        let mut reader = Reader::new(bytes);
        let headers = read_headers(&mut reader)?;
        let flags = reader.u8()?;
        if flags & !(OLD | NEW) != 0 {
            return Err(broken());
        }
        let mut old = None;
        if flags & OLD != 0 {
            let length = reader.u32()? as usize;
            let (side, rest) = reader.rest().split_at_checked(length).ok_or_else(broken)?;
            old = Some(self.0.decode(Some(side))?);
            reader = Reader::new(rest);
        }
        let new = match (flags & NEW, reader.rest()) {
            (0, []) => None,
            (0, _) => return Err(broken()),
            (_, side) => Some(self.0.decode(Some(side))?),
        };
        Ok(Held { old, new, headers })
    }
}

fn put_headers(headers: &Headers, out: &mut Vec<u8>) {
    let count = u32::try_from(headers.iter().len()).unwrap_or(u32::MAX);
    ordered::put_u32(out, count);
    for header in headers {
        ordered::put_str(out, &header.name);
        out.push(u8::from(header.value.is_some()));
        if let Some(value) = &header.value {
            ordered::put_bytes(out, value);
        }
    }
}

fn read_headers(reader: &mut Reader<'_>) -> Result<Headers> {
    let mut headers = Headers::NONE;
    for _ in 0..reader.u32()? {
        let mut name = Vec::new();
        reader.bytes(&mut name)?;
        let name = String::from_utf8(name)
            .map_err(|_| Error::deserialization("a header's name is not UTF-8"))?;
        let value = if reader.u8()? == 0 {
            None
        } else {
            let mut value = Vec::new();
            reader.bytes(&mut value)?;
            Some(value)
        };
        headers.push(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serde::utf8;

    #[test]
    fn what_is_held_survives_a_restart() {
        let format = HeldFormat(utf8());
        let sides = [None, Some(String::new()), Some("row".to_owned())];
        let mut some = Headers::NONE;
        some.push("a", Some(b"\0\xFF".to_vec()));
        some.push("", None);
        for headers in [Headers::NONE, some] {
            for (old, new) in sides
                .iter()
                .flat_map(|old| sides.iter().map(move |new| (old, new)))
            {
                let held = Held {
                    old: old.clone(),
                    new: new.clone(),
                    headers: headers.clone(),
                };
                let mut out = Vec::new();
                format.encode(&held, &mut out).unwrap();
                let back = format.decode(&out).unwrap();
                assert_eq!((&back.old, &back.new, &back.headers), (old, new, &headers));
                for cut in 0..out.len() {
                    // Whatever a cut-off row means, it must not panic.
                    let _ = format.decode(&out[..cut]).is_ok();
                }
            }
        }
        assert!(format.decode(&[0, 0, 0, 0, 4]).is_err());
        assert!(format.decode(&[0, 0, 0, 0, 0, 1]).is_err());
        assert!(format.decode(&[255; 9]).is_err());
    }
}
