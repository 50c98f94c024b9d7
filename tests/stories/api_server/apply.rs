//! Server-side apply.

use super::{Widget, WidgetCondition, code, config_map, config_maps, plane, widget, widgets};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

async fn apply_config_map(client: &kube::Client, manager: &str, data: Value) -> k8s_openapi::api::core::v1::ConfigMap {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data});
    config_maps(client).patch("a", &PatchParams::apply(manager).force(), &Patch::Apply(object)).await.unwrap()
}

fn keys(object: &k8s_openapi::api::core::v1::ConfigMap) -> Vec<&str> {
    object.data.iter().flatten().map(|(name, _)| name.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn applying_twice_changes_nothing() {
    let (plane, client) = plane();
    let one = apply_config_map(&client, "me", json!({"x": "1"})).await;
    let revision = plane.api.revision();
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert_eq!(apply_config_map(&client, "me", json!({"x": "1"})).await, one);
    assert_eq!(plane.api.revision(), revision);
}

#[tokio::test(start_paused = true)]
async fn fields_given_up_by_their_manager_disappear() {
    let (_plane, client) = plane();
    apply_config_map(&client, "me", json!({"x": "1", "y": "2"})).await;
    let after = apply_config_map(&client, "me", json!({"x": "1"})).await;
    assert_eq!(keys(&after), ["x"]);
    let after = config_maps(&client)
        .patch(
            "a",
            &PatchParams::apply("me"),
            &Patch::Apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})),
        )
        .await
        .unwrap();
    assert_eq!(after.data, None);
}

#[tokio::test(start_paused = true)]
async fn fields_that_another_manager_owns_too_stay() {
    let (_plane, client) = plane();
    apply_config_map(&client, "me", json!({"x": "1", "y": "2"})).await;
    apply_config_map(&client, "you", json!({"y": "2", "z": "3"})).await;
    let after = apply_config_map(&client, "me", json!({"x": "1"})).await;
    assert_eq!(keys(&after), ["x", "y", "z"]);
    let after = apply_config_map(&client, "you", json!({"z": "3"})).await;
    assert_eq!(keys(&after), ["x", "z"]);
}

#[tokio::test(start_paused = true)]
async fn taking_a_field_of_another_manager_needs_force() {
    let (_plane, client) = plane();
    apply_config_map(&client, "me", json!({"x": "1"})).await;
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "2"}});
    let api = config_maps(&client);
    let refused = api.patch("a", &PatchParams::apply("you"), &Patch::Apply(&object)).await;
    assert_eq!(code(refused), (409, "Conflict".into()));
    let taken = api.patch("a", &PatchParams::apply("you").force(), &Patch::Apply(&object)).await.unwrap();
    let managers: Vec<_> = taken.metadata.managed_fields.unwrap().into_iter().map(|m| m.manager.unwrap()).collect();
    assert_eq!(managers, ["you"]);
}

#[tokio::test(start_paused = true)]
async fn an_update_takes_what_it_changes_from_its_owner() {
    let (_plane, client) = plane();
    let mut object = apply_config_map(&client, "me", json!({"x": "1", "y": "2"})).await;
    object.data.as_mut().unwrap().insert("x".into(), "9".into());
    config_maps(&client).replace("a", &PostParams::default(), &object).await.unwrap();
    let after = apply_config_map(&client, "me", json!({"y": "2"})).await;
    assert_eq!(after.data.unwrap()["x"], "9");
}

#[tokio::test(start_paused = true)]
async fn a_version_in_what_is_applied_is_a_precondition() {
    let (_plane, client) = plane();
    let api = widgets(&client);
    let made = api.create(&PostParams::default(), &widget("w", 1)).await.unwrap();
    let version = made.metadata.resource_version.clone().unwrap();
    let status = |version: &str, phase: &str| {
        json!({"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w", "resourceVersion": version},
               "status": {"phase": phase}})
    };
    let params = PatchParams::apply("record").force();
    api.patch_status("w", &params, &Patch::Apply(status(&version, "One"))).await.unwrap();
    let refused = api.patch_status("w", &params, &Patch::Apply(status(&version, "Two"))).await;
    assert_eq!(code(refused), (409, "Conflict".into()));
}

