//! What operators of programs that are data say of themselves: what they read, which topics, and
//! what becomes of bad records there. Invariant: an operator that reads or answers for something
//! does so here as well, since everything that looks at programs asks here.

use super::{
    Op,
    op::{Joining, Place, Suppression, Times, Trying, Windows},
    policy::Policy,
};

impl Op {
    /// What it reads, in the order of its sides.
    pub fn reads(&self) -> Vec<Place> {
        let mut reads = Vec::new();
        self.clone().each_read(|place| reads.push(*place));
        reads
    }

    /// Calls with every place that the operator reads.
    pub fn each_read(&mut self, mut call: impl FnMut(&mut Place)) {
        match self {
            Self::Stream { .. }
            | Self::Table { .. }
            | Self::GlobalTable { .. }
            | Self::GlobalStore { .. }
            | Self::ReadOnly { .. } => {}
            Self::Cogroup { of } => of.iter_mut().for_each(call),
            Self::Merge { of, with }
            | Self::LookUp { of, with }
            | Self::Join(Joining { of, with, .. })
            | Self::ForeignJoin { of, with, .. } => {
                call(of);
                call(with);
            }
            Self::Filter { of, .. }
            | Self::FilterNot { of, .. }
            | Self::MapValues { of, .. }
            | Self::Map { of, .. }
            | Self::SelectKey { of, .. }
            | Self::FlatMapValues { of, .. }
            | Self::FlatMap { of, .. }
            | Self::Peek { of }
            | Self::Try(Trying { of, .. })
            | Self::Split { of, .. }
            | Self::Branch { of, .. }
            | Self::Repartition { of }
            | Self::GroupByKey { of }
            | Self::GroupBy { of, .. }
            | Self::Window(Windows { of, .. })
            | Self::Count { of }
            | Self::Reduce { of, .. }
            | Self::Aggregate { of, .. }
            | Self::Suppress(Suppression { of, .. })
            | Self::ToTable { of, .. }
            | Self::ToStream { of }
            | Self::TransformValues { of, .. }
            | Self::Process { of, .. }
            | Self::ProcessValues { of, .. }
            | Self::ProcessVersions { of, .. }
            | Self::ProcessHeaders { of, .. }
            | Self::Schedules { of, .. }
            | Self::Children { of }
            | Self::To { of, .. } => call(of),
        }
    }

    /// What becomes of what it refuses, or of bad records of a source, where it says so itself.
    pub fn policy(&self) -> Option<&Policy> {
        match self {
            Self::Stream { on_error, .. }
            | Self::Table { on_error, .. }
            | Self::ReadOnly { on_error, .. }
            | Self::Try(Trying { on_error, .. })
            | Self::Process { on_error, .. }
            | Self::ProcessValues { on_error, .. }
            | Self::TransformValues { on_error, .. }
            | Self::To { on_error, .. } => on_error.as_ref(),
            _ => None,
        }
    }

    /// The topic of a source.
    pub fn source(&self) -> Option<&String> {
        match self {
            Self::Stream { topic, .. }
            | Self::Table { topic, .. }
            | Self::GlobalTable { topic }
            | Self::GlobalStore { topic }
            | Self::ReadOnly { topic, .. } => Some(topic),
            _ => None,
        }
    }

    /// What time a source's records have, if it says so.
    pub fn times(&self) -> Option<Times> {
        match self {
            Self::Stream { time, .. } | Self::Table { time, .. } => *time,
            _ => None,
        }
    }

    /// Whether it refuses some records.
    pub fn refuses(&self) -> bool {
        match self {
            Self::Try(_) => true,
            Self::Process { refuses, .. }
            | Self::ProcessValues { refuses, .. }
            | Self::TransformValues { refuses, .. }
            | Self::To { refuses, .. } => refuses.is_some(),
            _ => false,
        }
    }

    /// The operator's name, as programs have it.
    pub fn name(&self) -> String {
        let written = serde_json::to_value(self).unwrap_or_default();
        written["op"].as_str().unwrap_or_default().to_owned()
    }
}
