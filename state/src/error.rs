//! What can go wrong below a store, named after what the caller can do about it.

use crate::{logging_changed, shown, shown_apart};
use std::path::PathBuf;

/// The result of a backend call.
pub type Result<T> = std::result::Result<T, Error>;

/// A backend's refusal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process, or another instance in this one, holds the directory.
    #[error(
        "state directory {path} is in use by another instance; give each instance its own state.dir"
    )]
    Locked {
        /// The directory asked for.
        path: PathBuf,
    },
    /// The directory was written in a format that this version does not read.
    #[error(
        "state directory {path} has format {found}, this version reads {expected}: \
         restore it from the changelog by removing the directory"
    )]
    Format {
        /// The directory.
        path: PathBuf,
        /// The version found on disk.
        found: String,
        /// The version this code writes.
        expected: u32,
    },
    /// A store's rows were written in another format than the program declares.
    #[error(
        "the store {store:?} of task {task} holds {}, and the program declares {}: \
         its rows would be misread; give the store another name, or forget the old state with \
         `reset --execute`, and with `state clean` where another machine's reset has left it",
        shown_apart(found, declared).0,
        shown_apart(found, declared).1
    )]
    StoreFormat {
        /// The task, as `0_3`.
        task: String,
        /// The store.
        store: String,
        /// What its rows are.
        found: String,
        /// What the program takes them for.
        declared: String,
    },
    /// A store was logged when its rows were written and is not now, or the other way round.
    #[error(
        "the store {store:?} of task {task} {}; set it as it was, or forget the old state with \
         `reset --execute`, and with `state clean` where another machine's reset has left it",
        logging_changed(*logged)
    )]
    StoreLogging {
        /// The task, as `0_3`.
        task: String,
        /// The store.
        store: String,
        /// Whether it is logged now.
        logged: bool,
    },
    /// A store is gone, and one of its format is new: it would start empty, while the program goes
    /// on where the old one was.
    #[error(
        "task {task} has rows of the store {was:?}, which the program does not declare any more, \
         and {store:?} is new and also holds {}: if that is the old one renamed, it would \
         start empty while the program goes on where it was; give it its old name, or forget the \
         old state with `reset --execute`, or, if the old store is meant to go, say so with \
         `state retire {was}`",
        shown(format)
    )]
    StoreRenamed {
        /// The task, as `0_3`.
        task: String,
        /// The store that is gone.
        was: String,
        /// The store that has come.
        store: String,
        /// What both hold.
        format: String,
    },
    /// The bytes on disk do not say what they should.
    #[error("corrupt state: {0}")]
    Corrupt(String),
    /// A column that the backend was not opened with.
    #[error("unknown column {0}")]
    UnknownColumn(u16),
    /// The storage engine or the file system refused.
    #[error("storage: {0}")]
    Storage(String),
}
