//! What the running instances cannot do is told with its remedy, and nothing is begun (product.md, "What is refused").

use crate::stage::{Setup, Stage, seconds};
use serde_json::{Value, json};
use std::time::Duration;

/// The group never begins, and says why.
async fn is_stalled(seed: u64, wish: impl FnOnce(&mut Value), wanted: &str) -> Stage {
    let stage = Stage::new(Setup::new(seed).spec(wish));
    let stalled = |stage: &Stage| stage.condition("Stalled") == Some(("True".into(), "Unsupported".into()));
    stage.until("stalled", seconds(60), stalled).await;
    stage.pass(seconds(30)).await;
    let told = stage.group()["status"]["conditions"].to_string();
    stage.check(stalled(&stage) && told.contains(wanted), &told);
    stage.check(stage.election().is_null(), "nothing was begun");
    stage
}

#[tokio::test(start_paused = true)]
async fn a_configuration_only_replica_beside_a_version_before_it_is_refused_until_the_image_is_newer() {
    let wish = |spec: &mut Value| {
        spec["image"] = "mcr.microsoft.com/mssql/server:2017-GA-ubuntu".into();
        spec["synchronous"] = json!({ "replicas": 2 });
        spec["configurationOnly"] = json!({ "replicas": 1 });
    };
    let stage =
        is_stalled(171, wish, "runs 14.0.1000.169: configuration-only replicas need 14.0.3006 (2017 CU1)").await;
    stage.change(|spec| spec["image"] = "mcr.microsoft.com/mssql/server:2017-CU31-ubuntu-18.04".into());
    stage.pass(seconds(5)).await;
    for pod in stage.pods() {
        stage.plane.api.remove("user", "pods", "shop", &pod, None);
    }
    stage.becomes_ready().await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_of_another_major_version_is_not_added() {
    let stage = Stage::ready(Setup::new(172)).await;
    stage.change(|spec| {
        spec["image"] = "mcr.microsoft.com/mssql/server:2025-CU1-ubuntu-24.04".into();
        spec["synchronous"]["replicas"] = 4.into();
    });
    let told = |stage: &Stage| stage.group()["status"]["conditions"].to_string();
    let refused = |stage: &Stage| told(stage).contains("orders-3 runs 17.0.1000.7, the group 16.0.4225.2");
    stage.until("refused", seconds(120), refused).await;
    stage.pass(seconds(30)).await;
    stage.check(refused(&stage) && stage.primary() == "orders-0", "the group itself goes on");
    stage.change(|spec| spec["synchronous"]["replicas"] = 3.into());
    stage.becomes_ready().await;
}

/// Message 47108 says so; `tables.rs` has the other engine, that of a table in the documentation.
#[tokio::test(start_paused = true)]
async fn a_commit_quorum_that_the_engine_refuses_is_told_and_the_last_one_stays_in_force() {
    let stage = Stage::ready(Setup::new(173).spec(|spec| {
        spec["synchronous"]["replicas"] = 2.into();
        spec["configurationOnly"] = json!({ "replicas": 1 });
    }))
    .await;
    let client = stage.client(1, Duration::from_millis(50));
    stage.change(|spec| spec["requiredSynchronizedSecondariesToCommit"] = 1.into());
    let refused = |stage: &Stage| stage.condition("CommitQuorumMet") == Some(("False".into(), "Refused".into()));
    stage.until("refused", seconds(30), refused).await;
    let told = stage.group()["status"]["conditions"].to_string();
    stage.check(told.contains("error 47108") && told.contains("0 is in force"), &told);
    stage.check(stage.condition("Stalled") == Some(("True".into(), "Refused".into())), &told);
    let before = stage.ledger.acknowledged();
    stage.pass(seconds(60)).await;
    stage.check(refused(&stage) && stage.ledger.acknowledged() > before + 100, "it goes on as before");
    stage.kill("orders-0");
    stage.until("moved", seconds(30), |stage| stage.routed() == "orders-1").await;
    // The next primary was not asked yet.
    stage.until("refused again", seconds(60), refused).await;
    stage.change(|spec| spec["requiredSynchronizedSecondariesToCommit"] = 0.into());
    stage.becomes_ready().await;
    stage.ends_well(seconds(60), vec![client]).await;
}

#[tokio::test(start_paused = true)]
async fn more_synchronous_replicas_than_the_version_allows_are_refused() {
    let wish = |spec: &mut Value| {
        spec["image"] = "mcr.microsoft.com/mssql/server:2017-CU31-ubuntu-18.04".into();
        spec["synchronous"] = json!({ "replicas": 4 });
    };
    let stage = is_stalled(174, wish, "which allows 3 synchronous replicas, and spec.synchronous.replicas is 4").await;
    stage.change(|spec| {
        spec["synchronous"]["replicas"] = 3.into();
        spec["asynchronous"] = json!({ "replicas": 1 });
    });
    stage.becomes_ready().await;
}

#[tokio::test(start_paused = true)]
async fn a_group_of_edition_standard_is_a_basic_one_and_stays_one() {
    let stage = Stage::ready(Setup::new(175).spec(|spec| {
        spec["edition"] = "Standard".into();
        spec["synchronous"] = json!({ "replicas": 2 });
        spec["configurationOnly"] = json!({ "replicas": 1 });
    }))
    .await;
    let client = stage.client(1, Duration::from_millis(50));
    stage.pass(seconds(2)).await;
    let readers = stage.connection("reader", "orders-ro.shop.svc").run("SELECT 1;").await;
    stage.check(readers.is_err(), "its secondary cannot be read");
    stage.kill("orders-0");
    stage.until("moved", seconds(30), |stage| stage.routed() == "orders-1").await;
    stage.becomes_ready().await;
    stage.change(|spec| {
        spec["edition"] = "Enterprise".into();
        spec["databases"] = json!([{ "name": "orders" }, { "name": "books" }]);
    });
    let told = |stage: &Stage| stage.group()["status"]["conditions"].to_string();
    let basic = |stage: &Stage| {
        stage.condition("Stalled") == Some(("True".into(), "Unsupported".into()))
            && told(stage).contains("belongs to a basic availability group")
    };
    stage.until("told", seconds(30), basic).await;
    for pod in stage.pods() {
        stage.plane.api.remove("user", "pods", "shop", &pod, None);
        stage.pass(seconds(60)).await;
    }
    stage.check(basic(&stage), "a later edition does not change what the group is");
    stage.change(|spec| spec["databases"] = json!([{ "name": "orders" }]));
    client.stop().await;
    stage.becomes_ready().await;
    let rows = stage.rows_on(&stage.primary()).await.unwrap();
    stage.ledger.compare(&stage.primary(), &stage.ledger.rows(crate::stage::ledger::Told::Acknowledged), &rows);
    stage.rests().await;
}
