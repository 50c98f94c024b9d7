//! The Job controller: one pod for each Job that has not ended; how the pod ends is how the Job ends (no retries here).

use crate::world::apiserver::ApiServer;
use serde_json::{Value, json};

const WHO: &str = "job controller";

/// One round over all Jobs.
pub fn control(api: &ApiServer) {
    for job in api.all("jobs", "") {
        if job["metadata"]["deletionTimestamp"].is_null() && !job["status"]["conditions"].is_array() {
            control_one(api, &job);
        }
    }
}

fn control_one(api: &ApiServer, job: &Value) {
    let text = |field: &str| job["metadata"][field].as_str().unwrap_or_default();
    let (namespace, name) = (text("namespace"), text("name"));
    let pods = api.all("pods", namespace);
    let Some(pod) = pods.iter().find(|pod| pod["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"])
    else {
        api.make(WHO, new_pod(job, namespace, name));
        return;
    };
    let (kind, reason) = match pod["status"]["phase"].as_str() {
        Some("Succeeded") => ("Complete", "CompletionsReached"),
        Some("Failed") => ("Failed", "BackoffLimitExceeded"),
        _ => return,
    };
    let condition = json!({ "type": kind, "status": "True", "reason": reason, "message": "", "lastTransitionTime": api.clock().stamp() });
    api.change(WHO, "jobs", namespace, name, |job| job["status"]["conditions"] = json!([condition]));
}

fn new_pod(job: &Value, namespace: &str, name: &str) -> Value {
    let mut pod = job["spec"]["template"].clone();
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    let metadata = &mut pod["metadata"];
    metadata["name"] = format!("{name}-pod").into();
    metadata["namespace"] = namespace.into();
    metadata["labels"]["batch.kubernetes.io/job-name"] = name.into();
    metadata["ownerReferences"] = json!([{
        "apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job["metadata"]["uid"],
        "controller": true, "blockOwnerDeletion": true,
    }]);
    pod["status"] = json!({ "phase": "Pending" });
    pod
}
