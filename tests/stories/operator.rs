//! The whole operator, as it is shipped, over the world's control plane and stand-in instances.

use crate::world::{
    ControlPlane,
    cluster::{Cluster, resolve},
    sql_host::SqlHost,
};
use futures::{FutureExt, future::BoxFuture};
use quorate::{
    controller::{self, Options},
    sql::{Dial, Stream},
    telemetry::Health,
};
use serde_json::{Value, json};
use standin::{
    faults::{Faults, Switches},
    net::SharedNetwork,
    sim::SimNet,
};
use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::oneshot, time::sleep};

struct Wire(SharedNetwork);

impl Dial for Wire {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Stream>> {
        async move { Ok(Box::new(self.0.dial(host, port).await?) as Stream) }.boxed()
    }
}

/// A control plane with nodes, instances, a network and one operator.
struct Stage {
    plane: ControlPlane,
    cluster: Cluster,
    net: SimNet,
    operator: Mutex<Option<(oneshot::Sender<()>, tokio::task::JoinHandle<quorate::leader::End>)>>,
    lives: AtomicU64,
}

impl Stage {
    fn new(seed: u64) -> Self {
        if let Ok(filter) = std::env::var("STORY_LOG") {
            let _ = quorate::telemetry::start(&filter, quorate::telemetry::Format::Text);
        }
        let plane = ControlPlane::start(seed);
        for (_, crd) in quorate::api::crds().unwrap() {
            plane.api.install(&crd);
        }
        let net = SimNet::new(seed);
        let api = plane.api.clone();
        net.set_resolver(move |name| resolve::resolve(&api, name));
        let faults = Faults::new(Switches::default());
        let host = SqlHost::new(plane.api.clone(), plane.history.clone(), net.clone(), faults, seed);
        let cluster = Cluster::start(&plane, Arc::new(host));
        let stage = Self { plane, cluster, net, operator: Mutex::default(), lives: AtomicU64::new(0) };
        stage.start();
        stage
    }

