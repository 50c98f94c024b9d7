//! A group of stand-in servers under a small loop around the shipped parts.

use futures::future::{BoxFuture, FutureExt};
use quorate::{
    decide::{
        self, ElectionState, Observation, Plan, Reason, Record, Step,
        observation::{Facts, FailoverAnswer, FailoverMemo, Pod, Probe, Replica, Routed},
    },
    model::{self, Database, DatabaseName, Group as Wish, GroupName, Management, Mode, ReplicaName, group::Failover},
    resources,
    sql::{Dial, Error, Secret, Servers, Stream, Target, probe::Look, statement},
};
use standin::{
    faults::{Faults, Switches},
    instance::{Config, Disk},
    net::SharedNetwork,
    server::{Server, ServerOptions},
    sim::SimNet,
    tds::{self, Encryption, TlsSettings},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::oneshot, time::Instant};

const SA: &str = "Sa-password-1";

struct Wire(SharedNetwork);

impl Dial for Wire {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Stream>> {
        async move { Ok(Box::new(self.0.dial(host, port).await?) as Stream) }.boxed()
    }
}

struct Running {
    server: Server,
    stop: Option<oneshot::Sender<()>>,
}

pub struct Group {
    pub net: SimNet,
    wish: Wish,
    servers: Servers,
    running: BTreeMap<ReplicaName, Running>,
    disks: BTreeMap<ReplicaName, Disk>,
    switches: Switches,
    authority: Arc<[u8]>,
    tls: (String, String),
    record: Option<Record>,
    routed: Routed,
    certificates: BTreeMap<ReplicaName, String>,
    known: BTreeSet<DatabaseName>,
    gates: BTreeMap<ReplicaName, bool>,
    silent: BTreeMap<ReplicaName, Instant>,
    rejoining: BTreeMap<ReplicaName, Instant>,
    suspected: Option<Instant>,
    election: Option<(u64, ElectionState, Instant)>,
    memo: Option<FailoverMemo>,
    began: Instant,
    pub history: Vec<String>,
}

fn name(text: &str) -> ReplicaName {
    ReplicaName::new(text).unwrap()
}

fn wish(replicas: u32) -> Wish {
    Wish {
        name: GroupName::new("orders").unwrap(),
        namespace: "shop".into(),
        uid: "u".into(),
        generation: 1,
        replicas: (0..replicas).map(|i| (name(&format!("orders-{i}")), Mode::Synchronous)).collect(),
        commit_quorum: None,
        databases: vec![Database { name: DatabaseName::new("orders").unwrap(), management: Management::Managed }],
        logins: vec![],
        secondary_connections: model::SecondaryConnections::All,
        failover: Failover {
            mode: model::FailoverMode::Automatic,
            suspect_after: Duration::from_secs(3),
            minimum_interval: Duration::ZERO,
        },
        paused: false,
        pods: model::group::Pods::default(),
    }
}

impl Group {
    pub async fn new(seed: u64, replicas: u32, switches: Switches) -> Self {
        let net = SimNet::new(seed);
        let wish = wish(replicas);
        let (authority, _) = resources::authority(&wish).unwrap();
        let secret = resources::server_certificate(&wish, &authority).unwrap();
        let pem = |key: &str| secret["stringData"][key].as_str().unwrap().to_string();
        let mut group = Self {
            servers: Servers::new(Arc::new(Wire(net.host("operator")))),
            net,
            running: BTreeMap::new(),
            disks: wish.replicas.keys().map(|name| (name.clone(), Disk::memory())).collect(),
            switches,
            authority: authority.certificate.into_bytes().into(),
            tls: (pem("tls.crt"), pem("tls.key")),
            wish,
            record: None,
            routed: Routed::default(),
            certificates: BTreeMap::new(),
            known: BTreeSet::new(),
            gates: BTreeMap::new(),
            silent: BTreeMap::new(),
            rejoining: BTreeMap::new(),
            suspected: None,
            election: None,
            memo: None,
            began: Instant::now(),
            history: vec![],
        };
        for name in group.wish.replicas.keys().cloned().collect::<Vec<_>>() {
            group.start(name.as_str()).await;
        }
        group
    }

    pub async fn start(&mut self, who: &str) {
        let network = self.net.host(who);
        let listener = network.listen(1433).await.unwrap();
        let config = Config {
            server_name: who.into(),
            version: "16.0.4225.2".into(),
            edition: "Developer Edition (64-bit)".into(),
            engine_edition: 3,
            hadr_enabled: true,
            disk: self.disks[&name(who)].clone(),
            collation: "SQL_Latin1_General_CP1_CI_AS".into(),
            seed: who.bytes().map(u64::from).sum(),
        };
        let uptime = 60_000 + self.began.elapsed().as_millis() as u64;
        let options = ServerOptions {
            config,
            network,
            faults: Faults::new(self.switches.clone()),
            sa_password: SA.into(),
            uptime,
        };
        let server = Server::start(options).await.unwrap();
        let tls = TlsSettings::from_pem(self.tls.0.as_bytes(), self.tls.1.as_bytes()).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        tokio::spawn(tds::listen(Arc::new(server.clone()), listener, Some(tls), Encryption::Required, shutdown));
        self.running.insert(name(who), Running { server, stop: Some(stop) });
    }

