//! Where the texts come from: a file of tab-separated lines, or a generator.

use crate::model::Review;
use anyhow::{Context, Result, bail};
use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

/// The longest line that is taken; what is longer is no text but a mistake.
const LINE_BYTES_MAX: usize = 8 << 20;

/// What the next line of a source was.
pub(crate) enum Next {
    /// A text, and when it was written, where that is known.
    Review(Review, Option<i64>),
    /// A line that is not of the form; why.
    Malformed(String),
    /// There is nothing more.
    End,
}

/// A stream of texts in a fixed order, so that its n-th one is always the same.
pub(crate) enum Source {
    Lines(BufReader<File>),
    Generated { left: u64, seed: u64 },
}

impl Source {
    /// A file of lines: label, text, and perhaps a time.
    pub(crate) fn file(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        // A directory opens like a file and only fails when read, by when nobody knows its name.
        if file.metadata().is_ok_and(|about| about.is_dir()) {
            bail!("{} is a directory, not a file of texts", path.display());
        }
        Ok(Self::Lines(BufReader::new(file)))
    }

    /// Made-up sentences, equal for equal numbers.
    pub(crate) fn generated(records: u64) -> Self {
        Self::Generated {
            left: records,
            seed: 1,
        }
    }

    /// Reads on by one.
    pub(crate) fn next(&mut self) -> Result<Next> {
        match self {
            Self::Lines(lines) => {
                let mut bytes = Vec::new();
                let limit = LINE_BYTES_MAX as u64 + 1;
                std::io::Read::take(&mut *lines, limit).read_until(b'\n', &mut bytes)?;
                if bytes.len() > LINE_BYTES_MAX {
                    bail!("a line is longer than {LINE_BYTES_MAX} bytes: is this a text file?");
                }
                Ok(if bytes.is_empty() {
                    Next::End
                } else {
                    parse(&bytes)
                })
            }
            Self::Generated { left: 0, .. } => Ok(Next::End),
            Self::Generated { left, seed } => {
                *left -= 1;
                *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                Ok(Next::Review(made_up(*seed >> 20), None))
            }
        }
    }
}

/// A line's label, text and time.
fn parse(line: &[u8]) -> Next {
    let malformed = |why: &str| Next::Malformed(why.to_owned());
    let Ok(line) = std::str::from_utf8(line) else {
        return malformed("it is not UTF-8");
    };
    let mut fields = line.trim_end_matches(['\n', '\r']).split('\t');
    let favourable = match fields.next() {
        Some("1") => Some(true),
        Some("0") => Some(false),
        Some("") => None,
        _ => return malformed("the label is not 1, 0 or empty"),
    };
    let Some(text) = fields.next() else {
        return malformed("there is no tab behind the label");
    };
    let time = match fields.next().map(str::parse) {
        None => None,
        Some(Ok(time)) if time >= 0 => Some(time),
        Some(_) => return malformed("the time is not a number of milliseconds since 1970"),
    };
    if fields.next().is_some() {
        return malformed("it has more than three fields");
    }
    Next::Review(
        Review {
            text: text.to_owned(),
            favourable,
        },
        time,
    )
}

const GOOD: [&str; 8] = [
    "a joy",
    "brilliant",
    "warm",
    "I loved it",
    "funny",
    "moving",
    "a gem",
    "well acted",
];
const BAD: [&str; 8] = [
    "dull",
    "a mess",
    "I left early",
    "badly cut",
    "cold",
    "tiresome",
    "noisy",
    "a waste",
];
const NEITHER: [&str; 4] = ["the film", "the second half", "as a whole", "the music"];

/// A sentence whose words lean towards its label.
fn made_up(mut number: u64) -> Review {
    let mut take = |below: u64| {
        let taken = number % below;
        number /= below;
        usize::try_from(taken).unwrap_or(0)
    };
    let favourable = take(2) == 1;
    let words = (0..3).map(|_| {
        let pool = match (take(5), favourable) {
            (0, true) | (1.., false) => &BAD,
            _ => &GOOD,
        };
        pool[take(8)]
    });
    let words: Vec<_> = words.collect();
    let text = format!("{}: {}", NEITHER[words.len() % 4], words.join(", "));
    Review {
        text,
        favourable: Some(favourable),
    }
}

/// The reviews that `fetch-data` puts into the cache.
pub(crate) fn fetched() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(home)?;
    let file = cache.join("millstream/data/imdb-mixed.tsv");
    file.exists().then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<(&str, Option<bool>, Option<i64>)>) {
        let found = match parse(line.as_bytes()) {
            Next::Review(review, time) => Some((review.text, review.favourable, time)),
            Next::Malformed(_) | Next::End => None,
        };
        let expected = expected.map(|(text, label, time)| (text.to_owned(), label, time));
        assert_eq!(found, expected, "{line:?}");
    }

    #[test]
    fn lines_are_label_text_and_perhaps_time() {
        check("1\tso good\n", Some(("so good", Some(true), None)));
        check("0\tso bad\t17\r\n", Some(("so bad", Some(false), Some(17))));
        check("\tnobody knows", Some(("nobody knows", None, None)));
        check("1\t", Some(("", Some(true), None)));
        check("2\tso good", None);
        check("1", None);
        check("1\ttext\tyesterday", None);
        check("1\ttext\t-1", None);
        check("1\ttext\t1\tmore", None);
        assert!(matches!(parse(b"1\t\xff"), Next::Malformed(_)));
    }

    #[test]
    fn generated_texts_are_the_same_every_time_and_have_both_labels() {
        let texts = || {
            let mut source = Source::generated(100);
            let mut all = Vec::new();
            while let Next::Review(review, _) = source.next().unwrap() {
                all.push(review);
            }
            all
        };
        let first = texts();
        assert_eq!((first.len(), &first), (100, &texts()));
        let good = first
            .iter()
            .filter(|review| review.favourable == Some(true))
            .count();
        assert!((20..80).contains(&good), "{good} of 100 are favourable");
    }
}
