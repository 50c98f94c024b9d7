//! A staged upgrade over two regions: nodes n1 and n2 are the east, n3 is the west. A region is lost by powering its nodes off.

use serde_json::Value;

use crate::{shop::*, support::*, upgrade::*};

const WEST: &str = "shop-west";
const COPY: (&str, &str) = (WEST, "orders-dr");
const NEW_COPY: (&str, &str) = (WEST, "orders-v2-dr");

/// The example as it is shipped, with the stand-in as image. Nothing is approved but what `approvals` says.
fn manifests(approvals: &str) -> String {
    with_the_stand_in(include_str!("../../deploy/examples/staged-upgrade-two-regions.yaml"))
        .replace("{start: Automatic, switch: Manual, retire: Manual}", approvals)
}

/// Both regions, production in the east, and the upgrade begun.
fn begun(approvals: &str) -> (Namespace, Namespace, Healed, Writer) {
    let guards = (Namespace::new(NAMESPACE), Namespace::new(WEST), Healed);
    for (node, region) in [("n1", "east"), ("n2", "east"), ("n3", "west")] {
        kubectl(&["label", "--overwrite", "node", node, &format!("topology.kubernetes.io/region={region}")]);
    }
    let east = "  pod: {nodeSelector: {topology.kubernetes.io/region: east}}\n";
    apply(&format!("{}{east}", manifest()));
    wait_for_condition(180, &GROUP, "Ready", "True");
    apply(&application("v1", (NAMESPACE, "orders")));
    let writer = Writer::start();
    apply(&staged(&manifests(approvals)));
    apply(&application("dr", COPY));
    apply(&application("v2-dr", NEW_COPY));
    (guards.0, guards.1, guards.2, writer)
}

fn primary_of((namespace, group): (&str, &str)) -> String {
    let group = kubectl_json(&["get", "availabilitygroup", "-n", namespace, group]);
    text(&group, "/status/primary").to_owned()
}

/// Runs one batch as `sa` on a replica of the west.
fn on_replica(group: (&str, &str), replica: &str, database: &str, batch: &str) -> Result<String, String> {
    let host = format!("{replica}.{}-replicas.{}.svc.cluster.local", group.1, group.0);
    try_sql_at(&host, ("sa", &password_of(group)), database, batch)
}

#[test]
#[ignore = "needs the lab"]
fn users_are_switched_when_both_regions_have_the_new_version() {
    let (_east, _west, _healed, mut writer) = begun("{}");
    let status = ends_in("Succeeded");
    tell(&status);
    let object = kubectl_json(&[&["get"], UPGRADE.as_slice()].concat());
    assert_eq!(condition(&object, "DrProtected"), "True", "{}", object["status"]);
    let front = kubectl_json(&["get", "service", "-n", NAMESPACE, "shop"]);
    let standby = front.pointer("/metadata/annotations/quorate.dev~1standby").and_then(Value::as_str);
    assert_eq!(standby, Some("shop-west/shop-v2-dr"));
    let report = writer.check("a staged upgrade over two regions", "orders-v2");
    writer.check_in("its copy in the west", NEW_COPY);
    println!("{} acknowledged on the old version, every one is on the new one in both regions", report["acknowledged"]);
    let invoice = "SELECT COUNT(*) FROM dbo.invoice";
    on_replica(NEW_COPY, &primary_of(NEW_COPY), "orders", invoice).unwrap();
    on_replica(COPY, &primary_of(COPY), "orders", invoice).expect_err("the old version's copy has the new table");
}

#[test]
#[ignore = "needs the lab"]
fn a_region_without_power_loses_nothing_that_the_barrier_covers() {
    let (_east, _west, _healed, mut writer) = begun("{switch: Manual}");
    ends_in("Switching");
    let leader = primary_of(COPY);
    let uid = text(&kubectl_json(&[&["get"], UPGRADE.as_slice()].concat()), "/metadata/uid").to_owned();
    node_off("n1");
    node_off("n2");
    wait_for_condition(60, &UPGRADE, "DrProtected", "False");
    let force = format!("ALTER AVAILABILITY GROUP [quorate-{uid}-dr] FORCE_FAILOVER_ALLOW_DATA_LOSS");
    on_replica(COPY, &leader, "master", &force).unwrap();
    let status = ends_in("RolledBack");
    tell(&status);
    assert_eq!(text(&status, "/record/failure/reason"), "RegionLost", "{status}");
    let other = if leader.ends_with("-0") { "orders-dr-1" } else { "orders-dr-0" };
    wait_until(60, "the copy takes writes", || {
        let _ = on_replica(COPY, other, "master", "ALTER DATABASE [orders] SET HADR RESUME");
        on_replica(COPY, &leader, "orders", "CREATE TABLE dbo.moved (id int)")
    });
    let report = writer.check_in("a lost region", COPY);
    println!("{} acknowledged before the region was lost, every one is in the other one", report["acknowledged"]);
    node_on("n1");
    node_on("n2");
    wait_until(120, "production answers, and keeps writers out", || {
        match try_sql_as(("sa", &password()), "orders", "CREATE TABLE dbo.late (id int)") {
            Err(error) if error.contains("17892") || error.contains("3906") => Ok(()),
            Ok(_) => panic!("the lost production takes writes"),
            Err(error) => Err(error),
        }
    });
}
