//! Roles: what a statement does in each, what takes it back, what each engine of FAILOVER asks for.

use crate::{
    cluster::{Cluster, DATABASE, GROUP, SYNC, WITNESS},
    number, three,
};
use standin::{
    ddl::{GroupOptions, GroupStatement},
    faults::FailoverEngine,
    group::roles::{Pending, Role},
};
use std::{collections::BTreeSet, time::Duration};
use tokio::time::{Instant, sleep};

#[tokio::test(start_paused = true)]
async fn a_role_statement_returns_before_the_role_changes() {
    let cluster = three(1).await;
    cluster.statement("sql-2", GroupStatement::Offline).await.unwrap();
    assert_eq!(cluster.role("sql-2"), Some(Role::Secondary));
    cluster.until("resolving", |c| c.role("sql-2") == Some(Role::Resolving)).await;
    let began = Instant::now();
    cluster.statement("sql-2", GroupStatement::Failover).await.unwrap();
    assert_eq!((cluster.role("sql-2"), cluster.group("sql-2").operational_state), (Some(Role::Resolving), 0));
    assert_eq!(number(cluster.statement("sql-2", GroupStatement::Failover).await), 41_113);
    cluster.until("primary", |c| c.role("sql-2") == Some(Role::Primary)).await;
    assert!(began.elapsed() >= Duration::from_millis(100), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn offline_takes_back_a_role_that_was_asked_for_and_has_not_come() {
    let cluster = three(1).await;
    cluster.statement("sql-2", GroupStatement::Offline).await.unwrap();
    cluster.until("resolving", |c| c.role("sql-2") == Some(Role::Resolving)).await;
    for asked in [GroupStatement::SetRoleSecondary, GroupStatement::Failover] {
        cluster.statement("sql-2", asked.clone()).await.unwrap();
        cluster.statement("sql-2", GroupStatement::Offline).await.unwrap();
        sleep(Duration::from_secs(2)).await;
        assert_eq!(cluster.role("sql-2"), Some(Role::Resolving), "{asked:?}");
        assert_eq!(cluster.group("sql-2").operational_state, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_role_statement_said_again_and_again_does_not_begin_again() {
    let cluster = three(1).await;
    for _ in 0..6 {
        cluster.statement("sql-2", GroupStatement::Offline).await.unwrap();
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(cluster.role("sql-2"), Some(Role::Resolving));
}

#[tokio::test(start_paused = true)]
async fn a_candidate_alone_becomes_primary_unless_a_majority_must_promise_and_never_acknowledges() {
    for engine in FailoverEngine::ALL {
        let cluster = Cluster::new(3, engine, &[SYNC, SYNC, SYNC]).await;
        cluster.bring_up(0).await;
        cluster.net.isolate("sql-1");
        let answer = number(cluster.statement("sql-1", GroupStatement::Failover).await);
        if engine == FailoverEngine::MajorityBeforePromotion {
            assert_eq!(answer, 41_142);
            continue;
        }
        cluster.until("primary", |c| c.role("sql-1") == Some(Role::Primary)).await;
        sleep(Duration::from_secs(30)).await;
        assert_eq!(cluster.write("sql-1", 1).await, Ok(false), "{engine:?}: nobody else agreed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_promise_ends_the_old_primary() {
    let cluster = Cluster::new(3, FailoverEngine::MajorityBeforePromotion, &[SYNC, SYNC, SYNC]).await;
    cluster.bring_up(1).await;
    // The last commit has to be told to everybody: a candidate that promised takes nothing older any more.
    sleep(Duration::from_secs(1)).await;
    cluster.statement("sql-1", GroupStatement::Failover).await.unwrap();
    cluster.until("over", |c| c.role("sql-0") == Some(Role::Resolving)).await;
    cluster.until("primary", |c| c.role("sql-1") == Some(Role::Primary)).await;
    assert_eq!(cluster.write("sql-0", 1).await.unwrap_err().number, 983);
}

#[tokio::test(start_paused = true)]
async fn a_replica_whose_return_is_proposed_is_already_waited_for() {
    let mut cluster = three(0).await;
    cluster.crash("sql-2");
    cluster.until("dropped", |c| c.synchronized("sql-0") == ["sql-0", "sql-1"]).await;
    assert_eq!(cluster.write("sql-0", 1).await, Ok(true));
    {
        let group = cluster.running["sql-0"].shared().group(GROUP).unwrap();
        let mut state = group.state();
        let mut config = state.committed.clone();
        config.databases.get_mut(DATABASE).unwrap().synchronized.insert("sql-2".into());
        config.number += 1_000;
        let since = std::time::SystemTime::now();
        state.pending = Some(Pending { config, accepted: BTreeSet::new(), since });
    }
    assert_eq!(cluster.write("sql-0", 2).await, Ok(false));
}

#[tokio::test(start_paused = true)]
async fn a_forced_failover_suspends_the_others_until_each_is_resumed() {
    let cluster = three(1).await;
    assert!(cluster.write("sql-0", 1).await.unwrap());
    cluster.net.isolate("sql-0");
    assert_eq!(cluster.write("sql-0", 2).await, Ok(false));
    let end = |cluster: &Cluster| cluster.running["sql-0"].shared().database(DATABASE).unwrap().end();
    let alone = end(&cluster);
    cluster.statement("sql-1", GroupStatement::ForceFailover).await.unwrap();
    cluster.until("primary", |c| c.role("sql-1") == Some(Role::Primary)).await;
    cluster.set_commit_quorum("sql-1", 0).await.unwrap();
    assert_eq!(cluster.write("sql-1", 3).await, Ok(true), "it goes on alone");
    for name in ["sql-0", "sql-2"] {
        cluster.net.heal_all();
        cluster.stand_down(name, &["sql-1"]).await;
        cluster.follow(name).await;
        cluster
            .until("suspended", |c| c.group(name).databases[DATABASE].local.as_ref().unwrap().suspended == Some(1))
            .await;
    }
    cluster.until("seen", |c| c.group("sql-1").databases[DATABASE].remote["sql-0"].suspended == Some(1)).await;
    assert_eq!(cluster.rows("sql-0").await.unwrap_err().number, 976);
    assert_eq!(number(cluster.statement("sql-0", GroupStatement::Failover).await), 41_142);
    // Leaving the group and joining it anew resumes nothing.
    cluster.statement("sql-0", GroupStatement::Offline).await.unwrap();
    cluster.until("resolving", |c| c.role("sql-0") == Some(Role::Resolving)).await;
    cluster.statement("sql-0", GroupStatement::Drop).await.unwrap();
    cluster.join("sql-0").await.unwrap();
    cluster.statement("sql-0", GroupStatement::GrantCreateAnyDatabase).await.unwrap();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(end(&cluster), alone, "what it had alone is still there");
    for name in ["sql-0", "sql-2"] {
        cluster.running[name].execute_hadr(DATABASE, standin::ddl::HadrStatement::Resume).await.unwrap();
    }
    cluster.until("synchronized", |c| c.synchronized("sql-1").len() == 3).await;
    assert_eq!(cluster.rows("sql-0").await.unwrap(), [1, 3].into(), "what it had alone is gone");
}

#[tokio::test(start_paused = true)]
async fn a_replica_told_to_come_back_follows_a_lower_number_only_when_switched_so() {
    for follows_lower in [true, false] {
        let mut cluster = three(0).await;
        cluster.turn(|switches| switches.follows_lower_numbers = follows_lower);
        cluster.net.isolate("sql-1");
        cluster.promote("sql-1").await;
        cluster.statement("sql-1", GroupStatement::Offline).await.unwrap();
        cluster.until("resolving", |c| c.role("sql-1") == Some(Role::Resolving)).await;
        assert!(cluster.number("sql-1") > cluster.number("sql-0"));
        cluster.net.heal_all();
        cluster.statement("sql-1", GroupStatement::SetRoleSecondary).await.unwrap();
        sleep(Duration::from_secs(20)).await;
        assert_eq!(cluster.connected("sql-1"), follows_lower);
    }
}

#[tokio::test(start_paused = true)]
async fn a_restarted_ex_primary_is_resolving_unless_switched_to_come_back_primary() {
    for comes_back in [false, true] {
        let mut cluster = three(0).await;
        cluster.turn(|switches| switches.restarts_as_primary = comes_back);
        // What it proposed alone is not in force after the restart either.
        cluster.crash("sql-1");
        cluster.crash("sql-2");
        sleep(Duration::from_secs(20)).await;
        cluster.crash("sql-0");
        cluster.start("sql-0").await;
        let expected = if comes_back { Role::Primary } else { Role::Resolving };
        assert_eq!(cluster.role("sql-0"), Some(expected));
        if comes_back {
            sleep(Duration::from_secs(20)).await;
            assert_eq!(cluster.write("sql-0", 1).await, Ok(false));
            assert!(cluster.group("sql-0").commit_pending_since.is_some());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_resolving_replica_stays_so_unless_switched_to_return_by_itself() {
    for returns in [None, Some(Duration::from_secs(69))] {
        let mut cluster = three(1).await;
        cluster.turn(|switches| switches.returns_by_itself = returns);
        cluster.crash("sql-2");
        cluster.start("sql-2").await;
        sleep(Duration::from_secs(60)).await;
        assert_eq!(cluster.role("sql-2"), Some(Role::Resolving));
        sleep(Duration::from_secs(60)).await;
        assert_eq!(cluster.connected("sql-2"), returns.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn set_role_secondary_without_a_primary_is_41104_when_switched_so() {
    let mut cluster = three(1).await;
    cluster.turn(|switches| switches.set_role_needs_primary = true);
    assert!(cluster.stand_down("sql-2", &[]).await);
    assert_eq!(number(cluster.statement("sql-2", GroupStatement::SetRoleSecondary).await), 41_104);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(cluster.role("sql-2"), Some(Role::Resolving));
    cluster.admit_all("sql-2");
    cluster.follow("sql-2").await;
}

#[tokio::test(start_paused = true)]
async fn an_ex_primary_that_returns_too_soon_is_stuck_until_both_endpoints_were_restarted() {
    let mut cluster = three(0).await;
    cluster.turn(|switches| switches.stuck_41104 = Some(Duration::from_secs(10)));
    cluster.crash("sql-0");
    cluster.promote("sql-1").await;
    cluster.follow("sql-2").await;
    cluster.start("sql-0").await;
    cluster.statement("sql-0", GroupStatement::SetRoleSecondary).await.unwrap();
    cluster.until("stuck", |c| c.role("sql-0") == Some(Role::Resolving)).await;
    sleep(Duration::from_secs(40)).await;
    assert_eq!(number(cluster.statement("sql-0", GroupStatement::SetRoleSecondary).await), 41_104);
    cluster.statement("sql-0", GroupStatement::Offline).await.unwrap();
    cluster.restart_endpoint("sql-0");
    cluster.statement("sql-0", GroupStatement::SetRoleSecondary).await.unwrap();
    sleep(Duration::from_secs(3)).await;
    assert!(!cluster.connected("sql-0"), "the primary's endpoint was not restarted");
    assert_eq!(number(cluster.statement("sql-0", GroupStatement::SetRoleSecondary).await), 41_104);
    cluster.statement("sql-0", GroupStatement::Offline).await.unwrap();
    cluster.restart_endpoint("sql-0");
    cluster.restart_endpoint("sql-1");
    cluster.follow("sql-0").await;
}

#[tokio::test(start_paused = true)]
async fn a_configuration_only_replica_refuses_offline_when_switched_so() {
    let mut cluster = Cluster::new(4, FailoverEngine::Local, &[SYNC, SYNC, WITNESS]).await;
    cluster.bring_up(0).await;
    cluster.turn(|switches| switches.configuration_only_accepts_offline = false);
    assert_eq!(number(cluster.statement("sql-2", GroupStatement::Offline).await), 41_150);
    cluster.turn(|switches| switches.configuration_only_accepts_offline = true);
    assert!(cluster.stand_down("sql-2", &["sql-1"]).await);
}

#[tokio::test(start_paused = true)]
async fn an_established_session_survives_deny_unless_switched_to_be_cut() {
    for cut in [false, true] {
        let mut cluster = three(1).await;
        cluster.turn(|switches| switches.deny_cuts_connections = cut);
        cluster.admit_only("sql-2", "sql-1");
        sleep(Duration::from_secs(5)).await;
        assert_eq!(cluster.connected("sql-2"), !cut);
        cluster.admit_all("sql-2");
        cluster.until("back", |c| c.connected("sql-2")).await;
        cluster.admit_only("sql-0", "sql-1");
        sleep(Duration::from_secs(5)).await;
        assert_eq!(cluster.connected("sql-2"), !cut);
        cluster.restart_endpoint("sql-0");
        sleep(Duration::from_secs(5)).await;
        assert!(!cluster.connected("sql-2"), "the handshake asks again");
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_primary_that_hears_of_a_promotion_yields_when_switched_so() {
    for yields in [false, true] {
        let mut cluster = three(1).await;
        cluster.turn(|switches| switches.yields_to_higher_numbers = yields);
        cluster.net.isolate("sql-0");
        cluster.promote("sql-1").await;
        assert_eq!(cluster.role("sql-0"), Some(Role::Primary));
        cluster.net.heal_all();
        sleep(Duration::from_secs(10)).await;
        assert_eq!(cluster.role("sql-0") == Some(Role::Resolving), yields);
    }
}

#[tokio::test(start_paused = true)]
async fn a_primary_whose_write_lease_is_over_leaves_its_role() {
    let cluster = Cluster::new(5, FailoverEngine::Local, &[SYNC]).await;
    let options = GroupOptions {
        cluster_type: Some("EXTERNAL".into()),
        write_lease_validity: Some(20),
        ..GroupOptions::default()
    };
    let replicas = vec![("sql-0".to_string(), cluster.replica_options("sql-0"))];
    cluster.statement("sql-0", GroupStatement::Create { options, databases: vec![], replicas }).await.unwrap();
    let renew =
        |seconds| GroupStatement::Set(GroupOptions { write_lease_validity: Some(seconds), ..GroupOptions::default() });
    sleep(Duration::from_secs(15)).await;
    assert_eq!(number(cluster.statement("sql-0", renew(1)).await), 47_119);
    assert_eq!(number(cluster.statement("sql-0", renew(0)).await), 47_117);
    cluster.statement("sql-0", renew(20)).await.unwrap();
    sleep(Duration::from_secs(15)).await;
    assert_eq!(cluster.role("sql-0"), Some(Role::Primary));
    sleep(Duration::from_secs(6)).await;
    assert_eq!(cluster.role("sql-0"), Some(Role::Resolving));
    cluster.statement("sql-0", renew(20)).await.unwrap();
    cluster.promote("sql-0").await;
}

#[tokio::test(start_paused = true)]
async fn a_group_without_a_lease_refuses_one() {
    let cluster = three(0).await;
    let renew = GroupStatement::Set(GroupOptions { write_lease_validity: Some(9), ..GroupOptions::default() });
    assert_eq!(number(cluster.statement("sql-0", renew).await), 47_116);
}

#[tokio::test(start_paused = true)]
async fn two_synchronous_replicas_are_the_exception_one_alone_commits_the_configuration() {
    let mut cluster = Cluster::new(6, FailoverEngine::Local, &[SYNC, SYNC]).await;
    cluster.bring_up(0).await;
    cluster.crash("sql-1");
    cluster.until("dropped", |c| c.synchronized("sql-0") == ["sql-0"]).await;
    assert!(cluster.write("sql-0", 1).await.unwrap());
}
