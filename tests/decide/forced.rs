//! What becomes of a `Failover` object when the group has no primary.

use crate::{SOON, three, world};
use quorate::{
    decide::{ElectionState, Reason, Step, observation::Request},
    model::{FailoverMode, Mode, SequenceNumber},
};
use std::time::Duration;
use world::{World, group, name};

/// Data loss is accepted for this replica at the epoch that a person read.
fn forced(world: &World, target: &str) -> Request {
    let epoch = world.record.as_ref().unwrap().epoch;
    Request { forced: true, target: Some(name(target)), expected_epoch: Some(epoch), ..planned() }
}

fn planned() -> Request {
    Request { name: "now".into(), ..Request::default() }
}

/// Three replicas of which one is left: a majority does not answer.
fn survivor() -> World {
    let mut world = three();
    world.kill("orders-0");
    world.kill("orders-2");
    for _ in 0..20 {
        world.pass();
    }
    assert_eq!(world.pass().reason, Reason::TooFewAnswers);
    world
}

fn answered(world: &mut World) -> (bool, String) {
    world.until("answered", Duration::from_secs(60), |w, _| !w.answers.is_empty());
    let (_, finished, message) = world.answers.remove(0);
    (finished.unwrap(), message)
}

#[test]
fn the_last_replica_is_promoted_when_a_person_accepts_data_loss_and_the_others_count_again_when_they_follow() {
    let mut world = survivor();
    world.request = Some(forced(&world, "orders-1"));
    let (well, message) = answered(&mut world);
    assert!(well, "{message}");
    assert!(message.contains("orders-1 at 1:") && message.contains("not seen: orders-0 (silent since"), "{message}");
    assert_eq!((world.primaries(), world.routed.read_write.clone()), (vec!["orders-1".into()], Some(name("orders-1"))));
    let record = world.record.clone().unwrap();
    assert_eq!(record.state, ElectionState::Settled);
    assert_eq!(record.voters, [name("orders-1")].into());
    assert_eq!(record.apart, [(name("orders-0"), record.epoch), (name("orders-2"), record.epoch)].into());

    world.restart("orders-2");
    world.until("one is back", SOON, |w, _| w.record.as_ref().unwrap().voters.len() == 2);
    world.restart("orders-0");
    world.healthy();
    let record = world.record.clone().unwrap();
    assert_eq!((record.voters.len(), record.apart.len(), world.primaries()), (3, 0, vec!["orders-1".to_string()]));
}

#[test]
fn an_old_primary_that_was_left_behind_never_takes_the_group_back() {
    let mut world = survivor();
    world.request = Some(forced(&world, "orders-1"));
    assert!(answered(&mut world).0);
    let epoch = world.record.as_ref().unwrap().epoch;
    world.kill("orders-1");
    // It comes back as primary, as a person or an engine might make it.
    let old = world.instance("orders-0");
    old.up = true;
    let copy = old.copy.as_mut().unwrap();
    (copy.role, copy.number) = (quorate::model::Role::Primary, SequenceNumber::new(9, 9));
    for _ in 0..60 {
        world.pass();
    }
    assert_eq!(world.record.as_ref().unwrap().primary, name("orders-1"));
    world.restart("orders-1");
    world.until("elected again", Duration::from_secs(30), |w, _| {
        w.record.as_ref().is_some_and(|record| record.state == ElectionState::Settled && record.epoch > epoch)
    });
    assert_eq!(world.record.as_ref().unwrap().primary, name("orders-1"));
    world.restart("orders-2");
    world.healthy();
    assert_eq!(world.primaries(), ["orders-1"]);
}

/// promotion.md 2: the largest membership that may be in force counts.
#[test]
fn whoever_may_have_joined_the_forced_primary_unseen_has_to_answer_before_another_is_promoted() {
    let mut world = survivor();
    world.request = Some(forced(&world, "orders-1"));
    assert!(answered(&mut world).0);
    world.restart("orders-2");
    world.until("one is back", SOON, |w, _| w.record.as_ref().unwrap().followers.contains(&name("orders-2")));
    // The third may have been told to follow, and have done so, before operator and primary went.
    world.kill("orders-1");
    for _ in 0..60 {
        world.pass();
    }
    assert!(world.primaries().is_empty(), "{:?}", world.primaries());
    let plan = world.pass();
    assert!(plan.message.starts_with("1 of 2 sequence numbers seen (orders-2 at"), "{}", plan.message);
    // It answers, and nobody told it anything: it cannot have joined.
    world.restart("orders-0");
    world.until("promoted", Duration::from_secs(30), |w, _| w.primaries() == ["orders-2"]);
}

