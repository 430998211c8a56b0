//! What an output topic holds, in four numbers that are equal exactly when the outputs are.
//!
//! `order` depends on the order of the records within each partition, `records_hash` on the records
//! only, `last_hash` on the last value of each key only. Keys, values and times are hashed.

use crate::{
    WAIT,
    common::{self, Options},
};
use anyhow::{Result, bail};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::BorrowedMessage,
};
use std::{collections::HashMap, time::Duration};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// A consumer that sees committed records only, at the start of these partitions.
pub(crate) fn reader(options: &Options, topic: &str, from: Offset) -> Result<BaseConsumer> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", options.text("bootstrap.servers")?)
        .set("group.id", "kafka-load")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("fetch.queue.backoff.ms", "1")
        .set("fetch.wait.max.ms", "20");
    let consumer: BaseConsumer = config.create()?;
    let mut list = TopicPartitionList::new();
    for partition in 0..options.number("partitions")? {
        list.add_partition_offset(topic, partition, from)?;
    }
    consumer.assign(&list)?;
    Ok(consumer)
}

/// Shows each record of a topic, up to its end, and returns the consumer that has read them.
pub(crate) fn each(
    options: &Options,
    topic: &str,
    mut show: impl FnMut(&BorrowedMessage<'_>) -> Result<()>,
) -> Result<BaseConsumer> {
    let partitions: usize = options.number("partitions")?;
    let consumer = reader(options, topic, Offset::Beginning)?;
    let (begin, mut ended) = (common::now(), 0);
    while ended < partitions {
        match consumer.poll(Duration::from_millis(100)) {
            None if begin.elapsed() > WAIT * 5 => bail!("{topic} did not end"),
            None => {}
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(message) => show(&message?)?,
        }
    }
    Ok(consumer)
}

/// Reads a topic to its end.
pub(crate) fn run(options: &Options) -> Result<String> {
    let topic = options.text("topic")?;
    let partitions: usize = options.number("partitions")?;
    let mut order = vec![0_u64; partitions];
    let (mut records, mut sum) = (0_u64, 0_u64);
    let mut last: HashMap<Vec<u8>, u64> = HashMap::new();
    each(options, topic, |message| {
        let (key, value) = (message.key().unwrap_or_default(), message.payload());
        let mut hash = xxh3_64(key);
        hash = xxh3_64_with_seed(value.unwrap_or_default(), hash ^ u64::from(value.is_none()));
        let last_hash = hash;
        let time = message.timestamp().to_millis().unwrap_or(-1);
        hash = xxh3_64_with_seed(&time.to_be_bytes(), hash);
        records += 1;
        sum = sum.wrapping_add(hash);
        let at = &mut order[usize::try_from(message.partition())?];
        *at = xxh3_64_with_seed(&hash.to_be_bytes(), *at);
        match last.get_mut(key) {
            Some(found) => *found = last_hash,
            None => drop(last.insert(key.to_vec(), last_hash)),
        }
        Ok(())
    })?;
    let order = order
        .iter()
        .fold(0, |all, at| xxh3_64_with_seed(&at.to_be_bytes(), all));
    let last_hash = last
        .values()
        .fold(0_u64, |all, hash| all.wrapping_add(*hash));
    let keys = last.len();
    Ok(format!(
        "{{\"records\":{records},\"keys\":{keys},\"order\":\"{order:016x}\",\
         \"records_hash\":\"{sum:016x}\",\"last_hash\":\"{last_hash:016x}\"}}"
    ))
}
