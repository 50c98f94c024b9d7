//! What wakes a group: watches that fill stores, and one bell per group. Watches only wake; a pass reads what it needs.

use super::{
    backoff::Backoff,
    bells::{Bells, Key},
};
use crate::{
    api::{AvailabilityGroup, Failover, RollingUpgrade},
    resources,
};
use futures::{Stream, StreamExt, future::BoxFuture};
use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{Node, Pod, Service},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Resource,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt,
        reflector::{self, ObjectRef, Store, store::Writer},
        utils::Backoff as WatchBackoff,
        watcher,
    },
};
use serde::de::DeserializeOwned;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    hash::Hash,
    sync::Arc,
    time::Duration,
};
use tokio::time::timeout;

/// Seconds after which a watch is begun anew; a dead one is noticed five seconds later.
const WATCH_SECONDS: u32 = 25;

/// How long events alone are trusted: every watch begins with a list again after that time, so that one that was lost on
/// the way (a proxy, a bug of a cache) costs no more than this.
const LIST_AGAIN: Duration = Duration::from_secs(120);

/// How long the start waits for nodes.
const NODES: Duration = Duration::from_secs(2);

/// A group that may not be readable.
pub type Guarded = DeserializeGuard<AvailabilityGroup>;

/// What the watches have seen.
pub struct Stores {
    /// Groups.
    pub groups: Store<Guarded>,
    /// Pods of groups.
    pub pods: Store<Pod>,
    /// Services of groups.
    pub services: Store<Service>,
    /// StatefulSets of groups.
    pub sets: Store<StatefulSet>,
    /// Requests.
    pub failovers: Store<DeserializeGuard<Failover>>,
    /// Nodes.
    pub nodes: Store<Node>,
    /// Staged upgrades.
    pub upgrades: Store<DeserializeGuard<RollingUpgrade>>,
}

/// Starts the watches: the stores, and the work that fills them. `upgrades` are the bells of staged upgrades.
pub fn start(
    client: &Client,
    namespace: Option<&str>,
    bells: &Bells,
    upgrades: &Bells,
) -> (Stores, BoxFuture<'static, ()>) {
    let ours = || watcher::Config::default().timeout(WATCH_SECONDS).labels(resources::GROUP);
    let any = || watcher::Config::default().timeout(WATCH_SECONDS);
    let (groups, groups_work) = follow(bells, api(client, namespace), any(), on_group(bells.clone(), upgrades.clone()));
    let (pods, pods_work) = follow(bells, api(client, namespace), ours(), on_pod(bells.clone()));
    let (services, services_work) = follow(bells, api(client, namespace), ours(), on_owned(bells.clone()));
    let (sets, sets_work) = follow(bells, api::<StatefulSet>(client, namespace), ours(), on_owned(bells.clone()));
    let (failovers, failovers_work) = follow(bells, api(client, namespace), any(), on_failover(bells.clone()));
    let (nodes, nodes_work) = follow(bells, Api::all(client.clone()), any(), on_node(bells.clone()));
    let (upgrades, upgrades_work) = follow(bells, api(client, namespace), any(), on_upgrade(upgrades.clone()));
    let stores = Stores { groups, pods, services, sets, failovers, nodes, upgrades };
    let works = [groups_work, pods_work, services_work, sets_work, failovers_work, nodes_work, upgrades_work];
    let work = futures::future::join_all(works);
    (stores, Box::pin(async move { drop(work.await) }))
}

impl Stores {
    /// Waits until each store was filled once. False: the watches ended.
    pub async fn ready(&self) -> bool {
        let all = tokio::try_join!(
            self.groups.wait_until_ready(),
            self.pods.wait_until_ready(),
            self.services.wait_until_ready(),
            self.failovers.wait_until_ready(),
        );
        // Without leave to see nodes a terminated container is noticed by its silence.
        let _ = timeout(NODES, self.nodes.wait_until_ready()).await;
        all.is_ok()
    }

    /// A staged upgrade as the watch saw it last.
    pub fn upgrade(&self, key: &Key) -> Option<Arc<DeserializeGuard<RollingUpgrade>>> {
        self.upgrades.get(&ObjectRef::new(&key.1).within(&key.0))
    }

    /// A group as the watch saw it last.
    pub fn group(&self, key: &Key) -> Option<Arc<Guarded>> {
        self.groups.get(&ObjectRef::new(&key.1).within(&key.0))
    }
}

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
    K::DynamicType: Default,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// An object as an event brought it, or its deletion.
