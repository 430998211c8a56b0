//! Global tables in the test driver: what joins them, what reads them, and what is dropped.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use millstream_core::{
    prelude::*,
    record::TaskId,
    task::{Policies, Task, TaskConfig},
    topology::Format,
};
use millstream_state::MemoryBackend;
use serde_json::Value;
use std::sync::Arc;

static TEXT: Topic<String, String> = Topic::new("text", utf8(), utf8());
static RATES: Topic<String, i64> = Topic::new("rates", utf8(), i64_be());
static OUT: Topic<String, String> = Topic::new("out", utf8(), utf8());

/// Each text is the key of its rate; an empty one has none.
fn joined(left: bool) -> (Topology, GlobalStore<String, i64>) {
    let builder = StreamsBuilder::new();
    let rates = builder.global_table(&RATES, "rates");
    let (text, store) = (builder.stream(&TEXT), rates.store());
    let select = |_: &String, text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let joined = if left {
        text.left_join_global(rates, select, |text, rate| format!("{text}{rate:?}"))
    } else {
        text.join_global(rates, select, |text, rate| format!("{text}{rate}"))
    };
    joined.to(&OUT);
    (builder.build().unwrap(), store)
}

fn texts(driver: &mut TopologyTestDriver) -> Vec<(String, Option<String>)> {
    driver.read_key_values(&OUT).unwrap()
}

fn pair(key: &str, value: &str) -> (String, Option<String>) {
    (key.to_owned(), Some(value.to_owned()))
}

fn say(driver: &mut TopologyTestDriver, key: &str, text: &str) {
    driver
        .pipe(&TEXT, key.to_owned(), text.to_owned(), 5)
        .unwrap();
}

#[test]
fn an_inner_join_leaves_out_what_has_no_row_and_counts_what_has_no_key() {
    let (topology, _) = joined(false);
    let mut driver = TopologyTestDriver::new(topology).unwrap();
    say(&mut driver, "1", "eur");
    // Later than the text that meets it: global tables are not synchronised by time.
    driver.pipe(&RATES, "eur".into(), 3, 900).unwrap();
    say(&mut driver, "2", "eur");
    say(&mut driver, "3", "usd");
    say(&mut driver, "4", "");
    assert_eq!(texts(&mut driver), [pair("2", "eur3")]);
    assert_eq!(driver.dropped().null_key, 1);
}

#[test]
fn a_left_join_keeps_everything_and_sees_rows_change_and_go() {
    let (topology, store) = joined(true);
    let mut driver = TopologyTestDriver::new(topology).unwrap();
    let eur = "eur".to_owned();
    say(&mut driver, "1", "eur");
    driver.pipe(&RATES, eur.clone(), 3, 2).unwrap();
    say(&mut driver, "2", "eur");
    driver.pipe(&RATES, eur.clone(), 4, 1).unwrap();
    assert_eq!(driver.global_row(store, &eur).unwrap(), Some((4, 1)));
    say(&mut driver, "3", "eur");
    driver.pipe_tombstone(&RATES, &eur, 3).unwrap();
    assert_eq!(driver.global_row(store, &eur).unwrap(), None);
    say(&mut driver, "4", "eur");
    say(&mut driver, "5", "");
    let told = [
        pair("1", "eurNone"),
        pair("2", "eurSome(3)"),
        pair("3", "eurSome(4)"),
        pair("4", "eurNone"),
        pair("5", "None"),
    ];
    assert_eq!(texts(&mut driver), told);
    assert_eq!(driver.dropped().null_key, 0);
    assert!(driver.changelog("rates").is_empty());
}

#[test]
fn bad_rows_follow_the_policy_and_leave_the_old_row() {
    let (topology, store) = joined(true);
    let config = TaskConfig {
        policies: ErrorPolicy::Skip.into(),
        ..TaskConfig::new("test")
    };
    let mut driver = TopologyTestDriver::with_config(topology, &config).unwrap();
    driver.pipe(&RATES, "eur".into(), 3, 0).unwrap();
    let eur = Some(&b"eur"[..]);
    driver.pipe_raw("rates", eur, Some(b"bad"), 1).unwrap();
    driver.pipe_raw("rates", eur, Some(&[0; 8]), -1).unwrap();
    driver.pipe_raw("rates", None, Some(&[0; 8]), 1).unwrap();
    let row = driver.global_row(store, &"eur".to_owned()).unwrap();
    assert_eq!(row, Some((3, 0)));
    let dropped = driver.dropped();
    let counts = (
        dropped.deserialization,
        dropped.invalid_timestamp,
        dropped.null_key,
    );
    assert_eq!(counts, (1, 1, 1));

    let mut strict = TopologyTestDriver::new(joined(true).0).unwrap();
    let error = strict.pipe_raw("rates", eur, Some(b"bad"), 1).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("rates-0 offset 0, global table rates"),
        "{error}"
    );
}

