//! What a program sends beside its work: records of given sizes, in given numbers.
//!
//! Invariant: after all records of the input were taken, each topic has got exactly as many records
//! as it should, evenly over the input.

use super::native::{Message, Producer};
use anyhow::{Context, Result, bail};

/// The records for one topic.
pub(crate) struct Stream {
    pub(crate) topic: String,
    key: Vec<u8>,
    value: Vec<u8>,
    records: u64,
    /// Whether they are read back, as those are that go to another task.
    pub(crate) read: bool,
    sent: u64,
}

impl Stream {
    /// Reads `TOPIC:BYTES OF KEY:BYTES OF VALUE:RECORDS:read` or, for one that is not read back,
    /// `..:sent`.
    fn parse(text: &str) -> Result<Self> {
        let fields: Vec<&str> = text.split(':').collect();
        let [topic, key, value, records, read] = fields[..] else {
            bail!("{text:?} is not TOPIC:KEY:VALUE:RECORDS:read");
        };
        let number = |field: &str| field.parse::<usize>().context(text.to_owned());
        Ok(Self {
            topic: topic.to_owned(),
            key: vec![b'k'; number(key)?],
            value: vec![b'v'; number(value)?],
            records: number(records)? as u64,
            read: match read {
                "read" => true,
                "sent" => false,
                _ => bail!("{text:?} ends with neither read nor sent"),
            },
            sent: 0,
        })
    }

    /// Reads a list of them, with commas between.
    pub(crate) fn parse_all(text: &str) -> Result<Vec<Self>> {
        text.split(',').map(Self::parse).collect()
    }

    /// Sends what is due once so many of all records of the input were taken. What is read back
    /// goes to all partitions in turn, the rest where the input's record was.
    pub(crate) fn send(
        &mut self,
        (number, producer): (usize, &Producer),
        of: &Message<'_>,
        (seen, all): (u64, u64),
        partitions: i32,
    ) -> Result<()> {
        let due = u128::from(self.records) * u128::from(seen.min(all)) / u128::from(all.max(1));
        while u128::from(self.sent) < due {
            self.sent += 1;
            let turn = i32::try_from(self.sent % u64::from(partitions.unsigned_abs()))?;
            let partition = if self.read { turn } else { of.partition };
            // Keys differ, as keys do.
            let number_of = self.sent.to_be_bytes();
            for (byte, digit) in self.key.iter_mut().zip(number_of.iter().rev()) {
                *byte = *digit;
            }
            let time = of.timestamp;
            producer.send(number, (partition, time), &self.key, &self.value)?;
        }
        Ok(())
    }
}

/// How many records were sent that are to be read back.
pub(crate) fn to_read(streams: &[Stream]) -> u64 {
    let read = streams.iter().filter(|stream| stream.read);
    read.map(|stream| stream.sent).sum()
}

/// The topics that a loop reads: its inputs first.
pub(crate) fn topics<'a>(inputs: &'a [&'a str], streams: &'a [Stream]) -> Vec<&'a str> {
    let read = streams.iter().filter(|stream| stream.read);
    let own = read.map(|stream| &*stream.topic);
    inputs.iter().copied().chain(own).collect()
}
