//! What happens to a group in its life: it grows and shrinks, in every mode, while clients write.

use crate::stage::{Setup, Stage, clients::direct, seconds, with_each_engine};
use serde_json::json;
use std::time::Duration;

const OFTEN: Duration = Duration::from_millis(50);

fn quorum(stage: &Stage) -> String {
    stage.group()["status"]["quorum"].as_str().unwrap_or_default().to_owned()
}

fn lines(stage: &Stage) -> usize {
    stage.group()["status"]["replicas"].as_array().map_or(0, Vec::len)
}

async fn becomes(stage: &Stage, replicas: usize, wanted: &str) {
    stage
        .until("the size asked for", seconds(180), |stage| {
            stage.is_ready() && lines(stage) == replicas && quorum(stage) == wanted
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn synchronous_replicas_come_and_go_and_the_commit_quorum_follows_while_clients_write() {
    let stage = Stage::ready(Setup::new(181)).await;
    let client = stage.client(1, OFTEN);
    stage.pass(seconds(2)).await;
    stage.ledger.take_gap();
    stage.change(|spec| spec["synchronous"]["replicas"] = 5.into());
    becomes(&stage, 5, "2").await;
    stage.check(stage.events("ReplicaAdded").len() == 5, "each was announced");
    let gap = stage.ledger.take_gap();
    stage.check(gap < seconds(2), &format!("writes stopped for {gap:?} while it grew"));
    stage.change(|spec| spec["synchronous"]["replicas"] = 3.into());
    becomes(&stage, 3, "1").await;
    stage.check(stage.events("ReplicaRemoved").len() == 2, "each was announced");
    let gap = stage.ledger.take_gap();
    stage.check(gap < seconds(2), &format!("writes stopped for {gap:?} while it shrank"));
    stage.ends_well(seconds(60), vec![client]).await;
    // What the record counts with has shrunk, too: one of three may be lost.
    stage.check(stage.election()["voters"] == json!(["orders-0", "orders-1", "orders-2"]), "voters");
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_is_wanted_no_more_hands_over_before_it_goes() {
    let stage = Stage::ready(Setup::new(182).spec(|spec| spec["synchronous"]["replicas"] = 4.into())).await;
    let client = stage.client(1, OFTEN);
    stage.ask("up", "orders-3");
    stage.until("moved", seconds(30), |stage| stage.routed() == "orders-3").await;
    stage.becomes_ready().await;
    stage.ledger.take_gap();
    stage.change(|spec| spec["synchronous"]["replicas"] = 3.into());
    becomes(&stage, 3, "1").await;
    let gap = stage.ledger.take_gap();
    stage.check(gap < seconds(4), &format!("writes stopped for {gap:?}"));
    stage.ends_well(seconds(60), vec![client]).await;
    assert_eq!(stage.primary(), "orders-0");
}

#[tokio::test(start_paused = true)]
async fn asynchronous_and_configuration_only_replicas_come_and_go() {
    let stage = Stage::ready(Setup::new(183).spec(|spec| spec["synchronous"]["replicas"] = 2.into())).await;
    let client = stage.client(1, OFTEN);
    stage.change(|spec| spec["configurationOnly"] = json!({ "replicas": 1 }));
    becomes(&stage, 3, "0").await;
    stage.check(stage.condition("FailoverReady").is_some_and(|(status, _)| status == "True"), "a third voter");
    stage.change(|spec| spec["asynchronous"] = json!({ "replicas": 2 }));
    becomes(&stage, 5, "0").await;
    let voters = json!(["orders-0", "orders-1", "orders-c-0"]);
    stage.check(stage.election()["voters"] == voters, "asynchronous replicas do not vote");
    stage.change(|spec| {
        spec["asynchronous"] = json!({ "replicas": 0 });
        spec["configurationOnly"] = json!({ "replicas": 0 });
    });
    becomes(&stage, 2, "0").await;
    stage.ends_well(seconds(60), vec![client]).await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_group_is_left_alone_in_a_failure_and_goes_on_when_the_pause_is_over() {
    let stage = Stage::ready(Setup::new(184)).await;
    let client = stage.client(1, OFTEN);
    stage.change(|spec| spec["paused"] = true.into());
    let paused = |stage: &Stage| stage.condition("FailoverReady") == Some(("False".into(), "Paused".into()));
    stage.until("paused", seconds(10), paused).await;
    let node = stage.node_of("orders-0").unwrap();
    stage.node_off(&node);
    stage.pass(seconds(60)).await;
    stage.check(stage.routed() == "orders-0" && stage.election()["epoch"] == 1, "something was done in the pause");
    stage.change(|spec| spec["paused"] = false.into());
    stage.until("moved", seconds(30), |stage| stage.routed() != "orders-0").await;
    stage.node_on(&node);
    stage.ends_well(seconds(120), vec![client]).await;
}

#[tokio::test(start_paused = true)]
async fn a_group_that_was_deleted_and_applied_again_finds_its_data_and_its_record() {
    let stage = Stage::ready(Setup::new(185)).await;
    let client = stage.client(1, OFTEN);
    stage.ask("up", "orders-1");
    stage.until("moved", seconds(30), |stage| stage.routed() == "orders-1").await;
    stage.becomes_ready().await;
    client.stop().await;
    stage.plane.api.remove("user", "availabilitygroups", "shop", "orders", None);
    let gone = |stage: &Stage| stage.plane.api.all("pods", "shop").is_empty();
    stage.until("its pods are gone", seconds(180), gone).await;
    stage.pass(seconds(60)).await;
    stage.apply();
    stage.becomes_ready().await;
    stage.check(stage.events("RecordRestored").len() == 1, "the instances gave the record back");
    let client = stage.client(2, OFTEN);
    stage.ends_well(seconds(120), vec![client]).await;
}

#[tokio::test(start_paused = true)]
async fn an_operator_that_was_away_for_a_day_finds_the_group_as_it_is() {
    let stage = Stage::ready(Setup::new(186)).await;
    let client = stage.client(1, Duration::from_secs(60));
    stage.stop("operator").await;
    stage.pass(seconds(43_200)).await;
    stage.kill("orders-2");
    stage.pass(seconds(43_200)).await;
    stage.start("operator");
    stage.ends_well(seconds(120), vec![client]).await;
    assert_eq!(stage.primary(), "orders-0");
}

/// A new certificate before an old one is to be trusted no more: its Secret goes, then pod after pod.
#[tokio::test(start_paused = true)]
async fn a_new_server_certificate_is_made_when_its_secret_goes_and_served_by_each_pod_that_is_deleted() {
    let stage = Stage::ready(Setup::new(186)).await;
    let client = stage.client(1, OFTEN);
    let certificate = || stage.plane.api.find("secrets", "shop", "orders-tls").map(|secret| secret["data"].clone());
    let before = certificate();
    stage.plane.api.remove("user", "secrets", "shop", "orders-tls", None);
    stage.until("another certificate", seconds(90), |_| certificate().is_some_and(|now| before != Some(now))).await;
    for pod in stage.pods() {
        let uid = || stage.plane.api.find("pods", "shop", &pod).map(|pod| pod["metadata"]["uid"].clone());
        let old = uid();
        stage.plane.api.remove("user", "pods", "shop", &pod, None);
        stage.until("another pod", seconds(180), |_| uid().is_some_and(|uid| old != Some(uid))).await;
        stage.becomes_ready().await;
    }
    let gap = stage.ledger.take_gap();
    stage.check(gap < seconds(4), &format!("writes stopped for {gap:?}"));
    stage.ends_well(seconds(60), vec![client]).await;
}

#[tokio::test(start_paused = true)]
async fn every_endpoint_certificate_is_replaced_one_after_another_while_clients_write() {
    let stage = Stage::ready(Setup::new(187)).await;
    let client = stage.client(1, OFTEN);
    let kept = || stage.plane.api.find("configmaps", "shop", "orders-certificates").unwrap_or_default()["data"].clone();
    let before = kept();
    stage.pass(seconds(2)).await;
    stage.ledger.take_gap();
    stage.change(|spec| spec["certificateRotation"] = "2026-11-29".into());
    let replaced = |stage: &Stage| {
        let now = kept();
        stage.is_ready() && stage.replicas().iter().all(|pod| now[pod] != before[pod])
    };
    stage.until("replaced", seconds(60), replaced).await;
    stage.pass(seconds(5)).await;
    let told = stage.events("CertificateReplaced");
    stage.check(told.len() == 3, &format!("one event for each: {told:?}"));
    let gap = stage.ledger.take_gap();
    stage.check(gap < seconds(1), &format!("writes stopped for {gap:?}"));
    // Connections made from now on show the new ones.
    stage.kill("orders-0");
    stage.until("moved", seconds(30), |stage| stage.routed() != "orders-0").await;
    stage.becomes_ready().await;
    stage.ends_well(seconds(60), vec![client]).await;
}

/// The group is gone while voters have stood down: what they stored is all that is left of the election.
#[test]
fn a_group_that_is_deleted_in_a_failover_comes_back_with_its_data() {
    with_each_engine(|engine| async move {
        let stage = Stage::ready(Setup::new(188).engine(engine)).await;
        for (number, state) in [(1, "Open"), (2, "Elected")] {
            let primary = stage.primary();
            let client = stage.client(number, OFTEN);
            stage.pass(seconds(1)).await;
            stage.freeze(&primary);
            stage.until("the election", seconds(60), |stage| stage.election()["state"] == state).await;
            stage.plane.api.remove("user", "availabilitygroups", "shop", "orders", None);
            client.stop().await;
            let gone = |stage: &Stage| stage.plane.api.all("pods", "shop").is_empty();
            stage.until("its pods are gone", seconds(300), gone).await;
            stage.apply();
            stage.becomes_ready().await;
            stage.accounts().await;
        }
        stage.ends_well(seconds(120), vec![]).await;
    });
}

/// promotion.md 1: computed at every look.
#[tokio::test(start_paused = true)]
async fn a_commit_quorum_that_a_person_set_by_hand_is_put_back() {
    let stage = Stage::ready(Setup::new(189)).await;
    let client = stage.client(1, OFTEN);
    let dba = stage.connection("dba", &direct("orders-0")).in_master();
    for value in [0, 2] {
        let set = "SET (REQUIRED_SYNCHRONIZED_SECONDARIES_TO_COMMIT =";
        dba.run(&format!("ALTER AVAILABILITY GROUP [orders] {set} {value});")).await.unwrap();
        let mut now = value;
        for _ in 0..100 {
            stage.pass(Duration::from_millis(100)).await;
            let column = "required_synchronized_secondaries_to_commit";
            let rows = dba.run(&format!("SELECT g.{column} FROM sys.availability_groups AS g;")).await.unwrap();
            now = rows[0][0].get::<i32, _>(0).unwrap();
            if now == 1 {
                break;
            }
        }
        stage.check(now == 1, &format!("commit quorum {now}"));
        stage.until("recorded", seconds(10), |stage| stage.election()["commitQuorum"] == 1).await;
    }
    stage.ends_well(seconds(60), vec![client]).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_applied_again_does_nothing() {
    let stage = Stage::ready(Setup::new(190)).await;
    stage.ask("now", "orders-2");
    stage.until("answered", seconds(30), |stage| stage.answer("now") == Some(true)).await;
    stage.ask("back", "orders-0");
    stage.until("answered", seconds(30), |stage| stage.answer("back") == Some(true)).await;
    stage.becomes_ready().await;
    let epoch = stage.election()["epoch"].clone();
    stage.ask("now", "orders-2");
    stage.pass(seconds(60)).await;
    stage.check(stage.election()["epoch"] == epoch && stage.primary() == "orders-0", "it was done once");
    stage.ends_well(seconds(60), vec![]).await;
}

#[tokio::test(start_paused = true)]
async fn volumes_grow_with_the_spec_without_a_restart_and_those_of_later_replicas_are_as_large() {
    let stage = Stage::ready(Setup::new(191)).await;
    let client = stage.client(1, OFTEN);
    let sizes = |stage: &Stage| -> Vec<String> {
        let claims = stage.plane.api.all("persistentvolumeclaims", "shop");
        let size = |claim: &std::sync::Arc<serde_json::Value>| {
            let request = &claim["spec"]["resources"]["requests"]["storage"];
            format!("{} {}", claim["metadata"]["name"].as_str().unwrap(), request.as_str().unwrap())
        };
        claims.iter().map(size).collect()
    };
    let pods =
        || stage.plane.api.all("pods", "shop").iter().map(|pod| pod["metadata"]["uid"].clone()).collect::<Vec<_>>();
    let before = pods();
    stage.change(|spec| spec["storage"]["size"] = "20Gi".into());
    let grown = |stage: &Stage| sizes(stage).iter().all(|size| size.ends_with(" 20Gi"));
    stage.until("grown", seconds(30), grown).await;
    stage.pass(seconds(10)).await;
    stage.check(pods() == before && stage.is_ready(), "no pod was restarted");
    stage.change(|spec| spec["synchronous"]["replicas"] = 4.into());
    becomes(&stage, 4, "2").await;
    stage.until("the new one, too", seconds(60), |stage| sizes(stage).len() == 4 && grown(stage)).await;
    stage.ends_well(seconds(60), vec![client]).await;
}
