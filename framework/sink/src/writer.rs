//! Many rows in few statements, and one bad row found among many good ones.

use crate::{
    batch::Refusal,
    database::{Database, Dialect, Failure, sql},
    error::Trouble,
    table::TableSpec,
    value::Values,
};
use std::{collections::BTreeMap, sync::Arc};

/// Inserts into one table. Statements have a power of two of rows, so that a few texts serve
/// batches of every size and stay prepared.
pub(crate) struct Writer {
    table: TableSpec,
    texts: BTreeMap<usize, Arc<str>>,
}

impl Writer {
    pub(crate) fn new(table: TableSpec) -> Self {
        Self {
            table,
            texts: BTreeMap::new(),
        }
    }

    /// Writes rows `0..rows` in order, inside the caller's transaction, and gives back those the
    /// database refused. A statement that fails for a row is halved until the row stands alone, so
    /// k bad rows among n cost about k log n statements.
    pub(crate) fn write(
        &mut self,
        database: &mut dyn Database,
        values: &Values,
        rows: usize,
    ) -> Result<Vec<(usize, Refusal)>, Trouble> {
        let most = rows_per_statement(database.dialect(), self.table.columns.len());
        let mut refused = Vec::new();
        let mut next = 0;
        // Stretches still to write, the nearest last; never more than log2(most) of them.
        let mut halves = Vec::new();
        while let Some((start, len)) = halves.pop().or_else(|| stretch(&mut next, rows, most)) {
            let text = self.text(database.dialect(), len);
            match database.execute(&text, values.rows(start, len)) {
                Ok(_) => {}
                Err(Failure::Row(message)) if len == 1 => {
                    let exception = "ConstraintViolationException";
                    refused.push((start, Refusal { exception, message }));
                }
                Err(Failure::Row(_)) => {
                    halves.push((start + len / 2, len / 2));
                    halves.push((start, len / 2));
                }
                Err(other) => return Err(other.into()),
            }
        }
        Ok(refused)
    }

    fn text(&mut self, dialect: &Dialect, rows: usize) -> Arc<str> {
        let table = &self.table;
        let text = self.texts.entry(rows);
        text.or_insert_with(|| sql::upsert(dialect, table, rows))
            .clone()
    }
}

/// The next stretch of rows: as many as a statement takes, then ever smaller powers of two.
fn stretch(next: &mut usize, rows: usize, most: usize) -> Option<(usize, usize)> {
    let left = rows - *next;
    let len = 1 << left.min(most).checked_ilog2()?;
    let start = *next;
    *next += len;
    Some((start, len))
}

fn rows_per_statement(dialect: &Dialect, columns: usize) -> usize {
    let fit = dialect.bind_limit / columns.max(1);
    dialect.insert_rows_max.min(fit).max(1)
}
