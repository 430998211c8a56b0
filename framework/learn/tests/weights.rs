//! The store of weights against a model that nothing ever interrupted.
//!
//! Invariant: whatever was learned, drained, committed, refused or lost in a crash, the model has
//! the bits of a model that learned the same examples in one go.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{COLUMN, apply, environment};
use millstream_core::{
    batch::RecordBatch,
    store::{StateStore, StoreEnv},
};
use millstream_learn::{
    Example, Learner, Prequential, TextClassifier,
    dense::{DenseLogisticRegression, Scaled},
    features::{Features, SparseVector},
    grades::MulticlassGrades,
    linear::SoftmaxRegression,
    optim::{AdaGrad, FtrlProximal, Sgd},
    weights::{Manifest, Replicated, WeightStore},
};
use millstream_state::{Direction, WriteBatch};
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    ops::{Bound, ControlFlow},
    sync::OnceLock,
};

const CLASSES: u32 = 8;
const EXAMPLES: usize = 600;

/// A stream that is the same in every run: an example is its number.
struct Numbered {
    vector: SparseVector,
}

fn scatter(number: u64) -> u64 {
    (number ^ 0x5bd1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(29)
        .wrapping_mul(0xff51_afd7_ed55_8ccd)
}

fn label(number: u64) -> u32 {
    u32::try_from(scatter(number) >> 40).unwrap() % CLASSES
}

impl Features for Numbered {
    type Raw = [u64];
    type Vector = SparseVector;

    fn features<'a>(&'a mut self, raw: &'a [u64]) -> &'a SparseVector {
        self.vector.clear();
        for number in raw {
            let mut seen = std::collections::BTreeSet::new();
            for feature in 0..20 {
                let index = u32::try_from(scatter(number * 20 + feature) >> 51).unwrap();
                if seen.insert(index) {
                    self.vector.push(index, 0.25);
                }
            }
        }
        &self.vector
    }

    fn describe(&self) -> String {
        "numbered".into()
    }
}

type Model = Prequential<Numbered, SoftmaxRegression<FtrlProximal>, MulticlassGrades>;

/// 8,192 rows of 16 numbers: nine chunks.
fn model() -> Model {
    let features = Numbered {
        vector: SparseVector::new(),
    };
    let learner = SoftmaxRegression::new(13, CLASSES as usize, FtrlProximal::default());
    let grades = MulticlassGrades::with_window(CLASSES as usize, 20);
    Prequential::from_parts("m", features, learner, grades)
}

fn learn(model: &mut Model, number: usize) {
    let number = number as u64;
    model.process(&Example::labelled([number], label(number)));
}

fn commit(store: &mut impl StateStore, env: &StoreEnv) -> RecordBatch {
    let mut changes = RecordBatch::new();
    store.drain(&mut changes).unwrap();
    apply(env, &changes);
    store.applied().unwrap();
    changes
}

fn contents(env: &StoreEnv) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut all = BTreeMap::new();
    let everything = (Bound::Unbounded, Bound::Unbounded);
    let mut visit = |key: &[u8], value: &[u8]| {
        all.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    };
    env.backend
        .scan(COLUMN, everything, Direction::Ascending, &mut visit)
        .unwrap();
    all
}

fn holding(contents: &BTreeMap<Vec<u8>, Vec<u8>>) -> StoreEnv {
    let env = environment();
    let mut batch = WriteBatch::new();
    for (key, value) in contents {
        batch.put(COLUMN, key, value);
    }
    env.backend.apply(&batch).unwrap();
    env
}

fn open(env: &StoreEnv) -> millstream_core::Result<WeightStore<Model>> {
    WeightStore::open("weights", model(), env)
}

fn bits<M: Replicated>(model: &M) -> Vec<u32> {
    let table = model.table().unwrap();
    let rows = (0..u32::try_from(table.rows()).unwrap()).flat_map(|row| table.row(row));
    rows.map(|value| value.to_bits()).collect()
}

