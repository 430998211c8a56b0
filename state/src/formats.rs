//! What the stores of one task are made of, kept beside their bytes.
//!
//! Invariant: what a store is made of is noted before its first row is written, and stays noted for
//! as long as the rows may be there, also while no program declares the store.
//!
//! One line is one store: its name, its format, then words. Version 1 had no words of logging, and
//! of a store that such a note tells of it is not known.

use crate::{Error, Fit, Result};
use std::{collections::BTreeMap, fmt};

/// The version of the text form that this code writes.
pub(crate) const VERSION: u32 = 2;
/// The first version of the text form, which is still read.
const VERSION_MIN: u32 = 1;
/// What stands behind the format of a store that has a changelog.
const LOGGED: &str = "logged";
/// What stands behind the format of a store that has none.
const UNLOGGED: &str = "unlogged";
/// What stands at the end of the line of a store that its program did without.
const RETIRED: &str = "retired";

/// What a program says of one store of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredStore {
    /// Its name.
    pub name: String,
    /// What its rows are.
    pub format: String,
    /// Whether its changes are logged, so that it can be restored.
    pub logged: bool,
}

impl DeclaredStore {
    /// A store that has a changelog.
    ///
    /// ```
    /// use millstream_state::DeclaredStore;
    ///
    /// let store = DeclaredStore::logged("counts", "key-value/utf8/u64-be");
    /// assert!(store.logged && !DeclaredStore { logged: false, ..store }.logged);
    /// ```
    pub fn logged(name: impl Into<String>, format: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            format: format.into(),
            logged: true,
        }
    }
}

/// Why the rows of a store are not to be used any more when it is logged from now on, or is not any
/// more: what comes behind the store's name.
///
/// ```
/// assert!(millstream_state::logging_changed(true).starts_with("is logged now"));
/// ```
pub const fn logging_changed(logged: bool) -> &'static str {
    if logged {
        "is logged now: its changelog begins empty, and so will the store"
    } else {
        "is no longer logged: what is not on this disk already cannot be brought back"
    }
}

/// What a task's stores are made of, by name.
///
/// ```
/// use millstream_state::{DeclaredStore, Error, StoreFormats};
///
/// let store = |name: &str, format: &str| [DeclaredStore::logged(name, format)];
/// let mut formats = StoreFormats::default();
/// formats.declare("0_3", &store("counts", "key-value/utf8/u64-be"), &[])?;
/// let refused = formats.declare("0_3", &store("counts", "key-value/utf8/utf8"), &[]);
/// assert!(matches!(refused, Err(Error::StoreFormat { .. })));
/// let refused = formats.declare("0_3", &store("word-counts", "key-value/utf8/u64-be"), &[]);
/// assert!(matches!(refused, Err(Error::StoreRenamed { .. })));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreFormats(BTreeMap<String, Noted>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Noted {
    format: String,
    /// `None` where the note is from before that was noted.
    logged: Option<bool>,
    /// A program has run without it since it was last declared, so that no store that comes later
    /// can be this one under another name.
    retired: bool,
}

