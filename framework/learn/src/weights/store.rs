//! The store that keeps a model in a changelog.
//!
//! Invariant: after an abort, and after a crash and a restore, the model has the bits it had at the
//! last commit that was applied.

use super::{
    Replicated, Schema,
    codec::{Header, RowWriter, put_header, seal},
    manifest::{self, Manifest},
    restore::restore,
    ring::{LiveDelta, Ring},
    table::{Table, is_zero},
};
use millstream_core::{
    Result,
    batch::RecordBatch,
    record::{Headers, Timestamp},
    serde::Encoded,
    store::{StateStore, StoreEnv},
};
use std::any::Any;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The key of the manifest.
pub(super) const MANIFEST_KEY: &[u8] = b"M";
/// A part of a delta is closed beyond this, so that brokers take it at their default
/// `message.max.bytes` of one MiB.
const PART_BYTES_MAX: usize = 512 << 10;
/// A gap takes two bytes when one row in a hundred changes.
const GAP_BYTES_ESTIMATE: usize = 2;

/// A model and its changelog: predicts, learns, commits, aborts, comes back.
///
/// Change the model through [`WeightStore::model_mut`] only. Standalone use, as in tests:
///
/// ```
/// use millstream_core::{batch::RecordBatch, store::{StateStore, StoreEnv}};
/// use millstream_learn::{Learner, features::SparseVector, linear::LogisticRegression};
/// use millstream_learn::{optim::AdaGrad, weights::WeightStore};
/// use millstream_state::{Column, MemoryBackend};
///
/// let env = StoreEnv {
///     backend: std::sync::Arc::new(MemoryBackend::new(&["model"])),
///     column: Column(0),
///     cache_bytes: 0,
///     trimmed: false,
/// };
/// let model = LogisticRegression::new(10, AdaGrad::default());
/// let mut store = WeightStore::open("model", model, &env)?;
/// let mut x = SparseVector::new();
/// x.push(7, 1.0);
/// let before = store.fingerprint()?;
/// store.model_mut().learn(&x, &true);
/// assert_ne!(store.fingerprint()?, before);
/// store.abort()?;
/// assert_eq!(store.fingerprint()?, before);
/// # millstream_core::Result::Ok(())
/// ```
pub struct WeightStore<M> {
    model: M,
    schema: Schema,
    now: Timestamp,
    ring: Ring,
    /// The model's state outside the table as of the last drain.
    rest: Vec<u8>,
    /// `ring` and `rest` as of the last applied commit.
    committed: (Ring, Vec<u8>),
    /// Whether the model was lent out for changes since the last drain.
    lent: bool,
    /// Weights that were ruined when the store was opened, and are new since.
    healed: u64,
    /// The rows of the delta being drained, and where its parts end.
    delta: Vec<u8>,
    cuts: Vec<usize>,
}

impl<M: Replicated> WeightStore<M> {
    /// Opens the store: a model that its column knows is loaded into `model`, otherwise `model` is
    /// taken as it is, even if it has learned something elsewhere. Weights that an older version
    /// has ruined are new afterwards ([`Replicated::heal`], [`StateStore::repaired`]).
    ///
    /// # Errors
    /// [`Topology`](millstream_core::ErrorKind::Topology) where the column holds another kind of
    /// model than the program's, saying what differs; `State` where its bytes are damaged.
    pub fn open(name: &str, mut model: M, env: &StoreEnv) -> Result<Self> {
        let mut schema = model.schema();
        if let Some(table) = model.table() {
            schema.push(("rows", table.rows().to_string()));
            schema.push(("width", table.width().to_string()));
        }
        let (mut ring, healed) = restore(name, &mut model, &schema, env)?;
        if let Some(table) = model.table_mut() {
            table.track();
            ring.warm = ring.seq == 0 && table.fingerprint() != 0;
        }
        let mut rest = Vec::new();
        manifest::encode(&model.rest(), &mut rest)?;
        Ok(Self {
            model,
            schema,
            now: 0,
            committed: (ring.clone(), rest.clone()),
            ring,
            rest,
            lent: false,
            healed,
            delta: Vec::new(),
            cuts: Vec::new(),
        })
    }

    /// The model, to predict with.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The model, to learn with.
    #[inline]
    pub fn model_mut(&mut self) -> &mut M {
        self.lent = true;
        &mut self.model
    }

    /// How many commits have changed the model.
    pub fn seq(&self) -> u64 {
        self.ring.seq
    }

    /// A number that two stores share if their models have the same bits, whatever their commits
    /// were. Costs one hash per row changed since the last drain.
    pub fn fingerprint(&self) -> Result<u64> {
        let mut rest = Vec::new();
        manifest::encode(&self.model.rest(), &mut rest)?;
        Ok(fingerprint(&self.model, &rest))
    }

    /// Whether there is anything to write; refreshes `rest` on the way.
    fn changed(&mut self) -> Result<bool> {
        if !std::mem::take(&mut self.lent) {
            return Ok(false);
        }
        let before = std::mem::take(&mut self.rest);
        manifest::encode(&self.model.rest(), &mut self.rest)?;
        let rows = self.model.table().map_or(0, Table::dirty_rows);
        Ok(rows > 0 || self.rest != before)
    }

    /// Encodes the touched rows into `delta`, cut into parts.
    fn encode_delta(&mut self) {
        self.delta.clear();
        self.cuts.clear();
        let (delta, cuts) = (&mut self.delta, &mut self.cuts);
        let (mut writer, mut start) = (RowWriter::new(), 0);
        if let Some(table) = self.model.table_mut() {
            table.hand_over(|row, values| {
                if delta.len() - start >= PART_BYTES_MAX {
                    start = delta.len();
                    cuts.push(start);
                    writer = RowWriter::new();
                }
                writer.row(row, values, delta);
            });
        }
        self.cuts.push(self.delta.len());
    }

