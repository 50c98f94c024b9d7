//! Staged upgrades from manifests to their end: one that succeeds, every way back, and each step with something that fails
//! in it (upgrade.md).

mod discard;
mod faults;
mod geo;

use crate::{
    stage::{
        Setup, Stage,
        clients::{Writer, direct},
        condition_of, seconds,
        upgrade::SCRIPT,
    },
    world::containers::TOOL,
};
use serde_json::json;
use std::time::Duration;

/// Steps in the order of an upgrade that a person may see.
const STEPS: [&str; 10] = [
    "PreparingStage",
    "Seeding",
    "EndpointsOffline",
    "ReadyForUpgrade",
    "ReadOnly",
    "Synchronizing",
    "Terminating",
    "RunningScript",
    "Verifying",
    "Switching",
];

async fn staged(seed: u64) -> (Stage, Writer) {
    Stage::staged(Setup::new(seed), SCRIPT).await
}

/// What its conditions say.
fn told(stage: &Stage) -> String {
    stage.rolling_upgrade()["status"]["conditions"].to_string()
}

/// Why it was given up.
fn failure(stage: &Stage) -> String {
    stage.rolling_upgrade()["status"]["record"]["failure"]["reason"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(start_paused = true)]
async fn users_are_led_to_the_new_version_with_every_row_that_was_acknowledged() {
    let (stage, user) = staged(201).await;
    let reader = stage.reader(2);
    stage.upgrade(|_| {});
    let step = stage.is_over_within(seconds(120)).await;
    stage.check(step == "Succeeded", &format!("{:#}", stage.rolling_upgrade()["status"]));
    let status = stage.rolling_upgrade()["status"].clone();
    let read_only = status["readOnly"]["seconds"].as_i64().unwrap();
    println!("read-only {read_only} s: {}", status["readOnly"]["parts"]);
    stage.check(read_only < 30, &format!("read-only for {read_only} s"));
    let steps: Vec<_> = status["steps"].as_array().unwrap().iter().map(|step| step["name"].clone()).collect();
    stage.check(STEPS.iter().all(|step| steps.contains(&json!(step))), &format!("{steps:?}"));
    let rows = stage.connection("person", "orders-v2-rw.shop.svc").run("SELECT COUNT(*) FROM dbo.invoice").await;
    stage.check(rows.is_ok(), "the script's table is not on the new version");
    stage.ends_on_one_side(user).await;
    let longest = reader.stop().await;
    println!("nobody could read for {longest:?}");
    stage.check(longest < seconds(2), &format!("nobody could read for {longest:?}"));
    // The old version's primary lets nobody in, for good.
    stage.pass(seconds(340)).await;
    let late = stage.connection("writer", &direct(&stage.primary())).run("CREATE TABLE dbo.late (id int)").await;
    stage.check(late.as_ref().is_err_and(|error| error.number() == Some(17_892)), &format!("{late:?}"));
}

/// Asks something of the upgrade and waits for production to take users' writes again.
async fn back_within(stage: &Stage, bound: Duration) {
    let before = stage.ledger.acknowledged();
    let took = stage.until("users write", seconds(30), |stage| stage.ledger.acknowledged() > before + 3).await;
    stage.check(took < bound, &format!("writable again after {took:?}"));
}

#[tokio::test(start_paused = true)]
async fn a_script_that_fails_gives_users_their_writers_back_within_five_seconds() {
    let (stage, user) = Stage::staged(Setup::new(202), "SELECT 1 / 0;\nGO\n").await;
    stage.upgrade(|_| {});
    assert!(stage.comes_to("RollingBack").await);
    back_within(&stage, seconds(5)).await;
    stage.ends_on_one_side(user).await;
    assert_eq!((stage.step(), failure(&stage)), ("RolledBack".into(), "ScriptFailed".into()));
    let told = stage.rolling_upgrade()["status"]["record"]["failure"]["message"].to_string();
    assert!(told.contains("01-invoice.sql") && told.contains("8134"), "{told}");
}

/// A script fails where people want to be asked; production stays as it is.
async fn paused(seed: u64) -> (Stage, Writer) {
    let (stage, user) = Stage::staged(Setup::new(seed), "SELECT 1 / 0;\nGO\n").await;
    stage.upgrade(|spec| spec["script"]["onFailure"] = "Pause".into());
    let stalled = |stage: &Stage| condition_of(&stage.rolling_upgrade(), "Stalled").is_some();
    stage.until("it asks", seconds(120), stalled).await;
    stage.pass(seconds(30)).await;
    stage.check(stage.step() == "RunningScript", "it did not wait");
    (stage, user)
}

#[tokio::test(start_paused = true)]
async fn a_script_that_failed_can_be_brought_to_its_end_by_hand() {
    let (stage, user) = paused(240).await;
    let stalled = told(&stage);
    for part in ["01-invoice.sql", "8134", "add Script to spec.approved", "or set spec.abort"] {
        stage.check(stalled.contains(part), &stalled);
    }
    let late = stage.connection("late", &direct(&stage.primary())).run("CREATE TABLE dbo.late (id int)").await;
    stage.check(late.is_err(), "production takes writes meanwhile");
    let rest = SCRIPT.split("GO").next().unwrap();
    stage.connection("person", "orders-v2-rw.shop.svc").run(rest).await.unwrap();
    stage.upgrade(|spec| {
        spec["script"]["onFailure"] = "Pause".into();
        spec["approved"] = json!(["Script"]);
    });
    assert_eq!(stage.is_over_within(seconds(120)).await, "Succeeded");
    stage.ends_on_one_side(user).await;
}

#[tokio::test(start_paused = true)]
async fn a_script_that_failed_can_be_given_up_by_a_person() {
    let (stage, user) = paused(241).await;
    stage.upgrade(|spec| {
        spec["script"]["onFailure"] = "Pause".into();
        spec["abort"] = true.into();
    });
    back_within(&stage, seconds(6)).await;
    stage.ends_on_one_side(user).await;
    assert_eq!((stage.step(), failure(&stage)), ("RolledBack".into(), "Aborted".into()));
}

#[tokio::test(start_paused = true)]
async fn a_query_that_gives_another_answer_sends_users_back() {
    let (stage, user) = staged(203).await;
    stage.upgrade(|spec| spec["verify"][0]["expect"] = "2".into());
    assert!(stage.comes_to("RollingBack").await);
    back_within(&stage, seconds(5)).await;
    stage.ends_on_one_side(user).await;
    assert_eq!((stage.step(), failure(&stage)), ("RolledBack".into(), "VerificationFailed".into()));
}

#[tokio::test(start_paused = true)]
async fn whoever_gives_up_in_any_step_has_writers_within_five_seconds() {
    for (number, step) in STEPS.into_iter().enumerate() {
        let (stage, user) = staged(210 + number as u64).await;
        stage.upgrade(|_| {});
        assert!(stage.comes_to(step).await);
        stage.upgrade(|spec| spec["abort"] = true.into());
        back_within(&stage, seconds(6)).await;
        stage.ends_on_one_side(user).await;
        // A decision that is recorded is not taken back.
        let switched = step == "Switching" && stage.step() == "Succeeded";
        stage.check(switched || failure(&stage) == "Aborted", &format!("in {step}: {}", failure(&stage)));
    }
}

/// Corrects the script.
fn correct(stage: &Stage) {
    let script = json!({ "01-invoice.sql": SCRIPT, "02-note.sql": "CREATE TABLE dbo.note (id int NOT NULL);\n" });
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "shop-v2-sql", "namespace": "shop" },
        "data": script,
    });
    stage.plane.api.kubectl_apply(&map).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_corrected_script_begins_anew_on_a_fresh_copy() {
    let (stage, user) = Stage::staged(Setup::new(204), "SELECT 1 / 0;\nGO\n").await;
    stage.upgrade(|_| {});
    assert_eq!(stage.is_over_within(seconds(120)).await, "RolledBack");
    let state = stage.rolling_upgrade()["status"]["databases"][0]["state"].clone();
    stage.check(state == "Damaged", &format!("{state}"));
    // The old copy stays for whoever looks at it.
    stage.pass(seconds(60)).await;
    assert!(stage.connection("person", "orders-v2-rw.shop.svc").run("SELECT COUNT(*) FROM dbo.ledger").await.is_ok());
    correct(&stage);
    stage.until("another attempt", seconds(60), |stage| stage.rolling_upgrade()["status"]["attempt"] == 2).await;
    assert_eq!(stage.is_over_within(seconds(120)).await, "Succeeded");
    stage.ends_on_one_side(user).await;
}

