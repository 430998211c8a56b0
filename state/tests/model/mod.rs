//! A backend's model, a sorted map per column, and random programs to run on both.

use millstream_state::{
    Backend, Column, Direction, Position, WriteBatch,
    contract::{get, position, scan},
};
use proptest::{prelude::*, test_runner::TestCaseError};
use std::{
    collections::BTreeMap,
    ops::{Bound, RangeBounds},
};

/// The columns of the backend under test.
pub(crate) const COLUMNS: [&str; 2] = ["left", "right"];

/// One change within a batch: a put, or a delete where the value is missing.
pub(crate) type Change = (u16, Vec<u8>, Option<Vec<u8>>);

/// What a program does next.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Applies changes, and a position of one column.
    Apply(Vec<Change>, Option<(u16, i64)>),
    /// Empties a column.
    Clear(u16),
    /// Compares a range, in both directions.
    Scan(u16, Bound<Vec<u8>>, Bound<Vec<u8>>),
    /// Closes the backend and opens it again, where it can be.
    Reopen,
}

/// Few and short keys, so that programs meet the same key often.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0u8, 1, 0xFF]), 0..4)
}

fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![
        key().prop_map(Bound::Included),
        key().prop_map(Bound::Excluded),
        Just(Bound::Unbounded),
    ]
}

/// Random programs.
pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let column = || 0..2_u16;
    let value = prop::option::weighted(0.7, prop::collection::vec(any::<u8>(), 0..40));
    let changes = prop::collection::vec((column(), key(), value), 0..12);
    let moved = prop::option::of((column(), 0..1_000_i64));
    let step = prop_oneof![
        8 => (changes, moved).prop_map(|(changes, moved)| Step::Apply(changes, moved)),
        1 => column().prop_map(Step::Clear),
        6 => (column(), bound(), bound()).prop_map(|(c, from, to)| Step::Scan(c, from, to)),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..25)
}

/// What a column should hold.
#[derive(Default)]
struct Model {
    map: BTreeMap<Vec<u8>, Vec<u8>>,
    position: Option<Position>,
}

/// Runs a program on the backend and on the model, and compares all there is after every step.
pub(crate) fn run<B: Backend>(
    mut backend: B,
    steps: &[Step],
    mut reopen: impl FnMut(B) -> B,
) -> Result<(), TestCaseError> {
    let mut models: [Model; COLUMNS.len()] = Default::default();
    let mut batch = WriteBatch::new();
    for step in steps {
        match step {
            Step::Apply(changes, moved) => {
                apply(&mut models, &mut batch, changes, *moved);
                backend.apply(&batch)?;
            }
            Step::Clear(column) => {
                models[usize::from(*column)] = Model::default();
                backend.clear(Column(*column))?;
            }
            Step::Scan(column, from, to) => {
                let bounds = (
                    from.as_ref().map(Vec::as_slice),
                    to.as_ref().map(Vec::as_slice),
                );
                compare(&backend, *column, &models[usize::from(*column)], bounds)?;
            }
            Step::Reopen => backend = reopen(backend),
        }
        for (column, model) in (0..).zip(&models) {
            compare(
                &backend,
                column,
                model,
                (Bound::Unbounded, Bound::Unbounded),
            )?;
            prop_assert_eq!(backend.position(Column(column))?, model.position);
        }
    }
    Ok(())
}

fn apply(
    models: &mut [Model],
    batch: &mut WriteBatch,
    changes: &[Change],
    moved: Option<(u16, i64)>,
) {
    batch.clear();
    for (column, key, value) in changes {
        let map = &mut models[usize::from(*column)].map;
        if let Some(value) = value {
            // Not every new key is said to be one: whoever does not know says nothing.
            match (map.contains_key(key), key.len() % 3) {
                (true, _) | (_, 0) => batch.put(Column(*column), key, value),
                (_, 1) => batch.insert_parts(Column(*column), key, &[value]),
                _ => batch.suppose_parts(Column(*column), key, &[value]),
            }
            map.insert(key.clone(), value.clone());
        } else {
            batch.delete(Column(*column), key);
            map.remove(key);
        }
    }
    if let Some((column, offset)) = moved {
        batch.set_position(Column(column), position(offset));
        models[usize::from(column)].position = Some(position(offset));
    }
}

fn compare(
    backend: &impl Backend,
    column: u16,
    model: &Model,
    bounds: (Bound<&[u8]>, Bound<&[u8]>),
) -> Result<(), TestCaseError> {
    let inside = (model.map.iter())
        .filter(|(key, _)| RangeBounds::<[u8]>::contains(&bounds, key.as_slice()));
    let mut expected: Vec<_> = inside.map(|(k, v)| (k.clone(), v.clone())).collect();
    let column = Column(column);
    for (key, value) in &expected {
        let found = get(backend, column, key)?;
        prop_assert_eq!(found.as_ref(), Some(value));
    }
    prop_assert_eq!(
        &scan(backend, column, bounds, Direction::Ascending)?,
        &expected
    );
    expected.reverse();
    prop_assert_eq!(
        &scan(backend, column, bounds, Direction::Descending)?,
        &expected
    );
    Ok(())
}
