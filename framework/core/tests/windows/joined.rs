//! Joins of final results: a window that is told when it closes is looked up after that.

use millstream_core::prelude::*;
use std::time::Duration;

static LEFT: Topic<String, i64> = Topic::new("left", utf8(), i64_be());
static RIGHT: Topic<String, i64> = Topic::new("right", utf8(), i64_be());
static OUT: Topic<Windowed<String>, u64> = Topic::new("out", time_windowed::<Utf8, 10>(), u64_be());

const SIZE: Duration = Duration::from_millis(10);

/// When a window is told.
#[derive(Clone, Copy, Debug)]
enum Told {
    ByStrategy,
    BySuppress,
    Always,
}

fn counts<'b>(
    builder: &'b StreamsBuilder,
    topic: &'static Topic<String, i64>,
    told: Told,
    kept: Option<Duration>,
) -> KTable<'b, Windowed<String>, u64> {
    let mut rows = Materialized::with(topic.name, utf8(), u64_be());
    if let Some(kept) = kept {
        rows = rows.with_retention(kept);
    }
    let grouped = builder.stream(topic).group_by_key();
    let windows = grouped.windowed_by(TimeWindows::of_size_with_no_grace(SIZE));
    match told {
        Told::ByStrategy => (windows.emit_strategy(EmitStrategy::OnWindowClose)).count(rows),
        Told::BySuppress => windows.count(rows).suppress(
            &*format!("{}-final", topic.name),
            Suppressed::until_window_closes(BufferConfig::unbounded()),
        ),
        Told::Always => windows.count(rows),
    }
}

/// What `build()` says of a join of windows that are told so and kept for so long.
fn mistake(told: (Told, Told), kept: Option<Duration>) -> Option<String> {
    let builder = StreamsBuilder::new();
    let left = counts(&builder, &LEFT, told.0, kept);
    let right = counts(&builder, &RIGHT, told.1, kept);
    left.join(right, |left, right| left + right).to(&OUT);
    builder.build().err().map(|error| error.to_string())
}

#[test]
fn a_join_of_final_results_needs_windows_that_are_kept() {
    use Told::{Always, ByStrategy, BySuppress};
    for told in [
        (ByStrategy, ByStrategy),
        (BySuppress, BySuppress),
        (Always, BySuppress),
        (ByStrategy, Always),
    ] {
        let text = mistake(told, None).unwrap_or_default();
        assert!(
            text.contains("forgets a window when it closes"),
            "{told:?}: {text}"
        );
        assert_eq!(mistake(told, Some(2 * SIZE)), None, "{told:?}");
    }
    assert_eq!(mistake((Always, Always), None), None);
}

#[test]
fn a_copy_of_final_results_is_kept_for_as_long_as_one_likes() {
    let builder = StreamsBuilder::new();
    let all = |topic: &'static Topic<String, i64>, name: &'static str| {
        let key = time_windowed::<Utf8, 10>();
        let rows = Materialized::with(name, key, u64_be());
        counts(&builder, topic, Told::BySuppress, None).materialize(rows)
    };
    let (left, right) = (all(&LEFT, "all-left"), all(&RIGHT, "all-right"));
    left.join(right, |left, right| left + right).to(&OUT);
    assert!(builder.build().is_ok());
}

#[test]
fn final_results_meet_whichever_side_is_told_first() {
    for told in [Told::ByStrategy, Told::BySuppress] {
        for sides in [[&LEFT, &RIGHT], [&RIGHT, &LEFT]] {
            let builder = StreamsBuilder::new();
            let kept = Some(Duration::from_secs(1));
            let left = counts(&builder, &LEFT, told, kept);
            let right = counts(&builder, &RIGHT, told, kept);
            left.join(right, |left, right| 10 * left + right).to(&OUT);
            let mut driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
            for (topic, time) in [(0, 1), (1, 2), (0, 3), (0, 10), (1, 10)] {
                driver.pipe(sides[topic], "k".to_owned(), 0, time).unwrap();
            }
            let both = if sides[0].name == "left" { 21 } else { 12 };
            let window = Windowed::new("k".to_owned(), Window::new(0, 10));
            let met = driver.read_key_values(&OUT).unwrap();
            // Windows that are told by strategy are looked up as they are, told or not.
            assert_eq!(met.last(), Some(&(window, Some(both))), "{told:?}");
            assert!(
                met.len() == 1 || matches!(told, Told::ByStrategy),
                "{met:?}"
            );
        }
    }
}
