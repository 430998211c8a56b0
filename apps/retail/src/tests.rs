//! The topology on the test driver: exact outputs.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use crate::{
    forecast::Trend,
    generate::Generator,
    model::{
        DAILY, DAY, FORECASTS, HOUR, HOURLY, LINES, Line, MILLIONTHS, PRODUCTS, Sales, TOP, Totals,
        topology,
    },
    ranking::Ranked,
};
use millstream::{
    core::task::{Emission, TaskConfig},
    prelude::*,
};
use std::{collections::HashMap, hash::Hash};

fn line(invoice: &str, quantity: i64, price: i64) -> Line {
    Line {
        invoice: invoice.to_owned(),
        description: String::new(),
        quantity,
        amount: quantity * price * MILLIONTHS,
        customer: "17850".to_owned(),
        country: "United Kingdom".to_owned(),
    }
}

fn sales(name: &str, units: i64, returned: i64, revenue: i64) -> Sales {
    let revenue = revenue * MILLIONTHS;
    Sales {
        name: name.to_owned(),
        totals: Totals {
            units,
            returned,
            revenue,
        },
    }
}

fn at(product: &str, start: i64, size: i64) -> Windowed<String> {
    Windowed::new(product.to_owned(), Window::new(start, start + size))
}

#[test]
fn a_cancellation_corrects_the_windows_that_it_falls_into() {
    let mut driver = TopologyTestDriver::new(topology().unwrap()).unwrap();
    let mut pipe = |line: Line, time| driver.pipe(&LINES, "A".to_owned(), line, time).unwrap();
    let mut first = line("1", 6, 2);
    first.description = "LANTERN".to_owned();
    pipe(first, DAY);
    pipe(line("2", 4, 2), DAY + HOUR);
    pipe(line("C3", -5, 2), DAY + HOUR + 1);
    // A movement of stock is no sale.
    pipe(line("4", -9, 0), DAY + HOUR + 2);
    let hours = driver.read_key_values(&HOURLY).unwrap();
    let (one, two) = (at("A", DAY, HOUR), at("A", DAY + HOUR, HOUR));
    assert_eq!(
        hours,
        [
            (one, Some(sales("LANTERN", 6, 0, 12))),
            (two.clone(), Some(sales("LANTERN", 4, 0, 8))),
            (two, Some(sales("LANTERN", -1, 5, -2))),
        ]
    );
    let days = driver.read_key_values(&DAILY).unwrap();
    assert_eq!(
        days.last(),
        Some(&(at("A", DAY, DAY), Some(sales("LANTERN", 5, 5, 10))))
    );
    let products = driver.read(&PRODUCTS).unwrap();
    let last = &products.last().unwrap().value;
    assert_eq!((last.lines, &*last.name), (3, "LANTERN"));
    assert_eq!(last.totals, sales("", 5, 5, 10).totals);
    assert!(
        driver.read(&TOP).unwrap().is_empty(),
        "the day is still open"
    );
}

#[test]
fn a_line_meets_the_product_as_it_was_described_until_then() {
    let mut driver = TopologyTestDriver::new(topology().unwrap()).unwrap();
    for (time, name) in [(0, ""), (1, "RED"), (2, ""), (3, "BLUE")] {
        let mut line = line("1", 1, 1);
        name.clone_into(&mut line.description);
        driver
            .pipe(&LINES, "A".to_owned(), line, DAY + time)
            .unwrap();
    }
    let days = driver.read(&DAILY).unwrap();
    let names: Vec<_> = days.iter().map(|day| &*day.value.name).collect();
    assert_eq!(names, ["", "RED", "RED", "BLUE"]);
}

#[test]
fn a_day_that_has_closed_is_ranked_and_forecast_from_and_takes_no_more_lines() {
    let mut driver = TopologyTestDriver::new(topology().unwrap()).unwrap();
    let mut pipe = |product: &str, quantity, time| {
        let line = line("1", quantity, 1);
        driver.pipe(&LINES, product.to_owned(), line, time).unwrap();
    };
    for (product, quantity) in [("A", 3), ("B", 7), ("C", 3), ("B", -1), ("D", 9)] {
        pipe(product, quantity, DAY + HOUR);
    }
    // Within the hour of grace the day is corrected; at its end it closes.
    pipe("A", 1, 2 * DAY + HOUR - 1);
    pipe("D", -8, DAY + 2 * HOUR);
    pipe("A", 5, 2 * DAY + HOUR);
    pipe("D", 100, DAY + 3 * HOUR);
    let ranked = |product: &str, units| Ranked {
        product: product.to_owned(),
        sales: sales("", units, 0, units),
    };
    let top = driver.read_key_values(&TOP).unwrap();
    let last: Vec<_> = top[top.len() - 4..].to_vec();
    let expected = [("B", 6), ("A", 3), ("C", 3), ("D", 1)];
    let expected: Vec<_> = (1..)
        .zip(expected)
        .map(|(rank, (product, units))| ((DAY, rank), Some(ranked(product, units))))
        .collect();
    assert_eq!(last, expected);
    assert_eq!(
        driver.dropped().late_record,
        3,
        "two hours and a day were closed"
    );

    let mut trend = Trend::default();
    trend.learn(DAY, 3);
    let forecasts = driver.read_key_values(&FORECASTS).unwrap();
    assert_eq!(forecasts.len(), 4);
    assert_eq!(forecasts[0], ("A".to_owned(), Some(trend.clone())));
    // The second day closes with six units of A.
    driver
        .pipe(&LINES, "A".to_owned(), line("9", 1, 1), 3 * DAY + HOUR)
        .unwrap();
    trend.learn(2 * DAY, 6);
    assert_eq!((trend.days, trend.naive_error), (1, 3.0));
    let forecasts = driver.read_key_values(&FORECASTS).unwrap();
    assert_eq!(forecasts, [("A".to_owned(), Some(trend))]);
}

