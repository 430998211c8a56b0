//! The topology on the test driver: exact outputs, and a model held to what is possible.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use crate::{
    generate::{Catalogue, Visitors, best_log_loss},
    model::{
        Action, CATALOGUE, EVENTS, Event, FUNNEL, Funnel, Item, PREDICTIONS, SESSIONS, topology,
    },
};
use millstream::{core::task::Dropped, learn::grades::BinaryGrades, prelude::*};

const MINUTE: i64 = 60_000;
const SHOWN: Action = Action::Shown {
    position: 0,
    clicked: true,
};

fn driver() -> TopologyTestDriver {
    let mut driver = TopologyTestDriver::new(topology().unwrap()).unwrap();
    for (item, category) in [("spade", "garden"), ("novel", "books")] {
        let row = Item {
            category: category.to_owned(),
            discount: 0.5,
            rating: 1.0,
        };
        driver.pipe(&CATALOGUE, item.to_owned(), row, 0).unwrap();
    }
    driver
}

fn event(driver: &mut TopologyTestDriver, visitor: &str, item: &str, action: Action, time: i64) {
    let event = Event {
        item: item.to_owned(),
        action,
    };
    driver
        .pipe(&EVENTS, visitor.to_owned(), event, time)
        .unwrap();
}

fn funnel(shown: u64, views: u64, carts: u64, purchases: u64) -> Funnel {
    Funnel {
        shown,
        views,
        carts,
        purchases,
    }
}

#[test]
fn events_half_an_hour_apart_are_one_session_and_told_once_when_it_has_closed() {
    let mut driver = driver();
    event(&mut driver, "ann", "spade", SHOWN, 0);
    event(&mut driver, "ann", "spade", Action::View, 30 * MINUTE);
    event(&mut driver, "bob", "novel", SHOWN, 31 * MINUTE);
    // Out of order, it joins two sessions of bob's.
    event(&mut driver, "bob", "novel", Action::View, 61 * MINUTE);
    assert_eq!(
        driver.read(&SESSIONS).unwrap(),
        [],
        "the minute of grace is not over"
    );
    event(&mut driver, "bob", "novel", Action::Cart, 45 * MINUTE);
    event(&mut driver, "ann", "spade", SHOWN, 61 * MINUTE + 1);
    event(&mut driver, "zoe", "spade", SHOWN, 200 * MINUTE);
    let session =
        |visitor: &str, start, end| Windowed::new(visitor.to_owned(), Window::new(start, end));
    let expected = [
        (session("ann", 0, 30 * MINUTE), Some(funnel(1, 1, 0, 0))),
        (
            session("bob", 31 * MINUTE, 61 * MINUTE),
            Some(funnel(1, 1, 1, 0)),
        ),
        (
            session("ann", 61 * MINUTE + 1, 61 * MINUTE + 1),
            Some(funnel(1, 0, 0, 0)),
        ),
    ];
    assert_eq!(driver.read_key_values(&SESSIONS).unwrap(), expected);
}

#[test]
fn an_event_may_come_late_while_the_session_it_falls_into_is_open() {
    let mut driver = driver();
    event(&mut driver, "ann", "spade", SHOWN, 30 * MINUTE);
    event(&mut driver, "bob", "novel", SHOWN, 61 * MINUTE);
    // Ann's session ended half an hour and the minute of grace ago, and no more.
    event(&mut driver, "ann", "spade", Action::View, 0);
    event(&mut driver, "zoe", "novel", SHOWN, 30 * MINUTE);
    assert_eq!(driver.dropped(), Dropped::default());
    // A millisecond later ann's session has closed, and so would have one of tim's own.
    event(&mut driver, "bob", "novel", SHOWN, 61 * MINUTE + 1);
    event(&mut driver, "ann", "spade", Action::Cart, 0);
    event(&mut driver, "tim", "spade", SHOWN, 30 * MINUTE);
    assert_eq!(driver.dropped().late_record, 2);
    let told = driver.read_key_values(&SESSIONS).unwrap();
    let ann = Windowed::new("ann".to_owned(), Window::new(0, 30 * MINUTE));
    assert!(told.contains(&(ann, Some(funnel(1, 1, 0, 0)))), "{told:?}");
}

#[test]
fn a_funnel_counts_steps_by_the_category_that_the_catalogue_says() {
    let mut driver = driver();
    let steps = [SHOWN, Action::View, Action::Cart, Action::Purchase];
    for (time, action) in (0..).zip(steps) {
        event(&mut driver, "ann", "spade", action, time);
    }
    event(&mut driver, "bob", "novel", SHOWN, 4);
    event(&mut driver, "bob", "not in the catalogue", SHOWN, 5);
    let garden = [(1, 0, 0, 0), (1, 1, 0, 0), (1, 1, 1, 0), (1, 1, 1, 1)];
    let mut expected: Vec<_> = garden
        .map(|(shown, views, carts, bought)| {
            (
                "garden".to_owned(),
                Some(funnel(shown, views, carts, bought)),
            )
        })
        .to_vec();
    expected.push(("books".to_owned(), Some(funnel(1, 0, 0, 0))));
    assert_eq!(driver.read_key_values(&FUNNEL).unwrap(), expected);
}

#[test]
fn what_is_shown_is_predicted_before_it_teaches() {
    let mut driver = driver();
    event(&mut driver, "ann", "spade", SHOWN, 0);
    event(&mut driver, "ann", "spade", Action::View, 1);
    event(&mut driver, "ann", "spade", SHOWN, 2);
    let said: Vec<_> = driver.read(&PREDICTIONS).unwrap();
    let said: Vec<_> = said.iter().map(|record| &record.value.prediction).collect();
    assert_eq!((said.len(), said[0].version, said[0].output), (2, 0, 0.5));
    assert_eq!((said[1].version, said[1].truth), (1, Some(true)));
    assert!(said[1].output > 0.5);
}

#[test]
fn the_model_comes_close_to_the_best_that_is_possible() {
    let mut driver = TopologyTestDriver::new(topology().unwrap()).unwrap();
    for (item, row) in Catalogue::new() {
        driver.pipe(&CATALOGUE, item, row, 0).unwrap();
    }
    let mut grades = BinaryGrades::new(1_000);
    for (visitor, event, time) in Visitors::new(60_000) {
        driver.pipe(&EVENTS, visitor, event, time).unwrap();
        for said in driver.read(&PREDICTIONS).unwrap() {
            let said = said.value.prediction;
            grades.update(said.output, said.truth.unwrap());
        }
    }
    let (ours, best) = (
        grades.log_loss().unwrap(),
        best_log_loss(grades.count()).unwrap(),
    );
    let never_looking = best_constant(&grades);
    assert!(ours - best < 0.0025, "{ours} is far from {best}");
    assert!(
        ours - best > 0.0,
        "{ours} is better than {best}, which is not possible"
    );
    assert!(
        never_looking - best > 0.05,
        "{best} is no better than {never_looking}"
    );
    assert_eq!(driver.dropped(), Dropped::default());
}

/// The log-loss of who knows how many clicks there are, and nothing else.
fn best_constant(grades: &BinaryGrades) -> f64 {
    let mut clicks = 0.0;
    let mut shown = 0.0;
    for (_, event, _) in Visitors::new(60_000) {
        if let Action::Shown { clicked, .. } = event.action {
            shown += 1.0;
            clicks += f64::from(u8::from(clicked));
        }
    }
    assert!((shown - f64::from(u32::try_from(grades.count()).unwrap())).abs() < 0.5);
    let share: f64 = clicks / shown;
    -(share * share.ln() + (1.0 - share) * (1.0 - share).ln())
}
