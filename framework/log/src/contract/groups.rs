//! Members, their input and their places.
//!
//! Invariant tested: a member goes on where its group has been, and what became of a commit can be
//! found out.

use super::stage::{Stage, place, task, value};
use crate::api::{Committed, Error, Event, Outcome};
use std::time::Duration;

/// Something to wait for that does not come.
const SHORT: Duration = Duration::from_millis(5);

pub(super) fn places(stage: &mut Stage<'_>) {
    let partitions = [stage.input(1), stage.input(0)];
    stage.topic(&partitions[0], 2);
    let mut member = stage.join("a", 2, 0);
    let found = stage.ask(|| member.client.committed(&partitions));
    assert_eq!(found, [None, None]);
    stage.settled(&mut [&mut member], |all| all[0].active.len() == 2);
    for (offset, number) in [(3, 8), (5, 9)] {
        let places = [place(&partitions[0], offset, number)];
        stage.ask(|| member.client.commit(number, &places));
    }
    drop(member);
    stage.harness.reopen();
    let mut member = stage.join("b", 2, 0);
    let found = stage.ask(|| member.client.committed(&partitions));
    assert_eq!(found, [Some(Committed::new(5, 9, b"stream time")), None]);
}

pub(super) fn fetch(stage: &mut Stage<'_>) {
    let input = stage.input(0);
    stage.topic(&input, 1);
    let (mut feeder, mut member) = (stage.client(), stage.alone("a", 1));
    let ready = |stage: &mut Stage<'_>, member: &mut super::stage::Member| {
        stage.patiently(|| match member.client.poll(Duration::ZERO) {
            Ok(Event::Ready) => Ok(()),
            other => Err(format!("{other:?} is no news of records")),
        });
    };
    stage.fetched(&mut member, &input, 3, &[]);
    stage.fill(&mut *feeder, &input, 0..10);
    ready(stage, &mut member);
    let all: Vec<_> = (0..10).collect();
    stage.fetched(&mut member, &input, 3, &all);
    let position = member.client.position(&input).expect("a position");
    let behind = 10..=10 + stage.terms.marks;
    assert!(behind.contains(&position), "{position} is not {behind:?}");
    let told = member.client.poll(Duration::ZERO).expect("a poll");
    assert_eq!(told, Event::Idle);
    member.client.abort().expect("an abort");
    // An abort does not move the place.
    stage.fetched(&mut member, &input, 3, &[]);
    member.client.seek(&input, 7).expect("a seek");
    assert_eq!(member.client.position(&input), Ok(7));
    ready(stage, &mut member);
    stage.fetched(&mut member, &input, 100, &[7, 8, 9]);
    let places = [place(&input, 8, 1)];
    stage.ask(|| member.client.commit(1, &places));
    drop((member, feeder));
    stage.harness.reopen();
    let mut member = stage.alone("a", 1);
    // It begins at the group's place.
    stage.fetched(&mut member, &input, 100, &[8, 9]);
    stage.harness.delete_records(&input, 9);
    member.client.seek(&input, 8).expect("a seek");
    let error = stage.refused(|| member.client.fetch(&input, 1));
    let end = 10 + stage.terms.marks;
    let expected = Error::OffsetOutOfRange {
        partition: input,
        offset: 8,
        start: 9,
        end,
    };
    assert_eq!(error, expected);
}

pub(super) fn idle(stage: &mut Stage<'_>) {
    stage.topic(&stage.input(0), 1);
    let mut member = stage.alone("a", 1);
    assert_eq!(member.client.poll(SHORT).expect("a poll"), Event::Idle);
    assert_eq!(stage.client().poll(SHORT).expect("a poll"), Event::Idle);
}

