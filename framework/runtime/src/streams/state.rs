//! The client's states and who may follow whom: Kafka Streams' state machine.

/// How a [`Streams`](super::Streams) stands.
///
/// ```text
/// CREATED -> REBALANCING <-> RUNNING
///    |            |             |
///    |            +------+------+---> PENDING_ERROR -> ERROR
///    +--------------+    |
///                   v    v
///              PENDING_SHUTDOWN -> NOT_RUNNING
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Built and not started.
    Created,
    /// Some thread waits for its tasks or restores their stores.
    Rebalancing,
    /// All tasks run.
    Running,
    /// Asked to stop; threads commit and leave.
    PendingShutdown,
    /// Stopped.
    NotRunning,
    /// A thread failed and the policy is to stop; the others are ending.
    PendingError,
    /// Stopped by a failure.
    Error,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Created,
        Self::Rebalancing,
        Self::Running,
        Self::PendingShutdown,
        Self::NotRunning,
        Self::PendingError,
        Self::Error,
    ];

    /// Whether one may become the other.
    pub fn may_become(self, next: Self) -> bool {
        use State::{
            Created, Error, NotRunning, PendingError, PendingShutdown, Rebalancing, Running,
        };
        match self {
            Created => matches!(next, Rebalancing | PendingShutdown),
            Rebalancing => matches!(next, Running | PendingShutdown | PendingError),
            Running => matches!(next, Rebalancing | PendingShutdown | PendingError),
            PendingShutdown => next == NotRunning,
            PendingError => next == Error,
            NotRunning | Error => false,
        }
    }

    /// Whether it will never change again.
    pub fn is_final(self) -> bool {
        matches!(self, Self::NotRunning | Self::Error)
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Created => "CREATED",
            Self::Rebalancing => "REBALANCING",
            Self::Running => "RUNNING",
            Self::PendingShutdown => "PENDING_SHUTDOWN",
            Self::NotRunning => "NOT_RUNNING",
            Self::PendingError => "PENDING_ERROR",
            Self::Error => "ERROR",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::State;

    #[test]
    fn final_states_become_nothing_and_all_others_end() {
        for state in State::ALL {
            let next = State::ALL
                .into_iter()
                .filter(|next| state.may_become(*next))
                .count();
            assert_eq!(next == 0, state.is_final(), "{state}");
            assert!(!state.may_become(state), "{state} is no change");
        }
    }
}
