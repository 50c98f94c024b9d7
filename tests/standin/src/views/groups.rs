//! Availability groups, replicas, databases in them, seeding. Who sees what in which role: SQL Server docs,
//! "sys.dm_hadr_availability_replica_states": a secondary sees only its own states.

use super::{Rows, View, int, maybe, moment, text};
use crate::{
    catalog::On,
    group::roles::Role,
    instance::snapshot::{CopyMoment, GroupDatabaseMoment, GroupMoment},
    tsql::state::State,
    value::Value,
};

pub(super) const STATE: Option<&str> = Some("VIEW SERVER STATE");

pub(super) const VIEWS: &[View] = &[
    View {
        key: "sys.availability_groups",
        columns: "group_id uniqueidentifier, name sysname, resource_id nvarchar(40), resource_group_id nvarchar(40), failure_condition_level int, health_check_timeout int, automated_backup_preference tinyint, automated_backup_preference_desc nvarchar(60), version smallint, basic_features bit, dtc_support bit, db_failover bit, is_distributed bit, cluster_type tinyint, cluster_type_desc nvarchar(60), required_synchronized_secondaries_to_commit int, sequence_number bigint, is_contained bit >=15",
        permission: None,
        rows: groups,
    },
    View {
        key: "sys.availability_replicas",
        columns: "replica_id uniqueidentifier, group_id uniqueidentifier, replica_metadata_id int, replica_server_name nvarchar(256), owner_sid varbinary(85), endpoint_url nvarchar(128), availability_mode tinyint, availability_mode_desc nvarchar(60), failover_mode tinyint, failover_mode_desc nvarchar(60), session_timeout int, primary_role_allow_connections tinyint, primary_role_allow_connections_desc nvarchar(60), secondary_role_allow_connections tinyint, secondary_role_allow_connections_desc nvarchar(60), create_date datetime, modify_date datetime, backup_priority int, read_only_routing_url nvarchar(256), seeding_mode tinyint, seeding_mode_desc nvarchar(60), read_write_routing_url nvarchar(256) >=15",
        permission: None,
        rows: replicas,
    },
    View {
        key: "sys.availability_read_only_routing_lists",
        columns: "replica_id uniqueidentifier, routing_priority int, read_only_replica_id uniqueidentifier",
        permission: None,
        rows: routing,
    },
    View {
        key: "sys.dm_hadr_availability_replica_states",
        columns: "replica_id uniqueidentifier, group_id uniqueidentifier, is_local bit, role tinyint, role_desc nvarchar(60), operational_state tinyint, operational_state_desc nvarchar(60), connected_state tinyint, connected_state_desc nvarchar(60), recovery_health tinyint, recovery_health_desc nvarchar(60), synchronization_health tinyint, synchronization_health_desc nvarchar(60), last_connect_error_number int, last_connect_error_description nvarchar(1024), last_connect_error_timestamp datetime, write_lease_remaining_ticks bigint, current_configuration_commit_start_time_utc datetime >=15, is_internal bit >=17",
        permission: STATE,
        rows: replica_states,
    },
    View {
        key: "sys.dm_hadr_availability_group_states",
        columns: "group_id uniqueidentifier, primary_replica varchar(128), primary_recovery_health tinyint, primary_recovery_health_desc nvarchar(60), secondary_recovery_health tinyint, secondary_recovery_health_desc nvarchar(60), synchronization_health tinyint, synchronization_health_desc nvarchar(60)",
        permission: STATE,
        rows: group_states,
    },
    View {
        key: "sys.dm_hadr_availability_replica_cluster_states",
        columns: "replica_id uniqueidentifier, replica_server_name nvarchar(256), group_id uniqueidentifier, join_state tinyint, join_state_desc nvarchar(60)",
        permission: STATE,
        rows: replica_cluster_states,
    },
];

fn visible(state: &State) -> impl Iterator<Item = &GroupMoment> {
    state
        .snapshot()
        .groups
        .values()
        .filter(|group| state.data.sees(&state.login, &On::Group(group.config.name.to_lowercase())))
}

pub(super) fn moments(state: &State) -> impl Iterator<Item = &GroupMoment> {
    state.snapshot().groups.values()
}

fn pick(names: &[&str], index: u8) -> Value {
    names.get(usize::from(index)).map_or(Value::Null, |name| text(*name))
}

pub(super) fn described(value: u8, names: &[&str]) -> [Value; 2] {
    [int(value), pick(names, value)]
}

