//! The knobs and counters of injected faults, shared by all logs of one simulated process.
//!
//! Invariant: which fault strikes when depends on the seed, the rates and the order of calls alone.

use crate::{
    api::{Error, Result},
    rng::Rng,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How often each fault strikes, as probabilities per call; 0 for all by default.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FaultRates {
    /// `poll` is idle, `fetch` and `read` give nothing, although there may be something.
    pub delay: f64,
    /// A call is refused with [`Error::Retry`]. Sends are not: they only fill a buffer.
    pub retry: f64,
    /// A member is thrown out just before its commit, which is not done.
    pub fence: f64,
    /// The answer of a commit is lost; half of those commits are done.
    pub unknown: f64,
    /// The process dies, drawn at each [`CrashPoint`] of a transaction.
    pub crash: f64,
}

/// Where a process may die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPoint {
    /// Before the first record of a transaction is sent.
    BeforeSend,
    /// Between its first record and its second.
    BetweenSends,
    /// After all was sent, before the commit.
    BeforeCommit,
    /// After the commit, before its caller hears of it.
    AfterCommit,
}

/// How often each fault struck.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// Calls that gave nothing although there may have been something.
    pub delays: u64,
    /// Calls refused for now.
    pub retries: u64,
    /// Members thrown out.
    pub fences: u64,
    /// Commits that were done, the answer lost.
    pub unknown_committed: u64,
    /// Commits that were not done, the answer lost.
    pub unknown_aborted: u64,
    /// Deaths.
    pub crashes: u64,
}

/// The faults of one simulated process: clone it into each of its logs.
///
/// ```
/// use millstream_log::{CrashPoint, EmbeddedLog, FaultRates, Faults, FaultyLog, Log};
///
/// let faults = Faults::new(7, FaultRates::default());
/// let mut client = FaultyLog::new(EmbeddedLog::in_memory().client(), faults.clone());
/// faults.crash_at(CrashPoint::BeforeCommit, 1);
/// let error = client.commit(1, &[]).unwrap_err();
/// assert!(faults.crashed() && Faults::is_crash(&error));
/// ```
#[derive(Clone, Debug)]
pub struct Faults(Arc<Mutex<Plan>>);

#[derive(Debug)]
struct Plan {
    rng: Rng,
    rates: FaultRates,
    counts: FaultCounts,
    /// A crash asked for: where, and how many times the place is passed before.
    planned: Option<(CrashPoint, u64)>,
    crashed: Option<CrashPoint>,
}

impl Faults {
    /// How the message of every injected crash begins.
    pub const CRASH_PREFIX: &'static str = "injected crash: ";

    /// The faults of that seed.
    pub fn new(seed: u64, rates: FaultRates) -> Self {
        let plan = Plan {
            rng: Rng::new(seed),
            rates,
            counts: FaultCounts::default(),
            planned: None,
            crashed: None,
        };
        Self(Arc::new(Mutex::new(plan)))
    }

    /// Changes the rates; all 0 ends the bad times, so that a simulation can run to its end.
    pub fn set_rates(&self, rates: FaultRates) {
        self.plan().rates = rates;
    }

    /// Plans a death at the `nth` time from now that the point is passed, 1 being the next.
    pub fn crash_at(&self, point: CrashPoint, nth: u64) {
        self.plan().planned = Some((point, nth.saturating_sub(1)));
    }

    /// Whether the process is dead: all calls of all its logs fail until [`Faults::restart`].
    pub fn crashed(&self) -> bool {
        self.plan().crashed.is_some()
    }

    /// A new process begins, with new logs.
    pub fn restart(&self) {
        self.plan().crashed = None;
    }

    /// How often each fault struck.
    pub fn counts(&self) -> FaultCounts {
        self.plan().counts
    }

    /// Whether an error is an injected crash.
    pub fn is_crash(error: &Error) -> bool {
        matches!(error, Error::Fatal(message) if message.starts_with(Self::CRASH_PREFIX))
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        // Counters and a generator are whole after any panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses every call of a dead process.
    pub(crate) fn alive(&self) -> Result<()> {
        self.plan()
            .crashed
            .map_or(Ok(()), |point| Err(crash(point)))
    }

    /// Passes a point at which the process may die.
    pub(crate) fn pass(&self, point: CrashPoint) -> Result<()> {
        let plan = &mut *self.plan();
        let mut dies = plan.rng.chance(plan.rates.crash);
        if let Some((_, left)) = plan.planned.as_mut().filter(|(at, _)| *at == point) {
            if *left == 0 {
                plan.planned = None;
                dies = true;
            } else {
                *left -= 1;
            }
        }
        if !dies {
            return Ok(());
        }
        plan.crashed = Some(point);
        plan.counts.crashes += 1;
        Err(crash(point))
    }

    pub(crate) fn delay(&self) -> bool {
        self.strike(|rates| rates.delay, |counts| &mut counts.delays)
    }

    pub(crate) fn retry(&self, what: &str) -> Result<()> {
        if self.strike(|rates| rates.retry, |counts| &mut counts.retries) {
            return Err(Error::Retry(format!("injected, at {what}")));
        }
        Ok(())
    }

    pub(crate) fn fence(&self) -> bool {
        self.strike(|rates| rates.fence, |counts| &mut counts.fences)
    }

    /// Whether a commit's answer is lost, and if so whether the commit is done.
    pub(crate) fn unknown(&self) -> Option<bool> {
        let plan = &mut *self.plan();
        let (lost, done) = (plan.rng.chance(plan.rates.unknown), plan.rng.chance(0.5));
        let count = if done {
            &mut plan.counts.unknown_committed
        } else {
            &mut plan.counts.unknown_aborted
        };
        *count += u64::from(lost);
        lost.then_some(done)
    }

    fn strike(
        &self,
        rate: fn(&FaultRates) -> f64,
        count: fn(&mut FaultCounts) -> &mut u64,
    ) -> bool {
        let plan = &mut *self.plan();
        let strikes = plan.rng.chance(rate(&plan.rates));
        *count(&mut plan.counts) += u64::from(strikes);
        strikes
    }
}

fn crash(point: CrashPoint) -> Error {
    Error::Fatal(format!("{}{point:?}", Faults::CRASH_PREFIX))
}
