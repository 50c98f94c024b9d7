//! Kubelets: one worker for each pod on a node that has power.

use super::{
    Cluster, Container, node,
    pod_status::{Phase, is_over, report, report_readiness},
};
use crate::world::random::Random;
use futures::future::BoxFuture;
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

/// Back-off of restarts: the first is at once, then 10 s doubling to this.
const MAX_BACK_OFF: Duration = Duration::from_secs(300);
/// A container that ran so long is restarted at once again.
const BACK_OFF_RESET: Duration = Duration::from_secs(600);
/// Exit code of a killed process.
const KILLED: i32 = 137;
/// Exit code of a process that was not seen to end.
const LOST: i32 = 255;

/// What a worker can be told from outside.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// SIGKILL to the container.
    Kill,
}

/// Starts a worker for each pod that is on a node with power and has none.
pub fn assign(cluster: &Cluster) {
    let mut workers = cluster.0.workers.lock().unwrap();
    for pod in cluster.api().all("pods", "") {
        let (Some(uid), Some(node)) = (pod["metadata"]["uid"].as_str(), pod["spec"]["nodeName"].as_str()) else {
            continue;
        };
        if is_over(&pod) {
            if pod["metadata"]["deletionTimestamp"].is_string() {
                let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
                remove(cluster, node, text("namespace"), text("name"));
            }
            continue;
        }
        let ready = cluster.api().find("nodes", "", node).is_some_and(|node| node::is_ready(&node));
        if workers.contains_key(uid) || !ready || !cluster.0.nodes.get(node).is_some_and(|power| *power.borrow()) {
            continue;
        }
        let (orders, inbox) = mpsc::unbounded_channel();
        workers.insert(uid.to_owned(), orders);
        let worker = Worker::new(cluster.clone(), &pod, node);
        tokio::spawn(worker.live(inbox));
    }
}

/// A pod of which nothing is left goes.
fn remove(cluster: &Cluster, node: &str, namespace: &str, pod: &str) {
    cluster.api().remove(&format!("kubelet {node}"), "pods", namespace, pod, Some(0));
}

struct Worker {
    cluster: Cluster,
    container: Container,
    random: Random,
    back_off: Duration,
}

/// Why a container's life ended.
enum End {
    Exited(i32),
    PodGone,
}