enum News<'a, K> {
    There(&'a K),
    Gone(&'a K),
}

fn follow<K>(
    bells: &Bells,
    api: Api<K>,
    config: watcher::Config,
    mut tell: impl FnMut(News<'_, K>) + Send + 'static,
) -> (Store<K>, BoxFuture<'static, ()>)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Default + Eq + Hash + Clone + Send + Sync,
{
    let (store, writer): (Store<K>, Writer<K>) = reflector::store();
    let reader = store.clone();
    let again = bells.again.clone();
    let watches = futures::stream::repeat_with(move || {
        let again = again.clone();
        let lists = async move { drop(timeout(LIST_AGAIN, again.notified()).await) };
        watcher(api.clone(), config.clone()).take_until(lists)
    });
    let events = watches.flatten().backoff(Pause::default()).reflect(writer);
    let work = async move {
        let mut events: std::pin::Pin<Box<dyn Stream<Item = _> + Send>> = Box::pin(events);
        let mut before = Vec::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Apply(object)) => tell(News::There(&object)),
                Ok(watcher::Event::Delete(object)) => tell(News::Gone(&object)),
                Ok(watcher::Event::Init) => before = reader.state(),
                // The store has nothing of a list before it is whole: whoever was told sooner would not find it there.
                Ok(watcher::Event::InitApply(_)) => {}
                Ok(watcher::Event::InitDone) => {
                    reader.state().iter().for_each(|object| tell(News::There(object)));
                    // A list does not name what is gone.
                    let gone = |object: &Arc<K>| reader.get(&ObjectRef::from_obj(&**object)).is_none();
                    before.drain(..).filter(gone).for_each(|object| tell(News::Gone(&object)));
                }
                Err(error) => tracing::debug!(%error, "watch"),
            }
        }
    };
    (store, Box::pin(work))
}

/// Pause after a watch that failed.
#[derive(Default)]
struct Pause(Backoff);

impl Iterator for Pause {
    type Item = Duration;
    fn next(&mut self) -> Option<Duration> {
        Some(self.0.failed(Duration::ZERO))
    }
}

impl WatchBackoff for Pause {
    fn reset(&mut self) {
        self.0.reset();
    }
}

fn key<K: Resource>(object: &K) -> Option<Key> {
    Some((object.meta().namespace.clone()?, object.meta().name.clone()?))
}

/// The group that an object of ours belongs to.
pub fn group_of(meta: &ObjectMeta) -> Option<Key> {
    Some((meta.namespace.clone()?, meta.labels.as_ref()?.get(resources::GROUP)?.clone()))
}

