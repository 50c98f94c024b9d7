//! The CustomResourceDefinitions as they are shipped: what the derive makes, cleaned of what a schema need not say.

use super::v1alpha1::{AvailabilityGroup, Failover, RollingUpgrade};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

/// All CustomResourceDefinitions, by plural name. Error: the derive made something that is not JSON, which tests exclude.
pub fn crds() -> Result<Vec<(String, Value)>, serde_json::Error> {
    [AvailabilityGroup::crd(), Failover::crd(), RollingUpgrade::crd()].into_iter().map(crd_of).collect()
}

/// One of them. Error: as `crds`.
pub fn crd_of(made: CustomResourceDefinition) -> Result<(String, Value), serde_json::Error> {
    let plural = made.spec.names.plural.clone();
    let mut value = serde_json::to_value(made)?;
    clean(&mut value);
    add_status_default(&mut value);
    Ok((plural, value))
}

/// As YAML documents. Error: as `crds`.
pub fn to_yaml(value: &Value) -> Result<String, serde_json::Error> {
    serde_saphyr::to_string(value).map_err(serde::ser::Error::custom)
}

/// Removes `nullable`, defaults, formats and fractions that only the derive's detour through Rust types put there, and
/// the descriptions of Kubernetes' own types (they are long, and documented elsewhere).
fn clean(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("nullable");
            if let Some(Value::Array(words)) = map.get_mut("enum") {
                words.retain(|word| !word.is_null());
            }
            if map.contains_key("type") || map.contains_key("x-kubernetes-int-or-string") {
                map.remove("default");
                let odd = map.get("format").and_then(Value::as_str).is_some_and(|f| f.starts_with("uint"));
                if odd {
                    map.remove("format");
                }
            }
            if map.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
                map.insert("anyOf".into(), json!([{"type": "integer"}, {"type": "string"}]));
                map.insert("pattern".into(), json!(QUANTITY));
                map.remove("description");
            }
            if map.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true)) {
                // Beside it the server would prune what stands inside each of them.
                map.remove("additionalProperties");
            }
            for (key, inner) in map.iter_mut() {
                clean(inner);
                if FOREIGN.contains(&key.as_str()) {
                    undescribe(inner, true);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(clean),
        Value::Number(number) => {
            if let Some(whole) = number.as_f64().filter(|f| f.fract() == 0.0 && number.is_f64()) {
                *value = json!(whole as i64);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// Fields of Kubernetes' own types.
const FOREIGN: &[&str] = &["affinity", "tolerations", "topologySpreadConstraints", "imagePullSecrets"];

/// A non-negative quantity, as the API server's own CRDs spell it.
const QUANTITY: &str =
    r"^\+?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";

fn undescribe(value: &mut Value, top: bool) {
    match value {
        Value::Object(map) => {
            if !top && map.get("description").is_some_and(Value::is_string) {
                map.remove("description");
            }
            map.values_mut().for_each(|inner| undescribe(inner, false));
        }
        Value::Array(items) => items.iter_mut().for_each(|inner| undescribe(inner, false)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The one default: a status that says "not looked at yet", so that nobody takes a new object for a ready one.
fn add_status_default(crd: &mut Value) {
    let versions = crd.pointer_mut("/spec/versions").and_then(Value::as_array_mut);
    for version in versions.into_iter().flatten() {
        if let Some(status) = version.pointer_mut("/schema/openAPIV3Schema/properties/status")
            && let Some(status) = status.as_object_mut()
        {
            status.insert("default".into(), json!({"observedGeneration": -1}));
        }
    }
}
