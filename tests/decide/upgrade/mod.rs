//! The policy of a staged upgrade, pass by pass, over two small groups.

mod discard;
mod geo;
mod instances;
mod looks;
mod world;

use quorate::{
    decide::upgrade::{
        Reason, Step, decide,
        observation::{LoginFacts, Session},
        seen::{Answer, Job, Script},
    },
    model::{ActiveUpgrade, FenceState, LoginName, Slot, upgrade::Approval},
};
use world::{TICK, World};

/// Passes until something holds.
fn until(world: &mut World, what: &str, seconds: i64, holds: impl Fn(&World) -> bool) -> i64 {
    let from = world.at;
    while !holds(world) {
        if world.at - from > seconds * 1_000 {
            world.fail(&format!("not within {seconds} s: {what}"));
        }
        goes_on(world);
    }
    world.at - from
}

/// A pass without a fault; what the world does by itself beside it.
fn goes_on(world: &mut World) {
    world.lives();
    world.pass(None);
    scripts_end(world);
    world.keeps_the_rules();
}

fn scripts_end(world: &mut World) {
    if world.step() == Step::RunningScript && world.job == Job::Running && world.at % 3 == 0 {
        world.job = Job::Complete;
    }
    world.answers = vec![Answer::Value("1".into())];
}

fn reaches(world: &mut World, step: Step) {
    until(world, &format!("{step:?}"), 120, |world| world.step() == step);
}

fn succeeds(world: &mut World) {
    reaches(world, Step::Succeeded);
    world.check(world.online() == "shop-v2", "users are not on the new version");
    world.check(!world.told[1].is_empty(), "nobody could write on the new version");
}

/// Users are where they were, may write there, and nothing of it is left.
fn goes_back(world: &mut World, reason: Reason) {
    let took = until(world, "production is open", 20, |world| world.fence().is_none() && world.is_open(0));
    world.check(took <= 5_000, &format!("open after {took} ms"));
    reaches(world, Step::RolledBack);
    let failure = world.record.as_ref().and_then(|record| record.failure.clone());
    world.check(failure.is_some_and(|failure| failure.reason == reason), &format!("not for {reason}"));
    world.check(world.online() == "shop-v1", "users left production");
    world.check(!world.has_link(0), "production still has the link");
    let told = world.told[0].len();
    (0..20).for_each(|_| goes_on(world));
    world.check(world.told[0].len() > told, "nobody can write on production");
}

/// The script ends with an error, and users stay where they are.
fn fails_in_its_script(world: &mut World) {
    reaches(world, Step::RunningScript);
    goes_on(world);
    world.job = Job::Failed("002.sql:7: error 208".into());
    goes_back(world, Reason::ScriptFailed);
}

#[test]
fn an_upgrade_goes_through_every_step_and_loses_nothing() {
    let mut world = World::new();
    succeeds(&mut world);
    let record = world.record.clone().unwrap();
    let steps: Vec<_> = record.took.iter().map(|(step, _)| *step).collect();
    let wanted: Vec<_> = Step::ALL.into_iter().skip(1).filter(|step| *step < Step::Succeeded).collect();
    assert_eq!(steps, wanted, "every step once, in order");
    assert!(record.read_only_seconds(world.at).unwrap() < 60);
    assert_eq!(world.fence(), Some(FenceState::Kept));
    assert!(!world.has_link(0) && !world.has_link(1));
}

#[test]
fn a_login_with_another_sid_on_the_stage_is_told_before_anything_is_touched() {
    let mut seen = World::new().observe();
    for (slot, sid) in [(&mut seen.production, "0A"), (&mut seen.stage, "0B")] {
        for facts in slot.found.as_mut().unwrap().facts.values_mut() {
            let login = LoginFacts { sid: sid.into(), ..LoginFacts::default() };
            facts.logins.insert(LoginName::new("shop").unwrap(), login);
        }
    }
    let plan = decide(&seen);
    assert_eq!(plan.reason, Reason::PreflightFailed);
    assert!(plan.message.contains("login shop on orders-v2-0 has another SID"), "{}", plan.message);
    assert!(plan.waves.is_empty(), "{:?}", plan.waves);
}

#[test]
fn it_waits_for_people_where_they_want_to_be_asked() {
    let mut world = World::new();
    world.wish.manual = [Approval::Start, Approval::Switch, Approval::Retire].into();
    for (step, approval) in [
        (Step::ReadyForUpgrade, Approval::Start),
        (Step::Switching, Approval::Switch),
        (Step::Soaking, Approval::Retire),
    ] {
        reaches(&mut world, step);
        (0..40).for_each(|_| goes_on(&mut world));
        assert_eq!(world.step(), step, "nobody approved yet");
        world.approve(approval);
        // What was approved stays so, whatever the manifest says later.
        goes_on(&mut world);
        world.wish.approved.clear();
    }
    succeeds(&mut world);
}

