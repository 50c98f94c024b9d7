//! The main story: one manifest becomes a group, and every fault leaves each acknowledged write where it is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::support::*;

const NAMESPACE: &str = "shop";
const GROUP: [&str; 4] = ["availabilitygroup", "-n", NAMESPACE, "orders"];
/// The Service for writers.
const HOST: &str = "orders-rw.shop.svc.cluster.local";
const SYSTEM: &str = "quorate-system";
/// Longest outage that a test accepts; the goal for a killed container is 5 s.
const OUTAGE_LIMIT: f64 = 15.0;
/// The same for a switchover; the goal is 3 s.
const PLANNED_LIMIT: f64 = 5.0;

/// An application's login and its password.
const APPLICATION: (&str, &str) = ("shop", "Shop-4711-lab");

fn manifest() -> String {
    let (login, password) = APPLICATION;
    let secret = format!(
        "{{apiVersion: v1, kind: Secret, metadata: {{name: shop-db, namespace: {NAMESPACE}}}, stringData: {{password: {password}}}}}"
    );
    let logins = format!(
        "  logins: [{{name: {login}, passwordSecret: {{name: shop-db, key: password}}, databases: [{{name: orders, roles: [db_datareader]}}]}}]"
    );
    let group = include_str!("../../deploy/examples/three-synchronous.yaml")
        .replace("mcr.microsoft.com/mssql/server:2022-CU16-ubuntu-22.04", "lab.local/sqlservr:dev");
    format!("{secret}\n---\n{}\n{logins}\n", group.trim_end())
}

/// A group that is Ready, and its primary.
fn ready_group() -> (Namespace, Healed, String) {
    let guards = (Namespace::new(NAMESPACE), Healed);
    apply(&manifest());
    let group = wait_for_condition(180, &GROUP, "Ready", "True");
    let primary = text(&group, "/status/primary").to_owned();
    (guards.0, guards.1, primary)
}

fn try_group() -> Result<Value, String> {
    try_kubectl_json(&[&["get"], GROUP.as_slice()].concat())
}

fn group() -> Value {
    try_group().unwrap_or_else(|error| panic!("{error}"))
}

/// Number of the last election.
fn epoch(group: &Value) -> u64 {
    group.pointer("/status/election/epoch").and_then(Value::as_u64).unwrap_or_default()
}

fn password() -> String {
    let template = "go-template={{.data.password | base64decode}}";
    kubectl(&["get", "secret", "-n", NAMESPACE, "orders-admin", "-o", template])
}

/// Runs one batch on the primary, through the service, as `sa`; rows as JSON arrays.
fn sql(database: &str, batch: &str) -> String {
    sql_as(("sa", &password()), database, batch)
}

fn sql_as((user, password): (&str, &str), database: &str, batch: &str) -> String {
    let mut command = Command::new("lab");
    command.args(["sql", "--host", HOST, "--user", user, "--database", database, batch]).env("LAB_PASSWORD", password);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{batch}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A client that writes all the time.
struct Writer {
    child: Child,
    ledger: PathBuf,
    directory: tempfile::TempDir,
}

impl Writer {
    fn command(directory: &tempfile::TempDir) -> Command {
        let ca = directory.path().join("ca.pem");
        std::fs::write(
            &ca,
            kubectl(&["get", "configmap", "-n", NAMESPACE, "orders-ca", "-o", "jsonpath={.data.ca\\.crt}"]),
        )
        .unwrap();
        let mut command = Command::new("lab");
        command.args(["writer", "--host", HOST, "--database", "orders"]);
        command.arg("--ca").arg(ca).arg("--ledger").arg(directory.path().join("ledger"));
        command.env("LAB_PASSWORD", password());
        command
    }

    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ledger = directory.path().join("ledger");
        let child = Self::command(&directory).stdout(Stdio::null()).spawn().unwrap();
        let writer = Self { child, ledger, directory };
        writer.wait_for_more("the first writes");
        writer
    }

    fn acknowledged(&self) -> usize {
        let text = std::fs::read_to_string(&self.ledger).unwrap_or_default();
        text.lines().filter(|line| line.starts_with("acknowledged")).count()
    }

    fn wait_for_more(&self, what: &str) {
        let before = self.acknowledged();
        wait_until(60, what, || match self.acknowledged() {
            now if now > before + 20 => Ok(()),
            now => Err(format!("{} more", now - before)),
        });
    }

    /// Ends it and compares the table with the ledger; the longest outage in seconds.
    fn finish(mut self, fault: &str) -> f64 {
        sleep(Duration::from_secs(1));
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let output = Self::command(&self.directory).arg("--check").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{fault}: the ledger and the table differ: {said}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let outages = report["outages"].as_array().cloned().unwrap_or_default();
        let longest = outages.iter().filter_map(|gap| gap["seconds"].as_f64()).fold(0.0, f64::max);
        println!(
            "outage after {fault}: {longest:.2} s{}; {} acknowledged, none lost, {} refused, {} unknown",
            parts(&group()),
            report["acknowledged"],
            report["refused"],
            report["unknown"],
        );
        longest
    }
}