impl StoreFormats {
    /// Notes what a program declares for a task; says whether that changes anything. Stores that
    /// are noted and not declared stay noted. One that the program declares `elsewhere` has moved
    /// to tasks of another number, and was not renamed. Of which it was not noted whether it is
    /// logged, that is taken for what is declared.
    ///
    /// # Errors
    /// [`Error::StoreFormat`] for a store that is noted with a format that does not [fit](Fit),
    /// [`Error::StoreLogging`] for one that was logged and is not now or the other way round,
    /// [`Error::StoreRenamed`] where one has gone and one of its format has come; then nothing
    /// changes.
    pub fn declare(
        &mut self,
        task: &str,
        stores: &[DeclaredStore],
        elsewhere: &[String],
    ) -> Result<bool> {
        // A line is one store, and a tab ends its name.
        let line = |format: &str| format.replace(['\n', '\r', '\t'], " ");
        let declared: BTreeMap<&String, Noted> = (stores.iter())
            .map(|store| {
                let noted = Noted {
                    format: line(&store.format),
                    logged: Some(store.logged),
                    retired: false,
                };
                (&store.name, noted)
            })
            .collect();
        for (store, noted) in &declared {
            match self.0.get(*store) {
                Some(found) => found.goes_on_as(noted, task, store)?,
                None => self.not_renamed(task, (store, &noted.format), &declared, elsewhere)?,
            }
        }
        let before = self.clone();
        for (store, noted) in &mut self.0 {
            noted.retired = !declared.contains_key(store);
        }
        let fresh = declared.into_iter().map(|(store, mut noted)| {
            if let Some(found) = before.0.get(store) {
                noted.format = Fit::noted(&found.format, &noted.format).to_owned();
            }
            (store.clone(), noted)
        });
        self.0.extend(fresh);
        Ok(*self != before)
    }

    /// Refuses a store that comes as another one of its format goes.
    fn not_renamed(
        &self,
        task: &str,
        (store, format): (&str, &str),
        declared: &BTreeMap<&String, Noted>,
        elsewhere: &[String],
    ) -> Result<()> {
        let gone = self.0.iter().find(|(name, noted)| {
            // An enum that grew at its end is as likely another one that begins alike.
            let fit = || Fit::between(&noted.format, format);
            let same = || matches!(fit(), Fit::Same | Fit::Undescribed);
            let is_there = declared.contains_key(name) || elsewhere.contains(name);
            !noted.retired && !is_there && same()
        });
        gone.map_or(Ok(()), |(was, _)| {
            Err(Error::StoreRenamed {
                task: task.to_owned(),
                was: was.clone(),
                store: store.to_owned(),
                format: format.to_owned(),
            })
        })
    }

    /// Notes that a store was taken out of the program, and not renamed; `false` where it is not
    /// noted, or was known to be out.
    pub fn retire(&mut self, store: &str) -> bool {
        (self.0.get_mut(store)).is_some_and(|noted| !std::mem::replace(&mut noted.retired, true))
    }

    /// Reads the text form; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let version: u32 = lines.next()?.parse().ok()?;
        if !(VERSION_MIN..=VERSION).contains(&version) {
            return None;
        }
        let noted = |line: &str| {
            let mut parts = line.split('\t');
            let (store, format) = (parts.next()?, parts.next()?);
            let (logged, next) = match parts.next() {
                Some(LOGGED) => (Some(true), parts.next()),
                Some(UNLOGGED) => (Some(false), parts.next()),
                word => (None, word),
            };
            let retired = match next {
                None => false,
                Some(RETIRED) => true,
                Some(_) => return None,
            };
            let noted = Noted {
                format: format.to_owned(),
                logged,
                retired,
            };
            parts.next().is_none().then(|| (store.to_owned(), noted))
        };
        lines.map(noted).collect::<Option<_>>().map(Self)
    }
}

impl Noted {
    /// Refuses what a program declares where rows that were written as this would not be right.
    fn goes_on_as(&self, declared: &Self, task: &str, store: &str) -> Result<()> {
        if !Fit::between(&self.format, &declared.format).is_readable() {
            return Err(Error::StoreFormat {
                task: task.to_owned(),
                store: store.to_owned(),
                found: self.format.clone(),
                declared: declared.format.clone(),
            });
        }
        match (self.logged, declared.logged) {
            (Some(before), Some(logged)) if before != logged => Err(Error::StoreLogging {
                task: task.to_owned(),
                store: store.to_owned(),
                logged,
            }),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for StoreFormats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{VERSION}")?;
        for (store, noted) in &self.0 {
            write!(f, "{store}\t{}", noted.format)?;
            if let Some(logged) = noted.logged {
                write!(f, "\t{}", if logged { LOGGED } else { UNLOGGED })?;
            }
            if noted.retired {
                write!(f, "\t{RETIRED}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
