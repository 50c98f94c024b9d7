//! Several operators at once, and what they have to bear from the API server.

use crate::{
    stage::{Setup, Stage, seconds, with_each_engine},
    world::apiserver::link::{Act, Delivery, Link, Reach},
};
use standin::faults::FailoverEngine;
use std::time::Duration;

const OFTEN: Duration = Duration::from_millis(100);

fn moved(stage: &Stage) -> bool {
    stage.routed() != "orders-0" && stage.routed() == stage.primary()
}

async fn two(engine: FailoverEngine) {
    let stage = Stage::ready(Setup::new(11).engine(engine)).await;
    stage.start("second");
    let client = stage.client(1, OFTEN);
    stage.pass(seconds(5)).await;
    // The leader stops for a minute in the middle of what it does: what it sent last arrives when it wakes.
    let link = stage.link("operator");
    link.expect(3, Act::Late(seconds(60)), |request| request.verb.writes());
    assert!(stage.kill("orders-0"));
    stage.pass(Duration::from_millis(300)).await;
    for pod in stage.pods() {
        stage.cut("operator", &pod);
    }
    link.set_reach(Reach::Hanging);
    stage.until("routed by the second", seconds(60), moved).await;
    stage.pass(seconds(60)).await;
    stage.heal_all();
    link.forgive();
    link.set_reach(Reach::Fine);
    stage.pass(seconds(5)).await;
    stage.ends_well(seconds(60), vec![client]).await;
}

#[test]
fn a_leader_that_sleeps_for_a_minute_in_a_failover_undoes_nothing_when_it_wakes() {
    with_each_engine(two);
}

/// The parts of the last failover in the status, in order.
fn parts(stage: &Stage) -> Vec<(String, f64)> {
    let steps = stage.group()["status"]["lastFailover"]["steps"].as_array().cloned().unwrap_or_default();
    steps.iter().map(|step| (step["name"].as_str().unwrap().to_owned(), step["seconds"].as_f64().unwrap())).collect()
}

/// One failover in which the leader ends at `state` of the record and another one goes on.
async fn handed_over(seed: u64, state: &str) {
    let stage = Stage::ready(Setup::new(seed)).await;
    stage.start("second");
    let client = stage.client(1, OFTEN);
    stage.pass(seconds(5)).await;
    let started = stage.plane.clock.elapsed();
    stage.freeze("orders-0");
    let there = |stage: &Stage| stage.election()["epoch"] == 2 && stage.election()["state"] == state;
    while !there(&stage) {
        stage.check(stage.plane.clock.elapsed() - started < seconds(30), "no election");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stage.crash("operator").await;
    stage.until("routed by the second", seconds(60), moved).await;
    // What the first leader had begun may have come to nothing: another election, the same change.
    let told = |stage: &Stage| stage.group()["status"]["lastFailover"]["epoch"] == stage.election()["epoch"];
    stage.until("told", seconds(5), told).await;
    let took = (stage.plane.clock.elapsed() - started).as_secs_f64();
    let parts = parts(&stage);
    let names: Vec<_> = parts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Suspected", "StoodDown", "Promoted", "Settled", "Routed"]);
    let sum: f64 = parts.iter().map(|(_, took)| took).sum();
    stage.check(parts[0].1 >= 3.0 && sum > 12.0 && sum <= took, &format!("{parts:?} in {took}"));
    stage.thaw("orders-0");
    stage.becomes_ready_within(seconds(60)).await;
    client.stop().await;
    stage.accounts().await;
}

#[tokio::test(start_paused = true)]
async fn a_failover_that_another_leader_finishes_is_told_with_all_its_parts() {
    for (seed, state) in [(22, "Open"), (23, "Elected"), (24, "Settled")] {
        handed_over(seed, state).await;
    }
}

/// A failover while the operator's way to the API server has this fault.
async fn with(seed: u64, fault: impl Fn(&Link)) {
    let stage = Stage::ready(Setup::new(seed)).await;
    let client = stage.client(1, OFTEN);
    stage.pass(seconds(2)).await;
    fault(&stage.link("operator"));
    assert!(stage.kill("orders-0"));
    stage.until("routed elsewhere", seconds(60), moved).await;
    stage.pass(seconds(20)).await;
    stage.link("operator").forgive();
    stage.link("operator").set_latency(Duration::from_millis(2), Duration::from_millis(8));
    stage.ends_well(seconds(60), vec![client]).await;
}

#[tokio::test(start_paused = true)]
async fn watches_that_lose_repeat_swap_and_close_do_not_stop_a_failover() {
    let mut count = 0_u32;
    with(12, |link| {
        link.set_courier(move |_| {
            count += 1;
            [Delivery::Drop, Delivery::Twice, Delivery::Swap, Delivery::Close][count as usize % 4]
        });
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn no_event_of_any_watch_arrives_and_the_primary_is_replaced_all_the_same() {
    with(13, |link| link.set_courier(|_| Delivery::Drop)).await;
}

#[tokio::test(start_paused = true)]
async fn conflicts_and_errors_of_the_api_server_are_borne() {
    for (seed, code) in [(14, 409), (15, 429), (16, 500), (17, 504)] {
        with(seed, |link| link.expect(6, Act::Answer(code), |request| request.verb.writes())).await;
    }
}

#[tokio::test(start_paused = true)]
async fn writes_that_take_effect_without_an_answer_are_found_out() {
    with(18, |link| link.expect(4, Act::LoseAnswer, |request| request.verb.writes())).await;
    with(19, |link| link.expect(6, Act::EffectThenAnswer(504), |request| request.verb.writes())).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_api_server_slows_a_failover_and_does_not_break_it() {
    with(20, |link| link.set_latency(Duration::from_millis(400), Duration::from_millis(900))).await;
}

#[tokio::test(start_paused = true)]
async fn without_an_api_server_nothing_changes_and_writes_go_on() {
    let stage = Stage::ready(Setup::new(21)).await;
    let client = stage.client(1, OFTEN);
    stage.pass(seconds(2)).await;
    stage.link("operator").set_reach(Reach::Hanging);
    stage.ledger.take_gap();
    stage.pass(seconds(60)).await;
    let gap = stage.ledger.take_gap();
    stage.check(gap < seconds(1), &format!("writes stopped for {gap:?}"));
    stage.link("operator").set_reach(Reach::Fine);
    stage.ends_well(seconds(60), vec![client]).await;
    assert_eq!((stage.primary(), stage.election()["epoch"].as_u64()), ("orders-0".into(), Some(1)));
}
