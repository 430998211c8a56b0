//! The forms a value can have, and how text becomes one.
//!
//! Invariant: a number that was accepted is within its bounds, so that nobody who adds two of
//! them, or the current time, has to think of overflow.

use std::net::Ipv6Addr;

/// The longest time: about 100 years.
const MAX_MILLIS: i64 = 100 * 366 * 86_400_000;

/// The largest size: 1 PiB.
const MAX_BYTES: i64 = 1 << 50;

/// Kafka allows 249 characters for a topic's name; internal topics add to the program's name.
const MAX_NAME: usize = 200;

const TIMES: &[(&str, i64)] = &[
    ("", 1),
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

const SIZES: &[(&str, i64)] = &[
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// The form of a key's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text but the empty one.
    Text,
    /// What may be (part of) the name of a topic.
    Name,
    /// A host and a port.
    Address,
    /// A host and a port to which somebody can connect.
    Place,
    /// A whole number.
    Whole {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
        /// Whether -1 is allowed too, with a meaning of its own.
        minus_one: bool,
    },
    /// A time in milliseconds, or with a unit.
    Millis {
        /// Whether -1 is allowed too, with a meaning of its own.
        minus_one: bool,
    },
    /// A size in bytes, or with a unit.
    Bytes,
    /// One of these words, in any case.
    Choice(&'static [&'static str]),
}

impl Kind {
    /// Reads a value: its number (for a choice, which of the words; for text, 0), or `None` when
    /// the text is not of this form.
    pub fn read(self, text: &str) -> Option<i64> {
        let trimmed = text.trim();
        match self {
            Self::Text => (!trimmed.is_empty()).then_some(0),
            Self::Name => is_name(text).then_some(0),
            Self::Address => is_address(text).then_some(0),
            Self::Place => {
                let (host, port) = text.rsplit_once(':')?;
                (is_address(text) && is_place(host, port)).then_some(0)
            }
            Self::Whole {
                minus_one: true, ..
            }
            | Self::Millis { minus_one: true }
                if trimmed == "-1" =>
            {
                Some(-1)
            }
            Self::Whole { min, max, .. } => {
                let number = trimmed.parse().ok()?;
                (min..=max).contains(&number).then_some(number)
            }
            Self::Millis { .. } => with_unit(trimmed, TIMES, MAX_MILLIS),
            Self::Bytes => with_unit(trimmed, SIZES, MAX_BYTES),
            Self::Choice(words) => {
                let at = words
                    .iter()
                    .position(|word| word.eq_ignore_ascii_case(trimmed))?;
                i64::try_from(at).ok()
            }
        }
    }

    /// What a value looks like, to end the sentence "expected ..".
    pub fn expected(self) -> String {
        let or = |minus_one| if minus_one { " or -1" } else { "" };
        match self {
            Self::Text => "a text that is not empty".into(),
            Self::Name => {
                format!("a name of at most {MAX_NAME} letters, digits, '.', '_' and '-'")
            }
            Self::Address => "host:port".into(),
            Self::Place => "host:port of one place".into(),
            Self::Whole {
                min,
                max: i64::MAX,
                minus_one,
            } => format!("a whole number from {min}{}", or(minus_one)),
            Self::Whole {
                min,
                max,
                minus_one,
            } => {
                format!("a whole number from {min} to {max}{}", or(minus_one))
            }
            Self::Millis { minus_one } => {
                format!(
                    "milliseconds or a time like 100ms, 30s, 5m, 12h, 7d{}",
                    or(minus_one)
                )
            }
            Self::Bytes => "bytes or a size like 512KiB, 64MiB, 2GiB".into(),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
        }
    }
}

/// Digits and a unit of the list, within the limit.
fn with_unit(text: &str, units: &[(&str, i64)], limit: i64) -> Option<i64> {
    let split = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let unit = unit.trim_start();
    let (_, factor) = units
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    let number = digits.parse::<i64>().ok()?.checked_mul(*factor)?;
    (number <= limit).then_some(number)
}

