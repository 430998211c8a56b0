//! Cuts a text into tokens and hashes each while it reads it.
//!
//! Invariant: a token's hash depends on its lower-cased characters alone. It is FNV-1a of their
//! UTF-8 bytes in 64 bits, from an offset basis mixed with a seed, finished by the mixer of
//! MurmurHash3, so that the upper bits are good enough to index a table.

use serde::{Deserialize, Serialize};

const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// How a text is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tokens {
    /// Words, and what short messages say without words: an address (`http://`, `https://`, `www.`)
    /// is one token whatever it says, so is a mention (`@name`); runs of punctuation, emoticons and
    /// emoji are tokens; the `#` in front of a word is dropped.
    #[default]
    Tweet,
    /// Words alone: maximal runs of Unicode letters and digits.
    Plain,
}

/// The finishing mixer of MurmurHash3 (Austin Appleby, public domain).
#[inline]
pub(super) fn mix(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ hash >> 33
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Space,
    Word,
    Mark,
    /// The first byte of a character outside ASCII, which must be decoded to be judged.
    Wide,
}

/// The class of every byte, so that ASCII text is never decoded.
const CLASSES: [Class; 256] = {
    let mut classes = [Class::Wide; 256];
    let mut byte = 0;
    while byte < 128 {
        #[expect(clippy::cast_possible_truncation, reason = "below 128")]
        let character = byte as u8;
        classes[byte] = if character.is_ascii_alphanumeric() {
            Class::Word
        } else if character.is_ascii_graphic() {
            Class::Mark
        } else {
            Class::Space
        };
        byte += 1;
    }
    classes
};

/// The hashes of a text's tokens, in the order of the text.
pub(super) struct Tokenizer<'a> {
    text: &'a str,
    at: usize,
    tweet: bool,
    basis: u64,
}

impl<'a> Tokenizer<'a> {
    pub(super) fn new(text: &'a str, tokens: Tokens, seed: u64) -> Self {
        Self {
            text,
            at: 0,
            tweet: tokens == Tokens::Tweet,
            basis: FNV_BASIS ^ mix(seed),
        }
    }

    /// What stands at a byte: its class, and the character if it is a wide one.
    #[inline]
    fn class_at(&self, at: usize) -> Option<(Class, char)> {
        let byte = *self.text.as_bytes().get(at)?;
        let class = CLASSES[byte as usize];
        if class == Class::Wide {
            return Some(wide_class(&self.text[at..]));
        }
        Some((class, char::from(byte)))
    }

    /// Reads a run of letters and digits.
    #[inline]
    fn word(&mut self) -> u64 {
        let bytes = self.text.as_bytes();
        let (mut hash, mut at) = (self.basis, self.at);
        loop {
            // Plain comparisons, the frequent case first: a jump table mispredicts here.
            while at < bytes.len() && CLASSES[bytes[at] as usize] == Class::Word {
                // Sets the bit that makes a letter small; digits have it already.
                hash = step(hash, bytes[at] | 0x20);
                at += 1;
            }
            if at == bytes.len() || bytes[at].is_ascii() {
                break;
            }
            let (class, character) = wide_class(&self.text[at..]);
            if class != Class::Word {
                break;
            }
            for small in character.to_lowercase() {
                hash = step_char(hash, small);
            }
            at += character.len_utf8();
        }
        self.at = at;
        mix(hash)
    }

    /// Reads a run of characters that are neither letters, digits nor space.
    fn marks(&mut self) -> u64 {
        let mut hash = self.basis;
        let start = self.at;
        while let Some((Class::Mark, character)) = self.class_at(self.at) {
            if self.at > start && (self.is_mention() || self.is_hashtag()) {
                break;
            }
            hash = step_char(hash, character);
            self.at += character.len_utf8();
        }
        mix(hash)
    }

    /// Whether an `@` stands here with a name behind it; one inside a word belongs to an e-mail.
    fn is_mention(&self) -> bool {
        let bytes = &self.text.as_bytes()[self.at..];
        matches!(bytes, [b'@', next, ..] if is_name(*next))
            && (self.at == 0 || !is_name(self.text.as_bytes()[self.at - 1]))
    }

    /// Whether a `#` stands here with a word behind it.
    fn is_hashtag(&self) -> bool {
        self.text.as_bytes()[self.at] == b'#'
            && matches!(self.class_at(self.at + 1), Some((Class::Word, _)))
    }

    #[cold]
    fn is_address(&self) -> bool {
        let bytes = &self.text.as_bytes()[self.at..];
        let begins = |start: &[u8]| {
            let head = bytes.get(..start.len());
            head.is_some_and(|head| head.eq_ignore_ascii_case(start))
        };
        begins(b"http://") || begins(b"https://") || begins(b"www.")
    }

    /// One token for all of a kind. The bytes cannot come from a text: 0xff is not UTF-8.
    fn kind(&self, name: u8) -> u64 {
        mix(step(step(self.basis, 0xff), name))
    }

    fn address(&mut self) -> u64 {
        while let Some((class, character)) = self.class_at(self.at) {
            if class == Class::Space {
                break;
            }
            self.at += character.len_utf8();
        }
        self.kind(b'u')
    }

