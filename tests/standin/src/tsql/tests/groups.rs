//! Availability groups over T-SQL: what an operator and Microsoft's Pacemaker agent send.

use super::*;

pub(super) const SETUP: &str = "
IF NOT EXISTS (SELECT * FROM sys.symmetric_keys WHERE name = '##MS_DatabaseMasterKey##')
    CREATE MASTER KEY ENCRYPTION BY PASSWORD = 'Secret-1-word';
CREATE CERTIFICATE [dbm_certificate] WITH SUBJECT = 'dbm', START_DATE='20200101', EXPIRY_DATE='20991231';
CREATE ENDPOINT [Hadr_endpoint] STATE = STARTED AS TCP (LISTENER_PORT = 5022)
    FOR DATABASE_MIRRORING (ROLE = ALL, AUTHENTICATION = CERTIFICATE [dbm_certificate], ENCRYPTION = REQUIRED ALGORITHM AES);";

pub(super) const CREATE: &str = "CREATE AVAILABILITY GROUP [ag1] WITH (CLUSTER_TYPE = EXTERNAL, DB_FAILOVER = ON, REQUIRED_SYNCHRONIZED_SECONDARIES_TO_COMMIT = 0)
    FOR REPLICA ON N'sql-0' WITH (ENDPOINT_URL = N'tcp://sql-0:5022', AVAILABILITY_MODE = SYNCHRONOUS_COMMIT, FAILOVER_MODE = EXTERNAL,
        SEEDING_MODE = AUTOMATIC, SECONDARY_ROLE (ALLOW_CONNECTIONS = ALL))";

pub(super) async fn grouped() -> (Server, Session) {
    let server = server().await;
    let mut session = login(&server, "sa", "").await.unwrap();
    run(&mut session, SETUP).await.fine();
    run(&mut session, CREATE).await.fine();
    wait_for(&mut session, "1").await;
    (server, session)
}

