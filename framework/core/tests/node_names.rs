//! The names that are made for operators: whom those behind a shared store are named after.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use millstream_core::prelude::*;

static TEXT: Topic<String, String> = Topic::new("text", utf8(), utf8());
static ROWS: Topic<String, i64> = Topic::new("rows", utf8(), i64_be());

/// The names of all operators.
fn names(declare: impl Fn(&StreamsBuilder)) -> Vec<String> {
    let builder = StreamsBuilder::new();
    declare(&builder);
    let topology = builder.build().unwrap();
    topology.nodes().iter().map(|n| n.name.clone()).collect()
}

/// Hands on what it gets; which stores it has is all that matters here.
struct Pass;

impl Processor<String, String> for Pass {
    type Key = String;
    type Value = String;

    fn process(
        &mut self,
        record: Record<String, String>,
        ctx: &mut ProcessorContext<'_, String, String>,
    ) -> ProcessResult {
        Ok(ctx.forward(record)?)
    }
}

impl FixedKeyProcessor<String, String> for Pass {
    type Value = String;

    fn process(
        &mut self,
        _: &String,
        text: String,
        ctx: &mut FixedKeyContext<'_, String, String>,
    ) -> ProcessResult {
        Ok(ctx.forward(text)?)
    }
}

#[test]
fn processors_that_share_a_store_do_not_name_one_another() {
    let program = |more: bool| {
        move |builder: &StreamsBuilder| {
            let seen = builder.store(Materialized::with("seen", utf8(), utf8()));
            let rows = builder.read_only_store(&ROWS, "rows");
            let text = builder.stream(&TEXT);
            if more {
                let _ = text.process_values(seen, |_| Pass);
            }
            let kept = text.process((rows, seen), |_| Pass).filter(|_, _| true);
            let _ = kept.process(seen, |_| Pass).peek(|_, _| ());
            let _ = text.process(rows, |_| Pass);
        }
    };
    let (before, after) = (names(program(false)), names(program(true)));
    let expected = [
        "source-rows",
        "read-only-store-rows",
        "source-text",
        "process-seen",
        "filter-after-process-seen",
        "process-seen-2",
        "peek-after-process-seen-2",
        "process-rows-after-source-text",
    ];
    assert_eq!(before, expected);
    let came: Vec<_> = after.iter().filter(|name| !before.contains(name)).collect();
    assert_eq!(came, ["process-values-seen"]);
}
