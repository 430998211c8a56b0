//! Asynchronous operators on real threads: order, exactly once over failures, and a graceful end.

use super::harness::*;
use millstream_core::{calls::AsyncConfig, prelude::*};
use millstream_runtime::streams::{State, UncaughtPolicy};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

/// Calls that give their values back when so many of them are out at once, or none is left to come.
#[derive(Clone, Default)]
struct Gate {
    out: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    open: Arc<AtomicBool>,
}

impl Gate {
    fn call(&self, value: i64) -> impl Future<Output = Result<i64, String>> + Send + use<> {
        let gate = self.clone();
        let out = gate.out.fetch_add(1, Ordering::SeqCst) + 1;
        gate.most.fetch_max(out, Ordering::SeqCst);
        async move {
            while !gate.open.load(Ordering::SeqCst) {
                tokio::task::yield_now().await;
            }
            gate.out.fetch_sub(1, Ordering::SeqCst);
            Ok(value)
        }
    }
}

fn gated(gate: &Gate, config: AsyncConfig) -> Topology {
    let gate = gate.clone();
    let builder = StreamsBuilder::new();
    let called = builder.stream(&IN);
    let called = called.map_async("call", config, move |_, value| gate.call(value));
    let grouped = called.group_by_key();
    let summed = grouped.aggregate("sums", || 0, |_: &String, n, sum: &mut i64| *sum += n);
    summed.to(&OUT);
    builder.build().unwrap()
}

#[test]
fn calls_overlap_up_to_their_bound_and_nothing_is_committed_meanwhile() {
    let world = World::new(1);
    let gate = Gate::default();
    let config_of_calls = AsyncConfig::new().concurrency(4).without_timeout();
    let streams = world.streams(gated(&gate, config_of_calls), config("a"));
    start(&streams);
    world.feed(ones(10, 3));
    world.until("calls", || gate.out.load(Ordering::SeqCst) == 4);
    world.let_it_be();
    assert!(world.outputs().is_empty());
    gate.open.store(true, Ordering::SeqCst);
    assert_ones(&world.wait_for_outputs(30), 10, 3);
    assert_eq!(gate.most.load(Ordering::SeqCst), 4);
    assert_eq!(streams.close(), State::NotRunning);
}

#[test]
fn a_graceful_end_waits_for_calls_that_are_out() {
    let world = World::new(1);
    let gate = Gate::default();
    let topology = gated(&gate, AsyncConfig::new().without_timeout());
    let streams = world.streams(topology, config("a"));
    start(&streams);
    world.feed(ones(8, 1));
    world.until("calls", || gate.out.load(Ordering::SeqCst) == 8);
    streams.request_close();
    gate.open.store(true, Ordering::SeqCst);
    assert_eq!(streams.close(), State::NotRunning);
    assert_ones(&world.outputs(), 8, 1);
}

#[test]
fn a_graceful_end_waits_for_the_last_of_many_calls() {
    const CALLS: usize = 100;
    let world = World::new(1);
    let (begun, free, ended) = <(Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
    let counters = (begun.clone(), free.clone(), ended.clone());
    let call = move |_: String, value: i64| {
        let (begun, free, ended) = counters.clone();
        // The first one is the last to be let free.
        let turn = CALLS - begun.fetch_add(1, Ordering::SeqCst);
        async move {
            while free.load(Ordering::SeqCst) < turn {
                tokio::task::yield_now().await;
            }
            ended.fetch_add(1, Ordering::SeqCst);
            Ok::<_, String>(value)
        }
    };
    let builder = StreamsBuilder::new();
    let calls = AsyncConfig::new().concurrency(CALLS).without_timeout();
    builder.stream(&IN).map_async("call", calls, call).to(&OUT);
    let streams = world.streams(builder.build().unwrap(), config("a"));
    start(&streams);
    world.feed(ones(CALLS, 1));
    world.until("calls", || begun.load(Ordering::SeqCst) == CALLS);
    streams.request_close();
    for turn in 1..=CALLS {
        free.store(turn, Ordering::SeqCst);
        world.until("an answer", || ended.load(Ordering::SeqCst) == turn);
        // Longer than the thread takes to hear of it, so that it hears of each.
        std::thread::park_timeout(std::time::Duration::from_millis(2));
    }
    assert_eq!(streams.close(), State::NotRunning);
    assert_eq!(world.outputs().len(), CALLS);
}

#[test]
fn what_fails_between_calls_counts_once_though_calls_are_made_again() {
    let world = World::new(2);
    let (made, failed) = (
        Arc::<Mutex<BTreeMap<String, u32>>>::default(),
        Arc::<AtomicUsize>::default(),
    );
    let (of_calls, failing) = (made.clone(), failed.clone());
    let builder = StreamsBuilder::new();
    let call = move |key: String, value: i64| {
        *of_calls.lock().unwrap().entry(key).or_default() += 1;
        // A panic stops the thread whatever the policy, and what it had not committed is repeated.
        let bad = [16, 35].contains(&failing.fetch_add(1, Ordering::SeqCst));
        async move {
            tokio::task::yield_now().await;
            assert!(!bad, "a call explodes");
            Ok::<_, String>(value)
        }
    };
    let called = builder.stream(&IN);
    let called = called.map_async("call", AsyncConfig::new().concurrency(8), call);
    let grouped = called.group_by_key();
    let summed = grouped.aggregate("sums", || 0, |_: &String, n, sum: &mut i64| *sum += n);
    summed.to(&OUT);
    let mut config = config("a");
    config.threads = 2;
    config.uncaught = Box::new(|_| UncaughtPolicy::ReplaceThread);
    let streams = world.streams(builder.build().unwrap(), config);
    streams.start().unwrap();
    world.feed(ones(20, 2));
    assert_ones(&world.wait_for_outputs(40), 20, 2);
    assert!(failed.load(Ordering::SeqCst) > 40, "some were made again");
    assert!(made.lock().unwrap().values().all(|made| *made >= 2));
    streams.close();
}
