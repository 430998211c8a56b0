//! The requests that a thread in the background makes of the log, round after round.
//!
//! Invariant: a thread that is told to stop makes no further request, and a round in which the log
//! let one wait in vain makes no other. A broker that is away takes seconds to be given up, for
//! each partition anew, and whoever stops the program waits for its threads.

use millstream_log::{Error, Result};
use millstream_runtime::clock::Clock;
use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel},
    },
    time::Duration,
};

/// A refusal that took so long comes of a broker that is away. One that is in the middle of a
/// commit says so at once, and the next partition may be in none.
const AWAY: Duration = Duration::from_secs(1);

/// The rounds of one thread; they end when the sender that belongs to them is dropped.
pub(crate) struct Rounds {
    stopped: Receiver<()>,
    clock: Arc<dyn Clock>,
}

impl Rounds {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> (Sender<()>, Self) {
        let (stop, stopped) = channel();
        (stop, Self { stopped, clock })
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Waits until the next round is due; false where there is to be none.
    pub(crate) fn wait(&self, interval: Duration) -> bool {
        self.stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout)
    }

    pub(crate) fn begin(&self) -> Round<'_> {
        Round {
            of: self,
            away: false,
        }
    }
}

/// One round.
pub(crate) struct Round<'a> {
    of: &'a Rounds,
    away: bool,
}

impl Round<'_> {
    /// Makes a request, unless the round is over.
    pub(crate) fn ask<T>(&mut self, request: impl FnOnce() -> Result<T>) -> Option<Result<T>> {
        if self.is_over() {
            return None;
        }
        let clock = self.of.clock();
        let before = clock.elapsed();
        let answer = request();
        self.away = matches!(answer, Err(Error::Retry(_))) && clock.elapsed() - before >= AWAY;
        Some(answer)
    }

    /// Whether there is to be no other request.
    pub(crate) fn is_over(&self) -> bool {
        self.away || self.of.stopped.try_recv() != Err(TryRecvError::Empty)
    }
}

/// What is asked for in rounds, one after the other. The next round begins where the last one was
/// over, or a broker that is away would keep those behind it from ever being asked.
#[derive(Default)]
pub(crate) struct Turn(usize);

impl Turn {
    /// The items from the one whose turn it is on, until the round is over or `ask` fails.
    pub(crate) fn each<T>(
        &mut self,
        items: &mut [T],
        round: &mut Round<'_>,
        mut ask: impl FnMut(&mut T, &mut Round<'_>) -> Result<()>,
    ) -> Result<()> {
        let count = items.len();
        let first = self.0;
        for place in (first..first + count).map(|place| place % count) {
            if round.is_over() {
                break;
            }
            self.0 = (place + 1) % count;
            ask(&mut items[place], round)?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Every look at it takes so many milliseconds.
    pub(crate) struct Slow(pub(crate) u64, pub(crate) AtomicU64);

    impl Clock for Slow {
        fn now(&self) -> i64 {
            0
        }

        fn elapsed(&self) -> Duration {
            Duration::from_millis(self.1.fetch_add(self.0, Ordering::Relaxed))
        }
    }

    pub(crate) fn rounds(millis: u64) -> (Sender<()>, Rounds) {
        Rounds::new(Arc::new(Slow(millis, AtomicU64::new(0))))
    }

    fn busy<T>() -> Result<T> {
        Err(Error::Retry("busy".into()))
    }

    /// Which of four items are asked for in three rounds, where every answer is the same.
    fn asked(millis: u64, answer: fn() -> Result<()>) -> [Vec<u32>; 3] {
        let (_stop, rounds) = rounds(millis);
        let mut turn = Turn::default();
        [(); 3].map(|()| {
            let (mut round, mut asked) = (rounds.begin(), Vec::new());
            let done = turn.each(&mut [0, 1, 2, 3], &mut round, |item, round| {
                asked.push(*item);
                let answered = round.ask(answer);
                assert!(answered.is_some());
                Ok(())
            });
            done.unwrap();
            asked
        })
    }

    #[test]
    fn a_round_ends_where_a_broker_is_away_and_the_next_begins_behind_it() {
        assert_eq!(asked(5_000, busy), [[0], [1], [2]]);
        let all = [0, 1, 2, 3];
        assert_eq!(asked(100, busy), [all; 3]);
        assert_eq!(asked(5_000, || Ok(())), [all; 3]);
    }

    #[test]
    fn who_is_told_to_stop_asks_for_nothing_more() {
        let (stop, rounds) = rounds(1);
        let mut round = rounds.begin();
        // It is told so while a request is under way.
        let answer = round.ask(|| {
            drop(stop);
            busy::<()>()
        });
        assert!(answer.is_some() && round.is_over());
        assert!(round.ask(|| Ok(())).is_none());
        assert!(!rounds.wait(Duration::from_secs(60)));
    }
}