/// The fingerprint after every number of examples, of a model that nothing interrupted.
fn uninterrupted() -> &'static [u64] {
    static FINGERPRINTS: OnceLock<Vec<u64>> = OnceLock::new();
    FINGERPRINTS.get_or_init(|| {
        let mut store = open(&environment()).unwrap();
        (0..=EXAMPLES)
            .map(|number| {
                let fingerprint = store.fingerprint().unwrap();
                learn(store.model_mut(), number);
                fingerprint
            })
            .collect()
    })
}

#[derive(Clone, Debug)]
enum Step {
    Learn(usize),
    Drain,
    Applied,
    Abort,
    Crash,
    CrashAfterApply,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1usize..6).prop_map(Step::Learn),
        4 => Just(Step::Drain),
        3 => Just(Step::Applied),
        1 => Just(Step::Abort),
        1 => Just(Step::Crash),
        1 => Just(Step::CrashAfterApply),
    ];
    prop::collection::vec(step, 1..100)
}

/// A store, its backend, and how many of the stream's examples each of them knows.
struct Run {
    env: StoreEnv,
    store: WeightStore<Model>,
    at: usize,
    committed: usize,
    drained: Option<(RecordBatch, usize)>,
}

impl Run {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Learn(count) => {
                for _ in 0..*count {
                    learn(self.store.model_mut(), self.at);
                    self.at += 1;
                }
            }
            Step::Drain if self.drained.is_none() => {
                let mut changes = RecordBatch::new();
                self.store.drain(&mut changes).unwrap();
                self.drained = Some((changes, self.at));
            }
            Step::Drain => {}
            Step::Applied => {
                if let Some((changes, at)) = self.drained.take() {
                    apply(&self.env, &changes);
                    self.store.applied().unwrap();
                    self.committed = at;
                }
            }
            Step::Abort => {
                self.store.abort().unwrap();
                self.back_to_commit();
            }
            Step::Crash => self.reopen(),
            Step::CrashAfterApply => {
                if let Some((changes, at)) = self.drained.take() {
                    apply(&self.env, &changes);
                    self.committed = at;
                }
                self.reopen();
            }
        }
    }

    fn reopen(&mut self) {
        self.store = open(&self.env).unwrap();
        self.back_to_commit();
    }

    fn back_to_commit(&mut self) {
        self.at = self.committed;
        self.drained = None;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn bits_are_those_of_an_uninterrupted_model(steps in steps()) {
        let env = environment();
        let store = open(&env).unwrap();
        let mut run = Run { env, store, at: 0, committed: 0, drained: None };
        for step in &steps {
            run.step(step);
            let fingerprint = run.store.fingerprint().unwrap();
            prop_assert_eq!(fingerprint, uninterrupted()[run.at], "{:?}", step);
            prop_assert_eq!(run.store.model().version(), run.at as u64);
        }
        run.step(&Step::Drain);
        run.step(&Step::CrashAfterApply);
        let mut straight = model();
        (0..run.at).for_each(|number| learn(&mut straight, number));
        prop_assert_eq!(bits(run.store.model()), bits(&straight));
        prop_assert_eq!(run.store.model().grades(), straight.grades());
    }

    /// Damage of any kind is an error that names the store, or changes nothing.
    #[test]
    fn damage_is_refused(record: prop::sample::Index, place: prop::sample::Index, cut: bool) {
        let (env, mut store) = (environment(), open(&environment()).unwrap());
        for number in 0..5 {
            learn(store.model_mut(), number);
            commit(&mut store, &env);
        }
        let mut contents = contents(&env);
        let keys: Vec<_> = contents.keys().cloned().collect();
        let value = contents.get_mut(record.get(&keys)).unwrap();
        // The first eight bytes are the record's time, which the model does not read.
        let place = 8 + place.index(value.len() - 8);
        if cut {
            value.truncate(place);
        } else {
            value[place] ^= 0x10;
        }
        let message = open(&holding(&contents)).err().unwrap().to_string();
        prop_assert!(message.contains("store weights: weights: "), "{}", message);
    }
}

