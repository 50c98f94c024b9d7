//! An operator that dies at each effect: before it is sent, before it is answered, after it was answered.

use crate::{
    stage::{Setup, Stage, in_a_world_of_its_own, seconds, with_each_engine},
    world::{
        effects::{EDGES, Edge},
        random::Random,
    },
};
use standin::faults::FailoverEngine;
use std::{cell::Cell, time::Duration};

const OFTEN: Duration = Duration::from_millis(200);
/// More effects than this nothing here has.
const MOST: u64 = 200;

/// One bring-up whose operator dies at its `k`th effect. False: it has no such effect.
async fn bring_up(k: u64, edge: Edge) -> bool {
    let stage = Stage::empty(Setup::new(100 + k));
    stage.start("operator");
    stage.link("operator").effects.stop_at(k, edge);
    stage.apply();
    let died = stage.dies_at_its_effect("operator", seconds(120), Stage::is_ready).await;
    if died {
        stage.start("operator");
        stage.becomes_ready().await;
    }
    assert_eq!(stage.primary(), "orders-0");
    died
}

fn bring_ups(edge: Edge) {
    for k in 1..MOST {
        if !in_a_world_of_its_own(bring_up(k, edge)) {
            assert!(k > 30, "only {k} effects");
            return;
        }
    }
    panic!("more than {MOST} effects");
}

#[test]
fn bring_up_survives_a_crash_before_each_effect() {
    bring_ups(EDGES[0]);
}

#[test]
fn bring_up_survives_a_crash_before_each_answer() {
    bring_ups(EDGES[1]);
}

#[test]
fn bring_up_survives_a_crash_after_each_answer() {
    bring_ups(EDGES[2]);
}

/// One failover whose operator dies at its `k`th effect; the old primary wakes when it is replaced. False: it has no
/// such effect.
async fn failover(stage: &Stage, k: u64, edge: Edge, blurred: bool) -> bool {
    let (primary, epoch) = (stage.primary(), stage.election()["epoch"].as_u64());
    let client = stage.client(k as i64, OFTEN);
    stage.pass(seconds(1)).await;
    stage.link("operator").effects.stop_at(k, edge);
    stage.freeze(&primary);
    let frozen = Cell::new(true);
    let over = |stage: &Stage| {
        if frozen.get() && stage.routed() != primary {
            stage.thaw(&primary);
            frozen.set(false);
        }
        stage.election()["epoch"].as_u64() > epoch && stage.is_ready()
    };
    if blurred {
        stage.watches_fail("operator", true, Random::new(k));
    }
    let died = goes_on(stage, "another election, ready", blurred, over).await;
    stage.link("operator").forgive();
    stage.pass(seconds(2)).await;
    client.stop().await;
    stage.pass(seconds(1)).await;
    stage.accounts().await;
    died
}

/// Until it is over, by the operator that began it or by the one after it. True: the first one died.
async fn goes_on(stage: &Stage, what: &str, blurred: bool, over: impl Fn(&Stage) -> bool) -> bool {
    let died = stage.dies_at_its_effect("operator", seconds(90), &over).await;
    if died {
        stage.start("operator");
        if blurred {
            stage.watches_fail("operator", true, Random::new(0));
        }
    } else {
        stage.link("operator").effects.spare();
    }
    stage.until(what, seconds(90), over).await;
    died
}

/// In one group, one after another, each with an operator that dies one effect later than the last.
async fn one_after_another(setup: Setup, least: u64, one: impl AsyncFn(&Stage, u64) -> bool) {
    let stage = Stage::ready(setup).await;
    for k in 1..MOST {
        if !one(&stage, k).await {
            assert!(k > least, "only {k} effects");
            stage.ends_well(seconds(30), vec![]).await;
            return;
        }
    }
    panic!("more than {MOST} effects");
}

async fn failovers(engine: FailoverEngine, edge: Edge, blurred: bool) {
    let setup =
        Setup::new(31).engine(engine).spec(|spec| spec["failover"] = serde_json::json!({"minimumIntervalSeconds": 0}));
    one_after_another(setup, 10, async |stage, k| failover(stage, k, edge, blurred).await).await;
}

#[test]
fn a_failover_survives_a_crash_before_each_effect() {
    with_each_engine(|engine| failovers(engine, EDGES[0], false));
}

#[test]
fn a_failover_survives_a_crash_before_each_answer() {
    with_each_engine(|engine| failovers(engine, EDGES[1], false));
}

#[test]
fn a_failover_survives_a_crash_after_each_answer() {
    with_each_engine(|engine| failovers(engine, EDGES[2], false));
}

/// A sample; every engine at each edge with `QUORATE_LONG`.
#[test]
fn a_failover_survives_a_crash_at_each_effect_while_watches_lose_repeat_and_reorder() {
    if std::env::var_os("QUORATE_LONG").is_none() {
        return in_a_world_of_its_own(failovers(FailoverEngine::MajorityBeforeAcknowledging, EDGES[1], true));
    }
    EDGES.iter().for_each(|edge| with_each_engine(|engine| failovers(engine, *edge, true)));
}

/// One planned switchover whose operator dies at its `k`th effect. False: it has no such effect.
async fn switchover(stage: &Stage, k: u64, edge: Edge) -> bool {
    let primary = stage.primary();
    let target = stage.replicas().into_iter().find(|pod| *pod != primary).unwrap();
    let client = stage.client(k as i64, OFTEN);
    stage.pass(seconds(1)).await;
    stage.link("operator").effects.stop_at(k, edge);
    let name = format!("move-{k}");
    stage.ask(&name, &target);
    let over = |stage: &Stage| stage.answer(&name).is_some() && stage.is_ready() && stage.primary() == stage.routed();
    let died = goes_on(stage, "answered, ready", false, over).await;
    let moved = stage.primary() == target;
    let told = stage.plane.api.find("failovers", "shop", &name).unwrap_or_default();
    stage.check(stage.answer(&name) == Some(moved), &format!("{k}: moved is {moved}, and the answer is {told}"));
    stage.pass(seconds(1)).await;
    client.stop().await;
    stage.pass(seconds(1)).await;
    stage.accounts().await;
    died
}

async fn switchovers(engine: FailoverEngine, edge: Edge) {
    let setup = Setup::new(33).engine(engine);
    one_after_another(setup, 8, async |stage, k| switchover(stage, k, edge).await).await;
}

/// In one engine; in all of them with `QUORATE_LONG`.
fn switchovers_in(engine: FailoverEngine, edge: Edge) {
    if std::env::var_os("QUORATE_LONG").is_none() {
        return in_a_world_of_its_own(switchovers(engine, edge));
    }
    with_each_engine(|engine| switchovers(engine, edge));
}

#[test]
fn a_switchover_survives_a_crash_before_each_effect() {
    switchovers_in(FailoverEngine::MajorityBeforeAcknowledging, EDGES[0]);
}

#[test]
fn a_switchover_survives_a_crash_before_each_answer() {
    switchovers_in(FailoverEngine::Local, EDGES[1]);
}

#[test]
fn a_switchover_survives_a_crash_after_each_answer() {
    switchovers_in(FailoverEngine::MajorityBeforePromotion, EDGES[2]);
}
