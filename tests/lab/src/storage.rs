//! Volumes: a directory on the node that the scheduler chose for the claim's first pod.
//!
//! The StorageClass `lab` binds late. The scheduler writes the node into the claim's annotation; the provisioner makes
//! the directory and a volume bound to the claim, and removes both when a released volume says `Delete`.

use std::fs;
use std::io::BufReader;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{AtPath as _, Result};
use crate::kubectl;
use crate::layout::{Layout, Node};

const CLASS: &str = "lab";
const PROVISIONER: &str = "lab.local/directory";

/// Serves claims until it is ended.
pub(crate) fn run(layout: &Layout) -> Result<()> {
    thread::scope(|scope| {
        scope.spawn(|| watch(layout, &["persistentvolumeclaims", "--all-namespaces"], claim));
        watch(layout, &["persistentvolumes"], volume);
    });
    Ok(())
}

/// Follows a kind for ever; after an outage of the API server it begins again with everything there is.
fn watch(layout: &Layout, kind: &[&str], seen: fn(&Layout, &Value) -> Result<()>) {
    loop {
        if let Err(error) = follow(layout, kind, seen) {
            eprintln!("{error}");
        }
        thread::sleep(Duration::from_millis(200));
    }
}

fn follow(layout: &Layout, kind: &[&str], seen: fn(&Layout, &Value) -> Result<()>) -> Result<()> {
    let mut command = kubectl::command(layout)?;
    command.arg("get").args(kind).args(["--watch", "--output=json"]);
    command.env("HTTP2_READ_IDLE_TIMEOUT_SECONDS", "2").env("HTTP2_PING_TIMEOUT_SECONDS", "2");
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(|source| crate::shell::start_error(&command, source))?;
    if let Some(output) = child.stdout.take() {
        let objects = serde_json::Deserializer::from_reader(BufReader::new(output));
        for object in objects.into_iter::<Value>() {
            // kubectl ends its stream in the middle of nothing: then the outer loop begins again.
            let Ok(object) = object else { break };
            if let Err(error) = seen(layout, &object) {
                eprintln!("{error}");
            }
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    #[serde(default)]
    namespace: String,
    uid: String,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
    deletion_timestamp: Option<String>,
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn metadata(object: &Value) -> Option<Metadata> {
    serde_json::from_value(object.get("metadata")?.clone()).ok()
}

/// The node a claim waits for, with what is known of the claim.
fn wanted(object: &Value) -> Option<(Node, Metadata)> {
    let metadata = metadata(object)?;
    let waits = text(object, "/spec/storageClassName") == CLASS && text(object, "/status/phase") == "Pending";
    let node = metadata.annotations.get("volume.kubernetes.io/selected-node")?.parse().ok()?;
    (waits && metadata.deletion_timestamp.is_none()).then_some((node, metadata))
}

fn claim(layout: &Layout, object: &Value) -> Result<()> {
    let Some((node, claim)) = wanted(object) else { return Ok(()) };
    let name = format!("pvc-{}", claim.uid);
    let directory = layout.volumes(node).join(&name);
    fs::create_dir_all(&directory).at(&directory)?;
    // Pods that set no fsGroup may write all the same, as with most provisioners of directories.
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).at(&directory)?;
    println!("volume {name} on {node} for {}/{}", claim.namespace, claim.name);
    kubectl::apply(layout, &manifest(&name, node, &claim, object).to_string())
}

fn manifest(name: &str, node: Node, claim: &Metadata, object: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}},
        "spec": {
            "capacity": {"storage": text(object, "/spec/resources/requests/storage")},
            "accessModes": object.pointer("/spec/accessModes"),
            "storageClassName": CLASS,
            "persistentVolumeReclaimPolicy": "Delete",
            "claimRef": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "namespace": claim.namespace, "name": claim.name, "uid": claim.uid,
            },
            "local": {"path": format!("/var/lib/lab-volumes/{name}")},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": [node.to_string()]},
            ]}]}},
        },
    })
}

fn volume(layout: &Layout, object: &Value) -> Result<()> {
    let Some(volume) = metadata(object) else { return Ok(()) };
    let ours = text(object, "/spec/storageClassName") == CLASS && volume.name.starts_with("pvc-");
    let over = text(object, "/status/phase") == "Released"
        && text(object, "/spec/persistentVolumeReclaimPolicy") == "Delete"
        && volume.deletion_timestamp.is_none();
    if !ours || !over || volume.name.contains('/') {
        return Ok(());
    }
    for node in Node::all() {
        let directory = layout.volumes(node).join(&volume.name);
        if directory.exists() {
            fs::remove_dir_all(&directory).at(&directory)?;
        }
    }
    println!("volume {} is released: removed", volume.name);
    kubectl::output(layout, &["delete", "persistentvolume", &volume.name, "--wait=false"]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(class: &str, phase: &str, node: &str) -> Value {
        json!({
            "metadata": {"name": "data", "namespace": "shop", "uid": "u-1",
                "annotations": {"volume.kubernetes.io/selected-node": node}},
            "spec": {"storageClassName": class, "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}}},
            "status": {"phase": phase},
        })
    }

    #[test]
    fn a_pending_claim_with_a_chosen_node_gets_a_volume_there_and_no_other_does() {
        let pending = object("lab", "Pending", "n2");
        let (node, claim) = wanted(&pending).unwrap();
        let volume = manifest("pvc-u-1", node, &claim, &pending);
        assert_eq!(text(&volume, "/spec/claimRef/uid"), "u-1");
        assert_eq!(text(&volume, "/spec/capacity/storage"), "1Gi");
        for other in [object("lab", "Bound", "n2"), object("fast", "Pending", "n2"), object("lab", "Pending", "n9")] {
            assert!(wanted(&other).is_none());
        }
    }
}
