//! Services. `-rw` and `-primary` select one pod by name; their selectors belong to the router, not to this apply.

use super::{
    GROUP, MODE, POD_NAME, READABLE, object, primary_service, read_only_service, read_write_service, replicas_service,
    with,
};
use crate::model::{
    Group, ReplicaName,
    group::{ENDPOINT_PORT, SQL_PORT, ServiceSettings},
};
use serde_json::{Value, json};

/// All Services, without the selectors that the router owns.
pub fn services(group: &Group) -> Vec<Value> {
    let name = group.name.as_str();
    let replicas = json!({
        "clusterIP": "None",
        "publishNotReadyAddresses": true,
        "selector": { GROUP: name },
        "ports": [port("sql", SQL_PORT), port("mirroring", ENDPOINT_PORT)],
    });
    let primary = json!({ "type": "ClusterIP", "ports": [port("mirroring", ENDPOINT_PORT)] });
    let read_write = spec(&group.pods.read_write, None);
    let read_only = spec(&group.pods.read_only, Some(json!({ GROUP: name, READABLE: "true" })));
    vec![
        with(object(group, "v1", "Service", &replicas_service(group), true), "spec", replicas),
        with(object(group, "v1", "Service", &primary_service(group), true), "spec", primary),
        annotated(
            with(object(group, "v1", "Service", &read_write_service(group), true), "spec", read_write),
            &group.pods.read_write,
        ),
        annotated(
            with(object(group, "v1", "Service", &read_only_service(group), true), "spec", read_only),
            &group.pods.read_only,
        ),
    ]
}

/// The selectors of `-rw` and `-primary`: one pod, or a name that no pod can have; `-rw` selects the `readers` instead
/// while a fence keeps writers out.
pub fn route(group: &Group, to: Option<&ReplicaName>, readers: bool) -> [Value; 2] {
    // A legal value of a label that no pod carries: pods of a StatefulSet end in a number.
    let pod = to.map_or("nobody", ReplicaName::as_str);
    let name = group.name.as_str();
    let primary = json!({ GROUP: name, POD_NAME: pod });
    let read_write = if readers { json!({ GROUP: name, READABLE: "true" }) } else { primary.clone() };
    let bare = |name: String, selector: Value| {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": name, "namespace": group.namespace },
            "spec": { "selector": selector },
        })
    };
    [bare(read_write_service(group), read_write), bare(primary_service(group), primary)]
}

fn port(name: &str, port: u16) -> Value {
    json!({ "name": name, "port": port, "targetPort": name, "protocol": "TCP" })
}

fn spec(settings: &ServiceSettings, selector: Option<Value>) -> Value {
    let kind = settings.kind.as_deref().unwrap_or("ClusterIP");
    let mut spec = json!({ "type": kind, "ports": [port("sql", SQL_PORT)] });
    if let (Some(selector), Some(map)) = (selector, spec.as_object_mut()) {
        map.insert("selector".into(), selector);
    }
    spec
}

fn annotated(mut service: Value, settings: &ServiceSettings) -> Value {
    if !settings.annotations.is_empty()
        && let Some(metadata) = service.get_mut("metadata").and_then(Value::as_object_mut)
    {
        metadata.insert("annotations".into(), json!(settings.annotations));
    }
    service
}

/// Labels by which pods of the group are listed.
pub fn pod_selector(group: &Group) -> String {
    format!("{GROUP}={},{MODE}", group.name)
}