pub(super) fn no_subscription(stage: &mut Stage<'_>) {
    let input = stage.input(0);
    stage.topic(&input, 1);
    let mut client = stage.client();
    stage.send(&mut *client, &input, value(b"x"));
    stage.fatal(|| client.commit(1, &[place(&input, 1, 1)]));
    stage.fatal(|| client.fetch(&input, 1));
    stage.fatal(|| client.committed(std::slice::from_ref(&input)));
    stage.fatal(|| client.acknowledge(&[task(0)]));
    client.leave().expect("leaving nothing is fine");
}

pub(super) fn resolve(stage: &mut Stage<'_>) {
    let (input, output) = (stage.input(0), stage.output(0));
    stage.topic(&input, 1);
    stage.topic(&output, 1);
    let mut client = stage.alone("a", 1).client;
    stage.send(&mut *client, &output, value(b"x"));
    let first = [place(&input, 1, 41)];
    let commit = stage.ask(|| client.commit(41, &first));
    assert_eq!(
        stage.ask(|| client.resolve(41, &first)),
        Outcome::Committed(commit)
    );
    let second = [place(&input, 2, 42)];
    assert_eq!(stage.ask(|| client.resolve(42, &second)), Outcome::Aborted);
}

pub(super) fn begun(stage: &mut Stage<'_>) {
    let (input, output) = (stage.input(0), stage.output(0));
    stage.topic(&input, 1);
    stage.topic(&output, 1);
    let mut client = stage.alone("a", 1).client;
    stage.fatal(|| client.poll_commit(SHORT));
    let offsets = stage.offsets(&[1; 3]);
    for (number, offset) in [1_u8, 2, 3].into_iter().zip(offsets) {
        stage.send(&mut *client, &output, value(&[number]));
        let places = [place(&input, number.into(), number.into())];
        let mut ended = stage.ask(|| client.begin_commit(number.into(), &places));
        // Everything but sending is allowed meanwhile.
        stage.ask(|| client.start(&output));
        client.poll(Duration::ZERO).expect("a poll");
        let commit = stage.patiently(|| {
            if ended.is_none() {
                ended = client.poll_commit(SHORT).expect("a commit");
            }
            ended
                .take()
                .ok_or_else(|| "the commit does not end".to_owned())
        });
        assert_eq!(commit.ends, [(output.clone(), offset + 1)]);
    }
    let found = stage.ask(|| client.committed(std::slice::from_ref(&input)));
    assert_eq!(found, [Some(Committed::new(3, 3, b"stream time"))]);
    let mut reader = stage.client();
    assert_eq!(stage.values(&mut *reader, &output, 0), [1, 2, 3]);
}

/// Who is no member may move a program's places only while none of its instances runs, or they
/// would go on from other places than those of their state.
pub(super) fn feed(stage: &mut Stage<'_>) {
    let input = stage.input(0);
    let (group, at) = (stage.group.clone(), std::slice::from_ref(&input));
    stage.topic(&input, 1);
    let mut feeder = stage.client();
    let places = |number: u8| [place(&input, number.into(), number.into())];
    let kept = |number: u8| {
        [Some(Committed::new(
            number.into(),
            number.into(),
            b"stream time",
        ))]
    };
    stage.send(&mut *feeder, &input, value(b"x"));
    let commit = stage.ask(|| feeder.commit_as(&group, 1, &places(1)));
    assert_eq!(commit.ends, [(input.clone(), 1)]);
    assert_eq!(stage.ask(|| feeder.committed_as(&group, at)), kept(1));
    let mut member = stage.alone("a", 1);
    stage.fatal(|| feeder.commit_as(&group, 2, &places(2)));
    stage.fatal(|| member.client.commit_as(&group, 2, &places(2)));
    stage.ask(|| member.client.commit(3, &places(3)));
    assert_eq!(stage.ask(|| feeder.committed_as(&group, at)), kept(3));
    member.client.leave().expect("a farewell");
    stage.ask(|| feeder.commit_as(&group, 4, &places(4)));
    assert_eq!(stage.ask(|| feeder.committed_as(&group, at)), kept(4));
}
