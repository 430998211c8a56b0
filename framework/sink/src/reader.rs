//! Reading tables back, for tests, the command line and the web page. Never writes.

use crate::{
    database::{Database, Failure, Found, Location, sql},
    error::{Error, Result},
    value::{Kind, Value},
};
use serde_json::{Map, Value as Json};

/// A connection that counts and shows rows.
pub struct Reader {
    database: Box<dyn Database>,
}

impl Reader {
    /// Opens a database that is there already.
    ///
    /// # Errors
    /// [`Error::Database`] where there is none or it does not open.
    pub fn open(location: &Location) -> Result<Self> {
        let mut database = location.open(false);
        database.connect().map_err(unread)?;
        Ok(Self { database })
    }

    /// How many rows a table has.
    ///
    /// # Errors
    /// [`Error::Database`] where there is no such table or it cannot be read.
    pub fn count(&mut self, table: &str) -> Result<u64> {
        let count = format!("SELECT count(*) FROM {}", sql::quoted(table));
        let rows = self.database.query(&count.into(), &[]).map_err(unread)?;
        Ok(match rows.first().map(Vec::as_slice) {
            Some([Value::Integer(count)]) => count.unsigned_abs(),
            _ => 0,
        })
    }

    /// The first rows of a table in the order of its primary key, as JSON objects. Bytes are shown
    /// in hexadecimal, infinite numbers as text, timestamps as milliseconds.
    ///
    /// # Errors
    /// [`Error::Database`] where there is no such table or it cannot be read.
    pub fn rows(&mut self, table: &str, limit: u32) -> Result<Vec<Json>> {
        let columns = self.database.columns(table).map_err(unread)?;
        let list = |names: Vec<String>| names.join(", ");
        let readable = self.database.dialect().readable;
        let shown = columns.iter();
        let shown = shown.map(|column| readable(sql::quoted(&column.name), &column.declared));
        let all = list(shown.collect());
        let keys = columns.iter().filter(|column| column.key);
        let keys = list(keys.map(|column| sql::quoted(&column.name)).collect());
        let order = if keys.is_empty() { "1".into() } else { keys };
        // A table without columns is one that is not there: `SELECT *` has the database say so.
        let all = if all.is_empty() { "*".into() } else { all };
        // The limit is a number, so it may stand in the text.
        let select = format!(
            "SELECT {all} FROM {} ORDER BY {order} LIMIT {limit}",
            sql::quoted(table)
        );
        let rows = self.database.query(&select.into(), &[]).map_err(unread)?;
        let fits = self.database.dialect().fits;
        let object = |row: &Vec<Value>| {
            let fields = columns.iter().zip(row);
            Json::Object(
                fields
                    .map(|(column, value)| field(column, value, fits))
                    .collect::<Map<_, _>>(),
            )
        };
        Ok(rows.iter().map(object).collect())
    }
}

fn field(column: &Found, value: &Value, fits: fn(Kind, &str) -> bool) -> (String, Json) {
    let json = match value {
        Value::Null => Json::Null,
        Value::Text(text) => Json::String(text.to_string()),
        // Databases without truth values store numbers.
        Value::Integer(number) if fits(Kind::Boolean, &column.declared) => Json::Bool(*number != 0),
        Value::Integer(number) | Value::Timestamp(number) => Json::from(*number),
        Value::Real(number) if number.is_finite() => Json::from(*number),
        Value::Real(number) => Json::String(number.to_string()),
        Value::Boolean(truth) => Json::Bool(*truth),
        Value::Blob(bytes) => {
            Json::String(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
        }
    };
    (column.name.clone(), json)
}

fn unread(failure: Failure) -> Error {
    let (Failure::Busy(reason)
    | Failure::Away(reason)
    | Failure::Slow { reason, .. }
    | Failure::Row(reason)
    | Failure::Fatal(reason)) = failure;
    Error::Database(reason)
}
