//! Bytes that lie where their owner lies, as long as they are few.
//!
//! Keys of stores are mostly short. A key behind a pointer costs a cache miss for each comparison,
//! which is most of what a look-up costs once a store is larger than the processor's cache.
//! Invariant: whether bytes are inline is a matter of their length alone, and nobody can tell from
//! outside: order and equality are those of the slices.

use std::{borrow::Borrow, cmp::Ordering, ops::Deref};

/// What fits beside a tag and a length into the three words of a `Vec`.
const INLINE_MAX: usize = 22;

/// An owned byte string in three words; up to 22 bytes need no memory of their own.
///
/// ```
/// use millstream_state::SmallBytes;
///
/// let key = SmallBytes::from(&b"apple"[..]);
/// assert_eq!(&*key, b"apple");
/// assert!(key < SmallBytes::from(&b"banana"[..]));
/// ```
#[derive(Clone)]
pub struct SmallBytes(Repr);

#[derive(Clone)]
enum Repr {
    Inline { length: u8, bytes: [u8; INLINE_MAX] },
    Heap(Box<[u8]>),
}

impl SmallBytes {
    /// Replaces the bytes; memory is reused where the length stays the same, as that of a number or
    /// a fixed-width row does.
    pub fn set(&mut self, value: &[u8]) {
        match &mut self.0 {
            Repr::Heap(bytes) if bytes.len() == value.len() => bytes.copy_from_slice(value),
            _ => *self = Self::from(value),
        }
    }
}

impl From<&[u8]> for SmallBytes {
    #[inline]
    fn from(value: &[u8]) -> Self {
        match u8::try_from(value.len()) {
            Ok(length) if value.len() <= INLINE_MAX => {
                let mut bytes = [0; INLINE_MAX];
                bytes[..value.len()].copy_from_slice(value);
                Self(Repr::Inline { length, bytes })
            }
            _ => Self(Repr::Heap(value.into())),
        }
    }
}

impl Default for SmallBytes {
    fn default() -> Self {
        Self::from(&[][..])
    }
}

impl Deref for SmallBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { length, bytes } => &bytes[..usize::from(*length)],
            Repr::Heap(bytes) => bytes,
        }
    }
}

impl Borrow<[u8]> for SmallBytes {
    #[inline]
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl PartialEq for SmallBytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for SmallBytes {}

impl PartialOrd for SmallBytes {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SmallBytes {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_is_as_large_as_a_vector() {
        assert_eq!(size_of::<SmallBytes>(), size_of::<Vec<u8>>());
    }

    proptest! {
        #[test]
        fn it_is_what_its_slice_is(
            a in prop::collection::vec(0..3_u8, 0..40), b in prop::collection::vec(0..3_u8, 0..40),
        ) {
            let (small_a, small_b) = (SmallBytes::from(&a[..]), SmallBytes::from(&b[..]));
            prop_assert_eq!(&*small_a, &a[..]);
            prop_assert_eq!(small_a.cmp(&small_b), a.cmp(&b));
            prop_assert_eq!(small_a == small_b, a == b);
            let mut changed = small_a.clone();
            changed.set(&b);
            prop_assert!(changed == small_b && *small_a == a[..]);
        }
    }
}
