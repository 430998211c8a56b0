//! Which threads a client has, while some are added and others leave.
//!
//! Invariants: a number is one thread's at a time, and given out anew only when who had it has
//! ended, since members of the group and their transactions are called after it; and a client keeps
//! a thread that stays, until it ends as a whole.

use super::ThreadView;
use crate::worker::Phase;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

/// A thread's place, from before it begins until it has ended.
#[derive(Clone)]
pub(super) struct Seat {
    /// Its number, from 0.
    pub(super) index: usize,
    leaving: Arc<AtomicBool>,
}

impl Seat {
    /// Whether the thread was asked to leave.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// What the thread is called.
    pub(super) fn name(&self) -> String {
        format!("StreamThread-{}", self.index + 1)
    }
}

/// All threads that have not ended.
pub(super) struct Roster {
    seats: BTreeMap<usize, Seat>,
    /// Told how many they are: they share memory.
    count: Arc<AtomicUsize>,
}

impl Roster {
    /// A client without threads.
    pub(super) fn new(count: Arc<AtomicUsize>) -> Self {
        Self {
            seats: BTreeMap::new(),
            count,
        }
    }

    /// A place for another thread, with the least number that is free.
    pub(super) fn seat(&mut self) -> Seat {
        let taken = self.seats.keys().enumerate();
        let free = taken.take_while(|(at, index)| at == *index).count();
        let seat = Seat {
            index: free,
            leaving: Arc::default(),
        };
        self.seats.insert(free, seat.clone());
        self.tell();
        seat
    }

    /// Asks the last thread that stays to leave, unless it is the only one.
    pub(super) fn dismiss(&self) -> Option<Seat> {
        let mut staying = self.seats.values().rev().filter(|seat| !seat.is_leaving());
        let last = staying.next()?;
        staying.next()?;
        last.leaving.store(true, Ordering::Release);
        Some(last.clone())
    }

    /// A thread has ended. Says whether it was the last one.
    pub(super) fn leave(&mut self, seat: &Seat) -> bool {
        let left = self.has(seat) && self.seats.remove(&seat.index).is_some();
        self.tell();
        left && self.seats.is_empty()
    }

    fn tell(&self) {
        self.count.store(self.seats.len(), Ordering::Relaxed);
    }

    /// Whether a thread has not ended. Another one may have its number by now.
    pub(super) fn has(&self, seat: &Seat) -> bool {
        let there = self.seats.get(&seat.index);
        there.is_some_and(|there| Arc::ptr_eq(&there.leaving, &seat.leaving))
    }

    /// Whether all threads that stay have shown that they run. One that has yet to show itself, or
    /// is being replaced, does not.
    pub(super) fn all_run(&self, views: &BTreeMap<usize, ThreadView>) -> bool {
        let mut staying = self.seats.values().filter(|seat| !seat.is_leaving());
        staying.all(|seat| {
            let view = views.get(&seat.index);
            view.is_some_and(|view| view.phase == Phase::Running)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_given_out_anew_when_who_had_them_has_ended() {
        let mut roster = Roster::new(Arc::default());
        let seats: Vec<_> = (0..3).map(|_| roster.seat()).collect();
        let numbers: Vec<_> = seats.iter().map(|seat| seat.index).collect();
        assert_eq!(numbers, [0, 1, 2]);
        let count = Arc::clone(&roster.count);
        assert_eq!(count.load(Ordering::Relaxed), 3);
        assert!(!roster.leave(&seats[1]));
        assert_eq!(roster.dismiss().unwrap().index, 2);
        assert!(roster.has(&seats[2]), "it has not ended yet");
        assert_eq!(count.load(Ordering::Relaxed), 2);
        assert_eq!(roster.seat().index, 1);
        assert_eq!(roster.seat().index, 3);
        assert!(!roster.leave(&seats[2]));
        assert_eq!(roster.seat().index, 2);
        assert!(!roster.has(&seats[2]), "that is another one");
        assert!(!roster.leave(&seats[2]) && roster.seats.contains_key(&2));
    }

    #[test]
    fn the_last_thread_that_stays_is_not_dismissed() {
        let mut roster = Roster::new(Arc::default());
        assert!(roster.dismiss().is_none());
        let first = roster.seat();
        assert!(roster.dismiss().is_none());
        let second = roster.seat();
        assert_eq!(roster.dismiss().map(|seat| seat.index), Some(1));
        assert!(second.is_leaving() && !first.is_leaving());
        assert!(roster.dismiss().is_none());
        assert!(!roster.leave(&second));
        assert!(roster.leave(&first), "the client has no thread any more");
        assert!(!roster.leave(&first), "which is told once");
    }
}
