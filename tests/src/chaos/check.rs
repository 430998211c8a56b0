//! Whether every record of the input counts once: in the output topics, and in the table.
//!
//! Invariant: what is expected is computed here, from the committed records of the input and with
//! plain folds; of the program only its values and the model's code are used, never its outcome.

use super::{
    PARTITIONS, Weather,
    program::{
        self, CHANGES, ECHO, FINALS, GROUPS, Group, INPUT, Judged, MINIMA, PREDICTED, PREDICTIONS,
        SUMS,
    },
    reader::{Entry, Reader},
    windows,
};
use anyhow::{Context, Result, ensure};
use millstream_core::{record::Timestamp, topic::Topic};
use millstream_learn::Scored;
use millstream_sink::{self as sink, Location};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::Arc,
    time::Duration,
};

/// How many faults are told in words.
const TOLD_MAX: usize = 40;
/// How long the table may take to hold what its topic holds.
const TABLE: Duration = Duration::from_secs(60);
/// How long a transaction may be open after the instances have ended: the coordinator ends it.
const OPEN: Duration = Duration::from_secs(20);

/// What was wrong.
#[derive(Clone, Default)]
pub(super) struct Verdict {
    /// Records of the input that are missing from an output.
    pub(super) lost: u64,
    /// Records of an output that are there more often than they should be.
    pub(super) duplicated: u64,
    /// Outputs and stores that hold something else than they should, and partitions that stand
    /// still.
    pub(super) diverged: u64,
    /// The first faults in words.
    pub(super) wrong: Vec<String>,
}

impl Debug for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            lost,
            duplicated,
            diverged,
            ..
        } = self;
        write!(
            f,
            "{lost} lost, {duplicated} duplicated, {diverged} diverged"
        )
    }
}

impl Verdict {
    pub(super) fn is_good(&self) -> bool {
        (self.lost, self.duplicated, self.diverged) == (0, 0, 0)
    }

    pub(super) fn diverged(&mut self, what: &str) {
        self.diverged += 1;
        self.tell(what);
    }

    fn tell(&mut self, what: &str) {
        if self.wrong.len() < TOLD_MAX {
            self.wrong.push(format!("WRONG {what}"));
        }
    }

    /// Holds what was found to what was expected, both in order, by the names of the records.
    fn compare<N: Ord + Copy + Debug, T: PartialEq + Debug>(
        &mut self,
        what: &str,
        expected: &[(N, T)],
        found: &[(N, T)],
    ) {
        let mut names: BTreeMap<N, (i64, i64)> = BTreeMap::new();
        expected
            .iter()
            .for_each(|(name, _)| names.entry(*name).or_default().0 += 1);
        found
            .iter()
            .for_each(|(name, _)| names.entry(*name).or_default().1 += 1);
        for (name, (expected, found)) in names {
            match found - expected {
                0 => continue,
                less @ ..0 => self.lost += less.unsigned_abs(),
                more => self.duplicated += more.unsigned_abs(),
            }
            self.tell(&format!(
                "{what}: {name:?} is there {found} times, not {expected}"
            ));
        }
        let differ = (expected.iter().zip(found)).position(|(one, other)| one != other);
        if let Some(at) = differ {
            let (is, wanted) = (&found[at], &expected[at]);
            self.diverged(&format!("{what}: record {at} is {is:?}, not {wanted:?}"));
        }
    }
}

/// A decoded record: its time, its offset, its key and its value.
pub(super) struct Seen<V> {
    pub(super) time: Timestamp,
    pub(super) offset: i64,
    pub(super) key: String,
    pub(super) value: V,
}

fn decoded<V>(topic: &Topic<String, V>, entries: Vec<Entry>) -> Result<Vec<Seen<V>>> {
    let seen = entries.into_iter().map(|entry| {
        Ok(Seen {
            time: entry.timestamp,
            offset: entry.offset,
            key: topic.key.decode(entry.key.as_deref())?,
            value: topic.value.decode(entry.value.as_deref())?,
        })
    });
    seen.collect()
}

fn seen<V>(reader: &mut Reader, topic: &Topic<String, V>, partition: u32) -> Result<Vec<Seen<V>>> {
    decoded(topic, reader.records(topic.name, partition)?)
}

/// A partition of an output with its records by their times. No two records of the input share one,
/// but what is made of several has the latest of theirs.
pub(super) type Timed<V> = Vec<(Timestamp, (String, V))>;

