//! Record, serde, topology, stores, task and test driver: pure, synchronous, deterministic.
//!
//! The engine is a value. A [`task::Task`] takes records in and gives back outputs and one commit;
//! it has no clock, no thread and no I/O. Everything around it (threads, the log, restore) lives in
//! crates above, and can therefore be simulated from a seed.

pub mod batch;
pub mod calls;
pub mod dead_letter;
pub mod driver;
pub mod dsl;
pub mod error;
pub mod link;
pub mod pack;
pub mod record;
pub mod serde;
pub mod store;
pub mod task;
pub mod topic;
pub mod topology;
pub mod window;
pub mod wire;

pub use error::{Error, ErrorKind, Result};

/// Everything a program that declares topologies needs.
pub mod prelude {
    pub use crate::{
        calls::AsyncConfig,
        driver::TopologyTestDriver,
        dsl::{
            BufferConfig, Change, Child, ChildRef, ChildSet, CogroupedKStream, Consumed,
            EmitStrategy, FixedKeyContext, FixedKeyProcessor, GlobalContext, GlobalKTable,
            GlobalProcessor, GlobalStore, Grouped, JoinWindows, Joined, KGroupedStream,
            KGroupedTable, KStream, KTable, Partitions, Pipe, Printed, ProcessResult, Processor,
            ProcessorContext, Produced, Repartitioned, StateContext, StreamJoined, StreamsBuilder,
            Suppressed, TableJoined, TimestampExtractor, WindowedKStream,
        },
        record::{Headers, Record, TaskId, Timestamp},
        serde::*,
        store::{KeyValueStore, LruStore, Materialized, StoreHandle, StoreRef, VersionedStore},
        task::{
            Cancellable, DeadLetterRecord, ErrorHandler, ErrorHandlerContext, ErrorPolicy,
            InvalidTimestamp, OffsetReset, PunctuationType, RecordMetadata, Schedule,
        },
        topic::Topic,
        topology::Topology,
        window::{SessionWindows, SlidingWindows, TimeWindows, UnlimitedWindows, Window, Windowed},
    };
}
