//! A staged upgrade on the stage: group `orders-v2` beside `orders`, two versions of an application, the script, and users
//! who come in by the front Service.

use super::{
    Setup, Stage,
    clients::{Client, Connection, Writer},
    seconds,
};
use crate::world::apiserver::ApiServer;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// Production and stage: group, Service of the application.
pub const SLOTS: [(&str, &str); 2] = [("orders", "shop-v1"), ("orders-v2", "shop-v2")];
/// Their copies in another region.
pub const FAR: [(&str, &str); 2] = [("orders-dr", "shop-dr"), ("orders-v2-dr", "shop-v2-dr")];
/// The Service that users reach.
const FRONT: &str = "shop";
/// Time between two writes of a user.
const OFTEN: Duration = Duration::from_millis(100);
/// Steps are looked for so often: none is shorter.
const LOOK: Duration = Duration::from_millis(2);
/// Steps in which production is fenced and nobody is left who could write.
const FROZEN: [&str; 8] =
    ["Synchronizing", "Terminating", "RunningScript", "Verifying", "Switching", "Soaking", "Retiring", "Succeeded"];

/// Whether no user may write on production (upgrade.md, invariant 1).
pub fn is_frozen(api: &ApiServer) -> bool {
    let upgrades = api.all("rollingupgrades", "shop");
    let record = |upgrade: &Value| upgrade["status"]["record"].clone();
    upgrades
        .iter()
        .map(|upgrade| record(upgrade))
        .any(|record| FROZEN.iter().any(|step| record["step"] == *step) && !is_expired(api, &record))
}

/// Whether the fence may have opened by itself: nobody was there to lift it in time.
fn is_expired(api: &ApiServer, record: &Value) -> bool {
    let since = record["readOnlySince"].as_i64().unwrap_or(i64::MAX);
    let allowed = record["inputs"]["wish"]["read_only"]["secs"].as_i64().unwrap_or(900);
    record["switching"] != true && api.clock().now().as_millisecond() > since.saturating_add((allowed + 30) * 1_000)
}

/// The ways of a user: into each version of the application, which has its own group.
pub struct Front {
    api: ApiServer,
    versions: [(String, Connection); 2],
}

impl Front {
    /// Needs both groups.
    pub fn new(stage: &Stage, name: &str) -> Self {
        let way = |(group, service): (&str, &str)| {
            (service.to_owned(), stage.connection(&format!("{name}-{service}"), &format!("{group}-rw.shop.svc")))
        };
        Self { api: stage.plane.api.clone(), versions: SLOTS.map(way) }
    }

    /// The way through the pods that users reach now. `None`: they reach nobody.
    pub fn now(&self) -> Option<&Connection> {
        // Before Quorate makes the front Service, users come in at the old version.
        let front = if self.api.find("services", "shop", FRONT).is_some() { FRONT } else { SLOTS[0].1 };
        let pod = crate::world::cluster::resolve::resolve(&self.api, &format!("{front}.shop.svc"))?;
        self.versions.iter().find(|(service, _)| pod.starts_with(service.as_str())).map(|(_, connection)| connection)
    }
}

/// The manifest of an upgrade, everything automatic.
pub fn upgrade() -> Value {
    let slot = |(group, endpoint): (&str, &str)| json!({ "availabilityGroup": group, "endpoint": endpoint });
    json!({
        "apiVersion": "quorate.dev/v1alpha1", "kind": "RollingUpgrade",
        "metadata": { "name": "shop-v2", "namespace": "shop" },
        "spec": {
            "production": slot(SLOTS[0]), "stage": slot(SLOTS[1]), "traffic": { "service": FRONT },
            "script": { "configMap": { "name": "shop-v2-sql" }, "timeoutSeconds": 120 },
            "verify": [{
                "database": "orders", "query": "SELECT COUNT(*) FROM sys.tables WHERE name = N'invoice'", "expect": "1",
            }],
            "readOnly": { "maximumSeconds": 300, "drainSeconds": 2 },
        },
    })
}

