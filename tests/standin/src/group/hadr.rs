//! `ALTER DATABASE .. SET HADR`: suspend, resume, leave. SQL Server docs: ALTER DATABASE SET HADR.

use super::{
    membership::leave_database,
    roles::{Group, Role},
};
use crate::{
    ddl::HadrStatement,
    errors::{Message, SqlResult},
    instance::Shared,
};
use std::sync::Arc;

/// Runs one statement.
pub async fn execute(shared: &Arc<Shared>, database: &str, statement: HadrStatement) -> SqlResult<Vec<Message>> {
    if shared.database(database).is_none() {
        return Err(Message::new(
            41_148,
            16,
            format!("Cannot add or join database '{database}' to availability group. The database does not exist."),
        ));
    }
    if let HadrStatement::Join(group) = statement {
        return join(shared, database, &group);
    }
    let Some(group) = shared.group_of(database) else { return Err(not_joined(database)) };
    let name = shared.database(database).map_or_else(|| database.to_string(), |known| known.name().to_string());
    match statement {
        HadrStatement::Suspend => suspend(&group, &name),
        HadrStatement::Resume => resume(&group, &name),
        HadrStatement::Off if group.state().role == Role::Primary => Err(Message::new(
            35_252,
            16,
            format!(
                "The command can only be run on a secondary database. Connect to the correct secondary replica, and retry the command. Database '{name}' is the primary one."
            ),
        )),
        HadrStatement::Off => leave_database(&group, shared, &name, true).map(|()| vec![]),
        HadrStatement::Join(_) => Ok(vec![]),
    }
}

fn join(shared: &Arc<Shared>, database: &str, name: &str) -> SqlResult<Vec<Message>> {
    let Some(group) = shared.group(name) else { return Err(super::statements::not_there(name)) };
    if group.state().role == Role::Primary {
        return Err(Message::new(
            35_252,
            16,
            "The command can only be run on a secondary database. Connect to the correct secondary replica, and retry the command.",
        ));
    }
    if shared.group_of(database).is_some() {
        return Ok(vec![Message::new(
            41_145,
            10,
            format!(
                "Cannot join database '{database}' to availability group '{name}'. The database has already joined the availability group. This is an informational message. No user action is required."
            ),
        )]);
    }
    if group.state().following.is_none() {
        return Err(Message::new(
            35_250,
            16,
            "The connection to the primary replica is not active. The command cannot be processed.",
        ));
    }
    // A copy that left the group is taken up again when a session begins.
    group.state().again += 1;
    group.touch();
    Ok(vec![])
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
