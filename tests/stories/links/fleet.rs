//! Two groups of two instances each on one network, told by the operator's own statements over TDS and TLS.

use futures::{FutureExt, future::BoxFuture};
use quorate::{
    decide::{
        Step,
        upgrade::{Facts, Instance, Side, SqlStep},
    },
    model::{DatabaseName, Group, GroupName, LoginName, Mode, ReplicaName},
    sql::{
        Answer, Batch, Dial, Error, Login, Secret, Servers, Stream, Target,
        statement::{self, upgrade},
        upgrade::{Look, hashes_batch, read_hashes},
    },
};
use standin::{
    faults::Faults,
    instance::{Config, Disk},
    net::SharedNetwork,
    server::{Server, ServerOptions},
    sim::SimNet,
    tds::{self, Encryption, TlsSettings},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::sleep;

const ADMIN: &str = "Secret-1-word";
pub const RUNNER: &str = "Secret-2-word";
pub const NAMESPACE: &str = "shop";
pub const PRODUCTION: [&str; 2] = ["orders-0", "orders-1"];
pub const STAGE: [&str; 2] = ["orders-v2-0", "orders-v2-1"];

struct Wire(SharedNetwork);

impl Dial for Wire {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Stream>> {
        async move { Ok(Box::new(self.0.dial(host, port).await?) as Stream) }.boxed()
    }
}

/// Which replica the Service of a group's primary leads to.
type Primaries = Arc<Mutex<BTreeMap<String, String>>>;

/// Production and stage.
pub struct Fleet {
    pub net: SimNet,
    pub instances: BTreeMap<String, Server>,
    servers: Servers,
    authorities: Arc<[u8]>,
    primaries: Primaries,
}

pub fn group_name(text: &str) -> GroupName {
    GroupName::new(text).unwrap()
}

pub fn shop() -> DatabaseName {
    DatabaseName::new("sh]op").unwrap()
}

pub fn link() -> GroupName {
    group_name("shop-v2")
}

pub fn login(text: &str) -> LoginName {
    LoginName::new(text).unwrap()
}

fn replica(text: &str) -> ReplicaName {
    ReplicaName::new(text).unwrap()
}

/// The group of a replica of the fleet.
fn group_of(pod: &str) -> &str {
    pod.rsplit_once('-').unwrap().0
}

pub fn at(pod: &str) -> Instance {
    Instance { namespace: NAMESPACE.into(), group: group_name(group_of(pod)), replica: replica(pod) }
}

pub fn sides() -> (Side, Side) {
    let side = |name: &str| Side { group: group_name(name), namespace: NAMESPACE.into() };
    (side("orders"), side("orders-v2"))
}

fn group(name: &str, pods: [&str; 2]) -> Group {
    let text = serde_json::json!({
        "name": name, "namespace": NAMESPACE, "uid": "u", "generation": 1,
        "replicas": pods.map(|pod| (pod, "Synchronous")).into_iter().collect::<BTreeMap<_, _>>(),
        "commit_quorum": null, "databases": [], "logins": [], "secondary_connections": "All",
        "failover": {
            "mode": "Automatic", "suspect_after": {"secs": 3, "nanos": 0}, "minimum_interval": {"secs": 60, "nanos": 0},
        },
        "paused": false,
        "pods": {
            "image": "", "prepare_image": "", "edition": "Developer", "configuration_only_edition": "", "collation": "",
            "configuration": {}, "admin_secret": ["", ""], "admin_generated": true, "tls_secret": null, "by_mode": {},
            "delete_volumes": false, "read_write": {"kind": null, "annotations": {}},
            "read_only": {"kind": null, "annotations": {}},
        },
    });
    serde_json::from_value(text).unwrap()
}

impl Fleet {
    /// Both groups; production has a database with one row.
    pub async fn new() -> Self {
        let net = SimNet::new(5);
        let primaries = Primaries::default();
        let known = primaries.clone();
        net.set_resolver(move |name| {
            let host = name.split('.').next()?;
            let group = host.strip_suffix("-primary");
            group.map_or_else(|| Some(host.to_string()), |group| known.lock().unwrap().get(group).cloned())
        });
        let pods = [PRODUCTION, STAGE].concat();
        let pair =
            rcgen::generate_simple_self_signed(pods.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        let (chain, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
        let mut instances = BTreeMap::new();
        for pod in &pods {
            let tls = TlsSettings::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
            instances.insert((*pod).to_string(), start(&net, pod, tls).await);
        }
        let servers = Servers::new(Arc::new(Wire(net.host("operator"))));
        let fleet = Self { net, instances, servers, authorities: chain.as_bytes().into(), primaries };
        for (name, pods) in [("orders", PRODUCTION), ("orders-v2", STAGE)] {
            fleet.set_up(&group(name, pods), pods).await;
        }
        let first = replica(PRODUCTION[0]);
        for step in [
            Step::CreateDatabase { replica: first.clone(), database: shop() },
            Step::AddDatabase { replica: first, database: shop() },
        ] {
            fleet.step(&step, &group("orders", PRODUCTION)).await;
        }
        fleet.person(PRODUCTION[0], "CREATE TABLE [sh]]op].dbo.t (id int NOT NULL PRIMARY KEY)").await.unwrap();
        fleet.person(PRODUCTION[0], &insert(1)).await.unwrap();
        fleet
    }

    /// With everybody trusted, the link and every copy there.
    pub async fn linked() -> Self {
        let fleet = Self::new().await;
        fleet.trust().await;
        let (from, to) = sides();
        fleet
            .fine(SqlStep::CreateLink { at: at(PRODUCTION[0]), link: link(), from: from.clone(), to: to.clone() })
            .await;
        fleet.fine(SqlStep::JoinLink { at: at(STAGE[0]), link: link(), from, to }).await;
        for pod in STAGE {
            fleet.until(pod, "seeded", |facts| facts.databases.get(&shop()).is_some_and(|shop| shop.joined)).await;
        }
        fleet
            .until(PRODUCTION[0], "followed", |facts| {
                let copies = facts.links[&link()].databases.get(&shop());
                copies.and_then(|copies| copies.remote.as_ref()).is_some_and(|copy| copy.state == "SYNCHRONIZING")
            })
            .await;
        fleet.until(STAGE[1], "known", |facts| facts.links.contains_key(&link())).await;
        fleet.until(PRODUCTION[1], "known", |facts| facts.links.contains_key(&link())).await;
        fleet
    }

    /// Committing synchronously on both sides, and level.
    pub async fn level() -> Self {
        let fleet = Self::linked().await;
        fleet.mode(Mode::Synchronous).await;
        fleet
            .until(PRODUCTION[0], "level", |facts| {
                facts.links[&link()].databases.values().all(|copies| copies.is_level())
            })
            .await;
        fleet
    }

    /// Every replica trusts every replica of the other group.
    pub async fn trust(&self) {
        for (ours, others) in [(PRODUCTION, STAGE), (STAGE, PRODUCTION)] {
            for (pod, other) in ours.iter().flat_map(|pod| others.map(|other| (*pod, other))) {
                let certificate = self.look(other).await.server.certificate.unwrap();
                self.fine(SqlStep::TrustPartner { at: at(pod), partner: at(other), certificate }).await;
            }
        }
    }

    pub async fn mode(&self, mode: Mode) {
        for pod in [PRODUCTION[0], STAGE[0]] {
            let members = BTreeSet::from([group_name("orders"), group_name("orders-v2")]);
            self.fine(SqlStep::SetLinkMode { at: at(pod), link: link(), members, mode }).await;
        }
    }

    async fn set_up(&self, group: &Group, [first, second]: [&str; 2]) {
        self.primaries.lock().unwrap().insert(group.name.to_string(), first.into());
        for pod in [first, second] {
            self.step(&Step::Provision(replica(pod)), group).await;
        }
        for (pod, other) in [(first, second), (second, first)] {
            let certificate = self.look(other).await.server.certificate.unwrap();
            let import = Step::ImportPartner { replica: replica(pod), partner: replica(other), certificate };
            self.step(&import, group).await;
        }
        let members = group.replicas.clone().into_iter().collect();
        self.step(&Step::CreateGroup { replica: replica(first), members }, group).await;
        self.step(&Step::Join { replica: replica(second), holds_data: true }, group).await;
        self.until(second, "connected", |facts| facts.group.as_ref().is_some_and(|group| group.connected)).await;
    }

    async fn step(&self, step: &Step, group: &Group) {
        let secret = Secret::new(ADMIN);
        let context = statement::Context {
            group,
            partners: BTreeSet::new(),
            certificates: &BTreeMap::new(),
            look: &secret,
            act: &secret,
            admin: None,
            logins: &BTreeMap::new(),
            random: &|| Secret::new(ADMIN),
        };
        for batch in statement::batches(step, &context).unwrap() {
            self.batch(step.instance().unwrap().as_str(), &batch).await.unwrap();
        }
    }

    fn target(&self, pod: &str, login: &str, password: &str) -> Target {
        Target {
            key: pod.into(),
            host: pod.into(),
            address: None,
            port: 1433,
            authorities: self.authorities.clone(),
            login: login.into(),
            password: Secret::new(password),
            database: None,
            program: statement::PROGRAM,
            kept: true,
        }
    }

    async fn batch(&self, pod: &str, batch: &Batch) -> Result<Answer, Error> {
        let database = batch.database.as_ref().map(|database| database.as_str().to_string());
        let kept = database.is_none();
        let target = self.target(pod, batch.login.name(), ADMIN);
        self.servers.run(&Target { database, kept, program: batch.program, ..target }, &batch.text, batch.within).await
    }

    /// Sends a step with the hashes that production has.
    pub async fn send(&self, step: &SqlStep) -> Result<(), Error> {
        let admin = self.target(PRODUCTION[0], Login::Admin.name(), ADMIN);
        let answer = self.servers.run(&admin, &hashes_batch(), Duration::from_secs(1)).await?;
        let (hashes, runner) = (read_hashes(&answer)?, Secret::new(RUNNER));
        let context = upgrade::Context { hashes: &hashes, runner: Some(&runner), random: &|| Secret::new(ADMIN) };
        for batch in upgrade::batches(step, &context).unwrap() {
            self.batch(step.at().replica.as_str(), &batch).await?;
        }
        Ok(())
    }

    /// Sends a step twice: it may always be.
    pub async fn fine(&self, step: SqlStep) {
        for _ in 0..2 {
            self.send(&step).await.unwrap_or_else(|error| panic!("{step:?}: {error}"));
        }
    }

    /// The number with which a step is refused.
    pub async fn refused(&self, step: SqlStep) -> Option<i32> {
        self.send(&step).await.err().unwrap_or_else(|| panic!("{step:?} was not refused")).number()
    }

    /// One look, as the login that looks.
    pub async fn look(&self, pod: &str) -> Facts {
        let (group, databases) = (group_name(group_of(pod)), BTreeSet::from([shop()]));
        let look = Look { group: &group, databases: &databases };
        let login = if self.is_provisioned(pod) { Login::Look } else { Login::Admin };
        let answer =
            self.servers.run(&self.target(pod, login.name(), ADMIN), &look.batch(), Duration::from_secs(1)).await;
        look.read(&answer.unwrap()).unwrap()
    }

    fn is_provisioned(&self, pod: &str) -> bool {
        self.instances[pod].catalog.read().login(Login::Look.name()).is_some()
    }

    /// Looks until something is so.
    pub async fn until(&self, pod: &str, what: &str, done: impl Fn(&Facts) -> bool) -> Facts {
        let mut last = Facts::default();
        for _ in 0..600 {
            last = self.look(pod).await;
            if done(&last) {
                return last;
            }
            sleep(Duration::from_millis(100)).await;
        }
        panic!("{pod} is not {what}: {last:#?}")
    }

    /// A batch of a person, as `sa`.
    pub async fn person(&self, pod: &str, sql: &str) -> Result<Answer, Error> {
        self.client(pod, "sa", ADMIN, sql).await
    }

    /// A batch of a client, on a connection of its own.
    pub async fn client(&self, pod: &str, login: &str, password: &str, sql: &str) -> Result<Answer, Error> {
        let target = Target { program: "client", ..self.target(pod, login, password) };
        self.servers.run(&target, sql, Duration::from_secs(5)).await
    }

    /// Rows of the table of the shop.
    pub async fn rows(&self, pod: &str) -> Vec<i32> {
        let sets = self.person(pod, "SELECT id FROM [sh]]op].dbo.t ORDER BY id").await.unwrap();
        sets[0].iter().filter_map(|row| row.get::<i32, _>(0)).collect()
    }
}

pub fn insert(id: i32) -> String {
    format!("INSERT INTO [sh]]op].dbo.t VALUES ({id})")
}

async fn start(net: &SimNet, pod: &str, tls: TlsSettings) -> Server {
    let config = Config {
        server_name: pod.into(),
        version: "16.0.4225.2".into(),
        edition: "Developer Edition (64-bit)".into(),
        engine_edition: 3,
        hadr_enabled: true,
        disk: Disk::memory(),
        collation: "SQL_Latin1_General_CP1_CI_AS".into(),
        seed: pod.bytes().map(u64::from).sum(),
    };
    let network = net.host(pod);
    let options = ServerOptions {
        config,
        network: network.clone(),
        faults: Faults::default(),
        sa_password: ADMIN.into(),
        uptime: 600_000,
        wall: standin::server::wall(),
    };
    let server = Server::start(options).await.unwrap();
    let listener = network.listen(1433).await.unwrap();
    let backend = Arc::new(server.clone());
    tokio::spawn(async move {
        tds::listen(backend, listener, Some(tls), Encryption::Required, std::future::pending()).await;
    });
    server
}
