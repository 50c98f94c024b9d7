//! Three instances on a simulated network, set up and changed by T-SQL alone: what one of them is told, and what the
//! views of all of them show then.

use super::*;
use crate::sim::SimNet;
use std::time::Duration;

const ENDPOINT: &str = "CREATE ENDPOINT [ep] STATE = STARTED AS TCP (LISTENER_PORT = 5022)
    FOR DATABASE_MIRRORING (ROLE = ALL, AUTHENTICATION = CERTIFICATE [dbm], ENCRYPTION = REQUIRED ALGORITHM AES)";
const KEY: &str = "CREATE MASTER KEY ENCRYPTION BY PASSWORD = 'Secret-1-word'";
const JOIN: &str = "ALTER AVAILABILITY GROUP [ag] JOIN WITH (CLUSTER_TYPE = EXTERNAL)";
const GRANT: &str = "ALTER AVAILABILITY GROUP [ag] GRANT CREATE ANY DATABASE";
const SHOP: &str = "CREATE DATABASE shop; CREATE TABLE shop.dbo.t (id int NOT NULL PRIMARY KEY);
    BACKUP DATABASE shop TO DISK = N'NUL'; ALTER AVAILABILITY GROUP [ag] ADD DATABASE shop";
const ROWS: &str = "SELECT COUNT(*) FROM shop.dbo.t";
/// Replicas whose copy of shop may become primary, as a primary shows them.
pub(super) const READY: &str = "SELECT r.replica_server_name FROM sys.dm_hadr_database_replica_cluster_states AS c
    JOIN sys.availability_replicas AS r ON r.replica_id = c.replica_id
    WHERE c.database_name = N'shop' AND c.is_failover_ready = 1 ORDER BY 1";
/// The copy of shop on this instance.
const LOCAL: &str = "SELECT d.synchronization_state_desc, d.is_suspended, d.suspend_reason_desc
    FROM sys.dm_hadr_database_replica_states AS d WHERE d.is_local = 1 AND DB_NAME(d.database_id) = N'shop'";
const DATABASE: &str = "SELECT state_desc, CASE WHEN replica_id IS NULL AND group_database_id IS NULL THEN 0 ELSE 1 END
    FROM sys.databases WHERE name = N'shop'";

/// sql-0 is the primary of the group ag, sql-1 and sql-2 have joined it.
pub(super) struct Replicas {
    pub(super) net: SimNet,
    pub(super) servers: Vec<Server>,
    pub(super) sessions: Vec<Session>,
}

impl Replicas {
    pub(super) async fn new(seeding: &str) -> Self {
        let mut replicas = Self { net: SimNet::new(1), servers: vec![], sessions: vec![] };
        for number in 0..3 {
            replicas.start(&format!("sql-{number}")).await;
        }
        replicas.fine(0, &format!("{KEY}; CREATE CERTIFICATE [dbm] WITH SUBJECT = 'dbm'; {ENDPOINT}")).await;
        let export = "SELECT CONVERT(varchar(max), CERTENCODED(CERT_ID(N'dbm')), 1), CONVERT(varchar(max), CERTPRIVATEKEY(CERT_ID(N'dbm'), N'pw-1'), 1)";
        let shared = run(&mut replicas.sessions[0], export).await.row();
        let import = format!(
            "CREATE CERTIFICATE [dbm] FROM BINARY = {} WITH PRIVATE KEY (BINARY = {}, DECRYPTION BY PASSWORD = 'pw-1')",
            shared[0], shared[1]
        );
        let member = |number: usize| {
            format!(
                "N'sql-{number}' WITH (ENDPOINT_URL = N'tcp://sql-{number}:5022', AVAILABILITY_MODE = SYNCHRONOUS_COMMIT, FAILOVER_MODE = EXTERNAL, SEEDING_MODE = {seeding}, SECONDARY_ROLE (ALLOW_CONNECTIONS = ALL))"
            )
        };
        let members = [member(0), member(1), member(2)].join(", ");
        for number in [1, 2] {
            replicas.fine(number, &format!("{KEY}; {import}; {ENDPOINT}")).await;
        }
        replicas
            .fine(0, &format!("CREATE AVAILABILITY GROUP [ag] WITH (CLUSTER_TYPE = EXTERNAL) FOR REPLICA ON {members}"))
            .await;
        for number in [1, 2] {
            replicas.fine(number, JOIN).await;
            replicas.fine(number, GRANT).await;
        }
        replicas
    }

