//! What the server itself does to objects of each kind: names, defaults, fields that never change.

use super::{kind::Kind, status::Failure, store::Store};
use serde_json::{Map, Value, json};

/// Completes an object that is about to be created.
pub fn complete(store: &mut Store, kind: &Kind, namespace: &str, object: &mut Value) -> Result<String, Failure> {
    let (uid, stamp) = (store.next_uid(), store.clock.stamp());
    object["apiVersion"] = kind.api_version().into();
    object["kind"] = kind.kind.clone().into();
    let generate = object["metadata"]["generateName"].as_str().unwrap_or_default().to_owned();
    if object["metadata"]["name"].as_str().unwrap_or_default().is_empty() && !generate.is_empty() {
        object["metadata"]["name"] = format!("{generate}{:05x}", store.next_serial()).into();
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if name.is_empty() {
        return Err(Failure::invalid(kind, "", "metadata.name", "Required value: name or generateName is required"));
    }
    if !valid_name(&name) {
        return Err(Failure::invalid(kind, &name, "metadata.name", "Invalid value: a lowercase RFC 1123 subdomain"));
    }
    let metadata = object["metadata"].as_object_mut().unwrap();
    for server_side in ["deletionTimestamp", "deletionGracePeriodSeconds", "managedFields", "selfLink", "generation"] {
        metadata.remove(server_side);
    }
    metadata.insert("uid".into(), uid.into());
    metadata.insert("creationTimestamp".into(), stamp.into());
    if kind.namespaced {
        metadata.insert("namespace".into(), namespace.into());
    }
    if kind.generation {
        metadata.insert("generation".into(), 1.into());
    }
    tidy(kind, object);
    if kind.kind == "Service" && object["spec"]["type"] != "ExternalName" {
        let serial = store.next_serial();
        let spec = object["spec"].as_object_mut().unwrap();
        let address = format!("10.96.{}.{}", serial / 250, serial % 250 + 1);
        spec.entry("clusterIP").or_insert_with(|| address.into());
    }
    Ok(name)
}

fn valid_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    name.len() <= 253 && name.chars().all(fits) && !name.starts_with('-') && !name.ends_with('-')
}

/// Drops what the schema does not know and fills in its defaults; Secrets get their `stringData` encoded.
pub fn tidy(kind: &Kind, object: &mut Value) {
    if let Some(schema) = &kind.schema {
        let mut unknown = Vec::new();
        conform(schema, object, "", true, &mut unknown);
    }
    if kind.kind == "Secret"
        && let Some(Value::Object(plain)) = object.as_object_mut().and_then(|fields| fields.remove("stringData"))
    {
        for (name, value) in plain {
            object["data"][name] = base64(value.as_str().unwrap_or_default().as_bytes()).into();
        }
    }
}

/// The fields of `object` that the schema of its kind does not know.
pub fn unknown_fields(kind: &Kind, object: &Value) -> Vec<String> {
    let mut unknown = Vec::new();
    if let Some(schema) = &kind.schema {
        conform(schema, &mut object.clone(), "", true, &mut unknown);
    }
    unknown
}

fn conform(schema: &Value, value: &mut Value, path: &str, root: bool, unknown: &mut Vec<String>) {
    match value {
        Value::Object(fields) => conform_fields(schema, fields, path, root, unknown),
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                conform(&schema["items"], item, &format!("{path}[{index}]"), false, unknown);
            }
        }
        _ => {}
    }
}

fn conform_fields(schema: &Value, fields: &mut Map<String, Value>, path: &str, root: bool, unknown: &mut Vec<String>) {
    if let Some(properties) = schema["properties"].as_object() {
        for (name, property) in properties {
            if let Some(default) = property.get("default") {
                fields.entry(name.clone()).or_insert_with(|| default.clone());
            }
        }
    }
    let keeps_all = schema["x-kubernetes-preserve-unknown-fields"] == true || schema.is_null();
    fields.retain(|name, child| {
        if root && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            return true;
        }
        let here = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let found = schema["properties"]
            .get(name)
            .or_else(|| schema.get("additionalProperties").filter(|more| more.is_object()));
        match found {
            Some(property) if child.is_null() && property["nullable"] != true => false,
            Some(property) => {
                conform(property, child, &here, false, unknown);
                true
            }
            None if keeps_all => true,
            None => {
                unknown.push(here);
                false
            }
        }
    });
}