/// The parts of the last failover, as its status tells them.
fn parts(group: &Value) -> String {
    let steps = group.pointer("/status/lastFailover/steps").and_then(Value::as_array).cloned().unwrap_or_default();
    let part = |step: &Value| format!("{} {:.2} s", text(step, "/name"), step["seconds"].as_f64().unwrap_or_default());
    let parts: Vec<_> = steps.iter().map(part).collect();
    if parts.is_empty() { String::new() } else { format!(", of it {}", parts.join(", ")) }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Pauses the operator for this group, as people do before they work on an instance themselves.
fn pause(paused: bool) {
    let patch = format!("{{\"spec\":{{\"paused\":{paused}}}}}");
    kubectl(&[&["patch", "--type=merge", "--patch", &patch], GROUP.as_slice()].concat());
    let reason = |group: &Value| group.pointer("/status/conditions/0/reason").cloned().unwrap_or_default();
    wait_until(30, if paused { "paused" } else { "no longer paused" }, || {
        let seen = reason(&try_group()?);
        if (seen == "Paused") == paused { Ok(()) } else { Err(seen.to_string()) }
    });
}

fn wait_for_another_primary(than: &str) -> String {
    wait_until(60, "another primary", || {
        let group = try_group()?;
        let primary = text(&group, "/status/primary").to_owned();
        if primary.is_empty() || primary == than { Err(group["status"].to_string()) } else { Ok(primary) }
    })
}

/// What an API server counts as a change, for every object that the operator could touch.
fn versions() -> BTreeMap<String, String> {
    let kinds = "availabilitygroups,pods,services,statefulsets,deployments,configmaps,secrets,endpointslices,\
                 persistentvolumeclaims,poddisruptionbudgets,events.events.k8s.io";
    let mut versions = BTreeMap::new();
    for namespace in [NAMESPACE, SYSTEM] {
        let list = kubectl_json(&["get", kinds, "-n", namespace]);
        for object in list["items"].as_array().unwrap() {
            let name = format!("{} {namespace}/{}", text(object, "/kind"), text(object, "/metadata/name"));
            versions.insert(name, text(object, "/metadata/resourceVersion").to_owned());
        }
    }
    versions
}

#[test]
#[ignore = "needs the lab"]
fn one_manifest_becomes_a_group_that_rests_and_a_second_apply_changes_nothing() {
    let (_namespace, _healed, primary) = ready_group();
    let table = kubectl(&["get", "ag", "-n", NAMESPACE]);
    assert!(table.contains(&primary) && table.contains("Healthy"), "{table}");
    let writer = Writer::start();
    writer.finish("nothing");

    // Not only the end of bring-up but also its last events have to be behind us.
    sleep(Duration::from_secs(10));
    let before = versions();
    sleep(Duration::from_secs(60));
    assert_eq!(versions(), before, "at rest nothing is written but the Lease");

    let generation = text(&group(), "/metadata/resourceVersion").to_owned();
    apply(&manifest());
    sleep(Duration::from_secs(5));
    assert_eq!(text(&group(), "/metadata/resourceVersion"), generation);
    assert_eq!(versions(), before);
}

#[test]
#[ignore = "needs the lab"]
fn a_killed_primary_is_replaced_and_returns_as_a_secondary() {
    let (_namespace, _healed, primary) = ready_group();
    let writer = Writer::start();
    fault("kill", NAMESPACE, &primary);
    wait_for_another_primary(&primary);
    writer.wait_for_more("writes on the new primary");
    let outage = writer.finish("a killed container");
    assert!(outage <= OUTAGE_LIMIT, "{outage} s");
    wait_for_condition(60, &GROUP, "Ready", "True");
    // Its user in the database finds it on the new primary by their one SID.
    let rows = sql_as(APPLICATION, "orders", "SELECT CASE WHEN count(*) > 20 THEN 1 ELSE 0 END FROM dbo.ledger");
    assert_eq!(rows, "[1]\n");
}

#[test]
#[ignore = "needs the lab"]
fn a_frozen_primary_is_replaced_and_follows_when_it_wakes() {
    let (_namespace, _healed, primary) = ready_group();
    let writer = Writer::start();
    fault("freeze", NAMESPACE, &primary);
    wait_for_another_primary(&primary);
    writer.wait_for_more("writes on the new primary");
    fault("thaw", NAMESPACE, &primary);
    wait_for_condition(120, &GROUP, "Ready", "True");
    let outage = writer.finish("a frozen primary");
    assert!(outage <= 2.0 * OUTAGE_LIMIT, "{outage} s");
}

#[test]
#[ignore = "needs the lab"]
fn the_primary_moves_when_a_person_asks_and_when_its_pod_is_deleted() {
    let (_namespace, _healed, primary) = ready_group();
    let target = if primary == "orders-1" { "orders-2" } else { "orders-1" };
    let writer = Writer::start();
    apply(&format!(
        "{{apiVersion: quorate.dev/v1alpha1, kind: Failover, metadata: {{name: to-{target}, namespace: {NAMESPACE}}},
          spec: {{availabilityGroup: orders, mode: Planned, target: {target}}}}}"
    ));
    let request = ["failovers.quorate.dev", "-n", NAMESPACE, &format!("to-{target}")];
    wait_for_condition(60, &request, "Succeeded", "True");
    assert_eq!(text(&group(), "/status/primary"), target);
    let outage = writer.finish("a planned switchover");
    assert!(outage <= PLANNED_LIMIT, "{outage} s");

    wait_for_condition(60, &GROUP, "Ready", "True");
    // Another writer, another ledger.
    sql("orders", "DROP TABLE dbo.ledger");
    let writer = Writer::start();
    kubectl(&["delete", "pod", "-n", NAMESPACE, "--wait=false", target]);
    wait_for_another_primary(target);
    writer.wait_for_more("writes on the new primary");
    let outage = writer.finish("the deletion of the primary's pod");
    assert!(outage <= PLANNED_LIMIT, "{outage} s");
    wait_for_condition(120, &GROUP, "Ready", "True");
}

