//! StatefulSets and the disruption budget.

use super::{
    CONTAINER, GATE, GROUP, MODE, admin_secret_name, labels, object, replicas_service, server_secret_name,
    stateful_set, with,
};
use crate::model::{
    Group, Mode, ReplicaName,
    group::{ENDPOINT_PORT, PodSettings, SQL_PORT},
};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// User of SQL Server's image.
const USER: i64 = 10_001;
/// Seconds that a pod has to stop; a switchover and a clean shutdown fit.
const GRACE: i64 = 120;
/// Seconds between the deletion of a pod and SIGTERM: time for the role to move away.
const PRE_STOP: i64 = 5;
/// Crash recovery and upgrade scripts may run for an hour before a pod counts as not started.
const STARTUP_FAILURES: i64 = 3_600;

/// One StatefulSet for each mode that has replicas.
pub fn stateful_sets(group: &Group) -> Vec<Value> {
    group.pods.by_mode.iter().map(|(mode, settings)| one(group, *mode, settings)).collect()
}

/// Volume claims of the replicas wanted, and the size of each: claims grow in place.
pub fn claims(group: &Group) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (replica, mode) in &group.replicas {
        let Some(settings) = group.pods.by_mode.get(mode) else { continue };
        found.push((format!("data-{replica}"), settings.storage_size.clone()));
        found.extend(settings.log_size.as_ref().map(|size| (format!("log-{replica}"), size.clone())));
    }
    found
}

/// StatefulSets of modes that have neither replicas wanted nor `members` left: they may go.
pub fn retired_sets(group: &Group, members: &BTreeSet<ReplicaName>) -> Vec<Value> {
    let unwanted = |mode: &Mode| !group.pods.by_mode.contains_key(mode);
    let left = |name: &str| {
        let prefix = format!("{name}-");
        members.iter().any(|member| member.as_str().strip_prefix(&prefix).is_some_and(|n| n.parse::<u32>().is_ok()))
    };
    [Mode::Asynchronous, Mode::ConfigurationOnly]
        .into_iter()
        .filter(unwanted)
        .map(|mode| stateful_set(group, mode))
        .filter(|name| !left(name))
        .map(|name| object(group, "apps/v1", "StatefulSet", &name, true))
        .collect()
}

/// At most one pod of the group is evicted at a time.
pub fn disruption_budget(group: &Group) -> Value {
    let budget = object(group, "policy/v1", "PodDisruptionBudget", group.name.as_str(), true);
    let spec = json!({
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": { "matchLabels": { GROUP: group.name.as_str() } },
    });
    with(budget, "spec", spec)
}

fn one(group: &Group, mode: Mode, settings: &PodSettings) -> Value {
    let replicas = group.replicas.values().filter(|own| **own == mode).count();
    let delete = if group.pods.delete_volumes { "Delete" } else { "Retain" };
    let selector = json!({ GROUP: group.name.as_str(), MODE: word(mode) });
    let mut claims = vec![claim("data", &settings.storage_size, settings)];
    claims.extend(settings.log_size.as_ref().map(|size| claim("log", size, settings)));
    let spec = json!({
        "replicas": replicas,
        "serviceName": replicas_service(group),
        "podManagementPolicy": "Parallel",
        "updateStrategy": { "type": "OnDelete" },
        "persistentVolumeClaimRetentionPolicy": { "whenDeleted": delete, "whenScaled": "Retain" },
        "selector": { "matchLabels": selector },
        "template": template(group, mode, settings),
        "volumeClaimTemplates": claims,
    });
    with(object(group, "apps/v1", "StatefulSet", &stateful_set(group, mode), true), "spec", spec)
}

fn word(mode: Mode) -> &'static str {
    match mode {
        Mode::Synchronous => "synchronous",
        Mode::Asynchronous => "asynchronous",
        Mode::ConfigurationOnly => "configuration-only",
    }
}

fn claim(name: &str, size: &str, settings: &PodSettings) -> Value {
    let mut spec = json!({ "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": size } } });
    if let (Some(class), Some(map)) = (&settings.storage_class, spec.as_object_mut()) {
        map.insert("storageClassName".into(), json!(class));
    }
    json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": name }, "spec": spec })
}

