//! What is said about a metric: its name, help, unit, kind and labels.
//!
//! Names follow <https://prometheus.io/docs/practices/naming/>: one application prefix, base units,
//! the unit as a suffix, `_total` behind counters. `tests/naming.rs` holds every metric to it.

/// What a metric's numbers are measured in: base units only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A pure number: a count, a flag of 0 or 1, a score.
    One,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
}

impl Unit {
    /// What a name in this unit ends with, before `_total`.
    pub const fn suffix(self) -> Option<&'static str> {
        match self {
            Self::One => None,
            Self::Seconds => Some("_seconds"),
            Self::Bytes => Some("_bytes"),
        }
    }
}

/// How a metric's numbers behave over time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations by size; the upper bounds of its buckets, ascending, `+Inf` left out.
    Histogram(&'static [f64]),
}

impl Eq for Kind {}

impl Kind {
    /// The exposition format's word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// All that is fixed about a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Its name in the exposition.
    pub name: &'static str,
    /// One sentence for whoever finds the name on a dashboard.
    pub help: &'static str,
    /// What its numbers are measured in.
    pub unit: Unit,
    /// How its numbers behave.
    pub kind: Kind,
    /// The names of its labels, the same for each of its series.
    pub labels: &'static [&'static str],
}
