//! Commits that go wrong.

use super::*;
use crate::{
    errors::fatal,
    ffi::{GroupMetadata, PartitionList},
    membership::Change,
    mock::{Mock, TIMEOUT, TOPIC, send},
};
use millstream_log::{Assignment, Instance, TaskInputs};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use std::sync::atomic::{AtomicUsize, Ordering};

const TASK: TaskId = TaskId {
    subtopology: 0,
    partition: 0,
};

/// A client that is a member of a group, which gave it its task.
fn member(mock: &Mock, guarantee: Guarantee, group: Group) -> KafkaClient {
    let mut client = mock.log(guarantee, &[]).client();
    client.subscription = Some(Subscription {
        group: "app".into(),
        member: "m".into(),
        instance: "i".into(),
        server: None,
        tasks: vec![TaskInputs {
            task: TASK,
            inputs: vec![TopicPartition::new(TOPIC, 0)],
            stateful: true,
        }],
        patterns: false,
        standbys: 0,
    });
    client.group = Some(Box::new(group));
    client.assigned(&Assignment {
        active: vec![TASK],
        standby: Vec::new(),
    });
    client
}

/// A group in which nothing happens, and which takes no places so many times.
#[derive(Clone, Default)]
struct Group {
    refusals: Arc<AtomicUsize>,
}

impl Membership for Group {
    fn poll(&mut self) -> Result<Option<Change>> {
        Ok(None)
    }

    fn let_go(&mut self) -> Result<()> {
        Ok(())
    }

    fn instances(&self) -> &[Instance] {
        &[]
    }

    fn proof(&self) -> Option<Arc<GroupMetadata>> {
        let proof = GroupMetadata::without_members("app").map_err(fatal);
        proof.ok().map(Arc::new)
    }

    fn commit_places(&self, _: &PartitionList) -> Result<()> {
        let left = &self.refusals;
        let refused = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        refused.map_or(Ok(()), |_| Err(Error::Retry("not now".into())))
    }
}

fn places(number: u64) -> [(TopicPartition, Committed); 1] {
    let place = Committed::new(1, number, b"");
    [(TopicPartition::new(TOPIC, 0), place)]
}

#[test]
fn the_ends_of_a_commit_with_an_unknown_outcome_are_kept() {
    let mock = Mock::start();
    let mut client = member(&mock, Guarantee::ExactlyOnceV2, Group::default());
    send(&mut client, TOPIC);
    // A producer that is finished while it ends a transaction cannot say what became of that.
    let fenced = RDKafkaRespErr::RD_KAFKA_RESP_ERR_PRODUCER_FENCED;
    (mock.cluster).request_errors(RDKafkaApiKey::EndTxn, &[fenced]);
    let told = client.commit(7, &places(7));
    assert!(matches!(told, Err(Error::UnknownOutcome(_))), "{told:?}");
    let ends = vec![(TopicPartition::new(TOPIC, 0), 1)];
    assert_eq!(client.last, Some((7, Commit { ends })));
}

#[test]
fn without_transactions_ends_are_kept_until_the_places_are_committed() {
    let mock = Mock::start();
    let group = Group::default();
    let mut client = member(&mock, Guarantee::AtLeastOnce, group.clone());
    group.refusals.store(2, Ordering::Relaxed);
    send(&mut client, TOPIC);
    for _ in 0..2 {
        let told = client.commit(1, &places(1));
        assert!(matches!(told, Err(Error::Retry(_))), "{told:?}");
    }
    let ends = client.commit(1, &places(1)).unwrap().ends;
    assert_eq!(ends, [(TopicPartition::new(TOPIC, 0), 1)]);
    // What was dropped is not told with what comes after it.
    group.refusals.store(1, Ordering::Relaxed);
    send(&mut client, TOPIC);
    client.commit(2, &places(2)).unwrap_err();
    client.abort().unwrap();
    assert_eq!(client.commit(3, &places(3)).unwrap().ends, []);
}

#[test]
fn commits_that_come_to_nothing_are_not_tried_for_ever() {
    let mock = Mock::start();
    let group = Group::default();
    let mut client = member(&mock, Guarantee::AtLeastOnce, group.clone());
    group.refusals.store(usize::MAX, Ordering::Relaxed);
    for seconds in [0, TIMEOUT.as_secs() - 1, TIMEOUT.as_secs()] {
        mock.seconds.store(seconds, Ordering::Relaxed);
        send(&mut client, TOPIC);
        let told = client.commit(1, &places(1)).unwrap_err();
        let limit = seconds == TIMEOUT.as_secs();
        assert_eq!(matches!(told, Error::Fatal(_)), limit, "{told}");
        client.abort().unwrap();
        // The cluster answers everything else.
        client.topic_names().unwrap();
    }
}

#[test]
fn new_tasks_have_all_the_time_to_be_committed() {
    let mock = Mock::start();
    let group = Group::default();
    let mut client = member(&mock, Guarantee::AtLeastOnce, group.clone());
    for seconds in [0, TIMEOUT.as_secs()] {
        mock.seconds.store(seconds, Ordering::Relaxed);
        group.refusals.store(1, Ordering::Relaxed);
        let told = client.commit(1, &places(1));
        assert!(matches!(told, Err(Error::Retry(_))), "{told:?}");
        client.assigned(&Assignment {
            active: vec![TASK],
            standby: Vec::new(),
        });
    }
}

#[test]
fn only_who_is_polled_has_statistics_and_there_they_are_heard() {
    let mock = Mock::start();
    let often = [("statistics.interval.ms", "50")];
    let log = mock.log(Guarantee::AtLeastOnce, &often);
    let mut client = log.client();
    send(&mut client, TOPIC);
    client.commit(1, &[]).unwrap();
    let reader = Arc::clone(client.sources().unwrap().handle());
    for handle in [&reader, client.producer().unwrap().handle()] {
        assert_eq!(handle.setting("statistics.interval.ms"), Some(0));
    }
    client.producer().unwrap().join("m".to_owned());
    send(&mut client, TOPIC);
    let told = || log.cluster().tellers.told();
    assert_eq!(told(), [], "nobody has listened yet");
    let mut polled = |_| {
        client.poll(Duration::from_millis(20)).unwrap();
        !told().is_empty()
    };
    assert!((0..500).any(&mut polled), "what was told is not heard");
}

#[test]
fn where_the_thread_that_commits_dies_a_member_goes_on_with_statistics() {
    let mock = Mock::start();
    let mut client = member(&mock, Guarantee::ExactlyOnceV2, Group::default());
    (client.producer, client.committer) = (None, Some(Committer::ended()));
    client.begun = Some(1);
    let told = client.poll_commit(Duration::ZERO);
    assert!(matches!(told, Err(Error::UnknownOutcome(_))), "{told:?}");
    assert!(client.producer().unwrap().tells());
    send(&mut client, TOPIC);
    client.commit(2, &places(2)).unwrap();
}
