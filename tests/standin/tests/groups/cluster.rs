//! Instances without logins or T-SQL, on a simulated network and disks in memory.

use standin::{
    ddl::{GroupOptions, GroupStatement, ReplicaOptions},
    errors::{Message, SqlResult},
    faults::{FailoverEngine, Faults, Switches},
    group::{Endpoint, Identity, roles::Role},
    instance::{Config, Disk, Instance, MemoryDisk},
    sim::SimNet,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

pub const GROUP: &str = "ag";
pub const DATABASE: &str = "db";

/// Certificates without a catalog: everybody knows everybody, some are denied.
pub struct Keys {
    endpoint: Endpoint,
    certificates: Mutex<BTreeMap<String, Vec<u8>>>,
    denied: Mutex<BTreeSet<String>>,
    changes: watch::Sender<u64>,
    stops: AtomicU64,
}

impl Identity for Keys {
    fn endpoint(&self) -> Option<Endpoint> {
        Some(self.endpoint.clone())
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn stops(&self) -> u64 {
        self.stops.load(Ordering::SeqCst)
    }

    fn knows(&self, certificate: &[u8]) -> bool {
        self.certificates.lock().unwrap().values().any(|known| known.as_slice() == certificate)
    }

    fn authorize(&self, certificate: &[u8]) -> bool {
        let certificates = self.certificates.lock().unwrap();
        let known = certificates.iter().find(|(_, known)| known.as_slice() == certificate);
        known.is_some_and(|(name, _)| !self.denied.lock().unwrap().contains(name))
    }
}

fn keys() -> Arc<Keys> {
    let pair = rcgen::generate_simple_self_signed(vec!["endpoint".to_string()]).unwrap();
    let endpoint = Endpoint {
        port: 5022,
        started: true,
        certificate: pair.cert.der().to_vec(),
        key: pair.signing_key.serialize_der(),
    };
    Arc::new(Keys {
        endpoint,
        certificates: Mutex::default(),
        denied: Mutex::default(),
        changes: watch::Sender::new(0),
        stops: AtomicU64::new(0),
    })
}

pub struct Cluster {
    pub net: SimNet,
    pub names: Vec<String>,
    pub running: BTreeMap<String, Instance>,
    pub keys: BTreeMap<String, Arc<Keys>>,
    pub disks: BTreeMap<String, Disk>,
    pub switches: Switches,
    modes: BTreeMap<String, &'static str>,
}

impl Cluster {
    /// Replicas by availability mode, nothing created yet.
    pub async fn new(seed: u64, engine: FailoverEngine, modes: &[&'static str]) -> Self {
        let names: Vec<String> = (0..modes.len()).map(|i| format!("sql-{i}")).collect();
        let keys: BTreeMap<_, _> = names.iter().map(|name| (name.clone(), keys())).collect();
        for own in keys.values() {
            let all = keys.iter().map(|(name, other)| (name.clone(), other.endpoint.certificate.clone()));
            *own.certificates.lock().unwrap() = all.collect();
        }
        let mut cluster = Self {
            net: SimNet::new(seed),
            disks: names.iter().map(|name| (name.clone(), Disk::memory())).collect(),
            modes: names.iter().cloned().zip(modes.iter().copied()).collect(),
            keys,
            running: BTreeMap::new(),
            switches: Switches { failover: engine, ..Switches::default() },
            names: names.clone(),
        };
        for name in &names {
            cluster.start(name).await;
        }
        cluster
    }

    pub async fn start(&mut self, name: &str) {
        let config = Config {
            server_name: name.into(),
            version: "16.0.4225.2".into(),
            edition: "Developer Edition (64-bit)".into(),
            engine_edition: 3,
            hadr_enabled: true,
            disk: self.disks[name].clone(),
            collation: "SQL_Latin1_General_CP1_CI_AS".into(),
            seed: name.bytes().map(u64::from).sum(),
        };
        self.net.kill(name);
        self.disk(name).repair();
        let network = self.net.host(name);
        let instance = Instance::start(config, network, Faults::new(self.switches.clone()), self.keys[name].clone())
            .await
            .unwrap();
        self.running.insert(name.into(), instance);
    }

    pub fn disk(&self, name: &str) -> Arc<MemoryDisk> {
        match &self.disks[name] {
            Disk::Memory(disk) => disk.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// The volume is lost.
    pub fn lose_disk(&mut self, name: &str) {
        self.disks.insert(name.into(), Disk::memory());
    }

    pub fn crash(&mut self, name: &str) {
        if let Some(instance) = self.running.remove(name) {
            instance.crash();
            self.net.kill(name);
        }
    }

    pub async fn statement(&self, name: &str, statement: GroupStatement) -> SqlResult<Vec<Message>> {
        match self.running.get(name) {
            Some(instance) => instance.execute_group(GROUP, statement, true).await,
            None => Err(Message::new(0, 20, "down")),
        }
    }

    pub fn replica_options(&self, name: &str) -> ReplicaOptions {
        let mode = self.modes[name];
        let data = mode != "CONFIGURATION_ONLY";
        ReplicaOptions {
            endpoint_url: Some(format!("tcp://{name}.sql.svc:5022")),
            availability_mode: Some(mode.into()),
            failover_mode: data.then(|| "EXTERNAL".into()),
            seeding_mode: data.then(|| "AUTOMATIC".into()),
            secondary_connections: data.then(|| "ALL".into()),
            ..ReplicaOptions::default()
        }
    }

    /// Creates the group, joins everybody, adds a database with a table, waits until all is synchronized.
    pub async fn bring_up(&self, commit_quorum: i64) {
        let options = GroupOptions { cluster_type: Some("EXTERNAL".into()), ..GroupOptions::default() };
        let replicas = self.names.iter().map(|name| (name.clone(), self.replica_options(name))).collect();
        self.statement("sql-0", GroupStatement::Create { options, databases: vec![], replicas }).await.unwrap();
        for name in &self.names[1..] {
            self.statement(name, GroupStatement::Join { cluster_type: Some("EXTERNAL".into()) }).await.unwrap();
            if self.modes[name] != "CONFIGURATION_ONLY" {
                self.statement(name, GroupStatement::GrantCreateAnyDatabase).await.unwrap();
            }
        }
        let primary = &self.running["sql-0"];
        primary.create_database(DATABASE).await.unwrap();
        let mut transaction = primary.open(DATABASE, false).unwrap().begin().await.unwrap();
        transaction.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)", &[]).await.unwrap();
        transaction.commit().await.unwrap();
        primary.backup_database(DATABASE).await.unwrap();
        self.statement("sql-0", GroupStatement::AddDatabases(vec![DATABASE.into()])).await.unwrap();
        self.until("synchronized", |c| {
            c.synchronized("sql-0").len() == c.modes.values().filter(|mode| **mode == "SYNCHRONOUS_COMMIT").count()
        })
        .await;
        if commit_quorum > 0 {
            self.set_commit_quorum("sql-0", commit_quorum).await.unwrap();
        }
    }

    pub async fn set_commit_quorum(&self, name: &str, value: i64) -> SqlResult<Vec<Message>> {
        self.statement(
            name,
            GroupStatement::Set(GroupOptions {
                required_synchronized_secondaries_to_commit: Some(value),
                ..GroupOptions::default()
            }),
        )
        .await
    }

    pub async fn join(&self, name: &str) -> SqlResult<Vec<Message>> {
        self.statement(name, GroupStatement::Join { cluster_type: Some("EXTERNAL".into()) }).await
    }

    /// Turns switches on every instance that runs, and on those that start later.
    pub fn turn(&mut self, turn: impl Fn(&mut Switches)) {
        turn(&mut self.switches);
        self.running.values().for_each(|instance| instance.faults().set(&turn));
    }

    pub fn group(&self, name: &str) -> standin::instance::snapshot::GroupMoment {
        self.running[name].snapshot().groups[GROUP].clone()
    }

    /// Stops and starts the mirroring endpoint.
    pub fn restart_endpoint(&self, name: &str) {
        let keys = &self.keys[name];
        keys.stops.fetch_add(1, Ordering::SeqCst);
        keys.changes.send_modify(|count| *count += 1);
    }

    /// FAILOVER and everybody else SECONDARY, without ceremony.
    pub async fn promote(&self, name: &str) {
        self.statement(name, GroupStatement::Failover).await.unwrap();
        self.until("primary", |c| c.role(name) == Some(Role::Primary)).await;
    }

    pub async fn follow(&self, name: &str) {
        self.statement(name, GroupStatement::SetRoleSecondary).await.unwrap();
        self.until("following", |c| c.connected(name)).await;
    }

    /// Replicas marked synchronized in a copy of the configuration.
    pub fn synchronized(&self, name: &str) -> Vec<String> {
        let Some(instance) = self.running.get(name) else { return vec![] };
        instance
            .snapshot()
            .groups
            .get(GROUP)
            .and_then(|group| group.databases.get(DATABASE))
            .map(|database| database.synchronized.clone())
            .unwrap_or_default()
    }

    pub fn role(&self, name: &str) -> Option<Role> {
        Some(self.running.get(name)?.snapshot().groups.get(GROUP)?.role)
    }

    pub fn number(&self, name: &str) -> i64 {
        self.running
            .get(name)
            .and_then(|instance| instance.snapshot().groups.get(GROUP).map(|group| group.config.number))
            .unwrap_or(0)
    }

    pub fn connected(&self, name: &str) -> bool {
        self.running.get(name).is_some_and(|instance| {
            instance.snapshot().groups.get(GROUP).is_some_and(|group| group.role == Role::Secondary && group.connected)
        })
    }

    /// Writes one row with a deadline. `Ok(true)`: acknowledged, `Ok(false)`: unknown.
    pub async fn write(&self, name: &str, id: i64) -> SqlResult<bool> {
        let Some(instance) = self.running.get(name) else { return Ok(false) };
        let database = instance.open(DATABASE, false)?;
        let work = async {
            let mut transaction = database.begin().await?;
            transaction.execute(&format!("INSERT INTO t VALUES ({id})"), &[]).await?;
            transaction.commit().await
        };
        match tokio::time::timeout(Duration::from_millis(500), work).await {
            Ok(Ok(())) => Ok(true),
            Ok(Err(error)) => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// Rows that a reader sees.
    pub async fn rows(&self, name: &str) -> SqlResult<BTreeSet<i64>> {
        let database = self.running[name].open(DATABASE, true)?;
        let set = database.query("SELECT id FROM t", &[]).await?;
        Ok(set
            .rows
            .iter()
            .map(|row| if let rusqlite::types::Value::Integer(id) = row[0] { id } else { panic!("{row:?}") })
            .collect())
    }

    /// Stands down, the way a cluster manager must: whom it may talk to, then OFFLINE, then RESOLVING is seen.
    pub async fn stand_down(&self, name: &str, admit: &[&str]) -> bool {
        let denied =
            self.names.iter().filter(|other| *other != name && !admit.contains(&other.as_str())).cloned().collect();
        *self.keys[name].denied.lock().unwrap() = denied;
        self.keys[name].changes.send_modify(|count| *count += 1);
        let sent = self.statement(name, GroupStatement::Offline).await.is_ok();
        sent && self.eventually(Duration::from_secs(3), |c| c.role(name) == Some(Role::Resolving)).await
    }

    pub fn admit_only(&self, name: &str, partner: &str) {
        let denied = self.names.iter().filter(|other| *other != name && *other != partner).cloned().collect();
        *self.keys[name].denied.lock().unwrap() = denied;
        self.keys[name].changes.send_modify(|count| *count += 1);
    }

    pub fn admit_all(&self, name: &str) {
        self.keys[name].denied.lock().unwrap().clear();
        self.keys[name].changes.send_modify(|count| *count += 1);
    }

    pub async fn eventually(&self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = Instant::now() + limit;
        while !done(self) {
            if Instant::now() > end {
                return false;
            }
            sleep(Duration::from_millis(10)).await;
        }
        true
    }

    pub async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        assert!(self.eventually(Duration::from_secs(60), done).await, "{what}: not within 60 s\n{}", self.picture());
    }

    pub fn picture(&self) -> String {
        let lines = self.names.iter().map(|name| {
            let moment = self.running.get(name).map(|instance| instance.snapshot());
            let group = moment.as_ref().and_then(|moment| moment.groups.get(GROUP));
            format!("{name}: {group:?}")
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

pub const SYNC: &str = "SYNCHRONOUS_COMMIT";
pub const ASYNC: &str = "ASYNCHRONOUS_COMMIT";
pub const WITNESS: &str = "CONFIGURATION_ONLY";
