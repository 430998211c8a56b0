//! The first engine: `TopologyTestDriver`. Invariant: it adds no behaviour of its own.

use super::{DEAD_LETTERS, Engine, Raw, Settings};
use anyhow::Result;
use millstream_core::{
    driver::{RawOutput, TopologyTestDriver},
    record::{Record, Timestamp},
    serde::{Bytes, option},
    task::{Dropped, TaskConfig},
    topic::Topic,
    topology::Topology,
};

/// One thread, one partition, no log, a commit after every record.
pub struct TestDriver(TopologyTestDriver);

impl TestDriver {
    /// Opens all tasks of a topology.
    ///
    /// # Errors
    /// Where it cannot be run.
    pub fn open(topology: Topology, settings: &Settings) -> Result<Box<dyn Engine>> {
        let config = TaskConfig {
            policies: settings.policies,
            dead_letter_topic: Some(DEAD_LETTERS.to_owned()),
            ..TaskConfig::new("cases")
        };
        Ok(Box::new(Self(TopologyTestDriver::with_config(
            topology, &config,
        )?)))
    }
}

fn raw((key, value, timestamp, headers): RawOutput) -> Raw {
    Raw {
        key,
        value,
        timestamp,
        headers,
    }
}

impl Engine for TestDriver {
    fn pipe(&mut self, topic: &str, record: &Raw) -> Result<()> {
        // The driver takes topics as the constants that programs have them as.
        let name = topic.to_owned().leak();
        let topic = Topic::new(name, option::<Bytes>(), option::<Bytes>());
        let record = Record {
            key: record.key.clone(),
            value: record.value.clone(),
            timestamp: record.timestamp,
            headers: record.headers.clone(),
        };
        Ok(self.0.pipe_record(&topic, &record)?)
    }

    fn advance_wall_clock(&mut self, now: Timestamp) -> Result<()> {
        Ok(self.0.advance_wall_clock(now)?)
    }

    fn read(&mut self, topic: &str) -> Result<Vec<Raw>> {
        Ok(self.0.read_raw(topic).into_iter().map(raw).collect())
    }

    fn changelog(&mut self, store: &str) -> Result<Vec<Raw>> {
        Ok(self.0.changelog(store).into_iter().map(raw).collect())
    }

    fn dropped(&self) -> Dropped {
        self.0.dropped()
    }
}
