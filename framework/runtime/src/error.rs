//! What stops a thread or the whole program, with what to do about it.

use crate::streams::UnreadableRow;
use millstream_core as core;
use millstream_log as log;
use millstream_state as state;

/// The result of a runtime call.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the runtime could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log refused for good.
    #[error("the log: {0}")]
    Log(#[from] log::Error),
    /// A task failed: bad input under the policy to fail, a wrong program, or a store.
    #[error(transparent)]
    Core(#[from] core::Error),
    /// The state directory or a store's storage failed.
    #[error(transparent)]
    State(#[from] state::Error),
    /// A setting is wrong.
    #[error("{0}")]
    Config(String),
    /// The user's code panicked; the message is the panic's.
    #[error("the program panicked: {0}")]
    Panicked(String),
    /// What a query asked for as a key is none of the store's.
    #[error("{0}")]
    BadKey(String),
    /// What a query gave back as a cursor is none: the text is here.
    #[error(
        "{0:?} is not a cursor: a cursor is what a page of rows says of where the next one begins, \
         to be given back as it is"
    )]
    BadCursor(String),
    /// The bytes of a row that a query met are not what the store's serdes write.
    #[error("a row of the store {store:?} cannot be read: {}: {}", row.key, row.why)]
    UnreadableRow {
        /// The store.
        store: String,
        /// The row, and what is wrong with it.
        row: UnreadableRow,
    },
    /// The call is not possible in the present state.
    #[error("{0}")]
    IllegalState(String),
}
