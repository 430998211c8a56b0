//! The program: its topics, its topology and its model.
//!
//! Invariant: what an item is comes from the catalogue alone; events only name it.

use millstream::{
    learn::{
        Example, LearnExt, Prequential, Scored, dense::DenseLogisticRegression, features::Numbers,
        grades::BinaryGrades, optim::AdaGrad,
    },
    prelude::*,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The model's name: of its store, and in its predictions.
pub(crate) const MODEL: &str = "clicks";
/// A visitor who does nothing for so long has left.
const GAP: Duration = Duration::from_secs(30 * 60);
const GRACE: Duration = Duration::from_secs(60);
/// Over how many of the last predictions the rolling grades go.
pub(crate) const ROLLING: usize = 1_000;
const RATE: f64 = 0.3;
const HOUR: i64 = 3_600_000;

/// What a visitor was shown, or did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Action {
    /// An item in a list, counted from 0, and whether it was clicked.
    Shown {
        position: u8,
        clicked: bool,
    },
    View,
    Cart,
    Purchase,
}

/// An action on an item; its key is the visitor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Event {
    pub(crate) item: String,
    pub(crate) action: Action,
}

/// A row of the catalogue; its key is the item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) category: String,
    /// From 0 to 1.
    pub(crate) discount: f64,
    /// From 0 to 1.
    pub(crate) rating: f64,
}

/// How often something came to each step: of a session, or of a category.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Funnel {
    pub(crate) shown: u64,
    pub(crate) views: u64,
    pub(crate) carts: u64,
    pub(crate) purchases: u64,
}

pub(crate) static EVENTS: Topic<String, Event> = Topic::new("events", utf8(), json());
pub(crate) static CATALOGUE: Topic<String, Item> = Topic::new("catalogue", utf8(), json());
pub(crate) static SESSIONS: Topic<Windowed<String>, Funnel> =
    Topic::new("sessions", session_windowed::<Utf8>(), json());
pub(crate) static FUNNEL: Topic<String, Funnel> = Topic::new("funnel", utf8(), json());
pub(crate) static PREDICTIONS: Topic<String, Scored<f64, bool>> =
    Topic::new("predictions", utf8(), json());

/// Visitors' events become sessions; items' events a funnel and predictions.
pub(crate) fn topology() -> millstream::Result<Topology> {
    let builder = StreamsBuilder::new();
    let events = builder.stream(&EVENTS);
    events
        .group_by_key()
        .windowed_by(SessionWindows::of_inactivity_gap_and_grace(GAP, GRACE))
        .emit_strategy(EmitStrategy::OnWindowClose)
        .aggregate(
            "sessions",
            Funnel::default,
            |_, event, funnel| funnel.add(event.action),
            |_, funnel, other| funnel.merge(&other),
        )
        .to(&SESSIONS);

    let catalogue = builder.table(&CATALOGUE, "catalogue");
    let by_item = events
        .process_values((), |()| Timed)
        .map(|_, (event, time)| (event.item, (event.action, time)))
        .repartition("by-item")
        .join(catalogue, |action, item| (action, item.clone()));
    by_item
        .map(|_, ((action, _), item)| (item.category, action))
        .group_by_key()
        .aggregate("funnel", Funnel::default, |_, action, funnel| {
            funnel.add(action);
        })
        .to(&FUNNEL);
    by_item
        .flat_map_values(|((action, time), item)| match action {
            Action::Shown { position, clicked } => Some(Example {
                input: features(&item, position, time),
                label: Some(clicked),
            }),
            _ => None,
        })
        .learn(MODEL, fresh)
        .to(&PREDICTIONS);
    builder.build()
}

/// Puts an event's time beside it.
struct Timed;

impl FixedKeyProcessor<String, Event> for Timed {
    type Value = (Event, Timestamp);

    fn process(
        &mut self,
        _: &String,
        event: Event,
        ctx: &mut FixedKeyContext<'_, String, Self::Value>,
    ) -> ProcessResult {
        let time = ctx.timestamp();
        Ok(ctx.forward((event, time))?)
    }
}

/// What a click depends on: a constant, the item, its place in the list, and whether it is evening.
/// All but the constant lie around zero, so that no feature has to make up for another's mean.
pub(crate) fn features(item: &Item, position: u8, time: Timestamp) -> Vec<f64> {
    let evening = time.div_euclid(HOUR).rem_euclid(24) >= 18;
    vec![
        1.0,
        item.discount - 0.5,
        item.rating - 0.5,
        f64::from(position) / 10.0 - 0.5,
        f64::from(u8::from(evening)) - 0.5,
    ]
}

impl Funnel {
    fn add(&mut self, action: Action) {
        match action {
            Action::Shown { .. } => self.shown += 1,
            Action::View => self.views += 1,
            Action::Cart => self.carts += 1,
            Action::Purchase => self.purchases += 1,
        }
    }

    fn merge(&mut self, other: &Self) {
        self.shown += other.shown;
        self.views += other.views;
        self.carts += other.carts;
        self.purchases += other.purchases;
    }
}

pub(crate) type Clicks = Prequential<Numbers, DenseLogisticRegression<AdaGrad>, BinaryGrades>;

pub(crate) fn fresh() -> Clicks {
    let learner = DenseLogisticRegression::new(AdaGrad { rate: RATE });
    Clicks::from_parts(MODEL, Numbers, learner, BinaryGrades::new(ROLLING))
}
