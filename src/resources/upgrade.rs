//! The objects of a staged upgrade: front Service, Job and Secret of its script. They belong to the `RollingUpgrade`.

use super::{PASSWORD, authority_name, read_write_service, secrets::password, with};
use crate::model::{
    Group,
    group::SQL_PORT,
    upgrade::{ScriptOrder, Wish},
};
use serde_json::{Map, Value, json};

/// Label with the upgrade's name, on everything of it.
pub const UPGRADE: &str = "quorate.dev/upgrade";
/// Annotation of the front Service: the endpoint of another region to go to when this one is lost, `namespace/name`. It is
/// written in the same write as the selector, so that nobody is led to old data.
pub const STANDBY: &str = "quorate.dev/standby";
/// Where the pod of a script finds what it needs.
const SCRIPT: &str = "/script";
const CREDENTIALS: &str = "/credentials";
const AUTHORITIES: &str = "/authorities";
/// The Job itself waits so much longer than the script: the script's own end says more.
const GRACE: u64 = 60;

/// What the Job of a script is told.
pub struct ScriptRun<'a> {
    /// The upgrade.
    pub wish: &'a Wish,
    /// Number of the attempt.
    pub attempt: u32,
    /// The stage.
    pub stage: &'a Group,
    /// Its login.
    pub login: &'a str,
    /// What it is to do.
    pub order: &'a ScriptOrder,
}

/// Name of the Job and the Secret of an attempt.
pub fn script_name(wish: &Wish, attempt: u32) -> String {
    format!("{}-script-{attempt}", wish.name)
}

fn object(wish: &Wish, api_version: &str, kind: &str, name: &str) -> Value {
    json!({
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": wish.namespace,
            "labels": {
                "app.kubernetes.io/name": "quorate-upgrade",
                "app.kubernetes.io/instance": wish.name,
                "app.kubernetes.io/managed-by": "quorate",
                UPGRADE: wish.name,
            },
            "ownerReferences": [{
                "apiVersion": "quorate.dev/v1alpha1",
                "kind": "RollingUpgrade",
                "name": wish.name,
                "uid": wish.uid,
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
    })
}

/// The Service that users reach: ports and selector are those of the endpoint that is online. It stays when the upgrade goes:
/// users come in by it.
pub fn front_service(wish: &Wish, selector: &Value, ports: &[Value], standby: Option<&str>) -> Value {
    let mut service = object(wish, "v1", "Service", &wish.front);
    if let Some(metadata) = service.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("ownerReferences");
        metadata.extend(standby.map(|standby| ("annotations".into(), json!({ STANDBY: standby }))));
    }
    with(service, "spec", json!({ "type": "ClusterIP", "selector": selector, "ports": ports }))
}

/// Secret with the password of the script's login.
pub fn script_secret(wish: &Wish, attempt: u32, random: &[u8; 24]) -> Value {
    let secret = object(wish, "v1", "Secret", &script_name(wish, attempt));
    with(secret, "stringData", json!({ PASSWORD: password(random) }))
}

/// The Job of an attempt, as far as it takes to delete it.
pub fn script_job_name(wish: &Wish, attempt: u32) -> Value {
    object(wish, "batch/v1", "Job", &script_name(wish, attempt))
}

/// The Job that runs the files of a ConfigMap.
pub fn script_job(run: &ScriptRun<'_>, config_map: &str) -> Value {
    let (order, seconds) = (run.order, run.wish.script_time.as_secs());
    let flags = [
        ("--folder", SCRIPT.to_string()),
        ("--sha256", order.hash.clone()),
        ("--host", host(run.stage)),
        ("--port", SQL_PORT.to_string()),
        ("--authorities", format!("{AUTHORITIES}/ca.crt")),
        ("--login", run.login.into()),
        ("--password-file", format!("{CREDENTIALS}/{PASSWORD}")),
        ("--database", order.database.to_string()),
        ("--barrier", order.barrier.clone()),
        ("--attempt", order.barrier.clone()),
        ("--completion", order.completion.clone()),
        ("--timeout", seconds.to_string()),
    ];
    let link = order.link.as_ref().map(|link| ("--link", link.to_string()));
    let arguments: Vec<_> = std::iter::once("script".to_string())
        .chain(flags.into_iter().chain(link).map(|(flag, value)| format!("{flag}={value}")))
        .collect();
    let container = json!({
        "name": "script",
        "image": run.stage.pods.prepare_image,
        "args": arguments,
        "securityContext": {
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] },
        },
        "resources": { "requests": { "cpu": "10m", "memory": "32Mi" }, "limits": { "memory": "128Mi" } },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            { "name": "script", "mountPath": SCRIPT, "readOnly": true },
            { "name": "credentials", "mountPath": CREDENTIALS, "readOnly": true },
            { "name": "authorities", "mountPath": AUTHORITIES, "readOnly": true },
        ],
    });
    let pod = json!({
        "restartPolicy": "Never",
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "containers": [container],
        "volumes": [
            { "name": "script", "configMap": { "name": config_map } },
            credentials(run),
            authorities(run.stage),
        ],
    });
    let spec = json!({
        "backoffLimit": 0,
        "activeDeadlineSeconds": seconds + GRACE,
        "template": { "metadata": { "labels": { UPGRADE: run.wish.name } }, "spec": pod },
    });
    with(object(run.wish, "batch/v1", "Job", &script_name(run.wish, run.attempt)), "spec", spec)
}

