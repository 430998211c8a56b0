//! Rows in the binary form of `COPY`, in one buffer that is used again and again.
//!
//! Invariant: what is sent is a whole stream, header to trailer, of rows that Postgres can read.
//! A value that it could not take is found here, before anything is sent.

use super::types::{Wire, micros, without_nul};
use crate::value::Value;

const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
const NULL: [u8; 4] = (-1_i32).to_be_bytes();

/// Memory that a batch of unusual size may leave behind for the next.
const KEPT_BYTES_MAX: usize = 4 << 20;

#[derive(Debug, Default)]
pub(super) struct Stream {
    bytes: Vec<u8>,
}

impl Stream {
    /// Begins a new stream.
    pub(super) fn begin(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
        self.bytes.extend_from_slice(HEADER);
    }

    /// Adds a row: one value per wire.
    ///
    /// # Errors
    /// The number of the value that Postgres could not take, and why. The stream is of no use then.
    pub(super) fn row(&mut self, wires: &[Wire], values: &[Value]) -> Result<(), (usize, String)> {
        let fields = i16::try_from(wires.len()).map_err(|_| (0, "too many columns".to_owned()))?;
        self.bytes.extend_from_slice(&fields.to_be_bytes());
        for (column, (wire, value)) in wires.iter().zip(values).enumerate() {
            self.field(*wire, value)
                .map_err(|problem| (column, problem))?;
        }
        Ok(())
    }

    /// The whole stream.
    pub(super) fn end(&mut self) -> &[u8] {
        self.bytes.extend_from_slice(&TRAILER);
        &self.bytes
    }

    fn field(&mut self, wire: Wire, value: &Value) -> Result<(), String> {
        let range = |problem: &dyn std::fmt::Display| format!("{value:?} is {problem}");
        match (wire, value) {
            (_, Value::Null) => self.bytes.extend_from_slice(&NULL),
            (Wire::Text, Value::Text(text)) => self.counted(without_nul(text)?)?,
            (Wire::Bytea, Value::Blob(bytes)) => self.counted(bytes)?,
            (Wire::Int8, Value::Integer(number)) => self.fixed(number.to_be_bytes()),
            (Wire::Int4, Value::Integer(number)) => {
                let number = i32::try_from(*number).map_err(|_| range(&"out of range"))?;
                self.fixed(number.to_be_bytes());
            }
            (Wire::Int2, Value::Integer(number)) => {
                let number = i16::try_from(*number).map_err(|_| range(&"out of range"))?;
                self.fixed(number.to_be_bytes());
            }
            (Wire::Float8, Value::Real(number)) => self.fixed(number.to_be_bytes()),
            (Wire::Bool, Value::Boolean(truth)) => self.fixed([u8::from(*truth)]),
            (Wire::Timestamp, Value::Timestamp(ms)) => {
                let micros = micros(*ms).ok_or_else(|| range(&"out of range"))?;
                self.fixed(micros.to_be_bytes());
            }
            // `Values` has checked the kinds, and `prepare` that the columns take them.
            _ => return Err(range(&format!("not for a column of {wire:?}"))),
        }
        Ok(())
    }

    fn fixed<const N: usize>(&mut self, bytes: [u8; N]) {
        const { assert!(N <= 8) };
        #[expect(clippy::cast_possible_truncation, reason = "at most 8, as asserted")]
        let len = N as u32;
        self.bytes.extend_from_slice(&len.to_be_bytes());
        self.bytes.extend_from_slice(&bytes);
    }

    fn counted(&mut self, bytes: &[u8]) -> Result<(), String> {
        // Postgres takes no field of a gigabyte, and says so itself; beyond that no length fits.
        let len = i32::try_from(bytes.len()).map_err(|_| "2 GiB or more".to_owned())?;
        self.bytes.extend_from_slice(&len.to_be_bytes());
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_header_rows_and_trailer() {
        let mut stream = Stream::default();
        stream.begin();
        let wires = [Wire::Text, Wire::Int4, Wire::Bool];
        let values = ["ab".into(), Value::Null, true.into()];
        stream.row(&wires, &values).unwrap();
        let mut expected = HEADER.to_vec();
        expected.extend(b"\0\x03\0\0\0\x02ab\xff\xff\xff\xff\0\0\0\x01\x01");
        expected.extend([0xff, 0xff]);
        assert_eq!(stream.end(), expected);
        stream.begin();
        assert_eq!(stream.end().len(), HEADER.len() + TRAILER.len());
    }

    #[test]
    fn what_postgres_cannot_take_is_found_before_it_is_sent() {
        let refusal = |wire, value: Value| {
            let mut stream = Stream::default();
            stream.row(&[wire], &[value]).unwrap_err().1
        };
        assert!(refusal(Wire::Text, "a\0b".into()).contains("NUL"));
        assert!(refusal(Wire::Int4, (1_i64 << 40).into()).contains("out of range"));
        assert!(refusal(Wire::Int2, 40_000.into()).contains("out of range"));
        assert!(refusal(Wire::Timestamp, Value::Timestamp(i64::MIN)).contains("out of range"));
        assert!(refusal(Wire::Bool, 1.into()).contains("Bool"));
    }
}
