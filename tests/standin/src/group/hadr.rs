//! `ALTER DATABASE .. SET HADR`: suspend, resume, join, leave. SQL Server docs: ALTER DATABASE SET HADR.

use super::{
    membership::leave_database,
    roles::{Group, Role},
};
use crate::{
    ddl::HadrStatement,
    errors::{Message, SqlResult},
    instance::{SYSTEM, Shared},
};
use std::sync::Arc;

/// Runs one statement.
pub async fn execute(shared: &Arc<Shared>, database: &str, statement: HadrStatement) -> SqlResult<Vec<Message>> {
    super::statements::enabled(shared)?;
    let name = shared.database(database).map(|known| known.name().to_string());
    if let HadrStatement::Join(group) = statement {
        return join(shared, database, name, &group);
    }
    let name = name.unwrap_or_else(|| database.to_string());
    if SYSTEM.contains(&name.as_str()) {
        return Err(Message::new(
            35_261,
            16,
            format!(
                "Attempt to perform an Always On Availability Groups operation on a system database, '{name}', failed. System databases are not supported by Always On Availability Groups."
            ),
        ));
    }
    let Some(group) = shared.group_of(&name) else { return Err(not_joined(&name)) };
    let (role, forwards) = {
        let state = group.state();
        (state.role, group.is_forwarder(&state))
    };
    match statement {
        HadrStatement::Off if forwards => forget(shared, &group, &name),
        HadrStatement::Off if role == Role::Primary => Err(on_primary(&name, &group.name)),
        HadrStatement::Off => leave(shared, &group, &name),
        HadrStatement::Suspend | HadrStatement::Resume if role == Role::Resolving => {
            Err(not_started(&name, &group.name))
        }
        HadrStatement::Suspend if forwards => side(shared, &group, &name, true),
        HadrStatement::Resume if forwards => side(shared, &group, &name, false),
        HadrStatement::Suspend => suspend(&group, &name),
        HadrStatement::Resume => resume(&group, &name),
        HadrStatement::Join(_) => Ok(vec![]),
    }
}

fn join(shared: &Arc<Shared>, asked: &str, known: Option<String>, group: &str) -> SqlResult<Vec<Message>> {
    let Some(group) = shared.group(group) else { return Err(super::statements::not_there(group)) };
    let Some(database) = known else { return Err(not_here(asked, &group.name)) };
    if SYSTEM.contains(&database.as_str()) {
        return Err(super::membership::system_database(&database));
    }
    if group.state().role == Role::Primary {
        return Err(on_primary(&database, &group.name));
    }
    if let Some(other) = shared.group_of(&database) {
        if other.name == group.name {
            return Ok(vec![already_joined(&database, &group.name)]);
        }
        let text = format!("Database '{database}' is already participating in a different availability group.");
        return Err(Message::new(35_259, 16, text));
    }
    let mut state = group.state();
    if state.following.is_none() {
        return Err(Message::new(
            35_250,
            16,
            "The connection to the primary replica is not active. The command cannot be processed.",
        ));
    }
    let Some(id) = state.copy.config.databases.get(&database).map(|config| config.id) else {
        return Err(not_a_member(&database, &group.name));
    };
    takes_log(shared, &database, id)?;
    // A copy that left the group is taken up again when a session begins.
    group.persist(&mut state, |copy| {
        copy.asked.insert(database, true);
    })?;
    state.again += 1;
    drop(state);
    group.touch();
    Ok(vec![])
}

/// What can be joined is RESTORING, and holds the log of this database of the group: 1464, 1478.
fn takes_log(shared: &Shared, database: &str, id: uuid::Uuid) -> SqlResult<()> {
    match shared.left(database) {
        Some(left) if left == id => Ok(()),
        Some(_) => Err(Message::new(
            1478,
            16,
            format!(
                "The mirror database, \"{database}\", has insufficient transaction log data to preserve the log backup chain of the principal database. This may happen if a log backup from the principal database has not been taken or has not been restored on the mirror database."
            ),
        )),
        None => Err(Message::new(
            1464,
            16,
            format!(
                "Database \"{database}\" is not in a recovering state which is required for a mirror database or secondary database. The remote database must be restored using WITH NORECOVERY."
            ),
        )),
    }
}

