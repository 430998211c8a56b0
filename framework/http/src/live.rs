//! What the page shows, sampled once for all its viewers.
//!
//! Invariant: the program is asked at the same pace whether nobody looks or many do, and the
//! history kept is bounded: rates of the last minutes, grades thinned so that they cover the whole
//! run.

use crate::{Introspect, ModelStatus, Status, app::App, server::stopped};
use millstream_metrics::{Metric, Registry};
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

/// Samples of the rates kept.
const RATE_SAMPLES: usize = 180;
/// Points of the grades kept; every second one goes when there are more.
const QUALITY_POINTS: usize = 240;
/// Grades followed; a program with more models shows the first.
const MAX_GRADES: usize = 48;

/// The newest summary and the history, for all viewers.
pub(crate) struct Live {
    newest: watch::Sender<Arc<str>>,
    history: Mutex<History>,
}

impl Live {
    pub(crate) fn new() -> Self {
        let (newest, _) = watch::channel(Arc::from(""));
        let history = Mutex::default();
        Self { newest, history }
    }

    /// Follows the summaries; a slow viewer sees only the newest.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<str>> {
        self.newest.subscribe()
    }

    /// The history so far.
    pub(crate) fn history(&self) -> Value {
        let history = self.lock();
        json!({ "rates": history.rates, "quality": history.quality.points })
    }

    fn lock(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct History {
    rates: VecDeque<Pace>,
    quality: Thinned,
}

impl History {
    /// The first sample has no pace yet.
    fn push(&mut self, pace: Option<Pace>, point: Point) {
        if self.rates.len() == RATE_SAMPLES {
            self.rates.pop_front();
        }
        self.rates.extend(pace);
        self.quality.push(point);
    }
}

/// How fast the program was at one sample, and how far behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
struct Pace {
    #[serde(flatten)]
    rates: Rates,
    lag: Option<u64>,
}

/// Records per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
struct Rates {
    #[serde(rename = "in")]
    input: f64,
    #[serde(rename = "out")]
    output: f64,
}

/// Points over a whole run, ever further apart.
#[derive(Default)]
struct Thinned {
    points: Vec<Point>,
    /// A sample is kept when its number is a multiple of two to this power.
    halvings: u32,
}

/// The grades at one sample, by `model/metric/window`.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Point {
    sample: u64,
    grades: BTreeMap<String, f64>,
}

impl Thinned {
    fn push(&mut self, point: Point) {
        if !point.sample.is_multiple_of(1 << self.halvings) {
            return;
        }
        if self.points.len() == QUALITY_POINTS {
            self.halvings += 1;
            let stride = 1 << self.halvings;
            self.points
                .retain(|point| point.sample.is_multiple_of(stride));
            if !point.sample.is_multiple_of(stride) {
                return;
            }
        }
        self.points.push(point);
    }
}

/// Counters at a sample, to make rates of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Totals {
    input: f64,
    output: f64,
}

impl Totals {
    fn read(registry: &Registry) -> Self {
        Self {
            input: registry.total(Metric::RecordsProcessed),
            output: registry.total(Metric::RecordsSent),
        }
    }

    /// A task that moved away takes its counts along: a total that shrank is no negative rate.
    fn rates_since(self, earlier: Self, seconds: f64) -> Rates {
        if seconds <= 0.0 {
            return Rates::default();
        }
        Rates {
            input: ((self.input - earlier.input) / seconds).max(0.0),
            output: ((self.output - earlier.output) / seconds).max(0.0),
        }
    }
}

/// What the program says at one sample.
struct Answers {
    status: Status,
    readiness: Result<(), Vec<String>>,
    models: Vec<ModelStatus>,
}

impl Answers {
    fn ask(program: &dyn Introspect) -> Self {
        Self {
            status: program.status(),
            readiness: program.readiness(),
            models: program.models(),
        }
    }

