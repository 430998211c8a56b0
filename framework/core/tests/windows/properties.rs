//! Windows against brute force, and final results against the updates before them.

use super::run::{Group, Run, Table, finals, letters, ms, session_letters};
use millstream_core::{dsl::FixedWindows, prelude::*};
use proptest::{collection::vec, prelude::*};
use std::collections::{BTreeMap, BTreeSet};

/// A record: which key, and when.
type Step = (u8, Timestamp);

/// Times go forward in jumps, and back by less than `back` now and then.
pub(crate) fn script(back: Timestamp) -> impl Strategy<Value = Vec<Step>> {
    let step = (
        0u8..3,
        0..7i64,
        prop_oneof![2 => Just(0), 1 => 0..back.max(1)],
    );
    vec(step, 0..60).prop_map(|steps| {
        let mut now = 20;
        let place = |(key, forward, back): (u8, Timestamp, Timestamp)| {
            now += forward * forward / 3;
            (key, (now - back).max(0))
        };
        steps.into_iter().map(place).collect()
    })
}

pub(crate) fn key(number: u8) -> &'static str {
    ["a", "b", "aa"][usize::from(number)]
}

/// A letter of its own for each record.
pub(crate) fn letter(place: usize) -> String {
    let code = u32::try_from(place).unwrap() + u32::from('A');
    char::from_u32(code).unwrap().to_string()
}

/// What all records make a program tell, one after the other.
fn told(mut run: Run, script: &[Step], end: impl Fn(usize, &mut Run)) -> Vec<String> {
    let mut lines = Vec::new();
    for (place, (number, time)) in script.iter().enumerate() {
        let line = run.step(key(*number), &letter(place), *time);
        lines.extend(
            line.split("; ")
                .filter(|line| !line.is_empty())
                .map(str::to_owned),
        );
        end(place, &mut run);
    }
    lines
}

/// The last that was told of each window, `key start..end`; deleted ones are left out.
pub(crate) fn last(lines: &[String]) -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    for line in lines {
        let (window, row) = line.rsplit_once(" @").unwrap().0.rsplit_once(' ').unwrap();
        if row == "-" {
            rows.remove(window);
        } else {
            rows.insert(window.to_owned(), row.to_owned());
        }
    }
    rows
}

fn sorted(letters: &str) -> String {
    let letters: BTreeSet<_> = letters.chars().filter(|letter| *letter != '|').collect();
    letters.into_iter().collect()
}

fn in_any_order(rows: BTreeMap<String, String>) -> BTreeMap<String, String> {
    rows.into_iter()
        .map(|(window, row)| (window, sorted(&row)))
        .collect()
}

/// Restarts now and then.
fn restarting(seed: usize) -> impl Fn(usize, &mut Run) {
    move |place, run| match (place * 7 + seed) % 5 {
        0 => run.restart(),
        1 => run.commit(),
        _ => {}
    }
}

