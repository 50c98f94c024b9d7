//! The instances of one group: whom to ask as whom, looks in parallel, batches with deadlines.

use super::{
    beside::Task,
    memory::{Glance, LogBackups, Memory, Users},
    observe::AT_REST,
};
use crate::{
    decide::observation::Probe,
    model::{DatabaseName, Group, LoginName, ReplicaName, group::SQL_PORT},
    sql::{
        Answer, Batch, Error, Login, Secret, Servers, Target,
        probe::{self, Look},
        statement::PROGRAM,
    },
    telemetry::{Health, metrics::Looked},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// Time that a look has.
pub const LOOK: Duration = Duration::from_secs(1);
/// Time that a pass gives a look at a replica that was silent the last time.
const AGAIN: Duration = Duration::from_millis(150);
/// Time that a pass gives a look which an earlier pass began and did not wait for.
const PENDING: Duration = Duration::from_millis(1);

/// How often log backups are looked at: what is overdue after a day may be noticed a minute late.
const LOG_BACKUPS: Duration = Duration::from_secs(60);

fn silent(why: String) -> Glance {
    Glance { probe: Probe::Silent { why }, at: Instant::now() }
}

/// What it takes to be let in.
#[derive(Clone, Debug)]
pub struct Access {
    /// PEM bundle of the authorities that sign server certificates of this group.
    pub authorities: Arc<[u8]>,
    /// Password of `quorate_look`.
    pub look: Secret,
    /// Password of `quorate_act`.
    pub act: Secret,
    /// Password of `sa`.
    pub admin: Secret,
    /// Passwords of application logins, those that could be read.
    pub logins: BTreeMap<LoginName, Secret>,
    /// Which versions of which Secrets these are.
    pub version: String,
}

/// The instances of one group in one pass. Clones share what is behind it.
#[derive(Clone)]
pub struct Instances {
    /// The wish.
    pub group: Arc<Group>,
    /// How to be let in. `None`: the secrets are not there yet.
    pub access: Option<Arc<Access>>,
    /// By what each instance was let in last, until it was told the present passwords.
    pub doors: Arc<BTreeMap<ReplicaName, Arc<Access>>>,
    /// Addresses of the pods that have one.
    pub addresses: Arc<BTreeMap<ReplicaName, String>>,
    /// All connections.
    pub servers: Arc<Servers>,
    /// What is counted.
    pub health: Arc<Health>,
}

impl Instances {
    /// Looks at all these replicas at once, each with its own deadline. One that was silent the last time is waited for
    /// a moment only; its look goes on, and a later pass takes the answer.
    pub async fn look(&self, replicas: &[ReplicaName], memory: &mut Memory) {
        let mut pending = std::mem::take(&mut memory.looks);
        let older: BTreeSet<_> = pending.keys().cloned().collect();
        for replica in replicas {
            if pending.contains_key(replica) {
                continue;
            }
            let (all, whose, major) = (self.clone(), replica.clone(), memory.majors.get(replica).copied());
            let look = Task::spawn(async move { all.glance(&whose, major).await });
            pending.insert(replica.clone(), look);
        }
        let waits = pending.into_iter().map(|(replica, task)| {
            let silent =
                memory.glances.get(&replica).is_some_and(|glance| matches!(glance.probe, Probe::Silent { .. }));
            let patience = match (silent, older.contains(&replica)) {
                (true, true) => PENDING,
                (true, false) => AGAIN,
                (false, _) => LOOK + AGAIN,
            };
            async move {
                let mut task = task;
                (replica, task.within(patience).await, task)
            }
        });
        for (replica, answer, task) in futures::future::join_all(waits).await {
            match answer {
                Some(Ok(glance)) => {
                    if let Probe::Answered(facts) = &glance.probe
                        && let Some(major) = probe::major(&facts.server.version)
                    {
                        memory.majors.insert(replica.clone(), major);
                    }
                    self.opened(&replica, &glance, memory);
                    memory.glances.insert(replica, glance);
                }
                Some(Err(_)) => {
                    memory.glances.insert(replica, silent("the look ended without an answer".into()));
                }
                None => {
                    let known = memory.glances.get(&replica);
                    if !known.is_some_and(|glance| matches!(glance.probe, Probe::Silent { .. })) {
                        memory.glances.insert(replica.clone(), silent("no answer in time".into()));
                    }
                    memory.looks.insert(replica, task);
                }
            }
        }
    }

    async fn glance(&self, replica: &ReplicaName, major: Option<u32>) -> Glance {
        let asked = Instant::now();
        let probe = self.probe(replica, major).await;
        self.health.metrics.look(looked(&probe), asked.elapsed());
        Glance { probe, at: Instant::now() }
    }

    async fn probe(&self, replica: &ReplicaName, major: Option<u32>) -> Probe {
        if self.access.is_none() {
            return Probe::Silent { why: "its secrets are not there yet".into() };
        }
        let look = Look { group: &self.group, replica, major };
        let answer = self.run(replica, Login::Look, None, PROGRAM, &look.batch(), LOOK).await;
        match answer.and_then(|answer| look.read(&answer)) {
            Ok(facts) if !probe::is_from(&facts, replica) => {
                Probe::Silent { why: format!("{} answers in its place", facts.server.name) }
            }
            Ok(facts) => Probe::Answered(Box::new(facts)),
            Err(error) if error.is_login_refused() => Probe::LoginRefused,
            Err(error) => Probe::Silent { why: error.to_string() },
        }
    }

    /// Users of the databases of a primary, where the spec has logins: beside the looks, since a database may be locked.
    pub async fn look_at_users(&self, primary: &ReplicaName, memory: &mut Memory) {
        let users = &mut memory.users;
        let fresh = users.at.is_some_and(|at| at.elapsed() < AT_REST);
        if memory.at_rest && fresh && users.read.as_ref().is_some_and(|(read, _)| read == primary) {
            return;
        }
        if users.task.is_none() && probe::databases_with_users(&self.group).next().is_some() {
            let (all, primary) = (self.clone(), primary.clone());
            users.task = Some(Task::spawn(async move { all.users(primary).await }));
        }
        let Some(task) = &mut users.task else { return };
        match task.within(AGAIN).await {
            Some(Ok(read)) => (users.read, users.at) = (read, Some(Instant::now())),
            Some(Err(_)) => users.read = None,
            None => return,
        }
        users.task = None;
    }

    async fn users(&self, primary: ReplicaName) -> Option<(ReplicaName, Users)> {
        let mut users = Users::new();
        for database in probe::databases_with_users(&self.group) {
            let answer = self.run(&primary, Login::Look, Some(database), PROGRAM, probe::USERS, LOOK).await;
            if let Ok(found) = answer.and_then(|answer| probe::read_users(&answer)) {
                users.insert(database.clone(), found);
            }
        }
        Some((primary, users))
    }

    /// Log backups of the databases of a primary that serves: now and then, beside the looks, and no pass waits for it.
    pub async fn look_at_log_backups(&self, primary: &ReplicaName, memory: &mut Memory) {
        let backups = &mut memory.log_backups;
        if backups.task.is_none() {
            if backups.at.is_some_and(|at| at.elapsed() < LOG_BACKUPS) {
                return;
            }
            let (all, primary) = (self.clone(), primary.clone());
            backups.at = Some(Instant::now());
            backups.task = Some(Task::spawn(async move { all.log_backups(&primary).await }));
        }
        let Some(task) = &mut backups.task else { return };
        match task.within(PENDING).await {
            Some(Ok(Some(read))) => backups.read = Some(read),
            // What was known stays known.
            Some(_) => {}
            None => return,
        }
        backups.task = None;
    }

    async fn log_backups(&self, primary: &ReplicaName) -> Option<LogBackups> {
        let answer = self.run(primary, Login::Look, None, PROGRAM, probe::LOG_BACKUPS, LOOK).await;
        answer.and_then(|answer| probe::read_log_backups(&answer)).ok()
    }

    /// Sends one batch.
    pub async fn send(&self, replica: &ReplicaName, batch: &Batch) -> Result<(), Error> {
        let database = batch.database.as_ref();
        self.run(replica, batch.login, database, batch.program, &batch.text, batch.within).await.map(drop)
    }

    /// Runs one batch with the passwords that the instance took last, and with the present ones when it refuses those: a
    /// login that is refused has run nothing.
    pub async fn run(
        &self,
        replica: &ReplicaName,
        login: Login,
        database: Option<&DatabaseName>,
        program: &'static str,
        text: &str,
        within: Duration,
    ) -> Result<Answer, Error> {
        let mut answer = Err(Error::Retry("the secrets of the group are not there yet".into()));
        let Some(present) = &self.access else { return answer };
        let old = self.doors.get(replica).filter(|old| old.version != present.version);
        for access in old.into_iter().chain([present]) {
            let target = self.target(access, present, replica, login, database, program);
            answer = self.servers.run(&target, text, within).await;
            if !answer.as_ref().is_err_and(Error::is_login_refused) {
                break;
            }
        }
        answer
    }

    /// Runs one batch as a login that is not ours.
    pub async fn run_as(
        &self,
        replica: &ReplicaName,
        (login, password): (&str, &Secret),
        database: &DatabaseName,
        text: &str,
        within: Duration,
    ) -> Result<Answer, Error> {
        let Some(access) = &self.access else {
            return Err(Error::Retry("the secrets of the group are not there yet".into()));
        };
        let target = self.target(access, access, replica, Login::Look, Some(database), PROGRAM);
        let target = Target { login: login.into(), password: password.clone(), ..target };
        self.servers.run(&target, text, within).await
    }

    /// Whether an instance may have another password of `sa` than the present one.
    pub fn old_admin(&self, replica: &ReplicaName) -> Option<&Secret> {
        let (old, present) = (self.doors.get(replica)?, self.access.as_ref()?);
        (old.admin != present.admin).then_some(&old.admin)
    }

    /// An instance let us in: it keeps its door until it was told the present passwords.
    fn opened(&self, replica: &ReplicaName, glance: &Glance, memory: &mut Memory) {
        let (Some(present), Probe::Answered(facts)) = (&self.access, &glance.probe) else { return };
        if facts.stored.passwords.as_ref() == Some(&present.version) {
            memory.doors.insert(replica.clone(), present.clone());
        } else {
            memory.doors.entry(replica.clone()).or_insert_with(|| present.clone());
        }
    }

    fn target(
        &self,
        access: &Access,
        present: &Access,
        replica: &ReplicaName,
        login: Login,
        database: Option<&DatabaseName>,
        program: &'static str,
    ) -> Target {
        let password = match login {
            Login::Look => &access.look,
            Login::Act => &access.act,
            Login::Admin => &access.admin,
        };
        Target {
            key: format!("{}/{replica}", self.group.namespace),
            host: self.group.host(replica),
            address: self.addresses.get(replica).cloned(),
            port: SQL_PORT,
            authorities: present.authorities.clone(),
            login: login.name().into(),
            password: password.clone(),
            database: database.map(|name| name.as_str().into()),
            program,
            kept: database.is_none(),
        }
    }
}

fn looked(probe: &Probe) -> Looked {
    match probe {
        Probe::Answered(_) => Looked::Answered,
        Probe::Silent { .. } => Looked::Silent,
        Probe::LoginRefused => Looked::LoginRefused,
    }
}
