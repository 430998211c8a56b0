//! The manifest: one small record per commit that says what the weights beside it are.
//!
//! Invariant: weights are used only under a manifest with the program's own schema.

use super::{
    Schema,
    codec::{corrupt, seal, unseal},
    store::MANIFEST_KEY,
};
use millstream_core::{Error, Result};
use millstream_state::{Backend, Column, Presence};
use serde::{Deserialize, Serialize};

/// The version of everything that a [`WeightStore`](super::WeightStore) writes.
const FORMAT: u16 = 1;
/// What a column keeps in front of every value: the timestamp of its last change.
const STAMP_BYTES: usize = 8;
/// No manifest is larger; a length beyond it is damage.
const MANIFEST_BYTES_MAX: usize = 1 << 20;

const CONFIG: bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<MANIFEST_BYTES_MAX>,
> = bincode::config::standard().with_limit::<MANIFEST_BYTES_MAX>();

/// What the record `M` of a model's changelog says, for whoever looks at a model from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    format: u16,
    /// Features, learner, settings and the table's size, by name.
    pub schema: Vec<(String, String)>,
    /// How many commits changed the model.
    pub seq: u64,
    /// How many examples it had learned.
    pub learned: u64,
    /// Equal for two models with the same bits, whatever their commits were.
    pub fingerprint: u64,
    /// The next chunk of the rolling snapshot.
    pub(super) next_chunk: u32,
    /// The model's state outside the table.
    pub(super) rest: Vec<u8>,
}

impl Manifest {
    pub(super) fn new(schema: &Schema, seq: u64, learned: u64, fingerprint: u64) -> Self {
        let owned = |(name, value): &(&str, String)| ((*name).into(), value.clone());
        Self {
            format: FORMAT,
            schema: schema.iter().map(owned).collect(),
            seq,
            learned,
            fingerprint,
            next_chunk: 0,
            rest: Vec::new(),
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        encode(self, out)?;
        seal(start, out);
        Ok(())
    }

    /// Reads the value of the record `M`, without the timestamp that a column puts in front.
    ///
    /// # Errors
    /// Where the bytes are damaged or were written by another version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let body = unseal(bytes)?;
        let (format, _) = bincode::serde::decode_from_slice::<u16, _>(body, CONFIG)
            .map_err(|error| corrupt(format!("manifest: {error}")))?;
        if format != FORMAT {
            let message = format!("manifest in format {format}, this version reads {FORMAT}");
            return Err(corrupt(message).into());
        }
        decode(body, "manifest")
    }

    /// The manifest that a backend holds for a model, as of the last commit.
    ///
    /// # Errors
    /// Where storage fails or the bytes are damaged.
    pub fn read(backend: &dyn Backend, column: Column) -> Result<Option<Self>> {
        let mut stored = Vec::new();
        match backend.get(column, MANIFEST_KEY, &mut stored)? {
            Presence::Missing => Ok(None),
            Presence::Found => {
                Self::decode(stored.get(STAMP_BYTES..).unwrap_or_default()).map(Some)
            }
        }
    }

    /// The model's state outside its table: what [`Replicated::rest`](super::Replicated) gave, such
    /// as bias and grades.
    ///
    /// # Errors
    /// Where it is of another type.
    pub fn rest<R: serde::de::DeserializeOwned>(&self) -> Result<R> {
        decode(&self.rest, "model state")
    }

    /// Refuses weights of another kind of model, saying what differs.
    pub(super) fn check(&self, store: &str, schema: &Schema) -> Result<()> {
        let of = |name: &str| self.schema.iter().find(|(other, _)| other == name);
        let mut differences: Vec<String> = schema
            .iter()
            .filter_map(|(name, ours)| match of(name) {
                Some((_, theirs)) if theirs == ours => None,
                Some((_, theirs)) => Some(format!("{name} was {theirs}, is now {ours}")),
                None => Some(format!("{name} was not there, is now {ours}")),
            })
            .collect();
        let gone = self
            .schema
            .iter()
            .filter(|(name, _)| !schema.iter().any(|(ours, _)| ours == name));
        differences.extend(gone.map(|(name, theirs)| format!("{name} was {theirs}, is gone")));
        if differences.is_empty() {
            return Ok(());
        }
        Err(Error::topology(format!(
            "the model in store {store} is another than the program's: {}; \
             give the new model a new store name, or reset the application",
            differences.join("; ")
        )))
    }
}

/// Appends a value in bincode.
pub(super) fn encode(value: &impl Serialize, out: &mut Vec<u8>) -> Result<()> {
    bincode::serde::encode_into_std_write(value, out, CONFIG)
        .map(drop)
        .map_err(|error| Error::serialization(format!("model state: {error}")))
}

/// Reads a value that fills the bytes.
pub(super) fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T> {
    let (value, read) = bincode::serde::decode_from_slice(bytes, CONFIG)
        .map_err(|error| corrupt(format!("{what}: {error}")))?;
    if read != bytes.len() {
        return Err(corrupt(format!("{what}: {} bytes too many", bytes.len() - read)).into());
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn schema() -> Schema {
        vec![("features", "text".into()), ("learner", "A(rate=1)".into())]
    }

    #[test]
    fn a_manifest_comes_back_and_says_what_differs() {
        let manifest = Manifest::new(&schema(), 7, 700, 42);
        let mut bytes = Vec::new();
        manifest.encode(&mut bytes).unwrap();
        let back = Manifest::decode(&bytes).unwrap();
        assert_eq!(back, manifest);
        back.check("reviews", &schema()).unwrap();

        let other = vec![("learner", "A(rate=2)".into()), ("rows", "8".into())];
        let message = back.check("reviews", &other).unwrap_err().to_string();
        assert!(message.contains("store reviews"), "{message}");
        assert!(
            message.contains("learner was A(rate=1), is now A(rate=2)"),
            "{message}"
        );
        assert!(
            message.contains("rows was not there, is now 8"),
            "{message}"
        );
        assert!(message.contains("features was text, is gone"), "{message}");
    }

    #[test]
    fn another_format_is_refused_by_name() {
        let mut manifest = Manifest::new(&schema(), 7, 700, 42);
        manifest.format = 9;
        let mut bytes = Vec::new();
        manifest.encode(&mut bytes).unwrap();
        let message = Manifest::decode(&bytes).unwrap_err().to_string();
        assert!(
            message.contains("format 9, this version reads 1"),
            "{message}"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(Manifest::decode(&bytes).is_err());
            bytes.insert(0, 1);
            seal(0, &mut bytes);
            let _ = Manifest::decode(&bytes);
        }
    }
}
