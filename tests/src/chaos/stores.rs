//! Whether the disks hold what the changelogs say, and the models what their records teach.
//!
//! Invariant: every store on every instance's disk is looked at, also those of tasks that moved
//! away long ago; and each task's store on the instance where it ran last must be at the end.

use super::{
    CALM, LOOK, Weather,
    check::{self, Verdict},
    instance::Instance,
    program::{self, APPLICATION, COUNTS, MODEL},
    reader::{Entry, Reader},
    windows,
};
use anyhow::Result;
use millstream_core::{
    record::{TaskId, Timestamp, TopicPartition},
    store::StoreEnv,
};
use millstream_learn::weights::WeightStore;
use millstream_runtime::{
    backends::{Backends, RocksBackends},
    program::ChangelogColumn,
};
use millstream_state::{Backend, Column, Direction, Limits, MemoryBackend, Shared, StateDir};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{Bound, ControlFlow},
    sync::Arc,
};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// Waits until each task runs on one instance and each instance runs some: one that came back last
/// may be on its way into the group, and tasks on their way to it run nowhere. Where that takes too
/// long, the judgement will say what is wrong.
pub(super) fn wait_until_placed(
    weather: &Weather<'_>,
    instances: &[Instance],
    reader: &Reader,
) -> Result<()> {
    let all = reader.program.layout.tasks.iter();
    let mut all: Vec<_> = all.map(|task| task.id.to_string()).collect();
    all.sort();
    let (began, limit) = (weather.elapsed(), weather.elapsed() + CALM);
    while weather.elapsed() < limit {
        let active = instances.iter().map(Instance::active_tasks);
        let active: Vec<_> = active.collect::<Result<_>>()?;
        let mut named: Vec<_> = active.iter().flatten().cloned().collect();
        named.sort();
        if named == all && active.iter().all(|tasks| !tasks.is_empty()) {
            let took = weather.elapsed().saturating_sub(began);
            weather.say(&format!(
                "every task runs on one instance, after {took:.1?}"
            ));
            return Ok(());
        }
        weather.pause(LOOK);
    }
    Ok(())
}

/// Looks at all stores of instances that have ended.
pub(super) fn check(
    instances: &[Instance],
    reader: &mut Reader,
    verdict: &mut Verdict,
) -> Result<()> {
    let mut judge = Judge::new(reader)?;
    let mut owned: BTreeMap<TaskId, usize> = BTreeMap::new();
    for (number, instance) in instances.iter().enumerate() {
        let active = instance.active_tasks()?;
        let dir = StateDir::open(instance.directory.join(APPLICATION).join("tasks"))?;
        let there: BTreeSet<String> = dir.tasks()?.into_iter().collect();
        let backends = RocksBackends::in_dir(dir, Shared::new(Limits::default()));
        let tasks: Vec<_> = reader
            .program
            .layout
            .tasks
            .iter()
            .map(|task| task.id)
            .collect();
        for task in tasks {
            let is_active = active.contains(&task.to_string());
            if is_active {
                *owned.entry(task).or_default() += 1;
            }
            if there.contains(&task.to_string()) {
                let backend = backends.open(task, &reader.program.columns(task))?;
                let name = format!("instance {number}, task {task}");
                judge.task(reader, verdict, (&name, task, is_active), &backend)?;
            } else if is_active {
                verdict.diverged(&format!("instance {number} ran {task} without a disk"));
            }
        }
    }
    for task in reader.program.layout.tasks.iter().map(|task| task.id) {
        let owners = owned.get(&task).copied().unwrap_or(0);
        if owners != 1 {
            verdict.diverged(&format!("{task} ran on {owners} instances at the end"));
        }
    }
    Ok(())
}

/// What the stores are held to.
struct Judge {
    changelogs: BTreeMap<TopicPartition, Vec<Entry>>,
    /// The fingerprint of the model of each partition, learned in one go.
    models: Vec<u64>,
    /// The greatest time of each partition of the input, by which windows expire.
    observed: Vec<Timestamp>,
}

