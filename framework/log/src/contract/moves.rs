//! Tasks that go from one member to another.
//!
//! Invariant tested: a task has one owner at a time, and only its owner can commit for it.

use super::stage::{Member, Stage, place, server, task, value};
use crate::api::{Assignment, Committed, Error, Event, Instance};
use std::time::Duration;

/// Nothing to wait for: what there is to hear is there.
const NOW: Duration = Duration::ZERO;

fn active(all: &[&Assignment]) -> Vec<usize> {
    all.iter()
        .map(|assignment| assignment.active.len())
        .collect()
}

pub(super) fn share(stage: &mut Stage<'_>) {
    let inputs = [0, 1, 2, 3].map(|partition| stage.input(partition));
    stage.topic(&inputs[0], 4);
    let mut feeder = stage.client();
    for (input, number) in inputs.iter().zip([0, 10, 20, 30]) {
        stage.fill(&mut *feeder, input, number..number + 1);
    }
    let (mut a, mut b) = (stage.join("a", 4, 0), stage.join("b", 4, 0));
    stage.settled(&mut [&mut a, &mut b], |all| active(all) == [2, 2]);
    let has = [a.has.active.clone(), b.has.active.clone()];
    for (member, others) in [(&mut a, &has[1]), (&mut b, &has[0])] {
        for task in member.has.active.clone() {
            let number = u8::try_from(task.partition * 10).unwrap_or_default();
            let input = &inputs[task.partition as usize];
            stage.fetched(member, input, 9, &[number]);
        }
        let foreign = &inputs[others[0].partition as usize];
        stage.fenced(|| member.client.fetch(foreign, 1));
        stage.fenced(|| member.client.seek(foreign, 0));
        stage.fenced(|| member.client.commit(1, &[place(foreign, 1, 1)]));
    }
    a.client.leave().expect("a farewell");
    stage.settled(&mut [&mut b], |all| active(all) == [4]);
}

pub(super) fn revoke(stage: &mut Stage<'_>) {
    let output = stage.output(0);
    stage.topic(&stage.input(0), 4);
    stage.topic(&output, 1);
    let (mut a, mut b) = (stage.alone("a", 4), stage.join("b", 4, 0));
    let moving = stage.patiently(|| {
        b.hear();
        assert_eq!(b.has.active, [], "all tasks are still a's");
        match a.client.poll(NOW) {
            Ok(Event::Revoked(moving)) => Ok(moving),
            other => Err(format!("{other:?} is no revocation")),
        }
    });
    assert!(moving.len() >= 2, "b's share moves, whatever else does");
    let sticky = stage.terms.sticky;
    assert!(moving.len() == 2 || !sticky, "nothing else moves");
    // Until it acknowledges, a may finish its work.
    let partition = stage.input(moving[0].partition);
    stage.send(&mut *a.client, &output, value(b"1"));
    stage.ask(|| a.client.commit(1, &[place(&partition, 1, 1)]));
    stage.fenced(|| b.client.commit(1, &[place(&partition, 2, 1)]));
    let told = a.client.acknowledge(&moving[..1]);
    told.expect("one by one is fine");
    b.hear();
    let taken = |task| moving[..1].contains(task);
    assert!(b.has.active.iter().all(taken), "the others are still a's");
    assert!(
        b.has.active == moving[..1] || !sticky,
        "the first moves at once"
    );
    stage.fenced(|| a.client.commit(2, &[place(&partition, 2, 2)]));
    stage.fatal(|| a.client.acknowledge(&moving[..1]));
    a.client
        .acknowledge(&moving[1..])
        .expect("an acknowledgement");
    a.has.active.retain(|task| !moving.contains(task));
    stage.settled(&mut [&mut a, &mut b], |all| active(all) == [2, 2]);
    let (owner, other) = match a.has.active.contains(&moving[0]) {
        true => (&mut a, &mut b),
        false => (&mut b, &mut a),
    };
    stage.fenced(|| other.client.commit(2, &[place(&partition, 3, 2)]));
    stage.ask(|| owner.client.commit(2, &[place(&partition, 2, 2)]));
    let mut reader = stage.client();
    assert_eq!(stage.values(&mut *reader, &output, 0), b"1");
}

