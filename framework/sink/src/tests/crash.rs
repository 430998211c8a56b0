//! Crashes between any two calls to the database and the log, over many seeds.

use super::*;
use std::collections::BTreeSet;

on_each!(
    every_record_is_a_row_once_whatever_crashes,
    every_key_has_its_last_record_whatever_crashes,
    a_crash_after_the_dead_letter_repeats_it_with_equal_coordinates,
);

/// A seed takes a server some thirty connections, each a process.
fn seeds(engine: Engine) -> u64 {
    match engine {
        Engine::Sqlite => 200,
        Engine::Postgres => 40,
    }
}

/// The unfit records: bytes that do not decode, and words that a CHECK in the table refuses.
fn unfit(value: &[u8]) -> bool {
    value == b"\xff" || value.starts_with(b"bad")
}

fn produce(world: &World, random: &mut Random, count: u64) {
    for _ in 0..count {
        let partition = usize::try_from(random.below(3)).unwrap();
        let key = format!("{partition}-{}", random.below(5));
        let value = match random.below(12) {
            0 => b"\xff".to_vec(),
            1 => format!("bad{}", random.below(9)).into_bytes(),
            _ => format!("word{}", random.below(1000)).into_bytes(),
        };
        world.log.produce(partition, key.as_bytes(), &value);
    }
}

/// Makes the tables beforehand, with a CHECK of their own and triggers that note every row written,
/// so that a row written twice shows even where the second write changes nothing.
fn prepare(world: &World) {
    let make = |text: &str| world.sql(&world.types(text));
    make("CREATE TABLE audit (t TEXT, p INTEGER, o INTEGER)");
    if world.engine == Engine::Postgres {
        make(
            "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             INSERT INTO audit VALUES (TG_TABLE_NAME, NEW._partition, NEW._offset); \
             RETURN NEW; END $$",
        );
    }
    for (table, columns) in [
        (
            "words",
            "id TEXT NOT NULL, word TEXT NOT NULL, length INTEGER NOT NULL, \
             PRIMARY KEY (_partition, _offset)",
        ),
        ("latest", "id TEXT PRIMARY KEY NOT NULL, word TEXT"),
    ] {
        make(&format!(
            "CREATE TABLE {table} (_partition INTEGER NOT NULL, _offset INTEGER NOT NULL, \
             {columns}, CHECK (word NOT LIKE 'bad%'))"
        ));
        for event in ["INSERT", "UPDATE"] {
            let trigger = format!("CREATE TRIGGER {table}_{event} AFTER {event} ON {table}");
            make(&match world.engine {
                Engine::Sqlite => format!(
                    "{trigger} BEGIN INSERT INTO audit \
                     VALUES ('{table}', new._partition, new._offset); END"
                ),
                Engine::Postgres => format!("{trigger} FOR EACH ROW EXECUTE FUNCTION note()"),
            });
        }
    }
}

fn run<R: Row + 'static>(
    engine: Engine,
    seed: u64,
    table: &'static str,
    make: fn(&str, &str) -> R,
) {
    let (world, mut random) = (World::new(engine, 3), Random(seed));
    prepare(&world);
    produce(&world, &mut random, 20);
    for _ in 0..4 {
        let fuse = Fuse::burning(1 + random.below(70), random.below(2) == 0);
        let mut sink = world.sink(table, &fuse, make);
        for now in 0..40 {
            // An hour a step: waits are over, and what is left of the sink tries again.
            sink.step(now * 3_600_000).unwrap();
            // Either the process died, or only the connection and the last answer with it.
            match (fuse.burnt(), random.below(3)) {
                (true, 0) => break,
                (true, 1) => fuse.mend(),
                _ => {}
            }
        }
        produce(&world, &mut random, 10);
    }
    let mut sink = world.sink(table, &Fuse::default(), make);
    drain_patiently(&mut sink, 100);
    check(&world, table, seed);
}