pub(super) fn optional(value: Option<u8>, names: &[&str]) -> [Value; 2] {
    value.map_or([Value::Null, Value::Null], |value| described(value, names))
}

pub(super) const HEALTH: &[&str] = &["NOT_HEALTHY", "PARTIALLY_HEALTHY", "HEALTHY"];
const RECOVERY: &[&str] = &["ONLINE_IN_PROGRESS", "ONLINE"];

fn groups(state: &State, _: &str) -> Rows {
    let row = |group: &GroupMoment| {
        let config = &group.config;
        let resource = config.id.to_string();
        let [preference, preference_desc] =
            described(config.automated_backup_preference, &["primary", "secondary_only", "secondary", "none"]);
        vec![
            Value::Guid(config.id),
            text(&config.name),
            text(&resource),
            text(&resource),
            int(config.failure_condition_level),
            int(config.health_check_timeout),
            preference,
            preference_desc,
            int(1),
            Value::Bit(config.basic),
            Value::Bit(false),
            Value::Bit(config.db_failover),
            Value::Bit(config.distributed),
            int(if config.distributed { 2 } else { 1 }),
            text(if config.distributed { "NONE" } else { "EXTERNAL" }),
            int(config.commit_quorum),
            int(config.number),
            Value::Bit(false),
        ]
    };
    visible(state).map(row).collect()
}

fn replicas(state: &State, _: &str) -> Rows {
    let mut rows = Rows::new();
    for group in visible(state) {
        for (name, replica) in &group.config.replicas {
            let local = *name == group.me;
            let mode = match replica.availability_mode {
                0 => "ASYNCHRONOUS_COMMIT",
                1 => "SYNCHRONOUS_COMMIT",
                _ => "CONFIGURATION_ONLY",
            };
            let [failover, failover_desc] = described(replica.failover_mode, &["AUTOMATIC", "MANUAL", "EXTERNAL"]);
            let [primary, primary_desc] = described(replica.primary_connections, &["", "", "ALL", "READ_WRITE"]);
            let [secondary, secondary_desc] = described(replica.secondary_connections, &["NO", "READ_ONLY", "ALL"]);
            let [seeding, seeding_desc] = described(replica.seeding_mode, &["AUTOMATIC", "MANUAL"]);
            let created = Value::DateTime(state.server.start_time);
            rows.push(vec![
                Value::Guid(replica.id),
                Value::Guid(group.config.id),
                if local { int(1) } else { Value::Null },
                text(name),
                if local { Value::Binary(vec![1]) } else { Value::Null },
                text(&replica.endpoint_url),
                int(replica.availability_mode),
                text(mode),
                failover,
                failover_desc,
                int(replica.session_timeout),
                primary,
                primary_desc,
                secondary,
                secondary_desc,
                if local { created.clone() } else { Value::Null },
                if local { created } else { Value::Null },
                int(replica.backup_priority),
                maybe(replica.read_only_routing_url.as_ref(), text),
                seeding,
                seeding_desc,
                maybe(replica.read_write_routing_url.as_ref(), text),
            ]);
        }
    }
    rows
}

fn routing(state: &State, _: &str) -> Rows {
    let mut rows = Rows::new();
    for group in visible(state) {
        for replica in group.config.replicas.values() {
            for (priority, set) in replica.read_only_routing_list.iter().enumerate() {
                for target in set.iter().filter_map(|name| group.config.replicas.get(name)) {
                    rows.push(vec![Value::Guid(replica.id), int(priority as i64 + 1), Value::Guid(target.id)]);
                }
            }
        }
    }
    rows
}

/// The copy of a database on a replica, as this instance knows it.
pub(super) fn copy<'a>(
    group: &GroupMoment,
    database: &'a GroupDatabaseMoment,
    replica: &str,
) -> Option<&'a CopyMoment> {
    if replica == group.me { database.local.as_ref() } else { database.remote.get(replica) }
}

/// Health of one copy: SQL Server docs, "sys.dm_hadr_database_replica_states".
pub(super) fn copy_health(group: &GroupMoment, replica: &str, copy: &CopyMoment) -> u8 {
    let synchronous = group.config.replicas.get(replica).is_some_and(|replica| replica.availability_mode == 1);
    match (copy.state, synchronous) {
        (0, _) => 0,
        (1, true) => 1,
        _ => 2,
    }
}

