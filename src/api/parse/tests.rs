use super::*;
use serde_json::{Value, json};

/// The smallest good spec.
fn manifest() -> Value {
    json!({
        "apiVersion": "quorate.dev/v1alpha1", "kind": "AvailabilityGroup",
        "metadata": {"name": "orders", "namespace": "shop", "uid": "u-1", "generation": 3},
        "spec": {
            "acceptEula": true, "image": "mssql:2022-CU16",
            "synchronous": {"replicas": 3},
            "storage": {"size": "20Gi"},
            "resources": {"limits": {"memory": "4Gi"}}
        }
    })
}

fn with(pointer: &str, value: Value) -> Result<Group, Refusals> {
    let mut manifest = manifest();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    manifest.pointer_mut(parent).unwrap()[key] = value;
    parse(&serde_json::from_value(manifest).unwrap(), "quorate:dev")
}

fn fields(result: Result<Group, Refusals>) -> Vec<String> {
    result.map(|_| vec![]).unwrap_or_else(|refusals| refusals.0.into_iter().map(|refusal| refusal.field).collect())
}

#[test]
fn the_smallest_spec_becomes_a_group_with_every_default() {
    let group = with("/spec/paused", json!(false)).unwrap();
    let names: Vec<_> = group.replicas.keys().map(ReplicaName::as_str).collect();
    assert_eq!(names, ["orders-0", "orders-1", "orders-2"]);
    assert_eq!(group.wanted_commit_quorum().value, 1);
    assert_eq!(group.pods.admin_secret, ("orders-admin".into(), "password".into()));
    assert_eq!(group.pods.by_mode[&Mode::Synchronous].server_memory_mib(), 3276);
    let effective = effective(&group);
    assert!(effective.required_synchronized_secondaries_to_commit_computed);
    assert_eq!((effective.edition.as_str(), effective.failover_mode.as_str()), ("Developer", "Automatic"));
    assert_eq!(effective.tls_secret, "orders-tls");
}

#[test]
fn each_mode_has_names_of_its_own() {
    let mut manifest = manifest();
    manifest["spec"]["synchronous"]["replicas"] = json!(2);
    manifest["spec"]["asynchronous"] = json!({"replicas": 1, "resources": {"limits": {"memory": "3Gi"}}});
    manifest["spec"]["configurationOnly"] = json!({"replicas": 1});
    let group = parse(&serde_json::from_value(manifest).unwrap(), "q").unwrap();
    let names: Vec<_> = group.replicas.keys().map(ReplicaName::as_str).collect();
    assert_eq!(names, ["orders-0", "orders-1", "orders-a-0", "orders-c-0"]);
    assert_eq!(group.pods.by_mode[&Mode::Asynchronous].memory_limit_mib, 3072);
    assert_eq!(group.pods.configuration_only_edition, "Express");
}

#[test]
fn every_refusal_names_its_field() {
    let table = [
        ("/metadata/name", json!("1orders"), "metadata.name"),
        ("/metadata/name", json!("orders_x"), "metadata.name"),
        ("/metadata/name", json!("x".repeat(41)), "metadata.name"),
        ("/spec/acceptEula", json!(false), "spec.acceptEula"),
        ("/spec/image", json!(" "), "spec.image"),
        ("/spec/collation", json!("a'b"), "spec.collation"),
        ("/spec/asynchronous", json!({"replicas": -1}), "spec.asynchronous.replicas"),
        ("/spec/asynchronous", json!({"replicas": 7}), "spec.synchronous.replicas"),
        ("/spec/configurationOnly", json!({"replicas": 2}), "spec.configurationOnly.replicas"),
        ("/spec/requiredSynchronizedSecondariesToCommit", json!(3), "spec.requiredSynchronizedSecondariesToCommit"),
        ("/spec/requiredSynchronizedSecondariesToCommit", json!(-1), "spec.requiredSynchronizedSecondariesToCommit"),
        ("/spec/databases", json!([{"name": "Master"}]), "spec.databases[0].name"),
        ("/spec/databases", json!([{"name": "a"}, {"name": "A"}]), "spec.databases[1].name"),
        ("/spec/databases", json!([{"name": ""}]), "spec.databases[0].name"),
        ("/spec/failover", json!({"suspectAfterSeconds": 0}), "spec.failover.suspectAfterSeconds"),
        ("/spec/failover", json!({"minimumIntervalSeconds": -1}), "spec.failover.minimumIntervalSeconds"),
        ("/spec/adminSecret", json!({"name": "A", "key": "k"}), "spec.adminSecret.name"),
        ("/spec/adminSecret", json!({"name": "a", "key": "/"}), "spec.adminSecret.key"),
        ("/spec/storage/size", json!("20GB"), "spec.storage.size"),
        ("/spec/storage/log", json!({"size": "0"}), "spec.storage.log.size"),
        ("/spec/resources", json!({}), "spec.resources.limits.memory"),
        ("/spec/resources", json!({"limits": {"memory": "1999Mi"}}), "spec.resources.limits.memory"),
        ("/spec/configuration", json!({"hadr.hadrenabled": "0"}), "spec.configuration[\"hadr.hadrenabled\"]"),
        ("/spec/configuration", json!({"sqlagent": "1"}), "spec.configuration[\"sqlagent\"]"),
        ("/spec/configuration", json!({"a.b": "1\n[x]"}), "spec.configuration[\"a.b\"]"),
        ("/spec/pod", json!({"labels": {"quorate.dev/role": "x"}}), "spec.pod.labels[\"quorate.dev/role\"]"),
    ];
    for (pointer, value, field) in table {
        assert_eq!(fields(with(pointer, value.clone())), [field], "{pointer} = {value}");
    }
}