pub(crate) fn suppressed<W: FixedWindows>(group: Group<'_>, windows: W) -> Table<'_> {
    let until = Suppressed::until_window_closes(BufferConfig::unbounded());
    letters(group, windows).suppress("finals", until)
}

fn sessions(group: Group<'_>, windows: SessionWindows, emit: EmitStrategy) -> Table<'_> {
    session_letters(group.windowed_by(windows).emit_strategy(emit))
}

pub(crate) fn every_window_is_told_once(lines: &[String]) {
    let windows: BTreeSet<_> = lines
        .iter()
        .map(|line| line.rsplit_once(' ').unwrap().0)
        .collect();
    assert_eq!(windows.len(), lines.len(), "{lines:?}");
    assert_eq!(last(lines).len(), lines.len(), "{lines:?}");
}

/// Of the last updates, those of windows that have closed.
fn closed(updates: &[String], until: Timestamp) -> BTreeMap<String, String> {
    let end = |window: &str| {
        window
            .rsplit_once("..")
            .unwrap()
            .1
            .parse::<Timestamp>()
            .unwrap()
    };
    last(updates)
        .into_iter()
        .filter(|(window, _)| end(window) <= until)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn hopping_windows_hold_the_records_of_their_time_that_were_not_late(
        script in script(25), size in 1..15i64, advance in 1..15i64, grace in 0..12i64
    ) {
        let advance = advance.min(size);
        let millis = |n: i64| ms(n.unsigned_abs());
        let windows = TimeWindows::of_size_and_grace(millis(size), millis(grace));
        let windows = windows.advance_by(millis(advance));
        let mut rows: BTreeMap<(u8, Timestamp), (String, Timestamp)> = BTreeMap::new();
        let (mut now, mut expected, mut late) = (0, Vec::new(), 0);
        for (place, (number, time)) in script.iter().enumerate() {
            now = now.max(*time);
            let holding = |start: &i64| start % advance == 0 && *start + size > *time;
            for start in (0..=*time).filter(holding) {
                if start + size <= now - grace {
                    late += 1;
                    continue;
                }
                let row = rows.entry((*number, start)).or_default();
                row.0 += &letter(place);
                row.1 = row.1.max(*time);
                let (key, end) = (key(*number), start + size);
                expected.push(format!("{key} {start}..{end} {} @{}", row.0, row.1));
            }
        }
        let run = Run::new(|group| letters(group, windows));
        prop_assert_eq!(told(run, &script, restarting(0)), expected);
        let mut run = Run::new(|group| letters(group, windows));
        for (number, time) in &script {
            run.step(key(*number), "x", *time);
        }
        prop_assert_eq!(run.dropped().late_record, late);
    }

    #[test]
    fn sliding_windows_hold_the_records_within_reach(script in script(60), reach in 1..12i64) {
        let windows = SlidingWindows::of_time_difference_and_grace(
            ms(reach.unsigned_abs()), ms(1000)
        );
        let mut expected = BTreeMap::new();
        for (number, time) in &script {
            for start in [(time - reach).max(0), time + 1] {
                let inside = |(_, (other, at)): &(usize, &Step)| {
                    other == number && (start..=start + reach).contains(at)
                };
                let records = script.iter().enumerate().filter(inside);
                let row: String = records.map(|(place, _)| letter(place)).collect();
                if !row.is_empty() {
                    let window = format!("{} {start}..{}", key(*number), start + reach);
                    expected.insert(window, row);
                }
            }
        }
        let run = Run::new(|group| letters(group, windows));
        let found = in_any_order(last(&told(run, &script, restarting(1))));
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn sessions_are_the_same_in_whatever_order_records_come(
        script in script(60), gap in 1..12i64
    ) {
        let windows = SessionWindows::of_inactivity_gap_and_grace(
            ms(gap.unsigned_abs()), ms(1000)
        );
        let mut expected = BTreeMap::new();
        for number in 0..3u8 {
            let records = script.iter().enumerate().filter(|(_, (other, _))| *other == number);
            let mut records: Vec<_> = records.map(|(place, (_, time))| (*time, place)).collect();
            records.sort_unstable();
            let apart = |a: &(i64, usize), b: &(i64, usize)| b.0 - a.0 <= gap;
            for session in records.chunk_by(apart) {
                let (start, end) = (session[0].0, session[session.len() - 1].0);
                let row: String = session.iter().map(|(_, place)| letter(*place)).collect();
                expected.insert(format!("{} {start}..{end}", key(number)), sorted(&row));
            }
        }
        let run = Run::new(|group| sessions(group, windows, EmitStrategy::OnWindowUpdate));
        let found = in_any_order(last(&told(run, &script, restarting(2))));
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn final_results_are_told_once_and_are_the_last_updates(
        script in script(20), size in 1..15i64, advance in 1..15i64, grace in 0..12i64,
        seed in 0usize..5
    ) {
        let millis = |n: i64| ms(n.unsigned_abs());
        let windows = TimeWindows::of_size_and_grace(millis(size), millis(grace));
        let windows = windows.advance_by(millis(advance.min(size)));
        let now = script.iter().map(|(_, time)| *time).max().unwrap_or(0);
        let updates = told(Run::new(|group| letters(group, windows)), &script, |_, _| {});
        let expected = closed(&updates, now - grace);
        for suppress in [true, false] {
            let run = || Run::new(|group| match suppress {
                true => suppressed(group, windows),
                false => finals(group, windows),
            });
            let lines = told(run(), &script, restarting(seed));
            every_window_is_told_once(&lines);
            prop_assert_eq!(last(&lines), expected.clone());
            // A restart changes nothing of it.
            prop_assert_eq!(told(run(), &script, |_, _| {}), lines);
        }
    }

    #[test]
    fn sliding_windows_and_sessions_close_once_too(
        script in script(20), reach in 1..12i64, grace in 0..12i64, seed in 0usize..5
    ) {
        let millis = |n: i64| ms(n.unsigned_abs());
        let now = script.iter().map(|(_, time)| *time).max().unwrap_or(0);
        let sliding = SlidingWindows::of_time_difference_and_grace(millis(reach), millis(grace));
        let updates = told(Run::new(|group| letters(group, sliding)), &script, |_, _| {});
        let lines = told(Run::new(|group| finals(group, sliding)), &script, restarting(seed));
        every_window_is_told_once(&lines);
        prop_assert_eq!(last(&lines), closed(&updates, now - grace - 1));
        let windows = SessionWindows::of_inactivity_gap_and_grace(millis(reach), millis(grace));
        let run = |emit| Run::new(move |group| sessions(group, windows, emit));
        let updates = told(run(EmitStrategy::OnWindowUpdate), &script, |_, _| {});
        let lines = told(run(EmitStrategy::OnWindowClose), &script, restarting(seed));
        every_window_is_told_once(&lines);
        prop_assert_eq!(last(&lines), closed(&updates, now - grace - reach - 1));
    }

    #[test]
    fn the_wall_clock_closes_what_a_later_record_would_have(
        script in script(20), size in 1..15i64, grace in 0..12i64
    ) {
        let windows = TimeWindows::of_size_and_grace(
            ms(size.unsigned_abs()), ms(grace.unsigned_abs())
        );
        let idle = Run::new(|group: Group<'_>| {
            let windowed = group.windowed_by(windows).emit_strategy(EmitStrategy::OnWindowClose);
            let windowed = windowed.close_when_idle(ms(1000));
            windowed.aggregate("windows", String::new, |_, letter, all| *all += &letter)
        });
        let updates = told(Run::new(|group| letters(group, windows)), &script, |_, _| {});
        let mut run = idle;
        run.clock(0);
        let mut lines = Vec::new();
        for (place, (number, time)) in script.iter().enumerate() {
            lines.push(run.step(key(*number), &letter(place), *time));
        }
        lines.push(run.clock(5000));
        let lines: Vec<_> = lines.iter().flat_map(|line| line.split("; ")).collect();
        let lines = lines.into_iter().filter(|line| !line.is_empty());
        let lines: Vec<_> = lines.map(str::to_owned).collect();
        every_window_is_told_once(&lines);
        prop_assert_eq!(last(&lines), last(&updates));
    }
}
