//! Sinks of one group: who writes which partition when they come, go, and do not know they are
//! gone.

use super::*;
use crate::{Error, batch::RecordMeta};
use millstream_log::{Cleanup, EmbeddedLog, TaskInputs};

on_each!(
    two_members_share_and_the_one_that_is_left_goes_on_from_the_stored_places,
    a_member_that_was_thrown_out_in_the_middle_of_a_batch_is_refused_by_the_epoch,
    a_member_whose_database_is_away_still_hears_its_group,
    a_partition_that_a_stranger_took_is_taken_back_through_the_group,
    a_member_sends_dead_letters_and_waits_for_its_topic,
);

const PARTITIONS: u32 = 4;
/// Steps that any change of the group, or any backlog of these tests, takes at most.
const STEPS_MAX: usize = 1_000;

/// A world whose log has groups.
struct Shared {
    world: World,
    log: EmbeddedLog,
    produced: u64,
}

impl Shared {
    fn new(engine: Engine) -> Self {
        let mut shared = Self {
            world: World::new(engine, 0),
            log: EmbeddedLog::in_memory(),
            produced: 0,
        };
        let spec = TopicSpec {
            name: "words".into(),
            partitions: PARTITIONS,
            cleanup: Cleanup::Delete { retention_ms: None },
        };
        shared.log.client().create_topic(&spec).unwrap();
        shared.produce(1);
        shared
    }

    /// So many records into each partition.
    fn produce(&mut self, each: u64) {
        let mut client = self.log.client();
        for number in 0..each * u64::from(PARTITIONS) {
            let partition = u32::try_from(number).unwrap() % PARTITIONS;
            let value = format!("word {}", self.produced);
            self.produced += 1;
            send(&mut client, partition, value.as_bytes());
        }
        client.commit(1, &[]).unwrap();
    }

    fn lone(&self, row: impl Fn(&str) -> Word + Send + 'static) -> Sink {
        let config = SinkConfig {
            batch_rows: 7,
            ..SinkConfig::default()
        };
        let row = move |_: &String, value: &String, _: &RecordMeta<'_>| row(value);
        let (spec, database) = (
            Table::<Word>::new("words").spec().unwrap(),
            self.world.location().open(true),
        );
        let log = Box::new(self.log.client());
        let decode = decoder(WORDS, row);
        Sink::over(log, "words", spec, database, config, decode).unwrap()
    }

    fn member(&self, name: &str) -> Sink {
        let sink = self.lone(|value| word("k", value));
        sink.shared("app-sink-words", name, name)
    }

    /// What another client of that name does to a member: it takes its place, and leaves.
    fn throw_out(log: &EmbeddedLog, name: &str) {
        let tasks = (0..PARTITIONS).map(|partition| TaskInputs {
            task: TaskId {
                subtopology: 0,
                partition,
            },
            inputs: vec![TopicPartition::new("words", partition)],
            stateful: false,
        });
        let mut client = log.client();
        let subscription = Subscription {
            group: "app-sink-words".into(),
            member: name.into(),
            instance: name.into(),
            server: None,
            tasks: tasks.collect(),
            patterns: false,
            standbys: 0,
        };
        client.subscribe(subscription).unwrap();
        client.leave().unwrap();
    }

    /// Every record is one row, and none was written twice.
    #[track_caller]
    fn check(&self, written: u64) {
        let rows = self
            .world
            .sql("SELECT count(*), count(DISTINCT word) FROM words");
        let produced = i64::try_from(self.produced).unwrap();
        assert_eq!(rows[0], [produced.into(), produced.into()]);
        assert_eq!(written, self.produced, "so many rows were written");
    }
}

fn send(client: &mut dyn Log, partition: Partition, value: &[u8]) {
    let record = RawRecord {
        key: Some(b"k"),
        value: Some(value),
        timestamp: 0,
        headers: &Headers::NONE,
    };
    client.send("words", Some(partition), record).unwrap();
}

