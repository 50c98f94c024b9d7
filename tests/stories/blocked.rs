//! A failover that may not happen is told at once, with what is missing and what to do (product.md, "What people see").

use crate::stage::{Setup, Stage, seconds};
use serde_json::json;
use std::time::Duration;

/// The primary's container ends; how it is told that nobody is promoted.
async fn told_within_a_second(stage: &Stage, reason: &str, remedy: &str) {
    let primary = stage.primary();
    let events = stage.events("FailoverBlocked").len();
    assert!(stage.kill(&primary));
    let blocked = |stage: &Stage| stage.condition("FailoverBlocked").is_some_and(|(status, _)| status == "True");
    stage.until(reason, seconds(1), blocked).await;
    let told = stage.group()["status"]["conditions"].to_string();
    stage.check(stage.condition("FailoverBlocked") == Some(("True".into(), reason.into())), &told);
    stage.check(told.contains(remedy), &told);
    // Told beside the pass, right after its status.
    stage.until("an event", seconds(1), |stage| stage.events("FailoverBlocked").len() > events).await;
    let line = stage.events("FailoverBlocked");
    stage.check(line.len() == events + 1 && line[events].contains(remedy), &format!("one event: {line:?}"));
}

#[tokio::test(start_paused = true)]
async fn too_few_answers_are_told_within_a_second() {
    let stage = Stage::ready(Setup::new(111)).await;
    let node = stage.node_of("orders-2").unwrap();
    stage.node_off(&node);
    stage.pass(seconds(20)).await;
    told_within_a_second(&stage, "TooFewAnswers", "to go on: start a missing replica").await;
    let told = stage.group()["status"]["conditions"].to_string();
    stage.check(told.contains("1 of 2 sequence numbers seen (orders-1 at "), &told);
    stage.check(told.contains("orders-2 (silent since "), &told);
    stage.node_on(&node);
    stage.ends_well(seconds(120), vec![]).await;
}

#[tokio::test(start_paused = true)]
async fn a_failover_that_is_left_to_people_is_told_within_a_second() {
    let stage = Stage::ready(Setup::new(112).spec(|spec| spec["failover"] = json!({ "mode": "Manual" }))).await;
    told_within_a_second(&stage, "ManualFailoverOnly", "apply a Failover object").await;
}

#[tokio::test(start_paused = true)]
async fn a_second_failover_within_the_interval_is_told_within_a_second() {
    let stage = Stage::ready(Setup::new(113)).await;
    assert!(stage.kill("orders-0"));
    stage.until("moved", seconds(10), |stage| !["", "orders-0"].contains(&stage.routed().as_str())).await;
    stage.becomes_ready().await;
    stage.pass(Duration::from_secs(5)).await;
    told_within_a_second(&stage, "AntiFlap", "wait, or apply a Failover object").await;
    stage.ends_well(seconds(120), vec![]).await;
}
