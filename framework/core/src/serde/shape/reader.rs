//! The deserializer that notes what it is asked for, and answers with small values.
//!
//! Invariant: it asks no more of a type than bincode does, in the same order and by the same calls,
//! so that what a type reads here is what it reads there; and like bincode it refuses what needs a
//! format that describes itself.

use super::trace::{Choice, Id, Kind, Stop, Trace, VARIANT};
use ::serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor, value::U32Deserializer,
};
use std::any::type_name;

/// Texts that types which check theirs may take: numbers, dates and times, an address.
const TEXTS: [&str; 8] = [
    "",
    "0",
    "a",
    "1970-01-01T00:00:00Z",
    "1970-01-01",
    "1970-01-01T00:00:00",
    "00:00:00",
    "http://localhost/",
];

/// Lengths of bytes that such types may take: UUIDs, addresses, hashes.
const LENGTHS: [usize; 5] = [0, 16, 4, 8, 32];

const ZEROS: [u8; 32] = [0; 32];

/// Raw bytes, which bincode writes as it does a list of bytes.
const BYTES: &str = "[u8]";

/// A tuple of more parts is an array: serde has no longer ones.
const TUPLE: usize = 16;

/// How many answers there are for a leaf.
pub(super) fn answers(leaf: &str) -> usize {
    match leaf {
        "str" => TEXTS.len(),
        BYTES => LENGTHS.len(),
        _ => 2,
    }
}

/// Reads one place.
pub(super) struct Reader<'t> {
    pub(super) trace: &'t mut Trace,
    pub(super) node: Id,
    /// Whether a type is read within itself.
    pub(super) shortest: bool,
}

impl Reader<'_> {
    fn answer(&mut self, leaf: &'static str) -> Result<usize, Stop> {
        self.trace.answer(self.node, leaf)
    }

    /// Reads what has something inside: `make` says what an unknown place is, `read` gets the node.
    fn inside<'de, V: Visitor<'de>>(
        self,
        what: &'static str,
        make: impl FnOnce(&mut Trace) -> Result<Kind, Stop>,
        read: impl FnOnce(&mut Trace, (Id, bool)) -> Result<V::Value, Stop>,
    ) -> Result<V::Value, Stop> {
        // A visitor is a type's own, and named with all of that type's parameters.
        let identity = (what, type_name::<(V, V::Value)>());
        let at = (self.trace).open((self.node, self.shortest), identity, make)?;
        let value = read(self.trace, at);
        self.trace.close();
        value
    }

    /// Reads one of the alternatives, or nothing.
    fn choose<'de, V: Visitor<'de>>(
        self,
        choice: Choice,
        visitor: V,
        nothing: impl FnOnce(V) -> Result<V::Value, Stop>,
        one: impl FnOnce(V, Reader<'_>) -> Result<V::Value, Stop>,
    ) -> Result<V::Value, Stop> {
        let node = self.node;
        let make = |trace: &mut Trace| {
            let part = trace.room(1)?;
            trace.offer(node, std::iter::once(part));
            Ok(Kind::Choice(choice))
        };
        let what = match choice {
            Choice::Option => "option",
            Choice::Seq => "seq",
            Choice::Map => "map",
            Choice::Enum => "enum",
        };
        self.inside::<V>(what, make, |trace, (node, shortest)| {
            if trace.nodes[node].kind != Kind::Choice(choice) {
                return Err(Stop);
            }
            let Some(at) = trace.choose(node, shortest, true)? else {
                return nothing(visitor);
            };
            let part = trace.take(node, at);
            let value = one(visitor, trace.reader(part, shortest));
            trace.taken(value.is_ok());
            value
        })
    }

    /// Reads so many parts, one after the other.
    fn parts<'de, V: Visitor<'de>>(
        self,
        what: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let array = what == "tuple" && len > TUPLE;
        let make = |trace: &mut Trace| {
            Ok(match array {
                true => Kind::Array(trace.room(1)?, len),
                false => Kind::Parts(trace.room(len)?, len),
            })
        };
        self.inside::<V>(what, make, |trace, (node, shortest)| {
            let (next, step) = match trace.nodes[node].kind {
                Kind::Parts(first, parts) if parts == len => (first, 1),
                Kind::Array(each, parts) if parts == len => (each, 0),
                _ => return Err(Stop),
            };
            let elements = Elements {
                trace: &mut *trace,
                next,
                step,
                left: len,
                shortest,
            };
            let value = visitor.visit_seq(elements);
            // The names of a struct's fields have its aliases among them.
            trace.nodes[node].whole |= value.is_ok();
            value
        })
    }
}

/// Plain values: the method, the name, the visitor's method and its answers.
macro_rules! leaves {
    ($($method:ident $name:literal $visit:ident $answers:expr),* $(,)?) => {$(
        fn $method<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
            let answer = self.answer($name)?;
            visitor.$visit($answers[answer])
        }
    )*};
}