/// Hears that a member has lost its tasks, and hears it once.
fn lost(stage: &mut Stage<'_>, member: &mut Member) {
    stage.patiently(|| match member.client.poll(NOW) {
        Ok(Event::Lost) => Ok(()),
        other => Err(format!("{other:?} does not say that all is lost")),
    });
    let again = member.client.poll(NOW).expect("a poll");
    assert_ne!(again, Event::Lost, "told once");
}

pub(super) fn zombie(stage: &mut Stage<'_>) {
    let (input, output) = (stage.input(0), stage.output(0));
    stage.topic(&input, 1);
    stage.topic(&output, 1);
    let mut zombie = stage.alone("a", 1);
    stage.send(&mut *zombie.client, &output, value(b"z"));
    let group = stage.group.clone();
    stage.harness.expire(&group, "a");
    let mut heir = stage.alone("b", 1);
    let taken = [place(&input, 4, 1)];
    stage.ask(|| heir.client.commit(1, &taken));
    let client = &mut zombie.client;
    let places = [place(&input, 1, 1)];
    stage.fenced(|| client.commit(1, &places));
    stage.fenced(|| client.commit(1, &[]));
    stage.fenced(|| client.fetch(&input, 1));
    stage.fenced(|| client.committed(std::slice::from_ref(&input)));
    stage.fenced(|| client.acknowledge(&[task(0)]));
    stage.fenced(|| client.resolve(1, &places));
    lost(stage, &mut zombie);
    stage.fenced(|| zombie.client.commit(1, &[]));
    zombie.client.abort().expect("an abort");
    let another = stage.subscription("a", 1, 0);
    stage.ask(|| zombie.client.subscribe(another.clone()));
    let mut zombie = Member::new(zombie.client);
    // A member again, with something or nothing.
    stage.patiently(|| {
        zombie.hear();
        heir.hear();
        zombie
            .assigned
            .then_some(())
            .ok_or_else(|| "nothing is assigned".to_owned())
    });
    let both = &mut [&mut zombie, &mut heir];
    stage.settled(both, |all| active(all).iter().sum::<usize>() == 1);
    let kept = stage.ask(|| heir.client.committed(std::slice::from_ref(&input)));
    assert_eq!(kept, [Some(Committed::new(4, 1, b"stream time"))]);
    if stage.terms.transactions {
        let mut reader = stage.client();
        assert_eq!(stage.values(&mut *reader, &output, 0), b"");
    }
}

pub(super) fn same_name(stage: &mut Stage<'_>) {
    let (input, output) = (stage.input(0), stage.output(0));
    stage.topic(&input, 1);
    stage.topic(&output, 1);
    let mut first = stage.alone("a", 1);
    stage.send(&mut *first.client, &output, value(b"1"));
    let mut second = stage.join("a", 1, 0);
    let places = [place(&input, 1, 1)];
    stage.fenced(|| first.client.commit(1, &places));
    lost(stage, &mut first);
    stage.settled(&mut [&mut second], |all| active(all) == [1]);
    stage.fenced(|| first.client.commit(1, &places));
    drop(first);
    stage.send(&mut *second.client, &output, value(b"2"));
    stage.ask(|| second.client.commit(1, &places));
    let mut reader = stage.client();
    assert_eq!(stage.values(&mut *reader, &output, 0), b"2");
}

pub(super) fn dropped(stage: &mut Stage<'_>) {
    stage.topic(&stage.input(0), 2);
    let (mut a, mut b) = (stage.join("a", 2, 0), stage.join("b", 2, 0));
    stage.settled(&mut [&mut a, &mut b], |all| active(all) == [1, 1]);
    drop(a);
    stage.settled(&mut [&mut b], |all| active(all) == [2]);
}

/// Whether every one of three tasks has an owner, and a standby elsewhere.
fn replicated(all: &[&Assignment]) -> bool {
    (0..3).map(task).all(|task| {
        let owns = |has: &&Assignment| has.active.contains(&task);
        let keeps = |has: &&Assignment| has.standby.contains(&task);
        let mut owners = all.iter().copied().filter(owns);
        let keepers = all.iter().copied().filter(keeps).count();
        owners.next().is_some_and(|owner| !keeps(&owner)) && owners.count() == 0 && keepers == 1
    })
}

