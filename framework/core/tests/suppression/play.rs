//! A program of one suppression, fed record by record, with what it is told in front of it.

use super::{
    harness::{Bench, LEFT, OUT, RIGHT, Row},
    model::{Most, Until, Update},
    updates::{Cut, Record},
};
use millstream_core::{
    batch::{RecordBatch, Records},
    dsl::Suppression,
    prelude::*,
    record::RawRecord,
    task::Place,
};
use std::{sync::Arc, time::Duration};

/// A record as it is shown: key, value, time.
pub(crate) type Shown = (String, String, Timestamp);

pub(crate) fn ms(millis: Timestamp) -> Duration {
    Duration::from_millis(millis.unsigned_abs())
}

/// Windows of a stream, all their changes in one topic, and those that are let out in another.
pub(crate) fn windows(cut: Cut, grace: Timestamp, until: Until, most: Most) -> Topology {
    let builder = StreamsBuilder::new();
    let source = Consumed::of(&LEFT).on_error(ErrorPolicy::Skip);
    let group = builder.stream(source).group_by_key();
    let add = |_: &String, letter: String, all: &mut String| *all += &letter;
    let table = match cut {
        Cut::Hopping(size, advance) => {
            let windows = TimeWindows::of_size_and_grace(ms(size), ms(grace));
            let windows = group.windowed_by(windows.advance_by(ms(advance)));
            windows.aggregate("windows", String::new, add)
        }
        Cut::Sliding(reach) => {
            let windows = SlidingWindows::of_time_difference_and_grace(ms(reach), ms(grace));
            let windows = group.windowed_by(windows);
            windows.aggregate("windows", String::new, add)
        }
        Cut::Session(gap) => {
            let windows = SessionWindows::of_inactivity_gap_and_grace(ms(gap), ms(grace));
            let merge = |_: &String, all: &mut String, other: String| *all += &other;
            let windows = group.windowed_by(windows);
            windows.aggregate("windows", String::new, add, merge)
        }
    };
    let shown = |Windowed { key, window }: Windowed<String>, value: Option<String>| {
        let Window { start, end } = window;
        (
            format!("{key} {start}..{end}"),
            value.unwrap_or("-".to_owned()),
        )
    };
    table.to_stream().map(shown).to(&RIGHT);
    let bounds = bounds(most);
    let store = Materialized::with("held", session_windowed::<Utf8>(), utf8());
    let held = match (until, most.strict) {
        (Until::Closes(_), _) => {
            let strict = bounds.shut_down_when_full();
            table.suppress(store, Suppressed::until_window_closes(strict))
        }
        (Until::Limit(wait), true) => suppressed(table, store, wait, bounds.shut_down_when_full()),
        (Until::Limit(wait), false) => suppressed(table, store, wait, bounds),
    };
    held.to_stream().map(shown).to(&OUT);
    builder.build().unwrap()
}

/// A table, all its changes in one topic, and those that are let out in another.
pub(crate) fn table(wait: Timestamp, most: Most) -> Topology {
    let builder = StreamsBuilder::new();
    let table = builder.table(&LEFT, "rows");
    let shown = |value: Option<String>| value.unwrap_or("-".to_owned());
    table.to_stream().map_values(shown).to(&RIGHT);
    let store = Materialized::with("held", utf8(), utf8());
    let held = match most.strict {
        true => suppressed(table, store, wait, bounds(most).shut_down_when_full()),
        false => suppressed(table, store, wait, bounds(most)),
    };
    held.to_stream().map_values(shown).to(&OUT);
    builder.build().unwrap()
}

fn bounds(most: Most) -> BufferConfig<millstream_core::dsl::Eager> {
    let records = BufferConfig::max_records(most.records.unwrap_or(usize::MAX));
    records.with_max_bytes(most.bytes.unwrap_or(usize::MAX))
}

fn suppressed<'b, K: Clone + Send + Sync + 'static, Full>(
    table: KTable<'b, K, String>,
    store: Materialized<K, String>,
    wait: Timestamp,
    most: BufferConfig<Full>,
) -> KTable<'b, K, String>
where
    millstream_core::dsl::UntilTimeLimit<Full>: Suppression<K>,
{
    table.suppress(store, Suppressed::until_time_limit(ms(wait), most))
}

pub(crate) struct Run {
    bench: Bench,
    offset: i64,
    place: Place,
}

impl Run {
    pub(crate) fn new(topology: Topology) -> Self {
        Self {
            bench: Bench::new(topology),
            offset: 0,
            place: Place::start(0),
        }
    }

    /// The changes that a record makes, and what is let out; nothing if the task stops.
    pub(crate) fn step(&mut self, record: &Record) -> Option<(Vec<Shown>, Vec<Shown>)> {
        let mut batch = RecordBatch::new();
        let raw = RawRecord {
            key: record.key.map(str::as_bytes),
            value: record.value.as_deref().map(str::as_bytes),
            timestamp: record.time,
            headers: &Headers::NONE,
        };
        assert!(batch.push(self.offset, raw));
        self.offset += 1;
        self.bench.task.add(0, Records::all(Arc::new(batch)));
        if let Err(error) = self.bench.task.process(1) {
            assert!(error.to_string().contains("the buffer is full"), "{error}");
            return None;
        }
        Some((self.told(RIGHT.name), self.told(OUT.name)))
    }

    fn told(&mut self, topic: &str) -> Vec<Shown> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let shown = |(key, value, time): Row| (text(key), text(value.unwrap_or_default()), time);
        self.bench.outputs(topic).into_iter().map(shown).collect()
    }

    /// Commits, and may come back over what the backend holds.
    pub(crate) fn commit(&mut self, restart: bool) {
        let (places, _) = self.bench.commit();
        self.place = places.first().map_or(self.place, |(_, place)| *place);
        if restart {
            self.bench.reopen();
            self.bench.task.resume(0, self.place);
        }
    }
}

/// A change from how it is shown.
pub(crate) fn parsed((key, value, time): &Shown) -> Update {
    let (key, window) = key.split_once(' ').unwrap();
    let (start, end) = window.split_once("..").unwrap();
    Update {
        key: key.to_owned(),
        window: Some((start.parse().unwrap(), end.parse().unwrap())),
        value: (value != "-").then(|| value.clone()),
        time: *time,
    }
}