/// The role becomes visible after its statement returned.
async fn wait_for(session: &mut Session, role: &str) {
    for _ in 0..500 {
        let answer = run(session, "SELECT role FROM sys.dm_hadr_availability_replica_states WHERE is_local = 1").await;
        if answer.row() == [role] {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the role did not become {role}");
}

#[tokio::test]
async fn the_agents_queries_run_verbatim() {
    let (_server, mut session) = grouped().await;
    let joined = "FROM sys.availability_groups ag INNER JOIN sys.dm_hadr_availability_replica_states ars ON ars.group_id = ag.group_id AND ars.is_local = 1";
    let queries = [
        ("SELECT ars.role, ars.role_desc FROM sys.availability_groups ag INNER JOIN sys.dm_hadr_availability_replica_states ars ON ars.group_id = ag.group_id AND ars.is_local = 1 WHERE ag.name = @p1".to_string(), vec!["1", "PRIMARY"]),
        (format!("SELECT ar.availability_mode, ar.availability_mode_desc {joined} INNER JOIN sys.availability_replicas ar ON ar.replica_id = ars.replica_id WHERE ag.name = @p1"), vec!["1", "SYNCHRONOUS_COMMIT"]),
        (format!("SELECT ars.current_configuration_commit_start_time_utc {joined} WHERE ag.name = @p1"), vec!["NULL"]),
        ("SELECT COUNT(*) FROM sys.availability_replicas ar INNER JOIN sys.availability_groups ag ON ar.group_id = ag.group_id WHERE ag.name = @p1 AND ar.availability_mode IN (1, 4)".into(), vec!["1"]),
        ("SELECT ags.primary_replica FROM sys.availability_groups ag INNER JOIN sys.dm_hadr_availability_group_states ags ON ags.group_id = ag.group_id WHERE ag.name = @p1".into(), vec!["sql-0"]),
        ("SELECT SERVERPROPERTY('ServerName')".into(), vec!["sql-0"]),
        ("SELECT @@SERVERNAME".into(), vec!["sql-0"]),
        ("DECLARE @numAgDbs INT SELECT @numAgDbs = COUNT(*) FROM sys.availability_groups ag INNER JOIN sys.dm_hadr_database_replica_states drs ON drs.group_id = ag.group_id WHERE ag.name = @p1 AND drs.is_local = 1
          SELECT COUNT(*) FROM sys.availability_groups ag INNER JOIN sys.dm_hadr_availability_replica_states ars ON ars.group_id = ag.group_id INNER JOIN sys.availability_replicas ar ON ar.replica_id = ars.replica_id
          WHERE ag.name=@p1 AND ars.is_local=0 AND ar.availability_mode=1 AND ars.connected_state=1 AND (synchronization_health=2 OR @numAgDbs=0)".into(), vec!["0"]),
    ];
    for (sql, expected) in queries {
        let answer = run_with(&mut session, &sql, vec![parameter("@p1", "AG1")]).await;
        assert_eq!(answer.row(), expected, "{sql}");
    }
    let number = "SELECT ag.sequence_number FROM sys.availability_groups ag WHERE ag.name = @p1";
    let answer = run_with(&mut session, number, vec![parameter("@p1", "ag1")]).await;
    assert_eq!(answer.kinds(), [SqlType::BigInt]);
    assert!(answer.row()[0].parse::<i64>().unwrap() > 0);
    let states = format!(
        "SELECT drs.database_state, drs.database_state_desc, COUNT(*) {joined} INNER JOIN sys.dm_hadr_database_replica_states drs ON drs.replica_id = ars.replica_id WHERE ag.name = @p1 AND drs.database_state <> 0 GROUP BY drs.database_state, drs.database_state_desc"
    );
    let answer = run_with(&mut session, &states, vec![parameter("@p1", "ag1")]).await.fine();
    assert_eq!((answer.kinds()[0], answer.sets[0].1.len()), (SqlType::TinyInt, 0));
    let id = run(&mut session, "SELECT CAST(replica_id AS NCHAR(36)) FROM sys.availability_replicas").await;
    assert_eq!((id.kinds()[0], id.row()[0].len()), (SqlType::NChar(36), 36));
}

#[tokio::test]
async fn a_column_of_2019_does_not_exist_in_2017() {
    let server = start(&Disk::memory(), "14.0.3456.2").await;
    let mut session = login(&server, "sa", "").await.unwrap();
    let sql = "SELECT current_configuration_commit_start_time_utc FROM sys.dm_hadr_availability_replica_states";
    assert_eq!(run(&mut session, sql).await.numbers(), [207]);
    assert_eq!(
        run(
            &mut session,
            "SELECT sequence_number, required_synchronized_secondaries_to_commit FROM sys.availability_groups"
        )
        .await
        .numbers(),
        [0; 0]
    );
}

#[tokio::test]
async fn failover_without_session_context_is_47104_and_with_it_on_the_primary_41122() {
    let (_server, mut session) = grouped().await;
    assert_eq!(run(&mut session, "ALTER AVAILABILITY GROUP [ag1] FAILOVER").await.numbers(), [47_104]);
    let sql = "EXEC sp_set_session_context @key = N'external_cluster', @value = N'yes'; ALTER AVAILABILITY GROUP [ag1] FAILOVER;";
    assert_eq!(run(&mut session, sql).await.numbers(), [41_122]);
    assert_eq!(run(&mut session, "SELECT SESSION_CONTEXT(N'external_cluster')").await.row(), ["yes"]);
    crate::tds::SqlSession::reset(&mut session).await;
    assert_eq!(
        run(&mut session, "ALTER AVAILABILITY GROUP [ag1] FAILOVER").await.numbers(),
        [47_104],
        "sp_reset_connection forgets it"
    );
}

const EPOCH: &str = "CREATE TABLE master.dbo.quorate (name sysname NOT NULL PRIMARY KEY, epoch bigint NOT NULL, settled nvarchar(max) NULL)";

fn stand_down(epoch: u32) -> String {
    format!(
        "SET NOCOUNT ON; SET XACT_ABORT ON;
DECLARE @turn int;
BEGIN TRY
    EXEC @turn = sp_getapplock @Resource = N'quorate', @LockMode = N'Exclusive', @LockOwner = N'Session', @LockTimeout = 0;
    IF @turn < 0
    BEGIN
        THROW 50004, N'busy', 1;
    END;
    UPDATE master.dbo.quorate SET epoch = {epoch} WHERE name = N'ag1' AND epoch <= {epoch};
    IF @@ROWCOUNT = 0
    BEGIN
        IF EXISTS (SELECT 1 FROM master.dbo.quorate AS q WHERE q.name = N'ag1')
        BEGIN
            THROW 50001, N'newer', 1;
        END;
        INSERT INTO master.dbo.quorate (name, epoch) VALUES (N'ag1', {epoch});
    END;
    IF SUSER_ID(N'peer') IS NOT NULL DENY CONNECT ON ENDPOINT::[Hadr_endpoint] TO [peer];
    ALTER AVAILABILITY GROUP [ag1] OFFLINE;
    EXEC sp_releaseapplock @Resource = N'quorate', @LockOwner = N'Session';
END TRY
BEGIN CATCH
    IF @turn >= 0 EXEC sp_releaseapplock @Resource = N'quorate', @LockOwner = N'Session';
    THROW;
END CATCH;"
    )
}

#[tokio::test]
async fn a_stand_down_stores_its_epoch_denies_partners_and_refuses_older_ones() {
    let (server, mut session) = grouped().await;
    run(&mut session, EPOCH).await.fine();
    run(&mut session, "CREATE LOGIN peer WITH PASSWORD = N'x', CHECK_POLICY = OFF; GRANT CONNECT ON ENDPOINT::[Hadr_endpoint] TO peer").await.fine();
    run(&mut session, &stand_down(7)).await.fine();
    wait_for(&mut session, "0").await;
    assert_eq!(run(&mut session, "SELECT q.epoch FROM master.dbo.quorate AS q").await.row(), ["7"]);
    let state = "SELECT s.state FROM sys.server_principals AS p LEFT JOIN sys.server_permissions AS s ON s.grantee_principal_id = p.principal_id AND s.class = 105 AND s.permission_name = N'CONNECT' WHERE p.name = N'peer'";
    assert_eq!(run(&mut session, state).await.row(), ["D"]);
    assert_eq!(run(&mut session, &stand_down(6)).await.numbers(), [50_001]);
    assert_eq!(run(&mut session, "SELECT q.epoch FROM master.dbo.quorate AS q").await.row(), ["7"]);
    run(&mut session, &stand_down(7)).await.fine();
    assert!(server.locks.lock().unwrap().is_empty(), "every path gives the lock back");
}

#[tokio::test]
async fn a_failover_is_guarded_by_epoch_role_number_and_clock() {
    let (server, mut session) = grouped().await;
    run(&mut session, EPOCH).await.fine();
    run(&mut session, &stand_down(7)).await.fine();
    wait_for(&mut session, "0").await;
    let number = run(&mut session, "SELECT sequence_number FROM sys.availability_groups").await.row()[0].clone();
    let failover = |deadline: i64, number: &str| {
        format!(
            "SET XACT_ABORT ON; BEGIN TRY
    IF NOT EXISTS (SELECT 1 FROM master.dbo.quorate AS q WHERE q.name = N'ag1' AND q.epoch = 7) BEGIN THROW 50001, N'epoch', 1; END;
    IF NOT EXISTS (SELECT 1 FROM sys.availability_groups AS g JOIN sys.dm_hadr_availability_replica_states AS rs ON rs.group_id = g.group_id AND rs.is_local = 1
        WHERE g.name = N'ag1' AND rs.role <> 1 AND g.sequence_number = {number}) BEGIN THROW 50003, N'changed', 1; END;
    IF NOT EXISTS (SELECT 1 FROM sys.dm_os_sys_info AS i WHERE i.ms_ticks <= {deadline}) BEGIN THROW 50005, N'late', 1; END;
    EXEC sp_set_session_context @key = N'external_cluster', @value = N'yes';
    ALTER AVAILABILITY GROUP [ag1] FAILOVER;
END TRY BEGIN CATCH THROW; END CATCH;"
        )
    };
    let now = server.ms_ticks();
    assert_eq!(run(&mut session, &failover(now - 1, &number)).await.numbers(), [50_005]);
    assert_eq!(run(&mut session, &failover(now + 60_000, "1")).await.numbers(), [50_003]);
    run(&mut session, &failover(now + 60_000, &number)).await.fine();
    wait_for(&mut session, "1").await;
}

#[tokio::test]
async fn group_statements_run_in_master_outside_transactions() {
    let (_server, mut session) = grouped().await;
    run(&mut session, "CREATE DATABASE shop").await.fine();
    assert_eq!(run(&mut session, "USE shop; ALTER AVAILABILITY GROUP ag1 OFFLINE").await.numbers(), [35_208]);
    assert_eq!(
        run(&mut session, "USE master; BEGIN TRAN; ALTER AVAILABILITY GROUP ag1 OFFLINE; ROLLBACK").await.numbers(),
        [574]
    );
    assert_eq!(run(&mut session, "ALTER AVAILABILITY GROUP nothing OFFLINE").await.numbers(), [15_151]);
    assert_eq!(
        run(
            &mut session,
            "CREATE AVAILABILITY GROUP x WITH (NO_SUCH_OPTION = 1) FOR REPLICA ON N'a' WITH (ENDPOINT_URL = N'b')"
        )
        .await
        .numbers(),
        [102]
    );
}

#[tokio::test]
async fn a_database_without_log_chain_is_1475_and_joins_after_a_backup() {
    let (_server, mut session) = grouped().await;
    run(&mut session, "CREATE DATABASE shop").await.fine();
    assert_eq!(run(&mut session, "ALTER AVAILABILITY GROUP ag1 ADD DATABASE shop").await.numbers(), [1475]);
    let chain = "IF NOT EXISTS (SELECT 1 FROM sys.databases AS d JOIN sys.database_recovery_status AS r ON r.database_id = d.database_id
               WHERE d.name = N'shop' AND r.last_log_backup_lsn IS NOT NULL)
    BACKUP DATABASE [shop] TO DISK = N'NUL';";
    run(&mut session, chain).await.fine();
    run(&mut session, "ALTER AVAILABILITY GROUP ag1 ADD DATABASE shop").await.fine();
    let sql = "SELECT d.synchronization_state_desc, d.is_primary_replica, c.is_failover_ready, DB_NAME(d.database_id), sys.fn_hadr_is_primary_replica(N'shop')
        FROM sys.dm_hadr_database_replica_states AS d JOIN sys.dm_hadr_database_replica_cluster_states AS c ON c.group_database_id = d.group_database_id";
    assert_eq!(run(&mut session, sql).await.row(), ["SYNCHRONIZED", "1", "1", "shop", "1"]);
    run(&mut session, "USE shop; CREATE TABLE t (id int); INSERT INTO t VALUES (1)").await.fine();
    run(&mut session, "USE master; ALTER AVAILABILITY GROUP ag1 OFFLINE").await.fine();
    wait_for(&mut session, "0").await;
    assert_eq!(run(&mut session, "SELECT * FROM shop.dbo.t").await.numbers(), [983]);
    assert_eq!(run(&mut session, "USE shop").await.numbers(), [983]);
}

#[tokio::test(start_paused = true)]
async fn sp_server_diagnostics_takes_five_seconds() {
    let mut session = sa().await;
    let before = tokio::time::Instant::now();
    let answer = run(&mut session, "EXEC sp_server_diagnostics").await.fine();
    assert_eq!(before.elapsed().as_secs(), 5);
    let names: Vec<_> = answer.sets[0].0.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["create_time", "component_type", "component_name", "state", "state_desc", "data"]);
    assert_eq!(answer.sets[0].1.len(), 5);
}

#[tokio::test]
async fn a_group_that_the_stand_in_cannot_be_is_refused_by_name_and_not_created() {
    let server = server().await;
    let mut session = login(&server, "sa", "").await.unwrap();
    run(&mut session, SETUP).await.fine();
    for (options, named) in [
        ("CLUSTER_TYPE = NONE", "A CLUSTER_TYPE other than EXTERNAL"),
        ("CLUSTER_TYPE = WSFC", "A CLUSTER_TYPE other than EXTERNAL"),
        ("DB_FAILOVER = ON", "A CLUSTER_TYPE other than EXTERNAL"),
        ("CLUSTER_TYPE = EXTERNAL, CONTAINED", "A CONTAINED availability group"),
        ("CLUSTER_TYPE = EXTERNAL, CONTAINED REUSE_SYSTEM_DATABASES", "A CONTAINED availability group"),
        ("CLUSTER_TYPE = EXTERNAL, DTC_SUPPORT = PER_DB", "DTC_SUPPORT = PER_DB"),
    ] {
        let sql = CREATE.replace("CLUSTER_TYPE = EXTERNAL, DB_FAILOVER = ON", options);
        let answer = run(&mut session, &format!("{sql}; SELECT 1")).await;
        assert_eq!(answer.numbers(), [40_517], "{options}");
        let text = &answer.errors[0].text;
        assert!(text.starts_with(named) && text.ends_with("is not supported by the stand-in."), "{text}");
        assert!(answer.sets.is_empty(), "it ends the batch as everything does that is not supported");
    }
    assert_eq!(run(&mut session, &CREATE.replace("DB_FAILOVER = ON", "CLUSTER_TYPE = OTHER")).await.numbers(), [102]);
    let distributed = CREATE.replace("DB_FAILOVER = ON", "DISTRIBUTED");
    assert_eq!(run(&mut session, &distributed).await.numbers(), [19_497], "it has groups, not replicas");
    assert_eq!(run(&mut session, "SELECT COUNT(*) FROM sys.availability_groups").await.row(), ["0"]);
    let options = "DB_FAILOVER = ON, DTC_SUPPORT = NONE, AUTOMATED_BACKUP_PREFERENCE = SECONDARY_ONLY";
    run(&mut session, &CREATE.replace("DB_FAILOVER = ON", options)).await.fine();
    let shown = "SELECT cluster_type_desc, dtc_support, automated_backup_preference_desc FROM sys.availability_groups";
    assert_eq!(run(&mut session, shown).await.row(), ["EXTERNAL", "0", "secondary_only"]);
    assert_eq!(run(&mut session, CREATE).await.numbers(), [41_042]);
}
