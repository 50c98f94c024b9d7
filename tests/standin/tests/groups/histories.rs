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
    /// Promotes at once, without asking anybody to stand down first.
    SkipsTheStandDown,
    /// Is content with one answer less than a majority.
    NeedsOneLess,
    /// Sends clients to a new primary before a majority follows it.
    RoutesAtOnce,
}

struct History {
    cluster: Cluster,
    dice: Dice,
    driver: Driver,
    primary: String,
    followers: BTreeSet<String>,
    acknowledged: BTreeSet<i64>,
    next: i64,
    /// Primaries that clients were sent to and that have not left their role since.
    routed: BTreeSet<String>,
    /// Faults go on.
    faults: bool,
    lines: Vec<String>,
}

impl History {
    /// Every primary that clients are connected to gets a write; what it acknowledges must not hide anything acknowledged before.
    async fn writes(&mut self) -> Result<(), String> {
        for name in self.cluster.names.clone() {
            if self.cluster.role(&name) != Some(Role::Primary) {
                self.routed.remove(&name);
            }
            if !self.routed.contains(&name) {
                continue;
            }
            self.next += 1;
            let id = self.next;
            if self.cluster.write(&name, id).await == Ok(true) {
                let rows = self.cluster.rows(&name).await.unwrap_or_default();
                self.acknowledged.insert(id);
                self.lines.push(format!("{name} acknowledged {id}"));
                self.check(&name, &rows)?;
            }
        }
        Ok(())
    }

    fn check(&self, name: &str, rows: &BTreeSet<i64>) -> Result<(), String> {
        let lost: Vec<_> = self.acknowledged.difference(rows).collect();
        if lost.is_empty() {
            return Ok(());
        }
        Err(format!("LOST {lost:?} on {name}\n{}\n{}", self.lines.join("\n"), self.cluster.picture()))
    }

    async fn fault(&mut self) {
        let names = self.cluster.names.clone();
        let one = names[self.dice.roll(names.len())].clone();
        let other = names[self.dice.roll(names.len())].clone();
        let what = self.dice.roll(8);
        self.lines.push(format!("fault {what} {one} {other}"));
        match what {
            0 => self.cluster.crash(&one),
            1 | 2 if !self.cluster.running.contains_key(&one) => self.cluster.start(&one).await,
            3 if one != other => self.cluster.net.cut(&one, &other),
            4 => self.cluster.net.heal_all(),
            5 => self.cluster.net.freeze(&one),
            6 => {
                let (writes, kept) = (self.dice.roll(12) as u64, self.dice.roll(1_000) as u64);
                self.cluster.disk(&one).crash_at(writes, kept);
            }
            7 => self.cluster.net.cut_one_way(&one, &other),
            _ => names.iter().for_each(|name| self.cluster.net.thaw(name)),
        }
    }

    /// Replicas that the driver reaches: it sits beside the network, only a crash or a freeze hides one.
    fn answering(&self) -> Vec<String> {
        self.cluster.names.iter().filter(|name| self.cluster.number(name) > 0).cloned().collect()
    }

    /// An instance whose disk is gone ends.
    fn bury(&mut self) {
        for name in self.cluster.names.clone() {
            if self.cluster.disk(&name).crashed() && self.cluster.running.contains_key(&name) {
                self.lines.push(format!("{name} crashed within a write"));
                self.cluster.crash(&name);
            }
        }
    }