#[tokio::test(start_paused = true)]
async fn conditions_of_two_managers_live_side_by_side() {
    let (_plane, client) = plane();
    let api = widgets(&client);
    api.create(&PostParams::default(), &widget("w", 1)).await.unwrap();
    let conditions = |list: &[(&str, &str)]| {
        let list: Vec<_> = list.iter().map(|(type_, status)| json!({"type": type_, "status": status})).collect();
        json!({"apiVersion": "example.org/v1", "kind": "Widget", "status": {"conditions": list}})
    };
    let apply = async |manager: &str, list: &[(&str, &str)]| -> Vec<(String, String)> {
        let params = PatchParams::apply(manager).force();
        let after: Widget = api.patch_status("w", &params, &Patch::Apply(conditions(list))).await.unwrap();
        after.status.unwrap().conditions.into_iter().map(|WidgetCondition { type_, status }| (type_, status)).collect()
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    apply("one", &[("Ready", "False"), ("Stalled", "True")]).await;
    apply("two", &[("Election", "True")]).await;
    let after = apply("one", &[("Ready", "True")]).await;
    assert_eq!(after, [pair("Ready", "True"), pair("Election", "True")]);
}

/// As Kubernetes 1.34 does: what is written so is either left out when it is empty, or cannot be read again, or is refused.
#[tokio::test(start_paused = true)]
async fn a_map_that_is_applied_empty_after_its_manager_filled_it_is_null_and_refused_where_the_schema_says_object() {
    let (_plane, client) = plane();
    let api = widgets(&client);
    api.create(&PostParams::default(), &widget("w", 1)).await.unwrap();
    let apply = async |status: Value| {
        let object = json!({"apiVersion": "example.org/v1", "kind": "Widget", "status": status});
        api.patch_status("w", &PatchParams::apply("me").force(), &Patch::Apply(object)).await
    };
    apply(json!({"record": {"said": {"Start": {"by": "me"}}, "step": 1}})).await.unwrap();
    let emptied = apply(json!({"record": {"said": {}, "step": 2}})).await.unwrap();
    assert_eq!(emptied.status.unwrap().record, json!({"said": null, "step": 2}));
    let left_out = apply(json!({"record": {"step": 3}})).await.unwrap();
    assert_eq!(left_out.status.unwrap().record, json!({"step": 3}));
    apply(json!({"counts": {"a": 1}})).await.unwrap();
    assert_eq!(code(apply(json!({"counts": {}, "phase": "Fine"})).await).0, 422);
    let left_out = apply(json!({"phase": "Fine"})).await.unwrap().status.unwrap();
    assert!(left_out.counts.is_empty());
}

#[tokio::test(start_paused = true)]
async fn applying_the_status_leaves_the_spec_alone_and_the_other_way_round() {
    let (_plane, client) = plane();
    let api = widgets(&client);
    let object = |size: i64, phase: &str| {
        json!({"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w"},
               "spec": {"size": size}, "status": {"phase": phase}})
    };
    let params = PatchParams::apply("me").force();
    let made = api.patch("w", &params, &Patch::Apply(object(1, "Ignored"))).await.unwrap();
    assert!(made.status.is_none());
    let after = api.patch_status("w", &params, &Patch::Apply(object(2, "Fine"))).await.unwrap();
    assert_eq!((after.spec.size, after.status.unwrap().phase.as_deref()), (1, Some("Fine")));
    let anything = Patch::Apply(json!({"apiVersion": "example.org/v1", "kind": "Widget"}));
    assert_eq!(code(api.patch_status("absent", &params, &anything).await).0, 404);
}

