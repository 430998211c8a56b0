//! A program's input of texts, of which some are no numbers, and a driver that keeps dead letters.

use millstream_core::{
    prelude::*,
    task::{Policies, TaskConfig},
};

pub(crate) static TEXTS: Topic<String, String> = Topic::new("texts", utf8(), utf8());
pub(crate) static NUMBERS: Topic<String, i64> = Topic::new("numbers", utf8(), i64_be());

#[expect(clippy::needless_pass_by_value, reason = "it is what operators take")]
pub(crate) fn parse(text: String) -> Result<i64, std::num::ParseIntError> {
    text.parse()
}

/// A driver whose program keeps bad records in "dead" unless somebody says otherwise.
pub(crate) fn run(builder: StreamsBuilder, policies: impl Into<Policies>) -> TopologyTestDriver {
    let config = TaskConfig {
        policies: policies.into(),
        dead_letter_topic: Some("dead".to_owned()),
        ..TaskConfig::new("app")
    };
    TopologyTestDriver::with_config(builder.build().unwrap(), &config).unwrap()
}

pub(crate) fn pipe(driver: &mut TopologyTestDriver, texts: &[&str]) -> millstream_core::Result<()> {
    for (text, time) in texts.iter().zip(0..) {
        driver.pipe(&TEXTS, "k".to_owned(), (*text).to_owned(), time)?;
    }
    Ok(())
}
