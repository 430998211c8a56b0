//! A buffer of changes that wait, as a list.

use millstream_core::record::Timestamp;

/// What a row counts beside its key's and its value's bytes: its time, its flags, and memory.
const ROW_BYTES: usize = 77;

/// A change of a table, or of a window if its end says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Update {
    pub(crate) key: String,
    /// Start and end.
    pub(crate) window: Option<(Timestamp, Timestamp)>,
    pub(crate) value: Option<String>,
    pub(crate) time: Timestamp,
}

impl Update {
    /// How it is shown in topics.
    pub(crate) fn shown(&self) -> (String, String, Timestamp) {
        let key = match self.window {
            Some((start, end)) => format!("{} {start}..{end}", self.key),
            None => self.key.clone(),
        };
        (key, self.value.clone().unwrap_or("-".to_owned()), self.time)
    }
}

/// When a change is told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// When its window has closed, so long after its end.
    Closes(Timestamp),
    /// So long after it began to wait.
    Limit(Timestamp),
}

/// How much may wait, and whether the task stops when it is more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    pub(crate) records: Option<usize>,
    pub(crate) bytes: Option<usize>,
    pub(crate) strict: bool,
}

/// Why nothing more is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

pub(crate) struct Buffer {
    pub(crate) until: Until,
    pub(crate) most: Most,
    /// Since when each waits, its bytes, and what it is.
    rows: Vec<(Timestamp, Vec<u8>, Update)>,
    now: Timestamp,
}

impl Buffer {
    pub(crate) fn new(until: Until, most: Most) -> Self {
        Self {
            until,
            most,
            rows: Vec::new(),
            now: Timestamp::MIN,
        }
    }

    /// Takes a change, and says what is told then.
    pub(crate) fn take(&mut self, update: Update) -> Result<Vec<Update>, Full> {
        self.now = self.now.max(update.time);
        let bytes = bytes_of(&update);
        match self.rows.iter_mut().find(|(_, other, _)| *other == bytes) {
            // The newest change is told, at the time of the first one.
            Some((.., waiting)) => *waiting = update,
            None => {
                let since = match (self.until, update.window) {
                    (Until::Closes(_), Some((_, end))) => end,
                    _ => update.time,
                };
                self.rows.push((since, bytes, update));
            }
        }
        self.rows.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let (Until::Closes(delay) | Until::Limit(delay)) = self.until;
        let mut told = Vec::new();
        while self
            .rows
            .first()
            .is_some_and(|row| row.0 + delay <= self.now)
        {
            told.push(self.rows.remove(0).2);
        }
        while self.is_full() {
            if self.most.strict {
                return Err(Full);
            }
            told.push(self.rows.remove(0).2);
        }
        if matches!(self.until, Until::Closes(_)) {
            // A window that is gone has no final result.
            told.retain(|update| update.value.is_some());
        }
        Ok(told)
    }

    fn is_full(&self) -> bool {
        let value = |update: &Update| update.value.as_ref().map_or(0, String::len);
        let each = self.rows.iter();
        let bytes: usize = each
            .map(|(_, key, row)| ROW_BYTES + key.len() + value(row))
            .sum();
        self.most.records.is_some_and(|most| self.rows.len() > most)
            || self.most.bytes.is_some_and(|most| bytes > most)
    }
}

/// A row's key: a window's end and start lie behind the key of its records.
fn bytes_of(update: &Update) -> Vec<u8> {
    let mut bytes = update.key.clone().into_bytes();
    if let Some((start, end)) = update.window {
        bytes.extend(end.to_be_bytes());
        bytes.extend(start.to_be_bytes());
    }
    bytes
}
