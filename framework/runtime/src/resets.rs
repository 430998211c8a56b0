//! Whether a reset of the program was begun and is not finished.
//!
//! A reset sets places back and deletes state and topics, one after the other, and may die in
//! between. The places say so until all of it is done, since they are what every instance reads
//! before it begins, wherever its disk is. Invariant: no task begins at such a place, or its
//! records would be counted again by the state of before.

use millstream_core::task::Place;
use millstream_log::{Committed, Error, Result};

/// Refuses to go on from places that a reset has set back and not let go of.
///
/// # Errors
/// `Fatal`, with what to do about it.
pub(crate) fn refuse(places: &[Option<Committed>]) -> Result<()> {
    let mut places = places.iter().flatten();
    if places.any(|place| Place::is_in_reset(&place.metadata)) {
        return Err(Error::Fatal(
            "a reset of this program was begun and is not finished, so some of its state and of \
             its internal topics may still be there: run `reset --execute` again, which finishes it"
                .to_owned(),
        ));
    }
    Ok(())
}
