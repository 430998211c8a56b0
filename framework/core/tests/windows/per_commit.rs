//! Final results do not depend on whether windows tell each change or one for each commit.

use super::{
    properties::{every_window_is_told_once, key, last, letter, script, suppressed},
    run::{Group, Run, Table, ms},
};
use millstream_core::{prelude::*, task::Emission};
use proptest::{collection::vec, prelude::*};

/// What is told where a commit follows each record for which there is a yes, and the last one.
fn told<F>(
    declare: F,
    emission: Emission,
    (script, commits): (&[(u8, Timestamp)], &[bool]),
) -> Vec<String>
where
    F: for<'b> FnOnce(Group<'b>) -> Table<'b>,
{
    let mut run = Run::new(declare);
    run.bench.emission = emission;
    run.restart();
    let mut lines = Vec::new();
    for (place, (number, time)) in script.iter().enumerate() {
        lines.push(run.step(key(*number), &letter(place), *time));
        if commits[place % commits.len()] {
            run.commit();
            lines.push(run.told());
        }
    }
    run.commit();
    lines.push(run.told());
    let lines = lines.iter().flat_map(|line| line.split("; "));
    lines
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn final_results_are_told_alike(
        script in script(20), commits in vec(prop::bool::weighted(0.3), 1..20),
        size in 1..15i64, advance in 1..15i64, grace in 0..12i64
    ) {
        let millis = |n: i64| ms(n.unsigned_abs());
        let windows = TimeWindows::of_size_and_grace(millis(size), millis(grace));
        let windows = windows.advance_by(millis(advance.min(size)));
        let told = |emission| {
            told(|group| suppressed(group, windows), emission, (&script, &commits))
        };
        let expected = told(Emission::PerUpdate);
        every_window_is_told_once(&expected);
        prop_assert_eq!(told(Emission::PerCommit), expected);
    }

    /// At its very end, difference and grace a sliding window is told and may still change: it is
    /// told again then, of which one commit leaves out the first.
    #[test]
    fn final_results_of_sliding_windows_end_alike(
        script in script(20), commits in vec(prop::bool::weighted(0.3), 1..20),
        reach in 1..12i64, grace in 0..12i64
    ) {
        let millis = |n: i64| ms(n.unsigned_abs());
        let windows = SlidingWindows::of_time_difference_and_grace(millis(reach), millis(grace));
        let told = |emission| {
            last(&told(|group| suppressed(group, windows), emission, (&script, &commits)))
        };
        prop_assert_eq!(told(Emission::PerCommit), told(Emission::PerUpdate));
    }
}
