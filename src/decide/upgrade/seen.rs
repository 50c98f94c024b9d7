//! Everything one pass over an upgrade saw.

use super::{observation::Facts, record::Record};
use crate::model::{self, ActiveUpgrade, GroupName, Mode, ReplicaName, SecondaryConnections, upgrade::Wish};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What one pass saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Wall clock, milliseconds since 1970.
    pub at: i64,
    /// The wish.
    pub wish: Wish,
    /// Who wrote its approvals last. `None`: nobody did.
    pub approver: Option<String>,
    /// What was recorded, read uncached in this pass. `None`: nothing yet.
    pub record: Option<Record>,
    /// The old version.
    pub production: Slot,
    /// The new one.
    pub stage: Slot,
    /// Those of another region.
    pub geo: Option<Geo>,
    /// The front Service. `None`: it does not exist.
    pub front: Option<Front>,
    /// The script as it is now.
    pub script: Script,
    /// The Job of this attempt.
    pub job: Job,
    /// Answers to the queries of `spec.verify`, in their order. Empty: not asked yet.
    pub answers: Vec<Answer>,
    /// Looks in a row, of this process, that saw no session of others on the fenced primary.
    pub quiet: u32,
    /// Looks in a row, of this process, that saw every database level on both sides with the barrier inside.
    pub level: u32,
}

/// The slots of another region.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Geo {
    /// Follows production.
    pub production: Slot,
    /// Follows the stage.
    pub stage: Slot,
}

/// One deployment of the application with its group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Slot {
    /// Namespace of all of it.
    pub namespace: String,
    /// Name of its group.
    pub group: String,
    /// The group. `None`: it does not exist.
    pub found: Option<Group>,
    /// Its endpoint.
    pub endpoint: Endpoint,
}

/// A group of an upgrade.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: GroupName,
    /// Its namespace.
    pub namespace: String,
    /// Its UID.
    pub uid: String,
    /// Its condition Ready is True, or it is read-only and nothing else.
    pub ready: bool,
    /// Why it is not ready.
    pub message: String,
    /// Databases of its spec.
    pub databases: usize,
    /// Other namespaces whose upgrades it may take part in.
    pub upgrades_from: Vec<String>,
    /// Who may connect to its secondaries.
    pub secondary_connections: SecondaryConnections,
    /// The upgrade it takes part in.
    pub upgrade: Option<ActiveUpgrade>,
    /// Replicas wanted, with the mode of each.
    pub replicas: BTreeMap<ReplicaName, Mode>,
    /// What those answered that did.
    pub facts: BTreeMap<ReplicaName, Facts>,
    /// Its `-rw` leads to readers.
    pub readers: bool,
}

/// The Service of an application.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// What it selects. `None`: it does not exist. Empty: it selects nothing.
    pub selector: Option<BTreeMap<String, String>>,
    /// Its pods that are ready.
    pub ready: u32,
    /// Its pods.
    pub pods: u32,
}

/// The front Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Front {
    /// What it selects.
    pub selector: BTreeMap<String, String>,
    /// The endpoint of another region that it names as the one to go to when this region is lost: `namespace/name`.
    pub standby: Option<String>,
    /// It is ours.
    pub ours: bool,
    /// Ready pods that it leads to, by the endpoint whose pods they are.
    pub leads_to: BTreeMap<String, u32>,
}

/// The script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Script {
    /// It can be run, and this is its hash.
    Ready(String),
    /// It cannot be read, or says something that cannot be: field, file, line.
    Wrong(String),
    /// The API server did not answer.
    Unknown,
}

/// The Job that runs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Job {
    /// There is none.
    Absent,
    /// It is there and has not ended.
    Running,
    /// It ended well.
    Complete,
    /// It ended in another way, with its last words.
    Failed(String),
    /// The API server did not answer.
    Unknown,
}

/// The answer to a query of `spec.verify`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The first column of its first row, as text; NULL and no row are empty.
    Value(String),
    /// An error of the query itself.
    Error(String),
    /// No answer.
    Silent,
}

impl Observation {
    /// All slots, production first.
    pub fn slots(&self) -> impl Iterator<Item = (model::Slot, &Slot)> {
        let here = [(model::Slot::Production, &self.production), (model::Slot::Stage, &self.stage)];
        let geo = self.geo.iter();
        let there =
            geo.flat_map(|geo| [(model::Slot::ProductionDr, &geo.production), (model::Slot::StageDr, &geo.stage)]);
        here.into_iter().chain(there)
    }
}

impl Slot {
    /// How the front Service names its endpoint as the one of another region.
    pub fn address(&self) -> String {
        format!("{}/{}", self.namespace, self.endpoint.name)
    }
}

impl Group {
    /// What stands for a group that does not exist.
    pub fn absent(name: GroupName, namespace: String) -> Self {
        Self {
            name,
            namespace,
            uid: String::new(),
            ready: false,
            message: "it does not exist".into(),
            databases: 0,
            upgrades_from: Vec::new(),
            secondary_connections: SecondaryConnections::All,
            upgrade: None,
            replicas: BTreeMap::new(),
            facts: BTreeMap::new(),
            readers: false,
        }
    }

    /// The replica that says it is the primary of its group, when it is the only one.
    pub fn primary(&self) -> Option<(&ReplicaName, &Facts)> {
        let mut leading = self.facts.iter().filter(|(_, facts)| facts.leads());
        let first = leading.next()?;
        leading.next().is_none().then_some(first)
    }

    /// What it was asked for by the upgrade with this UID. `None`: it takes part in no upgrade, or in another one.
    pub fn claim(&self, uid: &str) -> Option<&ActiveUpgrade> {
        self.upgrade.as_ref().filter(|upgrade| upgrade.uid == uid)
    }

    /// Replicas that hold data.
    pub fn with_data(&self) -> impl Iterator<Item = &ReplicaName> {
        self.replicas.iter().filter(|(_, mode)| mode.holds_data()).map(|(name, _)| name)
    }

    /// Replicas that hold data and do not answer.
    pub fn silent(&self) -> Vec<&str> {
        self.with_data().filter(|name| !self.facts.contains_key(*name)).map(ReplicaName::as_str).collect()
    }
}
