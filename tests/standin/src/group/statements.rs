//! CREATE, JOIN, ALTER and DROP AVAILABILITY GROUP, with the errors of each role.

use super::{
    config::{Config, Copy, DatabaseConfig, ReplicaConfig},
    roles::{Crown, Group, Role},
};
use crate::{
    ddl::{GroupOptions, GroupStatement, ReplicaOptions},
    errors::{Message, SqlResult},
    instance::Shared,
    tsql::parse::not_supported,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::time::{sleep, timeout};

/// JOIN gives up after this (47106).
const JOIN_TIMEOUT: Duration = Duration::from_secs(15);

/// Runs one statement.
pub async fn execute(
    shared: &Arc<Shared>,
    name: &str,
    statement: GroupStatement,
    external: bool,
) -> SqlResult<Vec<Message>> {
    enabled(shared)?;
    let group = shared.group(name);
    match (statement, group) {
        (GroupStatement::CreateDistributed { options, members }, group) => {
            super::distributed::create(shared, name, group.is_some(), &options, members)?;
        }
        (GroupStatement::JoinDistributed(members), group) => {
            super::distributed::join(shared, name, group.is_some(), members)?;
        }
        (GroupStatement::ModifyGroups(_), None) => return Err(super::distributed::not_found(name)),
        (GroupStatement::Create { options, databases, replicas }, None) => {
            create(shared, name, &options, databases, replicas).await?
        }
        (GroupStatement::Create { .. }, Some(_)) => {
            return Err(Message::new(
                41_042,
                16,
                format!(
                    "The availability group '{name}' already exists. This error could be caused by a previous failed CREATE AVAILABILITY GROUP or DROP AVAILABILITY GROUP operation. If the availability group name you specified is correct, try dropping the availability group and then retry CREATE AVAILABILITY GROUP operation."
                ),
            ));
        }
        (GroupStatement::Join { cluster_type }, None) => join(shared, name, cluster_type.as_deref()).await?,
        (GroupStatement::Join { .. }, Some(_)) => {
            return Err(Message::new(
                41_106,
                16,
                format!(
                    "Cannot create an availability replica for availability group '{name}'. An availability replica of the specified availability group already exists on this instance of SQL Server. Verify that the specified availability group name and availability replica name are correct, then retry the operation."
                ),
            ));
        }
        (_, None) => return Err(not_there(name)),
        (statement, Some(group)) => alter(shared, &group, statement, external).await?,
    }
    Ok(vec![])
}

/// 47105
pub fn enabled(shared: &Shared) -> SqlResult<()> {
    if shared.config.hadr_enabled {
        return Ok(());
    }
    Err(Message::new(
        47_105,
        16,
        "The Always On Availability Groups feature must be enabled for this server instance before you can perform availability group operations. Please enable the feature, then retry the operation.",
    ))
}

/// 15151
pub fn not_there(name: &str) -> Message {
    Message::new(
        15_151,
        16,
        format!(
            "Cannot alter the availability group '{name}', because it does not exist or you do not have permission."
        ),
    )
}

async fn alter(shared: &Arc<Shared>, group: &Arc<Group>, statement: GroupStatement, external: bool) -> SqlResult<()> {
    if group.distributed {
        return super::distributed::alter(shared, group, statement).await;
    }
    match statement {
        GroupStatement::Failover => super::failover::failover(shared, group, false, external).await,
        GroupStatement::ForceFailover => super::failover::failover(shared, group, true, external).await,
        GroupStatement::Offline => offline(shared, group),
        GroupStatement::SetRoleSecondary => set_role_secondary(shared, group).await,
        GroupStatement::GrantCreateAnyDatabase => may_create(group, true),
        GroupStatement::DenyCreateAnyDatabase => may_create(group, false),
        GroupStatement::Drop => drop_group(shared, group),
        GroupStatement::AddReplica(name, options) => super::membership::add_replica(shared, group, name, options).await,
        GroupStatement::ModifyReplica(name, options) => {
            super::membership::modify_replica(shared, group, &name, options).await
        }
        GroupStatement::RemoveReplica(name) => super::membership::remove_replica(group, &name).await,
        GroupStatement::AddDatabases(names) => super::membership::add_databases(shared, group, names).await,
        GroupStatement::RemoveDatabases(names) => super::membership::remove_databases(shared, group, names).await,
        GroupStatement::Set(options) => super::membership::set(shared, group, options).await,
        GroupStatement::ModifyGroups(_) => Err(super::distributed::not_distributed(&group.name)),
        GroupStatement::Create { .. }
        | GroupStatement::Join { .. }
        | GroupStatement::CreateDistributed { .. }
        | GroupStatement::JoinDistributed(_) => Err(not_there(&group.name)),
    }
}

async fn create(
    shared: &Arc<Shared>,
    name: &str,
    options: &GroupOptions,
    databases: Vec<String>,
    replicas: Vec<(String, ReplicaOptions)>,
) -> SqlResult<()> {
    supported(options)?;
    super::valid::edition(shared, options.basic)?;
    let members = members(shared, name, replicas)?;
    let config = Config {
        number: 1 << 32 | 1,
        id: shared.uuid(),
        name: name.into(),
        replicas: members,
        databases: BTreeMap::new(),
        commit_quorum: options.required_synchronized_secondaries_to_commit.unwrap_or(0),
        db_failover: options.db_failover.unwrap_or(false),
        failure_condition_level: options.failure_condition_level.unwrap_or(3),
        health_check_timeout: options.health_check_timeout.unwrap_or(30_000),
        automated_backup_preference: match options.automated_backup_preference.as_deref() {
            None if options.basic => 0,
            word => backup_preference(word),
        },
        external_lease: options.write_lease_validity.is_some(),
        basic: options.basic,
        distributed: false,
        links: BTreeMap::new(),
    };
    super::valid::check(shared, &config, "CREATE AVAILABILITY GROUP")?;
    let group = shared.add_group(name, Copy::new(config, true))?;
    if let Some(seconds) = options.write_lease_validity {
        super::lease::renew(&group, seconds)?;
    }
    group.become_primary(Crown::Promoted { hold: false })?;
    if !databases.is_empty() {
        super::membership::add_databases(shared, &group, databases).await?;
    }
    Ok(())
}

/// 40517 for every kind of group and option that CREATE takes in and the stand-in does not act on.
fn supported(options: &GroupOptions) -> SqlResult<()> {
    let external = options.cluster_type.as_deref() == Some("EXTERNAL");
    if !external {
        return Err(not_supported("A CLUSTER_TYPE other than EXTERNAL in CREATE AVAILABILITY GROUP"));
    }
    if options.distributed {
        return Err(super::distributed::conflicting());
    }
    if options.contained {
        return Err(not_supported("A CONTAINED availability group"));
    }
    if options.dtc_per_db == Some(true) {
        return Err(not_supported("DTC_SUPPORT = PER_DB"));
    }
    Ok(())
}

/// `automated_backup_preference`
fn backup_preference(word: Option<&str>) -> u8 {
    match word {
        Some("PRIMARY") => 0,
        Some("SECONDARY_ONLY") => 1,
        Some("NONE") => 3,
        _ => 2,
    }
}

/// The replicas of a new group; this instance is one of them and joined. Errors: 35235, 35237, 47121.
fn members(
    shared: &Arc<Shared>,
    group: &str,
    replicas: Vec<(String, ReplicaOptions)>,
) -> SqlResult<BTreeMap<String, ReplicaConfig>> {
    let me = &shared.config.server_name;
    let mut members = BTreeMap::new();
    for (replica, options) in replicas {
        let config = super::valid::replica_config(shared, group, &replica, &options)?;
        if members.insert(replica.clone(), config).is_some() {
            return Err(Message::new(
                35_235,
                16,
                format!("The replica name '{replica}' was specified more than once."),
            ));
        }
    }
    let Some(local) =
        members.iter_mut().find(|(replica, _)| replica.eq_ignore_ascii_case(me)).map(|(_, config)| config)
    else {
        return Err(Message::new(
            35_237,
            16,
            format!(
                "None of the specified replicas for availability group {group} maps to the instance of SQL Server to which you are connected. Reenter the command, specifying this server instance to host one of the replicas. This replica will be the initial primary replica."
            ),
        ));
    };
    if local.availability_mode == 4 {
        return Err(Message::new(
            47_121,
            16,
            format!(
                "The replica spec for the local replica '{me}' has an invalid availability mode. Valid values are SYNCHRONOUS_COMMIT and ASYNCHRONOUS_COMMIT."
            ),
        ));
    }
    local.joined = true;
    Ok(members)
}

/// Takes the configuration from the primary that lists this instance and reaches its endpoint.
async fn join(shared: &Arc<Shared>, name: &str, cluster_type: Option<&str>) -> SqlResult<()> {
    if cluster_type != Some("EXTERNAL") {
        return Err(Message::new(
            47_100,
            16,
            format!(
                "The cluster type of availability group '{name}' doesn't match its primary configuration. Verify that the specified availability group cluster type is correct, then retry the operation."
            ),
        ));
    }
    let config = timeout(JOIN_TIMEOUT, shared.invited(name)).await.ok().flatten().ok_or_else(|| Message::new(47_106, 16, format!("Cannot join availability group '{name}'. Download configuration timeout. Please check primary configuration, network connectivity and firewall setup, then retry the operation.")))?;
    let group = shared.add_group(name, Copy::new(config, false))?;
    if !shared.faults.get().joins_resolving {
        group.become_role(Role::Secondary)?;
    }
    Ok(())
}

fn offline(shared: &Arc<Shared>, group: &Arc<Group>) -> SqlResult<()> {
    let configuration_only =
        group.state().copy.config.replicas.get(&group.me).is_some_and(|own| own.availability_mode == 4);
    if configuration_only && !shared.faults.get().configuration_only_accepts_offline {
        return Err(Message::new(
            41_150,
            16,
            format!(
                "Failed to take availability group '{}' offline. The Windows Server Failover Clustering (WSFC) service may not be running, or the specified availability group name may be invalid.",
                group.name
            ),
        ));
    }
    group.loosen();
    change_later(shared, group, Role::Resolving);
    Ok(())
}

async fn set_role_secondary(shared: &Arc<Shared>, group: &Arc<Group>) -> SqlResult<()> {
    group.check_stuck()?;
    let intent = group.state().intent;
    if shared.faults.get().set_role_needs_primary && group.state().role == Role::Resolving {
        let found = super::follow::reachable(group).await;
        group.check_stuck()?;
        if !found || group.state().intent != intent {
            return Err(super::stuck::not_online(&group.name));
        }
    }
    change_later(shared, group, Role::Secondary);
    Ok(())
}

/// The statement returns before the role changes; a later statement takes it back.
fn change_later(shared: &Arc<Shared>, group: &Arc<Group>, role: Role) {
    let intent = {
        let mut state = group.state();
        if state.asked == Some(role) {
            // Said again, it does not begin again.
            return;
        }
        state.intent += 1;
        state.pending_failover = false;
        state.asked = (state.role != role).then_some(role);
        if state.role == role {
            return;
        }
        state.intent
    };
    tracing::info!(group = group.name, ?role, "the local replica is preparing to change its role (41075)");
    let delay = shared.role_delay();
    let later = group.clone();
    shared.spawn(async move {
        sleep(delay).await;
        if later.state().intent == intent {
            let _ = later.become_role(role);
        }
    });
}

fn may_create(group: &Arc<Group>, allowed: bool) -> SqlResult<()> {
    let mut state = group.state();
    if state.copy.config.replicas.get(&group.me).is_some_and(|own| own.availability_mode == 4) {
        return Err(Message::new(
            47_111,
            16,
            format!(
                "Local availability replica for availability group '{}' cannot be granted permission to create databases. The replica is a configuration-only and cannot host databases inside the availability group.",
                group.name
            ),
        ));
    }
    group.persist(&mut state, |copy| copy.may_create_databases = allowed)?;
    let waits = state.copy.config.databases.keys().any(|name| !state.copy.local.contains(name));
    if allowed && waits && state.role == Role::Secondary {
        // What was refused before is asked for again.
        state.again += 1;
    }
    drop(state);
    group.touch();
    Ok(())
}

/// Only the local instance leaves; databases stay: ONLINE on a primary, else RESTORING.
fn drop_group(shared: &Arc<Shared>, group: &Arc<Group>) -> SqlResult<()> {
    if !shared.links_of(&group.name).is_empty() {
        return Err(not_supported("DROP of a group that is a member of a distributed one"));
    }
    let primary = group.state().role == Role::Primary;
    let local: Vec<String> = group.state().copy.local.iter().cloned().collect();
    group.end();
    for name in local {
        super::membership::leave_database(group, shared, &name, !primary)?;
    }
    shared.remove_group(&group.name)
}

/// A database joins the configuration on the primary.
pub fn database_config(shared: &Arc<Shared>, me: &str) -> DatabaseConfig {
    DatabaseConfig {
        id: shared.uuid(),
        synchronized: BTreeSet::from([me.to_string()]),
        pending_suspend: BTreeSet::new(),
    }
}
