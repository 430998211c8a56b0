//! `try_aggregate`: a record that is refused changes no window, counts once, and is answered as the
//! source says.

use super::{harness::LEFT, run::ms};
use millstream_core::{dsl::FixedWindows, prelude::*};

static OUT: Topic<Windowed<String>, String> =
    Topic::new("out", time_windowed::<Utf8, 10>(), utf8());

/// Letters of windows into which some do not go.
struct Refusing(TopologyTestDriver);

impl Refusing {
    fn new<W: FixedWindows>(windows: W, policy: ErrorPolicy) -> Self {
        let builder = StreamsBuilder::new();
        let source = Consumed::of(&LEFT).on_error(policy);
        let windowed = builder.stream(source).group_by_key().windowed_by(windows);
        let add = |_: &String, letter: String, all: &mut String| {
            if letter == "no" {
                return Err("no");
            }
            *all += &letter;
            Ok(())
        };
        let table = windowed.try_aggregate("windows", String::new, add);
        table.to(&OUT);
        Self(TopologyTestDriver::new(builder.build().unwrap()).unwrap())
    }

    fn pipe(&mut self, letter: &str, time: Timestamp) -> millstream_core::Result<()> {
        self.0.pipe(&LEFT, "a".to_owned(), letter.to_owned(), time)
    }

    fn told(&mut self) -> Vec<String> {
        let told = self.0.read_key_values(&OUT).unwrap().into_iter();
        let line = |(key, all): (Windowed<String>, Option<String>)| {
            let start = key.window.start;
            format!("{start} {}", all.unwrap_or("-".to_owned()))
        };
        told.map(line).collect()
    }
}

/// What `b` makes such windows tell five milliseconds behind `a`, whatever is refused between.
fn leaves_windows_as_they_were<W: FixedWindows + Copy>(windows: W, expected: &[&str]) {
    for policy in [ErrorPolicy::Skip, ErrorPolicy::DeadLetterTo("dead")] {
        let mut run = Refusing::new(windows, policy);
        run.pipe("a", 22).unwrap();
        let told = run.told();
        assert!(!told.is_empty());
        run.pipe("no", 25).unwrap();
        assert!(run.told().is_empty());
        run.pipe("b", 27).unwrap();
        assert_eq!(run.told(), expected);
        let kept = policy == ErrorPolicy::DeadLetterTo("dead");
        assert_eq!(run.0.dropped().processing, 1);
        let letters = run.0.read_raw("dead");
        let letters: Vec<_> = letters
            .iter()
            .map(|(_, value, time, _)| (value, *time))
            .collect();
        let letter = Some(b"no".to_vec());
        let expected = [(&letter, 25)];
        assert_eq!(letters, expected[..usize::from(kept)]);
    }
    let mut run = Refusing::new(windows, ErrorPolicy::Fail);
    run.pipe("a", 22).unwrap();
    run.told();
    let error = run.pipe("no", 25).unwrap_err().to_string();
    assert!(error.ends_with("no"), "{error}");
    // Nothing of it was committed.
    run.pipe("b", 27).unwrap();
    assert_eq!(run.told(), expected);
}

#[test]
fn tumbling_windows_are_as_they_were_before_a_record_that_was_refused() {
    leaves_windows_as_they_were(TimeWindows::of_size_with_no_grace(ms(10)), &["20 ab"]);
}

#[test]
fn a_record_is_refused_once_for_all_hopping_windows() {
    let windows = TimeWindows::of_size_with_no_grace(ms(10)).advance_by(ms(5));
    leaves_windows_as_they_were(windows, &["20 ab", "25 b"]);
}

#[test]
fn a_record_that_is_refused_makes_no_sliding_windows() {
    let windows = SlidingWindows::of_time_difference_with_no_grace(ms(10));
    leaves_windows_as_they_were(windows, &["23 b", "17 ab"]);
}
