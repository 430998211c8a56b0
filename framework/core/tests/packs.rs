//! Records that come in one pack: their turns, places amid it, and what becomes of one that is
//! broken.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use millstream_core::{
    batch::{RecordBatch, Records},
    calls::{Executor, InlineExecutor},
    pack::Pack,
    prelude::*,
    record::{Offset, RawRecord},
    task::{Place, Supply, Task, TaskConfig},
};
use millstream_state::MemoryBackend;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

static IN: Topic<String, u64> = Topic::new("in", utf8(), u64_be());
static OUT: Topic<String, u64> = Topic::new("out", utf8(), u64_be());

static OTHER: Topic<String, u64> = Topic::new("other", utf8(), u64_be());

/// The task that reads a repartition topic.
fn reading(executor: Option<InlineExecutor>) -> Task {
    let builder = StreamsBuilder::new();
    let mut records =
        builder
            .stream(&IN)
            .repartition(Repartitioned::with("between", utf8(), u64_be()));
    if let Some(executor) = executor.clone() {
        let call = move |_: String, value: u64| {
            let sleep = executor.sleep(Duration::from_millis(value));
            async move {
                sleep.await;
                Ok::<_, String>(value)
            }
        };
        let config = AsyncConfig::new().concurrency(2).without_timeout();
        records = records.map_async("sleep", config, call);
    }
    records.to(&OUT);
    open(&builder.build().unwrap(), executor)
}

/// The last task of a program.
fn open(topology: &Topology, executor: Option<InlineExecutor>) -> Task {
    let last = topology.subtopologies().len() - 1;
    let id = TaskId {
        subtopology: u32::try_from(last).unwrap(),
        partition: 0,
    };
    let config = TaskConfig {
        policies: ErrorPolicy::DeadLetter.into(),
        dead_letter_topic: Some("dead".to_owned()),
        executor: executor.map(|executor| Arc::new(executor) as Arc<dyn Executor>),
        ..TaskConfig::new("app")
    };
    let backend = Arc::new(MemoryBackend::new::<&str>(&[]));
    Task::open(topology, id, &config, backend).unwrap()
}

/// What a log has of some packs; the values are the times, too.
fn log(packs: &[&[u64]]) -> RecordBatch {
    log_from(0, packs)
}

/// The same, where the first pack has another offset.
fn log_from(start: Offset, packs: &[&[u64]]) -> RecordBatch {
    let mut batch = RecordBatch::new();
    for (values, offset) in packs.iter().zip(start..) {
        let mut pack = Pack::default();
        for value in *values {
            pack.push(RawRecord {
                key: Some(b"key"),
                value: Some(&value.to_be_bytes()),
                timestamp: i64::try_from(*value).unwrap(),
                headers: &Headers::NONE,
            });
        }
        pack.empty(|record| batch.push(offset, record).then_some(()).ok_or("full"))
            .unwrap();
    }
    batch
}

fn add(task: &mut Task, batch: RecordBatch) {
    task.add(0, Records::all(Arc::new(batch)));
}

/// Takes the values of what was written to a topic.
fn written(task: &mut Task, topic: &str) -> Vec<u64> {
    let mut found = Vec::new();
    for output in task
        .outputs()
        .iter_mut()
        .filter(|output| &*output.topic == topic)
    {
        let values = output
            .records
            .iter()
            .map(|(_, record)| record.value.unwrap().to_vec());
        found.extend(values.map(|value| u64::from_be_bytes(value.try_into().unwrap())));
        output.clear();
    }
    found
}

/// The place of the only input after a commit, as the log brings it back.
fn commit(task: &mut Task) -> Place {
    let places = &task.prepare_commit().unwrap().places;
    assert_eq!(places.len(), 1);
    let place = places[0].1;
    let (place, _) = Place::from_metadata(place.offset, &place.metadata(1));
    task.committed(|_| None).unwrap();
    place
}

/// As [`commit`], of a task with several inputs.
fn commit_all(task: &mut Task) -> Vec<Place> {
    let places = &task.prepare_commit().unwrap().places;
    let places = places.iter().map(|(_, place)| *place).collect();
    task.committed(|_| None).unwrap();
    places
}

fn place(offset: Offset, taken: u32, partition_time: i64) -> Place {
    Place {
        offset,
        partition_time,
        taken,
    }
}