fn timed<V>(seen: Vec<Seen<V>>) -> Timed<V> {
    let seen = seen.into_iter();
    seen.map(|seen| (seen.time, (seen.key, seen.value)))
        .collect()
}

/// The records as they are.
fn echoed(input: &[Seen<i64>]) -> Timed<i64> {
    let records = input.iter();
    let echoed = records.map(|record| (record.time, (record.key.clone(), record.value)));
    echoed.collect()
}

/// A value by key, changed by each record in turn, as it stands after each.
fn running(input: &[Seen<i64>], fold: impl Fn(Option<i64>, i64) -> i64) -> Timed<i64> {
    let mut values: BTreeMap<&str, (i64, Timestamp)> = BTreeMap::new();
    let after = input.iter().map(|record| {
        let old = values.get(&*record.key).copied();
        let now = fold(old.map(|(value, _)| value), record.value);
        let time = old.map_or(record.time, |(_, time)| time.max(record.time));
        values.insert(&record.key, (now, time));
        (time, (record.key.clone(), now))
    });
    after.collect()
}

/// What a model that starts with nothing says of each record, one after the other.
fn predicted(input: &[Seen<i64>], partition: u32) -> Timed<Judged> {
    let mut model = program::fresh();
    let topic: Arc<str> = INPUT.name.into();
    let said = input.iter().map(|record| {
        let prediction = model.process(&program::example(record.value));
        let judged = Scored {
            prediction,
            topic: Arc::clone(&topic),
            partition,
            offset: record.offset,
            index: 0,
        };
        (record.time, (record.key.clone(), judged))
    });
    said.collect()
}

/// Holds every output topic to what its input gives.
pub(super) fn outputs(reader: &mut Reader, verdict: &mut Verdict) -> Result<()> {
    let mut inputs = Vec::new();
    for partition in 0..PARTITIONS {
        let input = seen(reader, &INPUT, partition)?;
        ensure!(
            !input.is_empty(),
            "input-{partition} is empty: nothing was tested"
        );
        let mut compare = |topic: &Topic<String, i64>, expected: &Timed<i64>| -> Result<()> {
            let found = timed(seen(reader, topic, partition)?);
            verdict.compare(&format!("{}-{partition}", topic.name), expected, &found);
            Ok(())
        };
        compare(&ECHO, &echoed(&input))?;
        let least = |old: Option<i64>, value: i64| old.map_or(value, |old| old.min(value));
        compare(&MINIMA, &running(&input, least))?;
        let sum = |old: Option<i64>, value: i64| old.unwrap_or(0).wrapping_add(value);
        compare(&SUMS, &running(&input, sum))?;
        let found = timed(seen(reader, &PREDICTIONS, partition)?);
        let name = format!("{}-{partition}", PREDICTIONS.name);
        verdict.compare(&name, &predicted(&input, partition), &found);
        let (changes, finals) = windows::counts(&input);
        ensure!(
            changes.len() < input.len(),
            "no record of input-{partition} was late"
        );
        for (topic, expected) in [(&CHANGES, changes), (&FINALS, finals)] {
            ensure!(
                !expected.is_empty(),
                "no window of input-{partition} closed"
            );
            let found = timed(seen(reader, topic, partition)?);
            verdict.compare(&format!("{}-{partition}", topic.name), &expected, &found);
        }
        inputs.push(input);
    }
    groups(reader, verdict, &inputs)
}

/// Groups hear from all partitions of the input in an order that nobody can tell beforehand. Their
/// records say in which order it was; in that order each record must be there once, those of one
/// partition in theirs, and count and maximum must be what they come to.
fn groups(reader: &mut Reader, verdict: &mut Verdict, inputs: &[Vec<Seen<i64>>]) -> Result<()> {
    let mut found: BTreeMap<String, Vec<Group>> = BTreeMap::new();
    for partition in 0..PARTITIONS {
        for record in seen(reader, &GROUPS, partition)? {
            found.entry(record.key).or_default().push(record.value);
        }
    }
    let mut expected: BTreeMap<String, Vec<Vec<i64>>> = BTreeMap::new();
    for (source, input) in inputs.iter().enumerate() {
        for record in input {
            let of_group = expected.entry(program::group(record.value)).or_default();
            of_group.resize(inputs.len(), Vec::new());
            of_group[source].push(record.value);
        }
    }
    let names: BTreeSet<_> = expected.keys().chain(found.keys()).cloned().collect();
    for name in names {
        let found = found.remove(&name).unwrap_or_default();
        for (source, values) in expected
            .remove(&name)
            .unwrap_or_default()
            .iter()
            .enumerate()
        {
            let from_here: BTreeSet<_> = values.iter().copied().collect();
            let there = found.iter().map(|group| group.last);
            let there: Vec<_> = there
                .filter(|value| from_here.contains(value))
                .map(|value| (value, ()))
                .collect();
            let wanted: Vec<_> = values.iter().map(|value| (*value, ())).collect();
            verdict.compare(&format!("{name} from input-{source}"), &wanted, &there);
        }
        let mut state = Group::default();
        let states = found.iter().map(|group| {
            state.add(group.last);
            state.clone()
        });
        if let Some(at) = states
            .zip(&found)
            .position(|(state, found)| state != *found)
        {
            verdict.diverged(&format!("{name}: record {at} is {:?}", found[at]));
        }
    }
    Ok(())
}

