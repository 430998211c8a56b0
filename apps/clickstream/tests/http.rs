//! The running program over HTTP: its model is on the page and among the metrics.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

mod common;

use common::{Home, Served};
use serde_json::Value;

const EVENTS: &str = "3000";

#[test]
fn the_model_is_shown_with_its_grades_and_measured() {
    // How many items are shown among the events.
    let shown = Home::new().outcome(&["--generate", EVENTS])["shown"].clone();
    let served = Served::start(Home::new(), &["--generate", EVENTS]);
    let part = format!("{{\"partition\":0,\"predictions\":{shown},\"learned\":{shown}}}");
    let models = served.until("/api/v1/models", |_, body| body.contains(&part));
    let models: Value = serde_json::from_str(&models).unwrap();
    assert_eq!(models.as_array().map(Vec::len), Some(1));
    let model = &models[0];
    assert_eq!(
        (&model["name"], &model["learned"]),
        (&"clicks".into(), &shown)
    );
    let quality = model["quality"].as_array().unwrap();
    let grades = quality.iter().map(|grade| &grade["metric"]);
    let grades: Vec<_> = grades.filter_map(Value::as_str).collect();
    let expected = ["log_loss", "log_loss", "auc", "auc", "accuracy", "accuracy"];
    assert_eq!(grades, expected);
    let between = |grade: &Value| {
        grade["value"]
            .as_f64()
            .is_some_and(|it| it > 0.0 && it < 1.0)
    };
    assert!(quality.iter().all(between), "{model}");

    let series = "model=\"clicks\",partition=\"0\"";
    let counted = |name: &str| format!("streams_model_{name}_total{{{series}}} {shown}\n");
    let metrics = served.until("/metrics", |_, text| text.contains(&counted("learned")));
    assert!(metrics.contains(&counted("predictions")), "{metrics}");
    let version = model["version"].as_str().unwrap();
    let info = format!("streams_model_info{{model=\"clicks\",version=\"{version}\"}} 1\n");
    assert!(metrics.contains(&info), "{metrics}");
    let quality = "streams_model_quality{metric=\"log_loss\",model=\"clicks\",window=\"all\"}";
    assert!(metrics.contains(quality), "{metrics}");
}