    /// With a database that is synchronized everywhere.
    pub(super) async fn with_shop() -> Self {
        let mut replicas = Self::new("AUTOMATIC").await;
        replicas.fine(0, SHOP).await;
        replicas.until(0, READY, &["sql-0", "sql-1", "sql-2"]).await;
        replicas
    }

    pub(super) async fn start(&mut self, name: &str) {
        let server = serve(config(name, &Disk::memory()), self.net.host(name)).await;
        self.sessions.push(login(&server, "sa", "").await.unwrap());
        self.servers.push(server);
    }

    pub(super) async fn fine(&mut self, on: usize, sql: &str) -> Answer {
        run(&mut self.sessions[on], sql).await.fine()
    }

    pub(super) async fn numbers(&mut self, on: usize, sql: &str) -> Vec<i32> {
        run(&mut self.sessions[on], sql).await.numbers()
    }

    /// Waits until the values that a query gives, one after the other, are these.
    pub(super) async fn until(&mut self, on: usize, sql: &str, expected: &[&str]) {
        until(&mut self.sessions[on], sql, expected).await;
    }

    async fn remote(&mut self, replica: &str, expected: &[&str]) {
        let sql = format!(
            "SELECT d.synchronization_state_desc, d.is_suspended, d.suspend_reason_desc
             FROM sys.dm_hadr_database_replica_states AS d JOIN sys.availability_replicas AS r ON r.replica_id = d.replica_id
             WHERE r.replica_server_name = N'{replica}' AND DB_NAME(d.database_id) = N'shop'"
        );
        self.until(0, &sql, expected).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_secondary_that_suspends_is_shown_so_until_it_resumes_and_only_there() {
    let mut replicas = Replicas::with_shop().await;
    replicas.fine(1, "ALTER DATABASE SHOP SET HADR SUSPEND").await;
    replicas.until(1, LOCAL, &["NOT SYNCHRONIZING", "1", "SUSPEND_FROM_USER"]).await;
    replicas.remote("sql-1", &["NOT SYNCHRONIZING", "1", "SUSPEND_FROM_USER"]).await;
    replicas.until(0, READY, &["sql-0", "sql-2"]).await;
    replicas.remote("sql-2", &["SYNCHRONIZED", "0", "NULL"]).await;
    replicas.fine(0, "INSERT INTO shop.dbo.t VALUES (1)").await;
    assert_eq!(replicas.numbers(1, ROWS).await, [976]);
    // RESUME on the primary undoes what was suspended there, and nothing else.
    replicas.fine(0, "ALTER DATABASE shop SET HADR SUSPEND").await;
    replicas.until(0, READY, &["sql-0"]).await;
    replicas.remote("sql-2", &["NOT SYNCHRONIZING", "1", "SUSPEND_FROM_USER"]).await;
    replicas.fine(0, "ALTER DATABASE shop SET HADR RESUME").await;
    replicas.until(0, READY, &["sql-0", "sql-2"]).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    replicas.until(1, LOCAL, &["NOT SYNCHRONIZING", "1", "SUSPEND_FROM_USER"]).await;
    replicas.fine(1, "ALTER DATABASE shop SET HADR RESUME").await;
    replicas.until(0, READY, &["sql-0", "sql-1", "sql-2"]).await;
    replicas.until(1, LOCAL, &["SYNCHRONIZED", "0", "NULL"]).await;
    replicas.until(1, ROWS, &["1"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_database_that_was_taken_out_is_restoring_until_it_is_joined_again() {
    let mut replicas = Replicas::with_shop().await;
    replicas.until(1, DATABASE, &["ONLINE", "1"]).await;
    replicas.fine(1, "ALTER DATABASE Shop SET HADR OFF").await;
    replicas.until(1, DATABASE, &["RESTORING", "0"]).await;
    replicas.until(1, LOCAL, &[]).await;
    replicas.until(0, READY, &["sql-0", "sql-2"]).await;
    replicas.remote("sql-1", &["NOT SYNCHRONIZING", "0", "NULL"]).await;
    replicas.fine(0, "INSERT INTO shop.dbo.t VALUES (1)").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    replicas.until(1, DATABASE, &["RESTORING", "0"]).await;
    for (sql, numbers) in [
        (ROWS, vec![927]),
        ("ALTER DATABASE shop SET HADR OFF", vec![35_242]),
        ("ALTER DATABASE shop SET HADR SUSPEND", vec![35_242]),
        ("ALTER DATABASE shop SET HADR RESUME", vec![35_242]),
        ("ALTER DATABASE shop SET RECOVERY SIMPLE", vec![5052, 5069]),
        ("ALTER DATABASE shop SET MULTI_USER", vec![5052, 5069]),
    ] {
        assert_eq!(replicas.numbers(1, sql).await, numbers, "{sql}");
    }
    let join = "ALTER DATABASE shop SET HADR AVAILABILITY GROUP = [AG]";
    replicas.fine(1, join).await;
    replicas.until(0, READY, &["sql-0", "sql-1", "sql-2"]).await;
    replicas.until(1, DATABASE, &["ONLINE", "1"]).await;
    replicas.until(1, ROWS, &["1"]).await;
    let again = replicas.fine(1, join).await;
    assert_eq!(again.infos.iter().map(|info| info.number).collect::<Vec<_>>(), [41_145], "information, no error");
}

#[tokio::test(start_paused = true)]
async fn a_database_that_comes_again_knows_nothing_of_the_one_that_was_removed() {
    let mut replicas = Replicas::with_shop().await;
    replicas.fine(1, "ALTER DATABASE shop SET HADR SUSPEND").await;
    replicas.until(0, READY, &["sql-0", "sql-2"]).await;
    replicas.fine(0, "ALTER AVAILABILITY GROUP ag REMOVE DATABASE shop; DROP DATABASE shop").await;
    for on in [1, 2] {
        replicas.until(on, DATABASE, &["RESTORING", "0"]).await;
        replicas.fine(on, "DROP DATABASE shop").await;
    }
    replicas.fine(0, SHOP).await;
    replicas.until(0, READY, &["sql-0", "sql-1", "sql-2"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_was_taken_out_and_dropped_is_seeded_anew() {
    let mut replicas = Replicas::with_shop().await;
    replicas.fine(1, "ALTER DATABASE shop SET HADR OFF").await;
    replicas.until(0, READY, &["sql-0", "sql-2"]).await;
    replicas.fine(1, "DROP DATABASE shop").await;
    assert_eq!(replicas.numbers(1, "ALTER DATABASE shop SET HADR AVAILABILITY GROUP = ag").await, [41_148]);
    replicas.fine(1, GRANT).await;
    replicas.until(0, READY, &["sql-0", "sql-1", "sql-2"]).await;
}

#[tokio::test(start_paused = true)]
async fn where_seeding_is_manual_a_copy_returns_only_when_it_is_joined() {
    let mut replicas = Replicas::new("MANUAL").await;
    replicas.fine(0, SHOP).await;
    replicas.fine(0, "ALTER AVAILABILITY GROUP ag MODIFY REPLICA ON N'sql-1' WITH (SEEDING_MODE = AUTOMATIC)").await;
    replicas.until(0, READY, &["sql-0", "sql-1"]).await;
    replicas.fine(0, "ALTER AVAILABILITY GROUP ag MODIFY REPLICA ON N'sql-1' WITH (SEEDING_MODE = MANUAL)").await;
    replicas
        .until(1, "SELECT seeding_mode FROM sys.availability_replicas WHERE replica_server_name = N'sql-1'", &["1"])
        .await;
    replicas.fine(1, "DROP AVAILABILITY GROUP ag").await;
    replicas.until(0, READY, &["sql-0"]).await;
    replicas.fine(1, JOIN).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    replicas.until(1, DATABASE, &["RESTORING", "0"]).await;
    replicas.fine(1, "ALTER DATABASE shop SET HADR AVAILABILITY GROUP = ag").await;
    replicas.until(0, READY, &["sql-0", "sql-1"]).await;
    assert_eq!(replicas.numbers(2, "ALTER DATABASE shop SET HADR AVAILABILITY GROUP = ag").await, [41_148]);
}

#[tokio::test(start_paused = true)]
async fn set_hadr_raises_the_documented_numbers() {
    let mut replicas = Replicas::with_shop().await;
    replicas.fine(1, &format!("CREATE DATABASE own; CREATE LOGIN app WITH PASSWORD = N'{PASSWORD}'")).await;
    let own = "ALTER DATABASE own SET HADR AVAILABILITY GROUP = ag";
    for (on, sql, numbers) in [
        (0, "ALTER DATABASE shop SET HADR AVAILABILITY GROUP = ag", vec![35_240]),
        (0, "ALTER DATABASE shop SET HADR OFF", vec![35_240]),
        (1, own, vec![41_132]),
        (1, "ALTER DATABASE own SET HADR AVAILABILITY GROUP = other", vec![15_151]),
        (1, "ALTER DATABASE nowhere SET HADR AVAILABILITY GROUP = ag", vec![41_148]),
        (1, "ALTER DATABASE master SET HADR AVAILABILITY GROUP = ag", vec![35_249]),
        (1, "ALTER DATABASE master SET HADR SUSPEND", vec![35_261]),
        (1, "ALTER DATABASE nowhere SET HADR RESUME", vec![5011, 5069]),
        (1, "ALTER DATABASE own SET HADR SUSPEND", vec![35_242]),
        (1, "ALTER DATABASE shop SET HADR NOTHING", vec![102]),
        (1, "BEGIN TRAN; ALTER DATABASE shop SET HADR SUSPEND; ROLLBACK", vec![226]),
    ] {
        assert_eq!(replicas.numbers(on, sql).await, numbers, "{sql}");
    }
    let mut app = login(&replicas.servers[1], "app", "").await.unwrap();
    assert_eq!(run(&mut app, "ALTER DATABASE shop SET HADR SUSPEND").await.numbers(), [5011, 5069]);
    assert_eq!(run(&mut app, "ALTER DATABASE nowhere SET HADR AVAILABILITY GROUP = ag").await.numbers(), [5011, 5069]);
    replicas
        .fine(
            0,
            "CREATE DATABASE own; BACKUP DATABASE own TO DISK = N'NUL'; ALTER AVAILABILITY GROUP ag ADD DATABASE own",
        )
        .await;
    replicas
        .until(
            1,
            "SELECT COUNT(*) FROM sys.dm_hadr_database_replica_cluster_states WHERE database_name = N'own'",
            &["3"],
        )
        .await;
    assert_eq!(replicas.numbers(1, own).await, [1464], "it is no copy that waits for log");
    replicas.fine(2, "ALTER AVAILABILITY GROUP ag OFFLINE").await;
    replicas.until(2, "SELECT role FROM sys.dm_hadr_availability_replica_states WHERE is_local = 1", &["0"]).await;
    assert_eq!(replicas.numbers(2, "ALTER DATABASE shop SET HADR SUSPEND").await, [35_239], "it is not started");
    assert_eq!(replicas.numbers(2, "ALTER DATABASE shop SET HADR RESUME").await, [35_239]);
    replicas.fine(2, "ALTER DATABASE shop SET HADR OFF").await;
    let join = "ALTER DATABASE shop SET HADR AVAILABILITY GROUP = ag";
    assert_eq!(replicas.numbers(2, join).await, [35_250], "there is no primary to join");
}

#[tokio::test(start_paused = true)]
async fn who_may_not_create_databases_is_seeded_nothing_new_and_keeps_what_it_has() {
    let mut replicas = Replicas::with_shop().await;
    replicas.fine(1, "ALTER AVAILABILITY GROUP [ag] DENY CREATE ANY DATABASE").await;
    replicas.fine(0, "CREATE DATABASE more; BACKUP DATABASE more TO DISK = N'NUL'; ALTER AVAILABILITY GROUP ag ADD DATABASE more").await;
    let more = READY.replace("N'shop'", "N'more'");
    replicas.until(0, &more, &["sql-0", "sql-2"]).await;
    let seeding =
        "SELECT TOP 1 s.current_state, s.is_source, s.performed_seeding, s.failure_state, s.failure_state_desc
        FROM sys.dm_hadr_automatic_seeding AS s ORDER BY s.start_time DESC";
    replicas.until(1, seeding, &["FAILED", "0", "0", "203", "Request Denied"]).await;
    let source = "SELECT r.replica_server_name, s.is_source FROM sys.dm_hadr_automatic_seeding AS s
        JOIN sys.availability_replicas AS r ON r.replica_id = s.ag_remote_replica_id WHERE s.current_state = N'FAILED'";
    replicas.until(0, source, &["sql-1", "1"]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    replicas.until(0, &more, &["sql-0", "sql-2"]).await;
    replicas.until(0, READY, &["sql-0", "sql-1", "sql-2"]).await;
    replicas.fine(1, GRANT).await;
    replicas.until(0, &more, &["sql-0", "sql-1", "sql-2"]).await;
    for (on, sql, number) in [
        (1, "ALTER AVAILABILITY GROUP [other] DENY CREATE ANY DATABASE", 15_151),
        (1, "USE shop; ALTER AVAILABILITY GROUP [ag] DENY CREATE ANY DATABASE", 35_208),
        (1, "USE master; BEGIN TRAN; ALTER AVAILABILITY GROUP [ag] DENY CREATE ANY DATABASE; ROLLBACK", 574),
        (1, "ALTER AVAILABILITY GROUP [ag] DENY CREATE DATABASE", 102),
    ] {
        assert_eq!(replicas.numbers(on, sql).await, [number], "{sql}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_endpoint_ends_the_sessions_of_its_replica_until_there_is_another() {
    let mut replicas = Replicas::with_shop().await;
    let connected = "SELECT s.connected_state_desc FROM sys.dm_hadr_availability_replica_states AS s
        JOIN sys.availability_replicas AS r ON r.replica_id = s.replica_id WHERE r.replica_server_name = N'sql-1'";
    replicas.until(0, connected, &["CONNECTED"]).await;
    replicas.fine(1, "DROP ENDPOINT [EP]").await;
    for view in ["sys.endpoints", "sys.database_mirroring_endpoints", "sys.tcp_endpoints"] {
        let sql = format!("SELECT COUNT(*) FROM {view} WHERE name = N'ep'");
        assert_eq!(replicas.fine(1, &sql).await.row(), ["0"], "{view}");
    }
    replicas.until(0, connected, &["DISCONNECTED"]).await;
    replicas.until(0, READY, &["sql-0", "sql-2"]).await;
    replicas.until(1, connected, &["DISCONNECTED"]).await;
    replicas.fine(0, "INSERT INTO shop.dbo.t VALUES (1)").await;
    replicas.fine(1, ENDPOINT).await;
    replicas.until(0, READY, &["sql-0", "sql-1", "sql-2"]).await;
    replicas.until(1, ROWS, &["1"]).await;
    // On the primary it ends all of them.
    replicas.fine(0, "DROP ENDPOINT ep").await;
    replicas.until(2, &connected.replace("sql-1", "sql-2"), &["DISCONNECTED"]).await;
    replicas.until(1, connected, &["DISCONNECTED"]).await;
    replicas.fine(0, ENDPOINT).await;
    replicas.until(0, READY, &["sql-0", "sql-1", "sql-2"]).await;
}
