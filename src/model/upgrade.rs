//! A staged upgrade as its owner wants it, and what it asks of a group while it runs (upgrade.md).

use super::{DatabaseName, GroupName, LoginName, name::hash};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, time::Duration};

/// The upgrade that a group takes part in: while it is there, the group neither scales nor rotates certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveUpgrade {
    /// Name of the `RollingUpgrade`.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its UID.
    pub uid: String,
    /// What the group is in it.
    pub slot: Slot,
    /// What makes the group read-only. `None`: nothing does.
    pub fence: Option<Fence>,
}

/// What a group is in an upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Slot {
    /// It serves users until the switch, and stays the primary side throughout.
    Production,
    /// Its databases are a copy of production's; the script runs there.
    Stage,
    /// In another region: follows production.
    ProductionDr,
    /// In another region: follows the stage.
    StageDr,
}

/// A logon trigger on every replica with data that lets nobody but listed logins into the primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// How it stands.
    pub state: FenceState,
    /// When the triggers open by themselves, seconds since 1970 by each instance's own clock; state On only.
    pub until: i64,
    /// Logins that may enter the primary, beside the operator's own.
    pub allowed: BTreeSet<LoginName>,
}

/// How a fence is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FenceState {
    /// The triggers are there and disabled.
    Prepared,
    /// Nobody writes, until it expires.
    On,
    /// Nobody writes, for ever: users write elsewhere by now.
    Kept,
    /// The triggers go, writers come back.
    Lifted,
}

/// A moment that never comes, for triggers: 9999-01-01.
pub const NEVER: i64 = 253_370_764_800;

impl Fence {
    /// Whether it refuses writers at this moment, seconds since 1970.
    pub fn is_closed(&self, now: i64) -> bool {
        match self.state {
            FenceState::Kept => true,
            FenceState::On => now < self.until,
            FenceState::Prepared | FenceState::Lifted => false,
        }
    }

    /// When its triggers open, seconds since 1970: at once when it is only prepared.
    pub fn opens(&self) -> i64 {
        match self.state {
            FenceState::Kept => NEVER,
            FenceState::On => self.until,
            FenceState::Prepared | FenceState::Lifted => 0,
        }
    }

    /// A word that differs for triggers of another text.
    pub fn mark(&self, databases: &BTreeSet<DatabaseName>) -> String {
        let names = databases.iter().map(DatabaseName::as_str).chain([""]);
        let allowed = self.allowed.iter().map(LoginName::as_str);
        let parts: Vec<_> = names.chain(allowed).collect();
        hash(&format!("{} {parts:?}", self.opens()))
    }
}

/// A step that a person approves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Approval {
    /// Production may become read-only.
    Start,
    /// A script that failed was brought to its end by hand.
    Script,
    /// Users may be switched.
    Switch,
    /// The old version may be given up.
    Retire,
}

/// An upgrade as its owner wants it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wish {
    /// Name of the object.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its UID.
    pub uid: String,
    /// Names of the groups and of the Services of their applications: production, then stage.
    pub slots: [(GroupName, String); 2],
    /// The slots of another region. `None`: there is one region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geo: Option<Geo>,
    /// The Service that users reach.
    pub front: String,
    /// The script.
    pub script: Script,
    /// Longest time that it may take.
    pub script_time: Duration,
    /// When it fails, everything stays as it is until a person decides.
    #[serde(default)]
    pub pauses: bool,
    /// Queries after it.
    pub verify: Vec<Verification>,
    /// Longest time that production may be read-only.
    pub read_only: Duration,
    /// Time that transactions have to end by themselves.
    pub drain: Duration,
    /// Logins that may enter production's primary meanwhile.
    pub allowed: BTreeSet<LoginName>,
    /// Steps that wait for a person.
    pub manual: BTreeSet<Approval>,
    /// Steps that are approved in the spec.
    pub approved: BTreeSet<Approval>,
    /// The spec gives up.
    pub abort: bool,
    /// To give up after the switch loses what users wrote on the stage since, and that is meant.
    #[serde(default)]
    pub discards: bool,
}

/// The slots of another region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Geo {
    /// Follows production.
    pub production: Place,
    /// Follows the stage.
    pub stage: Place,
    /// Users are not switched before the stage's copy there has what the script did.
    pub required: bool,
}

/// A group and the Service of its application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Name of the group.
    pub group: GroupName,
    /// Namespace of both.
    pub namespace: String,
    /// Name of the Service.
    pub endpoint: String,
}

impl Wish {
    /// Every slot with its group and endpoint, production first.
    pub fn places(&self) -> Vec<(Slot, Place)> {
        let here = [Slot::Production, Slot::Stage].into_iter().zip(&self.slots).map(|(slot, (group, endpoint))| {
            (slot, Place { group: group.clone(), namespace: self.namespace.clone(), endpoint: endpoint.clone() })
        });
        let there = self
            .geo
            .iter()
            .flat_map(|geo| [(Slot::ProductionDr, geo.production.clone()), (Slot::StageDr, geo.stage.clone())]);
        here.chain(there).collect()
    }

    /// Whether an attempt with this wish would be another one: whatever people say while it is under way set aside.
    pub fn differs(&self, other: &Self) -> bool {
        let plain = |wish: &Self| Self { approved: BTreeSet::new(), abort: false, discards: false, ..wish.clone() };
        plain(self) != plain(other)
    }
}

/// What runs on the stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Script {
    /// Files of a ConfigMap.
    Files {
        /// Its name.
        config_map: String,
        /// The database that they start in. `None`: the first one.
        database: Option<DatabaseName>,
    },
    /// A Job of the user's own: its spec.
    Job(serde_json::Map<String, serde_json::Value>),
}

/// What a run of the script is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptOrder {
    /// The database that it starts in.
    pub database: DatabaseName,
    /// The token of the attempt: the barrier, which it looks for before it runs anything, and the mark of the stage.
    pub barrier: String,
    /// The token that it leaves behind.
    pub completion: String,
    /// Hash of the files.
    pub hash: String,
    /// The link that the stage leads: beside it there must be none.
    pub link: Option<GroupName>,
}

/// A query and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// Where it runs.
    pub database: DatabaseName,
    /// The query, as the user wrote it.
    pub query: String,
    /// What the first column of its first row must be, as text.
    pub expect: String,
}
