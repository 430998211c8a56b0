//! Types and their shapes.

use super::{WHOLE, named, of, suffix};
use ::serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};
use millstream_state::Fit;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    marker::PhantomData,
    net::IpAddr,
    num::NonZeroU32,
    time::Duration,
};

#[derive(Deserialize)]
#[expect(dead_code, reason = "only read")]
struct Order {
    id: u64,
    name: String,
    price: Option<i32>,
    tags: Vec<String>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only read")]
struct Wide {
    first: u8,
    inner: Id,
    pair: (Unit, (f64, Id)),
    rows: HashMap<String, Vec<(u8, bool)>>,
    last: char,
}

#[derive(Deserialize)]
struct Id(#[expect(dead_code, reason = "only read")] u64);

#[derive(Deserialize)]
struct Unit;

#[derive(Deserialize)]
#[expect(dead_code, reason = "only read")]
enum Event {
    Begun,
    Paid(u64),
    Sent { to: String, at: i64 },
    Left(u8, Nested),
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only read")]
enum Nested {
    A,
    B(Option<Box<Self>>, u8),
    C(Result<u16, String>),
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only read")]
enum Expr {
    Add(Box<Self>, Box<Self>, u8),
    Call { args: Vec<Self>, name: String },
    Number(f64),
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only read")]
struct List {
    next: Option<Box<Self>>,
    value: u64,
}

#[derive(Deserialize)]
struct Tree(#[expect(dead_code, reason = "only read")] Vec<Self>);

#[derive(Deserialize)]
#[expect(dead_code, reason = "only read")]
struct Endless {
    a: Box<Self>,
    b: Box<Self>,
}

/// Two types that contain each other, the first variant of one being a way round only.
#[derive(Deserialize)]
#[expect(dead_code, reason = "only read")]
enum Ping {
    Again(Pong, u64),
    End(bool),
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only read")]
enum Pong {
    Again(Box<Ping>, u32),
}

#[derive(Deserialize)]
enum Never {}

/// A type that checks its text after it has been read.
struct Checked;

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.parse::<u8>() {
            Ok(_) => Ok(Self),
            Err(cause) => Err(D::Error::custom(cause)),
        }
    }
}

/// A type that takes nothing it is told.
struct Picky;

impl<'de> Deserialize<'de> for Picky {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer)?;
        Err(D::Error::custom("never"))
    }
}

/// A type that panics at what it is told.
struct Fragile;

impl<'de> Deserialize<'de> for Fragile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            0 => panic!("zero is not expected"),
            _ => Ok(Self),
        }
    }
}

/// A list, a map or an option that is refused where there is nothing in it: by who asked for it, or
/// already by its visitor.
struct Full<T, const AT_ONCE: bool = false>(PhantomData<T>);

impl<'de, T: Fill<'de>, const AT_ONCE: bool> Deserialize<'de> for Full<T, AT_ONCE> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let full = match AT_ONCE {
            true => deserializer.deserialize_seq(Self(PhantomData))?,
            false => T::deserialize(deserializer)?.is_full(),
        };
        match full {
            true => Ok(Self(PhantomData)),
            false => Err(D::Error::custom("nothing in it")),
        }
    }
}

impl<'de, T: Fill<'de>, const AT_ONCE: bool> Visitor<'de> for Full<T, AT_ONCE> {
    type Value = bool;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list with something in it")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<bool, A::Error> {
        let first: Option<T::Element> = elements.next_element()?;
        first.map(|_| true).ok_or_else(|| A::Error::custom("empty"))
    }
}

trait Fill<'de>: Deserialize<'de> {
    type Element: Deserialize<'de>;

    fn is_full(&self) -> bool;
}

impl<'de, T: Deserialize<'de>> Fill<'de> for Vec<T> {
    type Element = T;

    fn is_full(&self) -> bool {
        !self.is_empty()
    }
}

impl<'de, T: Deserialize<'de>> Fill<'de> for Option<T> {
    type Element = T;

    fn is_full(&self) -> bool {
        self.is_some()
    }
}

impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Fill<'de> for BTreeMap<K, V> {
    type Element = V;

    fn is_full(&self) -> bool {
        !self.is_empty()
    }
}

/// What is checked once all of it has been read.
#[derive(Deserialize)]
#[serde(try_from = "(u8, u8, Vec<String>, Option<u16>)")]
struct Range;

impl TryFrom<(u8, u8, Vec<String>, Option<u16>)> for Range {
    type Error = &'static str;

    fn try_from(read: (u8, u8, Vec<String>, Option<u16>)) -> Result<Self, &'static str> {
        (read.0 < read.1).then_some(Self).ok_or("no range")
    }
}

/// What takes the last variant only, once one has been read.
#[derive(Deserialize)]
#[serde(try_from = "Result<(), Result<Option<u8>, u16>>")]
struct Last;

impl TryFrom<Result<(), Result<Option<u8>, u16>>> for Last {
    type Error = &'static str;

