//! Puts a model together again from the records of its column.
//!
//! Invariant: the model has the manifest's fingerprint afterwards, or the store does not open; and
//! then no weight that its learner knows to be ruined ([`Replicated::heal`]).

use super::{
    Replicated, Schema,
    codec::{Header, RowReader, corrupt},
    manifest::{self, Manifest},
    ring::{LiveDelta, Ring},
    store::{MANIFEST_KEY, fingerprint},
    table::Table,
};
use millstream_core::{Error, Result, store::StoreEnv};
use millstream_state::{Direction, Presence};
use std::{
    ops::{Bound, ControlFlow},
    str::FromStr,
};

/// A store's column has the record's timestamp in front of every value.
const TIMESTAMP_BYTES: usize = 8;

/// Loads what the column holds, if anything, and says where the rolling snapshot stands, and how
/// many weights had to be made new.
///
/// Rows that were made new are not written for that: they are found ruined, and made new, until
/// something is learned of them. So a manifest from since then has the fingerprint of the model
/// with them, and one from before the fingerprint of what lies here.
pub(super) fn restore<M: Replicated>(
    name: &str,
    model: &mut M,
    schema: &Schema,
    env: &StoreEnv,
) -> Result<(Ring, u64)> {
    let in_store = |error| named(name, error);
    let mut ring = Ring::new(model.table());
    let mut value = Vec::new();
    if env.backend.get(env.column, MANIFEST_KEY, &mut value)? == Presence::Missing {
        return nothing_there(env).map(|()| (ring, 0)).map_err(in_store);
    }
    let manifest = value_of(&value)
        .and_then(Manifest::decode)
        .map_err(in_store)?;
    manifest.check(name, schema)?;
    ring.seq = manifest.seq;
    if let Some(table) = model.table_mut() {
        table.reset();
        load_table(table, &mut ring, &manifest, env).map_err(in_store)?;
    }
    model.set_rest(manifest::decode(&manifest.rest, "model state").map_err(in_store)?);
    let (found, expected) = (fingerprint(model, &manifest.rest), manifest.fingerprint);
    let healed = model.heal();
    if found != expected && (healed == 0 || fingerprint(model, &manifest.rest) != expected) {
        let message = format!("fingerprint {found:016x}, the manifest says {expected:016x}");
        return Err(in_store(corrupt(message).into()));
    }
    Ok((ring, healed))
}

/// Adds the store's name to a complaint about its bytes.
fn named(name: &str, error: Error) -> Error {
    match error.kind() {
        millstream_core::ErrorKind::State(millstream_state::Error::Corrupt(what)) => {
            millstream_state::Error::Corrupt(format!("store {name}: {what}")).into()
        }
        _ => error,
    }
}

/// A column without a manifest must be empty.
fn nothing_there(env: &StoreEnv) -> Result<()> {
    let mut stray = None;
    scan(env, b"", |key, _| {
        stray = Some(String::from_utf8_lossy(key).into_owned());
        Ok(ControlFlow::Break(()))
    })?;
    match stray {
        None => Ok(()),
        Some(key) => Err(corrupt(format!("record {key} without a manifest")).into()),
    }
}

