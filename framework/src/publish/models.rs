//! Models as metrics.

use super::Metrics;
use millstream_http::ModelStatus;
use millstream_metrics::Metric;
use std::collections::BTreeSet;

impl Metrics {
    pub(super) fn model(&mut self, model: &ModelStatus) {
        let name = ("model", model.name.as_str());
        let version = model.version.clone();
        let before = self.versions.insert(model.name.clone(), version);
        if let Some(old) = before.filter(|old| *old != model.version) {
            self.remove(Metric::ModelInfo, &[name, ("version", &old)]);
        }
        self.gauge(Metric::ModelInfo, &[name, ("version", &model.version)], 1.0);
        self.parts(model);
        for grade in model.quality.iter().filter(|grade| !grade.value.is_nan()) {
            let labels = [
                name,
                ("metric", grade.metric.as_str()),
                ("window", grade.window.as_str()),
            ];
            self.gauge(Metric::ModelQuality, &labels, grade.value);
        }
    }

    /// What a model has done, by partition: a partition that comes brings what its model has
    /// learned as the beginning of a series, which is no growth to Prometheus; one that leaves
    /// takes it away.
    fn parts(&mut self, model: &ModelStatus) {
        let of = |partition: u32| [model.name.clone(), partition.to_string()];
        let now: BTreeSet<_> = model.partitions.iter().map(|part| part.partition).collect();
        let before = self.modelled.insert(model.name.clone(), now.clone());
        for gone in before.unwrap_or_default().difference(&now) {
            let [name, partition] = of(*gone);
            let labels = [("model", &*name), ("partition", &*partition)];
            for metric in [Metric::ModelPredictions, Metric::ModelLearned] {
                self.told.remove(&(metric, of(*gone).to_vec()));
                self.remove(metric, &labels);
            }
        }
        for part in &model.partitions {
            let [name, partition] = of(part.partition);
            let labels = [("model", &*name), ("partition", &*partition)];
            self.count(Metric::ModelPredictions, &labels, part.predictions);
            self.count(Metric::ModelLearned, &labels, part.learned);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::KeptClient;
    use millstream_http::ModelPart;
    use millstream_log::EmbeddedLog;
    use millstream_metrics::Registry;
    use std::sync::Arc;

    fn model(learned: &[(u32, u64)]) -> ModelStatus {
        let part = |&(partition, learned): &(u32, u64)| ModelPart {
            partition,
            predictions: learned + 1,
            learned,
        };
        ModelStatus {
            name: "m".to_owned(),
            kind: "k".to_owned(),
            version: "v".to_owned(),
            predictions: 0,
            learned: learned.iter().map(|(_, learned)| learned).sum(),
            partitions: learned.iter().map(part).collect(),
            quality: Vec::new(),
        }
    }

    /// A model of partitions that come, with all that they have learned, and go.
    #[test]
    fn what_a_model_has_learned_elsewhere_is_no_growth() {
        let registry = Registry::new().unwrap();
        let client = KeptClient::new(Arc::new(EmbeddedLog::in_memory()));
        let mut metrics = Metrics::new(registry.clone(), client);
        for learned in [
            &[(0, 10)][..],
            &[],
            &[(0, 10)],
            &[(0, 12), (1, 7)],
            &[(1, 7)],
            &[(0, 12), (1, 8)],
        ] {
            metrics.model(&model(learned));
            let text = registry.render().unwrap();
            let told = text.lines();
            let mut told: Vec<_> = told
                .filter(|line| line.starts_with("streams_model_") && line.contains("_total{"))
                .collect();
            told.sort_unstable();
            let of = |name: &str, partition: u32, count: u64| {
                let labels = format!("{{model=\"m\",partition=\"{partition}\"}}");
                format!("streams_model_{name}_total{labels} {count}")
            };
            let counts = learned.iter();
            let expected = counts.clone().map(|&(p, n)| of("learned", p, n));
            let expected = expected.chain(counts.map(|&(p, n)| of("predictions", p, n + 1)));
            assert_eq!(told, expected.collect::<Vec<_>>());
        }
    }
}