impl Worker {
    fn new(cluster: Cluster, pod: &Value, node: &str) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let volumes = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
        let claims: BTreeMap<_, _> = volumes
            .iter()
            .filter(|volume| volume["persistentVolumeClaim"].is_object())
            .map(|volume| (text(&volume["name"]), text(&volume["persistentVolumeClaim"]["claimName"])))
            .collect();
        let container = Container {
            namespace: text(&pod["metadata"]["namespace"]),
            pod: text(&pod["metadata"]["name"]),
            uid: text(&pod["metadata"]["uid"]),
            node: node.into(),
            restart: pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or_default(),
            claims,
            object: pod.clone().into(),
        };
        let random = cluster.0.random.fork(&container.uid);
        Self { cluster, container, random, back_off: Duration::ZERO }
    }

    /// The pod on this node, until it is gone or the power is.
    async fn live(mut self, mut inbox: mpsc::UnboundedReceiver<Order>) {
        let cluster = self.cluster.clone();
        let (node, uid) = (self.container.node.clone(), self.container.uid.clone());
        let mut power = cluster.0.nodes[&node].subscribe();
        let off = async move {
            let _ = power.wait_for(|on| !*on).await;
        };
        tokio::select! {
            biased;
            () = off => {}
            () = self.run(&mut inbox) => {}
        }
        cluster.0.host.kill(&self.container);
        cluster.0.workers.lock().unwrap().remove(&uid);
    }

    fn delay(&mut self, from: u64, to: u64) -> Duration {
        self.random.between(Duration::from_millis(from), Duration::from_millis(to))
    }

    async fn run(&mut self, inbox: &mut mpsc::UnboundedReceiver<Order>) {
        if self.container.object["status"]["containerStatuses"][0]["state"]["running"].is_object() {
            self.exited(LOST);
            if self.is_over() {
                return;
            }
            self.container.restart += 1;
        }
        report(self.cluster.api(), &self.container, &Phase::Waiting("PodInitializing".into()));
        let pull = self.delay(200, 900);
        if self.pause(pull).await || self.prepare().await {
            return;
        }
        loop {
            let began = Instant::now();
            match self.run_container(inbox).await {
                End::PodGone => return,
                End::Exited(code) => {
                    let notice = self.delay(100, 1000);
                    sleep(notice).await;
                    self.exited(code);
                }
            }
            if self.is_over() {
                return;
            }
            if self.wait_back_off(began.elapsed()).await {
                return;
            }
            self.container.restart += 1;
        }
    }

    fn remove(&self) {
        remove(&self.cluster, &self.container.node, &self.container.namespace, &self.container.pod);
    }

    fn exited(&self, code: i32) {
        let words = self.cluster.0.host.last_words(&self.container);
        report(self.cluster.api(), &self.container, &Phase::Exited { code, words });
    }

    /// Whether the container is not to be started again.
    fn is_over(&self) -> bool {
        self.pod().is_none_or(|pod| is_over(&pod))
    }

    /// Init containers, until they succeed; true when the pod is gone.
    async fn prepare(&mut self) -> bool {
        loop {
            match self.cluster.0.host.prepare(&self.container).await {
                Ok(()) => return false,
                Err(why) => {
                    let who = format!("kubelet {}", self.container.node);
                    self.cluster.0.history.note(who, format!("init container of {}: {why}", self.container.pod));
                    if self.pause(Duration::from_secs(10)).await {
                        return true;
                    }
                }
            }
        }
    }

    async fn run_container(&mut self, inbox: &mut mpsc::UnboundedReceiver<Order>) -> End {
        if let Some(pod) = self.pod() {
            self.container.object = pod;
        }
        while inbox.try_recv().is_ok() {}
        let mut process = self.cluster.0.host.start(&self.container);
        report(self.cluster.api(), &self.container, &Phase::Running { started: false });
        let started_at = Instant::now() + self.delay(300, 1200);
        let mut started = false;
        let mut revisions = self.cluster.api().watch_workload();
        loop {
            revisions.borrow_and_update();
            match self.pod() {
                None => return End::PodGone,
                Some(pod) if pod["metadata"]["deletionTimestamp"].is_string() => {
                    self.terminate(&pod, &mut process).await;
                    return End::PodGone;
                }
                Some(_) if started => report_readiness(self.cluster.api(), &self.container),
                Some(_) => {}
            }
            tokio::select! {
                biased;
                Some(Order::Kill) = inbox.recv() => {
                    self.cluster.0.host.kill(&self.container);
                    return End::Exited(KILLED);
                }
                code = &mut process => return End::Exited(code),
                () = tokio::time::sleep_until(started_at), if !started => {
                    started = true;
                    report(self.cluster.api(), &self.container, &Phase::Running { started });
                }
                _ = revisions.changed() => {}
            }
        }
    }

    /// The pod, while it is the same one.
    fn pod(&self) -> Option<Arc<Value>> {
        let pod = self.cluster.api().find("pods", &self.container.namespace, &self.container.pod)?;
        (pod["metadata"]["uid"] == self.container.uid.as_str()).then_some(pod)
    }

    /// preStop, SIGTERM, SIGKILL at the end of the grace period; then the pod object goes.
    async fn terminate(&mut self, pod: &Value, process: &mut BoxFuture<'static, i32>) {
        let grace = Duration::from_secs(pod["metadata"]["deletionGracePeriodSeconds"].as_u64().unwrap_or(30));
        let hook =
            pod["spec"]["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap_or_default();
        let hook = Duration::from_secs(hook).min(grace);
        let left = grace.saturating_sub(hook).max(Duration::from_secs(2));
        let exit = timeout(hook, &mut *process).await;
        if exit.is_err() {
            self.cluster.0.host.stop(&self.container);
            if timeout(left, &mut *process).await.is_err() {
                self.cluster.0.host.kill(&self.container);
            }
        }
        self.remove();
    }

    /// Waits before a restart; true when the pod is gone.
    async fn wait_back_off(&mut self, ran: Duration) -> bool {
        if ran >= BACK_OFF_RESET {
            self.back_off = Duration::ZERO;
        }
        let wait = self.back_off.max(self.random.between(Duration::from_millis(200), Duration::from_millis(600)));
        self.back_off =
            if self.back_off.is_zero() { Duration::from_secs(10) } else { (self.back_off * 2).min(MAX_BACK_OFF) };
        if wait >= Duration::from_secs(10) {
            report(self.cluster.api(), &self.container, &Phase::Waiting("CrashLoopBackOff".into()));
        }
        self.pause(wait).await
    }

    /// Sleeps; true when the pod was deleted meanwhile (its object is then removed).
    async fn pause(&mut self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut revisions = self.cluster.api().watch_workload();
        loop {
            revisions.borrow_and_update();
            match self.pod() {
                None => return true,
                Some(pod) if pod["metadata"]["deletionTimestamp"].is_string() => {
                    self.remove();
                    return true;
                }
                Some(_) => {}
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(until) => return false,
                _ = revisions.changed() => {}
            }
        }
    }
}
