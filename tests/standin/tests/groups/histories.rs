//! Random histories of writes, crashes, partitions and role changes. A driver that keeps the rules of promotion loses no
//! acknowledged write, whichever way FAILOVER works inside; a driver that breaks one of them is caught.

use crate::cluster::{Cluster, SYNC, WITNESS};
use standin::{ddl::GroupStatement, faults::FailoverEngine, group::roles::Role};
use std::{collections::BTreeSet, time::Duration};
use tokio::time::sleep;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }
}

/// Which rule the driver breaks.
#[derive(Clone, Copy, PartialEq)]
enum Driver {
    KeepsTheRules,
    /// Promotes whoever answers first, not the highest number.
    IgnoresNumbers,
}

struct History {
    cluster: Cluster,
    dice: Dice,
    driver: Driver,
    primary: String,
    followers: BTreeSet<String>,
    acknowledged: BTreeSet<i64>,
    next: i64,
    lines: Vec<String>,
}

impl History {
    async fn writes(&mut self) {
        for name in self.cluster.names.clone() {
            if self.cluster.role(&name) != Some(Role::Primary) {
                continue;
            }
            self.next += 1;
            let id = self.next;
            if self.cluster.write(&name, id).await == Ok(true) {
                let rows = self.cluster.rows(&name).await.unwrap_or_default();
                let lost: Vec<_> = self.acknowledged.difference(&rows).collect();
                assert!(
                    lost.is_empty(),
                    "LOST {lost:?}: {name} acknowledged {id} without them\n{}\n{}",
                    self.lines.join("\n"),
                    self.cluster.picture()
                );
                self.acknowledged.insert(id);
            }
        }
    }

    async fn fault(&mut self) {
        let names = self.cluster.names.clone();
        let one = names[self.dice.roll(names.len())].clone();
        let other = names[self.dice.roll(names.len())].clone();
        let what = self.dice.roll(6);
        self.lines.push(format!("fault {what} {one} {other}"));
        match what {
            0 => self.cluster.crash(&one),
            1 | 2 if !self.cluster.running.contains_key(&one) => self.cluster.start(&one).await,
            3 if one != other => self.cluster.net.cut(&one, &other),
            4 => self.cluster.net.heal_all(),
            5 => self.cluster.net.freeze(&one),
            _ => names.iter().for_each(|name| self.cluster.net.thaw(name)),
        }
    }

    /// Replicas that the driver reaches: it sits beside the network, only a crash or a freeze hides one.
    fn answering(&self) -> Vec<String> {
        self.cluster.names.iter().filter(|name| self.cluster.number(name) > 0).cloned().collect()
    }

    /// The driver's pass: leave a primary alone that a majority follows; else hold an election.
    async fn drive(&mut self) {
        let answering = self.answering();
        let serves = self.cluster.role(&self.primary) == Some(Role::Primary);
        let followed = answering.iter().filter(|name| self.cluster.connected(name)).count() + 1;
        if serves && followed > self.cluster.names.len() / 2 {
            self.bring_back(&answering).await;
            return;
        }
        if answering.len() <= self.cluster.names.len() / 2 {
            return;
        }
        let mut stood = Vec::new();
        for name in &answering {
            let admit: Vec<&str> = answering.iter().map(String::as_str).collect();
            if self.cluster.stand_down(name, &admit).await {
                stood.push(name.clone());
            }
        }
        if stood.len() <= self.cluster.names.len() / 2 {
            return;
        }
        let highest = stood.iter().map(|name| self.cluster.number(name)).max().unwrap_or(0);
        let candidates =
            stood.iter().filter(|name| self.driver == Driver::IgnoresNumbers || self.cluster.number(name) == highest);
        let candidates: Vec<_> =
            candidates.filter(|name| self.followers.contains(*name) || **name == self.primary).cloned().collect();
        for candidate in candidates {
            let answer = self.cluster.statement(&candidate, GroupStatement::Failover).await;
            self.lines
                .push(format!("failover {candidate} of {stood:?}: {:?}", answer.as_ref().err().map(|e| e.number)));
            if answer.is_ok() {
                self.cluster.admit_all(&candidate);
                self.settle(candidate, &stood).await;
                return;
            }
        }
    }

    async fn settle(&mut self, candidate: String, stood: &[String]) {
        self.cluster.eventually(Duration::from_secs(2), |c| c.role(&candidate) == Some(Role::Primary)).await;
        let before = std::mem::replace(&mut self.primary, candidate.clone());
        let kept = std::mem::take(&mut self.followers);
        for name in stood.iter().filter(|name| **name != candidate) {
            self.follow(name).await;
        }
        let majority = self.cluster.names.len() / 2;
        let settled = self
            .cluster
            .eventually(Duration::from_secs(3), |c| {
                stood.iter().filter(|name| c.connected(name) && c.number(name) >= c.number(&candidate)).count()
                    >= majority
            })
            .await;
        self.followers = stood.iter().filter(|name| self.cluster.connected(name)).cloned().collect();
        if !settled {
            // Nobody was seen following it: whoever came before stays a candidate.
            self.followers.extend(kept);
            self.followers.insert(before);
        }
    }