/// A task goes to its standby when its owner dies.
pub(super) fn standbys(stage: &mut Stage<'_>) {
    stage.topic(&stage.input(0), 3);
    let [mut a, mut b, mut c] = ["a", "b", "c"].map(|name| stage.join(name, 3, 1));
    stage.settled(&mut [&mut a, &mut b, &mut c], |all| {
        active(all) == [1, 1, 1] && replicated(all)
    });
    let group = stage.group.clone();
    let of_a = a.has.active[0];
    let heir = usize::from(c.has.standby.contains(&of_a));
    let had = [b.has.active[0], c.has.active[0]];
    let sticky = stage.terms.sticky;
    stage.harness.expire(&group, "a");
    stage.settled(&mut [&mut b, &mut c], |all| {
        let takes_over = all[heir].active.contains(&of_a);
        let kept = all
            .iter()
            .zip(&had)
            .all(|(has, had)| has.active.contains(had));
        let shared = active(all).iter().all(|count| *count <= 2);
        takes_over && (kept || !sticky) && shared && replicated(all)
    });
    stage.harness.expire(&group, "b");
    stage.settled(&mut [&mut c], |all| {
        active(all) == [3] && all[0].standby.is_empty()
    });
    // Who was thrown out hears so first from a poll, or first from a commit.
    lost(stage, &mut a);
    stage.fenced(|| a.client.commit(1, &[]));
    let of_b = stage.input(b.has.active[0].partition);
    stage.fenced(|| b.client.commit(1, &[place(&of_b, 1, 1)]));
    lost(stage, &mut b);
}

/// What a member is told of all instances is what these have, and where they say that they are.
pub(super) fn instances(stage: &mut Stage<'_>) {
    stage.topic(&stage.input(0), 3);
    let [mut a, mut b] = ["a", "b"].map(|name| stage.join(name, 3, 1));
    stage.settled(&mut [&mut a, &mut b], |all| {
        active(all).iter().sum::<usize>() == 3 && active(all).iter().all(|count| *count > 0)
    });
    let instance = |name, ours, has: &Assignment| Instance {
        server: Some(server(name)),
        ours,
        active: has.active.clone(),
        standby: has.standby.clone(),
    };
    for number in 0..2 {
        let client = if number == 0 {
            &mut a.client
        } else {
            &mut b.client
        };
        let mut found = client.instances().expect("the instances");
        found.sort_by(|one, other| one.server.cmp(&other.server));
        let both = [
            instance("a", number == 0, &a.has),
            instance("b", number == 1, &b.has),
        ];
        assert_eq!(found, both);
    }
    drop(b);
    stage.settled(&mut [&mut a], |all| active(all) == [3]);
    let alone = instance("a", true, &a.has);
    assert_eq!(a.client.instances().expect("the instances"), [alone]);
    a.client.leave().expect("a farewell");
    assert_eq!(a.client.instances().expect("the instances"), []);
    let mut outside = stage.client();
    assert_eq!(outside.instances().expect("the instances"), []);
}

pub(super) fn disagree(stage: &mut Stage<'_>) {
    stage.topic(&stage.input(0), 3);
    let mut a = stage.join("a", 2, 0).client;
    let mut b = stage.client();
    let others = [3, 4].map(|tasks| stage.subscription("b", tasks, 0));
    stage.fatal(|| b.subscribe(others[0].clone()));
    let unknown = b.subscribe(others[1].clone());
    assert!(
        matches!(unknown, Err(Error::UnknownTopic(_))),
        "{unknown:?}"
    );
    let again = stage.subscription("a", 2, 0);
    stage.fatal(|| a.subscribe(again.clone()));
    a.leave().expect("a farewell");
    b.subscribe(stage.subscription("b", 3, 0))
        .expect("the only member decides");
    let mut b = Member::new(b);
    stage.settled(&mut [&mut b], |all| active(all) == [3]);
}
