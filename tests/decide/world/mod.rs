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
use standin::faults::FailoverEngine;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

mod batches;
mod engine;
mod facts;
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
    /// Its kubelet says that its container ended, perhaps long ago.
    pub terminated: bool,
    /// The highest promotion that it promised to follow, where FAILOVER needs promises.
    pub promised: u32,
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
    /// PRIMARY: who is synchronized, and the commit quorum, as the last committed configuration says.
    pub committed: (BTreeSet<ReplicaName>, u32),
    /// PRIMARY: who accepted the configuration that is not committed yet.
    pub accepted: Option<BTreeSet<ReplicaName>>,
    /// Whom it followed last.
    pub last: Option<ReplicaName>,
    pub databases: BTreeSet<DatabaseName>,
    /// A forced primary: nobody else votes on what it changes.
    pub alone: bool,
}

/// A write that is not acknowledged yet.
#[derive(Clone, Debug)]
pub struct Write {
    pub at: ReplicaName,
    /// Who ever hardened it.
    pub hardened: BTreeSet<ReplicaName>,
}

/// What one operator process remembers.
#[derive(Clone, Default)]
pub struct Operator {
    pub memo: Option<FailoverMemo>,
    suspected_since: Option<Duration>,
    /// Epoch and state seen, and since when.
    election: Option<(u64, ElectionState, Duration)>,
    /// How long each replica was on its way back at the pass before.
    rejoined_for: BTreeMap<ReplicaName, Duration>,
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
    /// How FAILOVER works inside.
    pub variant: FailoverEngine,
    /// A secondary takes a primary whose number is below its own; only where FAILOVER is local.
    pub follows_lower_numbers: bool,
    /// A RESOLVING replica goes back by itself to the primary that it followed last.
    pub returns_by_itself: bool,
    /// A restarted primary comes back PRIMARY.
    pub restarts_as_primary: bool,
    /// A promotion marks nobody else synchronized.
    pub marks_itself_alone: bool,
    /// Secondaries that are connected and do not keep up.
    pub lagging: BTreeSet<ReplicaName>,
    /// Where clients were sent while it was primary, until it is not.
    pub clients: BTreeSet<ReplicaName>,
    pub open: BTreeMap<u32, Write>,
    pub acknowledged: BTreeSet<u32>,
    /// A FAILOVER that took effect although nobody was waiting for it.
    pub stray_failover: Option<String>,
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
        certificate_rotation: None,
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
            variant: FailoverEngine::Local,
            follows_lower_numbers: true,
            returns_by_itself: false,
            restarts_as_primary: false,
            marks_itself_alone: false,
            lagging: BTreeSet::new(),
            clients: BTreeSet::new(),
            open: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            stray_failover: None,
            follows_on: false,
        }
    }

    pub fn instance(&mut self, who: &str) -> &mut Instance {
        self.instances.get_mut(&name(who)).unwrap()
    }

    pub fn kill(&mut self, who: &str) {
        self.instance(who).up = false;
        self.engine();
    }

    /// Comes back as a restarted instance does: RESOLVING, following nobody, or as the primary it was.
    pub fn restart(&mut self, who: &str) {
        let again = self.restarts_as_primary;
        let local = self.variant == FailoverEngine::Local;
        let instance = self.instance(who);
        instance.up = true;
        let Some(copy) = &mut instance.copy else { return };
        copy.follows = None;
        if again && copy.role == Role::Primary {
            // It counts on everybody until it knows better.
            let all = copy.members.iter().filter(|(_, mode)| **mode == Mode::Synchronous);
            copy.committed.0 = all.map(|(name, _)| name.clone()).collect();
            copy.accepted = (!local).then(|| BTreeSet::from([name(who)]));
        } else {
            (copy.role, copy.accepted) = (Role::Resolving, None);
        }
    }

    /// Nobody reaches it, the operator included.
    pub fn isolate(&mut self, who: &str) {
        self.instance(who).unreachable = true;
        let others: Vec<_> = self.instances.keys().filter(|other| other.as_str() != who).cloned().collect();
        self.cuts.extend(others.into_iter().map(|other| (name(who), other)));
        self.engine();
    }

    pub fn heal(&mut self) {
        self.cuts.clear();
        self.instances.values_mut().for_each(|instance| instance.unreachable = false);
        self.engine();
    }

    pub fn primaries(&self) -> Vec<String> {
        self.instances.keys().filter(|name| self.serves(name)).map(ToString::to_string).collect()
    }

    /// No rule of promotion.md 8 is broken.
    pub fn check(&self) {
        let written = serde_json::to_value(&self.record).unwrap();
        assert!(!has_empty_map(&written), "an empty map is null once it is written: {written}");
        if let Some(broken) = self.broken() {
            panic!("{broken}\n{}", self.history.join("\n"));
        }
    }
}

/// Whether what is written holds a map without fields, which server-side apply makes null if it had some before.
pub fn has_empty_map(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Object(fields) => fields.is_empty() || fields.values().any(has_empty_map),
        serde_json::Value::Array(items) => items.iter().any(has_empty_map),
        _ => false,
    }
}
