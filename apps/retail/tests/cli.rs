//! The command line: what a run over a file or the made-up shop comes to, also after a crash.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

mod common;

use common::{Home, kills_leave_no_trace};
use serde_json::json;
use std::{
    collections::BTreeMap,
    io::{PipeWriter, pipe},
    path::PathBuf,
    process::Stdio,
};

const LINES: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,\
    CustomerID,Country\n\
    1,A,LANTERN,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\n\
    2,B,\"HEART, WHITE\",2,2010-12-01 09:00:00,3.39,,France\n\
    C3,A,LANTERN,-1,2010-12-01 09:10:00,2.55,17850.0,United Kingdom\n\
    4,A,,many,2010-12-01 09:20:00,2.55,17850.0,United Kingdom\n\
    5,A,LANTERN,3,2010-12-02 10:00:00,2.55,17850.0,United Kingdom\n\
    6,B,\"HEART, WHITE\",1,2010-12-04 10:00:00,3.39,,France\n";

const TABLES: [&str; 5] = [
    "products",
    "sales_per_hour",
    "sales_per_day",
    "top_products",
    "forecasts",
];

#[test]
fn a_file_becomes_tables_and_one_object() {
    let home = Home::new();
    let input = home.file("lines.csv", LINES);
    let result = home.outcome(&["--input", input.to_str().unwrap()]);
    let best = result["best_of_last_day"].clone();
    let mut rest = result;
    rest.as_object_mut().unwrap().remove("best_of_last_day");
    // B has sold nothing on the second day, the last one that has closed with a sale. The third has
    // closed without any: it is neither ranked nor graded.
    let expected = json!({
        "records": 6, "malformed": 1, "products": 2, "sales": 5, "units": 11, "returned": 1,
        "revenue": 30.57, "product_hours": 5, "product_days": 4, "days_closed": 2,
        "forecasts": 2.0, "forecast_mae": 2.0, "naive_mae": 2.0, "late": 0,
    });
    assert_eq!(rest, expected);
    assert_eq!((&best["product"], &best["units"]), (&"A".into(), &3.into()));
    let first = &home.rows("sales_per_day")[0];
    assert_eq!(
        (&first["product"], &first["units"]),
        (&"A".into(), &5.into())
    );
    assert_eq!(first["revenue"], 12.75);
    assert_eq!(home.rows("products")[1]["name"], "HEART, WHITE");
}

#[test]
fn a_second_run_goes_on_where_the_first_ended() {
    let (whole, home) = (Home::new(), Home::new());
    let input = whole.file("lines.csv", LINES);
    let expected = whole.outcome(&["--input", input.to_str().unwrap()]);
    let half = LINES.find("C3").unwrap();
    let input = home.file("lines.csv", &LINES[..half]);
    let args = ["--input", input.to_str().unwrap()];
    assert_eq!(home.outcome(&args)["records"], 2);
    home.file("lines.csv", LINES);
    assert_eq!(home.outcome(&args), expected);
}

#[test]
fn a_longer_run_of_the_made_up_shop_goes_on_where_a_shorter_one_ended() {
    let (whole, home) = (Home::new(), Home::new());
    let expected = whole.outcome(&["--generate", "3000"]);
    assert_eq!(home.outcome(&["--generate", "1000"])["records"], 1_000);
    assert_eq!(home.outcome(&["--generate", "3000"]), expected);
    // What was taken stays taken.
    assert_eq!(home.outcome(&["--generate", "500"]), expected);
    for table in TABLES {
        assert_eq!(home.rows(table), whole.rows(table), "{table}");
    }
}

#[test]
fn what_comes_too_late_is_counted_beside_what_is_no_line() {
    let home = Home::new();
    // One absurd date closes every window before it; a date that does not exist is none.
    let absurd = "0,A,LANTERN,1,2099-01-01 08:00:00,2.55,,\n1,A,,1,2011-02-29 08:00:00,2.55,,\n";
    let (header, lines) = LINES.split_at(LINES.find("1,A").unwrap());
    let input = home.file("lines.csv", format!("{header}{absurd}{lines}"));
    let args = ["run", "--input", input.to_str().unwrap()];
    let rest = ["--until-caught-up", "--no-http"];
    let output = home.command(&[&args[..], &rest].concat()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    // Five lines came too late, each for an hour and a day.
    let counts = "8 lines, 8 of them in this run";
    assert!(said.contains(counts), "{said}");
    assert!(
        said.contains("(2 left out, too late for 10 windows)"),
        "{said}"
    );
    let other = Home::new();
    let input = other.file("lines.csv", format!("{header}{absurd}{lines}"));
    let told = other.outcome(&["--input", input.to_str().unwrap()]);
    let counts = ["records", "malformed", "late", "sales"].map(|name| told[name].as_u64());
    assert_eq!(counts, [8, 2, 10, 6].map(Some));
    // The next run has nothing to leave out, though there are as many records as there were.
    let again = other.outcome(&["--input", input.to_str().unwrap()]);
    let counts = ["records", "malformed", "late", "sales"].map(|name| again[name].as_u64());
    assert_eq!(counts, [8, 0, 0, 6].map(Some));
}

#[test]
fn tables_are_the_same_when_changes_are_told_per_commit() {
    let (each, commit) = (Home::new(), Home::new());
    let source = ["--generate", "10000"];
    let cached = ["--set", "statestore.cache.max.bytes=10000000"];
    let expected = each.outcome(&source);
    assert_eq!(
        commit.outcome(&[&source[..], &cached].concat())["days_closed"],
        27
    );
    for table in TABLES {
        // How often a row was told before, and so where it lies in its topic, is another matter.
        let rows = |home: &Home| -> Vec<_> {
            let mut rows = home.rows(table);
            for row in rows.iter_mut().filter_map(|row| row.as_object_mut()) {
                row.retain(|column, _| !column.starts_with('_'));
            }
            rows
        };
        assert_eq!(rows(&commit), rows(&each), "{table}");
    }
    assert_eq!(expected["days_closed"], 27);
}

#[test]
fn kills_leave_no_trace_in_any_table() {
    let expected = kills_leave_no_trace(&["--generate", "30000"], &TABLES);
    assert!(
        expected["forecast_mae"].as_f64() < expected["naive_mae"].as_f64(),
        "{expected}"
    );
}

/// What `apps/retail/fetch-data` has fetched, which `make test` calls first.
fn purchases() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let file = cache.or_else(home)?.join("millstream/data/cdnow.csv");
    let wanted = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    assert!(file.is_file() || !wanted, "apps/retail/fetch-data makes it");
    file.is_file().then_some(file)
}

