//! After the switch: back to production as it was, when a person says that what was written since is to be lost.

use super::{
    another, goes_on, reaches, succeeds, until,
    world::{PRODUCTION, STAGE, World},
};
use quorate::{
    decide::upgrade::{Reason, Step, decide},
    model::{FenceState, upgrade::Approval},
};

/// Users are on the new version and have written there.
fn switched(step: Step) -> World {
    switched_in(World::new(), step)
}

fn switched_in(mut world: World, step: Step) -> World {
    if step == Step::Soaking {
        world.wish.manual = [Approval::Retire].into();
        reaches(&mut world, step);
    } else {
        succeeds(&mut world);
    }
    (0..8).for_each(|_| goes_on(&mut world));
    world.check(world.told[STAGE].len() > 3, "nobody wrote on the stage");
    world
}

fn ask(world: &mut World) {
    (world.wish.abort, world.wish.discards) = (true, true);
}

fn stage_fence(world: &World) -> Option<FenceState> {
    Some(world.sides[STAGE].upgrade.as_ref()?.fence.as_ref()?.state)
}

/// Users write on production as it was at the switch; the stage keeps what was written there and takes no more.
fn is_back(world: &mut World) {
    let (told, on_stage) = (world.told[PRODUCTION].clone(), world.told[STAGE].clone());
    reaches(world, Step::RolledBack);
    (0..20).for_each(|_| goes_on(world));
    let failure = world.record.as_ref().and_then(|record| record.failure.clone()).map(|failure| failure.reason);
    assert_eq!((failure, world.online()), (Some(Reason::Discarded), "shop-v1"));
    world.check(world.told[PRODUCTION].len() > told.len() && world.is_open(PRODUCTION), "nobody writes on production");
    world.check(told.is_subset(&world.sides[PRODUCTION].commits), "production lost what it had");
    world.check(on_stage.is_subset(&world.sides[STAGE].commits), "what was written on the stage is gone");
    world.check(!world.is_open(STAGE) && !world.stage_session, "the stage takes writes");
    assert_eq!((stage_fence(world), world.fence()), (Some(FenceState::Kept), None));
}

#[test]
fn with_both_words_users_go_back_and_the_stage_keeps_what_they_wrote() {
    let worlds = [World::new, World::in_two_regions].into_iter();
    for (world, step) in worlds.flat_map(|world| [(world(), Step::Soaking), (world(), Step::Succeeded)]) {
        let mut world = switched_in(world, step);
        ask(&mut world);
        let took = until(&mut world, "production is open", 20, |world| world.is_open(PRODUCTION));
        world.check(took <= 5_000, &format!("open after {took} ms"));
        is_back(&mut world);
    }
}

#[test]
fn with_one_word_alone_users_stay_and_the_other_is_named() {
    for (abort, discards) in [(true, false), (false, true)] {
        for step in [Step::Soaking, Step::Succeeded] {
            let mut world = switched(step);
            (world.wish.abort, world.wish.discards) = (abort, discards);
            (0..40).for_each(|_| goes_on(&mut world));
            assert_eq!((world.step(), world.online()), (step, "shop-v2"));
            let message = world.pass(None).message;
            assert_eq!(message.contains("set spec.discardStageWrites, too"), abort, "{message}");
        }
    }
}

#[test]
fn before_the_switch_the_word_for_it_changes_nothing() {
    let mut world = World::new();
    world.wish.discards = true;
    succeeds(&mut world);
    let mut world = World::new();
    reaches(&mut world, Step::RunningScript);
    ask(&mut world);
    super::goes_back(&mut world, Reason::Aborted);
}

#[test]
fn wherever_the_operator_dies_there_are_never_two_versions_that_take_writes() {
    for dies_in in 0..12 {
        for act in 0..3 {
            let mut world = switched(Step::Succeeded);
            ask(&mut world);
            for _ in 0..dies_in {
                goes_on(&mut world);
            }
            world.lives();
            world.pass(Some(act));
            world.keeps_the_rules();
            is_back(&mut world);
        }
    }
}

#[test]
fn users_who_cannot_be_led_back_get_the_stage_back() {
    let mut world = switched(Step::Succeeded);
    ask(&mut world);
    until(&mut world, "the stage is closed", 20, |world| stage_fence(world) == Some(FenceState::On));
    for _ in 0..(120_000 / super::TICK + 8) {
        world.lives();
        world.keeps_the_rules();
    }
    world.check(world.is_open(STAGE) && !world.is_open(PRODUCTION), "nobody can write anywhere");
    is_back(&mut world);
}

#[test]
fn a_stage_that_does_not_answer_is_not_waited_for() {
    let mut world = switched(Step::Succeeded);
    world.sides[STAGE].nodes.iter_mut().for_each(|node| node.up = false);
    world.stage_session = false;
    ask(&mut world);
    is_back(&mut world);
}

#[test]
fn users_stay_where_they_are_while_nobody_can_lead_them_back() {
    let mut world = switched(Step::Succeeded);
    ask(&mut world);
    let stays = |change: &dyn Fn(&mut quorate::decide::upgrade::Observation), reason, words: &str| {
        let mut seen = world.observe();
        change(&mut seen);
        let plan = decide(&seen);
        assert_eq!((plan.step, plan.reason, plan.waves.len()), (Step::Succeeded, reason, 0), "{}", plan.message);
        assert!(plan.message.contains(words), "{}", plan.message);
    };
    let busy = |seen: &mut quorate::decide::upgrade::Observation| {
        seen.stage.found.as_mut().unwrap().upgrade = Some(another("shop-v3"));
    };
    stays(&busy, Reason::GroupBusy, "orders-v2 takes part in RollingUpgrade shop-v3; go back there first");
    stays(&|seen| seen.production.found.as_mut().unwrap().upgrade = None, Reason::Retired, "orders was deleted since");
    stays(&|seen| seen.production.found = None, Reason::Retired, "orders is gone: there is no way back");
    stays(&|seen| seen.production.endpoint.ready = 0, Reason::EndpointsMissing, "no pod of Service shop-v1 is ready");
    let silent = |seen: &mut quorate::decide::upgrade::Observation| {
        seen.production.found.as_mut().unwrap().facts.clear();
    };
    stays(&silent, Reason::Unreachable, "the primary of orders does not answer");
}

#[test]
fn what_the_stage_keeps_is_taken_away_by_no_other_attempt() {
    let mut world = switched(Step::Succeeded);
    ask(&mut world);
    is_back(&mut world);
    (world.wish.abort, world.script) = (false, quorate::decide::upgrade::seen::Script::Ready("another hash".into()));
    (0..80).for_each(|_| goes_on(&mut world));
    let plan = world.pass(None);
    assert_eq!((plan.reason, plan.waves.len()), (Reason::PreflightFailed, 0), "{}", plan.message);
    assert!(plan.message.contains("has a database orders already; drop it there"), "{}", plan.message);
}