/// Roll-up of a replica: configuration-only is healthy when connected, no databases is not healthy, else the worst copy.
fn replica_health(group: &GroupMoment, replica: &str, connected: bool) -> u8 {
    if group.config.replicas.get(replica).is_some_and(|replica| replica.availability_mode == 4) && connected {
        return 2;
    }
    let copies = group.databases.values().map(|database| copy(group, database, replica));
    copies.map(|copy| copy.map_or(0, |copy| copy_health(group, replica, copy))).min().unwrap_or(0)
}

fn role_name(role: Role) -> (u8, &'static str) {
    match role {
        Role::Resolving => (0, "RESOLVING"),
        Role::Primary => (1, "PRIMARY"),
        Role::Secondary => (2, "SECONDARY"),
    }
}

fn own_recovery(group: &GroupMoment) -> Option<u8> {
    let joined = group.databases.values().filter(|database| database.local.is_some()).count();
    match joined {
        0 => None,
        joined if joined < group.databases.len() || group.role == Role::Resolving => Some(0),
        _ => Some(1),
    }
}

fn replica_states(state: &State, _: &str) -> Rows {
    let mut rows = Rows::new();
    for group in moments(state) {
        for (name, replica) in &group.config.replicas {
            let local = *name == group.me;
            let partner = group.partners.get(name);
            if !local && partner.is_none() {
                continue;
            }
            let connected = if local { group.connected } else { partner.is_some_and(|partner| partner.connected) };
            let (role, role_desc) = if local { role_name(group.role) } else { (2, "SECONDARY") };
            let [operational, operational_desc] = optional(
                local.then_some(group.operational_state),
                &["PENDING_FAILOVER", "PENDING", "ONLINE", "OFFLINE", "FAILED", "FAILED_NO_QUORUM"],
            );
            let [connection, connection_desc] = described(u8::from(connected), &["DISCONNECTED", "CONNECTED"]);
            let [recovery, recovery_desc] = optional(if local { own_recovery(group) } else { None }, RECOVERY);
            let [health, health_desc] = described(replica_health(group, name, connected), HEALTH);
            let error = partner.and_then(|partner| partner.last_error.as_ref());
            let primary = local && group.role == Role::Primary;
            rows.push(vec![
                Value::Guid(replica.id),
                Value::Guid(group.config.id),
                Value::Bit(local),
                int(role),
                text(role_desc),
                operational,
                operational_desc,
                connection,
                connection_desc,
                recovery,
                recovery_desc,
                health,
                health_desc,
                maybe(error, |_| int(35_206)),
                maybe(error, text),
                maybe(error, |_| Value::DateTime(state.server.now())),
                if primary { int(i64::MAX) } else { Value::Null },
                maybe(group.commit_pending_since.filter(|_| primary), moment),
                Value::Bit(false),
            ]);
        }
    }
    rows
}

fn group_states(state: &State, _: &str) -> Rows {
    let row = |group: &GroupMoment| {
        let primary = group.role == Role::Primary;
        let recovery = own_recovery(group);
        let [own, own_desc] = optional(recovery.filter(|_| primary), RECOVERY);
        let [other, other_desc] = optional(recovery.filter(|_| !primary), RECOVERY);
        let health = group.config.replicas.keys().filter(|name| primary || **name == group.me).map(|name| {
            let connected = *name == group.me || group.partners.get(name).is_some_and(|partner| partner.connected);
            replica_health(group, name, connected)
        });
        let all: Vec<u8> = health.collect();
        let rolled = match (all.iter().min(), all.iter().max()) {
            (Some(2), _) => 2,
            (Some(_), Some(2 | 1)) => 1,
            _ => 0,
        };
        let [health, health_desc] = described(rolled, HEALTH);
        vec![
            Value::Guid(group.config.id),
            maybe(group.primary.as_ref(), text),
            own,
            own_desc,
            other,
            other_desc,
            health,
            health_desc,
        ]
    };
    moments(state).map(row).collect()
}

fn replica_cluster_states(state: &State, _: &str) -> Rows {
    let mut rows = Rows::new();
    for group in moments(state) {
        for (name, replica) in &group.config.replicas {
            let joined = replica.joined || *name == group.me;
            let [join, join_desc] = described(u8::from(joined), &["NOT_JOINED", "JOINED_STANDALONE"]);
            rows.push(vec![Value::Guid(replica.id), text(name), Value::Guid(group.config.id), join, join_desc]);
        }
    }
    rows
}
