//! Foreign-key joins of tables whose keys lie where the program says, and not where their bytes do.

use super::{
    Driver, LEFT, Left, NOTHING, OUT, RIGHT, Right,
    cluster::Cluster,
    foreign,
    oracle::{run, turns},
    tables,
};
use millstream_core::{
    prelude::*,
    task::{Emission, TaskConfig},
};
use proptest::prelude::*;

type With = TableJoined<i64, String, String, String>;

/// Both tables lie elsewhere than a cluster of these tests would put their keys.
fn place_left(key: i64, partitions: u32) -> u32 {
    u32::try_from(key.rem_euclid(i64::from(partitions))).unwrap()
}

fn place_right(key: &str, partitions: u32) -> u32 {
    (u32::from(*key.as_bytes().last().unwrap()) + 1) % partitions
}

fn with() -> With {
    TableJoined::with("fk", utf8(), utf8())
}

fn placed() -> With {
    with()
        .with_partitioner(|key: &i64, partitions| place_left(*key, partitions))
        .with_other_partitioner(|key: &String, partitions| place_right(key, partitions))
}

fn inner<'b>(left: Left<'b>, right: Right<'b>, with: With) -> Left<'b> {
    left.foreign_key_join(right, foreign, |l, r| format!("{l}+{r}"), with)
}

fn left<'b>(left: Left<'b>, right: Right<'b>, with: With) -> Left<'b> {
    let join = |l: &String, r: Option<&String>| format!("{l}+{}", r.map_or("-", String::as_str));
    left.foreign_key_left_join(right, foreign, join, with)
}

type Join = for<'b> fn(Left<'b>, Right<'b>, With) -> Left<'b>;

fn program(join: Join, with: With) -> Topology {
    let builder = StreamsBuilder::new();
    let (left, right) = tables(&builder);
    join(left, right, with).to(&OUT);
    builder.build().unwrap()
}

fn counts(topic: &str) -> Option<u32> {
    Some(if topic == LEFT.name { 3 } else { 5 })
}

