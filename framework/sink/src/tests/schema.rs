//! Tables that were there before: what is widened, what is refused, what cannot be declared.

use super::*;
use crate::{Column, Error};

on_each!(
    missing_columns_are_added_with_null_or_their_default,
    tables_that_do_not_fit_are_refused_by_column,
    a_table_made_by_others_is_taken_where_it_fits,
    a_table_takes_one_topic_only,
);

struct Wide {
    id: String,
    note: Option<String>,
    score: f64,
    label: String,
}
row!(Wide { id: key, note, score = 0.5, label = "it's" });

fn wide(id: &str, _: &str) -> Wide {
    Wide {
        id: id.into(),
        note: None,
        score: 1.0,
        label: "new".into(),
    }
}

fn missing_columns_are_added_with_null_or_their_default(engine: Engine) {
    let world = World::new(engine, 1);
    world.log.produce(0, b"old", b"x");
    let latest = |id: &str, _: &str| Latest {
        id: id.into(),
        word: None,
    };
    drain(&mut world.sink("grown", &Fuse::default(), latest));
    world.log.produce(0, b"new", b"x");
    drain(&mut world.sink("grown", &Fuse::default(), wide));
    let rows = world.sql("SELECT id, note, score, label FROM grown ORDER BY id");
    assert_eq!(
        rows[0],
        ["new".into(), Value::Null, 1.0.into(), "new".into()]
    );
    assert_eq!(
        rows[1],
        ["old".into(), Value::Null, 0.5.into(), "it's".into()]
    );
    // A third start finds nothing to change.
    drain(&mut world.sink("grown", &Fuse::default(), wide));
}

/// What a start says about a table that was made with these columns.
fn refusal(engine: Engine, columns: &str) -> Error {
    let world = World::new(engine, 1);
    world.sql(&world.types(&format!("CREATE TABLE latest ({columns})")));
    let latest = |id: &str, _: &str| Latest {
        id: id.into(),
        word: None,
    };
    let mut sink = world.sink("latest", &Fuse::default(), latest);
    let error = sink.step(0).unwrap_err();
    let offsets = world.connection().columns("millstream_offsets").unwrap();
    assert!(offsets.is_empty(), "a refused start leaves nothing behind");
    error
}

fn tables_that_do_not_fit_are_refused_by_column(engine: Engine) {
    let types = World::new(engine, 1);
    let coordinates = "_partition INTEGER NOT NULL, _offset INTEGER NOT NULL";
    for (columns, column, expected, found) in [
        (
            "id TEXT PRIMARY KEY NOT NULL, word INTEGER",
            "word",
            "TEXT",
            "INTEGER",
        ),
        (
            "id TEXT PRIMARY KEY NOT NULL, word TEXT NOT NULL",
            "word",
            "TEXT",
            "TEXT NOT NULL",
        ),
        (
            "id TEXT NOT NULL, word TEXT",
            "id",
            "TEXT NOT NULL PRIMARY KEY",
            "TEXT NOT NULL",
        ),
        (
            "word TEXT PRIMARY KEY NOT NULL",
            "id",
            "TEXT NOT NULL PRIMARY KEY",
            "no such column",
        ),
        (
            "id TEXT PRIMARY KEY NOT NULL, word TEXT, x BLOB NOT NULL",
            "x",
            "no such column",
            "BLOB",
        ),
    ] {
        let Error::Schema {
            table,
            column: c,
            expected: e,
            found: f,
        } = refusal(engine, &format!("{coordinates}, {columns}"))
        else {
            panic!("{columns}")
        };
        assert_eq!((&*table, &*c), ("latest", column), "{columns}");
        assert!(
            e.starts_with(&types.types(expected)) && f.starts_with(&types.types(found)),
            "{columns}: {e} / {f}"
        );
    }
}

fn a_table_made_by_others_is_taken_where_it_fits(engine: Engine) {
    let world = World::new(engine, 1);
    world.sql(match engine {
        Engine::Sqlite => {
            "CREATE TABLE latest (ID VARCHAR(20) PRIMARY KEY NOT NULL, _partition BIGINT, \
             _offset BIGINT, extra TEXT, made TEXT NOT NULL DEFAULT 'x', word NVARCHAR(10))"
        }
        Engine::Postgres => {
            "CREATE TABLE latest (made text NOT NULL DEFAULT 'x', ID varchar(20) PRIMARY KEY, \
             _partition smallint, _offset integer, extra jsonb, word varchar(10), \
             number integer GENERATED ALWAYS AS IDENTITY, twice text GENERATED ALWAYS AS \
             (word || word) STORED)"
        }
    });
    world.log.produce(0, b"a", b"one");
    world.log.produce(0, b"a", b"two");
    let latest = |id: &str, word: &str| Latest {
        id: id.into(),
        word: Some(word.into()),
    };
    drain(&mut world.sink("latest", &Fuse::default(), latest));
    assert_eq!(
        world.sql("SELECT id, word, made, _offset FROM latest"),
        [["a".into(), "two".into(), "x".into(), 1.into()]]
    );
}

fn a_table_takes_one_topic_only(engine: Engine) {
    let world = World::new(engine, 1);
    drain(&mut world.word_sink());
    world
        .log
        .topics
        .lock()
        .unwrap()
        .insert("others".into(), vec![Vec::new()]);
    static OTHERS: Topic<String, String> =
        Topic::new("others", Serde::new(&Text), Serde::new(&Text));
    let log = world.log.client(&Fuse::default());
    let (table, config) = (Table::<Word>::new("words"), SinkConfig::default());
    let row = |key: &String, value: &String, _: &crate::RecordMeta<'_>| word(key, value);
    let mut sink = Sink::new(log, OTHERS, table, &world.location(), config, row).unwrap();
    assert!(matches!(sink.step(0), Err(Error::Source { .. })));
}

#[test]
fn declarations_that_cannot_be_tables_are_refused_before_anything_is_opened() {
    struct Bad<const N: usize>;
    impl<const N: usize> Row for Bad<N> {
        fn columns() -> &'static [Column] {
            const TEXT: Column = Column::new("a", Kind::Text);
            match N {
                0 => const { &[TEXT, Column::new("A", Kind::Text)] },
                1 => const { &[Column::new("_offset", Kind::Integer)] },
                2 => const { &[Column::new("", Kind::Text)] },
                3 => const { &[TEXT.key().nullable()] },
                _ => const { &[TEXT] },
            }
        }
        fn bind(&self, _: &mut Values) {}
    }
    let problem = |spec: crate::Result<TableSpec>| spec.unwrap_err().to_string();
    assert!(problem(Table::<Bad<0>>::new("t").spec()).contains("twice"));
    assert!(problem(Table::<Bad<1>>::new("t").spec()).contains("twice"));
    assert!(problem(Table::<Bad<2>>::new("t").spec()).contains("not a name"));
    assert!(problem(Table::<Bad<3>>::new("t").spec()).contains("may be null"));
    assert!(problem(Table::<Bad<4>>::new("millstream_offsets").spec()).contains("reserved"));
    assert!(problem(Table::<Bad<4>>::new("sqlite_x").spec()).contains("reserved"));
    assert!(Table::<Bad<4>>::new("t").spec().is_ok());
}