#[test]
fn a_place_may_be_amid_a_pack() {
    let packs: [&[u64]; 3] = [&[1, 2, 3], &[4], &[5, 6]];
    let places = [
        place(0, 1, 1),
        place(0, 2, 2),
        place(1, 0, 3),
        place(2, 0, 4),
        place(2, 1, 5),
        place(3, 0, 6),
    ];
    let mut task = reading(None);
    add(&mut task, log(&packs));
    assert_eq!(task.queued(0), 6);
    for (done, expected) in (1..).zip(places) {
        assert_eq!(task.process(1).unwrap(), 1);
        assert_eq!(written(&mut task, "out"), [done]);
        assert_eq!(commit(&mut task), expected);
        assert_eq!(task.next_offset(0), expected.offset);
        // Whoever goes on from there does the rest, and commits what this one would.
        let mut next = reading(None);
        assert_eq!(next.resume(0, expected), 0);
        add(&mut next, log(&packs));
        assert_eq!(next.queued(0) as u64, 6 - done);
        if done < 6 {
            next.process(9).unwrap();
            assert_eq!(commit(&mut next), place(3, 0, 6));
        }
        assert_eq!(
            written(&mut next, "out"),
            ((done + 1)..=6).collect::<Vec<_>>()
        );
    }
}

#[test]
fn what_a_pack_has_is_taken_once_and_again_after_an_abort() {
    let mut task = reading(None);
    add(&mut task, log(&[&[1, 2], &[3, 4]]));
    // A log may hand out what it has handed out before.
    add(&mut task, log(&[&[1, 2], &[3, 4], &[5, 6]]));
    assert_eq!(task.queued(0), 6);
    assert_eq!(task.process(3).unwrap(), 3);
    let at = commit(&mut task);
    assert_eq!(task.process(9).unwrap(), 3);
    assert_eq!(written(&mut task, "out"), [1, 2, 3, 4, 5, 6]);
    task.abort().unwrap();
    task.resume(0, at);
    add(&mut task, log(&[&[1, 2], &[3, 4], &[5, 6]]));
    assert_eq!(task.process(9).unwrap(), 3);
    assert_eq!(written(&mut task, "out"), [4, 5, 6]);
    assert_eq!(commit(&mut task), place(3, 0, 6));
}

#[test]
fn a_place_amid_a_pack_that_is_gone_is_before_the_next_one() {
    for (packs, expected) in [
        (&[&[][..], &[3, 4, 5]][..], vec![3, 4, 5]),
        // Shorter than what was taken: it is another one.
        (&[&[1, 2], &[3]], vec![1, 2, 3]),
        (&[&[1], &[3]], vec![1, 3]),
    ] {
        let mut task = reading(None);
        task.resume(0, place(0, 2, 2));
        add(&mut task, log(packs));
        task.process(1).unwrap();
        assert_eq!(written(&mut task, "out"), expected[..1]);
        let at = commit(&mut task);
        let mut next = reading(None);
        next.resume(0, at);
        add(&mut next, log(packs));
        next.process(9).unwrap();
        assert_eq!(written(&mut next, "out"), expected[1..], "{at:?}");
    }
    // Records were deleted, and the log says where it goes on.
    let mut task = reading(None);
    task.resume(0, place(0, 2, 2));
    assert_eq!(task.lose(0, 1), 1);
    add(&mut task, log(&[&[], &[3, 4, 5]]));
    task.process(9).unwrap();
    assert_eq!(written(&mut task, "out"), [3, 4, 5]);
}

#[test]
fn records_of_a_pack_have_their_turns_by_their_times() {
    let builder = StreamsBuilder::new();
    let spread = || Repartitioned::with("between", utf8(), u64_be());
    let packed = builder.stream(&IN).repartition(spread());
    packed.merge(builder.stream(&OTHER)).to(&OUT);
    let mut task = open(&builder.build().unwrap(), None);
    let inputs = task.inputs().iter().map(|at| at.topic.to_string());
    let inputs: Vec<_> = inputs.collect();
    assert_eq!(inputs, ["other", "app-between-repartition"]);
    task.add(0, Records::all(Arc::new(log(&[&[2], &[6]]))));
    task.add(1, Records::all(Arc::new(log(&[&[1, 3, 5], &[7, 9]]))));
    task.process(2).unwrap();
    assert_eq!(commit_all(&mut task), [place(1, 0, 2), place(0, 1, 1)]);
    // The next of the other input may be older than what is left of the packs.
    assert_eq!(task.process(9).unwrap(), 3);
    assert_eq!(written(&mut task, "out"), [1, 2, 3, 5, 6]);
    task.set_supply(0, Supply::Exhausted);
    assert_eq!(task.process(9).unwrap(), 2);
    assert_eq!(written(&mut task, "out"), [7, 9]);
}

