//! The simulation's own tests: it must be green, and it must be able to turn red.

use millstream_runtime::worker::CommitOrder;
use millstream_tests::sim::{self, Tally};

/// Seeds that once diverged, kept as cases.
const KEPT: &[u64] = &[1053, 1176, 4298, 4755, 5685, 6898, 10_690, 11_850, 917_324];

#[test]
fn kept_seeds_and_the_first_hundreds_agree_with_an_uninterrupted_run() {
    let mut total = Tally::default();
    for seed in KEPT.iter().copied().chain(1..=600) {
        let report = sim::run(seed, CommitOrder::LogThenDisk);
        assert!(
            report.divergences.is_empty(),
            "seed {seed}: {:?}",
            report.divergences
        );
        total += &report.tally;
    }
    let (crashes, trimmed) = (total.crashes, total.trimmed);
    assert!(
        trimmed > 20,
        "only {trimmed} changelogs were cut off in front"
    );
    assert!(
        crashes > 600,
        "only {crashes} crashes: the weather is too fair to prove anything"
    );
    let ended = total.ended_asking;
    assert!(
        ended > 200,
        "only {ended} processes ended while calls were out"
    );
    let early = total.closed_early;
    assert!(
        early > 10,
        "the wall clock closed only {early} windows among crashes"
    );
    let made = |what: &String| total.made.get(what).is_some_and(|times| *times > 0);
    let missing: Vec<_> = sim::wanted()
        .into_iter()
        .filter(|what| !made(what))
        .collect();
    assert!(missing.is_empty(), "no program made: {missing:?}");
}

#[test]
fn the_wrong_order_of_log_and_disk_diverges() {
    let diverged = (1..=100)
        .filter(|seed| {
            !sim::run(*seed, CommitOrder::DiskThenLog)
                .divergences
                .is_empty()
        })
        .count();
    assert!(
        diverged > 10,
        "only {diverged} of 100 seeds noticed disks that are ahead of the log"
    );
}
