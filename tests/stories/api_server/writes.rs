//! Creating, replacing, patching, deleting.

use super::{code, config_map, config_maps, plane, pod, pods, widget, widgets};
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn what_was_created_can_be_read_and_is_not_created_twice() {
    let (_plane, client) = plane();
    let api = config_maps(&client);
    let made = api.create(&PostParams::default(), &config_map("a", &[("x", "1")])).await.unwrap();
    assert!(made.metadata.uid.is_some() && made.metadata.creation_timestamp.is_some());
    assert_eq!(api.get("a").await.unwrap(), made);
    let again = api.create(&PostParams::default(), &config_map("a", &[])).await;
    assert_eq!(code(again), (409, "AlreadyExists".into()));
    assert_eq!(code(api.get("b").await), (404, "NotFound".into()));
}

#[tokio::test(start_paused = true)]
async fn names_are_generated_and_namespaces_must_exist() {
    let (_plane, client) = plane();
    let mut nameless = config_map("", &[]);
    nameless.metadata = ObjectMeta { generate_name: Some("g-".into()), ..ObjectMeta::default() };
    let api = config_maps(&client);
    let one = api.create(&PostParams::default(), &nameless).await.unwrap().metadata.name.unwrap();
    let two = api.create(&PostParams::default(), &nameless).await.unwrap().metadata.name.unwrap();
    assert!(one.starts_with("g-") && two.starts_with("g-") && one != two);
    let nowhere: kube::Api<k8s_openapi::api::core::v1::ConfigMap> = kube::Api::namespaced(client, "nowhere");
    assert_eq!(code(nowhere.create(&PostParams::default(), &config_map("a", &[])).await).0, 404);
}

#[tokio::test(start_paused = true)]
async fn a_stale_put_is_a_conflict() {
    let (_plane, client) = plane();
    let api = config_maps(&client);
    let old = api.create(&PostParams::default(), &config_map("a", &[("x", "1")])).await.unwrap();
    let mut newer = old.clone();
    newer.data.as_mut().unwrap().insert("x".into(), "2".into());
    api.replace("a", &PostParams::default(), &newer).await.unwrap();
    assert_eq!(code(api.replace("a", &PostParams::default(), &old).await), (409, "Conflict".into()));
}

