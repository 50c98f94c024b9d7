//! Where a script runs: on the promoted stage and nowhere else.

use crate::stage::{ATTEMPT, BARRIER, Stage, certificates};

const FILE: [(&str, &str); 1] = [("a.sql", "INSERT INTO dbo.log (word) VALUES (N'x')")];

/// An endpoint and a group of this instance alone, with shop in it.
const GROUP: &str = "CREATE MASTER KEY ENCRYPTION BY PASSWORD = 'Secret-1-word';
CREATE CERTIFICATE [dbm] WITH SUBJECT = 'dbm';
CREATE ENDPOINT [ep] STATE = STARTED AS TCP (LISTENER_PORT = 5022)
    FOR DATABASE_MIRRORING (ROLE = ALL, AUTHENTICATION = CERTIFICATE [dbm], ENCRYPTION = REQUIRED ALGORITHM AES);
CREATE AVAILABILITY GROUP [ag] WITH (CLUSTER_TYPE = EXTERNAL) FOR REPLICA ON N'orders-v2-0' WITH (
    ENDPOINT_URL = N'tcp://orders-v2-0:5022', AVAILABILITY_MODE = SYNCHRONOUS_COMMIT, FAILOVER_MODE = EXTERNAL,
    SEEDING_MODE = AUTOMATIC, SECONDARY_ROLE (ALLOW_CONNECTIONS = ALL))";
const JOIN: &str = "BACKUP DATABASE shop TO DISK = N'NUL'; ALTER AVAILABILITY GROUP [ag] ADD DATABASE shop";
const LINK: &str = "CREATE AVAILABILITY GROUP [dr] WITH (DISTRIBUTED) AVAILABILITY GROUP ON
    'ag' WITH (LISTENER_URL = 'tcp://ag-listener:5022', AVAILABILITY_MODE = ASYNCHRONOUS_COMMIT, FAILOVER_MODE = MANUAL, SEEDING_MODE = AUTOMATIC),
    'ag-dr' WITH (LISTENER_URL = 'tcp://ag-dr-listener:5022', AVAILABILITY_MODE = ASYNCHRONOUS_COMMIT, FAILOVER_MODE = MANUAL, SEEDING_MODE = AUTOMATIC)";

/// Nothing was run, and nothing was written down.
async fn untouched(stage: &Stage, error: &str, why: &str) {
    assert!(error.contains(why), "{error}");
    assert!(error.ends_with("Run: nothing. Not run: a.sql. This run cut no file short: the same attempt may be run again and leaves out what is done."), "{error}");
    assert_eq!(stage.words().await, [""; 0]);
    for name in ["quorate_file:a.sql", "quorate_script_done"] {
        assert_eq!(stage.property(name).await, "");
    }
}

#[tokio::test(start_paused = true)]
async fn production_which_has_the_barrier_too_is_refused() {
    let stage = Stage::promoted().await;
    stage.unset("quorate_stage").await;
    let error = stage.run(&FILE).await.error();
    untouched(&stage, &error, "error 50010, severity 16, state 1: this is not the stage of this attempt").await;
}

#[tokio::test(start_paused = true)]
async fn the_stage_of_another_attempt_is_refused() {
    let stage = Stage::promoted().await;
    stage.unset("quorate_stage").await;
    stage.set("quorate_stage", "6f1c/2").await;
    let error = stage.run(&FILE).await.error();
    untouched(&stage, &error, "this is not the stage of this attempt").await;
}

#[tokio::test(start_paused = true)]
async fn a_copy_without_the_barrier_or_with_another_is_refused() {
    let stage = Stage::promoted().await;
    stage.unset("quorate_barrier").await;
    let error = stage.run(&FILE).await.error();
    untouched(&stage, &error, "the property quorate_barrier is another or missing").await;
    stage.set("quorate_barrier", "6f1c/0/aa").await;
    let error = stage.run(&FILE).await.error();
    untouched(&stage, &error, "the property quorate_barrier is another or missing").await;
}

#[tokio::test(start_paused = true)]
async fn a_login_that_cannot_see_distributed_groups_is_refused() {
    let stage = Stage::promoted().await;
    stage.sa("REVOKE VIEW ANY DEFINITION FROM runner").await;
    let error = stage.run(&FILE).await.error();
    untouched(&stage, &error, "grant it VIEW ANY DEFINITION").await;
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_is_not_writable_is_refused() {
    let stage = Stage::promoted().await;
    stage.sa(GROUP).await;
    stage.sa(JOIN).await;
    stage.sa("ALTER AVAILABILITY GROUP [ag] SET (ROLE = SECONDARY)").await;
    let asked = "SELECT CAST(DATABASEPROPERTYEX(N'shop', 'Updateability') AS nvarchar(20))";
    for _ in 0..100 {
        if stage.sa(asked).await == ["READ_ONLY"] {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let error = stage.run(&FILE).await.error();
    untouched(&stage, &error, "the database is not writable here").await;
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_is_linked_is_refused_unless_it_leads_the_link_itself() {
    let stage = Stage::promoted().await;
    stage.sa(GROUP).await;
    stage.sa(JOIN).await;
    stage.sa(LINK).await;
    let error = stage.run(&FILE).await.error();
    untouched(&stage, &error, "a distributed group is still here").await;
    let mut order = stage.order();
    order.links = vec!["dr".to_owned().try_into().unwrap()];
    stage.run_as(&order, &FILE).await.fine();
    assert_eq!(stage.words().await, ["x"]);
}

#[tokio::test(start_paused = true)]
async fn a_barrier_that_a_file_drops_ends_the_run_before_the_next_one() {
    let stage = Stage::promoted().await;
    let drop = "EXEC sys.sp_dropextendedproperty N'quorate_barrier'";
    let error = stage.run(&[("a.sql", drop), ("b.sql", FILE[0].1)]).await.error();
    assert!(
        error.starts_with("a.sql: ") && error.contains("the property quorate_barrier is another or missing"),
        "{error}"
    );
    assert!(error.contains("Run: 1 of 1 batches of a.sql. Not run: b.sql. This copy is changed in part"), "{error}");
    assert_eq!(stage.words().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_server_with_a_certificate_of_somebody_else_gets_no_password() {
    let stage = Stage::promoted().await;
    let mut order = stage.order();
    order.authorities = certificates().0.as_bytes().into();
    let error = stage.run_as(&order, &FILE).await.error();
    untouched(&stage, &error, "no connection: ").await;
    let mut order = stage.order();
    order.host = "other.orders-v2-replicas.shop.svc".into();
    let error = stage.run_as(&order, &FILE).await.error();
    untouched(&stage, &error, "other.orders-v2-replicas.shop.svc, database shop: no connection: ").await;
    assert_eq!(
        (stage.property("quorate_stage").await.as_str(), stage.property("quorate_barrier").await.as_str()),
        (ATTEMPT, BARRIER)
    );
}