/// No transaction may be left open: whoever reads committed records would never see what follows.
pub(super) fn transactions(
    weather: &Weather<'_>,
    reader: &mut Reader,
    verdict: &mut Verdict,
) -> Result<()> {
    let limit = weather.elapsed() + OPEN;
    for at in reader.partitions() {
        loop {
            let (stable, end) = (reader.end(&at)?, reader.end_of_all(&at)?);
            if stable == end {
                break;
            }
            if weather.elapsed() > limit {
                let what = format!("{at}: a transaction hangs at {stable}, before the end {end}");
                verdict.diverged(&what);
                break;
            }
            weather.pause(super::LOOK);
        }
    }
    Ok(())
}

fn location(weather: &Weather<'_>) -> Result<Option<Location>> {
    let url = weather.postgres.map(crate::servers::Postgres::url);
    Ok(url.map(|url| url.parse()).transpose()?)
}

/// Predictions by partition and offset, as they are in their topic.
fn predictions(reader: &mut Reader) -> Result<BTreeMap<(i64, i64), Judged>> {
    let mut all = BTreeMap::new();
    for partition in 0..PARTITIONS {
        let seen = seen(reader, &PREDICTIONS, partition)?.into_iter();
        all.extend(seen.map(|seen| ((i64::from(partition), seen.offset), seen.value)));
    }
    Ok(all)
}

/// Waits until the table has as many rows as its topic has records, or the time is over: what is
/// missing then is told by [`table`].
pub(super) fn wait_for_table(weather: &Weather<'_>, reader: &mut Reader) -> Result<()> {
    let Some(location) = location(weather)? else {
        return Ok(());
    };
    let (records, limit) = (predictions(reader)?.len() as u64, weather.elapsed() + TABLE);
    let mut table = sink::Reader::open(&location)?;
    while table.count(PREDICTED)? < records && weather.elapsed() < limit {
        weather.pause(super::LOOK);
    }
    Ok(())
}

/// Each prediction must be one row.
pub(super) fn table(
    weather: &Weather<'_>,
    reader: &mut Reader,
    verdict: &mut Verdict,
) -> Result<()> {
    let Some(location) = location(weather)? else {
        return Ok(());
    };
    let rows = sink::Reader::open(&location)?.rows(PREDICTED, u32::MAX)?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        let whole = |name: &str| {
            row[name]
                .as_i64()
                .with_context(|| format!("{name} in {row}"))
        };
        let said = row["probability"].as_f64();
        let said = (
            whole("input_partition")?,
            whole("input_offset")?,
            whole("version")?,
            said,
        );
        found.push(((whole("_partition")?, whole("_offset")?), said));
    }
    let expected = predictions(reader)?.into_iter().map(|(place, judged)| {
        let version = i64::try_from(judged.prediction.version).unwrap_or(i64::MAX);
        let said = Some(judged.prediction.output);
        (
            place,
            (i64::from(judged.partition), judged.offset, version, said),
        )
    });
    let expected: Vec<_> = expected.collect();
    verdict.compare("the table", &expected, &found);
    Ok(())
}

/// The input of a partition as the model takes it, and its greatest time.
pub(super) fn examples(reader: &mut Reader, partition: u32) -> Result<(Vec<i64>, Timestamp)> {
    let input = seen(reader, &INPUT, partition)?;
    let observed = input.iter().map(|record| record.time).max();
    let values = input.into_iter().map(|record| record.value);
    Ok((values.collect(), observed.unwrap_or(Timestamp::MIN)))
}
