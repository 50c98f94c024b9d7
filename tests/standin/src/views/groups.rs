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

const STATE: Option<&str> = Some("VIEW SERVER STATE");

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
        key: "sys.dm_hadr_database_replica_states",
        columns: "database_id int, group_id uniqueidentifier, replica_id uniqueidentifier, group_database_id uniqueidentifier, is_local bit, is_primary_replica bit, synchronization_state tinyint, synchronization_state_desc nvarchar(60), is_commit_participant bit, synchronization_health tinyint, synchronization_health_desc nvarchar(60), database_state tinyint, database_state_desc nvarchar(60), is_suspended bit, suspend_reason tinyint, suspend_reason_desc nvarchar(60), recovery_lsn numeric(25,0), truncation_lsn numeric(25,0), last_sent_lsn numeric(25,0), last_sent_time datetime, last_received_lsn numeric(25,0), last_received_time datetime, last_hardened_lsn numeric(25,0), last_hardened_time datetime, last_redone_lsn numeric(25,0), last_redone_time datetime, log_send_queue_size bigint, log_send_rate bigint, redo_queue_size bigint, redo_rate bigint, filestream_send_rate bigint, end_of_log_lsn numeric(25,0), last_commit_lsn numeric(25,0), last_commit_time datetime, low_water_mark_for_ghosts bigint, secondary_lag_seconds bigint, quorum_commit_lsn numeric(25,0) >=15, quorum_commit_time datetime >=15, is_internal bit >=17",
        permission: STATE,
        rows: database_states,
    },
    View {
        key: "sys.dm_hadr_database_replica_cluster_states",
        columns: "replica_id uniqueidentifier, group_database_id uniqueidentifier, database_name sysname, is_failover_ready bit, is_pending_secondary_suspend bit, is_database_joined bit, recovery_lsn numeric(25,0), truncation_lsn numeric(25,0)",
        permission: STATE,
        rows: database_cluster_states,
    },
    View {
        key: "sys.dm_hadr_availability_replica_cluster_states",
        columns: "replica_id uniqueidentifier, replica_server_name nvarchar(256), group_id uniqueidentifier, join_state tinyint, join_state_desc nvarchar(60)",
        permission: STATE,
        rows: replica_cluster_states,
    },
    View {
        key: "sys.dm_hadr_automatic_seeding",
        columns: "start_time datetime, completion_time datetime, ag_id uniqueidentifier, ag_db_id uniqueidentifier, ag_remote_replica_id uniqueidentifier, operation_id uniqueidentifier, is_source bit, current_state nvarchar(60), performed_seeding bit, failure_state int, failure_state_desc nvarchar(60), error_code int, number_of_attempts int",
        permission: STATE,
        rows: seeding,
    },
    View {
        key: "sys.dm_hadr_physical_seeding_stats",
        columns: "local_physical_seeding_id uniqueidentifier, remote_physical_seeding_id uniqueidentifier, local_database_id int, local_database_name nvarchar(128), remote_machine_name nvarchar(128), role_desc nvarchar(60), internal_state_desc nvarchar(60), transfer_rate_bytes_per_second bigint, transferred_size_bytes bigint, database_size_bytes bigint, start_time_utc datetime, end_time_utc datetime, estimate_time_complete_utc datetime, total_disk_io_wait_time_ms bigint, total_network_wait_time_ms bigint, failure_code int, failure_message nvarchar(1024), failure_time_utc datetime, is_compression_enabled bit",
        permission: STATE,
        rows: physical_seeding,
    },
];

fn visible(state: &State) -> impl Iterator<Item = &GroupMoment> {
    state
        .snapshot()
        .groups
        .values()
        .filter(|group| state.data.sees(&state.login, &On::Group(group.config.name.to_lowercase())))
}

fn moments(state: &State) -> impl Iterator<Item = &GroupMoment> {
    state.snapshot().groups.values()
}

fn pick(names: &[&str], index: u8) -> Value {
    names.get(usize::from(index)).map_or(Value::Null, |name| text(*name))
}

fn described(value: u8, names: &[&str]) -> [Value; 2] {
    [int(value), pick(names, value)]
}

fn optional(value: Option<u8>, names: &[&str]) -> [Value; 2] {
    value.map_or([Value::Null, Value::Null], |value| described(value, names))
}

const HEALTH: &[&str] = &["NOT_HEALTHY", "PARTIALLY_HEALTHY", "HEALTHY"];
const RECOVERY: &[&str] = &["ONLINE_IN_PROGRESS", "ONLINE"];
const SYNCHRONIZATION: &[&str] = &["NOT SYNCHRONIZING", "SYNCHRONIZING", "SYNCHRONIZED", "REVERTING", "INITIALIZING"];
const SUSPENDED: &[&str] = &[
    "SUSPEND_FROM_USER",
    "SUSPEND_FROM_PARTNER",
    "SUSPEND_FROM_REDO",
    "SUSPEND_FROM_CAPTURE",
    "SUSPEND_FROM_APPLY",
    "SUSPEND_FROM_RESTART",
    "SUSPEND_FROM_UNDO",
];

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
            Value::Bit(false),
            Value::Bit(false),
            Value::Bit(config.db_failover),
            Value::Bit(false),
            int(1),
            text("EXTERNAL"),
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
fn copy<'a>(group: &GroupMoment, database: &'a GroupDatabaseMoment, replica: &str) -> Option<&'a CopyMoment> {
    if replica == group.me { database.local.as_ref() } else { database.remote.get(replica) }
}

