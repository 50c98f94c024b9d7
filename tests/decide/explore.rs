//! Breadth-first over the real `decide` and the small engine: every order of passes, crashes of the operator between two of
//! its effects, batches that land late or never, and a few faults and writes, within bounds.

use super::world::{Fate, World, group};
use quorate::decide::{Reason, Record, Step, rejoin::RETRY};
use standin::faults::FailoverEngine;
use std::{
    collections::{HashSet, VecDeque, hash_map::DefaultHasher},
    fmt::{self, Write as _},
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

/// How often each may happen on one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Budget {
    crashes: u8,
    cuts: u8,
    hides: u8,
    operator: u8,
    writes: u8,
}

const BUDGET: Budget = Budget { crashes: 1, cuts: 1, hides: 0, operator: 1, writes: 1 };
/// States after which a search ends without a verdict on the rest; more with `QUORATE_LONG`.
const STATES: usize = 12_000;
/// A pass without effects is followed by so much time: suspicion and patience take a few of them.
const IDLE: Duration = Duration::from_millis(1_500);

/// How a state came about, for people.
enum Path {
    Start,
    After(Arc<Path>, String),
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => Ok(()),
            Self::After(before, what) => write!(f, "{before}\n  {what}"),
        }
    }
}

#[derive(Clone)]
struct State {
    world: World,
    left: Budget,
    path: Arc<Path>,
}

/// Feeds what is printed into a hash.
struct Digest(DefaultHasher, DefaultHasher);

impl fmt::Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.hash(&mut self.0);
        (text, 7).hash(&mut self.1);
        Ok(())
    }
}

impl State {
    /// Everything that decides what may follow; times as far as a rule asks for them.
    fn key(&self) -> u128 {
        let mut digest = Digest(DefaultHasher::new(), DefaultHasher::new());
        let world = &self.world;
        let _ = write!(digest, "{:?}{:?}{:?}", self.left, world.acknowledged, world.cuts);
        let _ = write!(digest, "{:?}{:?}", world.open, world.clients);
        for step in &world.mail {
            let _ = match step {
                Step::Failover { replica, epoch, number, deadline, .. } => {
                    write!(digest, "{replica}{epoch}{number}{}", world.is_past(*deadline))
                }
                Step::Record(record) => write!(digest, "{:?}", timeless(record)),
                other => write!(digest, "{other:?}"),
            };
        }
        for instance in world.instances.values() {
            let settled = instance.settled.as_ref().map(|record| record.epoch);
            let again = instance.rejoining_for >= RETRY;
            let _ = write!(digest, "{:?}{:?}", (instance.up, instance.unreachable, &instance.partners), instance.copy);
            let _ = write!(
                digest,
                "{:?}{:?}",
                (instance.epoch, instance.promised, settled, again),
                (&instance.databases, &instance.log)
            );
        }
        let record = world.record.as_ref().map(timeless);
        let _ = write!(digest, "{record:?}{:?}{:?}", world.ages(), world.routed.read_write);
        u128::from(digest.0.finish()) << 64 | u128::from(digest.1.finish())
    }

    fn next(&self, what: String, change: impl FnOnce(&mut Self)) -> Self {
        let mut next = self.clone();
        next.world.history.clear();
        next.path = Arc::new(Path::After(self.path.clone(), what));
        change(&mut next);
        next
    }

    /// One pass whose effects from `at` on come to `fate`.
    fn pass(&self, at: usize, fate: Fate) -> (Self, usize, Reason) {
        let (mut effects, mut reason) = (0, Reason::Healthy);
        let next = self.next(String::new(), |next| {
            let (plan, version) = next.world.look();
            reason = plan.reason;
            next.world.carry_out(&plan, version, |step| {
                let counts = matters(step);
                effects += usize::from(counts);
                if counts && effects > at { fate } else { Fate::Lands }
            });
            next.world.wait(if plan.waves.is_empty() { plan.recheck.max(IDLE) } else { plan.recheck });
        });
        let words = match fate {
            Fate::Lands => format!("pass: {reason}"),
            Fate::Hangs => format!("pass: {reason}, no answer from effect {} on", at + 1),
            Fate::Ends => format!("pass: {reason}, the operator ends before effect {}", at + 1),
        };
        (Self { path: Arc::new(Path::After(self.path.clone(), words)), ..next }, effects, reason)
    }

    fn successors(&self) -> Vec<Self> {
        let (whole, effects, _) = self.pass(usize::MAX, Fate::Lands);
        let mut found = vec![whole];
        if self.left.operator > 0 {
            for at in 0..effects {
                for fate in [Fate::Ends, Fate::Hangs] {
                    let (mut next, ..) = self.pass(at, fate);
                    next.left.operator -= 1;
                    found.push(next);
                }
            }
        }
        for index in 0..self.world.mail.len() {
            let step = self.world.mail[index].word();
            found.push(self.next(format!("{step} lands late"), |next| next.world.deliver(index)));
            found.push(self.next(format!("{step} never lands"), |next| drop(next.world.mail.swap_remove(index))));
        }
        found.extend(self.faults());
        found
    }

