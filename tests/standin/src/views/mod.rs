//! Catalog views and DMVs: exact columns, order and types (SQL Server docs, one page per view), filled from one moment.
//!
//! A statement that names a view finds it as a temporary table of SQLite, filled before and emptied after it.

mod databases;
mod group_databases;
mod groups;
mod log;
mod objects;
mod principals;
mod security;
mod server;
mod sessions;
mod triggers;

use crate::{
    errors::{Message, SqlResult},
    tsql::{convert, emit::quote, kind, state::State},
    value::{SqlType, Value},
};
use rusqlite::{Connection, params_from_iter};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

pub use sessions::SYSTEM_SESSIONS;

/// Rows of a view.
pub type Rows = Vec<Vec<Value>>;

/// Index, name and type of the columns that a version has.
type Present = Arc<[(usize, String, SqlType)]>;

/// One view.
pub struct View {
    /// `schema.name`, as it is written.
    pub key: &'static str,
    /// `name type [>=major]`, comma separated: columns in order; a newer version has more of them.
    columns: &'static str,
    /// The server permission without which it is error 300.
    permission: Option<&'static str>,
    /// Its rows, with all columns. The text: the database it describes, lower case.
    rows: fn(&State, &str) -> Rows,
}

/// Those that are functions of a `database_id`.
const FUNCTIONS: [&str; 1] = ["sys.dm_db_log_stats"];

/// Whether it is a function, which stands in FROM with its argument only.
pub fn is_function(key: &str) -> bool {
    FUNCTIONS.contains(&key)
}

/// Every view.
fn all() -> impl Iterator<Item = &'static View> {
    [
        groups::VIEWS,
        group_databases::VIEWS,
        databases::VIEWS,
        log::VIEWS,
        security::VIEWS,
        principals::VIEWS,
        server::VIEWS,
        sessions::VIEWS,
        triggers::VIEWS,
        objects::VIEWS,
    ]
    .into_iter()
    .flatten()
}

/// A view by schema and name.
pub fn find(schema: &str, name: &str) -> Option<&'static View> {
    all().find(|view| {
        let (own, view) = view.key.split_once('.').unwrap_or_default();
        own.eq_ignore_ascii_case(schema) && view.eq_ignore_ascii_case(name)
    })
}

/// The server permission that a view needs.
pub fn permission(key: &str) -> Option<&'static str> {
    all().find(|view| view.key == key).and_then(|view| view.permission)
}

/// Splits `a b(1,2), c d` at the commas outside parentheses.
fn split(columns: &str) -> Vec<&str> {
    let mut depth = 0usize;
    columns
        .split(|c| {
            match c {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            c == ',' && depth == 0
        })
        .map(str::trim)
        .filter(|column| !column.is_empty())
        .collect()
}

impl View {
    fn present(&self, major: u32) -> Present {
        static KNOWN: Mutex<BTreeMap<(&str, u32), Present>> = Mutex::new(BTreeMap::new());
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry((self.key, major)).or_insert_with(|| self.read(major)).clone()
    }

    fn read(&self, major: u32) -> Present {
        let columns = split(self.columns).into_iter().enumerate();
        columns
            .filter_map(|(index, column)| {
                let mut words = column.split_whitespace();
                let (name, kind) = (words.next()?, words.next()?);
                let since = words.next().and_then(|mark| mark.trim_start_matches(">=").parse::<u32>().ok());
                let kind = kind::from_text(kind, None).unwrap_or(SqlType::NVarChar(4000));
                since.is_none_or(|since| since <= major).then(|| (index, name.to_string(), kind))
            })
            .collect()
    }

    /// Names and types of its columns in a version.
    pub fn columns(&self, major: u32) -> Vec<(String, SqlType)> {
        self.present(major).iter().map(|(_, name, kind)| (name.clone(), *kind)).collect()
    }
}

/// A view with its rows.
pub struct Filled {
    key: &'static str,
    columns: Present,
    rows: Rows,
}

/// Fills a view for a database.
pub fn rows(key: &str, state: &State, database: &str) -> SqlResult<Filled> {
    let view = all().find(|view| view.key == key);
    let view = view.ok_or_else(|| Message::new(208, 16, format!("Invalid object name '{key}'.")))?;
    Ok(Filled { key: view.key, columns: view.present(state.server.major()), rows: (view.rows)(state, database) })
}

fn failed(error: rusqlite::Error) -> Message {
    Message::new(50_000, 16, error.to_string())
}

impl Filled {
    /// Fills the temporary table, made when the connection sees the view for the first time.
    pub fn fill(&self, connection: &Connection) -> SqlResult<()> {
        if self.clear(connection).is_err() {
            self.create(connection)?;
        }
        let marks = vec!["?"; self.columns.len()].join(", ");
        let insert = format!("INSERT INTO temp.{} VALUES ({marks})", quote(self.key));
        let mut insert = connection.prepare_cached(&insert).map_err(failed)?;
        for row in &self.rows {
            let values = self
                .columns
                .iter()
                .map(|(index, _, kind)| convert::to_lite(row.get(*index).unwrap_or(&Value::Null), *kind));
            insert.execute(params_from_iter(values)).map_err(failed)?;
        }
        Ok(())
    }

    fn create(&self, connection: &Connection) -> SqlResult<()> {
        let columns = self.columns.iter().map(|(_, name, kind)| {
            let collate = if kind::is_text(*kind) || *kind == SqlType::Guid { " COLLATE TSQL" } else { "" };
            format!("{} {}{collate}", quote(name), kind::declared(*kind))
        });
        let columns = columns.collect::<Vec<_>>().join(", ");
        connection.execute_batch(&format!("CREATE TEMP TABLE {} ({columns})", quote(self.key))).map_err(failed)
    }

    /// Empties it. Error: this connection has no table for it yet.
    pub fn clear(&self, connection: &Connection) -> SqlResult<()> {
        let delete = format!("DELETE FROM temp.{}", quote(self.key));
        connection.prepare_cached(&delete).and_then(|mut delete| delete.execute([])).map(drop).map_err(failed)
    }
}

/// Text or NULL.
fn text(value: impl Into<String>) -> Value {
    Value::Text(value.into())
}

/// An integer.
fn int(value: impl Into<i64>) -> Value {
    Value::Int(value.into())
}

/// An optional value.
fn maybe<T>(value: Option<T>, show: impl FnOnce(T) -> Value) -> Value {
    value.map_or(Value::Null, show)
}

/// A system time.
fn moment(at: std::time::SystemTime) -> Value {
    let since = at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Value::DateTime(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Names of all views.
pub fn keys() -> Vec<&'static str> {
    all().map(|view| view.key).collect()
}
