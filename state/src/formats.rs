//! What the stores of one task are made of, kept beside their bytes.
//!
//! Invariant: a format is noted before the first row of its store is written, and stays noted for
//! as long as the rows may be there, also while no program declares the store.

use crate::{Error, Result};
use std::{collections::BTreeMap, fmt};

/// The version of the text form.
const VERSION: &str = "1";

/// The formats of a task's stores, by name.
///
/// ```
/// use millstream_state::{Error, StoreFormats};
///
/// let store = |format: &str| [("counts".to_owned(), format.to_owned())];
/// let mut formats = StoreFormats::default();
/// formats.declare("0_3", &store("key-value/utf8/u64-be"))?;
/// let refused = formats.declare("0_3", &store("key-value/utf8/utf8"));
/// assert!(matches!(refused, Err(Error::StoreFormat { .. })));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreFormats(BTreeMap<String, String>);

impl StoreFormats {
    /// Notes the formats that a program declares; says whether some are new. Stores that are noted
    /// and not declared stay noted.
    ///
    /// # Errors
    /// [`Error::StoreFormat`] for a store that is noted with another format; then nothing changes.
    pub fn declare(&mut self, task: &str, stores: &[(String, String)]) -> Result<bool> {
        // A line is one store.
        let line = |format: &str| format.replace(['\n', '\r'], " ");
        for (store, declared) in stores {
            let declared = line(declared);
            if let Some(found) = self.0.get(store).filter(|found| **found != declared) {
                return Err(Error::StoreFormat {
                    task: task.to_owned(),
                    store: store.clone(),
                    found: found.clone(),
                    declared,
                });
            }
        }
        let before = self.0.len();
        let lines = stores
            .iter()
            .map(|(store, format)| (store.clone(), line(format)));
        self.0.extend(lines);
        Ok(self.0.len() > before)
    }

    /// Reads the text form; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next() != Some(VERSION) {
            return None;
        }
        let pair = |line: &str| {
            let (store, format) = line.split_once('\t')?;
            Some((store.to_owned(), format.to_owned()))
        };
        lines.map(pair).collect::<Option<_>>().map(Self)
    }
}

impl fmt::Display for StoreFormats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{VERSION}")?;
        let mut lines = self.0.iter();
        lines.try_for_each(|(store, format)| writeln!(f, "{store}\t{format}"))
    }
}
