//! The simulation's programs on a real cluster: processes die with their transactions open, sleep
//! past their session and come back, and outputs are what the embedded log has of them in peace.

use millstream_tests::{
    servers,
    sim::{self, Tally},
};
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

/// One seed takes some ten seconds, most of them waiting for the cluster.
const SIDE_BY_SIDE: usize = 16;

#[test]
fn processes_that_die_on_a_cluster_leave_no_trace_in_its_topics() {
    if !servers::runs("the simulation on Kafka", &[servers::Kind::Kafka]) {
        return;
    }
    let cluster = servers::kafka().unwrap().bootstrap_servers();
    let (seeds, next) = (sim::a_seed_of_each_shape(), AtomicUsize::new(0));
    let run = || {
        let (mut total, mut wrong) = (Tally::default(), Vec::new());
        loop {
            let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) else {
                return (total, wrong);
            };
            let prefix = format!("{}-", servers::unique("simulation"));
            let report = sim::run_on_kafka(&cluster, &prefix, seed);
            total += &report.tally;
            let told = report.divergences.into_iter();
            wrong.extend(told.map(|divergence| format!("seed {seed}: {divergence}")));
        }
    };
    let (total, wrong) = thread::scope(|scope| {
        let threads: Vec<_> = (0..SIDE_BY_SIDE).map(|_| scope.spawn(run)).collect();
        let (mut total, mut wrong) = (Tally::default(), Vec::new());
        for thread in threads {
            let (tally, divergences) = thread.join().unwrap();
            total += &tally;
            wrong.extend(divergences);
        }
        (total, wrong)
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let work = &total.work;
    let weather = [
        ("deaths", total.crashes),
        ("sleepers", total.zombies),
        ("members thrown out", work.fenced),
        ("restores", total.restores),
        ("ends while calls were out", total.ended_asking),
    ];
    for (what, times) in weather {
        assert!(times > 0, "no {what}: {total}");
    }
}
