//! An operator that dies at each effect: before it is sent, before it is answered, after it was answered.

use crate::{
    stage::{Setup, Stage},
    world::effects::{EDGES, Edge},
};
use std::time::Duration;

/// More effects than this nothing here has.
const MOST: u64 = 200;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

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

async fn bring_ups(edge: Edge) {
    for k in 1..MOST {
        if !bring_up(k, edge).await {
            assert!(k > 30, "only {k} effects");
            return;
        }
    }
    panic!("more than {MOST} effects");
}

#[tokio::test(start_paused = true)]
async fn bring_up_survives_a_crash_before_each_effect() {
    bring_ups(EDGES[0]).await;
}

#[tokio::test(start_paused = true)]
async fn bring_up_survives_a_crash_before_each_answer() {
    bring_ups(EDGES[1]).await;
}

#[tokio::test(start_paused = true)]
async fn bring_up_survives_a_crash_after_each_answer() {
    bring_ups(EDGES[2]).await;
}
