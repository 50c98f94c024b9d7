//! Names and labels: the only place that makes them.

use crate::model::{Group, Mode};
use serde_json::{Map, Value, json};

/// Label with the group's name, on everything of it.
pub const GROUP: &str = "quorate.dev/group";
/// Label with the role of a pod, for people.
pub const ROLE: &str = "quorate.dev/role";
/// Label of pods that `-ro` selects.
pub const READABLE: &str = "quorate.dev/readable";
/// Label with the availability mode of a pod.
pub const MODE: &str = "quorate.dev/mode";
/// Condition type of our readiness gate.
pub const GATE: &str = "quorate.dev/ready";
/// Label of StatefulSet pods with their own name.
pub const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
/// Key of a password in the secrets that we make.
pub const PASSWORD: &str = "password";
/// Name of the container that runs SQL Server.
pub const CONTAINER: &str = "mssql";

/// Labels of an object of the group.
pub fn labels(group: &Group) -> Map<String, Value> {
    let labels = json!({
        "app.kubernetes.io/name": "mssql",
        "app.kubernetes.io/instance": group.name.as_str(),
        "app.kubernetes.io/managed-by": "quorate",
        GROUP: group.name.as_str(),
    });
    labels.as_object().cloned().unwrap_or_default()
}

/// Name of the StatefulSet of a mode.
pub fn stateful_set(group: &Group, mode: Mode) -> String {
    match mode {
        Mode::Synchronous => group.name.to_string(),
        Mode::Asynchronous => format!("{}-a", group.name),
        Mode::ConfigurationOnly => format!("{}-c", group.name),
    }
}

/// Headless Service of all replicas.
pub fn replicas_service(group: &Group) -> String {
    format!("{}-replicas", group.name)
}

/// Service of the primary's mirroring endpoint.
pub fn primary_service(group: &Group) -> String {
    format!("{}-primary", group.name)
}

/// Service for writers.
pub fn read_write_service(group: &Group) -> String {
    format!("{}-rw", group.name)
}

/// Service for readers.
pub fn read_only_service(group: &Group) -> String {
    format!("{}-ro", group.name)
}

/// Secret with the password of `sa`, unless the spec names one.
pub fn admin_secret_name(group: &Group) -> String {
    format!("{}-admin", group.name)
}

/// Secret with the passwords of our own logins.
pub fn operator_secret_name(group: &Group) -> String {
    format!("{}-operator", group.name)
}

/// Secret with the key of our CA.
pub fn authority_secret_name(group: &Group) -> String {
    format!("{}-ca-key", group.name)
}

/// Secret with the servers' certificate, unless the spec names one.
pub fn server_secret_name(group: &Group) -> String {
    match &group.pods.tls_secret {
        Some(name) => name.clone(),
        None => format!("{}-tls", group.name),
    }
}

/// ConfigMap with the certificate of the CA.
pub fn authority_name(group: &Group) -> String {
    format!("{}-ca", group.name)
}

/// ConfigMap with the public certificates of instances.
pub fn certificates_name(group: &Group) -> String {
    format!("{}-certificates", group.name)
}
