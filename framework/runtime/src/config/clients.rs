//! Settings of Kafka's clients that people know by heart, and write without the prefix that says
//! which client is meant.
//!
//! Not a list of what may be set: all that librdkafka knows may, under one of
//! [`PREFIXES`](super::PREFIXES), and it says itself what it does not know.

/// Of consumers, by librdkafka's names.
const CONSUMER: [&str; 9] = [
    "fetch.max.bytes",
    "fetch.min.bytes",
    "fetch.wait.max.ms",
    "heartbeat.interval.ms",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "session.timeout.ms",
];

/// Of producers.
const PRODUCER: [&str; 10] = [
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

/// Of clients, but decided here: by what correctness needs, or from other settings.
const DECIDED: [&str; 10] = [
    "acks",
    "client.id",
    "enable.auto.commit",
    "enable.idempotence",
    "group.id",
    "group.protocol",
    "group.remote.assignor",
    "isolation.level",
    "partition.assignment.strategy",
    "transactional.id",
];

/// What there is to say to who writes a key that is a client's, if it is one.
pub(super) fn hint(key: &str) -> Option<String> {
    let key = key.to_ascii_lowercase().replace(['_', '-'], ".");
    if DECIDED.contains(&&*key) {
        return Some("Kafka's clients have it, and Millstream sets it itself".into());
    }
    let written = written(&key)?;
    Some(format!("it is one of Kafka's clients: write {written}"))
}

fn written(key: &str) -> Option<String> {
    let one = |client: &str| Some(format!("{client}.{key}"));
    if CONSUMER.contains(&key) {
        one("consumer")
    } else if PRODUCER.contains(&key) {
        one("producer")
    } else if EVERY.contains(&key) {
        Some(format!("consumer.{key} or producer.{key}"))
    } else {
        None
    }
}
