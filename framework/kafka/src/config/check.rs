//! Whether clients can be made of what the user has set, asked before anything is.
//!
//! Invariant: no setting is passed over in silence. What correctness does not leave open may be
//! said again, and whoever says something else is told.

use super::{
    CONSUMER, CONSUMER_MUST, Fixed, KafkaConfig, MEMBER, MEMBER_MUST, PRODUCER, PRODUCER_MUST,
    configured,
};
use millstream_log::{Error, Result};

/// What clients are called is made from other settings, of which each is named here.
const NAMES: Fixed = &[
    ("client.id", "application.id and the process's own id"),
    ("group.id", "application.id"),
    ("group.instance.id", "the program's group.instance.id"),
    (
        "transactional.id",
        "application.id and the process's own id",
    ),
];

/// Second names of keys and values that librdkafka knows under several.
const ALIASES: Fixed = &[
    ("request.required.acks", "acks"),
    ("-1", "all"),
    ("true", "1"),
    ("yes", "1"),
    ("on", "1"),
    ("t", "1"),
    ("false", "0"),
    ("no", "0"),
    ("off", "0"),
    ("f", "0"),
];

/// Settings of the user's for a kind of client: with what prefix, which, and what must hold there.
type Part<'a> = (&'static str, &'a [(String, String)], &'static [Fixed]);

impl KafkaConfig {
    /// # Errors
    /// `Fatal` where a setting is none, has an impossible value, or is not for the user to choose.
    pub(crate) fn check(&self) -> Result<()> {
        let consumer: &[Fixed] = &[CONSUMER_MUST, MEMBER_MUST];
        let parts: [Part<'_>; 4] = [
            (
                "",
                &self.client,
                &[CONSUMER_MUST, MEMBER_MUST, PRODUCER_MUST],
            ),
            ("consumer.", &self.consumer, consumer),
            ("producer.", &self.producer, &[PRODUCER_MUST]),
            ("admin.", &self.admin, &[]),
        ];
        for (prefix, settings, fixed) in parts {
            for (key, value) in settings {
                may_be_set(key, value, fixed)
                    .map_err(|why| Error::Fatal(format!("{prefix}{key}: {why}")))?;
            }
        }
        for (recommended, own, must) in [
            (CONSUMER, &self.consumer, CONSUMER_MUST),
            (MEMBER, &self.consumer, MEMBER_MUST),
            (PRODUCER, &self.producer, PRODUCER_MUST),
        ] {
            configured(&self.layers(recommended, own, must, &|_| true))?;
        }
        Ok(())
    }
}

fn may_be_set(key: &str, value: &str, fixed: &[Fixed]) -> std::result::Result<(), String> {
    let canonical = |text: &str| {
        let text = text.to_ascii_lowercase();
        let alias = ALIASES.iter().find(|(second, _)| *second == text);
        alias.map_or(text, |(_, first)| (*first).to_owned())
    };
    if let Some((_, from)) = NAMES.iter().find(|(name, _)| *name == key) {
        return Err(format!("is made from {from}, and cannot be set by itself"));
    }
    let mut must = fixed.iter().flat_map(|fixed| fixed.iter());
    let other =
        must.find(|(name, must)| *name == canonical(key) && canonical(must) != canonical(value));
    match other {
        Some((_, must)) => Err(format!(
            "is always {must} here, because correctness depends on it: take the setting out"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str, value: &str) -> Vec<(String, String)> {
        vec![(key.to_owned(), value.to_owned())]
    }

    fn consumer(key: &str, value: &str) -> KafkaConfig {
        KafkaConfig {
            consumer: pair(key, value),
            ..KafkaConfig::default()
        }
    }

    fn producer(key: &str, value: &str) -> KafkaConfig {
        KafkaConfig {
            producer: pair(key, value),
            ..KafkaConfig::default()
        }
    }

    #[test]
    fn what_is_not_open_is_refused_and_may_be_said_again() {
        let always = |must: &str| {
            format!(
                "is always {must} here, because correctness depends on it: take the setting out"
            )
        };
        let all = KafkaConfig {
            client: pair("isolation.level", "read_uncommitted"),
            ..KafkaConfig::default()
        };
        let admin = KafkaConfig {
            admin: pair("client.id", "me"),
            ..KafkaConfig::default()
        };
        for (config, key, why) in [
            (producer("acks", "0"), "producer.acks", always("all")),
            (
                producer("request.required.acks", "1"),
                "producer.request.required.acks",
                always("all"),
            ),
            (
                consumer("enable.auto.commit", "true"),
                "consumer.enable.auto.commit",
                always("false"),
            ),
            (
                consumer("partition.assignment.strategy", "cooperative-sticky"),
                "consumer.partition.assignment.strategy",
                always("range"),
            ),
            (all, "isolation.level", always("read_committed")),
            (
                consumer("group.id", "other"),
                "consumer.group.id",
                "is made from application.id, and cannot be set by itself".to_owned(),
            ),
            (
                admin,
                "admin.client.id",
                "is made from application.id and the process's own id, and cannot be set by itself"
                    .to_owned(),
            ),
        ] {
            let told = config.check().unwrap_err();
            assert_eq!(told, Error::Fatal(format!("{key}: {why}")));
        }
        for config in [
            producer("acks", "-1"),
            producer("acks", "ALL"),
            producer("enable.idempotence", "1"),
            consumer("enable.auto.commit", "False"),
            consumer("isolation.level", "read_committed"),
            consumer("session.timeout.ms", "7000"),
            KafkaConfig::default(),
        ] {
            config.check().unwrap();
        }
    }

    #[test]
    fn what_no_client_knows_is_refused_before_one_is_made() {
        for (config, key) in [
            (producer("lingr.ms", "1"), "lingr.ms"),
            (producer("linger.ms", "soon"), "linger.ms"),
            (consumer("fetch.min.bytes", "-4"), "fetch.min.bytes"),
            (consumer("session.timeout", "1"), "session.timeout"),
        ] {
            let told = config.check().unwrap_err().to_string();
            assert!(told.contains(key), "{told}");
        }
    }
}
