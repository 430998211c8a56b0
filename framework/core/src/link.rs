//! From a topology to running code: typed edges between operators.
//!
//! The linker walks a subtopology's nodes backwards. Every node takes the [`Fanout`] that its
//! children have filled, builds a closure that owns it, and adds that closure to its parents'
//! fanouts. All downcasts happen here, once per task and edge; none happens per record. Invariant:
//! a node's children are called in the order in which the program declared them.

use crate::{
    error::Result,
    record::{RawRecord, Record},
    task::{Calls, Extractor, Resident, TaskContext},
    topology::{NodeId, TopicName, Topology},
};
use std::{
    any::Any,
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

/// Whatever may travel along an edge.
pub trait Data: Clone + 'static {}
impl<T: Clone + 'static> Data for T {}

/// The receiving end of an edge.
pub trait Push<K, V> {
    /// Takes one record.
    fn push(&mut self, ctx: &mut TaskContext, record: Record<K, V>) -> Result<()>;
}

impl<K, V, F> Push<K, V> for F
where
    F: FnMut(&mut TaskContext, Record<K, V>) -> Result<()>,
{
    #[inline]
    fn push(&mut self, ctx: &mut TaskContext, record: Record<K, V>) -> Result<()> {
        self(ctx, record)
    }
}

enum Edge<K, V> {
    Owned(Box<dyn Push<K, V>>),
    /// A node with several parents; it is never entered twice at once, since a topology has no
    /// cycle.
    Shared(Rc<RefCell<dyn Push<K, V>>>),
}

impl<K, V> Edge<K, V> {
    #[inline]
    fn push(&mut self, ctx: &mut TaskContext, record: Record<K, V>) -> Result<()> {
        match self {
            Self::Owned(push) => push.push(ctx, record),
            Self::Shared(push) => push.borrow_mut().push(ctx, record),
        }
    }
}

/// All that lies downstream of a node.
pub struct Fanout<K, V> {
    /// Last declared first, as the linker meets them.
    edges: Vec<Edge<K, V>>,
    wants_old: bool,
}

impl<K, V> Default for Fanout<K, V> {
    fn default() -> Self {
        Self {
            edges: Vec::new(),
            wants_old: false,
        }
    }
}

impl<K: Data, V: Data> Fanout<K, V> {
    /// What lies behind an operator within one node.
    pub(crate) fn of(push: impl Push<K, V> + 'static) -> Self {
        Self {
            edges: vec![Edge::Owned(Box::new(push))],
            wants_old: false,
        }
    }

    /// Sends a record to every child, in the order they were declared. All but the last get a
    /// clone, so that a straight chain never clones.
    #[inline]
    pub fn push(&mut self, ctx: &mut TaskContext, record: Record<K, V>) -> Result<()> {
        match &mut self.edges[..] {
            [] => Ok(()),
            [only] => only.push(ctx, record),
            [last, rest @ ..] => {
                for edge in rest.iter_mut().rev() {
                    edge.push(ctx, record.clone())?;
                }
                last.push(ctx, record)
            }
        }
    }

    /// Sends a record to the child declared in this place; to none if there is no such child.
    pub(crate) fn push_to(
        &mut self,
        child: usize,
        ctx: &mut TaskContext,
        record: Record<K, V>,
    ) -> Result<()> {
        match self.edges.iter_mut().rev().nth(child) {
            Some(edge) => edge.push(ctx, record),
            None => Ok(()),
        }
    }

    /// Whether nobody listens.
    pub(crate) fn is_empty(&self) -> bool {
        self.edges.is_empty()
    }

    /// Whether some child needs the old value of a change, which costs the parent a clone.
    pub(crate) fn wants_old(&self) -> bool {
        self.wants_old
    }
}

/// What waits for a commit.
pub(crate) trait Flush {
    /// Sends it on.
    fn flush(&mut self, ctx: &mut TaskContext) -> Result<()>;
    /// Forgets it.
    fn clear(&mut self);
}

/// What a source does with a record's bytes.
pub(crate) type RawPush = Box<dyn FnMut(&mut TaskContext, RawRecord<'_>) -> Result<()>>;

/// The state of linking one task.
pub struct Linker<'t> {
    topology: &'t Topology,
    node: NodeId,
    fans: BTreeMap<NodeId, Box<dyn Any>>,
    wanting_old: bool,
    /// Nodes whose changes somebody below must hear of one by one.
    prompt: BTreeSet<NodeId>,
    pub(crate) sources: BTreeMap<TopicName, Vec<RawPush>>,
    /// What the first source of each topic is called.
    pub(crate) source_names: BTreeMap<TopicName, &'t str>,
    /// Where the times of a topic's records come from, if not from the log.
    pub(crate) extractors: BTreeMap<TopicName, Extractor>,
    pub(crate) residents: Vec<Box<dyn Resident>>,
    pub(crate) flushes: Vec<Box<dyn Flush>>,
    pub(crate) calls: Vec<Box<dyn Calls>>,
    pub(crate) context: TaskContext,
}

impl<'t> Linker<'t> {
    /// Links the nodes of one subtopology into a context that already has its stores.
    pub(crate) fn link(topology: &'t Topology, nodes: &[NodeId], context: TaskContext) -> Self {
        let mut linker = Self {
            topology,
            node: NodeId(0),
            fans: BTreeMap::new(),
            wanting_old: false,
            prompt: BTreeSet::new(),
            sources: BTreeMap::new(),
            source_names: BTreeMap::new(),
            extractors: BTreeMap::new(),
            residents: Vec::new(),
            flushes: Vec::new(),
            calls: Vec::new(),
            context,
        };
        for &id in nodes.iter().rev() {
            linker.node = id;
            linker.wanting_old = false;
            (topology.nodes[id.0].link)(&mut linker);
        }
        // Sources, residents, calls and what waits for a commit were met last-declared first.
        linker
            .sources
            .values_mut()
            .for_each(|pushes| pushes.reverse());
        linker.residents.reverse();
        linker.flushes.reverse();
        linker.calls.reverse();
        linker
    }

    /// What the children of the node in hand have become.
    pub(crate) fn downstream<K: Data, V: Data>(&mut self) -> Fanout<K, V> {
        match self.fans.remove(&self.node) {
            Some(fan) => *typed(fan.downcast::<Fanout<K, V>>().ok()),
            None => Fanout::default(),
        }
    }

    /// What the children of one of the node's named children have become; they are the nodes that
    /// were declared right behind it.
    pub(crate) fn downstream_of<K: Data, V: Data>(&mut self, child: usize) -> Fanout<K, V> {
        let child = NodeId(self.node.0 + 1 + child);
        match self.fans.remove(&child) {
            Some(fan) => *typed(fan.downcast::<Fanout<K, V>>().ok()),
            None => Fanout::default(),
        }
    }

    /// Says that the node in hand reads the old values of changes.
    pub(crate) fn want_old(&mut self) {
        self.wanting_old = true;
    }

    /// Puts the node in hand below its parents.
    pub(crate) fn upstream<K: Data, V: Data>(&mut self, push: impl Push<K, V> + 'static) {
        match self.topology.nodes[self.node.0].parents[..] {
            [one] => self.add(one, Edge::Owned(Box::new(push))),
            ref many => {
                let shared: Rc<RefCell<dyn Push<K, V>>> = Rc::new(RefCell::new(push));
                for &parent in many {
                    self.add(parent, Edge::Shared(shared.clone()));
                }
            }
        }
    }

    /// Puts a closure of the node in hand below one of its parents: for nodes that treat each
    /// parent in its own way. To be called for the last parent first, since one may be there twice.
    pub(crate) fn upstream_of<K: Data, V: Data>(
        &mut self,
        parent: usize,
        push: impl Push<K, V> + 'static,
    ) {
        let parent = self.topology.nodes[self.node.0].parents[parent];
        self.add(parent, Edge::Owned(Box::new(push)));
    }

    /// The topics that a source of this one reads.
    pub(crate) fn read_for(&self, topic: &TopicName) -> Vec<TopicName> {
        self.topology.read_for(topic)
    }

    /// Puts a source's closure below its topic.
    pub(crate) fn source(&mut self, topic: TopicName, push: RawPush) {
        // The first one is linked last.
        self.source_names.insert(topic.clone(), self.name());
        self.sources.entry(topic).or_default().push(push);
    }

    /// Asks nodes above, which are linked later, to tell each change when it is made.
    pub(crate) fn want_each_of(&mut self, nodes: impl IntoIterator<Item = NodeId>) {
        self.prompt.extend(nodes);
    }

    /// Asks everything above the node in hand for that, as far as its subtopology reaches.
    pub(crate) fn want_each_above(&mut self) {
        let (mut seen, mut above) = (BTreeSet::new(), vec![self.node]);
        while let Some(node) = above.pop() {
            let parents = self.topology.nodes[node.0].parents.iter();
            above.extend(parents.filter(|parent| seen.insert(**parent)));
        }
        self.prompt.append(&mut seen);
    }

    /// Whether the node in hand is asked to.
    pub(crate) fn tells_each(&self) -> bool {
        self.prompt.contains(&self.node)
    }

    /// The name of the node in hand.
    pub(crate) fn name(&self) -> &'t str {
        &self.topology.nodes[self.node.0].name
    }

    /// The name of the node above the node in hand, the first one of several.
    pub(crate) fn parent_name(&self) -> &'t str {
        let parent = self.topology.nodes[self.node.0].parents.first();
        parent.map_or("", |parent| &self.topology.nodes[parent.0].name)
    }

    /// Whether something below the node in hand makes something of records without a key.
    pub(crate) fn takes_null_keys(&self) -> bool {
        self.topology.null_keys[self.node.0]
    }

    fn add<K: Data, V: Data>(&mut self, parent: NodeId, edge: Edge<K, V>) {
        let fan = self
            .fans
            .entry(parent)
            .or_insert_with(|| Box::new(Fanout::<K, V>::default()));
        let fan: &mut Fanout<K, V> = typed(fan.downcast_mut());
        fan.edges.push(edge);
        fan.wants_old |= self.wanting_old;
    }
}

/// The types on both ends of an edge come from one `KStream<K, V>`, so they agree.
#[expect(
    clippy::expect_used,
    reason = "a mismatch is a bug of the DSL, found by any test"
)]
fn typed<T>(downcast: Option<T>) -> T {
    downcast.expect("both ends of an edge have the types of one stream handle")
}
