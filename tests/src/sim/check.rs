//! What must hold: disks and the changelogs behind their places are the state, and a stormy log
//! equals a calm one.

use super::{
    Tally,
    disk::Disk,
    program::{DEAD, Forgets, SIDE, Script, TOLD},
    world::{ANSWER, Contents, Entry},
};
use anyhow::Result;
use millstream_core::{
    record::{Headers, TopicPartition},
    store::RowBytes,
};
use millstream_log::Log;
use millstream_runtime::{clock::SystemClock, patience::patiently, program::Program};
use millstream_state::{Backend, Column, Direction, ordered};
use std::{
    collections::BTreeMap,
    ops::{Bound, ControlFlow},
};

/// The row of a store's clock.
const CLOCK: &[u8] = &[0];

/// What of that row is times; behind them lies how far the changelog was when.
const CLOCK_BYTES: usize = 16;

/// What the names of a dead letter's own headers begin with.
const OF_LETTERS: &str = "__streams.errors.";

const PAGE: usize = 1 << 20;

/// All committed records of a partition from one offset up to another.
pub(super) fn records(
    log: &mut dyn Log,
    at: &TopicPartition,
    (from, end): (Option<i64>, Option<i64>),
) -> Result<Vec<Entry>> {
    let clock = SystemClock::new();
    let start = patiently(log, &clock, ANSWER, |log| Ok(log.start(at)?))?;
    let mut from = from.map_or(start, |from| from.max(start));
    let mut found = Vec::new();
    loop {
        let page = patiently(log, &clock, ANSWER, |log| Ok(log.read(at, from, PAGE)?))?;
        for (offset, record) in page.records.iter() {
            if end.is_none_or(|end| offset < end) {
                let bytes = |side: Option<&[u8]>| side.map(<[u8]>::to_vec);
                let (key, value) = (bytes(record.key), bytes(record.value));
                found.push((
                    key,
                    value,
                    record.timestamp,
                    own_headers(&at.topic, record.headers),
                ));
            }
        }
        from = page.next;
        if page.next >= page.end {
            return Ok(found);
        }
    }
}

/// The headers of a record; of a dead letter without those that say why it is one, since what calls
/// outside answer is another thing each time.
fn own_headers(topic: &str, headers: &Headers) -> Headers {
    if ![DEAD, SIDE.name].contains(&topic) {
        return headers.clone();
    }
    let own = headers
        .iter()
        .filter(|header| !header.name.starts_with(OF_LETTERS));
    own.cloned().collect()
}

/// A row as it is compared: eight bytes of its time, its value, and its headers in words.
fn row(timestamp: i64, value: &[u8], headers: &Headers) -> Vec<u8> {
    let headers = match headers.is_empty() {
        true => String::new(),
        false => format!("{headers:?}"),
    };
    [&timestamp.to_be_bytes(), value, headers.as_bytes()].concat()
}

/// A store's rows as its changelog gives them, by key.
fn replay(entries: &[Entry]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut rows = BTreeMap::new();
    replay_onto(&mut rows, entries);
    rows
}

fn replay_onto(rows: &mut BTreeMap<Vec<u8>, Vec<u8>>, entries: &[Entry]) {
    for (key, value, timestamp, headers) in entries {
        let key = key.clone().unwrap_or_default();
        match value {
            Some(value) => rows.insert(key, row(*timestamp, value, headers)),
            None => rows.remove(&key),
        };
    }
}

