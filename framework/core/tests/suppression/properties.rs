//! Programs and records at random, and what must come of them.

use super::{
    model::{Buffer, Full, Most, Until, Update},
    play::{Run, Shown, parsed, table, windows},
    updates::{Cut, Naive, Record, within},
};
use millstream_core::record::Timestamp;
use proptest::{collection::vec, option, prelude::*};
use std::collections::BTreeMap;

/// Records whose times go forward in jumps and back by less than `back`, some of them twice, some
/// without key or value. Each has a letter of its own.
fn script(back: Timestamp) -> impl Strategy<Value = Vec<Record>> {
    let step = (
        0usize..13,
        0..10u8,
        0..7i64,
        prop_oneof![2 => Just(0), 1 => 0..back],
        0..8u8,
    );
    vec(step, 0..60).prop_map(|steps| {
        let (mut now, mut records) = (20, Vec::<Record>::new());
        for (place, (key, value, forward, back, again)) in steps.into_iter().enumerate() {
            now += forward * forward / 3;
            let letter = char::from_u32(u32::try_from(place).unwrap() + u32::from('A'));
            let record = Record {
                key: ["a", "b", "aa"].into_iter().cycle().take(12).nth(key),
                value: (value > 0).then(|| letter.unwrap().to_string()),
                time: (now - back).max(0),
            };
            if let (0, Some(last)) = (again, records.last().cloned()) {
                records.push(last);
            }
            records.push(record);
        }
        records
    })
}

/// Windows whose changes a list can tell.
fn cut() -> impl Strategy<Value = Cut> {
    prop_oneof![
        (1..15i64).prop_map(|size| Cut::Hopping(size, size)),
        (1..15i64, 1..15i64).prop_map(|(size, advance)| Cut::Hopping(size, advance.min(size))),
        (1..12i64).prop_map(Cut::Session),
    ]
}

/// A row takes about a hundred bytes.
fn most(strict: impl Strategy<Value = bool>) -> impl Strategy<Value = Most> {
    let bounds = (option::of(0..8usize), option::of(0..900usize), strict);
    bounds.prop_map(|(records, bytes, strict)| Most {
        records,
        bytes,
        strict,
    })
}

fn shown(updates: &[Update]) -> Vec<Shown> {
    updates.iter().map(Update::shown).collect()
}

/// Commits, and restarts, now and then.
fn pause(run: &mut Run, place: usize, seed: usize) {
    match (place * 7 + seed) % 5 {
        0 => run.commit(true),
        1 => run.commit(false),
        _ => {}
    }
}

/// Plays a script, and holds each step against the model. What was told is returned, and whether
/// the task came to the end.
fn play(
    mut run: Run,
    mut model: Buffer,
    script: &[Record],
    seed: usize,
    mut changes: impl FnMut(&Record) -> Vec<Update>,
) -> (Vec<Update>, bool) {
    let mut told = Vec::new();
    for (place, record) in script.iter().enumerate() {
        let step = run.step(record);
        let expected = changes(record);
        if let Some((updates, _)) = &step {
            assert_eq!(*updates, shown(&expected), "the changes of {record:?}");
        }
        let taken = expected.into_iter().map(|change| model.take(change));
        match (taken.collect::<Result<Vec<_>, Full>>(), step) {
            (Ok(expected), Some((_, found))) => {
                let expected = expected.concat();
                assert_eq!(found, shown(&expected), "after {record:?}");
                told.extend(expected);
            }
            (Err(Full), None) => return (told, false),
            (expected, found) => panic!("{found:?} instead of {expected:?} after {record:?}"),
        }
        pause(&mut run, place, seed);
    }
    (told, true)
}

/// The changes of a program that has no bounds and is left in peace: what changes sliding windows
/// is too intricate for a list, and their contents are held against brute force instead.
fn as_told(cut: Cut, grace: Timestamp) -> impl FnMut(&Record) -> Vec<Update> {
    let mut run = Run::new(windows(cut, grace, Until::Closes(grace), UNBOUNDED));
    move |record| {
        let (updates, _) = run.step(record).unwrap();
        updates.iter().map(parsed).collect()
    }
}

