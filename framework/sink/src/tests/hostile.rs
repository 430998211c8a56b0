//! Values made to break SQL, and rows that the database or the row type refuses.

use super::*;
use crate::{Column, Millis, Reader};

on_each!(
    hostile_text_and_extreme_numbers_come_back_as_they_went,
    rows_that_do_not_fit_are_dead_lettered_with_the_reason_and_their_own_bytes,
    a_dead_letter_that_the_log_would_not_take_lacks_its_value,
    a_topic_that_takes_less_than_the_log_says_gets_smaller_dead_letters,
    a_log_that_takes_no_dead_letter_at_all_stops_the_sink,
    a_row_type_that_binds_wrongly_spoils_only_its_own_rows,
    a_record_without_a_row_is_passed_over_and_counted,
);

struct Everything {
    id: String,
    number: i64,
    real: Option<f64>,
    strict: f64,
    truth: bool,
    bytes: Option<Vec<u8>>,
    at: Millis,
}
row!(Everything {
    id: key,
    number,
    real,
    strict,
    truth,
    bytes,
    at
});

/// A row of extremes chosen by the record's value.
fn extreme(id: &str, case: &str) -> Everything {
    let (number, real) = match case {
        "min" => (i64::MIN, Some(f64::MIN)),
        "max" => (i64::MAX, Some(f64::INFINITY)),
        "nan" => (0, Some(f64::NAN)),
        _ => (0, None),
    };
    Everything {
        id: id.into(),
        number,
        real,
        strict: if case == "strict" { f64::NAN } else { 0.5 },
        truth: case == "max",
        bytes: (case == "min").then(|| vec![0, 255]),
        // Years 5 to 9999: what every database has.
        at: Millis(number.clamp(-62_000_000_000_000, 253_000_000_000_000)),
    }
}

fn hostile_text_and_extreme_numbers_come_back_as_they_went(engine: Engine) {
    let world = World::new(engine, 1);
    let texts = [
        "'; DROP TABLE words; --",
        "\"quoted\"",
        "nul\0inside",
        "żółw 🐢 \u{202e}",
        "",
        "?",
    ];
    for text in texts {
        world.log.produce(0, text.as_bytes(), text.as_bytes());
    }
    let mut sink = world.word_sink();
    drain(&mut sink);
    let found = world.sql("SELECT id, word, length FROM words ORDER BY _offset");
    // Postgres has no text with NUL in it.
    let kept = |text: &&&str| engine == Engine::Sqlite || !text.contains('\0');
    let dead = usize::from(engine == Engine::Postgres);
    assert_eq!(world.log.entries("words-dead-letters").len(), dead);
    let expected: Vec<_> = texts
        .iter()
        .filter(kept)
        .map(|text| {
            vec![
                (*text).into(),
                (*text).into(),
                i64::try_from(text.len()).unwrap().into(),
            ]
        })
        .collect();
    assert_eq!(found, expected);

    for case in ["min", "max", "nan", "none"] {
        world.log.produce(0, case.as_bytes(), case.as_bytes());
    }
    drain(&mut world.sink("every?thing \"x\"", &Fuse::default(), extreme));
    let mut reader = Reader::open(&world.location()).unwrap();
    let rows = reader.rows("every?thing \"x\"", 100).unwrap();
    let row = |id: &str| rows.iter().find(|row| row["id"] == id).unwrap().clone();
    assert_eq!(row("min")["number"], i64::MIN);
    assert_eq!(row("min")["bytes"], "00ff");
    assert_eq!(row("max")["number"], i64::MAX);
    assert_eq!(
        (&row("max")["real"], &row("max")["truth"]),
        (&"inf".into(), &true.into())
    );
    assert!(row("nan")["real"].is_null() && row("none")["real"].is_null());
    assert_eq!(
        reader.count("every?thing \"x\"").unwrap(),
        rows.len() as u64
    );
    assert!(reader.count("missing").is_err() && reader.rows("missing", 1).is_err());
}

fn rows_that_do_not_fit_are_dead_lettered_with_the_reason_and_their_own_bytes(engine: Engine) {
    let world = World::new(engine, 1);
    for (key, value) in [("a", "min"), ("b", "strict"), ("c", "max")] {
        world.log.produce(0, key.as_bytes(), value.as_bytes());
    }
    world.log.produce(0, b"d", b"\xc3\x28");
    let mut sink = world.sink("everything", &Fuse::default(), extreme);
    drain(&mut sink);
    assert_eq!((sink.stats().rows, sink.stats().dead_letters), (2, 2));
    let letters = world.log.entries("everything-dead-letters");
    let header = |letter: &Entry, name: &str| letter.said(name).unwrap();
    assert_eq!(letters[0].key.as_deref(), Some(&b"b"[..]));
    assert!(
        letters
            .iter()
            .any(|letter| header(letter, "message").contains("strict"))
    );
    assert_eq!(letters[1].value.as_deref(), Some(&b"\xc3\x28"[..]));
    assert_eq!(header(&letters[1], "exception"), "DeserializationException");
    assert_eq!(header(&letters[1], "topic"), "words");
    assert_eq!(
        (
            header(&letters[1], "partition"),
            header(&letters[1], "offset")
        ),
        ("0".into(), "3".into())
    );
}

