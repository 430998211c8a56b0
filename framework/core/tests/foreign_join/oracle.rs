//! Foreign-key joins under any sequence of changes, held to the join of two maps.
//!
//! Where each change is followed to its end, what was told is the join after every change. Where
//! the tasks of several partitions run in any order, it is the join once all has been delivered.

use super::{Driver, Join, LEFT, OUT, RIGHT, cluster::Cluster, inner, left, program};
use millstream_core::{prelude::*, task::Emission};
use proptest::{collection::vec, prelude::*};
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
pub(super) enum Change {
    /// A deletion is `None`, a row without a foreign key `Some(None)`.
    Left(i64, Option<Option<u8>>),
    Right(u8, bool),
}

fn changes() -> impl Strategy<Value = Change> {
    let foreign = prop_oneof![1 => Just(None), 6 => (0u8..3).prop_map(Some)];
    let row = prop_oneof![1 => Just(None), 4 => foreign.prop_map(Some)];
    prop_oneof![
        3 => (-1i64..1, row).prop_map(|(key, row)| Change::Left(key, row)),
        2 => (0u8..3, any::<bool>()).prop_map(|(key, put)| Change::Right(key, put)),
    ]
}

/// The two tables; left rows with their foreign keys.
#[derive(Default)]
pub(super) struct Rows {
    left: BTreeMap<i64, (Option<String>, String)>,
    right: BTreeMap<String, String>,
}

/// A change as a record: topic, key, value.
type Written = (&'static str, Vec<u8>, Option<String>);

fn set<K: Ord, V>(rows: &mut BTreeMap<K, V>, key: K, row: Option<V>) {
    match row {
        Some(row) => rows.insert(key, row),
        None => rows.remove(&key),
    };
}

impl Rows {
    /// Makes a change. No two rows are equal: one that is deleted and comes back while answers are
    /// on their way could not be told from the first.
    fn apply(&mut self, change: &Change, number: usize) -> Written {
        match *change {
            Change::Left(key, row) => {
                let row = row.map(|foreign| {
                    let foreign = foreign.map(|n| format!("f{n}"));
                    let text = match &foreign {
                        Some(foreign) => format!("{foreign}:{number}"),
                        None => number.to_string(),
                    };
                    (foreign, text)
                });
                set(&mut self.left, key, row.clone());
                let key = key.to_be_bytes().to_vec();
                (LEFT.name, key, row.map(|(_, text)| text))
            }
            Change::Right(key, put) => {
                let (key, row) = (format!("f{key}"), put.then(|| format!("r{number}")));
                set(&mut self.right, key.clone(), row.clone());
                (RIGHT.name, key.into_bytes(), row)
            }
        }
    }

    pub(super) fn joined(&self, every_row: bool) -> BTreeMap<i64, String> {
        let rows = self.left.iter().filter_map(|(key, (foreign, row))| {
            let right = foreign.as_ref().and_then(|foreign| self.right.get(foreign));
            let text = right.map_or("-", String::as_str);
            (every_row || right.is_some()).then(|| (*key, format!("{row}+{text}")))
        });
        rows.collect()
    }
}

/// Each join, and whether every left row has a result.
const JOINS: [(Join, bool); 2] = [(inner, false), (left, true)];

fn tell(told: &mut BTreeMap<i64, String>, key: &[u8], value: Option<Vec<u8>>) {
    let key = i64_be().decode(Some(key)).unwrap();
    set(
        told,
        key,
        value.map(|value| String::from_utf8(value).unwrap()),
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, ..ProptestConfig::default() })]

    #[test]
    fn each_change_followed_to_its_end_leaves_the_join(script in vec(changes(), 0..40)) {
        for (join, every_row) in JOINS {
            let mut driver = Driver::new(program(join)).0;
            let (mut rows, mut told) = (Rows::default(), BTreeMap::new());
            for (number, change) in script.iter().enumerate() {
                let (topic, key, row) = rows.apply(change, number);
                let row = row.as_ref().map(String::as_bytes);
                driver.pipe_raw(topic, Some(&key), row, 0).unwrap();
                for (key, value, ..) in driver.read_raw(OUT.name) {
                    tell(&mut told, &key.unwrap(), value);
                }
                prop_assert_eq!(&told, &rows.joined(every_row), "after {:?}", change);
            }
        }
    }

    #[test]
    fn tasks_in_any_order_end_at_the_join((script, rest) in turns()) {
        let tellings = [Emission::PerUpdate, Emission::PerCommit];
        let runs = JOINS.into_iter().flat_map(|join| tellings.map(|telling| (join, telling)));
        for ((join, every_row), emission) in runs {
            let counts = |topic: &str| Some(if topic == LEFT.name { 2 } else { 3 });
            let cluster = Cluster::new(&program(join), emission, counts);
            let (told, rows) = run(cluster, &script, &rest, |_, _| None);
            prop_assert_eq!(told, rows.joined(every_row));
        }
    }

    /// Rows that are read again are new to the left side, and their subscriptions are not: some of
    /// those that end later stay in the store, and must do no harm.
    #[test]
    fn subscriptions_that_are_wrongly_called_new_do_no_harm(
        (script, rest) in turns(),
        (later, _) in turns(),
    ) {
        for (join, every_row) in JOINS {
            let counts = |topic: &str| Some(if topic == LEFT.name { 2 } else { 3 });
            let topology = program(join);
            let mut cluster = Cluster::new(&topology, Emission::PerUpdate, counts);
            let (mut rows, mut told) = (Rows::default(), BTreeMap::new());
            let both = (&mut rows, &mut told);
            play(&mut cluster, (&script, 0), &rest, |_, _| None, both);
            cluster.lose(&topology, LEFT.name);
            for (key, (_, row)) in &rows.left {
                let row = Some(row.clone().into_bytes());
                cluster.send(LEFT.name, (key.to_be_bytes().to_vec(), row, 0));
            }
            // Before that an answer may come for a row that is not there yet.
            let both = (&mut rows, &mut told);
            play(&mut cluster, (&[], 0), &rest, |_, _| None, both);
            let both = (&mut rows, &mut told);
            play(&mut cluster, (&later, script.len()), &rest, |_, _| None, both);
            prop_assert_eq!(told, rows.joined(every_row));
        }
    }
}

