//! Rows that Postgres refuses among many that it takes, and starts that meet each other.

use super::{server::is_there, *};
use crate::{Error, Millis};
use std::thread;

struct Narrow {
    id: String,
    small: i64,
    at: Millis,
    parent: i64,
}
row!(Narrow {
    id,
    small,
    at,
    parent
});

struct NarrowKeyed(Narrow);

impl Row for NarrowKeyed {
    fn columns() -> &'static [crate::Column] {
        const {
            &[
                crate::Column::new("id", Kind::Text).key(),
                crate::Column::new("small", Kind::Integer),
                crate::Column::new("at", Kind::Timestamp),
                crate::Column::new("parent", Kind::Integer),
            ]
        }
    }
    fn bind(&self, values: &mut Values) {
        self.0.bind(values);
    }
}

/// What is wrong with a row, and what its dead letter says of it.
const BAD: [(&str, &str); 6] = [
    ("nul\0", "NUL"),
    ("longer than it may be", "too long"),
    ("wide", "out of range"),
    ("never", "out of range"),
    ("orphan", "foreign key"),
    ("checked", "check constraint"),
];

fn narrow(id: &str, what: &str) -> Narrow {
    let id = if what.len() > 10 || what.contains('\0') {
        what
    } else {
        id
    };
    Narrow {
        id: id.into(),
        small: match what {
            "wide" => 40_000,
            "checked" => -1,
            _ => 1,
        },
        at: Millis(if what == "never" { i64::MAX } else { 0 }),
        parent: i64::from(what == "orphan"),
    }
}

fn bulk() -> SinkConfig {
    SinkConfig::server()
}

fn letters(world: &World, topic: &str) -> Vec<(String, String)> {
    let letters = world.log.entries(topic);
    let told = |letter: &Entry| {
        let said = letter.headers.last("__streams.errors.message").unwrap();
        let said = String::from_utf8(said.value.clone().unwrap()).unwrap();
        let what = String::from_utf8(letter.value.clone().unwrap()).unwrap();
        (what, said)
    };
    letters.iter().map(told).collect()
}

/// One batch of 400 rows, of which one of each kind of bad ones, in a table made by others.
fn bad_among_good<R: Row + 'static>(key: &str, make: fn(&str, &str) -> R) {
    let world = World::new(Engine::Postgres, 1);
    world.sql("CREATE TABLE parents (id bigint PRIMARY KEY)");
    world.sql("INSERT INTO parents VALUES (0)");
    world.sql(&format!(
        "CREATE TABLE narrow (_partition int NOT NULL, _offset bigint NOT NULL, \
         id varchar(10) NOT NULL, small smallint NOT NULL CHECK (small > 0), \
         at timestamp NOT NULL, PRIMARY KEY ({key}), \
         parent bigint NOT NULL REFERENCES parents DEFERRABLE INITIALLY DEFERRED)"
    ));
    for number in 0..400 {
        let what = BAD.get(number / 60).filter(|_| number % 60 == 7);
        let what = what.map_or("good", |(what, _)| what);
        let id = format!("key{number}");
        world.log.produce(0, id.as_bytes(), what.as_bytes());
    }
    let mut sink = world.sink_with(bulk(), "narrow", &Fuse::default(), make);
    let step = sink.step(0).unwrap();
    let expected = Step::Wrote {
        rows: 394,
        dead_letters: 6,
    };
    assert_eq!(step, expected);
    let rows = world.sql("SELECT count(*), count(DISTINCT id), min(at) FROM narrow");
    assert_eq!(rows[0], [394.into(), 394.into(), Value::Timestamp(0)]);
    let found = letters(&world, "narrow-dead-letters");
    assert_eq!(found.len(), BAD.len());
    for ((what, said), (bad, reason)) in found.iter().zip(BAD) {
        assert_eq!(what, bad);
        assert!(said.contains(reason), "{what:?}: {said}");
    }
}

#[test]
fn bad_rows_are_set_aside_one_by_one_and_the_good_ones_are_written() {
    if is_there() {
        bad_among_good("_partition, _offset", narrow);
        bad_among_good("id", |id, what| NarrowKeyed(narrow(id, what)));
    }
}