fn template(group: &Group, mode: Mode, settings: &PodSettings) -> Value {
    let mut own = labels(group);
    own.insert(MODE.into(), json!(word(mode)));
    let mut pod = settings.pod.clone();
    merge_labels(&mut own, pod.remove("labels"));
    let annotations = pod.remove("annotations").unwrap_or_else(|| json!({}));
    let pull_secrets = pod.remove("imagePullSecrets").map(names);
    let mut spec = json!({
        "terminationGracePeriodSeconds": GRACE,
        "enableServiceLinks": false,
        "automountServiceAccountToken": false,
        "securityContext": {
            "runAsUser": USER,
            "runAsGroup": USER,
            "runAsNonRoot": true,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "readinessGates": [{ "conditionType": GATE }],
        "affinity": affinity(group, settings),
        "initContainers": [prepare(group)],
        "containers": [server(group, mode, settings)],
        "volumes": [{ "name": "certificate", "secret": { "secretName": server_secret_name(group), "defaultMode": 288 } }],
    });
    if let Some(map) = spec.as_object_mut() {
        map.extend(pull_secrets.map(|value| ("imagePullSecrets".to_string(), value)));
        map.extend(pod);
    }
    json!({ "metadata": { "labels": own, "annotations": annotations }, "spec": spec })
}

/// Names of pull secrets, as pods take them.
fn names(list: Value) -> Value {
    let named = |item: &Value| item.as_str().map_or_else(|| item.clone(), |name| json!({ "name": name }));
    list.as_array().map(|items| items.iter().map(named).collect()).unwrap_or_default()
}

fn merge_labels(own: &mut Map<String, Value>, theirs: Option<Value>) {
    if let Some(Value::Object(theirs)) = theirs {
        own.extend(theirs);
    }
}

/// Replicas keep away from each other's nodes: preferred, or required with `requireSpread`.
fn affinity(group: &Group, settings: &PodSettings) -> Value {
    let term = json!({ "topologyKey": "kubernetes.io/hostname", "labelSelector": { "matchLabels": { GROUP: group.name.as_str() } } });
    if settings.require_spread {
        json!({ "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [term] } })
    } else {
        json!({ "podAntiAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 100, "podAffinityTerm": term }] } })
    }
}

fn confined() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"] },
    })
}

/// Writes `mssql.conf` and the certificates where the server reads them.
fn prepare(group: &Group) -> Value {
    let mut context = confined();
    if let Some(map) = context.as_object_mut() {
        map.insert("readOnlyRootFilesystem".into(), json!(true));
    }
    let settings: Vec<_> = group.pods.configuration.iter().map(|(key, value)| format!("--set={key}={value}")).collect();
    let mut arguments = vec!["prepare".to_string(), "--certificate=/certificate".into(), "--to=/var/opt/mssql".into()];
    arguments.extend(settings);
    json!({
        "name": "prepare",
        "image": group.pods.prepare_image,
        "args": arguments,
        "securityContext": context,
        "resources": { "requests": { "cpu": "10m", "memory": "16Mi" }, "limits": { "memory": "64Mi" } },
        "volumeMounts": [
            { "name": "data", "mountPath": "/var/opt/mssql" },
            { "name": "certificate", "mountPath": "/certificate", "readOnly": true },
        ],
    })
}

fn server(group: &Group, mode: Mode, settings: &PodSettings) -> Value {
    let pods = &group.pods;
    let edition = if mode.holds_data() { &pods.edition } else { &pods.configuration_only_edition };
    let (secret, key) = if pods.admin_generated {
        (admin_secret_name(group), super::PASSWORD.to_string())
    } else {
        pods.admin_secret.clone()
    };
    let mut context = confined();
    // The real binary carries this file capability and does not start without it.
    if let Some(capabilities) = context.get_mut("capabilities").and_then(Value::as_object_mut) {
        capabilities.insert("add".into(), json!(["NET_BIND_SERVICE"]));
    }
    let mut mounts = vec![json!({ "name": "data", "mountPath": "/var/opt/mssql" })];
    if settings.log_size.is_some() {
        mounts.push(json!({ "name": "log", "mountPath": "/var/opt/mssql-log" }));
    }
    let mut env = vec![
        json!({ "name": "ACCEPT_EULA", "value": "Y" }),
        json!({ "name": "MSSQL_PID", "value": edition }),
        json!({ "name": "MSSQL_ENABLE_HADR", "value": "1" }),
        json!({ "name": "MSSQL_COLLATION", "value": pods.collation }),
        json!({ "name": "MSSQL_MEMORY_LIMIT_MB", "value": settings.server_memory_mib().to_string() }),
        json!({ "name": "MSSQL_SA_PASSWORD", "valueFrom": { "secretKeyRef": { "name": secret, "key": key } } }),
    ];
    if settings.log_size.is_some() {
        env.push(json!({ "name": "MSSQL_LOG_DIR", "value": "/var/opt/mssql-log" }));
    }
    json!({
        "name": CONTAINER,
        "image": pods.image,
        "env": env,
        "ports": [
            { "name": "sql", "containerPort": SQL_PORT, "protocol": "TCP" },
            { "name": "mirroring", "containerPort": ENDPOINT_PORT, "protocol": "TCP" },
        ],
        "startupProbe": { "tcpSocket": { "port": "sql" }, "periodSeconds": 1, "failureThreshold": STARTUP_FAILURES },
        "lifecycle": { "preStop": { "sleep": { "seconds": PRE_STOP } } },
        "resources": settings.resources,
        "securityContext": context,
        "volumeMounts": mounts,
    })
}
