//! After the switch users go back to the old version, because a person says that what they wrote since is to be lost.

use super::{failure, staged, told};
use crate::{
    stage::{
        Stage,
        clients::{Client, Connection, Stop, Writer},
        condition_of, in_a_world_of_its_own, seconds,
    },
    world::effects::{EDGES, Edge, at_effects},
};
use std::time::Duration;
use tokio::time::sleep;

/// Somebody who writes on both versions all the time, as far as they let them. At the end: the first write on the new version
/// that was acknowledged after one on the old version. Both wrote.
fn on_both(stage: &Stage) -> Client<Option<i32>> {
    let versions = ["orders", "orders-v2"].map(|group| {
        let connection = stage.connection(&format!("both-{group}"), &format!("{group}-rw.shop.svc"));
        // The new version's application keeps its connections.
        if group == "orders" { connection } else { connection.kept() }
    });
    Client::start(|stop| writes(versions, stop))
}

async fn writes([old, new]: [Connection; 2], stop: Stop) -> Option<i32> {
    let (mut on_old, mut on_new, mut late) = (0, 0, None);
    for number in 1.. {
        if stop.was_told() {
            break;
        }
        let insert = format!("INSERT INTO dbo.ledger (id) VALUES (-{number})");
        on_old += u32::from(old.run(&insert).await.is_ok());
        if new.run(&insert).await.is_ok() {
            on_new += 1;
            late = late.or((on_old > 0).then_some(number));
        }
        sleep(Duration::from_millis(20)).await;
    }
    assert!(on_old > 0 && on_new > 0, "{on_old} writes on the old version, {on_new} on the new one");
    late
}

/// Users are on the new version, and wrote there.
async fn switched(seed: u64) -> (Stage, Writer) {
    let (stage, user) = staged(seed).await;
    stage.upgrade(|_| {});
    assert_eq!(stage.is_over_within(seconds(120)).await, "Succeeded");
    let before = stage.ledger.acknowledged();
    stage.until("users write", seconds(10), |stage| stage.ledger.acknowledged() > before + 10).await;
    (stage, user)
}

fn ask(stage: &Stage) {
    stage.upgrade(|spec| (spec["abort"], spec["discardStageWrites"]) = (true.into(), true.into()));
}

/// Asks, and waits until users are led back, and until it is over.
async fn goes_back_within(stage: &Stage, bound: Duration) {
    ask(stage);
    let open = |stage: &Stage| stage.rolling_upgrade()["status"]["online"] == "shop-v1";
    let took = stage.until("users are led back", seconds(30), open).await;
    println!("led back after {took:?}");
    stage.check(took < bound, &format!("led back after {took:?}"));
    is_over(stage).await;
}

async fn is_over(stage: &Stage) {
    stage.until("it is over", seconds(120), |stage| stage.step() == "RolledBack").await;
    stage.pass(seconds(10)).await;
}

async fn is_back(stage: &Stage, both: Client<Option<i32>>) {
    let late = both.stop().await;
    stage.check(late.is_none(), &format!("the new version took write {late:?} after the old one"));
    is_on_the_old_version(stage).await;
}

/// What production has is what is left of what was acknowledged. Users come again, and write there.
async fn is_on_the_old_version(stage: &Stage) {
    assert_eq!(failure(stage), "Discarded");
    let kept = stage.rows_on(&stage.primary_of("orders-v2")).await.is_err();
    stage.check(kept, "the new version's primary lets somebody in");
    let status = stage.rolling_upgrade()["status"].clone();
    stage.check(status["databases"][0]["state"] == "Discarded", &format!("{status:#}"));
    stage.check(status["readOnly"]["parts"]["rollBack"].is_null(), &format!("{:#}", status["readOnly"]));
    let reader = stage.connection("reader", "orders-v2-ro.shop.svc").rows().await.unwrap();
    let lost = stage.ledger.accept_loss(&stage.rows_on(&stage.primary()).await.unwrap());
    stage.ledger.goes_back_to("orders");
    stage.check(lost > 10, &format!("{lost} rows were written on the new version"));
    stage.check(reader.len() > lost, "the new version does not keep what was written there");
    let user = stage.user(2, Duration::from_millis(100));
    stage.ends_on_one_side(user).await;
}