    pub fn kill(&mut self, who: &str) {
        if let Some(mut running) = self.running.remove(&name(who)) {
            running.server.stop();
            running.stop.take().map(|stop| stop.send(()));
            self.net.kill(who);
        }
    }

    pub fn primary(&self) -> String {
        self.routed.read_write.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    fn target(
        &self,
        who: &ReplicaName,
        login: &str,
        password: &str,
        program: &'static str,
        database: Option<String>,
    ) -> Target {
        Target {
            key: who.to_string(),
            host: self.wish.host(who),
            address: None,
            port: 1433,
            authorities: self.authority.clone(),
            login: login.into(),
            password: Secret::new(password),
            database,
            program,
        }
    }

    async fn look(&self, who: &ReplicaName) -> Probe {
        let look = Look { group: &self.wish, replica: who, major: Some(16) };
        let target = self.target(who, statement::Login::Look.name(), "Look-password-1", statement::PROGRAM, None);
        let answer = self.servers.run(&target, &look.batch(), Duration::from_secs(1)).await;
        match answer.and_then(|answer| look.read(&answer)) {
            Ok(facts) => Probe::Answered(Box::new(facts)),
            Err(error) if error.is_login_refused() => Probe::LoginRefused,
            Err(error) => Probe::Silent { why: error.to_string() },
        }
    }

    async fn observe(&mut self) -> Observation {
        let names: Vec<_> = self.wish.replicas.keys().cloned().collect();
        let looks = futures::future::join_all(names.iter().map(|who| self.look(who))).await;
        let now = Instant::now();
        let key = self.record.as_ref().map(|record| (record.epoch, record.state));
        if self.election.map(|(epoch, state, _)| (epoch, state)) != key {
            self.election = key.map(|(epoch, state)| (epoch, state, now));
        }
        let primary = self.record.as_ref().map(|record| record.primary.clone());
        let mut replicas = BTreeMap::new();
        for (who, probe) in names.into_iter().zip(looks) {
            let silent = matches!(probe, Probe::Silent { .. });
            let since = if silent {
                Some(*self.silent.entry(who.clone()).or_insert(now))
            } else {
                self.silent.remove(&who).and(None)
            };
            let facts: Option<&Facts> = if let Probe::Answered(facts) = &probe { Some(facts) } else { None };
            let follows = facts
                .and_then(|facts| facts.group.as_ref())
                .is_some_and(|own| Some(&who) == primary.as_ref() || own.connected);
            let rejoining = if follows || silent {
                self.rejoining.remove(&who).and(None)
            } else {
                Some(*self.rejoining.entry(who.clone()).or_insert(now))
            };
            let pod = Pod {
                exists: true,
                running: self.running.contains_key(&who),
                terminated: !self.running.contains_key(&who),
                gate: self.gates.get(&who).copied(),
                ..Pod::default()
            };
            let replica = Replica {
                mode: self.wish.replicas[&who],
                wanted: true,
                pod,
                probe,
                silent_for: since.map_or(Duration::ZERO, |since| now - since),
                silent_since: since.map(|since| (since - self.began).as_secs() as i64),
                rejoining_for: rejoining.map_or(Duration::ZERO, |since| now - since),
            };
            replicas.insert(who, replica);
        }
        let mut seen = Observation {
            at: (now - self.began).as_secs() as i64,
            group: self.wish.clone(),
            record: self.record.clone(),
            known_databases: self.known.clone(),
            replicas,
            routed: self.routed.clone(),
            suspected_for: Duration::ZERO,
            election_age: self.election.map_or(Duration::ZERO, |(_, _, since)| now - since),
            since_unplanned: None,
            failover: self.memo,
            request: None,
            certificates: self.certificates.clone(),
        };
        let lost = decide::diagnose::primary_is_lost(&seen);
        self.suspected = if lost { self.suspected.or(Some(now)) } else { None };
        seen.suspected_for = self.suspected.map_or(Duration::ZERO, |since| now - since);
        seen
    }

    pub async fn pass(&mut self) -> Plan {
        let seen = self.observe().await;
        let plan = decide::decide(&seen);
        self.history.push(format!("{:>7} ms {} {}", self.began.elapsed().as_millis(), plan.reason, plan.message));
        for wave in &plan.waves {
            let results = futures::future::join_all(wave.iter().map(|step| self.send(step))).await;
            let mut good = true;
            for (step, result) in wave.iter().zip(results) {
                let line = format!("{step:?}");
                self.history.push(format!(
                    "           {}{}",
                    line.chars().take(160).collect::<String>(),
                    result.as_ref().err().map(|error| format!(" -> {error}")).unwrap_or_default()
                ));
                self.remember(step, &result);
                good &= result.is_ok();
            }
            if !good {
                break;
            }
        }
        tokio::time::sleep(plan.recheck.max(Duration::from_millis(10))).await;
        plan
    }

    async fn send(&self, step: &Step) -> Result<(), Error> {
        let Some(who) = step.instance() else { return Ok(()) };
        let (look, act) = (Secret::new("Look-password-1"), Secret::new("Act-password-1"));
        let count = AtomicU64::new(0);
        let random = move || Secret::new(format!("Random-password-{}", count.fetch_add(1, Ordering::Relaxed)));
        let logins = BTreeMap::new();
        let context = statement::Context {
            group: &self.wish,
            partners: self.wish.replicas.keys().cloned().collect(),
            certificates: &self.certificates,
            look: &look,
            act: &act,
            logins: &logins,
            random: &random,
        };
        for batch in statement::batches(step, &context).unwrap() {
            let password = match batch.login {
                statement::Login::Look => "Look-password-1",
                statement::Login::Act => "Act-password-1",
                statement::Login::Admin => SA,
            };
            let target = self.target(
                who,
                batch.login.name(),
                password,
                batch.program,
                batch.database.as_ref().map(ToString::to_string),
            );
            self.servers.run(&target, &batch.text, batch.within).await?;
        }
        Ok(())
    }

    fn remember(&mut self, step: &Step, result: &Result<(), Error>) {
        match step {
            Step::Record(record) => self.record = Some((**record).clone()),
            Step::KeepCertificate { replica, certificate } => {
                self.certificates.insert(replica.clone(), certificate.clone());
            }
            Step::Route(to) => self.routed.read_write.clone_from(to),
            Step::Label { replica, role, readable } => {
                self.routed.roles.insert(replica.clone(), role.clone());
                if *readable {
                    self.routed.readable.insert(replica.clone())
                } else {
                    self.routed.readable.remove(replica)
                };
            }
            Step::Gate { replica, ready } => {
                self.gates.insert(replica.clone(), *ready);
            }
            Step::AddDatabase { database, .. } if result.is_ok() => {
                self.known.insert(database.clone());
            }
            Step::Failover { epoch, .. } => {
                let answer = match result {
                    Ok(()) => FailoverAnswer::Accepted,
                    Err(error) => error.number().map_or(FailoverAnswer::Unknown, FailoverAnswer::Refused),
                };
                self.memo = Some(FailoverMemo { epoch: *epoch, answer });
            }
            _ => {}
        }
    }

    pub async fn until(&mut self, what: &str, limit: Duration, done: impl Fn(&Self, &Plan) -> bool) -> Duration {
        let began = Instant::now();
        loop {
            let plan = self.pass().await;
            if done(self, &plan) {
                return began.elapsed();
            }
            assert!(began.elapsed() < limit, "{what}: not within {limit:?}\n{}", self.history.join("\n"));
        }
    }

    pub async fn healthy(&mut self) {
        self.until("healthy", Duration::from_secs(120), |_, plan| {
            plan.reason == Reason::Healthy && plan.waves.is_empty()
        })
        .await;
    }

    async fn sql(&self, who: &str, text: &str) -> Result<Vec<Vec<tiberius::Row>>, Error> {
        let target = self.target(&name(who), "sa", SA, "writer", Some("orders".into()));
        self.servers.run(&target, text, Duration::from_secs(1)).await
    }

    /// Writes one row; whether it was acknowledged.
    pub async fn write(&self, who: &str, id: i32) -> bool {
        let text = format!(
            "IF OBJECT_ID(N'dbo.ledger') IS NULL CREATE TABLE dbo.ledger (id int NOT NULL PRIMARY KEY); INSERT INTO dbo.ledger (id) VALUES ({id});"
        );
        self.sql(who, &text).await.is_ok()
    }

    pub async fn until_writable(&mut self, who: &str, id: i32) {
        for _ in 0..50 {
            if self.write(who, id).await {
                return;
            }
            self.pass().await;
        }
        panic!("{who} acknowledges nothing\n{}", self.history.join("\n"));
    }

    pub async fn rows(&self, who: &str) -> Vec<i32> {
        let sets = self.sql(who, "SELECT l.id FROM dbo.ledger AS l ORDER BY l.id;").await.unwrap();
        sets[0].iter().map(|row| row.get::<i32, _>(0).unwrap()).collect()
    }
}
