//! What a type's bytes are in bincode, as a text: found by watching the type read itself.
//!
//! bincode writes no names and no kinds, so that a struct with one field more reads rows of the old
//! one as garbage or not at all. The *shape* of a type is what its `Deserialize` asks for, part by
//! part; two types of one shape read each other's bytes. It is part of the format's name, so that
//! descriptions and the check at start see a type change.
//!
//! Invariant: a shape depends on the type alone, neither on the run nor on the order of hash maps,
//! and finding it ends, whatever a `Deserialize` does, within the limits of [`trace`].

mod reader;
mod text;
mod trace;

use ::serde::de::DeserializeOwned;
use std::{
    any::TypeId,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, PoisonError},
};
use trace::{ROOT, Trace};

/// A shape whose text has more bytes is told by its hash: names of formats are stored with every
/// task. No trace comes to as much today, but what is known of a hash is only what it is equal to,
/// so that it is the last resort.
const WHOLE: usize = 64 << 10;

/// The shapes of this process, by type. Each is found once.
static KNOWN: Mutex<BTreeMap<TypeId, String>> = Mutex::new(BTreeMap::new());

/// What follows `bincode` in the name of a type's format.
pub(super) fn suffix<T: DeserializeOwned + 'static>() -> String {
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let id = TypeId::of::<T>();
    if let Some(found) = known().get(&id) {
        return found.clone();
    }
    // The lock is not held: the type's own code runs here.
    let suffix = named(&of::<T>());
    known().insert(id, suffix.clone());
    suffix
}

/// A shape as a format's name has it: in parentheses, or, where it is too long, as its hash.
fn named(shape: &str) -> String {
    match shape.len() {
        0..=WHOLE => format!("({shape})"),
        _ => millstream_state::shape_hash(shape),
    }
}

/// The shape of a type.
fn of<T: DeserializeOwned>() -> String {
    let mut trace = Trace::new();
    // Each pass sees variants, or answers that a type would not take, which the one before left.
    while trace.begin() {
        let read = || T::deserialize(trace.reader(ROOT, false)).is_ok();
        // A panic refuses a value as an error does: whether the type's arithmetic panics or wraps
        // is for the build to say, and its shape is the same in both. Only where panics abort the
        // process is there nothing to catch.
        let read = catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
            trace.unwind();
            false
        });
        if !trace.end(read) {
            break;
        }
    }
    text::of(&trace)
}

#[cfg(test)]
mod tests;