#[test]
fn the_store_has_serdes_of_its_own_and_a_program_may_fill_its_own_table() {
    let builder = StreamsBuilder::new();
    let with = Materialized::with("rates", utf8(), json());
    let store = builder.global_table(&RATES, with).store();
    let text = builder.stream(&TEXT);
    text.map_values(|text| i64::try_from(text.len()).unwrap_or(0))
        .to(&RATES);
    let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    say(&mut driver, "a", "four");
    let row = driver.global_row(store, &"a".to_owned()).unwrap();
    assert_eq!(row, Some((4, 5)));
    assert_eq!(
        driver.read_key_values(&RATES).unwrap(),
        [("a".to_owned(), Some(4))]
    );
}

struct Rated(GlobalStore<String, i64>);

impl Processor<String, String> for Rated {
    type Key = String;
    type Value = String;

    fn process(
        &mut self,
        record: Record<String, String>,
        ctx: &mut ProcessorContext<'_, String, String>,
    ) -> ProcessResult {
        let found = ctx.global(self.0, &record.value)?;
        ctx.forward(record.with_value(format!("{found:?}")))?;
        Ok(())
    }
}

#[test]
fn processors_look_rows_up_too() {
    let builder = StreamsBuilder::new();
    let store = builder.global_table(&RATES, "rates").store();
    builder
        .stream(&TEXT)
        .process((), move |()| Rated(store))
        .to(&OUT);
    let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    driver.pipe(&RATES, "eur".into(), 3, 7).unwrap();
    say(&mut driver, "a", "eur");
    say(&mut driver, "b", "usd");
    assert_eq!(
        texts(&mut driver),
        [pair("a", "Some((3, 7))"), pair("b", "None")]
    );
}

#[test]
fn a_global_table_is_no_input_and_is_described() {
    let (topology, _) = joined(false);
    let layout = topology.layout("app", |_| Some(2)).unwrap();
    assert_eq!(layout.tasks.len(), 2);
    assert!(
        layout
            .tasks
            .iter()
            .all(|task| task.inputs.len() == 1 && !task.stateful)
    );
    assert!(layout.internal.is_empty());
    assert_eq!(layout.globals[0].len(), 2);
    assert_eq!(topology.user_sources(), ["rates", "text"]);
    let missing = topology.layout("app", |name| (name == "text").then_some(2));
    assert!(
        missing
            .unwrap_err()
            .to_string()
            .contains("\"rates\" does not exist")
    );

    let text = topology.describe(Format::Text);
    let global = "  Sub-topology: 1 for global store (will not generate tasks)\n    \
        Source: global-source-rates (topics: [rates])\n      \
        --> global-table-rates\n    \
        Processor: global-table-rates (stores: [rates])\n      \
        --> none\n      \
        <-- global-source-rates\n\n";
    assert!(text.ends_with(global), "{text}");
    let json: Value = serde_json::from_str(&topology.describe(Format::Json)).unwrap();
    assert_eq!(json["globals"][0]["topic"], "rates");
    assert_eq!(json["subtopologies"][0]["nodes"][1]["globals"][0], "rates");
    assert!(topology.describe(Format::Dot).contains("\"rates\" -> g0;"));
    assert!(topology.describe(Format::Mermaid).contains("n1 --> g0"));
}

#[test]
fn mistakes_are_told_before_anything_runs() {
    static BAD: Topic<String, i64> = Topic::new("no topic", utf8(), i64_be());
    let builder = StreamsBuilder::new();
    builder.stream(&TEXT).to_table("rates").to(&OUT);
    builder.global_table(&BAD, "rates");
    let error = builder.build().err().unwrap().to_string();
    assert!(error.contains("\"rates\" is already used"), "{error}");

    let builder = StreamsBuilder::new();
    let _ = builder.stream(&TEXT);
    let with = Materialized::from("rates").versioned(std::time::Duration::from_secs(1));
    builder.global_table(&RATES, with);
    let error = builder.build().err().unwrap().to_string();
    assert!(error.contains("cannot have versions"), "{error}");

    let id = TaskId {
        subtopology: 0,
        partition: 0,
    };
    let backend = Arc::new(MemoryBackend::new(&[""; 0]));
    let opened = Task::open(&joined(true).0, id, &TaskConfig::new("test"), backend);
    assert!(opened.err().unwrap().to_string().contains("global tables"));
}

/// Counts the values of each first letter, and forgets a letter at an empty text; `!` is refused
/// when it has been counted.
struct Letters(i64);

impl GlobalProcessor<String, String> for Letters {
    type Key = String;
    type Value = i64;

    fn process(
        &mut self,
        record: Record<String, Option<String>>,
        ctx: &mut GlobalContext<'_, String, i64>,
    ) -> ProcessResult {
        let from = ctx.record_metadata();
        assert_eq!((&*from.partition.topic, from.offset), ("text", self.0));
        self.0 += 1;
        let letter = record.key.chars().take(1).collect::<String>();
        match record.value.as_deref() {
            Some("") => drop(ctx.store().delete(&letter)?),
            Some(text) => {
                *ctx.store().entry(&letter, || 0)? += 1;
                if text == "!" {
                    return Err("no exclamations".into());
                }
            }
            None => ctx.store().put_at(&letter, -1, 99)?,
        }
        Ok(())
    }
}

