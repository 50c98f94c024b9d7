//! The EndpointSlice controller, for applications: Services whose pods are no instance of anything that is looked at by name.

use super::resolve::behind;
use crate::world::apiserver::ApiServer;
use serde_json::{Value, json};

const WHO: &str = "endpointslice controller";
/// Label of the pods of applications; nobody reads the slices of other Services.
const APPLICATION: &str = "app";

/// One round over all Services that select an application.
pub fn control(api: &ApiServer) {
    for service in api.all("services", "") {
        if service["spec"]["selector"][APPLICATION].is_string() {
            control_one(api, &service);
        }
    }
}

fn control_one(api: &ApiServer, service: &Value) {
    let text = |field: &str| service["metadata"][field].as_str().unwrap_or_default();
    let (namespace, name) = (text("namespace"), text("name"));
    let line = |(pod, ready): (String, bool)| json!({ "conditions": { "ready": ready }, "targetRef": { "kind": "Pod", "namespace": namespace, "name": pod } });
    let endpoints: Vec<_> = behind(api, namespace, service).into_iter().map(line).collect();
    let slice = format!("{name}-slice");
    if api.find("endpointslices", namespace, &slice).is_none() {
        api.make(
            WHO,
            json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "endpoints": [],
                "metadata": {
                    "name": slice, "namespace": namespace, "labels": { "kubernetes.io/service-name": name },
                    "ownerReferences": [{
                        "apiVersion": "v1", "kind": "Service", "name": name, "uid": service["metadata"]["uid"],
                        "controller": true, "blockOwnerDeletion": true,
                    }],
                },
            }),
        );
    }
    api.change(WHO, "endpointslices", namespace, &slice, |slice| slice["endpoints"] = endpoints.into());
}
