//! Nodes and what the control plane thinks of them.

use super::Cluster;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

/// Silence of a kubelet before its node is called not ready (node-monitor-grace-period).
const MONITOR_GRACE: Duration = Duration::from_secs(40);
/// Then pods are evicted (the default toleration of unreachable nodes).
const TOLERATION: Duration = Duration::from_secs(300);
/// Boot of a node, until its kubelet works.
const BOOT: Duration = Duration::from_secs(8);

/// Creates the Node object.
pub fn register(cluster: &Cluster, name: &str) {
    let api = cluster.api();
    let condition =
        json!({"type": "Ready", "status": "True", "reason": "KubeletReady", "lastTransitionTime": api.clock().stamp()});
    api.make(
        "kubelet",
        json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "status": {"conditions": [condition]},
        }),
    );
}

/// Whether the control plane takes the node for ready.
pub fn is_ready(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array();
    conditions.is_some_and(|list| list.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}

/// The node life cycle controller, for one node.
pub async fn watch_health(cluster: Cluster, name: String) {
    let mut power = cluster.0.nodes[&name].subscribe();
    loop {
        if wait_for(&mut power, false).await.is_none() {
            return;
        }
        if timeout(MONITOR_GRACE, wait_for(&mut power, true)).await.is_err() {
            report(&cluster, &name, "Unknown", "NodeStatusUnknown");
            for (namespace, pod) in pods_on(&cluster, &name) {
                super::pod_status::set_condition(
                    cluster.api(),
                    "node controller",
                    &namespace,
                    &pod,
                    "Ready",
                    false,
                    "NodeNotReady",
                );
            }
            if timeout(TOLERATION, wait_for(&mut power, true)).await.is_err() {
                for (namespace, pod) in pods_on(&cluster, &name) {
                    cluster.api().remove("node controller", "pods", &namespace, &pod, None);
                }
                wait_for(&mut power, true).await;
            }
        }
        sleep(BOOT).await;
        if *power.borrow() {
            report(&cluster, &name, "True", "KubeletReady");
            super::kubelet::assign(&cluster);
        }
    }
}

async fn wait_for(power: &mut watch::Receiver<bool>, wanted: bool) -> Option<()> {
    power.wait_for(|on| *on == wanted).await.ok().map(|_| ())
}

fn report(cluster: &Cluster, name: &str, status: &str, reason: &str) {
    let stamp = cluster.api().clock().stamp();
    cluster.api().change("node controller", "nodes", "", name, |node| {
        let condition = &mut node["status"]["conditions"][0];
        if condition["status"] != status {
            *condition = json!({"type": "Ready", "status": status, "reason": reason, "lastTransitionTime": stamp});
        }
    });
}

fn pods_on(cluster: &Cluster, node: &str) -> Vec<(String, String)> {
    let pods = cluster.api().all("pods", "");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    pods.iter()
        .filter(|pod| pod["spec"]["nodeName"] == node)
        .map(|pod| (text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"])))
        .collect()
}
