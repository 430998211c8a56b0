//! Groups: assignments, places and fencing.
//!
//! Invariant tested: a task has one owner at a time, and only its owner can commit for it.

use super::{
    Harness, NOW, assigned, at, fill, join, place, subscription, task, topic, value, values,
};
use crate::api::{Committed, Error, Event, Log, Outcome};
use std::time::Duration;

/// Something to wait for that does not come.
const SHORT: Duration = Duration::from_millis(5);

fn fenced<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert!(matches!(result, Err(Error::Fenced(_))), "{result:?}");
}

fn fatal<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert!(matches!(result, Err(Error::Fatal(_))), "{result:?}");
}

/// The values that the next fetches give.
fn fetched(client: &mut dyn Log, partition: u32, max: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(records) = client.fetch(&at("in", partition), max).expect("a fetch") {
        assert!((1..=max).contains(&records.len()));
        all.extend(
            records
                .iter()
                .filter_map(|(_, record)| record.value?.first().copied()),
        );
    }
    all
}

pub(super) fn places(harness: &mut dyn Harness) {
    topic(&mut *harness.client(), "in", 2);
    let partitions = [at("in", 1), at("in", 0)];
    let mut client = join(harness, "a", 2);
    assert_eq!(client.committed(&partitions).expect("places"), [None, None]);
    assigned(&mut *client);
    client
        .commit(8, &[place(&partitions[0], 3, 8)])
        .expect("a commit");
    client
        .commit(9, &[place(&partitions[0], 5, 9)])
        .expect("a commit");
    drop(client);
    harness.reopen();
    let mut client = join(harness, "b", 2);
    let found = client.committed(&partitions).expect("places");
    assert_eq!(found, [Some(Committed::new(5, 9, b"stream time")), None]);
}

pub(super) fn fetch(harness: &mut dyn Harness) {
    let mut feeder = harness.client();
    topic(&mut *feeder, "in", 1);
    fill(&mut *feeder, &at("in", 0), 0..10);
    let mut client = join(harness, "a", 1);
    assert_eq!(assigned(&mut *client).active, [task(0)]);
    assert_eq!(client.poll(NOW).expect("a poll"), Event::Ready);
    assert_eq!(fetched(&mut *client, 0, 3), (0..10).collect::<Vec<_>>());
    assert_eq!(client.poll(NOW).expect("a poll"), Event::Idle);
    client.abort().expect("an abort");
    assert!(
        fetched(&mut *client, 0, 3).is_empty(),
        "an abort does not move the place"
    );
    client.seek(&at("in", 0), 7).expect("a seek");
    assert_eq!(client.poll(NOW).expect("a poll"), Event::Ready);
    assert_eq!(fetched(&mut *client, 0, 100), [7, 8, 9]);
    client
        .commit(1, &[place(&at("in", 0), 8, 1)])
        .expect("a commit");
    drop((client, feeder));
    harness.reopen();
    let mut client = join(harness, "a", 1);
    assigned(&mut *client);
    assert_eq!(
        fetched(&mut *client, 0, 100),
        [8, 9],
        "it begins at the group's place"
    );
    harness.delete_records(&at("in", 0), 9);
    client.seek(&at("in", 0), 8).expect("a seek");
    let result = client.fetch(&at("in", 0), 1);
    assert!(
        matches!(
            result,
            Err(Error::OffsetOutOfRange {
                start: 9,
                end: 10,
                ..
            })
        ),
        "{result:?}"
    );
}

pub(super) fn idle(harness: &mut dyn Harness) {
    topic(&mut *harness.client(), "in", 1);
    let mut client = join(harness, "a", 1);
    assigned(&mut *client);
    assert_eq!(client.poll(SHORT).expect("a poll"), Event::Idle);
    assert_eq!(harness.client().poll(SHORT).expect("a poll"), Event::Idle);
}

pub(super) fn no_subscription(harness: &mut dyn Harness) {
    let mut client = harness.client();
    topic(&mut *client, "in", 1);
    client.send("in", Some(0), value(b"x")).expect("a send");
    fatal(client.commit(1, &[place(&at("in", 0), 1, 1)]));
    fatal(client.fetch(&at("in", 0), 1));
    fatal(client.committed(&[at("in", 0)]));
    fatal(client.acknowledge(&[task(0)]));
    client.leave().expect("leaving nothing is fine");
}

