//! How long the parts of a change of the primary took, whoever took them.

use super::world::{World, group, name};
use quorate::{
    decide::{
        self, ElectionState, Part, Record,
        election::{Cause, Times},
    },
    model::SequenceNumber,
};
use std::time::Duration;

fn ms(parts: &[(Part, Duration)]) -> Vec<(&'static str, u128)> {
    parts.iter().map(|(part, took)| (part.as_str(), took.as_millis())).collect()
}

#[test]
fn the_parts_follow_from_the_times_in_the_record() {
    let whole = Times {
        suspected: Some(1_000),
        opened: Some(4_000),
        elected: Some(4_400),
        promoted: Some(4_700),
        settled: Some(5_000),
    };
    let table = [
        (
            "all of them",
            whole,
            Some(5_100),
            vec![("Suspected", 3_000), ("StoodDown", 400), ("Promoted", 300), ("Settled", 300), ("Routed", 100)],
        ),
        (
            "nobody was silent",
            Times { suspected: None, ..whole },
            Some(5_100),
            vec![("Suspected", 0), ("StoodDown", 400), ("Promoted", 300), ("Settled", 300), ("Routed", 100)],
        ),
        (
            "the clock of whoever settled it is behind",
            Times { promoted: Some(4_300), settled: Some(4_350), ..whole },
            Some(4_400),
            vec![("Suspected", 3_000), ("StoodDown", 400), ("Promoted", 0), ("Settled", 50), ("Routed", 50)],
        ),
        (
            "routed in another life of the object",
            whole,
            None,
            vec![("Suspected", 3_000), ("StoodDown", 400), ("Promoted", 300), ("Settled", 300)],
        ),
        ("no election", Times::default(), None, vec![]),
    ];
    for (what, times, routed, parts) in table {
        assert_eq!(ms(&times.parts(routed)), parts, "{what}");
    }
}

#[test]
fn elections_that_come_to_nothing_count_from_the_first_suspicion_until_a_primary_serves() {
    let settled = Record::first(name("orders-0"), 0).settle([name("orders-1")].into());
    let first = settled.open(2, Cause::default(), 7_000, 10_000);
    let second = first.open(3, Cause::default(), 11_000, 12_000);
    assert_eq!((second.times.suspected, second.times.opened), (Some(7_000), Some(12_000)));
    let elected = second.elect(name("orders-1"), SequenceNumber(8), 0, 12_500);
    let third = elected.open(4, Cause::default(), 20_000, 21_000);
    assert_eq!((third.times.suspected, third.times.elected), (Some(7_000), None));
    let closed = third.void(5, false);
    assert_eq!(closed.times, Times { suspected: Some(7_000), ..Times::default() });
    assert_eq!(closed.open(6, Cause::default(), 30_000, 30_000).times.suspected, Some(7_000));
    let served = closed.settle([].into()).settled_at(0, 0);
    assert_eq!(served.open(7, Cause::default(), 40_000, 40_000).times.suspected, Some(40_000));
}

#[test]
fn a_primary_that_answers_again_was_suspected_for_nothing() {
    let mut world = World::new(group(3, false));
    world.healthy();
    world.instance("orders-0").unreachable = true;
    world.cuts = [(name("orders-0"), name("orders-1")), (name("orders-0"), name("orders-2"))].into();
    let is_open = |w: &World| w.record.as_ref().is_some_and(|r| r.state == ElectionState::Open);
    world.until("opened", Duration::from_secs(20), |w, _| is_open(w));
    assert!(world.record.as_ref().unwrap().times.suspected.is_some());
    world.cuts.clear();
    world.instance("orders-0").unreachable = false;
    world.healthy();
    assert_eq!(world.record.unwrap().times, Times::default());
}

#[test]
fn a_primary_stays_suspected_while_another_one_is_elected_in_its_place() {
    let mut world = World::new(group(3, false));
    world.healthy();
    world.kill("orders-0");
    let is = |w: &World, state| w.record.as_ref().is_some_and(|r| r.epoch > 1 && r.state == state);
    world.until("elected", Duration::from_secs(20), |w, _| is(w, ElectionState::Elected));
    let seen = world.observe();
    assert!(decide::diagnose::primary_is_lost(&seen), "an election that comes to nothing does not begin at zero");
    world.restart("orders-0");
    assert!(!decide::diagnose::primary_is_lost(&world.observe()), "it answers");
}

#[test]
fn a_record_carries_its_times_from_one_process_to_the_next() {
    let mut world = World::new(group(3, false));
    world.healthy();
    world.kill("orders-0");
    for state in [ElectionState::Open, ElectionState::Elected, ElectionState::Settled] {
        let there = |w: &World| w.record.as_ref().is_some_and(|record| record.epoch > 1 && record.state == state);
        world.until("a step", Duration::from_secs(20), |w, _| there(w));
        world.operator_restarts();
    }
    let times = world.record.as_ref().unwrap().times;
    let all = [times.suspected, times.opened, times.elected, times.promoted, times.settled];
    assert!(all.iter().all(Option::is_some) && all.is_sorted(), "{times:?}");
    let before = world.record.clone();
    world.restart("orders-0");
    world.healthy();
    let after = world.record.unwrap();
    assert_eq!((after.epoch, after.times), (before.unwrap().epoch, times), "a follower more changes no time");
}
