//! The same with copies of production and stage in another region.

use super::{
    fails_in_its_script, goes_back, goes_on, reaches, succeeds, until,
    world::{PRODUCTION, PRODUCTION_DR, SIDES, STAGE, STAGE_DR, World},
};
use quorate::{
    decide::upgrade::{Reason, Step, decide, seen::Script},
    model::{FenceState, SecondaryConnections, Slot, upgrade::Approval},
};

#[test]
fn both_regions_have_everything_before_users_are_switched() {
    let mut world = World::in_two_regions();
    world.wish.manual = [Approval::Switch].into();
    reaches(&mut world, Step::RunningScript);
    let has = |world: &World, side: usize| {
        world.told[PRODUCTION].iter().all(|commit| world.sides[side].commits.contains(commit))
    };
    world.check(
        has(&world, PRODUCTION_DR) && has(&world, STAGE_DR),
        "a region lacks what was acknowledged before the script",
    );
    reaches(&mut world, Step::Switching);
    let done = world.sides[STAGE].marks.completion.clone();
    world.check(
        done.is_some() && world.sides[STAGE_DR].marks.completion == done,
        "the script is not in the other region",
    );
    world.approve(Approval::Switch);
    succeeds(&mut world);
    world.check(!world.chain_waits, "the copy of the new version stands still");
    let slots = world.sides.each_ref().map(|side| side.upgrade.as_ref().map(|upgrade| upgrade.slot));
    assert_eq!(slots, [Some(Slot::Production), None, None, None], "production stays fenced, all others are free");
}

#[test]
fn it_waits_in_front_of_the_switch_for_a_copy_that_stands_still_and_goes_back_in_time() {
    for (step, waits) in [(Step::Synchronizing, "the barrier"), (Step::Verifying, "what the script did")] {
        let mut world = World::in_two_regions();
        reaches(&mut world, step);
        world.sides[STAGE_DR].nodes.iter_mut().for_each(|node| node.up = false);
        (0..40).for_each(|_| goes_on(&mut world));
        world.check(world.step() == step, "it went on without the other region");
        let message = world.journal.last().unwrap();
        assert!(message.contains(waits) && message.contains("orders-v2-dr"), "{message}");
        until(&mut world, "too long", 90, |world| world.step() == Step::RollingBack);
        goes_back(&mut world, Reason::ReadOnlyTooLong);
    }
    let mut world = World::in_two_regions();
    world.wish.geo.as_mut().unwrap().required = false;
    reaches(&mut world, Step::Synchronizing);
    world.sides[STAGE_DR].nodes.iter_mut().for_each(|node| node.up = false);
    succeeds(&mut world);
}

#[test]
fn what_the_other_region_lacks_is_said_before_anything_is_touched() {
    let mut seen = World::in_two_regions().observe();
    let geo = seen.geo.as_mut().unwrap();
    let copy = geo.production.found.as_mut().unwrap();
    copy.upgrades_from.clear();
    copy.secondary_connections = SecondaryConnections::ReadIntentOnly;
    geo.stage.found = None;
    geo.stage.endpoint.selector = None;
    let plan = decide(&seen);
    assert_eq!((plan.reason, plan.waves.len()), (Reason::PreflightFailed, 0));
    for part in [
        "spec.geo.production: AvailabilityGroup orders-dr of namespace west does not take part in upgrades of shop; add shop to its spec.upgradesFrom",
        "spec.geo.production: orders-dr has secondaryConnections other than All",
        "spec.geo.stage.availabilityGroup: AvailabilityGroup orders-v2-dr does not exist in namespace west",
        "spec.geo.stage.endpoint: Service shop-v2-dr does not exist in namespace west",
    ] {
        assert!(plan.message.contains(part), "{part} is not in: {}", plan.message);
    }
}

/// The region is lost in a step, and a person makes a copy in the other one production.
fn is_lost(step: Step, copy: usize, told: &str) {
    let fenced = step != Step::ReadyForUpgrade;
    let mut world = World::in_two_regions();
    world.wish.manual = [Approval::Start, Approval::Switch].into();
    if fenced {
        world.approve(Approval::Start);
    }
    reaches(&mut world, step);
    world.loses_this_region();
    (0..20).for_each(|_| goes_on(&mut world));
    world.check(!world.step().is_last(), "nobody said that the region is lost");
    world.moved = Some(copy);
    until(&mut world, "over", 10, |world| world.step() == Step::RolledBack);
    let failure = world.record.as_ref().and_then(|record| record.failure.clone()).unwrap();
    assert_eq!((failure.reason, failure.step), (Reason::RegionLost, step), "{}", failure.message);
    assert!(failure.message.contains(told), "{}", failure.message);
    // It comes back: nobody writes there again who was kept out before.
    (0..6).for_each(|node| world.sides[node / 3].nodes[node % 3].up = true);
    (0..60).for_each(|_| goes_on(&mut world));
    world.check(!world.has_link(PRODUCTION), "the link holds production's log");
    let open = world.is_open(0);
    world.check(open != fenced, "production is open where users were moved away from it");
    world.check((world.fence() == Some(FenceState::Kept)) == fenced, "the fence");
    assert_eq!(world.sides[copy].upgrade, None, "the copy is a group like any other");
    // Another attempt would be about a production that is elsewhere.
    world.script = Script::Ready("another hash".into());
    (0..200).for_each(|_| goes_on(&mut world));
    let plan = decide(&world.observe());
    let (which, of) = (SIDES[copy], SIDES[copy - PRODUCTION_DR]);
    assert!(plan.message.contains(&format!("{which} leads the link with {of}")), "{}", plan.message);
    assert_eq!(plan.message.contains("orders is read-only for good"), fenced, "{}", plan.message);
}

#[test]
fn a_region_that_is_lost_leaves_production_where_a_person_brings_it_back() {
    for (step, told) in [
        (Step::ReadyForUpgrade, "see there what it has"),
        (Step::ReadOnly, "see there what it has"),
        (Step::Terminating, "it has the barrier: nothing is lost"),
        (Step::RunningScript, "it has the barrier: nothing is lost"),
        (Step::Switching, "it has the barrier: nothing is lost"),
    ] {
        is_lost(step, PRODUCTION_DR, told);
    }
}

#[test]
fn in_a_region_that_is_lost_a_person_may_go_on_with_the_new_version() {
    is_lost(Step::RunningScript, STAGE_DR, "it does not show that it has what the script did");
    is_lost(Step::Switching, STAGE_DR, "it has what the script did: nothing is lost");
}

#[test]
fn after_the_switch_nothing_leads_back_to_the_old_version() {
    let mut world = World::in_two_regions();
    world.wish.manual = [Approval::Retire].into();
    reaches(&mut world, Step::Soaking);
    let seen = world.observe();
    assert_eq!(seen.front.unwrap().standby.as_deref(), Some("west/shop-v2-dr"));
    world.loses_this_region();
    world.moved = Some(PRODUCTION_DR);
    (0..60).for_each(|_| goes_on(&mut world));
    assert_eq!(
        (world.step(), world.online()),
        (Step::Soaking, "shop-v2"),
        "the old version's copy is nobody's business any more"
    );
}

#[test]
fn a_corrected_script_starts_over_in_both_regions() {
    let mut world = World::in_two_regions();
    fails_in_its_script(&mut world);
    assert_eq!(world.sides[PRODUCTION_DR].upgrade, None, "production's copy is free");
    world.script = Script::Ready("another hash".into());
    succeeds(&mut world);
    assert_eq!(world.record.as_ref().unwrap().attempt, 2);
}
