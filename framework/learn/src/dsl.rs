//! `learn(name, model)`: a model as an operator on a stream of examples.
//!
//! Each partition of the stream has a model of its own, which is that partition's only writer; a
//! model over a whole stream therefore reads a topic of one partition. Invariant: a record is
//! predicted before it is learned from, and both happen in the transaction that takes its place.

use crate::{
    features::Features,
    grades::Grade,
    learner::Learner,
    model::{Example, Prediction, Prequential},
    weights::{Replicated, WeightStore},
};
use millstream_core::{
    link::Data,
    prelude::{FixedKeyContext, FixedKeyProcessor, KStream, ProcessResult, StoreRef},
    topology::StoreSpec,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A prediction and the record it is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scored<P, Y> {
    /// What the model said, and what was true.
    pub prediction: Prediction<P, Y>,
    /// The topic of the record that was judged.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: u32,
    /// Its offset; behind a repartition others may have the same.
    pub offset: i64,
    /// Which of the records with that offset it is, from 0 on.
    #[serde(default)]
    pub index: u32,
}

/// The stream a model makes of examples with labels of the learner `L`.
type ScoredStream<'b, K, L> = KStream<'b, K, Scored<<L as Learner>::Output, <L as Learner>::Label>>;

/// Learning as an operator.
pub trait LearnExt<'b, K, X, Y>: Sized {
    /// Predicts every example, grades and learns from those that have a label, and sends the
    /// predictions on. The model is the state of the store `name`: its weights are logged to
    /// `<application.id>-<name>-changelog`, restored, and taken back when a commit is refused.
    ///
    /// `fresh` makes the model of a partition that has none yet.
    ///
    /// A program that learns needs `processing.guarantee=exactly_once_v2`, and does not start with
    /// `at_least_once`: weights of which a crash left a part in the log could not be restored.
    ///
    /// ```
    /// use millstream_core::prelude::*;
    /// use millstream_learn::{Example, LearnExt, Scored, TextClassifier};
    ///
    /// type Text = Example<String, bool>;
    /// static REVIEWS: Topic<String, Text> = Topic::new("reviews", utf8(), bincode());
    /// static SCORED: Topic<String, Scored<f64, bool>> = Topic::new("scored", utf8(), json());
    ///
    /// let builder = StreamsBuilder::new();
    /// let fresh = || TextClassifier::new("sentiment", Default::default(), Default::default());
    /// builder.stream(&REVIEWS).learn("sentiment", fresh).to(&SCORED);
    ///
    /// let mut driver = TopologyTestDriver::new(builder.build()?)?;
    /// for (at, (text, good)) in [("so good", true), ("so bad", false)].into_iter().enumerate() {
    ///     driver.pipe(&REVIEWS, format!("r{at}"), Example::labelled(text.into(), good), 0)?;
    /// }
    /// driver.pipe(&REVIEWS, "r2".into(), Example::unlabelled("good".into()), 0)?;
    /// let said = driver.read(&SCORED)?.pop().unwrap().value;
    /// assert!(said.prediction.predicted && said.prediction.version == 2 && said.offset == 2);
    /// # Ok::<(), millstream_core::Error>(())
    /// ```
    #[track_caller]
    fn learn<F, L, G>(
        self,
        name: &str,
        fresh: impl Fn() -> Prequential<F, L, G> + Send + Sync + 'static,
    ) -> ScoredStream<'b, K, L>
    where
        X: AsRef<F::Raw>,
        F: Features + 'static,
        L: Learner<Input = F::Vector, Label = Y> + Replicated + 'static,
        L::Output: Data,
        G: Grade<L::Output, L::Label>;
}

impl<'b, K: Data, X: Data, Y: Data> LearnExt<'b, K, X, Y> for KStream<'b, K, Example<X, Y>> {
    #[track_caller]
    fn learn<F, L, G>(
        self,
        name: &str,
        fresh: impl Fn() -> Prequential<F, L, G> + Send + Sync + 'static,
    ) -> ScoredStream<'b, K, L>
    where
        X: AsRef<F::Raw>,
        F: Features + 'static,
        L: Learner<Input = F::Vector, Label = Y> + Replicated + 'static,
        L::Output: Data,
        G: Grade<L::Output, L::Label>,
    {
        let store = name.to_owned();
        let mut spec = StoreSpec::custom(name, "weights", move |env| {
            Ok(Box::new(WeightStore::open(&store, fresh(), &env)?))
        });
        // Weights under a manifest of another commit are no model that was ever learned.
        spec.whole_commits = true;
        let model = self
            .builder()
            .add_store::<WeightStore<Prequential<F, L, G>>>(spec);
        self.process_values(model, |model| Learn { model })
    }
}

struct Learn<M> {
    model: StoreRef<WeightStore<M>>,
}

impl<K, X, F, L, G> FixedKeyProcessor<K, Example<X, L::Label>> for Learn<Prequential<F, L, G>>
where
    K: Data,
    X: Data + AsRef<F::Raw>,
    F: Features + 'static,
    L: Learner<Input = F::Vector> + Replicated + 'static,
    L::Label: Data,
    L::Output: Data,
    G: Grade<L::Output, L::Label>,
{
    type Value = Scored<L::Output, L::Label>;

    fn process(
        &mut self,
        _: &K,
        example: Example<X, L::Label>,
        ctx: &mut FixedKeyContext<'_, K, Self::Value>,
    ) -> ProcessResult {
        let prediction = ctx.store(self.model).model_mut().process(&example);
        let scored = match ctx.record_metadata() {
            Some(at) => Scored {
                prediction,
                topic: at.partition.topic,
                partition: at.partition.partition,
                offset: at.offset,
                index: at.index,
            },
            None => Scored {
                prediction,
                topic: Arc::from(""),
                partition: 0,
                offset: -1,
                index: 0,
            },
        };
        ctx.forward(scored)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TextClassifier;
    use millstream_core::prelude::*;

    #[test]
    fn a_model_asks_for_whole_commits() {
        static TEXTS: Topic<String, Example<String, bool>> = Topic::new("texts", utf8(), bincode());
        let builder = StreamsBuilder::new();
        let fresh = || TextClassifier::new("m", Default::default(), Default::default());
        let _ = builder.stream(&TEXTS).learn("model", fresh);
        let topology = builder.build().unwrap();
        assert!(topology.find_store("model").unwrap().2.whole_commits);
    }
}
