//! Settings of Kafka's clients that people know by heart, and write without the prefix that says
//! which client is meant.
//!
//! Not a list of what may be set: all that librdkafka knows may, under one of
//! [`PREFIXES`](super::PREFIXES), and it says itself what it does not know.

/// Of consumers, by librdkafka's names.
const CONSUMER: [&str; 11] = [
    "fetch.max.bytes",
    "fetch.min.bytes",
    "fetch.wait.max.ms",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "partition.assignment.strategy",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "session.timeout.ms",
];

/// Of producers.
const PRODUCER: [&str; 11] = [
    "acks",
    "batch.num.messages",
    "batch.size",
    "compression.level",
    "compression.type",
    "delivery.timeout.ms",
    "linger.ms",
    "max.in.flight.requests.per.connection",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "transaction.timeout.ms",
];

/// Of every client.
const EVERY: [&str; 8] = [
    "client.rack",
    "metadata.max.age.ms",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "retry.backoff.ms",
    "socket.keepalive.enable",
    "socket.receive.buffer.bytes",
    "socket.timeout.ms",
];

/// How to write a key that is a client's, if it is one.
pub(super) fn written(key: &str) -> Option<String> {
    let key = key.to_ascii_lowercase().replace(['_', '-'], ".");
    let one = |client: &str| Some(format!("{client}.{key}"));
    if CONSUMER.contains(&&*key) {
        one("consumer")
    } else if PRODUCER.contains(&&*key) {
        one("producer")
    } else if EVERY.contains(&&*key) {
        Some(format!("consumer.{key} or producer.{key}"))
    } else {
        None
    }
}