/// Steps all members in turn until each is idle and has so many partitions.
#[track_caller]
fn settle(members: &mut [&mut Sink], shares: &[usize]) {
    for _ in 0..STEPS_MAX {
        let mut done = true;
        for (member, share) in members.iter_mut().zip(shares) {
            let step = member.step(0).unwrap();
            let has = partitions(member).len();
            done &= step == Step::Idle && has == *share;
            // What it says to others is true: it is settled when it is idle.
            assert!(step != Step::Idle || member.stats().settled);
        }
        if done {
            return;
        }
    }
    let has: Vec<_> = members.iter().map(|member| partitions(member)).collect();
    panic!("not settled: {has:?}");
}

fn partitions(sink: &Sink) -> Vec<Partition> {
    let places = sink.stats().next_offsets.keys();
    places.map(|at| at.partition).collect()
}

fn two_members_share_and_the_one_that_is_left_goes_on_from_the_stored_places(engine: Engine) {
    let mut shared = Shared::new(engine);
    let mut first = shared.member("first");
    settle(&mut [&mut first], &[4]);
    let mut second = shared.member("second");
    assert!(!second.caught_up().unwrap() && !second.stats().settled);
    settle(&mut [&mut first, &mut second], &[2, 2]);
    let mut all = [partitions(&first), partitions(&second)].concat();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3]);

    shared.produce(25);
    assert!(!first.caught_up().unwrap() && !second.caught_up().unwrap());
    settle(&mut [&mut second], &[2]);
    assert!(!first.caught_up().unwrap() && second.caught_up().unwrap());
    assert_eq!(second.stats().rows, 50, "its own partitions only");
    settle(&mut [&mut first], &[2]);
    shared.check(first.stats().rows + second.stats().rows);
    assert_eq!(first.wait(Duration::ZERO).unwrap(), Event::Idle);

    // The one that leaves has not read this.
    shared.produce(10);
    let written = second.stats().rows;
    drop(second);
    settle(&mut [&mut first], &[4]);
    shared.check(first.stats().rows + written);
    assert_eq!(first.stats().fenced, 0);
    shared.produce(1);
    assert_eq!(first.wait(Duration::ZERO).unwrap(), Event::Ready);
}

fn a_member_that_was_thrown_out_in_the_middle_of_a_batch_is_refused_by_the_epoch(engine: Engine) {
    let mut shared = Shared::new(engine);
    let mut heir = shared.member("heir");
    // While the zombie makes its rows, it is thrown out and the heir writes all.
    let heard = Arc::new(Mutex::new(None::<Box<dyn FnOnce() + Send>>));
    let (meanwhile, log) = (Arc::clone(&heard), shared.log.clone());
    let zombie = shared.lone(move |value| {
        if let Some(happens) = meanwhile.lock().unwrap().take() {
            happens();
        }
        word("k", value)
    });
    let mut zombie = zombie.shared("app-sink-words", "zombie", "zombie");
    settle(&mut [&mut zombie], &[4]);
    shared.produce(3);
    let (tell, told) = std::sync::mpsc::channel();
    *heard.lock().unwrap() = Some(Box::new(move || {
        Shared::throw_out(&log, "zombie");
        settle(&mut [&mut heir], &[4]);
        tell.send(heir).unwrap();
    }));
    assert_eq!(zombie.step(0).unwrap(), Step::Waiting);
    let mut heir = told.try_recv().unwrap();
    assert_eq!((zombie.stats().rows, heir.stats().rows), (4, 12));
    let stats = zombie.stats();
    assert!(stats.fenced == 1 && !stats.settled && stats.next_offsets.len() < 4);

    // It hears that it is out, joins again, and gets its share from those who live.
    settle(&mut [&mut zombie, &mut heir], &[2, 2]);
    shared.produce(3);
    settle(&mut [&mut zombie, &mut heir], &[2, 2]);
    assert_eq!(zombie.stats().fenced, 1);
    shared.check(zombie.stats().rows + heir.stats().rows);
}

