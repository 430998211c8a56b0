//! The running program as the HTTP server sees it. Invariant: reads show committed state only, and
//! records from outside go only to the user's own topics.

mod append;
mod read;

use crate::{client::KeptClient, program::ModelsView, publish::Sinks};
use millstream_core::{
    record::{TaskId, TopicPartition},
    topology::{Format, RecordFormat, Topology},
};
use millstream_http::{
    Appended, Entry, InstanceStatus, Introspect, ModelStatus, NewRecord, QueryError, Range,
    RangePage, ReadFrom, RecordPage, RestoreProgress, Role, Status, StoreStatus, TaskStatus,
    TopicStatus, TopologyFormat,
};
use millstream_log::{Broker, Error as LogError, Log, TopicSpec};
use millstream_runtime::{
    error::Error as RuntimeError,
    streams::{Cursor, HostInfo, State, StoreRow, Streams, UnreadableRow},
    worker::{TaskRole, TaskView},
};
use millstream_sink::SinkWatch;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU32},
};

pub(crate) struct Inspector {
    pub(crate) streams: Arc<Streams>,
    pub(crate) client: Mutex<Client>,
    /// How many records without a key were appended: they go round the partitions.
    pub(crate) keyless: AtomicU32,
    pub(crate) application_id: String,
    pub(crate) predictions_topic: Option<String>,
    pub(crate) models: Option<Arc<ModelsView>>,
    pub(crate) sinks: Sinks,
}

/// The client that all requests share, one after the other, and the number of its last commit.
pub(crate) struct Client {
    kept: KeptClient,
    commits: u64,
}

impl Inspector {
    pub(crate) fn client(log: Arc<dyn Broker>) -> Mutex<Client> {
        let kept = KeptClient::new(log);
        Mutex::new(Client { kept, commits: 0 })
    }

    fn with<T>(
        &self,
        what: impl FnOnce(&mut dyn Log) -> millstream_log::Result<T>,
    ) -> millstream_log::Result<T> {
        let client = self.client.lock();
        let mut client = client.unwrap_or_else(PoisonError::into_inner);
        client.kept.with(what)
    }

    fn spec(&self, topic: &str) -> Result<TopicSpec, QueryError> {
        let info = self.with(|log| log.topic(topic)).map_err(unavailable)?;
        let info = info.ok_or_else(|| QueryError::UnknownTopic(topic.to_owned()))?;
        Ok(info.spec)
    }

    /// Whether a store can be asked now.
    fn readable(&self, name: &str) -> Result<(), QueryError> {
        let topology = self.topology();
        match topology.find_store(name) {
            None if topology.find_global(name).is_none() => {
                return Err(QueryError::UnknownStore(name.to_owned()));
            }
            Some((_, _, spec)) if spec.query.is_none() => {
                let why = format!("the store {name:?} has no rows that can be shown by key");
                return Err(QueryError::Refused(why));
            }
            _ => {}
        }
        match self.streams.state() {
            State::Rebalancing | State::Running => Ok(()),
            state => Err(QueryError::NotReady(format!("the client is {state}"))),
        }
    }

    /// Who is to be asked for a key that is not here, as far as the group has said.
    fn elsewhere(&self, store: &str, key: &Value, why: String) -> QueryError {
        let hosts = self.streams.query_metadata_for_key(store, key);
        match hosts.ok().and_then(|hosts| hosts.active_host) {
            Some(HostInfo {
                server,
                ours: false,
            }) => QueryError::Elsewhere { why, server },
            // Rows may be in any partition, and this one is here: what is missing may come.
            _ => QueryError::NotReady(why),
        }
    }

    /// The names of the topics that the program knows by name. Which topics there are else is asked
    /// of no log: a cluster may have thousands, and tells of each by itself.
    fn own_topics(&self) -> BTreeSet<String> {
        let (program, topology) = (self.streams.program(), self.topology());
        let mut names: BTreeSet<String> = topology.user_sources().into_iter().collect();
        names.extend(topology.user_sinks());
        names.extend(topology.dead_letter_topics());
        names.extend(topology.internal_names(&self.application_id));
        names.extend(program.task.dead_letter_topic.as_deref().map(str::to_owned));
        names.extend(self.predictions_topic.clone());
        let sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        names.extend(sinks.iter().flat_map(SinkWatch::topics).map(str::to_owned));
        names
    }

