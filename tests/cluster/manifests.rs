//! What `kubectl apply` says about manifests: a real API server judges the schema and its rules.

use crate::support::*;
use serde_json::{Value, json};

const NAMESPACE: &str = "manifests";

fn definitions() {
    for file in ["availabilitygroups", "failovers"] {
        let path = format!("{}/crds/{file}.yaml", env!("CARGO_MANIFEST_DIR"));
        kubectl(&["apply", "-f", &path]);
        wait_for_condition(20, &["crd", &format!("{file}.quorate.dev")], "Established", "True");
    }
}

fn group() -> Value {
    json!({
        "apiVersion": "quorate.dev/v1alpha1", "kind": "AvailabilityGroup",
        "metadata": { "name": "orders", "namespace": NAMESPACE },
        "spec": {
            "acceptEula": true, "image": "mssql:1", "edition": "Developer", "synchronous": { "replicas": 3 },
            "databases": [{ "name": "orders" }],
            "storage": { "size": "20Gi" }, "resources": { "limits": { "memory": "4Gi" } },
        },
    })
}

/// The group with one field set; a path as in a JSON pointer below `spec`.
fn with(pointer: &str, value: Value) -> Value {
    let mut group = group();
    let mut at = &mut group["spec"];
    for part in pointer.split('/') {
        at = &mut at[part];
    }
    *at = value;
    group
}

fn refused(manifest: &Value, field: &str) {
    let error = try_apply(&manifest.to_string()).expect_err(field);
    assert!(error.contains(field), "the refusal must name {field}: {error}");
}

#[test]
#[ignore = "needs the lab"]
fn what_cannot_be_is_refused_with_the_name_of_the_field() {
    definitions();
    let _namespace = Namespace::new(NAMESPACE);
    for (field, manifest) in [
        ("spec.acceptEula", with("acceptEula", json!(false))),
        ("spec.synchronous.replicas", with("synchronous/replicas", json!(1))),
        ("spec.synchronous.replicas", with("synchronous/replicas", json!(0))),
        ("spec.synchronous.replicas", with("synchronous/replicas", json!(10))),
        ("spec.configurationOnly.replicas", with("configurationOnly", json!({ "replicas": 2 }))),
        ("spec.requiredSynchronizedSecondariesToCommit", with("requiredSynchronizedSecondariesToCommit", json!(3))),
        ("spec.requiredSynchronizedSecondariesToCommit", with("requiredSynchronizedSecondariesToCommit", json!(-1))),
        ("spec.edition", with("edition", json!("Express"))),
        ("spec.resources", with("resources", json!({ "limits": { "memory": "1Gi" } }))),
        ("spec.resources", with("resources", json!({}))),
        ("spec.storage.size", with("storage/size", json!("much"))),
    ] {
        refused(&manifest, field);
    }
    apply(&group().to_string());
    let mut other = group();
    other["spec"]["collation"] = json!("Latin1_General_BIN2");
    refused(&other, "spec.collation");
}

#[test]
#[ignore = "needs the lab"]
fn a_forced_failover_needs_its_sentence_and_its_epoch_and_never_changes() {
    definitions();
    let _namespace = Namespace::new(NAMESPACE);
    let failover = |spec: Value| json!({ "apiVersion": "quorate.dev/v1alpha1", "kind": "Failover", "metadata": { "name": "f", "namespace": NAMESPACE }, "spec": spec });
    let forced = |sentence: &str| json!({ "availabilityGroup": "orders", "mode": "Forced", "target": "orders-1", "expectedEpoch": 7, "acceptDataLoss": sentence });
    refused(&failover(forced("I accept data loss in other")), "spec.acceptDataLoss");
    refused(
        &failover(
            json!({ "availabilityGroup": "orders", "mode": "Forced", "target": "orders-1", "acceptDataLoss": "I accept data loss in orders" }),
        ),
        "spec.expectedEpoch",
    );
    refused(
        &failover(
            json!({ "availabilityGroup": "orders", "mode": "Forced", "expectedEpoch": 7, "acceptDataLoss": "I accept data loss in orders" }),
        ),
        "spec.target",
    );
    apply(&failover(json!({ "availabilityGroup": "orders", "mode": "Planned", "target": "orders-1" })).to_string());
    refused(&failover(json!({ "availabilityGroup": "orders", "mode": "Planned", "target": "orders-2" })), "spec");
}

#[test]
#[ignore = "needs the lab"]
fn the_installation_is_one_command_and_applies_twice_without_a_change() {
    let path = format!("{}/deploy", env!("CARGO_MANIFEST_DIR"));
    kubectl(&["apply", "-k", &path]);
    let generations = || {
        let list = kubectl_json(&["get", "deployment,poddisruptionbudget,service,role", "-n", "quorate-system"]);
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items
            .iter()
            .map(|item| format!("{} {} {}", item["kind"], item["metadata"]["name"], item["metadata"]["generation"]))
            .collect::<Vec<_>>()
    };
    let before = generations();
    assert!(before.len() >= 4, "{before:?}");
    kubectl(&["apply", "-k", &path]);
    assert_eq!(generations(), before);
}