/// An object, once a new one appears, when `version` of it changes, and when it goes.
fn on_change<K: Resource, V: PartialEq + Clone + Send + 'static>(
    bells: Bells,
    mut version: impl FnMut(&K) -> V + Send + 'static,
) -> impl FnMut(News<'_, K>) + Send + 'static {
    let mut seen = BTreeMap::new();
    move |news| match news {
        News::There(object) => {
            let Some(key) = key(object) else { return };
            let now = version(object);
            if seen.insert(key.clone(), now.clone()) != Some(now) {
                bells.found(key);
            }
        }
        News::Gone(object) => {
            if let Some(key) = key(object) {
                seen.remove(&key);
                bells.ring(&key);
            }
        }
    }
}

/// Status writes of our own wake nobody: only a new object, another spec, another upgrade, or a deletion. An upgrade hears of
/// everything about the groups that take part in one.
fn on_group(bells: Bells, upgrades: Bells) -> impl FnMut(News<'_, Guarded>) + Send + 'static {
    on_change(bells, move |object: &Guarded| {
        let meta = object.meta();
        let upgrade = object.0.as_ref().ok().and_then(|group| group.status.as_ref()?.upgrade.clone());
        if upgrade.is_some() {
            upgrades.ring_all();
        }
        (meta.uid.clone(), meta.generation, meta.deletion_timestamp.is_some(), upgrade)
    })
}

fn on_pod(bells: Bells) -> impl FnMut(News<'_, Pod>) + Send + 'static {
    move |news| {
        let (News::There(pod) | News::Gone(pod)) = news;
        if let Some(key) = group_of(&pod.metadata) {
            bells.ring(&key);
        }
    }
}

/// Objects that the group owns: a change of what they should be, by whomever, has them applied again.
fn on_owned<K: Resource>(bells: Bells) -> impl FnMut(News<'_, K>) + Send + 'static {
    let mut seen: BTreeMap<Key, (Option<String>, String)> = BTreeMap::new();
    move |news| match news {
        News::There(object) => {
            let meta = object.meta();
            let (Some(key), Some(group)) = (key(object), group_of(meta)) else { return };
            let version = match meta.generation {
                Some(generation) => generation.to_string(),
                None => meta.resource_version.clone().unwrap_or_default(),
            };
            let now = (meta.uid.clone(), version);
            let before = seen.insert(key, now.clone());
            if before.is_some_and(|before| before != now) {
                bells.drifted(&group);
            }
        }
        News::Gone(object) => {
            let (Some(key), Some(group)) = (key(object), group_of(object.meta())) else { return };
            seen.remove(&key);
            bells.drifted(&group);
        }
    }
}

fn on_failover(bells: Bells) -> impl FnMut(News<'_, DeserializeGuard<Failover>>) + Send + 'static {
    move |news| {
        let (News::There(object) | News::Gone(object)) = news;
        if let (Ok(failover), Some(namespace)) = (&object.0, object.meta().namespace.clone()) {
            bells.ring(&(namespace, failover.spec.availability_group.clone()));
        }
    }
}

/// Only a new upgrade, another spec or a deletion: what it writes itself wakes nobody.
fn on_upgrade(bells: Bells) -> impl FnMut(News<'_, DeserializeGuard<RollingUpgrade>>) + Send + 'static {
    on_change(bells, |object: &DeserializeGuard<RollingUpgrade>| (object.meta().uid.clone(), object.meta().generation))
}

/// A node that becomes ready or stops being so changes what its kubelet's word is worth.
fn on_node(bells: Bells) -> impl FnMut(News<'_, Node>) + Send + 'static {
    let mut ready: BTreeSet<String> = BTreeSet::new();
    move |news| {
        let (name, now) = match news {
            News::There(node) => (node.metadata.name.clone().unwrap_or_default(), is_ready(node)),
            News::Gone(node) => (node.metadata.name.clone().unwrap_or_default(), false),
        };
        let before = ready.contains(&name);
        if now {
            ready.insert(name);
        } else {
            ready.remove(&name);
        }
        if before != now {
            bells.ring_all();
        }
    }
}

/// Whether a node is Ready: its kubelet's word counts.
pub fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::client::Body;
    use serde_json::json;
    use std::sync::{Mutex, OnceLock};

    /// A client of a server whose list of pods has two pages of one pod each, and whose watch has no news.
    fn two_pages() -> Client {
        let answer = |request: http::Request<Body>| async move {
            let query = request.uri().query().unwrap_or_default().to_string();
            if query.contains("watch=true") {
                std::future::pending::<()>().await;
            }
            let (name, rest) = if query.contains("continue=") { ("orders-1", "") } else { ("orders-0", "orders-1") };
            let pod = json!({"metadata": {"name": name, "namespace": "shop"}});
            let metadata = json!({"resourceVersion": "7", "continue": rest});
            let list = json!({"apiVersion": "v1", "kind": "PodList", "metadata": metadata, "items": [pod]});
            Ok::<_, std::io::Error>(http::Response::new(Body::from(list.to_string().into_bytes())))
        };
        Client::new(tower::service_fn(answer), "shop")
    }

    /// A loop that begins looks into the store, and ends when nothing is there.
    #[tokio::test(start_paused = true)]
    async fn nobody_is_told_of_an_object_before_the_store_has_it() {
        let (bells, _news) = Bells::new();
        let reader: Arc<OnceLock<Store<Pod>>> = Arc::default();
        let told: Arc<Mutex<Vec<(String, bool)>>> = Arc::default();
        let (inside, list) = (reader.clone(), told.clone());
        let tell = move |news: News<'_, Pod>| {
            let News::There(pod) = news else { return };
            let found = inside.get().unwrap().get(&ObjectRef::from_obj(pod)).is_some();
            list.lock().unwrap().push((pod.metadata.name.clone().unwrap(), found));
        };
        let config = watcher::Config::default().page_size(1);
        let (store, work) = follow(&bells, Api::namespaced(two_pages(), "shop"), config, tell);
        reader.set(store).ok().unwrap();
        let _ = timeout(Duration::from_secs(1), work).await;
        let mut told = told.lock().unwrap().clone();
        told.sort();
        assert_eq!(told, [("orders-0".to_string(), true), ("orders-1".to_string(), true)]);
    }
}
