//! Setting an instance up, roles of a group and who may do what: the shape of what a cluster manager sends.

use super::{PASSWORD, login, run, server};
use crate::{server::Server, tsql::session::Session};

const SETUP: &str = "SET XACT_ABORT ON;
IF OBJECT_ID(N'master.dbo.votes') IS NULL
    CREATE TABLE master.dbo.votes (name sysname NOT NULL PRIMARY KEY, epoch bigint NOT NULL, settled nvarchar(max) NULL);
IF NOT EXISTS (SELECT 1 FROM sys.symmetric_keys AS k WHERE k.name = N'##MS_DatabaseMasterKey##')
    CREATE MASTER KEY ENCRYPTION BY PASSWORD = N'Random-pw-1';
IF NOT EXISTS (SELECT 1 FROM sys.certificates AS c WHERE c.name = N'own')
    CREATE CERTIFICATE [own] WITH SUBJECT = N'endpoint of sql-0', START_DATE = '20200101', EXPIRY_DATE = '20991231';
IF NOT EXISTS (SELECT 1 FROM sys.database_mirroring_endpoints AS e WHERE e.name = N'ep')
BEGIN
    IF CAST(SERVERPROPERTY('EngineEdition') AS int) = 4
        CREATE ENDPOINT [ep] STATE = STARTED AS TCP (LISTENER_PORT = 5022) FOR DATABASE_MIRRORING (ROLE = WITNESS, AUTHENTICATION = CERTIFICATE [own], ENCRYPTION = REQUIRED ALGORITHM AES);
    ELSE
        CREATE ENDPOINT [ep] STATE = STARTED AS TCP (LISTENER_PORT = 5022) FOR DATABASE_MIRRORING (ROLE = ALL, AUTHENTICATION = CERTIFICATE [own], ENCRYPTION = REQUIRED ALGORITHM AES);
END;
IF SUSER_ID(N'act') IS NULL
    CREATE LOGIN [act] WITH PASSWORD = N'Secret-1-word', CHECK_POLICY = OFF;
ELSE
    ALTER LOGIN [act] WITH PASSWORD = N'Secret-1-word';
IF USER_ID(N'act') IS NULL
    CREATE USER [act] FOR LOGIN [act];
GRANT ALTER ANY AVAILABILITY GROUP TO [act];
GRANT VIEW SERVER STATE TO [act];
GRANT VIEW ANY DEFINITION TO [act];
GRANT CONTROL ON ENDPOINT::[ep] TO [act];
GRANT SELECT, INSERT, UPDATE ON dbo.votes TO [act];";

const GROUP: &str = "CREATE AVAILABILITY GROUP [ag]
WITH (CLUSTER_TYPE = EXTERNAL, DB_FAILOVER = ON, REQUIRED_SYNCHRONIZED_SECONDARIES_TO_COMMIT = 0)
FOR REPLICA ON
    N'sql-0' WITH (ENDPOINT_URL = N'tcp://sql-0:5022', FAILOVER_MODE = EXTERNAL, SEEDING_MODE = AUTOMATIC, SECONDARY_ROLE (ALLOW_CONNECTIONS = ALL), AVAILABILITY_MODE = SYNCHRONOUS_COMMIT),
    N'sql-1' WITH (ENDPOINT_URL = N'tcp://sql-1:5022', AVAILABILITY_MODE = CONFIGURATION_ONLY);";

/// A promise of epoch `epoch`, in its turn; 50001 when a newer one is stored, 50005 when another batch runs.
fn promise(epoch: i64) -> String {
    format!(
        "SET NOCOUNT ON;
SET XACT_ABORT ON;
DECLARE @turn int;
BEGIN TRY
    EXEC @turn = sp_getapplock @Resource = N'turn', @LockMode = N'Exclusive', @LockOwner = N'Session', @LockTimeout = 0;
    IF @turn < 0
    BEGIN
        THROW 50005, N'another batch runs here', 1;
    END;
    UPDATE master.dbo.votes SET epoch = {epoch} WHERE name = N'ag' AND epoch <= {epoch};
    IF @@ROWCOUNT = 0
    BEGIN
        IF EXISTS (SELECT 1 FROM master.dbo.votes AS q WHERE q.name = N'ag')
        BEGIN
            THROW 50001, N'an epoch newer than this is stored here', 1;
        END;
        INSERT INTO master.dbo.votes (name, epoch) VALUES (N'ag', {epoch});
    END;
    EXEC sp_releaseapplock @Resource = N'turn', @LockOwner = N'Session';
END TRY
BEGIN CATCH
    IF @turn >= 0 EXEC sp_releaseapplock @Resource = N'turn', @LockOwner = N'Session';
    THROW;
END CATCH;"
    )
}

async fn set_up() -> (Server, Session) {
    let server = server().await;
    let mut sa = login(&server, "sa", "").await.unwrap();
    run(&mut sa, SETUP).await.fine();
    (server, sa)
}

