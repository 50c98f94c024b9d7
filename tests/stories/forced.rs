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
