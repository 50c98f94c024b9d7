//! Databases and application logins, as `sa`: things done once.

use super::{
    Batch, Context, Login, Unbuildable,
    role::{epoch_not_newer, in_turn},
};
use crate::{
    model::{
        DatabaseName, LoginName,
        name::{bracket, literal},
    },
    sql::is_hex,
};

/// CREATE DATABASE, FULL recovery and a first backup, which starts the log chain.
pub(super) fn create(database: &DatabaseName) -> Vec<Batch> {
    let create = format!("IF DB_ID({}) IS NULL\n    CREATE DATABASE {};", database.literal(), database.quoted());
    vec![Batch::new(Login::Admin, create).within(60), chain(database)]
}

/// FULL recovery, a first backup where the log chain is missing, ADD DATABASE on the primary.
pub(super) fn add(database: &DatabaseName, context: &Context<'_>) -> Vec<Batch> {
    let add = format!("ALTER AVAILABILITY GROUP {} ADD DATABASE {};", context.group.name.quoted(), database.quoted());
    vec![chain(database), Batch::new(Login::Admin, add).within(60)]
}

/// Guard on the epoch, then SET HADR RESUME where a forced failover left the copy suspended. As `sa`: no login of ours may be
/// a user of a database that cannot be opened.
pub(super) fn resume(database: &DatabaseName, epoch: u64, context: &Context<'_>) -> Batch {
    let lines = [
        epoch_not_newer(&context.group.name, epoch),
        format!(
            "IF EXISTS (SELECT 1 FROM sys.dm_hadr_database_replica_states AS ds WHERE ds.is_local = 1 \
             AND ds.is_primary_replica = 0 AND ds.suspend_reason = 1 AND ds.database_id = DB_ID({}))\n\
             \x20   ALTER DATABASE {} SET HADR RESUME;",
            database.literal(),
            database.quoted()
        ),
    ];
    Batch::new(Login::Admin, in_turn(&lines))
}

/// The backup goes nowhere: it only starts the chain. Without one ADD DATABASE is refused (1475).
fn chain(database: &DatabaseName) -> Batch {
    let (quoted, text) = (database.quoted(), database.literal());
    let text = format!(
        "\
IF EXISTS (SELECT 1 FROM sys.databases AS d WHERE d.name = {text} AND d.recovery_model <> 1)
    ALTER DATABASE {quoted} SET RECOVERY FULL;
IF NOT EXISTS (SELECT 1 FROM sys.databases AS d
               JOIN sys.database_recovery_status AS r ON r.database_id = d.database_id
               WHERE d.name = {text} AND r.last_log_backup_lsn IS NOT NULL)
    BACKUP DATABASE {quoted} TO DISK = N'NUL';"
    );
    Batch::new(Login::Admin, text).within(600)
}

/// CREATE LOGIN with one SID everywhere, or its password set again.
pub(super) fn ensure_login(name: &LoginName, sid: Option<&str>, context: &Context<'_>) -> Result<Batch, Unbuildable> {
    let password = context.logins.get(name).ok_or_else(|| Unbuildable::NoPassword(name.clone()))?;
    let sid = match sid {
        None => String::new(),
        Some(sid) if is_hex(sid) => format!(", SID = 0x{sid}"),
        Some(_) => return Err(Unbuildable::NotHex("SID")),
    };
    let (quoted, password) = (name.quoted(), literal(password.reveal()));
    let text = format!(
        "\
IF SUSER_ID({}) IS NULL
    CREATE LOGIN {quoted} WITH PASSWORD = {password}{sid};
ELSE
    ALTER LOGIN {quoted} WITH PASSWORD = {password};",
        name.literal()
    );
    Ok(Batch::new(Login::Admin, text))
}

/// The user of a login in each of its databases, with its roles; one batch per database, run inside it.
pub(super) fn ensure_users(name: &LoginName, context: &Context<'_>) -> Result<Vec<Batch>, Unbuildable> {
    let login = context.group.logins.iter().find(|login| login.name == *name);
    let login = login.ok_or_else(|| Unbuildable::NoLogin(name.clone()))?;
    let quoted = name.quoted();
    let batch = |(database, roles): (&DatabaseName, &Vec<String>)| {
        let mut lines = vec![format!(
            "IF USER_ID({}) IS NULL\n    CREATE USER {quoted} FOR LOGIN {quoted};\nELSE\n    ALTER USER {quoted} WITH LOGIN = {quoted};",
            name.literal()
        )];
        lines.extend(roles.iter().map(|role| format!("ALTER ROLE {} ADD MEMBER {quoted};", bracket(role))));
        Batch { database: Some(database.clone()), ..Batch::new(Login::Admin, lines.join("\n")) }
    };
    Ok(login.databases.iter().map(batch).collect())
}
