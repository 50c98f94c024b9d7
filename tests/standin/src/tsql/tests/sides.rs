//! How a distributed group ends, and how its sides change.

use super::{
    distributed::{COPIES, Fleet, ROWS, SIDES, STATE},
    *,
};
use std::{sync::Mutex, time::Duration};

const BARRIER: &str =
    "SELECT CAST(value AS nvarchar(50)) FROM shop.sys.extended_properties WHERE name = N'quorate_barrier'";

#[tokio::test(start_paused = true)]
async fn a_link_dropped_on_production_leaves_it_alone_and_the_stage_is_promoted_with_everything() {
    let mut fleet = Fleet::linked().await;
    fleet.mode("SYNCHRONOUS_COMMIT").await;
    fleet.until("p-0", COPIES, &["SYNCHRONIZED", "SYNCHRONIZED"]).await;
    fleet.fine("p-0", "INSERT INTO shop.dbo.t VALUES (2)").await;
    fleet.fine("p-0", "USE shop; EXEC sp_addextendedproperty N'quorate_barrier', N'uid/1/a'; USE master").await;
    let mut writer = login(&fleet.servers["p-0"], "sa", "").await.unwrap();
    run(&mut writer, "CREATE TABLE shop.dbo.u (id int); BEGIN TRAN; INSERT INTO shop.dbo.u VALUES (1)").await.fine();
    fleet.fine("p-0", "DROP AVAILABILITY GROUP [dag]").await;
    run(&mut writer, "COMMIT").await.fine();
    drop(writer);
    fleet.until("p-0", STATE, &["ONLINE", "READ_WRITE"]).await;
    fleet.fine("p-0", "INSERT INTO shop.dbo.t VALUES (3)").await;
    fleet.until("p-1", ROWS, &["3"]).await;
    let known = "SELECT COUNT(*) FROM sys.availability_groups WHERE name = N'dag'";
    fleet.until("p-1", known, &["1"]).await;
    fleet.fine("p-1", "DROP AVAILABILITY GROUP [dag]").await;
    fleet.until("p-1", known, &["0"]).await;
    fleet.until("s-0", SIDES, &["ag2", "SECONDARY", "DISCONNECTED"]).await;
    fleet.until("s-0", STATE, &["ONLINE", "READ_ONLY"]).await;
    fleet.until("s-0", ROWS, &["2"]).await;
    fleet.fine("s-0", "ALTER AVAILABILITY GROUP [dag] FORCE_FAILOVER_ALLOW_DATA_LOSS").await;
    fleet.until("s-0", STATE, &["ONLINE", "READ_WRITE"]).await;
    fleet.until("s-0", SIDES, &["ag1", "SECONDARY", "DISCONNECTED", "ag2", "PRIMARY", "CONNECTED"]).await;
    fleet.until("s-0", BARRIER, &["uid/1/a"]).await;
    fleet.fine("s-0", "INSERT INTO shop.dbo.t VALUES (20)").await;
    fleet.fine("s-0", "DROP AVAILABILITY GROUP [dag]").await;
    fleet.until("s-0", STATE, &["ONLINE", "READ_WRITE"]).await;
    fleet.fine("s-0", "INSERT INTO shop.dbo.t VALUES (21)").await;
    let suspended = "SELECT d.is_suspended, d.suspend_reason_desc FROM sys.dm_hadr_database_replica_states AS d JOIN sys.availability_groups AS g ON g.group_id = d.group_id WHERE g.name = N'ag2' AND d.is_local = 1";
    fleet.until("s-1", suspended, &["1", "SUSPEND_FROM_PARTNER"]).await;
    fleet.fine("s-1", "ALTER DATABASE shop SET HADR RESUME").await;
    fleet.until("s-1", ROWS, &["4"]).await;
    fleet.until("p-0", ROWS, &["3"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_link_dropped_on_the_secondary_side_leaves_its_databases_restoring() {
    let mut fleet = Fleet::linked().await;
    fleet.fine("s-0", "DROP AVAILABILITY GROUP [dag]").await;
    let state = "SELECT state_desc FROM sys.databases WHERE name = N'shop'";
    for name in ["s-0", "s-1"] {
        fleet.until(name, state, &["RESTORING"]).await;
    }
    fleet.until("p-0", SIDES, &["ag1", "PRIMARY", "CONNECTED", "ag2", "SECONDARY", "DISCONNECTED"]).await;
    fleet.fine("p-0", "INSERT INTO shop.dbo.t VALUES (2); BACKUP LOG shop TO DISK = N'NUL'").await;
    let waits = "SELECT log_reuse_wait_desc FROM sys.databases WHERE name = N'shop'";
    fleet.until("p-0", waits, &["AVAILABILITY_REPLICA"]).await;
    fleet.fine("p-0", "DROP AVAILABILITY GROUP [dag]").await;
    fleet.until("p-0", waits, &["NOTHING"]).await;
    // What is left there can be brought back, and belongs to nobody then.
    fleet.fine("s-0", "RESTORE DATABASE shop WITH RECOVERY").await;
    fleet.until("s-0", STATE, &["ONLINE", "READ_WRITE"]).await;
    fleet.fine("s-0", "INSERT INTO shop.dbo.t VALUES (9)").await;
    assert_eq!(fleet.numbers("s-0", "RESTORE DATABASE shop WITH RECOVERY").await, [3153]);
    assert_eq!(fleet.numbers("p-0", "RESTORE DATABASE shop WITH RECOVERY").await, [3104]);
    assert_eq!(fleet.numbers("p-0", "RESTORE DATABASE nowhere WITH RECOVERY").await, [3118]);
    assert_eq!(fleet.numbers("p-0", "RESTORE DATABASE shop FROM DISK = N'x'").await, [40_517]);
    let role = "SELECT s.role_desc FROM sys.dm_hadr_availability_replica_states AS s WHERE s.is_local = 1";
    fleet.until("s-0", role, &["PRIMARY"]).await;
}

#[tokio::test(start_paused = true)]
async fn the_sides_change_when_one_steps_down_and_the_other_is_forced() {
    let mut fleet = Fleet::linked().await;
    fleet.mode("SYNCHRONOUS_COMMIT").await;
    fleet.until("p-0", COPIES, &["SYNCHRONIZED", "SYNCHRONIZED"]).await;
    fleet.fine("p-0", "ALTER AVAILABILITY GROUP [dag] SET (ROLE = SECONDARY)").await;
    fleet.until("p-0", STATE, &["ONLINE", "READ_ONLY"]).await;
    assert_eq!(fleet.numbers("p-0", "INSERT INTO shop.dbo.t VALUES (2)").await, [3906]);
    fleet.until("s-0", STATE, &["ONLINE", "READ_ONLY"]).await;
    fleet.until("p-0", SIDES, &["ag1", "SECONDARY", "DISCONNECTED"]).await;
    fleet.fine("s-0", "ALTER AVAILABILITY GROUP [dag] FORCE_FAILOVER_ALLOW_DATA_LOSS").await;
    fleet.until("s-0", STATE, &["ONLINE", "READ_WRITE"]).await;
    fleet.fine("s-0", "INSERT INTO shop.dbo.t VALUES (2)").await;
    for name in ["p-0", "p-1"] {
        fleet.until(name, ROWS, &["2"]).await;
    }
    fleet.until("s-0", SIDES, &["ag1", "SECONDARY", "CONNECTED", "ag2", "PRIMARY", "CONNECTED"]).await;
    assert_eq!(fleet.numbers("s-0", "ALTER AVAILABILITY GROUP [dag] FORCE_FAILOVER_ALLOW_DATA_LOSS").await, [41_122]);
}

#[tokio::test(start_paused = true)]
async fn a_chain_of_links_goes_on_when_its_middle_is_promoted() {
    let mut fleet = Fleet::new(&[("ag1", ["p-0", "p-1"]), ("ag2", ["s-0", "s-1"]), ("ag3", ["d-0", "d-1"])]).await;
    fleet.link("dag", ("ag1", "p-0"), ("ag2", "s-0")).await;
    fleet.until("s-0", ROWS, &["1"]).await;
    fleet.link("dag2", ("ag2", "s-0"), ("ag3", "d-0")).await;
    for name in ["d-0", "d-1"] {
        fleet.until(name, ROWS, &["1"]).await;
    }
    fleet.fine("p-0", "INSERT INTO shop.dbo.t VALUES (2)").await;
    fleet.until("d-1", ROWS, &["2"]).await;
    fleet.fine("p-0", "DROP AVAILABILITY GROUP [dag]").await;
    fleet.fine("s-0", "ALTER AVAILABILITY GROUP [dag] FORCE_FAILOVER_ALLOW_DATA_LOSS").await;
    fleet.until("s-0", STATE, &["ONLINE", "READ_WRITE"]).await;
    fleet.fine("s-0", "DROP AVAILABILITY GROUP [dag]; INSERT INTO shop.dbo.t VALUES (3)").await;
    fleet.until("d-1", ROWS, &["3"]).await;
    assert_eq!(fleet.numbers("d-0", "INSERT INTO shop.dbo.t VALUES (9)").await, [3906]);
}

#[tokio::test(start_paused = true)]
async fn a_promoted_stage_keeps_its_secondaries_when_switched_so() {
    let mut fleet = Fleet::linked().await;
    fleet.servers["s-0"].instance.faults().set(|switches| switches.forced_side_suspends = false);
    fleet.fine("p-0", "DROP AVAILABILITY GROUP [dag]").await;
    fleet.fine("s-0", "ALTER AVAILABILITY GROUP [dag] FORCE_FAILOVER_ALLOW_DATA_LOSS").await;
    fleet.until("s-0", STATE, &["ONLINE", "READ_WRITE"]).await;
    fleet.fine("s-0", "INSERT INTO shop.dbo.t VALUES (2)").await;
    fleet.until("s-1", ROWS, &["2"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_stage_forced_beside_a_living_production_makes_two_primaries() {
    let mut fleet = Fleet::linked().await;
    fleet.fine("s-0", "ALTER AVAILABILITY GROUP [dag] FORCE_FAILOVER_ALLOW_DATA_LOSS").await;
    for name in ["s-0", "p-0"] {
        fleet.until(name, STATE, &["ONLINE", "READ_WRITE"]).await;
        fleet
            .fine(name, &format!("INSERT INTO shop.dbo.t VALUES ({})", 10 + name.len() * usize::from(name == "p-0")))
            .await;
        fleet.until(name, "SELECT s.role_desc FROM sys.dm_hadr_availability_replica_states AS s JOIN sys.availability_groups AS g ON g.group_id = s.group_id WHERE s.is_local = 1 AND g.name = N'dag'", &["PRIMARY"]).await;
    }
    fleet.until("p-0", COPIES, &["SYNCHRONIZING", "NOT SYNCHRONIZING"]).await;
    for name in ["p-0", "s-0"] {
        fleet.fine(name, "DROP AVAILABILITY GROUP [dag]").await;
        fleet.until(name, ROWS, &["2"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_barrier_found_on_the_promoted_stage_has_every_acknowledged_write_before_it() {
    for round in 0..6_u64 {
        let mut fleet = Fleet::linked().await;
        let mut writer = login(&fleet.servers["p-0"], "sa", "").await.unwrap();
        let id = run(&mut writer, "SELECT @@SPID").await.row()[0].clone();
        let acknowledged = Arc::new(Mutex::new(vec!["1".to_string()]));
        let seen = acknowledged.clone();
        let storm = tokio::spawn(async move {
            for id in 2.. {
                let answer = run(&mut writer, &format!("INSERT INTO shop.dbo.t VALUES ({id})")).await;
                if !answer.errors.is_empty() {
                    return;
                }
                seen.lock().unwrap().push(id.to_string());
            }
        });
        tokio::time::sleep(Duration::from_millis(200 + 130 * round)).await;
        fleet.fine("p-0", &format!("KILL {id}")).await;
        storm.await.unwrap();
        fleet.mode("SYNCHRONOUS_COMMIT").await;
        fleet.until("p-0", COPIES, &["SYNCHRONIZED", "SYNCHRONIZED"]).await;
        fleet.fine("p-0", "USE shop; EXEC sp_addextendedproperty N'quorate_barrier', N'x'; USE master").await;
        fleet.fine("p-0", "DROP AVAILABILITY GROUP [dag]").await;
        fleet.fine("s-0", "ALTER AVAILABILITY GROUP [dag] FORCE_FAILOVER_ALLOW_DATA_LOSS").await;
        fleet.until("s-0", STATE, &["ONLINE", "READ_WRITE"]).await;
        fleet.until("s-0", BARRIER, &["x"]).await;
        let rows = fleet.fine("s-0", "SELECT id FROM shop.dbo.t ORDER BY id").await.column();
        assert_eq!(rows, *acknowledged.lock().unwrap(), "round {round}");
        assert!(rows.len() > 5, "{rows:?}");
    }
}
