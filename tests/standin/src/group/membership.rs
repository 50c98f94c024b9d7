//! ADD, MODIFY and REMOVE of replicas and databases, and SET: configuration changes of a primary.

use super::{
    config::{Config, ReplicaConfig},
    roles::{Group, Role},
    statements::database_config,
    valid::{check, check_timeout, connections, replica_config},
};
use crate::{
    ddl::{GroupOptions, ReplicaOptions},
    errors::{Message, SqlResult},
    instance::{SYSTEM, Shared},
    store::database::Database,
};
use std::sync::{Arc, atomic::Ordering};

/// Primary only: 41190 for members, 41140 for the rest.
fn primary_only(group: &Arc<Group>, member: Option<(&str, &str)>) -> SqlResult<()> {
    // The databases of a forwarder are those of the other side.
    let theirs = member.is_some_and(|(_, what)| what == "DATABASE") && group.forwards.load(Ordering::SeqCst);
    if group.state().role == Role::Primary && !theirs {
        return Ok(());
    }
    let name = &group.name;
    Err(match member {
        Some((verb, what)) => Message::new(
            41_190,
            16,
            format!(
                "Availability group '{name}' failed to process {verb}-{what} command. The local availability replica is not in a state that could process the command. Verify that the availability group is online and that the local availability replica is the primary replica, then retry the command."
            ),
        ),
        None => Message::new(
            41_140,
            16,
            format!(
                "Availability group '{name}' cannot process the ALTER AVAILABILITY GROUP command, because the local availability replica is not the primary replica. Connect to the server instance that is currently hosting the primary replica of this availability group, and rerun the command."
            ),
        ),
    })
}

/// Proposes a change once nothing else is pending, and waits for its commit.
pub(super) async fn commit(
    shared: &Arc<Shared>,
    group: &Arc<Group>,
    operation: &str,
    change: impl Fn(&mut Config),
) -> SqlResult<()> {
    let reign = group.state().reign;
    let number = loop {
        group.settled(reign, 0).await?;
        let mut state = group.state();
        if state.reign != reign {
            return Err(group.not_primary(operation));
        }
        let proposed = group.propose(&mut state, |config| {
            change(config);
            check(shared, config, operation)
        })?;
        if let Some(number) = proposed {
            break number;
        }
    };
    group.touch();
    group.settled(reign, number).await?;
    group.reconcile();
    Ok(())
}

/// The name as the configuration has it.
fn replica_name(group: &Arc<Group>, name: &str) -> String {
    let state = group.state();
    let known = state.committed.replicas.keys().find(|known| known.eq_ignore_ascii_case(name));
    known.cloned().unwrap_or_else(|| name.into())
}

/// A local database leaves the group: on a primary it goes on alone with everything in its log, else it is RESTORING.
pub fn leave_database(group: &Arc<Group>, shared: &Arc<Shared>, name: &str, restoring: bool) -> SqlResult<()> {
    let id = {
        let mut state = group.state();
        let id = state.copy.config.databases.get(name).map(|database| database.id);
        group.persist(&mut state, |copy| {
            copy.local.remove(name);
            copy.suspended.remove(name);
        })?;
        state.partners.values_mut().for_each(|partner| partner.forget(name));
        id
    };
    if let Some(database) = shared.database(name) {
        if restoring {
            database.set_owner(None);
        } else {
            database.stand_alone()?;
        }
    }
    shared.set_restoring(name, restoring.then(|| id.unwrap_or_default()))
}

/// ADD REPLICA
pub async fn add_replica(
    shared: &Arc<Shared>,
    group: &Arc<Group>,
    name: String,
    options: ReplicaOptions,
) -> SqlResult<()> {
    primary_only(group, Some(("ADD", "REPLICA")))?;
    let name = replica_name(group, &name);
    if group.state().committed.replicas.contains_key(&name) {
        return Err(Message::new(
            35_282,
            16,
            format!(
                "Availability replica '{name}' cannot be added to availability group '{}'. The availability group already contains an availability replica with the specified name. Verify that the availability replica name and the availability group name are correct, then retry the operation.",
                group.name
            ),
        ));
    }
    let replica = replica_config(shared, &group.name, &name, &options)?;
    commit(shared, group, "ADD-REPLICA", |config| {
        config.replicas.insert(name.clone(), replica.clone());
    })
    .await
}

