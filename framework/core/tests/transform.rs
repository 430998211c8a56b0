//! Tables whose rows a processor makes: as the same processor on the table's stream makes them,
//! but in one operator, which has one name and one answer to what it refuses.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "task/harness.rs"]
#[allow(dead_code, reason = "it serves other tests too")]
mod harness;

use harness::{Bench, LEFT, OUT, records};
use millstream_core::{
    prelude::*,
    task::{Emission, TaskConfig},
};
use proptest::{collection::vec, prelude::*};
use std::time::Duration;

static SUMS: Topic<String, u64> = Topic::new("sums", utf8(), u64_be());

type Table<'b> = KTable<'b, String, String>;
type Rows = Materialized<String, String>;

/// Numbers the changes of each key. Of some rows it makes none, and of some deletions a row; of
/// some it says nothing, of some two things, and some it refuses.
struct Numbered(StoreRef<KeyValueStore<String, u64>>);

impl FixedKeyProcessor<String, Option<String>> for Numbered {
    type Value = Option<String>;

    fn process(
        &mut self,
        key: &String,
        row: Option<String>,
        ctx: &mut FixedKeyContext<'_, String, Option<String>>,
    ) -> ProcessResult {
        let number = ctx.store(self.0).entry(key, || 0)?;
        *number += 1;
        let number = *number;
        match row.as_deref() {
            None if number % 3 == 0 => ctx.forward(Some(format!("gone {number}")))?,
            None | Some("drop") => ctx.forward(None)?,
            Some("keep") => {}
            Some("refuse") => return Err("refused".into()),
            Some(row) => {
                ctx.forward(Some(format!("{row} {number}")))?;
                if row == "twice" {
                    ctx.forward(Some(row.to_owned()))?;
                }
            }
        }
        Ok(())
    }
}

fn transformed<'b>(builder: &'b StreamsBuilder, table: Table<'b>, into: Rows) -> Table<'b> {
    let seen = builder.store("seen");
    table.transform_values(seen, Numbered, into)
}

/// The same by other means.
fn composed<'b>(builder: &'b StreamsBuilder, table: Table<'b>, into: Rows) -> Table<'b> {
    let (stream, seen) = (table.to_stream(), builder.store("seen"));
    stream.process_values(seen, Numbered).to_table_of_rows(into)
}

type Make = for<'b> fn(&'b StreamsBuilder, Table<'b>, Rows) -> Table<'b>;

fn stored(name: &str, versioned: bool) -> Rows {
    let store = Materialized::from(name);
    if versioned {
        store.versioned(Duration::from_millis(5))
    } else {
        store
    }
}

/// The rows, and by their lengths the sums of these: whoever reads those knows what was replaced.
fn driver(make: Make, (from, to): (bool, bool), emission: Emission) -> TopologyTestDriver {
    let builder = StreamsBuilder::new();
    let rows = builder.table(&LEFT, stored("rows", from));
    let table = make(&builder, rows, stored("made", to));
    table.to(&OUT);
    let lengths = table.group_by(|_, row| (row.len().to_string(), row.len() as u64));
    let add = |_: &String, length: u64, sum: &mut u64| *sum += length;
    let subtract = |_: &String, length: u64, sum: &mut u64| *sum -= length;
    lengths.aggregate("sums", || 0, add, subtract).to(&SUMS);
    let config = TaskConfig {
        policies: ErrorPolicy::Skip.into(),
        emission,
        ..TaskConfig::new("app")
    };
    TopologyTestDriver::with_config(builder.build().unwrap(), &config).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn it_is_what_the_processor_makes_of_the_tables_stream(
        script in vec((0..3_u8, 0..8_usize, 0..20_i64), 0..60),
        versioned in any::<(bool, bool)>(),
    ) {
        let texts = ["a", "bb", "twice", "keep", "drop", "refuse"];
        for emission in [Emission::PerUpdate, Emission::PerCommit] {
            let told = [transformed as Make, composed].map(|make| {
                let mut driver = driver(make, versioned, emission);
                for (key, text, time) in &script {
                    let key = key.to_string();
                    match texts.get(*text) {
                        Some(row) => driver.pipe(&LEFT, key, (*row).to_owned(), *time).unwrap(),
                        None => driver.pipe_tombstone(&LEFT, &key, *time).unwrap(),
                    }
                }
                let topics = ["out", "sums"].map(|topic| driver.read_raw(topic));
                let logs = ["made", "seen"].map(|store| driver.changelog(store));
                (topics, logs, driver.dropped())
            });
            prop_assert_eq!(&told[0], &told[1]);
        }
    }
}

fn tell(driver: &mut TopologyTestDriver, rows: &[&str]) -> Vec<Option<String>> {
    for row in rows {
        let key = "k".to_owned();
        match *row {
            "" => driver.pipe_tombstone(&LEFT, &key, 0).unwrap(),
            row => driver.pipe(&LEFT, key, row.to_owned(), 0).unwrap(),
        }
    }
    let told = driver.read_key_values(&OUT).unwrap();
    told.into_iter().map(|(_, row)| row).collect()
}

