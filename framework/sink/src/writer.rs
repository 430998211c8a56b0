//! Many rows in few calls, and one bad row found among many good ones.

use crate::{
    batch::Refusal,
    database::{Database, Failure},
    error::Trouble,
    table::TableSpec,
    value::Values,
};

/// Writes rows `0..rows` in order, inside the caller's transaction, and gives back those the
/// database refused. A stretch that fails for a row is halved until the row stands alone, so k bad
/// rows among n cost about k log n calls.
pub(crate) fn write(
    database: &mut dyn Database,
    table: &TableSpec,
    values: &Values,
    rows: usize,
) -> Result<Vec<(usize, Refusal)>, Trouble> {
    let stretch = database.dialect().stretch;
    let mut refused = Vec::new();
    let mut next = 0;
    // Stretches still to write, the nearest last; never more than log2(rows) of them.
    let mut halves = Vec::new();
    loop {
        let (start, len) = match halves.pop() {
            Some(half) => half,
            None if next == rows => return Ok(refused),
            None => {
                let len = stretch(rows - next, table.columns.len());
                next += len;
                (next - len, len)
            }
        };
        match database.upsert(table, values.rows(start, len)) {
            Ok(()) => {}
            Err(Failure::Row(message)) if len == 1 => {
                let exception = "ConstraintViolationException";
                refused.push((start, Refusal { exception, message }));
            }
            Err(Failure::Row(_)) => {
                let half = len / 2;
                halves.push((start + half, len - half));
                halves.push((start, half));
            }
            Err(other) => return Err(other.into()),
        }
    }
}