    /// Writes chunks of the snapshot until the delta has its share of them.
    fn write_chunks(&mut self, changes: &mut RecordBatch) -> Result<()> {
        let Some(table) = self.model.table() else {
            return Ok(());
        };
        let (mut written, mut chunks) = (0, 0);
        while !self.ring.is_enough(written, chunks, self.delta.len()) {
            let chunk = self.ring.take_chunk();
            let header = Header {
                seq: self.ring.seq,
                part: 0,
                parts: 1,
            };
            let rows = self.ring.rows_of(chunk, table.rows());
            let before = changes.bytes();
            put(
                changes,
                self.now,
                Ring::chunk_key(chunk).as_bytes(),
                |out| {
                    put_header(header, out);
                    let mut writer = RowWriter::new();
                    for row in rows {
                        let values = table.row(row);
                        if !is_zero(values) {
                            writer.row(row, values, out);
                        }
                    }
                },
            )?;
            written += changes.bytes() - before;
            chunks += 1;
        }
        self.ring.warm = false;
        Ok(())
    }

    /// Writes the delta, unless this commit's snapshot has all of it, and deletes those before it
    /// that are not needed any more.
    fn write_deltas(&mut self, changes: &mut RecordBatch) -> Result<()> {
        let number = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let (seq, parts) = (self.ring.seq, number(self.cuts.len()));
        while let Some(old) = self.ring.take_obsolete() {
            for part in 0..old.parts {
                let key = self.ring.delta_key(old.seq, part);
                delete(changes, self.now, key.as_bytes())?;
            }
        }
        if seq <= self.ring.floor() {
            return Ok(());
        }
        let mut start = 0;
        for (part, end) in (0..parts).zip(&self.cuts) {
            let header = Header { seq, part, parts };
            let key = self.ring.delta_key(seq, part);
            put(changes, self.now, key.as_bytes(), |out| {
                put_header(header, out);
                out.extend_from_slice(&self.delta[start..*end]);
            })?;
            start = *end;
        }
        self.ring.deltas.push_back(LiveDelta { seq, parts });
        Ok(())
    }

    fn write_manifest(&self, changes: &mut RecordBatch) -> Result<()> {
        let fingerprint = fingerprint(&self.model, &self.rest);
        let learned = self.model.learned();
        let mut manifest = Manifest::new(&self.schema, self.ring.seq, learned, fingerprint);
        manifest.next_chunk = u32::try_from(self.ring.next_chunk).unwrap_or(0);
        manifest.rest.clone_from(&self.rest);
        let key = |out: &mut Vec<u8>| bytes(out, MANIFEST_KEY);
        changes.encode(self.now, &Headers::NONE, key, |out| {
            manifest.encode(out).map(|()| Encoded::Bytes)
        })
    }
}

impl<M: Replicated + 'static> StateStore for WeightStore<M> {
    fn set_time(&mut self, now: Timestamp) {
        self.now = now;
    }

    fn dirty_bytes(&self) -> usize {
        if !self.lent {
            return 0;
        }
        let of = |table: &Table| table.dirty_rows() * (4 * table.width() + GAP_BYTES_ESTIMATE);
        self.rest.len() + self.model.table().map_or(0, of)
    }

    fn drain(&mut self, changes: &mut RecordBatch) -> Result<()> {
        if !self.changed()? {
            return Ok(());
        }
        self.ring.seq += 1;
        self.encode_delta();
        self.write_chunks(changes)?;
        self.write_deltas(changes)?;
        self.write_manifest(changes)
    }

    fn applied(&mut self) -> Result<()> {
        if let Some(table) = self.model.table_mut() {
            table.applied();
        }
        self.committed.0.clone_from(&self.ring);
        self.committed.1.clone_from(&self.rest);
        Ok(())
    }

    fn abort(&mut self) -> Result<()> {
        if let Some(table) = self.model.table_mut() {
            table.abort();
        }
        self.ring.clone_from(&self.committed.0);
        self.rest.clone_from(&self.committed.1);
        self.lent = false;
        self.model
            .set_rest(manifest::decode(&self.rest, "model state")?);
        Ok(())
    }

    fn repaired(&self) -> u64 {
        self.healed
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// Table and rest in one number.
pub(super) fn fingerprint<M: Replicated>(model: &M, rest: &[u8]) -> u64 {
    let table = model.table().map_or(0, Table::fingerprint);
    xxh3_64_with_seed(rest, table)
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Result<Encoded> {
    out.extend_from_slice(bytes);
    Ok(Encoded::Bytes)
}

/// Appends a sealed record.
fn put(
    changes: &mut RecordBatch,
    now: Timestamp,
    key: &[u8],
    value: impl FnOnce(&mut Vec<u8>),
) -> Result<()> {
    changes.encode(
        now,
        &Headers::NONE,
        |out| bytes(out, key),
        |out| {
            let start = out.len();
            value(out);
            seal(start, out);
            Ok(Encoded::Bytes)
        },
    )
}

/// Appends a tombstone.
fn delete(changes: &mut RecordBatch, now: Timestamp, key: &[u8]) -> Result<()> {
    changes.encode(
        now,
        &Headers::NONE,
        |out| bytes(out, key),
        |_| Ok(Encoded::Null),
    )
}