impl Judge {
    fn new(reader: &mut Reader) -> Result<Self> {
        let (mut models, mut observed) = (Vec::new(), Vec::new());
        for partition in 0..super::PARTITIONS {
            let (values, newest) = check::examples(reader, partition)?;
            observed.push(newest);
            let memory = MemoryBackend::new(&[MODEL.to_owned()]);
            let mut model = open_model(Arc::new(memory), Column(0))?;
            for value in values {
                model.model_mut().process(&program::example(value));
            }
            models.push(model.fingerprint()?);
        }
        let changelogs = BTreeMap::new();
        Ok(Self {
            changelogs,
            models,
            observed,
        })
    }

    fn task(
        &mut self,
        reader: &mut Reader,
        verdict: &mut Verdict,
        (name, task, is_active): (&str, TaskId, bool),
        backend: &Arc<dyn Backend>,
    ) -> Result<()> {
        for store in reader.program.changelogs(task) {
            let name = format!("{name}, {}", store.store);
            let log = match self.changelogs.get(&store.changelog) {
                Some(log) => log,
                None => {
                    let at = &store.changelog;
                    let records = reader.records(&at.topic, at.partition)?;
                    self.changelogs.entry(at.clone()).or_insert(records)
                }
            };
            // Rows of windows that have expired are deleted whenever there is time for it.
            let observed = self.observed[task.partition as usize];
            let kept = |row: &[u8]| store.store != COUNTS || windows::is_kept(row, observed);
            store_is_its_changelog(verdict, (&name, is_active), backend, (&store, log), &kept)?;
            if store.store == MODEL && is_active {
                let found = open_model(Arc::clone(backend), Column(store.column))?.fingerprint()?;
                let expected = self.models[task.partition as usize];
                if found != expected {
                    let what = format!("{name}: weights {found:016x}, not {expected:016x}");
                    verdict.diverged(&what);
                }
            }
        }
        Ok(())
    }
}

fn open_model(
    backend: Arc<dyn Backend>,
    column: Column,
) -> Result<WeightStore<millstream_learn::TextClassifier>> {
    let env = StoreEnv {
        backend,
        column,
        cache_bytes: 0,
        trimmed: false,
    };
    Ok(WeightStore::open(MODEL, program::fresh(), &env)?)
}

/// A store must hold what its changelog says up to the reach of the position that is stored with
/// it, once that is replayed from the position on, and an active task's must be at the end. Of
/// what is not to be `kept` there is no telling.
/// Changelogs of a run are shorter than a segment, so nothing was compacted away from them.
fn store_is_its_changelog(
    verdict: &mut Verdict,
    (name, is_active): (&str, bool),
    backend: &Arc<dyn Backend>,
    (store, log): (&ChangelogColumn, &[Entry]),
    kept: &dyn Fn(&[u8]) -> bool,
) -> Result<()> {
    let column = Column(store.column);
    let position = backend.position(column)?;
    let (position, reach) = position.map_or((0, 0), |at| (at.offset, at.reach));
    let missing = log.iter().filter(|entry| entry.offset >= position).count();
    if is_active && missing > 0 {
        verdict.diverged(&format!(
            "{name}: at {position}, {missing} records before the end"
        ));
    }
    let (mut expected, mut found) = (Rows::new(), rows(&**backend, column)?);
    for entry in log.iter().filter(|entry| entry.offset < reach) {
        replay(&mut expected, entry);
        if entry.offset >= position {
            replay(&mut found, entry);
        }
    }
    expected.retain(|row, _| kept(row));
    found.retain(|row, _| kept(row));
    if found != expected {
        let differ = (expected.iter()).filter(|(key, value)| found.get(*key) != Some(value));
        let differ = differ.count();
        let (rows, wanted) = (found.len(), expected.len());
        verdict.diverged(&format!(
            "{name}: at {position} it has {rows} rows, its changelog gives {wanted}, of which \
             {differ} are not there so"
        ));
    }
    Ok(())
}

fn replay(rows: &mut Rows, entry: &Entry) {
    let key = entry.key.clone().unwrap_or_default();
    match &entry.value {
        Some(value) => rows.insert(key, [&entry.timestamp.to_be_bytes()[..], value].concat()),
        None => rows.remove(&key),
    };
}

fn rows(backend: &dyn Backend, column: Column) -> Result<Rows> {
    let mut rows = Rows::new();
    let everything = (Bound::Unbounded, Bound::Unbounded);
    let mut take = |key: &[u8], value: &[u8]| {
        rows.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    };
    backend.scan(column, everything, Direction::Ascending, &mut take)?;
    Ok(rows)
}
