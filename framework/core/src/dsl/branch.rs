//! `split()`: each record goes to the first branch that wants it.

use super::{Fun, KStream, stream::handle};
use crate::{link::Data, record::Record, task::TaskContext, topology::NodeKind};
use std::sync::{Arc, Mutex, PoisonError};

type Predicate<K, V> = Arc<dyn Fn(&K, &V) -> bool + Send + Sync>;

/// A stream being split. Branches are asked in the order they are declared; a record that no branch
/// wants goes nowhere, unless there is a default branch.
///
/// ```
/// use millstream_core::prelude::*;
/// # static NUMBERS: Topic<(), i64> = Topic::new("numbers", unit(), i64_be());
/// # static EVEN: Topic<(), i64> = Topic::new("even", unit(), i64_be());
/// # static ODD: Topic<(), i64> = Topic::new("odd", unit(), i64_be());
/// let builder = StreamsBuilder::new();
/// let split = builder.stream(&NUMBERS).split();
/// split.branch(|_, n| n % 2 == 0).to(&EVEN);
/// split.default_branch().to(&ODD);
/// # builder.build()?;
/// # Ok::<(), millstream_core::Error>(())
/// ```
pub struct Split<'b, K, V> {
    node: KStream<'b, K, V>,
    predicates: Arc<Mutex<Vec<Predicate<K, V>>>>,
}

impl<'b, K: Data, V: Data> KStream<'b, K, V> {
    /// Begins to split the stream.
    #[track_caller]
    pub fn split(self) -> Split<'b, K, V> {
        let predicates: Arc<Mutex<Vec<Predicate<K, V>>>> = Arc::default();
        let shared = predicates.clone();
        let node = self.operator("branch", vec![], move |link| {
            let predicates = shared
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            // The split's children are its branches, in the order of their predicates.
            let mut down = link.downstream::<K, V>();
            move |ctx: &mut TaskContext, record: Record<K, V>| {
                let wanted = predicates
                    .iter()
                    .position(|want| want(&record.key, &record.value));
                match wanted {
                    Some(branch) => down.push_to(branch, ctx, record),
                    None => Ok(()),
                }
            }
        });
        Split { node, predicates }
    }
}

impl<'b, K: Data, V: Data> Split<'b, K, V> {
    /// The records that this predicate wants and no earlier branch did.
    #[track_caller]
    pub fn branch(&self, want: impl Fn(&K, &V) -> bool + Fun) -> KStream<'b, K, V> {
        let mut predicates = self
            .predicates
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        predicates.push(Arc::new(want));
        let (builder, parent) = (self.node.builder, self.node.node);
        let node = builder.add(
            "branch_child",
            NodeKind::Operator,
            vec![parent],
            vec![],
            |link| {
                let mut down = link.downstream::<K, V>();
                link.upstream(move |ctx: &mut TaskContext, record: Record<K, V>| {
                    down.push(ctx, record)
                });
            },
        );
        handle(builder, node, self.node.rekeyed)
    }

    /// The records that no branch wants. Ends the split.
    #[track_caller]
    pub fn default_branch(self) -> KStream<'b, K, V> {
        self.branch(|_, _| true)
    }
}
