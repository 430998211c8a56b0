//! What a node of a test cluster is told: its configuration, and the directory that Kafka's own
//! tool would otherwise format in a JVM of its own, a second or more for each node.
//!
//! Invariant: everything is small and quick, nothing is weaker than a real cluster's: three nodes
//! keep every internal topic three times and accept a write when two have it.

use super::{KafkaOptions, secure};
use crate::servers::certificates::Certificates;
use anyhow::{Context, Result};
use std::{fs, path::Path};

/// A node's ports on 127.0.0.1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) plain: u16,
    pub(super) controller: u16,
    pub(super) secure: u16,
}

/// Identifiers are 16 bytes in base64, so 22 characters, the last of which ends in zero bits.
const CLUSTER_ID: &str = "millstreamClusterTestA";

/// What does not differ between nodes. Kafka waits 3 s before a first rebalance, lets a member be
/// silent for 45 s and a broker for 9, and looks for abandoned transactions every 10 s.
const COMMON: &str = "\
process.roles=broker,controller
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
auto.create.topics.enable=false
num.partitions=1
offsets.topic.num.partitions=5
transaction.state.log.num.partitions=5
share.coordinator.state.topic.num.partitions=3
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=100
group.consumer.heartbeat.interval.ms=1000
group.streams.initial.rebalance.delay.ms=0
group.streams.min.session.timeout.ms=1000
group.streams.session.timeout.ms=6000
group.streams.min.heartbeat.interval.ms=100
group.streams.heartbeat.interval.ms=1000
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
controlled.shutdown.enable=true
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=4194304
log.cleaner.backoff.ms=1000
log.initial.task.delay.ms=500
log.segment.bytes=67108864
log.index.size.max.bytes=1048576
num.network.threads=2
num.io.threads=2
background.threads=2
num.recovery.threads.per.data.dir=1
";

/// Writes what node `id`, the first being 1, starts from; returns nothing that is not in `dir`.
pub(super) fn write(
    dir: &Path,
    id: usize,
    nodes: &[Ports],
    options: &KafkaOptions,
    certificates: Option<&Certificates>,
) -> Result<()> {
    let data = dir.join("data");
    fs::create_dir_all(&data)?;
    // As `kafka-storage format` writes it. The checkpoint beside it is one that the tool made: a
    // directory without it gives a cluster whose features (transactions of version 2, groups of
    // the new protocol) are all at their oldest.
    fs::write(
        data.join("meta.properties"),
        format!(
            "version=1\ncluster.id={CLUSTER_ID}\nnode.id={id}\n\
             directory.id=millstreamNode{id:07}A\n"
        ),
    )?;
    let checkpoint = super::jvm::home()?.join("bootstrap.checkpoint");
    let copied = fs::copy(&checkpoint, data.join("bootstrap.checkpoint"));
    copied.with_context(|| checkpoint.display().to_string())?;
    fs::write(dir.join("log4j2.properties"), super::jvm::LOGGING)?;
    let text = properties(&data, id, nodes, options, certificates)?;
    fs::write(dir.join("server.properties"), text)?;
    Ok(())
}

fn properties(
    data: &Path,
    id: usize,
    nodes: &[Ports],
    options: &KafkaOptions,
    certificates: Option<&Certificates>,
) -> Result<String> {
    let me = nodes.get(id - 1).context("a node without ports")?;
    let voters: Vec<String> = (1..)
        .zip(nodes)
        .map(|(id, node)| format!("{id}@127.0.0.1:{}", node.controller))
        .collect();
    let (replicas, in_sync) = if nodes.len() < 3 { (1, 1) } else { (3, 2) };
    let mut clients = format!("PLAINTEXT://127.0.0.1:{}", me.plain);
    let mut protocols = "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT".to_owned();
    let mut text = COMMON.to_owned();
    if let Some(certificates) = certificates {
        clients.push_str(&format!(",SECURE://127.0.0.1:{}", me.secure));
        protocols.push_str(",SECURE:SASL_SSL");
        text.push_str(&secure::listener(certificates)?);
    }
    let controller = me.controller;
    let voters = voters.join(",");
    let data = data.display();
    text.push_str(&format!(
        "node.id={id}
broker.rack=rack-{id}
controller.quorum.voters={voters}
listeners={clients},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={clients}
listener.security.protocol.map={protocols}
log.dirs={data}
default.replication.factor={replicas}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={replicas}
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
"
    ));
    // Of two lines for one key the later wins.
    for (key, value) in &options.settings {
        text.push_str(&format!("{key}={value}\n"));
    }
    Ok(text)
}
