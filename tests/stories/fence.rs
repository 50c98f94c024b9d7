//! The fence of a staged upgrade: nobody writes in the group, whichever replica is primary, until it is lifted or its time is
//! over (upgrade.md, step 6 and invariant 3). A story is the upgrade here: it writes what it wants into `status.upgrade`.

use crate::stage::{Setup, Stage, clients::direct, seconds};
use serde_json::{Value, json};
use std::time::Duration;

const OFTEN: Duration = Duration::from_millis(100);
const WRITE: &str = "INSERT INTO dbo.ledger (id) VALUES (NEXT)";

/// A group that serves, with one row, and an upgrade that does nothing by itself.
async fn stage(seed: u64) -> Stage {
    let stage = Stage::ready(Setup::new(seed)).await;
    let slot = |group: &str, endpoint: &str| json!({ "availabilityGroup": group, "endpoint": endpoint });
    let upgrade = json!({
        "apiVersion": "quorate.dev/v1alpha1", "kind": "RollingUpgrade",
        "metadata": { "name": "shop-v2", "namespace": "shop" },
        "spec": {
            "production": slot("orders", "shop-v1"), "stage": slot("orders-v2", "shop-v2"),
            "traffic": { "service": "shop" }, "script": { "configMap": { "name": "shop-v2-sql" } },
        },
    });
    stage.plane.api.kubectl_apply(&upgrade).unwrap();
    let table = "CREATE TABLE dbo.ledger (id int NOT NULL PRIMARY KEY); INSERT INTO dbo.ledger (id) VALUES (0);";
    stage.connection("maker", "orders-rw.shop.svc").run(table).await.unwrap();
    stage.pass(seconds(2)).await;
    stage
}

/// What the upgrade wants of the group.
fn want(stage: &Stage, state: &str, lasts: u64) {
    let upgrade = stage.plane.api.find("rollingupgrades", "shop", "shop-v2").unwrap();
    let uid = upgrade["metadata"]["uid"].clone();
    let until = (state == "On").then(|| stage.plane.clock.stamp_after(seconds(lasts)));
    let fence = json!({ "state": state, "until": until, "allowedLogins": ["monitoring"] });
    let wish = json!({ "name": "shop-v2", "namespace": "shop", "uid": uid, "slot": "Production", "fence": fence });
    let write = |group: &mut Value| group["status"]["upgrade"] = wish;
    assert!(stage.plane.api.change("upgrade", "availabilitygroups", "shop", "orders", write));
}

/// The number of the error that a new writer gets: at this name, as this program.
async fn refused(stage: &Stage, name: &str) -> Option<i32> {
    let next = stage.plane.clock.elapsed().as_millis();
    let connection = stage.connection("writer", name);
    connection.run(&WRITE.replace("NEXT", &next.to_string())).await.err().map(|error| error.number().unwrap_or(-1))
}

async fn is_refused(stage: &Stage, name: &str, numbers: &[i32], within: Duration) {
    let from = stage.plane.clock.elapsed();
    loop {
        let told = refused(stage, name).await;
        if told.is_some_and(|number| numbers.contains(&number)) {
            return;
        }
        let took = stage.plane.clock.elapsed() - from;
        stage.check(took < within, &format!("{name} answers a writer with {told:?} after {took:?}"));
        stage.pass(OFTEN).await;
    }
}

async fn is_writable(stage: &Stage, within: Duration) -> Duration {
    let from = stage.plane.clock.elapsed();
    loop {
        let told = refused(stage, "orders-rw.shop.svc").await;
        let took = stage.plane.clock.elapsed() - from;
        if told.is_none() {
            return took;
        }
        stage.check(took < within, &format!("a writer gets {told:?} after {took:?}"));
        stage.pass(OFTEN).await;
    }
}

