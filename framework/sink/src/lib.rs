//! Output topics into SQL tables, exactly once.
//!
//! A [`Sink`] reads a topic, makes a [`Row`] of each record and writes many of them in one SQL
//! transaction together with the next offsets, in the table `millstream_offsets (sink, topic,
//! partition, next_offset, epoch)`. Invariant: the table is what lies before those offsets, each
//! record once, whatever crashed and whoever else tried to write. Whoever takes a partition takes
//! its next epoch, and a writer with an older one is refused: with [`Error::Fenced`] where it is by
//! itself. Sinks that are members of a group ([`Sink::shared`]) divide the partitions, and go on
//! with those that are left to them.
//!
//! Databases are SQLite, in a file, and Postgres; [`Location`] says which and where, and is read
//! from a path or a URL.
//!
//! A database that is locked, full or away slows the sink and never the stream: the step says
//! [`Step::Retry`], and the topic keeps what the table does not have yet. A record that cannot
//! become a row goes to a dead-letter topic with the reason in its headers and is counted.
//!
//! ```
//! use millstream_sink::{Millis, Table, row};
//!
//! struct Alarm { id: String, at: Millis, score: f64, note: Option<String> }
//! row!(Alarm { id: key, at, score, note });
//! const ALARMS: Table<Alarm> = Table::new("alarms");
//! // let mut sink = Sink::new(log, TOPIC, ALARMS, &Location::sqlite("data/app.db"),
//! //     SinkConfig::default(), |key, value, meta| Alarm { .. })?;
//! assert_eq!(ALARMS.name(), "alarms");
//! ```

mod backoff;
mod batch;
mod config;
mod database;
mod dead_letter;
mod error;
mod handle;
mod places;
mod reader;
mod row;
mod schema;
mod sink;
mod table;
mod value;
mod writer;

#[cfg(test)]
mod tests;

pub use batch::RecordMeta;
pub use config::{SinkConfig, SinkStats, Step};
pub use database::{Location, PostgresUrl};
pub use error::{Error, Result};
pub use handle::{SinkHandle, SinkState, SinkWatch};
pub use reader::Reader;
pub use row::{Column, Field, Millis, Row};
pub use sink::Sink;
pub use table::{OFFSET_COLUMN, PARTITION_COLUMN, Table};
pub use value::{Kind, Value, Values};
