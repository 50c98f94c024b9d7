//! The shortest ways in which earlier forms of the protocol lost a commit or never wrote again, found by checking a model of
//! it. Each holds by one part of the protocol; `cargo lab mutants` shows that it fails without that part.

use super::{
    SOON,
    three::*,
    world::{Fate, World, group, name},
};
use quorate::{
    decide::{ElectionState, Reason, Step},
    model::SequenceNumber,
};
use standin::faults::FailoverEngine;
use std::time::Duration;

/// Counterexamples 1 and 11: a restarted primary is elected again and serves; the operator loses its own path to it.
#[test]
fn that_a_container_ended_once_is_no_proof_that_its_primary_is_gone() {
    in_every_engine(|mut world| {
        world.instance(A).terminated = true;
        world.instance(A).unreachable = true;
        for row in 0..30 {
            assert_eq!(world.pass().reason, Reason::PrimaryUnreachable);
            is_acknowledged(&mut world, A, row);
        }
        assert_eq!(world.primaries(), [A]);
    });
}

/// Counterexample 2: the voters went back to the old primary while a FAILOVER was under way.
#[test]
fn a_failover_whose_election_was_given_up_never_takes_effect() {
    in_every_engine(|mut world| {
        let table = [1, 2, 4, 8, 16, 100].into_iter().flat_map(|late| [None, Some(B), Some(C)].map(|who| (late, who)));
        for (late, hidden) in table {
            world.isolate(A);
            until_a_failover_hangs(&mut world);
            world.operator_restarts();
            world.heal();
            if let Some(hidden) = hidden {
                world.instance(hidden).unreachable = true;
            }
            let row = epoch(&world) as u32 * 1_000;
            for at in 0..120 {
                if at == late {
                    deliver_all(&mut world);
                }
                world.pass();
                world.write(&name(A), row + at);
                world.check();
            }
            world.heal();
            world.healthy();
            move_to_a(&mut world);
        }
    });
}

/// Counterexample 3: it goes on raising its number alone, and is ahead of the primary when it is seen again.
#[test]
fn a_primary_that_nobody_followed_stands_down_for_the_recorded_one_whatever_its_number() {
    let mut world = three(FailoverEngine::Local);
    world.isolate(A);
    let phantom = until_a_failover_lands(&mut world);
    world.isolate(phantom.as_str());
    world.cuts.retain(|(a, b)| ![a, b].contains(&&name(A)) || [a, b].contains(&&phantom));
    world.instance(A).unreachable = false;
    world.until("another primary", LATER, |w, plan| {
        plan.waves.is_empty() && w.record.as_ref().is_some_and(|r| r.state == ElectionState::Settled)
    });
    let primary = world.record.as_ref().unwrap().primary.clone();
    assert_ne!(primary, phantom);
    is_acknowledged(&mut world, primary.as_str(), 1);
    world.instance(phantom.as_str()).copy.as_mut().unwrap().number = SequenceNumber::new(9, 9);
    world.heal();
    world.healthy();
    assert_eq!(world.primaries(), [primary.to_string()]);
}

/// Counterexamples 4 and 8: SET (ROLE = SECONDARY) names no primary, and engines may go back by themselves.
#[test]
fn a_replica_that_stood_down_is_not_picked_up_by_the_primary_that_nobody_sees() {
    for returns_by_itself in [false, true] {
        in_every_engine(|mut world| {
            world.returns_by_itself = returns_by_itself;
            world.isolate(A);
            until_a_failover_hangs(&mut world);
            let candidate = world.mail[0].instance().unwrap().clone();
            // The other one sees A again; neither the operator nor the candidate does.
            world.cuts.retain(|(a, b)| [a, b].contains(&&candidate));
            world.engine();
            world.write(&name(A), 100);
            world.engine();
            deliver_all(&mut world);
            goes_on_and_heals(&mut world);
        });
    }
}

