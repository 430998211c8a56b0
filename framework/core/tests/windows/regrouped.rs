//! Tables of windows grouped by other keys: what is taken back is what was told, and how long the
//! windows stay open is known behind the repartition topic too.

use super::run::ms;
use millstream_core::{
    dsl::{FixedWindows, UntilWindowCloses},
    prelude::*,
};
use std::collections::BTreeMap;

type Counts<'b> = KTable<'b, Windowed<String>, u64>;

static IN: Topic<String, i64> = Topic::new("in", utf8(), i64_be());
static WINDOWS: Topic<Windowed<String>, u64> =
    Topic::new("windows", session_windowed::<Utf8>(), u64_be());
static TOTALS: Topic<String, u64> = Topic::new("totals", utf8(), u64_be());

/// Sums the counts of all windows of all keys, record by record; each sum must be that of the
/// windows as they were told.
fn sums_what_is_told(
    script: &[(&str, Timestamp)],
    declare: impl Fn(&StreamsBuilder) -> Counts<'_>,
) {
    let builder = StreamsBuilder::new();
    let counts = declare(&builder);
    counts.to(&WINDOWS);
    let all = counts.group_by(|_, count| ("all".to_owned(), *count));
    all.reduce("totals", |a, b| a + b, |a, b| a - b).to(&TOTALS);
    let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    let mut windows = BTreeMap::new();
    for (key, time) in script {
        driver.pipe(&IN, (*key).to_owned(), 1, *time).unwrap();
        for (Windowed { key, window }, count) in driver.read_key_values(&WINDOWS).unwrap() {
            windows.insert((key, window.start, window.end), count.unwrap_or_default());
        }
        let totals = driver.read_key_values(&TOTALS).unwrap();
        let total = totals.last().and_then(|(_, total)| *total);
        assert_eq!(total, Some(windows.values().sum()), "{windows:?}");
    }
}

fn fixed(windows: impl FixedWindows) -> impl Fn(&StreamsBuilder) -> Counts<'_> {
    move |builder| {
        let group = builder.stream(&IN).group_by_key();
        group.windowed_by(windows).count("counts")
    }
}

/// Records of which several change the same windows, out of order and at the same time.
const SCRIPT: [(&str, Timestamp); 10] = [
    ("a", 10),
    ("a", 10),
    ("b", 12),
    ("a", 12),
    ("a", 12),
    ("a", 14),
    ("a", 11),
    ("b", 12),
    ("a", 30),
    ("a", 22),
];

#[test]
fn sums_of_tumbling_and_hopping_windows_are_right() {
    let tumbling = TimeWindows::of_size_and_grace(ms(10), ms(50));
    sums_what_is_told(&SCRIPT, fixed(tumbling));
    sums_what_is_told(&SCRIPT, fixed(tumbling.advance_by(ms(3))));
}

#[test]
fn sums_of_sliding_windows_are_right() {
    // In Kafka Streams a new window takes back what it was made of, which it never told.
    let sliding = SlidingWindows::of_time_difference_and_grace(ms(5), ms(50));
    sums_what_is_told(&SCRIPT, fixed(sliding));
}

#[test]
fn sums_of_sessions_are_right() {
    // In Kafka Streams a session of one moment takes nothing back when it gets one more record.
    let sessions = SessionWindows::of_inactivity_gap_and_grace(ms(5), ms(50));
    sums_what_is_told(&SCRIPT, |builder| {
        let group = builder.stream(&IN).group_by_key().windowed_by(sessions);
        group.count("counts")
    });
}

fn unbounded() -> UntilWindowCloses {
    Suppressed::until_window_closes(BufferConfig::unbounded())
}

#[test]
fn windows_grouped_by_other_keys_are_final_when_their_grace_is_over() {
    let builder = StreamsBuilder::new();
    let windows = TimeWindows::of_size_and_grace(ms(10), ms(5));
    let counts = builder.stream(&IN).group_by_key().windowed_by(windows);
    let counts = counts.count("counts");
    let first_letter = |key: &Windowed<String>, count: &u64| {
        let letter = key.key.chars().take(1).collect();
        (Windowed::new(letter, key.window), *count)
    };
    let grouped = Grouped::with(session_windowed::<Utf8>(), u64_be());
    let sums = counts.group_by_with(first_letter, grouped).reduce(
        Materialized::with("sums", session_windowed::<Utf8>(), u64_be()),
        |a, b| a + b,
        |a, b| a - b,
    );
    let finals = Materialized::with("finals", session_windowed::<Utf8>(), u64_be());
    sums.suppress(finals, unbounded()).to(&WINDOWS);
    let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    for (key, time) in [("a1", 1), ("a2", 2), ("b1", 3), ("a1", 14), ("a2", 4)] {
        driver.pipe(&IN, key.to_owned(), 1, time).unwrap();
    }
    // The window is still open: its end and the grace lie at 15.
    assert_eq!(driver.read_key_values(&WINDOWS).unwrap(), []);
    driver.pipe(&IN, "b1".to_owned(), 1, 15).unwrap();
    let told = driver.read_key_values(&WINDOWS).unwrap();
    let window = |key: &str| Windowed::new(key.to_owned(), Window::new(0, 10));
    assert_eq!(told, [(window("a"), Some(3)), (window("b"), Some(1))]);
}

#[test]
fn a_stream_beside_windows_leaves_no_final_results() {
    let builder = StreamsBuilder::new();
    let stream = builder.stream(&IN);
    let windows = TimeWindows::of_size_and_grace(ms(10), ms(5));
    let counts = stream.group_by_key().windowed_by(windows).count("counts");
    let by_hand = stream.map(|key, _| (Windowed::new(key, Window::new(0, 1)), 1));
    let told = counts.to_stream().map_values(Option::unwrap_or_default);
    let grouped = Grouped::with(session_windowed::<Utf8>(), u64_be());
    let mixed = told.merge(by_hand).repartition(Repartitioned::with(
        "mixed",
        session_windowed::<Utf8>(),
        u64_be(),
    ));
    let sums = Materialized::with("sums", session_windowed::<Utf8>(), u64_be());
    let sums = mixed.group_by_key_with(grouped).reduce(sums, |a, b| a + b);
    let finals = Materialized::with("finals", session_windowed::<Utf8>(), u64_be());
    let _ = sums.suppress(finals, unbounded());
    let error = builder.build().err().unwrap().to_string();
    let text = "only windows that close have final results";
    assert!(error.contains(text), "{error}");
}
