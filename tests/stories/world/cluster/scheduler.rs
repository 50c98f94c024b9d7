//! The scheduler: pods of one set spread over the nodes; a pod goes where its volume is.

use super::node::is_ready;
use crate::world::apiserver::ApiServer;
use serde_json::Value;

/// The node that a claim's volume is on (volumes are local disks here).
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// Binds every pod that has no node yet, if there is one for it.
pub fn schedule(api: &ApiServer) {
    for pod in api.all("pods", "") {
        let bound = pod["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty());
        if bound || !pod["metadata"]["deletionTimestamp"].is_null() {
            continue;
        }
        let (namespace, name) = (text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]));
        let claims = claims(&pod);
        let Some(node) = choose(api, &pod, &claims) else { continue };
        for claim in &claims {
            bind_claim(api, &namespace, claim, &node);
        }
        api.change("scheduler", "pods", &namespace, &name, |pod| pod["spec"]["nodeName"] = node.as_str().into());
    }
}

/// Names of the claims of a pod.
pub fn claims(pod: &Value) -> Vec<String> {
    let volumes = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
    volumes
        .iter()
        .filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str().map(str::to_owned))
        .collect()
}

fn choose(api: &ApiServer, pod: &Value, claims: &[String]) -> Option<String> {
    let namespace = text(&pod["metadata"]["namespace"]);
    let mut fixed = None;
    for claim in claims {
        let claim = api.find("persistentvolumeclaims", &namespace, claim)?;
        if let Some(node) = claim["metadata"]["annotations"][SELECTED_NODE].as_str() {
            fixed = Some(node.to_owned());
        }
    }
    let pods = api.all("pods", &namespace);
    let owner = |pod: &Value| pod["metadata"]["ownerReferences"][0]["uid"].clone();
    let siblings = |node: &str| {
        pods.iter()
            .filter(|other| other["spec"]["nodeName"] == node && owner(other) == owner(pod) && !owner(pod).is_null())
            .count()
    };
    let all = |node: &str| pods.iter().filter(|other| other["spec"]["nodeName"] == node).count();
    let nodes = api.all("nodes", "");
    nodes
        .iter()
        .filter(|node| is_ready(node) && node["spec"]["unschedulable"] != true)
        .map(|node| text(&node["metadata"]["name"]))
        .filter(|node| fixed.as_ref().is_none_or(|fixed| fixed == node))
        .min_by_key(|node| (siblings(node), all(node), node.clone()))
}

fn bind_claim(api: &ApiServer, namespace: &str, claim: &str, node: &str) {
    api.change("scheduler", "persistentvolumeclaims", namespace, claim, |claim| {
        if claim["status"]["phase"] != "Bound" {
            claim["metadata"]["annotations"][SELECTED_NODE] = node.into();
            let volume = format!("pv-{}", text(&claim["metadata"]["uid"]));
            claim["spec"]["volumeName"] = volume.into();
            claim["status"]["phase"] = "Bound".into();
            claim["status"]["capacity"] = claim["spec"]["resources"]["requests"].clone();
        }
    });
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
