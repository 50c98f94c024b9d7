//! The same with copies of production and stage in another region (upgrade.md, "Option 2").

use super::{correct, failure};
use crate::stage::{
    Setup, Stage,
    clients::{Writer, direct},
    condition_of, in_a_world_of_its_own, seconds,
    upgrade::{FAR, SCRIPT, SLOTS},
};
use serde_json::json;

pub(super) async fn staged(seed: u64, script: &str) -> (Stage, Writer) {
    Stage::in_two_regions(Setup::new(seed), script).await
}

pub(super) fn upgrade(stage: &Stage) {
    upgrade_within(stage, 300, "Automatic");
}

/// Production may be read-only for so many seconds.
fn upgrade_within(stage: &Stage, seconds: u64, switch: &str) {
    let slot = |(group, endpoint): (&str, &str)| json!({ "availabilityGroup": group, "endpoint": endpoint });
    stage.upgrade(|spec| {
        spec["geo"] = json!({ "production": slot(FAR[0]), "stage": slot(FAR[1]) });
        spec["readOnly"]["maximumSeconds"] = seconds.into();
        spec["approvals"] = json!({ "switch": switch });
    });
}

/// Whether what users write goes to the other region, too.
fn is_protected(stage: &Stage) -> bool {
    condition_of(&stage.rolling_upgrade(), "DrProtected").is_some_and(|(status, _)| status == "True")
}

async fn ends_in(stage: &Stage, step: &str) {
    let end = stage.is_over_within(seconds(400)).await;
    stage.check(end == step, &format!("{end} {}\n{:#}", failure(stage), stage.rolling_upgrade()["status"]));
}

/// Pods of the region that everything is in at first.
fn here() -> Vec<String> {
    SLOTS.iter().flat_map(|(group, _)| (0..3).map(move |ordinal| format!("{group}-{ordinal}"))).collect()
}

/// Pods of a group of the other region.
fn there(group: &str) -> Vec<String> {
    (0..2).map(|ordinal| format!("{group}-{ordinal}")).collect()
}

#[tokio::test(start_paused = true)]
async fn the_new_version_has_its_copy_in_another_region_before_users_are_on_it() {
    let (stage, user) = staged(501, SCRIPT).await;
    upgrade(&stage);
    assert!(stage.comes_to("ReadyForUpgrade").await);
    stage.check(is_protected(&stage), "production has no copy that follows");
    ends_in(&stage, "Succeeded").await;
    let status = stage.rolling_upgrade()["status"].clone();
    println!("read-only {} s: {}", status["readOnly"]["seconds"], status["readOnly"]["parts"]);
    let traffic: Vec<_> = status["endpoints"].as_array().unwrap().iter().map(|one| one["traffic"].clone()).collect();
    stage.check(json!(traffic) == json!(["Offline", "Online", "Offline", "Standby"]), &format!("{traffic:?}"));
    let front = stage.plane.api.find("services", "shop", "shop").unwrap();
    let standby = &front["metadata"]["annotations"]["quorate.dev/standby"];
    stage.check(*standby == "shop/shop-v2-dr", &format!("{standby}"));
    stage.ends_on_one_side(user).await;
    stage.check(is_protected(&stage), "the new version has no copy that follows");
    stage.accounts_of(&there(FAR[1].0)).await;
    let copy = stage.connection("person", &direct(&stage.primary_of(FAR[1].0)));
    stage.check(copy.run("SELECT COUNT(*) FROM dbo.invoice").await.is_ok(), "what the script did is not in the copy");
    // Whatever becomes of the upgrade, production's copy stays production's.
    let old = stage.connection("person", &direct(&stage.primary_of(FAR[0].0)));
    stage.check(old.run("SELECT COUNT(*) FROM dbo.invoice").await.is_err(), "production's copy has the new version");
}

#[tokio::test(start_paused = true)]
async fn a_corrected_script_starts_over_in_both_regions() {
    let (stage, user) = staged(502, "SELECT 1 / 0;\nGO\n").await;
    upgrade(&stage);
    ends_in(&stage, "RolledBack").await;
    correct(&stage);
    stage.until("another attempt", seconds(120), |stage| stage.rolling_upgrade()["status"]["attempt"] == 2).await;
    ends_in(&stage, "Succeeded").await;
    stage.ends_on_one_side(user).await;
    stage.accounts_of(&there(FAR[1].0)).await;
}

