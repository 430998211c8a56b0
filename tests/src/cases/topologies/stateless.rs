//! Operators without state. Invariant: one operator a program, and nothing beside it.

use super::{BIG, MORE, NUMBERS, OUT, REST, TEXT, TEXT_OUT, initial, parse};
use millstream_core::prelude::*;

pub(super) fn declare(name: &str, builder: &StreamsBuilder) -> bool {
    let numbers = || builder.stream(&NUMBERS);
    match name {
        "filter" => numbers().filter(|_, n| *n > 0).to(&OUT),
        "filter_not" => numbers().filter_not(|_, n| *n > 0).to(&OUT),
        "map" => numbers().map(|k, n| (k.to_uppercase(), n * 2)).to(&OUT),
        "map_values" => numbers().map_values(|n| n * 2).to(&OUT),
        "flat_map" => {
            let copies = |k: String, n| (0..n).map(move |i| (format!("{k}{i}"), i));
            numbers().flat_map(copies).to(&OUT);
        }
        "flat_map_values" => {
            let words = |line: String| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
            builder.stream(&TEXT).flat_map_values(words).to(&TEXT_OUT);
        }
        "select_key" => {
            let text = builder.stream(&TEXT);
            text.select_key(|_, text| initial(text)).to(&TEXT_OUT);
        }
        "peek" => numbers().peek(|_, _| ()).to(&OUT),
        "merge" => numbers().merge(builder.stream(&MORE)).to(&OUT),
        // Both branches of the diamond meet again, the one declared first being served first.
        "diamond" => {
            let stream = numbers();
            let first = stream.map_values(|n| n + 1);
            stream.map_values(|n| -n).merge(first).to(&OUT);
        }
        "fan_out" => {
            let stream = numbers();
            stream.map_values(|n| n * 10).to(&OUT);
            stream.map_values(|n| n * 100).to(&OUT);
            stream.map_values(|n| n * 1000).to(&OUT);
        }
        "split" => {
            let split = numbers().split();
            split.branch(|_, n| *n > 10).to(&BIG);
            split.branch(|_, n| *n > 0).to(&OUT);
        }
        "split_default" => {
            let split = numbers().split();
            split.branch(|_, n| *n > 10).to(&BIG);
            split.branch(|_, n| *n > 0).to(&OUT);
            split.default_branch().to(&REST);
        }
        "repartition" => {
            let by_initial = builder.stream(&TEXT).select_key(|_, text| initial(text));
            by_initial.repartition("by-initial").to(&TEXT_OUT);
        }
        "to_chosen" => {
            let text = builder.stream(&TEXT);
            text.to_chosen(|_, text| format!("to-{text}"), utf8(), utf8());
        }
        "fused" => {
            let fused = numbers().fused(|pipe| {
                pipe.filter(|_, n| *n >= 0)
                    .map_values(|n| n + 1)
                    .flat_map_values(|n| [n, n * 10])
            });
            fused.to(&OUT);
        }
        _ => return false,
    }
    true
}

pub(super) fn declare_fallible(name: &str, builder: &StreamsBuilder) -> bool {
    let text = || builder.stream(&TEXT);
    match name {
        "try_map_values" => text().try_map_values(|t| parse(&t)).to(&OUT),
        "try_map" => {
            let map = |k: String, t: String| parse(&t).map(|n| (k.to_uppercase(), n));
            text().try_map(map).to(&OUT);
        }
        "try_flat_map" => {
            let copies = |k: String, t: String| {
                parse(&t).map(|n| (0..n).map(move |i| (format!("{k}{i}"), i)))
            };
            text().try_flat_map(copies).to(&OUT);
        }
        "try_flat_map_values" => {
            text()
                .try_flat_map_values(|t| parse(&t).map(|n| 0..n))
                .to(&OUT);
        }
        "try_select_key" => {
            let select = |_: &String, t: &String| parse(t).map(|n| n.to_string());
            text().try_select_key(select).to(&TEXT_OUT);
        }
        "try_filter" => {
            let even = |_: &String, t: &String| parse(t).map(|n| n % 2 == 0);
            text().try_filter(even).to(&TEXT_OUT);
        }
        "try_for_each" => text().try_for_each(|_, t| parse(&t).map(drop)),
        // One line makes several records, of which some are refused.
        "refuse_some" => {
            let words = |line: String| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
            let words = text().flat_map_values(words);
            words.try_map_values(|t| parse(&t)).to(&OUT);
            words.to(&TEXT_OUT);
        }
        "own_policy" => {
            let consumed = Consumed::of(&NUMBERS).on_error(ErrorPolicy::Skip);
            builder.stream(consumed).to(&OUT);
            builder.stream(&MORE).to(&BIG);
        }
        _ => return false,
    }
    true
}
