//! What stops the program, whatever the policies between it and the record say.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "common/pass.rs"]
mod pass;

use millstream_core::{prelude::*, task::TaskConfig};
use pass::Pass;

static TEXTS: Topic<String, String> = Topic::new("texts", utf8(), utf8());
static NUMBERS: Topic<String, i64> = Topic::new("numbers", utf8(), i64_be());

/// A driver whose program goes on after bad records.
fn run(builder: StreamsBuilder) -> TopologyTestDriver {
    let config = TaskConfig {
        policies: ErrorPolicy::Skip.into(),
        ..TaskConfig::new("app")
    };
    TopologyTestDriver::with_config(builder.build().unwrap(), &config).unwrap()
}

/// Puts words of its own around what happens downstream.
struct Explaining;

#[derive(Debug)]
struct Explained(Box<dyn std::error::Error + Send + Sync>);

impl std::fmt::Display for Explained {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "while explaining: {}", self.0)
    }
}

impl std::error::Error for Explained {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}

impl Processor<String, String> for Explaining {
    type Key = String;
    type Value = String;

    fn process(
        &mut self,
        record: Record<String, String>,
        ctx: &mut ProcessorContext<'_, String, String>,
    ) -> ProcessResult {
        let sent = ctx.forward(record);
        sent.map_err(|error| Explained(error.into()).into())
    }
}

#[test]
fn words_around_an_error_do_not_make_it_one_of_the_record() {
    let builder = StreamsBuilder::new();
    let forwarded = builder.stream(&TEXTS).process((), |()| Explaining);
    let parsed = forwarded
        .on_error(ErrorPolicy::Skip)
        .try_map_values(|text| text.parse::<i64>());
    parsed.on_error(ErrorPolicy::Fail).to(&NUMBERS);
    let mut driver = run(builder);
    let piped = driver.pipe(&TEXTS, "k".to_owned(), "x".to_owned(), 0);
    let error = piped.unwrap_err().to_string();
    assert!(error.starts_with("while explaining: "), "{error}");
    assert!(error.contains("invalid digit"), "{error}");
}

#[test]
fn a_buffer_that_is_full_stops_the_program_below_a_processor_too() {
    let builder = StreamsBuilder::new();
    let forwarded = builder.stream(&TEXTS).process_values((), |()| Pass);
    let forwarded = forwarded.on_error(ErrorPolicy::Skip);
    let rows = forwarded.to_table("rows");
    let most = BufferConfig::max_records(1).shut_down_when_full();
    let limit = Suppressed::until_time_limit(std::time::Duration::from_secs(1), most);
    let _ = rows.suppress("later", limit);
    let mut driver = run(builder);
    let mut pipe = |key: &str| driver.pipe(&TEXTS, key.to_owned(), String::new(), 0);
    pipe("a").unwrap();
    let error = pipe("b").unwrap_err().to_string();
    assert!(error.contains("the buffer is full"), "{error}");
}
