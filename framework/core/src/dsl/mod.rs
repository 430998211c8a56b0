//! The typed DSL: copy handles at build time, typed edges at run time.
//!
//! A [`KStream`] or [`KTable`] is a borrow of the builder and a number; every method adds a node to
//! the draft of the topology together with a closure that the linker runs once per task. Invariant:
//! only names that the program chose reach the log; operators themselves are never named there.

mod aggregate;
mod branch;
mod builder;
mod cogroup;
mod consumed;
mod fallible;
mod foreign;
mod fused;
mod global;
mod global_store;
mod grace;
mod grouped;
mod grouped_table;
mod join;
mod joined;
mod lru;
mod map_async;
mod on_error;
mod outlet;
mod partitioned;
mod printed;
mod process;
mod produced;
mod read_only;
mod sink;
mod source;
mod stream;
mod stream_join;
mod suppress;
mod table;
mod table_join;
mod times;
mod to_table;
mod transform;
mod unfit;
mod versioned;
mod view;
mod windowed;

pub use branch::Split;
pub use builder::StreamsBuilder;
pub use cogroup::CogroupedKStream;
pub use consumed::{Consumed, Grouped, Repartitioned};
pub use foreign::TableJoined;
pub use fused::Pipe;
pub use global::{GlobalKTable, GlobalStore};
pub use global_store::{GlobalContext, GlobalProcessor};
pub use grouped::KGroupedStream;
pub use grouped_table::KGroupedTable;
pub use joined::Joined;
pub use partitioned::Partitions;
pub use printed::{AsDebug, Mapped, Printed, RecordText};
pub use process::{
    Child, ChildRef, ChildSet, DeclaredChildren, FixedKeyContext, FixedKeyProcessor,
    LinkedChildren, ProcessResult, Processor, ProcessorContext, StateContext,
};
pub use produced::Produced;
pub use stream::KStream;
pub use stream_join::{JoinWindows, StreamJoined};
pub use suppress::{
    BufferConfig, Eager, Strict, Suppressed, Suppression, UntilTimeLimit, UntilWindowCloses,
};
pub use table::{Change, KTable};
pub use times::TimestampExtractor;
pub use windowed::{EmitStrategy, FixedWindows, WindowedCogroupedKStream, WindowedKStream};

/// What the user's closures must be: shared by all tasks of all threads.
pub trait Fun: Send + Sync + 'static {}
impl<T: Send + Sync + 'static> Fun for T {}
