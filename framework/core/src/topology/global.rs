//! A global table's rows: how a record of its topic becomes one, and how one is read.
//!
//! All partitions of the topic lie in one column of one backend, which all tasks of an instance
//! read. Invariant: whoever keeps such a backend up to date writes it through a
//! [`GlobalWriter`] and nothing else, so its bytes are the same everywhere.

use super::StoreQuery;
use crate::{
    error::{Error, ErrorKind, Result},
    record::{Offset, RawRecord, Timestamp, TopicPartition},
    serde::{Apart, Encoded, Serde},
    store::{RowBytes, RowStart, StoreEnv, corrupt},
    task::{
        Dropped, ErrorHandler, ErrorHandlerContext, ErrorPolicy, ErrorReason, Policies,
        RecordMetadata, judge,
    },
};
use millstream_state::{Backend, Column, Presence, WriteBatch};
use std::{
    cell::{Cell, RefCell},
    panic::Location,
    sync::Arc,
};

pub(crate) type WriteRow =
    Arc<dyn Fn(RawRecord<'_>, Column, &mut WriteBatch) -> Result<Written> + Send + Sync>;

/// What became of a record.
pub(crate) enum Written {
    /// It is in the batch.
    Row,
    /// It has no key, so it is no row.
    NullKey,
}

/// Makes rows of records with code of the program's own; they wait in it until a batch asks.
pub(crate) trait ProcessRows: Send {
    /// Takes one record.
    fn process(&mut self, from: (&TopicPartition, Offset), record: RawRecord<'_>) -> Result<()>;
    /// Adds what has changed since the last time to a batch.
    fn drain(&mut self, column: Column, batch: &mut WriteBatch) -> Result<()>;
    /// The batch was applied.
    fn applied(&mut self) -> Result<()>;
}

/// Makes the processor of an instance, over the rows there are.
pub(crate) type OpenRows = Arc<dyn Fn(StoreEnv) -> Box<dyn ProcessRows> + Send + Sync>;

/// How the records of a topic become rows.
#[derive(Clone)]
pub(crate) enum Making {
    /// Each is a row, or the deletion of one.
    Copied(WriteRow),
    /// As a processor says.
    Processed(OpenRows),
}

/// A global table that the program declares: its place in
/// [`Topology::globals`](super::Topology::globals) is its column.
#[derive(Clone)]
pub struct GlobalSpec {
    /// The store's name.
    pub name: String,
    /// The topic that it is made from.
    pub topic: String,
    /// What its bytes are.
    pub format: String,
    /// Who says what to do with bad records, the nearest first.
    pub handlers: Vec<ErrorHandler>,
    /// Where the program declares it.
    pub at: &'static Location<'static>,
    /// How people read it.
    pub query: Arc<dyn StoreQuery>,
    pub(crate) making: Making,
}

impl GlobalSpec {
    /// Who keeps the rows up to date that lie in a column of a backend. Where these are to be made
    /// anew, so is the writer.
    pub fn writer(&self, backend: &Arc<dyn Backend>, column: Column) -> GlobalWriter {
        let making = match &self.making {
            Making::Copied(write) => Writing::Copied(write.clone()),
            Making::Processed(open) => {
                let (open, backend) = (open.clone(), backend.clone());
                let make = Box::new(move || {
                    open(StoreEnv {
                        backend: backend.clone(),
                        column,
                        cache_bytes: 0,
                        trimmed: false,
                    })
                });
                Writing::Processed {
                    rows: make(),
                    make,
                    unapplied: false,
                }
            }
        };
        GlobalWriter {
            name: self.name.clone(),
            handlers: self.handlers.clone(),
            column,
            making,
        }
    }
}

enum Writing {
    Copied(WriteRow),
    Processed {
        rows: Box<dyn ProcessRows>,
        make: Box<dyn Fn() -> Box<dyn ProcessRows> + Send>,
        /// Whether a batch was begun of which nobody said that it was applied.
        unapplied: bool,
    },
}

/// From the records of a global table's topic to its rows, a batch at a time: [`begin`], [`apply`]
/// for each record, [`end`], and, when the backend has taken the batch, [`applied`].
///
/// [`begin`]: GlobalWriter::begin
/// [`apply`]: GlobalWriter::apply
/// [`end`]: GlobalWriter::end
/// [`applied`]: GlobalWriter::applied
pub struct GlobalWriter {
    name: String,
    handlers: Vec<ErrorHandler>,
    column: Column,
    making: Writing,
}

impl GlobalWriter {
    /// Begins a batch. After one that was not applied the processor is made anew, since it may
    /// remember what is not there.
    pub fn begin(&mut self) {
        if let Writing::Processed {
            rows,
            make,
            unapplied,
        } = &mut self.making
            && std::mem::replace(unapplied, true)
        {
            *rows = make();
        }
    }

    /// Takes a record of the topic, for a batch.
    ///
    /// A record that cannot be decoded, that has a negative timestamp, or that the table's
    /// processor refuses stops the instance or is dropped and counted, as the table's error handler
    /// says, or else the program's, or else `policies`. There is no transaction that a dead letter
    /// could be part of, so [`ErrorPolicy::DeadLetter`] drops and counts, as in Kafka, and so does
    /// what a handler writes itself. Records
    /// without a key are dropped and counted always where there is no processor to take them.
    ///
    /// # Errors
    /// For a bad record under the policy to fail, and where storage fails.
    pub fn apply(
        &mut self,
        (from, offset, record): (&TopicPartition, Offset, RawRecord<'_>),
        batch: &mut WriteBatch,
        policies: Policies,
        dropped: &mut Dropped,
    ) -> Result<()> {
        let copied = matches!(self.making, Writing::Copied(_));
        let (reason, error) = if record.timestamp < 0 && (record.key.is_some() || !copied) {
            let text = format!("invalid timestamp {}", record.timestamp);
            (ErrorReason::InvalidTimestamp, Error::deserialization(text))
        } else {
            let written = match &mut self.making {
                Writing::Copied(write) => write(record, self.column, batch),
                Writing::Processed { rows, .. } => {
                    let processed = rows.process((from, offset), record);
                    processed.map(|()| Written::Row)
                }
            };
            match written {
                Ok(Written::Row) => return Ok(()),
                Ok(Written::NullKey) => {
                    dropped.null_key += 1;
                    return Ok(());
                }
                Err(error) if error.is_final() => return Err(error),
                Err(error) => (reason(copied, &error), error),
            }
        };
        let answer = judge(&ErrorHandlerContext {
            reason,
            error: &error,
            node: &self.name,
            task: None,
            timestamp: record.timestamp,
            headers: record.headers,
            from: Some(&RecordMetadata {
                partition: from.clone(),
                offset,
                index: 0,
            }),
            record: Some(record),
            others: &self.handlers,
            configured: policies,
            written: &RefCell::default(),
            next: Cell::new(None),
        })?;
        if answer == ErrorPolicy::Fail {
            let place = format!("{from} offset {offset}, global table {}", self.name);
            return Err(error.at(place));
        }
        dropped.count(reason);
        Ok(())
    }

    /// Ends a batch: adds the rows that a processor has changed.
    ///
    /// # Errors
    /// Where one cannot be encoded. Of which record it was made is not known by now, so no policy
    /// is asked.
    pub fn end(&mut self, batch: &mut WriteBatch) -> Result<()> {
        match &mut self.making {
            Writing::Copied(_) => Ok(()),
            Writing::Processed { rows, .. } => {
                let drained = rows.drain(self.column, batch);
                drained.map_err(|error| error.at(format!("global store {}", self.name)))
            }
        }
    }

    /// The backend has the batch.
    ///
    /// # Errors
    /// A storage failure.
    pub fn applied(&mut self) -> Result<()> {
        match &mut self.making {
            Writing::Copied(_) => Ok(()),
            Writing::Processed {
                rows, unapplied, ..
            } => {
                *unapplied = false;
                rows.applied()
            }
        }
    }
}

/// Why a record is dropped: a copy refuses bytes, a processor may refuse anything.
fn reason(copied: bool, error: &Error) -> ErrorReason {
    match error.kind() {
        ErrorKind::Deserialization(_) => ErrorReason::Deserialization,
        _ if copied => ErrorReason::Deserialization,
        _ => ErrorReason::Processing,
    }
}

/// From a topic's bytes to a store's. A value that the topic's serde reads and the store's writes
/// as null would be a deletion; it is refused.
pub(crate) fn writer<K: 'static, V: 'static>(
    (key, value): (Serde<K>, Serde<V>),
    (stored_key, stored_value): (Serde<K>, Serde<V>),
) -> WriteRow {
    let (value, stored_value) = (value.apart(), stored_value.apart());
    Arc::new(move |record, column, batch| {
        if record.key.is_none() {
            // Bytes that nobody can read are that first of all.
            record
                .value
                .map(|bytes| value.decode(Some(bytes), record.headers))
                .transpose()?;
            return Ok(Written::NullKey);
        }
        let row = (key.decode(record.key)?, record.value);
        let (mut at, mut bytes) = (Vec::new(), Vec::new());
        if stored_key.encode(&row.0, &mut at)? == Encoded::Null {
            return Ok(Written::NullKey);
        }
        let Some(encoded) = row.1 else {
            batch.delete(column, &at);
            return Ok(Written::Row);
        };
        let decoded = value.decode(Some(encoded), record.headers)?;
        if stored_value.encode(&decoded, &mut bytes)? == Encoded::Null {
            return Err(Error::serialization(
                "a global table cannot hold a value that its serde writes as null",
            ));
        }
        let start = RowStart::new(record.timestamp, stored_value.headers(&decoded));
        batch.put_parts(column, &at, &[start.as_ref(), &bytes]);
        Ok(Written::Row)
    })
}

/// What a look-up in a global table finds.
pub(crate) enum Sought<V> {
    /// The key is null.
    NullKey,
    /// There is no row.
    Missing,
    /// The row and its time.
    Row(V, Timestamp),
}

/// A global table as one operator reads it, straight from the committed rows.
pub(crate) struct GlobalRows<K: 'static, V: 'static> {
    pub(crate) backend: Option<Arc<dyn Backend>>,
    pub(crate) column: Column,
    pub(crate) key: Serde<K>,
    pub(crate) value: Apart<V>,
    pub(crate) sought: Vec<u8>,
    pub(crate) stored: Vec<u8>,
}

impl<K, V> GlobalRows<K, V> {
    /// The row of a key.
    pub(crate) fn get(&mut self, key: &K) -> Result<Sought<V>> {
        let Some(backend) = &self.backend else {
            return Err(missing());
        };
        self.sought.clear();
        if self.key.encode(key, &mut self.sought)? == Encoded::Null {
            return Ok(Sought::NullKey);
        }
        if backend.get(self.column, &self.sought, &mut self.stored)? == Presence::Missing {
            return Ok(Sought::Missing);
        }
        let row = RowBytes::split(&self.stored)
            .and_then(|row| Ok(Sought::Row(row.decode(self.value)?, row.timestamp)));
        row.map_err(|cause| {
            let env = StoreEnv {
                backend: backend.clone(),
                column: self.column,
                cache_bytes: 0,
                trimmed: false,
            };
            corrupt(&env, &cause)
        })
    }
}

/// A task of a program with global tables was opened without them.
#[cold]
pub(crate) fn missing() -> Error {
    Error::topology("the program has global tables, and its task was opened without their rows")
}
