//! The look: one round trip, one result set per kind of fact in a fixed order, then one or more for each database that is
//! looked into.
//!
//! Runs as `quorate_look`, whose VIEW SERVER STATE, VIEW ANY DEFINITION and CONNECT ANY DATABASE are enough.

use super::{carried, read};
use crate::{
    decide::upgrade::{Facts, Mark},
    model::{DatabaseName, GroupName, name::literal},
    sql::{
        Error,
        probe::fence_batch,
        statement::{
            name::LINK,
            upgrade::session::{SINCE, foreign},
        },
    },
};
use std::collections::BTreeSet;
use tiberius::Row;

/// What to look at.
#[derive(Clone, Debug)]
pub struct Look<'a> {
    /// The instance's own group.
    pub group: &'a GroupName,
    /// Databases to look into, those of the upgrade: one that is not there or cannot be read costs nothing.
    pub databases: &'a BTreeSet<DatabaseName>,
}

impl Look<'_> {
    /// The batch.
    pub fn batch(&self) -> String {
        let group = self.group.literal();
        let mut parts = vec![
            SERVER.to_string(),
            CERTIFICATES.to_string(),
            trusted_batch(),
            groups_batch(&group),
            members_batch(&group),
            copies_batch(&group),
            SEEDINGS.to_string(),
            TRANSFERS.to_string(),
            DATABASES.to_string(),
            sessions_batch(),
            format!(
                "SELECT l.name, l.sid, CAST(l.is_disabled AS int) AS disabled, l.default_database_name, \
                 CAST(l.is_policy_checked AS int) AS check_policy, CAST(l.is_expiration_checked AS int) AS check_expiration\n\
                 FROM sys.sql_logins AS l WHERE {};",
                carried()
            ),
            fence_batch(),
        ];
        parts.extend(self.databases.iter().map(inside_batch));
        parts.join("\n")
    }

    /// The facts in an answer. Errors: an answer that is not one to this batch.
    pub fn read(&self, answer: &[Vec<Row>]) -> Result<Facts, Error> {
        read::read(self.group, answer).map_err(Error::Lost)
    }
}

const SERVER: &str = "\
SELECT CAST(SERVERPROPERTY('ServerName') AS nvarchar(128)) AS server_name,
       CAST(SERVERPROPERTY('ProductVersion') AS nvarchar(128)) AS product_version,
       CAST(SERVERPROPERTY('Edition') AS nvarchar(128)) AS edition,
       CAST(SERVERPROPERTY('EngineEdition') AS int) AS engine_edition,
       CAST(SERVERPROPERTY('Collation') AS nvarchar(128)) AS collation,
       GETUTCDATE() AS utc_now;";

const CERTIFICATES: &str = "\
SELECT c.name, CERTENCODED(c.certificate_id) AS encoded, CASE WHEN e.endpoint_id IS NULL THEN 0 ELSE 1 END AS in_use
FROM sys.certificates AS c
LEFT JOIN sys.database_mirroring_endpoints AS e ON e.certificate_id = c.certificate_id
WHERE c.name LIKE N'quorate%';";

/// Class 105 is an endpoint; states are G(rant), W(ith grant option), D(eny).
fn trusted_batch() -> String {
    format!(
        "\
SELECT p.name, s.state
FROM sys.server_principals AS p
LEFT JOIN sys.server_permissions AS s
    ON s.grantee_principal_id = p.principal_id AND s.class = 105 AND s.permission_name = N'CONNECT'
WHERE p.name LIKE N'{}%';",
        LINK.replace('_', "[_]")
    )
}

/// The own group and every link.
fn groups_batch(group: &str) -> String {
    format!(
        "\
SELECT g.name, CAST(g.group_id AS nvarchar(36)) AS group_id, CAST(g.is_distributed AS int) AS distributed,
       CAST(rs.role AS int) AS role, CAST(rs.connected_state AS int) AS connected_state
FROM sys.availability_groups AS g
LEFT JOIN sys.dm_hadr_availability_replica_states AS rs ON rs.group_id = g.group_id AND rs.is_local = 1
WHERE g.is_distributed = 1 OR g.name = {group};"
    )
}