/// Writers are led to secondaries, which they may only read (3906), and the primary lets nobody in (17892).
async fn is_fenced(stage: &Stage, primary: &str, within: Duration) {
    is_refused(stage, &direct(primary), &[17_892], within).await;
    is_refused(stage, "orders-rw.shop.svc", &[3_906], within).await;
    let read = stage.connection("reader", "orders-rw.shop.svc").rows().await;
    stage.check(read.is_ok_and(|rows| rows.contains(&0)), "writers cannot even read");
}

fn forgotten(stage: &Stage) -> bool {
    stage.group()["status"]["upgrade"]["fence"].is_null()
}

fn triggers(stage: &Stage) -> Vec<String> {
    let has = |pod: &String| {
        stage.host.server(pod).is_some_and(|server| server.catalog.read().triggers.contains_key("quorate_fence"))
    };
    stage.replicas().into_iter().filter(has).collect()
}

#[tokio::test(start_paused = true)]
async fn writers_are_kept_out_of_the_primary_and_led_to_readers_until_it_is_lifted() {
    let stage = stage(131).await;
    want(&stage, "Prepared", 0);
    stage.until("a trigger on every replica", seconds(2), |stage| triggers(stage).len() == 3).await;
    stage.pass(seconds(2)).await;
    stage.check(refused(&stage, "orders-rw.shop.svc").await.is_none(), "a prepared fence keeps nobody out");
    stage.check(stage.is_ready(), "a prepared fence is nothing to tell");
    want(&stage, "On", 600);
    is_fenced(&stage, "orders-0", seconds(2)).await;
    stage
        .until("told", seconds(2), |stage| stage.condition("Available") == Some(("False".into(), "ReadOnly".into())))
        .await;
    let told = stage.group()["status"]["conditions"].to_string();
    stage.check(told.contains("RollingUpgrade shop-v2 keeps the group read-only until "), &told);
    want(&stage, "Lifted", 0);
    let took = is_writable(&stage, seconds(5)).await;
    stage.check(took < seconds(2), &format!("writable after {took:?}"));
    stage.until("forgotten", seconds(5), forgotten).await;
    stage.check(triggers(&stage).is_empty(), "triggers are left");
    stage.becomes_ready().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_was_led_to_a_reader_connects_again_when_the_fence_is_lifted() {
    let stage = stage(132).await;
    want(&stage, "On", 600);
    is_fenced(&stage, "orders-0", seconds(3)).await;
    let pooled = stage.connection("pooled", "orders-rw.shop.svc").kept();
    let error = pooled.run("INSERT INTO dbo.ledger (id) VALUES (-1)").await.unwrap_err();
    stage.check(error.number() == Some(3_906), &error.to_string());
    want(&stage, "Lifted", 0);
    stage.until("forgotten", seconds(5), forgotten).await;
    // Whether a driver notices before or after it sends is its own affair.
    if let Err(error) = pooled.run("INSERT INTO dbo.ledger (id) VALUES (-2)").await {
        stage.check(error.number() != Some(3_906), &format!("still on the reader: {error}"));
    }
    pooled.run("INSERT INTO dbo.ledger (id) VALUES (-3)").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_fence_follows_a_failover() {
    let stage = stage(133).await;
    want(&stage, "On", 600);
    is_fenced(&stage, "orders-0", seconds(3)).await;
    assert!(stage.kill("orders-0"));
    let moved = |stage: &Stage| !["", "orders-0"].contains(&stage.primary().as_str());
    stage.until("another primary", seconds(10), moved).await;
    let primary = stage.primary();
    // Not for a moment was it open.
    stage.check(refused(&stage, &direct(&primary)).await == Some(17_892), "the new primary let a writer in");
    stage.pass(seconds(20)).await;
    is_fenced(&stage, &primary, seconds(3)).await;
    want(&stage, "Lifted", 0);
    is_writable(&stage, seconds(5)).await;
    stage.becomes_ready().await;
}

#[tokio::test(start_paused = true)]
async fn without_an_operator_the_fence_opens_when_its_time_is_over() {
    let stage = stage(134).await;
    want(&stage, "On", 30);
    is_fenced(&stage, "orders-0", seconds(3)).await;
    stage.crash("operator").await;
    stage.pass(seconds(20)).await;
    is_refused(&stage, &direct("orders-0"), &[17_892], seconds(1)).await;
    stage.pass(seconds(10)).await;
    stage.check(refused(&stage, &direct("orders-0")).await.is_none(), "nobody can write on the primary");
    stage.start("operator");
    // The Service follows as soon as there is somebody to lead it back.
    is_writable(&stage, seconds(30)).await;
}

#[tokio::test(start_paused = true)]
async fn a_fence_whose_upgrade_is_deleted_is_lifted_unless_users_write_elsewhere() {
    let stage = stage(135).await;
    want(&stage, "On", 600);
    is_fenced(&stage, "orders-0", seconds(3)).await;
    stage.plane.api.remove("person", "rollingupgrades", "shop", "shop-v2", None);
    let took = is_writable(&stage, seconds(6)).await;
    stage.until("forgotten", seconds(5), |stage| stage.group()["status"]["upgrade"].is_null()).await;
    stage.check(took < seconds(5), &format!("writable after {took:?}"));
    stage.becomes_ready().await;

    let stage = self::stage(136).await;
    want(&stage, "Kept", 0);
    is_fenced(&stage, "orders-0", seconds(3)).await;
    stage.plane.api.remove("person", "rollingupgrades", "shop", "shop-v2", None);
    stage.pass(seconds(600)).await;
    is_fenced(&stage, "orders-0", seconds(1)).await;
    stage.crash("operator").await;
    stage.start("operator");
    stage.pass(seconds(60)).await;
    is_fenced(&stage, "orders-0", seconds(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_was_away_gets_the_fence_that_is_wanted_now() {
    let stage = stage(137).await;
    let node = stage.node_of("orders-2").unwrap();
    stage.node_off(&node);
    stage.pass(seconds(12)).await;
    want(&stage, "On", 3_600);
    is_fenced(&stage, "orders-0", seconds(5)).await;
    stage.node_on(&node);
    stage.until("fenced, too", seconds(60), |stage| triggers(stage).len() == 3).await;
    stage.node_off(&node);
    stage.pass(seconds(12)).await;
    want(&stage, "Lifted", 0);
    is_writable(&stage, seconds(5)).await;
    stage.until("forgotten", seconds(10), forgotten).await;
    stage.node_on(&node);
    stage.until("free, too", seconds(60), |stage| triggers(stage).is_empty()).await;
    stage.becomes_ready().await;
}

#[tokio::test(start_paused = true)]
async fn a_group_neither_scales_nor_rotates_while_an_upgrade_counts_on_it() {
    let stage = stage(138).await;
    want(&stage, "Prepared", 0);
    stage.until("a trigger on every replica", seconds(2), |stage| triggers(stage).len() == 3).await;
    stage.change(|spec| {
        spec["asynchronous"] = json!({ "replicas": 1 });
        spec["certificateRotation"] = "2026-11".into();
    });
    stage.pass(seconds(60)).await;
    let role = |stage: &Stage| {
        let group = stage.group();
        let lines = group["status"]["replicas"].as_array().unwrap().iter();
        let line = lines.clone().find(|line| line["name"] == "orders-a-0");
        line.map(|line| line["role"].as_str().unwrap_or_default().to_owned())
    };
    stage.check(role(&stage).as_deref() == Some("NONE"), &format!("it came meanwhile: {:?}", role(&stage)));
    want(&stage, "Lifted", 0);
    stage.until("forgotten", seconds(5), forgotten).await;
    stage.plane.api.remove("person", "rollingupgrades", "shop", "shop-v2", None);
    stage.until("a member", seconds(60), |stage| role(stage).as_deref() == Some("SECONDARY")).await;
    stage.becomes_ready().await;
}
