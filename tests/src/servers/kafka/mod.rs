//! Apache Kafka as it is: a cluster of one or three nodes, each broker and controller in one.
//!
//! Invariant: a cluster that was handed out answers clients, and knows all of its nodes to be
//! alive. Nodes die and come back as a test says, on the same ports and with what their disks hold;
//! when the cluster is dropped, or its process ends, none is left.

mod config;
mod jvm;
mod program;
mod secure;
mod wire;

use super::{Scratch, Supervised, certificates::Certificates, ports};
use anyhow::{Context, Result, bail, ensure};
use config::Ports;
pub use program::{compiled, program};
use std::{
    fs,
    path::PathBuf,
    process::Stdio,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Megabytes of heap for a broker in a test, which lives on 64, and for one of Kafka's tools.
const BROKER_HEAP: u32 = 256;
const TOOL_HEAP: u32 = 128;
/// Megabytes of heap for a broker under a benchmark's load: what Kafka's own script gives it.
const SUSTAINED_HEAP: u32 = 1024;

/// How long to let pass between two questions to a node, and how often to ask: thirty seconds, ten
/// times as long as a dead broker goes unnoticed.
const PACE: Duration = Duration::from_millis(20);
const QUESTIONS_MAX: usize = 1500;

/// What a cluster has beside the usual.
#[derive(Debug, Clone, Default)]
pub struct KafkaOptions {
    /// A second listener, encrypted and with a password: see [`KafkaCluster::secure_settings`].
    pub secure: bool,
    /// For benchmarks: more memory, and code that the JVM compiles as well as it can, which costs
    /// it time at the start.
    pub sustained: bool,
    /// Settings of the brokers, which replace this module's.
    pub settings: Vec<(String, String)>,
}

/// A running cluster. Its nodes are numbered from 1.
#[derive(Debug)]
pub struct KafkaCluster {
    /// Before the directory, so that they are gone when it is removed.
    nodes: Vec<Node>,
    certificates: Option<Certificates>,
    scratch: Scratch,
}

#[derive(Debug)]
struct Node {
    ports: Ports,
    directory: PathBuf,
    sustained: bool,
    /// None between its death and its restart.
    process: Mutex<Option<Supervised>>,
}

/// Whether this machine has Kafka and a JVM.
///
/// # Errors
/// What is missing, and what to run for it.
pub fn available() -> Result<()> {
    jvm::available()
}

impl KafkaCluster {
    /// Starts so many nodes, 1 or 3, and returns when all of them serve.
    ///
    /// # Errors
    /// Where Kafka is not there, or what a node says that does not start.
    pub fn start(nodes: usize) -> Result<Self> {
        Self::start_with(nodes, &KafkaOptions::default())
    }

    /// As [`KafkaCluster::start`], with options.
    ///
    /// # Errors
    /// As [`KafkaCluster::start`].
    pub fn start_with(nodes: usize, options: &KafkaOptions) -> Result<Self> {
        ensure!(nodes == 1 || nodes == 3, "{nodes} nodes: there are 1 or 3");
        available()?;
        let scratch = Scratch::new()?;
        let certificates = match options.secure {
            true => Some(Certificates::make(scratch.path())?),
            false => None,
        };
        let free = ports::free(3 * nodes)?;
        let ports: Vec<Ports> = (free.chunks_exact(3))
            .map(|three| Ports {
                plain: three[0],
                controller: three[1],
                secure: three[2],
            })
            .collect();
        let mut cluster = Self {
            nodes: Vec::with_capacity(nodes),
            certificates,
            scratch,
        };
        for id in 1..=nodes {
            let directory = cluster.scratch.path().join(format!("node-{id}"));
            fs::create_dir(&directory)?;
            config::write(
                &directory,
                id,
                &ports,
                options,
                cluster.certificates.as_ref(),
            )?;
            let node = Node {
                ports: ports[id - 1],
                directory,
                sustained: options.sustained,
                process: Mutex::new(None),
            };
            // All at once, because none is ready before most of them vote.
            *node.process() = Some(node.launch()?);
            cluster.nodes.push(node);
        }
        for node in &cluster.nodes {
            node.ready(nodes)?;
        }
        Ok(cluster)
    }

    /// The addresses for `bootstrap.servers`, all nodes', whether alive or not.
    pub fn bootstrap_servers(&self) -> String {
        self.addresses(|ports| ports.plain)
    }

    /// What librdkafka needs for the secure listener, `bootstrap.servers` included; empty where
    /// the cluster was started without one.
    pub fn secure_settings(&self) -> Vec<(String, String)> {
        let servers = self.addresses(|ports| ports.secure);
        let certificates = self.certificates.as_ref();
        certificates.map_or_else(Vec::new, |made| secure::librdkafka(servers, made))
    }

    /// Kills a node as a power cut does, and waits until it is gone.
    ///
    /// # Errors
    /// Where there is no such node, or it does not run.
    pub fn kill(&self, id: usize) -> Result<()> {
        let process = self.node(id)?.process().take();
        // Dropping it is what kills it.
        process.map(drop).context("the node does not run")
    }

    /// Asks a node to shut down, which hands over what it leads, and waits until it has.
    ///
    /// # Errors
    /// As [`KafkaCluster::kill`], and where it does not end in time.
    pub fn term(&self, id: usize) -> Result<()> {
        let process = self.node(id)?.process().take();
        let mut process = process.context("the node does not run")?;
        process.signal("TERM")?;
        process.ends()
    }

    /// Stops a node in its tracks: its connections stay open, and nobody answers.
    ///
    /// # Errors
    /// As [`KafkaCluster::kill`].
    pub fn pause(&self, id: usize) -> Result<()> {
        self.signal(id, "STOP")
    }

    /// Lets a paused node go on.
    ///
    /// # Errors
    /// As [`KafkaCluster::kill`].
    pub fn resume(&self, id: usize) -> Result<()> {
        self.signal(id, "CONT")
    }

    /// Starts a node that was killed or has shut down, and returns when it serves.
    ///
    /// # Errors
    /// Where there is no such node, where it runs, or what it says when it does not start.
    pub fn restart(&self, id: usize) -> Result<()> {
        let node = self.node(id)?;
        {
            let mut process = node.process();
            ensure!(process.is_none(), "node {id} runs");
            *process = Some(node.launch()?);
        }
        // The others may be dead, as the test wants it.
        node.ready(1)
    }

    /// The number of a node's process, if it runs.
    ///
    /// # Errors
    /// Where there is no such node.
    pub fn pid(&self, id: usize) -> Result<Option<u32>> {
        Ok(self.node(id)?.process().as_ref().map(Supervised::pid))
    }

    /// The numbers of the nodes that this one knows to be alive.
    ///
    /// # Errors
    /// Where it does not answer.
    pub fn alive(&self, id: usize) -> Result<Vec<i32>> {
        wire::brokers(&self.node(id)?.address())
    }

    /// Waits until a node knows exactly these to be alive.
    ///
    /// # Errors
    /// What it knows instead, after thirty seconds.
    pub fn knows(&self, id: usize, alive: &[i32]) -> Result<()> {
        self.node(id)?.until(|known| known == alive)
    }

    /// Makes a topic with a copy on every node; `settings` are the topic's, such as
    /// `cleanup.policy`. Asks a node that runs, without the second that Kafka's tool takes, and
    /// returns when every node that runs knows the topic.
    ///
    /// # Errors
    /// What the cluster says.
    pub fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        settings: &[(&str, &str)],
    ) -> Result<()> {
        let replicas = i16::try_from(self.nodes.len())?;
        let address = self.running()?.address();
        wire::create_topic(&address, name, partitions, replicas, settings)?;
        let mut running = self.nodes.iter().filter(|node| node.process().is_some());
        running.try_for_each(|node| node.until_it_knows(name))
    }

    /// Throws the member out of a group whose `client.id` begins so, on a cluster of one node.
    ///
    /// # Errors
    /// Where there is none, or what the node says.
    pub fn expel(&self, group: &str, client: &str) -> Result<()> {
        wire::expel(&self.running()?.address(), group, client)
    }

    /// A node that runs.
    fn running(&self) -> Result<&Node> {
        let node = self.nodes.iter().find(|node| node.process().is_some());
        node.context("no node runs")
    }

    /// Runs one of Kafka's tools, named as its script is, `topics` for `kafka-topics.sh`, on this
    /// cluster; returns what it prints.
    ///
    /// # Errors
    /// What it says when it fails.
    pub fn tool(&self, name: &str, arguments: &[&str]) -> Result<String> {
        self.run_tool(name, &self.bootstrap_servers(), arguments)
    }

    /// As [`KafkaCluster::tool`], through the secure listener.
    ///
    /// # Errors
    /// As [`KafkaCluster::tool`], and where the cluster has none.
    pub fn secure_tool(&self, name: &str, arguments: &[&str]) -> Result<String> {
        let certificates = self.certificates.as_ref();
        let certificates = certificates.context("the cluster has no secure listener")?;
        let config = self.scratch.path().join("client.properties");
        fs::write(&config, secure::java(certificates))?;
        let config = config.to_string_lossy().into_owned();
        let arguments = [&["--command-config", &config], arguments].concat();
        self.run_tool(name, &self.addresses(|ports| ports.secure), &arguments)
    }

    fn run_tool(&self, name: &str, servers: &str, arguments: &[&str]) -> Result<String> {
        let logging = self.node(1)?.directory.join("log4j2.properties");
        let mut java = jvm::command(TOOL_HEAP, jvm::Code::Soon, &logging)?;
        java.args([jvm::tool(name)?, "--bootstrap-server", servers]);
        let output = java.args(arguments).stdin(Stdio::null()).output()?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "{name} {arguments:?}: {printed}{errors}"
        );
        Ok(printed)
    }

    fn node(&self, id: usize) -> Result<&Node> {
        let node = id.checked_sub(1).and_then(|index| self.nodes.get(index));
        node.with_context(|| format!("there is no node {id}"))
    }

    fn signal(&self, id: usize, name: &str) -> Result<()> {
        let process = self.node(id)?.process();
        process
            .as_ref()
            .context("the node does not run")?
            .signal(name)
    }

    fn addresses(&self, port: impl Fn(&Ports) -> u16) -> String {
        let address = |node: &Node| format!("127.0.0.1:{}", port(&node.ports));
        let addresses: Vec<_> = self.nodes.iter().map(address).collect();
        addresses.join(",")
    }
}