/// Counterexample 5: an old statement arrives after the voter was read.
#[test]
fn a_statement_that_is_older_than_the_stand_down_does_nothing() {
    in_every_engine(|mut world| {
        world.restart(B);
        while world.mail.is_empty() {
            world.pass_with(|step| if matches!(step, Step::Follow { .. }) { Fate::Hangs } else { Fate::Lands });
        }
        world.isolate(A);
        world.until("elected", SOON, |w, _| w.record.as_ref().is_some_and(|r| r.state == ElectionState::Elected));
        world.cuts.clear();
        deliver_all(&mut world);
        assert!(world.connected(&name(B)).as_ref() != Some(&name(A)), "{}", world.history.join("\n"));
        goes_on_and_heals(&mut world);
    });
}

/// Counterexample 6: two elections raise to the same number; nobody joined the first.
#[test]
fn an_equal_number_from_an_election_that_nobody_joined_elects_nobody() {
    let mut world = three(FailoverEngine::Local);
    world.restart(A);
    assert_eq!(until_a_failover_lands(&mut world), name(A));
    world.isolate(A);
    world.until("another primary", LATER, |w, plan| {
        let settled = w.record.as_ref().is_some_and(|r| r.state == ElectionState::Settled);
        settled && plan.waves.is_empty() && w.primaries().len() == 2
    });
    is_acknowledged(&mut world, B, 1);
    let number = world.instances[&name(C)].copy.as_ref().unwrap().number;
    world.kill(B);
    world.heal();
    world.restart(A);
    world.instance(A).copy.as_mut().unwrap().number = number;
    world.until("elected", LATER, |w, _| w.primaries().len() == 1 && w.clients.len() == 1);
    assert_eq!(world.primaries(), [C]);
    is_acknowledged(&mut world, C, 2);
}

/// Counterexample 7: the old primary is elected again, and clients still have its address.
#[test]
fn clients_reach_no_primary_before_a_majority_follows_it() {
    for seen in [false, true] {
        let mut wish = group(3, false);
        wish.commit_quorum = Some(0);
        let mut world = World { marks_itself_alone: true, ..World::new(wish) };
        world.healthy();
        world.restart(A);
        assert_eq!(until_a_failover_lands(&mut world), name(A));
        world.isolate(A);
        world.instance(A).unreachable = !seen;
        for row in 0..20 {
            assert!(!world.write(&name(A), row), "nobody followed it, and nobody would know this row");
            world.pass();
        }
        world.isolate(A);
        world.until("another primary", LATER, |w, _| w.clients == [name(B)].into());
        is_acknowledged(&mut world, B, 100);
        world.heal();
        world.healthy();
    }
}

/// Counterexample 9: of two replicas one could be promoted while the other still acknowledges alone.
#[test]
fn two_replicas_lower_the_recorded_commit_quorum_first_and_raise_the_engines_first() {
    for (before, after) in [(1, 0), (0, 1)] {
        for ends in 0..6 {
            let mut wish = group(2, false);
            wish.commit_quorum = Some(before);
            let mut world = World::new(wish);
            world.healthy();
            world.group.commit_quorum = Some(after);
            let mut effects = 0;
            for _ in 0..3 {
                world.pass_with(|_| {
                    effects += 1;
                    if effects > ends { Fate::Ends } else { Fate::Lands }
                });
            }
            world.isolate(A);
            goes_on_and_heals(&mut world);
        }
    }
}

/// Counterexample 10: of two replicas each would drop the other.
#[test]
fn nobody_else_is_sent_a_failover_while_one_may_still_land() {
    let mut world = World::new(group(2, false));
    world.healthy();
    world.restart(A);
    world.restart(B);
    until_a_failover_hangs(&mut world);
    let first = world.mail.iter().find(|step| is_failover(step)).and_then(Step::instance).unwrap().clone();
    world.operator_restarts();
    let begin = world.clock;
    while world.clock - begin < Duration::from_secs(4) {
        world.pass_with(|step| {
            assert!(!is_failover(step) || step.instance() == Some(&first), "{step:?} beside that to {first}");
            Fate::Ends
        });
    }
    deliver_all(&mut world);
    world.healthy();
}

