//! What the stores of one task are made of, kept beside their bytes.
//!
//! Invariant: a format is noted before the first row of its store is written, and stays noted for
//! as long as the rows may be there, also while no program declares the store.

use crate::{Error, Fit, Result};
use std::{collections::BTreeMap, fmt};

/// The version of the text form.
const VERSION: &str = "1";
/// What stands behind the format of a store that its program did without.
const RETIRED: &str = "retired";

/// The formats of a task's stores, by name.
///
/// ```
/// use millstream_state::{Error, StoreFormats};
///
/// let store = |name: &str, format: &str| [(name.to_owned(), format.to_owned())];
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
    /// A program has run without it since it was last declared, so that no store that comes later
    /// can be this one under another name.
    retired: bool,
}

impl StoreFormats {
    /// Notes the formats that a program declares for a task; says whether that changes anything.
    /// Stores that are noted and not declared stay noted. One that the program declares `elsewhere`
    /// has moved to tasks of another number, and was not renamed.
    ///
    /// # Errors
    /// [`Error::StoreFormat`] for a store that is noted with a format that does not [fit](Fit),
    /// [`Error::StoreRenamed`] where one has gone and one of its format has come; then nothing
    /// changes.
    pub fn declare(
        &mut self,
        task: &str,
        stores: &[(String, String)],
        elsewhere: &[String],
    ) -> Result<bool> {
        // A line is one store, and a tab ends its name.
        let line = |format: &str| format.replace(['\n', '\r', '\t'], " ");
        let declared: BTreeMap<&String, String> = (stores.iter())
            .map(|(store, format)| (store, line(format)))
            .collect();
        for (store, format) in &declared {
            match self.0.get(*store) {
                Some(found) if Fit::between(&found.format, format).is_readable() => {}
                Some(found) => {
                    return Err(Error::StoreFormat {
                        task: task.to_owned(),
                        store: (*store).clone(),
                        found: found.format.clone(),
                        declared: format.clone(),
                    });
                }
                None => self.not_renamed(task, (store, format), &declared, elsewhere)?,
            }
        }
        let before = self.clone();
        for (store, noted) in &mut self.0 {
            noted.retired = !declared.contains_key(store);
        }
        let fresh = declared.into_iter().map(|(store, format)| {
            let retired = false;
            let format = match before.0.get(store) {
                Some(found) => Fit::noted(&found.format, &format).to_owned(),
                None => format,
            };
            (store.clone(), Noted { format, retired })
        });
        self.0.extend(fresh);
        Ok(*self != before)
    }

    /// Refuses a store that comes as another one of its format goes.
    fn not_renamed(
        &self,
        task: &str,
        (store, format): (&str, &str),
        declared: &BTreeMap<&String, String>,
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
        if lines.next() != Some(VERSION) {
            return None;
        }
        let noted = |line: &str| {
            let (store, rest) = line.split_once('\t')?;
            let (format, retired) = match rest.split_once('\t') {
                None => (rest, false),
                Some((format, RETIRED)) => (format, true),
                Some(_) => return None,
            };
            let format = format.to_owned();
            Some((store.to_owned(), Noted { format, retired }))
        };
        lines.map(noted).collect::<Option<_>>().map(Self)
    }
}

impl fmt::Display for StoreFormats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{VERSION}")?;
        for (store, noted) in &self.0 {
            write!(f, "{store}\t{}", noted.format)?;
            if noted.retired {
                write!(f, "\t{RETIRED}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(store: &str, format: &str) -> [(String, String); 1] {
        [(store.to_owned(), format.to_owned())]
    }

    #[test]
    fn the_better_known_shape_stays_noted() -> Result<()> {
        let mut formats = StoreFormats::default();
        let mut declare = |shape: &str| formats.declare("0_0", &one("s", shape), &[]);
        assert!(declare("bincode")?);
        assert!(declare("bincode(u64,..)")?);
        assert!(declare("bincode(u64,str,u32)")?);
        assert!(!declare("bincode(u64,str,..)")?);
        let refused = declare("bincode(u64,str,u16)");
        assert!(matches!(refused, Err(Error::StoreFormat { .. })));
        Ok(())
    }

    #[test]
    fn no_way_back_is_noted_though_less_is_known() -> Result<()> {
        let mut formats = StoreFormats::default();
        let mut declare = |shape: &str| formats.declare("0_0", &one("s", shape), &[]);
        assert!(declare("bincode(<u8>,str)/bincode(u8)")?);
        assert!(declare("bincode(<u8|u16>,..)/bincode(u8)")?);
        // Rows may have the second variant now.
        for back in ["bincode(<u8>,str)", "bincode(<u8>,..)"] {
            let refused = declare(&format!("{back}/bincode(u8)"));
            assert!(matches!(refused, Err(Error::StoreFormat { .. })));
        }
        assert!(declare("bincode(<u8|u16>,str)/bincode(u8)")?);
        Ok(())
    }

    #[test]
    fn a_shape_that_was_noted_by_its_hash_is_noted_whole_from_then_on() -> Result<()> {
        let whole = |last: &str| format!("bincode(<{}{last}>)", "u8|str|".repeat(300));
        let mut formats = StoreFormats::default();
        formats.declare("0_0", &one("s", &crate::condensed(&whole("u8"))), &[])?;
        assert!(formats.to_string().len() < 40, "{formats}");
        let other = formats
            .clone()
            .declare("0_0", &one("s", &whole("u16")), &[]);
        assert!(matches!(other, Err(Error::StoreFormat { .. })));
        let renamed = formats.clone().declare("0_0", &one("t", &whole("u8")), &[]);
        let told = renamed.unwrap_err().to_string();
        assert!(
            told.contains("state retire s") && told.len() < 700,
            "{told}"
        );

        assert!(formats.declare("0_0", &one("s", &whole("u8")), &[])?);
        assert!(formats.declare("0_0", &one("s", &whole("u8|()")), &[])?);
        let back = formats.declare("0_0", &one("s", &whole("u8")), &[]);
        let told = back.unwrap_err().to_string();
        assert!(told.contains("holds ...") && told.len() < 800, "{told}");
        assert_eq!(StoreFormats::parse(&formats.to_string()), Some(formats));
        Ok(())
    }

    #[test]
    fn a_store_of_a_longer_enum_is_another_one() -> Result<()> {
        let mut formats = StoreFormats::default();
        formats.declare("0_0", &one("old", "bincode(<()>)"), &[])?;
        let renamed = formats
            .clone()
            .declare("0_0", &one("new", "bincode(<()>)"), &[]);
        assert!(matches!(renamed, Err(Error::StoreRenamed { .. })));
        assert!(formats.declare("0_0", &one("new", "bincode(<()|u8>)"), &[])?);
        Ok(())
    }

    #[test]
    fn a_store_that_the_program_has_elsewhere_has_moved() -> Result<()> {
        let mut formats = StoreFormats::default();
        formats.declare("0_0", &one("b", "utf8"), &[])?;
        let refused = formats.clone().declare("0_0", &one("a", "utf8"), &[]);
        assert!(matches!(refused, Err(Error::StoreRenamed { .. })));
        assert!(formats.declare("0_0", &one("a", "utf8"), &["b".to_owned()])?);
        // It may come back, and then is what it was.
        assert!(formats.declare("0_0", &one("b", "utf8"), &["a".to_owned()])?);
        let refused = formats.declare("0_0", &one("b", "u64_be"), &[]);
        assert!(matches!(refused, Err(Error::StoreFormat { .. })));
        Ok(())
    }
}