#[test]
fn of_one_key_in_one_batch_the_last_good_record_is_the_row() {
    if !is_there() {
        return;
    }
    let world = World::new(Engine::Postgres, 1);
    world.sql(
        "CREATE TABLE latest (_partition bigint, _offset bigint, id text PRIMARY KEY, \
         word text CHECK (word <> 'bad'))",
    );
    for (key, word) in [
        ("a", "one"),
        ("b", "one"),
        ("a", "two"),
        ("a", "bad"),
        ("b", "bad"),
        ("b", "three"),
    ] {
        world.log.produce(0, key.as_bytes(), word.as_bytes());
    }
    let latest = |id: &str, word: &str| Latest {
        id: id.into(),
        word: Some(word.into()),
    };
    drain(&mut world.sink_with(bulk(), "latest", &Fuse::default(), latest));
    assert_eq!(
        world.sql("SELECT id, word FROM latest ORDER BY id"),
        [["a".into(), "two".into()], ["b".into(), "three".into()]]
    );
}

#[test]
fn places_set_back_by_hand_write_the_rows_again_in_their_place() {
    if !is_there() {
        return;
    }
    let world = World::new(Engine::Postgres, 1);
    for _ in 0..100 {
        world.log.produce(0, b"k", b"word");
    }
    drain(&mut world.sink_with(bulk(), "words", &Fuse::default(), word));
    world.sql("DELETE FROM millstream_offsets");
    world.sql("DELETE FROM words WHERE _offset > 50");
    world.sql("UPDATE words SET word = 'old'");
    let mut sink = world.sink_with(bulk(), "words", &Fuse::default(), word);
    drain(&mut sink);
    assert_eq!((sink.stats().rows, sink.stats().dead_letters), (100, 0));
    let rows = world.sql("SELECT count(*), min(word), max(word) FROM words");
    assert_eq!(rows[0], [100.into(), "word".into(), "word".into()]);
}

#[test]
fn sinks_that_start_together_replace_each_other_and_write_each_record_once() {
    if !is_there() {
        return;
    }
    let world = World::new(Engine::Postgres, 3);
    for number in 0..300 {
        world.log.produce(number % 3, b"k", b"word");
    }
    let sinks: Vec<_> = (0..4).map(|_| world.word_sink()).collect();
    let run = |mut sink: Sink| {
        for now in 0..1_000 {
            match sink.step(now * 60_000) {
                Ok(Step::Idle) => return (sink.stats().rows, true),
                Ok(_) => {}
                Err(Error::Fenced { .. }) => return (sink.stats().rows, false),
                Err(other) => panic!("{other}"),
            }
        }
        panic!("no end");
    };
    let ended: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = sinks
            .into_iter()
            .map(|sink| scope.spawn(move || run(sink)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(ended.iter().any(|(_, idle)| *idle), "{ended:?}");
    let written: u64 = ended.iter().map(|(rows, _)| rows).sum();
    assert_eq!(written, 300, "each record by one of them: {ended:?}");
    assert_eq!(world.sql("SELECT count(*) FROM words")[0][0], 300.into());
    let epochs = world.sql("SELECT DISTINCT epoch FROM millstream_offsets");
    assert_eq!(epochs, [[4.into()]]);
}

#[test]
fn names_that_postgres_would_cut_are_refused() {
    if !is_there() {
        return;
    }
    const NAME: &str = "a_table_whose_name_is_longer_than_the_63_bytes_that_postgres_keeps_";
    let world = World::new(Engine::Postgres, 1);
    let error = world
        .sink(NAME, &Fuse::default(), word)
        .step(0)
        .unwrap_err();
    assert!(
        matches!(&error, Error::Declaration { problem, .. } if problem.contains("63 bytes")),
        "{error}"
    );
}

/// A server that takes its time for each row, and less for a statement than a batch would need.
#[test]
fn a_batch_that_takes_too_long_is_halved_until_it_is_written() {
    if !is_there() {
        return;
    }
    let mut world = World::new(Engine::Postgres, 1);
    drain(&mut world.word_sink());
    world.sql(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN PERFORM pg_sleep(0.05); RETURN NEW; END'",
    );
    world.sql("CREATE TRIGGER slow BEFORE INSERT ON words FOR EACH ROW EXECUTE FUNCTION dawdle()");
    for _ in 0..40 {
        world.log.produce(0, b"k", b"word");
    }
    world.more("&options[statement_timeout]=400");
    let mut sink = world.sink_with(bulk(), "words", &Fuse::default(), word);
    let mut reasons = Vec::new();
    for now in (0..60).map(|step| step * 60_000) {
        match sink.step(now).unwrap() {
            Step::Idle => break,
            Step::Retry { reason, .. } => reasons.push(reason),
            Step::Wrote { .. } | Step::Waiting => {}
        }
    }
    assert!(sink.caught_up().unwrap(), "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason.contains("57014")));
    assert_eq!(sink.stats().rows, 40);
    assert_eq!(world.sql("SELECT count(*) FROM words")[0][0], 40.into());
}
