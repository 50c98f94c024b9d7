//! kill -9 and power failures at any moment of a write.

use crate::{cluster::DATABASE, three};
use rusqlite::types::Value;
use standin::{
    ddl::GroupStatement,
    group::roles::Role,
    instance::{Disk, MemoryDisk},
    store::database::Database,
};
use std::sync::Arc;

fn new_disk() -> (Disk, Arc<MemoryDisk>) {
    let memory = Arc::new(MemoryDisk::default());
    (Disk::Memory(memory.clone()), memory)
}

/// Rows that a database holds.
async fn count(database: &Arc<Database>) -> i64 {
    match database.query("SELECT count(*) FROM t", &[]).await.unwrap().rows[0][0] {
        Value::Integer(count) => count,
        ref other => panic!("{other:?}"),
    }
}

/// Writes rows until the disk fails; returns how many were acknowledged.
async fn write_until_it_fails(disk: &Disk, rows: i64, bytes: usize) -> Option<i64> {
    let database = Database::open(disk, "db", true).ok()?;
    let mut transaction = database.begin().await.ok()?;
    transaction.execute("CREATE TABLE IF NOT EXISTS t (b BLOB)", &[]).await.ok()?;
    transaction.commit().await.ok()?;
    for row in 0..rows {
        let mut transaction = database.begin().await.ok()?;
        let blob = [("@b".to_string(), Value::Blob(vec![1; bytes]))];
        transaction.execute("INSERT INTO t VALUES (@b)", &blob).await.ok()?;
        if transaction.commit().await.is_err() {
            return Some(row);
        }
    }
    Some(rows)
}

async fn survives(rows: i64, bytes: usize, crashes: impl Iterator<Item = u64>) {
    for writes in crashes {
        for kept in [0, 300, 999] {
            let (disk, memory) = new_disk();
            memory.crash_at(writes, kept);
            let acknowledged = write_until_it_fails(&disk, rows, bytes).await;
            memory.repair();
            let Some(acknowledged) = acknowledged else { continue };
            let database = Database::open(&disk, "db", true).unwrap();
            let found = count(&database).await;
            let story =
                format!("crash at write {writes}, {kept} of 1000 kept: {acknowledged} acknowledged, {found} found");
            assert!(found == acknowledged || found == acknowledged + 1, "{story}");
            drop(database);
            // And it goes on.
            assert_eq!(write_until_it_fails(&disk, 3, 10).await, Some(3), "{story}");
            assert_eq!(count(&Database::open(&disk, "db", true).unwrap()).await, found + 3, "{story}");
        }
    }
}

#[tokio::test]
async fn every_acknowledged_row_survives_a_crash_at_any_write() {
    survives(20, 100, 0..26).await;
}

#[tokio::test]
async fn every_acknowledged_row_survives_a_crash_while_a_new_image_is_written() {
    let (disk, memory) = new_disk();
    assert_eq!(write_until_it_fails(&disk, 40, 200_000).await, Some(40));
    assert!(memory.writes() > 45, "an image was written in between: {}", memory.writes());
    survives(14, 200_000, 8..18).await;
}

#[tokio::test(start_paused = true)]
async fn a_primary_whose_disk_fails_within_a_write_acknowledges_nothing_that_is_lost() {
    for writes in 0..6 {
        for kept in [0, 500, 999] {
            let mut cluster = three(1).await;
            assert!(cluster.write("sql-0", 1).await.unwrap());
            cluster.disk("sql-0").crash_at(writes, kept);
            let mut acknowledged = vec![1];
            for id in 2..10 {
                if cluster.write("sql-0", id).await == Ok(true) {
                    acknowledged.push(id);
                }
            }
            assert_eq!(acknowledged.len() as u64, 1 + writes, "nothing is acknowledged after the failure");
            for name in ["sql-0", "sql-1", "sql-2"] {
                cluster.crash(name);
                cluster.start(name).await;
            }
            cluster.promote("sql-0").await;
            cluster.follow("sql-1").await;
            cluster.until("quorum", |c| c.running["sql-0"].open(DATABASE, false).is_ok()).await;
            let rows = cluster.rows("sql-0").await.unwrap();
            assert!(acknowledged.iter().all(|id| rows.contains(id)), "{writes} {kept}: {rows:?} of {acknowledged:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_outlives_its_instance_changes_nothing_any_more() {
    let mut cluster = three(0).await;
    let database = cluster.running["sql-0"].open(DATABASE, false).unwrap();
    let mut transaction = database.begin().await.unwrap();
    transaction.execute("INSERT INTO t VALUES (1)", &[]).await.unwrap();
    cluster.crash("sql-0");
    cluster.start("sql-0").await;
    assert!(transaction.commit().await.is_err());
    cluster.promote("sql-0").await;
    assert!(cluster.rows("sql-0").await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn open_transactions_end_when_the_role_is_lost() {
    let cluster = three(1).await;
    let database = cluster.running["sql-0"].open(DATABASE, false).unwrap();
    let mut transaction = database.begin().await.unwrap();
    transaction.execute("INSERT INTO t VALUES (1)", &[]).await.unwrap();
    let waiting = tokio::spawn({
        let database = database.clone();
        async move { database.begin().await.map(|_| ()) }
    });
    cluster.statement("sql-0", GroupStatement::Offline).await.unwrap();
    cluster.until("down", |c| c.role("sql-0") == Some(Role::Resolving)).await;
    assert_eq!(transaction.execute("INSERT INTO t VALUES (2)", &[]).await.unwrap_err().number, 983);
    assert_eq!(transaction.commit().await.unwrap_err().number, 983);
    assert_eq!(waiting.await.unwrap().unwrap_err().number, 983);
    assert_eq!(database.query("SELECT 1", &[]).await.unwrap_err().number, 983);
}

#[test]
fn the_core_holds_on_many_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let cluster = three(1).await;
        let mut acknowledged = std::collections::BTreeSet::new();
        for (round, primary) in ["sql-0", "sql-1", "sql-2", "sql-0"].into_iter().enumerate() {
            if round > 0 {
                for name in ["sql-0", "sql-1", "sql-2"] {
                    assert!(cluster.stand_down(name, &["sql-0", "sql-1", "sql-2"]).await);
                }
                cluster.promote(primary).await;
                for name in ["sql-0", "sql-1", "sql-2"].into_iter().filter(|name| *name != primary) {
                    cluster.follow(name).await;
                }
            }
            cluster
                .until("whole", |c| {
                    c.synchronized(primary).len() == 3 && c.running[primary].open(DATABASE, false).is_ok()
                })
                .await;
            let ids = round as i64 * 100..round as i64 * 100 + 40;
            let writes = ids.map(|id| {
                let cluster = &cluster;
                async move { (id, cluster.write(primary, id).await) }
            });
            for (id, answer) in futures::future::join_all(writes).await {
                if answer == Ok(true) {
                    acknowledged.insert(id);
                }
            }
            let rows = cluster.rows(primary).await.unwrap();
            assert!(acknowledged.is_subset(&rows), "{acknowledged:?} not in {rows:?}");
        }
        assert!(acknowledged.len() > 40, "{}", acknowledged.len());
    });
}
