use super::*;
use crate::model::{DatabaseName, Mode, group::PodSettings};
use std::collections::BTreeMap;

fn group() -> Group {
    let settings = PodSettings {
        storage_size: "20Gi".into(),
        resources: json!({ "limits": { "memory": "4Gi" } }),
        memory_limit_mib: 4096,
        ..PodSettings::default()
    };
    let text = json!({
        "name": "orders", "namespace": "shop", "uid": "u", "generation": 1,
        "replicas": { "orders-0": "Synchronous", "orders-1": "Synchronous", "orders-2": "Synchronous" },
        "commit_quorum": null, "databases": [], "logins": [], "secondary_connections": "All",
        "failover": { "mode": "Automatic", "suspect_after": { "secs": 3, "nanos": 0 }, "minimum_interval": { "secs": 60, "nanos": 0 } },
        "paused": false, "pods": crate::model::group::Pods::default(),
    });
    let mut group: Group = serde_json::from_value(text).unwrap();
    group.pods.by_mode = BTreeMap::from([(Mode::Synchronous, settings)]);
    group.pods.admin_generated = true;
    group.databases = vec![crate::model::Database {
        name: DatabaseName::new("orders").unwrap(),
        management: crate::model::Management::Managed,
    }];
    group
}

#[test]
fn a_changed_image_restarts_nothing_by_itself() {
    let sets = stateful_sets(&group());
    assert_eq!(sets[0]["spec"]["updateStrategy"]["type"], "OnDelete");
    assert_eq!(sets[0]["spec"]["podManagementPolicy"], "Parallel");
    assert_eq!(sets[0]["spec"]["replicas"], 3);
}

#[test]
fn the_server_runs_confined_and_has_no_liveness_probe() {
    let set = &stateful_sets(&group())[0];
    let server = &set["spec"]["template"]["spec"]["containers"][0];
    assert!(server.get("livenessProbe").is_none(), "it kills recoveries");
    assert_eq!(server["securityContext"]["capabilities"], json!({ "drop": ["ALL"], "add": ["NET_BIND_SERVICE"] }));
    assert_eq!(server["securityContext"]["allowPrivilegeEscalation"], false);
    let memory = server["env"].as_array().unwrap().iter().find(|e| e["name"] == "MSSQL_MEMORY_LIMIT_MB").unwrap();
    assert_eq!(memory["value"], "3276");
}

#[test]
fn the_selectors_of_the_writers_service_belong_to_the_router_alone() {
    let all = services(&group());
    let read_write = all.iter().find(|service| service["metadata"]["name"] == "orders-rw").unwrap();
    assert!(read_write["spec"].get("selector").is_none());
    let to = crate::model::ReplicaName::new("orders-1").unwrap();
    let [routed, _] = super::services::route(&group(), Some(&to), false);
    assert_eq!(routed["spec"]["selector"][POD_NAME], "orders-1");
    let [nobody, _] = super::services::route(&group(), None, false);
    assert_eq!(nobody["spec"]["selector"][POD_NAME], "nobody");
    let [readers, primary] = super::services::route(&group(), Some(&to), true);
    assert_eq!(readers["spec"]["selector"], json!({ GROUP: "orders", READABLE: "true" }));
    assert_eq!(primary["spec"]["selector"][POD_NAME], "orders-1");
}

#[test]
fn volumes_and_their_secrets_outlive_the_object_unless_asked() {
    let mut group = group();
    assert!(admin_secret(&group, &[7; 24])["metadata"].get("ownerReferences").is_none());
    assert_eq!(stateful_sets(&group)[0]["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"], "Retain");
    group.pods.delete_volumes = true;
    assert!(admin_secret(&group, &[7; 24])["metadata"].get("ownerReferences").is_some());
    assert_eq!(stateful_sets(&group)[0]["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"], "Delete");
}

#[test]
fn the_servers_certificate_carries_every_name_that_clients_use() {
    let group = group();
    let (authority, objects) = authority(&group).unwrap();
    assert_eq!(objects[1]["data"]["ca.crt"], authority.certificate);
    let secret = server_certificate(&group, &authority).unwrap();
    assert_eq!(secret["type"], "kubernetes.io/tls");
    assert!(
        hosts(&group).contains(&"*.orders-replicas.shop.svc".to_string())
            && hosts(&group).contains(&"orders-rw.shop.svc.cluster.local".to_string())
    );
}

#[test]
fn a_set_goes_only_when_its_last_member_has_left() {
    let name = |text: &str| crate::model::ReplicaName::new(text).unwrap();
    let names = |members: &[&str]| {
        let members = members.iter().map(|text| name(text)).collect();
        let text = |set: Value| set["metadata"]["name"].as_str().unwrap().to_string();
        retired_sets(&group(), &members).into_iter().map(text).collect::<Vec<_>>()
    };
    assert_eq!(names(&["orders-0", "orders-a-0"]), ["orders-c"]);
    assert_eq!(names(&["orders-0"]), ["orders-a", "orders-c"]);
}

#[test]
fn claims_have_the_names_that_a_stateful_set_gives_them() {
    assert_eq!(claims(&group())[0], ("data-orders-0".to_string(), "20Gi".to_string()));
}
