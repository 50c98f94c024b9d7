//! Databases in availability groups, and their seeding.

use super::{
    Rows, View,
    groups::{HEALTH, STATE, copy, copy_health, described, moments, optional},
    int, maybe, moment, text,
};
use crate::{
    catalog::On,
    group::roles::Role,
    instance::snapshot::{CopyMoment, GroupDatabaseMoment, GroupMoment},
    tsql::state::State,
    value::Value,
};

pub(super) const VIEWS: &[View] = &[
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
        key: "sys.availability_databases_cluster",
        columns: "group_id uniqueidentifier, group_database_id uniqueidentifier, database_name sysname, truncation_lsn numeric(25,0)",
        permission: None,
        rows: databases_of_groups,
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

const SUSPENDED: &[&str] = &[
    "SUSPEND_FROM_USER",
    "SUSPEND_FROM_PARTNER",
    "SUSPEND_FROM_REDO",
    "SUSPEND_FROM_CAPTURE",
    "SUSPEND_FROM_APPLY",
    "SUSPEND_FROM_RESTART",
    "SUSPEND_FROM_UNDO",
    "SUSPEND_FROM_REVALIDATION",
    "SUSPEND_FROM_XRF_UPDATE",
];
const SYNCHRONIZATION: &[&str] = &["NOT SYNCHRONIZING", "SYNCHRONIZING", "SYNCHRONIZED", "REVERTING", "INITIALIZING"];
/// The LSN of a record as SQL Server writes it: virtual log file, block, slot.
fn lsn(position: u64) -> Value {
    let block = i128::from(position) * 100_000;
    Value::Decimal(37 * 1_000_000_000_000_000 + block + 1)
}

/// The block after everything up to a record: all that is before it is on disk.
fn flushed(position: u64) -> Value {
    lsn(position.saturating_add(1))
}

/// `last_hardened_lsn`: of a primary the least of its secondaries; NULL when it commits asynchronously.
fn last_hardened(group: &GroupMoment, database: &GroupDatabaseMoment, copy: &CopyMoment, primary: bool) -> Value {
    if !primary {
        return flushed(copy.hardened);
    }
    if group.config.replicas.get(&group.me).is_none_or(|own| own.availability_mode != 1) {
        return Value::Null;
    }
    let least = database.remote.values().map(|copy| copy.hardened).min();
    flushed(least.unwrap_or(copy.hardened).min(copy.hardened))
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
        other(flushed(copy.hardened)),
        other(now.clone()),
        other(flushed(copy.hardened)),
        other(now.clone()),
        last_hardened(group, database, copy, primary),
        other(now.clone()),
        other(lsn(copy.redone)),
        other(now),
        other(int(i64::try_from(end.saturating_sub(copy.hardened)).unwrap_or(0))),
        other(int(0)),
        other(int(i64::try_from(copy.redo_queue()).unwrap_or(0))),
        other(int(0)),
        int(0),
        lsn(copy.hardened),
        lsn(copy.redone),
        maybe(copy.committed_at, Value::DateTime),
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

/// A distributed group has no databases of its own here: those are the ones of its member.
fn databases_of_groups(state: &State, _: &str) -> Rows {
    let plain = moments(state).filter(|group| !group.config.distributed);
    let plain = plain.filter(|group| state.data.sees(&state.login, &On::Group(group.config.name.to_lowercase())));
    let row = |group: &GroupMoment, (name, database): (&String, &GroupDatabaseMoment)| {
        vec![Value::Guid(group.config.id), Value::Guid(database.id), text(name), lsn(0)]
    };
    plain.flat_map(|group| group.databases.iter().map(move |entry| row(group, entry))).collect()
}

/// `failure_state_desc`; 100 and 200 more say on which side it happened.
fn failed(failure: i64) -> &'static str {
    match failure % 100 {
        3 => "Request Denied",
        23 => "Database With Name Already Exists",
        _ => "Seeding",
    }
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
                Value::Bit(operation.state == "COMPLETED"),
                maybe(failure, int),
                maybe(failure, |failure| text(failed(failure))),
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
