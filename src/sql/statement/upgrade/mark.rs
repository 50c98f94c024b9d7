//! Extended properties of a database, by which its copies are told apart.

use super::{
    super::role::{refuse_if, refuse_unless},
    Batch, Login, Unbuildable, only_where_it_leads,
};
use crate::{
    decide::upgrade::{Instance, Mark},
    model::{DatabaseName, GroupName, name::literal},
    sql::error::guard,
};

/// Longest value, in characters; the engine takes 7500 bytes.
const LONGEST: usize = 3500;

/// Guard on role and database, then the property is added or updated. One that has this value already is not written
/// again: that would be one more commit.
pub(super) fn write(at: &Instance, database: &DatabaseName, mark: Mark, value: &str) -> Result<Batch, Unbuildable> {
    if value.chars().count() > LONGEST {
        return Err(Unbuildable::TooLong("value of a mark"));
    }
    if value.chars().any(char::is_control) {
        return Err(Unbuildable::NotAName("value of a mark"));
    }
    let (name, value) = (literal(mark.property()), literal(value));
    let of = format!("sys.extended_properties AS p WHERE p.class = 0 AND p.name = {name}");
    let lines = [
        "SET XACT_ABORT ON;".to_string(),
        only_where_it_leads(&at.group),
        only_writable(&at.group),
        format!(
            "\
DECLARE @value sql_variant = {value};
IF NOT EXISTS (SELECT 1 FROM {of})
    EXEC sys.sp_addextendedproperty @name = {name}, @value = @value;
ELSE IF NOT EXISTS (SELECT 1 FROM {of} AND CAST(p.value AS nvarchar(4000)) = {value})
    EXEC sys.sp_updateextendedproperty @name = {name}, @value = @value;"
        ),
    ];
    Ok(inside(database, lines.join("\n")))
}

/// A batch that runs inside a database; who cannot enter it is refused.
pub(super) fn inside(database: &DatabaseName, text: String) -> Batch {
    Batch { database: Some(database.clone()), ..Batch::new(Login::Admin, text) }
}

/// Refuses unless the current database is in a group and may be written.
pub(super) fn only_writable(group: &GroupName) -> String {
    refuse_unless(&is_writable(group), guard::NOT_WRITABLE, "the database is not in the group, or cannot be written")
}

/// A condition: the current database is in a group and may be written.
pub(super) fn is_writable(group: &GroupName) -> String {
    format!(
        "EXISTS (SELECT 1 FROM sys.databases AS d JOIN sys.availability_replicas AS r ON r.replica_id = d.replica_id \
         JOIN sys.availability_groups AS g ON g.group_id = r.group_id \
         WHERE d.database_id = DB_ID() AND g.name = {} AND g.is_distributed = 0 \
         AND DATABASEPROPERTYEX(d.name, N'Updateability') = N'READ_WRITE')",
        group.literal()
    )
}

/// Refuses unless a database carries a mark of a stage with this value.
pub(super) fn only_stage(database: &DatabaseName, value: &str) -> String {
    refuse_if(
        &format!(
            "NOT EXISTS (SELECT 1 FROM {}.sys.extended_properties AS p \
             WHERE p.class = 0 AND p.name = {} AND CAST(p.value AS nvarchar(4000)) = {})",
            database.quoted(),
            literal(Mark::Stage.property()),
            literal(value)
        ),
        guard::NOT_A_STAGE,
        &format!("database {database} is not marked as that of this stage"),
    )
}
