//! Tables, views and procedures of one database, as SQLite keeps them.

use super::{emit::Target, kind, parse};
use crate::{
    errors::{Message, SqlResult},
    value::SqlType,
};
use rusqlite::Connection;

/// A column.
#[derive(Clone, Debug)]
pub struct ColumnInfo {
    /// Name.
    pub name: String,
    /// Type.
    pub kind: SqlType,
    /// NOT NULL
    pub not_null: bool,
    /// Position in the primary key, from 1; 0: not in it.
    pub key: i64,
}

/// An object.
#[derive(Clone, Debug)]
pub struct ObjectInfo {
    /// Name in SQLite: other schemas than dbo are a prefix.
    pub name: String,
    /// `U`, `V`, `P`
    pub kind: char,
    /// Columns.
    pub columns: Vec<ColumnInfo>,
}

impl ObjectInfo {
    /// Schema and bare name.
    pub fn parts(&self) -> (&str, &str) {
        self.name.split_once('.').unwrap_or(("dbo", &self.name))
    }

    /// `object_id`: a hash of the name, the same on every replica.
    pub fn id(&self) -> i64 {
        object_id(&self.name)
    }
}

/// `object_id` of a name.
pub fn object_id(name: &str) -> i64 {
    let lower = name.to_lowercase();
    let hash = lower.bytes().fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    i64::from(hash & 0x7fff_ffff).max(1_000)
}

/// Objects of a database.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    /// Objects by name.
    pub objects: Vec<ObjectInfo>,
    /// Schemas beside dbo, with the `principal_id` of their owners.
    pub schemas: Vec<(String, i32)>,
}

fn failed(error: rusqlite::Error) -> Message {
    Message::new(50_000, 16, error.to_string())
}

fn columns(connection: &Connection, object: &str) -> rusqlite::Result<Vec<ColumnInfo>> {
    let mut statement =
        connection.prepare_cached("SELECT name, type, \"notnull\", pk FROM pragma_table_info(?1) ORDER BY cid")?;
    let rows = statement.query_map([object], |row| {
        let declared: String = row.get::<_, Option<String>>(1)?.unwrap_or_default();
        Ok(ColumnInfo {
            name: row.get(0)?,
            kind: kind::from_text(&declared, None).unwrap_or(SqlType::Variant),
            not_null: row.get::<_, i64>(2)? != 0,
            key: row.get(3)?,
        })
    })?;
    rows.collect()
}

impl Schema {
    /// Reads it.
    pub fn load(connection: &Connection) -> SqlResult<Self> {
        Self::read(connection).map_err(failed)
    }

    fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let mut schema = Self::default();
        let mut own = false;
        let mut statement = connection.prepare_cached(
            "SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view') \
             AND name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY name",
        )?;
        let names = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        for (name, kind) in names.collect::<rusqlite::Result<Vec<(String, String)>>>()? {
            if name.starts_with('~') {
                own = true;
                continue;
            }
            let columns = columns(connection, &name);
            let kind = if kind == "view" { 'V' } else { 'U' };
            // A view whose tables are gone is still there, and nobody knows its columns.
            let columns = if kind == 'V' { columns.unwrap_or_default() } else { columns? };
            schema.objects.push(ObjectInfo { name, kind, columns });
        }
        if own {
            let mut statement = connection.prepare_cached("SELECT name FROM `~modules` WHERE kind = 'P'")?;
            let names = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
            let procedure = |name| ObjectInfo { name, kind: 'P', columns: vec![] };
            schema.objects.extend(names.into_iter().map(procedure));
            let mut statement = connection.prepare_cached("SELECT name, owner FROM `~schemas` ORDER BY name")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            schema.schemas = rows.collect::<rusqlite::Result<_>>()?;
        }
        Ok(schema)
    }

    /// An object in any case.
    pub fn object(&self, name: &str) -> Option<&ObjectInfo> {
        self.objects.iter().find(|object| object.name.eq_ignore_ascii_case(name))
    }

    /// Columns of a table or view.
    pub fn columns(&self, name: &str) -> Option<Vec<(String, SqlType)>> {
        let object = self.object(name).filter(|object| object.kind != 'P')?;
        Some(object.columns.iter().map(|column| (column.name.clone(), column.kind)).collect())
    }
}

/// A table that is changed: its columns, identity and defaults. `None`: there is no such table.
pub fn target(connection: &Connection, table: &str) -> SqlResult<Option<Target>> {
    let schema = Schema::load(connection)?;
    let Some(columns) = schema.columns(table) else { return Ok(None) };
    let mut target = Target { columns, ..Target::default() };
    let exists: Option<i64> = connection
        .query_row("SELECT count(*) FROM sqlite_master WHERE name = '~columns'", [], |row| row.get(0))
        .map_err(failed)?;
    if exists != Some(1) {
        return Ok(Some(target));
    }
    let mut statement = connection
        .prepare_cached("SELECT col, increment, next, value FROM `~columns` WHERE tab = ?1")
        .map_err(failed)?;
    let rows = statement
        .query_map([table], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, Option<i64>>(1)?,
                row.get::<_, Option<i64>>(2)?,
                row.get::<_, Option<String>>(3)?,
            ))
        })
        .map_err(failed)?
        .collect::<rusqlite::Result<Vec<_>>>()
        .map_err(failed)?;
    for (column, increment, next, default) in rows {
        if let (Some(increment), Some(next)) = (increment, next) {
            target.identity = Some((column.clone(), next, increment));
        }
        if let Some(default) = default {
            target.defaults.push((column, parse::expression(&default)?));
        }
    }
    Ok(Some(target))
}