/// First the chunks, then the deltas that are younger, oldest first.
fn load_table(
    table: &mut Table,
    ring: &mut Ring,
    manifest: &Manifest,
    env: &StoreEnv,
) -> Result<()> {
    let chunks = ring.chunks();
    ring.next_chunk = manifest.next_chunk as usize;
    if ring.next_chunk >= chunks.max(1) {
        return Err(corrupt(format!("chunk {} of {chunks}", ring.next_chunk)).into());
    }
    scan(env, b"S/", |key, value| {
        let chunk: usize = number(&key[2..])?;
        let header = load_rows(table, value, |row| ring.chunk_of(row) == chunk)?;
        let place = ring.as_of.get_mut(chunk);
        let place = place.ok_or_else(|| corrupt(format!("chunk {chunk} of {chunks}")))?;
        if header.seq > manifest.seq {
            return Err(too_young(header.seq, manifest.seq));
        }
        *place = header.seq;
        Ok(ControlFlow::Continue(()))
    })?;
    let found = find_deltas(table.rows(), ring.floor(), manifest.seq, env)?;
    let mut value = Vec::new();
    for header in expected(&found, ring.floor(), manifest.seq)? {
        let key = ring.delta_key(header.seq, header.part);
        if env.backend.get(env.column, key.as_bytes(), &mut value)? == Presence::Missing {
            return Err(corrupt(format!("delta {key} lies under another key")).into());
        }
        let as_of = &ring.as_of;
        let younger = |row| as_of[ring.chunk_of(row)] < header.seq;
        if load_rows(table, value_of(&value)?, younger)? != header {
            return Err(corrupt(format!("delta {key} lies under another key")).into());
        }
        if header.part == 0 {
            let Header { seq, parts, .. } = header;
            ring.deltas.push_back(LiveDelta { seq, parts });
        }
    }
    Ok(())
}

/// The headers of the deltas, ordered by commit and part.
fn find_deltas(rows: usize, floor: u64, newest: u64, env: &StoreEnv) -> Result<Vec<Header>> {
    let mut found = Vec::new();
    scan(env, b"D/", |_, value| {
        let header = RowReader::new(value, rows)?.header;
        if header.seq > newest {
            return Err(too_young(header.seq, newest));
        }
        if header.seq > floor {
            found.push(header);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    found.sort_unstable_by_key(|header| (header.seq, header.part));
    Ok(found)
}

/// The deltas after `floor` up to `newest`, if all parts of all of them are there.
fn expected(found: &[Header], floor: u64, newest: u64) -> Result<impl Iterator<Item = Header>> {
    let mut rest = found.iter();
    for seq in floor + 1..=newest {
        let missing = || corrupt(format!("the delta of commit {seq} is missing"));
        let first = *rest.next().ok_or_else(missing)?;
        let whole = (1..first.parts).all(|part| rest.next() == Some(&Header { part, ..first }));
        if first.seq != seq || first.part != 0 || !whole {
            return Err(missing().into());
        }
    }
    if let Some(header) = rest.next() {
        return Err(corrupt(format!("commit {} has a delta too many", header.seq)).into());
    }
    Ok(found.iter().copied())
}

/// Overwrites the rows that `wanted` names.
fn load_rows(table: &mut Table, value: &[u8], wanted: impl Fn(u32) -> bool) -> Result<Header> {
    let mut reader = RowReader::new(value, table.rows())?;
    let mut values = vec![0.0; table.width()];
    while let Some(row) = reader.next(&mut values)? {
        if wanted(row) {
            table.row_mut(row).copy_from_slice(&values);
        }
    }
    Ok(reader.header)
}

fn too_young(seq: u64, newest: u64) -> Error {
    corrupt(format!(
        "a record of commit {seq} under a manifest of commit {newest}"
    ))
    .into()
}

fn number<T: FromStr>(key: &[u8]) -> Result<T> {
    let text = std::str::from_utf8(key)
        .ok()
        .and_then(|text| text.parse().ok());
    text.ok_or_else(|| corrupt(format!("key {:?}", String::from_utf8_lossy(key))).into())
}

/// A value without its timestamp.
fn value_of(bytes: &[u8]) -> Result<&[u8]> {
    bytes
        .get(TIMESTAMP_BYTES..)
        .ok_or_else(|| corrupt("record without a timestamp").into())
}

/// Visits the records whose keys begin so; stops at the first error.
fn scan(
    env: &StoreEnv,
    prefix: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let mut failed = Ok(());
    let bounds = (Bound::Included(prefix), Bound::Unbounded);
    env.backend.scan(
        env.column,
        bounds,
        Direction::Ascending,
        &mut |key, value| {
            if !key.starts_with(prefix) {
                return ControlFlow::Break(());
            }
            match value_of(value).and_then(|value| visit(key, value)) {
                Ok(flow) => flow,
                Err(error) => {
                    failed = Err(error);
                    ControlFlow::Break(())
                }
            }
        },
    )?;
    failed
}
