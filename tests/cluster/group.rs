//! The main story: one manifest becomes a group, and every fault leaves each acknowledged write where it is.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::shop::*;
use crate::support::*;

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
fn a_drained_node_gives_up_its_primary_before_the_pod_ends() {
    let (_namespace, _healed, primary) = ready_group();
    let node = node_of(NAMESPACE, &primary);
    let writer = Writer::start();
    let selector = "--pod-selector=quorate.dev/group=orders";
    kubectl(&["drain", &node, selector, "--delete-emptydir-data", "--timeout=120s"]);
    wait_for_another_primary(&primary);
    writer.wait_for_more("writes on the new primary");
    let outage = writer.finish("a drained node");
    assert!(outage <= PLANNED_LIMIT, "{outage} s");
    kubectl(&["uncordon", &node]);
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
    let node = node_of(NAMESPACE, &primary);
    let led_there = node_of(SYSTEM, &leader()) == node;
    let fault = if led_there { "a node without power that had the leader, too" } else { "a node without power" };
    let writer = Writer::start();
    node_off(&node);
    wait_for_another_primary(&primary);
    writer.wait_for_more("writes on the new primary");
    node_on(&node);
    wait_for_condition(120, &GROUP, "Ready", "True");
    let outage = writer.finish(fault);
    assert!(outage <= 2.0 * OUTAGE_LIMIT, "{outage} s");
}

#[test]
#[ignore = "needs the lab"]
fn a_failover_goes_on_when_the_leading_operator_dies_in_it() {
    let (_namespace, _healed, primary) = ready_group();
    let writer = Writer::start();
    let leader = leader();
    let before = epoch(&group());
    fault("kill", NAMESPACE, &primary);
    wait_until(30, "the election is recorded", || {
        let group = try_group()?;
        if epoch(&group) > before { Ok(()) } else { Err(group["status"].to_string()) }
    });
    fault("kill", SYSTEM, &leader);
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
