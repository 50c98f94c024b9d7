//! The record of role changes, `status.election`, and what may follow what.

use crate::model::{ReplicaName, SequenceNumber};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How far an election got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ElectionState {
    /// Voters are asked to stand down; nobody may be promoted yet.
    Open,
    /// One replica may be sent FAILOVER, or was.
    Elected,
    /// A majority follows the primary.
    Settled,
    /// Closed without a promotion; the previous primary is the primary.
    Void,
}

/// The memory of role changes. Written by compare-and-swap on the object's resourceVersion only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Number of the election; grows for ever.
    pub epoch: u64,
    /// How far it got.
    pub state: ElectionState,
    /// The primary: the one to be (Elected), the one that is (Settled), the last one (Open, Void).
    pub primary: ReplicaName,
    /// The sequence number the candidate held when it was elected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<SequenceNumber>,
    /// The candidate's `ms_ticks` after which a FAILOVER of this election has no effect; Elected only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<i64>,
    /// The primary before this election; Open (equals `primary`), Elected and Settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<ReplicaName>,
    /// Voters seen following the settled primary.
    #[serde(default)]
    pub followers: BTreeSet<ReplicaName>,
    /// `followers` of the previous primary, while this election is not settled.
    #[serde(default)]
    pub previous_followers: BTreeSet<ReplicaName>,
    /// Candidates the engine refused (41142), each at the number it held then: until that number changes.
    #[serde(default)]
    pub refused: BTreeMap<ReplicaName, SequenceNumber>,
    /// Voters of the largest membership that may be in force.
    pub voters: BTreeSet<ReplicaName>,
    /// The commit quorum the gate works with: never more than what is in force.
    pub commit_quorum: u32,
    /// No election was ever settled: members that were not asked to join yet do not count as voters.
    #[serde(default)]
    pub bootstrapping: bool,
    /// Nobody failed: a `Failover` object, a drain, the first start.
    #[serde(default)]
    pub planned: bool,
    /// The `Failover` object it serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// The primary when it was opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<ReplicaName>,
    /// The replica asked for; a wish among equals, no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<ReplicaName>,
    /// The old primary is one of the voters that stood down first (switchover, restarted, unfollowed).
    #[serde(default)]
    pub primary_stands_down: bool,
    /// Wall clock when it was opened, seconds since 1970; for people.
    #[serde(default)]
    pub opened: i64,
}

/// Why an election is opened, as far as the road depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// Nobody failed.
    pub planned: bool,
    /// The `Failover` object it serves.
    pub request: Option<String>,
    /// The replica asked for.
    pub target: Option<ReplicaName>,
    /// The primary answers and is the first voter to stand down.
    pub primary_stands_down: bool,
}

impl Record {
    /// The record of bring-up, written before CREATE AVAILABILITY GROUP.
    pub fn first(primary: ReplicaName, at: i64) -> Self {
        Self {
            epoch: 1,
            state: ElectionState::Elected,
            voters: BTreeSet::from([primary.clone()]),
            primary,
            number: None,
            deadline: None,
            previous: None,
            followers: BTreeSet::new(),
            previous_followers: BTreeSet::new(),
            refused: BTreeMap::new(),
            commit_quorum: 0,
            bootstrapping: true,
            planned: true,
            request: None,
            from: None,
            target: None,
            primary_stands_down: false,
            opened: at,
        }
    }

    /// Opens the next election. `epoch` must be above every epoch seen.
    pub fn open(&self, epoch: u64, cause: Cause, at: i64) -> Self {
        // The lineage of a primary that nobody follows yet stays: it is what we may have to go back to.
        let unsettled = matches!(self.state, ElectionState::Elected | ElectionState::Open);
        Self {
            epoch,
            state: ElectionState::Open,
            previous: if unsettled { self.previous.clone() } else { None },
            previous_followers: if unsettled { self.previous_followers.clone() } else { BTreeSet::new() },
            number: None,
            deadline: None,
            planned: cause.planned,
            request: cause.request,
            from: Some(self.primary.clone()),
            target: cause.target,
            primary_stands_down: cause.primary_stands_down,
            opened: at,
            ..self.clone()
        }
    }

    /// Names the candidate, before FAILOVER is sent.
    pub fn elect(&self, candidate: ReplicaName, number: SequenceNumber, deadline: i64) -> Self {
        // A primary that nobody ever followed is not what we go back to: its own predecessor is.
        let (previous, previous_followers) = match &self.previous {
            Some(previous) => (previous.clone(), self.previous_followers.clone()),
            None => (self.primary.clone(), self.followers.clone()),
        };
        Self {
            state: ElectionState::Elected,
            primary: candidate,
            number: Some(number),
            deadline: Some(deadline),
            previous: Some(previous),
            previous_followers,
            followers: BTreeSet::new(),
            ..self.clone()
        }
    }

    /// Closes an election that promoted nobody: the previous primary and its followers are back.
    pub fn void(&self, epoch: u64, refused: bool) -> Self {
        let mut next = self.clone();
        if refused && let Some(number) = self.number {
            next.refused.insert(self.primary.clone(), number);
        }
        next.epoch = epoch;
        next.state = ElectionState::Void;
        next.number = None;
        next.deadline = None;
        if let Some(previous) = next.previous.take() {
            next.primary = previous;
            next.followers = std::mem::take(&mut next.previous_followers);
        }
        next
    }

    /// Closes an election because the replica elected before it, whom nobody was recorded to follow, lives after all.
    pub fn reinstate(&self, epoch: u64) -> Self {
        Self { epoch, state: ElectionState::Elected, number: None, deadline: None, ..self.clone() }
    }

    /// Replicas that may be promoted: the recorded primary and whoever was seen following it; while the last election
    /// was never settled also the primary before it and its followers.
    pub fn lineage(&self) -> BTreeSet<&ReplicaName> {
        let mut lineage: BTreeSet<_> = self.followers.iter().collect();
        lineage.insert(&self.primary);
        lineage.extend(&self.previous);
        lineage.extend(&self.previous_followers);
        lineage
    }

    /// The primary is followed by a majority.
    pub fn settle(&self, followers: BTreeSet<ReplicaName>) -> Self {
        Self {
            state: ElectionState::Settled,
            previous: None,
            previous_followers: BTreeSet::new(),
            refused: BTreeMap::new(),
            number: None,
            deadline: None,
            bootstrapping: false,
            followers,
            ..self.clone()
        }
    }
}