/// On a forwarder: the database leaves this side of the distributed group.
fn forget(shared: &Arc<Shared>, group: &Arc<Group>, database: &str) -> SqlResult<Vec<Message>> {
    for link in shared.links_of(&group.name) {
        if link.state().copy.local.contains(database) {
            super::sides::give_up(shared, &link, database)?;
        }
    }
    Ok(vec![])
}

/// On a forwarder: what it takes from the other side. RESUME undoes what was suspended for its own group, too.
fn side(shared: &Arc<Shared>, group: &Arc<Group>, database: &str, suspends: bool) -> SqlResult<Vec<Message>> {
    for link in shared.links_of(&group.name) {
        let mut state = link.state();
        if state.copy.was_primary {
            continue;
        }
        link.persist(&mut state, |copy| {
            if suspends {
                copy.suspended.insert(database.into(), 0);
            } else {
                copy.suspended.remove(database);
            }
        })?;
        // The other side hears of it in a new session.
        state.again += 1;
    }
    group.touch();
    if suspends { Ok(vec![]) } else { resume(group, database) }
}

/// The copy here is RESTORING, and stays so until it is joined again, or dropped.
fn leave(shared: &Arc<Shared>, group: &Arc<Group>, database: &str) -> SqlResult<Vec<Message>> {
    leave_database(group, shared, database, true)?;
    let mut state = group.state();
    group.persist(&mut state, |copy| {
        copy.asked.insert(database.into(), false);
    })?;
    // The primary hears of it in a new session: until then it would go on waiting for this copy.
    state.again += 1;
    drop(state);
    group.touch();
    Ok(vec![])
}

/// On the primary for all secondaries, on a secondary for itself.
fn suspend(group: &Arc<Group>, database: &str) -> SqlResult<Vec<Message>> {
    let mut state = group.state();
    group.persist(&mut state, |copy| {
        copy.suspended.insert(database.into(), 0);
    })?;
    drop(state);
    tracing::info!(group = group.name, database, "data movement has been suspended (35264)");
    group.reconcile();
    Ok(vec![])
}

/// Undoes what was suspended here. What a forced failover left behind is cut off when the session begins anew.
fn resume(group: &Arc<Group>, database: &str) -> SqlResult<Vec<Message>> {
    let mut state = group.state();
    group.persist(&mut state, |copy| {
        copy.suspended.remove(database);
    })?;
    state.again += 1;
    drop(state);
    tracing::info!(group = group.name, database, "data movement has been resumed (35265)");
    group.reconcile();
    Ok(vec![])
}

fn already_joined(database: &str, group: &str) -> Message {
    Message::new(
        41_145,
        10,
        format!(
            "Cannot join database '{database}' to availability group '{group}'. The database has already joined the availability group. This is an informational message. No user action is required."
        ),
    )
}

fn not_a_member(database: &str, group: &str) -> Message {
    Message::new(
        41_132,
        16,
        format!(
            "Cannot join database '{database}' to availability group '{group}'. The specified database does not belong to the availability group. Verify the names of the database and the availability group, and retry the command specifying the correct names."
        ),
    )
}

fn not_here(database: &str, group: &str) -> Message {
    Message::new(
        41_148,
        16,
        format!(
            "Cannot add or join database '{database}' to availability group '{group}'. The database does not exist on this instance of SQL Server. Verify that the database name is correct and that the database exists on the server instance. Then retry the command specifying the correct database name."
        ),
    )
}

fn on_primary(database: &str, group: &str) -> Message {
    Message::new(
        35_240,
        16,
        format!(
            "Database '{database}' cannot be joined to or unjoined from availability group '{group}'. This operation is not supported on the primary replica of the availability group."
        ),
    )
}

fn not_started(database: &str, group: &str) -> Message {
    Message::new(
        35_239,
        16,
        format!(
            "The ALTER DATABASE <database-name> SET HADR SUSPEND (or SET HADR RESUME) statement failed on database '{database}' of availability group '{group}'. Either the availability group does not contain the specified database, or the database has not joined the availability group, or the database has not yet started. Reenter the command after the database is online and has joined the availability group."
        ),
    )
}

fn not_joined(database: &str) -> Message {
    Message::new(
        35_242,
        16,
        format!(
            "Cannot complete this ALTER DATABASE <database-name> SET HADR operation on database '{database}'. The database is not joined to an availability group. After the database has joined the availability group, retry the command."
        ),
    )
}