#[test]
fn a_request_that_is_not_legal_is_refused_with_its_reason_and_nothing_is_opened() {
    type Change = fn(&mut World, &mut Request);
    let table: [(&str, Change); 7] = [
        ("spec.expectedEpoch is 7, the group is at epoch 2", |_, request| request.expected_epoch = Some(7)),
        ("spec.expectedEpoch is absent", |_, request| request.expected_epoch = None),
        ("orders-9 is not a replica of this group", |_, request| request.target = Some(name("orders-9"))),
        ("orders-2 does not answer as a member", |_, request| request.target = Some(name("orders-2"))),
        ("older than expiresAfterSeconds", |_, request| request.expired = true),
        ("holds no data", |world, _| {
            *world.instance("orders-1").copy.as_mut().unwrap().members.get_mut(&name("orders-1")).unwrap() =
                Mode::ConfigurationOnly;
        }),
        ("orders-3 holds the higher number 5:0", |world, _| {
            let mut other = world.instances[&name("orders-1")].clone();
            other.copy.as_mut().unwrap().number = SequenceNumber::new(5, 0);
            other.copy.as_mut().unwrap().members.insert(name("orders-3"), Mode::Asynchronous);
            world.instances.insert(name("orders-3"), other);
        }),
    ];
    for (wanted, change) in table {
        let mut world = survivor();
        let mut request = forced(&world, "orders-1");
        // The blocked group has its second epoch when it was suspected before two replicas were missing.
        change(&mut world, &mut request);
        let wanted = wanted.replace("epoch 2", &format!("epoch {}", world.record.as_ref().unwrap().epoch));
        world.request = Some(request);
        let (well, message) = answered(&mut world);
        assert!(!well && message.contains(&wanted), "{wanted}: {message}");
        for _ in 0..10 {
            let plan = world.pass();
            assert!(!plan.steps().any(|step| matches!(step, Step::Failover { .. })), "{wanted}");
        }
        assert!(world.primaries().is_empty(), "{wanted}");
    }
}

#[test]
fn nothing_is_forced_beside_a_primary_that_lives() {
    let mut world = three();
    world.request = Some(forced(&world, "orders-1"));
    let (well, message) = answered(&mut world);
    assert!(!well && message.contains("use mode Planned"), "{message}");

    world.instance("orders-0").unreachable = true;
    world.until("unreachable", SOON, |_, plan| plan.reason == Reason::PrimaryUnreachable);
    world.request = Some(forced(&world, "orders-1"));
    let (well, message) = answered(&mut world);
    assert!(!well && message.contains("is connected to orders-0, which lives"), "{message}");
    assert_eq!(world.primaries(), ["orders-0"]);
}

#[test]
fn a_primary_that_answers_before_anybody_was_forced_stays_and_the_request_fails() {
    let mut world = three();
    world.instance("orders-0").unreachable = true;
    world.cuts = [(name("orders-0"), name("orders-1")), (name("orders-0"), name("orders-2"))].into();
    world.kill("orders-2");
    world.until("blocked", SOON, |_, plan| plan.reason == Reason::TooFewAnswers);
    world.request = Some(forced(&world, "orders-1"));
    world.until("opened", SOON, |w, _| w.record.as_ref().is_some_and(|record| record.forced.is_some()));
    world.instance("orders-0").unreachable = false;
    world.cuts.clear();
    world.restart("orders-2");
    let (well, message) = answered(&mut world);
    assert!(!well && message.contains("nothing was forced"), "{message}");
    world.healthy();
    assert_eq!(world.primaries(), ["orders-0"]);
}

#[test]
fn with_manual_failover_a_person_asks_for_one_that_loses_nothing() {
    let mut wish = group(3, false);
    wish.failover.mode = FailoverMode::Manual;
    let mut world = World::new(wish);
    world.until("serves", Duration::from_secs(60), |w, plan| {
        plan.reason == Reason::Healthy && w.primaries() == ["orders-0"]
    });
    world.kill("orders-0");
    for _ in 0..30 {
        world.pass();
    }
    assert_eq!(world.pass().reason, Reason::ManualFailoverOnly);
    world.request = Some(Request { target: Some(name("orders-2")), ..planned() });
    let (well, message) = answered(&mut world);
    assert!(well, "{message}");
    assert_eq!(world.primaries(), ["orders-2"]);
}