    fn topology(&self) -> &Topology {
        &self.streams.program().topology
    }

    /// Sinks that have ended for good: their tables stand still until the program starts anew.
    fn failed_sinks(&self) -> Vec<String> {
        let sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = sinks.iter().filter_map(|sink| {
            let failure = sink.failure()?;
            Some(format!("the sink of table {}: {failure}", sink.name()))
        });
        failed.collect()
    }

    fn format(&self, topic: &str) -> Option<Arc<dyn RecordFormat>> {
        let id = &self.application_id;
        let mut formats = self.topology().formats().iter();
        formats
            .find(|known| known.topic.resolve(id) == topic)
            .map(|known| known.format.clone())
    }

    fn task(&self, task: &TaskView) -> TaskStatus {
        let lags = task.inputs.iter().map(|(partition, next)| {
            self.with(|log| log.end(partition))
                .ok()
                .and_then(|end| u64::try_from(end - next).ok())
        });
        let lag = lags.sum::<Option<u64>>();
        let count = |offsets: i64| u64::try_from(offsets).unwrap_or(0);
        TaskStatus {
            id: task.id.to_string(),
            role: if task.role == TaskRole::Standby {
                Role::Standby
            } else {
                Role::Active
            },
            state: if task.role == TaskRole::Restoring {
                "RESTORING"
            } else {
                "RUNNING"
            }
            .into(),
            lag: if task.role == TaskRole::Active {
                lag
            } else {
                None
            },
            restore: (task.restore.iter())
                .map(|store| RestoreProgress {
                    store: store.store.clone(),
                    restored: count(store.position - store.from),
                    total: count(store.end - store.from),
                    bytes: store.bytes,
                    records_per_second: store.records_per_second(),
                    seconds_left: store.seconds_left(),
                    why: store.full.map(|why| why.to_string()),
                })
                .collect(),
        }
    }
}

fn healthy(reasons: Vec<String>) -> Result<(), Vec<String>> {
    if reasons.is_empty() {
        return Ok(());
    }
    Err(reasons)
}

fn internal(error: impl std::fmt::Display) -> QueryError {
    QueryError::Internal(error.to_string())
}

/// What a client is told where the log does not do what it asked for.
fn unavailable(error: LogError) -> QueryError {
    match error {
        LogError::Retry(why) => QueryError::NotReady(why),
        LogError::UnknownTopic(topic) => QueryError::UnknownTopic(topic),
        LogError::UnknownOutcome(why) => QueryError::UnknownOutcome(why),
        other => internal(other),
    }
}

/// Whose fault it is that a store was not read.
fn unanswered(error: RuntimeError) -> QueryError {
    match error {
        RuntimeError::BadKey(why) => QueryError::BadKey(why),
        error @ RuntimeError::BadCursor(_) => QueryError::BadCursor(error.to_string()),
        // What the program has was asked before: the client has stopped since, or rows may be
        // elsewhere.
        RuntimeError::IllegalState(why) => QueryError::NotReady(why),
        other => internal(other),
    }
}

/// A row of a page, or what is wrong with it.
fn entry(row: Result<StoreRow, UnreadableRow>) -> Entry {
    let (key, value, error) = match row {
        Ok(row) => (row.key, row.value, None),
        Err(bad) => (bad.key, Value::Null, Some(bad.why)),
    };
    Entry {
        key: written(&key),
        value,
        error,
    }
}

/// A key as people write it.
fn written(key: &Value) -> String {
    key.as_str().map_or_else(|| key.to_string(), str::to_owned)
}

impl Introspect for Inspector {
    fn status(&self) -> Status {
        Status {
            application_id: self.application_id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state: self.streams.state().to_string(),
            predictions_topic: self.predictions_topic.clone(),
            tasks: self
                .streams
                .tasks()
                .iter()
                .map(|task| self.task(task))
                .collect(),
        }
    }

    fn liveness(&self) -> Result<(), Vec<String>> {
        let mut reasons = self.failed_sinks();
        if matches!(self.streams.state(), State::Error | State::PendingError) {
            let failure = self.streams.failure();
            reasons.insert(0, failure.unwrap_or_else(|| "a thread failed".to_owned()));
        }
        healthy(reasons)
    }