#[test]
fn what_it_sends_is_the_row_until_it_sends_another() {
    let mut driver = driver(transformed, (false, false), Emission::PerUpdate);
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(tell(&mut driver, &["a", ""]), [some("a 1"), None]);
    // Of a deletion it may make a row; and of no row before and none after it may tell.
    assert_eq!(tell(&mut driver, &[""]), [some("gone 3")]);
    assert_eq!(tell(&mut driver, &["keep", "drop", "drop"]), [None, None]);
    let both = [some("twice 7"), some("twice")];
    assert_eq!(tell(&mut driver, &["twice"]), both);
    // Each row was taken out of its sum before the next one came into another.
    let sums = driver.read_key_values(&SUMS).unwrap();
    let last = |length: &str| sums.iter().rfind(|(key, _)| key == length)?.1;
    let lasts = ["3", "6", "7", "5"].map(last);
    assert_eq!(lasts, [Some(0), Some(0), Some(0), Some(5)]);
}

#[test]
fn it_is_one_operator_with_one_name_and_one_answer() {
    let program = |declare: fn(Table<'_>)| {
        let builder = StreamsBuilder::new();
        let rows = builder.table(&LEFT, "rows");
        declare(transformed(&builder, rows, "made".into()));
        builder.build().unwrap()
    };
    let topology = program(|table| table.on_error(ErrorPolicy::Skip).to(&OUT));
    let names: Vec<_> = topology
        .nodes()
        .iter()
        .map(|node| node.name.as_str())
        .collect();
    let expected = [
        "source-left",
        "table-rows",
        "transform-values-made",
        "sink-out",
    ];
    assert_eq!(names, expected);
    let mut driver = TopologyTestDriver::new(topology).unwrap();
    assert_eq!(
        tell(&mut driver, &["refuse", "a"]),
        [Some("a 2".to_owned())]
    );
    assert_eq!(driver.dropped().processing, 1);

    let topology = program(|table| table.named("numbers").to(&OUT));
    let mut driver = TopologyTestDriver::new(topology).unwrap();
    let error = driver.pipe(&LEFT, "k".to_owned(), "refuse".to_owned(), 0);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("numbers: refused"), "{error}");
}

/// The processor counts on from its store, and what it made before is known from the table's.
#[test]
fn it_goes_on_where_it_was_when_the_process_died() {
    let builder = StreamsBuilder::new();
    let rows = builder.table(&LEFT, "rows");
    let table = transformed(&builder, rows, "made".into());
    let changes = table.group_by(|_, row| (row.clone(), ())).count("counts");
    changes.to(&Topic::new("counts", utf8(), u64_be()));
    let mut bench = Bench::new(builder.build().unwrap());
    let step = |bench: &mut Bench, offset: i64, row: &str| {
        bench.task.add(0, records(offset, &[("k", row, 0)]));
        bench.task.process(1).unwrap();
        bench.commit();
    };
    step(&mut bench, 0, "a");
    bench.reopen();
    step(&mut bench, 1, "b");
    // Of the second change the old row is taken from its group, and the new one put into another.
    let asked = bench.outputs("test-counts-repartition").into_iter();
    let asked: Vec<_> = asked
        .map(|(key, ..)| String::from_utf8(key).unwrap())
        .collect();
    assert_eq!(asked, ["a 1", "b 2"]);
}

/// Says how large a window's count is.
struct Told;

impl FixedKeyProcessor<Windowed<String>, Option<u64>> for Told {
    type Value = Option<String>;

    fn process(
        &mut self,
        window: &Windowed<String>,
        count: Option<u64>,
        ctx: &mut FixedKeyContext<'_, Windowed<String>, Option<String>>,
    ) -> ProcessResult {
        let text = count.map(|count| format!("{count} in {}", window.window.start));
        Ok(ctx.forward(text)?)
    }
}

#[test]
fn tables_of_windows_are_transformed() {
    let builder = StreamsBuilder::new();
    let windows = TimeWindows::of_size_with_no_grace(Duration::from_millis(10));
    let grouped = builder.stream(&LEFT).group_by_key();
    let counts = grouped.windowed_by(windows).count("counts");
    let told = counts.transform_values((), |()| Told, "told");
    told.to_stream()
        .map(|key, row| (key.key, row.unwrap()))
        .to(&OUT);
    let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    for time in [3, 7, 12] {
        driver
            .pipe(&LEFT, "k".to_owned(), "x".to_owned(), time)
            .unwrap();
    }
    let told = driver.read_key_values(&OUT).unwrap().into_iter();
    let told: Vec<_> = told.map(|(_, row)| row.unwrap()).collect();
    assert_eq!(told, ["1 in 0", "2 in 0", "1 in 10"]);
}
