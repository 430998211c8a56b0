//! What a group's member may do, asked of the log's state.
//!
//! Invariant: the answer holds as long as the lock under which it was given.

use super::{group::Group, state::State};
use crate::api::{Committed, Error, Result};
use millstream_core::record::{Offset, TopicPartition};

/// The group, if the client still speaks for the member.
pub(super) fn known<'a>(
    state: &'a mut State,
    group: &str,
    member: &str,
    id: u64,
) -> Option<&'a mut Group> {
    state
        .groups
        .get_mut(group)
        .filter(|group| group.has(member, id))
}

/// Whether the member may read and commit that partition now.
pub(super) fn owned(
    state: &State,
    group: &str,
    member: &str,
    id: u64,
    at: &TopicPartition,
) -> Result<()> {
    let found = state
        .groups
        .get(group)
        .filter(|group| group.has(member, id));
    let found = found.ok_or_else(|| fenced(member))?;
    match found.reader(at) {
        Some(task) if found.owns(member, task) => Ok(()),
        Some(task) => Err(Error::Fenced(format!(
            "member {member} does not own task {task} ({at})"
        ))),
        None => Err(Error::Fatal(format!("no task of group {group} reads {at}"))),
    }
}

pub(super) fn fenced(member: &str) -> Error {
    Error::Fenced(format!("member {member} was removed from its group"))
}

pub(super) fn places(
    state: &State,
    group: &str,
    partitions: &[TopicPartition],
) -> Result<Vec<Option<Committed>>> {
    partitions
        .iter()
        .map(|at| Ok(state.place(group, at)?.cloned()))
        .collect()
}

/// Where a member begins that does not seek: the group's place, or the partition's start. A place
/// below the start is kept, so that `fetch` says that records are gone.
pub(super) fn first_place(state: &State, group: &str, at: &TopicPartition) -> Option<Offset> {
    let place = state.place(group, at).ok()?;
    place
        .map(|place| place.offset)
        .or_else(|| Some(state.partition(at).ok()?.1.row.start))
}
