//! What a log backup truncates, and who is copied anew because of it.

use crate::{
    cluster::{Cluster, DATABASE},
    three,
};
use standin::{ddl::GroupStatement, group::roles::Role};

/// Rows `from..to`, each acknowledged.
async fn write(cluster: &Cluster, name: &str, from: i64, to: i64) {
    for id in from..to {
        assert_eq!(cluster.write(name, id).await, Ok(true), "{id}");
    }
}

async fn back_up(cluster: &Cluster, name: &str) {
    cluster.running[name].backup_log(DATABASE, 7).await.unwrap();
}

fn truncated(cluster: &Cluster, name: &str) -> u64 {
    cluster.running[name].shared().database(DATABASE).unwrap().truncated()
}

fn end(cluster: &Cluster, name: &str) -> u64 {
    cluster.running[name].shared().database(DATABASE).unwrap().end()
}

/// How many images a primary has sent.
fn images(cluster: &Cluster, name: &str) -> usize {
    cluster.group(name).seeding.iter().filter(|row| row.source && row.state == "COMPLETED").count()
}

/// It crashes, rows are written and backed up, it returns. Returns how many images that took.
async fn away_while_the_log_is_backed_up(cluster: &mut Cluster) -> usize {
    write(cluster, "sql-0", 1, 10).await;
    cluster.crash("sql-2");
    cluster.until("dropped", |c| c.synchronized("sql-0").len() == 2).await;
    write(cluster, "sql-0", 10, 20).await;
    back_up(cluster, "sql-0").await;
    let before = images(cluster, "sql-0");
    cluster.start("sql-2").await;
    cluster.follow("sql-2").await;
    cluster.until("synchronized", |c| c.synchronized("sql-0").len() == 3).await;
    cluster.until("redone", |c| c.running["sql-2"].open(DATABASE, true).is_ok()).await;
    assert_eq!(cluster.rows("sql-2").await.unwrap().len(), 19);
    images(cluster, "sql-0") - before
}

#[tokio::test(start_paused = true)]
async fn a_log_backup_keeps_what_a_replica_that_is_away_has_not_hardened() {
    let mut cluster = three(1).await;
    assert_eq!(away_while_the_log_is_backed_up(&mut cluster).await, 0, "it caught up from the log");
    assert!(truncated(&cluster, "sql-0") > 0, "what everybody has was truncated");
}

#[tokio::test(start_paused = true)]
async fn where_the_log_is_not_kept_for_the_absent_they_are_copied_anew() {
    let mut cluster = three(1).await;
    cluster.turn(|switches| switches.log_held_for_absent_replicas = false);
    assert_eq!(away_while_the_log_is_backed_up(&mut cluster).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_log_backup_truncates_the_log_of_the_secondaries_too() {
    let mut cluster = three(1).await;
    write(&cluster, "sql-0", 1, 10).await;
    cluster.until("hardened", |c| ["sql-1", "sql-2"].iter().all(|name| end(c, name) == end(c, "sql-0"))).await;
    back_up(&cluster, "sql-0").await;
    let base = truncated(&cluster, "sql-0");
    assert!(base > 0);
    write(&cluster, "sql-0", 10, 12).await;
    cluster.until("truncated", |c| truncated(c, "sql-1") == base && truncated(c, "sql-2") == base).await;
    // What was truncated survives a crash, in the image.
    cluster.crash("sql-1");
    cluster.start("sql-1").await;
    assert_eq!(truncated(&cluster, "sql-1"), base);
    cluster.crash("sql-0");
    cluster.promote("sql-1").await;
    cluster.set_commit_quorum("sql-1", 0).await.unwrap();
    cluster.until("readable", |c| c.running["sql-1"].open(DATABASE, true).is_ok()).await;
    assert_eq!(cluster.rows("sql-1").await.unwrap().len(), 11);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_was_removed_holds_no_log_and_is_copied_anew_when_it_is_added_again() {
    let cluster = three(1).await;
    write(&cluster, "sql-0", 1, 10).await;
    cluster.statement("sql-0", GroupStatement::RemoveReplica("SQL-2".into())).await.unwrap();
    cluster.until("told", |c| c.role("sql-2") == Some(Role::Resolving)).await;
    cluster.statement("sql-2", GroupStatement::Drop).await.unwrap();
    write(&cluster, "sql-0", 10, 20).await;
    back_up(&cluster, "sql-0").await;
    let before = images(&cluster, "sql-0");
    let add = GroupStatement::AddReplica("sql-2".into(), cluster.replica_options("sql-2"));
    cluster.statement("sql-0", add).await.unwrap();
    cluster.join("sql-2").await.unwrap();
    cluster.statement("sql-2", GroupStatement::GrantCreateAnyDatabase).await.unwrap();
    cluster.until("synchronized", |c| c.synchronized("sql-0").len() == 3).await;
    assert_eq!(images(&cluster, "sql-0") - before, 1);
    assert_eq!(cluster.rows("sql-2").await.unwrap().len(), 19);
}
