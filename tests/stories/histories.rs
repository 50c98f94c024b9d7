//! Histories by chance: a group, a schedule of faults, writers; then everything is healed and must be well again.
//!
//! One seed is one history. `QUORATE_SEED=123 cargo test --test stories histories` replays one;
//! `QUORATE_LONG=1` plays many more of them.

use crate::{
    stage::{Setup, Stage, in_a_world_of_its_own},
    world::{
        apiserver::link::{Act, Reach},
        random::Random,
    },
};
use serde_json::json;
use standin::faults::{FailoverEngine, Switches};
use std::{panic::AssertUnwindSafe, time::Duration};

/// Histories in one run.
const USUAL: u64 = 504;
/// Histories in a long run.
const LONG: u64 = 2_000;
/// Test functions that share them, so that all cores work.
const PARTS: u64 = 6;
/// Everything is well again so long after the last fault, at most.
const BOUND: Duration = Duration::from_secs(420);
/// Log backups are read once a minute.
const BACKUPS: Duration = Duration::from_secs(65);
/// Watches begin with a list again so often, which shows what was lost.
const LISTS: Duration = Duration::from_secs(125);

/// A history: what may happen in it is drawn as it goes.
struct Play {
    stage: Stage,
    random: Random,
    down: Vec<String>,
    asked: u32,
    backed_up: bool,
    loses: bool,
}

/// An engine by chance: every switch is something that its documentation leaves open.
fn engine(random: &mut Random) -> Switches {
    let seconds = Duration::from_secs;
    let failover = *random.pick(&FailoverEngine::ALL);
    Switches {
        failover,
        follows_lower_numbers: random.chance(70),
        returns_by_itself: random.chance(30).then(|| seconds(5)),
        restarts_as_primary: random.chance(30),
        configuration_only_accepts_offline: random.chance(50),
        deny_cuts_connections: random.chance(50),
        checks_outbound: random.chance(50),
        commit_quorum_beside_configuration_only: random.chance(50),
        joins_resolving: random.chance(30),
        role_delay: random.between(Duration::ZERO, Duration::from_millis(800)),
        set_role_needs_primary: random.chance(30),
        stuck_41104: random.chance(20).then(|| seconds(10)),
        yields_to_higher_numbers: random.chance(30),
        log_held_for_absent_replicas: !random.chance(30),
        // What no availability group of an operator meets: triggers, distributed groups.
        ..Switches::default()
    }
}

fn setup(seed: u64, random: &mut Random) -> Setup {
    let engine = engine(random);
    let shape = random.below(10);
    let quorum = random.below(4);
    Setup::new(seed).switch(|switches| *switches = engine).spec(|spec| {
        spec["failover"] = json!({"minimumIntervalSeconds": 0});
        let replicas = match shape {
            0 => 5,
            1 => 2,
            _ => 3,
        };
        spec["synchronous"]["replicas"] = json!(replicas);
        if replicas == 2 {
            spec["configurationOnly"] = json!({"replicas": 1});
        } else if quorum > 0 && quorum < replicas {
            spec["requiredSynchronizedSecondariesToCommit"] = json!(quorum - 1);
        }
    })
}

impl Play {
    fn replica(&mut self) -> String {
        let pods = self.stage.pods();
        // Most faults strike where it hurts.
        if self.random.chance(50) { self.stage.primary() } else { self.random.pick(&pods).clone() }
    }

    async fn fault(&mut self) {
        let pod = self.replica();
        match self.random.below(13) {
            0 | 1 => drop(self.stage.kill(&pod)),
            2 | 3 => {
                self.stage.freeze(&pod);
                self.later().await;
                self.stage.thaw(&pod);
            }
            4 => self.stage.isolate(&pod),
            5 => {
                let other = self.replica();
                if other != pod {
                    self.stage.cut(&pod, &other);
                }
            }
            6 => self.stage.cut("operator", &pod),
            7 => {
                // A pod that is being made is on none yet.
                if let Some(node) = self.stage.node_of(&pod).filter(|node| !self.down.contains(node)) {
                    self.stage.node_off(&node);
                    self.down.push(node);
                }
            }
            8 => {
                self.stage.crash("operator").await;
                self.later().await;
                self.stage.start("operator");
            }
            9 => self.api(),
            10 => {
                self.loses |= self.random.chance(50);
                self.stage.watches_fail("operator", self.loses, self.random.fork("watches"));
            }
            11 => {
                let person = self.stage.connection("person", "orders-rw.shop.svc");
                let _ = person.run("BACKUP LOG [orders] TO DISK = N'/backup/1.trn'").await;
                self.backed_up = true;
            }
            _ => {
                self.asked += 1;
                let pods = self.stage.replicas();
                let target = self.random.pick(&pods).clone();
                self.stage.ask(&format!("ask-{}", self.asked), &target);
            }
        }
    }