#[test]
fn no_more_records_of_the_log_are_wanted_than_may_be_if_all_are_full() {
    let mut task = reading(None);
    assert_eq!(task.wanted(0, 0), 0);
    assert_eq!(task.wanted(0, 1000), 8, "1000 / 128: nothing is known yet");
    let mut next = 0;
    let mut wanted_after = |packs: &[&[u64]]| {
        add(&mut task, log_from(next, packs));
        next += packs.len() as Offset;
        let wanted = task.wanted(0, 1000 + task.queued(0));
        task.process(1000).unwrap();
        wanted
    };
    // What is reckoned comes down by halves to the four that they have.
    for wanted in [16, 32, 63, 125, 250, 250] {
        assert_eq!(wanted_after(&[&[1, 2, 3, 4], &[5, 6, 7, 8]]), wanted);
    }
    assert_eq!(wanted_after(&[&[1; 100], &[2], &[3; 99]]), 15, "1000 / 67");
}

/// Tells where records come from.
struct Where;

impl Processor<String, u64> for Where {
    type Key = String;
    type Value = u64;

    fn process(
        &mut self,
        record: Record<String, u64>,
        ctx: &mut ProcessorContext<'_, String, u64>,
    ) -> ProcessResult {
        let from = ctx.record_metadata().unwrap();
        let told = u64::try_from(from.offset).unwrap() * 10 + u64::from(from.index);
        ctx.forward(Record {
            value: told,
            ..record
        })?;
        Ok(())
    }
}

#[test]
fn records_of_a_pack_are_told_apart_by_their_index() {
    let builder = StreamsBuilder::new();
    let spread = Repartitioned::with("between", utf8(), u64_be());
    let records = builder.stream(&IN).repartition(spread);
    records.process((), |()| Where).to(&OUT);
    let topology = builder.build().unwrap();
    let packs: [&[u64]; 3] = [&[1, 2, 3], &[4], &[5, 6]];
    let mut task = open(&topology, None);
    add(&mut task, log(&packs));
    task.process(2).unwrap();
    assert_eq!(written(&mut task, "out"), [0, 1]);
    // Whoever goes on amid a pack calls the rest as this one would have.
    let at = commit(&mut task);
    let mut next = open(&topology, None);
    next.resume(0, at);
    add(&mut next, log(&packs));
    for task in [&mut task, &mut next] {
        task.process(9).unwrap();
        assert_eq!(written(task, "out"), [2, 10, 20, 21]);
    }
}

#[test]
fn a_pack_takes_turns_with_calls_and_is_committed_in_part() {
    let executor = InlineExecutor::new();
    let mut task = reading(Some(executor.clone()));
    add(&mut task, log(&[&[1, 2, 3, 4, 5], &[6]]));
    assert_eq!(task.process(9).unwrap(), 2, "as many as may be out");
    while task.outstanding_calls() > 0 {
        executor.wait(Duration::ZERO);
        task.settle_calls().unwrap();
    }
    assert_eq!(written(&mut task, "out"), [1, 2]);
    assert_eq!(commit(&mut task), place(0, 2, 2));
    let mut next = reading(Some(executor.clone()));
    next.resume(0, place(0, 2, 2));
    add(&mut next, log(&[&[1, 2, 3, 4, 5], &[6]]));
    while next.process(9).unwrap() > 0 || next.outstanding_calls() > 0 {
        executor.wait(Duration::ZERO);
    }
    assert_eq!(written(&mut next, "out"), [3, 4, 5, 6]);
}

/// What the dead letters of a task say in a header, where they have it.
fn letters_say(task: &mut Task, header: &str) -> Vec<Option<String>> {
    let outputs = task.outputs().iter();
    let letters = outputs.filter(|output| &*output.topic == "dead");
    let said = letters.flat_map(|output| output.records.iter());
    said.map(|(_, letter)| {
        let value = letter.headers.last(header)?.value.clone()?;
        Some(String::from_utf8(value).unwrap())
    })
    .collect()
}

#[test]
fn a_dead_letter_says_which_record_of_a_pack_it_was() {
    let (mut batch, mut pack) = (RecordBatch::new(), Pack::default());
    for value in [&b"bad"[..], &7_u64.to_be_bytes(), b"bad"] {
        pack.push(RawRecord {
            key: Some(b"key"),
            value: Some(value),
            timestamp: 1,
            headers: &Headers::NONE,
        });
    }
    pack.empty(|record| batch.push(5, record).then_some(()).ok_or("full"))
        .unwrap();
    let mut task = reading(None);
    add(&mut task, batch);
    assert_eq!(task.process(9).unwrap(), 3);
    let text = |value: &str| Some(value.to_owned());
    let offsets = letters_say(&mut task, "__streams.errors.offset");
    assert_eq!(offsets, [text("5"), text("5")]);
    let indexes = letters_say(&mut task, "__streams.errors.index");
    assert_eq!(indexes, [None, text("2")]);
}

