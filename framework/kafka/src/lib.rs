//! The log over a Kafka cluster.
