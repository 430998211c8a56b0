//! What records make of windows and tables, by lists: the changes in front of a suppression.

use super::model::Update;
use millstream_core::record::Timestamp;

/// How a program cuts time, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Size, and the distance between two starts.
    Hopping(Timestamp, Timestamp),
    /// How far records of a window lie apart.
    Sliding(Timestamp),
    /// How long a session waits for another record.
    Session(Timestamp),
}

impl Cut {
    /// How long after its end a window is open, beside the grace period.
    pub(crate) fn open(self) -> Timestamp {
        match self {
            Self::Session(gap) => gap,
            Self::Hopping(..) | Self::Sliding(_) => 0,
        }
    }
}

/// A record of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) key: Option<&'static str>,
    pub(crate) value: Option<String>,
    pub(crate) time: Timestamp,
}

/// All windows that ever were, but those that became part of others.
pub(crate) struct Naive {
    cut: Cut,
    grace: Timestamp,
    now: Timestamp,
    windows: Vec<Update>,
}

impl Naive {
    pub(crate) fn new(cut: Cut, grace: Timestamp) -> Self {
        Self {
            cut,
            grace,
            now: Timestamp::MIN,
            windows: Vec::new(),
        }
    }

    /// The changes that a record makes, in order.
    pub(crate) fn changes(&mut self, record: &Record) -> Vec<Update> {
        let (Some(key), Some(value)) = (record.key, &record.value) else {
            return Vec::new();
        };
        self.now = self.now.max(record.time);
        match self.cut {
            Cut::Hopping(size, advance) => self.hop((key, value, record.time), (size, advance)),
            Cut::Session(gap) => self.meet((key, value, record.time), gap),
            Cut::Sliding(_) => Vec::new(),
        }
    }

    fn hop(
        &mut self,
        (key, value, time): (&str, &str, Timestamp),
        (size, advance): (Timestamp, Timestamp),
    ) -> Vec<Update> {
        let mut changes = Vec::new();
        for start in (0..=time).filter(|start| start % advance == 0 && start + size > time) {
            if start + size + self.grace <= self.now {
                continue;
            }
            let window = Some((start, start + size));
            let same = |other: &&mut Update| other.key == key && other.window == window;
            let change = if let Some(row) = self.windows.iter_mut().find(same) {
                row.value.get_or_insert_default().push_str(value);
                row.time = row.time.max(time);
                row.clone()
            } else {
                let (key, value) = (key.to_owned(), Some(value.to_owned()));
                let row = Update {
                    key,
                    window,
                    value,
                    time,
                };
                self.windows.push(row.clone());
                row
            };
            changes.push(change);
        }
        changes
    }

    fn meet(&mut self, (key, value, time): (&str, &str, Timestamp), gap: Timestamp) -> Vec<Update> {
        let open = self.now - gap - self.grace;
        let near = |row: &Update| {
            let (start, end) = row.window.unwrap_or_default();
            row.key == key && start - gap <= time && time <= end + gap && end >= open
        };
        let (mut parts, rest): (Vec<_>, Vec<_>) = self.windows.iter().cloned().partition(near);
        parts.sort_by_key(|part| part.window.map(|(start, end)| (end, start)));
        let (mut start, mut end, mut all) = (time, time, String::new());
        for part in &parts {
            let (from, to) = part.window.unwrap_or_default();
            (start, end) = (start.min(from), end.max(to));
            all += part.value.as_deref().unwrap_or_default();
        }
        if end < open {
            return Vec::new();
        }
        self.windows = rest;
        let row = Update {
            key: key.to_owned(),
            window: Some((start, end)),
            value: Some(all + value),
            time: end,
        };
        self.windows.push(row.clone());
        let mut changes = parts;
        // A session of one instant is not told to be gone when it gets another record.
        changes.retain(|_| start < end);
        for gone in &mut changes {
            gone.value = None;
        }
        changes.push(row);
        changes
    }
}

/// What a window holds that slides: the letters of all records between its start and its end.
///
/// It is not known where a record of the key came so late that the window which ends at it had
/// closed: as in Kafka Streams, that window is not made, and others are copied that hold more or
/// fewer records than they should. What came later than that is in no window at all.
pub(crate) fn within(
    records: &[Record],
    key: &str,
    (start, end): (Timestamp, Timestamp),
    (reach, grace): (Timestamp, Timestamp),
) -> Option<String> {
    let (mut now, mut letters) = (Timestamp::MIN, Vec::new());
    for record in records {
        let (Some(other), Some(letter)) = (record.key, &record.value) else {
            continue;
        };
        now = now.max(record.time);
        let open = now - grace;
        if other != key || record.time + reach < open {
            continue;
        }
        if record.time < open {
            return None;
        }
        if (start..=end).contains(&record.time) {
            letters.push(letter.as_str());
        }
    }
    letters.sort_unstable();
    Some(letters.concat())
}
