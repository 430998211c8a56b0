//! The listener that is encrypted and asks for a password, as clusters outside of tests have it.
//!
//! Invariant: a client needs both the authority's certificate and the password; the names here are
//! librdkafka's, and those of Kafka's own tools beside them.

use crate::servers::certificates::Certificates;
use anyhow::Result;
use std::fs;

/// The user that `tests/setup/kafka` put among a cluster's first records.
const USER: &str = "tester";
/// A secret that only loopback ever hears, for as long as a test runs.
const PASSWORD: &str = "tester-secret";

/// The lines that a broker needs for it. The certificate and its key lie in one file, as PEM.
pub(super) fn listener(certificates: &Certificates) -> Result<String> {
    let store = certificates.key.with_file_name("keystore.pem");
    let key = fs::read_to_string(&certificates.key)?;
    let chain = fs::read_to_string(&certificates.certificate)?;
    fs::write(&store, key + &chain)?;
    let store = store.display();
    Ok(format!(
        "listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location={store}
listener.name.secure.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.secure.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
"
    ))
}

/// What librdkafka needs to log in.
pub(super) fn librdkafka(servers: String, certificates: &Certificates) -> Vec<(String, String)> {
    let authority = certificates.authority.display().to_string();
    [
        ("bootstrap.servers", servers),
        ("security.protocol", "SASL_SSL".to_owned()),
        ("ssl.ca.location", authority),
        ("sasl.mechanism", "SCRAM-SHA-512".to_owned()),
        ("sasl.username", USER.to_owned()),
        ("sasl.password", PASSWORD.to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .to_vec()
}

/// The same for clients in Java, as the text of a properties file.
pub(super) fn java(certificates: &Certificates) -> String {
    let authority = certificates.authority.display();
    format!(
        "security.protocol=SASL_SSL
sasl.mechanism=SCRAM-SHA-512
sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \
username=\"{USER}\" password=\"{PASSWORD}\";
ssl.truststore.type=PEM
ssl.truststore.location={authority}
"
    )
}
