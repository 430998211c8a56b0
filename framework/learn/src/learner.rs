//! What every learner can do: say what it expects, and take in what was true.
//!
//! Invariant: both depend on the examples learned so far and on nothing else: no clock, no
//! randomness without a seed, no order of iteration that could differ between two runs.

/// Something that predicts and learns one example at a time.
///
/// Predict first, then learn: so every example grades the model before it teaches it.
pub trait Learner {
    /// The features of one record.
    type Input: ?Sized;
    /// What is to be predicted.
    type Label: Clone + PartialEq;
    /// What is predicted: a probability, one per class, a number.
    type Output: Clone;

    /// What the model expects.
    fn predict(&self, input: &Self::Input) -> Self::Output;

    /// Takes in one example. A label that the model does not know changes nothing.
    fn learn(&mut self, input: &Self::Input, label: &Self::Label);

    /// [`Learner::predict`], then [`Learner::learn`]; cheaper where the two share work.
    fn predict_then_learn(&mut self, input: &Self::Input, label: &Self::Label) -> Self::Output {
        let output = self.predict(input);
        self.learn(input, label);
        output
    }

    /// The label that an output comes down to.
    fn decide(&self, output: &Self::Output) -> Self::Label;

    /// How many examples the model has learned: its version.
    fn learned(&self) -> u64;

    /// The learner and its settings in words. Two learners that say the same may take over each
    /// other's state; anything that changes what a number in the state means must be in here.
    fn describe(&self) -> String;
}