impl Node {
    fn process(&self) -> MutexGuard<'_, Option<Supervised>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.plain)
    }

    fn launch(&self) -> Result<Supervised> {
        let logging = self.directory.join("log4j2.properties");
        let mut java = match self.sustained {
            true => jvm::command(SUSTAINED_HEAP, jvm::Code::Fast, &logging)?,
            false => jvm::command(BROKER_HEAP, jvm::Code::Soon, &logging)?,
        };
        java.arg("kafka.Kafka")
            .arg(self.directory.join("server.properties"));
        Supervised::start(&java)
    }

    /// Waits until it says that it serves, and tells a client that so many nodes are alive.
    fn ready(&self, nodes: usize) -> Result<()> {
        {
            let mut process = self.process();
            let process = process.as_mut().context("the node does not run")?;
            process.hear("Kafka Server started")?;
        }
        self.until(|alive| alive.len() >= nodes)
    }

    /// Asks it for a topic until it knows it.
    fn until_it_knows(&self, topic: &str) -> Result<()> {
        for _ in 0..QUESTIONS_MAX {
            if wire::knows_topic(&self.address(), topic)? {
                return Ok(());
            }
            let mut process = self.process();
            let process = process.as_mut().context("the node does not run")?;
            process.runs_on(PACE)?;
        }
        bail!("{} never hears of topic {topic}", self.address())
    }

    /// Asks it which nodes are alive until the answer is as wanted.
    fn until(&self, wanted: impl Fn(&[i32]) -> bool) -> Result<()> {
        let mut answer = wire::brokers(&self.address());
        for _ in 0..QUESTIONS_MAX {
            if answer.as_ref().is_ok_and(|alive| wanted(alive)) {
                return Ok(());
            }
            let mut process = self.process();
            let process = process.as_mut().context("the node does not run")?;
            process.runs_on(PACE)?;
            answer = wire::brokers(&self.address());
        }
        let answer = answer.with_context(|| self.address())?;
        ensure!(
            wanted(&answer),
            "{} knows only nodes {answer:?}",
            self.address()
        );
        Ok(())
    }
}
