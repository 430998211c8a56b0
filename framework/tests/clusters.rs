//! A program on a log that is not its own: topics must be there, clients are few, and what was
//! consumed is deleted through the log's own request.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

mod common;

use common::{REPARTITION, ask, count, feed, records, settings, topology, until};
use millstream::{
    Node, Program,
    core::record::{Offset, TopicPartition},
    log::{Broker, Cleanup, EmbeddedLog, Log, Result, TopicInfo, TopicSpec},
};
use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

const TEXT: [&str; 4] = ["to be or", "not to be", "be that as", "it may be"];

/// A log as a program sees a cluster: it makes no user topics, and counts what it is asked for.
struct Cluster {
    log: EmbeddedLog,
    clients: AtomicUsize,
    deletions: AtomicUsize,
}

impl Cluster {
    fn new(topics: &[(&str, u32)]) -> Arc<Self> {
        let log = EmbeddedLog::in_memory();
        for (name, partitions) in topics {
            let spec = TopicSpec {
                name: (*name).to_owned(),
                partitions: *partitions,
                cleanup: Cleanup::Delete { retention_ms: None },
            };
            log.create_topic(&spec).unwrap();
        }
        Arc::new(Self {
            log,
            clients: AtomicUsize::new(0),
            deletions: AtomicUsize::new(0),
        })
    }

    fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    fn deletions(&self) -> usize {
        self.deletions.load(Ordering::Relaxed)
    }
}

impl Broker for Cluster {
    fn client(&self) -> Result<Box<dyn Log>> {
        self.clients.fetch_add(1, Ordering::Relaxed);
        Broker::client(&self.log)
    }

    fn topics(&self) -> Result<Vec<TopicInfo>> {
        self.log.topics()
    }

    fn delete_topic(&self, name: &str) -> Result<()> {
        self.log.delete_topic(name)
    }

    fn delete_records(&self, at: &TopicPartition, before: Offset) -> Result<Offset> {
        self.deletions.fetch_add(1, Ordering::Relaxed);
        self.log.delete_records(at, before)
    }
}

fn open(dir: &Path, set: &[&str], cluster: &Arc<Cluster>) -> anyhow::Result<Program> {
    Program::open_on(topology(), settings(dir, set)?, cluster.clone())
}

#[test]
fn topics_that_are_missing_are_named_and_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let set = [
        "processing.exception.handler=dlq",
        "errors.dead.letter.queue.topic.name=dead",
    ];
    for (there, missing) in [
        (&[][..], "counts, dead, lines"),
        (&[("lines", 1)], "counts, dead"),
        (&[("counts", 1), ("dead", 1)], "lines"),
    ] {
        let cluster = Cluster::new(there);
        let Err(error) = open(dir.path(), &set, &cluster) else {
            panic!("it opened without {missing}");
        };
        let said = format!("{error:#}");
        assert!(said.contains(&format!("missing: {missing}.")), "{said}");
        assert_eq!(cluster.topics().unwrap().len(), there.len());
    }
    let all = Cluster::new(&[("lines", 1), ("counts", 1), ("dead", 1)]);
    open(dir.path(), &set, &all).unwrap();
}