    fn grades(&self) -> BTreeMap<String, f64> {
        let grades = self.models.iter().flat_map(|model| {
            let name = &model.name;
            let key = move |metric: &str, window: &str| format!("{name}/{metric}/{window}");
            model
                .quality
                .iter()
                .map(move |grade| (key(&grade.metric, &grade.window), grade.value))
        });
        grades
            .filter(|(_, value)| value.is_finite())
            .take(MAX_GRADES)
            .collect()
    }

    /// The lag of all tasks that know theirs.
    fn lag(&self) -> Option<u64> {
        self.status
            .tasks
            .iter()
            .filter_map(|task| task.lag)
            .reduce(u64::saturating_add)
    }

    fn summary(&self, sample: u64, totals: Totals, rates: Rates, registry: &Registry) -> Value {
        json!({
            "sample": sample,
            "status": self.status,
            "ready": self.readiness.is_ok(),
            "reasons": self.readiness.as_ref().err(),
            "lag": self.lag(),
            "rates": rates,
            "records": {
                "in": totals.input,
                "out": totals.output,
                "dropped": registry.total(Metric::RecordsDropped),
            },
            "models": self.models,
        })
    }
}

/// Samples the program until the server stops.
pub(crate) async fn sample(app: Arc<App>) {
    let mut ticks = interval(app.limits.sample_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = Totals::read(&app.registry);
    let mut counted_at = None;
    for sample in 0.. {
        let now = tokio::select! {
            tick = ticks.tick() => tick,
            () = stopped(app.stopping.clone()) => return,
        };
        // The program's failures are logged where it is asked; its last summary stays.
        let Ok(answers) = app.ask(Answers::ask).await else {
            continue;
        };
        let totals = Totals::read(&app.registry);
        let seconds = counted_at.map_or(0.0, |at| now.duration_since(at).as_secs_f64());
        let rates = totals.rates_since(before, seconds);
        before = totals;
        let summary = answers.summary(sample, totals, rates, &app.registry);
        let lag = answers.lag();
        let pace = counted_at.map(|_| Pace { rates, lag });
        let grades = answers.grades();
        app.live.lock().push(pace, Point { sample, grades });
        counted_at = Some(now);
        app.live.newest.send_replace(summary.to_string().into());
    }
}

#[cfg(test)]
mod tests {
    use super::{History, Pace, Point, QUALITY_POINTS, RATE_SAMPLES, Rates, Thinned, Totals};
    use std::collections::BTreeMap;

    fn point(sample: u64) -> Point {
        Point {
            sample,
            grades: BTreeMap::new(),
        }
    }

    #[test]
    fn rates_are_differences_over_time_and_never_negative() {
        let before = Totals {
            input: 100.0,
            output: 50.0,
        };
        let after = Totals {
            input: 400.0,
            output: 10.0,
        };
        assert_eq!(
            after.rates_since(before, 2.0),
            Rates {
                input: 150.0,
                output: 0.0
            }
        );
        assert_eq!(after.rates_since(before, 0.0), Rates::default());
    }

    #[test]
    fn the_history_is_bounded_and_covers_the_whole_run() {
        let mut thinned = Thinned::default();
        for sample in 0..100_000 {
            thinned.push(point(sample));
            assert!(thinned.points.len() <= QUALITY_POINTS);
        }
        let samples: Vec<u64> = thinned.points.iter().map(|point| point.sample).collect();
        assert_eq!(samples[0], 0, "the start stays");
        assert!(samples.len() >= QUALITY_POINTS / 2 && samples[samples.len() - 1] > 99_000);
        let step = samples[1] - samples[0];
        assert!(
            samples.windows(2).all(|pair| pair[1] - pair[0] == step),
            "even steps"
        );
    }

    #[test]
    fn rates_older_than_the_window_go() {
        let mut history = History::default();
        for sample in 0..RATE_SAMPLES + 9 {
            history.push(Some(Pace::default()), point(sample as u64));
        }
        assert_eq!(history.rates.len(), RATE_SAMPLES);
    }
}
