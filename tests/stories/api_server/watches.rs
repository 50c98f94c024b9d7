//! Watches, and what runs on them.

use super::{Widget, config_map, config_maps, plane, pod, pods, widget, widgets};
use crate::world::apiserver::link::Delivery;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
    core::PartialObjectMeta,
    runtime::{Controller, WatchStreamExt, controller::Action, watcher},
};
use serde_json::json;
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};

/// Type and name of each event, until the watch ends.
async fn events(api: &Api<Pod>, params: &WatchParams, from: &str) -> Vec<(&'static str, String)> {
    let stream = api.watch(params, from).await.unwrap().boxed();
    stream
        .filter_map(async |event| match event.unwrap() {
            WatchEvent::Added(pod) => Some(("added", pod.metadata.name.unwrap())),
            WatchEvent::Modified(pod) => Some(("modified", pod.metadata.name.unwrap())),
            WatchEvent::Deleted(pod) => Some(("deleted", pod.metadata.name.unwrap())),
            WatchEvent::Bookmark(_) => None,
            WatchEvent::Error(status) => Some(("error", status.reason)),
        })
        .collect()
        .await
}

#[tokio::test(start_paused = true)]
async fn a_watch_resumes_where_it_stopped() {
    let (plane, client) = plane();
    let api = pods(&client);
    plane.api.make("someone", pod("a"));
    let middle = plane.api.revision().to_string();
    plane.api.make("someone", pod("b"));
    plane.api.remove("someone", "pods", "shop", "a", None);
    let seen = events(&api, &WatchParams::default().timeout(10), &middle).await;
    assert_eq!(seen, [("added", "b".to_owned()), ("deleted", "a".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_at_its_timeout() {
    let (_plane, client) = plane();
    let began = Instant::now();
    events(&pods(&client), &WatchParams::default().timeout(25), "0").await;
    assert!((25..26).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn objects_come_into_and_fall_out_of_a_selection() {
    let (plane, client) = plane();
    plane.api.make("someone", pod("a"));
    let from = plane.api.revision().to_string();
    for value in ["a", "x", "a"] {
        plane.api.change("someone", "pods", "shop", "a", |pod| pod["metadata"]["labels"]["app"] = value.into());
    }
    let seen = events(&pods(&client), &WatchParams::default().labels("app=a").timeout(5), &from).await;
    assert_eq!(seen, [("deleted", "a".to_owned()), ("added", "a".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_before_the_compaction_is_told_so() {
    let (plane, client) = plane();
    let old = plane.api.revision().to_string();
    plane.api.make("someone", pod("a"));
    plane.api.compact();
    let seen = events(&pods(&client), &WatchParams::default().timeout(5), &old).await;
    assert_eq!(seen, [("error", "Expired".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn bookmarks_tell_a_quiet_watch_how_far_it_is() {
    let (plane, client) = plane();
    let from = plane.api.revision();
    config_maps(&client).create(&PostParams::default(), &config_map("elsewhere", &[])).await.unwrap();
    let stream = pods(&client).watch(&WatchParams::default().timeout(100), &from.to_string()).await.unwrap();
    let events: Vec<_> = stream.try_collect().await.unwrap();
    match &events[..] {
        [WatchEvent::Bookmark(bookmark)] => {
            assert_eq!(bookmark.metadata.resource_version, plane.api.revision().to_string())
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_watcher_survives_lost_repeated_and_reordered_events_and_a_closed_watch() {
    let (plane, client) = plane();
    let mut plan = [Delivery::Twice, Delivery::Swap, Delivery::Close, Delivery::Drop].into_iter();
    plane.api.link("tester").set_courier(move |_| plan.next().unwrap_or(Delivery::Pass));
    let (reader, writer) = kube::runtime::reflector::store::<Pod>();
    let config = watcher::Config::default().timeout(25);
    let stream = kube::runtime::reflector(writer, watcher(pods(&client), config)).default_backoff();
    let reflecting = tokio::spawn(stream.for_each(async |_| {}));
    sleep(Duration::from_secs(1)).await;
    for name in ["a", "b", "c", "d"] {
        plane.api.make("someone", pod(name));
        sleep(Duration::from_secs(5)).await;
    }
    let mut names: Vec<_> = reader.state().iter().map(|pod| pod.metadata.name.clone().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["a", "b", "d"], "the event of c was lost");
    reflecting.abort();
}

#[tokio::test(start_paused = true)]
async fn a_streaming_list_ends_with_its_bookmark() {
    let (plane, client) = plane();
    plane.api.make("someone", pod("a"));
    let config = watcher::Config::default().streaming_lists();
    let mut stream = watcher(pods(&client), config).applied_objects().boxed();
    let first = timeout(Duration::from_secs(5), stream.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(first.metadata.name.as_deref(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn the_shipped_kube_controller_runs_a_day_in_virtual_time() {
    let (plane, client) = plane();
    widgets(&client).create(&PostParams::default(), &widget("w", 1)).await.unwrap();
    let passes = Arc::new(AtomicU32::new(0));
    let api = widgets(&client);
    let controller = Controller::new(Api::<Widget>::all(client.clone()), watcher::Config::default().timeout(25))
        .owns(Api::<Pod>::all(client.clone()), watcher::Config::default())
        .watches(Api::<PartialObjectMeta<Pod>>::all(client), watcher::Config::default(), |_| None)
        .run(
            move |widget, passes: Arc<AtomicU32>| {
                let api = api.clone();
                async move {
                    passes.fetch_add(1, Ordering::SeqCst);
                    let status = json!({"apiVersion": "example.org/v1", "kind": "Widget", "status": {"phase": "Fine"}});
                    let name = widget.metadata.name.as_deref().unwrap();
                    api.patch_status(name, &PatchParams::apply("me").force(), &Patch::Apply(status)).await.unwrap();
                    Ok::<_, Infallible>(Action::requeue(Duration::from_secs(3600)))
                }
            },
            |_, _, _| Action::await_change(),
            passes.clone(),
        )
        .for_each(async |_| {});
    let _ = timeout(Duration::from_secs(24 * 3600 + 60), controller).await;
    let passes = passes.load(Ordering::SeqCst);
    assert!((25..=26).contains(&passes), "{passes} passes");
    let changed = plane.api.writes_since("tester", Duration::from_secs(1)).iter().filter(|write| write.changed).count();
    assert_eq!(changed, 0);
}

#[tokio::test(start_paused = true)]
async fn a_controller_hears_of_the_death_of_what_it_owns() {
    let (plane, client) = plane();
    let owner = widgets(&client).create(&PostParams::default(), &widget("w", 1)).await.unwrap();
    let mut owned = pod("p");
    owned["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "example.org/v1", "kind": "Widget", "name": "w", "uid": owner.metadata.uid, "controller": true}]);
    plane.api.make("someone", owned);
    let passes = Arc::new(AtomicU32::new(0));
    let controller = Controller::new(Api::<Widget>::all(client.clone()), watcher::Config::default())
        .owns(Api::<Pod>::all(client.clone()), watcher::Config::default())
        .run(
            |_, passes: Arc<AtomicU32>| async move {
                passes.fetch_add(1, Ordering::SeqCst);
                Ok::<_, Infallible>(Action::await_change())
            },
            |_, _, _| Action::await_change(),
            passes.clone(),
        )
        .for_each(async |_| {});
    let running = tokio::spawn(controller);
    sleep(Duration::from_secs(10)).await;
    let before = passes.load(Ordering::SeqCst);
    pods(&client).delete("p", &DeleteParams::default()).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(passes.load(Ordering::SeqCst), before + 1);
    running.abort();
}
