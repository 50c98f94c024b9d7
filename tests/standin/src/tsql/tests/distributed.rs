//! Distributed groups: two or three groups of two instances each on a simulated network, told by T-SQL alone.

use super::*;
use crate::sim::SimNet;
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

const ENDPOINT: &str = "CREATE ENDPOINT [ep] STATE = STARTED AS TCP (LISTENER_PORT = 5022)
    FOR DATABASE_MIRRORING (ROLE = ALL, AUTHENTICATION = CERTIFICATE [dbm], ENCRYPTION = REQUIRED ALGORITHM AES)";
const KEY: &str = "CREATE MASTER KEY ENCRYPTION BY PASSWORD = 'Secret-1-word'";
pub(super) const ROWS: &str = "SELECT COUNT(*) FROM shop.dbo.t";
/// Roles of the local side, of every replica that a group's view shows.
pub(super) const SIDES: &str = "SELECT r.replica_server_name, s.role_desc, s.connected_state_desc FROM sys.dm_hadr_availability_replica_states AS s
    JOIN sys.availability_replicas AS r ON r.replica_id = s.replica_id JOIN sys.availability_groups AS g ON g.group_id = s.group_id
    WHERE g.name = N'dag' AND g.is_distributed = 1 ORDER BY r.replica_server_name";
/// Copies of shop in the distributed group, the local side first.
pub(super) const COPIES: &str = "SELECT d.synchronization_state_desc FROM sys.dm_hadr_database_replica_states AS d
    JOIN sys.availability_groups AS g ON g.group_id = d.group_id WHERE g.name = N'dag' ORDER BY d.is_local DESC";
pub(super) const STATE: &str =
    "SELECT d.state_desc, DATABASEPROPERTYEX(d.name, 'Updateability') FROM sys.databases AS d WHERE d.name = N'shop'";

/// The primary replica that a listener's name leads to.
type Listeners = Arc<Mutex<BTreeMap<String, String>>>;

pub(super) struct Fleet {
    pub(super) net: SimNet,
    disks: BTreeMap<String, Disk>,
    pub(super) servers: BTreeMap<String, Server>,
    sessions: BTreeMap<String, Session>,
    listeners: Listeners,
}

fn members(first: &str, second: &str, mode: &str) -> String {
    let member = |group: &str| {
        format!(
            "'{group}' WITH (LISTENER_URL = 'tcp://{group}-listener:5022', AVAILABILITY_MODE = {mode}, FAILOVER_MODE = MANUAL, SEEDING_MODE = AUTOMATIC)"
        )
    };
    format!("{}, {}", member(first), member(second))
}

impl Fleet {
    /// Groups of two instances each, the first one primary, with shop in the first group.
    pub(super) async fn new(groups: &[(&str, [&str; 2])]) -> Self {
        let listeners: Listeners = Arc::default();
        let net = SimNet::new(3);
        let known = listeners.clone();
        net.set_resolver(move |name| known.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned());
        let (disks, servers, sessions) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut fleet = Self { net, disks, servers, sessions, listeners };
        let mut import = String::new();
        for (group, names) in groups {
            for name in names {
                fleet.disks.insert((*name).into(), Disk::memory());
                fleet.start(name).await;
                if import.is_empty() {
                    fleet
                        .fine(name, &format!("{KEY}; CREATE CERTIFICATE [dbm] WITH SUBJECT = 'dbm'; {ENDPOINT}"))
                        .await;
                    let export = "SELECT CONVERT(varchar(max), CERTENCODED(CERT_ID(N'dbm')), 1), CONVERT(varchar(max), CERTPRIVATEKEY(CERT_ID(N'dbm'), N'pw-1'), 1)";
                    let shared = fleet.fine(name, export).await.row();
                    import = format!(
                        "CREATE CERTIFICATE [dbm] FROM BINARY = {} WITH PRIVATE KEY (BINARY = {}, DECRYPTION BY PASSWORD = 'pw-1')",
                        shared[0], shared[1]
                    );
                } else {
                    fleet.fine(name, &format!("{KEY}; {import}; {ENDPOINT}")).await;
                }
            }
            fleet.create(group, names).await;
        }
        let (group, [first, second]) = groups[0];
        let shop = format!(
            "CREATE DATABASE shop; CREATE TABLE shop.dbo.t (id int NOT NULL PRIMARY KEY); BACKUP DATABASE shop TO DISK = N'NUL'; ALTER AVAILABILITY GROUP [{group}] ADD DATABASE shop; INSERT INTO shop.dbo.t VALUES (1)"
        );
        fleet.fine(first, &shop).await;
        fleet.until(second, ROWS, &["1"]).await;
        fleet
    }

