//! Forced failover (promotion.md 3 and 6): a person accepts data loss in writing, and what was left behind is told until
//! somebody resumes it.

use crate::stage::{Setup, Stage, clients::direct, seconds, with_each_engine};
use standin::faults::FailoverEngine;
use std::time::Duration;

const OFTEN: Duration = Duration::from_millis(50);
/// The session timeout, its grain, `suspectAfterSeconds`, and what kubelets and clients add.
const LOST: Duration = Duration::from_secs(10 + 1 + 3 + 6);

/// Two replicas of which orders-0 went on alone and then was lost with what only it had; nobody is promoted by itself.
async fn lost_with_what_only_it_had(seed: u64, engine: FailoverEngine) -> (Stage, Vec<String>) {
    let stage = Stage::ready(Setup::new(seed).engine(engine).spec(|spec| {
        spec["synchronous"]["replicas"] = 2.into();
    }))
    .await;
    let client = stage.client(1, OFTEN);
    stage.pass(seconds(2)).await;
    let nodes: Vec<_> = ["orders-1", "orders-0"].iter().map(|pod| stage.node_of(pod).unwrap()).collect();
    stage.node_off(&nodes[0]);
    stage.pass(LOST).await;
    let before = stage.ledger.acknowledged();
    stage.until("it goes on alone", seconds(30), |stage| stage.ledger.acknowledged() > before + 50).await;
    client.stop().await;
    stage.node_off(&nodes[1]);
    stage.pass(seconds(1)).await;
    stage.node_on(&nodes[0]);
    stage.pass(seconds(60)).await;
    let blocked = Some(("True".to_owned(), "TooFewAnswers".to_owned()));
    stage.check(stage.condition("FailoverBlocked") == blocked, "a majority does not answer");
    (stage, nodes)
}

/// Forced, written again; the accepted loss is entered in the ledger.
async fn forced(stage: &Stage, resume: bool) {
    let epoch = stage.election()["epoch"].as_u64().unwrap();
    stage.force("old", "orders-1", epoch + 5, resume);
    stage.until("another epoch is refused", seconds(10), |stage| stage.answer("old") == Some(false)).await;
    stage.force("now", "orders-1", epoch, resume);
    stage.until("forced", seconds(30), |stage| stage.answer("now") == Some(true)).await;
    let survived = stage.rows_on("orders-1").await.unwrap();
    let lost = stage.ledger.accept_loss(&survived);
    stage.check(lost > 50, &format!("{lost} rows were on orders-0 alone"));
    let last = stage.group()["status"]["lastFailover"].clone();
    let told = last["evidence"].as_str().unwrap_or_default();
    stage.check(last["kind"] == "Forced" && told.contains("not seen: orders-0 (silent since"), &last.to_string());
    stage.check(told.contains("log of orders to 37"), told);
}

fn says_suspended(stage: &Stage) -> bool {
    let told = stage.group()["status"]["conditions"].to_string();
    stage.condition("Synchronized") == Some(("False".into(), "Suspended".into()))
        && told.contains("left behind orders on orders-0 (its log ends at 37")
}

async fn a_person_resumes(engine: FailoverEngine) {
    let (stage, nodes) = lost_with_what_only_it_had(91, engine).await;
    forced(&stage, false).await;
    let client = stage.client(2, OFTEN);
    stage.until("writes go on", seconds(30), |stage| stage.ledger.acknowledged() > 50).await;
    stage.node_on(&nodes[1]);
    stage.until("it says what was left behind", seconds(60), says_suspended).await;
    stage.pass(seconds(60)).await;
    stage.check(says_suspended(&stage), "nobody resumed it");
    // A suspended copy is closed to readers (976); what only it has lies on its volume.
    let number = stage.rows_on("orders-0").await.err().and_then(|error| error.number());
    stage.check(number == Some(976), &format!("it answers {number:?}"));
    let person = stage.connection("person", &direct("orders-0")).in_master();
    person.run("ALTER DATABASE [orders] SET HADR RESUME;").await.unwrap();
    stage.ends_well(seconds(120), vec![client]).await;
    assert_eq!(stage.primary(), "orders-1");
}

#[test]
fn after_a_forced_failover_the_old_primary_keeps_what_only_it_has_until_a_person_resumes_it() {
    with_each_engine(a_person_resumes);
}

async fn the_request_said_so(engine: FailoverEngine) {
    let (stage, nodes) = lost_with_what_only_it_had(92, engine).await;
    forced(&stage, true).await;
    let client = stage.client(2, OFTEN);
    stage.node_on(&nodes[1]);
    stage.ends_well(seconds(120), vec![client]).await;
    assert_eq!(stage.primary(), "orders-1");
}

#[test]
fn a_forced_failover_that_says_so_resumes_the_old_primary_by_itself() {
    with_each_engine(the_request_said_so);
}