    fn try_from(read: Result<(), Result<Option<u8>, u16>>) -> Result<Self, &'static str> {
        matches!(read, Err(Err(_)))
            .then_some(Self)
            .ok_or("not the last")
    }
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only read")]
struct Branch {
    twigs: Full<Vec<Result<Self, u32>>>,
    leaves: u16,
}

/// A type whose visitor takes text and bytes only as its own, which is how bincode gives them.
struct Owning<const BYTES: bool>;

impl<'de, const BYTES: bool> Deserialize<'de> for Owning<BYTES> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match BYTES {
            true => deserializer.deserialize_byte_buf(Self),
            false => deserializer.deserialize_string(Self),
        }
    }
}

impl<const BYTES: bool> Visitor<'_> for Owning<BYTES> {
    type Value = Self;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("text or bytes of one's own")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self, E> {
        Err(E::custom("borrowed"))
    }

    fn visit_string<E: Error>(self, _: String) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_byte_buf<E: Error>(self, _: Vec<u8>) -> Result<Self, E> {
        Ok(self)
    }
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only read")]
struct Renamed {
    #[serde(alias = "a", alias = "b")]
    id: u64,
    name: String,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only read")]
enum Aliased {
    #[serde(alias = "Start")]
    Begun,
    Sent {
        #[serde(alias = "for")]
        to: String,
        at: i64,
    },
}

#[test]
fn aliases_are_no_parts_and_no_variants() {
    assert_eq!(of::<(Renamed, u8)>(), "u64,str,u8");
    assert_eq!(of::<(Aliased, u8)>(), "<()|(str,i64)>,u8");
}

#[test]
fn owned_text_and_bytes_are_given_as_such() {
    assert_eq!(of::<(Owning<false>, u8)>(), "str,u8");
    assert_eq!(of::<(Owning<true>, u8)>(), "[u8],u8");
}

#[test]
fn a_shape_is_what_is_read_in_its_order() {
    assert_eq!(of::<u64>(), "u64");
    assert_eq!(of::<String>(), "str");
    assert_eq!(of::<()>(), "");
    assert_eq!(of::<(u64, String)>(), "u64,str");
    assert_eq!(of::<Order>(), "u64,str,?i32,[str]");
    assert_eq!(of::<Vec<u8>>(), "[u8]");
    assert_eq!(of::<HashSet<u8>>(), "[u8]");
    assert_eq!(of::<BTreeMap<String, (u8, i8)>>(), "{str:(u8,i8)}");
    assert_eq!(of::<Option<(u8, u8)>>(), "?(u8*2)");
    assert_eq!(of::<[u8; 32]>(), "u8*32");
    assert_eq!(of::<[[u8; 2]; 20]>(), "u8*40");
    assert_eq!(of::<[(u8, bool); 20]>(), "(u8,bool)*20");
    assert_eq!(of::<Duration>(), "u64,u32");
    assert_eq!(of::<IpAddr>(), "<(u8*4)|(u8*16)>");
}

#[test]
fn what_has_the_same_bytes_has_the_same_shape() {
    assert_eq!(of::<Id>(), "u64");
    assert_eq!(of::<Wide>(), "u8,u64,f64,u64,{str:[(u8,bool)]},char");
    assert_eq!(of::<(u8, (u8, Unit, (u8,)))>(), of::<[u8; 3]>());
}

#[test]
fn every_variant_is_seen_whatever_is_in_it() {
    assert_eq!(
        of::<Event>(),
        "<()|u64|(str,i64)|(u8,@1<()|(?^1,u8)|<u16|str>>)>"
    );
    assert_eq!(of::<Result<Option<bool>, ()>>(), "<?bool|()>");
    assert_eq!(of::<(Nested, Nested)>().matches("<u16|str>").count(), 2);
    assert_eq!(of::<Never>(), "<>");
    assert_eq!(of::<(u8, Never, u8)>(), "u8,<>,..");
}

#[test]
fn a_type_that_contains_itself_ends() {
    assert_eq!(of::<List>(), "@1(?^1,u64)");
    assert_eq!(of::<Tree>(), "@1[^1]");
    assert_eq!(of::<Expr>(), "@1<(^1*2,u8)|([^1],str)|f64>");
    assert_eq!(of::<(u8, List, u8)>(), "u8,@1(?^1,u64),u8");
    assert_eq!(of::<Endless>(), "@1(^1,..)");
    assert_eq!(of::<Ping>(), "@1<(<(^1,u32)>,u64)|bool>");
    assert_eq!(of::<Pong>(), "@1<(<(^1,u64)|bool>,u32)>");
}

#[test]
fn types_that_check_what_they_read_are_tried_with_other_values() {
    assert_eq!(of::<(NonZeroU32, u8)>(), "u32,u8");
    assert_eq!(of::<(Checked, Checked, u8)>(), "str*2,u8");
    assert_eq!(of::<Option<(Checked, u8)>>(), "?(str,u8)");
    // What takes nothing is where the trail ends, and what is beside it is seen all the same.
    assert_eq!(of::<(u8, Picky, u8)>(), "u8,u64,..");
    assert_eq!(of::<(Option<Picky>, u8)>(), "?u64,u8");
    assert_eq!(of::<Result<(Picky, u8), Vec<Picky>>>(), "<(u64,..)|[u64]>");
    // A panic refuses as an error does, however deep it comes.
    assert_eq!(of::<(u8, Fragile, u8)>(), "u8,u64,u8");
    assert_eq!(of::<(Vec<Result<Fragile, ()>>, u8)>(), "[<u64|()>],u8");
    // bincode reads none of these either.
    assert_eq!(of::<(u8, serde_json::Value)>(), "u8,..");
}

#[test]
fn types_that_refuse_to_be_empty_or_a_variant_are_given_another_one() {
    assert_eq!(
        of::<(Full<Vec<u8>>, Event)>(),
        format!("[u8],{}", of::<Event>())
    );
    assert_eq!(
        of::<(Full<Vec<u8>, true>, Nested)>(),
        format!("[u8],{}", of::<Nested>())
    );
    assert_eq!(
        of::<(Full<Option<Id>>, Result<u8, bool>)>(),
        "?u64,<u8|bool>"
    );
    assert_eq!(
        of::<(Full<BTreeMap<u8, Result<(), i8>>>, Result<u8, bool>)>(),
        "{u8:<()|i8>},<u8|bool>"
    );
    let inner = of::<Result<Full<Vec<Full<Option<Result<u8, Checked>>>>>, Full<Vec<Unit>>>>();
    assert_eq!(inner, "<[?<u8|str>]|[()]>");
    assert_eq!(of::<(Branch, u8)>(), "@1([<^1|u32>],u16),u8");
    // It need not be the value told last that is refused.
    assert_eq!(
        of::<(Range, Event)>(),
        format!("u8*2,[str],?u16,{}", of::<Event>())
    );
    assert_eq!(
        of::<(Last, Event)>(),
        format!("<()|<?u8|u16>>,{}", of::<Event>())
    );
    assert_eq!(
        of::<(Vec<Last>, Full<Vec<(Last, Result<i8, bool>)>>)>(),
        "[<()|<?u8|u16>>],[(<()|<?u8|u16>>,<i8|bool>)]"
    );
    // There may be nothing that such a type takes.
    assert_eq!(of::<(Full<Vec<Picky>>, u8)>(), "[u64],..");
    assert_eq!(of::<(u8, Full<Vec<Never>>, u8)>(), "u8,[<>],..");
}

/// Types whose parts are those of the ones behind, but for a variant that refers to them.
#[derive(Deserialize)]
#[expect(dead_code, reason = "only read")]
struct Leaves {
    id: u16,
    kind: (Result<bool, Id>, u8),
    next: Option<Box<Self>>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only read")]
struct Grown {
    id: u16,
    kind: Inner,
    next: Option<Box<Self>>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only read")]
struct Inner(Kind, u8);

#[derive(Deserialize)]
#[expect(dead_code, reason = "only read")]
enum Kind {
    Ok(bool),
    Err(Id),
    Inner(Box<Inner>),
    Around(Vec<Grown>),
}

#[test]
fn a_variant_that_refers_to_a_type_around_it_may_come() {
    let fit =
        |old: String, new: String| Fit::between(&format!("bincode{old}"), &format!("bincode{new}"));
    let (old, new) = (suffix::<Leaves>, suffix::<Grown>);
    assert_eq!(old(), "(@1(u16,<bool|u64>,u8,?^1))");
    assert_eq!(new(), "(@1(u16,@2(<bool|u64|^2|[^1]>,u8),?^1))");
    assert_eq!(fit(old(), new()), Fit::Appended);
    assert_eq!(fit(new(), old()), Fit::Other);
    let listed = (suffix::<(u8, Vec<Leaves>)>(), suffix::<(u8, Vec<Grown>)>());
    assert_eq!(fit(listed.0, listed.1), Fit::Appended);
    let other = (suffix::<Vec<Leaves>>(), suffix::<Vec<Inner>>());
    assert_eq!(fit(other.0, other.1), Fit::Other);
}

#[test]
fn sizes_are_bounded_and_the_result_is_always_the_same() {
    type Two<T> = (T, T);
    type Many = Two<Two<Two<Two<Two<Two<Two<Two<Two<Two<Two<Two<Two<u8>>>>>>>>>>>>>;
    assert!(of::<Many>().contains(",.."), "{}", of::<Many>());
    assert_eq!(suffix::<Event>(), format!("({})", of::<Event>()));
    let whole = suffix::<[Two<[Event; 9]>; 8]>();
    assert!(
        whole.len() > 1000 && whole.starts_with("(<()|u64|"),
        "{whole}"
    );
    assert_eq!(suffix::<Many>(), format!("({})", of::<Many>()));
    assert_eq!(named(&"x".repeat(WHOLE)).len(), WHOLE + 2);
    let hash = named(&"x".repeat(WHOLE + 1));
    assert!(hash.starts_with('#') && hash.len() == 17, "{hash}");
    assert_eq!(of::<Wide>(), of::<Wide>());
}
