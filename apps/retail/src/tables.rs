//! The SQL tables, and what a run came to as they tell it.

use crate::{
    forecast::Trend,
    model::{DAILY, DAY, FORECASTS, HOURLY, MILLIONTHS, PRODUCTS, Product, Sales, TOP},
    ranking::Ranked,
};
use anyhow::Result;
use millstream::{
    Program,
    prelude::{Timestamp, Topic, Windowed},
    sink::{Location, Millis, Reader, RecordMeta, Row, Sink, SinkConfig, Table, row},
};
use serde_json::{Map, Value, json};

struct ProductRow {
    product: String,
    name: String,
    lines: i64,
    units: i64,
    returned: i64,
    revenue: f64,
}
row!(ProductRow {
    product: key,
    name,
    lines,
    units,
    returned,
    revenue
});

/// Of a product in an hour or a day.
struct SalesRow {
    product: String,
    start: Millis,
    name: String,
    units: i64,
    returned: i64,
    revenue: f64,
}
row!(SalesRow {
    product: key,
    start: key,
    name,
    units,
    returned,
    revenue
});

struct TopRow {
    day: Millis,
    rank: u32,
    product: String,
    name: String,
    units: i64,
    revenue: f64,
}
row!(TopRow {
    day: key,
    rank: key,
    product,
    name,
    units,
    revenue
});

struct ForecastRow {
    product: String,
    day: Millis,
    units: f64,
    last: i64,
    days: i64,
    error: f64,
    naive_error: f64,
}
row!(ForecastRow {
    product: key,
    day,
    units,
    last,
    days,
    error,
    naive_error
});

static PRODUCT_ROWS: Table<ProductRow> = Table::new("products");
static HOUR_ROWS: Table<SalesRow> = Table::new("sales_per_hour");
static DAY_ROWS: Table<SalesRow> = Table::new("sales_per_day");
static TOP_ROWS: Table<TopRow> = Table::new("top_products");
static FORECAST_ROWS: Table<ForecastRow> = Table::new("forecasts");