/// A Job of the user's own: told where the stage is, tried once.
pub fn own_job(run: &ScriptRun<'_>, template: &Map<String, Value>) -> Value {
    let mut spec = template.clone();
    spec.insert("backoffLimit".into(), json!(0));
    spec.insert("activeDeadlineSeconds".into(), json!(run.wish.script_time.as_secs()));
    let told = [
        ("QUORATE_SERVER", format!("{},{SQL_PORT}", host(run.stage))),
        ("QUORATE_DATABASE", run.order.database.to_string()),
        ("QUORATE_LOGIN", run.login.into()),
        ("QUORATE_PASSWORD_FILE", format!("{CREDENTIALS}/{PASSWORD}")),
        ("QUORATE_AUTHORITIES_FILE", format!("{AUTHORITIES}/ca.crt")),
    ];
    let env: Vec<_> = told.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
    let mounts = [
        json!({ "name": "credentials", "mountPath": CREDENTIALS, "readOnly": true }),
        json!({ "name": "authorities", "mountPath": AUTHORITIES, "readOnly": true }),
    ];
    let mut spec = Value::Object(spec);
    if let Some(pod) = spec.pointer_mut("/template/spec").and_then(Value::as_object_mut) {
        pod.insert("restartPolicy".into(), json!("Never"));
        add(pod, "volumes", [credentials(run), authorities(run.stage)]);
        for container in pod.get_mut("containers").and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(container) = container.as_object_mut() else { continue };
            add(container, "env", env.clone());
            add(container, "volumeMounts", mounts.clone());
        }
    }
    with(object(run.wish, "batch/v1", "Job", &script_name(run.wish, run.attempt)), "spec", spec)
}

/// Adds items to a list of a template, which may not have it.
fn add(map: &mut Map<String, Value>, list: &str, items: impl IntoIterator<Item = Value>) {
    if let Some(list) = map.entry(list).or_insert_with(|| json!([])).as_array_mut() {
        list.extend(items);
    }
}

/// It follows a failover of the stage; the login does not, so that the script fails then and the upgrade goes back.
fn host(stage: &Group) -> String {
    format!("{}.{}.svc", read_write_service(stage), stage.namespace)
}

fn credentials(run: &ScriptRun<'_>) -> Value {
    json!({ "name": "credentials", "secret": { "secretName": script_name(run.wish, run.attempt), "defaultMode": 288 } })
}

fn authorities(stage: &Group) -> Value {
    match &stage.pods.tls_secret {
        Some(name) => json!({
            "name": "authorities",
            "secret": { "secretName": name, "items": [{ "key": "ca.crt", "path": "ca.crt" }], "defaultMode": 288 },
        }),
        None => json!({ "name": "authorities", "configMap": { "name": authority_name(stage) } }),
    }
}
