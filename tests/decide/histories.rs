//! Random histories of faults and writes: no acknowledged write is ever missing on a replica that can acknowledge, and
//! when the faults stop the group is writable again.

use super::world::{Fate, World, group};
use quorate::model::ReplicaName;
use standin::faults::FailoverEngine;
use std::time::Duration;

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

fn fault(world: &mut World, dice: &mut Dice) {
    let names: Vec<ReplicaName> = world.instances.keys().cloned().collect();
    let one = names[dice.roll(names.len())].clone();
    let other = names[dice.roll(names.len())].clone();
    world.history.push(String::new());
    let what = match dice.roll(8) {
        0 => {
            world.kill(one.as_str());
            format!("kill {one}")
        }
        1 | 2 => {
            if !world.instances[&one].up {
                world.restart(one.as_str());
            }
            format!("start {one}")
        }
        3 if one != other => {
            world.cuts.insert((one.clone(), other.clone()));
            format!("cut {one} {other}")
        }
        4 => {
            world.cuts.clear();
            "heal".into()
        }
        5 => {
            world.instance(one.as_str()).unreachable = true;
            format!("hide {one}")
        }
        6 => {
            world.instance(one.as_str()).unreachable = false;
            format!("show {one}")
        }
        _ => {
            world.operator_restarts();
            "operator restarts".into()
        }
    };
    world.history.push(format!("======== {what}"));
}

/// One pass, or two operators in each other's way; each effect may hang or be the operator's last.
fn passes(world: &mut World, dice: &mut Dice) {
    let (plan, version) = world.look();
    if dice.roll(6) == 0 {
        // The other operator looks and acts between our look and our acts.
        let ours = std::mem::take(&mut world.operator);
        world.history.push("======== another operator".into());
        let (theirs, seen) = world.look();
        world.carry_out(&theirs, seen, |_| fate(dice));
        world.operator = ours;
    }
    world.carry_out(&plan, version, |_| fate(dice));
    world.wait(plan.recheck);
    if !world.mail.is_empty() && dice.roll(3) == 0 {
        let index = dice.roll(world.mail.len());
        world.deliver(index);
    }
}

fn fate(dice: &mut Dice) -> Fate {
    match dice.roll(16) {
        0 => Fate::Hangs,
        1 => Fate::Ends,
        _ => Fate::Lands,
    }
}

fn run(seed: u64, mut world: World) {
    let mut dice = Dice(seed);
    world.variant = FailoverEngine::ALL[dice.roll(3)];
    world.follows_lower_numbers = dice.roll(2) == 0;
    world.returns_by_itself = dice.roll(2) == 0;
    world.marks_itself_alone = dice.roll(2) == 0;
    world.restarts_as_primary = dice.roll(4) == 0;
    world.healthy();
    world.group.failover.minimum_interval = Duration::ZERO;
    for row in 0..120u32 {
        if dice.roll(4) == 0 {
            fault(&mut world, &mut dice);
        }
        if dice.roll(2) == 0 {
            world.engine();
        }
        for who in world.instances.keys().cloned().collect::<Vec<_>>() {
            world.write(&who, row * 10 + who.ordinal());
        }
        world.check();
        passes(&mut world, &mut dice);
    }
    world.mail.clear();
    world.history.push("======== faults stop".into());
    world.cuts.clear();
    for who in world.instances.keys().cloned().collect::<Vec<_>>() {
        world.instance(who.as_str()).unreachable = false;
        if !world.instances[&who].up {
            world.restart(who.as_str());
        }
    }
    // A replica that cannot be let back joins anew after five minutes (promotion.md 6).
    let bound = Duration::from_secs(420);
    let took = world.until(&format!("seed {seed}: healthy again"), bound, |w, plan| {
        plan.reason == quorate::decide::Reason::Healthy && w.primaries().len() == 1
    });
    let anew = world.history.iter().any(|line| line.contains("Leave {"));
    assert!(anew || took < Duration::from_secs(120), "seed {seed}: healthy after {took:?}");
    let primary = super::world::name(&world.primaries()[0]);
    assert!(
        world.acknowledged.iter().all(|row| world.instances[&primary].log.contains(row)),
        "seed {seed}: an acknowledged write is gone"
    );
}

fn seeds() -> std::ops::Range<u64> {
    match std::env::var("QUORATE_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None if std::env::var_os("QUORATE_LONG").is_some() => 0..5_000,
        None => 0..150,
    }
}

#[test]
fn three_synchronous_replicas_lose_nothing_and_come_back() {
    seeds().for_each(|seed| run(seed, World::new(group(3, false))));
}

#[test]
fn three_replicas_without_commit_quorum_lose_nothing_and_come_back() {
    for seed in seeds() {
        let mut wish = group(3, false);
        wish.commit_quorum = Some(0);
        run(seed, World::new(wish));
    }
}

#[test]
fn two_replicas_and_a_configuration_only_one_lose_nothing_and_come_back() {
    seeds().for_each(|seed| run(seed, World::new(group(2, true))));
}

#[test]
fn two_replicas_with_commit_quorum_lose_nothing_and_come_back() {
    for seed in seeds() {
        let mut wish = group(2, false);
        wish.commit_quorum = Some(1);
        run(seed, World::new(wish));
    }
}

#[test]
fn five_replicas_lose_nothing_and_come_back() {
    seeds().for_each(|seed| run(seed, World::new(group(5, false))));
}