/// Counterexample 11: one page of the documentation says that a restarted primary is primary.
#[test]
fn a_primary_that_restarts_as_primary_beside_a_new_one_stands_down() {
    in_every_engine(|mut world| {
        world.restarts_as_primary = true;
        world.kill(A);
        world.until("another primary", SOON, |w, _| w.clients == [name(B)].into());
        is_acknowledged(&mut world, B, 1);
        world.restart(A);
        world.check();
        world.healthy();
        assert_eq!(world.primaries(), [B]);
    });
}

/// Counterexample 12: the suspicion is stale when the statement arrives.
#[test]
fn a_voter_that_is_connected_again_does_not_stand_down() {
    in_every_engine(|mut world| {
        world.isolate(A);
        world.until("opened", SOON, |w, _| w.record.as_ref().is_some_and(|r| r.state == ElectionState::Open));
        let (plan, version) = world.look();
        assert_eq!(plan.steps().filter(|step| matches!(step, Step::StandDown { .. })).count(), 2);
        world.cuts.clear();
        world.engine();
        world.carry_out(&plan, version, |_| Fate::Lands);
        assert_eq!([B, C].map(|who| world.connected(&name(who))), [Some(name(A)), Some(name(A))]);
        is_acknowledged(&mut world, A, 1);
        for _ in 0..20 {
            world.pass();
        }
        is_acknowledged(&mut world, A, 2);
        world.heal();
        world.healthy();
        assert_eq!(world.primaries(), [A]);
    });
}

/// Counterexample 13a: it answers again, and the others promised or hold more.
#[test]
fn a_primary_that_the_voters_refuse_gives_way() {
    in_every_engine(|mut world| {
        world.isolate(A);
        let lost = until_a_failover_lands(&mut world);
        world.kill(lost.as_str());
        world.heal();
        world.until("writable", Duration::from_secs(180), |w, plan| {
            plan.waves.is_empty() && w.clients.iter().any(|who| w.clone().write(who, 1))
        });
        world.restart(lost.as_str());
        world.healthy();
    });
}

/// Counterexample 13a, as it can come here: the object comes back from a backup with the record of a primary that the others
/// have left behind since, and which restarted as primary. Nobody is sent back behind what was acknowledged meanwhile.
#[test]
fn a_primary_that_is_behind_its_voters_gives_way_to_them() {
    in_every_engine(|mut world| {
        let backup = world.record.clone();
        world.isolate(A);
        let stored = |step: &Step| matches!(step, Step::StoreSettled { .. });
        while !world.clients.contains(&name(B)) {
            world.pass_with(|step| if stored(step) { Fate::Ends } else { Fate::Lands });
        }
        is_acknowledged(&mut world, B, 1);
        world.kill(B);
        (world.record, world.version) = (backup, world.version + 1);
        world.operator_restarts();
        world.heal();
        world.until("writable", Duration::from_secs(60), |w, plan| {
            plan.waves.is_empty() && w.clients.iter().any(|who| w.clone().write(who, 2))
        });
        assert_eq!(world.primaries(), [C]);
        world.restart(B);
        world.healthy();
    });
}

/// Counterexample 13b: the record goes back to the one that serves before anything else is decided.
#[test]
fn an_election_that_the_engine_refuses_does_not_depose_a_healthy_primary() {
    in_every_engine(|mut world| {
        world.instance(B).refuses_failover = true;
        world.instance(C).refuses_failover = true;
        world.isolate(A);
        world.until("refused", LATER, |_, plan| plan.reason == Reason::EngineRefused);
        world.heal();
        let promised = world.variant == FailoverEngine::MajorityBeforePromotion;
        world.instance(B).refuses_failover = !promised;
        world.until("healthy", Duration::from_secs(200), |_, plan| {
            plan.reason == Reason::Healthy && plan.waves.is_empty()
        });
        // Voters that promised another number cannot go back to it: whoever they promised it to gets them in the end.
        let primary = world.primaries()[0].clone();
        assert!(promised || primary == A, "{primary}");
        is_acknowledged(&mut world, &primary, 1);
    });
}