/// Both synchronous replicas lose their power; only the asynchronous one is left, and is forced.
async fn only_the_asynchronous_one_is_left(setup: Setup, behind: bool, resume: bool) -> (Stage, Vec<String>) {
    let stage = Stage::ready(setup.spec(|spec| {
        spec["synchronous"]["replicas"] = 2.into();
        spec["asynchronous"] = serde_json::json!({ "replicas": 1 });
    }))
    .await;
    let client = stage.client(1, OFTEN);
    stage.pass(seconds(2)).await;
    let node = |pod: &str| stage.node_of(pod).unwrap();
    let (nodes, own) = ([node("orders-0"), node("orders-1")], node("orders-a-0"));
    if behind {
        // It misses two changes of the primary, and its number stays below theirs.
        stage.node_off(&own);
        for (name, target) in [("there", "orders-1"), ("back", "orders-0")] {
            stage.ask(name, target);
            stage.until("moved", seconds(60), |stage| stage.answer(name) == Some(true)).await;
        }
    }
    client.stop().await;
    nodes.iter().for_each(|node| stage.node_off(node));
    if behind {
        stage.node_on(&own);
    }
    stage.pass(seconds(60)).await;
    let blocked = Some(("True".to_owned(), "TooFewAnswers".to_owned()));
    stage.check(stage.condition("FailoverBlocked") == blocked, "an asynchronous replica is never promoted by itself");
    stage.force("now", "orders-a-0", stage.election()["epoch"].as_u64().unwrap(), resume);
    stage.until("forced", seconds(30), |stage| stage.answer("now") == Some(true)).await;
    let survived = stage.rows_on("orders-a-0").await.unwrap();
    stage.ledger.accept_loss(&survived);
    (stage, nodes.to_vec())
}

fn mode_of(stage: &Stage, name: &str) -> String {
    let group = stage.group();
    let replicas = group["status"]["replicas"].as_array().unwrap();
    let line = replicas.iter().find(|line| line["name"] == name).unwrap();
    line["mode"].as_str().unwrap().to_owned()
}

/// No secondary is SYNCHRONIZED with an asynchronous primary: it is made synchronous for as long as it is the primary.
async fn hands_back(engine: FailoverEngine) {
    let (stage, nodes) = only_the_asynchronous_one_is_left(Setup::new(93).engine(engine), false, true).await;
    let client = stage.client(2, OFTEN);
    stage.until("writes go on", seconds(30), |stage| stage.ledger.acknowledged() > 50).await;
    nodes.iter().for_each(|node| stage.node_on(node));
    stage.becomes_ready().await;
    assert_eq!((stage.primary(), mode_of(&stage, "orders-a-0")), ("orders-a-0".into(), "Synchronous".into()));
    goes_home(&stage, client).await;
}

/// A synchronous replica takes over, and the modes are those of the spec again.
async fn goes_home(stage: &Stage, client: crate::stage::clients::Writer) {
    stage.ask("home", "orders-0");
    stage.until("handed back", seconds(60), |stage| stage.answer("home") == Some(true)).await;
    stage.until("as before", seconds(60), |stage| mode_of(stage, "orders-a-0") == "Asynchronous").await;
    stage.ends_well(seconds(120), vec![client]).await;
    assert_eq!(stage.election()["voters"], serde_json::json!(["orders-0", "orders-1"]));
}

#[test]
fn an_asynchronous_replica_that_was_forced_serves_and_hands_back_without_loss() {
    with_each_engine(hands_back);
}

/// Where nobody follows a lower number, whoever was left behind with a higher one is let in by no cure.
fn no_lower_numbers(seed: u64) -> Setup {
    Setup::new(seed).switch(|switches| switches.follows_lower_numbers = false)
}

#[tokio::test(start_paused = true)]
async fn replicas_left_behind_with_a_higher_number_join_anew_when_the_request_said_that_they_may_lose() {
    let (stage, nodes) = only_the_asynchronous_one_is_left(no_lower_numbers(94), true, true).await;
    let client = stage.client(2, OFTEN);
    nodes.iter().for_each(|node| stage.node_on(node));
    stage.becomes_ready_within(seconds(600)).await;
    stage.check(stage.events("RejoiningAnew").len() == 2, "each left and joined anew, announced");
    goes_home(&stage, client).await;
}

#[tokio::test(start_paused = true)]
async fn replicas_left_behind_with_a_higher_number_wait_for_a_person_who_is_told_what_to_do() {
    let (stage, nodes) = only_the_asynchronous_one_is_left(no_lower_numbers(95), true, false).await;
    let client = stage.client(2, OFTEN);
    nodes.iter().for_each(|node| stage.node_on(node));
    stage.pass(seconds(600)).await;
    let told = stage.group()["status"]["conditions"].to_string();
    let wanted = "save what only it has (a snapshot of the volume), then say DROP AVAILABILITY GROUP [orders] and DROP DATABASE there";
    stage.check(!stage.is_ready() && told.contains(wanted), &told);
    stage.check(stage.events("RejoiningAnew").is_empty(), "nobody said that they may lose anything");
    for pod in ["orders-0", "orders-1"] {
        let person = stage.connection("person", &direct(pod)).in_master();
        person.run("DROP AVAILABILITY GROUP [orders]; DROP DATABASE [orders];").await.unwrap();
    }
    stage.becomes_ready().await;
    goes_home(&stage, client).await;
}