    pub(super) async fn two() -> Self {
        Self::new(&[("ag1", ["p-0", "p-1"]), ("ag2", ["s-0", "s-1"])]).await
    }

    /// With a link from ag1 to ag2 over which shop was seeded.
    pub(super) async fn linked() -> Self {
        let mut fleet = Self::two().await;
        fleet.link("dag", ("ag1", "p-0"), ("ag2", "s-0")).await;
        for name in ["s-0", "s-1"] {
            fleet.until(name, ROWS, &["1"]).await;
        }
        fleet.until("p-0", COPIES, &["SYNCHRONIZING", "SYNCHRONIZING"]).await;
        fleet
    }

    /// The same, committing synchronously, when everything is synchronized.
    pub(super) async fn synchronized() -> Self {
        let mut fleet = Self::linked().await;
        fleet.mode("SYNCHRONOUS_COMMIT").await;
        fleet.until("p-0", COPIES, &["SYNCHRONIZED", "SYNCHRONIZED"]).await;
        fleet
    }

    pub(super) async fn link(&mut self, link: &str, (from, first): (&str, &str), (to, second): (&str, &str)) {
        let members = members(from, to, "ASYNCHRONOUS_COMMIT");
        self.fine(
            first,
            &format!("CREATE AVAILABILITY GROUP [{link}] WITH (DISTRIBUTED) AVAILABILITY GROUP ON {members}"),
        )
        .await;
        self.fine(second, &format!("ALTER AVAILABILITY GROUP [{link}] JOIN AVAILABILITY GROUP ON {members}")).await;
    }

    async fn create(&mut self, group: &str, names: &[&str; 2]) {
        let member = |name: &str| {
            format!(
                "N'{name}' WITH (ENDPOINT_URL = N'tcp://{name}:5022', AVAILABILITY_MODE = SYNCHRONOUS_COMMIT, FAILOVER_MODE = EXTERNAL, SEEDING_MODE = AUTOMATIC, SECONDARY_ROLE (ALLOW_CONNECTIONS = ALL))"
            )
        };
        let (first, second) = (names[0], names[1]);
        let replicas = format!("{}, {}", member(first), member(second));
        self.fine(
            first,
            &format!("CREATE AVAILABILITY GROUP [{group}] WITH (CLUSTER_TYPE = EXTERNAL) FOR REPLICA ON {replicas}"),
        )
        .await;
        self.fine(second, &format!("ALTER AVAILABILITY GROUP [{group}] JOIN WITH (CLUSTER_TYPE = EXTERNAL)")).await;
        for name in names {
            self.fine(name, &format!("ALTER AVAILABILITY GROUP [{group}] GRANT CREATE ANY DATABASE")).await;
        }
        self.leads(group, first);
    }