/// A lost record is missed, unless the others happen to say the same: then it is not needed.
#[test]
fn every_lost_record_is_missed() {
    let (env, mut store) = (environment(), open(&environment()).unwrap());
    for number in 0..25 {
        learn(store.model_mut(), number);
        commit(&mut store, &env);
    }
    let all = contents(&env);
    let (mut missed, expected) = (0, store.fingerprint().unwrap());
    for key in all.keys() {
        let mut rest = all.clone();
        rest.remove(key);
        match open(&holding(&rest)) {
            Ok(back) => assert_eq!(back.fingerprint().unwrap(), expected),
            Err(error) => {
                let message = error.to_string();
                assert!(
                    message.contains("missing") || message.contains("without a manifest"),
                    "{message}"
                );
                missed += 1;
            }
        }
    }
    assert!(
        missed + 1 >= all.len(),
        "{missed} of {}: {:?}",
        all.len(),
        all.keys()
    );
}

/// Why `learn` asks for whole commits: where a crash leaves the first records of one in the log,
/// none of them opens, however many they are.
#[test]
fn a_commit_that_is_there_in_part_opens_no_model() {
    let (env, mut store) = (environment(), open(&environment()).unwrap());
    for number in 0..12 {
        learn(store.model_mut(), number);
        commit(&mut store, &env);
    }
    let before = contents(&env);
    learn(store.model_mut(), 12);
    let mut changes = RecordBatch::new();
    store.drain(&mut changes).unwrap();
    assert!(changes.len() > 2);
    for records in 1..=changes.len() {
        let (torn, mut part) = (holding(&before), RecordBatch::new());
        for (offset, record) in changes.iter().take(records) {
            assert!(part.push(offset, record));
        }
        apply(&torn, &part);
        assert_eq!(open(&torn).is_ok(), records == changes.len(), "{records}");
    }
}

#[test]
fn another_model_is_refused_with_the_difference() {
    let env = environment();
    let text = |bits, rate| {
        let options = millstream_learn::features::TextOptions {
            bits,
            ..Default::default()
        };
        let features = millstream_learn::features::TextFeatures::new(options);
        let learner = millstream_learn::linear::LogisticRegression::new(bits, AdaGrad { rate });
        let grades = millstream_learn::grades::BinaryGrades::default();
        TextClassifier::from_parts("m", features, learner, grades)
    };
    let mut store = WeightStore::open("reviews", text(10, 1.0), &env).unwrap();
    store.model_mut().process(&Example::labelled("good", true));
    commit(&mut store, &env);
    assert!(WeightStore::open("reviews", text(10, 1.0), &env).is_ok());
    let message = |bits, rate| {
        WeightStore::open("reviews", text(bits, rate), &env)
            .err()
            .unwrap()
            .to_string()
    };
    let rate = message(10, 0.5);
    assert!(
        rate.contains("store reviews is another than the program's"),
        "{rate}"
    );
    assert!(
        rate.contains("AdaGrad(rate=1)), is now LogisticRegression(AdaGrad(rate=0.5))"),
        "{rate}"
    );
    assert!(message(11, 1.0).contains("rows was 1024, is now 2048"));
}

#[test]
fn nothing_learned_is_nothing_written() {
    let env = environment();
    let mut store = open(&env).unwrap();
    assert_eq!(commit(&mut store, &env).len(), 0);
    store.model_mut().process(&Example::unlabelled([1]));
    assert_eq!(commit(&mut store, &env).len(), 0);
    learn(store.model_mut(), 0);
    assert!(store.dirty_bytes() > 0);
    assert!(commit(&mut store, &env).len() > 2);
    assert_eq!((store.dirty_bytes(), store.seq()), (0, 1));
}

