//! The shape of a type in bincode, as its text tells it.
//!
//! `a,b` are parts one behind the other and `a*4` is the same four times; `?a`, `[a]` and `{k:v}`
//! are an option, a list and a map, `(a,b)` parts within something else, `<a|b>` the variants of an
//! enum. `..` is unknown. `@1` names what follows it, and `^1` within is that type again.
//!
//! Invariant: reading a text takes time and stack in proportion to its length and [`DEPTH`] alone,
//! whatever it says.

/// How deep shapes may nest.
const DEPTH: u32 = 256;

/// What is not known: any number of things, also none.
pub(super) const UNKNOWN: Thing<'static> = Thing::Plain("..");

/// What is written one after the other.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shape<'t>(pub(super) Vec<Run<'t>>);

/// One thing, so many times.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Run<'t> {
    /// How it is called inside itself.
    pub(super) label: Option<&'t str>,
    pub(super) thing: Thing<'t>,
    pub(super) times: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Thing<'t> {
    /// A plain value, or what is unknown.
    Plain(&'t str),
    /// What has this label around it.
    Back(&'t str),
    Option(Box<Run<'t>>),
    Seq(Box<Run<'t>>),
    Map(Box<Run<'t>>, Box<Run<'t>>),
    Parts(Vec<Run<'t>>),
    Enum(Vec<Run<'t>>),
}

impl<'t> Shape<'t> {
    /// Reads a shape in parentheses, and gives what stands behind it; `None` for anything else.
    pub(super) fn parse(text: &'t str) -> Option<(Self, &'t str)> {
        let mut parser = Parser { text, depth: DEPTH };
        parser.eat("(").then_some(())?;
        let parts = parser.list(",", ")")?;
        Some((Self(parts), parser.text))
    }
}

struct Parser<'t> {
    text: &'t str,
    depth: u32,
}

impl<'t> Parser<'t> {
    fn eat(&mut self, token: &str) -> bool {
        let rest = self.text.strip_prefix(token);
        self.text = rest.unwrap_or(self.text);
        rest.is_some()
    }

    /// The characters at the front of which that is true; `None` where there are none.
    fn word(&mut self, of: impl Fn(char) -> bool) -> Option<&'t str> {
        let end = self.text.find(|c| !of(c)).unwrap_or(self.text.len());
        let (word, rest) = self.text.split_at(end);
        self.text = rest;
        (end > 0).then_some(word)
    }

    fn list(&mut self, between: &str, end: &str) -> Option<Vec<Run<'t>>> {
        let mut runs = Vec::new();
        while !self.eat(end) {
            if !runs.is_empty() && !self.eat(between) {
                return None;
            }
            runs.push(self.run()?);
        }
        Some(runs)
    }

    fn run(&mut self) -> Option<Run<'t>> {
        self.depth = self.depth.checked_sub(1)?;
        let digit = |c: char| c.is_ascii_digit();
        let label = match self.eat("@") {
            true => Some(self.word(digit)?),
            false => None,
        };
        let thing = self.thing()?;
        let times = match self.eat("*") {
            true => self.word(digit)?.parse().ok().filter(|times| *times > 0)?,
            false => 1,
        };
        self.depth += 1;
        Some(Run {
            label,
            thing,
            times,
        })
    }

    fn boxed(&mut self, end: &str) -> Option<Box<Run<'t>>> {
        let run = self.run()?;
        self.eat(end).then(|| Box::new(run))
    }

    fn thing(&mut self) -> Option<Thing<'t>> {
        if self.eat("^") {
            return self.word(|c| c.is_ascii_digit()).map(Thing::Back);
        }
        if self.eat("?") {
            // What is counted is the option.
            self.depth = self.depth.checked_sub(1)?;
            let label = match self.eat("@") {
                true => Some(self.word(|c| c.is_ascii_digit())?),
                false => None,
            };
            let thing = self.thing()?;
            self.depth += 1;
            let times = 1;
            return Some(Thing::Option(Box::new(Run {
                label,
                thing,
                times,
            })));
        }
        if self.eat("[") {
            return self.boxed("]").map(Thing::Seq);
        }
        if self.eat("{") {
            let key = self.boxed(":")?;
            return Some(Thing::Map(key, self.boxed("}")?));
        }
        if self.eat("(") {
            return self.list(",", ")").map(Thing::Parts);
        }
        if self.eat("<") {
            return self.list("|", ">").map(Thing::Enum);
        }
        self.word(|c| c.is_ascii_alphanumeric() || c == '.')
            .map(Thing::Plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_shape_is_none() {
        for text in [
            "", "u8", "(", "(u8", "(u8,,u8)", "(u8 u8)", "([u8)", "(@u8)", "(u8*)",
        ] {
            assert!(Shape::parse(text).is_none(), "{text}");
        }
        let deep = format!("({}", "[".repeat(100_000));
        assert!(Shape::parse(&deep).is_none());
        let deep = format!("({}", "?".repeat(100_000));
        assert!(Shape::parse(&deep).is_none());
        let many = format!("(u8*{})", u64::MAX);
        assert!(Shape::parse(&many).is_some());
        assert!(Shape::parse("(u8*99999999999999999999)").is_none());
        assert!(Shape::parse("(u8*0)").is_none());
    }
}
