//! Errors of the pure core, named after who must act.

use millstream_state as state;

/// The result of a core call. One pointer wide when it is `Result<()>`, so that it travels in a
/// register on the path of every record.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, boxed to stay small.
#[derive(Debug)]
pub struct Error(Box<Inside>);

#[derive(Debug)]
struct Inside {
    kind: ErrorKind,
    /// Whether an error policy has answered it: it stops the thread, whoever it passes on its way.
    answered: bool,
}

/// Who must act on an error.
#[derive(Debug, thiserror::Error)]
pub enum ErrorKind {
    /// A record's bytes are not what its serde expects: the policy of the source decides.
    #[error("{0}")]
    Deserialization(String),
    /// A value cannot be written as bytes: the program must be changed.
    #[error("{0}")]
    Serialization(String),
    /// A record is larger than the log takes (`max.request.size`, or what the sink says): the
    /// policy of the sink decides.
    #[error("{0}")]
    RecordTooLarge(String),
    /// The topic that was chosen for a record cannot exist: the policy of the sink decides.
    #[error("{0}")]
    InvalidTopic(String),
    /// A `try_*` closure or a processor refused a record: the policy of the source decides.
    #[error("{0}")]
    Processing(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The program itself is wrong, or what it needs to know of its topics is not to be had: no
    /// record is to blame, so the thread stops. Most of it is found at `build()` or at start.
    #[error("{0}")]
    Topology(String),
    /// The storage below a store refused: the task is abandoned or the thread stops.
    #[error("{0}")]
    State(#[from] state::Error),
}

impl Error {
    /// What kind it is.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// The same error, which stops the thread.
    #[cold]
    pub(crate) fn answered(mut self) -> Self {
        self.0.answered = true;
        self
    }

    /// Whether it is known that it stops the thread.
    pub(crate) fn is_answered(&self) -> bool {
        self.0.answered
    }

    /// Whether it stops the thread, whatever a policy says of bad records.
    pub(crate) fn is_final(&self) -> bool {
        let nobodys = matches!(self.kind(), ErrorKind::State(_) | ErrorKind::Topology(_));
        self.is_answered() || nobodys
    }

    /// A record's bytes are not what its serde expects.
    #[cold]
    pub fn deserialization(message: impl Into<String>) -> Self {
        ErrorKind::Deserialization(message.into()).into()
    }

    /// A value cannot be written as bytes.
    #[cold]
    pub fn serialization(message: impl Into<String>) -> Self {
        ErrorKind::Serialization(message.into()).into()
    }

    /// A record is larger than the log takes.
    #[cold]
    pub(crate) fn record_too_large(message: impl Into<String>) -> Self {
        ErrorKind::RecordTooLarge(message.into()).into()
    }

    /// The topic chosen for a record cannot exist.
    #[cold]
    pub(crate) fn invalid_topic(message: impl Into<String>) -> Self {
        ErrorKind::InvalidTopic(message.into()).into()
    }

    /// The user's code refused a record.
    #[cold]
    pub fn processing(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        ErrorKind::Processing(cause.into()).into()
    }

    /// The same error, and where it happened.
    #[cold]
    pub(crate) fn at(self, place: String) -> Self {
        match self.0.kind {
            ErrorKind::Deserialization(message) => {
                ErrorKind::Deserialization(format!("{place}: {message}")).into()
            }
            ErrorKind::Serialization(message) => {
                ErrorKind::Serialization(format!("{place}: {message}")).into()
            }
            ErrorKind::RecordTooLarge(message) => {
                ErrorKind::RecordTooLarge(format!("{place}: {message}")).into()
            }
            ErrorKind::InvalidTopic(message) => {
                ErrorKind::InvalidTopic(format!("{place}: {message}")).into()
            }
            ErrorKind::Processing(cause) => Self::processing(Located { place, cause }),
            other => other.into(),
        }
    }

    /// The program itself is wrong.
    #[cold]
    pub fn topology(message: impl Into<String>) -> Self {
        ErrorKind::Topology(message.into()).into()
    }
}

/// What a program's closure said of a record, and which record that was.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {cause}")]
struct Located {
    place: String,
    #[source]
    cause: Box<dyn std::error::Error + Send + Sync>,
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        let answered = false;
        Self(Box::new(Inside { kind, answered }))
    }
}

impl From<state::Error> for Error {
    fn from(error: state::Error) -> Self {
        ErrorKind::State(error).into()
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.kind.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.kind.source()
    }
}
