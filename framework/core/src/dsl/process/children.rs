//! Further outputs of a processor, by name, each with types of its own.
//!
//! Invariant: a child is the node that is declared so many places behind its processor as there are
//! children before it. What lies below it is linked first, and the processor takes that over.

use super::super::{KStream, StreamsBuilder, stream::handle};
use crate::{
    error::{Error, Result},
    link::{Data, Fanout, Linker},
    record::Record,
    task::TaskContext,
    topology::{NodeId, NodeKind},
};
use std::{cell::RefCell, marker::PhantomData, panic::Location, rc::Rc};

/// Build time: a further output of a processor. Its name is that of its node in the topology, so
/// no other operator may have it.
pub struct Child<K, V> {
    name: String,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Child<K, V> {
    /// An output of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            types: PhantomData,
        }
    }
}

impl<K, V> Clone for Child<K, V> {
    fn clone(&self) -> Self {
        Self::new(self.name.clone())
    }
}

/// Run time: what lies behind an output, for the processor to send to.
pub struct ChildRef<K, V>(Rc<RefCell<Fanout<K, V>>>);

impl<K, V> Clone for ChildRef<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Data, V: Data> ChildRef<K, V> {
    pub(super) fn push(&self, task: &mut TaskContext, record: Record<K, V>) -> Result<()> {
        // Only somebody who took it out of its processor can be below it.
        let mut down = self.0.try_borrow_mut().map_err(|_| {
            Error::topology("an output of a processor was sent to from below itself")
        })?;
        down.push(task, record)
    }
}

/// A child or a tuple of them: what a processor declares to send to besides its main output.
pub trait ChildSet: Clone + Send + Sync + 'static {
    /// What the processor gets for it.
    type Refs: Clone + 'static;
    /// What the program gets for it.
    type Streams<'b>;
    /// Declares the nodes.
    fn streams<'b>(&self, of: &mut DeclaredChildren<'b>) -> Self::Streams<'b>;
    /// Takes over what lies behind them.
    fn refs(&self, of: &mut LinkedChildren<'_, '_>) -> Self::Refs;
}

/// The children of a processor that is being declared.
pub struct DeclaredChildren<'b> {
    pub(super) builder: &'b StreamsBuilder,
    pub(super) parent: NodeId,
    /// Where the keys that are sent there come from, if not from the topic.
    pub(super) rekeyed: Option<&'static Location<'static>>,
    pub(super) at: &'static Location<'static>,
}

/// The children of a processor that is being linked.
pub struct LinkedChildren<'l, 't> {
    link: &'l mut Linker<'t>,
    next: usize,
}

impl<'l, 't> LinkedChildren<'l, 't> {
    pub(super) fn of(link: &'l mut Linker<'t>) -> Self {
        Self { link, next: 0 }
    }
}

impl ChildSet for () {
    type Refs = ();
    type Streams<'b> = ();
    fn streams<'b>(&self, _: &mut DeclaredChildren<'b>) {}
    fn refs(&self, _: &mut LinkedChildren<'_, '_>) {}
}

impl<K: Data, V: Data> ChildSet for Child<K, V> {
    type Refs = ChildRef<K, V>;
    type Streams<'b> = KStream<'b, K, V>;

    fn streams<'b>(&self, of: &mut DeclaredChildren<'b>) -> KStream<'b, K, V> {
        let parents = vec![of.parent];
        let child = of.builder.declared_at(of.at, || {
            of.builder
                .add("child", NodeKind::Operator, parents, vec![], |_| {})
        });
        of.builder.rename(child, &self.name, of.at);
        handle(of.builder, child, of.rekeyed)
    }

    fn refs(&self, of: &mut LinkedChildren<'_, '_>) -> ChildRef<K, V> {
        let child = of.next;
        of.next += 1;
        ChildRef(Rc::new(RefCell::new(of.link.downstream_of(child))))
    }
}

macro_rules! tuples {
    ($($name:ident)+) => {
        impl<$($name: ChildSet),+> ChildSet for ($($name,)+) {
            type Refs = ($($name::Refs,)+);
            type Streams<'b> = ($($name::Streams<'b>,)+);
            fn streams<'b>(&self, of: &mut DeclaredChildren<'b>) -> Self::Streams<'b> {
                #[expect(non_snake_case, reason = "one letter names both type and value")]
                let ($($name,)+) = self;
                ($($name.streams(of),)+)
            }
            fn refs(&self, of: &mut LinkedChildren<'_, '_>) -> Self::Refs {
                #[expect(non_snake_case, reason = "one letter names both type and value")]
                let ($($name,)+) = self;
                ($($name.refs(of),)+)
            }
        }
    };
}
tuples!(A B);
tuples!(A B C);
tuples!(A B C D);
