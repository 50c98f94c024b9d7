//! The garbage collector: objects whose owners are gone follow them.

use super::{ApiServer, store::Key};
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::sleep;

/// Collects after each change, a little late, for ever.
pub async fn collect(server: ApiServer) {
    let mut revisions = server.watch_revision();
    loop {
        sleep(Duration::from_millis(20)).await;
        revisions.borrow_and_update();
        while collect_once(&server) {}
        if revisions.changed().await.is_err() {
            return;
        }
    }
}

/// One round; whether it did anything.
fn collect_once(server: &ApiServer) -> bool {
    let orphans = orphans(server);
    let waiting = released(server);
    for key in &orphans {
        server.remove("garbage", plural(key), &key.namespace, &key.name, None);
    }
    for (key, finalizer) in &waiting {
        server.change("garbage", plural(key), &key.namespace, &key.name, |object| {
            if let Some(list) = object["metadata"]["finalizers"].as_array_mut() {
                list.retain(|known| known != finalizer);
            }
        });
    }
    !orphans.is_empty() || !waiting.is_empty()
}

fn plural(key: &Key) -> &str {
    key.resource.split('.').next().unwrap_or_default()
}

/// Objects that should be deleted: every owner is gone, or is being deleted in the foreground.
fn orphans(server: &ApiServer) -> Vec<Key> {
    let store = server.store();
    let alive: BTreeMap<&str, &Value> = store
        .objects
        .values()
        .filter_map(|s| Some((s.object["metadata"]["uid"].as_str()?, &s.object["metadata"])))
        .collect();
    let left_behind = |owner: &Value| {
        let Some(metadata) = owner["uid"].as_str().and_then(|uid| alive.get(uid)) else { return true };
        has_finalizer(metadata, "foregroundDeletion") && metadata["deletionTimestamp"].is_string()
    };
    let concerns = |object: &Value| {
        let owners = object["metadata"]["ownerReferences"].as_array();
        owners.is_some_and(|owners| !owners.is_empty() && owners.iter().all(left_behind))
            && object["metadata"]["deletionTimestamp"].is_null()
    };
    store.objects.iter().filter(|(_, stored)| concerns(&stored.object)).map(|(key, _)| key.clone()).collect()
}

/// Objects under foreground deletion that nothing blocks any more.
fn released(server: &ApiServer) -> Vec<(Key, &'static str)> {
    let store = server.store();
    let blocked = |uid: &Value| {
        store.objects.values().any(|stored| {
            let owners = stored.object["metadata"]["ownerReferences"].as_array();
            owners.is_some_and(|owners| owners.iter().any(|owner| owner["uid"] == *uid))
        })
    };
    let waits = |object: &Value| {
        let metadata = &object["metadata"];
        has_finalizer(metadata, "foregroundDeletion")
            && metadata["deletionTimestamp"].is_string()
            && !blocked(&metadata["uid"])
    };
    store.objects.iter().filter(|(_, s)| waits(&s.object)).map(|(key, _)| (key.clone(), "foregroundDeletion")).collect()
}

fn has_finalizer(metadata: &Value, name: &str) -> bool {
    metadata["finalizers"].as_array().is_some_and(|list| list.iter().any(|known| known == name))
}
