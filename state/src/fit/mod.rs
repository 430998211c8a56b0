//! Whether rows of one format can be read as another, as far as their names tell.
//!
//! A format's name is a text that the floors above make. What is known of it here: it may hold
//! `bincode`, and behind that the *shape* of a type, what is written one after the other, as
//! `bincode(u64,str,<()|u64>)`, or a shape's hash, as `bincode#0123456789abcdef`, which fits the
//! shape of which it is the hash. Invariant: what cannot be understood fits only what is equal to
//! it.

mod shape;
mod told;
mod walk;

use shape::Shape;
pub use told::{condensed, fnv1a, shape_hash, shown, shown_apart};
use walk::{Found, Unknown};

/// The word before a shape.
const BINCODE: &str = "bincode";

/// What rows of one format are to a program that declares another.
///
/// ```
/// use millstream_state::Fit;
///
/// let fit = |old, new| Fit::between(old, new);
/// assert_eq!(fit("bincode(u64)", "bincode(u64)"), Fit::Same);
/// assert_eq!(fit("bincode(<()|u64>)", "bincode(<()|u64|str>)"), Fit::Appended);
/// assert_eq!(fit("bincode", "bincode(u64)"), Fit::Undescribed);
/// assert_eq!(fit("bincode(u64,str)", "bincode(u64,..)"), Fit::Undescribed);
/// assert_eq!(fit("bincode(u64)", "bincode(u64,str)"), Fit::Other);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// They are of one format.
    Same,
    /// Enums have further variants at their ends, so that the rows mean what they meant. Rows of
    /// the new format are none of the old one.
    Appended,
    /// The old format was noted when the shapes of types were not, or a `..` in one of the shapes
    /// stands for what is not known of it: nothing is known against it.
    Undescribed,
    /// The rows would be misread.
    Other,
}

impl Fit {
    /// What rows of the format `old` are to a program that declares `new`.
    pub fn between(old: &str, new: &str) -> Self {
        match compare(old, new) {
            None => Self::Other,
            Some(found) if found.unknown != Unknown::default() => Self::Undescribed,
            Some(found) if found.appended => Self::Appended,
            Some(_) => Self::Same,
        }
    }

    /// Which of two formats is to be noted for a store that goes from one to the other: the new
    /// one, or the old one where no more than that is unknown of the new one. With variants that
    /// the old one has not there may be rows that are none of the old one.
    pub(crate) fn noted<'t>(old: &'t str, new: &'t str) -> &'t str {
        let better = |found: Found| found.unknown.new && !found.unknown.old && !found.appended;
        match compare(old, new).is_some_and(better) {
            true => old,
            false => new,
        }
    }

    /// Whether a program that declares the new format may go on with the rows of the old one.
    pub fn is_readable(self) -> bool {
        self != Self::Other
    }
}

/// How two formats fit; `None` where they do not.
fn compare(old: &str, new: &str) -> Option<Found> {
    if old == new {
        return Some(Found::default());
    }
    let (old, new) = (pieces(old), pieces(new));
    if old.len() != new.len() {
        return None;
    }
    let mut fits = old.iter().zip(&new).map(|(old, new)| old.fit(new));
    fits.try_fold(Found::default(), |all, found| Some(all.and(found?)))
}

/// A part of a format's name.
enum Piece<'t> {
    /// Anything else.
    Text(&'t str),
    /// bincode of a type of which nothing is said.
    Undescribed,
    /// bincode of a type whose shape is told, and how.
    Shaped(Shape<'t>, &'t str),
    /// bincode of a type of whose shape the hash is told.
    Hashed(&'t str),
}

impl Piece<'_> {
    /// How they fit; `None` where they do not.
    fn fit(&self, new: &Self) -> Option<Found> {
        let same = Some(Found::default());
        match (self, new) {
            (Self::Text(old), Self::Text(new)) if old == new => same,
            (Self::Undescribed, Self::Undescribed) => same,
            (Self::Undescribed, Self::Shaped(..) | Self::Hashed(_)) => {
                let mut found = Found::default();
                found.unknown.old = true;
                Some(found)
            }
            (Self::Hashed(old), Self::Hashed(new)) if old == new => same,
            (Self::Hashed(hash), Self::Shaped(_, text))
            | (Self::Shaped(_, text), Self::Hashed(hash))
                if *hash == shape_hash(text) =>
            {
                same
            }
            (Self::Shaped(_, old), Self::Shaped(_, new)) if old == new => same,
            (Self::Shaped(old, _), Self::Shaped(new, _)) => new.extends(old),
            _ => None,
        }
    }
}

