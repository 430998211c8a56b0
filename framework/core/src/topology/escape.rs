//! Text of the program in the languages that describe it, where patterns may hold any character.

use std::{borrow::Cow, fmt::Write};

/// On one line: what would end it, or not be seen, as Rust writes it (`\n`).
pub(super) fn on_a_line(text: &str) -> Cow<'_, str> {
    if text.contains(breaks) {
        Cow::Owned(replaced(text, push_visible))
    } else {
        Cow::Borrowed(text)
    }
}

/// Between the quotes of a label in DOT, in which `\n` and `\N` mean something, and entities of
/// HTML too (<https://graphviz.org/docs/attr-types/escString/>).
pub(super) fn dot(text: &str) -> String {
    replaced(&on_a_line(text), |out, c| match c {
        '"' | '\\' => out.extend(['\\', c]),
        '&' => out.push_str("&amp;"),
        _ => out.push(c),
    })
}

/// Between the quotes of a label in Mermaid, which knows numbers of characters as entities
/// (<https://mermaid.js.org/syntax/flowchart.html#entity-codes-to-escape-characters>). What is
/// shown goes through HTML, and a backtick begins Markdown.
pub(super) fn mermaid(text: &str) -> String {
    replaced(&on_a_line(text), |out, c| match c {
        '"' | '#' | '&' | '<' | '>' | '\\' | '`' => {
            let _ = write!(out, "#{};", u32::from(c));
        }
        _ => out.push(c),
    })
}

/// Control characters, and what Unicode has to break lines.
fn breaks(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

fn push_visible(out: &mut String, c: char) {
    if breaks(c) {
        out.extend(c.escape_default());
    } else {
        out.push(c);
    }
}

fn replaced(text: &str, replace: impl Fn(&mut String, char)) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| replace(&mut out, c));
    out
}
