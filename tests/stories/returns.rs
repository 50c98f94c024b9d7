//! Ways back into the group (promotion.md 6).

use crate::stage::{Setup, Stage, clients::direct, in_a_world_of_its_own, seconds, with_each_engine};
use quorate::sql::Error;
use standin::faults::FailoverEngine;
use std::time::Duration;

const OFTEN: Duration = Duration::from_millis(50);

/// A person tries a failover where nobody hears of it: in an engine that asks for promises first, the replica has promised
/// a number that no primary has, and follows none again. Neither OFFLINE nor new endpoints change that.
async fn promises_in_vain(stage: &Stage, pod: &str) {
    for other in stage.replicas().iter().filter(|other| *other != pod) {
        stage.cut(pod, other);
    }
    let by_hand = "USE master;
        EXEC sp_set_session_context @key = N'external_cluster', @value = N'yes';
        ALTER AVAILABILITY GROUP [orders] FAILOVER;";
    let refused = stage.connection("person", &direct(pod)).run(by_hand).await;
    stage.check(matches!(refused, Err(Error::Lost(_))), "it waits for promises until the person gives up");
    stage.until("away", seconds(20), |stage| !stage.is_ready()).await;
    stage.heal_all();
}

#[tokio::test(start_paused = true)]
async fn a_secondary_that_no_other_cure_brings_back_joins_the_group_anew_while_the_others_write() {
    let engine = FailoverEngine::MajorityBeforePromotion;
    let stage = Stage::ready(Setup::new(81).engine(engine)).await;
    let client = stage.client(1, OFTEN);
    stage.pass(seconds(2)).await;
    let epoch = stage.election()["epoch"].clone();
    promises_in_vain(&stage, "orders-1").await;
    stage.ledger.take_gap();
    stage.pass(seconds(250)).await;
    stage.check(!stage.is_ready(), "cured too early");
    stage.check(!stage.events("EndpointRestarted").is_empty(), "both endpoints were restarted first");
    stage.check(stage.events("RejoiningAnew").is_empty(), "it left too early");
    stage.becomes_ready_within(seconds(90)).await;
    stage.check(stage.events("RejoiningAnew").len() == 1, "it left once, announced");
    let gap = stage.ledger.take_gap();
    stage.check(gap < seconds(2), &format!("writes stopped for {gap:?}"));
    stage.ends_well(seconds(60), vec![client]).await;
    assert_eq!((stage.primary(), &stage.election()["epoch"]), ("orders-0".into(), &epoch));
}

/// All replicas lose their power at once, and come back one after the other.
async fn all_down(seed: u64, order: [&str; 3]) {
    let stage = Stage::ready(Setup::new(seed)).await;
    let client = stage.client(1, OFTEN);
    stage.pass(seconds(2)).await;
    let nodes = order.map(|pod| stage.node_of(pod).unwrap());
    nodes.iter().for_each(|node| stage.node_off(node));
    stage.pass(seconds(20)).await;
    stage.node_on(&nodes[0]);
    stage.pass(seconds(30)).await;
    let epoch = stage.election()["epoch"].clone();
    stage.check(stage.condition("FailoverBlocked").is_some(), "never one of three");
    stage.node_on(&nodes[1]);
    let elected = |stage: &Stage| stage.election()["state"] == "Settled" && stage.election()["epoch"] != epoch;
    stage.until("two of three elect", seconds(60), elected).await;
    stage.node_on(&nodes[2]);
    stage.ends_well(seconds(120), vec![client]).await;
}

#[test]
fn after_all_replicas_were_down_two_of_three_elect_in_whatever_order_they_return() {
    let [a, b, c] = ["orders-0", "orders-1", "orders-2"];
    let orders = [[a, b, c], [a, c, b], [b, a, c], [b, c, a], [c, a, b], [c, b, a]];
    for (seed, order) in (821..).zip(orders) {
        in_a_world_of_its_own(all_down(seed, order));
    }
}

#[tokio::test(start_paused = true)]
async fn a_secondary_that_lost_its_volume_is_no_voice_and_is_copied_anew() {
    let stage = Stage::ready(Setup::new(83)).await;
    let client = stage.client(1, OFTEN);
    stage.pass(seconds(2)).await;
    stage.loses_its_volume("orders-2");
    stage.ends_well(seconds(120), vec![client]).await;
    assert_eq!((stage.primary(), stage.election()["epoch"].as_u64()), ("orders-0".into(), Some(1)));
}

async fn an_empty_primary(engine: standin::faults::FailoverEngine) {
    let stage = Stage::ready(Setup::new(84).engine(engine)).await;
    let client = stage.client(1, OFTEN);
    stage.pass(seconds(2)).await;
    stage.loses_its_volume("orders-0");
    stage.ends_well(seconds(120), vec![client]).await;
    stage.check(stage.primary() != "orders-0", "an empty volume was taken for the primary's");
}