    fn readiness(&self) -> Result<(), Vec<String>> {
        let mut reasons = self.failed_sinks();
        match self.streams.state() {
            State::Running => {}
            other => reasons.insert(0, format!("the client is {other}")),
        }
        healthy(reasons)
    }

    fn topology(&self, format: TopologyFormat) -> String {
        self.topology().describe(match format {
            TopologyFormat::Text => Format::Text,
            TopologyFormat::Json => Format::Json,
            TopologyFormat::Dot => Format::Dot,
            TopologyFormat::Mermaid => Format::Mermaid,
        })
    }

    fn instances(&self) -> Vec<InstanceStatus> {
        let names = |tasks: &[TaskId]| tasks.iter().map(ToString::to_string).collect();
        let all = self.streams.metadata_for_all_streams_clients().into_iter();
        all.map(|instance| InstanceStatus {
            active: names(&instance.active_tasks),
            standby: names(&instance.standby_tasks),
            server: instance.host.server,
            ours: instance.host.ours,
        })
        .collect()
    }

    fn stores(&self) -> Vec<StoreStatus> {
        let stores = self.topology().stores().iter().map(|store| StoreStatus {
            name: store.name.clone(),
            kind: store
                .format
                .split('/')
                .next()
                .unwrap_or_default()
                .to_owned(),
            keys: None,
        });
        let globals = self.topology().globals().iter().map(|global| StoreStatus {
            name: global.name.clone(),
            kind: "global".to_owned(),
            keys: None,
        });
        stores.chain(globals).collect()
    }

    fn get(&self, store: &str, key: &str) -> Result<Option<Value>, QueryError> {
        self.readable(store)?;
        let mut absent = Ok(None);
        for key in self.streams.readings(store, key).map_err(unanswered)? {
            match self.streams.get(store, &key) {
                Ok(Some(row)) => return Ok(Some(row.value)),
                Ok(None) => {}
                // Another reading of the key may be one that is here.
                Err(RuntimeError::IllegalState(why)) => {
                    let told = self.elsewhere(store, &key, why);
                    // Whom one reading names is not forgotten for another that names nobody.
                    if !matches!(absent, Err(QueryError::Elsewhere { .. })) {
                        absent = Err(told);
                    }
                }
                Err(error) => return Err(unanswered(error)),
            }
        }
        absent
    }

    fn range(&self, store: &str, range: &Range) -> Result<RangePage, QueryError> {
        self.readable(store)?;
        let read = |key: &Option<String>| match key {
            Some(key) => {
                let mut readings = self.streams.readings(store, key).map_err(unanswered)?;
                Ok(readings.drain(..).next())
            }
            None => Ok(None),
        };
        let (from, to) = (read(&range.from)?, read(&range.to)?);
        let cursor = range.cursor.as_deref().map(str::parse::<Cursor>);
        let cursor = cursor.transpose().map_err(unanswered)?;
        let bounds = (from.as_ref(), to.as_ref());
        let page = self
            .streams
            .rows(store, bounds, cursor.as_ref(), range.limit)
            .map_err(unanswered)?;
        Ok(RangePage {
            entries: page.rows.into_iter().map(entry).collect(),
            next: page.next.map(|cursor| cursor.to_string()),
        })
    }

    fn topics(&self) -> Result<Vec<TopicStatus>, QueryError> {
        let mut found = Vec::new();
        for name in self.own_topics() {
            // A store that is restored from elsewhere has no changelog, and a topic of dead letters
            // may not be there before the first of them.
            let info = self.with(|log| log.topic(&name)).map_err(unavailable)?;
            found.extend(info.map(|info| TopicStatus {
                name,
                partitions: info.spec.partitions,
            }));
        }
        Ok(found)
    }

    fn partitions(&self, topic: &str) -> Result<u32, QueryError> {
        Ok(self.spec(topic)?.partitions)
    }

    fn append(&self, topic: &str, records: Vec<NewRecord>) -> Result<Vec<Appended>, QueryError> {
        self.append_all(topic, &records)
    }

    fn read(
        &self,
        topic: &str,
        partition: u32,
        from: ReadFrom,
        limit: usize,
    ) -> Result<RecordPage, QueryError> {
        self.records(&TopicPartition::new(topic, partition), from, limit)
    }

    fn models(&self) -> Vec<ModelStatus> {
        self.models
            .as_ref()
            .map(|view| view(&self.streams))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