/// A store on a disk must hold exactly what its changelog says up to the stored position's reach,
/// once the changelog is replayed from the position to there, but for rows that have expired by
/// now: a store deletes them when it meets them, and its changelog loses them from the front when
/// all before have expired too.
///
/// What compaction removed from below the reach cannot be known any more: then only a store at the
/// changelog's end can be told right from wrong. That something was removed is seen where a log
/// is dense, which means that nothing else leaves offsets without records; logs that are not do not
/// compact what is as young as a simulation.
pub(super) fn disk(
    program: &Program,
    log: &mut dyn Log,
    dense: bool,
    (disk, name): (&Disk, &str),
) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for task in &program.layout.tasks {
        let Ok(backend) = disk.inside(task.id, &program.columns(task.id)) else {
            continue;
        };
        for store in program.changelogs(task.id) {
            let column = Column(store.column);
            let Ok(position) = backend.position(column) else {
                continue;
            };
            let (from, offset) = position.map_or((0, 0), |at| (at.offset, at.reach));
            let logged = records(log, &store.changelog, (None, Some(offset)))?;
            let behind = records(log, &store.changelog, (Some(from), Some(offset)))?;
            let (start, end) = (log.start(&store.changelog)?, log.end(&store.changelog)?);
            let kept = i64::try_from(logged.len()).unwrap_or(0);
            let compacted = dense && kept < offset - start;
            let mut expected = replay(&logged);
            if offset > end {
                let (id, store) = (task.id, &store.store);
                wrong.push(format!(
                    "{name}: {id} {store} is at {offset}, its changelog at {end}"
                ));
            }
            let mut found = stored(&*backend, column)?;
            replay_onto(&mut found, &behind);
            if let Some(shape) = store.expires {
                let clock = clock(&replay(&records(log, &store.changelog, (None, None))?));
                let horizon = shape.horizon(clock.unwrap_or(i64::MIN));
                expected.retain(|key, _| !shape.has_expired(key, horizon));
                found.retain(|key, _| !shape.has_expired(key, horizon));
                // Of the clock too the front of the changelog may have been all there was so far.
                if start > 0 && !expected.contains_key(CLOCK) {
                    found.remove(CLOCK);
                }
            }
            if found != expected && (offset == end || !compacted) {
                let (id, store) = (task.id, &store.store);
                wrong.push(format!(
                    "{name}: {id} {store} at {offset} holds {found:?}, its changelog {expected:?}"
                ));
            }
        }
    }
    Ok(wrong)
}

fn stored(backend: &dyn Backend, column: Column) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut rows = BTreeMap::new();
    let everything = (Bound::Unbounded, Bound::Unbounded);
    let scanned = backend.scan(
        column,
        everything,
        Direction::Ascending,
        &mut |key, stored| {
            rows.insert(key.to_vec(), stored.to_vec());
            ControlFlow::Continue(())
        },
    );
    assert!(scanned.is_ok(), "a disk in memory can be read");
    for stored in rows.values_mut() {
        let parts = RowBytes::split(stored)?;
        *stored = row(parts.timestamp, parts.value, &parts.headers()?);
    }
    Ok(rows)
}

/// Outputs record for record; changelogs by the rows they come to, since how many records say so
/// depends on where commits fall.
///
/// Of stores that forget, only the rows that have not expired are compared. Which of the others are
/// gone at the end depends on where commits fall, and on when the log was tidied up. What has
/// expired is decided by each changelog's own clock, and the clocks must be equal.
pub(super) fn compare(
    script: &Script,
    calm: &Contents,
    stormy: &Contents,
    tally: &mut Tally,
) -> Result<Vec<String>> {
    let (forgets, numbered) = (script.forgets()?, script.numbers_uses());
    let mut wrong = Vec::new();
    if script.depends_on_the_clock(TOLD.name) {
        let ((peace, too_early), (storm, early)) =
            (script.hasty_windows(calm), script.hasty_windows(stormy));
        wrong.extend(peace.into_iter().map(|what| format!("in peace: {what}")));
        wrong.extend(
            storm
                .into_iter()
                .map(|what| format!("{:?}: {what}", script.shape)),
        );
        if too_early > 0 {
            wrong.push(format!(
                "in peace {too_early} windows were closed too early"
            ));
        }
        tally.closed_early += early;
    }
    for (at, expected) in calm {
        let found = stormy.get(at).cloned().unwrap_or_default();
        let (topic, partition) = at;
        let rows = |entries| {
            let rows = alive(replay(entries), forgets.get(topic));
            if numbered {
                in_order_of_use(rows)
            } else {
                rows
            }
        };
        let same = if topic.ends_with("-repartition") || script.depends_on_the_clock(topic) {
            true
        } else if Script::only_the_end_matters(topic) {
            values(expected) == values(&found)
        } else if topic.ends_with("-changelog") {
            rows(expected) == rows(&found)
        } else if script.per_commit && topic != DEAD && !script.shape.tells_alike() {
            last_rows(expected) == last_rows(&found)
        } else if script.only_keys_are_in_order(topic) {
            by_key(expected) == by_key(&found)
        } else {
            *expected == found
        };
        if !same {
            wrong.push(format!(
                "{:?}: {topic}-{partition} has {} records, {} in peace: {}",
                script.shape,
                found.len(),
                expected.len(),
                first_difference(expected, &found)
            ));
        }
    }
    Ok(wrong)
}

