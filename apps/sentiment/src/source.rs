//! Where the texts come from: a file of tab-separated lines, or a generator.

use crate::model::Review;
use anyhow::Result;
use millstream::run::{self, Lines};
use std::path::Path;

/// What the next line of a source was: a text, and when it was written, where that is known.
#[derive(Debug, PartialEq)]
enum Line {
    Review(Review, Option<i64>),
    /// It is not of the form; why.
    Malformed(String),
}

/// A stream of texts in a fixed order, so that its n-th one is always the same.
pub(crate) enum Source {
    Lines(Lines),
    Generated { left: u64, seed: u64 },
}

impl Source {
    /// A file of lines: label, text, and perhaps a time.
    pub(crate) fn file(path: &Path) -> Result<Self> {
        Ok(Self::Lines(Lines::open(path)?))
    }

    /// Made-up sentences, equal for equal numbers.
    pub(crate) fn generated(records: u64) -> Self {
        Self::Generated {
            left: records,
            seed: 1,
        }
    }

    /// Reads on by one; `None` at the end.
    fn line(&mut self) -> Result<Option<Line>> {
        match self {
            Self::Lines(lines) => {
                let line = lines.next_line()?;
                Ok(line.map(|line| line.map_or_else(Line::Malformed, parse)))
            }
            Self::Generated { left: 0, .. } => Ok(None),
            Self::Generated { left, seed } => {
                *left -= 1;
                *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                Ok(Some(Line::Review(made_up(*seed >> 20), None)))
            }
        }
    }
}

/// The key of a text is its number in the source.
impl run::Source<String, Review> for Source {
    fn next(&mut self, number: u64) -> Result<run::Next<String, Review>> {
        Ok(match self.line()? {
            Some(Line::Review(review, time)) => {
                // Without a time of its own a text gets its number, so that every run over the same
                // texts gives the same records.
                let time = time.unwrap_or(i64::try_from(number).unwrap_or(i64::MAX));
                run::Next::Record(number.to_string(), review, time)
            }
            Some(Line::Malformed(why)) => run::Next::Malformed(why),
            None => run::Next::End,
        })
    }
}

/// A line's label, text and time.
fn parse(line: &[u8]) -> Line {
    let malformed = |why: &str| Line::Malformed(why.to_owned());
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
    Line::Review(
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<(&str, Option<bool>, Option<i64>)>) {
        let found = match parse(line.as_bytes()) {
            Line::Review(review, time) => Some((review.text, review.favourable, time)),
            Line::Malformed(_) => None,
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
        assert!(matches!(parse(b"1\t\xff"), Line::Malformed(_)));
    }

    #[test]
    fn generated_texts_are_the_same_every_time_and_have_both_labels() {
        let texts = || {
            let mut source = Source::generated(100);
            let mut all = Vec::new();
            while let Some(Line::Review(review, _)) = source.line().unwrap() {
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
