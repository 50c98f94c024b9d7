//! A small engine under the real `decide`: every effect lands at once and completely, so that a test reads as a story of
//! passes. Faults are switches on instances and links. The engine's own protocol is not modelled beyond what a pass sees.

use quorate::{
    decide::{
        self, Observation, Plan, Record, Step,
        observation::{
            DatabaseFacts, Facts, FailoverAnswer, FailoverMemo, GroupDatabase, GroupFacts, Member, Partner, Pod, Probe,
            Replica, Request, Routed, SYNCHRONIZED, Server, Setup, Stored,
        },
    },
    model::{
        self, DatabaseName, Group, GroupName, Management, Mode, ReplicaName, Role, SequenceNumber, group::Failover,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub fn name(text: &str) -> ReplicaName {
    ReplicaName::new(text).unwrap()
}

#[derive(Clone, Default)]
pub struct Instance {
    pub up: bool,
    /// The operator cannot reach it.
    pub unreachable: bool,
    pub provisioned: bool,
    pub partners: BTreeMap<ReplicaName, bool>,
    pub epoch: u64,
    pub settled: Option<Record>,
    pub copy: Option<Copy>,
    pub databases: BTreeSet<DatabaseName>,
    pub silent_for: Duration,
    pub refuses_failover: bool,
    pub rejoining_for: Duration,
    /// Writes hardened here, in order.
    pub log: Vec<u32>,
}

#[derive(Clone)]
pub struct Copy {
    pub role: Role,
    pub number: SequenceNumber,
    pub commit_quorum: u32,
    pub members: BTreeMap<ReplicaName, Mode>,
    pub follows: Option<ReplicaName>,
    /// Replicas marked synchronized.
    pub synchronized: BTreeSet<ReplicaName>,
    pub databases: BTreeSet<DatabaseName>,
}

pub struct World {
    pub group: Group,
    pub record: Option<Record>,
    pub instances: BTreeMap<ReplicaName, Instance>,
    pub routed: Routed,
    pub certificates: BTreeMap<ReplicaName, String>,
    pub known: BTreeSet<DatabaseName>,
    pub clock: Duration,
    pub suspected_for: Duration,
    pub election_since: Duration,
    pub memo: Option<FailoverMemo>,
    pub request: Option<Request>,
    pub answers: Vec<(String, Option<bool>, String)>,
    pub deleting: BTreeSet<ReplicaName>,
    pub gates: BTreeMap<ReplicaName, bool>,
    pub cuts: BTreeSet<(ReplicaName, ReplicaName)>,
    pub unplanned_at: Option<Duration>,
    pub history: Vec<String>,
}

pub fn group(synchronous: u32, configuration_only: bool) -> Group {
    let mut replicas: BTreeMap<_, _> =
        (0..synchronous).map(|i| (name(&format!("orders-{i}")), Mode::Synchronous)).collect();
    if configuration_only {
        replicas.insert(name("orders-c-0"), Mode::ConfigurationOnly);
    }
    Group {
        name: GroupName::new("orders").unwrap(),
        namespace: "shop".into(),
        uid: "u".into(),
        generation: 1,
        replicas,
        commit_quorum: None,
        databases: vec![model::Database {
            name: DatabaseName::new("orders").unwrap(),
            management: Management::Managed,
        }],
        logins: vec![],
        secondary_connections: model::SecondaryConnections::All,
        failover: Failover {
            mode: model::FailoverMode::Automatic,
            suspect_after: Duration::from_secs(3),
            minimum_interval: Duration::from_secs(60),
        },
        paused: false,
        pods: model::group::Pods::default(),
    }
}

impl World {
    pub fn new(group: Group) -> Self {
        let instances =
            group.replicas.keys().map(|name| (name.clone(), Instance { up: true, ..Instance::default() })).collect();
        Self {
            group,
            record: None,
            instances,
            routed: Routed::default(),
            certificates: BTreeMap::new(),
            known: BTreeSet::new(),
            clock: Duration::ZERO,
            suspected_for: Duration::ZERO,
            election_since: Duration::ZERO,
            memo: None,
            request: None,
            answers: vec![],
            deleting: BTreeSet::new(),
            gates: BTreeMap::new(),
            cuts: BTreeSet::new(),
            unplanned_at: None,
            history: vec![],
        }
    }

    pub fn instance(&mut self, who: &str) -> &mut Instance {
        self.instances.get_mut(&name(who)).unwrap()
    }

    pub fn kill(&mut self, who: &str) {
        self.instance(who).up = false;
    }

    /// Comes back as a restarted instance does: RESOLVING, following nobody.
    pub fn restart(&mut self, who: &str) {
        let instance = self.instance(who);
        instance.up = true;
        if let Some(copy) = &mut instance.copy {
            copy.role = Role::Resolving;
            copy.follows = None;
        }
    }

    fn linked(&self, a: &ReplicaName, b: &ReplicaName) -> bool {
        let cut = self.cuts.contains(&(a.clone(), b.clone())) || self.cuts.contains(&(b.clone(), a.clone()));
        let up = |n: &ReplicaName| self.instances.get(n).is_some_and(|i| i.up);
        let admits = |n: &ReplicaName, p: &ReplicaName| self.instances[n].partners.get(p).copied().unwrap_or(false);
        !cut && up(a) && up(b) && admits(a, b) && admits(b, a)
    }

    fn connected(&self, who: &ReplicaName) -> Option<ReplicaName> {
        let copy = self.instances[who].copy.as_ref()?;
        let primary = copy.follows.clone()?;
        let serves = self.instances[&primary].copy.as_ref().is_some_and(|c| c.role == Role::Primary);
        (copy.role == Role::Secondary && serves && self.linked(who, &primary)).then_some(primary)
    }

    /// A secondary in no connection takes whichever primary admits it and is admitted: SET (ROLE = SECONDARY) names none.
    fn attach(&mut self) {
        let names: Vec<_> = self.instances.keys().cloned().collect();
        for who in &names {
            let Some(copy) = &self.instances[who].copy else { continue };
            if copy.role != Role::Secondary || copy.follows.is_some() {
                continue;
            }
            let serves = |n: &ReplicaName| self.instances[n].copy.as_ref().is_some_and(|c| c.role == Role::Primary);
            let found = names.iter().find(|n| *n != who && serves(n) && self.linked(who, n)).cloned();
            if let Some(primary) = found {
                let log = self.instances[&primary].log.clone();
                let instance = self.instances.get_mut(who).unwrap();
                instance.copy.as_mut().unwrap().follows = Some(primary);
                instance.log = log;
            }
        }
        for who in &names {
            // A follower that lost its primary's role looks again; one that only lost the connection keeps its place.
            let Some(copy) = &self.instances[who].copy else { continue };
            let gone = copy
                .follows
                .as_ref()
                .is_some_and(|p| self.instances[p].copy.as_ref().is_none_or(|c| c.role != Role::Primary));
            if gone {
                self.instances.get_mut(who).unwrap().copy.as_mut().unwrap().follows = None;
            }
        }
    }

    /// A client writes on `who`: acknowledged when every replica marked synchronized has it, and enough of them.
    pub fn write(&mut self, who: &ReplicaName, row: u32) -> bool {
        let Some(own) = self.instances[who].copy.clone().filter(|c| c.role == Role::Primary && self.instances[who].up)
        else {
            return false;
        };
        let waits: Vec<_> = own.synchronized.iter().filter(|n| *n != who).cloned().collect();
        let there: Vec<_> =
            self.instances.keys().filter(|n| self.connected(n).as_ref() == Some(who)).cloned().collect();
        self.instances.get_mut(who).unwrap().log.push(row);
        for follower in &there {
            let log = self.instances[who].log.clone();
            self.instances.get_mut(follower).unwrap().log = log;
        }
        let hardened = waits.iter().filter(|n| self.instances[*n].log.contains(&row)).count();
        hardened == waits.len() && hardened as u32 >= own.commit_quorum
    }

    /// A new operator process: it remembers nothing.
    pub fn operator_restarts(&mut self) {
        self.memo = None;
        self.suspected_for = Duration::ZERO;
        self.election_since = self.clock;
    }

    /// The engine's part of a moment: primaries commit who is synchronized, followers copy the configuration.
    pub fn engine(&mut self) {
        self.attach();
        let names: Vec<_> = self.instances.keys().cloned().collect();
        for primary in &names {
            let Some(own) = self.instances[primary].copy.clone() else { continue };
            if own.role != Role::Primary || !self.instances[primary].up {
                continue;
            }
            let followers: BTreeSet<_> =
                names.iter().filter(|n| self.connected(n).as_ref() == Some(primary)).cloned().collect();
            let voters: Vec<_> =
                own.members.iter().filter(|(n, m)| m.votes() && (self.instances[*n].copy.is_some())).collect();
            let present = voters.iter().filter(|(n, _)| *n == primary || followers.contains(*n)).count();
            if own.members.len() > 2 && present < voters.len() / 2 + 1 {
                continue;
            }
            let synchronized: BTreeSet<_> = followers
                .iter()
                .filter(|n| own.members.get(*n) == Some(&Mode::Synchronous))
                .cloned()
                .chain([primary.clone()])
                .collect();
            let copy = self.instances.get_mut(primary).unwrap().copy.as_mut().unwrap();
            if copy.synchronized != synchronized {
                copy.synchronized = synchronized;
                copy.number = SequenceNumber(copy.number.0 + 1);
            }
            let copy = copy.clone();
            let log = self.instances[primary].log.clone();
            for follower in followers {
                let instance = self.instances.get_mut(&follower).unwrap();
                instance.log.clone_from(&log);
                let mine = instance.copy.as_mut().unwrap();
                *mine = Copy { role: Role::Secondary, follows: Some(primary.clone()), ..copy.clone() };
                if copy.members.get(&follower).is_some_and(|m| m.holds_data()) {
                    instance.databases.extend(copy.databases.clone());
                }
            }
        }
    }

    fn ticks(&self) -> i64 {
        self.clock.as_millis() as i64
    }

    fn facts(&self, who: &ReplicaName) -> Facts {
        let instance = &self.instances[who];
        let partners = instance
            .partners
            .iter()
            .map(|(p, admitted)| (p.clone(), Partner { certificate: Some(format!("cert-{p}")), admitted: *admitted }));
        let databases = instance.databases.iter().map(|d| {
            let in_group = instance.copy.as_ref().is_some_and(|c| c.databases.contains(d));
            (
                d.clone(),
                DatabaseFacts { state: "ONLINE".into(), full_recovery: true, in_group, log_chain: true, users: None },
            )
        });
        Facts {
            server: Server {
                name: who.to_string(),
                version: "16.0.4225.2".into(),
                edition: "Developer".into(),
                hadr_enabled: true,
                ticks: self.ticks(),
            },
            setup: Setup {
                certificate: instance.provisioned.then(|| format!("cert-{who}")),
                partners: partners.collect(),
                endpoint_started: instance.provisioned.then_some(true),
            },
            stored: Stored { epoch: instance.epoch, settled: instance.settled.clone() },
            group: instance.copy.as_ref().map(|copy| self.group_facts(who, copy)),
            databases: databases.collect(),
            logins: BTreeMap::new(),
        }
    }

    fn group_facts(&self, who: &ReplicaName, copy: &Copy) -> GroupFacts {
        let follower = |n: &ReplicaName| self.connected(n).as_ref() == Some(who);
        let members = copy
            .members
            .iter()
            .map(|(n, m)| (n.clone(), Member { mode: *m, connected: copy.role == Role::Primary && follower(n) }));
        let remote =
            |n: &ReplicaName| copy.role == Role::Primary && n != who && copy.synchronized.contains(n) && follower(n);
        let databases = copy.databases.iter().map(|d| {
            let remote = copy.members.keys().filter(|n| remote(n)).map(|n| (n.clone(), SYNCHRONIZED.into())).collect();
            let local = if copy.role == Role::Primary || self.connected(who).is_some() {
                SYNCHRONIZED
            } else {
                "NOT SYNCHRONIZING"
            };
            (
                d.clone(),
                GroupDatabase {
                    failover_ready: copy.synchronized.contains(who),
                    local: Some(local.into()),
                    suspended: false,
                    redo_queue: 0,
                    remote,
                },
            )
        });
        GroupFacts {
            role: copy.role,
            failover_running: false,
            number: copy.number,
            commit_quorum: copy.commit_quorum,
            connected: self.connected(who).is_some(),
            primary: if copy.role == Role::Primary { Some(who.clone()) } else { copy.follows.clone() },
            commit_pending: false,
            members: members.collect(),
            databases: databases.collect(),
        }
    }

    pub fn observe(&self) -> Observation {
        let replicas = self.instances.iter().map(|(n, instance)| {
            let probe = match (instance.up && !instance.unreachable, instance.provisioned) {
                (false, _) => Probe::Silent { why: "no answer within 1 s".into() },
                (true, false) => Probe::LoginRefused,
                (true, true) => Probe::Answered(Box::new(self.facts(n))),
            };
            let mode = self.group.replicas.get(n).copied().unwrap_or(Mode::Synchronous);
            let silent = matches!(probe, Probe::Silent { .. });
            let pod = Pod {
                exists: true,
                running: instance.up,
                deleting: self.deleting.contains(n),
                gate: self.gates.get(n).copied(),
                ..Pod::default()
            };
            let replica = Replica {
                mode,
                wanted: self.group.replicas.contains_key(n),
                pod,
                probe,
                silent_for: instance.silent_for,
                silent_since: silent.then_some(0),
                rejoining_for: instance.rejoining_for,
            };
            (n.clone(), replica)
        });
        Observation {
            at: self.clock.as_secs() as i64,
            group: self.group.clone(),
            record: self.record.clone(),
            known_databases: self.known.clone(),
            replicas: replicas.collect(),
            routed: self.routed.clone(),
            suspected_for: self.suspected_for,
            election_age: self.clock - self.election_since,
            since_unplanned: self.unplanned_at.map(|at| self.clock - at),
            failover: self.memo,
            request: self.request.clone(),
            certificates: self.certificates.clone(),
        }
    }

    /// One pass: look, decide, act; then time passes.
    pub fn pass(&mut self) -> Plan {
        self.engine();
        let seen = self.observe();
        let plan = decide::decide(&seen);
        self.history.push(format!("{:>7} ms {} {}", self.clock.as_millis(), plan.reason, plan.message));
        for step in plan.waves.iter().flatten() {
            self.history.push(format!("           {step:?}"));
        }
        for wave in &plan.waves {
            let good = wave.iter().map(|step| self.act(step)).fold(true, |all, one| all && one);
            if !good {
                break;
            }
        }
        self.engine();
        let after = plan.recheck.max(Duration::from_millis(10));
        self.clock += after;
        let primary = self.record.as_ref().map(|r| r.primary.clone());
        for who in self.instances.keys().cloned().collect::<Vec<_>>() {
            let there = Some(&who) == primary.as_ref() || self.connected(&who) == primary;
            let instance = self.instances.get_mut(&who).unwrap();
            instance.rejoining_for =
                if there || !instance.up { Duration::ZERO } else { instance.rejoining_for + after };
        }
        let lost = decide::diagnose::primary_is_lost(&self.observe());
        self.suspected_for = if lost { self.suspected_for + after } else { Duration::ZERO };
        plan
    }

    /// Passes until `done`, within `limit` of the world's time.
    pub fn until(&mut self, what: &str, limit: Duration, done: impl Fn(&World, &Plan) -> bool) -> Duration {
        let begin = self.clock;
        loop {
            let plan = self.pass();
            if done(self, &plan) {
                return self.clock - begin;
            }
            assert!(self.clock - begin < limit, "{what}: not within {limit:?}\n{}", self.history.join("\n"));
        }
    }

    pub fn healthy(&mut self) -> Duration {
        self.until("healthy", Duration::from_secs(60), |_, plan| {
            plan.reason == decide::Reason::Healthy && plan.waves.is_empty()
        })
    }

    pub fn primaries(&self) -> Vec<String> {
        let serving = |i: &Instance| i.up && i.copy.as_ref().is_some_and(|c| c.role == Role::Primary);
        self.instances.iter().filter(|(_, i)| serving(i)).map(|(n, _)| n.to_string()).collect()
    }

    fn reachable(&mut self, who: &ReplicaName) -> Option<&mut Instance> {
        self.instances.get_mut(who).filter(|i| i.up && !i.unreachable)
    }

    fn act(&mut self, step: &Step) -> bool {
        match step {
            Step::Record(record) => {
                let newest = self.record.as_ref().map_or(0, |r| r.epoch);
                assert!(record.epoch >= newest, "an epoch went back\n{}", self.history.join("\n"));
                if self.record.as_ref().is_none_or(|r| (r.epoch, r.state) != (record.epoch, record.state)) {
                    self.election_since = self.clock;
                }
                self.record = Some((**record).clone());
                true
            }
            Step::KeepCertificate { replica, certificate } => {
                self.certificates.insert(replica.clone(), certificate.clone());
                true
            }
            Step::Route(to) => {
                self.routed.read_write = to.clone();
                true
            }
            Step::Label { replica, role, readable } => {
                self.routed.roles.insert(replica.clone(), role.clone());
                if *readable {
                    self.routed.readable.insert(replica.clone())
                } else {
                    self.routed.readable.remove(replica)
                };
                true
            }
            Step::Answer { request, finished, message, .. } => {
                self.answers.push((request.clone(), *finished, message.clone()));
                self.request = None;
                true
            }
            Step::Gate { replica, ready } => {
                self.gates.insert(replica.clone(), *ready);
                true
            }
            Step::Announce { .. } => true,
            _ => self.act_on_instance(step),
        }
    }

    fn act_on_instance(&mut self, step: &Step) -> bool {
        let who = step.instance().unwrap().clone();
        let members = self.group.replicas.clone();
        let guard = |instance: &Instance, epoch: u64| instance.epoch <= epoch;
        let connected = self.connected(&who);
        let ticks = self.ticks();
        let seed = self.instances.values().find_map(|i| i.copy.clone().filter(|c| c.role == Role::Primary));
        let Some(instance) = self.reachable(&who) else { return false };
        match step {
            Step::Provision(_) => instance.provisioned = true,
            Step::ImportPartner { partner, .. } => {
                instance.partners.insert(partner.clone(), true);
            }
            Step::CreateGroup { .. } => {
                let copy = Copy {
                    role: Role::Primary,
                    number: SequenceNumber::new(1, 1),
                    commit_quorum: 0,
                    members,
                    follows: None,
                    synchronized: BTreeSet::from([who.clone()]),
                    databases: BTreeSet::new(),
                };
                instance.copy = Some(copy);
            }
            Step::Join { .. } => {
                let Some(primary) = seed else { return false };
                instance.copy = Some(Copy { role: Role::Resolving, follows: None, ..primary });
            }
            Step::StandDown { epoch, unless_connected_to, admit, .. } => {
                if !guard(instance, *epoch) || (unless_connected_to.is_some() && connected == *unless_connected_to) {
                    return false;
                }
                instance.epoch = *epoch;
                instance.partners.iter_mut().for_each(|(partner, admitted)| *admitted = admit.contains(partner));
                let copy = instance.copy.as_mut().unwrap();
                copy.role = Role::Resolving;
                copy.follows = None;
            }
            Step::Follow { epoch, primary, .. } => {
                if !guard(instance, *epoch) {
                    return false;
                }
                instance.epoch = *epoch;
                instance.partners.iter_mut().for_each(|(partner, admitted)| *admitted = partner == primary);
                let copy = instance.copy.as_mut().unwrap();
                if copy.role == Role::Resolving {
                    copy.role = Role::Secondary;
                    copy.follows = None;
                }
            }
            Step::Failover { epoch, number, deadline, .. } => {
                return self.failover(&who, *epoch, *number, *deadline, ticks);
            }
            Step::StoreSettled { record, .. } => {
                instance.epoch = record.epoch;
                instance.settled = Some((**record).clone());
            }
            Step::SetCommitQuorum { value, .. } => {
                let copy = instance.copy.as_mut().unwrap();
                copy.commit_quorum = *value;
                copy.number = SequenceNumber(copy.number.0 + 1);
            }
            Step::AdmitAll(_) => instance.partners.values_mut().for_each(|admitted| *admitted = true),
            Step::CreateDatabase { database, .. } => {
                instance.databases.insert(database.clone());
            }
            Step::AddDatabase { database, .. } => {
                let copy = instance.copy.as_mut().unwrap();
                copy.databases.insert(database.clone());
                copy.number = SequenceNumber(copy.number.0 + 1);
                self.known.insert(database.clone());
            }
            Step::RestartEndpoint(_) => {}
            other => panic!("not modelled: {other:?}"),
        }
        true
    }

    fn failover(&mut self, who: &ReplicaName, epoch: u64, number: SequenceNumber, deadline: i64, ticks: i64) -> bool {
        let refuses = self.instances[who].refuses_failover;
        let instance = self.instances.get_mut(who).unwrap();
        let copy = instance.copy.as_mut().unwrap();
        assert!(
            self.record.as_ref().is_some_and(|r| r.primary == *who && r.epoch == epoch),
            "FAILOVER without a recorded election"
        );
        if instance.epoch != epoch || copy.number != number || ticks > deadline {
            self.memo = Some(FailoverMemo { epoch, answer: FailoverAnswer::Refused(50_003) });
            return false;
        }
        if refuses || (!copy.synchronized.contains(who) && !copy.databases.is_empty()) {
            self.memo = Some(FailoverMemo { epoch, answer: FailoverAnswer::Refused(41_142) });
            return false;
        }
        copy.role = Role::Primary;
        copy.number = SequenceNumber::new((copy.number.0 >> 32) as u32 + 1, 0);
        copy.follows = None;
        instance.partners.values_mut().for_each(|admitted| *admitted = true);
        self.memo = Some(FailoverMemo { epoch, answer: FailoverAnswer::Accepted });
        true
    }
}
