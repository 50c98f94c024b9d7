//! The stage of a story: a control plane with nodes, instances, a network, operators and clients.
//!
//! | File | What it does |
//! |---|---|
//! | [`operator`] | starts, stops, crashes and cuts off operators |
//! | [`faults`] | what may go wrong with replicas and nodes |
//! | [`clients`] | writers with a ledger |
//! | [`ledger`] | what was acknowledged, and by whom; the rules for it |
//! | [`ends`] | how a story ends: ready, at rest, accounts settled |
//! | [`upgrade`] | a staged upgrade: a second group, two versions of an application, a script |
//! | [`log`] | what operator and instances log goes into the history |

pub mod clients;
pub mod ends;
pub mod faults;
pub mod ledger;
pub mod log;
pub mod operator;
pub mod upgrade;

use crate::world::{
    ControlPlane,
    cluster::{Cluster, resolve},
    containers::Containers,
    sql_host::SqlHost,
};
use ledger::Ledger;
use operator::Operator;
use serde_json::{Value, json};
use standin::{
    faults::{FailoverEngine, Faults, Switches},
    sim::SimNet,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::Duration,
};
use tokio::time::sleep;

/// Time between two looks of a story that waits.
const LOOK: Duration = Duration::from_millis(50);

/// So many seconds.
pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Plays a story on a paused clock of its own; with its end everything in it ends, so that the next one starts in peace.
pub fn in_a_world_of_its_own<T>(story: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(story)
}

/// Plays a story with each guess of how FAILOVER works inside.
pub fn with_each_engine<F: Future<Output = ()>>(story: impl Fn(FailoverEngine) -> F) {
    for engine in FailoverEngine::ALL {
        in_a_world_of_its_own(story(engine));
    }
}

/// What a story begins with.
pub struct Setup {
    /// Seed of everything.
    pub seed: u64,
    /// Switches of the instances.
    pub switches: Switches,
    /// The manifest.
    pub wish: Value,
}

impl Setup {
    /// Three synchronous replicas.
    pub fn new(seed: u64) -> Self {
        Self { seed, switches: Switches::default(), wish: wish(3) }
    }

    /// How FAILOVER works inside.
    pub fn engine(self, engine: FailoverEngine) -> Self {
        self.switch(|switches| switches.failover = engine)
    }

    /// Turns switches of the instances.
    pub fn switch(mut self, turn: impl FnOnce(&mut Switches)) -> Self {
        turn(&mut self.switches);
        self
    }

    /// Changes the spec.
    pub fn spec(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.wish["spec"]);
        self
    }
}

/// See the module.
pub struct Stage {
    pub plane: ControlPlane,
    pub cluster: Cluster,
    pub net: SimNet,
    pub host: SqlHost,
    pub ledger: Ledger,
    wish: Mutex<Value>,
    operators: Mutex<BTreeMap<String, Operator>>,
    lives: AtomicU64,
    _log: log::Guard,
}

impl Stage {
    /// A stage without an operator.
    pub fn empty(setup: Setup) -> Self {
        let Setup { seed, switches, wish } = setup;
        let plane = ControlPlane::start(seed);
        let log = log::start(&plane.history);
        for (_, crd) in quorate::api::crds().unwrap() {
            plane.api.install(&crd);
        }
        let net = SimNet::new(seed);
        let api = plane.api.clone();
        net.set_resolver(move |name| resolve::resolve(&api, name));
        let host = SqlHost::new(plane.api.clone(), plane.history.clone(), net.clone(), Faults::new(switches), seed);
        let cluster = Cluster::start(&plane, Arc::new(Containers::new(host.clone(), net.clone())));
        let ledger = Ledger::new(plane.clock, plane.history.clone());
        let (operators, lives) = (Mutex::default(), AtomicU64::new(0));
        Self { plane, cluster, net, host, ledger, wish: Mutex::new(wish), operators, lives, _log: log }
    }

    /// A stage with one operator and the wish applied.
    pub fn new(setup: Setup) -> Self {
        let stage = Self::empty(setup);
        stage.start("operator");
        stage.apply();
        stage
    }

    /// A stage whose group is ready.
    pub async fn ready(setup: Setup) -> Self {
        let stage = Self::new(setup);
        stage.becomes_ready().await;
        stage
    }

    /// Applies the wish.
    pub fn apply(&self) {
        self.plane.api.kubectl_apply(&self.wish.lock().unwrap()).unwrap();
    }

    /// Applies the wish with other values.
    pub fn change(&self, change: impl FnOnce(&mut Value)) {
        change(&mut self.wish.lock().unwrap()["spec"]);
        self.apply();
    }

    /// The spec that was applied last.
    pub fn spec(&self) -> Value {
        self.wish.lock().unwrap()["spec"].clone()
    }

    /// Names of the pods that hold the data.
    pub fn replicas(&self) -> Vec<String> {
        let count = self.spec()["synchronous"]["replicas"].as_u64().unwrap_or_default();
        (0..count).map(|ordinal| format!("orders-{ordinal}")).collect()
    }

