//! What a program has sent through topics of its own: how many records, and of what size.
//!
//! Records that are deleted by now count by their offsets, and are taken to have been as large as
//! those that are left; what marks the ends of transactions is not told from records there. What a
//! compaction has taken out does not count: the topics are young, and their segments are open.

use crate::{WAIT, admin, check::reader, common::Options};
use anyhow::{Result, bail};
use rdkafka::{
    Offset,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    metadata::MetadataTopic,
};
use std::time::Duration;

/// Tells of all topics whose names begin so, in one array.
pub(crate) fn run(options: &Options) -> Result<String> {
    let (prefix, all) = (
        options.text("topic")?,
        admin(options)?.inner().fetch_metadata(None, WAIT)?,
    );
    let own = |topic: &&MetadataTopic| topic.name().starts_with(prefix);
    let lines: Result<Vec<_>> = all
        .topics()
        .iter()
        .filter(own)
        .map(|t| of(options, t))
        .collect();
    Ok(format!("[{}]", lines?.join(",")))
}

fn of(options: &Options, topic: &MetadataTopic) -> Result<String> {
    let (name, partitions) = (topic.name(), topic.partitions().len());
    let consumer = reader(options, name, Offset::Beginning)?;
    let (mut read, mut key_bytes, mut value_bytes, mut ended) = (0_u64, 0, 0, 0);
    let mut silent = Duration::ZERO;
    while ended < partitions {
        let wait = Duration::from_millis(100);
        match consumer.poll(wait) {
            None if silent > WAIT => bail!("{name} did not end"),
            None => silent += wait,
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(message) => {
                let message = message?;
                silent = Duration::ZERO;
                read += 1;
                key_bytes += message.key_len();
                value_bytes += message.payload_len();
            }
        }
    }
    let deleted = deleted(&consumer, name, partitions)?;
    if read == 0 && deleted > 0 {
        bail!("of {name} nothing is left to measure");
    }
    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    let mean = |bytes: usize| bytes as f64 / read.max(1) as f64;
    Ok(format!(
        "{{\"topic\":\"{name}\",\"records\":{},\"key_bytes\":{:.0},\"value_bytes\":{:.0}}}",
        read + deleted,
        mean(key_bytes),
        mean(value_bytes),
    ))
}

/// How many offsets lie before what is left of a topic.
fn deleted(consumer: &BaseConsumer, topic: &str, partitions: usize) -> Result<u64> {
    let mut deleted = 0;
    for partition in 0..i32::try_from(partitions)? {
        let (low, _) = consumer.fetch_watermarks(topic, partition, WAIT)?;
        deleted += u64::try_from(low)?;
    }
    Ok(deleted)
}