    /// Starts the operator.
    fn start(&self) {
        let life = self.lives.fetch_add(1, Ordering::Relaxed);
        let clock = self.plane.clock;
        let bytes = AtomicU64::new(life << 32);
        let random = move || {
            let number = bytes.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            std::array::from_fn(|at| (number >> (at % 8 * 8)) as u8 ^ at as u8)
        };
        let options = Options {
            client: self.plane.api.client("operator"),
            dialer: Arc::new(Wire(self.net.host("operator"))),
            identity: format!("operator-{life}"),
            namespace: None,
            lease_namespace: "default".into(),
            prepare_image: "quorate:1".into(),
            health: Arc::new(Health::default()),
            wall: Arc::new(move || clock.now()),
            random: Arc::new(random),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let run = tokio::spawn(controller::run(options, async {
            // A sender that is gone stops it too.
            let _ = stopped.await;
        }));
        *self.operator.lock().unwrap() = Some((stop, run));
    }

    /// Stops the operator as SIGTERM does.
    async fn stop(&self) -> quorate::leader::End {
        let (stop, run) = self.operator.lock().unwrap().take().unwrap();
        let _ = stop.send(());
        run.await.unwrap()
    }

    fn apply(&self) {
        self.plane.api.kubectl_apply(&wish()).unwrap();
    }

    fn group(&self) -> Value {
        self.plane.api.find("availabilitygroups", "shop", "orders").unwrap_or_default()
    }

    fn condition(&self, kind: &str) -> Option<String> {
        let group = self.group();
        let conditions = group["status"]["conditions"].as_array()?;
        Some(conditions.iter().find(|condition| condition["type"] == kind)?["status"].as_str()?.to_string())
    }

    fn primary(&self) -> String {
        self.group()["status"]["primary"].as_str().unwrap_or_default().to_string()
    }

    fn routed(&self) -> String {
        let service = self.plane.api.find("services", "shop", "orders-rw").unwrap_or_default();
        service["spec"]["selector"]["statefulset.kubernetes.io/pod-name"].as_str().unwrap_or_default().to_string()
    }

    /// Waits until something holds; returns how long it took.
    async fn until(&self, what: &str, within: Duration, holds: impl Fn(&Self) -> bool) -> Duration {
        let from = self.plane.clock.elapsed();
        while !holds(self) {
            let took = self.plane.clock.elapsed() - from;
            assert!(took < within, "not within {within:?}: {what}\n{:#}\n{}", self.group(), self.plane.history.text());
            sleep(Duration::from_millis(20)).await;
        }
        self.plane.clock.elapsed() - from
    }

    async fn ready(&self) {
        self.until("ready", Duration::from_secs(120), |stage| stage.condition("Ready").as_deref() == Some("True"))
            .await;
    }
}

fn wish() -> Value {
    json!({
        "apiVersion": "quorate.dev/v1alpha1", "kind": "AvailabilityGroup",
        "metadata": { "name": "orders", "namespace": "shop" },
        "spec": {
            "acceptEula": true,
            "image": "mcr.microsoft.com/mssql/server:2022-CU16-ubuntu-22.04",
            "synchronous": { "replicas": 3 },
            "databases": [{ "name": "orders" }],
            "storage": { "size": "1Gi" },
            "resources": { "limits": { "memory": "2Gi" } },
        },
    })
}

#[tokio::test(start_paused = true)]
async fn one_manifest_becomes_a_group_that_is_ready_and_then_at_rest() {
    let stage = Stage::new(1);
    stage.apply();
    stage.ready().await;
    assert_eq!((stage.primary(), stage.routed()), ("orders-0".into(), "orders-0".into()));
    sleep(Duration::from_secs(10)).await;
    let from = stage.plane.clock.elapsed();
    sleep(Duration::from_secs(120)).await;
    let writes = stage.plane.api.writes_since("operator", from);
    assert!(writes.is_empty(), "{writes:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_killed_primary_is_replaced_and_routed_around_within_five_seconds() {
    let stage = Stage::new(2);
    stage.apply();
    stage.ready().await;
    assert!(stage.cluster.kill_container("shop", "orders-0"));
    let took = stage.until("routed elsewhere", Duration::from_secs(30), |stage| stage.routed() != "orders-0").await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    stage.ready().await;
    let group = stage.group();
    assert_eq!(group["status"]["lastFailover"]["kind"], "Unplanned");
    assert_eq!(group["status"]["lastFailover"]["from"], "orders-0");
    assert_eq!(stage.primary(), stage.routed());
}

#[tokio::test(start_paused = true)]
async fn an_operator_that_is_told_to_stop_hands_over_within_two_seconds() {
    let stage = Stage::new(3);
    stage.apply();
    stage.ready().await;
    let from = stage.plane.clock.elapsed();
    assert_eq!(stage.stop().await, quorate::leader::End::Released);
    assert!(stage.plane.clock.elapsed() - from < Duration::from_secs(2));
    stage.start();
    assert!(stage.cluster.kill_container("shop", "orders-0"));
    // Its container is back before anybody leads: whoever holds the highest number may be elected, it too.
    let settled = |stage: &Stage| {
        let election = stage.group()["status"]["election"].clone();
        election["epoch"].as_u64() > Some(1) && election["state"] == "Settled"
    };
    stage.until("another election settled", Duration::from_secs(30), settled).await;
    stage.ready().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_moves_the_primary() {
    let stage = Stage::new(4);
    stage.apply();
    stage.ready().await;
    let request = json!({
        "apiVersion": "quorate.dev/v1alpha1", "kind": "Failover",
        "metadata": { "name": "now", "namespace": "shop" },
        "spec": { "availabilityGroup": "orders", "mode": "Planned", "target": "orders-2" },
    });
    stage.plane.api.kubectl_apply(&request).unwrap();
    stage.until("switched over", Duration::from_secs(30), |stage| stage.routed() == "orders-2").await;
    let succeeded = |stage: &Stage| {
        let request = stage.plane.api.find("failovers", "shop", "now").unwrap_or_default();
        let conditions = request["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|condition| condition["type"] == "Succeeded" && condition["status"] == "True")
    };
    stage.until("answered", Duration::from_secs(30), succeeded).await;
    stage.ready().await;
}