/// REMOVE REPLICA
pub async fn remove_replica(group: &Arc<Group>, name: &str) -> SqlResult<()> {
    primary_only(group, Some(("REMOVE", "REPLICA")))?;
    let name = replica_name(group, name);
    let name = name.as_str();
    if name.eq_ignore_ascii_case(&group.me) {
        return Err(Message::new(
            35_284,
            16,
            format!(
                "Availability replica '{name}' cannot be removed from availability group '{}', because this replica is on the local instance of SQL Server. If the local availability replica is a secondary replica, connect to the server instance that is currently hosting the primary replica, and re-run the command.",
                group.name
            ),
        ));
    }
    if !group.state().committed.replicas.contains_key(name) {
        return Err(unknown_replica(group, name));
    }
    let shared = group.instance()?;
    commit(&shared, group, "REMOVE-REPLICA", |config| {
        config.replicas.remove(name);
        config.databases.values_mut().for_each(|database| {
            database.synchronized.remove(name);
        });
    })
    .await
}

fn unknown_replica(group: &Arc<Group>, name: &str) -> Message {
    Message::new(
        35_283,
        16,
        format!(
            "Availability replica '{name}' cannot be removed from availability group '{}'. The availability group does not contain an availability replica with the specified name. Verify the availability group and availability replica names are correct, then retry the operation.",
            group.name
        ),
    )
}

/// MODIFY REPLICA
pub async fn modify_replica(
    shared: &Arc<Shared>,
    group: &Arc<Group>,
    name: &str,
    options: ReplicaOptions,
) -> SqlResult<()> {
    primary_only(group, None)?;
    let name = replica_name(group, name);
    let name = name.as_str();
    let mode = check_modification(group, name, &options)?;
    commit(shared, group, "MODIFY-REPLICA", |config| {
        if let Some(replica) = config.replicas.get_mut(name) {
            replica.availability_mode = mode.unwrap_or(replica.availability_mode);
            apply(&options, replica);
        }
    })
    .await?;
    if options.seeding_mode.is_some() || options.endpoint_url.is_some() {
        // Seeding that failed begins again, and a new address is used.
        group.drop_session(name);
    }
    Ok(())
}

/// The new availability mode, if one was given. Errors: 35210, 35214, 47112, 47113.
fn check_modification(group: &Group, name: &str, options: &ReplicaOptions) -> SqlResult<Option<u8>> {
    let Some(current) = group.state().committed.replicas.get(name).cloned() else {
        return Err(Message::new(
            35_210,
            16,
            format!(
                "Failed to modify options for availability replica '{name}' in availability group '{}'. The specified availability group does not contain an availability replica with specified name. Verify that availability group name and availability replica name are correct, then retry the operation.",
                group.name
            ),
        ));
    };
    if let Some(seconds) = options.session_timeout {
        check_timeout(name, seconds)?;
    }
    let only_timeout =
        ReplicaOptions { session_timeout: options.session_timeout, ..ReplicaOptions::default() } == *options;
    if current.availability_mode == 4 && !only_timeout {
        return Err(Message::new(
            47_112,
            16,
            "Only the SESSION_TIMEOUT property can be modified for a configuration-only replica.",
        ));
    }
    match options.availability_mode.as_deref() {
        Some("SYNCHRONOUS_COMMIT") => Ok(Some(1)),
        Some("ASYNCHRONOUS_COMMIT") => Ok(Some(0)),
        Some(_) => Err(Message::new(
            47_113,
            16,
            format!(
                "The 'AVAILABILITY_MODE' option is not valid for the '{name}' replica for modification. Remove this option, then retry the operation."
            ),
        )),
        None => Ok(None),
    }
}

/// Changes what was given.
pub(super) fn apply(options: &ReplicaOptions, replica: &mut ReplicaConfig) {
    replica.endpoint_url = options.endpoint_url.clone().unwrap_or_else(|| replica.endpoint_url.clone());
    replica.session_timeout = options.session_timeout.unwrap_or(replica.session_timeout);
    replica.backup_priority = options.backup_priority.unwrap_or(replica.backup_priority);
    replica.secondary_connections =
        connections(options.secondary_connections.as_deref()).unwrap_or(replica.secondary_connections);
    if let Some(mode) = options.seeding_mode.as_deref() {
        replica.seeding_mode = u8::from(mode != "AUTOMATIC");
    }
    replica.read_only_routing_url =
        options.read_only_routing_url.clone().or_else(|| replica.read_only_routing_url.clone());
    replica.read_write_routing_url =
        options.read_write_routing_url.clone().or_else(|| replica.read_write_routing_url.clone());
    if let Some(list) = &options.read_only_routing_list {
        replica.read_only_routing_list.clone_from(list);
    }
}

/// ADD DATABASE
pub async fn add_databases(shared: &Arc<Shared>, group: &Arc<Group>, names: Vec<String>) -> SqlResult<()> {
    primary_only(group, Some(("ADD", "DATABASE")))?;
    for name in names {
        let database = database_to_add(shared, group, &name)?;
        add_database(shared, group, database.name()).await?;
        database.join(super::primary::owner(group));
        group.reconcile();
    }
    Ok(())
}

