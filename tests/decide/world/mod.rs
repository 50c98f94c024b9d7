//! A small engine under the real `decide`: every effect lands at once and completely, so that a test reads as a story of
//! passes. Faults are switches on instances and links. The engine's own protocol is not modelled beyond what a pass sees.

use quorate::{
    decide::{
        self, ElectionState, Observation, Plan, Record, Step,
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

mod engine;
mod operator;

pub fn name(text: &str) -> ReplicaName {
    ReplicaName::new(text).unwrap()
}

#[derive(Clone, Debug, Default)]
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

#[derive(Clone, Debug)]
pub struct Copy {
    pub role: Role,
    pub number: SequenceNumber,
    pub commit_quorum: u32,
    pub members: BTreeMap<ReplicaName, Mode>,
    pub follows: Option<ReplicaName>,
    /// Replicas marked synchronized.
    pub synchronized: BTreeSet<ReplicaName>,
    pub databases: BTreeSet<DatabaseName>,
    /// A forced primary: nobody else votes on what it changes.
    pub alone: bool,
}

/// What one operator process remembers.
#[derive(Clone, Default)]
pub struct Operator {
    pub memo: Option<FailoverMemo>,
    suspected_since: Option<Duration>,
    /// Epoch and state seen, and since when.
    election: Option<(u64, ElectionState, Duration)>,
}

/// What a wave's step came to.
#[derive(Clone, Copy, PartialEq)]
pub enum Fate {
    /// It lands at once and is answered.
    Lands,
    /// It is sent; the answer is lost, and it lands later or never.
    Hangs,
    /// The operator ends before it.
    Ends,
}

#[derive(Clone)]
pub struct World {
    pub group: Group,
    pub record: Option<Record>,
    pub instances: BTreeMap<ReplicaName, Instance>,
    pub routed: Routed,
    pub certificates: BTreeMap<ReplicaName, String>,
    pub known: BTreeSet<DatabaseName>,
    pub clock: Duration,
    pub operator: Operator,
    /// Batches that were sent, whose answer was lost, and that have not landed yet.
    pub mail: Vec<Step>,
    /// Grows with every write of the record: the compare-and-swap.
    pub version: u64,
    pub request: Option<Request>,
    pub answers: Vec<(String, Option<bool>, String)>,
    pub deleting: BTreeSet<ReplicaName>,
    pub gates: BTreeMap<ReplicaName, bool>,
    pub cuts: BTreeSet<(ReplicaName, ReplicaName)>,
    pub unplanned_at: Option<Duration>,
    pub history: Vec<String>,
    /// Standing down means nothing: whoever did goes on hardening for the old primary.
    pub follows_on: bool,
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
            operator: Operator::default(),
            mail: vec![],
            version: 0,
            request: None,
            answers: vec![],
            deleting: BTreeSet::new(),
            gates: BTreeMap::new(),
            cuts: BTreeSet::new(),
            unplanned_at: None,
            history: vec![],
            follows_on: false,
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

    pub fn primaries(&self) -> Vec<String> {
        let serving = |i: &Instance| i.up && i.copy.as_ref().is_some_and(|c| c.role == Role::Primary);
        self.instances.iter().filter(|(_, i)| serving(i)).map(|(n, _)| n.to_string()).collect()
    }
}