/// What bincode refuses.
macro_rules! refused {
    ($($method:ident),*) => {$(
        fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
            Err(Stop)
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Stop;

    leaves! {
        deserialize_bool "bool" visit_bool [false, true],
        deserialize_i8 "i8" visit_i8 [0, 1],
        deserialize_i16 "i16" visit_i16 [0, 1],
        deserialize_i32 "i32" visit_i32 [0, 1],
        deserialize_i64 "i64" visit_i64 [0, 1],
        deserialize_i128 "i128" visit_i128 [0, 1],
        deserialize_u8 "u8" visit_u8 [0, 1],
        deserialize_u16 "u16" visit_u16 [0, 1],
        deserialize_u32 "u32" visit_u32 [0, 1],
        deserialize_u64 "u64" visit_u64 [0, 1],
        deserialize_u128 "u128" visit_u128 [0, 1],
        deserialize_f32 "f32" visit_f32 [0.0, 1.0],
        deserialize_f64 "f64" visit_f64 [0.0, 1.0],
        deserialize_char "char" visit_char ['a', '0'],
        deserialize_str "str" visit_borrowed_str TEXTS,
    }

    refused!(
        deserialize_any,
        deserialize_identifier,
        deserialize_ignored_any
    );

    fn deserialize_string<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        let answer = self.answer("str")?;
        visitor.visit_string(TEXTS[answer].to_owned())
    }

    fn deserialize_bytes<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        let answer = self.answer(BYTES)?;
        visitor.visit_borrowed_bytes(&ZEROS[..LENGTHS[answer]])
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        let answer = self.answer(BYTES)?;
        visitor.visit_byte_buf(ZEROS[..LENGTHS[answer]].to_vec())
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let some = |visitor: V, inner: Reader<'_>| visitor.visit_some(inner);
        self.choose(Choice::Option, visitor, V::visit_none, some)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let make = |_: &mut Trace| Ok(Kind::Parts(0, 0));
        self.inside::<V>("unit", make, |_, _| visitor.visit_unit())
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let make = |trace: &mut Trace| Ok(Kind::Same(trace.room(1)?));
        self.inside::<V>("newtype", make, |trace, (node, shortest)| {
            let Kind::Same(part) = trace.nodes[node].kind else {
                return Err(Stop);
            };
            visitor.visit_newtype_struct(trace.reader(part, shortest))
        })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let elements = |visitor: V, reader: Reader<'_>, left| {
            visitor.visit_seq(Elements {
                trace: reader.trace,
                next: reader.node,
                step: 0,
                left,
                shortest: reader.shortest,
            })
        };
        let empty = |visitor: V| visitor.visit_seq(Empty);
        let one = |visitor: V, reader: Reader<'_>| elements(visitor, reader, 1);
        self.choose(Choice::Seq, visitor, empty, one)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Stop> {
        self.parts("tuple", len, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.parts("struct", len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let empty = |visitor: V| visitor.visit_map(Empty);
        let one = |visitor: V, reader: Reader<'_>| {
            let Reader {
                trace,
                node,
                shortest,
            } = reader;
            if trace.nodes[node].kind == Kind::Unknown {
                let both = trace.room(2)?;
                trace.note(node, Kind::Parts(both, 2));
            }
            let Kind::Parts(next, 2) = trace.nodes[node].kind else {
                return Err(Stop);
            };
            visitor.visit_map(Elements {
                trace,
                next,
                step: 1,
                left: 2,
                shortest,
            })
        };
        self.choose(Choice::Map, visitor, empty, one)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.parts("struct", fields.len(), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let node = self.node;
        let make = |trace: &mut Trace| {
            let first = trace.room(variants.len())?;
            trace.offer(node, first..first + variants.len());
            Ok(Kind::Choice(Choice::Enum))
        };
        self.inside::<V>("enum", make, |trace, (node, shortest)| {
            if trace.nodes[node].kind != Kind::Choice(Choice::Enum) {
                return Err(Stop);
            }
            let at = trace.choose(node, shortest, false)?.ok_or(Stop)?;
            let index = u32::try_from(at).map_err(|_| Stop)?;
            let part = trace.take(node, at);
            let reader = trace.reader(part, shortest);
            let value = visitor.visit_enum(Variant { index, reader });
            trace.taken(value.is_ok());
            value
        })
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// Parts of a tuple or a struct, elements of a list, a key with its value.
struct Elements<'t> {
    trace: &'t mut Trace,
    next: Id,
    /// How far it is to the one behind.
    step: usize,
    left: usize,
    shortest: bool,
}

impl Elements<'_> {
    fn next<'de, S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Stop> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        let part = self.next;
        (self.left, self.next) = (left, part + self.step);
        seed.deserialize(self.trace.reader(part, self.shortest))
            .map(Some)
    }
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Stop;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Stop> {
        self.next(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> MapAccess<'de> for Elements<'_> {
    type Error = Stop;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Stop> {
        self.next(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Stop> {
        self.next(seed)?.ok_or(Stop)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left / 2)
    }
}

/// A collection with nothing in it.
struct Empty;

impl<'de> SeqAccess<'de> for Empty {
    type Error = Stop;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        _: S,
    ) -> Result<Option<S::Value>, Stop> {
        Ok(None)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(0)
    }
}

impl<'de> MapAccess<'de> for Empty {
    type Error = Stop;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, _: S) -> Result<Option<S::Value>, Stop> {
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, _: S) -> Result<S::Value, Stop> {
        Err(Stop)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(0)
    }
}

/// A variant by its number, as bincode tells it, and what is in it.
struct Variant<'t> {
    index: u32,
    reader: Reader<'t>,
}

impl<'de, 't> EnumAccess<'de> for Variant<'t> {
    type Error = Stop;
    type Variant = Reader<'t>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Reader<'t>), Stop> {
        let index: U32Deserializer<Stop> = self.index.into_deserializer();
        let variant = seed.deserialize(index);
        // The names of an enum's variants have their aliases among them.
        self.reader.trace.nodes[self.reader.node].refused |= variant.is_err();
        Ok((variant?, self.reader))
    }
}

impl<'de> VariantAccess<'de> for Reader<'_> {
    type Error = Stop;

    fn unit_variant(self) -> Result<(), Stop> {
        match self.trace.nodes[self.node].kind {
            Kind::Unknown => self.trace.note(self.node, Kind::Parts(0, 0)),
            Kind::Parts(_, 0) => {}
            _ => return Err(Stop),
        }
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Stop> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Stop> {
        self.parts(VARIANT, len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.parts(VARIANT, fields.len(), visitor)
    }
}