fn in_millionths(price: &str) -> i64 {
    let (whole, part) = price.split_once('.').unwrap_or((price, ""));
    format!("{whole}{part:0<6}").parse().unwrap()
}

#[test]
fn real_purchases_add_up() {
    let Some(file) = purchases() else {
        return;
    };
    let (mut lines, mut sales, mut units, mut millionths) = (0, 0, 0, 0);
    let mut days = BTreeMap::<_, i64>::new();
    for line in std::fs::read_to_string(&file).unwrap().lines().skip(1) {
        let fields: Vec<_> = line.split(',').collect();
        let (quantity, price) = (fields[3].parse::<i64>().unwrap(), in_millionths(fields[5]));
        lines += 1;
        if quantity != 0 && price != 0 {
            sales += 1;
            units += quantity;
            millionths += quantity * price;
            *days.entry(fields[4][..10].to_owned()).or_default() += quantity;
        }
    }
    let home = Home::new();
    let told = home.outcome(&["--input", file.to_str().unwrap()]);
    let cents = (millionths as f64 / 1e4).round() / 100.0;
    let expected = [
        ("records", json!(lines)),
        ("malformed", json!(0)),
        ("sales", json!(sales)),
        ("units", json!(units)),
        ("revenue", json!(cents)),
        ("product_days", json!(days.len())),
    ];
    for (field, value) in expected {
        assert_eq!(told[field], value, "{field}");
    }
    let rows = home.rows("sales_per_day");
    let sold: Vec<_> = rows.iter().map(|row| row["units"].as_i64()).collect();
    let by_day: Vec<_> = days.into_values().map(Some).collect();
    assert_eq!(sold, by_day);
}

#[test]
fn the_readme_shows_the_topology() {
    let readme = include_str!("../README.md");
    let shown = Home::new().good(&["topology", "--format", "mermaid"]);
    assert!(readme.contains(shown.trim_end()), "{shown}");
}

/// A pipe that nobody reads any more, as that of `| head -1` is when it has seen its line.
fn closed() -> PipeWriter {
    pipe().unwrap().1
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let home = Home::new();
    let input = home.file("lines.csv", LINES);
    let run = ["run", "--until-caught-up", "-o", "json", "--input"];
    let run = [&run[..], &[input.to_str().unwrap()]].concat();
    let verbs: [&[&str]; 5] = [
        &run,
        &["topology"],
        &["config", "explain"],
        &["state"],
        &["state", "products", "--limit", "100000"],
    ];
    for verb in verbs {
        let mut command = home.command(verb);
        let output = command.stdout(closed()).stderr(Stdio::piped()).output();
        let output = output.unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{verb:?}: {errors}");
        let quiet = home
            .command(verb)
            .stdout(closed())
            .stderr(closed())
            .status();
        assert!(quiet.unwrap().success(), "{verb:?} without anybody");
    }
}

#[cfg(unix)]
#[test]
fn variables_of_others_may_be_any_bytes() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let home = Home::new();
    let explain = |name: &str| {
        let mut command = home.command(&["config", "explain"]);
        command.env(name, OsStr::from_bytes(b"secret\xff"));
        let output = command.output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), errors)
    };
    assert_eq!(explain("LS_COLORS"), (Some(0), String::new()));
    let said = "error: the environment variable MILLSTREAM_SASL_PASSWORD is not UTF-8\n";
    let refused = explain("MILLSTREAM_SASL_PASSWORD");
    assert_eq!(refused, (Some(1), said.to_owned()));
}

#[test]
fn a_mistyped_database_is_not_repeated() {
    let home = Home::new();
    let run = ["run", "--database", "postgres://app:se#cret@db/shop"];
    let output = home.command(&run).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(
        errors.contains("--database") && !errors.contains("cret"),
        "{errors}"
    );
}
