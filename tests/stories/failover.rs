//! What happens when a primary fails, in each guess of how FAILOVER works inside.

use crate::stage::{Setup, Stage, seconds, with_each_engine};
use standin::faults::FailoverEngine;
use std::time::Duration;

const OFTEN: Duration = Duration::from_millis(50);

async fn routed_elsewhere(stage: &Stage, from: &str, within: Duration) -> Duration {
    stage.until("routed elsewhere", within, |stage| !stage.routed().is_empty() && stage.routed() != from).await
}

async fn killed(engine: FailoverEngine) {
    let stage = Stage::ready(Setup::new(2).engine(engine)).await;
    let (client, old) = (stage.client(1, OFTEN), stage.client_of("orders-0", 2, OFTEN));
    stage.pass(seconds(2)).await;
    stage.ledger.take_gap();
    assert!(stage.kill("orders-0"));
    routed_elsewhere(&stage, "orders-0", seconds(5)).await;
    let before = stage.ledger.acknowledged();
    let more = |stage: &Stage| stage.ledger.acknowledged() > before;
    stage.until("written again", seconds(3), more).await;
    let group = stage.group();
    let last = &group["status"]["lastFailover"];
    assert_eq!((&last["kind"], &last["from"]), (&"Unplanned".into(), &"orders-0".into()), "{last}");
    stage.ends_well(seconds(60), vec![client, old]).await;
}

#[test]
fn a_killed_primary_is_replaced_and_routed_around_within_five_seconds() {
    with_each_engine(killed);
}

/// The session timeout of the engine, its pings' grain, `suspectAfterSeconds`, and the election.
const FROZEN: Duration = Duration::from_secs(10 + 1 + 3 + 2);

async fn frozen(engine: FailoverEngine) {
    let stage = Stage::ready(Setup::new(3).engine(engine)).await;
    let (client, old) = (stage.client(1, OFTEN), stage.client_of("orders-0", 2, OFTEN));
    stage.pass(seconds(2)).await;
    stage.freeze("orders-0");
    routed_elsewhere(&stage, "orders-0", FROZEN).await;
    stage.pass(seconds(20)).await;
    stage.thaw("orders-0");
    stage.ends_well(seconds(60), vec![client, old]).await;
    assert_ne!(stage.primary(), "orders-0");
}

#[test]
fn a_frozen_primary_is_replaced_after_the_session_timeout_and_acknowledges_nothing_when_it_wakes() {
    with_each_engine(frozen);
}

async fn cut_off_from_the_operator(engine: FailoverEngine) {
    let stage = Stage::ready(Setup::new(4).engine(engine)).await;
    let client = stage.client(1, OFTEN);
    let epoch = stage.election()["epoch"].clone();
    stage.pass(seconds(2)).await;
    stage.cut("operator", "orders-0");
    let unreachable =
        |stage: &Stage| stage.condition("Available").is_some_and(|(_, reason)| reason == "PrimaryUnreachable");
    stage.until("said so", seconds(5), unreachable).await;
    stage.ledger.take_gap();
    stage.pass(seconds(60)).await;
    let gap = stage.ledger.take_gap();
    stage.check(gap < seconds(1), &format!("writes stopped for {gap:?}"));
    assert_eq!((stage.routed(), &stage.election()["epoch"]), ("orders-0".into(), &epoch));
    stage.heal("operator", "orders-0");
    stage.ends_well(seconds(30), vec![client]).await;
    assert_eq!((stage.primary(), &stage.election()["epoch"]), ("orders-0".into(), &epoch));
}

#[test]
fn a_primary_that_only_the_operator_cannot_reach_stays() {
    with_each_engine(cut_off_from_the_operator);
}

async fn cut_off_from_everyone(engine: FailoverEngine) {
    let stage = Stage::ready(Setup::new(5).engine(engine)).await;
    let (client, old) = (stage.client(1, OFTEN), stage.client_of("orders-0", 2, OFTEN));
    stage.pass(seconds(2)).await;
    stage.isolate("orders-0");
    routed_elsewhere(&stage, "orders-0", FROZEN).await;
    stage.pass(seconds(30)).await;
    stage.heal_all();
    stage.ends_well(seconds(60), vec![client, old]).await;
    assert_ne!(stage.primary(), "orders-0");
}

#[test]
fn a_primary_cut_off_from_everyone_is_replaced_acknowledges_nothing_and_comes_back() {
    with_each_engine(cut_off_from_everyone);
}

async fn without_power(engine: FailoverEngine) {
    let stage = Stage::ready(Setup::new(6).engine(engine)).await;
    let client = stage.client(1, OFTEN);
    stage.pass(seconds(2)).await;
    let node = stage.node_of("orders-0").unwrap();
    stage.node_off(&node);
    routed_elsewhere(&stage, "orders-0", FROZEN).await;
    stage.pass(seconds(90)).await;
    stage.node_on(&node);
    stage.ends_well(seconds(90), vec![client]).await;
    assert_ne!(stage.primary(), "orders-0");
}

#[test]
fn a_node_that_loses_its_power_with_the_primary_is_survived_and_comes_back() {
    with_each_engine(without_power);
}

/// Sees nobody but the old primary once the new one is elected, in an engine that asks for CONNECT only where a connection
/// arrives.
async fn tempted(engine: FailoverEngine) {
    let stage = Stage::ready(Setup::new(7).engine(engine).switch(|switches| switches.checks_outbound = false)).await;
    let (client, old) = (stage.client(1, OFTEN), stage.client_of("orders-0", 2, OFTEN));
    stage.pass(seconds(2)).await;
    stage.isolate("orders-0");
    stage.until("elected", FROZEN, |stage| stage.election()["state"] == "Elected").await;
    let other = if stage.election()["primary"] == "orders-1" { "orders-2" } else { "orders-1" };
    stage.cut("orders-1", "orders-2");
    stage.heal("orders-0", other);
    stage.pass(seconds(20)).await;
    stage.heal_all();
    stage.ends_well(seconds(90), vec![client, old]).await;
}

#[test]
fn a_voter_that_was_sent_to_the_new_primary_does_not_follow_the_old_one() {
    with_each_engine(tempted);
}

/// Elected, and cut off from its partners at that moment: nobody follows, and Quorate reaches it.
async fn elected_beyond_reach(engine: FailoverEngine) {
    let stage = Stage::ready(Setup::new(8).engine(engine)).await;
    let client = stage.client(1, OFTEN);
    stage.pass(seconds(2)).await;
    assert!(stage.kill("orders-0"));
    stage.until("elected", seconds(5), |stage| stage.election()["state"] == "Elected").await;
    let elected = stage.election()["primary"].as_str().unwrap().to_owned();
    for other in stage.replicas().iter().filter(|other| **other != elected) {
        stage.cut(&elected, other);
    }
    stage.pass(seconds(60)).await;
    let told = stage.group()["status"]["conditions"].to_string();
    let serves = |stage: &Stage| stage.condition("Available").is_some_and(|(status, _)| status == "True");
    // An engine that asks for promises first refuses such a promotion, and another one is elected.
    if !serves(&stage) {
        stage.check(told.contains("1 of 3 voters follow it"), &told);
        stage.plane.api.remove("user", "pods", "shop", &elected, None);
        stage.until("another one", seconds(200), serves).await;
        stage.check(stage.primary() != elected, "it serves without followers");
    }
    stage.heal_all();
    stage.ends_well(seconds(300), vec![client]).await;
}

#[test]
fn an_elected_replica_that_its_partners_do_not_reach_is_replaced_when_its_pod_is_deleted() {
    with_each_engine(elected_beyond_reach);
}
