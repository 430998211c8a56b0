//! Clients that somebody else has put an end to: what they are told, and how they come back.

use super::{
    at, can_run, config, connect, servers, subscription, task, topic, value, versions::settled,
    wait_assigned,
};
use millstream_kafka::{Guarantee, KafkaConfig, KafkaLog};
use millstream_log::{Error, Event, Log};
use millstream_runtime::clock::SystemClock;
use millstream_tests::servers::unique;
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(100);
/// Pauses within which something must come about.
const PAUSES_MAX: usize = 600;

/// The cluster gives up a transaction that is open for too long, and its producer with it; the
/// group knows nothing of that.
#[test]
fn a_member_whose_transaction_was_given_up_gets_its_tasks_again() {
    if !can_run() {
        return;
    }
    let app = unique("given-up");
    let timeouts = [
        ("transaction.timeout.ms", "1000"),
        ("message.timeout.ms", "1000"),
    ];
    let config = KafkaConfig {
        client: servers(),
        producer: timeouts.map(|(k, v)| (k.into(), v.into())).into(),
        ..config(&app, "p")
    };
    let log = KafkaLog::connect(config, SystemClock::stopwatch()).unwrap();
    let mut member = log.client();
    topic(&mut member, &app, 1);
    member.subscribe(subscription(&app, &app, "a", 1)).unwrap();
    assert_eq!(wait_assigned(&mut member).active, [task(0)]);
    let mut fenced = false;
    for _ in 0..PAUSES_MAX {
        fenced |= matches!(
            member.send(&app, Some(0), value(b"x")),
            Err(Error::Fenced(_))
        );
        if fenced {
            break;
        }
        member.poll(PAUSE).unwrap();
    }
    assert!(fenced, "the transaction stays open");
    member.abort().unwrap();
    member.subscribe(subscription(&app, &app, "a", 1)).unwrap();
    assert_eq!(wait_assigned(&mut member).active, [task(0)]);
}

#[test]
fn a_static_member_with_a_double_stops() {
    if !can_run() {
        return;
    }
    let app = unique("double");
    let client = |process: &str| {
        let config = KafkaConfig {
            client: servers(),
            group_instance_id: Some("pod".into()),
            ..config(&app, process)
        };
        KafkaLog::connect(config, SystemClock::stopwatch())
            .unwrap()
            .client()
    };
    let (mut old, mut new) = (client("p"), client("q"));
    topic(&mut old, &app, 1);
    old.subscribe(subscription(&app, &app, "a", 1)).unwrap();
    assert_eq!(wait_assigned(&mut old).active, [task(0)]);
    new.subscribe(subscription(&app, &app, "a", 1)).unwrap();
    let mut told = None;
    for _ in 0..PAUSES_MAX {
        match old.poll(PAUSE) {
            Ok(Event::Revoked(tasks)) => old.acknowledge(&tasks).unwrap(),
            Ok(_) | Err(Error::Retry(_)) => {}
            Err(error) => {
                told = Some(error);
                break;
            }
        }
        new.poll(Duration::ZERO).map(drop).unwrap_or_default();
    }
    assert!(matches!(told, Some(Error::Fatal(_))), "{told:?}");
}

#[test]
fn what_was_dropped_without_transactions_does_not_hide_later_ends() {
    if !can_run() {
        return;
    }
    let app = unique("dropped");
    let log = connect(&app, "p", Guarantee::AtLeastOnce, servers()).unwrap();
    let mut client = log.client();
    topic(&mut client, &app, 1);
    client.send(&app, Some(0), value(b"dropped")).unwrap();
    client.abort().unwrap();
    client.send(&app, Some(0), value(b"kept")).unwrap();
    let ends = client.commit(1, &[]).unwrap().ends;
    assert_eq!(ends.len(), 1, "{ends:?}");
    assert_eq!(ends[0].0, at(&app, 0));
}

/// As when the state directory of one process was copied to another, and its name with it: both
/// live, so each has tasks of its own.
#[test]
fn two_live_members_of_one_name_share_the_tasks() {
    if !can_run() {
        return;
    }
    let app = unique("one-name");
    let [first, second] =
        [(); 2].map(|()| connect(&app, "p", Guarantee::AtLeastOnce, servers()).unwrap());
    let (mut first, mut second) = (first.client(), second.client());
    topic(&mut first, &app, 4);
    for member in [&mut first, &mut second] {
        member.subscribe(subscription(&app, &app, "a", 4)).unwrap();
    }
    let has = settled(&mut [&mut first, &mut second]);
    let mut all: Vec<_> = has.iter().flat_map(|has| has.active.clone()).collect();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3].map(task), "{has:?}");
    assert!(has.iter().all(|has| has.active.len() == 2), "{has:?}");
}
