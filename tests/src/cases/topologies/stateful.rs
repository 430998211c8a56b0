//! Groups and their aggregates. Invariant: a store is named after its output topic.

use super::{COUNTS, MAYBE, NUMBERS, OUT, TEXT, TEXT_OUT, initial, parse};
use millstream_core::prelude::*;

pub(super) fn declare(name: &str, builder: &StreamsBuilder) -> bool {
    let numbers = || builder.stream(&NUMBERS);
    match name {
        "count" => builder
            .stream(&TEXT)
            .group_by_key()
            .count("counts")
            .to(&COUNTS),
        "count_maybe" => {
            let serdes = Grouped::with(option::<Utf8>(), i64_be());
            let grouped = builder.stream(&MAYBE).group_by_key_with(serdes);
            let store = Materialized::with("counts", option::<Utf8>(), u64_be());
            let counts = grouped.count(store).to_stream();
            counts
                .map(|k, n| (k.unwrap_or_default(), n.unwrap_or_default()))
                .to(&COUNTS);
        }
        "count_by" => {
            let by_initial = builder.stream(&TEXT).group_by(|_, text| initial(text));
            by_initial.count("counts").to(&COUNTS);
        }
        // An empty text has no initial, hence no group.
        "count_by_maybe" => {
            let serdes = Grouped::with(option::<Utf8>(), utf8());
            let select = |_: &String, text: &String| text.chars().next().map(String::from);
            let grouped = builder.stream(&TEXT).group_by_with(select, serdes);
            let store = Materialized::with("counts", option::<Utf8>(), u64_be());
            let counts = grouped.count(store).to_stream();
            counts
                .map(|k, n| (k.unwrap_or_default(), n.unwrap_or_default()))
                .to(&COUNTS);
        }
        "reduce" => numbers().group_by_key().reduce("out", i64::max).to(&OUT),
        "aggregate" => {
            let append = |_: &String, n: i64, all: &mut String| *all += &format!("{n},");
            let grouped = numbers().group_by_key();
            grouped
                .aggregate("text-out", String::new, append)
                .to(&TEXT_OUT);
        }
        "try_aggregate" => {
            let add = |_: &String, text: String, sum: &mut i64| parse(&text).map(|n| *sum += n);
            let grouped = builder.stream(&TEXT).group_by_key();
            grouped.try_aggregate("out", || 0, add).to(&OUT);
        }
        // The rows of one aggregate are the records of the next, in another subtopology.
        "count_counts" => {
            let counts = builder
                .stream(&TEXT)
                .group_by_key()
                .count("per-key")
                .to_stream();
            let by_count = counts.map(|_, n| (n.unwrap_or_default().to_string(), 1u64));
            by_count.group_by_key().count("counts").to(&COUNTS);
        }
        "unlogged" => {
            let store = Materialized::with("counts", utf8(), u64_be()).with_logging_disabled();
            builder
                .stream(&TEXT)
                .group_by_key()
                .count(store)
                .to(&COUNTS);
        }
        _ => return false,
    }
    true
}