#[test]
fn an_instance_says_over_http_which_other_one_has_a_key() {
    let cluster = Cluster::new(&[("lines", 4), ("counts", 4)]);
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let servers = ["a.example.com:80", "b.example.com:80"];
    let started = [0, 1].map(|number| {
        let advertised = format!("application.server.advertised={}", servers[number]);
        let set = ["application.server=127.0.0.1:0", &advertised];
        let program = open(dirs[number].path(), &set, &cluster).unwrap();
        let mut node = program.start().unwrap();
        let address = node.serve().unwrap();
        (node, address)
    });
    let [(a, at_a), (b, at_b)] = &started;
    feed(&cluster.log, &TEXT);
    // Each word is known to one of the two, and the other one says to which.
    let words: BTreeSet<_> = TEXT.iter().flat_map(|line| line.split(' ')).collect();
    let found = |address: &SocketAddr, word: &str| {
        let (status, answer) = ask(*address, "GET", &format!("/stores/counts/{word}"), "");
        match status {
            200 => Ok(answer["value"].as_u64()),
            _ => Err((
                status,
                answer["error"]["server"].as_str().map(str::to_owned),
            )),
        }
    };
    let elsewhere = |number: usize| Err((421, Some(servers[number].to_owned())));
    for word in words {
        let count = TEXT.iter().flat_map(|line| line.split(' '));
        let count = u64::try_from(count.filter(|other| *other == word).count()).unwrap();
        until(a, word, || {
            let both = (found(at_a, word), found(at_b, word));
            both == (Ok(Some(count)), elsewhere(0)) || both == (elsewhere(1), Ok(Some(count)))
        });
    }
    // Whoever would have a key that is nowhere cannot tell that others have no row of it.
    let nowhere = [found(at_a, "nowhere"), found(at_b, "nowhere")];
    let unsure = Err((503, None));
    assert!(
        nowhere == [unsure.clone(), elsewhere(0)] || nowhere == [elsewhere(1), unsure],
        "{nowhere:?}"
    );
    let instances = |address: &SocketAddr| ask(*address, "GET", "/instances", "").1;
    until(b, "both instances", || {
        let all = instances(at_a);
        let told = |server| {
            let one = all.as_array().into_iter().flatten();
            let mut one = one.filter(|one| one["server"] == server);
            one.next()
                .is_some_and(|one| !one["active"].as_array().unwrap().is_empty())
        };
        servers.into_iter().all(told)
    });
}

#[test]
fn one_program_at_a_time_has_the_directory_of_its_state() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::new(&[("lines", 1), ("counts", 1)]);
    let first = open(dir.path(), &[], &cluster).unwrap();
    let Err(error) = open(dir.path(), &[], &cluster) else {
        panic!("two programs on one directory");
    };
    let said = format!("{error:#}");
    assert!(said.contains(dir.path().to_str().unwrap()), "{said}");
    let node = first.start().unwrap();
    assert!(open(dir.path(), &[], &cluster).is_err());
    node.close().unwrap();
    open(dir.path(), &[], &cluster).unwrap();
}

/// Waits until the start of the repartition topic is its end.
fn until_purged(node: &Node, log: &EmbeddedLog) {
    let at = TopicPartition::new(REPARTITION, 0);
    let mut client = log.client();
    let end = client.end(&at).unwrap();
    until(node, "the purge", || {
        log.client().start(&at).unwrap() == end
    });
}

/// Who has a client: opening the program, the feed, the check of the topics, the thread, the
/// purger, the publisher of metrics, and the page.
const LOOKERS: usize = 7;

#[test]
fn whoever_looks_again_and_again_keeps_its_client() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::new(&[("lines", 1), ("counts", 1)]);
    let set = [
        "repartition.purge.interval.ms=1",
        "application.server=127.0.0.1:0",
    ];
    let program = open(dir.path(), &set, &cluster).unwrap();
    feed(program.log(), &TEXT);
    let mut node = program.start().unwrap();
    node.serve().unwrap();
    until(&node, "the count of a word", || {
        count(&node, "be") == Some(4)
    });
    until_purged(&node, &cluster.log);
    // Each makes its client when it first has something to look at, which may be later than this.
    until(&node, "everybody's client", || cluster.clients() == LOOKERS);
    let deletions = cluster.deletions();
    assert!(deletions >= 1);
    // More words, so that there is another purge, and more looks of everybody.
    let more: Vec<_> = TEXT.iter().cycle().take(8).copied().collect();
    feed(&cluster.log, &more);
    until(&node, "the count of a word", || {
        count(&node, "be") == Some(8)
    });
    until_purged(&node, &cluster.log);
    assert_eq!(cluster.clients(), LOOKERS, "somebody made a new client");
    let again = cluster.deletions();
    assert!(again > deletions);
    // Nothing new was consumed: nothing more is asked for, however often it is looked.
    let looks = std::cell::Cell::new(0);
    until(&node, "some rounds", || {
        looks.set(looks.get() + 1);
        looks.get() > 50
    });
    assert_eq!(cluster.deletions(), again);
    node.close().unwrap();
    assert_eq!(records(&cluster.log, "lines").len(), 8);
}