#[test]
fn a_primary_that_lost_its_volume_is_replaced_and_copied_anew() {
    with_each_engine(an_empty_primary);
}

/// promotion.md 3: an empty volume under a known name is not counted.
#[tokio::test(start_paused = true)]
async fn two_empty_volumes_are_no_majority_with_nobody_and_the_one_that_is_left_waits_for_a_person() {
    let stage = Stage::ready(Setup::new(85)).await;
    let client = stage.client(1, OFTEN);
    stage.pass(seconds(2)).await;
    client.stop().await;
    stage.loses_its_volume("orders-0");
    stage.loses_its_volume("orders-1");
    stage.pass(seconds(60)).await;
    let told = stage.group()["status"]["conditions"].to_string();
    stage.check(stage.condition("FailoverBlocked").is_some() && told.contains("its volume is new"), &told);
    let epoch = stage.election()["epoch"].as_u64().unwrap();
    stage.force("now", "orders-2", epoch, true);
    stage.until("forced", seconds(30), |stage| stage.answer("now") == Some(true)).await;
    let client = stage.client(2, OFTEN);
    stage.ends_well(seconds(180), vec![client]).await;
    assert_eq!(stage.primary(), "orders-2");
}

/// Thirty-two megabytes, on a network on which they take two seconds: while nothing is done there is a look each second, and
/// one of them is to fall into the copy.
async fn a_large_database(stage: &Stage) {
    let person = stage.connection("person", "orders-rw.shop.svc");
    person.run("CREATE TABLE dbo.large (id int IDENTITY PRIMARY KEY, text nvarchar(4000));").await.unwrap();
    person.run("INSERT INTO dbo.large (text) VALUES (REPLICATE(N'x', 4000));").await.unwrap();
    for _ in 0..13 {
        person.run("INSERT INTO dbo.large (text) SELECT l.text FROM dbo.large AS l;").await.unwrap();
    }
    stage.net.set_latency(Duration::from_millis(50), Duration::from_millis(60));
}

/// orders-2 is away while rows are written and the log is backed up.
async fn away_while_the_log_is_backed_up(stage: &Stage) {
    a_large_database(stage).await;
    let node = stage.node_of("orders-2").unwrap();
    stage.node_off(&node);
    stage.pass(seconds(20)).await;
    let person = stage.connection("person", "orders-rw.shop.svc");
    person.run("BACKUP LOG [orders] TO DISK = N'/backup/1.trn'").await.unwrap();
    stage.node_on(&node);
    // The time of the last log backup is read once a minute.
    stage.pass(seconds(70)).await;
}

#[tokio::test(start_paused = true)]
async fn a_secondary_whose_log_was_truncated_meanwhile_is_copied_anew_and_that_is_told() {
    let stage = Stage::ready(Setup::new(86).switch(|switches| switches.log_held_for_absent_replicas = false)).await;
    let client = stage.client(1, OFTEN);
    stage.pass(seconds(2)).await;
    away_while_the_log_is_backed_up(&stage).await;
    stage.ends_well(seconds(60), vec![client]).await;
    let told = stage.events("Reseeding");
    stage.check(told.len() == 1 && told[0].contains("orders is copied whole to orders-2"), &format!("{told:?}"));
}

#[tokio::test(start_paused = true)]
async fn a_secondary_that_was_away_while_the_log_was_kept_for_it_is_not_copied_anew() {
    let stage = Stage::ready(Setup::new(87)).await;
    let client = stage.client(1, OFTEN);
    stage.pass(seconds(2)).await;
    away_while_the_log_is_backed_up(&stage).await;
    stage.ends_well(seconds(60), vec![client]).await;
    stage.check(stage.events("Reseeding").is_empty(), "the log led from its copy on");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_joins_anew_after_its_log_was_truncated_is_copied_anew() {
    let engine = FailoverEngine::MajorityBeforePromotion;
    let setup = Setup::new(88).engine(engine).switch(|switches| switches.log_held_for_absent_replicas = false);
    let stage = Stage::ready(setup).await;
    let client = stage.client(1, OFTEN);
    stage.pass(seconds(2)).await;
    a_large_database(&stage).await;
    promises_in_vain(&stage, "orders-1").await;
    let person = stage.connection("person", "orders-rw.shop.svc");
    for _ in 0..5 {
        stage.pass(seconds(55)).await;
        person.run("BACKUP LOG [orders] TO DISK = N'/backup/1.trn'").await.unwrap();
    }
    stage.until("it leaves", seconds(90), |stage| !stage.events("RejoiningAnew").is_empty()).await;
    stage.until("told", seconds(60), |stage| !stage.events("Reseeding").is_empty()).await;
    stage.ends_well(seconds(90), vec![client]).await;
    assert_eq!(stage.primary(), "orders-0");
}