#[test]
fn ten_products_are_ranked_and_the_same_ranks_are_not_told_again() {
    let mut driver = TopologyTestDriver::new(topology().unwrap()).unwrap();
    for product in 10..30_i64 {
        let line = line("1", product, 1);
        driver
            .pipe(&LINES, format!("P{product}"), line, DAY)
            .unwrap();
    }
    driver
        .pipe(&LINES, "P0".to_owned(), line("2", 1, 1), 3 * DAY)
        .unwrap();
    let top = driver.read(&TOP).unwrap();
    let best: Vec<_> = top[top.len() - 10..]
        .iter()
        .map(|row| (row.key.1, row.value.sales.totals.units))
        .collect();
    let expected: Vec<_> = (1..=10).zip((20..30).rev()).collect();
    assert_eq!(best, expected);
    // Products come in the order of their codes, so each is better than all before it.
    let told = (1..=10).sum::<usize>() + 10 * 10;
    assert_eq!(top.len(), told);
}

/// What a topic says last of each key.
fn table<K: Hash + Eq, V>(driver: &mut TopologyTestDriver, topic: &Topic<K, V>) -> HashMap<K, V> {
    let told = driver.read_key_values(topic).unwrap();
    told.into_iter()
        .map(|(key, row)| (key, row.unwrap()))
        .collect()
}

/// The driver commits with every record; `tests/cli.rs` runs it with many records in a commit.
#[test]
fn the_tables_are_the_same_when_changes_are_told_per_commit() {
    let run = |emission| {
        let mut config = TaskConfig::new("retail");
        config.emission = emission;
        let mut driver = TopologyTestDriver::with_config(topology().unwrap(), &config).unwrap();
        for (product, line, time) in Generator::new(2_000) {
            driver.pipe(&LINES, product, line, time).unwrap();
        }
        driver
    };
    let (mut each, mut commit) = (run(Emission::PerUpdate), run(Emission::PerCommit));
    let top = table(&mut commit, &TOP);
    assert_eq!(top, table(&mut each, &TOP));
    // Five days have closed, and each has ten ranks, of ten products.
    let mut ranks: Vec<_> = top.keys().collect();
    ranks.sort_unstable();
    let days: Vec<_> = ranks.chunk_by(|one, other| one.0 == other.0).collect();
    assert_eq!(days.len(), 5);
    for day in days {
        let ranks: Vec<_> = day.iter().map(|key| key.1).collect();
        assert_eq!(ranks, (1..=10).collect::<Vec<_>>());
        let mut products: Vec<_> = day.iter().map(|key| &top[key].product).collect();
        products.sort_unstable();
        products.dedup();
        assert_eq!(products.len(), 10);
    }
    assert_eq!(table(&mut commit, &FORECASTS), table(&mut each, &FORECASTS));
    assert_eq!(table(&mut commit, &HOURLY), table(&mut each, &HOURLY));
    assert_eq!(table(&mut commit, &DAILY), table(&mut each, &DAILY));
    assert_eq!(table(&mut commit, &PRODUCTS), table(&mut each, &PRODUCTS));
}

#[test]
fn a_day_may_be_as_far_away_as_time_goes() {
    let mut driver = TopologyTestDriver::new(topology().unwrap()).unwrap();
    // Microseconds where milliseconds are meant, and worse.
    let times = [
        DAY,
        1_300_000_000_000_000,
        4_000_000_000_000_000_000,
        i64::MAX,
    ];
    for time in times {
        driver
            .pipe(&LINES, "A".to_owned(), line("1", 3, 1), time)
            .unwrap();
    }
    let told = driver.read_key_values(&FORECASTS).unwrap();
    let last = told.last().unwrap().1.clone().unwrap();
    assert_eq!(told.len(), 3);
    assert_eq!((last.day, last.last), (times[2] / DAY * DAY + DAY, 3));
    assert_eq!(last.days, u64::try_from(times[2] / DAY - 1).unwrap());
}