    fn mention(&mut self) -> u64 {
        self.at += 1;
        while self
            .text
            .as_bytes()
            .get(self.at)
            .copied()
            .is_some_and(is_name)
        {
            self.at += 1;
        }
        self.kind(b'@')
    }
}

impl Iterator for Tokenizer<'_> {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        loop {
            let (class, character) = self.class_at(self.at)?;
            if class == Class::Word {
                // Only two letters can begin an address.
                let may_be_address = matches!(character, 'h' | 'H' | 'w' | 'W');
                if may_be_address && self.tweet && self.is_address() {
                    return Some(self.address());
                }
                return Some(self.word());
            }
            if class == Class::Mark && self.tweet {
                if self.is_mention() {
                    return Some(self.mention());
                }
                if !self.is_hashtag() {
                    return Some(self.marks());
                }
            }
            self.at += character.len_utf8();
        }
    }
}

#[inline]
fn step(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME)
}

fn step_char(hash: u64, character: char) -> u64 {
    character.encode_utf8(&mut [0; 4]).bytes().fold(hash, step)
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The class of the first character of a text that does not begin with ASCII.
fn wide_class(text: &str) -> (Class, char) {
    let character = text.chars().next().unwrap_or(' ');
    let class = if character.is_alphanumeric() {
        Class::Word
    } else if character.is_whitespace() || character.is_control() {
        Class::Space
    } else {
        Class::Mark
    };
    (class, character)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hashes(text: &str, tokens: Tokens) -> Vec<u64> {
        Tokenizer::new(text, tokens, 0).collect()
    }

    /// The tokens as texts, each found by its hash among all that the test knows.
    fn shown(text: &str, tokens: Tokens, known: &[&str]) -> Vec<String> {
        let special = Tokenizer::new("", tokens, 0);
        let name = |hash: u64| {
            let same = |known: &&&str| {
                let basis = FNV_BASIS ^ mix(0);
                mix(known.bytes().fold(basis, step)) == hash
            };
            match hash {
                _ if hash == special.kind(b'u') => "URL".into(),
                _ if hash == special.kind(b'@') => "USER".into(),
                _ => known
                    .iter()
                    .find(same)
                    .map_or("?".into(), ToString::to_string),
            }
        };
        hashes(text, tokens).into_iter().map(name).collect()
    }

    #[test]
    fn a_tweet_keeps_what_it_says_without_words() {
        let text = "@Jane_D LOVED it!!! :-) #Great #1 see HTTPS://t.co/x?y=é, www.a.b \
                    me@home.org \u{1f600}\u{1f600}ok";
        let known = [
            "loved",
            "it",
            "!!!",
            ":-)",
            "great",
            "1",
            "see",
            "me",
            "@",
            "home",
            ".",
            "org",
            "\u{1f600}\u{1f600}",
            "ok",
        ];
        let expected = [
            "USER",
            "loved",
            "it",
            "!!!",
            ":-)",
            "great",
            "1",
            "see",
            "URL",
            "URL",
            "me",
            "@",
            "home",
            ".",
            "org",
            "\u{1f600}\u{1f600}",
            "ok",
        ];
        assert_eq!(shown(text, Tokens::Tweet, &known), expected);
        assert_eq!(
            shown("..#tag..@you #", Tokens::Tweet, &["..", "tag", "#"]),
            ["..", "tag", "..", "USER", "#"]
        );
    }

    #[test]
    fn plain_tokens_are_words_in_any_script() {
        let known = [
            "straße",
            "don",
            "t",
            "ΠΌΔΙ".to_lowercase().leak(),
            "日本",
            "x1",
        ];
        assert_eq!(
            shown(
                "STRASSE Straße don't, ΠΌΔΙ_日本\u{3000}X1",
                Tokens::Plain,
                &known
            ),
            ["?", "straße", "don", "t", "πόδι", "日本", "x1"]
        );
        assert!(hashes("", Tokens::Plain).is_empty());
        assert!(hashes(" \t\u{a0}\u{0}!?", Tokens::Plain).is_empty());
    }

    #[test]
    fn another_seed_gives_other_hashes() {
        let of = |seed| Tokenizer::new("word @x", Tokens::Tweet, seed).collect::<Vec<_>>();
        assert!(of(1).iter().all(|hash| !of(2).contains(hash)));
    }

    proptest! {
        /// The plain tokens are those of the obvious slow way, whatever the text.
        #[test]
        fn plain_tokens_equal_the_obvious_way(
            text in "\\PC{0,60}|[a-zA-Z0-9@#_.:/ é日😀İ]{0,60}"
        ) {
            let slow = text
                .split(|c: char| !c.is_alphanumeric())
                .filter(|word| !word.is_empty())
                .map(|word| {
                    let small = word.chars().flat_map(char::to_lowercase);
                    mix(small.fold(FNV_BASIS ^ mix(0), step_char))
                });
            prop_assert_eq!(hashes(&text, Tokens::Plain), slow.collect::<Vec<_>>());
        }

        /// Tweet tokens never stop early: with a word behind it, any text still yields that word.
        #[test]
        fn tweet_tokens_reach_the_end(text in "\\PC{0,60}|[a-zA-Z0-9@#_.:/ é日😀]{0,60}") {
            let all = hashes(&format!("{text} end"), Tokens::Tweet);
            prop_assert_eq!(all.last().copied(), hashes("end", Tokens::Plain).pop());
        }
    }
}
