//! A processor for programs in which something else matters.

use millstream_core::prelude::*;

/// Hands on what it gets, whichever stores it has.
pub(crate) struct Pass;

impl Processor<String, String> for Pass {
    type Key = String;
    type Value = String;

    fn process(
        &mut self,
        record: Record<String, String>,
        ctx: &mut ProcessorContext<'_, String, String>,
    ) -> ProcessResult {
        Ok(ctx.forward(record)?)
    }
}

impl FixedKeyProcessor<String, String> for Pass {
    type Value = String;

    fn process(
        &mut self,
        _: &String,
        text: String,
        ctx: &mut FixedKeyContext<'_, String, String>,
    ) -> ProcessResult {
        Ok(ctx.forward(text)?)
    }
}
