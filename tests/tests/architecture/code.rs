//! Just enough of Rust's grammar to tell code from prose, and always compiled code from gated code.
//!
//! Invariant: what is left out is blanked, never cut, so that places stay what they were.

use std::collections::BTreeSet;

/// What gates code that may do I/O in a crate that is pure without it: tests, and the features of
/// the state crate that give it a disk.
const GATES: &[&str] = &["test", "fs", "rocksdb"];

pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The source with comments and literals blanked out; places stay what they were.
#[expect(
    clippy::expect_used,
    reason = "a blanked stretch begins and ends between characters"
)]
pub(crate) fn without_prose(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let in_word = at > 0 && is_word(bytes[at - 1].into());
        let end = at + prose_length(&bytes[at..], in_word);
        if end == at {
            at += 1;
            continue;
        }
        for byte in &mut code[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8(code).expect("blanks replace whole literals and comments")
}

/// How many bytes of comment or literal begin here; 0 where there is code.
fn prose_length(rest: &[u8], in_word: bool) -> usize {
    let until = |from: usize, mark: &[u8]| {
        let found = rest[from.min(rest.len())..]
            .windows(mark.len())
            .position(|w| w == mark);
        found.map_or(rest.len(), |place| from + place + mark.len())
    };
    match rest {
        [b'/', b'/', ..] => until(0, b"\n"),
        [b'/', b'*', ..] => block_comment_length(rest),
        [b'r', b'"' | b'#', ..] if !in_word => {
            let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
            if rest.get(1 + hashes) != Some(&b'"') {
                return 0; // A raw identifier.
            }
            until(2 + hashes, &[&b"\""[..], &b"#".repeat(hashes)].concat())
        }
        [b'"', ..] => quoted_length(rest, b'"'),
        // A character literal; a lifetime has no closing quote after one character.
        [b'\'', b'\\', ..] => quoted_length(rest, b'\''),
        [b'\'', first, ..] => {
            let width = match first {
                0..=0x7f => 1,
                0x80..=0xdf => 2,
                0xe0..=0xef => 3,
                _ => 4,
            };
            if rest.get(1 + width) == Some(&b'\'') {
                width + 2
            } else {
                0
            }
        }
        _ => 0,
    }
}

fn quoted_length(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// Block comments nest in Rust.
fn block_comment_length(rest: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// What compiles with every gate closed, as [`without_prose`] leaves it, and the modules, inline or
/// in files of their own, that do not.
pub(crate) fn always_compiled(source: &str) -> (String, Vec<String>) {
    let mut code = without_prose(source);
    let mut modules = Vec::new();
    let mut from = 0;
    while let Some(found) = code[from..].find("#[cfg(") {
        let start = from + found;
        let condition_end = start + code[start..].find(']').unwrap_or(code.len() - start - 1) + 1;
        from = condition_end;
        // Strings are blanked in `code`, so the condition is read from the source.
        let condition = &source[start..condition_end];
        let names: Vec<&str> = condition.split(|c| !is_word(c)).collect();
        let gated = GATES.iter().any(|gate| names.contains(gate));
        if !gated || names.contains(&"not") || names.contains(&"any") {
            continue;
        }
        let end = item_end(&code, condition_end);
        let words: Vec<&str> = code[condition_end..end].split_whitespace().collect();
        if let Some(place) = words.iter().position(|word| *word == "mod")
            && words[..place]
                .iter()
                .all(|word| word.starts_with("pub") || word.starts_with("#["))
        {
            modules.extend(
                words
                    .get(place + 1)
                    .map(|name| name.replace([';', '{'], "")),
            );
        }
        let blank: String = code[start..end].chars().map(blanked).collect();
        code.replace_range(start..end, &blank);
        from = end;
    }
    (code, modules)
}

/// The files, without `.rs`, that hold the gated modules declared in the file at `path`.
pub(crate) fn gated_files(path: &str, source: &str) -> Vec<String> {
    let stem = path.trim_end_matches(".rs");
    let folder = match stem.rsplit_once('/') {
        Some((folder, "lib" | "main" | "mod")) => folder,
        _ => stem,
    };
    let modules = always_compiled(source).1;
    modules
        .iter()
        .map(|module| format!("{folder}/{module}"))
        .collect()
}

/// The modules of `std` that are named, in paths and in grouped imports.
pub(crate) fn std_modules(code: &str) -> BTreeSet<&str> {
    let mut modules = BTreeSet::new();
    for (place, path) in code.match_indices("std::") {
        if code[..place].ends_with(is_word) {
            continue;
        }
        let rest = &code[place + path.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            modules.insert(first_word(rest));
            continue;
        };
        let mut depth = 0_usize;
        let mut expected = true;
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => expected = true,
                c if expected && is_word(c) => {
                    modules.insert(first_word(&group[at..]));
                    expected = false;
                }
                _ => {}
            }
        }
    }
    modules
}

fn first_word(text: &str) -> &str {
    text.split(|c| !is_word(c)).next().unwrap_or_default()
}

fn blanked(c: char) -> char {
    if c == '\n' { c } else { ' ' }
}

/// Where the item that starts at `from` ends: after its closing brace or its semicolon.
fn item_end(code: &str, from: usize) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code[from..].char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 && c == '}' {
                    return from + at + 1;
                }
            }
            ';' | ',' if depth == 0 => return from + at + 1,
            _ => {}
        }
    }
    code.len()
}

#[test]
fn comments_and_literals_are_told_from_code() {
    let prose =
        "let a = 'b'; // c\nlet d: &'static str = \"e\\\"f\"; /* g /* h */ i */ r#\"j\"k\"#;";
    let code = without_prose(prose);
    assert_eq!(code.len(), prose.len(), "places in the text must not move");
    let words: Vec<&str> = code
        .split(|c| !is_word(c))
        .filter(|w| !w.is_empty())
        .collect();
    assert_eq!(words, ["let", "a", "let", "d", "static", "str"]);
}

#[test]
fn gated_items_are_told_from_what_always_compiles() {
    let gates = "#[cfg(test)]\nmod tests { fn f() {} }\n#[cfg(feature = \"rocksdb\")]\nmod disk;\n\
                 #[cfg(not(test))]\nmod kept;\n#[cfg(test)]\n\
                 #[path = \"x\"]\nuse gone::Gone;\nstay();";
    let (code, modules) = always_compiled(gates);
    assert!(code.contains("kept") && code.contains("stay"), "{code}");
    assert!(
        !["tests", "disk", "gone"]
            .iter()
            .any(|word| code.contains(word)),
        "{code}"
    );
    assert_eq!(modules, ["tests", "disk"]);
}

#[test]
fn modules_of_std_are_found_in_paths_and_groups() {
    let used =
        std_modules("use std::{fs, io::{self, env}, net::Ip}; std::process::exit(0); mystd::x");
    assert_eq!(used, BTreeSet::from(["fs", "io", "net", "process"]));
}
