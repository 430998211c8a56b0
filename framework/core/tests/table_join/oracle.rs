//! Joins of tables under any sequence of changes, held to joins of maps after every one of them.
//!
//! What is told is applied as the changelog that it is. It must then equal the join of the two
//! sides' rows, with the later of the times of what met; and where the sides cannot change at once,
//! no tombstone may be told of a key that had no row.

use super::{LEFT, OUT, RIGHT, SUMS, Table, inner, left, outer, show};
use millstream_core::prelude::*;
use proptest::{collection::vec, prelude::*};
use std::collections::BTreeMap;

type Rows<V> = BTreeMap<String, (V, Timestamp)>;
type Join = for<'b> fn(Table<'b, i64>, Table<'b, i64>) -> Table<'b, String>;
/// How the two sides come from the topics, and how from the maps.
type Sides = for<'b> fn(Table<'b, i64>, Table<'b, i64>) -> (Table<'b, i64>, Table<'b, i64>);
type SidesOfMaps = fn(&Rows<i64>, &Rows<i64>) -> (Rows<i64>, Rows<i64>);

#[derive(Clone, Copy, Debug)]
struct Change {
    right: bool,
    key: u8,
    row: Option<i64>,
    time: Timestamp,
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let row = prop_oneof![1 => Just(None), 3 => (-3i64..6).prop_map(Some)];
    let change = (any::<bool>(), 0u8..3, row, 0i64..30);
    let change = change.prop_map(|(right, key, row, time)| Change {
        right,
        key,
        row,
        time,
    });
    vec(change, 0..40)
}

struct Program {
    sides: Sides,
    of_maps: SidesOfMaps,
    /// Whether one record never changes both sides.
    apart: bool,
}

fn kept(rows: &Rows<i64>, keep: impl Fn(i64) -> bool) -> Rows<i64> {
    let kept = rows.iter().filter(|(_, (row, _))| keep(*row));
    kept.map(|(key, row)| (key.clone(), *row)).collect()
}

fn mapped(rows: &Rows<i64>, map: impl Fn(i64) -> i64) -> Rows<i64> {
    let mapped = rows.iter();
    mapped
        .map(|(key, (row, time))| (key.clone(), (map(*row), *time)))
        .collect()
}

const PROGRAMS: &[Program] = &[
    Program {
        sides: |l, r| (l, r),
        of_maps: |l, r| (l.clone(), r.clone()),
        apart: true,
    },
    Program {
        sides: |l, r| (l.filter(|_, n| *n > 0), r.map_values(|_, n| n * 2)),
        of_maps: |l, r| (kept(l, |n| n > 0), mapped(r, |n| n * 2)),
        apart: true,
    },
    Program {
        sides: |l, r| (l.join(r, |l, r| l * 10 + r), r.filter_not(|_, n| *n > 3)),
        of_maps: |l, r| (sums(l, r), kept(r, |n| n <= 3)),
        apart: false,
    },
    Program {
        sides: |l, _| (l, l.filter(|_, n| n % 2 == 0)),
        of_maps: |l, _| (l.clone(), kept(l, |n| n % 2 == 0)),
        apart: false,
    },
    Program {
        sides: |l, _| {
            (
                l.filter(|_, n| *n < 3),
                l.filter(|_, n| *n > 1).materialize("m"),
            )
        },
        of_maps: |l, _| (kept(l, |n| n < 3), kept(l, |n| n > 1)),
        apart: false,
    },
    // The same with the store that changes late on the other side.
    Program {
        sides: |l, _| {
            let stored = l.map_values(|_, n| -n).materialize("m");
            (stored, l.filter(|_, n| *n > 1))
        },
        of_maps: |l, _| (mapped(l, |n| -n), kept(l, |n| n > 1)),
        apart: false,
    },
    // One side does not know its own old rows.
    Program {
        sides: |l, r| (l.join(l.filter(|_, n| *n > 1), |a, b| a + b), r),
        of_maps: |l, r| (mapped(&kept(l, |n| n > 1), |n| n + n), r.clone()),
        apart: false,
    },
    // With a store of its own on each side, each is written just before it tells.
    Program {
        sides: |l, _| {
            let negative = l.map_values(|_, n| -n).materialize("m");
            (negative, l.filter(|_, n| *n > 1).materialize("f"))
        },
        of_maps: |l, _| (mapped(l, |n| -n), kept(l, |n| n > 1)),
        apart: true,
    },
    Program {
        sides: |l, _| (l, l),
        of_maps: |l, _| (l.clone(), l.clone()),
        apart: true,
    },
];

