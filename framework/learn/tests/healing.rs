//! A model that an older version has ruined: its weights that are no numbers are new when it has
//! been restored, and all others are what they were.
//!
//! Invariant: what the model is from then on does not depend on when it is restored again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{apply, environment};
use millstream_core::{
    batch::RecordBatch,
    store::{StateStore, StoreEnv},
};
use millstream_learn::{
    Learner,
    features::SparseVector,
    linear::SoftmaxRegression,
    optim::FtrlProximal,
    weights::{Replicated, WeightStore},
};

const CLASSES: u32 = 8;
/// 8,192 rows of 16 numbers: nine chunks of the rolling snapshot.
const BITS: u32 = 13;
/// More commits than there are chunks.
const COMMITS: u32 = 30;
/// A feature that is learned again soon, and one that never is.
const RETAUGHT: u32 = 7;
const LEFT: u32 = 8_000;

type Store = WeightStore<SoftmaxRegression<FtrlProximal>>;

fn open(env: &StoreEnv) -> Store {
    let model = SoftmaxRegression::new(BITS, CLASSES as usize, FtrlProximal::default());
    WeightStore::open("weights", model, env).unwrap()
}

fn commit(store: &mut Store, env: &StoreEnv) {
    let mut changes = RecordBatch::new();
    store.drain(&mut changes).unwrap();
    apply(env, &changes);
    store.applied().unwrap();
}

fn one(feature: u32) -> SparseVector {
    let mut vector = SparseVector::new();
    vector.push(feature, 1.0);
    vector
}

fn learn(store: &mut Store, feature: u32) {
    store.model_mut().learn(&one(feature), &(feature % CLASSES));
}

/// A commit's worth of examples, of the feature that is learned again and of others.
fn go_on(store: &mut Store, env: &StoreEnv, number: u32) {
    learn(store, RETAUGHT);
    learn(store, 100 + number);
    commit(store, env);
}

/// A model with two ruined weights, as it was committed; and what it is to be.
fn ruined() -> (StoreEnv, u64) {
    let env = environment();
    let mut store = open(&env);
    for feature in [RETAUGHT, LEFT, 50, 60] {
        learn(&mut store, feature);
    }
    commit(&mut store, &env);
    let numbers = |store: &mut Store, of: [f32; 3]| {
        let table = store.model_mut().table_mut().unwrap();
        table.row_mut(RETAUGHT)[4] = of[0];
        table.row_mut(LEFT)[9] = of[1];
        table.row_mut(LEFT)[8] = of[2];
    };
    // The other number of each of the two slots goes with it.
    let table = store.model_mut().table_mut().unwrap();
    table.row_mut(RETAUGHT)[5] = 0.0;
    numbers(&mut store, [0.0; 3]);
    let healed = store.fingerprint().unwrap();
    numbers(&mut store, [f32::NAN, f32::INFINITY, 1.0]);
    commit(&mut store, &env);
    (env, healed)
}

fn says_numbers(store: &Store) -> bool {
    let said = [RETAUGHT, LEFT, 50].map(|feature| store.model().predict(&one(feature)));
    said.iter().flatten().all(|share| share.is_finite())
}

#[test]
fn ruined_weights_are_new_and_the_others_as_they_were() {
    let (env, healed) = ruined();
    let mut store = open(&env);
    assert_eq!(
        (store.repaired(), store.fingerprint().unwrap()),
        (2, healed)
    );
    assert!(says_numbers(&store));
    // A commit that the log refuses brings no ruin back.
    learn(&mut store, RETAUGHT);
    store.abort().unwrap();
    assert_eq!(store.fingerprint().unwrap(), healed);
    assert!(says_numbers(&store));
}

#[test]
fn a_model_that_was_healed_is_the_same_however_often_it_is_restored() {
    let mut fingerprints = Vec::new();
    for every in [u32::MAX, 1, 4] {
        let (env, _) = ruined();
        let mut store = open(&env);
        let mut repaired = store.repaired();
        let mut all = Vec::new();
        for number in 0..COMMITS {
            go_on(&mut store, &env, number);
            if number % every == every - 1 {
                store = open(&env);
                assert!(store.repaired() <= repaired, "new ruin");
                repaired = store.repaired();
            }
            all.push(store.fingerprint().unwrap());
        }
        // By now all chunks were written, with the rows of which nothing was learned.
        assert_eq!(open(&env).repaired(), 0);
        fingerprints.push(all);
    }
    assert_eq!(fingerprints[0], fingerprints[1]);
    assert_eq!(fingerprints[0], fingerprints[2]);
}
