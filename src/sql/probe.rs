//! One look at an instance: one round trip, one result set per kind of fact, in a fixed order.
//!
//! Runs as `quorate_look`, which has VIEW SERVER STATE, VIEW ANY DEFINITION, CONNECT ANY DATABASE and SELECT on
//! `master.dbo.quorate`. Views: sys.availability_groups, sys.availability_replicas, sys.dm_hadr_* (SQL Server docs).

use super::{
    Error,
    facts::{self, Cells},
    statement::{FAILOVER_PROGRAM, name},
};
use crate::{
    decide::observation::{DatabaseUser, Facts, LogBackup},
    model::{DatabaseName, Group, ReplicaName, name::literal},
};
use std::collections::BTreeMap;
use tiberius::Row;

/// First major version that shows a configuration commit that waits for votes (2019).
const SHOWS_COMMIT: u32 = 15;

/// What to look at.
#[derive(Clone, Debug)]
pub struct Look<'a> {
    /// The wish: its name and its logins.
    pub group: &'a Group,
    /// Whose instance.
    pub replica: &'a ReplicaName,
    /// Major version, when it is known from an earlier look: 14 lacks a column.
    pub major: Option<u32>,
}

impl Look<'_> {
    /// The batch.
    pub fn batch(&self) -> String {
        let group = self.group.name.literal();
        let logins: Vec<_> = self.group.logins.iter().map(|login| login.name.literal()).collect();
        let logins = if logins.is_empty() { "N''".to_string() } else { logins.join(", ") };
        let pending = if self.major.is_some_and(|major| major >= SHOWS_COMMIT) {
            "CASE WHEN rs.current_configuration_commit_start_time_utc IS NULL THEN 0 ELSE 1 END"
        } else {
            "0"
        };
        [
            SERVER.to_string(),
            format!("SELECT q.epoch, q.settled, q.passwords FROM master.dbo.quorate AS q WHERE q.name = {group};"),
            CERTIFICATES.to_string(),
            ENDPOINTS.to_string(),
            PARTNERS.to_string(),
            group_batch(&group, pending),
            members_batch(&group),
            group_databases_batch(&group),
            DATABASES.to_string(),
            format!(
                "SELECT p.name, p.sid FROM sys.server_principals AS p WHERE p.type = 'S' AND p.name IN ({logins});"
            ),
            fence_batch(),
        ]
        .join("\n")
    }

    /// The facts in an answer. Errors: an answer that is not one to this batch.
    pub fn read(&self, answer: &[Vec<Row>]) -> Result<Facts, Error> {
        facts::read(self.replica, answer).map_err(Error::Lost)
    }
}

/// The logon trigger of a fence.
pub(super) fn fence_batch() -> String {
    format!(
        "\
SELECT CAST(t.is_disabled AS int) AS disabled, m.definition
FROM sys.server_triggers AS t
JOIN sys.server_sql_modules AS m ON m.object_id = t.object_id
WHERE t.name = {};",
        literal(name::FENCE)
    )
}

const SERVER: &str = "\
SELECT CAST(SERVERPROPERTY('ServerName') AS nvarchar(128)) AS server_name,
       CAST(SERVERPROPERTY('ProductVersion') AS nvarchar(128)) AS product_version,
       CAST(SERVERPROPERTY('Edition') AS nvarchar(128)) AS edition,
       CAST(SERVERPROPERTY('IsHadrEnabled') AS int) AS hadr_enabled,
       i.ms_ticks
FROM sys.dm_os_sys_info AS i;";

const CERTIFICATES: &str = "\
SELECT c.name, CERTENCODED(c.certificate_id) AS encoded, c.subject,
       CASE WHEN e.endpoint_id IS NULL THEN 0 ELSE 1 END AS in_use
FROM sys.certificates AS c
LEFT JOIN sys.database_mirroring_endpoints AS e ON e.certificate_id = c.certificate_id
WHERE c.name LIKE N'quorate%';";

