//! Each step of an upgrade with something that fails in it, and an operator that dies at each of its effects.

use super::{STEPS, failure, geo, staged};
use crate::{
    stage::{Stage, in_a_world_of_its_own, seconds, upgrade::SCRIPT},
    world::{
        apiserver::link::Reach,
        effects::{EDGES, Edge, at_effects},
        random::Random,
    },
};

/// What fails while a step is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Production's primary is killed.
    Production,
    /// The stage's primary is killed.
    Stage,
    /// The two groups do not reach each other for a while.
    Link,
    /// The operator does not reach the API server for a while.
    Api,
    /// The operator dies.
    Operator,
}

const FAULTS: [Fault; 5] = [Fault::Production, Fault::Stage, Fault::Link, Fault::Api, Fault::Operator];

impl Fault {
    async fn strike(self, stage: &Stage) {
        match self {
            Self::Production => drop(stage.kill(&stage.primary_of("orders"))),
            Self::Stage => drop(stage.kill(&stage.primary_of("orders-v2"))),
            Self::Link => {
                for (one, other) in (0..9).map(|n| (format!("orders-{}", n / 3), format!("orders-v2-{}", n % 3))) {
                    stage.cut(&one, &other);
                }
                stage.pass(seconds(15)).await;
                stage.heal_all();
            }
            Self::Api => {
                let link = stage.link("operator");
                link.set_reach(Reach::Refused);
                stage.pass(seconds(8)).await;
                link.set_reach(Reach::Fine);
            }
            Self::Operator => {
                stage.crash("operator").await;
                stage.start("operator");
            }
        }
    }

    /// Whether an upgrade goes back when this happens in a step. A login of the stage's primary does not follow its failover,
    /// so that a script does not go on.
    fn may_go_back(self, step: &str) -> bool {
        self == Self::Stage && ["Terminating", "RunningScript", "Verifying"].contains(&step)
    }
}

/// One upgrade in which something fails in a step. A line about it.
async fn with(fault: Fault, step: &'static str, seed: u64) -> String {
    let (stage, user) = staged(seed).await;
    stage.upgrade(|_| {});
    assert!(stage.comes_to(step).await, "{step}");
    fault.strike(&stage).await;
    let end = stage.is_over_within(seconds(400)).await;
    let status = stage.rolling_upgrade()["status"].clone();
    let told = format!(
        "{fault:?} in {step}: {end} {}, read-only {} s, {}",
        failure(&stage),
        status["readOnly"]["seconds"],
        status["readOnly"]["parts"]
    );
    stage.check(end == "Succeeded" || fault.may_go_back(step), &format!("{told}\n{status:#}"));
    stage.ends_on_one_side(user).await;
    told
}

/// A sample; every step with every fault with `QUORATE_LONG`.
fn faults(fault: Fault) {
    let mut random = Random::new(fault as u64 + 7);
    for (number, step) in STEPS.into_iter().enumerate() {
        let taken = random.below(10) < 3;
        if taken || std::env::var_os("QUORATE_LONG").is_some() {
            println!("{}", in_a_world_of_its_own(with(fault, step, 300 + number as u64)));
        }
    }
}

#[test]
fn a_failover_of_production_in_any_step_changes_nothing_but_the_time_it_takes() {
    faults(FAULTS[0]);
}

#[test]
fn a_failover_of_the_stage_in_any_step_loses_nothing() {
    faults(FAULTS[1]);
}

#[test]
fn a_link_that_is_cut_in_any_step_is_waited_for() {
    faults(FAULTS[2]);
}

#[test]
fn an_api_server_that_is_away_in_any_step_is_waited_for() {
    faults(FAULTS[3]);
}

#[test]
fn an_operator_that_dies_in_any_step_is_followed_by_one_that_goes_on() {
    faults(FAULTS[4]);
}

/// One upgrade whose operator dies at its `k`th effect. False: it has no such effect.
async fn dies(k: u64, edge: Edge, far: bool) -> bool {
    let (stage, user) = if far { geo::staged(400 + k, SCRIPT).await } else { staged(400 + k).await };
    stage.link("operator").effects.stop_at(k, edge);
    if far {
        geo::upgrade(&stage)
    } else {
        stage.upgrade(|_| {})
    }
    let over = |stage: &Stage| stage.step() == "Succeeded";
    let died = stage.dies_at_its_effect("operator", seconds(120), over).await;
    if died {
        stage.start("operator");
    }
    let end = stage.is_over_within(seconds(200)).await;
    stage.check(end == "Succeeded", &format!("{k} {edge:?}: {end} {}", failure(&stage)));
    stage.ends_on_one_side(user).await;
    died
}

fn crashes(edge: Edge, sample: u64, far: bool) {
    let effects = at_effects(edge, sample, |k| in_a_world_of_its_own(dies(k, edge, far)));
    assert!(effects > 60, "fewer than {effects} effects");
}

#[test]
fn an_upgrade_survives_a_crash_before_each_effect() {
    crashes(EDGES[0], 23, false);
}

#[test]
fn an_upgrade_survives_a_crash_before_each_answer() {
    crashes(EDGES[1], 23, false);
}

#[test]
fn an_upgrade_survives_a_crash_after_each_answer() {
    crashes(EDGES[2], 23, false);
}

#[test]
fn an_upgrade_over_two_regions_survives_a_crash_before_each_effect() {
    crashes(EDGES[0], 131, true);
}

#[test]
fn an_upgrade_over_two_regions_survives_a_crash_before_each_answer() {
    crashes(EDGES[1], 131, true);
}

#[test]
fn an_upgrade_over_two_regions_survives_a_crash_after_each_answer() {
    crashes(EDGES[2], 131, true);
}
