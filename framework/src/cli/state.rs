//! The verb `state`: the stores of a program that has stopped, and their rows, read as those of one
//! that runs are ([`StoreRows`]).

use crate::program::tasks_dir;
use anyhow::{Context, Result};
use millstream_core::topology::Topology;
use millstream_runtime::{
    config::Config,
    global,
    streams::{StoreHome, StoreRows, StoredRow},
};
use millstream_state::{Backend, Limits, RocksBackend, Shared, StateDir};
use serde_json::{Value, json};
use std::ops::Bound;

/// What the rows of a global table show in place of a task.
const GLOBAL: &str = "global";

/// The stores of a program by name, with the formats of their rows.
pub(super) fn stores(topology: &Topology) -> impl Iterator<Item = (&str, &str)> {
    let stores = topology.stores().iter();
    let globals = topology.globals().iter();
    stores
        .map(|store| (&*store.name, &*store.format))
        .chain(globals.map(|global| (&*global.name, &*global.format)))
}

/// Rows of a stopped program's store, each as JSON: at most so many, or those of a key.
pub(super) fn rows(
    topology: &Topology,
    config: &Config,
    store: &str,
    key: Option<&str>,
    limit: usize,
) -> Result<Vec<Value>> {
    let rows = StoreRows::of(topology, store)?;
    let readings = key.map(|key| rows.readings(key)).transpose();
    let readings = readings.with_context(|| format!("the key of a row of {store:?}"))?;
    let dir = StateDir::open(tasks_dir(config))?;
    let shared = Shared::new(Limits::default());
    let mut shown = Vec::new();
    for (task, path, columns) in backends(topology, &dir, rows.home)? {
        let backend = RocksBackend::open(path, &columns, &shared)?;
        let room = limit - shown.len();
        let found = match &readings {
            None => rows.scan(&backend, (Bound::Unbounded, Bound::Unbounded), room)?,
            Some(readings) => of_key(&rows, &backend, readings, room)?,
        };
        shown.extend(found.iter().map(|row| show(&rows, &task, row)));
        if shown.len() >= limit {
            break;
        }
    }
    Ok(shown)
}

/// Who has rows of a store on this disk, where, and with which columns.
fn backends(
    topology: &Topology,
    dir: &StateDir,
    home: StoreHome,
) -> Result<Vec<(String, std::path::PathBuf, Vec<String>)>> {
    let subtopology = match home {
        StoreHome::Global => {
            // Nothing is to be made where nothing was kept.
            let path = Some(dir.global_path()).filter(|path| path.exists());
            let kept = path.map(|path| (GLOBAL.to_owned(), path, global::columns(topology)));
            return Ok(kept.into_iter().collect());
        }
        StoreHome::Tasks(subtopology) => subtopology,
    };
    let stores = &topology.subtopologies()[subtopology as usize].stores;
    let columns: Vec<_> = (stores.iter())
        .map(|id| topology.store(*id).name.clone())
        .collect();
    let mut tasks = dir.tasks()?;
    tasks.retain(|task| task.starts_with(&format!("{subtopology}_")));
    let backend = |task: String| {
        let path = dir.task_path(&task)?;
        Ok((task, path, columns.clone()))
    };
    tasks.into_iter().map(backend).collect()
}

/// The rows of whatever a key may stand for.
fn of_key(
    rows: &StoreRows,
    backend: &dyn Backend,
    readings: &[Value],
    limit: usize,
) -> Result<Vec<StoredRow>> {
    let mut found = Vec::new();
    for key in readings {
        found.extend(rows.get(backend, &rows.key(key)?)?);
    }
    found.truncate(limit);
    Ok(found)
}

/// A row for people. What cannot be read says so in its place.
fn show(rows: &StoreRows, task: &str, row: &StoredRow) -> Value {
    match rows.look(row) {
        Ok(row) => json!({
            "task": task,
            "key": row.key,
            "value": row.value,
            "timestamp": row.timestamp,
        }),
        Err(bad) => json!({ "task": task, "key": bad.key, "error": bad.why }),
    }
}

#[cfg(test)]
mod tests;
