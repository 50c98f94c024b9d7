//! The real `decide`, pass by pass, over a small engine.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod any;
mod counterexamples;
mod explore;
mod forced;
mod gate;
mod histories;
mod parts;
mod passwords;
mod three;
mod upgrade;
mod warnings;
mod world;

use quorate::{
    decide::{ElectionState, Reason, observation::Request},
    model::FailoverMode,
};
use std::time::Duration;
use world::{World, group, name};

fn three() -> World {
    let mut world = World::new(group(3, false));
    world.healthy();
    world
}

const SOON: Duration = Duration::from_secs(8);

#[test]
fn one_manifest_becomes_a_settled_group_with_its_commit_quorum_and_database() {
    let world = three();
    let record = world.record.clone().unwrap();
    assert_eq!((record.state, record.primary.as_str(), record.commit_quorum), (ElectionState::Settled, "orders-0", 1));
    assert_eq!(world.routed.read_write, Some(name("orders-0")));
    assert_eq!(world.routed.readable.len(), 2);
    assert!(world.instances.values().all(|i| i.settled.is_some()), "every instance remembers the election");
}

#[test]
fn bring_up_waits_while_one_instance_is_silent() {
    let mut world = World::new(group(3, false));
    world.kill("orders-2");
    for _ in 0..50 {
        world.pass();
    }
    assert!(world.record.is_none(), "an older life may sleep on the silent one");
    world.restart("orders-2");
    world.healthy();
}

#[test]
fn a_group_at_rest_has_nothing_to_do() {
    let mut world = three();
    for _ in 0..10 {
        let plan = world.pass();
        assert_eq!((plan.reason, plan.waves.len()), (Reason::Healthy, 0));
    }
}

#[test]
fn a_lost_primary_is_replaced_by_a_follower_and_comes_back_as_a_secondary() {
    let mut world = three();
    world.kill("orders-0");
    let outage = world.until("promoted", SOON, |w, _| w.routed.read_write == Some(name("orders-1")));
    assert!(outage < Duration::from_secs(5), "{outage:?}");
    assert_eq!(world.primaries(), ["orders-1"]);
    world.restart("orders-0");
    world.healthy();
    assert_eq!(world.primaries(), ["orders-1"]);
}

#[test]
fn two_lost_replicas_block_and_say_who_is_missing() {
    let mut world = three();
    world.kill("orders-0");
    world.kill("orders-2");
    let mut last = world.pass();
    for _ in 0..20 {
        last = world.pass();
    }
    assert_eq!(last.reason, Reason::TooFewAnswers);
    assert!(last.message.starts_with("1 of 2 sequence numbers seen (orders-1 at "), "{}", last.message);
    assert!(last.message.contains("orders-2 (silent since "), "{}", last.message);
    assert!(world.primaries().is_empty());
}

#[test]
fn a_primary_that_only_we_cannot_reach_keeps_its_role() {
    let mut world = three();
    world.instance("orders-0").unreachable = true;
    for _ in 0..60 {
        let plan = world.pass();
        assert_eq!(plan.reason, Reason::PrimaryUnreachable);
    }
    assert_eq!(world.primaries(), ["orders-0"]);
    assert_eq!(world.routed.read_write, Some(name("orders-0")));
}

#[test]
fn a_primary_cut_off_from_everyone_is_replaced_and_told_to_stand_down_when_it_returns() {
    let mut world = three();
    world.instance("orders-0").unreachable = true;
    world.cuts = [(name("orders-0"), name("orders-1")), (name("orders-0"), name("orders-2"))].into();
    world.until("promoted", SOON, |w, _| w.routed.read_write == Some(name("orders-1")));
    assert_eq!(world.primaries(), ["orders-0", "orders-1"], "the old one does not know yet");
    world.cuts.clear();
    world.instance("orders-0").unreachable = false;
    world.healthy();
    assert_eq!(world.primaries(), ["orders-1"]);
}

