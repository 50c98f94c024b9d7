//! The nodes and controllers of the world behave as real ones where the operator could tell the difference.

use crate::world::{
    ControlPlane,
    cluster::{
        Cluster, Container, ContainerHost,
        pod_status::{condition, set_condition},
        resolve::{NOBODY, resolve},
    },
};
use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{sync::Notify, time::sleep};

/// Containers without processes: it only remembers what was asked.
#[derive(Default)]
struct Idle {
    calls: Mutex<Vec<String>>,
    exits: Mutex<BTreeMap<String, Arc<Notify>>>,
}

impl Idle {
    fn note(&self, what: &str, container: &Container) {
        self.calls.lock().unwrap().push(format!("{what} {} {}", container.pod, container.restart));
    }

    fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }
}

impl ContainerHost for Idle {
    fn prepare(&self, container: &Container) -> BoxFuture<'static, Result<(), String>> {
        self.note("prepare", container);
        async { Ok(()) }.boxed()
    }

    fn start(&self, container: &Container) -> BoxFuture<'static, i32> {
        self.note("start", container);
        let exit = Arc::new(Notify::new());
        self.exits.lock().unwrap().insert(container.uid.clone(), exit.clone());
        async move {
            exit.notified().await;
            0
        }
        .boxed()
    }

    fn stop(&self, container: &Container) {
        self.note("stop", container);
        if let Some(exit) = self.exits.lock().unwrap().get(&container.uid) {
            exit.notify_one();
        }
    }

    fn kill(&self, container: &Container) {
        self.note("kill", container);
    }

    fn last_words(&self, _: &Container) -> Option<String> {
        None
    }
}

struct Stage {
    plane: ControlPlane,
    cluster: Cluster,
    host: Arc<Idle>,
}

/// A stage with a StatefulSet `s` of three, all pods running.
async fn stage() -> Stage {
    let plane = ControlPlane::start(1);
    let host = Arc::new(Idle::default());
    let cluster = Cluster::start(&plane, host.clone());
    plane.api.kubectl_apply(&set(3)).unwrap();
    sleep(Duration::from_secs(5)).await;
    Stage { plane, cluster, host }
}

fn set(replicas: u32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "s", "namespace": "shop"}, "spec": {
        "serviceName": "s-replicas", "replicas": replicas, "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "OnDelete"}, "selector": {"matchLabels": {"app": "s"}},
        "template": {"metadata": {"labels": {"app": "s"}}, "spec": {
            "terminationGracePeriodSeconds": 120,
            "readinessGates": [{"conditionType": "example.org/serves"}],
            "containers": [{"name": "main", "image": "example:1"}]}},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}}]}})
}

impl Stage {
    fn pod(&self, name: &str) -> Arc<Value> {
        self.plane.api.find("pods", "shop", name).unwrap()
    }

    fn container(&self, name: &str) -> Value {
        self.pod(name)["status"]["containerStatuses"][0].clone()
    }

    fn open_gate(&self, name: &str) {
        set_condition(&self.plane.api, "test", "shop", name, "example.org/serves", true, "");
    }

