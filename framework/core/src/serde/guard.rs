//! Keeps a deserializer of a binary format within limits, whatever the bytes say.
//!
//! Three things could otherwise go wrong with hostile bytes. A length of 2^60 for elements that
//! occupy no bytes (`Vec<()>`) loops for ever. The same length, passed on as a size hint or as the
//! size of a string's buffer, allocates without need. A recursive type with a deep value
//! overflows the stack. bincode's own limit, a constant, guards against the second alone, and
//! only down to that constant.
//!
//! Invariant: the lengths of all collections together are at most the input's bytes plus
//! [`EMPTY`], and a length that is more is refused before anything is reserved for it; strings are
//! borrowed, so they are checked before they are copied; nesting ends at [`DEPTH`].
//!
//! Why the first bound lets every honest value pass: an element of a collection either occupies
//! at least one byte of its own or holds a collection, whose length occupies eight. So honest
//! elements that occupy bytes number at most the bytes; [`EMPTY`] is for those that do not.

use ::serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use std::{cell::Cell, fmt, marker::PhantomData};

/// How many elements may occupy no bytes, per value.
const EMPTY: usize = 1024;

/// How many levels of options, structs, enums and collections may lie within one another.
const DEPTH: u32 = 256;

/// What is left to one value.
pub(super) struct Limits {
    elements: Cell<usize>,
}

impl Limits {
    /// The limits for an input of so many bytes.
    pub(super) fn of(bytes: usize) -> Self {
        Self {
            elements: Cell::new(bytes.saturating_add(EMPTY)),
        }
    }
}

/// Anything of serde's, guarded: a deserializer, a visitor, an access or a seed.
pub(super) struct Guard<'l, X> {
    inner: X,
    limits: &'l Limits,
    depth: u32,
    /// Whether the elements are as many as the input says, rather than as the type says.
    counted: bool,
}

/// The seed of a whole value.
pub(super) fn root<T>(limits: &Limits) -> Guard<'_, PhantomData<T>> {
    Guard {
        inner: PhantomData,
        limits,
        depth: DEPTH,
        counted: false,
    }
}

impl<'l, X> Guard<'l, X> {
    /// Guards something of the same level.
    #[inline]
    fn around<Y>(&self, inner: Y) -> Guard<'l, Y> {
        Guard {
            inner,
            limits: self.limits,
            depth: self.depth,
            counted: self.counted,
        }
    }

    /// Guards a visitor of what lies one level further down.
    #[inline]
    fn inside<Y, E: Error>(self, inner: Y, counted: bool) -> Result<(X, Guard<'l, Y>), E> {
        let Some(depth) = self.depth.checked_sub(1) else {
            return Err(E::custom(format_args!("nested deeper than {DEPTH} levels")));
        };
        let visitor = Guard {
            inner,
            limits: self.limits,
            depth,
            counted,
        };
        Ok((self.inner, visitor))
    }

    /// Takes all elements of a collection from what is left, before any of them is read.
    fn claim<E: Error>(&self, length: Option<usize>) -> Result<(), E> {
        if self.counted {
            let left = self.limits.elements.get();
            let Some(left) = length.and_then(|length| left.checked_sub(length)) else {
                return Err(E::custom("more elements than the input has bytes for"));
            };
            self.limits.elements.set(left);
        }
        Ok(())
    }
}

impl<'de, T: DeserializeOwned> DeserializeSeed<'de> for Guard<'_, PhantomData<T>> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        T::deserialize(self.around(deserializer))
    }
}

/// A seed that some visitor made, under the guard of that visitor.
struct Seed<S>(S);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Guard<'_, Seed<S>> {
    type Value = S::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        let guarded = self.around(deserializer);
        self.inner.0.deserialize(guarded)
    }
}

/// Methods that read one plain value: there is nothing in it to guard.
macro_rules! plain {
    ($($method:ident => $inner:ident),* $(,)?) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$inner(visitor)
        }
    )*};
}

/// Methods that read something with something inside.
macro_rules! nested {
    ($($method:ident($($arg:ident: $type:ty),*) counted $counted:literal),* $(,)?) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, $($arg: $type,)* visitor: V)
        -> Result<V::Value, D::Error> {
            let (inner, visitor) = self.inside(visitor, $counted)?;
            inner.$method($($arg,)* visitor)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Guard<'_, D> {
    type Error = D::Error;

    plain! {
        deserialize_bool => deserialize_bool,
        deserialize_i8 => deserialize_i8,
        deserialize_i16 => deserialize_i16,
        deserialize_i32 => deserialize_i32,
        deserialize_i64 => deserialize_i64,
        deserialize_i128 => deserialize_i128,
        deserialize_u8 => deserialize_u8,
        deserialize_u16 => deserialize_u16,
        deserialize_u32 => deserialize_u32,
        deserialize_u64 => deserialize_u64,
        deserialize_u128 => deserialize_u128,
        deserialize_f32 => deserialize_f32,
        deserialize_f64 => deserialize_f64,
        deserialize_char => deserialize_char,
        deserialize_str => deserialize_str,
        // Borrowed first: an owned string would be allocated before its length is checked.
        deserialize_string => deserialize_str,
        deserialize_bytes => deserialize_bytes,
        deserialize_byte_buf => deserialize_bytes,
        deserialize_unit => deserialize_unit,
        // A format that does not describe itself refuses these three.
        deserialize_any => deserialize_any,
        deserialize_identifier => deserialize_identifier,
        deserialize_ignored_any => deserialize_ignored_any,
    }

    nested! {
        deserialize_option() counted false,
        deserialize_unit_struct(name: &'static str) counted false,
        deserialize_newtype_struct(name: &'static str) counted false,
        deserialize_seq() counted true,
        deserialize_tuple(len: usize) counted false,
        deserialize_tuple_struct(name: &'static str, len: usize) counted false,
        deserialize_map() counted true,
        deserialize_struct(name: &'static str, fields: &'static [&'static str]) counted false,
        deserialize_enum(name: &'static str, variants: &'static [&'static str]) counted false,
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Guard<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let guarded = self.around(inner);
        self.inner.visit_some(guarded)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let guarded = self.around(inner);
        self.inner.visit_newtype_struct(guarded)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.claim(access.size_hint())?;
        let guarded = self.around(access);
        self.inner.visit_seq(guarded)
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.claim(access.size_hint())?;
        let guarded = self.around(access);
        self.inner.visit_map(guarded)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let guarded = self.around(access);
        self.inner.visit_enum(guarded)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Guard<'_, A> {
    type Error = A::Error;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let seed = self.around(Seed(seed));
        self.inner.next_element_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Guard<'_, A> {
    type Error = A::Error;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let seed = self.around(Seed(seed));
        self.inner.next_key_seed(seed)
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let seed = self.around(Seed(seed));
        self.inner.next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, 'l, A: EnumAccess<'de>> EnumAccess<'de> for Guard<'l, A> {
    type Error = A::Error;
    type Variant = Guard<'l, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let guard = self.around(());
        let (value, variant) = self.inner.variant_seed(seed)?;
        Ok((value, guard.around(variant)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Guard<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        let seed = self.around(Seed(seed));
        self.inner.newtype_variant_seed(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        let visitor = self.around(visitor);
        self.inner.tuple_variant(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let visitor = self.around(visitor);
        self.inner.struct_variant(fields, visitor)
    }
}
