//! A stream-table join whose records wait for their table.
//!
//! Invariant: records leave the store of those that wait in the order of their times, equal times
//! in that of their keys' bytes, as soon as the stream's time allows it.

use super::{Joined, join::Missing, view::View};
use crate::{
    error::{Error, Result},
    link::{Data, Fanout},
    record::{Header, Headers, Record, Timestamp},
    serde::{Encoded, Serde},
    store::{Due, Look, Place, StoreHandle, StoreRef, WaitingStore},
    task::TaskContext,
    topology::StoreSpec,
};
use millstream_state::ordered;
use std::sync::Arc;

/// The length of what is null.
const NULL: u32 = u32::MAX;

/// The side of all that waits: there is but one.
const SIDE: u8 = 0;

/// The operator of such a join in a task.
pub(super) struct Graced<K: 'static, V: 'static, T: 'static, W, J> {
    pub(super) name: String,
    pub(super) waiting: StoreRef<WaitingStore>,
    pub(super) grace: Timestamp,
    pub(super) key: Serde<K>,
    pub(super) value: Serde<V>,
    pub(super) missing: Missing,
    pub(super) view: Arc<View<K, T>>,
    pub(super) join: Arc<J>,
    pub(super) down: Fanout<K, W>,
}

/// The store of what waits.
#[track_caller]
pub(super) fn store<K: Data, V: Data>(
    builder: &super::StreamsBuilder,
    joined: &Joined<K, V>,
) -> StoreHandle<WaitingStore> {
    let formats = (joined.key.codec().name(), joined.value.codec().name());
    let mut spec = StoreSpec::custom(
        format!("{}-buffer", joined.name),
        format!("waiting/{}/{}", formats.0, formats.1),
        |env| Ok(Box::new(WaitingStore::open(env)?)),
    );
    spec.logging = joined.logging;
    builder.add_store(spec)
}

impl<K, V, T, W, J> Graced<K, V, T, W, J>
where
    K: Data,
    V: Data,
    T: Data,
    W: Data,
    J: Fn(&K, V, Option<&T>) -> Option<W>,
{
    pub(super) fn take(&mut self, ctx: &mut TaskContext, record: Record<K, V>) -> Result<()> {
        if self.key.is_null(&record.key) {
            // No row can have it, so there is nothing to wait for.
            return match self.missing {
                Missing::Joined => self.meet(ctx, record),
                Missing::LeftOut => ctx.drop_null_key(),
            };
        }
        let now = ctx.store(self.waiting).observe(record.timestamp);
        let end = now.saturating_sub(self.grace);
        if record.timestamp < end {
            return self.meet(ctx, record);
        }
        let due = match self.wait(ctx, &record, end) {
            Ok(due) => due,
            Err(error) => return ctx.refuse(&self.name, error),
        };
        let now = ctx.timestamp();
        for due in due {
            let read = self.read(&due);
            let record = read.map_err(|cause| ctx.store(self.waiting).unreadable(&cause))?;
            ctx.set_timestamp(record.timestamp);
            let held = (record.timestamp, record.headers.clone());
            ctx.telling(held, |ctx| self.meet(ctx, record))?;
        }
        ctx.set_timestamp(now);
        Ok(())
    }

    /// Lets a record wait, and returns those that have waited long enough.
    fn wait(
        &self,
        ctx: &mut TaskContext,
        record: &Record<K, V>,
        end: Timestamp,
    ) -> Result<Vec<Due>> {
        let (mut bytes, mut key) = (Vec::new(), Vec::new());
        self.key.encode(&record.key, &mut bytes)?;
        ordered::put_bytes(&mut key, &bytes);
        let at = Place {
            time: record.timestamp,
            side: SIDE,
            key: &key,
        };
        let waiting = ctx.store(self.waiting);
        waiting.push(at, write(self.value, record)?)?;
        if waiting.least() > end {
            return Ok(Vec::new());
        }
        waiting.take(|time, _| if time <= end { Look::Take } else { Look::Stop })
    }

    /// Joins a record with the row that its key had at its time.
    fn meet(&mut self, ctx: &mut TaskContext, record: Record<K, V>) -> Result<()> {
        let Record {
            key,
            value,
            timestamp,
            headers,
        } = record;
        let (at, join) = ((&key, timestamp), &self.join);
        let met = self
            .view
            .with_as_of(ctx, at, |row| join(&key, value, row.map(|(row, _)| row)));
        match met {
            Ok(Some(value)) => self.down.push(
                ctx,
                Record {
                    key,
                    value,
                    timestamp,
                    headers,
                },
            ),
            Ok(None) => Ok(()),
            Err(error) => ctx.refuse(&self.name, error),
        }
    }

    fn read(&self, due: &Due) -> Result<Record<K, V>> {
        let mut rest = &due.value[..];
        let value = self.value.decode(take_bytes(&mut rest)?)?;
        let mut headers = Vec::new();
        while !rest.is_empty() {
            let name = take_bytes(&mut rest)?.unwrap_or_default();
            let name = String::from_utf8(name.to_vec()).map_err(|_| short())?;
            let value = take_bytes(&mut rest)?.map(<[u8]>::to_vec);
            headers.push(Header { name, value });
        }
        Ok(Record {
            key: self.key.decode(Some(&due.key))?,
            value,
            timestamp: due.time,
            headers: headers.into_iter().collect::<Headers>(),
        })
    }
}

/// A record without its key and time: its value, then names and values of its headers.
fn write<K, V>(serde: Serde<V>, record: &Record<K, V>) -> Result<Vec<u8>> {
    let mut value = Vec::new();
    let encoded = serde.encode(&record.value, &mut value)?;
    let mut out = Vec::with_capacity(size_of::<u32>() + value.len());
    put_bytes(&mut out, (encoded == Encoded::Bytes).then_some(&value))?;
    for Header { name, value } in &record.headers {
        put_bytes(&mut out, Some(name.as_bytes()))?;
        put_bytes(&mut out, value.as_deref())?;
    }
    Ok(out)
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) -> Result<()> {
    let length = match bytes {
        None => NULL,
        Some(bytes) => (u32::try_from(bytes.len())
            .ok()
            .filter(|length| *length < NULL))
        .ok_or_else(|| Error::serialization("a record of four gigabytes cannot wait"))?,
    };
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes.unwrap_or_default());
    Ok(())
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>> {
    let (length, behind) = rest.split_first_chunk::<4>().ok_or_else(short)?;
    let length = u32::from_be_bytes(*length);
    if length == NULL {
        *rest = behind;
        return Ok(None);
    }
    let length = usize::try_from(length).map_err(|_| short())?;
    let (bytes, behind) = behind.split_at_checked(length).ok_or_else(short)?;
    *rest = behind;
    Ok(Some(bytes))
}

#[cold]
fn short() -> Error {
    Error::deserialization("not a waiting record")
}
