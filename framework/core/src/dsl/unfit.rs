//! What is said of a store that it cannot have: a mistake of the program, rather than nothing.

use super::StreamsBuilder;
use std::{panic::Location, time::Duration};

impl StreamsBuilder {
    /// Only tables have versions, and the stores that are declared so.
    pub(super) fn no_versions(
        &self,
        name: &str,
        history: Option<Duration>,
        at: &'static Location<'static>,
    ) {
        if history.is_some() {
            let text = format!(
                "the store {name:?} cannot have versions: leave out versioned(..), which is for \
                 table(..), to_table(..), materialize(..) and transform_values(..)"
            );
            self.mistake(at, text);
        }
    }

    /// Only stores of windows forget by time.
    pub(super) fn no_retention(
        &self,
        name: &str,
        retention: Option<Duration>,
        at: &'static Location<'static>,
    ) {
        if retention.is_some() {
            let text = format!(
                "the store {name:?} is not one of windows, so it has no retention: leave out \
                 with_retention(..)"
            );
            self.mistake(at, text);
        }
    }
}