    fn api(&mut self) {
        let link = self.stage.link("operator");
        let acts = [Act::Answer(409), Act::Answer(500), Act::LoseAnswer, Act::EffectThenAnswer(504), Act::Refuse];
        let act = *self.random.pick(&acts);
        let times = 1 + self.random.below(6) as u32;
        self.stage.plane.history.note("fault", format!("the next {times} writes of the operator: {act:?}"));
        link.expect(times, act, |request| request.verb.writes());
        if self.random.chance(20) {
            self.stage.plane.history.note("fault", "nothing the operator sends to the API server arrives");
            link.set_reach(Reach::Hanging);
        }
    }

    /// Some of what was cut or switched off comes back.
    fn mend(&mut self) {
        match self.random.below(4) {
            0 => self.stage.heal_all(),
            1 => {
                if let Some(node) = self.down.pop() {
                    self.stage.node_on(&node);
                }
            }
            _ => {}
        }
    }

    async fn later(&mut self) {
        let most = *self.random.pick(&[1_u64, 4, 15, 25]);
        let time = self.random.between(Duration::from_millis(50), Duration::from_secs(most));
        self.stage.pass(time).await;
    }

    async fn run(mut self) {
        let pause = Duration::from_millis(150);
        let first = self.stage.replicas()[0].clone();
        let clients = vec![self.stage.client(1, pause), self.stage.client_of(&first, 2, pause)];
        self.stage.pass(Duration::from_secs(1)).await;
        for _ in 0..3 + self.random.below(4) {
            self.fault().await;
            self.later().await;
            self.mend();
            self.stage.restart_ended();
        }
        self.stage.heal_all();
        for node in std::mem::take(&mut self.down) {
            self.stage.node_on(&node);
        }
        let link = self.stage.link("operator");
        link.forgive();
        link.set_reach(Reach::Fine);
        if self.backed_up {
            // What is told then is no unrest.
            self.stage.pass(BACKUPS).await;
        }
        if self.loses {
            // What was lost is seen by then: before, an operator may rest because it does not know.
            self.stage.pass(LISTS).await;
        }
        self.stage.ends_well(BOUND, clients).await;
    }
}

async fn history(seed: u64) {
    let mut random = Random::new(seed).fork("play");
    let setup = setup(seed, &mut random);
    let switches = format!("{:?}", setup.switches);
    let stage = Stage::new(setup);
    stage.plane.history.note("engine", switches);
    stage.becomes_ready().await;
    Play { stage, random, down: Vec::new(), asked: 0, backed_up: false, loses: false }.run().await;
}

fn play(seed: u64) {
    let told = std::panic::catch_unwind(AssertUnwindSafe(|| in_a_world_of_its_own(history(seed))));
    if let Err(panic) = told {
        eprintln!("seed {seed}; to replay: QUORATE_SEED={seed} cargo test --test stories histories");
        std::panic::resume_unwind(panic);
    }
}

fn part(part: u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("QUORATE_SEED") {
        if seed % PARTS == part {
            play(seed);
        }
        return;
    }
    let count = if std::env::var_os("QUORATE_LONG").is_some() { LONG } else { USUAL };
    for seed in (0..count).filter(|seed| seed % PARTS == part) {
        play(seed);
    }
}

#[test]
fn part_1() {
    part(0);
}

#[test]
fn part_2() {
    part(1);
}

#[test]
fn part_3() {
    part(2);
}

#[test]
fn part_4() {
    part(3);
}

#[test]
fn part_5() {
    part(4);
}

#[test]
fn part_6() {
    part(5);
}
