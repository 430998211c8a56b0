//! The program: its topics and its topology.
//!
//! Invariant: money is whole millionths, so a cancellation takes back exactly what was sold.

use crate::{
    forecast::Trend,
    ranking::{Ranked, Ranking},
};
use millstream::prelude::*;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Of a currency unit: UCI's prices have up to three decimals, quotients of others up to six.
pub(crate) const MILLIONTHS: i64 = 1_000_000;
pub(crate) const HOUR: i64 = 3_600_000;
pub(crate) const DAY: i64 = 24 * HOUR;
/// How long after its end a window still takes corrections.
const GRACE: Duration = Duration::from_secs(3_600);

/// A line of an invoice; its key is the product's code, its time that of the invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// Cancellations begin with C.
    pub(crate) invoice: String,
    /// What the product is called, where the line says so.
    pub(crate) description: String,
    /// Negative in cancellations.
    pub(crate) quantity: i64,
    /// Quantity times price, in millionths.
    pub(crate) amount: i64,
    pub(crate) customer: String,
    pub(crate) country: String,
}

/// A row of the product table: what the lines so far have told about a product.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Product {
    pub(crate) name: String,
    pub(crate) lines: u64,
    pub(crate) totals: Totals,
}

/// What was sold, cancellations taken off; amounts in millionths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    pub(crate) units: i64,
    /// Of which so many came back; counted with their own day.
    pub(crate) returned: i64,
    pub(crate) revenue: i64,
}

/// The totals of a product and window, with the product's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sales {
    pub(crate) name: String,
    pub(crate) totals: Totals,
}

pub(crate) static LINES: Topic<String, Line> = Topic::new("invoice-lines", utf8(), json());
pub(crate) static PRODUCTS: Topic<String, Product> = Topic::new("products", utf8(), json());
pub(crate) static HOURLY: Topic<Windowed<String>, Sales> =
    Topic::new("sales-per-hour", time_windowed::<Utf8, HOUR>(), json());
pub(crate) static DAILY: Topic<Windowed<String>, Sales> =
    Topic::new("sales-per-day", time_windowed::<Utf8, DAY>(), json());
/// By the day's start and the rank, from one on.
pub(crate) static TOP: Topic<(Timestamp, u32), Ranked> = Topic::new("top-products", json(), json());
pub(crate) static FORECASTS: Topic<String, Trend> = Topic::new("forecasts", utf8(), json());

/// Lines become sales per window; days that have closed are ranked and forecast from.
pub(crate) fn topology() -> millstream::Result<Topology> {
    let builder = StreamsBuilder::new();
    // A line without an amount is a movement of stock or a note, not a sale.
    let lines = builder.stream(&LINES).filter(|_, line| line.amount != 0);
    let products =
        lines
            .group_by_key()
            .aggregate("products", Product::default, |_, line, product| {
                product.lines += 1;
                product.totals.add(&line);
                if !line.description.is_empty() {
                    product.name = line.description;
                }
            });
    products.to(&PRODUCTS);
    let sales = lines.join(products, |line, product| (product.name.clone(), line));
    let add = |_: &String, (name, line): (String, Line), sales: &mut Sales| {
        sales.name = name;
        sales.totals.add(&line);
    };
    let per = |size: i64| {
        let size = Duration::from_millis(size.unsigned_abs());
        let windows = TimeWindows::of_size_and_grace(size, GRACE);
        sales.group_by_key().windowed_by(windows)
    };
    per(HOUR)
        .aggregate("sales-per-hour", Sales::default, add)
        .to(&HOURLY);
    let daily = per(DAY).aggregate("sales-per-day", Sales::default, add);
    daily.to(&DAILY);

    let whole = Suppressed::until_window_closes(BufferConfig::unbounded());
    let closed = daily.suppress("closed-days", whole).to_stream();
    let best = builder.store("top-products");
    closed
        .flat_map(|key, sales| {
            let product = key.key;
            sales.map(|sales| (key.window.start, Ranked { product, sales }))
        })
        .repartition("top-products")
        .process(best, Ranking)
        .to(&TOP);
    closed
        .flat_map(|key, sales| sales.map(|it| (key.key, (key.window.start, it.totals.units))))
        .group_by_key()
        .aggregate("forecasts", Trend::default, |_, (day, units), trend| {
            trend.learn(day, units);
        })
        .to(&FORECASTS);
    builder.build()
}

impl Totals {
    fn add(&mut self, line: &Line) {
        self.units = self.units.saturating_add(line.quantity);
        self.revenue = self.revenue.saturating_add(line.amount);
        if line.invoice.starts_with('C') {
            self.returned = self.returned.saturating_sub(line.quantity);
        }
    }
}