#[tokio::test(start_paused = true)]
async fn a_custom_resource_is_not_replaced_without_its_version() {
    let (_plane, client) = plane();
    let api = widgets(&client);
    api.create(&PostParams::default(), &widget("w", 1)).await.unwrap();
    assert_eq!(code(api.replace("w", &PostParams::default(), &widget("w", 2)).await).0, 422);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_changes_nothing_makes_no_revision() {
    let (plane, client) = plane();
    let api = config_maps(&client);
    let made = api.create(&PostParams::default(), &config_map("a", &[("x", "1")])).await.unwrap();
    let revision = plane.api.revision();
    api.replace("a", &PostParams::default(), &made).await.unwrap();
    api.patch("a", &PatchParams::default(), &Patch::Merge(json!({"data": {"x": "1"}}))).await.unwrap();
    assert_eq!(plane.api.revision(), revision);
}

#[tokio::test(start_paused = true)]
async fn generation_counts_changes_of_the_spec_alone() {
    let (_plane, client) = plane();
    let api = widgets(&client);
    let made = api.create(&PostParams::default(), &widget("w", 1)).await.unwrap();
    assert_eq!(made.metadata.generation, Some(1));
    let status = json!({"status": {"phase": "Fine"}, "spec": {"size": 7}});
    let after = api.patch_status("w", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    assert_eq!((after.metadata.generation, after.spec.size), (Some(1), 1));
    assert_eq!(after.status.unwrap().phase.as_deref(), Some("Fine"));
    let both = json!({"status": {"phase": "Ignored"}, "spec": {"size": 2}});
    let after = api.patch("w", &PatchParams::default(), &Patch::Merge(&both)).await.unwrap();
    assert_eq!((after.metadata.generation, after.spec.size), (Some(2), 2));
    assert_eq!(after.status.unwrap().phase.as_deref(), Some("Fine"));
}

#[tokio::test(start_paused = true)]
async fn a_json_patch_whose_test_fails_changes_nothing() {
    let (_plane, client) = plane();
    let api = config_maps(&client);
    api.create(&PostParams::default(), &config_map("a", &[("x", "1")])).await.unwrap();
    let patch = |expected: &str| {
        let steps = json!([
            {"op": "test", "path": "/data/x", "value": expected},
            {"op": "replace", "path": "/data/x", "value": "2"},
            {"op": "add", "path": "/data/y", "value": "3"},
        ]);
        Patch::<()>::Json(serde_json::from_value(steps).unwrap())
    };
    let refused = api.patch("a", &PatchParams::default(), &patch("0")).await;
    assert_eq!(code(refused).0, 422);
    let done = api.patch("a", &PatchParams::default(), &patch("1")).await.unwrap();
    assert_eq!(done.data.unwrap(), [("x".into(), "2".into()), ("y".into(), "3".into())].into());
}

#[tokio::test(start_paused = true)]
async fn a_deletion_is_refused_when_its_preconditions_are_not_met() {
    let (_plane, client) = plane();
    let api = config_maps(&client);
    let old = api.create(&PostParams::default(), &config_map("a", &[])).await.unwrap();
    api.delete("a", &DeleteParams::default()).await.unwrap();
    let new = api.create(&PostParams::default(), &config_map("a", &[])).await.unwrap();
    let only = |uid: &Option<String>| {
        DeleteParams::default().preconditions(Preconditions { uid: uid.clone(), resource_version: None })
    };
    assert_eq!(code(api.delete("a", &only(&old.metadata.uid)).await), (409, "Conflict".into()));
    assert!(api.delete("a", &only(&new.metadata.uid)).await.unwrap().is_right());
}

#[tokio::test(start_paused = true)]
async fn an_object_with_a_finalizer_stays_until_it_is_taken_away() {
    let (_plane, client) = plane();
    let api = config_maps(&client);
    let mut object = config_map("a", &[]);
    object.metadata.finalizers = Some(vec!["example.org/wait".into()]);
    api.create(&PostParams::default(), &object).await.unwrap();
    let dying = api.delete("a", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert!(dying.metadata.deletion_timestamp.is_some());
    api.patch("a", &PatchParams::default(), &Patch::Merge(json!({"metadata": {"finalizers": null}}))).await.unwrap();
    assert!(api.get_opt("a").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_pod_on_a_node_is_deleted_with_grace() {
    let (plane, client) = plane();
    let mut bound = pod("p");
    bound["spec"]["nodeName"] = "n1".into();
    bound["spec"]["terminationGracePeriodSeconds"] = 120.into();
    plane.api.make("kubelet", bound);
    plane.api.make("kubelet", pod("unbound"));
    let api = pods(&client);
    let dying = api.delete("p", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert_eq!(dying.metadata.deletion_grace_period_seconds, Some(120));
    assert!(api.delete("unbound", &DeleteParams::default()).await.unwrap().is_right());
    assert!(api.delete("p", &DeleteParams::default().grace_period(0)).await.unwrap().is_right());
}

#[tokio::test(start_paused = true)]
async fn dependents_follow_their_owner() {
    let (plane, client) = plane();
    let api = config_maps(&client);
    let owner = api.create(&PostParams::default(), &config_map("owner", &[])).await.unwrap();
    let reference = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid}]);
    let mut dependent = pod("p");
    dependent["metadata"]["ownerReferences"] = reference;
    plane.api.make("someone", dependent);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(plane.api.find("pods", "shop", "p").is_some());
    api.delete("owner", &DeleteParams::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(plane.api.find("pods", "shop", "p").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_foreground_deletion_ends_with_its_dependents() {
    let (plane, client) = plane();
    let api = config_maps(&client);
    let owner = api.create(&PostParams::default(), &config_map("owner", &[])).await.unwrap();
    let mut dependent = config_map("dependent", &[]);
    let reference = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid}]);
    dependent.metadata.owner_references = Some(serde_json::from_value(reference).unwrap());
    api.create(&PostParams::default(), &dependent).await.unwrap();
    assert!(api.delete("owner", &DeleteParams::foreground()).await.unwrap().is_left());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(plane.api.all("configmaps", "shop").is_empty());
}

#[tokio::test(start_paused = true)]
async fn lists_select_by_label_and_by_name() {
    let (plane, client) = plane();
    for name in ["a", "b", "c"] {
        plane.api.make("someone", pod(name));
    }
    let names = async |params: ListParams| {
        let list = pods(&client).list(&params).await.unwrap();
        list.items.into_iter().map(|pod| pod.metadata.name.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(names(ListParams::default()).await, ["a", "b", "c"]);
    assert_eq!(names(ListParams::default().labels("app in (a, c)")).await, ["a", "c"]);
    assert_eq!(names(ListParams::default().labels("app!=a,app")).await, ["b", "c"]);
    assert_eq!(names(ListParams::default().fields("metadata.name=b")).await, ["b"]);
}

#[tokio::test(start_paused = true)]
async fn metadata_alone_is_served_to_those_who_ask() {
    let (plane, client) = plane();
    plane.api.make("someone", pod("a"));
    let api = pods(&client);
    let one = api.get_metadata("a").await.unwrap();
    assert_eq!(one.metadata.labels.unwrap()["app"], "a");
    assert_eq!(api.list_metadata(&ListParams::default()).await.unwrap().items.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stateful_set_refuses_to_change_what_cannot_change() {
    let (_plane, client) = plane();
    let api: kube::Api<k8s_openapi::api::apps::v1::StatefulSet> = kube::Api::namespaced(client, "shop");
    let set = |service: &str, replicas: i32| {
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "s"}, "spec": {
            "serviceName": service, "replicas": replicas, "selector": {"matchLabels": {"app": "s"}},
            "template": {"metadata": {"labels": {"app": "s"}}, "spec": {"containers": []}}}})
    };
    let params = PatchParams::apply("me").force();
    api.patch("s", &params, &Patch::Apply(set("a", 1))).await.unwrap();
    api.patch("s", &params, &Patch::Apply(set("a", 2))).await.unwrap();
    assert_eq!(code(api.patch("s", &params, &Patch::Apply(set("b", 2))).await).0, 422);
}

#[tokio::test(start_paused = true)]
async fn nobody_serves_an_unknown_resource() {
    let (_plane, client) = plane();
    let api: kube::Api<k8s_openapi::api::batch::v1::CronJob> = kube::Api::namespaced(client, "shop");
    assert_eq!(code(api.list(&ListParams::default()).await).0, 404);
}