    /// Names of all pods.
    pub fn pods(&self) -> Vec<String> {
        let mut pods = self.replicas();
        let witness = self.spec()["configurationOnly"]["replicas"] == 1;
        pods.extend(witness.then(|| "orders-c-0".to_owned()));
        pods
    }

    /// The group as it is.
    pub fn group(&self) -> Arc<Value> {
        self.plane.api.find("availabilitygroups", "shop", "orders").unwrap_or_default()
    }

    /// The record of elections.
    pub fn election(&self) -> Value {
        self.group()["status"]["election"].clone()
    }

    /// Status and reason of a condition.
    pub fn condition(&self, kind: &str) -> Option<(String, String)> {
        condition_of(&self.group(), kind)
    }

    /// Whether the group is ready.
    pub fn is_ready(&self) -> bool {
        self.condition("Ready").is_some_and(|(status, _)| status == "True")
    }

    /// The primary in the status.
    pub fn primary(&self) -> String {
        self.group()["status"]["primary"].as_str().unwrap_or_default().to_owned()
    }

    /// The pod that the Service for writers selects.
    pub fn routed(&self) -> String {
        let service = self.plane.api.find("services", "shop", "orders-rw").unwrap_or_default();
        service["spec"]["selector"]["statefulset.kubernetes.io/pod-name"].as_str().unwrap_or_default().to_owned()
    }

    /// Asks for a switchover.
    pub fn ask(&self, name: &str, target: &str) {
        let request = json!({
            "apiVersion": "quorate.dev/v1alpha1", "kind": "Failover",
            "metadata": { "name": name, "namespace": "shop" },
            "spec": { "availabilityGroup": "orders", "mode": "Planned", "target": target },
        });
        self.plane.api.kubectl_apply(&request).unwrap();
    }

    /// Accepts data loss.
    pub fn force(&self, name: &str, target: &str, epoch: u64, resume: bool) {
        let request = json!({
            "apiVersion": "quorate.dev/v1alpha1", "kind": "Failover",
            "metadata": { "name": name, "namespace": "shop" },
            "spec": {
                "availabilityGroup": "orders", "mode": "Forced", "target": target, "expectedEpoch": epoch,
                "acceptDataLoss": "I accept data loss in orders", "resumeDatabases": resume,
            },
        });
        self.plane.api.kubectl_apply(&request).unwrap();
    }

    /// Sentences of the events with this reason.
    pub fn events(&self, reason: &str) -> Vec<String> {
        let events = self.plane.api.all("events", "shop");
        let ours = events.iter().filter(|event| event["reason"] == reason);
        ours.map(|event| event["note"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// How a request ended; nothing while it is not finished.
    pub fn answer(&self, name: &str) -> Option<bool> {
        let request = self.plane.api.find("failovers", "shop", name)?;
        match condition_of(&request, "Succeeded")?.0.as_str() {
            "True" => Some(true),
            "False" => Some(false),
            _ => None,
        }
    }

    /// Waits until something holds; returns how long it took.
    pub async fn until(&self, what: &str, within: Duration, holds: impl Fn(&Self) -> bool) -> Duration {
        let from = self.plane.clock.elapsed();
        while !holds(self) {
            self.keeps_the_rules();
            let took = self.plane.clock.elapsed() - from;
            if took >= within {
                self.fail(&format!("not within {within:?}: {what}"));
            }
            sleep(LOOK).await;
        }
        self.keeps_the_rules();
        self.plane.clock.elapsed() - from
    }

    /// Lets time pass.
    pub async fn pass(&self, time: Duration) {
        sleep(time).await;
        self.keeps_the_rules();
    }

    /// Fails with the whole history when a rule was broken.
    pub fn keeps_the_rules(&self) {
        let broken = self.plane.history.broken();
        if let Some(first) = broken.first() {
            self.fail(first);
        }
    }

    /// Fails unless it holds.
    pub fn check(&self, holds: bool, what: &str) {
        if !holds {
            self.fail(what);
        }
    }

    /// Fails with the whole history.
    pub fn fail(&self, what: &str) -> ! {
        panic!("{}\n{:#}\nfailed: {what}", self.plane.history.text(), self.group()["status"])
    }
}

/// Status and reason of a condition of an object.
pub fn condition_of(object: &Value, kind: &str) -> Option<(String, String)> {
    let conditions = object["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == kind)?;
    Some((found["status"].as_str()?.to_owned(), found["reason"].as_str()?.to_owned()))
}

fn wish(replicas: u64) -> Value {
    json!({
        "apiVersion": "quorate.dev/v1alpha1", "kind": "AvailabilityGroup",
        "metadata": { "name": "orders", "namespace": "shop" },
        "spec": {
            "acceptEula": true,
            "image": "mcr.microsoft.com/mssql/server:2022-CU16-ubuntu-22.04",
            "synchronous": { "replicas": replicas },
            "databases": [{ "name": "orders" }],
            "storage": { "size": "1Gi" },
            "resources": { "limits": { "memory": "2Gi" } },
        },
    })
}