/// Refuses a change of what cannot change.
pub fn check_update(kind: &Kind, name: &str, before: &Value, after: &Value) -> Result<(), Failure> {
    let differs = |pointer: &str| before.pointer(pointer) != after.pointer(pointer);
    let immutable = |field: &str| Err(Failure::invalid(kind, name, field, "Forbidden: field is immutable"));
    match kind.kind.as_str() {
        "StatefulSet" => {
            let mutable = [
                "replicas",
                "ordinals",
                "template",
                "updateStrategy",
                "revisionHistoryLimit",
                "persistentVolumeClaimRetentionPolicy",
                "minReadySeconds",
            ];
            let rest = |object: &Value| {
                let mut spec = object["spec"].as_object().cloned().unwrap_or_default();
                spec.retain(|field, _| !mutable.contains(&field.as_str()));
                spec
            };
            if rest(before) == rest(after) { Ok(()) } else { immutable("spec") }
        }
        "Service" if differs("/spec/clusterIP") && before["spec"]["clusterIP"].is_string() => {
            immutable("spec.clusterIP")
        }
        "PersistentVolumeClaim" if differs("/spec/storageClassName") || differs("/spec/accessModes") => {
            immutable("spec")
        }
        "Secret" | "ConfigMap" if before["immutable"] == true && (differs("/data") || differs("/immutable")) => {
            immutable("data")
        }
        "Secret" if differs("/type") && before["type"].is_string() => immutable("type"),
        "Pod" if differs("/spec/containers") || differs("/spec/volumes") => immutable("spec"),
        _ => Ok(()),
    }
}

/// What of `proposed` may change through this door.
pub fn restrict(kind: &Kind, subresource: &str, before: &Value, proposed: Value) -> Value {
    let mut after = match subresource {
        "status" => {
            let mut after = before.clone();
            after["status"] = proposed.get("status").cloned().unwrap_or(Value::Null);
            after
        }
        "" if kind.status => {
            let mut after = proposed;
            after["status"] = before.get("status").cloned().unwrap_or(Value::Null);
            after
        }
        _ => proposed,
    };
    if after["status"].is_null() {
        after.as_object_mut().unwrap().remove("status");
    }
    let was = &before["metadata"];
    for server_side in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "generateName",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "managedFields",
        "resourceVersion",
    ] {
        match was.get(server_side) {
            Some(value) => after["metadata"][server_side] = value.clone(),
            None => {
                after["metadata"].as_object_mut().unwrap().remove(server_side);
            }
        }
    }
    after["apiVersion"] = kind.api_version().into();
    after["kind"] = kind.kind.clone().into();
    after
}

/// Counts a change of the specification.
pub fn count_generation(kind: &Kind, before: &Value, after: &mut Value) {
    let essence = |object: &Value| {
        let mut object = object.clone();
        let fields = object.as_object_mut().unwrap();
        fields.remove("metadata");
        fields.remove("status");
        object
    };
    if kind.generation && essence(before) != essence(after) {
        let generation = before["metadata"]["generation"].as_u64().unwrap_or_default() + 1;
        after["metadata"]["generation"] = json!(generation);
    }
}

/// RFC 4648, with padding.
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let n = chunk.iter().enumerate().fold(0_u32, |n, (i, byte)| n | u32::from(*byte) << (16 - 8 * i));
        for i in 0..4 {
            out.push(if i <= chunk.len() { ALPHABET[(n >> (18 - 6 * i) & 63) as usize] as char } else { '=' });
        }
    }
    out
}