/// Health of one copy: SQL Server docs, "sys.dm_hadr_database_replica_states".
fn copy_health(group: &GroupMoment, replica: &str, copy: &CopyMoment) -> u8 {
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

/// An LSN as SQL Server writes it: virtual log file, block, slot.
fn lsn(position: u64) -> Value {
    let block = i128::from(position) * 100_000;
    Value::Decimal(37 * 1_000_000_000_000_000 + block + 1)
}

fn database_states(state: &State, _: &str) -> Rows {
    let mut rows = Rows::new();
    for group in moments(state) {
        for (name, database) in &group.databases {
            let id = state.database_id(name);
            let end = database.local.as_ref().map_or(0, |copy| copy.hardened);
            for (replica, config) in &group.config.replicas {
                let Some(copy) = copy(group, database, replica) else { continue };
                rows.push(database_state(state, group, database, (replica, config.id), copy, (id, end)));
            }
        }
    }
    rows
}

fn database_state(
    state: &State,
    group: &GroupMoment,
    database: &GroupDatabaseMoment,
    (replica, replica_id): (&str, uuid::Uuid),
    copy: &CopyMoment,
    (id, end): (Option<i64>, u64),
) -> Vec<Value> {
    let local = replica == group.me;
    let primary = local && group.role == Role::Primary;
    let [sync, sync_desc] = described(copy.state, SYNCHRONIZATION);
    let [health, health_desc] = described(copy_health(group, replica, copy), HEALTH);
    let [reason, reason_desc] = optional(copy.suspended, SUSPENDED);
    let database_state = local.then_some(if group.role == Role::Resolving { 2 } else { 0 });
    let [online, online_desc] = optional(database_state, &["ONLINE", "RESTORING", "RECOVERING"]);
    let now = Value::DateTime(state.server.now());
    let other = |value: Value| if primary { Value::Null } else { value };
    vec![
        maybe(id, int),
        Value::Guid(group.config.id),
        Value::Guid(replica_id),
        Value::Guid(database.id),
        Value::Bit(local),
        Value::Bit(primary),
        sync,
        sync_desc,
        Value::Bit(copy.state == 2 && !primary),
        health,
        health_desc,
        online,
        online_desc,
        Value::Bit(copy.suspended.is_some()),
        reason,
        reason_desc,
        lsn(copy.redone),
        lsn(0),
        other(lsn(copy.hardened)),
        other(now.clone()),
        other(lsn(copy.hardened)),
        other(now.clone()),
        lsn(copy.hardened),
        other(now.clone()),
        other(lsn(copy.redone)),
        other(now.clone()),
        other(int(i64::try_from(end.saturating_sub(copy.hardened)).unwrap_or(0))),
        other(int(0)),
        other(int(i64::try_from(copy.redo_queue()).unwrap_or(0))),
        other(int(0)),
        int(0),
        lsn(copy.hardened),
        lsn(copy.redone),
        now,
        int(0),
        other(int(0)),
        lsn(copy.redone),
        Value::Null,
        Value::Bit(false),
    ]
}

fn database_cluster_states(state: &State, _: &str) -> Rows {
    let mut rows = Rows::new();
    for group in moments(state) {
        for (name, database) in &group.databases {
            for (replica, config) in group.config.replicas.iter().filter(|(_, config)| config.holds_data()) {
                let ready = database.synchronized.contains(replica);
                let joined = if *replica == group.me {
                    database.local.is_some()
                } else {
                    ready || database.remote.get(replica).is_some_and(|copy| copy.state > 0)
                };
                rows.push(vec![
                    Value::Guid(config.id),
                    Value::Guid(database.id),
                    text(name),
                    Value::Bit(ready),
                    Value::Bit(false),
                    Value::Bit(joined),
                    lsn(0),
                    lsn(0),
                ]);
            }
        }
    }
    rows
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

fn seeding(state: &State, _: &str) -> Rows {
    let mut rows = Rows::new();
    for group in moments(state) {
        for operation in &group.seeding {
            let database = group.databases.get(&operation.database).map(|database| database.id);
            let remote = group.config.replicas.get(&operation.partner).map(|replica| replica.id);
            let failure = (operation.failure != 0).then_some(operation.failure);
            rows.push(vec![
                moment(operation.started),
                maybe(operation.ended, moment),
                Value::Guid(group.config.id),
                maybe(database, Value::Guid),
                maybe(remote, Value::Guid),
                maybe(database, Value::Guid),
                Value::Bit(operation.source),
                text(operation.state),
                Value::Bit(true),
                maybe(failure, int),
                maybe(failure, |_| text("Seeding")),
                maybe(failure, |_| int(0)),
                int(1),
            ]);
        }
    }
    rows
}

fn physical_seeding(state: &State, _: &str) -> Rows {
    let mut rows = Rows::new();
    for group in moments(state) {
        for operation in &group.seeding {
            let database = group.databases.get(&operation.database).map(|database| database.id);
            let id = maybe(database, Value::Guid);
            let size = |bytes: u64| int(i64::try_from(bytes).unwrap_or(i64::MAX));
            let failure = (operation.failure != 0).then_some(operation.failure);
            rows.push(vec![
                id.clone(),
                id,
                maybe(state.database_id(&operation.database), int),
                text(&operation.database),
                text(&operation.partner),
                text(if operation.source { "Source" } else { "Destination" }),
                text(operation.state),
                int(0),
                size(operation.moved),
                size(operation.size),
                moment(operation.started),
                maybe(operation.ended, moment),
                Value::Null,
                int(0),
                int(0),
                maybe(failure, int),
                Value::Null,
                maybe(operation.ended.filter(|_| failure.is_some()), moment),
                Value::Bit(false),
            ]);
        }
    }
    rows
}
