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
const UNKNOWN: Thing<'static> = Thing::Plain("..");

/// What is written one after the other.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shape<'t>(Vec<Run<'t>>);

/// One thing, so many times.
#[derive(Debug, PartialEq, Eq)]
struct Run<'t> {
    /// How it is called inside itself.
    label: Option<&'t str>,
    thing: Thing<'t>,
    times: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Thing<'t> {
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

    /// Whether this is the old shape with nothing but further variants at the ends of enums, as far
    /// as both are known; `None` where it is another.
    pub(super) fn extends(&self, old: &Self) -> Option<Unknown> {
        let mut walk = Walk::default();
        extends_all(&mut walk, &old.0, &self.0, false).then_some(walk.unknown)
    }
}

/// Whose `..` hid what the other one has in its place, if any did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unknown {
    pub(super) old: bool,
    pub(super) new: bool,
}

/// Two shapes being compared.
#[derive(Default)]
struct Walk<'o, 'n> {
    /// The labels of the old shape and those of the new one, from the outside in.
    names: Vec<(Option<&'o str>, Option<&'n str>)>,
    unknown: Unknown,
}

impl Walk<'_, '_> {
    /// Whether one of them is not known here, so that nothing can be said against the other.
    fn ends(&mut self, old: Option<&Run<'_>>, new: Option<&Run<'_>>) -> bool {
        let unknown = |run: Option<&Run<'_>>| run.is_some_and(|run| run.thing == UNKNOWN);
        let (old, new) = (unknown(old), unknown(new));
        self.unknown.old |= old;
        self.unknown.new |= new;
        old || new
    }
}

fn extends_all<'o, 'n>(
    walk: &mut Walk<'o, 'n>,
    old: &[Run<'o>],
    new: &[Run<'n>],
    variants: bool,
) -> bool {
    let (mut old, mut new) = (old.iter(), new.iter());
    let (mut was, mut is) = (old.next(), new.next());
    let (mut left, mut here) = (times(was), times(is));
    loop {
        // Nothing tells where the parts behind an unknown one begin; variants are counted.
        if !variants && walk.ends(was, is) {
            return true;
        }
        let (Some(one), Some(other)) = (was, is) else {
            return was.is_none() && (is.is_none() || variants);
        };
        if !extends(walk, one, other) {
            return false;
        }
        let both = left.min(here);
        (left, here) = (left - both, here - both);
        if left == 0 {
            was = old.next();
            left = times(was);
        }
        if here == 0 {
            is = new.next();
            here = times(is);
        }
    }
}

fn times(run: Option<&Run<'_>>) -> u64 {
    run.map_or(0, |run| run.times)
}

fn extends<'o, 'n>(walk: &mut Walk<'o, 'n>, old: &Run<'o>, new: &Run<'n>) -> bool {
    if walk.ends(Some(old), Some(new)) {
        return true;
    }
    walk.names.push((old.label, new.label));
    let extends = match (&old.thing, &new.thing) {
        (Thing::Plain(old), Thing::Plain(new)) => old == new,
        (Thing::Back(old), Thing::Back(new)) => {
            let named = walk.names.iter().rev();
            let found = named.clone().find(|(name, _)| *name == Some(*old));
            // Both must be the names of one place.
            found.is_some_and(|(_, name)| *name == Some(*new))
        }
        (Thing::Option(old), Thing::Option(new)) | (Thing::Seq(old), Thing::Seq(new)) => {
            extends(walk, old, new)
        }
        (Thing::Map(old, was), Thing::Map(new, is)) => {
            extends(walk, old, new) && extends(walk, was, is)
        }
        (Thing::Parts(old), Thing::Parts(new)) => extends_all(walk, old, new, false),
        (Thing::Enum(old), Thing::Enum(new)) => extends_all(walk, old, new, true),
        _ => false,
    };
    walk.names.pop();
    extends
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

    fn shape(text: &str) -> Shape<'_> {
        let text = text.trim();
        let (shape, rest) = Shape::parse(text).unwrap();
        assert_eq!(rest, "");
        shape
    }

    fn grows(old: &str, new: &str) -> bool {
        let (old, new) = (format!("({old})"), format!("({new})"));
        shape(&new).extends(&shape(&old)) == Some(Unknown::default())
    }

    fn unknown(old: &str, new: &str) -> Option<(bool, bool)> {
        let (old, new) = (format!("({old})"), format!("({new})"));
        let found = shape(&new).extends(&shape(&old));
        found.map(|unknown| (unknown.old, unknown.new))
    }

    #[test]
    fn nothing_is_known_against_what_is_unknown() {
        assert_eq!(unknown("u64,str,u32", "u64,str,.."), Some((false, true)));
        assert_eq!(unknown("u64,str,..", "u64,str,u32"), Some((true, false)));
        assert_eq!(unknown("u64,..", "u64,.."), Some((true, true)));
        assert_eq!(unknown("u64,..", "u64"), Some((true, false)));
        assert_eq!(unknown("..", "u8"), Some((true, false)));
        // What stands before it must fit, and so must what stands beside its list.
        assert_eq!(unknown("u64,str,u32", "u8,str,.."), None);
        assert_eq!(unknown("u64,u8", "u64,str,.."), None);
        assert_eq!(unknown("[(u8,..)],u8", "[(u8,u8)],u8"), Some((true, false)));
        assert_eq!(unknown("[(u8,..)],u8", "[(u8,u8)],u16"), None);
        assert_eq!(unknown("<..|u8>", "<str|u8|u8>"), Some((true, false)));
        assert_eq!(unknown("<..|u8>", "<str|u16>"), None);
        assert_eq!(unknown("<u8|u8>", "<..>"), None);
    }

    #[test]
    fn only_variants_at_the_end_may_come() {
        assert!(grows("u64,<()|u8>", "u64,<()|u8|str>"));
        assert!(grows("[{str:?<()>}]", "[{str:?<()*2>}]"));
        assert!(grows("<()*3>", "<()*5|u8>"));
        assert!(grows("<()*3|u8>", "<()*3|u8*2>"));
        assert!(grows("<>", "<u8>"));
        assert!(grows("<(u8,<u8>)>", "<(u8,<u8|u8>)|(u8)>"));
        for (old, new) in [
            ("u64", "u64,str"),
            ("u64,str", "u64"),
            ("u8*3", "u8*4"),
            ("u8,u16", "u16,u8"),
            ("<()|u8>", "<()>"),
            ("<()|u8>", "<u8|()>"),
            ("<()*3|u8>", "<()*4|u8>"),
            ("<u8>,u8", "<u8|u8>"),
            ("?u8", "u8"),
            ("[u8]", "?u8"),
            ("{u8:u8}", "{u8:u16}"),
            ("<u8>", "(u8)"),
        ] {
            assert!(!grows(old, new), "{old} {new}");
        }
    }

    #[test]
    fn labels_are_names_and_no_more() {
        assert!(grows("@1<u8|?^1>", "@1<u8|?^1|[^1]>"));
        assert!(grows("<u8>,@1(u8,?^1)", "@1<u8|?^1>,@2(u8,?^2)"));
        assert!(!grows("@1(@2(^1,^2))", "@1(@2(^2,^1))"));
        assert!(!grows("@1(u8,?^1)", "@1(u8,?u8)"));
        assert!(!grows("^1", "^1"));
    }

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
