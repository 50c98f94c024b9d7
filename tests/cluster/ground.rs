//! The lab itself: before a story about Quorate is believed, the ground it stands on is tried.

use serde_json::Value;

use crate::support::*;

const NAMESPACE: &str = "ground";
const WORKLOAD: &str = include_str!("ground.yaml");

fn workload() -> (Namespace, Healed) {
    let guards = (Namespace::new(NAMESPACE), Healed);
    apply(WORKLOAD);
    for pod in ["db-0", "db-1", "db-2"] {
        wait_for_condition(60, &["pod", "-n", NAMESPACE, pod], "Ready", "True");
    }
    guards
}

fn pod(name: &str) -> Value {
    kubectl_json(&["get", "pod", "-n", NAMESPACE, name])
}

/// Fetches from within a pod.
fn get(from: &str, url: &str) -> Result<String, String> {
    try_kubectl(&["exec", "-n", NAMESPACE, from, "--", "/lab", "get", url])
}

fn node_is(node: &str, status: &str) {
    wait_for_condition(30, &["node", node], "Ready", status);
}

#[test]
#[ignore = "needs the lab"]
fn three_nodes_are_ready_and_pods_reach_one_another_by_name() {
    for node in ["n1", "n2", "n3"] {
        assert_eq!(condition(&kubectl_json(&["get", "node", node]), "Ready"), "True");
    }
    let _guards = workload();
    let mut nodes: Vec<String> =
        ["db-0", "db-1", "db-2"].map(|name| text(&pod(name), "/spec/nodeName").to_owned()).into();
    nodes.sort();
    assert_eq!(nodes, ["n1", "n2", "n3"]);
    for (from, to) in [("db-0", "db-1"), ("db-1", "db-2"), ("db-2", "db-0")] {
        let url = format!("{to}.db.{NAMESPACE}.svc.cluster.local:8080/name");
        wait_until(10, &format!("{from} reaches {to}"), || match get(from, &url) {
            Ok(name) if name == to => Ok(()),
            other => Err(other),
        });
    }
    // The driver sees the cluster's names, and nothing outside.
    assert_eq!(lab(&["get", &format!("db-1.db.{NAMESPACE}.svc.cluster.local:8080/name")]), "db-1");
    assert_eq!(lab(&["get", &format!("web.{NAMESPACE}.svc.cluster.local:80/")]), "fine\n");
}

#[test]
#[ignore = "needs the lab"]
fn a_claim_keeps_its_data_when_the_pod_is_deleted_and_loses_it_when_it_is_deleted_itself() {
    let _guards = workload();
    get("db-0", "localhost:8080/append/kept").unwrap();
    let before = text(&pod("db-0"), "/metadata/uid").to_owned();
    kubectl(&["delete", "pod", "-n", NAMESPACE, "db-0"]);
    wait_until(30, "the pod is replaced", || {
        let now = try_kubectl_json(&["get", "pod", "-n", NAMESPACE, "db-0"])?;
        let new = text(&now, "/metadata/uid") != before && condition(&now, "Ready") == "True";
        if new { Ok(()) } else { Err(now["status"].to_string()) }
    });
    assert_eq!(get("db-0", "localhost:8080/data").unwrap(), "kept\n");
    let volume = kubectl(&["get", "pvc", "-n", NAMESPACE, "data-db-0", "-o", "jsonpath={.spec.volumeName}"]);
    kubectl(&["delete", "statefulset,pvc", "-n", NAMESPACE, "--all", "--timeout=60s"]);
    wait_until(20, "the volume is removed", || match try_kubectl(&["get", "pv", &volume]) {
        Err(error) if error.contains("not found") => Ok(()),
        other => Err(other),
    });
}

