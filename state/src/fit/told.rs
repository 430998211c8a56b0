//! Names of formats where they must be short: for a person's eyes, and where a hash is enough.

use super::{BINCODE, Piece, pieces};

/// How long a format may be to be shown whole.
const SHOWN: usize = 200;

/// How much is shown before the first difference of longer ones.
const BEFORE: usize = 40;

/// What stands for what is left out.
const LEFT_OUT: &str = "...";

/// A shape is condensed if its text has more bytes. Formats had the hashes of such shapes before
/// they had all of them whole, so that this number cannot change.
const LONG: usize = 1000;

/// A format for a person's eyes: its beginning, where it is long.
///
/// ```
/// use millstream_state::shown;
///
/// assert_eq!(shown("key-value/utf8/utf8"), "key-value/utf8/utf8");
/// let long = format!("bincode(<{}>)", "u8|u16|".repeat(100));
/// assert!(shown(&long).starts_with("bincode(<u8|u16|") && shown(&long).ends_with("..."));
/// ```
pub fn shown(format: &str) -> String {
    shown_from(format, 0)
}

/// Two formats for a person's eyes: where they are long, from shortly before they differ.
pub fn shown_apart(old: &str, new: &str) -> (String, String) {
    let same = old.chars().zip(new.chars()).take_while(|(a, b)| a == b);
    let from = same.count().saturating_sub(BEFORE);
    (shown_from(old, from), shown_from(new, from))
}

/// A format from a character on, where it is long.
fn shown_from(format: &str, from: usize) -> String {
    if format.len() <= SHOWN {
        return format.to_owned();
    }
    let start = if from == 0 { "" } else { LEFT_OUT };
    let mut rest = format.chars().skip(from);
    let shown: String = rest.by_ref().take(SHOWN).collect();
    let end = rest.next().map_or("", |_| LEFT_OUT);
    format!("{start}{shown}{end}")
}

/// A format with the hashes of its long shapes in their places: for what is only ever held against
/// the same, and kept in many places.
///
/// ```
/// use millstream_state::{condensed, shape_hash};
///
/// assert_eq!(condensed("utf8/bincode(u64,str)"), "utf8/bincode(u64,str)");
/// let long = format!("<{}u8>", "u8|u16|".repeat(200));
/// let format = format!("utf8/bincode({long})");
/// assert_eq!(condensed(&format), format!("utf8/bincode{}", shape_hash(&long)));
/// ```
pub fn condensed(format: &str) -> String {
    let mut out = String::new();
    for piece in pieces(format) {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Undescribed => out.push_str(BINCODE),
            Piece::Hashed(hash) => out.extend([BINCODE, hash]),
            Piece::Shaped(_, shape) if shape.len() > LONG => {
                out.extend([BINCODE, &shape_hash(shape)]);
            }
            Piece::Shaped(_, shape) => out.extend([BINCODE, "(", shape, ")"]),
        }
    }
    out
}

/// What a format tells of a shape that is not told whole: `#` and its hash.
pub fn shape_hash(shape: &str) -> String {
    format!("#{:016x}", fnv1a(shape.as_bytes()))
}

/// 64-bit FNV-1a, which is the same on all machines and in all versions.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_formats_are_shown_from_where_they_differ() {
        assert_eq!(shown_apart("a", "b"), ("a".into(), "b".into()));
        let long = |end: &str| format!("{}{end}{}", "é".repeat(300), "x".repeat(300));
        let (old, new) = shown_apart(&long("1"), &long("2"));
        let shown = |c| format!("...{}{c}{}...", "é".repeat(40), "x".repeat(159));
        assert_eq!((old, new), (shown('1'), shown('2')));
    }

    #[test]
    fn nothing_but_long_shapes_is_condensed() {
        let long = format!("[{}]", "(u8,str)".repeat(200));
        let no_shape = format!("a/bincode(u8)/bincode/bincode#00ff/b/bincode{long}/c");
        assert_eq!(condensed(&no_shape), no_shape);
        let open = format!("bincode(u8)/bincode({long}");
        assert_eq!(condensed(&open), open);
        let (long, edge) = ("u8,".repeat(333) + "u16", "u8,".repeat(332) + "u16");
        let format = format!("bincode({edge})/bincode({long})/bincode({edge})");
        let hashed = format!(
            "bincode({edge})/bincode{}/bincode({edge})",
            shape_hash(&long)
        );
        assert_eq!((edge.len(), condensed(&format)), (999, hashed));
    }

    /// Other versions have noted it.
    #[test]
    fn the_hash_of_a_shape_is_what_it_was() {
        assert_eq!(shape_hash(""), "#cbf29ce484222325");
        assert_eq!(shape_hash("foobar"), "#85944171f73967e8");
    }
}
