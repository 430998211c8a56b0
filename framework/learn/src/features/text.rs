//! Text as a bag of hashed words and word pairs: the features of the flagship model.
//!
//! Invariant: the vector of a text has length one (or no features), each index once, in the order
//! of first occurrence; it depends on the text and the options alone. Once warm, nothing allocates.

use super::{
    Features, SparseVector,
    seen::Seen,
    tokens::{Tokenizer, mix},
};
use serde::{Deserialize, Serialize};

pub use super::tokens::Tokens;

/// A text is read up to this many tokens; a longer one is a file that lost its way.
pub const TOKENS_MAX: usize = 1 << 16;
/// Tables of 2^20 weights keep collisions rare for a natural language's words and pairs.
pub const BITS_DEFAULT: u32 = 20;
/// The largest table: 2^26 entries.
pub const BITS_MAX: u32 = 26;
/// Multiplied into the hash of a pair's first word so that "a b" and "b a" differ.
const PAIR: u64 = 0x9e37_79b9_7f4a_7c15;

/// What is made of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextOptions {
    /// How the text is cut.
    pub tokens: Tokens,
    /// Whether pairs of neighbours are features beside the single tokens.
    pub bigrams: bool,
    /// Indexes lie below 2 to this power, at most [`BITS_MAX`].
    pub bits: u32,
    /// Where the hash begins: another seed lets other words collide.
    pub seed: u64,
}

impl Default for TextOptions {
    /// Tweet-aware tokens, single and in pairs, in 2^20 places.
    fn default() -> Self {
        Self {
            tokens: Tokens::Tweet,
            bigrams: true,
            bits: BITS_DEFAULT,
            seed: 0,
        }
    }
}

/// Turns texts into sparse vectors: hashed tokens and pairs, each once, scaled to length one.
///
/// ```
/// use millstream_learn::features::{SparseVector, TextFeatures};
///
/// let mut features = TextFeatures::default();
/// let mut vector = SparseVector::new();
/// features.extract("Good, really good!", &mut vector);
/// // good / "," / really / "!" and four pairs; the second "good" adds nothing.
/// assert_eq!(vector.len(), 8);
/// ```
pub struct TextFeatures {
    options: TextOptions,
    seen: Seen,
    vector: SparseVector,
}

impl Default for TextFeatures {
    fn default() -> Self {
        Self::new(TextOptions::default())
    }
}

impl TextFeatures {
    /// An extractor; a number of bits outside 1 to [`BITS_MAX`] is taken as the nearest inside.
    pub fn new(options: TextOptions) -> Self {
        Self {
            options: TextOptions {
                bits: options.bits.clamp(1, BITS_MAX),
                ..options
            },
            seen: Seen::new(),
            vector: SparseVector::new(),
        }
    }

    /// The options in force.
    pub fn options(&self) -> TextOptions {
        self.options
    }

    /// Replaces what `out` holds by the features of `text`.
    pub fn extract(&mut self, text: &str, out: &mut SparseVector) {
        out.clear();
        self.seen.clear();
        let TextOptions {
            tokens,
            bigrams,
            bits,
            seed,
        } = self.options;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the shift leaves at most BITS_MAX bits"
        )]
        let index = |hash: u64| (hash >> (64 - bits)) as u32;
        let mut previous = None;
        for token in Tokenizer::new(text, tokens, seed).take(TOKENS_MAX) {
            let single = index(token);
            if self.seen.insert(single) {
                out.push_index(single);
            }
            if !bigrams {
                continue;
            }
            if let Some(previous) = previous.replace(token) {
                let pair = index(pair_hash(previous, token));
                if self.seen.insert(pair) {
                    out.push_index(pair);
                }
            }
        }
        out.set_unit_length();
    }
}

#[inline]
fn pair_hash(first: u64, second: u64) -> u64 {
    mix(first.wrapping_mul(PAIR) ^ second)
}

impl Features for TextFeatures {
    type Raw = str;
    type Vector = SparseVector;

    fn features<'a>(&'a mut self, raw: &'a str) -> &'a SparseVector {
        let mut vector = std::mem::take(&mut self.vector);
        self.extract(raw, &mut vector);
        self.vector = vector;
        &self.vector
    }

    fn describe(&self) -> String {
        let TextOptions {
            tokens,
            bigrams,
            bits,
            seed,
        } = self.options;
        format!("text(tokens={tokens:?}, bigrams={bigrams}, bits={bits}, seed={seed}, hash=1)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extract(options: TextOptions, text: &str) -> SparseVector {
        let mut vector = SparseVector::new();
        TextFeatures::new(options).extract(text, &mut vector);
        vector
    }

    #[test]
    fn vectors_have_length_one_and_each_index_once() {
        let text = "the cat and the dog and the cat ".repeat(300) + &"x y ".repeat(9);
        let vector = extract(TextOptions::default(), &text);
        let mut indexes = vector.indexes().to_vec();
        indexes.sort_unstable();
        indexes.dedup();
        assert_eq!(indexes.len(), vector.len());
        let length: f32 = vector.iter().map(|(_, value)| value * value).sum();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
        assert!(extract(TextOptions::default(), "  ").is_empty());
    }

    #[test]
    fn options_change_what_is_found() {
        let default = TextOptions::default();
        let single = TextOptions {
            bigrams: false,
            ..default
        };
        let plain = TextOptions {
            tokens: Tokens::Plain,
            ..default
        };
        assert_eq!(extract(default, "not good !").len(), 5);
        assert_eq!(extract(single, "not good !").len(), 3);
        assert_eq!(extract(plain, "not good !").len(), 3);
        assert_ne!(extract(default, "not good"), extract(default, "good not"));
        let tiny = TextOptions { bits: 0, ..default };
        assert!(extract(tiny, "a b c d e f g").len() <= 2);
    }

    #[test]
    fn a_text_without_end_is_read_up_to_the_bound() {
        let text: String = (0..TOKENS_MAX + 9)
            .map(|number| format!("{number} "))
            .collect();
        let longer = text.clone() + "more";
        let default = TextOptions::default();
        assert_eq!(extract(default, &text), extract(default, &longer));
    }

    /// The indexes themselves: a change here orphans every model that was ever saved, so it needs a
    /// new number behind `hash=` in the description.
    #[test]
    fn the_hash_is_pinned() {
        let vector = extract(TextOptions::default(), "Naïve @you :) ok");
        let expected = [111_130, 480_276, 61_738, 638_549, 864_222, 631_354, 759_719];
        assert_eq!(vector.indexes(), expected);
    }
}
