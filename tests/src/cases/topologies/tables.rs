//! Tables, what derives from them, and what joins them. Invariant: what a table tells is written as
//! changes, so that tombstones are seen.

use super::{COUNTS, NUMBERS, OPTIONAL, OUT, ROWS, ROWS_OUT, TEXT, TEXT_OUT, initial};
use millstream_core::prelude::*;

pub(super) fn declare(name: &str, builder: &StreamsBuilder) -> bool {
    let rows = || builder.table(&ROWS, "rows");
    match name {
        "table" => rows().to(&OUT),
        "to_stream" => rows().to_stream().to(&ROWS_OUT),
        "to_table" => builder.stream(&NUMBERS).to_table("rows").to(&OUT),
        "to_table_rekeyed" => {
            let by_initial = builder.stream(&TEXT).select_key(|_, text| initial(text));
            by_initial.to_table("rows").to(&TEXT_OUT);
        }
        "to_table_of_rows" => builder.stream(&OPTIONAL).to_table_of_rows("rows").to(&OUT),
        "table_filter" => rows().filter(|_, n| *n > 0).to(&OUT),
        "table_filter_not" => rows().filter_not(|_, n| *n > 0).to(&OUT),
        "table_map_values" => rows().map_values(|_, n| n * 2).to(&OUT),
        "table_chain" => {
            let positive = rows().map_values(|_, n| n - 10).filter(|_, n| *n > 0);
            positive.to(&OUT);
        }
        // Rows belong to the group of their tens.
        "table_count" => rows()
            .group_by(|_, n| (tens(*n), *n))
            .count("counts")
            .to(&COUNTS),
        "table_reduce" => {
            let grouped = rows().group_by(|_, n| (tens(*n), *n));
            grouped.reduce("sums", |a, b| a + b, |a, b| a - b).to(&OUT);
        }
        "table_aggregate" => {
            let grouped = rows().group_by(|key, n| (tens(*n), key.clone()));
            let (add, subtract) = ("+", "-");
            grouped
                .aggregate(
                    "log",
                    String::new,
                    move |_, row, log| *log += &(add.to_owned() + &row),
                    move |_, row, log| *log += &(subtract.to_owned() + &row),
                )
                .to(&TEXT_OUT);
        }
        _ => return false,
    }
    true
}

pub(super) fn declare_joins(name: &str, builder: &StreamsBuilder) -> bool {
    let (rows, text) = (|| builder.table(&ROWS, "rows"), || builder.stream(&TEXT));
    let row = |text: String, row: Option<&i64>| format!("{text}/{}", row.copied().unwrap_or(-1));
    match name {
        "join" => text().join(rows(), |t, n| format!("{t}/{n}")).to(&TEXT_OUT),
        "left_join" => text().left_join(rows(), row).to(&TEXT_OUT),
        "join_derived" => {
            let derived = rows().filter(|_, n| *n > 0).map_values(|_, n| n * 2);
            text()
                .join(derived, |t, n| format!("{t}/{n}"))
                .to(&TEXT_OUT);
        }
        "left_join_derived" => {
            let derived = rows().filter(|_, n| *n > 0).map_values(|_, n| n * 2);
            text().left_join(derived, row).to(&TEXT_OUT);
        }
        "join_aggregate" => {
            let counts = builder.stream(&NUMBERS).group_by_key().count("counts");
            text().join(counts, |t, n| format!("{t}/{n}")).to(&TEXT_OUT);
        }
        "join_repartitioned" => {
            let by_initial = text().select_key(|_, text| initial(text));
            let moved = by_initial.repartition("by-initial");
            moved.join(rows(), |t, n| format!("{t}/{n}")).to(&TEXT_OUT);
        }
        _ => return false,
    }
    true
}

fn tens(n: i64) -> String {
    (n / 10 * 10).to_string()
}