    async fn follow(&mut self, name: &str) {
        let primary = self.primary.clone();
        if self.cluster.role(name) != Some(Role::Resolving) {
            self.cluster.stand_down(name, &[&primary]).await;
        }
        self.cluster.admit_only(name, &primary);
        let _ = self.cluster.statement(name, GroupStatement::SetRoleSecondary).await;
    }

    async fn bring_back(&mut self, answering: &[String]) {
        let primary = self.primary.clone();
        for name in answering.iter().filter(|name| **name != primary) {
            match self.cluster.role(name) {
                Some(Role::Secondary) if self.cluster.connected(name) => {
                    if self.cluster.number(name) >= self.cluster.number(&self.primary) {
                        self.followers.insert(name.clone());
                    }
                }
                Some(Role::Secondary) => {}
                _ => self.follow(&name.clone()).await,
            }
        }
    }
}

async fn run(seed: u64, engine: FailoverEngine, modes: &[&'static str], commit_quorum: i64, driver: Driver) {
    let cluster = Cluster::new(seed, engine, modes).await;
    cluster.bring_up(commit_quorum).await;
    let followers = cluster.names[1..].iter().cloned().collect();
    let mut history = History {
        cluster,
        dice: Dice(seed),
        driver,
        primary: "sql-0".into(),
        followers,
        acknowledged: BTreeSet::new(),
        next: 0,
        lines: vec![format!("seed {seed} {engine:?}")],
    };
    for _ in 0..25 {
        if history.dice.roll(3) == 0 {
            history.fault().await;
        }
        history.writes().await;
        let pause = history.dice.roll(3_000) as u64;
        sleep(Duration::from_millis(pause)).await;
        history.drive().await;
        history.writes().await;
    }
    history.lines.push("faults stop".into());
    history.cluster.net.heal_all();
    for name in history.cluster.names.clone() {
        history.cluster.net.thaw(&name);
        if !history.cluster.running.contains_key(&name) {
            history.cluster.start(&name).await;
        }
    }
    for _ in 0..30 {
        sleep(Duration::from_secs(1)).await;
        history.drive().await;
    }
    history.writes().await;
    let rows = history.cluster.rows(&history.primary).await;
    let rows = rows.unwrap_or_else(|error| {
        panic!(
            "seed {seed} {engine:?}: not readable at the end: {error}\n{}\n{}",
            history.lines.join("\n"),
            history.cluster.picture()
        )
    });
    assert!(
        history.acknowledged.is_subset(&rows),
        "seed {seed} {engine:?}: LOST at the end {:?}\n{}",
        history.acknowledged.difference(&rows),
        history.lines.join("\n")
    );
}

fn seeds(normal: u64) -> std::ops::Range<u64> {
    match std::env::var("QUORATE_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None if std::env::var_os("QUORATE_LONG").is_some() => 0..normal * 20,
        None => 0..normal,
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_acknowledged_is_lost_with_three_synchronous_replicas() {
    for seed in seeds(6) {
        for engine in FailoverEngine::ALL {
            run(seed, engine, &[SYNC, SYNC, SYNC], 1, Driver::KeepsTheRules).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_acknowledged_is_lost_without_a_commit_quorum() {
    for seed in seeds(4) {
        for engine in FailoverEngine::ALL {
            run(seed, engine, &[SYNC, SYNC, SYNC], 0, Driver::KeepsTheRules).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_acknowledged_is_lost_beside_a_configuration_only_replica() {
    for seed in seeds(4) {
        for engine in FailoverEngine::ALL {
            run(seed, engine, &[SYNC, SYNC, WITNESS], 0, Driver::KeepsTheRules).await;
        }
    }
}

/// Whether some seed of a broken driver loses an acknowledged write.
fn caught(driver: Driver) -> bool {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let lost = (0..100).any(|seed| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let work = std::panic::AssertUnwindSafe(|| {
            runtime.block_on(run(seed, FailoverEngine::Local, &[SYNC, SYNC, SYNC], 0, driver))
        });
        let result = std::panic::catch_unwind(work);
        result.is_err_and(|panic| panic.downcast_ref::<String>().is_some_and(|text| text.contains("LOST")))
    });
    std::panic::set_hook(hook);
    lost
}

#[test]
fn a_driver_that_ignores_numbers_is_caught() {
    assert!(caught(Driver::IgnoresNumbers));
}
