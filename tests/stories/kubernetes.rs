//! The door to Kubernetes against the API server of the world.

use crate::world::{ControlPlane, apiserver::link::Act};
use quorate::{
    k8s::{Error, Kube, apply::Outcome, manager},
    leader::Candidate,
};
use serde_json::json;
use std::time::Duration;

async fn door(plane: &ControlPlane) -> Kube {
    for (_, crd) in quorate::api::crds().unwrap() {
        plane.api.install(&serde_json::to_value(&crd).unwrap());
    }
    let (candidate, mut permits) = Candidate::new(plane.api.client("lease"), "default", "quorate", "me");
    tokio::spawn(candidate.run(std::future::pending()));
    permits.leading().await.unwrap();
    Kube::new(plane.api.client("operator"), permits)
}

fn service(name: &str, port: u16) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": name, "namespace": "shop", "labels": { "app.kubernetes.io/managed-by": "quorate", "quorate.dev/group": "orders" } },
        "spec": { "ports": [{ "name": "sql", "port": port }] },
    })
}

#[tokio::test(start_paused = true)]
async fn applying_what_is_there_writes_nothing() {
    let plane = ControlPlane::start(1);
    let kube = door(&plane).await;
    assert_eq!(kube.apply(&service("a", 1433)).await.unwrap(), Outcome::Written);
    let before = plane.api.writes().len();
    assert_eq!(kube.apply(&service("a", 1433)).await.unwrap(), Outcome::Unchanged);
    assert!(plane.api.writes().iter().skip(before).all(|write| write.client != "operator"));
    assert_eq!(kube.apply(&service("a", 1434)).await.unwrap(), Outcome::Written);
}

#[tokio::test(start_paused = true)]
async fn an_object_of_somebody_else_is_never_taken_over() {
    let plane = ControlPlane::start(2);
    let kube = door(&plane).await;
    let mut theirs = service("a", 80);
    theirs["metadata"]["labels"] = json!({ "app": "web" });
    plane.api.make("somebody", theirs);
    assert_eq!(kube.apply(&service("a", 1433)).await.unwrap_err(), Error::NameTaken("Service shop/a".into()));
}

#[tokio::test(start_paused = true)]
async fn a_selector_of_the_router_survives_the_ordinary_apply() {
    let plane = ControlPlane::start(3);
    let kube = door(&plane).await;
    kube.apply(&service("a", 1433)).await.unwrap();
    let route = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "a", "namespace": "shop" }, "spec": { "selector": { "x": "orders-1" } } });
    assert_eq!(kube.apply_fields(&route, manager::ROUTE).await.unwrap(), Outcome::Written);
    kube.apply(&service("a", 1434)).await.unwrap();
    assert_eq!(kube.selector("shop", "a").await.unwrap()["x"], "orders-1");
    assert_eq!(kube.apply_fields(&route, manager::ROUTE).await.unwrap(), Outcome::Unchanged);
}

