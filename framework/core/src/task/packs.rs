//! What a task must know of packs: how many to ask for, and what becomes of one that is broken.

use super::Task;
use crate::{
    error::{Error, Result},
    record::Timestamp,
};

impl Task {
    /// How many records of the log are to be fetched for an input so that about `most` are queued:
    /// one of a repartition topic may be a pack of many.
    pub fn wanted(&self, input: usize, most: usize) -> usize {
        self.inputs[input].wanted(most)
    }

    /// The record in hand, of this time, should be a pack, and none of an input's sources can read
    /// it.
    #[cold]
    pub(super) fn refuse_pack(&mut self, input: usize, timestamp: Timestamp) -> Result<()> {
        self.ctx.timestamp = timestamp;
        let input = &self.inputs[input];
        let text = "a pack of records has a version that this program does not know, or is broken";
        self.ctx
            .refuse_unread(&input.name, Error::deserialization(text))?;
        self.ctx.unread = input.pushes.len();
        Ok(())
    }
}
