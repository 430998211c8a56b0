//! UCI's "Online Retail", half a year of a shop, against a plain calculation over the file.
//!
//! Invariant: where the data are not on the machine nothing is tested, and that is said and
//! counted. They are not the project's to pass on, so no set-up can fetch them, and `CI=true` does
//! not demand them as it demands servers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test may fail by panicking, and one that does not run must say so"
)]

mod common;

use common::Home;
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

/// The variable that names the archive: a `by-day.tar.gz` of one CSV file for each day.
const ARCHIVE: &str = "ONLINE_RETAIL";
/// Where it is where nobody says otherwise.
const USUAL: &str = "../../../shared/data/online_retail/by-day.tar.gz";
/// How many of its 305 files are read, the first 222,891 of 541,909 lines: the whole year takes
/// twenty seconds.
const FILES: usize = 150;
/// Of the forecast, for each day that moves the level.
const RATE: f64 = 0.2;

fn archive() -> Option<PathBuf> {
    let said = std::env::var_os(ARCHIVE).map(PathBuf::from);
    let file = said.unwrap_or_else(|| USUAL.into());
    if !file.is_file() {
        skipped(&format!("no {}: {ARCHIVE} names it", file.display()));
        return None;
    }
    Some(file)
}

/// Says that the data are missing, and counts the suite where `make test` gathers those that did
/// not run.
fn skipped(why: &str) {
    let line = format!("half a year of a shop: {why}");
    eprintln!("SKIPPED suite {line}");
    if let Some(path) = std::env::var_os("SKIPPED_SUITES").filter(|path| !path.is_empty()) {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        writeln!(file, "{line}").unwrap();
    }
}

/// The first lines in the order of days, under the header of each file.
fn lines(archive: &Path, into: &Path) -> String {
    let tar = Command::new("tar")
        .arg("xzf")
        .args([archive.as_os_str(), "-C".as_ref(), into.as_os_str()])
        .status();
    assert!(tar.unwrap().success());
    let mut files: Vec<_> = fs::read_dir(into.join("by-day"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.truncate(FILES);
    files
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect()
}

/// What a line says, read from behind: only the description may hold commas, and only in quotes.
struct Sale<'a> {
    product: &'a str,
    day: &'a str,
    returned: bool,
    quantity: i64,
    millionths: i64,
}

impl<'a> Sale<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let mut front = line.splitn(3, ',');
        let (invoice, product, rest) = (front.next()?, front.next()?, front.next()?);
        let mut back = rest.rsplitn(6, ',');
        let (_country, _customer) = (back.next()?, back.next()?);
        let (price, date, quantity) = (back.next()?, back.next()?, back.next()?);
        let (whole, part) = price.split_once('.').unwrap_or((price, ""));
        let price: i64 = format!("{whole}{part:0<6}").parse().ok()?;
        let quantity = quantity.parse().ok()?;
        Some(Self {
            product,
            day: date.get(..10)?,
            returned: invoice.starts_with('C'),
            quantity,
            millionths: quantity * price,
        })
    }
}

/// Mean absolute errors of smoothing and of "as the day before" over a product's days.
fn errors(products: &BTreeMap<&str, BTreeMap<usize, i64>>, last: usize) -> [f64; 3] {
    let (mut days, mut smooth, mut naive) = (0.0, 0.0, 0.0);
    for sold in products.values() {
        let mut closed = sold.range(..=last);
        let Some((first, units)) = closed.next() else {
            continue;
        };
        let (mut level, mut before) = (*units as f64, *units as f64);
        for day in first + 1..=last {
            let units = sold.get(&day).copied().unwrap_or(0) as f64;
            days += 1.0;
            smooth += (level - units).abs();
            naive += (before - units).abs();
            level += RATE * (units - level);
            before = units;
        }
    }
    [days, smooth / days, naive / days]
}

#[test]
fn half_a_year_of_a_shop_adds_up_and_is_forecast_better_than_by_the_day_before() {
    let Some(archive) = archive() else {
        return;
    };
    let unpacked = tempfile::tempdir().unwrap();
    let text = lines(&archive, unpacked.path());
    let sales: Vec<_> = text.lines().filter_map(Sale::of).collect();
    let sold = || sales.iter().filter(|sale| sale.millionths != 0);
    let mut days: BTreeMap<&str, usize> = sold().map(|sale| (sale.day, 0)).collect();
    let first = days_since_1970(days.keys().next().unwrap());
    for (name, number) in &mut days {
        *number = days_since_1970(name) - first;
    }
    let mut products = BTreeMap::<_, BTreeMap<usize, i64>>::new();
    for sale in sold() {
        let of = products.entry(sale.product).or_default();
        *of.entry(days[sale.day]).or_default() += sale.quantity;
    }
    let closed = days.values().rev().nth(1).unwrap();
    let [forecasts, smooth, naive] = errors(&products, *closed);
    let millionths: i64 = sold().map(|sale| sale.millionths).sum();
    let returned = sold().filter(|sale| sale.returned);

    let home = Home::new();
    let told = home.outcome(&["--input", home.file("lines.csv", &text).to_str().unwrap()]);
    let expected = [
        ("records", json!(sales.len())),
        ("malformed", json!(0)),
        ("products", json!(products.len())),
        ("sales", json!(sold().count())),
        (
            "units",
            json!(sold().map(|sale| sale.quantity).sum::<i64>()),
        ),
        (
            "returned",
            json!(-returned.map(|sale| sale.quantity).sum::<i64>()),
        ),
        ("revenue", json!((millionths as f64 / 1e4).round() / 100.0)),
        (
            "product_days",
            json!(products.values().map(BTreeMap::len).sum::<usize>()),
        ),
        ("days_closed", json!(days.len() - 1)),
        ("forecasts", json!(forecasts)),
    ];
    for (field, value) in expected {
        assert_eq!(told[field], value, "{field}");
    }
    let near = |field: &str, value: f64| {
        let found = told[field].as_f64().unwrap();
        assert!(
            (found - value).abs() < 1e-9,
            "{field}: {found}, not {value}"
        );
        found
    };
    assert!(near("forecast_mae", smooth) < near("naive_mae", naive));
}

/// The number of a day, `2010-12-01`, as the civil calendar counts until 2099.
fn days_since_1970(date: &str) -> usize {
    let mut parts = date.split('-').map(|part| part.parse::<usize>().unwrap());
    let (year, month, day) = (
        parts.next().unwrap(),
        parts.next().unwrap(),
        parts.next().unwrap(),
    );
    let leap = |year: usize| usize::from(year.is_multiple_of(4));
    let years: usize = (1970..year).map(|year| 365 + leap(year)).sum();
    let months = [31, 28 + leap(year), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    years + months[..month - 1].iter().sum::<usize>() + day - 1
}
