//! The replication core alone: no operator, no T-SQL, a paused clock.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod cluster;
mod crashes;
mod histories;
mod roles;
mod seeding;
mod truncation;

use cluster::{ASYNC, Cluster, SYNC, WITNESS};
use standin::{ddl::GroupStatement, faults::FailoverEngine, group::roles::Role};
use std::time::Duration;
use tokio::time::sleep;

async fn three(commit_quorum: i64) -> Cluster {
    let cluster = Cluster::new(1, FailoverEngine::Local, &[SYNC, SYNC, SYNC]).await;
    cluster.bring_up(commit_quorum).await;
    cluster
}

fn number(result: standin::errors::SqlResult<Vec<standin::errors::Message>>) -> i32 {
    result.map_or_else(|error| error.number, |_| 0)
}

#[tokio::test(start_paused = true)]
async fn a_write_is_on_every_synchronized_replica_when_it_is_acknowledged() {
    let cluster = three(1).await;
    assert!(cluster.write("sql-0", 1).await.unwrap());
    cluster.until("redone", |c| c.number("sql-1") == c.number("sql-0")).await;
    sleep(Duration::from_millis(100)).await;
    for name in ["sql-0", "sql-1", "sql-2"] {
        assert!(cluster.rows(name).await.unwrap().contains(&1), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_on_a_secondary_is_refused_with_3906() {
    let cluster = three(1).await;
    assert_eq!(cluster.write("sql-1", 1).await.unwrap_err().number, 3906);
}

#[tokio::test(start_paused = true)]
async fn a_lost_secondary_is_dropped_by_a_configuration_commit_and_writes_go_on() {
    let mut cluster = three(1).await;
    let before = cluster.number("sql-0");
    cluster.crash("sql-2");
    cluster.until("dropped", |c| c.synchronized("sql-0") == ["sql-0", "sql-1"]).await;
    assert!(cluster.number("sql-0") > before);
    assert!(cluster.write("sql-0", 1).await.unwrap());
    cluster.start("sql-2").await;
    assert_eq!(cluster.role("sql-2"), Some(Role::Resolving), "a restart is RESOLVING");
    assert_eq!(cluster.rows("sql-2").await.unwrap_err().number, 983);
    cluster.statement("sql-2", GroupStatement::SetRoleSecondary).await.unwrap();
    cluster.until("synchronized again", |c| c.synchronized("sql-0").len() == 3).await;
    assert!(cluster.rows("sql-2").await.unwrap().contains(&1));
}

#[tokio::test(start_paused = true)]
async fn a_silent_secondary_is_noticed_after_the_session_timeout_and_no_sooner() {
    let cluster = three(0).await;
    cluster.net.freeze("sql-2");
    let began = tokio::time::Instant::now();
    cluster.until("dropped", |c| c.synchronized("sql-0") == ["sql-0", "sql-1"]).await;
    let took = began.elapsed();
    assert!(took > Duration::from_secs(9) && took < Duration::from_secs(13), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn below_the_commit_quorum_reads_and_writes_get_988() {
    let mut cluster = three(2).await;
    cluster.crash("sql-2");
    cluster.until("dropped", |c| c.synchronized("sql-0") == ["sql-0", "sql-1"]).await;
    assert_eq!(cluster.write("sql-0", 1).await.unwrap_err().number, 988);
    assert_eq!(cluster.rows("sql-0").await.unwrap_err().number, 988);
}

#[tokio::test(start_paused = true)]
async fn without_a_configuration_quorum_writes_wait_even_with_commit_quorum_0() {
    let mut cluster = three(0).await;
    cluster.crash("sql-1");
    cluster.crash("sql-2");
    sleep(Duration::from_secs(30)).await;
    assert!(!cluster.write("sql-0", 1).await.unwrap(), "nobody could agree that the two are gone");
    assert!(cluster.running["sql-0"].snapshot().groups["ag"].commit_pending_since.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_synchronized_secondary_is_promoted_and_the_old_primary_rejoins_without_what_nobody_acknowledged() {
    for engine in FailoverEngine::ALL {
        let cluster = Cluster::new(2, engine, &[SYNC, SYNC, SYNC]).await;
        cluster.bring_up(1).await;
        assert!(cluster.write("sql-0", 1).await.unwrap());
        cluster.net.isolate("sql-0");
        assert!(!cluster.write("sql-0", 2).await.unwrap(), "{engine:?}: not acknowledged");
        assert!(cluster.stand_down("sql-1", &["sql-2"]).await && cluster.stand_down("sql-2", &["sql-1"]).await);
        cluster.statement("sql-1", GroupStatement::Failover).await.unwrap();
        cluster.until("primary", |c| c.role("sql-1") == Some(Role::Primary)).await;
        cluster.admit_all("sql-1");
        cluster.statement("sql-2", GroupStatement::SetRoleSecondary).await.unwrap();
        cluster.until("writable", |c| c.running["sql-1"].open("db", false).is_ok() && c.connected("sql-2")).await;
        assert!(cluster.write("sql-1", 3).await.unwrap(), "{engine:?}");
        cluster.net.heal_all();
        cluster.statement("sql-0", GroupStatement::Offline).await.unwrap();
        cluster.until("resolving", |c| c.role("sql-0") == Some(Role::Resolving)).await;
        cluster.statement("sql-0", GroupStatement::SetRoleSecondary).await.unwrap();
        cluster.until("rejoined", |c| c.synchronized("sql-1").len() == 3).await;
        assert_eq!(cluster.rows("sql-0").await.unwrap(), [1, 3].into(), "{engine:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn failover_has_the_documented_refusals() {
    let mut cluster = Cluster::new(3, FailoverEngine::Local, &[SYNC, SYNC, ASYNC]).await;
    cluster.bring_up(0).await;
    let plain = cluster.running["sql-1"].execute_group("ag", GroupStatement::Failover, false).await;
    assert_eq!(number(plain), 47_104, "without the session context");
    assert_eq!(number(cluster.statement("sql-0", GroupStatement::Failover).await), 41_122);
    assert_eq!(number(cluster.statement("sql-2", GroupStatement::Failover).await), 41_142, "asynchronous");
    cluster.crash("sql-1");
    cluster.until("dropped", |c| c.synchronized("sql-0") == ["sql-0"]).await;
    cluster.start("sql-1").await;
    assert_eq!(
        number(cluster.statement("sql-1", GroupStatement::Failover).await),
        0,
        "its own copy does not know that it was dropped"
    );
}

#[tokio::test(start_paused = true)]
async fn a_configuration_only_replica_votes_holds_nothing_and_is_never_primary() {
    let mut cluster = Cluster::new(4, FailoverEngine::Local, &[SYNC, SYNC, WITNESS]).await;
    cluster.bring_up(0).await;
    assert_eq!(number(cluster.statement("sql-2", GroupStatement::Failover).await), 47_109);
    assert_eq!(number(cluster.statement("sql-2", GroupStatement::GrantCreateAnyDatabase).await), 47_111);
    assert_eq!(number(cluster.set_commit_quorum("sql-0", 1).await), 47_108);
    cluster.crash("sql-1");
    cluster.until("dropped with its vote", |c| c.synchronized("sql-0") == ["sql-0"]).await;
    assert!(cluster.write("sql-0", 1).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn statements_on_the_wrong_replica_get_their_numbers() {
    let cluster = three(1).await;
    assert_eq!(number(cluster.set_commit_quorum("sql-1", 0).await), 41_140);
    assert_eq!(number(cluster.set_commit_quorum("sql-0", 3).await), 35_248);
    assert_eq!(number(cluster.statement("sql-1", GroupStatement::RemoveReplica("sql-2".into())).await), 41_190);
    assert_eq!(number(cluster.statement("sql-0", GroupStatement::RemoveReplica("sql-0".into())).await), 35_284);
    assert_eq!(
        number(cluster.statement("sql-1", GroupStatement::Join { cluster_type: Some("EXTERNAL".into()) }).await),
        41_106
    );
}

#[tokio::test(start_paused = true)]
async fn a_crashed_primary_keeps_every_acknowledged_write() {
    let mut cluster = three(1).await;
    for id in 1..20 {
        assert!(cluster.write("sql-0", id).await.unwrap());
    }
    for name in ["sql-0", "sql-1", "sql-2"] {
        cluster.crash(name);
    }
    for name in ["sql-0", "sql-1", "sql-2"] {
        cluster.start(name).await;
    }
    cluster.statement("sql-0", GroupStatement::Failover).await.unwrap();
    cluster.statement("sql-1", GroupStatement::SetRoleSecondary).await.unwrap();
    cluster.until("followed", |c| c.synchronized("sql-0").contains(&"sql-1".to_string()) && c.connected("sql-1")).await;
    cluster.until("quorum", |c| c.running["sql-0"].open("db", false).is_ok()).await;
    assert_eq!(cluster.rows("sql-0").await.unwrap(), (1..20).collect());
}

#[tokio::test(start_paused = true)]
async fn a_denied_partner_cannot_connect() {
    let cluster = three(1).await;
    assert!(cluster.stand_down("sql-2", &["sql-1"]).await);
    cluster.statement("sql-2", GroupStatement::SetRoleSecondary).await.unwrap();
    sleep(Duration::from_secs(5)).await;
    assert!(!cluster.connected("sql-2"), "the primary is denied");
    cluster.admit_all("sql-2");
    cluster.until("connected", |c| c.connected("sql-2")).await;
}

#[tokio::test(start_paused = true)]
async fn a_promotion_that_skips_the_stand_down_loses_an_acknowledged_write() {
    let cluster = three(1).await;
    cluster.net.cut("sql-0", "sql-1");
    cluster.until("dropped by the other two", |c| c.synchronized("sql-0") == ["sql-0", "sql-2"]).await;
    assert!(cluster.write("sql-0", 1).await.unwrap());
    cluster.statement("sql-1", GroupStatement::Failover).await.unwrap();
    cluster.until("primary", |c| c.role("sql-1") == Some(Role::Primary)).await;
    assert!(cluster.stand_down("sql-2", &["sql-1"]).await);
    cluster.admit_only("sql-2", "sql-1");
    cluster.statement("sql-2", GroupStatement::SetRoleSecondary).await.unwrap();
    cluster.until("writable", |c| c.running["sql-1"].open("db", false).is_ok() && c.connected("sql-2")).await;
    assert!(cluster.write("sql-1", 2).await.unwrap());
    assert_eq!(
        cluster.rows("sql-1").await.unwrap(),
        [2].into(),
        "the engine alone does not protect: this is what the gate is for"
    );
}