/// Two records that are no text, of which one is just as large as the log takes it.
fn large(world: &World, bytes_max: usize) {
    let record = |size| Entry {
        key: Some(b"k".to_vec()),
        value: Some(vec![0xff; size]),
        ..Entry::default()
    };
    let overhead = wire_size(record(bytes_max / 2).raw()) - bytes_max / 2;
    for size in [9, bytes_max - overhead] {
        world.log.produce(0, b"k", &vec![0xff; size]);
    }
}

fn a_dead_letter_that_the_log_would_not_take_lacks_its_value(engine: Engine) {
    let mut world = World::new(engine, 1);
    world.log.told_max = Some(100_000);
    large(&world, 100_000);
    let mut sink = world.word_sink();
    drain(&mut sink);
    let stats = sink.stats();
    assert_eq!((stats.dead_letters, stats.shortened), (2, 1));
    let letters = world.log.entries("words-dead-letters");
    assert_eq!(letters[0].value.as_deref(), Some(&[0xff; 9][..]));
    assert_eq!(letters[0].said("omitted"), None);
    assert_eq!(letters[1].value, None);
    assert_eq!(letters[1].key.as_deref(), Some(&b"k"[..]));
    assert_eq!(letters[1].said("omitted").as_deref(), Some("value"));
    assert_eq!(letters[1].said("offset").as_deref(), Some("1"));
}

fn a_topic_that_takes_less_than_the_log_says_gets_smaller_dead_letters(engine: Engine) {
    let mut world = World::new(engine, 1);
    world.log.taken_max = Some(20_000);
    large(&world, 100_000);
    let mut sink = world.word_sink();
    drain(&mut sink);
    let stats = sink.stats();
    assert_eq!((stats.dead_letters, stats.shortened), (2, 1));
    let letters = world.log.entries("words-dead-letters");
    let omitted: Vec<_> = letters
        .iter()
        .map(|letter| letter.said("omitted"))
        .collect();
    assert_eq!(omitted, [None, Some("value".into())]);
}

fn a_log_that_takes_no_dead_letter_at_all_stops_the_sink(engine: Engine) {
    let mut world = World::new(engine, 1);
    world.log.taken_max = Some(0);
    large(&world, 100_000);
    let mut sink = world.word_sink();
    let error = (0..10).find_map(|now| sink.step(now).err());
    assert!(matches!(error, Some(crate::Error::Log(_))), "{error:?}");
}

/// A row type written by hand, and wrong in the way its first value says.
struct Wrong(String);

impl Row for Wrong {
    fn columns() -> &'static [Column] {
        const {
            &[
                Column::new("a", Kind::Text),
                Column::new("b", Kind::Integer),
            ]
        }
    }
    fn bind(&self, values: &mut Values) {
        values.push(&self.0);
        match self.0.as_str() {
            "few" => {}
            "many" => _ = values.push(1).push(2),
            "kind" => _ = values.push(1.5),
            _ => _ = values.push(1),
        }
    }
}

fn a_row_type_that_binds_wrongly_spoils_only_its_own_rows(engine: Engine) {
    let world = World::new(engine, 1);
    for case in ["few", "right", "many", "right", "kind", "right"] {
        world.log.produce(0, b"k", case.as_bytes());
    }
    let mut sink = world.sink("wrong", &Fuse::default(), |_, case| Wrong(case.into()));
    drain(&mut sink);
    assert_eq!((sink.stats().rows, sink.stats().dead_letters), (3, 3));
    assert_eq!(
        world.sql("SELECT count(*) FROM wrong WHERE a = 'right'")[0][0],
        3.into()
    );
}

fn a_record_without_a_row_is_passed_over_and_counted(engine: Engine) {
    let world = World::new(engine, 1);
    for value in ["keep", "skip", "keep"] {
        world.log.produce(0, b"k", value.as_bytes());
    }
    let keep = |key: &String, value: &String, _: &crate::RecordMeta<'_>| {
        (value == "keep").then(|| word(key, value))
    };
    let config = SinkConfig::default();
    let log = world.log.client(&Fuse::default());
    let mut sink = Sink::new(
        log,
        WORDS,
        Table::<Word>::new("words"),
        &world.location(),
        config,
        keep,
    )
    .unwrap();
    drain(&mut sink);
    assert_eq!((sink.stats().rows, sink.stats().skipped), (2, 1));
    assert_eq!(
        sink.stats()
            .next_offsets
            .values()
            .copied()
            .collect::<Vec<_>>(),
        [3]
    );
}
