//! Metrics, probes, queries and the live page, on one port.
//!
//! The program behind is known only through the trait [`Introspect`], and nothing here can stop
//! it. Invariant: every request is bounded ([`Limits`]) in size, time and number, calls into the
//! program run on threads where they may block, and a panic in one becomes an answer with status
//! 500.
//! This is the only crate that knows axum; its caller stays synchronous.
//!
//! | path | answers |
//! |---|---|
//! | `/` | the live page |
//! | `/metrics` | Prometheus text |
//! | `/healthz`, `/readyz` | 200 or 503 with reasons |
//! | `/topology?format=text\|json\|dot\|mermaid` | the topology |
//! | `/stores`, `/stores/{name}`, `/stores/{name}/{key}` | queries of state |
//! | `/topics`, `/topics/{topic}/records`, `/topics/{topic}/tail` | reads, appends, live tail |
//! | `/api/v1/…` | all of the above, and `status`, `tasks`, `models`, `summary`, `live` |
//!
//! There is no authentication: the server listens on the loopback address unless told otherwise,
//! and there it answers only requests that name it so, which keeps foreign web pages out.

mod api;
mod app;
mod connection;
mod error;
mod events;
mod guard;
mod introspect;
mod limits;
mod live;
mod page;
mod server;

pub use introspect::{
    Appended, Entry, InstanceStatus, Introspect, ModelPart, ModelStatus, NewRecord, Quality,
    QueryError, Range, RangePage, ReadFrom, RecordPage, RecordView, RestoreProgress, Role, Status,
    StoreStatus, TaskStatus, TopicStatus, TopologyFormat,
};
pub use limits::Limits;
pub use server::{DEFAULT_ADDRESS, HttpServer};
