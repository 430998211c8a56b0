//! How the model stands: what it has done and how good it is, for the run's end, page and metrics.
//!
//! Invariant: what is read was committed, and is of the partitions that this instance has.

use crate::model::{Clicks, MODEL, ROLLING, fresh};
use anyhow::Result;
use millstream::{
    http::{ModelPart, ModelStatus, Quality},
    learn::{
        grades::BinaryGrades,
        weights::{Manifest, Replicated},
    },
    log::murmur2,
    runtime::{
        streams::Streams,
        worker::{TaskRole, TaskView},
    },
    state::{Backend, Column},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

/// The program's version, and what tells its model from others: features, learner, settings and
/// size, under which alone weights are used. It stays the same whatever the model learns.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let schema = format!("{:?}", fresh().schema());
    let digest = murmur2::hash(schema.as_bytes());
    format!("{}-{digest:08x}", env!("CARGO_PKG_VERSION"))
});

/// The model over all partitions of this instance.
pub(crate) struct Standing {
    pub(crate) grades: BinaryGrades,
    learned: u64,
    parts: Vec<ModelPart>,
}

/// The states that this instance has of the model, one of each partition. They can be read also
/// when the threads have ended, and only then are they all that was committed. A task that passes
/// between two threads shows in both, and counts once.
pub(crate) struct Models(BTreeMap<u32, (Arc<dyn Backend>, Column)>);

impl Models {
    pub(crate) fn of(streams: &Streams) -> Self {
        let Some((subtopology, column, _)) = streams.program().topology.find_store(MODEL) else {
            return Self(BTreeMap::new());
        };
        let tasks = streams.tasks().into_iter();
        let ours = tasks
            .filter(|task| task.id.subtopology == subtopology && task.role == TaskRole::Active);
        let part = |task: TaskView| (task.committed, Column(column));
        Self(ours.map(|task| (task.id.partition, part(task))).collect())
    }

    /// How they stand together. Of several the last few predictions are told of one only.
    pub(crate) fn standing(&self) -> Result<Standing> {
        let mut found: Option<BinaryGrades> = None;
        let (mut learned, mut parts) = (0, Vec::new());
        for (&partition, (committed, column)) in &self.0 {
            let manifest = Manifest::read(&**committed, *column)?;
            let of_part = manifest.as_ref().map_or(0, |manifest| manifest.learned);
            learned += of_part;
            // Every item that is shown has a label: it is predicted, and then learned from. The
            // task's records are no measure, since it is given the catalogue and other events too.
            parts.push(ModelPart {
                partition,
                predictions: of_part,
                learned: of_part,
            });
            let Some(manifest) = manifest else { continue };
            let (_, grades): <Clicks as Replicated>::Rest = manifest.rest()?;
            match &mut found {
                Some(all) => all.merge(&grades),
                none => *none = Some(grades),
            }
        }
        Ok(Standing {
            grades: found.unwrap_or_else(|| BinaryGrades::new(ROLLING)),
            learned,
            parts,
        })
    }
}

/// The model as the page shows it.
pub(crate) fn status(streams: &Streams) -> Vec<ModelStatus> {
    let Ok(standing) = Models::of(streams).standing() else {
        return Vec::new();
    };
    let grades = standing.grades;
    let rolling = format!("rolling-{ROLLING}");
    let values = [
        ("log_loss", "all", grades.log_loss()),
        ("log_loss", &rolling, grades.rolling_log_loss()),
        ("auc", "all", grades.auc()),
        ("auc", &rolling, grades.rolling_auc()),
        ("accuracy", "all", grades.accuracy()),
        ("accuracy", &rolling, grades.rolling_accuracy()),
    ];
    let quality = values.into_iter().filter_map(|(metric, window, value)| {
        Some(Quality {
            metric: metric.to_owned(),
            window: window.to_owned(),
            value: value?,
        })
    });
    vec![ModelStatus {
        name: MODEL.to_owned(),
        kind: "logistic regression over five numbers, AdaGrad".to_owned(),
        version: VERSION.clone(),
        predictions: standing.learned,
        learned: standing.learned,
        partitions: standing.parts,
        quality: quality.collect(),
    }]
}