#[test]
fn a_transaction_that_is_open_for_long_is_waited_for_before_production_is_read_only() {
    let mut world = World::new();
    let seconds = |age| Session {
        login: "batch".into(),
        transactions: 1,
        oldest_transaction: Some(std::time::Duration::from_secs(age)),
        ..Session::default()
    };
    let stays = |world: &mut World, age| {
        world.sessions.insert(1, seconds(age));
        world.pass(None)
    };
    reaches(&mut world, Step::ReadyForUpgrade);
    let plan = stays(&mut world, 31);
    assert_eq!((plan.step, plan.reason), (Step::ReadyForUpgrade, Reason::NotReady));
    let told = "session 1 of login batch on orders-0 has had a transaction open for more than 30 s";
    assert!(plan.message.contains(told), "{}", plan.message);
    assert_eq!(stays(&mut world, 30).step, Step::ReadOnly);
    succeeds(&mut world);
}

#[test]
fn a_person_may_give_up_until_users_are_led_away() {
    for step in [Step::PreparingStage, Step::Seeding, Step::ReadyForUpgrade, Step::ReadOnly, Step::Synchronizing]
        .into_iter()
        .chain([Step::Terminating, Step::RunningScript, Step::Verifying, Step::Switching])
    {
        let mut world = World::new();
        if step == Step::Switching {
            world.wish.manual = [Approval::Switch].into();
        }
        reaches(&mut world, step);
        world.wish.abort = true;
        goes_on(&mut world);
        world.wish.abort = false;
        goes_back(&mut world, Reason::Aborted);
    }
    let mut world = World::new();
    world.wish.manual = [Approval::Retire].into();
    reaches(&mut world, Step::Soaking);
    world.wish.abort = true;
    (0..40).for_each(|_| goes_on(&mut world));
    assert_eq!((world.step(), world.online()), (Step::Soaking, "shop-v2"), "too late");
}

#[test]
fn a_corrected_script_is_another_attempt_on_a_stage_that_was_emptied() {
    let mut world = World::new();
    fails_in_its_script(&mut world);
    (0..200).for_each(|_| goes_on(&mut world));
    assert_eq!(world.step(), Step::RolledBack, "nothing was corrected");
    world.wish.approved = [Approval::Switch].into();
    world.wish.manual = [Approval::Switch].into();
    world.script = Script::Ready("another hash".into());
    reaches(&mut world, Step::Switching);
    (0..40).for_each(|_| goes_on(&mut world));
    assert_eq!((world.record.as_ref().unwrap().attempt, world.step()), (2, Step::Switching), "approved for the first");
    world.wish.approved.clear();
    goes_on(&mut world);
    world.wish.approved = [Approval::Switch].into();
    succeeds(&mut world);
}

#[test]
fn each_failure_gives_production_its_writers_back() {
    let mut world = World::new();
    fails_in_its_script(&mut world);

    let mut world = World::new();
    reaches(&mut world, Step::Verifying);
    world.answers = vec![Answer::Value("0".into())];
    world.lives();
    world.pass(None);
    goes_back(&mut world, Reason::VerificationFailed);

    let mut world = World::new();
    world.stage_ready = 0;
    reaches(&mut world, Step::Verifying);
    until(&mut world, "too long", 90, |world| world.step() == Step::RollingBack);
    goes_back(&mut world, Reason::ReadOnlyTooLong);
}

/// The script ends with an error, and everything stays as it is.
fn pauses_in_its_script(approved: &[Approval]) -> World {
    let mut world = World::new();
    world.wish.pauses = true;
    world.wish.approved = approved.iter().copied().collect();
    reaches(&mut world, Step::RunningScript);
    goes_on(&mut world);
    world.job = Job::Failed("002.sql:7: error 208".into());
    (0..40).for_each(|_| goes_on(&mut world));
    let plan = world.pass(None);
    assert_eq!((world.step(), plan.reason, plan.waves.len()), (Step::RunningScript, Reason::ScriptFailed, 0));
    for part in
        ["002.sql:7: error 208", "read-only until 1970-01-12T13:", "add Script to spec.approved", "or set spec.abort"]
    {
        assert!(plan.message.contains(part), "{}", plan.message);
    }
    world
}

#[test]
fn a_script_that_failed_waits_for_a_person_where_they_want_that() {
    let mut world = pauses_in_its_script(&[]);
    world.approve(Approval::Script);
    succeeds(&mut world);
    assert_eq!(world.record.as_ref().unwrap().failure, None, "it is a success like any other");

    let mut world = pauses_in_its_script(&[]);
    world.wish.abort = true;
    goes_back(&mut world, Reason::Aborted);

    let mut world = pauses_in_its_script(&[]);
    until(&mut world, "nobody comes", 90, |world| world.step() == Step::RollingBack);
    goes_back(&mut world, Reason::ReadOnlyTooLong);
}

#[test]
fn nobody_can_say_that_a_script_was_mended_before_it_failed() {
    let mut world = pauses_in_its_script(&[Approval::Script]);
    world.wish.approved.clear();
    goes_on(&mut world);
    world.approve(Approval::Script);
    succeeds(&mut world);
}

