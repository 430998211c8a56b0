//! Input that comes in portions, with pauses in which the wall clock may strike.
//!
//! Invariant: records come in the order of the script, whatever happens between two portions.

use super::{Entry, World};
use crate::sim::program::{Script, TOLD};
use anyhow::Result;
use millstream_core::record::RawRecord;
use millstream_log::Log;
use std::collections::VecDeque;

/// How many portions there are where the wall clock matters.
const PORTIONS: usize = 5;

/// What is still to come, and how much of it at once.
#[derive(Default)]
pub(super) struct Portions {
    later: VecDeque<(&'static str, Entry)>,
    size: usize,
    /// How many have come.
    pub(super) sent: u64,
}

impl Portions {
    /// Sends the first portion of a program's input, which is all of it in peace and where only the
    /// input matters.
    pub(super) fn first(script: &Script, calm: bool, client: &mut dyn Log) -> Result<Self> {
        let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        let mut portions = Self::default();
        for (topic, records) in &script.input {
            let entries = records.iter().map(|(_, r)| {
                (
                    *topic,
                    (owned(r.key), owned(r.value), r.timestamp, r.headers.clone()),
                )
            });
            portions.later.extend(entries);
        }
        let in_portions = !calm && script.depends_on_the_clock(TOLD.name);
        let all = portions.later.len();
        portions.size = all.div_ceil(if in_portions { PORTIONS } else { 1 });
        portions.next(client)?;
        Ok(portions)
    }

    /// Sends the next portion, if there is one.
    fn next(&mut self, client: &mut dyn Log) -> Result<()> {
        if self.later.is_empty() {
            return Ok(());
        }
        let size = self.size.min(self.later.len());
        for (topic, (key, value, timestamp, headers)) in self.later.drain(..size) {
            let record = RawRecord {
                key: key.as_deref(),
                value: value.as_deref(),
                timestamp,
                headers: &headers,
            };
            client.send(topic, None, record)?;
        }
        self.sent += 1;
        client.commit(self.sent, &[])?;
        Ok(())
    }
}

impl World {
    /// Lets portions come, one in so many steps of a storm of so many.
    pub(super) fn feed(&mut self, step: u64, steps: u64) -> Result<()> {
        if step * (PORTIONS as u64 + 1) / steps >= self.portions.sent {
            self.portions.next(&mut *self.client)?;
        }
        Ok(())
    }

    /// Lets the rest come.
    pub(super) fn feed_all(&mut self) -> Result<()> {
        while !self.portions.later.is_empty() {
            self.portions.next(&mut *self.client)?;
        }
        Ok(())
    }
}