fn a_member_whose_database_is_away_still_hears_its_group(engine: Engine) {
    let mut shared = Shared::new(engine);
    let mut first = shared.member("first");
    settle(&mut [&mut first], &[4]);
    shared.produce(5);
    let mut lock = shared.world.locked(false);
    let Step::Retry { at_ms, .. } = first.step(0).unwrap() else {
        panic!("it is locked");
    };
    let mut second = shared.member("second");
    second.step(0).unwrap();
    assert_eq!(partitions(&first).len(), 4, "it has not heard of it");
    // Long before the first one's next attempt.
    assert!(matches!(first.step(0).unwrap(), Step::Retry { at_ms: same, .. } if same == at_ms));
    assert_eq!(partitions(&first).len(), 2);
    assert!(matches!(second.step(0).unwrap(), Step::Retry { .. }));
    assert!(!second.stats().settled, "it has claimed nothing yet");
    lock.rollback();
    for member in [&mut second, &mut first] {
        let step = member.step(60_000).unwrap();
        assert!(matches!(step, Step::Wrote { rows: 7, .. }), "{step:?}");
    }
    settle(&mut [&mut first, &mut second], &[2, 2]);
    assert_eq!((first.stats().fenced, second.stats().fenced), (0, 0));
    shared.check(first.stats().rows + second.stats().rows);
}

fn a_partition_that_a_stranger_took_is_taken_back_through_the_group(engine: Engine) {
    let mut shared = Shared::new(engine);
    let mut member = shared.member("member");
    settle(&mut [&mut member], &[4]);
    let mut stranger = shared.lone(|value| word("k", value));
    drain(&mut stranger);
    shared.produce(2);
    // It loses one after the other, and then waits: its group tells it nothing new.
    let limit = SinkConfig::default().backoff_max_ms;
    for now in 0..limit {
        assert_eq!(member.step(now).unwrap(), Step::Waiting);
        if partitions(&member).is_empty() {
            break;
        }
    }
    assert_eq!(member.stats().fenced, 4);
    assert_eq!(member.step(limit - 1).unwrap(), Step::Waiting);
    drain(&mut stranger);
    shared.produce(2);
    let step = member.step(2 * limit).unwrap();
    assert!(matches!(step, Step::Wrote { rows: 7, .. }), "{step:?}");
    settle(&mut [&mut member], &[4]);
    let error = stranger.step(0);
    assert!(matches!(error, Err(Error::Fenced { .. })), "{error:?}");
    shared.check(member.stats().rows + stranger.stats().rows);
}

fn a_member_sends_dead_letters_and_waits_for_its_topic(engine: Engine) {
    let shared = Shared::new(engine);
    let log = shared.log.clone();
    log.delete_topic("words").unwrap();
    let mut member = shared.member("member");
    assert!(matches!(member.step(0).unwrap(), Step::Retry { .. }));
    let spec = TopicSpec {
        name: "words".into(),
        partitions: PARTITIONS,
        cleanup: Cleanup::Delete { retention_ms: None },
    };
    let mut client = log.client();
    client.create_topic(&spec).unwrap();
    send(&mut client, 3, b"\xff");
    send(&mut client, 3, b"good");
    client.commit(1, &[]).unwrap();
    let step = member.step(60_000).unwrap();
    let (rows, dead_letters) = (1, 1);
    assert_eq!(step, Step::Wrote { rows, dead_letters });
    let at = TopicPartition::new("words-dead-letters", 3);
    let page = client.read(&at, 0, 1 << 20).unwrap();
    let (_, letter) = page.records.iter().next().unwrap();
    let offset = letter.headers.last("__streams.errors.offset");
    assert_eq!(offset.unwrap().value.as_deref(), Some(&b"0"[..]));
}
