//! Databases on their way to other replicas and back: seeding, suspension, leaving and returning.

use crate::{
    cluster::{ASYNC, Cluster, DATABASE, SYNC},
    number, three,
};
use standin::{
    ddl::{GroupStatement, HadrStatement, ReplicaOptions},
    faults::FailoverEngine,
    group::roles::Role,
    store::log::Cell,
};
use std::time::Duration;
use tokio::time::sleep;

/// Rows of a quarter of a megabyte each.
async fn fill(cluster: &Cluster, name: &str, rows: i64) {
    let database = cluster.running[name].open(DATABASE, false).unwrap();
    let mut transaction = database.begin().await.unwrap();
    transaction.execute("CREATE TABLE IF NOT EXISTS big (id INTEGER PRIMARY KEY, b BLOB)", &[]).await.unwrap();
    transaction.commit().await.unwrap();
    for _ in 0..rows {
        let mut transaction = database.begin().await.unwrap();
        let blob = ("@b".to_string(), Cell::Blob(vec![7; 1 << 18]).into());
        transaction.execute("INSERT INTO big (b) VALUES (@b)", &[blob]).await.unwrap();
        transaction.commit().await.unwrap();
    }
}

async fn big_rows(cluster: &Cluster, name: &str) -> i64 {
    let database = cluster.running[name].open(DATABASE, true).unwrap();
    let set = database.query("SELECT count(*) FROM big", &[]).await.unwrap();
    if let rusqlite::types::Value::Integer(count) = set.rows[0][0] { count } else { panic!("{set:?}") }
}

