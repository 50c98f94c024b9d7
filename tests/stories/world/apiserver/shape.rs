//! How maps and lists merge: the part of the schema that server-side apply needs.

use super::{
    fieldset::{FieldSet, Path, Step},
    kind::Kind,
};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// How a value merges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// As a whole.
    Atomic,
    /// Field by field.
    Fields,
    /// Element by element, found by these keys.
    ListMap(Vec<String>),
    /// Element by element, each its own key.
    Set,
}

/// A place in the schema of one kind.
#[derive(Clone, Debug)]
pub enum Place<'a> {
    /// In a built-in type, below the field of this name.
    Builtin(String),
    /// In a custom resource, at this node of its schema.
    Custom(&'a Value),
}

static NOTHING: Value = Value::Null;

impl<'a> Place<'a> {
    /// The root of an object.
    pub fn root(kind: &'a Kind) -> Self {
        kind.schema.as_ref().map_or_else(|| Self::Builtin(String::new()), Self::Custom)
    }

    /// One step deeper. Metadata is the same in every kind.
    pub fn into(&self, step: &Step, at_root: bool) -> Self {
        match (self, step) {
            (_, Step::Field(name)) if at_root && name == "metadata" => Self::Builtin(name.clone()),
            (Self::Builtin(_), Step::Field(name)) => Self::Builtin(name.clone()),
            (Self::Builtin(_), _) => Self::Builtin(String::new()),
            (Self::Custom(node), Step::Field(name)) => match &node["properties"][name] {
                Value::Null => Self::Custom(node.get("additionalProperties").unwrap_or(&NOTHING)),
                found => Self::Custom(found),
            },
            (Self::Custom(node), _) => Self::Custom(node.get("items").unwrap_or(&NOTHING)),
        }
    }

    /// How the value here merges.
    pub fn shape(&self, value: &Value) -> Shape {
        match (self, value) {
            (Self::Builtin(name), Value::Object(_)) => builtin_map(name),
            (Self::Builtin(name), Value::Array(items)) => builtin_list(name, items),
            (Self::Custom(node), Value::Object(_)) if node["x-kubernetes-map-type"] == "atomic" => Shape::Atomic,
            (Self::Custom(_), Value::Object(_)) => Shape::Fields,
            (Self::Custom(node), Value::Array(_)) => match node["x-kubernetes-list-type"].as_str() {
                Some("map") => Shape::ListMap(strings(&node["x-kubernetes-list-map-keys"])),
                Some("set") => Shape::Set,
                _ => Shape::Atomic,
            },
            _ => Shape::Atomic,
        }
    }
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

fn builtin_map(name: &str) -> Shape {
    match name {
        "selector" | "nodeSelector" | "labelSelector" | "namespaceSelector" | "secretKeyRef" | "configMapKeyRef"
        | "fieldRef" | "resourceFieldRef" | "secretRef" | "scaleTargetRef" => Shape::Atomic,
        _ => Shape::Fields,
    }
}

fn builtin_list(name: &str, items: &[Value]) -> Shape {
    let keys = |keys: &[&str]| Shape::ListMap(keys.iter().map(|&key| key.to_owned()).collect());
    match name {
        "conditions" => keys(&["type"]),
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "env"
        | "imagePullSecrets"
        | "secrets" => keys(&["name"]),
        "ports" if items.iter().any(|port| port.get("containerPort").is_some()) => keys(&["containerPort", "protocol"]),
        "ports" => keys(&["port", "protocol"]),
        "volumeMounts" => keys(&["mountPath"]),
        "volumeDevices" => keys(&["devicePath"]),
        "topologySpreadConstraints" => keys(&["topologyKey", "whenUnsatisfiable"]),
        "ownerReferences" => keys(&["uid"]),
        "hostAliases" | "podIPs" | "hostIPs" => keys(&["ip"]),
        "finalizers" => Shape::Set,
        _ => Shape::Atomic,
    }
}

/// The step to an element of a list map. A missing protocol is TCP, as the API defaults it.
pub fn key_step(keys: &[String], item: &Value) -> Step {
    let mut found = Map::new();
    for key in keys {
        let value = match item.get(key) {
            Some(value) => value.clone(),
            None if key == "protocol" => Value::from("TCP"),
            None => Value::Null,
        };
        found.insert(key.clone(), value);
    }
    Step::Key(Value::Object(found).to_string())
}

/// The fields of a value, each with its value; elements of lists are members without one.
pub type Leaves<'v> = BTreeMap<Path, Option<&'v Value>>;

/// Collects the fields of `value`.
pub fn leaves<'v>(place: &Place<'_>, value: &'v Value) -> Leaves<'v> {
    let mut found = Leaves::new();
    collect(place, value, &mut Vec::new(), &mut found);
    found
}

/// The set of fields of `value`.
pub fn field_set(place: &Place<'_>, value: &Value) -> FieldSet {
    FieldSet(leaves(place, value).into_keys().collect())
}

fn collect<'v>(place: &Place<'_>, value: &'v Value, path: &mut Path, found: &mut Leaves<'v>) {
    match (place.shape(value), value) {
        (Shape::Fields, Value::Object(fields)) if !fields.is_empty() => {
            for (name, child) in fields {
                let step = Step::Field(name.clone());
                let below = place.into(&step, path.is_empty());
                path.push(step);
                collect(&below, child, path, found);
                path.pop();
            }
        }
        (Shape::ListMap(keys), Value::Array(items)) if !items.is_empty() => {
            for item in items {
                let step = key_step(&keys, item);
                let below = place.into(&step, false);
                path.push(step);
                found.insert(path.clone(), None);
                if item.as_object().is_some_and(|fields| !fields.is_empty()) {
                    collect(&below, item, path, found);
                }
                path.pop();
            }
        }
        (Shape::Set, Value::Array(items)) if !items.is_empty() => {
            for item in items {
                path.push(Step::Item(item.to_string()));
                found.insert(path.clone(), None);
                path.pop();
            }
        }
        _ if path.is_empty() => {}
        _ => {
            found.insert(path.clone(), Some(value));
        }
    }
}
