//! Nodes, and the controllers that every cluster has: StatefulSets, scheduling, kubelets, node health.
//!
//! They use the API server without a network and without faults; what may fail are nodes and containers.

pub mod jobs;
pub mod kubelet;
pub mod node;
pub mod pod_status;
pub mod resolve;
pub mod scheduler;
pub mod slices;
pub mod statefulset;

use super::{ControlPlane, apiserver::ApiServer, history::History, random::Random};
use futures::future::BoxFuture;
use kubelet::Order;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

/// A container as its host sees it.
#[derive(Clone, Debug)]
pub struct Container {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod; also its host name on the network.
    pub pod: String,
    /// UID of the pod.
    pub uid: String,
    /// Node that it runs on.
    pub node: String,
    /// How often it was restarted in this pod.
    pub restart: u64,
    /// Claims by volume name: what lives longer than the pod.
    pub claims: BTreeMap<String, String>,
    /// The pod as it was when the container started.
    pub object: Arc<Value>,
}

/// What runs the processes of containers.
pub trait ContainerHost: Send + Sync + 'static {
    /// Runs the init containers; an error is shown and tried again.
    fn prepare(&self, container: &Container) -> BoxFuture<'static, Result<(), String>>;
    /// Starts the process; ends with its exit code when it exits.
    fn start(&self, container: &Container) -> BoxFuture<'static, i32>;
    /// SIGTERM: the process should exit soon.
    fn stop(&self, container: &Container);
    /// SIGKILL, or the power is gone: the process does nothing more.
    fn kill(&self, container: &Container);
    /// What a process that exited left in its termination log.
    fn last_words(&self, container: &Container) -> Option<String>;
}

struct Inner {
    api: ApiServer,
    history: History,
    random: Random,
    host: Arc<dyn ContainerHost>,
    /// Whether each node has power.
    nodes: BTreeMap<String, watch::Sender<bool>>,
    /// Orders to the workers of pods, by UID.
    workers: Mutex<BTreeMap<String, mpsc::UnboundedSender<Order>>>,
}

/// The nodes and controllers of one world.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cluster({:?})", self.0.nodes.keys())
    }
}

impl Cluster {
    /// Starts a cluster of nodes n1..n3 whose containers run on `host`.
    pub fn start(plane: &ControlPlane, host: Arc<dyn ContainerHost>) -> Self {
        let nodes = ["n1", "n2", "n3"].map(|name| (name.to_owned(), watch::Sender::new(true)));
        let cluster = Self(Arc::new(Inner {
            api: plane.api.clone(),
            history: plane.history.clone(),
            random: plane.random.fork("cluster"),
            host,
            nodes: nodes.into(),
            workers: Mutex::default(),
        }));
        for name in cluster.0.nodes.keys() {
            node::register(&cluster, name);
            tokio::spawn(node::watch_health(cluster.clone(), name.clone()));
        }
        tokio::spawn(cluster.clone().control());
        cluster
    }

    /// The controllers, a little after each change.
    async fn control(self) {
        let mut revisions = self.0.api.watch_workload();
        loop {
            revisions.borrow_and_update();
            statefulset::control(&self.0.api);
            jobs::control(&self.0.api);
            slices::control(&self.0.api);
            scheduler::schedule(&self.0.api);
            kubelet::assign(&self);
            if revisions.changed().await.is_err() {
                return;
            }
            sleep(Duration::from_millis(30)).await;
        }
    }

    /// The API server.
    pub fn api(&self) -> &ApiServer {
        &self.0.api
    }

    /// The names of all nodes.
    pub fn nodes(&self) -> Vec<String> {
        self.0.nodes.keys().cloned().collect()
    }

    /// The node a pod is on.
    pub fn node_of(&self, namespace: &str, pod: &str) -> Option<String> {
        self.0.api.find("pods", namespace, pod)?["spec"]["nodeName"].as_str().map(str::to_owned)
    }

    /// Takes the power from a node: its containers are gone at once and nobody says so.
    pub fn power_off(&self, node: &str) {
        self.0.history.note("fault", format!("node {node} loses power"));
        self.0.nodes[node].send_replace(false);
    }

    /// Gives the power back.
    pub fn power_on(&self, node: &str) {
        self.0.history.note("fault", format!("node {node} has power again"));
        self.0.nodes[node].send_replace(true);
    }

    /// Kills the process of a pod's container (SIGKILL); the kubelet restarts it. False when nothing runs there.
    pub fn kill_container(&self, namespace: &str, pod: &str) -> bool {
        self.0.history.note("fault", format!("the container of {pod} is killed"));
        let Some(object) = self.0.api.find("pods", namespace, pod) else { return false };
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
        self.0.workers.lock().unwrap().get(uid).is_some_and(|worker| worker.send(Order::Kill).is_ok())
    }
}
