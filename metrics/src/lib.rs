//! Every metric of Millstream, named once.
//!
//! Invariant: a series can exist only under a [`Metric`] of the closed list, with exactly that
//! metric's label names, and each metric has at most [`MAX_SERIES`] label sets. So dashboards and
//! alerts can be checked against the list, and no input, however hostile, can grow the exposition
//! without bound.
//!
//! This is the only crate that knows the `prometheus` crate. Hot loops ask for a handle once and
//! then touch only an atomic:
//!
//! ```
//! use millstream_metrics::{Metric, Registry};
//!
//! let registry = Registry::new()?;
//! let processed = registry.counter(Metric::RecordsProcessed, &[("task", "0_0")])?;
//! processed.add(512); // one batch
//! assert!(registry.render()?.contains("streams_records_processed_total{task=\"0_0\"} 512"));
//! # Ok::<(), millstream_metrics::Error>(())
//! ```

mod error;
mod handle;
mod list;
mod metric;
mod registry;

pub use error::{Error, Result};
pub use handle::{Counter, Gauge, Histogram};
pub use list::Metric;
pub use metric::{Kind, Spec, Unit};
pub use registry::{MAX_SERIES, OVERFLOW, Registry};