    /// The driver's pass: leave a primary alone that a majority follows; else hold an election.
    async fn drive(&mut self) -> Result<(), String> {
        let answering = self.answering();
        let serves = self.cluster.role(&self.primary) == Some(Role::Primary);
        let followed = answering.iter().filter(|name| self.cluster.connected(name)).count() + 1;
        // Now and then it suspects a primary that is well.
        let suspects = self.faults && self.dice.roll(6) == 0;
        if serves && followed > self.cluster.names.len() / 2 && !suspects {
            self.bring_back(&answering).await;
            return Ok(());
        }
        let need = self.cluster.names.len() / 2 + usize::from(self.driver != Driver::NeedsOneLess);
        if answering.len() < need {
            return Ok(());
        }
        let stood = self.stand_down(&answering).await;
        if stood.len() < need {
            return Ok(());
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
                if self.driver == Driver::RoutesAtOnce {
                    self.cluster
                        .eventually(Duration::from_secs(2), |c| c.role(&candidate) == Some(Role::Primary))
                        .await;
                    self.routed.insert(candidate.clone());
                }
                for _ in 0..self.dice.roll(4) {
                    sleep(Duration::from_secs(1)).await;
                    self.writes().await?;
                }
                self.settle(candidate, &stood).await;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Tells the replicas to stand down, as its driver does it. Returns those that did.
    async fn stand_down(&mut self, answering: &[String]) -> Vec<String> {
        let mut stood = Vec::new();
        for name in answering {
            if self.driver == Driver::SkipsTheStandDown {
                if *name != self.primary {
                    stood.push(name.clone());
                }
                continue;
            }
            if self.driver == Driver::NeedsOneLess && *name == self.primary {
                continue;
            }
            let admit: Vec<&str> = answering.iter().map(String::as_str).collect();
            self.routed.remove(name);
            if self.cluster.stand_down(name, &admit).await {
                stood.push(name.clone());
            }
        }
        stood
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
        if settled {
            self.routed.insert(candidate);
        }
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
        let number = self.cluster.number(&primary);
        let shown = answering.iter().filter(|name| self.cluster.connected(name) && self.cluster.number(name) >= number);
        if shown.count() + 1 > self.cluster.names.len() / 2 {
            self.routed.insert(primary);
        }
    }
}

async fn history(
    seed: u64,
    engine: FailoverEngine,
    modes: &[&'static str],
    commit_quorum: i64,
    driver: Driver,
) -> Result<(), String> {
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
        routed: BTreeSet::from(["sql-0".into()]),
        faults: true,
        lines: vec![format!("seed {seed} {engine:?}")],
    };
    for _ in 0..25 {
        if history.dice.roll(3) == 0 {
            history.fault().await;
        }
        history.writes().await?;
        history.bury();
        let pause = history.dice.roll(3_000) as u64;
        sleep(Duration::from_millis(pause)).await;
        history.bury();
        history.drive().await?;
        history.writes().await?;
        history.bury();
    }
    history.calm().await
}

impl History {
    /// Faults stop: within half a minute there is a primary that has every acknowledged write and takes another.
    async fn calm(mut self) -> Result<(), String> {
        self.lines.push("faults stop".into());
        self.faults = false;
        self.cluster.net.heal_all();
        for name in self.cluster.names.clone() {
            self.cluster.net.thaw(&name);
            self.cluster.disk(&name).repair();
            if !self.cluster.running.contains_key(&name) {
                self.cluster.start(&name).await;
            }
        }
        let before = self.acknowledged.len();
        for _ in 0..30 {
            sleep(Duration::from_secs(1)).await;
            self.drive().await?;
        }
        self.writes().await?;
        if self.acknowledged.len() == before {
            return Err(format!("nobody writes at the end\n{}\n{}", self.lines.join("\n"), self.cluster.picture()));
        }
        Ok(())
    }
}

async fn run(seed: u64, engine: FailoverEngine, modes: &[&'static str], commit_quorum: i64, driver: Driver) {
    if let Err(story) = history(seed, engine, modes, commit_quorum, driver).await {
        panic!("replay with QUORATE_SEED={seed}: {story}");
    }
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
    for seed in seeds(15) {
        for engine in FailoverEngine::ALL {
            run(seed, engine, &[SYNC, SYNC, SYNC], 1, Driver::KeepsTheRules).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_acknowledged_is_lost_without_a_commit_quorum() {
    for seed in seeds(10) {
        for engine in FailoverEngine::ALL {
            run(seed, engine, &[SYNC, SYNC, SYNC], 0, Driver::KeepsTheRules).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_acknowledged_is_lost_beside_a_configuration_only_replica() {
    for seed in seeds(10) {
        for engine in FailoverEngine::ALL {
            run(seed, engine, &[SYNC, SYNC, WITNESS], 0, Driver::KeepsTheRules).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_acknowledged_is_lost_with_a_commit_quorum_of_two() {
    for seed in seeds(5) {
        for engine in FailoverEngine::ALL {
            run(seed, engine, &[SYNC, SYNC, SYNC], 2, Driver::KeepsTheRules).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_acknowledged_is_lost_with_five_synchronous_replicas() {
    for seed in seeds(3) {
        for engine in FailoverEngine::ALL {
            run(seed, engine, &[SYNC; 5], 2, Driver::KeepsTheRules).await;
        }
    }
}

/// Whether some seed of a broken driver loses an acknowledged write.
fn caught(driver: Driver) -> bool {
    (0..200).any(|seed| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let story = runtime.block_on(history(seed, FailoverEngine::Local, &[SYNC, SYNC, SYNC], 0, driver));
        story.is_err_and(|story| story.contains("LOST"))
    })
}

#[test]
fn a_driver_that_ignores_numbers_is_caught() {
    assert!(caught(Driver::IgnoresNumbers));
}

#[test]
fn a_driver_that_skips_the_stand_down_is_caught() {
    assert!(caught(Driver::SkipsTheStandDown));
}

#[test]
fn a_driver_that_routes_clients_before_a_majority_follows_is_caught() {
    assert!(caught(Driver::RoutesAtOnce));
}

#[test]
fn a_driver_that_needs_one_answer_less_is_caught() {
    assert!(caught(Driver::NeedsOneLess));
}