fn members_batch(group: &str) -> String {
    format!(
        "\
SELECT g.name AS group_name, r.replica_server_name, r.endpoint_url, CAST(r.availability_mode AS int) AS availability_mode,
       CAST(r.seeding_mode AS int) AS seeding_mode, r.secondary_role_allow_connections_desc AS readable,
       CAST(rs.connected_state AS int) AS connected_state
FROM sys.availability_replicas AS r
JOIN sys.availability_groups AS g ON g.group_id = r.group_id
LEFT JOIN sys.dm_hadr_availability_replica_states AS rs ON rs.replica_id = r.replica_id
WHERE g.is_distributed = 1 OR g.name = {group};"
    )
}

/// Of a link no view but this one knows databases; their numbers are those of this instance, the other side's rows included.
fn copies_batch(group: &str) -> String {
    format!(
        "\
SELECT g.name AS group_name, r.replica_server_name, d.name AS database_name, CAST(ds.is_local AS int) AS is_local,
       ds.synchronization_state_desc, CAST(ds.last_hardened_lsn AS nvarchar(30)) AS hardened,
       CAST(ds.last_commit_lsn AS nvarchar(30)) AS committed, CAST(ds.end_of_log_lsn AS nvarchar(30)) AS end_of_log,
       ds.log_send_queue_size, ds.redo_queue_size, CAST(ds.is_suspended AS int) AS suspended, ds.suspend_reason_desc
FROM sys.dm_hadr_database_replica_states AS ds
JOIN sys.availability_groups AS g ON g.group_id = ds.group_id
JOIN sys.availability_replicas AS r ON r.replica_id = ds.replica_id
JOIN sys.databases AS d ON d.database_id = ds.database_id
WHERE g.is_distributed = 1 OR g.name = {group};"
    )
}

const SEEDINGS: &str = "\
SELECT g.name AS group_name, r.replica_server_name AS partner, CAST(s.is_source AS int) AS is_source, s.current_state,
       s.failure_state_desc,
       (SELECT MIN(cs.database_name) FROM sys.dm_hadr_database_replica_cluster_states AS cs
        WHERE cs.group_database_id = s.ag_db_id) AS database_name
FROM sys.dm_hadr_automatic_seeding AS s
LEFT JOIN sys.availability_groups AS g ON g.group_id = s.ag_id
LEFT JOIN sys.availability_replicas AS r ON r.replica_id = s.ag_remote_replica_id
ORDER BY s.start_time;";

/// What moves; which of the seedings it belongs to is documented nowhere.
const TRANSFERS: &str = "\
SELECT p.local_database_name, p.remote_machine_name, p.role_desc, p.transferred_size_bytes, p.database_size_bytes,
       p.transfer_rate_bytes_per_second, p.failure_message
FROM sys.dm_hadr_physical_seeding_stats AS p
ORDER BY p.start_time_utc;";

const DATABASES: &str = "\
SELECT d.name, d.state_desc, CAST(DATABASEPROPERTYEX(d.name, N'Updateability') AS nvarchar(128)) AS updateability,
       CAST(d.recovery_model AS int) AS recovery_model, d.log_reuse_wait_desc,
       CASE WHEN rc.last_log_backup_lsn IS NULL THEN 0 ELSE 1 END AS log_chain,
       CAST(rc.recovery_fork_guid AS nvarchar(36)) AS fork, g.name AS group_name,
       CAST(cs.is_database_joined AS int) AS joined
FROM sys.databases AS d
LEFT JOIN sys.database_recovery_status AS rc ON rc.database_id = d.database_id
LEFT JOIN sys.availability_replicas AS r ON r.replica_id = d.replica_id
LEFT JOIN sys.availability_groups AS g ON g.group_id = r.group_id
LEFT JOIN sys.dm_hadr_database_replica_cluster_states AS cs
    ON cs.replica_id = d.replica_id AND cs.group_database_id = d.group_database_id
WHERE d.database_id > 4;";

