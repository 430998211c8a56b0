//! Records that came in one pack: they have one place, so they are processed in one go.
//!
//! Invariant: nobody outside a task finds it amid a pack, but while asynchronous operators wait for
//! answers; then what is left of the pack counts as waiting, too, and so there is no commit.

use super::Task;
use crate::error::{Error, Result};

impl Task {
    /// How many records of the log are to be fetched for an input so that about `most` are queued:
    /// one of a repartition topic may be a pack of many.
    pub fn wanted(&self, input: usize, most: usize) -> usize {
        self.inputs[input].wanted(most)
    }

    /// Processes what is left of packs that were begun, and says how many records that was: none
    /// while asynchronous operators have as many records as they want.
    pub(super) fn finish_packs(&mut self) -> Result<usize> {
        let mut done = 0;
        for input in 0..self.inputs.len() {
            while self.inputs[input].amid && !self.waits_for_calls() {
                self.process_head(input)?;
                done += 1;
                if !self.calls.is_empty() {
                    self.settle_answers()?;
                }
            }
        }
        Ok(done)
    }

    /// How many inputs are amid a pack.
    pub(super) fn begun_packs(&self) -> usize {
        self.inputs.iter().filter(|input| input.amid).count()
    }

    /// The record in hand should be a pack, and none of an input's sources can read it.
    #[cold]
    pub(super) fn refuse_pack(&mut self, input: usize) -> Result<()> {
        let input = &self.inputs[input];
        let text = "a pack of records has a version that this program does not know, or is broken";
        self.ctx
            .refuse_unread(&input.name, Error::deserialization(text))?;
        self.ctx.unread = input.pushes.len();
        Ok(())
    }
}