#[test]
#[ignore = "needs the lab"]
fn a_killed_container_is_restarted_and_a_frozen_one_is_not_ready() {
    let _guards = workload();
    fault("kill", NAMESPACE, "db-1");
    wait_until(20, "the container is restarted", || {
        let now = pod("db-1");
        let restarts = now.pointer("/status/containerStatuses/0/restartCount").and_then(Value::as_u64);
        if restarts == Some(1) && condition(&now, "Ready") == "True" { Ok(()) } else { Err(now["status"].to_string()) }
    });
    fault("freeze", NAMESPACE, "db-2");
    wait_for_condition(20, &["pod", "-n", NAMESPACE, "db-2"], "Ready", "False");
    fault("thaw", NAMESPACE, "db-2");
    wait_for_condition(20, &["pod", "-n", NAMESPACE, "db-2"], "Ready", "True");
    let restarts = pod("db-2").pointer("/status/containerStatuses/0/restartCount").and_then(Value::as_u64);
    assert_eq!(restarts, Some(0), "a pause is no crash");
}

#[test]
#[ignore = "needs the lab"]
fn a_node_without_power_is_noticed_and_returns_with_its_data() {
    let _guards = workload();
    get("db-0", "localhost:8080/append/kept").unwrap();
    let (node, address) =
        (text(&pod("db-0"), "/spec/nodeName").to_owned(), text(&pod("db-0"), "/status/podIP").to_owned());
    node_off(&node);
    // A dead machine is silent: nobody refuses the connection.
    let error = get("db-1", &format!("{address}:8080/")).unwrap_err();
    assert!(error.contains("timed out"), "{error}");
    node_is(&node, "Unknown");
    wait_for_condition(20, &["pod", "-n", NAMESPACE, "db-0"], "Ready", "False");
    node_on(&node);
    node_is(&node, "True");
    wait_until(60, "the pod serves its data again", || match get("db-0", "localhost:8080/data") {
        Ok(data) if data == "kept\n" => Ok(()),
        other => Err(other),
    });
}

#[test]
#[ignore = "needs the lab"]
fn a_cut_separates_two_nodes_and_nobody_else() {
    let _guards = workload();
    let (a, b, c) = (pod("db-0"), pod("db-1"), pod("db-2"));
    let url = |pod: &Value| format!("{}:8080/", text(pod, "/status/podIP"));
    lab(&["cut", text(&a, "/spec/nodeName"), text(&b, "/spec/nodeName")]);
    assert!(get("db-0", &url(&b)).is_err());
    assert!(get("db-1", &url(&a)).is_err());
    assert_eq!(get("db-0", &url(&c)).unwrap(), "fine\n");
    assert_eq!(get("db-2", &url(&b)).unwrap(), "fine\n");
    lab(&["heal"]);
    assert_eq!(get("db-0", &url(&b)).unwrap(), "fine\n");

    lab(&["cut", &format!("{NAMESPACE}/db-0"), "cp"]);
    assert!(get("db-0", "10.231.0.1:6443/").unwrap_err().contains("timed out"));
    assert_eq!(condition(&pod("db-0"), "Ready"), "True");
    lab(&["heal"]);
}

#[test]
#[ignore = "needs the lab"]
fn the_api_server_comes_back_after_a_crash() {
    let _guards = workload();
    lab(&["component", "kill", "kube-apiserver"]);
    assert!(try_kubectl(&["get", "nodes", "--request-timeout=2s"]).is_err());
    lab(&["component", "start", "kube-apiserver"]);
    lab(&["component", "refresh"]);
    for node in ["n1", "n2", "n3"] {
        node_is(node, "True");
    }
    for name in ["db-0", "db-1", "db-2"] {
        let restarts = pod(name).pointer("/status/containerStatuses/0/restartCount").and_then(Value::as_u64);
        assert_eq!(restarts, Some(0), "{name} must not notice");
    }
    let before = text(&pod("db-0"), "/metadata/uid").to_owned();
    kubectl(&["delete", "pod", "-n", NAMESPACE, "db-0"]);
    wait_until(60, "controllers, scheduler and kubelets act again", || {
        let now = try_kubectl_json(&["get", "pod", "-n", NAMESPACE, "db-0"])?;
        let new = text(&now, "/metadata/uid") != before && condition(&now, "Ready") == "True";
        if new { Ok(()) } else { Err(now["status"].to_string()) }
    });
}
