//! Faults that last: `cargo lab test --long`. Paths that are cut one by one, and a control plane that is away.

use std::thread::sleep;
use std::time::Duration;

use crate::shop::*;
use crate::support::*;

/// Longest outage where the engine has to notice silence first: its session timeout, suspicion, the election.
const SILENCE: f64 = 30.0;
/// A group that nothing happens to is written without a pause that a client would notice.
const NOTHING: f64 = 2.0;

/// Cuts, lets it last, heals; the outage seen by the writer, who is the primary then.
fn outage_of_a_cut(what: &str, cut: &[&str]) -> (f64, String) {
    let writer = Writer::start();
    lab(&[&["cut"], cut].concat());
    sleep(Duration::from_secs(40));
    writer.wait_for_more("writes while it is cut");
    let primary = text(&group(), "/status/primary").to_owned();
    lab(&["heal"]);
    wait_for_condition(180, &GROUP, "Ready", "True");
    let outage = writer.finish(what);
    sql("orders", "DROP TABLE dbo.ledger");
    (outage, primary)
}

/// etcd and the API server are away for a minute, and until `still` is seen.
fn without_control_plane(still: impl FnOnce()) {
    for component in ["kube-apiserver", "etcd"] {
        lab(&["component", "kill", component]);
    }
    sleep(Duration::from_secs(60));
    still();
    for component in ["etcd", "kube-apiserver"] {
        lab(&["component", "start", component]);
    }
    lab(&["component", "refresh"]);
}

#[test]
#[ignore = "needs the lab"]
fn every_path_that_is_cut_alone_leaves_the_group_writable() {
    let (_namespace, _healed, primary) = ready_group();
    let others: Vec<_> = ["orders-0", "orders-1", "orders-2"].into_iter().filter(|pod| *pod != primary).collect();
    let pod = |name: &str| format!("{NAMESPACE}/{name}");

    let (outage, now) = outage_of_a_cut("a cut between the secondaries", &[&pod(others[0]), &pod(others[1])]);
    assert!(outage <= NOTHING && now == primary, "{outage} s, {now}");

    let operator = format!("{SYSTEM}/{}", leader());
    let (outage, now) = outage_of_a_cut("a cut between operator and primary", &[&operator, &pod(&primary)]);
    assert!(outage <= NOTHING && now == primary, "{outage} s, {now}");

    let (outage, now) = outage_of_a_cut("a cut between operator and a secondary", &[&operator, &pod(others[0])]);
    assert!(outage <= NOTHING && now == primary, "{outage} s, {now}");

    let (outage, now) = outage_of_a_cut("a cut between primary and a secondary", &[&pod(&primary), &pod(others[0])]);
    assert!(outage <= SILENCE && now == primary, "{outage} s, {now}");

    let (outage, _) = outage_of_a_cut("a primary cut off from everyone", &[&pod(&primary), "rest"]);
    assert!(outage <= SILENCE, "{outage} s");
}

#[test]
#[ignore = "needs the lab"]
fn a_node_that_is_cut_off_with_the_primary_is_survived() {
    let (_namespace, _healed, primary) = ready_group();
    let node = node_of(NAMESPACE, &primary);
    // What it takes when the leading operator is cut off, too, is told by the test in which both die.
    while node_of(SYSTEM, &leader()) == node {
        kubectl(&["delete", "pod", "-n", SYSTEM, &leader(), "--wait=true"]);
        wait_for_condition(60, &["deployment", "-n", SYSTEM, "quorate"], "Available", "True");
    }
    let (outage, now) = outage_of_a_cut("a cut-off node of the primary", &[&node, "rest"]);
    assert!(outage <= SILENCE && now != primary, "{outage} s, {now}");
}

#[test]
#[ignore = "needs the lab"]
fn without_a_control_plane_for_a_minute_the_group_stays_writable() {
    let (_namespace, _healed, primary) = ready_group();
    let before = epoch(&group());
    let writer = Writer::start();
    without_control_plane(|| writer.wait_for_more("writes without a control plane"));
    wait_for_condition(120, &GROUP, "Ready", "True");
    let outage = writer.finish("a control plane that was away");
    let group = group();
    assert!(outage <= NOTHING, "{outage} s");
    assert_eq!((text(&group, "/status/primary"), epoch(&group)), (primary.as_str(), before));
}

#[test]
#[ignore = "needs the lab"]
fn a_failover_waits_for_the_control_plane_and_goes_on_when_it_is_back() {
    let (_namespace, _healed, primary) = ready_group();
    let writer = Writer::start();
    fault("freeze", NAMESPACE, &primary);
    without_control_plane(|| {});
    wait_for_another_primary(&primary);
    writer.wait_for_more("writes on the new primary");
    fault("thaw", NAMESPACE, &primary);
    wait_for_condition(180, &GROUP, "Ready", "True");
    let outage = writer.finish("a frozen primary and a control plane away for a minute");
    assert!(outage <= 60.0 + SILENCE, "{outage} s");
}
