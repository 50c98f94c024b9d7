//! What the counterexamples have in common: three replicas A, B and C, and a FAILOVER whose answer nobody hears.

use super::{
    SOON,
    world::{Fate, World, group, name},
};
use quorate::{decide::Step, model::ReplicaName};
use standin::faults::FailoverEngine;
use std::time::Duration;

pub const A: &str = "orders-0";
pub const B: &str = "orders-1";
pub const C: &str = "orders-2";
pub const LATER: Duration = Duration::from_secs(90);

/// Three replicas at rest, with A as primary, in every engine.
pub fn three(variant: FailoverEngine) -> World {
    let mut world = World { variant, ..World::new(group(3, false)) };
    world.group.failover.minimum_interval = Duration::ZERO;
    world.healthy();
    world
}

pub fn in_every_engine(story: impl Fn(World)) {
    for variant in FailoverEngine::ALL {
        let world = three(variant);
        story(world);
    }
}

pub fn is_failover(step: &Step) -> bool {
    matches!(step, Step::Failover { .. })
}

/// Passes until a FAILOVER was sent, whose answer does not come.
pub fn until_a_failover_hangs(world: &mut World) {
    let begin = world.clock;
    while !world.mail.iter().any(is_failover) {
        assert!(world.clock - begin < SOON, "no FAILOVER\n{}", world.history.join("\n"));
        world.pass_with(|step| if is_failover(step) { Fate::Hangs } else { Fate::Lands });
    }
}

/// Passes until a FAILOVER has landed; returns whom it made primary, and nobody knows yet.
pub fn until_a_failover_lands(world: &mut World) -> ReplicaName {
    until_a_failover_hangs(world);
    let index = world.mail.iter().position(is_failover).unwrap();
    let candidate = world.mail[index].instance().unwrap().clone();
    world.deliver(index);
    assert!(world.serves(&candidate), "{}", world.history.join("\n"));
    candidate
}

pub fn deliver_all(world: &mut World) {
    while !world.mail.is_empty() {
        world.deliver(0);
        world.check();
    }
}

pub fn epoch(world: &World) -> u64 {
    world.record.as_ref().unwrap().epoch
}

pub fn is_acknowledged(world: &mut World, who: &str, row: u32) {
    assert!(world.write(&name(who), row), "{who} takes no write\n{}", world.history.join("\n"));
    world.check();
}

/// A client writes to A and passes go by; then nothing is cut or hidden any more, and the group is healthy again.
pub fn goes_on_and_heals(world: &mut World) {
    for row in 0..40 {
        world.write(&name(A), row);
        world.pass();
    }
    world.heal();
    world.healthy();
}

/// A person wants A as primary.
pub fn move_to_a(world: &mut World) {
    use quorate::decide::observation::Request;
    if world.primaries() != [A] {
        world.request = Some(Request { name: "back".into(), target: Some(name(A)), ..Request::default() });
        world.until("answered", LATER, |w, _| !w.answers.is_empty());
        world.answers.clear();
        world.healthy();
    }
    assert_eq!(world.primaries(), [A]);
}
