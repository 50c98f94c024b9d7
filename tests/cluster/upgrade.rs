//! Staged upgrades of an application and its databases, on the cluster: two groups, two versions, one front Service.

use serde_json::Value;

use crate::{shop::*, support::*};

/// Longest time without a page that could be read: two attempts of the application to connect, and one of the user.
const PAGE_LIMIT: f64 = 5.0;
/// Longest time without an acknowledged write while a copy is prepared; the goal is none that is noticed.
const PREPARED_LIMIT: f64 = 2.0;
pub(crate) const UPGRADE: [&str; 4] = ["rollingupgrade", "-n", NAMESPACE, "shop-v2"];

/// A version of the application with its Service, writing into a group.
pub(crate) fn application(version: &str, (namespace, group): (&str, &str)) -> String {
    include_str!("../lab/config/shop.yaml")
        .replace("VERSION", version)
        .replace("GROUP", group)
        .replace("NAMESPACE", namespace)
}

/// The upgrade, and the new version of the application.
pub(crate) fn staged(upgrade: &str) -> String {
    format!("{upgrade}\n---\n{}", application("v2", (NAMESPACE, "orders-v2")))
}

/// Production with the old version of the application.
pub(crate) fn in_service() -> (Namespace, Healed) {
    let (namespace, healed, _) = ready_group();
    apply(&application("v1", (NAMESPACE, "orders")));
    (namespace, healed)
}

/// The example as it is shipped, with the stand-in as image and every step automatic.
pub(crate) fn upgrade() -> String {
    with_the_stand_in(include_str!("../../deploy/examples/staged-upgrade.yaml"))
        .replace("switch: Manual, retire: Manual", "switch: Automatic, retire: Automatic")
}