#[test]
fn a_call_that_ends_later_is_refused_as_the_record_of_a_pack_that_it_was_made_for() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (told, builder) = (heard.clone(), StreamsBuilder::new());
    builder.on_error(ErrorHandler::new(move |refused| {
        let from = refused.record_metadata().unwrap();
        told.lock().unwrap().push((from.offset, from.index));
        ErrorPolicy::DeadLetter
    }));
    let executor = InlineExecutor::new();
    let calls = executor.clone();
    let refuse = move |_: String, value: u64| {
        let sleep = calls.sleep(Duration::from_millis(value));
        async move {
            sleep.await;
            Err::<u64, _>("never")
        }
    };
    let config = AsyncConfig::new().concurrency(8).unordered();
    let spread = Repartitioned::with("between", utf8(), u64_be());
    let records = builder.stream(&IN).repartition(spread);
    records.map_async("refuse", config, refuse).to(&OUT);
    let mut task = open(&builder.build().unwrap(), Some(executor.clone()));
    add(&mut task, log(&[&[1], &[2, 3, 4], &[5]]));
    // All are taken in before any of them is answered.
    assert_eq!(task.process(9).unwrap(), 5);
    assert_eq!(*heard.lock().unwrap(), []);
    while task.outstanding_calls() > 0 {
        executor.wait(Duration::ZERO);
        task.settle_calls().unwrap();
    }
    let all = [(0, 0), (1, 0), (1, 1), (1, 2), (2, 0)];
    assert_eq!(*heard.lock().unwrap(), all);
    let indexes = letters_say(&mut task, "__streams.errors.index");
    assert_eq!(
        indexes,
        ["", "", "1", "2", ""].map(|index| (!index.is_empty()).then(|| index.to_owned()))
    );
}

#[test]
fn a_pack_in_another_topic_is_refused_and_not_dropped_for_having_no_key() {
    let builder = StreamsBuilder::new();
    builder.stream(&IN).to(&OUT);
    let mut task = open(&builder.build().unwrap(), None);
    let batch = log(&[&[1, 2], &[3]]);
    add(&mut task, batch.clone());
    assert_eq!(task.process(9).unwrap(), 2);
    assert_eq!(written(&mut task, "out"), [3]);
    let dropped = task.counts().dropped;
    assert_eq!((dropped.deserialization, dropped.null_key), (1, 0));
    let why = letters_say(&mut task, "__streams.errors.message").remove(0);
    assert!(why.clone().unwrap().contains("pack"), "{why:?}");
    let dead = task
        .outputs()
        .iter()
        .find(|output| &*output.topic == "dead");
    assert_eq!(dead.unwrap().records.get(0).value, batch.get(0).value);
}

#[test]
fn a_broken_pack_is_refused_whole_and_kept_as_it_is() {
    let mut batch = log(&[&[1, 2]]);
    let whole = log(&[&[300, 400]]);
    let pack = whole.get(0);
    let bytes = pack.value.unwrap();
    let broken = RawRecord {
        value: Some(&bytes[..bytes.len() - 1]),
        ..pack
    };
    assert!(batch.push(1, broken) && batch.push(2, log(&[&[3]]).get(0)));
    let mut task = reading(None);
    add(&mut task, batch);
    assert_eq!(task.process(9).unwrap(), 4);
    assert_eq!(written(&mut task, "out"), [1, 2, 3]);
    assert_eq!(task.stream_time(), 3, "it says nothing of the time");
    let dropped = task.counts().dropped;
    assert_eq!((dropped.deserialization, dropped.dead_lettered), (1, 1));
    let dead = task
        .outputs()
        .iter()
        .find(|output| &*output.topic == "dead");
    let dead = dead.unwrap().records.get(0);
    assert_eq!(dead.value, broken.value);
    let reasons = dead
        .headers
        .iter()
        .filter_map(|header| header.value.clone());
    let reasons: Vec<_> = reasons
        .map(|value| String::from_utf8_lossy(&value).into_owned())
        .collect();
    assert!(
        reasons.iter().any(|text| text.contains("pack")),
        "{reasons:?}"
    );
    assert_eq!(commit(&mut task), place(3, 0, 3));
}

#[test]
fn whoever_is_asked_about_a_broken_pack_hears_its_time() {
    let times = Arc::new(Mutex::new(Vec::new()));
    let (heard, builder) = (times.clone(), StreamsBuilder::new());
    builder.on_error(ErrorHandler::new(move |refused| {
        heard.lock().unwrap().push(refused.timestamp());
        ErrorPolicy::Skip
    }));
    let spread = Repartitioned::with("between", utf8(), u64_be());
    builder.stream(&IN).repartition(spread).to(&OUT);
    let mut task = open(&builder.build().unwrap(), None);
    let (mut batch, whole) = (log(&[&[1]]), log(&[&[300, 400]]));
    let value = Some(&b"no pack"[..]);
    assert!(batch.push(
        1,
        RawRecord {
            value,
            ..whole.get(0)
        }
    ));
    add(&mut task, batch);
    task.process(9).unwrap();
    assert_eq!(*times.lock().unwrap(), [400]);
}
