//! What a program has sent through topics of its own: how many records, and of what size.
//!
//! Records that are deleted by now count by their offsets, and are taken to have been as large as
//! those that are left; what marks the ends of transactions is not told from records there. What a
//! compaction has taken out does not count: the topics are young, and their segments are open.

use crate::{WAIT, admin, beginning_with, check::each, common::Options};
use anyhow::{Result, bail};
use rdkafka::consumer::{BaseConsumer, Consumer};

/// Tells of all topics whose names begin so, in one array.
pub(crate) fn run(options: &Options) -> Result<String> {
    let names = beginning_with(&admin(options)?, options.text("topic")?)?;
    let lines: Result<Vec<_>> = names.iter().map(|name| of(options, name)).collect();
    Ok(format!("[{}]", lines?.join(",")))
}

fn of(options: &Options, name: &str) -> Result<String> {
    let (mut read, mut key_bytes, mut value_bytes) = (0_u64, 0, 0);
    let consumer = each(options, name, |message| {
        read += 1;
        key_bytes += message.key_len();
        value_bytes += message.payload_len();
        Ok(())
    })?;
    let deleted = deleted(&consumer, name, options.number("partitions")?)?;
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
fn deleted(consumer: &BaseConsumer, topic: &str, partitions: i32) -> Result<u64> {
    let mut deleted = 0;
    for partition in 0..partitions {
        let (low, _) = consumer.fetch_watermarks(topic, partition, WAIT)?;
        deleted += u64::try_from(low)?;
    }
    Ok(deleted)
}