/// The region is lost while a step is under way, and a person makes a copy production: production's, or the stage's.
async fn lost_in(step: &'static str, which: usize, seed: u64) {
    let (stage, user) = staged(seed, SCRIPT).await;
    upgrade_within(&stage, 60, "Manual");
    assert!(stage.comes_to(step).await, "{step}");
    here().iter().for_each(|pod| stage.isolate(pod));
    stage.pass(seconds(20)).await;
    let status = stage.rolling_upgrade()["status"].clone();
    stage.check(status["record"]["failure"].is_null(), &format!("it went back by itself: {status:#}"));
    user.stop().await;
    let uid = stage.rolling_upgrade()["metadata"]["uid"].as_str().unwrap().to_owned();
    let (copy, link) = (FAR[which].0, ["dr", "chain"][which]);
    let leader = stage.primary_of(copy);
    let person = |pod: &str| stage.connection("person", &direct(pod)).in_master();
    let force = format!("ALTER AVAILABILITY GROUP [quorate-{uid}-{link}] FORCE_FAILOVER_ALLOW_DATA_LOSS");
    person(&leader).run(&force).await.unwrap();
    stage.until("it is over", seconds(60), |stage| stage.step() == "RolledBack").await;
    assert_eq!(failure(&stage), "RegionLost");
    for pod in there(copy).iter().filter(|pod| **pod != leader) {
        // As long as its copies are suspended a commit quorum keeps the database closed.
        while person(pod).run("ALTER DATABASE [orders] SET HADR RESUME").await.is_err() {
            stage.pass(seconds(1)).await;
        }
    }
    let written = stage.connection("person", &format!("{copy}-rw.shop.svc"));
    while written.run("CREATE TABLE dbo.moved (id int)").await.is_err() {
        stage.pass(seconds(1)).await;
    }
    let fenced = step != "ReadyForUpgrade";
    if fenced {
        stage.accounts_of(&there(copy)).await;
    }
    let invoices = written.run("SELECT COUNT(*) FROM dbo.invoice").await;
    stage.check(invoices.is_ok() == (which == 1), &format!("the script's work is there: {}", invoices.is_ok()));
    // The region comes back: whoever was kept out of it stays out.
    stage.heal_all();
    stage.pass(seconds(100)).await;
    let late = stage.connection("late", "orders-rw.shop.svc").run("CREATE TABLE dbo.late (id int)").await;
    stage.check(late.is_err() == fenced, &format!("{step}: production says {late:?}"));
    stage.keeps_the_rules();
}

/// Two; with each step before the switch with `QUORATE_LONG`.
#[test]
fn a_region_that_is_lost_after_the_barrier_loses_nothing_and_opens_nobody() {
    let cases = [("RunningScript", 0), ("Switching", 1), ("Terminating", 0), ("Verifying", 0), ("ReadyForUpgrade", 0)];
    let count = if std::env::var_os("QUORATE_LONG").is_some() { cases.len() } else { 2 };
    for (number, (step, which)) in cases.into_iter().take(count).enumerate() {
        in_a_world_of_its_own(lost_in(step, which, 510 + number as u64));
    }
}

/// Something happens to the other region in a step; the upgrade waits for it.
async fn waits_in(step: &'static str, seed: u64, fault: impl AsyncFnOnce(&Stage)) {
    let (stage, user) = staged(seed, SCRIPT).await;
    upgrade(&stage);
    assert!(stage.comes_to(step).await, "{step}");
    fault(&stage).await;
    ends_in(&stage, "Succeeded").await;
    stage.ends_on_one_side(user).await;
    stage.accounts_of(&there(FAR[1].0)).await;
}

/// Steps in which the other region matters.
const FAR_STEPS: [&str; 6] =
    ["Seeding", "ReadyForUpgrade", "Synchronizing", "Terminating", "RunningScript", "Verifying"];

#[test]
fn a_failover_in_the_other_region_is_waited_for() {
    for (number, step) in FAR_STEPS.into_iter().enumerate() {
        for (which, (group, _)) in FAR.into_iter().enumerate() {
            if std::env::var_os("QUORATE_LONG").is_some() || number % 3 == which {
                let dies = async |stage: &Stage| assert!(stage.kill(&stage.primary_of(group)));
                in_a_world_of_its_own(waits_in(step, 520 + (number * 2 + which) as u64, dies));
            }
        }
    }
}

#[test]
fn regions_that_do_not_reach_each_other_for_a_while_are_waited_for() {
    let parted = async |stage: &Stage| {
        let far: Vec<_> = FAR.iter().flat_map(|(group, _)| there(group)).collect();
        here().iter().for_each(|one| far.iter().for_each(|other| stage.cut(one, other)));
        stage.pass(seconds(15)).await;
        stage.heal_all();
    };
    for (number, step) in FAR_STEPS.into_iter().enumerate() {
        if std::env::var_os("QUORATE_LONG").is_some() || number % 3 == 2 {
            in_a_world_of_its_own(waits_in(step, 540 + number as u64, parted));
        }
    }
}
