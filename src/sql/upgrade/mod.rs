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
use tiberius::Row;

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