    fn leads(&self, group: &str, name: &str) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.insert(format!("{group}-listener"), name.into());
    }

    async fn start(&mut self, name: &str) {
        self.sessions.remove(name);
        if let Some(old) = self.servers.remove(name) {
            old.instance.crash();
            self.net.kill(name);
        }
        let server = serve(config(name, &self.disks[name]), self.net.host(name)).await;
        self.sessions.insert(name.into(), login(&server, "sa", "").await.unwrap());
        self.servers.insert(name.into(), server);
    }

    pub(super) async fn run(&mut self, on: &str, sql: &str) -> Answer {
        run(self.sessions.get_mut(on).unwrap(), sql).await
    }

    pub(super) async fn fine(&mut self, on: &str, sql: &str) -> Answer {
        self.run(on, sql).await.fine()
    }

    pub(super) async fn numbers(&mut self, on: &str, sql: &str) -> Vec<i32> {
        self.run(on, sql).await.numbers()
    }

    pub(super) async fn until(&mut self, on: &str, sql: &str, expected: &[&str]) {
        until(self.sessions.get_mut(on).unwrap(), sql, expected).await;
    }

    /// FAILOVER of a group to another replica; the old primary follows.
    pub(super) async fn failover(&mut self, group: &str, from: &str, to: &str) {
        let external = "EXEC sp_set_session_context @key = N'external_cluster', @value = N'yes'";
        let role = format!(
            "SELECT s.role_desc FROM sys.dm_hadr_availability_replica_states AS s JOIN sys.availability_groups AS g ON g.group_id = s.group_id WHERE s.is_local = 1 AND g.name = N'{group}'"
        );
        self.fine(from, &format!("ALTER AVAILABILITY GROUP [{group}] OFFLINE")).await;
        self.until(from, &role, &["RESOLVING"]).await;
        self.fine(to, &format!("{external}; ALTER AVAILABILITY GROUP [{group}] FAILOVER")).await;
        self.until(to, &role, &["PRIMARY"]).await;
        self.leads(group, to);
        self.fine(from, &format!("ALTER AVAILABILITY GROUP [{group}] SET (ROLE = SECONDARY)")).await;
        self.until(from, &role, &["SECONDARY"]).await;
    }

    /// Both sides of the link to this availability mode.
    pub(super) async fn mode(&mut self, mode: &str) {
        self.mode_on("p-0", "s-0", mode).await;
    }

    pub(super) async fn mode_on(&mut self, first: &str, second: &str, mode: &str) {
        let sql = format!(
            "ALTER AVAILABILITY GROUP [dag] MODIFY AVAILABILITY GROUP ON 'ag1' WITH (AVAILABILITY_MODE = {mode}), 'ag2' WITH (AVAILABILITY_MODE = {mode})"
        );
        self.fine(first, &sql).await;
        self.fine(second, &sql).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_whole_group_is_seeded_over_a_link_and_follows_it() {
    let mut fleet = Fleet::linked().await;
    fleet.until("p-0", SIDES, &["ag1", "PRIMARY", "CONNECTED", "ag2", "SECONDARY", "CONNECTED"]).await;
    fleet.until("s-0", SIDES, &["ag2", "SECONDARY", "CONNECTED"]).await;
    let primary = "SELECT s.primary_replica FROM sys.dm_hadr_availability_group_states AS s JOIN sys.availability_groups AS g ON g.group_id = s.group_id WHERE g.name = N'dag'";
    for name in ["p-0", "s-0"] {
        fleet.until(name, primary, &["ag1"]).await;
    }
    let members = "SELECT r.replica_server_name, r.endpoint_url, r.availability_mode_desc, r.failover_mode_desc, r.seeding_mode_desc
        FROM sys.availability_replicas AS r JOIN sys.availability_groups AS g ON g.group_id = r.group_id WHERE g.name = N'dag' AND r.replica_server_name = N'ag2'";
    for name in ["p-0", "p-1", "s-0", "s-1"] {
        let url = "tcp://ag2-listener:5022";
        fleet.until(name, members, &["ag2", url, "ASYNCHRONOUS_COMMIT", "MANUAL", "AUTOMATIC"]).await;
    }
    fleet.fine("p-0", "INSERT INTO shop.dbo.t VALUES (2)").await;
    for name in ["p-1", "s-0", "s-1"] {
        fleet.until(name, ROWS, &["2"]).await;
        assert_eq!(fleet.numbers(name, "INSERT INTO shop.dbo.t VALUES (9)").await, [3906], "{name}");
    }
    fleet.until("s-0", STATE, &["ONLINE", "READ_ONLY"]).await;
    // A database that production adds is seeded, too.
    fleet.fine("p-0", "CREATE DATABASE more; BACKUP DATABASE more TO DISK = N'NUL'; ALTER AVAILABILITY GROUP ag1 ADD DATABASE more").await;
    for name in ["p-1", "s-0", "s-1"] {
        fleet.until(name, "SELECT state_desc FROM sys.databases WHERE name = N'more'", &["ONLINE"]).await;
    }
    let listed = "SELECT g.name, d.database_name FROM sys.availability_databases_cluster AS d JOIN sys.availability_groups AS g ON g.group_id = d.group_id ORDER BY 1, 2";
    fleet.until("p-0", listed, &["ag1", "more", "ag1", "shop"]).await;
    fleet.until("s-0", listed, &["ag2", "more", "ag2", "shop"]).await;
    let seeded = "SELECT DISTINCT s.current_state FROM sys.dm_hadr_automatic_seeding AS s JOIN sys.availability_groups AS g ON g.group_id = s.ag_id WHERE g.name = N'dag'";
    fleet.until("p-0", seeded, &["COMPLETED"]).await;
    assert_eq!(fleet.numbers("s-0", "ALTER AVAILABILITY GROUP ag2 REMOVE DATABASE more").await, [41_190]);
    let ask = "SELECT sys.fn_hadr_is_primary_replica(N'shop')";
    assert_eq!(fleet.fine("s-0", ask).await.row(), ["1"], "it is the primary replica of its group");
    fleet.servers["s-0"].instance.faults().set(|switches| switches.forwarder_is_primary_replica = false);
    assert_eq!(fleet.fine("s-0", ask).await.row(), ["0"]);
}

#[tokio::test(start_paused = true)]
async fn a_synchronous_link_needs_both_sides_and_then_commits_wait_for_it() {
    let mut fleet = Fleet::linked().await;
    let one_side = "ALTER AVAILABILITY GROUP [dag] MODIFY AVAILABILITY GROUP ON 'ag1' WITH (AVAILABILITY_MODE = SYNCHRONOUS_COMMIT), 'ag2' WITH (AVAILABILITY_MODE = SYNCHRONOUS_COMMIT)";
    fleet.fine("p-0", one_side).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    fleet.until("p-0", COPIES, &["SYNCHRONIZED", "SYNCHRONIZING"]).await;
    fleet.mode("SYNCHRONOUS_COMMIT").await;
    fleet.until("p-0", COPIES, &["SYNCHRONIZED", "SYNCHRONIZED"]).await;
    fleet.fine("p-0", "INSERT INTO shop.dbo.t VALUES (2)").await;
    let hardened = "SELECT COUNT(DISTINCT d.last_hardened_lsn) FROM sys.dm_hadr_database_replica_states AS d JOIN sys.availability_groups AS g ON g.group_id = d.group_id WHERE g.name = N'dag'";
    fleet.until("p-0", hardened, &["1"]).await;
    fleet.net.isolate("s-0");
    let began = tokio::time::Instant::now();
    fleet.fine("p-0", "INSERT INTO shop.dbo.t VALUES (3)").await;
    assert!(began.elapsed() > Duration::from_secs(5), "the commit waited for the other side: {:?}", began.elapsed());
    fleet.until("p-0", COPIES, &["SYNCHRONIZED", "NOT SYNCHRONIZING"]).await;
    let waits = "SELECT log_reuse_wait_desc FROM sys.databases WHERE name = N'shop'";
    fleet.fine("p-0", "BACKUP LOG shop TO DISK = N'NUL'").await;
    fleet.until("p-0", waits, &["AVAILABILITY_REPLICA"]).await;
    fleet.net.heal_all();
    fleet.until("p-0", COPIES, &["SYNCHRONIZED", "SYNCHRONIZED"]).await;
    fleet.until("s-1", ROWS, &["3"]).await;
    fleet.mode("ASYNCHRONOUS_COMMIT").await;
    fleet.until("p-0", COPIES, &["SYNCHRONIZING", "SYNCHRONIZING"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_over_a_synchronous_link_waits_for_every_synchronized_copy_of_the_other_group() {
    let mut fleet = Fleet::synchronized().await;
    fleet.net.isolate("s-1");
    let began = tokio::time::Instant::now();
    fleet.fine("p-0", "INSERT INTO shop.dbo.t VALUES (2)").await;
    assert!(began.elapsed() > Duration::from_secs(5), "{:?}", began.elapsed());
    fleet.until("s-0", ROWS, &["2"]).await;
}

#[tokio::test(start_paused = true)]
async fn local_failovers_on_both_sides_leave_the_link_working() {
    let mut fleet = Fleet::linked().await;
    fleet.until("p-1", "SELECT COUNT(*) FROM sys.availability_groups", &["2"]).await;
    fleet.until("s-1", "SELECT COUNT(*) FROM sys.availability_groups", &["2"]).await;
    fleet.failover("ag2", "s-0", "s-1").await;
    fleet.fine("p-0", "INSERT INTO shop.dbo.t VALUES (2)").await;
    for name in ["s-1", "s-0"] {
        fleet.until(name, ROWS, &["2"]).await;
        assert_eq!(fleet.numbers(name, "INSERT INTO shop.dbo.t VALUES (9)").await, [3906], "{name}");
    }
    fleet.until("s-1", SIDES, &["ag2", "SECONDARY", "CONNECTED"]).await;
    fleet.failover("ag1", "p-0", "p-1").await;
    fleet.until("p-1", STATE, &["ONLINE", "READ_WRITE"]).await;
    fleet.fine("p-1", "INSERT INTO shop.dbo.t VALUES (3)").await;
    for name in ["p-0", "s-0", "s-1"] {
        fleet.until(name, ROWS, &["3"]).await;
    }
    fleet.until("p-1", SIDES, &["ag1", "PRIMARY", "CONNECTED", "ag2", "SECONDARY", "CONNECTED"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_forwarder_that_restarts_follows_again_when_its_group_is_primary() {
    let mut fleet = Fleet::linked().await;
    fleet.start("s-0").await;
    fleet.fine("p-0", "INSERT INTO shop.dbo.t VALUES (2)").await;
    let external = "EXEC sp_set_session_context @key = N'external_cluster', @value = N'yes'";
    fleet.fine("s-0", &format!("{external}; ALTER AVAILABILITY GROUP [ag2] FAILOVER")).await;
    for name in ["s-0", "s-1"] {
        fleet.until(name, ROWS, &["2"]).await;
    }
    assert_eq!(fleet.numbers("s-0", "INSERT INTO shop.dbo.t VALUES (9)").await, [3906]);
    fleet.start("p-0").await;
    fleet.fine("p-0", &format!("{external}; ALTER AVAILABILITY GROUP [ag1] FAILOVER")).await;
    fleet.until("p-0", STATE, &["ONLINE", "READ_WRITE"]).await;
    fleet.fine("p-0", "INSERT INTO shop.dbo.t VALUES (3)").await;
    fleet.until("s-1", ROWS, &["3"]).await;
}

#[tokio::test(start_paused = true)]
async fn statements_on_distributed_groups_raise_the_documented_numbers() {
    let mut fleet = Fleet::two().await;
    let both = members("ag1", "ag2", "ASYNCHRONOUS_COMMIT");
    let create = format!("CREATE AVAILABILITY GROUP [dag] WITH (DISTRIBUTED) AVAILABILITY GROUP ON {both}");
    let join = format!("ALTER AVAILABILITY GROUP [dag] JOIN AVAILABILITY GROUP ON {both}");
    for (on, sql, number) in [
        ("p-0", create.replace(" WITH (DISTRIBUTED)", ""), 19_498),
        ("p-0", create.replace("(DISTRIBUTED)", "(DISTRIBUTED, DB_FAILOVER = ON)"), 19_497),
        ("p-0", create.replace("[dag]", "[ag1]"), 19_509),
        ("p-0", create.replace("'ag1'", "'ag7'"), 19_501),
        ("p-0", create.replace("tcp://ag2-listener:5022", "ag2-listener"), 19_499),
        ("p-1", create.clone(), 41_190),
        ("p-0", join.clone(), 19_511),
        ("p-0", "ALTER AVAILABILITY GROUP [dag] MODIFY AVAILABILITY GROUP ON 'ag1' WITH (AVAILABILITY_MODE = SYNCHRONOUS_COMMIT)".into(), 19_510),
        ("p-0", "ALTER AVAILABILITY GROUP [ag1] MODIFY AVAILABILITY GROUP ON 'ag1' WITH (AVAILABILITY_MODE = SYNCHRONOUS_COMMIT)".into(), 19_512),
    ] {
        assert_eq!(fleet.numbers(on, &sql).await, [number], "{sql}");
    }
    fleet.fine("s-0", "ALTER AVAILABILITY GROUP [ag2] DENY CREATE ANY DATABASE").await;
    assert_eq!(fleet.numbers("s-0", &join).await, [19_506]);
    fleet.fine("s-0", "ALTER AVAILABILITY GROUP [ag2] GRANT CREATE ANY DATABASE").await;
    fleet.fine("p-0", &create).await;
    fleet.fine("s-0", &join).await;
    for (on, sql, number) in [
        ("p-0", create.clone(), 19_509),
        ("s-0", join.clone(), 19_502),
        ("p-0", create.replace("[dag]", "[other]"), 19_507),
        ("p-0", "ALTER AVAILABILITY GROUP [dag] FAILOVER".into(), 19_504),
        ("p-0", "ALTER AVAILABILITY GROUP [dag] FORCE_FAILOVER_ALLOW_DATA_LOSS".into(), 41_122),
        ("p-0", "ALTER AVAILABILITY GROUP [dag] MODIFY AVAILABILITY GROUP ON 'ag3' WITH (AVAILABILITY_MODE = SYNCHRONOUS_COMMIT)".into(), 19_508),
        ("p-0", "ALTER AVAILABILITY GROUP [dag] OFFLINE".into(), 40_517),
        ("p-0", "DROP AVAILABILITY GROUP [ag1]".into(), 40_517),
    ] {
        assert_eq!(fleet.numbers(on, &sql).await, [number], "{sql}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_quorum_on_a_link_stops_production_when_the_stage_is_missing() {
    let mut fleet = Fleet::linked().await;
    let quorum = |value: u8| {
        format!("ALTER AVAILABILITY GROUP [dag] SET (REQUIRED_SYNCHRONIZED_SECONDARIES_TO_COMMIT = {value})")
    };
    assert_eq!(fleet.numbers("p-0", &quorum(1)).await, [35_248], "no side is synchronous");
    fleet.mode("SYNCHRONOUS_COMMIT").await;
    fleet.until("p-0", COPIES, &["SYNCHRONIZED", "SYNCHRONIZED"]).await;
    fleet.fine("p-0", &quorum(1)).await;
    fleet.fine("p-0", "INSERT INTO shop.dbo.t VALUES (2)").await;
    fleet.net.isolate("s-0");
    fleet.until("p-0", COPIES, &["SYNCHRONIZED", "NOT SYNCHRONIZING"]).await;
    assert_eq!(fleet.numbers("p-0", "INSERT INTO shop.dbo.t VALUES (3)").await, [988]);
    fleet.fine("p-0", &quorum(0)).await;
    fleet.fine("p-0", "INSERT INTO shop.dbo.t VALUES (3)").await;
}

/// What the stage hardened and the new primary of production did not.
async fn ahead(stuck: bool) -> Fleet {
    let mut fleet = Fleet::linked().await;
    fleet.servers["s-0"].instance.faults().set(|switches| switches.forwarder_ahead_is_stuck = stuck);
    fleet.net.cut("p-0", "p-1");
    let mut writer = login(&fleet.servers["p-0"], "sa", "").await.unwrap();
    let write = run(&mut writer, "INSERT INTO shop.dbo.t VALUES (2)");
    assert!(tokio::time::timeout(Duration::from_secs(3), write).await.is_err(), "p-1 has not hardened it");
    drop(writer);
    fleet.sessions.remove("p-0");
    fleet.servers.remove("p-0").unwrap().instance.crash();
    fleet.net.kill("p-0");
    let external = "EXEC sp_set_session_context @key = N'external_cluster', @value = N'yes'";
    fleet.fine("p-1", &format!("{external}; ALTER AVAILABILITY GROUP [ag1] FAILOVER")).await;
    fleet.until("p-1", STATE, &["ONLINE", "READ_WRITE"]).await;
    fleet.leads("ag1", "p-1");
    fleet.fine("p-1", "INSERT INTO shop.dbo.t VALUES (3)").await;
    fleet
}

#[tokio::test(start_paused = true)]
async fn a_forwarder_that_is_ahead_of_a_new_primary_is_stuck_unless_switched_to_cut_its_log() {
    let mut fleet = ahead(true).await;
    let suspended = "SELECT d.is_suspended, d.suspend_reason_desc FROM sys.dm_hadr_database_replica_states AS d JOIN sys.availability_groups AS g ON g.group_id = d.group_id WHERE g.name = N'dag' AND d.is_local = 0";
    fleet.until("p-1", suspended, &["1", "SUSPEND_FROM_REVALIDATION"]).await;
    fleet.until("p-1", COPIES, &["SYNCHRONIZING", "NOT SYNCHRONIZING"]).await;
    let mut fleet = ahead(false).await;
    for name in ["s-0", "s-1"] {
        fleet.until(name, "SELECT id FROM shop.dbo.t ORDER BY id", &["1", "3"]).await;
    }
}
