//! How programs speak of stores: a handle at build time, a reference at run time.

use crate::topology::StoreId;
use std::marker::PhantomData;

/// Build time: "this program has such a store". Given to `process(..)`, which connects it.
pub struct StoreHandle<S> {
    pub(crate) id: StoreId,
    pub(crate) shape: PhantomData<fn() -> S>,
}

/// Run time: "this task holds it there". Only a connected operator gets one.
pub struct StoreRef<S> {
    pub(crate) id: StoreId,
    pub(crate) shape: PhantomData<fn() -> S>,
}

impl<S> StoreHandle<S> {
    pub(crate) fn reference(self) -> StoreRef<S> {
        StoreRef {
            id: self.id,
            shape: PhantomData,
        }
    }
}

impl<S> Clone for StoreHandle<S> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<S> Copy for StoreHandle<S> {}
impl<S> Clone for StoreRef<S> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<S> Copy for StoreRef<S> {}

/// A store handle, or a tuple of them: what a processor declares to use.
pub trait StoreSet: Copy + Send + Sync + 'static {
    /// The references that the processor gets for it.
    type Refs;
    /// The stores' numbers.
    fn ids(self) -> Vec<StoreId>;
    /// The references themselves.
    fn refs(self) -> Self::Refs;
}

impl StoreSet for () {
    type Refs = ();
    fn ids(self) -> Vec<StoreId> {
        Vec::new()
    }
    fn refs(self) {}
}

impl<S: 'static> StoreSet for StoreHandle<S> {
    type Refs = StoreRef<S>;
    fn ids(self) -> Vec<StoreId> {
        vec![self.id]
    }
    fn refs(self) -> StoreRef<S> {
        self.reference()
    }
}

macro_rules! tuples {
    ($($name:ident)+) => {
        impl<$($name: StoreSet),+> StoreSet for ($($name,)+) {
            type Refs = ($($name::Refs,)+);
            fn ids(self) -> Vec<StoreId> {
                #[expect(non_snake_case, reason = "one letter names both type and value")]
                let ($($name,)+) = self;
                [$($name.ids()),+].concat()
            }
            fn refs(self) -> Self::Refs {
                #[expect(non_snake_case, reason = "one letter names both type and value")]
                let ($($name,)+) = self;
                ($($name.refs(),)+)
            }
        }
    };
}
tuples!(A B);
tuples!(A B C);
tuples!(A B C D);