/// Counterexample 13c.
#[test]
fn a_candidate_that_was_refused_for_a_passing_cause_is_tried_again() {
    in_every_engine(|mut world| {
        world.instance(B).refuses_failover = true;
        world.instance(C).refuses_failover = true;
        world.kill(A);
        world.until("refused", LATER, |_, plan| plan.reason == Reason::EngineRefused);
        world.instance(B).refuses_failover = false;
        world.instance(C).refuses_failover = false;
        world.until("promoted", LATER, |w, _| !w.clients.is_empty());
    });
}

/// Counterexample 14: it needs no configuration to go on alone, and what proves that is the voters' own copy.
#[test]
fn voters_whom_the_primary_dropped_before_they_stood_down_are_refused() {
    let mut wish = group(3, false);
    wish.commit_quorum = Some(0);
    let mut world = World::new(wish);
    world.healthy();
    world.lagging = [name(B), name(C)].into();
    world.pass();
    world.isolate(A);
    for row in 0..40 {
        is_acknowledged(&mut world, A, row);
        world.pass();
    }
    assert_eq!(world.pass().reason, Reason::EngineRefused);
    assert_eq!(world.primaries(), [A]);
    world.lagging.clear();
    world.heal();
    world.healthy();
    assert_eq!(world.primaries(), [A]);
}

/// Counterexample 16: one sees the old primary and closes the election; the other owns it and has counted already.
#[test]
fn of_two_operators_with_one_record_only_one_goes_on() {
    in_every_engine(|mut world| {
        world.isolate(A);
        world.until("opened", SOON, |w, _| w.record.as_ref().is_some_and(|r| r.state == ElectionState::Open));
        world.pass();
        world.heal();
        let (closes, closes_at) = world.look();
        assert_eq!(closes.reason, Reason::ElectionClosed);
        world.isolate(A);
        until_a_failover_hangs(&mut world);
        world.heal();
        world.carry_out(&closes, closes_at, |_| Fate::Lands);
        world.check();
        world.write(&name(A), 1);
        deliver_all(&mut world);
        world.healthy();
    });
}

/// Found by the search: a StandDown that lands late takes a primary down that was just promoted. Going back to the one before
/// it, whose next commits have lower numbers than the promotion, would lose them as soon as the numbers are compared.
#[test]
fn nobody_goes_back_behind_a_promotion_that_took_effect() {
    let mut world = World::new(group(2, true));
    world.group.commit_quorum = Some(0);
    world.group.failover.minimum_interval = Duration::ZERO;
    world.healthy();
    world.isolate(A);
    let mut late = false;
    while !late {
        world.pass_with(|step| {
            late |= matches!(step, Step::StandDown { .. });
            if late { Fate::Hangs } else { Fate::Lands }
        });
    }
    world.until("promoted", SOON, |w, _| w.primaries().contains(&B.to_string()));
    let for_b = |step: &Step| matches!(step, Step::StandDown { replica, .. } if *replica == name(B));
    let index = world.mail.iter().position(for_b).unwrap();
    world.deliver(index);
    for _ in 0..60 {
        world.pass();
        assert_ne!(world.record.as_ref().unwrap().primary, name(A), "{}", world.history.join("\n"));
        if world.record.as_ref().unwrap().state == ElectionState::Settled {
            break;
        }
    }
    world.instance(A).unreachable = false;
    world.write(&name(A), 1);
    world.kill(B);
    world.pass();
    world.restart(B);
    world.pass();
    world.heal();
    world.healthy();
}