#[test]
fn a_request_above_its_limit_is_refused() {
    let resources = json!({"limits": {"memory": "4Gi"}, "requests": {"memory": "5Gi"}});
    assert_eq!(fields(with("/spec/resources", resources)), ["spec.resources.requests.memory"]);
}

#[test]
fn a_primary_beside_a_configuration_only_replica_alone_is_refused() {
    let mut manifest = manifest();
    manifest["spec"]["synchronous"]["replicas"] = json!(1);
    manifest["spec"]["configurationOnly"] = json!({"replicas": 1});
    let refused = parse(&serde_json::from_value(manifest).unwrap(), "q").unwrap_err();
    assert_eq!(refused.0.len(), 1);
    assert!(refused.to_string().contains("a primary needs a secondary that holds data; add a synchronous replica"));
}

#[test]
fn standard_edition_has_two_data_replicas_one_database_and_no_readers() {
    let mut manifest = manifest();
    manifest["spec"]["edition"] = json!("Standard");
    manifest["spec"]["synchronous"]["replicas"] = json!(3);
    manifest["spec"]["databases"] = json!([{"name": "a"}, {"name": "b"}]);
    manifest["spec"]["secondaryConnections"] = json!("ReadIntentOnly");
    let refused = fields(parse(&serde_json::from_value(manifest.clone()).unwrap(), "q"));
    assert_eq!(refused, ["spec.edition", "spec.databases", "spec.secondaryConnections"]);
    manifest["spec"]["synchronous"]["replicas"] = json!(2);
    manifest["spec"]["configurationOnly"] = json!({"replicas": 1});
    manifest["spec"]["databases"] = json!([{"name": "a"}]);
    manifest["spec"].as_object_mut().unwrap().remove("secondaryConnections");
    let group = parse(&serde_json::from_value(manifest).unwrap(), "q").unwrap();
    assert!(group.is_basic());
    assert_eq!(effective(&group).secondary_connections, "No");
}

#[test]
fn names_of_logins_cannot_be_ours_or_that_of_another_kind() {
    let secret = json!({"name": "s", "key": "k"});
    for name in ["sa", "SA", "quorate_act", "Quorate_look", "##x", "domain\\user", ""] {
        let logins = json!([{"name": name, "passwordSecret": secret}]);
        assert_eq!(fields(with("/spec/logins", logins)), ["spec.logins[0].name"], "{name}");
    }
}

#[test]
fn a_login_is_a_user_of_listed_databases_only() {
    let logins = json!([{"name": "shop", "passwordSecret": {"name": "s", "key": "k"}, "databases": [{"name": "x"}]}]);
    assert_eq!(fields(with("/spec/logins", logins)), ["spec.logins[0].databases[0].name"]);
}

#[test]
fn all_refusals_are_told_at_once() {
    let mut manifest = manifest();
    manifest["spec"]["acceptEula"] = json!(false);
    manifest["spec"]["storage"]["size"] = json!("x");
    let refused = parse(&serde_json::from_value(manifest).unwrap(), "q").unwrap_err();
    assert_eq!(refused.0.len(), 2, "{refused}");
}