/// What the script does unless a story wants another one.
pub const SCRIPT: &str = "CREATE TABLE dbo.invoice (id bigint NOT NULL PRIMARY KEY);\nGO\n";

impl Stage {
    /// Two groups that are ready, both versions of the application, the script, and a user who writes.
    pub async fn staged(setup: Setup, script: &str) -> (Self, Writer) {
        let logins = json!([{
            "name": "shop", "passwordSecret": { "name": "shop-db", "key": "password" },
            "databases": [{ "name": "orders", "roles": ["db_datareader"] }],
        }]);
        let stage = Self::empty(setup.spec(|spec| spec["logins"] = logins));
        stage.with("v1", "Secret", "shop-db", ("stringData", json!({ "password": "Old-word-1" })));
        stage.with("v1", "ConfigMap", "shop-v2-sql", ("data", json!({ "01-invoice.sql": script })));
        SLOTS.iter().for_each(|(_, service)| stage.application(service, 2));
        stage.start("operator");
        stage.apply();
        stage.copy(SLOTS[1].0, 3);
        stage.becomes_ready().await;
        stage.until("the stage's group is ready", seconds(120), |stage| stage.is_whole(SLOTS[1].0)).await;
        let user = stage.user(1, OFTEN);
        stage.until("the first rows", seconds(10), |stage| stage.ledger.acknowledged() > 10).await;
        (stage, user)
    }

    /// Applies an object of the namespace with one field.
    fn with(&self, version: &str, kind: &str, name: &str, (field, value): (&str, Value)) {
        let mut object =
            json!({ "apiVersion": version, "kind": kind, "metadata": { "name": name, "namespace": "shop" } });
        object[field] = value;
        self.plane.api.kubectl_apply(&object).unwrap();
    }

    /// A version of the application: so many pods, and the Service that leads to them.
    pub fn application(&self, service: &str, replicas: u32) {
        let labels = json!({ "app": service });
        let ports = json!([{ "name": "http", "port": 80 }]);
        self.with("v1", "Service", service, ("spec", json!({ "selector": labels, "ports": ports })));
        let template = json!({
            "metadata": { "labels": labels },
            "spec": { "terminationGracePeriodSeconds": 0, "containers": [{ "name": "shop", "image": "shop:1" }] },
        });
        let spec = json!({
            "replicas": replicas, "serviceName": service, "selector": { "matchLabels": labels }, "template": template,
        });
        self.with("apps/v1", "StatefulSet", service, ("spec", spec));
    }

    /// A group without databases of its own.
    fn copy(&self, name: &str, replicas: u64) {
        let mut group = super::wish(replicas);
        group["metadata"]["name"] = name.into();
        group["spec"]["databases"] = json!([]);
        self.plane.api.kubectl_apply(&group).unwrap();
    }

    /// The same with copies of both in another region.
    pub async fn in_two_regions(setup: Setup, script: &str) -> (Self, Writer) {
        let (stage, user) = Self::staged(setup, script).await;
        for (group, service) in FAR {
            stage.application(service, 2);
            stage.copy(group, 2);
        }
        let whole = |stage: &Self| FAR.iter().all(|(group, _)| stage.is_whole(group));
        stage.until("the other region's groups are ready", seconds(120), whole).await;
        (stage, user)
    }

    /// A user who comes in by the front Service and reads; at the end, the longest time that it could not.
    pub fn reader(&self, number: i64) -> Client<Duration> {
        let front = Front::new(self, &format!("reader-{number}"));
        let clock = self.plane.clock;
        Client::start(|stop| async move {
            let (mut last, mut longest) = (clock.elapsed(), Duration::ZERO);
            while !stop.was_told() {
                let read = match front.now() {
                    Some(connection) => connection.run("SELECT COUNT(*) FROM dbo.ledger").await.is_ok(),
                    None => false,
                };
                longest = longest.max(clock.elapsed() - last);
                if read {
                    last = clock.elapsed();
                }
                sleep(OFTEN).await;
            }
            longest
        })
    }