#[test]
#[ignore = "needs the lab"]
fn a_person_forces_the_last_replica_and_the_others_follow_when_they_wake() {
    let (_namespace, _healed, primary) = ready_group();
    let writer = Writer::start();
    let (target, other) = if primary == "orders-1" { ("orders-2", "orders-0") } else { ("orders-1", "orders-2") };
    let other = if other == primary { "orders-0" } else { other };
    for pod in [other, &primary] {
        fault("freeze", NAMESPACE, pod);
    }
    let blocked = wait_for_condition(60, &GROUP, "FailoverBlocked", "True");
    let told = blocked["status"]["conditions"].to_string();
    assert!(
        told.contains("1 of 2 sequence numbers seen") && told.contains(&format!("{primary} (silent since")),
        "{told}"
    );
    apply(&format!(
        "{{apiVersion: quorate.dev/v1alpha1, kind: Failover, metadata: {{name: forced, namespace: {NAMESPACE}}},
          spec: {{availabilityGroup: orders, mode: Forced, target: {target}, expectedEpoch: {}, resumeDatabases: true,
                  acceptDataLoss: I accept data loss in orders}}}}",
        epoch(&blocked)
    ));
    wait_for_condition(60, &["failovers.quorate.dev", "-n", NAMESPACE, "forced"], "Succeeded", "True");
    let forced = group();
    assert_eq!((text(&forced, "/status/primary"), text(&forced, "/status/lastFailover/kind")), (target, "Forced"));
    for pod in [other, &primary] {
        fault("thaw", NAMESPACE, pod);
    }
    wait_for_condition(180, &GROUP, "Ready", "True");
    writer.wait_for_more("writes on the forced primary");
    writer.finish("a forced failover, until the others are back");
}