#[tokio::test(start_paused = true)]
async fn seeding_without_the_grant_is_refused_and_begins_again_with_it() {
    let mut cluster = three(0).await;
    cluster.crash("sql-2");
    cluster.lose_disk("sql-2");
    cluster.start("sql-2").await;
    cluster.join("sql-2").await.unwrap();
    cluster.until("refused", |c| c.group("sql-2").seeding.iter().any(|row| row.failure == 203)).await;
    cluster.until("seen", |c| c.group("sql-0").seeding.iter().any(|row| row.source && row.state == "FAILED")).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(cluster.synchronized("sql-0"), ["sql-0", "sql-1"]);
    assert_eq!(number(cluster.statement("sql-2", GroupStatement::Failover).await), 41_142, "it has a number, no data");
    cluster.statement("sql-2", GroupStatement::GrantCreateAnyDatabase).await.unwrap();
    cluster.until("seeded", |c| c.synchronized("sql-0").len() == 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_large_database_is_seeded_in_pieces_with_progress_while_writes_go_on() {
    let mut cluster = three(0).await;
    fill(&cluster, "sql-0", 40).await;
    cluster.crash("sql-2");
    cluster.lose_disk("sql-2");
    cluster.start("sql-2").await;
    cluster.net.set_latency(Duration::from_millis(20), Duration::from_millis(30));
    cluster.join("sql-2").await.unwrap();
    cluster.statement("sql-2", GroupStatement::GrantCreateAnyDatabase).await.unwrap();
    cluster
        .until("half-way", |c| {
            c.group("sql-2").seeding.iter().any(|row| row.state == "SEEDING" && row.moved > 0 && row.moved < row.size)
        })
        .await;
    assert_eq!(cluster.write("sql-0", 5).await, Ok(true));
    cluster.until("seeded", |c| c.synchronized("sql-0").len() == 3).await;
    assert_eq!(big_rows(&cluster, "sql-2").await, 40);
    assert_eq!(cluster.rows("sql-2").await.unwrap(), [5].into());
    let rows = cluster.group("sql-0").seeding;
    assert!(
        rows.iter().any(|row| row.source && row.state == "COMPLETED" && row.moved == row.size && row.size > 10 << 20)
    );
}

#[tokio::test(start_paused = true)]
async fn a_target_that_crashes_at_any_write_of_seeding_is_seeded_again_and_never_ready_before() {
    for writes in 0..14 {
        let mut cluster = three(0).await;
        assert!(cluster.write("sql-0", 1).await.unwrap());
        cluster.crash("sql-2");
        cluster.lose_disk("sql-2");
        cluster.start("sql-2").await;
        cluster.join("sql-2").await.unwrap();
        cluster.disk("sql-2").crash_at(writes, 400 * (writes % 3));
        let _ = cluster.statement("sql-2", GroupStatement::GrantCreateAnyDatabase).await;
        sleep(Duration::from_secs(3)).await;
        cluster.crash("sql-2");
        cluster.start("sql-2").await;
        if number(cluster.statement("sql-2", GroupStatement::Failover).await) == 0 {
            cluster.until("primary", |c| c.role("sql-2") == Some(Role::Primary)).await;
            assert_eq!(cluster.rows("sql-2").await.unwrap(), [1].into(), "write {writes}: ready without data");
        }
        let _ = cluster.statement("sql-2", GroupStatement::Offline).await;
        let _ = cluster.statement("sql-2", GroupStatement::GrantCreateAnyDatabase).await;
        cluster.follow("sql-2").await;
        cluster.until("seeded", |c| c.synchronized("sql-0").len() == 3).await;
        cluster.until("redone", |c| c.running["sql-2"].open(DATABASE, true).is_ok()).await;
        assert_eq!(cluster.rows("sql-2").await.unwrap(), [1].into(), "write {writes}");
        let under_way = cluster.group("sql-0").seeding.into_iter().filter(|row| row.source && row.state == "SEEDING");
        assert_eq!(under_way.count(), 0, "write {writes}: a seeding ends with the session that it was sent in");
    }
}

#[tokio::test(start_paused = true)]
async fn a_secondary_that_drops_the_group_and_joins_again_keeps_its_files() {
    let cluster = three(0).await;
    assert!(cluster.write("sql-0", 1).await.unwrap());
    cluster.statement("sql-2", GroupStatement::Offline).await.unwrap();
    cluster.until("resolving", |c| c.role("sql-2") == Some(Role::Resolving)).await;
    cluster.statement("sql-2", GroupStatement::Drop).await.unwrap();
    assert_eq!(cluster.rows("sql-2").await.unwrap_err().number, 927, "RESTORING");
    let seeded = cluster.group("sql-0").seeding.len();
    cluster.join("sql-2").await.unwrap();
    cluster.statement("sql-2", GroupStatement::GrantCreateAnyDatabase).await.unwrap();
    cluster.until("synchronized", |c| c.synchronized("sql-0").len() == 3).await;
    assert_eq!(cluster.group("sql-0").seeding.len(), seeded, "from the log, not from an image");
    assert_eq!(cluster.rows("sql-2").await.unwrap(), [1].into());
}

#[tokio::test(start_paused = true)]
async fn a_database_of_the_same_name_on_the_target_is_failure_223_and_left_alone() {
    let mut cluster = three(0).await;
    cluster.crash("sql-2");
    cluster.lose_disk("sql-2");
    cluster.start("sql-2").await;
    cluster.running["sql-2"].create_database(DATABASE).await.unwrap();
    cluster.join("sql-2").await.unwrap();
    cluster.statement("sql-2", GroupStatement::GrantCreateAnyDatabase).await.unwrap();
    cluster.until("refused", |c| c.group("sql-2").seeding.iter().any(|row| row.failure == 223)).await;
    assert!(cluster.running["sql-2"].open(DATABASE, false).is_ok(), "still a database of its own");
}

#[tokio::test(start_paused = true)]
async fn manual_seeding_sends_nothing_until_it_is_switched_to_automatic() {
    let mut cluster = three(0).await;
    let mode = |mode: &str| {
        GroupStatement::ModifyReplica(
            "SQL-2".into(),
            ReplicaOptions { seeding_mode: Some(mode.into()), ..ReplicaOptions::default() },
        )
    };
    cluster.statement("sql-0", mode("MANUAL")).await.unwrap();
    cluster.crash("sql-2");
    cluster.lose_disk("sql-2");
    cluster.start("sql-2").await;
    cluster.join("sql-2").await.unwrap();
    cluster.statement("sql-2", GroupStatement::GrantCreateAnyDatabase).await.unwrap();
    sleep(Duration::from_secs(30)).await;
    assert_eq!(cluster.synchronized("sql-0"), ["sql-0", "sql-1"]);
    cluster.statement("sql-0", mode("AUTOMATIC")).await.unwrap();
    cluster.until("seeded", |c| c.synchronized("sql-0").len() == 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_suspended_secondary_is_not_waited_for_and_catches_up_when_resumed() {
    let cluster = three(1).await;
    let hadr = |name: &'static str, statement| cluster.running[name].execute_hadr(DATABASE, statement);
    hadr("sql-2", HadrStatement::Suspend).await.unwrap();
    cluster.until("dropped", |c| c.synchronized("sql-0") == ["sql-0", "sql-1"]).await;
    assert!(cluster.connected("sql-2"));
    assert_eq!(cluster.write("sql-0", 1).await, Ok(true));
    assert_eq!(cluster.rows("sql-2").await.unwrap_err().number, 976);
    assert_eq!(number(cluster.statement("sql-2", GroupStatement::Failover).await), 41_142);
    hadr("sql-2", HadrStatement::Resume).await.unwrap();
    cluster.until("back", |c| c.synchronized("sql-0").len() == 3).await;
    assert_eq!(cluster.rows("sql-2").await.unwrap(), [1].into());
    hadr("sql-0", HadrStatement::Suspend).await.unwrap();
    cluster.until("all dropped", |c| c.synchronized("sql-0") == ["sql-0"]).await;
    assert_eq!(cluster.write("sql-0", 2).await.unwrap_err().number, 988);
    hadr("sql-0", HadrStatement::Resume).await.unwrap();
    cluster.until("all back", |c| c.synchronized("sql-0").len() == 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_removed_database_is_restoring_on_secondaries_and_alone_on_the_primary() {
    let cluster = three(1).await;
    assert!(cluster.write("sql-0", 1).await.unwrap());
    cluster.statement("sql-0", GroupStatement::RemoveDatabases(vec!["DB".into()])).await.unwrap();
    cluster.until("restoring", |c| c.running["sql-1"].open(DATABASE, true).is_err_and(|e| e.number == 927)).await;
    assert_eq!(cluster.write("sql-0", 2).await, Ok(true));
    cluster.running["sql-1"].drop_database(DATABASE).await.unwrap();
    cluster.statement("sql-0", GroupStatement::AddDatabases(vec![DATABASE.into()])).await.unwrap();
    cluster.until("seeded", |c| c.synchronized("sql-0").contains(&"sql-1".to_string())).await;
    cluster.until("readable", |c| c.running["sql-1"].open(DATABASE, true).is_ok()).await;
    assert_eq!(cluster.rows("sql-1").await.unwrap(), [1, 2].into());
}

#[tokio::test(start_paused = true)]
async fn a_removed_replica_leaves_its_databases_restoring_and_may_join_again_after_drop() {
    let cluster = three(0).await;
    cluster.statement("sql-0", GroupStatement::RemoveReplica("SQL-2".into())).await.unwrap();
    cluster.until("told", |c| c.role("sql-2") == Some(Role::Resolving)).await;
    assert_eq!(cluster.rows("sql-2").await.unwrap_err().number, 927);
    let add = GroupStatement::AddReplica("sql-2".into(), cluster.replica_options("sql-2"));
    cluster.statement("sql-0", add).await.unwrap();
    assert_eq!(number(cluster.join("sql-2").await), 41_106);
    cluster.statement("sql-2", GroupStatement::Drop).await.unwrap();
    cluster.join("sql-2").await.unwrap();
    cluster.statement("sql-2", GroupStatement::GrantCreateAnyDatabase).await.unwrap();
    cluster.until("synchronized", |c| c.synchronized("sql-0").len() == 3).await;
}

#[tokio::test(start_paused = true)]
async fn an_asynchronous_replica_follows_and_is_never_waited_for_or_promoted() {
    let cluster = Cluster::new(8, FailoverEngine::Local, &[SYNC, SYNC, ASYNC]).await;
    cluster.bring_up(1).await;
    cluster.net.cut("sql-0", "sql-2");
    assert_eq!(cluster.write("sql-0", 1).await, Ok(true));
    cluster.net.heal_all();
    cluster.until("followed", |c| c.connected("sql-2")).await;
    sleep(Duration::from_secs(15)).await;
    assert_eq!(cluster.rows("sql-2").await.unwrap(), [1].into());
    assert_eq!(number(cluster.statement("sql-2", GroupStatement::Failover).await), 41_142);
}

#[tokio::test(start_paused = true)]
async fn a_replica_with_several_databases_gets_all_of_them() {
    let cluster = three(1).await;
    for name in ["a", "b", "c"] {
        cluster.running["sql-0"].create_database(name).await.unwrap();
        let names = vec![name.to_string()];
        assert_eq!(number(cluster.statement("sql-0", GroupStatement::AddDatabases(names.clone())).await), 1475);
        cluster.running["sql-0"].backup_database(name).await.unwrap();
        cluster.statement("sql-0", GroupStatement::AddDatabases(names)).await.unwrap();
    }
    cluster
        .until("all synchronized", |c| {
            c.group("sql-0").databases.values().filter(|database| database.synchronized.len() == 3).count() == 4
        })
        .await;
    cluster.statement("sql-0", GroupStatement::Offline).await.unwrap();
    cluster.until("down", |c| c.role("sql-0") == Some(Role::Resolving)).await;
    cluster.promote("sql-2").await;
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_log_backup_goes_with_the_database_to_every_replica() {
    let mut cluster = three(1).await;
    let backups = |cluster: &Cluster, name: &str| cluster.running[name].shared().backups(DATABASE);
    cluster.until("the chain", |c| ["sql-1", "sql-2"].iter().all(|name| backups(c, name) == (true, None))).await;
    cluster.running["sql-0"].backup_log(DATABASE, 7).await.unwrap();
    cluster.until("the time", |c| ["sql-1", "sql-2"].iter().all(|name| backups(c, name) == (true, Some(7)))).await;
    assert_eq!(cluster.running["sql-1"].backup_log(DATABASE, 8).await.unwrap_err().number, 3059);
    cluster.crash("sql-2");
    cluster.running["sql-0"].backup_log(DATABASE, 9).await.unwrap();
    cluster.start("sql-2").await;
    assert_eq!(backups(&cluster, "sql-2"), (true, Some(7)), "as its own copy says");
    cluster.statement("sql-2", GroupStatement::SetRoleSecondary).await.unwrap();
    cluster.until("caught up", |c| backups(c, "sql-2") == (true, Some(9))).await;
}