pub(super) fn share(harness: &mut dyn Harness) {
    let mut feeder = harness.client();
    topic(&mut *feeder, "in", 4);
    for partition in 0..4_u8 {
        let number = partition * 10;
        fill(
            &mut *feeder,
            &at("in", u32::from(partition)),
            number..number + 1,
        );
    }
    let (mut a, mut b) = (join(harness, "a", 4), join(harness, "b", 4));
    let (of_a, of_b) = (assigned(&mut *a).active, assigned(&mut *b).active);
    assert_eq!((of_a.len(), of_b.len()), (2, 2));
    let mut all = [of_a.clone(), of_b.clone()].concat();
    all.sort_unstable();
    assert_eq!(all, (0..4).map(task).collect::<Vec<_>>());
    for (client, tasks, others) in [(&mut a, &of_a, &of_b), (&mut b, &of_b, &of_a)] {
        for task in tasks {
            let number = u8::try_from(task.partition * 10).unwrap_or_default();
            assert_eq!(fetched(&mut **client, task.partition, 9), [number]);
        }
        let foreign = at("in", others[0].partition);
        fenced(client.fetch(&foreign, 1));
        fenced(client.seek(&foreign, 0));
        fenced(client.commit(1, &[place(&foreign, 1, 1)]));
    }
    a.leave().expect("a farewell");
    assert_eq!(assigned(&mut *b).active.len(), 4);
}

pub(super) fn revoke(harness: &mut dyn Harness) {
    topic(&mut *harness.client(), "in", 4);
    topic(&mut *harness.client(), "out", 1);
    let mut a = join(harness, "a", 4);
    assert_eq!(assigned(&mut *a).active.len(), 4);
    let mut b = join(harness, "b", 4);
    assert_eq!(assigned(&mut *b).active, [], "all tasks are still a's");
    let Event::Revoked(moving) = a.poll(NOW).expect("a poll") else {
        panic!("a revocation")
    };
    assert_eq!(moving.len(), 2, "no more than b's share moves");
    assert_eq!(b.poll(NOW).expect("a poll"), Event::Idle);
    // Until it acknowledges, a may finish its work.
    let partition = at("in", moving[0].partition);
    a.send("out", Some(0), value(b"1")).expect("a send");
    a.commit(1, &[place(&partition, 1, 1)])
        .expect("a commit of a task being revoked");
    fenced(b.commit(1, &[place(&partition, 2, 1)]));
    a.acknowledge(&moving[..1]).expect("an acknowledgement");
    assert_eq!(assigned(&mut *b).active, moving[..1], "one by one is fine");
    fenced(a.commit(2, &[place(&partition, 2, 2)]));
    fatal(a.acknowledge(&moving[..1]));
    a.acknowledge(&moving[1..]).expect("an acknowledgement");
    assert_eq!(assigned(&mut *b).active, moving);
    assert_eq!(
        a.poll(NOW).expect("a poll"),
        Event::Idle,
        "it knows what it kept"
    );
    b.commit(2, &[place(&partition, 2, 2)])
        .expect("the new owner's commit");
    assert_eq!(values(&mut *harness.client(), &at("out", 0), 0), b"1");
}

pub(super) fn zombie(harness: &mut dyn Harness) {
    topic(&mut *harness.client(), "in", 1);
    topic(&mut *harness.client(), "out", 1);
    let partition = at("in", 0);
    let mut zombie = join(harness, "a", 1);
    assigned(&mut *zombie);
    zombie.send("out", Some(0), value(b"z")).expect("a send");
    harness.expire("group", "a");
    let mut heir = join(harness, "b", 1);
    assert_eq!(assigned(&mut *heir).active, [task(0)]);
    heir.commit(1, &[place(&partition, 4, 1)])
        .expect("a commit");
    fenced(zombie.commit(1, &[place(&partition, 1, 1)]));
    fenced(zombie.commit(1, &[]));
    fenced(zombie.fetch(&partition, 1));
    fenced(zombie.committed(std::slice::from_ref(&partition)));
    fenced(zombie.acknowledge(&[task(0)]));
    fenced(zombie.resolve(1, &[place(&partition, 1, 1)]));
    assert_eq!(zombie.poll(NOW).expect("a poll"), Event::Lost);
    assert_ne!(zombie.poll(NOW).expect("a poll"), Event::Lost, "told once");
    fenced(zombie.commit(1, &[]));
    zombie.abort().expect("an abort");
    zombie
        .subscribe(subscription("a", "a", 1, 0))
        .expect("another life");
    assert_eq!(assigned(&mut *zombie).active, []);
    let kept = heir.committed(&[partition]).expect("places");
    assert_eq!(kept, [Some(Committed::new(4, 1, b"stream time"))]);
    assert_eq!(values(&mut *harness.client(), &at("out", 0), 0), b"");
}