#[test]
#[ignore = "needs the lab"]
fn a_primary_whose_node_has_lost_power_is_replaced_and_rejoins() {
    let (_namespace, _healed, primary) = ready_group();
    let node = text(&kubectl_json(&["get", "pod", "-n", NAMESPACE, &primary]), "/spec/nodeName").to_owned();
    let writer = Writer::start();
    node_off(&node);
    wait_for_another_primary(&primary);
    writer.wait_for_more("writes on the new primary");
    node_on(&node);
    wait_for_condition(120, &GROUP, "Ready", "True");
    let outage = writer.finish("a node without power");
    assert!(outage <= 2.0 * OUTAGE_LIMIT, "{outage} s");
}

#[test]
#[ignore = "needs the lab"]
fn a_failover_goes_on_when_the_leading_operator_dies_in_it() {
    let (_namespace, _healed, primary) = ready_group();
    let writer = Writer::start();
    let leases = kubectl_json(&["get", "leases", "-n", SYSTEM]);
    let holder = text(&leases, "/items/0/spec/holderIdentity").to_owned();
    let pods = kubectl_json(&["get", "pods", "-n", SYSTEM]);
    let names = pods["items"].as_array().unwrap().iter().map(|pod| text(pod, "/metadata/name"));
    let leader = names.into_iter().find(|name| holder.contains(name)).unwrap_or_else(|| panic!("who is {holder}?"));
    let before = epoch(&group());
    fault("kill", NAMESPACE, &primary);
    wait_until(30, "the election is recorded", || {
        let group = try_group()?;
        if epoch(&group) > before { Ok(()) } else { Err(group["status"].to_string()) }
    });
    fault("kill", SYSTEM, leader);
    wait_for_another_primary(&primary);
    writer.wait_for_more("writes on the new primary");
    // Whoever finishes it tells what the one that began it took.
    wait_until(30, "the failover is told with all its parts", || {
        let group = try_group()?;
        let told = group.pointer("/status/lastFailover/epoch").and_then(Value::as_u64).unwrap_or_default();
        let parts = ["Suspected", "StoodDown", "Promoted", "Settled", "Routed"];
        let whole = parts.iter().all(|part| self::parts(&group).contains(part));
        if told > before && whole { Ok(()) } else { Err(group["status"].to_string()) }
    });
    let outage = writer.finish("a killed container and a killed leader");
    assert!(outage <= 3.0 * OUTAGE_LIMIT, "{outage} s");
}

#[test]
#[ignore = "needs the lab"]
fn deleting_the_group_keeps_its_data_and_applying_it_again_finds_it() {
    let (_namespace, _healed, _) = ready_group();
    sql("orders", "CREATE TABLE dbo.kept (id bigint NOT NULL)");
    sql("orders", "INSERT INTO dbo.kept (id) VALUES (7)");
    kubectl(&[&["delete", "--timeout=120s"], GROUP.as_slice()].concat());
    wait_until(60, "the pods are gone", || match kubectl(&["get", "pods", "-n", NAMESPACE, "-o", "name"]) {
        pods if pods.is_empty() => Ok(()),
        pods => Err(pods),
    });
    assert!(!kubectl(&["get", "pvc", "-n", NAMESPACE, "-o", "name"]).is_empty());
    password();
    apply(&manifest());
    wait_for_condition(180, &GROUP, "Ready", "True");
    assert_eq!(sql("orders", "SELECT id FROM dbo.kept"), "[7]\n");
}

#[test]
#[ignore = "needs the lab"]
fn a_missing_database_is_never_made_again_empty() {
    let (_namespace, _healed, _) = ready_group();
    // Otherwise a database that left the group is added again at once.
    pause(true);
    sql("master", "ALTER AVAILABILITY GROUP [orders] REMOVE DATABASE [orders]");
    sql("master", "DROP DATABASE [orders]");
    pause(false);
    let group = wait_for_condition(60, &GROUP, "Stalled", "True");
    assert!(group["status"].to_string().contains("DatabaseMissing"), "{}", group["status"]);
    sleep(Duration::from_secs(10));
    assert_eq!(sql("master", "SELECT name FROM sys.databases WHERE name = N'orders'"), "");
}
