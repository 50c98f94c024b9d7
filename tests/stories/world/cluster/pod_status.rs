//! The status of a pod, as its kubelet writes it.

use super::Container;
use crate::world::apiserver::ApiServer;
use serde_json::{Value, json};

/// The state of a container.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// Not started, and why.
    Waiting(String),
    /// Running; `started` once its startup probe passed.
    Running {
        /// Whether it is ready by itself.
        started: bool,
    },
    /// Exited.
    Exited {
        /// With this code.
        code: i32,
        /// What it left in its termination log.
        words: Option<String>,
    },
}

/// Whether nothing of a pod runs any more, nor ever will.
pub fn is_over(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded"))
}

/// A condition of a pod.
pub fn condition(pod: &Value, name: &str) -> Option<bool> {
    let conditions = pod["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == name).map(|condition| condition["status"] == "True")
}

/// Sets a condition of a pod if it differs.
pub fn set_condition(api: &ApiServer, who: &str, namespace: &str, pod: &str, name: &str, holds: bool, reason: &str) {
    let stamp = api.clock().stamp();
    api.change(who, "pods", namespace, pod, |pod| put_condition(pod, name, holds, reason, &stamp));
}

fn put_condition(pod: &mut Value, name: &str, holds: bool, reason: &str, stamp: &str) {
    if condition(pod, name) == Some(holds) {
        return;
    }
    let status = if holds { "True" } else { "False" };
    let mut new = json!({"type": name, "status": status, "lastTransitionTime": stamp});
    if !holds && !reason.is_empty() {
        new["reason"] = reason.into();
    }
    if !pod["status"]["conditions"].is_array() {
        pod["status"]["conditions"] = json!([]);
    }
    let list = pod["status"]["conditions"].as_array_mut().unwrap();
    match list.iter_mut().find(|condition| condition["type"] == name) {
        Some(old) => *old = new,
        None => list.push(new),
    }
}

/// Writes what the kubelet sees of a container.
pub fn report(api: &ApiServer, container: &Container, phase: &Phase) {
    let stamp = api.clock().stamp();
    let who = format!("kubelet {}", container.node);
    let address = address(&container.uid);
    api.change(&who, "pods", &container.namespace, &container.pod, |pod| {
        if pod["metadata"]["uid"] != container.uid.as_str() {
            return;
        }
        pod["status"]["hostIP"] = format!("192.168.0.{}", container.node.trim_start_matches('n')).into();
        pod["status"]["podIP"] = address.clone().into();
        pod["status"]["podIPs"] = json!([{"ip": address}]);
        if pod["status"]["startTime"].is_null() {
            pod["status"]["startTime"] = stamp.clone().into();
        }
        let old = pod["status"]["containerStatuses"][0].clone();
        pod["status"]["containerStatuses"] = json!([container_status(container, pod, &old, phase, &stamp)]);
        let prepared = !matches!(phase, Phase::Waiting(why) if why == "PodInitializing");
        let over = |code: i32| if code == 0 { "Succeeded" } else { "Failed" };
        pod["status"]["phase"] = match phase {
            Phase::Exited { code, .. } if pod["spec"]["restartPolicy"] == "Never" => over(*code),
            _ if prepared => "Running",
            _ => "Pending",
        }
        .into();
        let ready = *phase == Phase::Running { started: true };
        put_condition(pod, "PodScheduled", true, "", &stamp);
        put_condition(pod, "Initialized", prepared, "ContainersNotInitialized", &stamp);
        put_condition(pod, "ContainersReady", ready, "ContainersNotReady", &stamp);
        put_readiness(pod, &stamp);
    });
}

/// Recomputes readiness from containers and readiness gates.
pub fn report_readiness(api: &ApiServer, container: &Container) {
    let stamp = api.clock().stamp();
    let who = format!("kubelet {}", container.node);
    api.change(&who, "pods", &container.namespace, &container.pod, |pod| put_readiness(pod, &stamp));
}

fn put_readiness(pod: &mut Value, stamp: &str) {
    let containers = condition(pod, "ContainersReady") == Some(true);
    let gates: Vec<String> = pod["spec"]["readinessGates"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|gate| gate["conditionType"].as_str().map(str::to_owned))
        .collect();
    let open = gates.iter().all(|gate| condition(pod, gate) == Some(true));
    let reason = if containers { "ReadinessGatesNotReady" } else { "ContainersNotReady" };
    put_condition(pod, "Ready", containers && open, reason, stamp);
}

fn container_status(container: &Container, pod: &Value, old: &Value, phase: &Phase, stamp: &str) -> Value {
    let spec = &pod["spec"]["containers"][0];
    let id = format!("containerd://{}-{}", container.uid, container.restart);
    let began =
        if old["containerID"] == id.as_str() { old["state"]["running"]["startedAt"].clone() } else { stamp.into() };
    let began = if began.is_null() { Value::from(stamp) } else { began };
    let (state, last) = match phase {
        Phase::Waiting(why) => (json!({"waiting": {"reason": why}}), exited_before(old)),
        Phase::Running { .. } => (json!({"running": {"startedAt": began}}), exited_before(old)),
        Phase::Exited { code, words } => {
            let reason = if *code == 0 { "Completed" } else { "Error" };
            let terminated = json!({"terminated": {
                "exitCode": code, "reason": reason, "message": words, "startedAt": began, "finishedAt": stamp,
                "containerID": id}});
            (terminated, old["lastState"].clone())
        }
    };
    let started = *phase == Phase::Running { started: true };
    json!({
        "name": spec["name"], "image": spec["image"], "imageID": spec["image"], "containerID": id,
        "restartCount": container.restart, "ready": started, "started": started,
        "state": state, "lastState": if last.is_null() { json!({}) } else { last },
    })
}

/// The last exit of a container that is not in state exited any more.
fn exited_before(old: &Value) -> Value {
    if old["state"]["terminated"].is_object() { old["state"].clone() } else { old["lastState"].clone() }
}

/// The address of a pod: its own, never used again.
pub fn address(uid: &str) -> String {
    let serial = u64::from_str_radix(uid.rsplit('-').next().unwrap_or_default(), 16).unwrap_or_default();
    format!("10.244.{}.{}", serial / 250, serial % 250 + 1)
}
