//! The two SQLite connections of a database beside its log: one writes, one sees what is committed.

use super::log::{Cell, Log, Record};
use crate::errors::{Message, SqlResult};
use rusqlite::{
    Connection, OpenFlags,
    backup::{Backup, StepResult},
    types::Value,
};
use std::sync::atomic::{AtomicU64, Ordering};

/// A result set in SQLite's values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowSet {
    /// Names and declared types.
    pub columns: Vec<(String, Option<String>)>,
    /// Rows.
    pub rows: Vec<Vec<Value>>,
}

/// Parameters of a statement: name with `@`, value.
pub type Parameters = [(String, Value)];

/// Statements that a connection keeps prepared: those of a client that asks the same again and again.
const STATEMENTS: usize = 128;

/// Distinguishes databases in SQLite's shared memory.
static UNIQUE: AtomicU64 = AtomicU64::new(0);

pub(super) struct Files {
    pub(super) write: Connection,
    pub(super) read: Connection,
    pub(super) log: Log,
    /// Everything up to here is in `write`.
    pub(super) applied: u64,
    /// Position of the image on disk, and its size in bytes.
    pub(super) image: (u64, u64),
    /// Bytes of log since the image.
    pub(super) since_image: u64,
}

impl Files {
    pub(super) fn redo(&mut self, lsn: u64) -> rusqlite::Result<()> {
        let pending: Vec<_> = self.log.after(self.applied).iter().filter(|record| record.lsn <= lsn).cloned().collect();
        for record in pending {
            replay(&self.write, &record)?;
            self.applied = record.lsn;
        }
        Ok(())
    }

    /// What is committed, as SQLite's bytes. Error: a transaction is open, which keeps readers out of SQLite.
    pub(super) fn dump(&self) -> rusqlite::Result<Vec<u8>> {
        serialized(&self.read)
    }

    /// What is committed, made once more from the image on disk and the log.
    pub(super) fn rebuilt(&self, image: &[u8]) -> rusqlite::Result<Vec<u8>> {
        let (write, _read) = restored(image)?;
        for record in self.log.after(self.image.0).iter().filter(|record| record.lsn <= self.applied) {
            replay(&write, record)?;
        }
        serialized(&write)
    }

    pub(super) fn load(&mut self, bytes: &[u8]) -> rusqlite::Result<()> {
        (self.write, self.read) = restored(bytes)?;
        Ok(())
    }
}

/// Commits one record.
fn replay(write: &Connection, record: &Record) -> rusqlite::Result<()> {
    write.execute_batch("BEGIN IMMEDIATE")?;
    for statement in &record.statements {
        let parameters: Vec<_> =
            statement.parameters.iter().map(|(name, cell)| (name.clone(), cell.clone().into())).collect();
        execute(write, &statement.sql, &parameters)?;
    }
    write.execute_batch("COMMIT")
}

/// A database that holds what an image holds.
fn restored(bytes: &[u8]) -> rusqlite::Result<(Connection, Connection)> {
    let (mut write, read) = connections()?;
    if !bytes.is_empty() {
        let mut image = Connection::open_in_memory()?;
        image.deserialize_read_exact("main", bytes, bytes.len(), false)?;
        copy(&image, &mut write)?;
    }
    Ok((write, read))
}

fn serialized(from: &Connection) -> rusqlite::Result<Vec<u8>> {
    let mut bytes = Connection::open_in_memory()?;
    copy(from, &mut bytes)?;
    Ok(bytes.serialize("main")?.to_vec())
}

/// Copies everything in one step: whoever waited here for a lock would wait with the files in his hands.
fn copy(from: &Connection, to: &mut Connection) -> rusqlite::Result<()> {
    match Backup::new(from, to)?.step(-1)? {
        StepResult::Done => Ok(()),
        _ => Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), None)),
    }
}

pub(super) fn connections() -> rusqlite::Result<(Connection, Connection)> {
    let uri = format!("file:/standin-{}?vfs=memdb", UNIQUE.fetch_add(1, Ordering::Relaxed));
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(&uri, flags)?;
        crate::tsql::functions::install(&connection)?;
        crate::tsql::read::install(&connection)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(connection)
    };
    Ok((open()?, open()?))
}

pub(super) fn execute(connection: &Connection, sql: &str, parameters: &Parameters) -> rusqlite::Result<usize> {
    let mut statement = connection.prepare_cached(sql)?;
    bind(&mut statement, parameters)?;
    let mut rows = statement.raw_query();
    while rows.next()?.is_some() {}
    drop(rows);
    drop(statement);
    Ok(connection.changes() as usize)
}

/// Runs a query on a connection.
pub fn rows(connection: &Connection, sql: &str, parameters: &Parameters) -> SqlResult<RowSet> {
    let mut statement = connection.prepare_cached(sql).map_err(sqlite)?;
    bind(&mut statement, parameters).map_err(sqlite)?;
    let columns: Vec<_> =
        statement.columns().map(|column| (column.name().to_string(), column.decl_type().map(str::to_string))).collect();
    let width = columns.len();
    let mut found = Vec::new();
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next().map_err(sqlite)? {
        found.push((0..width).map(|i| row.get(i)).collect::<rusqlite::Result<Vec<Value>>>().map_err(sqlite)?);
    }
    Ok(RowSet { columns, rows: found })
}

fn bind(statement: &mut rusqlite::Statement<'_>, parameters: &Parameters) -> rusqlite::Result<()> {
    for (name, value) in parameters {
        if let Some(index) = statement.parameter_index(name)? {
            statement.raw_bind_parameter(index, value)?;
        }
    }
    Ok(())
}

/// SQLite's error as a message; the T-SQL engine gives it its real number.
pub(super) fn sqlite(error: rusqlite::Error) -> Message {
    Message::new(50_000, 16, error.to_string())
}

impl From<Value> for Cell {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Integer(i) => Self::Integer(i),
            Value::Real(f) => Self::Real(f),
            Value::Text(t) => Self::Text(t),
            Value::Blob(b) => Self::Blob(b),
        }
    }
}

impl From<Cell> for Value {
    fn from(cell: Cell) -> Self {
        match cell {
            Cell::Null => Self::Null,
            Cell::Integer(i) => Self::Integer(i),
            Cell::Real(f) => Self::Real(f),
            Cell::Text(t) => Self::Text(t),
            Cell::Blob(b) => Self::Blob(b),
        }
    }
}
