//! The `.properties` format, as `java.util.Properties.load` reads it (from UTF-8, not Latin-1).
//!
//! Invariant: any text either parses or gives the line that does not; nothing panics.

/// One entry of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Property {
    pub(super) key: String,
    pub(super) value: String,
    /// Where the entry starts, counted from 1.
    pub(super) line: usize,
}

/// What Java counts as white space here; line ends are gone by then.
const SPACE: [char; 3] = [' ', '\t', '\u{c}'];

/// The entries in order; of equal keys Java keeps the last. An error is a line and a reason.
pub(super) fn parse(text: &str) -> Result<Vec<Property>, (usize, String)> {
    let text = text.replace("\r\n", "\n");
    let mut entries = Vec::new();
    // The entry that continues on the next line: where it started, and its text so far.
    let mut open: Option<(usize, String)> = None;
    for (number, line) in (1..).zip(text.split(['\n', '\r'])) {
        let line = line.trim_start_matches(SPACE);
        // Within a continued entry nothing is a comment.
        if open.is_none() && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        let (start, mut entry) = open.take().unwrap_or((number, String::new()));
        entry.push_str(line);
        let backslashes = entry.len() - entry.trim_end_matches('\\').len();
        // An odd number means that the last one is not itself escaped: it escapes the line's end.
        if backslashes % 2 == 1 {
            entry.pop();
            open = Some((start, entry));
        } else if !entry.is_empty() {
            entries.push(split(&entry, start)?);
        }
    }
    if let Some((start, entry)) = open.filter(|(_, entry)| !entry.is_empty()) {
        entries.push(split(&entry, start)?);
    }
    Ok(entries)
}

/// Parts key from value at the first `=`, `:` or white space that is not escaped.
fn split(entry: &str, line: usize) -> Result<Property, (usize, String)> {
    let mut escaped = false;
    let end = entry.find(|letter: char| {
        let ends = !escaped && (letter == '=' || letter == ':' || SPACE.contains(&letter));
        escaped = !escaped && letter == '\\';
        ends
    });
    let (key, rest) = entry.split_at(end.unwrap_or(entry.len()));
    let rest = rest.trim_start_matches(SPACE);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    let unescape = |text| unescape(text).map_err(|reason| (line, reason));
    Ok(Property {
        key: unescape(key)?,
        value: unescape(value.trim_start_matches(SPACE))?,
        line,
    })
}

/// Replaces escapes. Works on UTF-16, because a `\u` may be half of a pair.
fn unescape(text: &str) -> Result<String, String> {
    let mut units = Vec::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let plain = match letter {
            '\\' => match letters.next() {
                Some('u') => {
                    units.push(unit(&mut letters)?);
                    continue;
                }
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                Some(other) => other,
                None => break,
            },
            other => other,
        };
        units.extend_from_slice(plain.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16(&units).map_err(|_| "half of a surrogate pair in a \\u escape".into())
}

/// The four hex digits of a `\u`.
fn unit(letters: &mut std::str::Chars<'_>) -> Result<u16, String> {
    let mut value = 0;
    for _ in 0..4 {
        let digit = letters.next().and_then(|letter| letter.to_digit(16));
        value = value << 4 | digit.ok_or("expected four hex digits after \\u")?;
    }
    u16::try_from(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expect: &[(&str, &str)]) {
        let entries = parse(text).unwrap();
        let entries: Vec<_> = entries.iter().map(|p| (&*p.key, &*p.value)).collect();
        assert_eq!(entries, expect, "{text:?}");
    }

    #[test]
    fn separators() {
        for text in [
            "k=v",
            "k:v",
            "k v",
            "k = v",
            "k\t:\t v",
            "  k=v",
            "k=v\n",
            "\u{c}k\u{c}v",
        ] {
            check(text, &[("k", "v")]);
        }
        check("k==v", &[("k", "=v")]);
        check("k = = v", &[("k", "= v")]);
        check("k", &[("k", "")]);
        check("k=", &[("k", "")]);
        check("=v", &[("", "v")]);
        check("k=v ", &[("k", "v ")]);
        check("k=a b=c", &[("k", "a b=c")]);
    }

    #[test]
    fn comments_and_line_ends() {
        check("# a=b\n! c=d\n  # e\n\n \t\nk=v#no", &[("k", "v#no")]);
        check("# no continuation \\\nk=v", &[("k", "v")]);
        check(
            "a=1\rb=2\r\nc=3\n\rd=4",
            &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")],
        );
        check("", &[]);
    }

    #[test]
    fn continuation() {
        check("k=a,\\\n   b,\\\r\n\tc\nl=m", &[("k", "a,b,c"), ("l", "m")]);
        check("k=a\\\\\nl=m", &[("k", "a\\"), ("l", "m")]);
        check("k=a\\\\\\\nb", &[("k", "a\\b")]);
        check("k=a\\\n# still the value", &[("k", "a# still the value")]);
        check("k=a\\\n\nl=m", &[("k", "a"), ("l", "m")]);
        check("k=a\\", &[("k", "a")]);
        check("a\\\nb=c", &[("ab", "c")]);
        check("\\\n\nk=v", &[("k", "v")]);
    }

    #[test]
    fn escapes() {
        check(r"a\=b\:c\ d=e", &[("a=b:c d", "e")]);
        check(r"k=\t\n\r\f\\\q", &[("k", "\t\n\r\u{c}\\q")]);
        check(r"k=\u00e4\uD83D\uDE00", &[("k", "ä😀")]);
        check(r"k=\  v", &[("k", "  v")]);
        check("k=ä😀", &[("k", "ä😀")]);
        for bad in [r"k=\u12", r"k=\u12g4", r"k=\ud83d", r"k=\u+123"] {
            assert_eq!(parse(&format!("# one\n{bad}")).unwrap_err().0, 2, "{bad}");
        }
    }

    #[test]
    fn lines_are_where_entries_start() {
        let lines: Vec<_> = parse("a=1\\\n2\n\r\nb=3")
            .unwrap()
            .iter()
            .map(|p| p.line)
            .collect();
        assert_eq!(lines, [1, 4]);
    }

    /// Writes text so that it must be read back as it was.
    fn escape(text: &str) -> String {
        text.encode_utf16()
            .map(|unit| format!("\\u{unit:04x}"))
            .collect()
    }

    proptest! {
        #[test]
        fn never_panics(text in "[ -~\\\\ua\n\r\t=:#!ä]{0,60}|\\PC*") {
            let _ = parse(&text);
        }

        #[test]
        fn what_is_escaped_comes_back(key in "\\PC{1,9}", value in any::<String>()) {
            let text = format!("{} = {}", escape(&key), escape(&value));
            prop_assert_eq!(parse(&text), Ok(vec![Property { key, value, line: 1 }]));
        }
    }
}
