//! The SQL tables, and what a run came to as they and the model tell it.

use crate::{
    generate::best_log_loss,
    model::{FUNNEL, Funnel, PREDICTIONS, SESSIONS},
};
use anyhow::Result;
use millstream::{
    Program,
    learn::grades::BinaryGrades,
    sink::{Location, Millis, Reader, Sink, SinkConfig, Table, row},
};
use serde_json::{Map, Value, json};

struct SessionRow {
    visitor: String,
    start: Millis,
    end: Millis,
    shown: i64,
    views: i64,
    carts: i64,
    purchases: i64,
}
row!(SessionRow {
    visitor: key,
    start: key,
    end,
    shown,
    views,
    carts,
    purchases
});

struct FunnelRow {
    category: String,
    shown: i64,
    views: i64,
    carts: i64,
    purchases: i64,
}
row!(FunnelRow {
    category: key,
    shown,
    views,
    carts,
    purchases
});

/// Each in a row of its own.
struct PredictionRow {
    item: String,
    version: i64,
    probability: f64,
    clicked: Option<bool>,
}
row!(PredictionRow {
    item,
    version,
    probability,
    clicked
});

static SESSION_ROWS: Table<SessionRow> = Table::new("sessions");
static FUNNEL_ROWS: Table<FunnelRow> = Table::new("funnel");
static PREDICTION_ROWS: Table<PredictionRow> = Table::new("predictions");

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// One sink per table, all into one database.
pub(crate) fn sinks(program: &Program, location: &Location) -> Result<Vec<Sink>> {
    let (log, config) = (|| program.log().client(), SinkConfig::default);
    let sessions = Sink::new(
        log()?,
        SESSIONS,
        SESSION_ROWS,
        location,
        config(),
        |key, row, _| {
            let Funnel {
                shown,
                views,
                carts,
                purchases,
            } = *row;
            SessionRow {
                visitor: key.key.clone(),
                start: Millis(key.window.start),
                end: Millis(key.window.end),
                shown: whole(shown),
                views: whole(views),
                carts: whole(carts),
                purchases: whole(purchases),
            }
        },
    )?;
    let funnel = Sink::new(
        log()?,
        FUNNEL,
        FUNNEL_ROWS,
        location,
        config(),
        |key, row, _| {
            let Funnel {
                shown,
                views,
                carts,
                purchases,
            } = *row;
            FunnelRow {
                category: key.clone(),
                shown: whole(shown),
                views: whole(views),
                carts: whole(carts),
                purchases: whole(purchases),
            }
        },
    )?;
    let rows = PREDICTION_ROWS;
    let predictions = Sink::new(
        log()?,
        PREDICTIONS,
        rows,
        location,
        config(),
        |key, row, _| PredictionRow {
            item: key.clone(),
            version: whole(row.prediction.version),
            probability: row.prediction.output,
            clicked: row.prediction.truth,
        },
    )?;
    Ok(vec![sessions, funnel, predictions])
}

/// What tables and model add up to. The best log-loss is that of who knows how clicks are made.
pub(crate) fn results(location: &Location, grades: &BinaryGrades) -> Result<Map<String, Value>> {
    let mut reader = Reader::open(location)?;
    let funnel = reader.rows(FUNNEL_ROWS.name(), u32::MAX)?;
    let sum = |name: &str| -> i64 { funnel.iter().filter_map(|row| row[name].as_i64()).sum() };
    let best = best_log_loss(grades.count());
    let distance = grades.log_loss().zip(best).map(|(ours, best)| ours - best);
    let results = [
        ("sessions_closed", json!(reader.count(SESSION_ROWS.name())?)),
        ("shown", json!(sum("shown"))),
        ("views", json!(sum("views"))),
        ("carts", json!(sum("carts"))),
        ("purchases", json!(sum("purchases"))),
        ("predictions", json!(reader.count(PREDICTION_ROWS.name())?)),
        ("auc", json!(grades.auc())),
        ("log_loss", json!(grades.log_loss())),
        ("best_log_loss", json!(best)),
        ("log_loss_above_best", json!(distance)),
    ];
    Ok(results
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect())
}