#[tokio::test(start_paused = true)]
async fn whatever_an_attempt_left_on_the_stage_is_taken_away_for_the_next_one() {
    for (number, step) in STEPS.into_iter().take(9).enumerate() {
        let (stage, user) = staged(220 + number as u64).await;
        stage.upgrade(|spec| spec["approvals"] = json!({ "start": "Automatic" }));
        assert!(stage.comes_to(step).await);
        stage.upgrade(|spec| spec["abort"] = true.into());
        assert_eq!(stage.is_over_within(seconds(120)).await, "RolledBack", "{step}");
        correct(&stage);
        stage.pass(seconds(30)).await;
        stage.check(stage.step() == "RolledBack", "it begins anew though a person gave up");
        stage.upgrade(|_| {});
        stage.until("another attempt", seconds(60), |stage| stage.rolling_upgrade()["status"]["attempt"] == 2).await;
        assert_eq!(stage.is_over_within(seconds(120)).await, "Succeeded", "{step}");
        stage.ends_on_one_side(user).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_approved_for_one_attempt_is_asked_again_for_the_next() {
    let (stage, user) = Stage::staged(Setup::new(205), "SELECT 1 / 0;\nGO\n").await;
    let manual = json!({ "start": "Manual" });
    stage.upgrade(|spec| spec["approvals"] = manual.clone());
    assert!(stage.comes_to("ReadyForUpgrade").await);
    stage.pass(seconds(20)).await;
    stage.check(stage.step() == "ReadyForUpgrade", "nobody approved");
    let approved = |spec: &mut serde_json::Value| {
        spec["approvals"] = manual.clone();
        spec["approved"] = json!(["Start"]);
    };
    stage.upgrade(approved);
    assert_eq!(stage.is_over_within(seconds(120)).await, "RolledBack");
    correct(&stage);
    assert!(stage.comes_to_again("ReadyForUpgrade").await);
    stage.pass(seconds(20)).await;
    stage.check(stage.step() == "ReadyForUpgrade", "that was said of the attempt before");
    stage.upgrade(|spec| spec["approvals"] = manual.clone());
    stage.pass(seconds(2)).await;
    stage.upgrade(approved);
    assert_eq!(stage.is_over_within(seconds(120)).await, "Succeeded");
    let approvals = stage.rolling_upgrade()["status"]["approvals"].clone();
    let [approval] = approvals.as_array().unwrap().as_slice() else { stage.fail(&format!("{approvals}")) };
    stage.check(approval["step"] == "Start" && approval["by"] == "kubectl", &format!("{approvals}"));
    stage.ends_on_one_side(user).await;
}

/// Production is a group like any other again: nothing of the upgrade is left on it.
async fn is_free(stage: &Stage) {
    let free = |stage: &Stage| stage.group()["status"]["upgrade"].is_null();
    stage.until("production takes part in nothing", seconds(30), free).await;
    stage.pass(seconds(5)).await;
    for pod in stage.replicas() {
        let links = "SELECT g.name FROM sys.availability_groups AS g WHERE g.is_distributed = 1";
        let left = stage.connection("person", &direct(&pod)).in_master().run(links).await.unwrap();
        stage.check(left.iter().all(Vec::is_empty), &format!("{pod} still has the link"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_that_is_deleted_in_any_step_before_the_switch_leaves_production_as_it_was() {
    for (number, step) in STEPS.into_iter().take(9).enumerate() {
        let (stage, user) = staged(230 + number as u64).await;
        stage.upgrade(|_| {});
        assert!(stage.comes_to(step).await);
        stage.plane.api.remove("person", "rollingupgrades", "shop", "shop-v2", None);
        back_within(&stage, seconds(6)).await;
        is_free(&stage).await;
        stage.becomes_ready().await;
        user.stop().await;
        stage.accounts().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_that_was_let_through_and_wrote_keeps_users_on_production() {
    let (stage, user) = Stage::staged(Setup::new(206), "WAITFOR DELAY '00:00:05';\nGO\nSELECT 1;\nGO\n").await;
    let grant = "ALTER ROLE db_datawriter ADD MEMBER shop";
    stage.connection("person", "orders-rw.shop.svc").run(grant).await.unwrap();
    stage.upgrade(|spec| {
        spec["readOnly"]["allowedLogins"] = json!(["shop"]);
        spec["verify"] = json!([]);
    });
    assert!(stage.comes_to("RunningScript").await);
    let late = stage.connection_as("monitor", &direct(&stage.primary()), "shop", "Old-word-1");
    late.run("INSERT INTO dbo.ledger (id) VALUES (-1)").await.unwrap();
    assert_eq!(stage.is_over_within(seconds(120)).await, "RolledBack");
    stage.ends_on_one_side(user).await;
    assert_eq!(failure(&stage), "LateCommit");
}

#[tokio::test(start_paused = true)]
async fn a_script_that_takes_too_long_is_not_waited_for() {
    let (stage, user) = Stage::staged(Setup::new(207), "WAITFOR DELAY '00:10:00';\nGO\n").await;
    stage.upgrade(|spec| {
        spec["readOnly"]["maximumSeconds"] = 30.into();
        spec["script"]["timeoutSeconds"] = 900.into();
    });
    assert!(stage.comes_to("RollingBack").await);
    back_within(&stage, seconds(5)).await;
    stage.ends_on_one_side(user).await;
    let seconds = stage.rolling_upgrade()["status"]["readOnly"]["seconds"].as_i64().unwrap();
    stage.check(failure(&stage) == "ReadOnlyTooLong" && seconds < 36, &format!("{seconds} s, {}", failure(&stage)));
}

#[tokio::test(start_paused = true)]
async fn without_an_operator_production_opens_by_itself_and_the_upgrade_goes_back() {
    let (stage, user) = staged(208).await;
    stage.upgrade(|spec| spec["readOnly"]["maximumSeconds"] = 30.into());
    assert!(stage.comes_to("RunningScript").await);
    stage.crash("operator").await;
    stage.pass(seconds(90)).await;
    let late = stage.connection("person", &direct(&stage.primary())).run("CREATE TABLE dbo.open (id int)").await;
    stage.check(late.is_ok(), &format!("{late:?}"));
    stage.start("operator");
    assert_eq!(stage.is_over_within(seconds(120)).await, "RolledBack");
    stage.ends_on_one_side(user).await;
    assert_eq!(failure(&stage), "ReadOnlyTooLong");
}

#[tokio::test(start_paused = true)]
async fn a_tool_of_ones_own_finds_the_stage_and_is_run_once() {
    let (stage, user) = staged(209).await;
    let job = |account: &str| {
        let pod = json!({
            "serviceAccountName": account, "restartPolicy": "OnFailure",
            "containers": [{ "name": "tool", "image": TOOL, "env": [{ "name": "COLOUR", "value": "green" }] }],
        });
        json!({ "job": { "template": { "backoffLimit": 6, "template": { "spec": pod } } } })
    };
    stage.upgrade(|spec| spec["script"] = job(""));
    stage.until("refused", seconds(10), |stage| told(stage).contains("serviceAccountName")).await;
    stage.upgrade(|spec| spec["script"] = job("migrations"));
    assert_eq!(stage.is_over_within(seconds(120)).await, "Succeeded");
    let job = stage.plane.api.find("jobs", "shop", "shop-v2-script-1");
    stage.check(job.is_none(), "its Job is left");
    stage.ends_on_one_side(user).await;
}
