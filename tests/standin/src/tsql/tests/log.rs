//! What goes to the secondaries with the log, what the views say of it, and what keeps it.

use super::{replicas::Replicas, *};
use std::time::Duration;

const PROPERTY: &str = "SELECT CAST(value AS nvarchar(100)) FROM shop.sys.extended_properties WHERE class = 0 AND name = N'quorate_barrier'";

async fn property(replicas: &mut Replicas, on: usize, call: &str) -> Answer {
    run(&mut replicas.sessions[on], &format!("USE shop; {call}; USE master")).await
}

#[tokio::test(start_paused = true)]
async fn an_extended_property_of_a_database_is_on_every_replica() {
    let mut replicas = Replicas::with_shop().await;
    let add =
        "DECLARE @v sql_variant = N'uid/1/a'; EXEC sys.sp_addextendedproperty @name = N'quorate_barrier', @value = @v";
    property(&mut replicas, 0, add).await.fine();
    for on in 0..3 {
        replicas.until(on, PROPERTY, &["uid/1/a"]).await;
    }
    assert_eq!(property(&mut replicas, 0, add).await.numbers(), [15_233]);
    property(&mut replicas, 0, "EXEC sp_updateextendedproperty @name = N'QUORATE_barrier', @value = N'uid/2/b'")
        .await
        .fine();
    replicas.until(1, PROPERTY, &["uid/2/b"]).await;
    let refused = property(&mut replicas, 1, "EXEC sp_updateextendedproperty N'quorate_barrier', N'x'").await;
    assert_eq!(refused.numbers(), [3906], "a secondary takes none");
    property(&mut replicas, 0, "EXEC sp_dropextendedproperty @name = N'quorate_barrier'").await.fine();
    replicas.until(2, PROPERTY, &[]).await;
    for call in ["sp_updateextendedproperty N'quorate_barrier', N'x'", "sp_dropextendedproperty N'quorate_barrier'"] {
        assert_eq!(property(&mut replicas, 0, &format!("EXEC {call}")).await.numbers(), [15_217], "{call}");
    }
    property(&mut replicas, 0, "EXEC sp_addextendedproperty N'quorate_barrier', 7").await.fine();
    replicas.until(1, PROPERTY, &["7"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_database_in_a_group_cannot_be_made_read_only_or_single_user() {
    let mut replicas = Replicas::with_shop().await;
    replicas.fine(0, "CREATE DATABASE own").await;
    for option in [
        "READ_ONLY",
        "READ_ONLY WITH ROLLBACK IMMEDIATE",
        "READ_ONLY WITH ROLLBACK AFTER 10 SECONDS",
        "READ_WRITE",
        "SINGLE_USER WITH NO_WAIT",
        "RESTRICTED_USER",
        "EMERGENCY",
        "OFFLINE",
        "DISABLE_BROKER",
    ] {
        for on in [0, 1] {
            let sql = format!("ALTER DATABASE Shop SET {option}");
            assert_eq!(replicas.numbers(on, &sql).await, [1468, 5069], "{sql} on {on}");
        }
        assert_eq!(replicas.numbers(0, &format!("ALTER DATABASE own SET {option}")).await, [40_517], "{option}");
    }
    replicas.fine(0, "INSERT INTO shop.dbo.t VALUES (1)").await;
    let asked =
        "SELECT DATABASEPROPERTYEX(N'shop', 'Updateability'), is_read_only FROM sys.databases WHERE name = N'shop'";
    replicas.until(0, asked, &["READ_WRITE", "0"]).await;
    replicas.until(1, asked, &["READ_ONLY", "0"]).await;
}

/// Hardened, committed and end of log, and when, of the copies that an instance sees.
const POSITIONS: &str = "SELECT d.last_hardened_lsn, d.last_commit_lsn, d.end_of_log_lsn, d.last_commit_time
    FROM sys.dm_hadr_database_replica_states AS d WHERE DB_NAME(d.database_id) = N'shop' ORDER BY d.is_local DESC";

async fn positions(replicas: &mut Replicas, on: usize) -> Vec<Vec<String>> {
    let answer = replicas.fine(on, POSITIONS).await;
    answer.sets[0].1.iter().map(|row| row.iter().map(shown).collect()).collect()
}

#[tokio::test(start_paused = true)]
async fn copies_that_are_equal_show_the_same_positions_and_the_end_of_the_log_is_no_hardened_block() {
    let mut replicas = Replicas::with_shop().await;
    let mut before = String::new();
    for id in 1..4 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        replicas.fine(0, &format!("INSERT INTO shop.dbo.t VALUES ({id})")).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let rows = positions(&mut replicas, 0).await;
        assert_eq!(rows.len(), 3);
        for row in &rows {
            assert_eq!(row, &rows[0], "all are at rest, and every copy has all");
            assert_ne!(row[0], row[2]);
            assert_ne!(row[3], "NULL");
        }
        assert_ne!(rows[0][1], before, "a commit moves it");
        before = rows[0][1].clone();
        assert_eq!(positions(&mut replicas, 1).await, [rows[0].clone()], "and so does the secondary itself");
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(positions(&mut replicas, 0).await[0][1], before, "time alone does not");
    let mode = "ALTER AVAILABILITY GROUP ag MODIFY REPLICA ON N'sql-0' WITH (AVAILABILITY_MODE = ASYNCHRONOUS_COMMIT)";
    replicas.fine(0, mode).await;
    assert_eq!(positions(&mut replicas, 0).await[0][0], "NULL", "a primary that commits asynchronously has none");
}

const WAIT: &str =
    "SELECT d.log_reuse_wait, d.log_reuse_wait_desc, l.log_truncation_holdup_reason FROM sys.databases AS d
    CROSS APPLY sys.dm_db_log_stats(d.database_id) AS l WHERE d.name = N'shop'";
const SPACE: &str = "SELECT CAST(used_log_space_in_bytes AS bigint) FROM shop.sys.dm_db_log_space_usage";

#[tokio::test(start_paused = true)]
async fn a_secondary_that_is_away_keeps_the_log_of_the_primary() {
    let mut replicas = Replicas::with_shop().await;
    let backup = "BACKUP LOG shop TO DISK = N'NUL'";
    replicas.fine(0, "CREATE TABLE shop.dbo.big (id int, text nvarchar(max)); INSERT INTO shop.dbo.t VALUES (1)").await;
    replicas.until(0, WAIT, &["2", "LOG_BACKUP", "LOG_BACKUP"]).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    replicas.fine(0, backup).await;
    replicas.until(0, WAIT, &["0", "NOTHING", "NOTHING"]).await;
    let empty: i64 = replicas.fine(0, SPACE).await.row()[0].parse().unwrap();
    replicas.net.isolate("sql-1");
    replicas.until(0, super::replicas::READY, &["sql-0", "sql-2"]).await;
    replicas.fine(0, &format!("INSERT INTO shop.dbo.big VALUES (1, N'{}')", "x".repeat(3_000))).await;
    replicas.fine(0, backup).await;
    replicas.until(0, WAIT, &["9", "AVAILABILITY_REPLICA", "AVAILABILITY_REPLICA"]).await;
    let held: i64 = replicas.fine(0, SPACE).await.row()[0].parse().unwrap();
    assert!(held >= empty + 3_000, "{held} {empty}");
    let sizes = "SELECT CASE WHEN total_log_size_in_bytes >= used_log_space_in_bytes AND used_log_space_in_percent BETWEEN 0 AND 100 AND log_space_in_bytes_since_last_backup < 1000 THEN 1 ELSE 0 END FROM shop.sys.dm_db_log_space_usage";
    assert_eq!(replicas.fine(0, sizes).await.row(), ["1"]);
    replicas.net.heal_all();
    replicas.until(0, WAIT, &["0", "NOTHING", "NOTHING"]).await;
    assert_eq!(replicas.fine(0, SPACE).await.row(), [empty.to_string()]);
    replicas.fine(0, "BEGIN TRAN; INSERT INTO shop.dbo.t VALUES (2)").await;
    let mut other = login(&replicas.servers[0], "sa", "").await.unwrap();
    let wait = "SELECT log_reuse_wait_desc FROM sys.databases WHERE name = N'shop'";
    assert_eq!(run(&mut other, wait).await.row(), ["ACTIVE_TRANSACTION"]);
}

#[tokio::test(start_paused = true)]
async fn a_killed_session_is_seen_until_its_commit_is_over() {
    let mut replicas = Replicas::with_shop().await;
    let mut writer = login(&replicas.servers[0], "sa", "").await.unwrap();
    let id = run(&mut writer, "SELECT @@SPID").await.row()[0].clone();
    replicas.net.isolate("sql-1");
    replicas.net.isolate("sql-2");
    let commit = tokio::spawn(async move {
        run(&mut writer, "INSERT INTO shop.dbo.t VALUES (1)").await;
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    replicas.fine(0, &format!("KILL {id}")).await;
    // What the wire does with it.
    commit.abort();
    let seen = format!("SELECT command FROM sys.dm_exec_requests WHERE session_id = {id}");
    tokio::time::sleep(Duration::from_secs(30)).await;
    replicas.until(0, &seen, &["KILLED/ROLLBACK"]).await;
    replicas.net.heal_all();
    replicas.until(0, &seen, &[]).await;
    let there = format!("SELECT COUNT(*) FROM sys.dm_exec_sessions WHERE session_id = {id}");
    replicas.until(0, &there, &["0"]).await;
    replicas.until(0, "SELECT COUNT(*) FROM shop.dbo.t", &["1"]).await;
}