/// A change, and the records that are delivered after it: which ones, and whether each was
/// committed.
pub(super) type Turn = (Change, Vec<(usize, bool)>);

pub(super) fn turns() -> impl Strategy<Value = (Vec<Turn>, Vec<usize>)> {
    let turn = (changes(), vec((0usize..100, any::<bool>()), 0..3));
    (vec(turn, 0..20), vec(0usize..100, 1..20))
}

/// Runs a script to its end, its records in the partitions that `place` says for their topics and
/// keys: what was told, and the tables that there are then.
pub(super) fn run(
    mut cluster: Cluster,
    script: &[Turn],
    rest: &[usize],
    place: impl Fn(&str, &[u8]) -> Option<u32>,
) -> (BTreeMap<i64, String>, Rows) {
    let (mut rows, mut told) = (Rows::default(), BTreeMap::new());
    play(
        &mut cluster,
        (script, 0),
        rest,
        place,
        (&mut rows, &mut told),
    );
    (told, rows)
}

/// Runs a script whose changes are numbered from `first` on, and follows the two tables and what is
/// told.
fn play(
    cluster: &mut Cluster,
    (script, first): (&[Turn], usize),
    rest: &[usize],
    place: impl Fn(&str, &[u8]) -> Option<u32>,
    (rows, told): (&mut Rows, &mut BTreeMap<i64, String>),
) {
    for (number, (change, steps)) in (first..).zip(script) {
        let (topic, key, row) = rows.apply(change, number);
        let to = place(topic, &key);
        cluster.put(topic, to, (key, row.map(String::into_bytes), 0));
        for (choice, commit) in steps {
            cluster.step(*choice, *commit, |_| true);
        }
    }
    let mut rest = rest.iter().cycle();
    while cluster.step(*rest.next().unwrap(), false, |_| true) || cluster.commit() {}
    for (key, value, _) in cluster.out.drain(..) {
        tell(told, &key, value);
    }
}

