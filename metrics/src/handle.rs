//! Handles that loops keep: cloning one clones an `Arc`, using one touches an atomic.
//!
//! Invariant: no value given here can panic or break the exposition; what is not a number in the
//! metric's range is left out.

use std::time::Duration;

/// A number that only grows.
#[derive(Clone, Debug)]
pub struct Counter(pub(crate) prometheus::Counter);

impl Counter {
    /// Adds a count: one call for a batch, not for a record.
    #[expect(
        clippy::cast_precision_loss,
        reason = "exact to 2^53, as every Prometheus counter"
    )]
    pub fn add(&self, count: u64) {
        self.0.inc_by(count as f64);
    }

    /// Adds one.
    pub fn inc(&self) {
        self.0.inc();
    }

    /// Adds to a counter of seconds.
    pub fn add_duration(&self, time: Duration) {
        self.0.inc_by(time.as_secs_f64());
    }

    /// What it has come to.
    pub fn get(&self) -> f64 {
        self.0.get()
    }
}

/// A number that goes up and down.
#[derive(Clone, Debug)]
pub struct Gauge(pub(crate) prometheus::Gauge);

impl Gauge {
    /// Replaces the number.
    pub fn set(&self, value: f64) {
        self.0.set(value);
    }

    /// Replaces it by a whole number.
    #[expect(
        clippy::cast_precision_loss,
        reason = "exact to 2^53, as every Prometheus gauge"
    )]
    pub fn set_count(&self, value: u64) {
        self.0.set(value as f64);
    }

    /// Replaces it by 1 or 0.
    pub fn set_flag(&self, value: bool) {
        self.0.set(f64::from(u8::from(value)));
    }

    /// Adds, or takes away a negative number.
    pub fn add(&self, value: f64) {
        self.0.add(value);
    }

    /// What it is now.
    pub fn get(&self) -> f64 {
        self.0.get()
    }
}

/// Observations counted by size.
#[derive(Clone, Debug)]
pub struct Histogram(pub(crate) prometheus::Histogram);

impl Histogram {
    /// Counts one observation. One that is not a number would spoil the sum for ever: left out.
    pub fn observe(&self, value: f64) {
        if !value.is_nan() {
            self.0.observe(value);
        }
    }

    /// Counts one observation of time.
    pub fn observe_duration(&self, time: Duration) {
        self.0.observe(time.as_secs_f64());
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.0.get_sample_count()
    }
}
