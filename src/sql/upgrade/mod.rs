//! One look at an instance of an upgrade, and the password hashes of logins, which no look reads.

pub mod look;
mod read;

pub use look::Look;

use super::{
    Error, Secret,
    facts::{Cells, upper_hex},
    statement::name::ADMIN,
};
use crate::model::{LoginName, name::literal};
use std::collections::BTreeMap;
use tiberius::{ColumnData, Row};

/// A condition on a row `l` of `sys.sql_logins`: neither ours nor the server's own. Names that begin with `quorate_` are ours.
fn carried() -> String {
    format!(
        "l.sid <> 0x01 AND l.name <> {} AND l.name NOT LIKE N'##%' AND l.name NOT LIKE N'quorate[_]%'",
        literal(ADMIN)
    )
}

/// The batch that reads password hashes; as `sa`, to whom alone they are shown.
pub fn hashes_batch() -> String {
    format!("SELECT l.name, l.password_hash FROM sys.sql_logins AS l WHERE {};", carried())
}

/// The first column of the first row of the first result set, as text; NULL and no row are empty. Error: a type that has no
/// one text.
pub fn first_cell(answer: &[Vec<Row>]) -> Result<String, String> {
    let row = answer.iter().find_map(|rows| rows.first());
    let Some((column, cell)) = row.and_then(|row| row.cells().next()) else { return Ok(String::new()) };
    let text = match cell {
        ColumnData::U8(value) => value.map(|value| value.to_string()),
        ColumnData::I16(value) => value.map(|value| value.to_string()),
        ColumnData::I32(value) => value.map(|value| value.to_string()),
        ColumnData::I64(value) => value.map(|value| value.to_string()),
        ColumnData::F32(value) => value.map(|value| value.to_string()),
        ColumnData::F64(value) => value.map(|value| value.to_string()),
        ColumnData::Bit(value) => value.map(|value| u8::from(value).to_string()),
        ColumnData::String(value) => value.as_ref().map(ToString::to_string),
        ColumnData::Guid(value) => value.map(|value| value.to_string()),
        ColumnData::Numeric(value) => value.map(|value| value.to_string()),
        _ => {
            let name = column.name();
            return Err(format!("the type of column {name:?} has no one text; CAST it to nvarchar"));
        }
    };
    Ok(text.unwrap_or_default())
}

/// Password hashes by login, upper-case hex. Errors: an answer that is not one to [`hashes_batch`].
pub fn read_hashes(answer: &[Vec<Row>]) -> Result<BTreeMap<LoginName, Secret>, Error> {
    let mut hashes = BTreeMap::new();
    for row in answer.last().into_iter().flatten().map(Cells) {
        let Some(name) = row.text("name").map_err(Error::Lost)?.and_then(|name| LoginName::new(name).ok()) else {
            continue;
        };
        let hash = row.bytes("password_hash").map_err(Error::Lost)?;
        hashes.extend(hash.map(|hash| (name, Secret::new(upper_hex(&hash)))));
    }
    Ok(hashes)
}