fn check(world: &World, table: &str, seed: u64) {
    let topics = world.log.topics.lock().unwrap().clone();
    let (mut expected, mut latest, mut dead) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
    for (partition, entries) in (0i64..).zip(&topics["words"]) {
        for (offset, entry) in (0i64..).zip(entries) {
            let (key, value) = (entry.key.clone().unwrap(), entry.value.clone().unwrap());
            if unfit(&value) {
                dead.insert((partition.to_string(), offset.to_string()));
            } else {
                let text = |bytes| Value::from(String::from_utf8(bytes).unwrap());
                let row = vec![
                    partition.into(),
                    offset.into(),
                    text(key.clone()),
                    text(value),
                ];
                expected.push(row.clone());
                latest.insert(key, row);
            }
        }
    }
    let mut written: Vec<_> = expected.iter().map(|row| row[..2].to_vec()).collect();
    let audit = world.sql("SELECT p, o FROM audit ORDER BY p, o");
    if (world.engine, table) == (Engine::Postgres, "latest") {
        // Of the records of a key in one batch only the last is written there.
        let last: Vec<_> = latest.values().map(|row| row[..2].to_vec()).collect();
        written.retain(|place| audit.contains(place) || last.contains(place));
    }
    assert_eq!(audit, written, "each record is written once, seed {seed}");

    let order = if table == "words" {
        "_partition, _offset"
    } else {
        "id"
    };
    let found = world.sql(&format!(
        "SELECT _partition, _offset, id, word FROM {table} ORDER BY {order}"
    ));
    let expected = if table == "words" {
        expected
    } else {
        latest.into_values().collect()
    };
    assert_eq!(found, expected, "seed {seed}");

    let letters = world.log.entries(&format!("{table}-dead-letters"));
    let header = |entry: &Entry, name| {
        let header = entry
            .headers
            .last(&format!("__streams.errors.{name}"))
            .unwrap();
        String::from_utf8(header.value.clone().unwrap()).unwrap()
    };
    let found: BTreeSet<_> = letters
        .iter()
        .map(|l| (header(l, "partition"), header(l, "offset")))
        .collect();
    if (world.engine, table) == (Engine::Postgres, "latest") {
        // A record that a later one of its batch replaced was never shown to the table.
        let replaced = |place: &(String, String)| {
            let (partition, offset) = (&place.0, place.1.parse::<usize>().unwrap());
            let entries = &topics["words"][partition.parse::<usize>().unwrap()];
            let later = |entry: &Entry| entry.key == entries[offset].key;
            entries[offset].value.as_deref() != Some(b"\xff")
                && entries[offset + 1..].iter().any(later)
        };
        dead.retain(|place| found.contains(place) || !replaced(place));
    }
    assert_eq!(found, dead, "seed {seed}");
}

fn every_record_is_a_row_once_whatever_crashes(engine: Engine) {
    for seed in 0..seeds(engine) {
        run(engine, seed, "words", word);
    }
}

fn every_key_has_its_last_record_whatever_crashes(engine: Engine) {
    for seed in 0..seeds(engine) / 4 {
        run(engine, seed, "latest", |id, word| Latest {
            id: id.into(),
            word: Some(word.into()),
        });
    }
}

fn a_crash_after_the_dead_letter_repeats_it_with_equal_coordinates(engine: Engine) {
    // Calls until the dead letter is in the log are counted by trying ever longer fuses.
    let repeated = (1..80).any(|calls| {
        let world = World::new(engine, 1);
        world.log.produce(0, b"k", b"\xff");
        let mut sink = world.sink("words", &Fuse::burning(calls, true), word);
        for now in 0..3 {
            sink.step(now).unwrap();
        }
        drop(sink);
        drain(&mut world.word_sink());
        let letters = world.log.entries("words-dead-letters");
        let all_equal = letters
            .iter()
            .all(|letter| letter.headers == letters[0].headers);
        assert!(!letters.is_empty() && all_equal, "never lost: {calls}");
        letters.len() == 2
    });
    assert!(repeated, "the window between log and database was not met");
}