#[test]
fn every_replica_restarted_is_an_election_over_a_majority() {
    let mut world = three();
    for who in ["orders-0", "orders-1", "orders-2"] {
        world.restart(who);
    }
    world.kill("orders-1");
    world.kill("orders-2");
    let plan = world.pass();
    assert_eq!(plan.reason, Reason::TooFewAnswers, "never one of three");
    world.restart("orders-2");
    world.until("writable", SOON, |w, _| {
        w.record.as_ref().is_some_and(|r| r.state == ElectionState::Settled) && w.primaries().len() == 1
    });
    world.restart("orders-1");
    world.healthy();
}

#[test]
fn a_planned_switchover_moves_the_role_to_its_target() {
    let mut world = three();
    world.request = Some(Request { name: "m1".into(), target: Some(name("orders-2")), ..Request::default() });
    world.until("answered", SOON, |w, _| !w.answers.is_empty());
    assert_eq!(world.primaries(), ["orders-2"]);
    assert_eq!(world.answers[0].1, Some(true), "{}", world.answers[0].2);
    world.healthy();
}

#[test]
fn a_switchover_to_a_replica_that_is_down_is_refused_at_once() {
    let mut world = three();
    world.kill("orders-2");
    world.pass();
    world.request = Some(Request { name: "m1".into(), target: Some(name("orders-2")), ..Request::default() });
    world.until("answered", SOON, |w, _| !w.answers.is_empty());
    assert_eq!((world.answers[0].1, world.primaries()), (Some(false), vec!["orders-0".to_string()]));
}

#[test]
fn deleting_the_primarys_pod_moves_the_role_first() {
    let mut world = three();
    world.deleting.insert(name("orders-0"));
    world.until("moved", SOON, |w, _| w.routed.read_write == Some(name("orders-1")));
    world.deleting.clear();
    world.healthy();
}

#[test]
fn a_refused_candidate_is_not_tried_again_at_its_number_and_the_next_one_is() {
    let mut world = three();
    world.instance("orders-1").refuses_failover = true;
    world.kill("orders-0");
    world.until("promoted", Duration::from_secs(20), |w, _| w.routed.read_write == Some(name("orders-2")));
}

#[test]
fn an_object_without_its_status_gets_its_record_back_from_the_instances() {
    let mut world = three();
    let before = world.record.take().unwrap();
    world.pass();
    assert_eq!(world.record, Some(before));
    world.healthy();
}

#[test]
fn an_object_without_its_status_waits_for_enough_instances() {
    let mut world = three();
    world.record = None;
    world.kill("orders-1");
    world.kill("orders-2");
    world.pass();
    assert!(world.record.is_none());
}

#[test]
fn two_replicas_without_commit_quorum_promote_nobody() {
    let mut world = World::new(group(2, false));
    world.healthy();
    world.kill("orders-0");
    for _ in 0..30 {
        assert_ne!(world.pass().reason, Reason::Promoting);
    }
    assert!(world.primaries().is_empty());
}

#[test]
fn two_replicas_with_commit_quorum_promote_the_survivor() {
    let mut wish = group(2, false);
    wish.commit_quorum = Some(1);
    let mut world = World::new(wish);
    world.healthy();
    assert_eq!(world.record.as_ref().unwrap().commit_quorum, 1);
    world.kill("orders-0");
    world.until("promoted", SOON, |w, _| w.primaries() == ["orders-1"]);
}

#[test]
fn two_replicas_and_a_configuration_only_one_promote_the_survivor() {
    let mut world = World::new(group(2, true));
    world.healthy();
    world.kill("orders-0");
    world.until("promoted", SOON, |w, _| w.routed.read_write == Some(name("orders-1")));
    world.restart("orders-0");
    world.healthy();
}

#[test]
fn a_configuration_only_replica_is_never_promoted() {
    let mut world = World::new(group(2, true));
    world.healthy();
    world.kill("orders-0");
    world.kill("orders-1");
    for _ in 0..30 {
        world.pass();
    }
    assert!(world.primaries().is_empty());
}