fn sums(left: &Rows<i64>, right: &Rows<i64>) -> Rows<i64> {
    let both = left.iter().filter_map(|(key, (l, left_time))| {
        let (r, right_time) = right.get(key)?;
        Some((key.clone(), (l * 10 + r, *left_time.max(right_time))))
    });
    both.collect()
}

/// A join, and whether it has a row where the left and the right side have one.
type Case = (Join, fn(bool, bool) -> bool);

const JOINS: [Case; 3] = [
    (inner, |l, r| l && r),
    (left, |l, _| l),
    (outer, |l, r| l || r),
];

fn joined(l: &Rows<i64>, r: &Rows<i64>, has_row: fn(bool, bool) -> bool) -> Rows<String> {
    let keys = l.keys().chain(r.keys());
    let rows = keys.filter_map(|key| {
        let (left, right) = (l.get(key), r.get(key));
        let row = show(left.map(|row| &row.0), right.map(|row| &row.0));
        let time = left.map(|row| row.1).max(right.map(|row| row.1))?;
        has_row(left.is_some(), right.is_some()).then(|| (key.clone(), (row, time)))
    });
    rows.collect()
}

/// The topics' rows as maps.
#[derive(Default)]
struct Topics(Rows<i64>, Rows<i64>);

impl Topics {
    fn apply(&mut self, driver: &mut TopologyTestDriver, change: Change) {
        let (topic, rows) = match change.right {
            false => (&LEFT, &mut self.0),
            true => (&RIGHT, &mut self.1),
        };
        let key = format!("k{}", change.key);
        match change.row {
            Some(row) => {
                driver.pipe(topic, key.clone(), row, change.time).unwrap();
                rows.insert(key, (row, change.time));
            }
            None => {
                driver.pipe_tombstone(topic, &key, change.time).unwrap();
                rows.remove(&key);
            }
        }
    }
}

fn declare(program: &Program, join: Join, builder: &StreamsBuilder) {
    let (l, r) = (builder.table(&LEFT, "l"), builder.table(&RIGHT, "r"));
    let (l, r) = (program.sides)(l, r);
    let table = join(l, r);
    table.to(&OUT);
    // What is taken back must be what was added, or the sum drifts away.
    summed(table.materialize("joined"), "stored");
    if program.apart {
        // The join itself knows what it told, and needs no store for that.
        summed(table, "computed");
    }
}

/// The sum of all rows, under a name.
fn summed(table: Table<'_, String>, name: &'static str) {
    let weights = table.group_by(move |_, row| (name.to_owned(), weight(row)));
    weights.reduce(name, |a, b| a + b, |a, b| a - b).to(&SUMS);
}

fn weight(row: &str) -> i64 {
    row.bytes().fold(7, |sum, byte| sum * 31 + i64::from(byte)) % 1000
}

/// Applies what was told as a changelog.
fn apply(driver: &mut TopologyTestDriver, told: &mut Rows<String>, apart: bool) {
    for (key, value, time, _) in driver.read_raw("out") {
        let key = String::from_utf8(key.unwrap()).unwrap();
        match value {
            Some(value) => {
                told.insert(key, (String::from_utf8(value).unwrap(), time));
            }
            None => assert!(told.remove(&key).is_some() || !apart, "{key} had no row"),
        }
    }
}

fn check(program: &Program, (join, has_row): Case, script: &[Change]) {
    let builder = StreamsBuilder::new();
    declare(program, join, &builder);
    let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    let (mut topics, mut told) = (Topics::default(), Rows::new());
    let mut sums = BTreeMap::from([("stored".to_owned(), 0)]);
    if program.apart {
        sums.insert("computed".to_owned(), 0);
    }
    for change in script {
        topics.apply(&mut driver, *change);
        let before = told.clone();
        apply(&mut driver, &mut told, program.apart);
        let (l, r) = (program.of_maps)(&topics.0, &topics.1);
        let expected = joined(&l, &r, has_row);
        assert!(
            told.keys().eq(expected.keys()),
            "after {change:?}: {told:?}"
        );
        for (key, (row, time)) in &expected {
            assert_eq!(told[key].0, *row, "after {change:?}");
            // What was told now has the time of the change, if the rows it met are not later.
            if before.get(key) != told.get(key) {
                assert_eq!(told[key].1, change.time.max(*time), "after {change:?}");
            }
        }
        for (name, sum) in driver.read_key_values(&SUMS).unwrap() {
            sums.insert(name, sum.unwrap_or_default());
        }
        let sum: i64 = expected.values().map(|(row, _)| weight(row)).sum();
        assert!(
            sums.values().all(|found| *found == sum),
            "{sums:?}, not {sum}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn what_is_told_is_the_join_of_the_rows(script in changes()) {
        for program in PROGRAMS {
            for join in JOINS {
                check(program, join, &script);
            }
        }
    }
}