/// What was told of each key, in order.
fn by_key(entries: &[Entry]) -> BTreeMap<&Option<Vec<u8>>, Vec<&Entry>> {
    let mut keys: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for entry in entries {
        keys.entry(&entry.0).or_default().push(entry);
    }
    keys
}

/// What was told last of each key, or of each window of a key, that has not gone. A row that came
/// and went between two commits is told of neither time.
fn last_rows(entries: &[Entry]) -> BTreeMap<(Vec<u8>, String), Vec<u8>> {
    let mut rows = BTreeMap::new();
    for (key, value, ..) in entries {
        let key = key.clone().unwrap_or_default();
        let Some(value) = value.clone() else {
            rows.remove(&(key, String::new()));
            continue;
        };
        let text = std::str::from_utf8(&value).unwrap_or_default();
        let words: Vec<_> = text.split(' ').collect();
        match words[..] {
            ["gone"] => drop(rows.remove(&(key, String::new()))),
            ["gone", window] => drop(rows.remove(&(key, window.to_owned()))),
            ["window", window, _] => drop(rows.insert((key, window.to_owned()), value)),
            _ => drop(rows.insert((key, String::new()), value)),
        }
    }
    rows
}

/// The time that a store has observed: it lies behind the eight bytes of its row's own time.
fn clock(rows: &BTreeMap<Vec<u8>, Vec<u8>>) -> Option<i64> {
    let stored = rows.get(CLOCK)?;
    Some(i64::from_be_bytes(
        stored.get(8..CLOCK_BYTES)?.try_into().ok()?,
    ))
}

/// The rows that a store has not forgotten, and its clock.
fn alive(
    mut rows: BTreeMap<Vec<u8>, Vec<u8>>,
    forgets: Option<&Forgets>,
) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let (Some(Forgets { retention, wide }), Some(clock)) = (forgets, clock(&rows)) else {
        return rows;
    };
    let horizon = clock - retention;
    if let Some(row) = rows.get_mut(CLOCK) {
        row.truncate(CLOCK_BYTES);
    }
    let times = if *wide { 16 } else { 8 };
    rows.retain(|key, _| {
        let time = key.len().checked_sub(times).and_then(|cut| {
            let mut reader = ordered::Reader::new(key.get(cut..)?);
            reader.i64().ok()
        });
        time.is_none_or(|time| time > horizon)
    });
    rows
}

/// The rows with their places in the order of use for the numbers of their uses, which begin again
/// behind the greatest one there is when a task does.
fn in_order_of_use(rows: BTreeMap<Vec<u8>, Vec<u8>>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_by(|(_, a), (_, b)| a.get(8..16).cmp(&b.get(8..16)));
    let ranked = (0u64..).zip(rows).map(|(rank, (key, mut stored))| {
        if let Some(number) = stored.get_mut(8..16) {
            number.copy_from_slice(&rank.to_be_bytes());
        }
        (key, stored)
    });
    ranked.collect()
}

/// What was said last of each key, whenever and with whatever headers.
fn values(entries: &[Entry]) -> BTreeMap<&Option<Vec<u8>>, &Vec<u8>> {
    let mut values = BTreeMap::new();
    for (key, value, ..) in entries {
        match value {
            Some(value) => values.insert(key, value),
            None => values.remove(key),
        };
    }
    values
}

fn first_difference(expected: &[Entry], found: &[Entry]) -> String {
    let longest = expected.len().max(found.len());
    let at = (0..longest)
        .find(|at| expected.get(*at) != found.get(*at))
        .unwrap_or(longest);
    format!(
        "first at {at}: {:?} instead of {:?}",
        found.get(at),
        expected.get(at)
    )
}