/// Begun by a person, once a user has ordered on the old version: the front Service is made only when all is prepared.
fn begun_by_hand(upgrade: &str, user: &Writer) {
    apply(&staged(&upgrade.replace("start: Automatic", "start: Manual")));
    user.wait_for_more("orders on the old version");
    patch_upgrade(r#"{"approved":["Start"]}"#);
}

fn patch_upgrade(spec: &str) {
    let patch = format!("{{\"spec\":{spec}}}");
    kubectl(&[&["patch", "--type=merge", "--patch", &patch], UPGRADE.as_slice()].concat());
}

pub(crate) fn status() -> Result<Value, String> {
    Ok(try_kubectl_json(&[&["get"], UPGRADE.as_slice()].concat())?["status"].clone())
}

/// Waits until the upgrade is over, well or not.
pub(crate) fn ends_in(step: &str) -> Value {
    wait_until(180, step, || {
        let status = status()?;
        if status["step"] == step { Ok(status) } else { Err(status.to_string()) }
    })
}

/// One step a line, and how long production was read-only.
pub(crate) fn tell(status: &Value) {
    for step in status["steps"].as_array().unwrap() {
        println!("{:>20} {} ms", text(step, "/name"), step["took"].as_i64().unwrap_or_default());
    }
    println!("read-only {} s, of it {} ms", status["readOnly"]["seconds"], status["readOnly"]["parts"]);
}

/// Names of the ready pods that the front Service leads to.
fn behind_the_front() -> Vec<String> {
    let slices = kubectl_json(&["get", "endpointslices", "-n", NAMESPACE, "-l", "kubernetes.io/service-name=shop"]);
    let endpoints = slices["items"].as_array().unwrap().iter().filter_map(|slice| slice["endpoints"].as_array());
    endpoints.flatten().map(|endpoint| text(endpoint, "/targetRef/name").to_owned()).collect()
}

/// A user was served by these versions, one after the other, and never for long without a page.
fn served_by(user: &Writer, versions: &[&str]) {
    user.wait_for_more("orders");
    let Served { versions: by, gap, instead } = user.served();
    println!("users: orders taken by {by:?}; no page for {gap:.2} s");
    assert_eq!(by, versions);
    assert!(gap < PAGE_LIMIT, "no page for {gap} s, but {instead:#?}");
}

/// The same, and what was ordered is in a group.
fn serves(mut user: Writer, versions: &[&str], group: &str) {
    served_by(&user, versions);
    let report = user.check("users", group);
    println!("{} orders taken, every one is in {group}", report["acknowledged"]);
}

#[test]
#[ignore = "needs the lab"]
fn a_new_version_is_switched_in_with_everything_that_was_acknowledged() {
    let (_namespace, _healed) = in_service();
    let mut writer = Writer::start();
    let user = Writer::user();
    begun_by_hand(&upgrade(), &user);
    let status = ends_in("Succeeded");
    tell(&status);
    assert_eq!(status["online"], "shop-v2");
    let pods = behind_the_front();
    assert!(!pods.is_empty() && pods.iter().all(|pod| pod.starts_with("shop-v2-")), "{pods:?}");
    let report = writer.check("a staged upgrade", "orders-v2");
    let touched = longest_outage(&report);
    println!("{} acknowledged on the old version, every one is on the new one", report["acknowledged"]);
    println!("longest time without one before it was read-only: {touched:.2} s");
    assert!(touched < PREPARED_LIMIT, "no write was acknowledged for {touched} s while the copy was prepared");
    serves(user, &["v1", "v2"], "orders-v2");
    let refused = try_sql_as(("sa", &password()), "orders", "CREATE TABLE dbo.late (id int)");
    assert!(refused.is_err(), "the old version still takes writes: {refused:?}");
    go_back();
}

/// Nobody wants the new version after all.
fn go_back() {
    let user = Writer::user();
    user.wait_for_more("orders on the new version");
    patch_upgrade(r#"{"abort":true,"discardStageWrites":true}"#);
    let asked = std::time::Instant::now();
    let status = ends_in("RolledBack");
    println!("back on the old version {:.1} s after it was asked for", asked.elapsed().as_secs_f64());
    assert_eq!((&status["online"], &status["record"]["failure"]["reason"]), (&"shop-v1".into(), &"Discarded".into()));
    served_by(&user, &["v2", "v1"]);
    let late = "CREATE TABLE dbo.late (id int)";
    try_sql_as(("sa", &password()), "orders", late).unwrap();
    let stage = (NAMESPACE, "orders-v2");
    let refused = try_sql_at(&host(stage), ("sa", &password_of(stage)), "orders", late);
    assert!(refused.is_err(), "the new version still takes writes: {refused:?}");
}

#[test]
#[ignore = "needs the lab"]
fn a_script_that_fails_gives_production_its_writers_back_and_a_corrected_one_starts_over() {
    let (_namespace, _healed) = in_service();
    let mut writer = Writer::start();
    let user = Writer::user();
    let wrong = upgrade().replace("CREATE TABLE dbo.invoice (id bigint NOT NULL PRIMARY KEY);", "SELECT 1 / 0;");
    begun_by_hand(&wrong, &user);
    let status = ends_in("RolledBack");
    tell(&status);
    assert_eq!(status["online"], "shop-v1");
    let failure = status["record"]["failure"].clone();
    assert_eq!(failure["reason"], "ScriptFailed", "{failure}");
    assert!(text(&failure, "/message").contains("8134"), "{failure}");
    writer.wait_for_more("writes on the old version again");
    serves(user, &["v1"], "orders");
    apply(&upgrade());
    let status = ends_in("Succeeded");
    tell(&status);
    assert_eq!((status["attempt"].as_i64(), status["online"].as_str()), (Some(2), Some("shop-v2")));
    let report = writer.check("a second attempt", "orders-v2");
    println!("{} acknowledged on the old version, every one is on the new one", report["acknowledged"]);
    let moved = upgrade().replace("endpoint: shop-v2", "endpoint: shop-v3");
    let refused = try_apply(&moved).expect_err("an endpoint was changed");
    assert!(
        refused.contains("spec.production, spec.stage, spec.traffic and the slots of spec.geo cannot be changed"),
        "{refused}"
    );
}