fn is_name(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    // "." and ".." are directories, and the name becomes one.
    !matches!(text, "" | "." | "..") && text.len() <= MAX_NAME && text.bytes().all(legal)
}

fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let bracketed = inner.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok());
    let legal = |byte: u8| byte.is_ascii_graphic() && !b":/@[]".contains(&byte);
    let plain = !host.is_empty() && host.bytes().all(legal);
    (bracketed || plain)
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && port.parse::<u16>().is_ok()
}

/// Whether an address is of one place: not of all of a machine's, nor of a port to be chosen.
pub(super) fn is_place(host: &str, port: &str) -> bool {
    !["0.0.0.0", "[::]"].contains(&host) && port.parse() != Ok(0_u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: Kind, table: &[(&str, Option<i64>)]) {
        for (text, expect) in table {
            assert_eq!(kind.read(text), *expect, "{kind:?} of {text:?}");
        }
    }

    #[test]
    fn times() {
        let table = [
            ("0", Some(0)),
            ("100", Some(100)),
            ("100ms", Some(100)),
            (" 30 s ", Some(30_000)),
            ("5m", Some(300_000)),
            ("12H", Some(43_200_000)),
            ("7d", Some(604_800_000)),
            ("", None),
            ("s", None),
            ("-1", None),
            ("1.5s", None),
            ("+5", None),
            ("5 parsecs", None),
            ("9223372036854775807d", None),
            ("99999999999999999999", None),
            ("36600d", Some(MAX_MILLIS)),
            ("36601d", None),
            ("5ß", None),
        ];
        check(Kind::Millis { minus_one: false }, &table);
        check(
            Kind::Millis { minus_one: true },
            &[("-1", Some(-1)), ("-2", None)],
        );
    }

    #[test]
    fn sizes() {
        let table = [
            ("0", Some(0)),
            ("512", Some(512)),
            ("512B", Some(512)),
            ("1KiB", Some(1024)),
            ("64MiB", Some(64 << 20)),
            ("2 gib", Some(2 << 30)),
            ("1024TiB", Some(MAX_BYTES)),
            ("1025TiB", None),
            ("64MB", None),
            ("-1", None),
            ("", None),
        ];
        check(Kind::Bytes, &table);
    }

    #[test]
    fn numbers_and_words() {
        let kind = Kind::Whole {
            min: 1,
            max: 9,
            minus_one: true,
        };
        let table = [
            ("1", Some(1)),
            ("9", Some(9)),
            ("-1", Some(-1)),
            ("0", None),
            ("x", None),
        ];
        check(kind, &table);
        check(kind, &[("10", None), ("", None), ("1.0", None)]);
        let words = Kind::Choice(&["fail", "continue"]);
        check(
            words,
            &[
                ("fail", Some(0)),
                ("CONTINUE", Some(1)),
                ("skip", None),
                ("", None),
            ],
        );
    }

    #[test]
    fn texts() {
        check(Kind::Text, &[("x", Some(0)), ("", None), ("  ", None)]);
        let long = "a".repeat(MAX_NAME + 1);
        let bad = ["", ".", "..", "a/b", "a b", "ä", &long].map(|name| (name, None));
        check(Kind::Name, &bad);
        check(Kind::Name, &[("a-B_1.c", Some(0))]);
        let good = ["localhost:0", "127.0.0.1:8080", "[::1]:80"].map(|text| (text, Some(0)));
        check(Kind::Address, &good);
        let bad = ["", "a", ":80", "a:", "a:65536", "::1:80", "a:+80", "a:-1"];
        check(Kind::Address, &bad.map(|text| (text, None)));
        let bad = ["a@b:80", "a\tb:80", "a\0:80", "ä:80", "[a]:80", "[::1:80"];
        check(Kind::Address, &bad.map(|text| (text, None)));
        let good = ["localhost:1", "[::1]:80", "a-1.b:65535"].map(|text| (text, Some(0)));
        check(Kind::Place, &good);
        let bad = ["a", "0.0.0.0:80", "[::]:80", "a:0", "a:00", "a@b:80"];
        check(Kind::Place, &bad.map(|text| (text, None)));
    }
}