const ENDPOINTS: &str = "\
SELECT e.name, CAST(e.state AS int) AS state FROM sys.database_mirroring_endpoints AS e;";

/// Class 105 is an endpoint; states are G(rant), W(ith grant option), D(eny).
const PARTNERS: &str = "\
SELECT p.name, s.state
FROM sys.server_principals AS p
LEFT JOIN sys.server_permissions AS s
    ON s.grantee_principal_id = p.principal_id AND s.class = 105 AND s.permission_name = N'CONNECT'
WHERE p.name LIKE N'quorate%';";

const DATABASES: &str = "\
SELECT d.name, d.state_desc, CAST(d.recovery_model AS int) AS recovery_model,
       CASE WHEN d.group_database_id IS NULL THEN 0 ELSE 1 END AS in_group,
       CASE WHEN r.last_log_backup_lsn IS NULL THEN 0 ELSE 1 END AS log_chain
FROM sys.databases AS d
LEFT JOIN sys.database_recovery_status AS r ON r.database_id = d.database_id
WHERE d.database_id > 4;";

fn group_batch(group: &str, pending: &str) -> String {
    format!(
        "\
SELECT g.sequence_number, CAST(g.basic_features AS int) AS basic, g.required_synchronized_secondaries_to_commit AS commit_quorum,
       CAST(rs.role AS int) AS role, CAST(rs.operational_state AS int) AS operational_state,
       CAST(rs.connected_state AS int) AS connected_state, gs.primary_replica, {pending} AS commit_pending,
       (SELECT COUNT(*) FROM sys.dm_exec_requests AS q
        JOIN sys.dm_exec_sessions AS s ON s.session_id = q.session_id
        WHERE s.program_name = N'{FAILOVER_PROGRAM}') AS failover_batches
FROM sys.availability_groups AS g
LEFT JOIN sys.dm_hadr_availability_replica_states AS rs ON rs.group_id = g.group_id AND rs.is_local = 1
LEFT JOIN sys.dm_hadr_availability_group_states AS gs ON gs.group_id = g.group_id
WHERE g.name = {group};"
    )
}

fn members_batch(group: &str) -> String {
    format!(
        "\
SELECT r.replica_server_name, CAST(r.availability_mode AS int) AS availability_mode,
       CAST(rs.connected_state AS int) AS connected_state
FROM sys.availability_replicas AS r
JOIN sys.availability_groups AS g ON g.group_id = r.group_id
LEFT JOIN sys.dm_hadr_availability_replica_states AS rs ON rs.replica_id = r.replica_id
WHERE g.name = {group};"
    )
}

fn group_databases_batch(group: &str) -> String {
    format!(
        "\
SELECT cs.database_name, r.replica_server_name, CAST(cs.is_failover_ready AS int) AS failover_ready,
       CAST(cs.is_database_joined AS int) AS joined, ds.synchronization_state_desc,
       CAST(ds.is_suspended AS int) AS suspended, CAST(ds.suspend_reason AS int) AS suspend_reason,
       CAST(ds.end_of_log_lsn AS nvarchar(30)) AS end_of_log, ds.redo_queue_size,
       (SELECT COUNT(*) FROM sys.dm_hadr_automatic_seeding AS s
        WHERE s.ag_db_id = cs.group_database_id AND s.ag_remote_replica_id = cs.replica_id
            AND s.is_source = 1 AND s.current_state = N'SEEDING') AS seedings
FROM sys.dm_hadr_database_replica_cluster_states AS cs
JOIN sys.availability_replicas AS r ON r.replica_id = cs.replica_id
JOIN sys.availability_groups AS g ON g.group_id = r.group_id
LEFT JOIN sys.dm_hadr_database_replica_states AS ds
    ON ds.replica_id = cs.replica_id AND ds.group_database_id = cs.group_database_id
WHERE g.name = {group};"
    )
}