#[tokio::test(start_paused = true)]
async fn strict_validation_names_the_unknown_field() {
    let (_plane, client) = plane();
    let object = json!({"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 1, "sise": 2}});
    let params = PatchParams::apply("me").force();
    let refused = widgets(&client).patch("w", &params.clone().validation_strict(), &Patch::Apply(&object)).await;
    match refused {
        Err(kube::Error::Api(status)) => assert!(status.message.contains("spec.sise"), "{}", status.message),
        other => panic!("{other:?}"),
    }
    let pruned = widgets(&client).patch("w", &params, &Patch::Apply(&object)).await.unwrap();
    assert_eq!(pruned.spec.size, 1);
}

#[tokio::test(start_paused = true)]
async fn containers_and_their_lists_merge_by_key() {
    let (_plane, client) = plane();
    let api: Api<k8s_openapi::api::apps::v1::StatefulSet> = Api::namespaced(client.clone(), "shop");
    let set = |containers: Value| {
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "s"}, "spec": {
            "serviceName": "s", "selector": {"matchLabels": {"app": "s"}},
            "template": {"metadata": {"labels": {"app": "s"}}, "spec": {"containers": containers}}}})
    };
    let apply = async |manager: &str, containers: Value| {
        let params = PatchParams::apply(manager).force();
        let after = api.patch("s", &params, &Patch::Apply(set(containers))).await.unwrap();
        serde_json::to_value(after.spec.unwrap().template.spec.unwrap().containers).unwrap()
    };
    let mine = json!([{"name": "main", "image": "a", "env": [{"name": "X", "value": "1"}],
                       "ports": [{"containerPort": 1433}], "volumeMounts": [{"mountPath": "/a", "name": "v"}]}]);
    apply("me", mine.clone()).await;
    let theirs = json!([{"name": "main", "env": [{"name": "Y", "value": "2"}]}, {"name": "side", "image": "b"}]);
    let both = apply("them", theirs).await;
    assert_eq!(both[0]["env"], json!([{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]));
    assert_eq!(both[1]["name"], "side");
    let without_env = json!([{"name": "main", "image": "a", "ports": [{"containerPort": 1433}],
                              "volumeMounts": [{"mountPath": "/a", "name": "v"}]}]);
    let after = apply("me", without_env).await;
    assert_eq!(after[0]["env"], json!([{"name": "Y", "value": "2"}]));
    let after = apply("them", json!([{"name": "side", "image": "b"}])).await;
    assert_eq!(after[0].get("env"), None);
    assert_eq!(after[0]["image"], "a");
    let after = apply("them", json!([])).await;
    assert_eq!(after.as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn labels_of_a_pod_are_merged_and_given_up_one_by_one() {
    let (plane, client) = plane();
    plane.api.make("statefulset", super::pod("p"));
    let api = super::pods(&client);
    let apply = async |labels: Value| {
        let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": labels}});
        api.patch("p", &PatchParams::apply("roles").force(), &Patch::Apply(object))
            .await
            .unwrap()
            .metadata
            .labels
            .unwrap()
    };
    assert_eq!(apply(json!({"role": "primary"})).await.len(), 2);
    let left = apply(json!({})).await;
    assert_eq!(left.into_keys().collect::<Vec<_>>(), ["app"]);
}

#[tokio::test(start_paused = true)]
async fn an_apply_that_creates_is_refused_with_a_version_or_without_a_manager() {
    let (_plane, client) = plane();
    let mut object = serde_json::to_value(config_map("a", &[])).unwrap();
    object["metadata"]["resourceVersion"] = "7".into();
    let api = config_maps(&client);
    let refused = api.patch("a", &PatchParams::apply("me").force(), &Patch::Apply(&object)).await;
    assert_eq!(code(refused).0, 409);
    object["metadata"]["resourceVersion"] = Value::Null;
    let params = PatchParams { force: true, ..PatchParams::default() };
    assert_eq!(code(api.patch("a", &params, &Patch::Apply(&object)).await).0, 422);
}