    fn faults(&self) -> Vec<Self> {
        let mut found = vec![];
        let names: Vec<_> = self.world.instances.keys().cloned().collect();
        for who in &names {
            let instance = &self.world.instances[who];
            if instance.up && self.left.crashes > 0 {
                found.push(self.next(format!("{who} crashes"), |next| {
                    next.left.crashes -= 1;
                    next.world.kill(who.as_str());
                }));
            }
            if !instance.up {
                found.push(self.next(format!("{who} restarts"), |next| next.world.restart(who.as_str())));
            }
            if instance.unreachable {
                let show = |next: &mut Self| next.world.instance(who.as_str()).unreachable = false;
                found.push(self.next(format!("{who} is seen again"), show));
            }
            if self.left.cuts > 0 {
                found.push(self.next(format!("{who} is cut off from everyone"), |next| {
                    next.left.cuts -= 1;
                    next.world.instance(who.as_str()).unreachable = true;
                    let others = names.iter().filter(|other| *other != who);
                    next.world.cuts.extend(others.map(|other| (who.clone(), other.clone())));
                }));
            }
            if self.left.writes > 0 && self.world.serves(who) {
                found.push(self.next(format!("a client writes to {who}"), |next| {
                    let row = u32::from(next.left.writes);
                    next.left.writes -= 1;
                    next.world.write(who, row);
                }));
            }
        }
        if !self.world.cuts.is_empty() {
            found.push(self.next("the network heals".into(), |next| {
                next.world.cuts.clear();
                next.world.instances.values_mut().for_each(|instance| instance.unreachable = false);
            }));
        }
        found
    }
}

/// Effects at which the operator may end: whatever others could see.
fn matters(step: &Step) -> bool {
    matches!(step, Step::Record(_) | Step::StandDown { .. } | Step::Follow { .. } | Step::Failover { .. })
}

/// Without the deadline, too, which is a moment on a clock.
fn timeless(record: &Record) -> Record {
    Record { deadline: None, ..record.clone().untimed() }
}

/// Searches from a healthy group. Error: how a rule was broken.
fn search(mut world: World, quorum: u32, budget: Budget) -> Result<usize, String> {
    world.group.commit_quorum = Some(quorum);
    world.group.failover.minimum_interval = Duration::ZERO;
    let follows_on = std::mem::take(&mut world.follows_on);
    world.healthy();
    world.follows_on = follows_on;
    let states = if std::env::var_os("QUORATE_LONG").is_some() { 80 * STATES } else { STATES };
    let start = State { world, left: budget, path: Arc::new(Path::Start) };
    let mut seen = HashSet::from([start.key()]);
    let mut queue = VecDeque::from([start]);
    while let Some(state) = queue.pop_front() {
        for next in state.successors() {
            if !seen.insert(next.key()) {
                continue;
            }
            if let Some(broken) = next.world.broken() {
                return Err(format!("{broken} after {} states:{}", seen.len(), next.path));
            }
            if seen.len() >= states {
                return Ok(seen.len());
            }
            queue.push_back(next);
        }
    }
    Ok(seen.len())
}

fn holds(synchronous: u32, witness: bool, quorum: u32, variants: &[FailoverEngine]) {
    for variant in variants {
        let world = World { variant: *variant, ..World::new(group(synchronous, witness)) };
        match search(world, quorum, BUDGET) {
            Ok(states) => println!("{synchronous} synchronous, {quorum} to commit, {variant:?}: {states} states"),
            Err(broken) => panic!("{variant:?}: {broken}"),
        }
    }
}

#[test]
fn three_synchronous_replicas_keep_the_rules_within_the_bounds() {
    holds(3, false, 1, &FailoverEngine::ALL);
    holds(3, false, 0, &[FailoverEngine::Local]);
}

#[test]
fn two_replicas_and_a_configuration_only_one_keep_the_rules_within_the_bounds() {
    holds(2, true, 0, &FailoverEngine::ALL);
}

#[test]
fn two_replicas_keep_the_rules_within_the_bounds() {
    holds(2, false, 0, &[FailoverEngine::Local]);
    holds(2, false, 1, &FailoverEngine::ALL);
}

/// The search finds what it is there to find.
#[test]
fn if_standing_down_meant_nothing_two_replicas_would_acknowledge() {
    let world = World { follows_on: true, ..World::new(group(3, false)) };
    let found = search(world, 1, BUDGET);
    assert!(found.as_ref().is_err_and(|how| how.contains("can acknowledge")), "{found:?}");
}