#[test]
fn the_manifest_speaks_to_whoever_looks() {
    let (env, mut store) = (environment(), open(&environment()).unwrap());
    store.set_time(77);
    for number in 0..3 {
        learn(store.model_mut(), number);
    }
    let changes = commit(&mut store, &env);
    let (_, last) = changes.iter().last().unwrap();
    assert_eq!((last.key, last.timestamp), (Some(&b"M"[..]), 77));
    let manifest = Manifest::decode(last.value.unwrap()).unwrap();
    assert_eq!((manifest.seq, manifest.learned), (1, 3));
    assert_eq!(manifest.fingerprint, store.fingerprint().unwrap());
    assert!(manifest.schema.contains(&("rows".into(), "8192".into())));
}

/// One commit that touches most of a table: its delta comes in parts below a broker's limit.
#[test]
fn large_deltas_come_in_parts() {
    let env = environment();
    let large = || SoftmaxRegression::new(17, 2, Sgd { rate: 0.1 });
    let mut store = WeightStore::open("large", large(), &env).unwrap();
    let mut x = SparseVector::new();
    (0..100_000).for_each(|index| x.push(index, 0.01));
    store.model_mut().learn(&x, &1);
    let changes = commit(&mut store, &env);
    let parts = changes
        .iter()
        .filter(|(_, record)| record.key.unwrap().starts_with(b"D/"));
    assert_eq!(parts.count(), 4);
    assert!(
        changes
            .iter()
            .all(|(_, record)| record.value.unwrap().len() < 600_000)
    );
    let back = WeightStore::open("large", large(), &env).unwrap();
    assert_eq!(bits(back.model()), bits(store.model()));

    // The rolling snapshot overtakes the large delta, whose parts are deleted then.
    let mut x = SparseVector::new();
    x.push(3, 1.0);
    for _ in 0..40 {
        store.model_mut().learn(&x, &0);
        commit(&mut store, &env);
    }
    assert!(!contents(&env).contains_key(&b"D/1/3"[..]));
    let back = WeightStore::open("large", large(), &env).unwrap();
    assert_eq!(bits(back.model()), bits(store.model()));
}

/// The changelog after compaction stays within a few times the model, however long it runs.
#[test]
fn the_changelog_is_bounded_by_the_model() {
    let (env, mut store) = (environment(), open(&environment()).unwrap());
    for number in 0..EXAMPLES {
        learn(store.model_mut(), number);
        commit(&mut store, &env);
        let bytes: usize = contents(&env).values().map(Vec::len).sum();
        let live = bits(store.model())
            .iter()
            .filter(|bits| **bits != 0)
            .count()
            * 4;
        assert!(
            bytes < 6 * live + 20_000,
            "{bytes} bytes for {live} after {number}"
        );
    }
}

#[test]
fn a_dense_model_is_its_manifest() {
    let env = environment();
    let fresh = || Scaled::new(DenseLogisticRegression::new(Sgd { rate: 0.05 }));
    let mut store = WeightStore::open("dense", fresh(), &env).unwrap();
    for step in 0..50 {
        let x = f64::from(step % 7);
        store
            .model_mut()
            .learn(&[x, 1.0 / (1.0 + x)], &(step % 7 > 2));
        assert_eq!(commit(&mut store, &env).len(), 1);
    }
    let kept = store.fingerprint().unwrap();
    store.model_mut().learn(&[3.0, 4.0], &true);
    store.abort().unwrap();
    let back = WeightStore::open("dense", fresh(), &env).unwrap();
    assert_eq!(
        (store.fingerprint().unwrap(), back.fingerprint().unwrap()),
        (kept, kept)
    );
    assert_eq!(
        back.model().predict(&[3.0, 4.0]).to_bits(),
        store.model().predict(&[3.0, 4.0]).to_bits()
    );
}

/// A model that learned elsewhere is logged whole by its first commit.
#[test]
fn a_warm_start_survives_a_restore() {
    let env = environment();
    let mut warm = model();
    (0..50).for_each(|number| learn(&mut warm, number));
    let mut store = WeightStore::open("weights", warm, &env).unwrap();
    learn(store.model_mut(), 50);
    commit(&mut store, &env);
    let back = open(&env).unwrap();
    assert_eq!(bits(back.model()), bits(store.model()));
    assert_eq!(back.fingerprint().unwrap(), uninterrupted()[51]);
}