pub(super) fn same_name(harness: &mut dyn Harness) {
    topic(&mut *harness.client(), "in", 1);
    let mut first = join(harness, "a", 1);
    assigned(&mut *first);
    let mut second = join(harness, "a", 1);
    assert_eq!(assigned(&mut *second).active, [task(0)]);
    fenced(first.commit(1, &[place(&at("in", 0), 1, 1)]));
    assert_eq!(first.poll(NOW).expect("a poll"), Event::Lost);
    drop(first);
    second
        .commit(1, &[place(&at("in", 0), 1, 1)])
        .expect("the living one's commit");
}

pub(super) fn dropped(harness: &mut dyn Harness) {
    topic(&mut *harness.client(), "in", 2);
    let (mut a, mut b) = (join(harness, "a", 2), join(harness, "b", 2));
    assigned(&mut *a);
    assert_eq!(assigned(&mut *b).active.len(), 1);
    drop(a);
    assert_eq!(assigned(&mut *b).active, [task(0), task(1)]);
}

pub(super) fn standbys(harness: &mut dyn Harness) {
    topic(&mut *harness.client(), "in", 3);
    let mut members: Vec<_> = ["a", "b", "c"]
        .map(|name| {
            let mut client = harness.client();
            client
                .subscribe(subscription(name, name, 3, 1))
                .expect("a subscription");
            (name, client)
        })
        .into();
    let mut had = Vec::new();
    for (_, client) in &mut members {
        let assignment = assigned(&mut **client);
        assert_eq!((assignment.active.len(), assignment.standby.len()), (1, 1));
        assert_ne!(assignment.active, assignment.standby);
        had.push(assignment);
    }
    let (gone, _zombie) = members.remove(0);
    harness.expire("group", gone);
    let lost = had.remove(0).active[0];
    for ((name, client), before) in members.iter_mut().zip(&had) {
        let now = assigned(&mut **client);
        let kept = before.active.iter().all(|task| now.active.contains(task));
        assert!(kept, "{name} keeps what it had");
        let expected = before.standby.contains(&lost);
        assert_eq!(
            now.active.contains(&lost),
            expected,
            "the standby of {lost} takes over"
        );
    }
}

pub(super) fn disagree(harness: &mut dyn Harness) {
    topic(&mut *harness.client(), "in", 3);
    let mut a = join(harness, "a", 2);
    let mut b = harness.client();
    fatal(b.subscribe(subscription("b", "b", 3, 0)));
    let unknown = b.subscribe(subscription("b", "b", 4, 0));
    assert!(
        matches!(unknown, Err(Error::UnknownTopic(_))),
        "{unknown:?}"
    );
    fatal(a.subscribe(subscription("a", "a", 2, 0)));
    a.leave().expect("a farewell");
    b.subscribe(subscription("b", "b", 3, 0))
        .expect("the only member decides");
    assert_eq!(assigned(&mut *b).active.len(), 3);
}

pub(super) fn resolve(harness: &mut dyn Harness) {
    topic(&mut *harness.client(), "in", 1);
    topic(&mut *harness.client(), "out", 1);
    let mut client = join(harness, "a", 1);
    assigned(&mut *client);
    client.send("out", Some(0), value(b"x")).expect("a send");
    let first = [place(&at("in", 0), 1, 41)];
    let commit = client.commit(41, &first).expect("a commit");
    assert_eq!(
        client.resolve(41, &first).expect("an answer"),
        Outcome::Committed(commit)
    );
    let second = [place(&at("in", 0), 2, 42)];
    assert_eq!(
        client.resolve(42, &second).expect("an answer"),
        Outcome::Aborted
    );
}