/// Where the tables' own topics have their records.
fn place(topic: &str, key: &[u8]) -> Option<u32> {
    let count = counts(topic)?;
    Some(if topic == LEFT.name {
        place_left(i64_be().decode(Some(key)).unwrap(), count)
    } else {
        place_right(&utf8().decode(Some(key)).unwrap(), count)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn tables_that_lie_otherwise_than_by_key_meet((script, rest) in turns()) {
        let tellings = [Emission::PerUpdate, Emission::PerCommit];
        let joins = [(inner as Join, false), (left, true)];
        for ((join, every_row), emission) in
            joins.into_iter().flat_map(|join| tellings.map(|telling| (join, telling)))
        {
            let cluster = Cluster::new(&program(join, placed()), emission, counts);
            let (told, rows) = run(cluster, &script, &rest, place);
            prop_assert_eq!(told, rows.joined(every_row));
        }
    }
}

/// Follows changes to their end, and says what was told of rows and where the rest was sent.
fn follow(cluster: &mut Cluster, changes: &[(&str, &str, &str)]) -> (Vec<String>, Vec<String>) {
    for (topic, key, row) in changes {
        let row = (!row.is_empty()).then(|| row.as_bytes().to_vec());
        let key = match key.parse::<i64>() {
            Ok(key) if *topic == LEFT.name => key.to_be_bytes().to_vec(),
            _ => key.as_bytes().to_vec(),
        };
        cluster.put(topic, place(topic, &key), (key, row, 0));
        while cluster.step(0, false, |_| true) {}
    }
    let text = |value: Option<Vec<u8>>| String::from_utf8(value.unwrap_or_default()).unwrap();
    let told = cluster.out.drain(..).map(|(_, value, _)| text(value));
    let sent = cluster.chosen.drain(..).map(|(topic, partition)| {
        let asks = topic.contains("registration");
        let to = partition.map_or("by key".to_owned(), |partition| partition.to_string());
        format!("{} {to}", if asks { "ask" } else { "tell" })
    });
    (told.collect(), sent.collect())
}

#[test]
fn every_subscription_and_every_answer_goes_where_its_table_has_the_key() {
    // In a topic of five "x" lies in 1 and "y" in 2, and in one of three 7 lies in 1 and 8 in 2.
    for (join, kind) in [(inner as Join, "inner"), (left, "left")] {
        let mut cluster = Cluster::new(&program(join, placed()), Emission::PerUpdate, counts);
        let mut follow = |topic, key, row| follow(&mut cluster, &[(topic, key, row)]);
        let (told, sent) = follow(LEFT.name, "7", "x:a");
        match kind {
            "inner" => assert_eq!((&told[..], &sent[..]), (&[][..], &["ask 1".into()][..])),
            _ => assert_eq!(
                (&*told[0], &sent[..]),
                ("x:a+-", &["ask 1", "tell 1"].map(Into::into)[..])
            ),
        }
        assert_eq!(
            follow(RIGHT.name, "x", "X"),
            (vec!["x:a+X".into()], vec!["tell 1".into()])
        );
        let second = follow(LEFT.name, "8", "x:b");
        assert_eq!(
            second,
            (vec!["x:b+X".into()], vec!["ask 1".into(), "tell 2".into()])
        );
        assert_eq!(follow(RIGHT.name, "y", "Y"), (vec![], vec![]));
        // The old foreign key is told where it lies, and so is the new one.
        let sent = ["ask 1", "ask 2", "tell 1"].map(Into::into).to_vec();
        assert_eq!(follow(LEFT.name, "7", "y:a"), (vec!["y:a+Y".into()], sent));
        let gone = if kind == "inner" { "" } else { "x:b+-" };
        assert_eq!(
            follow(RIGHT.name, "x", ""),
            (vec![gone.into()], vec!["tell 2".into()])
        );
        assert_eq!(
            follow(LEFT.name, "7", ""),
            (vec![String::new()], vec!["ask 2".into()])
        );
        assert_eq!(follow(RIGHT.name, "y", "Y2"), (vec![], vec![]));
    }
}

#[test]
fn a_table_without_a_partitioner_lies_by_its_key() {
    let changes = [
        (LEFT.name, "7", "x:a"),
        (RIGHT.name, "x", "X"),
        (LEFT.name, "7", "x:b"),
    ];
    let ones = with().with_partitioner(|key: &i64, n| place_left(*key, n));
    let mut cluster = Cluster::new(&program(left, ones), Emission::PerUpdate, counts);
    let (_, sent) = follow(&mut cluster, &changes[..1]);
    assert_eq!(sent, ["ask by key", "tell 1"]);
    let others = with().with_other_partitioner(|key: &String, n| place_right(key, n));
    let mut cluster = Cluster::new(&program(left, others), Emission::PerUpdate, counts);
    let (_, sent) = follow(&mut cluster, &changes[..1]);
    assert_eq!(sent, ["ask 1", "tell by key"]);
    // What a partitioner leaves open goes by key too.
    let open = with().with_partitioner(|_: &i64, _| None);
    let open = open.with_other_partitioner(|key: &String, n| vec![place_right(key, n)]);
    let mut cluster = Cluster::new(&program(left, open), Emission::PerUpdate, counts);
    let (_, sent) = follow(&mut cluster, &changes[..1]);
    assert_eq!(sent, ["ask 1", "tell by key"]);
    // And one that says otherwise than the table's topic finds nobody.
    let astray = placed().with_other_partitioner(|key: &String, n| (place_right(key, n) + 1) % n);
    let mut cluster = Cluster::new(&program(inner, astray), Emission::PerUpdate, counts);
    let (told, sent) = follow(&mut cluster, &changes);
    assert_eq!(
        (told.len(), sent),
        (0, vec!["ask 2".to_owned(), "ask 2".to_owned()])
    );
}

fn refused(with: With, policy: ErrorPolicy) -> (Driver, Result<(), millstream_core::Error>) {
    let config = TaskConfig {
        policies: policy.into(),
        ..TaskConfig::new("app")
    };
    let driver = TopologyTestDriver::with_config(program(inner, with), &config).unwrap();
    let mut driver = Driver(driver);
    driver
        .0
        .pipe(&RIGHT, "x".to_owned(), "X".to_owned(), 0)
        .unwrap();
    let sent = driver.0.pipe(&LEFT, 1, "x:a".to_owned(), 1);
    (driver, sent)
}

#[test]
fn a_key_that_has_not_exactly_one_place_is_refused() {
    let registration = "app-fk-subscription-registration-repartition";
    let response = "app-fk-subscription-response-repartition";
    for places in [vec![], vec![0, 0], vec![1]] {
        let why = match places[..] {
            [_] => "partition 1 of".to_owned(),
            _ => format!("{} partitions of", places.len()),
        };
        let of_left = |places: Vec<u32>| with().with_partitioner(move |_: &i64, _| places.clone());
        let of_right =
            |places: Vec<u32>| with().with_other_partitioner(move |_: &String, _| places.clone());
        for (with, topic) in [
            (of_left as fn(Vec<u32>) -> With, response),
            (of_right, registration),
        ] {
            let (_, sent) = refused(with(places.clone()), ErrorPolicy::Fail);
            let error = sent.unwrap_err().to_string();
            assert!(error.contains(&format!("{why} {topic}")), "{error}");
            // It is answered as other records are that cannot be written.
            let (mut driver, sent) = refused(with(places.clone()), ErrorPolicy::Skip);
            sent.unwrap();
            assert_eq!(driver.told(), NOTHING);
            assert_eq!(driver.0.dropped().production, 1);
        }
    }
}