#[tokio::test(start_paused = true)]
async fn users_go_back_after_the_switch_when_a_person_says_that_what_they_wrote_is_lost() {
    let (stage, user) = switched(601).await;
    // One word alone changes nothing, and says which other one is meant.
    stage.upgrade(|spec| spec["abort"] = true.into());
    let too_late = |stage: &Stage| {
        let ready = condition_of(&stage.rolling_upgrade(), "Ready");
        ready.is_some_and(|(status, _)| status == "True") && told(stage).contains("set spec.discardStageWrites, too")
    };
    stage.until("it says that it is too late", seconds(15), too_late).await;
    user.stop().await;
    let both = on_both(&stage);
    stage.pass(seconds(2)).await;
    goes_back_within(&stage, seconds(5)).await;
    is_back(&stage, both).await;
    // Nothing that is asked for later takes away what the new version keeps.
    super::correct(&stage);
    stage.upgrade(|_| {});
    stage.pass(seconds(60)).await;
    let kept = stage.connection("person", "orders-v2-ro.shop.svc").run("SELECT COUNT(*) FROM dbo.ledger").await;
    stage.check(kept.is_ok(), &format!("{kept:?}"));
    stage.check(told(&stage).contains("[DatabaseInTheWay]"), &told(&stage));
}

#[tokio::test(start_paused = true)]
async fn users_stay_on_the_new_version_while_the_old_one_is_not_there() {
    let (stage, user) = switched(602).await;
    stage.application("shop-v1", 0);
    stage.pass(seconds(10)).await;
    ask(&stage);
    let waits =
        |stage: &Stage| told(stage).contains("no pod of Service shop-v1 is ready; deploy the old version again");
    stage.until("it says what is missing", seconds(15), waits).await;
    let before = stage.ledger.acknowledged();
    stage.until("users write", seconds(10), |stage| stage.ledger.acknowledged() > before + 10).await;
    user.stop().await;
    let both = on_both(&stage);
    stage.pass(seconds(2)).await;
    stage.application("shop-v1", 2);
    is_over(&stage).await;
    is_back(&stage, both).await;
}

/// Nobody reaches the new version's instances, which is why somebody goes back.
#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_new_version_that_does_not_answer() {
    let (stage, user) = switched(603).await;
    user.stop().await;
    (0..3).for_each(|ordinal| stage.isolate(&format!("orders-v2-{ordinal}")));
    stage.pass(seconds(2)).await;
    goes_back_within(&stage, seconds(5)).await;
    // It is closed as soon as it answers.
    stage.heal_all();
    stage.pass(seconds(60)).await;
    is_on_the_old_version(&stage).await;
}

/// One way back whose operator dies at its `k`th effect. False: it has no such effect.
async fn dies(k: u64, edge: Edge) -> bool {
    let (stage, user) = switched(610 + k).await;
    user.stop().await;
    let both = on_both(&stage);
    stage.pass(seconds(2)).await;
    stage.link("operator").effects.stop_at(k, edge);
    ask(&stage);
    let died = stage.dies_at_its_effect("operator", seconds(60), |stage| stage.step() == "RolledBack").await;
    if died {
        stage.start("operator");
    }
    is_over(&stage).await;
    is_back(&stage, both).await;
    died
}

#[test]
fn an_operator_that_dies_on_the_way_back_after_the_switch_is_followed_by_one_that_goes_on() {
    for edge in EDGES {
        let effects = at_effects(edge, 17, |k| in_a_world_of_its_own(dies(k, edge)));
        assert!(effects > 20, "fewer than {effects} effects");
    }
}
