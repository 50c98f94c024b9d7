//! From the wish to Kubernetes objects. Pure: random bytes and times come in as arguments.
//!
//! Objects are JSON, as server-side apply sends them: exactly the fields that Quorate owns, so that nothing else is
//! ever overwritten and a look at the live object tells whether a write is needed.

mod certificates;
mod names;
mod secrets;
mod services;
pub mod upgrade;
mod workload;

pub use certificates::{Authority, authority, hosts, kept_certificates, published_authority, server_certificate};
pub use names::*;
pub use secrets::{admin_secret, operator_secret};
pub use services::{pod_selector, route, services};
pub use workload::{claims, disruption_budget, retired_sets, stateful_sets};

use crate::model::Group;
use serde_json::{Value, json};

/// An object: namespace, labels and owner set.
fn object(group: &Group, api_version: &str, kind: &str, name: &str, owned: bool) -> Value {
    let mut metadata = json!({
        "name": name,
        "namespace": group.namespace,
        "labels": labels(group),
    });
    if owned && let Some(metadata) = metadata.as_object_mut() {
        metadata.insert("ownerReferences".into(), json!([owner(group)]));
    }
    json!({ "apiVersion": api_version, "kind": kind, "metadata": metadata })
}

fn owner(group: &Group) -> Value {
    json!({
        "apiVersion": "quorate.dev/v1alpha1",
        "kind": "AvailabilityGroup",
        "name": group.name.as_str(),
        "uid": group.uid,
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

fn with(mut object: Value, field: &str, value: Value) -> Value {
    if let Some(map) = object.as_object_mut() {
        map.insert(field.into(), value);
    }
    object
}

#[cfg(test)]
mod tests;
