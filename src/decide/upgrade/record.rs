//! The record of an upgrade: what cannot be seen again, and what was intended before it was done.

use crate::model::{
    DatabaseName, Lsn,
    upgrade::{Approval, Wish},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Where an upgrade is, as people read it (upgrade.md, "Steps").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Step {
    /// Queries only.
    Preflight,
    /// Certificates, logins, the link.
    PreparingStage,
    /// Databases are copied whole, then follow.
    Seeding,
    /// The front Service is there and leads to production; the stage's endpoint is listed.
    EndpointsOffline,
    /// All of that stays true until a person says Start.
    ReadyForUpgrade,
    /// The fence is closed and everybody who could write is gone.
    ReadOnly,
    /// The link commits synchronously; the barrier is in every database.
    Synchronizing,
    /// The link is cut; the stage is promoted and shows the barrier.
    Terminating,
    /// The script runs on the stage.
    RunningScript,
    /// Queries, endpoint and a write on the stage.
    Verifying,
    /// The fence is for good; users are led to the stage in one write.
    Switching,
    /// Users are on the new version; production stays fenced.
    Soaking,
    /// The old version may be removed.
    Retiring,
    /// Over, and well.
    Succeeded,
    /// Production gets its writers back.
    RollingBack,
    /// Over; users never left production.
    RolledBack,
}

impl Step {
    /// All of them, in order.
    pub const ALL: [Self; 16] = [
        Self::Preflight,
        Self::PreparingStage,
        Self::Seeding,
        Self::EndpointsOffline,
        Self::ReadyForUpgrade,
        Self::ReadOnly,
        Self::Synchronizing,
        Self::Terminating,
        Self::RunningScript,
        Self::Verifying,
        Self::Switching,
        Self::Soaking,
        Self::Retiring,
        Self::Succeeded,
        Self::RollingBack,
        Self::RolledBack,
    ];

    /// Nothing is done any more.
    pub fn is_last(self) -> bool {
        matches!(self, Self::Succeeded | Self::RolledBack)
    }

    /// Production is fenced in it, or is being fenced.
    pub fn is_read_only(self) -> bool {
        (Self::ReadOnly..=Self::Switching).contains(&self)
    }
}

/// What cannot be seen again. It is written by compare-and-swap before what it allows is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Number of the attempt, from 1 on.
    pub attempt: u32,
    /// Where it is.
    pub step: Step,
    /// When that step began, milliseconds since 1970.
    pub since: i64,
    /// Steps before it in this attempt, and how many milliseconds each took.
    pub took: Vec<(Step, i64)>,
    /// What the attempt uses, frozen at its start.
    pub inputs: Inputs,
    /// Steps that a person approved.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub approved: BTreeMap<Approval, Said>,
    /// What the spec approved already when this attempt began: it was said of the one before. What is taken out and said
    /// again counts.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub stale: BTreeSet<Approval>,
    /// A person gave up.
    #[serde(default)]
    pub aborted: bool,
    /// When production became read-only, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only_since: Option<i64>,
    /// When writers had somewhere to write again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only_until: Option<i64>,
    /// Production's last commit in each database when the copies were level, the barrier being the last.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub barrier: BTreeMap<DatabaseName, Lsn>,
    /// The link may be dropped on production: from here on the stage can only be promoted or copied anew.
    #[serde(default)]
    pub terminating: bool,
    /// Users may be on the stage: from here on production never opens by itself.
    #[serde(default)]
    pub switching: bool,
    /// Why it was rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// What an attempt uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inputs {
    /// UID of production's group.
    pub production: String,
    /// UID of the stage's group.
    pub stage: String,
    /// Databases of production's group.
    pub databases: BTreeSet<DatabaseName>,
    /// Hash of the script: files or template.
    pub script: String,
    /// The spec as it was. Of a later one only approvals and abort count.
    pub wish: Wish,
}

/// Who said something, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The field manager that wrote it; empty when Kubernetes does not tell.
    pub by: String,
    /// When it was seen, milliseconds since 1970.
    pub at: i64,
}

/// Why an attempt was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// In which step.
    pub step: Step,
    /// The word.
    pub reason: super::Reason,
    /// The sentence.
    pub message: String,
}

impl Record {
    /// The first record of an attempt.
    pub fn first(attempt: u32, inputs: Inputs, at: i64) -> Self {
        Self {
            attempt,
            step: Step::PreparingStage,
            since: at,
            took: Vec::new(),
            inputs,
            approved: BTreeMap::new(),
            stale: BTreeSet::new(),
            aborted: false,
            read_only_since: None,
            read_only_until: None,
            barrier: BTreeMap::new(),
            terminating: false,
            switching: false,
            failure: None,
        }
    }

    /// The same, in another step.
    #[must_use]
    pub fn to(&self, step: Step, at: i64) -> Self {
        let mut next = self.clone();
        next.took.push((self.step, (at - self.since).max(0)));
        (next.step, next.since) = (step, at);
        next
    }

    /// Whether this may be done now: nobody wants to be asked, or somebody was.
    pub fn allows(&self, step: Approval) -> bool {
        !self.inputs.wish.manual.contains(&step) || self.approved.contains_key(&step)
    }

    /// Whether users are on the stage, or may be.
    pub fn is_switched(&self) -> bool {
        self.switching && !self.failed_for(super::Reason::Discarded)
    }

    /// Whether it was given up for this.
    pub fn failed_for(&self, reason: super::Reason) -> bool {
        self.failure.as_ref().is_some_and(|failure| failure.reason == reason)
    }

    /// Seconds that production has been read-only at `at`, or was.
    pub fn read_only_seconds(&self, at: i64) -> Option<i64> {
        let since = self.read_only_since?;
        Some((self.read_only_until.unwrap_or(at) - since).max(0) / 1_000)
    }
}
