//! Programs whose stores keep name and format, but whose old rows mean something else.

use super::{OTHER, WORDS, changes, described, rows};
use millstream_core::{
    prelude::*,
    topology::{Evolution, Verdict},
};
use std::time::Duration;

static THIRD: Topic<String, String> = Topic::new("third", utf8(), utf8());
static JOINED: Topic<String, String> = Topic::new("joined", utf8(), utf8());

#[test]
fn a_table_of_another_topic_has_the_old_ones_rows() {
    let joining = |table, stream| {
        move |builder: &StreamsBuilder| {
            let rows = builder.table(table, "rows");
            let pair = |left: String, right: &String| format!("{left}{right}");
            builder.stream(stream).join(rows, pair).to(&JOINED);
        }
    };
    let joined = |table| joining(table, &WORDS);
    assert_eq!(changes(joined(&OTHER), joined(&OTHER)), [""; 0]);
    // The stream that looks rows up is the same.
    let evolution = Evolution::between(&described(joined(&OTHER)), &described(joined(&THIRD)));
    let finding = evolution.unwrap().findings.remove(0);
    assert_eq!((finding.verdict, &*finding.name), (Verdict::Reset, "rows"));
    let why = "is made from third and not from other any more";
    assert!(finding.why.contains(why), "{}", finding.why);
    // Nor do tables keep their rows that change places with what looks them up.
    let told = changes(joining(&OTHER, &WORDS), joining(&WORDS, &OTHER));
    assert_eq!(told, ["reset store rows"]);
    // A topic more or less of several changes whose rows come, and not what they are.
    let merged = |more: bool| {
        move |builder: &StreamsBuilder| {
            let mut all = builder.stream(&WORDS);
            if more {
                all = all.merge(builder.stream(&OTHER));
            }
            let _ = all.group_by_key().count("counts");
        }
    };
    for (old, new) in [(true, false), (false, true)] {
        assert_eq!(changes(merged(old), merged(new)), [""; 0]);
    }
}

/// Notes keys.
struct Note(StoreRef<KeyValueStore<String, String>>);

impl Processor<String, String> for Note {
    type Key = String;
    type Value = String;

    fn process(
        &mut self,
        record: Record<String, String>,
        ctx: &mut ProcessorContext<'_, String, String>,
    ) -> ProcessResult {
        ctx.store(self.0).put(&record.key, record.value)?;
        Ok(())
    }
}

fn shared(topics: Vec<&'static Topic<String, String>>) -> impl Fn(&StreamsBuilder) {
    move |builder| {
        let notes = builder.store("notes");
        for topic in &topics {
            builder.stream(*topic).process(notes, Note).to(&JOINED);
        }
    }
}

#[test]
fn a_store_that_processors_share_is_made_from_all_their_topics() {
    let both = || shared(vec![&WORDS, &OTHER]);
    assert_eq!(changes(both(), shared(vec![&OTHER, &WORDS])), [""; 0]);
    for one in [&WORDS, &OTHER] {
        assert_eq!(changes(shared(vec![one]), both()), [""; 0]);
        assert_eq!(changes(both(), shared(vec![one])), [""; 0]);
    }
    let told = changes(both(), shared(vec![&THIRD]));
    assert_eq!(told[0], "reset store notes");
}

#[test]
fn a_longer_retention_is_told_with_what_it_does_not_bring_back() {
    let windows = |grace: u64| {
        move |builder: &StreamsBuilder| {
            let (size, grace) = (Duration::from_secs(60), Duration::from_secs(grace));
            let words = builder.stream(&WORDS).group_by_key();
            let windows = TimeWindows::of_size_and_grace(size, grace);
            let _ = words.windowed_by(windows).count("counts");
        }
    };
    assert_eq!(changes(windows(60), windows(60)), [""; 0]);
    assert_eq!(changes(windows(60), windows(30)), [""; 0]);
    assert_eq!(
        changes(windows(60), windows(61)),
        ["compatible store counts"]
    );
    let history = |seconds: u64| {
        move |builder: &StreamsBuilder| {
            let rows = rows().versioned(Duration::from_secs(seconds));
            let _ = builder.table(&WORDS, rows);
        }
    };
    assert_eq!(changes(history(60), history(30)), [""; 0]);
    assert_eq!(changes(history(60), history(61)), ["compatible store rows"]);
}

#[test]
fn keys_move_where_a_partitioner_comes_or_goes() {
    let spread = |placed: bool| {
        move |builder: &StreamsBuilder| {
            let mut to = Repartitioned::with("wide", utf8(), utf8());
            if placed {
                to = to.with_partitioner(|_, _, _| 0);
            }
            let words = builder.stream(&WORDS).repartition(to);
            let _ = words.group_by_key().count("counts");
        }
    };
    let moved = "reset topic wide-repartition".to_owned();
    for (old, new) in [(true, false), (false, true)] {
        assert!(changes(spread(old), spread(new)).contains(&moved));
        assert!(!changes(spread(old), spread(old)).contains(&moved));
    }
    let joined = |placed: bool| {
        move |builder: &StreamsBuilder| {
            let mut by = TableJoined::with("fk", utf8(), utf8());
            if placed {
                by = by.with_other_partitioner(|_, _| 0);
            }
            let words = builder.table(&WORDS, "words");
            let rows = builder.table(&OTHER, "rows");
            let key = |_: &String, word: &String| Some(word.clone());
            let pair = |left: &String, right: &String| format!("{left}{right}");
            let _ = words.foreign_key_join(rows, key, pair, by);
        }
    };
    let told = changes(joined(false), joined(true));
    assert_eq!(
        told,
        ["reset topic fk-subscription-registration-repartition"]
    );
    // Descriptions from before it was told say nothing of it, and nothing is said.
    let old = described(spread(false)).replace("\"partitioner\": false", "\"other\": 0");
    let evolution = Evolution::between(&old, &described(spread(true))).unwrap();
    assert_eq!(evolution.verdict(), Verdict::Compatible);
}
