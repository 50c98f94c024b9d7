//! The StatefulSet controller: Parallel pods, OnDelete updates, claims from templates.

use crate::world::apiserver::ApiServer;
use serde_json::{Value, json};
use std::sync::Arc;

const WHO: &str = "statefulset";

/// One round over all StatefulSets.
pub fn control(api: &ApiServer) {
    for set in api.all("statefulsets", "") {
        if set["metadata"]["deletionTimestamp"].is_null() {
            control_one(api, &set);
        }
    }
}

fn control_one(api: &ApiServer, set: &Value) {
    let (namespace, name) = (text(&set["metadata"]["namespace"]), text(&set["metadata"]["name"]));
    let replicas = set["spec"]["replicas"].as_u64().unwrap_or(1);
    let revision = revision(set);
    for ordinal in 0..replicas {
        let pod = format!("{name}-{ordinal}");
        ensure_claims(api, set, &namespace, &pod);
        match api.find("pods", &namespace, &pod) {
            None => {
                api.make(WHO, new_pod(set, &namespace, &pod, ordinal, &revision));
            }
            Some(old) if matches!(old["status"]["phase"].as_str(), Some("Failed" | "Succeeded")) => {
                api.remove(WHO, "pods", &namespace, &pod, Some(0));
            }
            Some(_) => {}
        }
    }
    let pods = pods_of(api, set, &namespace);
    for pod in pods.iter().filter(|pod| ordinal(pod).is_some_and(|o| o >= replicas)) {
        if pod["metadata"]["deletionTimestamp"].is_null() {
            api.remove(WHO, "pods", &namespace, &text(&pod["metadata"]["name"]), None);
        }
    }
    report(api, set, &namespace, &name, &pods_of(api, set, &namespace), &revision);
}

/// The pods that this set owns.
fn pods_of(api: &ApiServer, set: &Value, namespace: &str) -> Vec<Arc<Value>> {
    let mut pods = api.all("pods", namespace);
    pods.retain(|pod| pod["metadata"]["ownerReferences"][0]["uid"] == set["metadata"]["uid"]);
    pods
}

fn ordinal(pod: &Value) -> Option<u64> {
    pod["metadata"]["name"].as_str()?.rsplit_once('-')?.1.parse().ok()
}

/// Name of the template's revision.
fn revision(set: &Value) -> String {
    let template = set["spec"]["template"].to_string();
    let hash =
        template.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    format!("{}-{:08x}", text(&set["metadata"]["name"]), hash as u32)
}

fn ensure_claims(api: &ApiServer, set: &Value, namespace: &str, pod: &str) {
    for template in set["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten() {
        let name = format!("{}-{pod}", text(&template["metadata"]["name"]));
        if api.find("persistentvolumeclaims", namespace, &name).is_some() {
            continue;
        }
        let mut claim = template.clone();
        claim["apiVersion"] = "v1".into();
        claim["kind"] = "PersistentVolumeClaim".into();
        claim["metadata"]["name"] = name.into();
        claim["metadata"]["namespace"] = namespace.into();
        for (key, value) in set["spec"]["selector"]["matchLabels"].as_object().into_iter().flatten() {
            claim["metadata"]["labels"][key] = value.clone();
        }
        if set["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Delete" {
            claim["metadata"]["ownerReferences"] = json!([owner(set, false)]);
        }
        claim["status"] = json!({"phase": "Pending"});
        api.make(WHO, claim);
    }
}

fn owner(set: &Value, controller: bool) -> Value {
    let metadata = &set["metadata"];
    let mut owner =
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": metadata["name"], "uid": metadata["uid"]});
    if controller {
        owner["controller"] = true.into();
        owner["blockOwnerDeletion"] = true.into();
    }
    owner
}

fn new_pod(set: &Value, namespace: &str, name: &str, ordinal: u64, revision: &str) -> Value {
    let mut pod = set["spec"]["template"].clone();
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    let metadata = &mut pod["metadata"];
    metadata["name"] = name.into();
    metadata["namespace"] = namespace.into();
    metadata["ownerReferences"] = json!([owner(set, true)]);
    metadata["labels"]["statefulset.kubernetes.io/pod-name"] = name.into();
    metadata["labels"]["apps.kubernetes.io/pod-index"] = ordinal.to_string().into();
    metadata["labels"]["controller-revision-hash"] = revision.into();
    pod["spec"]["hostname"] = name.into();
    pod["spec"]["subdomain"] = set["spec"]["serviceName"].clone();
    let mut volumes = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
    for template in set["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten() {
        let volume = text(&template["metadata"]["name"]);
        let claim = format!("{volume}-{name}");
        volumes.push(json!({"name": volume, "persistentVolumeClaim": {"claimName": claim}}));
    }
    pod["spec"]["volumes"] = volumes.into();
    pod["status"] = json!({"phase": "Pending"});
    pod
}

fn report(api: &ApiServer, set: &Value, namespace: &str, name: &str, pods: &[Arc<Value>], revision: &str) {
    let ready = pods.iter().filter(|pod| super::pod_status::condition(pod, "Ready") == Some(true)).count();
    let updated = pods.iter().filter(|pod| pod["metadata"]["labels"]["controller-revision-hash"] == revision).count();
    let current =
        set["status"]["currentRevision"].as_str().filter(|_| updated < pods.len()).unwrap_or(revision).to_owned();
    let status = json!({
        "observedGeneration": set["metadata"]["generation"], "replicas": pods.len(), "readyReplicas": ready,
        "availableReplicas": ready, "currentReplicas": pods.len() - updated, "updatedReplicas": updated,
        "currentRevision": current, "updateRevision": revision, "collisionCount": 0,
    });
    api.change(WHO, "statefulsets", namespace, name, |set| set["status"] = status);
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
