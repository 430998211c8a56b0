//! The program: its topics, its topology, its table, and how the model shows itself.

use anyhow::Result;
use millstream::{
    http::{ModelPart, ModelStatus, Quality},
    learn::{
        Example, LearnExt, Scored, TextClassifier,
        features::TextFeatures,
        grades::BinaryGrades,
        linear::LogisticRegression,
        optim::AdaGrad,
        weights::{Manifest, Replicated},
    },
    log::murmur2,
    prelude::*,
    runtime::{
        streams::Streams,
        worker::{TaskRole, TaskView},
    },
    sink::{Millis, RecordMeta, Table, row},
    state::{Backend, Column},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

/// The model's name: of its store, and in its predictions.
pub(crate) const MODEL: &str = "sentiment";
/// Over how many of the last texts the rolling grades go.
const ROLLING: usize = 1_000;
/// Half of what suits tweets: a review's hundreds of words each say a little, and at the full rate
/// the first thousand reviews teach the model to be too sure. Measured on the reviews: a log-loss
/// of .261 for .271.
const RATE: f64 = 0.5;

/// A text, and whether it is favourable, where somebody has said so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Review {
    pub(crate) text: String,
    pub(crate) favourable: Option<bool>,
}

pub(crate) type Judged = Scored<f64, bool>;

pub(crate) static REVIEWS: Topic<String, Review> = Topic::new("reviews", utf8(), bincode());
pub(crate) static PREDICTIONS: Topic<String, Judged> = Topic::new("predictions", utf8(), json());

/// Every review is predicted, graded and learned from.
pub(crate) fn topology() -> millstream::Result<Topology> {
    let builder = StreamsBuilder::new();
    builder
        .stream(&REVIEWS)
        .map_values(|review| Example {
            input: review.text,
            label: review.favourable,
        })
        .learn(MODEL, fresh)
        .to(&PREDICTIONS);
    builder.build()
}

fn fresh() -> TextClassifier {
    let features = TextFeatures::default();
    let learner = LogisticRegression::new(features.options().bits, AdaGrad { rate: RATE });
    TextClassifier::from_parts(MODEL, features, learner, BinaryGrades::new(ROLLING))
}

/// The program's version, and what tells its model from others: features, learner, settings and
/// size, under which alone weights are used. It stays the same whatever the model learns.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let schema = format!("{:?}", fresh().schema());
    let digest = murmur2::hash(schema.as_bytes());
    format!("{}-{digest:08x}", env!("CARGO_PKG_VERSION"))
});

/// A row of the table `predictions`.
pub(crate) struct Prediction {
    id: String,
    written_at: Millis,
    model: String,
    version: i64,
    probability: f64,
    predicted: bool,
    truth: Option<bool>,
    correct: Option<bool>,
    review_partition: i64,
    review_offset: i64,
}

row!(Prediction {
    id: key,
    written_at,
    model,
    version,
    probability,
    predicted,
    truth,
    correct,
    review_partition,
    review_offset,
});

pub(crate) static TABLE: Table<Prediction> = Table::new("predictions");

/// The row that a record of the topic `predictions` becomes.
#[expect(
    clippy::ptr_arg,
    reason = "a sink hands over what the topic's key serde reads"
)]
pub(crate) fn to_row(id: &String, judged: &Judged, meta: &RecordMeta<'_>) -> Prediction {
    let said = &judged.prediction;
    Prediction {
        id: id.clone(),
        written_at: Millis(meta.timestamp),
        model: said.model.to_string(),
        version: i64::try_from(said.version).unwrap_or(i64::MAX),
        probability: said.output,
        predicted: said.predicted,
        truth: said.truth,
        correct: said.correct,
        review_partition: i64::from(judged.partition),
        review_offset: judged.offset,
    }
}

/// The model over all partitions, as of the last commit.
pub(crate) struct Standing {
    pub(crate) grades: BinaryGrades,
    pub(crate) learned: u64,
    parts: Vec<ModelPart>,
    /// Equal for two runs whose weights and grades have the same bits.
    pub(crate) fingerprint: u64,
}

/// Reads how the model stands. Invariant: what is read was committed.
pub(crate) fn standing(streams: &Streams) -> Result<Standing> {
    Models::of(streams).standing()
}

/// The states that this instance has of the model, one of each partition. They can be read also
/// when the threads have ended, and only then are they all that was committed: a thread writes its
/// state down after the log has shown the commit to everybody else. A task that passes between two
/// threads shows in both, and counts once.
pub(crate) struct Models(BTreeMap<u32, Part>);

/// The state of one partition's model.
struct Part {
    /// Records since its task came here, which are as many predictions.
    processed: u64,
    committed: Arc<dyn Backend>,
    column: Column,
}

impl Models {
    pub(crate) fn of(streams: &Streams) -> Self {
        let Some((subtopology, column, _)) = streams.program().topology.find_store(MODEL) else {
            return Self(BTreeMap::new());
        };
        let tasks = streams.tasks().into_iter();
        let ours = tasks
            .filter(|task| task.id.subtopology == subtopology && task.role == TaskRole::Active);
        let part = |task: TaskView| Part {
            processed: task.processed,
            committed: task.committed,
            column: Column(column),
        };
        Self(ours.map(|task| (task.id.partition, part(task))).collect())
    }

    /// How they stand together.
    pub(crate) fn standing(&self) -> Result<Standing> {
        let mut standing = Standing {
            grades: BinaryGrades::new(ROLLING),
            learned: 0,
            parts: Vec::new(),
            fingerprint: 0,
        };
        let mut found = 0;
        for (&partition, part) in &self.0 {
            let manifest = Manifest::read(&*part.committed, part.column)?;
            standing.parts.push(ModelPart {
                partition,
                predictions: part.processed,
                learned: manifest.as_ref().map_or(0, |manifest| manifest.learned),
            });
            let Some(manifest) = manifest else { continue };
            let (_, grades): <TextClassifier as Replicated>::Rest = manifest.rest()?;
            if found == 0 {
                standing.grades = grades;
            } else {
                standing.grades.merge(&grades);
            }
            found += 1;
            standing.learned += manifest.learned;
            standing.fingerprint = standing.fingerprint.wrapping_add(manifest.fingerprint);
        }
        Ok(standing)
    }
}

/// The model as the page shows it.
pub(crate) fn status(streams: &Streams) -> Vec<ModelStatus> {
    let Ok(standing) = standing(streams) else {
        return Vec::new();
    };
    let grades = standing.grades;
    let rolling = format!("rolling-{ROLLING}");
    let values = [
        ("accuracy", "all", grades.accuracy()),
        ("accuracy", &rolling, grades.rolling_accuracy()),
        ("log_loss", "all", grades.log_loss()),
        ("log_loss", &rolling, grades.rolling_log_loss()),
        ("auc", "all", grades.auc()),
        ("auc", &rolling, grades.rolling_auc()),
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
        kind: "logistic regression, AdaGrad".to_owned(),
        version: VERSION.clone(),
        predictions: standing.parts.iter().map(|part| part.predictions).sum(),
        learned: standing.learned,
        partitions: standing.parts,
        quality: quality.collect(),
    }]
}