/// The users of one database and their roles; run inside it, apart from the look, since a database may be locked.
pub const USERS: &str = "\
SET LOCK_TIMEOUT 500;
SELECT u.name, u.sid, r.name AS role
FROM sys.database_principals AS u
LEFT JOIN sys.database_role_members AS m ON m.member_principal_id = u.principal_id
LEFT JOIN sys.database_principals AS r ON r.principal_id = m.role_principal_id
WHERE u.type = 'S' AND u.sid IS NOT NULL;";

/// Users by name. Errors: an answer that is not one to [`USERS`].
pub fn read_users(answer: &[Vec<Row>]) -> Result<BTreeMap<String, DatabaseUser>, Error> {
    let mut users: BTreeMap<String, DatabaseUser> = BTreeMap::new();
    for row in answer.last().into_iter().flatten() {
        let row = Cells(row);
        let Some(name) = row.text("name").map_err(Error::Lost)? else { continue };
        let user = users.entry(name).or_default();
        user.sid = facts::upper_hex(&row.bytes("sid").map_err(Error::Lost)?.unwrap_or_default());
        user.roles.extend(row.text("role").map_err(Error::Lost)?);
    }
    Ok(users)
}

/// When the logs of databases in FULL recovery were backed up last; 1900 stands for never. `sys.dm_db_log_stats` asks the
/// database itself, so that a backup taken on a secondary counts, a failover forgets nothing, and VIEW SERVER STATE is
/// enough; `msdb.dbo.backupset` knows the backups of its own instance only, and would need a user in msdb. Both clocks,
/// since datetimes are local. Run apart from the look: it reads logs.
pub const LOG_BACKUPS: &str = "\
SELECT d.name, d.create_date, l.log_backup_time, GETDATE() AS local_now, GETUTCDATE() AS utc_now
FROM sys.databases AS d
CROSS APPLY sys.dm_db_log_stats(d.database_id) AS l
WHERE d.database_id > 4 AND d.state = 0 AND d.recovery_model = 1;";

/// Log backups by database. Errors: an answer that is not one to [`LOG_BACKUPS`].
pub fn read_log_backups(answer: &[Vec<Row>]) -> Result<BTreeMap<DatabaseName, LogBackup>, Error> {
    let mut backups = BTreeMap::new();
    for row in answer.last().into_iter().flatten() {
        if let Some((name, backup)) = read_log_backup(&Cells(row)).map_err(Error::Lost)? {
            backups.insert(name, backup);
        }
    }
    Ok(backups)
}

fn read_log_backup(row: &Cells<'_>) -> Result<Option<(DatabaseName, LogBackup)>, String> {
    /// Zones differ from UTC by quarters of an hour; the two clocks were not read at the same instant.
    const QUARTER: i64 = 900;
    let Some(name) = row.text("name")?.and_then(|name| DatabaseName::new(name).ok()) else { return Ok(None) };
    let (Some(local), Some(utc)) = (row.second("local_now")?, row.second("utc_now")?) else { return Ok(None) };
    let ahead = (local - utc + QUARTER / 2).div_euclid(QUARTER) * QUARTER;
    let last = row.second("log_backup_time")?.filter(|second| *second > 0).map(|second| second - ahead);
    let created = row.second("create_date")?.unwrap_or_default() - ahead;
    Ok(Some((name, LogBackup { last, created, read: utc })))
}

/// Whether a database of the spec holds users that a login of the spec needs.
pub fn databases_with_users(group: &Group) -> impl Iterator<Item = &DatabaseName> {
    group
        .databases
        .iter()
        .map(|database| &database.name)
        .filter(|database| group.logins.iter().any(|login| login.databases.contains_key(*database)))
}

/// Whether `facts` were read from the instance of `replica`: a Service or a host name may lead elsewhere.
pub fn is_from(facts: &Facts, replica: &ReplicaName) -> bool {
    facts.server.name.eq_ignore_ascii_case(replica.as_str())
}

/// Major part of a product version; 16 for `16.0.4225.2`.
pub fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

/// Bare names of a partner's login and certificate on other instances.
pub(super) fn partner_of(text: &str) -> Option<ReplicaName> {
    ReplicaName::new(text.strip_prefix(name::PARTNER)?).ok()
}