    fn pods(&self) -> Vec<String> {
        let pods = self.plane.api.all("pods", "shop");
        pods.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_stateful_set_becomes_pods_on_three_nodes_with_claims() {
    let stage = stage().await;
    assert_eq!(stage.pods(), ["s-0", "s-1", "s-2"]);
    let mut nodes: Vec<_> = stage.pods().iter().filter_map(|pod| stage.cluster.node_of("shop", pod)).collect();
    nodes.sort();
    assert_eq!(nodes, stage.cluster.nodes());
    let pod = stage.pod("s-1");
    assert_eq!(pod["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"], "s-1");
    assert_eq!(pod["status"]["phase"], "Running");
    let claim = stage.plane.api.find("persistentvolumeclaims", "shop", "data-s-1").unwrap();
    assert_eq!(claim["status"]["phase"], "Bound");
    assert_eq!(stage.plane.api.find("statefulsets", "shop", "s").unwrap()["status"]["replicas"], 3);
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_ready_when_its_container_and_its_gate_are() {
    let stage = stage().await;
    assert_eq!(condition(&stage.pod("s-0"), "ContainersReady"), Some(true));
    assert_eq!(condition(&stage.pod("s-0"), "Ready"), Some(false));
    stage.open_gate("s-0");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(condition(&stage.pod("s-0"), "Ready"), Some(true));
    assert_eq!(stage.plane.api.find("statefulsets", "shop", "s").unwrap()["status"]["readyReplicas"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_killed_container_is_reported_and_restarted_with_back_off() {
    let stage = stage().await;
    assert!(stage.cluster.kill_container("shop", "s-0"));
    sleep(Duration::from_secs(5)).await;
    let status = stage.container("s-0");
    assert_eq!((&status["restartCount"], &status["ready"]), (&json!(1), &json!(true)));
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 137);
    stage.cluster.kill_container("shop", "s-0");
    sleep(Duration::from_secs(5)).await;
    assert_eq!(stage.container("s-0")["state"]["waiting"]["reason"], "CrashLoopBackOff");
    sleep(Duration::from_secs(10)).await;
    assert_eq!(stage.container("s-0")["restartCount"], 2);
    assert_eq!(stage.host.calls().iter().filter(|call| call.starts_with("start s-0")).count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_pod_is_stopped_and_made_again_on_its_node() {
    let stage = stage().await;
    let (before, node) = (stage.pod("s-2"), stage.cluster.node_of("shop", "s-2"));
    stage.plane.api.remove("test", "pods", "shop", "s-2", None);
    sleep(Duration::from_secs(5)).await;
    assert_ne!(stage.pod("s-2")["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(stage.cluster.node_of("shop", "s-2"), node);
    assert!(stage.host.calls().contains(&"stop s-2 0".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn scaling_down_takes_the_highest_and_keeps_its_claim() {
    let stage = stage().await;
    stage.plane.api.kubectl_apply(&set(2)).unwrap();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(stage.pods(), ["s-0", "s-1"]);
    assert!(stage.plane.api.find("persistentvolumeclaims", "shop", "data-s-2").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_node_without_power_is_noticed_late_and_its_pod_stays() {
    let stage = stage().await;
    let node = stage.cluster.node_of("shop", "s-0").unwrap();
    stage.open_gate("s-0");
    sleep(Duration::from_secs(1)).await;
    let ready =
        |node: &str| stage.plane.api.find("nodes", "", node).unwrap()["status"]["conditions"][0]["status"].clone();
    stage.cluster.power_off(&node);
    sleep(Duration::from_secs(30)).await;
    assert_eq!((ready(&node), condition(&stage.pod("s-0"), "Ready")), (json!("True"), Some(true)));
    sleep(Duration::from_secs(15)).await;
    assert_eq!((ready(&node), condition(&stage.pod("s-0"), "Ready")), (json!("Unknown"), Some(false)));
    stage.cluster.power_on(&node);
    sleep(Duration::from_secs(15)).await;
    assert_eq!(ready(&node), "True");
    assert_eq!(stage.container("s-0")["restartCount"], 1);
    assert_eq!(stage.container("s-0")["lastState"]["terminated"]["exitCode"], 255);
    assert_eq!(condition(&stage.pod("s-0"), "Ready"), Some(true));
}

#[tokio::test(start_paused = true)]
async fn names_lead_to_pods_as_services_select_them() {
    let stage = stage().await;
    let service = |name: &str, spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"}, "spec": spec});
    let headless = json!({"clusterIP": "None", "publishNotReadyAddresses": true, "selector": {"app": "s"}, "ports": [{"port": 1433}]});
    stage.plane.api.kubectl_apply(&service("s-replicas", headless)).unwrap();
    let one = json!({"selector": {"statefulset.kubernetes.io/pod-name": "s-1"}, "ports": [{"port": 1433}]});
    stage.plane.api.kubectl_apply(&service("s-rw", one)).unwrap();
    let find = |name: &str| resolve(&stage.plane.api, name);
    assert_eq!(find("s-2.s-replicas.shop.svc.cluster.local").as_deref(), Some("s-2"));
    assert_eq!(find("s-9.s-replicas.shop.svc"), None);
    assert_eq!(find("s-rw.shop.svc").as_deref(), Some(NOBODY));
    stage.open_gate("s-1");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(find("s-rw.shop.svc").as_deref(), Some("s-1"));
    let address = stage.pod("s-0")["status"]["podIP"].as_str().unwrap().to_owned();
    assert_eq!(find(&address).as_deref(), Some("s-0"));
}

#[tokio::test(start_paused = true)]
async fn an_idle_cluster_writes_nothing() {
    let stage = stage().await;
    sleep(Duration::from_secs(10)).await;
    let revision = stage.plane.api.revision();
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(stage.plane.api.revision(), revision);
}
