//! How the JVM is run for Kafka: quick to start and small, from what `tests/setup/kafka` has made.
//!
//! Invariant: the class path is word for word the one that the archive of classes was made with;
//! the JVM passes over an archive that does not fit, and only starts more slowly.

use anyhow::{Context, Result, bail, ensure};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Where `tests/setup/kafka` puts its things.
pub(super) fn home() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = set("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(set("HOME")?).join(".cache")));
    let cache = cache.context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(cache.join("millstream/kafka-4.3.1"))
}

/// Whether all is there.
pub(super) fn available() -> Result<()> {
    let home = home()?;
    let complete = home.join("complete").exists();
    ensure!(
        complete,
        "no Kafka in {}: run tests/setup/kafka",
        home.display()
    );
    let version = Command::new(java()).arg("-version").output();
    let ran = version.is_ok_and(|output| output.status.success());
    ensure!(ran, "no java: run tests/setup/packages test");
    Ok(())
}

fn java() -> PathBuf {
    tool_of_jdk("java")
}

/// A tool of the JDK: of `JAVA_HOME` where that is set.
pub(super) fn tool_of_jdk(name: &str) -> PathBuf {
    let home = std::env::var_os("JAVA_HOME").filter(|home| !home.is_empty());
    home.map_or_else(
        || name.into(),
        |home| Path::new(&home).join("bin").join(name),
    )
}

/// What the JVM compiles for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// To be there soon.
    Soon,
    /// To be fast once it is there.
    Fast,
}

/// The command that runs one of Kafka's main classes, with this much heap in megabytes, logging
/// as a file says; the class and its arguments are still to be added.
pub(super) fn command(heap: u32, code: Code, logging: &Path) -> Result<Command> {
    let home = home()?;
    let mut java = Command::new(java());
    match code {
        Code::Soon => java.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xms32m"]),
        // As Kafka's own script has it.
        Code::Fast => java
            .args(["-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"])
            .arg("-XX:InitiatingHeapOccupancyPercent=35")
            .arg(format!("-Xms{heap}m")),
    };
    java.arg(format!("-Xmx{heap}m"))
        .arg("-Xss512k")
        .args([
            "-XX:MaxDirectMemorySize=128m",
            "-XX:+ExitOnOutOfMemoryError",
        ])
        // What the JVM itself has to say would go to standard output, which nobody reads.
        .args(["-XX:+DisplayVMOutputToStderr", "-Djava.awt.headless=true"])
        .arg(format!(
            "-XX:SharedArchiveFile={}",
            home.join("classes.jsa").display()
        ))
        .arg(format!(
            "-Dlog4j2.configurationFile=file:{}",
            logging.display()
        ))
        .arg("-cp")
        .arg(home.join("libs/*"));
    Ok(java)
}

/// The main class of one of Kafka's tools, by the name of its script without `kafka-` and `.sh`.
pub(super) fn tool(name: &str) -> Result<&'static str> {
    Ok(match name {
        // Moves to the other tools with 4.4.
        "configs" => "kafka.admin.ConfigCommand",
        "console-consumer" => "org.apache.kafka.tools.consumer.ConsoleConsumer",
        "console-producer" => "org.apache.kafka.tools.ConsoleProducer",
        "consumer-groups" => "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        "features" => "org.apache.kafka.tools.FeatureCommand",
        "get-offsets" => "org.apache.kafka.tools.GetOffsetShell",
        "groups" => "org.apache.kafka.tools.GroupsCommand",
        "metadata-quorum" => "org.apache.kafka.tools.MetadataQuorumCommand",
        "producer-perf-test" => "org.apache.kafka.tools.ProducerPerformance",
        "topics" => "org.apache.kafka.tools.TopicCommand",
        "transactions" => "org.apache.kafka.tools.TransactionsCommand",
        _ => bail!("no Kafka tool is known by the name {name}"),
    })
}

/// Logging to standard error: all that is a warning, and that a broker has started.
pub(super) const LOGGING: &str = "\
status = ERROR
appender.c.type = Console
appender.c.name = C
appender.c.target = SYSTEM_ERR
appender.c.layout.type = PatternLayout
appender.c.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = WARN
rootLogger.appenderRef.c.ref = C
logger.started.name = kafka.server.KafkaRaftServer
logger.started.level = INFO
";