/// The left table's changes overtake all answers.
fn hurried(rows: &[Option<&str>]) -> Vec<Option<String>> {
    let mut cluster = Cluster::new(&program(inner), Emission::PerUpdate, |_| Some(1));
    cluster.send(RIGHT.name, (b"x".to_vec(), Some(b"X".to_vec()), 0));
    while cluster.step(0, false, |_| true) {}
    for row in rows {
        let row = row.map(|row| row.as_bytes().to_vec());
        cluster.send(LEFT.name, (1i64.to_be_bytes().to_vec(), row, 0));
    }
    while cluster.step(0, false, |topic| topic == LEFT.name) {}
    while cluster.step(0, false, |_| true) {}
    let text = |value: Option<Vec<u8>>| value.map(|value| String::from_utf8(value).unwrap());
    cluster
        .out
        .into_iter()
        .map(|(_, value, _)| text(value))
        .collect()
}

#[test]
fn answers_for_earlier_rows_are_dropped() {
    let told = hurried(&[Some("x:a"), Some("x:b"), Some("x:c")]);
    assert_eq!(told, [Some("x:c+X".to_owned())]);
    assert_eq!(hurried(&[Some("x:a"), Some("y:a")]), [None]);
    assert_eq!(hurried(&[Some("x:a"), None]), [None]);
}

/// By Kafka Streams' instructions alone the first result would stay for ever: the answer that there
/// is nothing for the new foreign key is for an earlier row, and for the row of now, which has the
/// same one, the right side need not tell of nothing.
#[test]
fn an_answer_of_nothing_is_heeded_as_long_as_the_foreign_key_is_the_same() {
    let told = hurried(&[Some("x:a"), Some("y:a"), Some("y:b")]);
    assert_eq!(told, [None]);
}

/// A row that is told once per commit leaves its foreign key and comes back before the commit, and
/// meanwhile the answer comes that what it named is gone: its result must go all the same.
#[test]
fn what_becomes_of_a_row_between_two_commits_hides_no_answer() {
    let mut cluster = Cluster::new(&program(inner), Emission::PerCommit, |_| Some(1));
    let mut settle = |sent: &[(&str, &[u8], Option<&str>)], commit: bool| {
        for (topic, key, row) in sent {
            let row = row.map(|row| row.as_bytes().to_vec());
            cluster.send(topic, (key.to_vec(), row, 0));
            while cluster.step(0, false, |_| true) {}
        }
        while commit && cluster.commit() {
            while cluster.step(0, false, |_| true) {}
        }
        let told = cluster.out.drain(..).map(|(_, value, _)| value);
        told.map(|value| String::from_utf8(value.unwrap_or_default()).unwrap())
            .collect::<Vec<_>>()
    };
    let key = 1i64.to_be_bytes();
    let rows = [
        (RIGHT.name, &b"x"[..], Some("X")),
        (LEFT.name, &key, Some("x:a")),
    ];
    assert_eq!(settle(&rows, true), ["x:a+X"]);
    settle(&[(LEFT.name, &key, Some("y:b"))], false);
    settle(&[(RIGHT.name, b"x", None)], true);
    let told = settle(&[(LEFT.name, &key, Some("x:c"))], true);
    assert!(told.iter().all(String::is_empty), "{told:?}");
}

/// Whoever subscribes knows that no such subscription is there, as far as it can: so one that goes
/// again before the store's rows go to the disk leaves nothing to write.
#[test]
fn a_subscription_that_comes_and_goes_soon_never_goes_below() {
    let mut cluster = Cluster::new(&program(inner), Emission::PerUpdate, |_| Some(1));
    let mut settle = |key: i64, rows: &[Option<&str>], commit: bool| {
        for row in rows {
            let row = row.map(|row| row.as_bytes().to_vec());
            cluster.send(LEFT.name, (key.to_be_bytes().to_vec(), row, 0));
            while cluster.step(0, commit, |_| true) {}
        }
        cluster.commit();
        cluster.held(RIGHT.name)
    };
    let held = settle(0, &[Some("x:a"), None], true);
    for key in 1..300 {
        assert!(settle(key, &[Some("x:a")], true) > held, "it is held back");
        assert!(settle(key, &[Some("y:a")], true) > held, "it is held back");
        assert_eq!(settle(key, &[None], true), held);
        // Within one commit they are not even held back.
        let moves = [Some("x:a"), Some("y:a"), None];
        assert_eq!(settle(key, &moves, false), held);
    }
}