#[tokio::test(start_paused = true)]
async fn a_setup_batch_may_run_again() {
    let (_, mut sa) = set_up().await;
    run(&mut sa, SETUP).await.fine();
    let sql = "SELECT e.name, e.state, e.role_desc FROM sys.database_mirroring_endpoints AS e";
    assert_eq!(run(&mut sa, sql).await.row(), ["ep", "0", "ALL"]);
}

#[tokio::test(start_paused = true)]
async fn an_older_epoch_is_refused_with_the_number_that_was_thrown() {
    let (server, _) = set_up().await;
    let mut act = login(&server, "act", "").await.unwrap();
    run(&mut act, &promise(7)).await.fine();
    run(&mut act, &promise(7)).await.fine();
    assert_eq!(run(&mut act, &promise(6)).await.numbers(), [50_001]);
    run(&mut act, &promise(8)).await.fine();
    assert_eq!(run(&mut act, "SELECT epoch FROM master.dbo.votes").await.row(), ["8"]);
}

#[tokio::test(start_paused = true)]
async fn two_batches_that_take_turns_do_not_run_at_once() {
    let (server, mut sa) = set_up().await;
    let hold =
        "EXEC sp_getapplock @Resource = N'turn', @LockMode = N'Exclusive', @LockOwner = N'Session', @LockTimeout = 0";
    run(&mut sa, hold).await.fine();
    let mut act = login(&server, "act", "").await.unwrap();
    assert_eq!(run(&mut act, &promise(1)).await.numbers(), [50_005]);
    drop(sa);
    run(&mut act, &promise(1)).await.fine();
}

#[tokio::test(start_paused = true)]
async fn a_group_is_created_guarded_and_its_primary_shows_it() {
    let (server, mut sa) = set_up().await;
    run(&mut sa, &format!("IF NOT EXISTS (SELECT 1 FROM sys.availability_groups) {GROUP}")).await.fine();
    run(&mut sa, &format!("IF NOT EXISTS (SELECT 1 FROM sys.availability_groups) {GROUP}")).await.fine();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let mut act = login(&server, "act", "").await.unwrap();
    let look = "SELECT rs.role, gs.primary_replica FROM sys.availability_groups AS g \
                JOIN sys.dm_hadr_availability_replica_states AS rs ON rs.group_id = g.group_id AND rs.is_local = 1 \
                LEFT JOIN sys.dm_hadr_availability_group_states AS gs ON gs.group_id = g.group_id WHERE g.name = N'AG'";
    assert_eq!(run(&mut act, look).await.row(), ["1", "sql-0"]);
}

#[tokio::test(start_paused = true)]
async fn a_partner_is_imported_admitted_and_denied() {
    let (_, mut sa) = set_up().await;
    let text = "SELECT CONVERT(nvarchar(max), CERTENCODED(CERT_ID(N'own')), 1)";
    assert!(run(&mut sa, text).await.row()[0].starts_with("0x30"));
    let import = format!(
        "CREATE LOGIN [p] WITH PASSWORD = N'{PASSWORD}'; GRANT CONNECT ON ENDPOINT::[ep] TO [p]; CREATE USER [p] FOR LOGIN [p];"
    );
    run(&mut sa, &import).await.fine();
    let state = "SELECT s.state FROM sys.server_permissions AS s JOIN sys.server_principals AS p \
                 ON p.principal_id = s.grantee_principal_id WHERE p.name = N'p' AND s.class = 105";
    assert_eq!(run(&mut sa, state).await.row(), ["G"]);
    run(&mut sa, "IF SUSER_ID(N'p') IS NOT NULL DENY CONNECT ON ENDPOINT::[ep] TO [p];").await.fine();
    assert_eq!(run(&mut sa, state).await.row(), ["D"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_login_was_not_granted_it_may_not_do() {
    let (server, mut sa) = set_up().await;
    run(&mut sa, &format!("CREATE LOGIN [bob] WITH PASSWORD = N'{PASSWORD}'; CREATE DATABASE shop;")).await.fine();
    let mut bob = login(&server, "bob", "").await.unwrap();
    assert_eq!(run(&mut bob, "SELECT * FROM master.dbo.votes").await.numbers(), [229]);
    assert_eq!(run(&mut bob, "ALTER ENDPOINT [ep] STATE = STOPPED").await.numbers(), [15_151]);
    assert_eq!(run(&mut bob, "ALTER AVAILABILITY GROUP [ag] OFFLINE").await.numbers(), [15_151]);
    assert_eq!(run(&mut bob, "USE shop").await.numbers(), [916]);
    assert_eq!(run(&mut bob, "SELECT ms_ticks FROM sys.dm_os_sys_info").await.numbers(), [300, 297]);
    assert_eq!(login(&server, "bob", "shop").await.err().unwrap().number, 4060);
}