#[expect(
    clippy::cast_precision_loss,
    reason = "a table's amounts are read by people"
)]
fn money(millionths: i64) -> f64 {
    millionths as f64 / MILLIONTHS as f64
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn product_row(code: &str, row: &Product) -> ProductRow {
    ProductRow {
        product: code.to_owned(),
        name: row.name.clone(),
        lines: whole(row.lines),
        units: row.totals.units,
        returned: row.totals.returned,
        revenue: money(row.totals.revenue),
    }
}

fn sales_row(key: &Windowed<String>, row: &Sales) -> SalesRow {
    SalesRow {
        product: key.key.clone(),
        start: Millis(key.window.start),
        name: row.name.clone(),
        units: row.totals.units,
        returned: row.totals.returned,
        revenue: money(row.totals.revenue),
    }
}

fn top_row(&(day, rank): &(Timestamp, u32), row: &Ranked) -> TopRow {
    TopRow {
        day: Millis(day),
        rank,
        product: row.product.clone(),
        name: row.sales.name.clone(),
        units: row.sales.totals.units,
        revenue: money(row.sales.totals.revenue),
    }
}

fn forecast_row(product: &str, row: &Trend) -> ForecastRow {
    ForecastRow {
        product: product.to_owned(),
        day: Millis(row.day),
        units: row.units,
        last: row.last,
        days: whole(row.days),
        error: row.error,
        naive_error: row.naive_error,
    }
}

/// One sink per table, all into one database.
pub(crate) fn sinks(program: &Program, location: &Location) -> Result<Vec<Sink>> {
    Ok(vec![
        sink(program, location, PRODUCTS, PRODUCT_ROWS, |key, row, _| {
            product_row(key, row)
        })?,
        sink(program, location, HOURLY, HOUR_ROWS, |key, row, _| {
            sales_row(key, row)
        })?,
        sink(program, location, DAILY, DAY_ROWS, |key, row, _| {
            sales_row(key, row)
        })?,
        sink(program, location, TOP, TOP_ROWS, |key, row, _| {
            top_row(key, row)
        })?,
        sink(
            program,
            location,
            FORECASTS,
            FORECAST_ROWS,
            |key, row, _| forecast_row(key, row),
        )?,
    ])
}

fn sink<K: 'static, V: 'static, R: Row>(
    program: &Program,
    location: &Location,
    topic: Topic<K, V>,
    table: Table<R>,
    row: impl Fn(&K, &V, &RecordMeta<'_>) -> R + Send + 'static,
) -> Result<Sink> {
    let (log, config) = (program.log().client()?, SinkConfig::default());
    Ok(Sink::new(log, topic, table, location, config, row)?)
}

/// How good the forecasts of all products were.
#[derive(Default)]
struct Grades {
    days: f64,
    error: f64,
    naive_error: f64,
}

impl Grades {
    /// Of the table of forecasts, with the days before `day` that products have not sold on. That
    /// is the day behind the last one that was ranked: the tables do not tell of later ones that
    /// have closed without a sale.
    fn of(forecasts: &[Value], day: Timestamp) -> Self {
        let mut grades = Self::default();
        for mut trend in forecasts.iter().filter_map(trend) {
            trend.pass(day);
            grades.days += number(trend.days);
            grades.error += trend.error;
            grades.naive_error += trend.naive_error;
        }
        grades
    }

    fn mean(&self, sum: f64) -> Option<f64> {
        (self.days > 0.0).then(|| sum / self.days)
    }
}

#[expect(clippy::cast_precision_loss, reason = "days are far below 2^53")]
fn number(days: u64) -> f64 {
    days as f64
}

/// What a row of the table of forecasts was made of.
fn trend(row: &Value) -> Option<Trend> {
    Some(Trend {
        day: row["day"].as_i64()?,
        units: row["units"].as_f64()?,
        last: row["last"].as_i64()?,
        days: row["days"].as_u64()?,
        error: row["error"].as_f64()?,
        naive_error: row["naive_error"].as_f64()?,
    })
}

/// What the tables add up to, and for how many windows lines came too late in this run.
pub(crate) fn results(location: &Location, late: u64) -> Result<Map<String, Value>> {
    let mut reader = Reader::open(location)?;
    let products = reader.rows(PRODUCT_ROWS.name(), u32::MAX)?;
    let forecasts = reader.rows(FORECAST_ROWS.name(), u32::MAX)?;
    let best = reader.rows(TOP_ROWS.name(), u32::MAX)?;
    let sum = |rows: &[Value], name: &str| -> f64 {
        rows.iter().filter_map(|row| row[name].as_f64()).sum()
    };
    let count = |name: &str| -> i64 { products.iter().filter_map(|row| row[name].as_i64()).sum() };
    let first = |row: &&Value| row["rank"] == 1;
    let last_day = best.iter().rfind(first);
    let last_day = last_day.and_then(|row| row["day"].as_i64());
    let grades = Grades::of(&forecasts, last_day.unwrap_or(0).saturating_add(DAY));
    let results = [
        ("products", json!(products.len())),
        ("sales", json!(count("lines"))),
        ("units", json!(count("units"))),
        ("returned", json!(count("returned"))),
        (
            "revenue",
            json!((sum(&products, "revenue") * 100.0).round() / 100.0),
        ),
        ("product_hours", json!(reader.count(HOUR_ROWS.name())?)),
        ("product_days", json!(reader.count(DAY_ROWS.name())?)),
        ("days_closed", json!(best.iter().filter(first).count())),
        ("best_of_last_day", json!(best.iter().rfind(first))),
        ("forecasts", json!(grades.days)),
        ("forecast_mae", json!(grades.mean(grades.error))),
        ("naive_mae", json!(grades.mean(grades.naive_error))),
        ("late", json!(late)),
    ];
    Ok(results
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect())
}