/// Both times of a transaction's age are on the instance's own clock.
fn sessions_batch() -> String {
    format!(
        "\
SELECT s.session_id, {SINCE} AS since, s.original_login_name, s.program_name, s.host_name, s.open_transaction_count,
       d.name AS database_name,
       (SELECT DATEDIFF(second, MIN(a.transaction_begin_time), GETDATE())
        FROM sys.dm_tran_session_transactions AS t
        JOIN sys.dm_tran_active_transactions AS a ON a.transaction_id = t.transaction_id
        WHERE t.session_id = s.session_id) AS oldest,
       (SELECT COUNT(*) FROM sys.dm_exec_requests AS q
        WHERE q.session_id = s.session_id AND q.command = N'KILLED/ROLLBACK') AS rolling_back
FROM sys.dm_exec_sessions AS s
LEFT JOIN sys.databases AS d ON d.database_id = s.database_id
WHERE {};",
        foreign()
    )
}

/// Looks into a database. Every row says which; what was set and where the session was comes back when EXEC ends, and a
/// database that cannot be entered, or is locked, is an error that is caught.
fn inside_batch(database: &DatabaseName) -> String {
    let marks = [Mark::Barrier, Mark::Stage, Mark::Completion].map(|mark| literal(mark.property()));
    let name = database.literal();
    let text = format!(
        "SET LOCK_TIMEOUT 500; USE {}; \
         SELECT {name} AS inside, p.name, CAST(p.value AS nvarchar(4000)) AS value \
         FROM sys.extended_properties AS p WHERE p.class = 0 AND p.name IN ({}); \
         SELECT {name} AS inside, CAST(CEILING(l.used_log_space_in_percent) AS bigint) AS log_used \
         FROM sys.dm_db_log_space_usage AS l;",
        database.quoted(),
        marks.join(", ")
    );
    format!(
        "\
BEGIN TRY
    EXEC ({});
END TRY
BEGIN CATCH
    SELECT {name} AS inside, ERROR_NUMBER() AS number, ERROR_MESSAGE() AS message;
END CATCH;",
        literal(&text)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::statement::upgrade::tests::outside;

    fn batch(group: &str, database: &str) -> String {
        let (group, database) = (GroupName::new(group).unwrap(), DatabaseName::new(database).unwrap());
        Look { group: &group, databases: &[database].into() }.batch()
    }

    #[test]
    fn everything_is_asked_in_one_batch() {
        insta::assert_snapshot!(batch("orders", "o'rd]ers"));
    }

    /// The texts that are run by EXEC, as it reads them.
    fn executed(sql: &str) -> Vec<String> {
        let starts = sql.match_indices("EXEC (N'");
        let text = |(at, start): (usize, &str)| {
            let (mut text, mut rest) = (String::new(), sql[at + start.len()..].chars().peekable());
            while let Some(c) = rest.next() {
                if c == '\'' && rest.next_if_eq(&'\'').is_none() {
                    break;
                }
                text.push(c);
            }
            text
        };
        starts.map(text).collect()
    }

    #[test]
    fn no_name_escapes_its_quotes_on_either_level() {
        let plain = batch("plain", "plain");
        for evil in ["a] KILL 1; --", "a' KILL 1; --", "a]] KILL 1", "a''') KILL 1; --", "]'; KILL 1; ['"] {
            let built = batch(evil, evil);
            assert_eq!(outside(&built), outside(&plain), "{evil}");
            assert_eq!(executed(&built).len(), 1);
            assert_eq!(outside(&executed(&built)[0]), outside(&executed(&plain)[0]), "{evil}");
        }
    }

    #[test]
    fn an_answer_to_something_else_is_a_sentence() {
        let (group, databases) = (GroupName::new("orders").unwrap(), BTreeSet::new());
        let look = Look { group: &group, databases: &databases };
        for sets in [0, 10, 11] {
            let answer: Vec<Vec<Row>> = (0..sets).map(|_| Vec::new()).collect();
            assert!(matches!(look.read(&answer), Err(Error::Lost(_))), "{sets}");
        }
    }
}