/// The last that was told of each window, and how often it was.
fn last(told: &[Update]) -> BTreeMap<(String, Timestamp, Timestamp), (String, usize)> {
    let mut rows = BTreeMap::new();
    for update in told {
        let (start, end) = update.window.unwrap_or_default();
        let row: &mut (String, usize) = rows.entry((update.key.clone(), start, end)).or_default();
        (row.0, row.1) = (update.value.clone().unwrap_or_default(), row.1 + 1);
    }
    rows
}

/// No bound at all.
const UNBOUNDED: Most = Most {
    records: None,
    bytes: None,
    strict: true,
};

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn windows_are_told_when_they_close_and_the_task_stops_where_too_many_are_open(
        script in script(30), cut in cut(), grace in 0..12i64, most in most(Just(true)),
        seed in 0usize..5
    ) {
        let until = Until::Closes(grace + cut.open());
        let run = Run::new(windows(cut, grace, until, most));
        let model = Buffer::new(until, most);
        let mut naive = Naive::new(cut, grace);
        play(run, model, &script, seed, |record| naive.changes(record));
    }

    #[test]
    fn each_window_that_closed_is_told_once_with_all_its_records(
        script in script(30), size in 1..15i64, advance in 1..15i64, grace in 0..12i64,
        seed in 0usize..5
    ) {
        let (cut, until) = (Cut::Hopping(size, advance.min(size)), Until::Closes(grace));
        let run = Run::new(windows(cut, grace, until, UNBOUNDED));
        let model = Buffer::new(until, UNBOUNDED);
        let (mut naive, mut rows) = (Naive::new(cut, grace), Vec::new());
        let (told, ended) = play(run, model, &script, seed, |record| {
            let changes = naive.changes(record);
            rows.extend(changes.clone());
            changes
        });
        prop_assert!(ended);
        let now = rows.iter().map(|row| row.time).max().unwrap_or(0);
        rows.retain(|row| row.window.is_some_and(|(_, end)| end + grace <= now));
        let once = |rows: &[Update]| -> Vec<_> {
            last(rows).into_iter().map(|(window, (row, _))| (window, (row, 1))).collect()
        };
        prop_assert_eq!(last(&told).into_iter().collect::<Vec<_>>(), once(&rows));
    }

    #[test]
    fn sliding_windows_are_told_when_they_close(
        script in script(30), reach in 1..12i64, grace in 0..12i64, most in most(Just(true)),
        seed in 0usize..5
    ) {
        let (cut, until) = (Cut::Sliding(reach), Until::Closes(grace));
        let start = |most| {
            let run = Run::new(windows(cut, grace, until, most));
            (run, Buffer::new(until, most))
        };
        let (run, model) = start(most);
        play(run, model, &script, seed, as_told(cut, grace));
        let (run, model) = start(UNBOUNDED);
        let (told, ended) = play(run, model, &script, seed, as_told(cut, grace));
        prop_assert!(ended);
        for ((key, start, end), (row, _)) in last(&told) {
            if let Some(expected) = within(&script, &key, (start, end), (reach, grace)) {
                let mut found: Vec<_> = row.chars().collect();
                found.sort_unstable();
                prop_assert_eq!(found.into_iter().collect::<String>(), expected);
            }
        }
    }

    #[test]
    fn windows_are_told_some_time_after_they_changed(
        script in script(30), cut in cut(), reach in 1..12i64, grace in 0..12i64,
        wait in 0..40i64, most in most(any::<bool>()), seed in 0usize..5
    ) {
        let until = Until::Limit(wait);
        let run = Run::new(windows(cut, grace, until, most));
        let model = Buffer::new(until, most);
        let mut naive = Naive::new(cut, grace);
        play(run, model, &script, seed, |record| naive.changes(record));
        let cut = Cut::Sliding(reach);
        let run = Run::new(windows(cut, grace, until, most));
        play(run, Buffer::new(until, most), &script, seed, as_told(cut, grace));
    }

    #[test]
    fn rows_are_told_some_time_after_they_changed(
        script in script(30), wait in 0..40i64, most in most(any::<bool>()), seed in 0usize..5
    ) {
        let run = Run::new(table(wait, most));
        let model = Buffer::new(Until::Limit(wait), most);
        play(run, model, &script, seed, |record| {
            let row = record.key.map(|key| Update {
                key: key.to_owned(),
                window: None,
                value: record.value.clone(),
                time: record.time,
            });
            row.into_iter().collect()
        });
    }
}
