//! Names: which pod a DNS name or address leads to, as CoreDNS and kube-proxy answer.

use super::pod_status::condition;
use crate::world::apiserver::ApiServer;
use serde_json::Value;

/// A host where nobody listens: what a service without endpoints leads to.
pub const NOBODY: &str = "nobody";

/// The pod (by name) that `name` leads to now; none when the name does not exist.
pub fn resolve(api: &ApiServer, name: &str) -> Option<String> {
    if name.parse::<std::net::IpAddr>().is_ok() {
        return by_address(api, name);
    }
    let labels: Vec<&str> = name.trim_end_matches('.').trim_end_matches(".cluster.local").split('.').collect();
    match labels[..] {
        [service, namespace, "svc"] | [service, namespace] => {
            let object = api.find("services", namespace, service)?;
            if let Some(target) = object["spec"]["externalName"].as_str() {
                return resolve(api, target);
            }
            Some(endpoints(api, namespace, &object).into_iter().next().unwrap_or_else(|| NOBODY.into()))
        }
        [pod, service, namespace, "svc"] | [pod, service, namespace] => {
            let object = api.find("services", namespace, service)?;
            endpoints(api, namespace, &object).into_iter().find(|name| name == pod)
        }
        _ => None,
    }
}

fn by_address(api: &ApiServer, address: &str) -> Option<String> {
    let has = |object: &Value, pointer: &str| object.pointer(pointer).and_then(Value::as_str) == Some(address);
    let pods = api.all("pods", "");
    if let Some(pod) = pods.iter().find(|pod| has(pod, "/status/podIP")) {
        return name_of(pod);
    }
    let services = api.all("services", "");
    let service = services.iter().find(|service| has(service, "/spec/clusterIP"))?;
    let namespace = service["metadata"]["namespace"].as_str()?;
    Some(endpoints(api, namespace, service).into_iter().next().unwrap_or_else(|| NOBODY.into()))
}

fn name_of(object: &Value) -> Option<String> {
    object["metadata"]["name"].as_str().map(str::to_owned)
}

/// The pods behind a service that it leads to.
pub fn endpoints(api: &ApiServer, namespace: &str, service: &Value) -> Vec<String> {
    let all = behind(api, namespace, service).into_iter();
    all.filter(|(_, serves)| *serves).map(|(pod, _)| pod).collect()
}

/// The pods behind a service, and whether it leads to each.
pub fn behind(api: &ApiServer, namespace: &str, service: &Value) -> Vec<(String, bool)> {
    let Some(selector) = service["spec"]["selector"].as_object().filter(|selector| !selector.is_empty()) else {
        return Vec::new();
    };
    let everyone = service["spec"]["publishNotReadyAddresses"] == true;
    let pods = api.all("pods", namespace);
    let serves = |pod: &Value| {
        everyone || (condition(pod, "Ready") == Some(true) && pod["metadata"]["deletionTimestamp"].is_null())
    };
    pods.iter()
        .filter(|pod| selector.iter().all(|(key, value)| pod["metadata"]["labels"].get(key) == Some(value)))
        .filter(|pod| pod["status"]["podIP"].is_string())
        .filter_map(|pod| Some((name_of(pod)?, serves(pod))))
        .collect()
}