    /// Applies the upgrade, changed.
    pub fn upgrade(&self, change: impl FnOnce(&mut Value)) {
        let mut upgrade = upgrade();
        change(&mut upgrade["spec"]);
        self.plane.api.kubectl_apply(&upgrade).unwrap();
    }

    /// The upgrade as it is.
    pub fn rolling_upgrade(&self) -> Arc<Value> {
        self.plane.api.find("rollingupgrades", "shop", "shop-v2").unwrap_or_default()
    }

    /// Where it is.
    pub fn step(&self) -> String {
        self.rolling_upgrade()["status"]["record"]["step"].as_str().unwrap_or_default().to_owned()
    }

    /// Whether a group is ready.
    fn is_whole(&self, group: &str) -> bool {
        let group = self.plane.api.find("availabilitygroups", "shop", group).unwrap_or_default();
        super::condition_of(&group, "Ready").is_some_and(|(status, _)| status == "True")
    }

    /// The primary of a group.
    pub fn primary_of(&self, group: &str) -> String {
        let group = self.plane.api.find("availabilitygroups", "shop", group).unwrap_or_default();
        group["status"]["primary"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits for a step, to the moment. False: it is over without it.
    pub async fn comes_to(&self, step: &str) -> bool {
        let from = self.plane.clock.elapsed();
        loop {
            let now = self.step();
            if now == step {
                return true;
            }
            if now == "Succeeded" || now == "RolledBack" {
                return false;
            }
            if self.plane.clock.elapsed() - from > seconds(120) {
                self.fails_at(&format!("the upgrade does not come to {step}"));
            }
            self.keeps_the_rules();
            sleep(LOOK).await;
        }
    }

    /// The same after an attempt that went back.
    pub async fn comes_to_again(&self, step: &str) -> bool {
        let begun = |stage: &Self| stage.rolling_upgrade()["status"]["attempt"] == 2;
        self.until("another attempt", seconds(60), begun).await;
        self.comes_to(step).await
    }

    /// Waits until the upgrade is over, well or not; operators whose process ended are started again.
    pub async fn is_over_within(&self, bound: Duration) -> String {
        let from = self.plane.clock.elapsed();
        loop {
            self.restart_ended();
            self.keeps_the_rules();
            let step = self.step();
            if step == "Succeeded" || step == "RolledBack" {
                return step;
            }
            if self.plane.clock.elapsed() - from > bound {
                self.fails_at(&format!("the upgrade is not over within {bound:?}"));
            }
            sleep(super::LOOK).await;
        }
    }

    fn fails_at(&self, what: &str) -> ! {
        self.fail(&format!("{what}\n{:#}", self.rolling_upgrade()["status"]))
    }

    /// The whole end of an upgrade: users write on one side, every acknowledged row is there on each replica, the other side
    /// does not take users' writes or has none.
    pub async fn ends_on_one_side(&self, user: Writer) {
        let step = self.is_over_within(seconds(600)).await;
        let (group, service) = SLOTS[usize::from(step == "Succeeded")];
        // One that was given up early has made no front Service.
        let online = |stage: &Self| {
            let fronted = stage.plane.api.find("services", "shop", FRONT).is_some();
            !fronted || stage.rolling_upgrade()["status"]["online"] == service
        };
        self.until(&format!("users are on {service}"), seconds(30), online).await;
        let before = self.ledger.acknowledged();
        self.until("users write", seconds(60), |stage| stage.ledger.acknowledged() > before + 3).await;
        user.stop().await;
        self.pass(seconds(1)).await;
        let pods: Vec<_> = (0..3).map(|ordinal| format!("{group}-{ordinal}")).collect();
        self.until(&format!("{group} is ready"), seconds(180), |stage| stage.is_whole(group)).await;
        self.accounts_of(&pods).await;
        self.pass(seconds(20)).await;
        let production = self.connection("late", "orders-rw.shop.svc");
        let late = production.run("CREATE TABLE dbo.late (id int)").await;
        self.check(late.is_ok() == (step == "RolledBack"), &format!("{step}, and production says {late:?}"));
    }
}