#[test]
fn what_is_missing_before_it_begins_is_said_and_nothing_is_touched() {
    let mut world = World::new();
    world.script = Script::Wrong("shop-v2-sql/001.sql:3: an open comment; close it".into());
    let plan = world.pass(None);
    assert_eq!((plan.step, plan.reason, plan.waves.len()), (Step::Preflight, Reason::PreflightFailed, 0));
    assert!(plan.message.contains("spec.script: shop-v2-sql/001.sql:3"), "{}", plan.message);
    world.script = Script::Ready("hash".into());
    let mut seen = world.observe();
    seen.stage.found = None;
    seen.production.endpoint.selector = None;
    let plan = quorate::decide::upgrade::decide(&seen);
    for part in
        ["AvailabilityGroup orders-v2 does not exist in namespace shop", "Service shop-v1 does not exist", "apply it"]
    {
        assert!(plan.message.contains(part), "{}", plan.message);
    }
    let mut seen = world.observe();
    seen.production.found.as_mut().unwrap().upgrade = Some(another("other"));
    let plan = quorate::decide::upgrade::decide(&seen);
    assert_eq!((plan.reason, plan.waves.len()), (Reason::GroupBusy, 0));
}

#[test]
fn an_operator_that_dies_after_the_checks_asks_nobody_who_is_gone() {
    for act in 0..4 {
        let mut world = World::new();
        reaches(&mut world, Step::Verifying);
        world.answers = vec![Answer::Value("1".into())];
        world.lives();
        world.pass(Some(act));
        succeeds(&mut world);
        world.check(!world.runner, "the script's login is left on the new version");
    }
}

/// What another upgrade asks of its production.
fn another(name: &str) -> ActiveUpgrade {
    let (namespace, uid) = ("shop".into(), "another".into());
    ActiveUpgrade { name: name.into(), namespace, uid, slot: Slot::Production, fence: None }
}

/// A small generator: one seed, one history.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// How it ended.
fn history(seed: u64) -> Step {
    let mut world = if seed.is_multiple_of(2) { World::new() } else { World::in_two_regions() };
    let sides = if world.wish.geo.is_some() { 4 } else { 2 };
    let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1);
    let faulty = 200 + chance.below(200) as i64;
    let mut corrected = chance.below(2) == 0;
    world.wish.pauses = chance.below(3) == 0;
    for tick in 0..3_000 {
        world.lives();
        if tick < faulty {
            match chance.below(60) {
                0 => world.fail_over(0),
                1 => world.fail_over(1 + chance.below(sides - 1) as usize),
                2 | 3 => {
                    let (side, node, up) = (chance.below(sides), chance.below(3), chance.below(2) == 0);
                    world.power(side as usize, node as usize, up);
                }
                4 if chance.below(8) == 0 => world.wish.abort = true,
                8 if chance.below(4) == 0 => (world.wish.abort, world.wish.discards) = (true, true),
                6 if chance.below(8) == 0 => world.slips_through(),
                7 if matches!(world.job, Job::Failed(_)) => world.approve(Approval::Script),
                5 if chance.below(4) == 0 && world.job == Job::Running => world.job = Job::Failed("error 208".into()),
                _ => {}
            }
        } else if tick == faulty {
            (0..12).for_each(|node| world.power(node / 3, node % 3, true));
        }
        // The process dies now and then, or an act is refused.
        let lost = (tick < faulty && chance.below(4) == 0).then(|| chance.below(4) as usize);
        let plan = world.pass(lost);
        if chance.below(3) == 0 {
            scripts_end(&mut world);
        }
        world.keeps_the_rules();
        if world.step() == Step::RolledBack && !corrected {
            // Somebody mends what was wrong and asks for another attempt.
            (corrected, world.wish.abort, world.script) = (true, false, Script::Ready("another hash".into()));
        } else if world.step().is_last() && tick > faulty && plan.waves.is_empty() {
            break;
        }
    }
    match world.step() {
        Step::Succeeded => world.check(world.online() == "shop-v2" && world.stage_has_all(), "not on the stage"),
        Step::RolledBack => {
            (0..20).for_each(|_| world.lives());
            world.check(world.online() == "shop-v1" && world.is_open(0), "production is not open");
            world.check(!world.has_link(0), "production has the link");
        }
        step => world.fail(&format!("it hangs in {step:?} after {} s", 3_000 * TICK / 1_000)),
    }
    world.step()
}

#[test]
fn whatever_dies_an_upgrade_ends_on_one_side_and_loses_nothing() {
    let count = if std::env::var_os("QUORATE_LONG").is_some() { 20_000 } else { 400 };
    let mut ends = std::collections::BTreeMap::new();
    for seed in 0..count {
        match std::panic::catch_unwind(|| history(seed)) {
            Ok(step) => *ends.entry(step).or_insert(0) += 1,
            Err(panic) => {
                eprintln!("seed {seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    assert!(ends.len() == 2 && ends.values().all(|times| *times > count / 20), "{ends:?}");
}