/// Takes a name apart at what is said of bincode.
fn pieces(format: &str) -> Vec<Piece<'_>> {
    let (mut pieces, mut rest) = (Vec::new(), format);
    while let Some(at) = word(rest) {
        let (before, after) = (&rest[..at], &rest[at + BINCODE.len()..]);
        pieces.push(Piece::Text(before));
        let (piece, left) = match after.as_bytes().first() {
            Some(b'(') => match Shape::parse(after) {
                Some((shape, left)) => {
                    let told = after.len() - left.len() - 1;
                    (Piece::Shaped(shape, &after[1..told]), left)
                }
                None => (Piece::Text(&rest[at..]), ""),
            },
            Some(b'#') => {
                let hash = after[1..].find(|c: char| !c.is_ascii_hexdigit());
                let (hash, left) = after.split_at(hash.map_or(after.len(), |len| len + 1));
                (Piece::Hashed(hash), left)
            }
            _ => (Piece::Undescribed, after),
        };
        pieces.push(piece);
        rest = left;
    }
    pieces.push(Piece::Text(rest));
    pieces
}

/// Where the word stands by itself.
fn word(text: &str) -> Option<usize> {
    let part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let found = text.match_indices(BINCODE).find(|(at, _)| {
        let (before, after) = (&text[..*at], &text[at + BINCODE.len()..]);
        !before.ends_with(part) && !after.starts_with(part)
    });
    found.map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(old: &str, new: &str) -> Fit {
        Fit::between(old, new)
    }

    #[test]
    fn plain_formats_fit_only_themselves() {
        assert_eq!(
            fit("key-value/utf8/u64_be", "key-value/utf8/u64_be"),
            Fit::Same
        );
        assert_eq!(
            fit("key-value/utf8/u64_be", "key-value/utf8/utf8"),
            Fit::Other
        );
        assert_eq!(fit("", "bincode(u8)"), Fit::Other);
        assert_eq!(fit("my-bincode", "my-bincode(u8)"), Fit::Other);
        assert_eq!(fit("bincode2", "bincode2(u8)"), Fit::Other);
        assert!(!fit("a", "b").is_readable() && fit("a", "a").is_readable());
    }

    #[test]
    fn what_was_noted_without_shapes_is_taken_for_what_is_declared() {
        let old = "key-value/bincode/option<bincode>";
        assert_eq!(fit(old, old), Fit::Same);
        let new = "key-value/bincode(u64)/option<bincode(u8,str)>";
        assert_eq!(fit(old, new), Fit::Undescribed);
        assert_eq!(fit(new, old), Fit::Other);
        assert_eq!(
            fit("a/bincode", "a/bincode#0123456789abcdef"),
            Fit::Undescribed
        );
        // But not for another serde, or another kind of store.
        assert_eq!(fit(old, "key-value/utf8/option<bincode(u8)>"), Fit::Other);
        assert_eq!(
            fit("lru/bincode/utf8", "key-value/bincode(u8)/utf8"),
            Fit::Other
        );
        assert_eq!(fit("bincode", "bincode(no shape"), Fit::Other);
        assert_eq!(fit("bincode(no shape", "(no shape"), Fit::Other);
    }

    #[test]
    fn hashes_are_equal_or_not() {
        let (a, b) = (
            "x/bincode#0123456789abcdef/y",
            "x/bincode#0123456789abcdee/y",
        );
        assert_eq!(fit(a, a), Fit::Same);
        assert_eq!(fit(a, b), Fit::Other);
        assert_eq!(fit(a, "x/bincode(u8)/y"), Fit::Other);
        let keyed = |key| format!("bincode({key})/bincode#00");
        assert_eq!(fit(&keyed("<u8>"), &keyed("<u8|u8>")), Fit::Appended);
    }

    #[test]
    fn a_hash_is_the_shape_that_it_is_of_and_no_other() {
        let told = |shape: &str| format!("key-value/utf8/option<bincode({shape})>");
        let long = |last: &str| format!("<u8|{}{last}>", "u16|str|".repeat(500));
        let old = condensed(&told(&long("u32")));
        assert!(old.len() < 60 && old.contains("bincode#"), "{old}");
        // A store that was noted by the hash goes on, and is known from then on.
        assert_eq!(fit(&old, &told(&long("u32"))), Fit::Same);
        assert_eq!(fit(&told(&long("u32")), &old), Fit::Same);
        assert_eq!(Fit::noted(&old, &told(&long("u32"))), told(&long("u32")));
        assert_eq!(fit(&old, &told(&long("u64"))), Fit::Other);
        assert_eq!(fit(&old, &told("u64")), Fit::Other);
        assert_eq!(
            fit(&told(&long("u32")), &told(&long("u32|()"))),
            Fit::Appended
        );
        assert_eq!(fit(&told(&long("u32")), &told(&long("u64"))), Fit::Other);
    }
}
