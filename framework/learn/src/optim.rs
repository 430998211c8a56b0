//! Optimisers: how a gradient changes a weight.
//!
//! Invariant: an optimiser keeps nothing itself. All it knows about a weight are two numbers beside
//! each other, which a model stores, logs and restores together.

/// The state of one weight: what the optimiser makes of two numbers is its own affair.
pub type Slot = [f64; 2];

/// A rule for changing weights by gradients.
///
/// A slot of zeros is a weight that has never been touched and counts as zero.
pub trait Optimizer: Clone + 'static {
    /// The weight that a slot stands for.
    fn weight(&self, slot: Slot) -> f64;

    /// The slot after a gradient.
    fn step(&self, slot: Slot, gradient: f64) -> Slot;

    /// The length of the first step, from which the bias of a hashed model takes its own.
    fn rate(&self) -> f64;

    /// Name and settings, for comparing two models.
    fn describe(&self) -> String;
}

/// The slot after a gradient, or the old one if the new one would not be finite: a weight that is
/// no number, or whose sum of squares is infinite, can never be learned away.
#[inline]
pub(crate) fn step<O: Optimizer>(optimizer: &O, slot: Slot, gradient: f64) -> Slot {
    let next = optimizer.step(slot, gradient);
    if next[0].is_finite() && next[1].is_finite() {
        next
    } else {
        slot
    }
}

/// Plain stochastic gradient descent: `w -= rate * g`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// The step.
    pub rate: f64,
}

impl Default for Sgd {
    /// A rate of 0.01.
    fn default() -> Self {
        Self { rate: 0.01 }
    }
}

impl Optimizer for Sgd {
    #[inline]
    fn weight(&self, slot: Slot) -> f64 {
        slot[0]
    }

    #[inline]
    fn step(&self, [weight, unused]: Slot, gradient: f64) -> Slot {
        [weight - self.rate * gradient, unused]
    }

    fn rate(&self) -> f64 {
        self.rate
    }

    fn describe(&self) -> String {
        format!("SGD(rate={})", self.rate)
    }
}

/// A step per weight that shrinks with the gradients it has seen: `w -= rate * g / sqrt(Σ g²)`.
///
/// Duchi, Hazan and Singer, "Adaptive subgradient methods", JMLR 12 (2011).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaGrad {
    /// The first step: 1 suits binary text vectors of length one, 0.5 several classes, 0.1 scaled
    /// numbers.
    pub rate: f64,
}

/// Added below the root, as River does, so that a gradient of zero divides nothing by zero.
const ADAGRAD_EPSILON: f64 = 1e-8;

impl Default for AdaGrad {
    /// A rate of 1.
    fn default() -> Self {
        Self { rate: 1.0 }
    }
}

impl Optimizer for AdaGrad {
    #[inline]
    fn weight(&self, slot: Slot) -> f64 {
        slot[0]
    }

    #[inline]
    fn step(&self, [weight, squares]: Slot, gradient: f64) -> Slot {
        let squares = squares + gradient * gradient;
        [
            weight - self.rate / (squares + ADAGRAD_EPSILON).sqrt() * gradient,
            squares,
        ]
    }

    fn rate(&self) -> f64 {
        self.rate
    }

    fn describe(&self) -> String {
        format!("AdaGrad(rate={})", self.rate)
    }
}

/// Follow the regularised leader, proximal: AdaGrad's steps, and weights of exactly zero with `l1`.
///
/// McMahan et al., "Ad click prediction: a view from the trenches", KDD 2013. Vectors of length one
/// need a small `beta`: the paper's 1 costs several points of accuracy on short texts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FtrlProximal {
    /// The step.
    pub alpha: f64,
    /// Damps the first steps.
    pub beta: f64,
    /// Pulls weights to exactly zero.
    pub l1: f64,
    /// Pulls weights towards zero.
    pub l2: f64,
}

impl Default for FtrlProximal {
    /// `alpha` 1, `beta` 0.01, no regularisation: right for vectors of length one.
    fn default() -> Self {
        Self {
            alpha: 1.0,
            beta: 0.01,
            l1: 0.0,
            l2: 0.0,
        }
    }
}

impl Optimizer for FtrlProximal {
    #[inline]
    fn weight(&self, [z, n]: Slot) -> f64 {
        if z.abs() <= self.l1 {
            return 0.0;
        }
        let pull = if z > 0.0 { self.l1 } else { -self.l1 };
        let damping = (self.beta + n.sqrt()) / self.alpha + self.l2;
        // Without `beta` and `l2`, gradients whose squares are zero leave nothing to divide by.
        if damping > 0.0 {
            (pull - z) / damping
        } else {
            0.0
        }
    }

    #[inline]
    fn step(&self, slot: Slot, gradient: f64) -> Slot {
        let [z, n] = slot;
        let squares = n + gradient * gradient;
        let sigma = (squares.sqrt() - n.sqrt()) / self.alpha;
        [z + gradient - sigma * self.weight(slot), squares]
    }

    fn rate(&self) -> f64 {
        self.alpha
    }

    fn describe(&self) -> String {
        let Self {
            alpha,
            beta,
            l1,
            l2,
        } = self;
        format!("FTRL(alpha={alpha}, beta={beta}, l1={l1}, l2={l2})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Minimises `(w - 3)² / 2`.
    fn descend(optimizer: &impl Optimizer, steps: usize) -> f64 {
        let mut slot = [0.0; 2];
        for _ in 0..steps {
            slot = optimizer.step(slot, optimizer.weight(slot) - 3.0);
        }
        optimizer.weight(slot)
    }

    #[test]
    fn all_go_downhill() {
        assert!((descend(&Sgd { rate: 0.1 }, 200) - 3.0).abs() < 1e-6);
        assert!((descend(&AdaGrad::default(), 400) - 3.0).abs() < 1e-3);
        assert!((descend(&FtrlProximal::default(), 400) - 3.0).abs() < 1e-2);
    }

    #[test]
    fn l1_keeps_weak_weights_at_zero() {
        let ftrl = FtrlProximal {
            l1: 2.0,
            ..FtrlProximal::default()
        };
        let slot = ftrl.step([0.0; 2], 1.5);
        assert_eq!(ftrl.weight(slot).to_bits(), 0f64.to_bits());
        assert!(ftrl.weight(ftrl.step(slot, 1.5)) < 0.0);
    }
}