fn letters() -> (Topology, GlobalStore<String, i64>) {
    let builder = StreamsBuilder::new();
    let letters = builder.global_store(&TEXT, "letters", || Letters(0));
    let rates = builder.stream(&RATES);
    let select = |key: &String, _: &i64| key.clone();
    let joined = rates.left_join_global(letters, select, |rate, n| format!("{rate} {n:?}"));
    joined.to(&OUT);
    let store = letters.store();
    (builder.build().unwrap(), store)
}

#[test]
fn a_processor_makes_the_rows_of_a_global_store() {
    let (topology, store) = letters();
    let mut driver = TopologyTestDriver::new(topology).unwrap();
    let mut text = |key: &str, text: Option<&str>, time| {
        match text {
            Some(text) => driver.pipe(&TEXT, key.into(), text.into(), time),
            None => driver.pipe_tombstone(&TEXT, &key.to_owned(), time),
        }
        .unwrap();
        let row = driver
            .global_row(store, &key.chars().take(1).collect())
            .unwrap();
        driver
            .pipe(&RATES, key.chars().take(1).collect(), 1, 0)
            .unwrap();
        (row, driver.read(&OUT).unwrap().remove(0).value)
    };
    assert_eq!(text("ab", Some("x"), 5), (Some((1, 5)), "1 Some(1)".into()));
    // Late, and twice.
    assert_eq!(text("ac", Some("x"), 3), (Some((2, 3)), "1 Some(2)".into()));
    assert_eq!(text("ac", Some("x"), 3), (Some((3, 3)), "1 Some(3)".into()));
    assert_eq!(text("b", Some("x"), 4), (Some((1, 4)), "1 Some(1)".into()));
    assert_eq!(text("b", None, 7), (Some((-1, 99)), "1 Some(-1)".into()));
    assert_eq!(text("ad", Some(""), 8), (None, "1 None".into()));
    assert_eq!(text("ae", Some("x"), 9), (Some((1, 9)), "1 Some(1)".into()));
    assert_eq!(driver.dropped(), Default::default());
    assert!(driver.changelog("letters").is_empty());
}

#[test]
fn what_a_global_processor_refuses_is_dropped_and_counted_or_stops_the_program() {
    let run = |policy| {
        let (topology, store) = letters();
        let config = TaskConfig {
            policies: policy,
            ..TaskConfig::new("test")
        };
        let mut driver = TopologyTestDriver::with_config(topology, &config).unwrap();
        driver.pipe(&TEXT, "a".into(), "x".into(), 0).unwrap();
        let piped = driver.pipe(&TEXT, "a".into(), "!".into(), 1);
        let row = driver.global_row(store, &"a".to_owned()).unwrap();
        (piped, row, driver)
    };
    let (piped, row, mut driver) = run(ErrorPolicy::Skip.into());
    piped.unwrap();
    // What was written before stays, as in a task.
    assert_eq!((row, driver.dropped().processing), (Some((2, 1)), 1));
    // These are not for the processor, so its offsets would be wrong.
    driver
        .pipe_raw("text", Some(b"a"), Some(&[0xff]), 5)
        .unwrap();
    driver.pipe_raw("text", None, Some(b"x"), -5).unwrap();
    let dropped = driver.dropped();
    assert_eq!((dropped.deserialization, dropped.invalid_timestamp), (1, 1));
    let (piped, row, driver) = run(Policies {
        deserialization: ErrorPolicy::Skip,
        ..Policies::default()
    });
    let text = piped.unwrap_err().to_string();
    let at = "text-0 offset 1, global table letters";
    assert!(
        text.contains(at) && text.contains("no exclamations"),
        "{text}"
    );
    assert_eq!((row, driver.dropped().processing), (Some((1, 0)), 0));
}

#[test]
fn rows_of_a_processor_are_no_rows_of_a_copy() {
    let rows = |processed: bool| {
        let builder = StreamsBuilder::new();
        builder.stream(&TEXT).for_each(|_, _| {});
        let numbers = || Consumed::of(&RATES);
        if processed {
            struct Same;
            impl GlobalProcessor<String, i64> for Same {
                type Key = String;
                type Value = i64;

                fn process(
                    &mut self,
                    _: Record<String, Option<i64>>,
                    _: &mut GlobalContext<'_, String, i64>,
                ) -> ProcessResult {
                    Ok(())
                }
            }
            builder.global_store(numbers(), "rates", || Same);
        } else {
            builder.global_table(numbers(), "rates");
        }
        builder.build().unwrap().globals()[0].format.clone()
    };
    assert_ne!(rows(true), rows(false), "an instance must make them anew");
}