#[test]
fn a_second_failover_within_the_minimum_interval_waits() {
    let mut world = three();
    world.unplanned_at = Some(world.clock);
    world.kill("orders-0");
    for _ in 0..10 {
        world.pass();
    }
    assert_eq!(world.pass().reason, Reason::AntiFlap);
    world.until("promoted", Duration::from_secs(70), |w, _| w.primaries() == ["orders-1"]);
}

#[test]
fn a_primary_that_came_back_resolving_is_elected_anew_without_waiting_for_the_interval() {
    let mut world = three();
    world.unplanned_at = Some(world.clock);
    world.kill("orders-0");
    world.pass();
    world.restart("orders-0");
    world.until("promoted", Duration::from_secs(5), |w, _| !w.primaries().is_empty());
}

#[test]
fn without_commit_quorum_a_failover_is_left_to_a_person_where_the_mode_says_so() {
    for (quorum, wanted) in [(0, vec![]), (1, vec!["orders-1".to_owned()])] {
        let mut wish = group(3, false);
        wish.commit_quorum = Some(quorum);
        wish.failover.mode = FailoverMode::RequireCommitQuorum;
        let mut world = World::new(wish);
        world.healthy();
        world.kill("orders-0");
        for _ in 0..60 {
            world.pass();
        }
        assert_eq!(world.primaries(), wanted, "commit quorum {quorum}");
        assert!(quorum > 0 || world.pass().reason == Reason::ManualFailoverOnly);
        // The recorded primary comes back by itself in either case.
        world.restart("orders-0");
        world.healthy();
    }
}

#[test]
fn in_manual_mode_the_recorded_primary_alone_is_brought_back() {
    let mut wish = group(3, false);
    wish.failover.mode = FailoverMode::Manual;
    let mut world = World::new(wish);
    world.healthy();
    world.kill("orders-0");
    for _ in 0..60 {
        world.pass();
    }
    assert_eq!((world.pass().reason, world.primaries().len()), (Reason::ManualFailoverOnly, 0));
    for who in ["orders-0", "orders-1", "orders-2"] {
        world.restart(who);
    }
    world.healthy();
    assert_eq!(world.primaries(), ["orders-0"]);
}

#[test]
fn a_paused_group_is_left_alone_even_without_a_primary() {
    let mut world = three();
    world.group.paused = true;
    world.kill("orders-0");
    for _ in 0..20 {
        let plan = world.pass();
        assert_eq!((plan.reason, plan.waves.len()), (Reason::Paused, 0));
    }
}

#[test]
fn a_primary_that_answers_again_before_anybody_is_elected_stays_primary() {
    let mut world = three();
    world.instance("orders-0").unreachable = true;
    world.cuts = [(name("orders-0"), name("orders-1")), (name("orders-0"), name("orders-2"))].into();
    world.until("opened", SOON, |w, _| w.record.as_ref().is_some_and(|r| r.state == ElectionState::Open));
    world.pass();
    world.cuts.clear();
    world.instance("orders-0").unreachable = false;
    world.healthy();
    assert_eq!(world.primaries(), ["orders-0"]);
    assert!(world.record.as_ref().unwrap().epoch >= 3, "the election was closed in the record first");
}

#[test]
fn a_missing_database_is_never_created_again() {
    let mut world = three();
    for instance in world.instances.values_mut() {
        instance.databases.clear();
        instance.copy.as_mut().unwrap().databases.clear();
    }
    for _ in 0..10 {
        assert_eq!(world.pass().reason, Reason::DatabaseMissing);
    }
    assert!(world.instances.values().all(|i| i.databases.is_empty()));
}

#[test]
fn a_higher_epoch_on_an_instance_lifts_an_older_record() {
    let mut world = three();
    let old = world.record.clone().unwrap();
    world.kill("orders-0");
    world.until("promoted", SOON, |w, _| {
        w.primaries() == ["orders-1"] && w.record.as_ref().is_some_and(|r| r.state == ElectionState::Settled)
    });
    world.pass();
    world.record = Some(old);
    world.until("lifted", SOON, |w, _| w.record.as_ref().is_some_and(|r| r.primary == name("orders-1")));
    world.restart("orders-0");
    world.healthy();
    assert_eq!(world.primaries(), ["orders-1"]);
}