#[tokio::test(start_paused = true)]
async fn the_record_is_written_by_compare_and_swap() {
    let plane = ControlPlane::start(4);
    let kube = door(&plane).await;
    let manifest = json!({
        "apiVersion": "quorate.dev/v1alpha1", "kind": "AvailabilityGroup",
        "metadata": { "name": "orders", "namespace": "shop" },
        "spec": {
            "acceptEula": true, "image": "mssql:1", "edition": "Developer", "synchronous": { "replicas": 3 },
            "storage": { "size": "1Gi" }, "resources": { "limits": { "memory": "2Gi" } },
        },
    });
    plane.api.make("person", manifest);
    let read = kube.group("shop", "orders").await.unwrap().unwrap();
    let record = |epoch: u64| json!({ "epoch": epoch, "state": "Open", "primary": "orders-0", "voters": ["orders-0"], "followers": [], "commitQuorum": 0 });
    kube.record(&read, &record(1)).await.unwrap();
    let late = kube.record(&read, &record(2)).await.unwrap_err();
    assert!(matches!(late, Error::Refused(_)), "{late}");
    let now = kube.group("shop", "orders").await.unwrap().unwrap();
    assert_eq!(serde_json::to_value(&now.status).unwrap()["election"]["epoch"], 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_permit_nothing_is_written() {
    let plane = ControlPlane::start(5);
    let kube = door(&plane).await;
    plane.api.link("lease").expect(1_000, Act::Refuse, |_| true);
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(kube.apply(&service("a", 1433)).await.unwrap_err(), Error::NotLeader);
}

#[tokio::test(start_paused = true)]
async fn a_silent_api_server_costs_a_deadline_and_leaves_the_outcome_open() {
    let plane = ControlPlane::start(6);
    let kube = door(&plane).await;
    plane.api.link("operator").expect(1, Act::LoseAnswer, |request| request.verb.writes());
    assert!(matches!(kube.apply(&service("a", 1433)).await.unwrap_err(), Error::Lost(_)));
    assert_eq!(kube.apply(&service("a", 1433)).await.unwrap(), Outcome::Unchanged, "it had taken effect");
}

fn set(size: &str, prepare: &str, server: &str) -> serde_json::Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": { "name": "orders", "namespace": "shop", "labels": { "app.kubernetes.io/managed-by": "quorate", "quorate.dev/group": "orders" } },
        "spec": {
            "replicas": 3, "serviceName": "orders-replicas", "updateStrategy": { "type": "OnDelete" },
            "selector": { "matchLabels": { "quorate.dev/group": "orders" } },
            "template": {
                "metadata": { "labels": { "quorate.dev/group": "orders" } },
                "spec": {
                    "initContainers": [{ "name": "prepare", "image": prepare }],
                    "containers": [{ "name": "mssql", "image": server }],
                },
            },
            "volumeClaimTemplates": [{
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "data" },
                "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": size } } },
            }],
        },
    })
}

#[tokio::test(start_paused = true)]
async fn a_new_image_of_the_operator_or_a_larger_volume_is_no_new_template() {
    let plane = ControlPlane::start(7);
    let kube = door(&plane).await;
    kube.apply(&set("20480Mi", "q:1", "s:1")).await.unwrap();
    assert_eq!(kube.apply(&set("20480Mi", "q:2", "s:1")).await.unwrap(), Outcome::Unchanged);
    assert_eq!(kube.apply(&set("30Gi", "q:1", "s:1")).await.unwrap(), Outcome::Unchanged);
    assert_eq!(kube.apply(&set("30Gi", "q:2", "s:2")).await.unwrap(), Outcome::Written);
    assert_eq!(kube.apply(&set("30Gi", "q:3", "s:2")).await.unwrap(), Outcome::Unchanged);
}

#[tokio::test(start_paused = true)]
async fn a_claim_grows_and_never_shrinks() {
    let plane = ControlPlane::start(8);
    let kube = door(&plane).await;
    assert_eq!(kube.grow("shop", "data-orders-0", "20Gi").await.unwrap(), Outcome::Unchanged, "it is not there yet");
    plane.api.make("kubernetes", json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "data-orders-0", "namespace": "shop" },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "20Gi" } } },
    }));
    assert_eq!(kube.grow("shop", "data-orders-0", "10Gi").await.unwrap(), Outcome::Unchanged);
    assert_eq!(kube.grow("shop", "data-orders-0", "30Gi").await.unwrap(), Outcome::Written);
    assert_eq!(kube.grow("shop", "data-orders-0", "30720Mi").await.unwrap(), Outcome::Unchanged);
}

#[tokio::test(start_paused = true)]
async fn only_what_is_ours_is_removed() {
    let plane = ControlPlane::start(9);
    let kube = door(&plane).await;
    kube.apply(&service("a", 1433)).await.unwrap();
    let mut theirs = service("b", 80);
    theirs["metadata"]["labels"] = json!({ "app": "web" });
    plane.api.make("somebody", theirs);
    assert_eq!(kube.remove(&service("a", 1433)).await.unwrap(), Outcome::Written);
    assert_eq!(kube.remove(&service("a", 1433)).await.unwrap(), Outcome::Unchanged);
    assert_eq!(kube.remove(&service("b", 80)).await.unwrap(), Outcome::Unchanged);
}
