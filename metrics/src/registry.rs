//! The registry: all families of the list, made at once, and their series, made when asked for.
//!
//! Invariant: a family holds at most [`MAX_SERIES`] label sets besides its overflow series. Locks
//! are taken only to make or remove a series and to render, never to count.

use crate::{Counter, Error, Gauge, Histogram, Kind, Metric, Result};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The most label sets that one metric may have; requests beyond share one overflow series.
pub const MAX_SERIES: usize = 1_000;

/// The value of every label of an overflow series.
pub const OVERFLOW: &str = "overflow";

/// All metrics of a process. Clones are cheap and share everything.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    prometheus: prometheus::Registry,
    /// One for each of [`Metric::ALL`], in that order.
    families: Vec<Family>,
}

struct Family {
    vec: FamilyVec,
    /// The series there are, by their label values in the order of the spec.
    series: Mutex<BTreeMap<Vec<String>, Handle>>,
}

enum FamilyVec {
    Counter(prometheus::CounterVec),
    Gauge(prometheus::GaugeVec),
    Histogram(prometheus::HistogramVec),
}

#[derive(Clone)]
enum Handle {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

impl Registry {
    /// A registry with every metric of the list and none of their series, and with the metrics of
    /// the process itself where the operating system tells them.
    ///
    /// # Errors
    /// Only if the list of metrics breaks the exposition format's rules, which its test excludes.
    pub fn new() -> Result<Self> {
        let prometheus = prometheus::Registry::new();
        let families = Metric::ALL
            .iter()
            .map(|metric| Family::new(*metric, &prometheus))
            .collect::<Result<_>>()?;
        #[cfg(target_os = "linux")]
        {
            let process = prometheus::process_collector::ProcessCollector::for_self();
            prometheus.register(Box::new(process))?;
        }
        let inner = Inner {
            prometheus,
            families,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The series of a counter under these labels, given in any order.
    ///
    /// # Errors
    /// [`Error::WrongKind`] and [`Error::WrongLabels`].
    pub fn counter(&self, metric: Metric, labels: &[(&str, &str)]) -> Result<Counter> {
        match self.series(metric, labels)? {
            Handle::Counter(counter) => Ok(counter),
            _ => Err(wrong_kind(metric, Kind::Counter)),
        }
    }

    /// The series of a gauge under these labels, given in any order.
    ///
    /// # Errors
    /// [`Error::WrongKind`] and [`Error::WrongLabels`].
    pub fn gauge(&self, metric: Metric, labels: &[(&str, &str)]) -> Result<Gauge> {
        match self.series(metric, labels)? {
            Handle::Gauge(gauge) => Ok(gauge),
            _ => Err(wrong_kind(metric, Kind::Gauge)),
        }
    }

    /// The series of a histogram under these labels, given in any order.
    ///
    /// # Errors
    /// [`Error::WrongKind`] and [`Error::WrongLabels`].
    pub fn histogram(&self, metric: Metric, labels: &[(&str, &str)]) -> Result<Histogram> {
        match self.series(metric, labels)? {
            Handle::Histogram(histogram) => Ok(histogram),
            _ => Err(wrong_kind(metric, Kind::Histogram(&[]))),
        }
    }

    /// Takes a series out of the exposition, as when its partition has moved to another instance.
    /// Handles to it still count, unseen. Says whether there was one.
    ///
    /// # Errors
    /// [`Error::WrongLabels`].
    pub fn remove(&self, metric: Metric, labels: &[(&str, &str)]) -> Result<bool> {
        let values = label_values(metric, labels)?;
        let family = self.family(metric)?;
        let mut series = family.lock();
        if series.remove(&values).is_none() {
            return Ok(false);
        }
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        match &family.vec {
            FamilyVec::Counter(vec) => vec.remove_label_values(&values)?,
            FamilyVec::Gauge(vec) => vec.remove_label_values(&values)?,
            FamilyVec::Histogram(vec) => vec.remove_label_values(&values)?,
        }
        Ok(true)
    }

    /// The sum over all series of a metric; of a histogram, how many observations.
    #[expect(clippy::cast_precision_loss, reason = "a count for people to read")]
    pub fn total(&self, metric: Metric) -> f64 {
        let Ok(family) = self.family(metric) else {
            return 0.0;
        };
        let series = family.lock();
        let values = series.values().map(|handle| match handle {
            Handle::Counter(counter) => counter.get(),
            Handle::Gauge(gauge) => gauge.get(),
            Handle::Histogram(histogram) => histogram.count() as f64,
        });
        // An empty sum of floats is -0.0, which would be shown with its sign.
        values.fold(0.0, |sum, value| sum + value)
    }

    /// Everything, in Prometheus' text format (version 0.0.4). Metrics without series are left out.
    ///
    /// # Errors
    /// [`Error::Exposition`].
    pub fn render(&self) -> Result<String> {
        let mut out = String::new();
        prometheus::TextEncoder::new().encode_utf8(&self.inner.prometheus.gather(), &mut out)?;
        Ok(out)
    }

    fn series(&self, metric: Metric, labels: &[(&str, &str)]) -> Result<Handle> {
        let values = label_values(metric, labels)?;
        let family = self.family(metric)?;
        let mut series = family.lock();
        if let Some(handle) = series.get(&values) {
            return Ok(handle.clone());
        }
        let overflow = vec![OVERFLOW.to_owned(); values.len()];
        let regular = series.len() - usize::from(series.contains_key(&overflow));
        if regular < MAX_SERIES {
            return family.create(&mut series, values);
        }
        let handle = match series.get(&overflow) {
            Some(handle) => handle.clone(),
            None => family.create(&mut series, overflow)?,
        };
        drop(series);
        // The count of overflows has one label set for each metric, and so never overflows itself.
        self.counter(Metric::SeriesOverflow, &[("metric", metric.spec().name)])?
            .inc();
        Ok(handle)
    }

    fn family(&self, metric: Metric) -> Result<&Family> {
        let missing = || Error::Exposition(format!("{metric} is not in the list"));
        self.inner.families.get(metric as usize).ok_or_else(missing)
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("families", &self.inner.families.len())
            .finish()
    }
}

impl Family {
    fn new(metric: Metric, registry: &prometheus::Registry) -> Result<Self> {
        let spec = metric.spec();
        let opts = prometheus::Opts::new(spec.name, spec.help);
        let vec = match spec.kind {
            Kind::Counter => {
                let vec = prometheus::CounterVec::new(opts, spec.labels)?;
                registry.register(Box::new(vec.clone()))?;
                FamilyVec::Counter(vec)
            }
            Kind::Gauge => {
                let vec = prometheus::GaugeVec::new(opts, spec.labels)?;
                registry.register(Box::new(vec.clone()))?;
                FamilyVec::Gauge(vec)
            }
            Kind::Histogram(buckets) => {
                let opts = prometheus::HistogramOpts::from(opts).buckets(buckets.to_vec());
                let vec = prometheus::HistogramVec::new(opts, spec.labels)?;
                registry.register(Box::new(vec.clone()))?;
                FamilyVec::Histogram(vec)
            }
        };
        Ok(Self {
            vec,
            series: Mutex::default(),
        })
    }

    fn create(
        &self,
        series: &mut BTreeMap<Vec<String>, Handle>,
        values: Vec<String>,
    ) -> Result<Handle> {
        let handle = match &self.vec {
            FamilyVec::Counter(vec) => {
                Handle::Counter(Counter(vec.get_metric_with_label_values(&values)?))
            }
            FamilyVec::Gauge(vec) => {
                Handle::Gauge(Gauge(vec.get_metric_with_label_values(&values)?))
            }
            FamilyVec::Histogram(vec) => {
                Handle::Histogram(Histogram(vec.get_metric_with_label_values(&values)?))
            }
        };
        series.insert(values, handle.clone());
        Ok(handle)
    }

    /// A thread that died while it held the lock left a map that is whole all the same.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Vec<String>, Handle>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The label values in the order of the spec, if the names are exactly those of the spec.
fn label_values(metric: Metric, labels: &[(&str, &str)]) -> Result<Vec<String>> {
    let expected = metric.spec().labels;
    let value = |name: &&str| {
        labels
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, v)| *v)
    };
    let values: Vec<&str> = expected.iter().filter_map(value).collect();
    if values.len() != expected.len() || labels.len() != expected.len() {
        let given = labels.iter().map(|(name, _)| (*name).to_owned()).collect();
        return Err(Error::WrongLabels {
            metric,
            expected,
            given,
        });
    }
    Ok(values.into_iter().map(str::to_owned).collect())
}

#[cold]
fn wrong_kind(metric: Metric, asked: Kind) -> Error {
    Error::WrongKind {
        metric,
        is: metric.spec().kind,
        asked,
    }
}
