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
    let mut fleet = Fleet::synchronized().await;
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
async fn a_commit_that_waits_for_the_stage_ends_when_the_link_is_dropped() {
    let mut fleet = Fleet::synchronized().await;
    fleet.net.isolate("s-0");
    let mut writer = login(&fleet.servers["p-0"], "sa", "").await.unwrap();
    let waits = tokio::spawn(async move { run(&mut writer, "INSERT INTO shop.dbo.t VALUES (2)").await.numbers() });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waits.is_finished());
    fleet.fine("p-0", "DROP AVAILABILITY GROUP [dag]").await;
    let ended = tokio::time::timeout(Duration::from_secs(1), waits).await.unwrap().unwrap();
    assert!(ended.is_empty(), "{ended:?}");
    fleet.until("p-0", ROWS, &["2"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_waits_for_the_stage_is_not_acknowledged_when_production_steps_down() {
    let mut fleet = Fleet::synchronized().await;
    fleet.net.isolate("s-0");
    let mut writer = login(&fleet.servers["p-0"], "sa", "").await.unwrap();
    let waits = tokio::spawn(async move { run(&mut writer, "INSERT INTO shop.dbo.t VALUES (2)").await.numbers() });
    tokio::time::sleep(Duration::from_secs(1)).await;
    fleet.fine("p-0", "ALTER AVAILABILITY GROUP [dag] SET (ROLE = SECONDARY)").await;
    assert_eq!(waits.await.unwrap(), [596]);
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
async fn a_group_whose_link_was_dropped_everywhere_goes_on_with_databases_of_its_own() {
    let mut fleet = Fleet::linked().await;
    for name in ["p-0", "p-1", "s-0", "s-1"] {
        fleet.fine(name, "DROP AVAILABILITY GROUP [dag]").await;
    }
    for name in ["s-0", "s-1"] {
        fleet.until(name, "SELECT state_desc FROM sys.databases WHERE name = N'shop'", &["RESTORING"]).await;
        fleet.fine(name, "DROP DATABASE shop").await;
    }
    let own =
        "CREATE DATABASE own; BACKUP DATABASE own TO DISK = N'NUL'; ALTER AVAILABILITY GROUP ag2 ADD DATABASE own";
    fleet.fine("s-0", own).await;
    let state = "SELECT synchronization_state_desc FROM sys.dm_hadr_database_replica_states WHERE is_local = 1";
    fleet.until("s-1", state, &["SYNCHRONIZED"]).await;
}

#[tokio::test(start_paused = true)]
async fn the_sides_change_when_one_steps_down_and_the_other_is_forced() {
    let mut fleet = Fleet::synchronized().await;
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
    let behind = "SELECT d.is_suspended, d.suspend_reason_desc FROM sys.dm_hadr_database_replica_states AS d JOIN sys.availability_groups AS g ON g.group_id = d.group_id WHERE g.name = N'dag2' AND d.is_local = 1";
    fleet.until("d-0", behind, &["1", "SUSPEND_FROM_PARTNER"]).await;
    assert_eq!(fleet.numbers("d-0", ROWS).await, [976]);
    fleet.fine("d-0", "ALTER DATABASE shop SET HADR RESUME").await;
    fleet.until("d-1", ROWS, &["3"]).await;
    fleet.fine("d-0", "ALTER DATABASE shop SET HADR SUSPEND").await;
    fleet.until("d-0", behind, &["1", "SUSPEND_FROM_USER"]).await;
    fleet.fine("s-0", "INSERT INTO shop.dbo.t VALUES (4)").await;
    fleet.fine("d-0", "ALTER DATABASE shop SET HADR RESUME").await;
    fleet.until("d-1", ROWS, &["4"]).await;
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

/// One row more through whoever is primary; whether it was acknowledged.
async fn write(fleet: &mut Fleet, on: &str, id: i64) -> bool {
    fleet.run(on, &format!("INSERT INTO shop.dbo.t VALUES ({id})")).await.errors.is_empty()
}

#[tokio::test(start_paused = true)]
async fn failovers_and_cuts_before_the_barrier_lose_nothing_that_was_acknowledged() {
    for seed in 0..5_u64 {
        let mut fleet = Fleet::linked().await;
        let (mut production, mut stage) = (["p-0", "p-1"], ["s-0", "s-1"]);
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut draw = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let (mut acknowledged, mut id) = (vec![1_i64], 1);
        for _ in 0..8 {
            let [first, second] = production;
            match draw(5) {
                0 => fleet.net.cut(first, stage[0]),
                1 => fleet.net.isolate(stage[usize::try_from(draw(2)).unwrap()]),
                2 => {
                    fleet.until(first, &ready("ag1"), &["2"]).await;
                    fleet.failover("ag1", first, second).await;
                    production = [second, first];
                }
                3 => {
                    fleet.net.heal_all();
                    fleet.until(stage[0], &ready("ag2"), &["2"]).await;
                    fleet.failover("ag2", stage[0], stage[1]).await;
                    stage = [stage[1], stage[0]];
                }
                _ => fleet.mode_on(production[0], stage[0], "SYNCHRONOUS_COMMIT").await,
            }
            for _ in 0..draw(20) {
                id += 1;
                if write(&mut fleet, production[0], id).await {
                    acknowledged.push(id);
                }
            }
            tokio::time::sleep(Duration::from_millis(draw(15_000))).await;
            fleet.net.heal_all();
        }
        fleet.mode_on(production[0], stage[0], "SYNCHRONOUS_COMMIT").await;
        fleet.until(production[0], COPIES, &["SYNCHRONIZED", "SYNCHRONIZED"]).await;
        let barrier = "USE shop; EXEC sp_addextendedproperty N'quorate_barrier', N'x'; USE master";
        fleet.fine(production[0], barrier).await;
        fleet.fine(production[0], "DROP AVAILABILITY GROUP [dag]").await;
        fleet.fine(stage[0], "ALTER AVAILABILITY GROUP [dag] FORCE_FAILOVER_ALLOW_DATA_LOSS").await;
        fleet.until(stage[0], STATE, &["ONLINE", "READ_WRITE"]).await;
        fleet.until(stage[0], BARRIER, &["x"]).await;
        let rows = fleet.fine(stage[0], "SELECT id FROM shop.dbo.t ORDER BY id").await.column();
        let lost: Vec<_> = acknowledged.iter().filter(|id| !rows.contains(&id.to_string())).collect();
        assert!(lost.is_empty(), "seed {seed}: {lost:?} of {acknowledged:?}");
    }
}

/// Replicas of a group whose copy of shop may become primary.
fn ready(group: &str) -> String {
    format!(
        "SELECT COUNT(*) FROM sys.dm_hadr_database_replica_cluster_states AS c JOIN sys.availability_replicas AS r ON r.replica_id = c.replica_id
        JOIN sys.availability_groups AS g ON g.group_id = r.group_id WHERE g.name = N'{group}' AND c.database_name = N'shop' AND c.is_failover_ready = 1"
    )
}
