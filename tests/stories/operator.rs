//! The life of an operator: bring-up and rest, hand-over, requests.

use crate::stage::{Setup, Stage};
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn one_manifest_becomes_a_group_that_is_ready_and_then_at_rest() {
    let stage = Stage::ready(Setup::new(1)).await;
    assert_eq!((stage.primary(), stage.routed()), ("orders-0".into(), "orders-0".into()));
    let client = stage.client(1, Duration::from_millis(100));
    stage.ends_well(Duration::from_secs(10), vec![client]).await;
    let told = |reason: &str| stage.events(reason).len();
    assert_eq!((told("ReplicaAdded"), told("DatabaseAdded"), told("CommitQuorumChanged")), (3, 1, 1));
    assert_eq!((told("Rerouted"), told("Promoted"), told("Rejoined")), (1, 1, 0));
    assert_eq!(stage.condition("Spread"), Some(("True".into(), "Spread".into())));
}

#[tokio::test(start_paused = true)]
async fn an_operator_that_is_told_to_stop_hands_over_within_two_seconds() {
    let stage = Stage::ready(Setup::new(3)).await;
    let from = stage.plane.clock.elapsed();
    assert_eq!(stage.stop("operator").await, quorate::leader::End::Released);
    assert!(stage.plane.clock.elapsed() - from < Duration::from_secs(2));
    stage.start("operator");
    assert!(stage.kill("orders-0"));
    // Its container is back before anybody leads: whoever holds the highest number may be elected, it too.
    let settled = |stage: &Stage| {
        let election = stage.election();
        election["epoch"].as_u64() > Some(1) && election["state"] == "Settled"
    };
    stage.until("another election settled", Duration::from_secs(30), settled).await;
    stage.ends_well(Duration::from_secs(60), vec![]).await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_image_restarts_nothing_and_the_status_names_the_pods_that_wait() {
    let stage = Stage::ready(Setup::new(5)).await;
    stage.change(|spec| spec["image"] = "mcr.microsoft.com/mssql/server:2022-CU17-ubuntu-22.04".into());
    let waiting = |stage: &Stage| stage.group()["status"]["update"]["pods"].clone();
    let all = serde_json::json!(["orders-1", "orders-2", "orders-0"]);
    stage.until("all pods wait", Duration::from_secs(30), |stage| waiting(stage) == all).await;
    stage.pass(Duration::from_secs(30)).await;
    assert!(waiting(&stage) == all && stage.is_ready(), "{:#}", stage.group());
    stage.plane.api.remove("user", "pods", "shop", "orders-2", None);
    let rest = serde_json::json!(["orders-1", "orders-0"]);
    stage.until("one has it", Duration::from_secs(60), |stage| waiting(stage) == rest).await;
    stage.becomes_ready().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_moves_the_primary() {
    let stage = Stage::ready(Setup::new(4)).await;
    let client = stage.client(1, Duration::from_millis(100));
    stage.ask("now", "orders-2");
    stage.until("switched over", Duration::from_secs(30), |stage| stage.routed() == "orders-2").await;
    stage.until("answered", Duration::from_secs(30), |stage| stage.answer("now") == Some(true)).await;
    stage.ends_well(Duration::from_secs(60), vec![client]).await;
    assert_eq!(stage.primary(), "orders-2");
    let told = |reason: &str| stage.events(reason).len();
    assert_eq!((told("StoodDown"), told("SwitchoverCompleted"), told("PrimarySuspected")), (1, 1, 0));
    let rerouted = stage.events("Rerouted");
    assert!(rerouted.iter().any(|note| note == "orders-rw selects orders-2"), "{rerouted:?}");
    assert!(stage.events("Rejoined").iter().any(|note| note.starts_with("orders-0 follows orders-2 again")));
}