/// 35249
pub fn system_database(name: &str) -> Message {
    Message::new(
        35_249,
        16,
        format!(
            "An attempt to add or join a system database, '{name}', to an availability group failed. Specify only user databases for this operation."
        ),
    )
}

/// A database that may be added. Errors: 35238, 35249, 35200, 35280, 35244, 1475.
fn database_to_add(shared: &Shared, group: &Group, name: &str) -> SqlResult<Arc<Database>> {
    let Some(database) = shared.database(name) else {
        return Err(Message::new(
            35_238,
            16,
            format!(
                "Database '{name}' cannot be added to availability group '{}'. The database does not exist on this SQL Server instance. Verify that the database name is correct and that the database exists, then retry the operation.",
                group.name
            ),
        ));
    };
    let name = database.name();
    if SYSTEM.contains(&name) {
        return Err(system_database(name));
    }
    let (basic, full) = {
        let committed = &group.state().committed;
        (committed.basic, !committed.databases.is_empty() && !committed.databases.contains_key(name))
    };
    if basic && full {
        let text = format!(
            "Failed to add database '{name}' to availability group '{}'. The specified availability group is created with basic functionality and supports 1 database.",
            group.name
        );
        return Err(Message::new(35_200, 16, text));
    }
    if group.state().committed.databases.contains_key(name) {
        return Err(Message::new(
            35_280,
            16,
            format!(
                "Database '{name}' cannot be added to availability group '{}'. The database is already joined to the specified availability group. Verify that the database name is correct and that the database is not joined to an availability group, then retry the operation.",
                group.name
            ),
        ));
    }
    if let Some(other) = shared.group_of(name) {
        return Err(Message::new(
            35_244,
            16,
            format!(
                "Database '{name}' cannot be added to availability group '{}'. The database is currently joined to another availability group, '{}'. Verify that the database name is correct and that the database is not joined to an availability group, then retry the operation.",
                group.name, other.name
            ),
        ));
    }
    if !shared.has_log_chain(name) {
        return Err(Message::new(
            1475,
            16,
            format!(
                "Database \"{name}\" might contain bulk logged changes that have not been backed up. Take a log backup on the principal database or primary database. Then restore this backup either on the mirror database to enable database mirroring or on every secondary database to enable you to join it to the availability group."
            ),
        ));
    }
    Ok(database)
}

/// Commits a configuration that lists the database.
pub(super) async fn add_database(shared: &Arc<Shared>, group: &Arc<Group>, name: &str) -> SqlResult<()> {
    let local = |own: bool| {
        let mut state = group.state();
        group.persist(&mut state, |copy| {
            if own {
                copy.local.insert(name.to_string())
            } else {
                copy.local.remove(name)
            };
        })
    };
    local(true)?;
    let entry = database_config(shared, &group.me);
    let added = commit(shared, group, "ADD-DATABASE", |config| {
        config.databases.insert(name.to_string(), entry.clone());
    })
    .await;
    if let Err(error) = added {
        if !group.state().copy.config.databases.contains_key(name) {
            local(false)?;
        }
        return Err(error);
    }
    Ok(())
}

/// REMOVE DATABASE
pub async fn remove_databases(shared: &Arc<Shared>, group: &Arc<Group>, names: Vec<String>) -> SqlResult<()> {
    primary_only(group, Some(("REMOVE", "DATABASE")))?;
    for name in names {
        let name = shared.database(&name).map_or(name, |known| known.name().to_string());
        if !group.state().committed.databases.contains_key(&name) {
            return Err(Message::new(
                41_133,
                16,
                format!(
                    "Cannot remove database '{name}' from availability group '{}'. Either the database does not belong to the availability group, or the database has not joined the group. Verify the database and availability group names, and retry the command specifying the correct names.",
                    group.name
                ),
            ));
        }
        commit(shared, group, "REMOVE-DATABASE", |config| {
            config.databases.remove(&name);
        })
        .await?;
        leave_database(group, shared, &name, false)?;
    }
    Ok(())
}

/// SET (..)
pub async fn set(shared: &Arc<Shared>, group: &Arc<Group>, options: GroupOptions) -> SqlResult<()> {
    if let Some(seconds) = options.write_lease_validity {
        return super::lease::renew(group, seconds);
    }
    primary_only(group, None)?;
    commit(shared, group, "ALTER AVAILABILITY GROUP", |config| {
        config.commit_quorum = options.required_synchronized_secondaries_to_commit.unwrap_or(config.commit_quorum);
        config.db_failover = options.db_failover.unwrap_or(config.db_failover);
        config.failure_condition_level = options.failure_condition_level.unwrap_or(config.failure_condition_level);
        config.health_check_timeout = options.health_check_timeout.unwrap_or(config.health_check_timeout);
    })
    .await
}
