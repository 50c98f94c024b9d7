//! The record of role changes, `status.election`, and what may follow what.

use crate::model::{ReplicaName, SequenceNumber};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

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
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
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
    /// A person accepted data loss: `target` is promoted whatever it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced: Option<Forced>,
    /// Members that a forced failover left behind, with its epoch, until they are seen following its primary.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub apart: BTreeMap<ReplicaName, u64>,
    /// When it came how far; for people.
    #[serde(default, skip_serializing_if = "Times::is_unset")]
    pub times: Times,
}

/// What a person accepted, and what was known then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Forced {
    /// Databases of other replicas are resumed: what they hold beyond the new primary is discarded.
    #[serde(default)]
    pub resume: bool,
    /// Who stood down with which number and log, and who was missing; empty until it was promoted.
    #[serde(default)]
    pub evidence: String,
}

/// When an election came how far: wall clock of whoever recorded it, milliseconds since 1970. In the record, so that the
/// process that ends a change of the primary knows how long the steps of another one took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Times {
    /// The first silence of the old primary, or when it was asked to go. Kept until a primary serves: elections that came
    /// to nothing are part of the same change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspected: Option<i64>,
    /// The election was opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<i64>,
    /// One replica was elected: enough voters had stood down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elected: Option<i64>,
    /// It was first seen as primary by whoever settled the election.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted: Option<i64>,
    /// A majority followed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<i64>,
}

impl Times {
    fn is_unset(&self) -> bool {
        *self == Self::default()
    }
}

/// Part of a change of the primary, measured from the end of the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// From the first silence to the recorded election.
    Suspected,
    /// Until enough voters stood down and one was elected.
    StoodDown,
    /// Until it was primary.
    Promoted,
    /// Until a majority followed it and it was recorded.
    Settled,
    /// Until traffic went to it.
    Routed,
}

impl Part {
    /// As label, in logs and in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Suspected => "Suspected",
            Self::StoodDown => "StoodDown",
            Self::Promoted => "Promoted",
            Self::Settled => "Settled",
            Self::Routed => "Routed",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Times {
    /// How long each part took, with traffic routed at `routed`; parts whose end nobody noted are left out. Clocks of two
    /// processes may differ: no part is less than nothing.
    pub fn parts(&self, routed: Option<i64>) -> Vec<(Part, Duration)> {
        let ends = [
            (Part::Suspected, self.opened),
            (Part::StoodDown, self.elected),
            (Part::Promoted, self.promoted),
            (Part::Settled, self.settled),
            (Part::Routed, routed),
        ];
        let mut before = self.suspected.or(self.opened);
        let mut parts = Vec::new();
        for (part, end) in ends {
            let (Some(from), Some(end)) = (before, end) else { continue };
            parts.push((part, Duration::from_millis(u64::try_from(end - from).unwrap_or(0))));
            before = Some(end);
        }
        parts
    }
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
    /// Data loss was accepted for `target`.
    pub forced: Option<Forced>,
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
            forced: None,
            apart: BTreeMap::new(),
            times: Times { opened: Some(at), ..Times::default() },
        }
    }

    /// Opens the next election at `at`, suspected since `since`. `epoch` must be above every epoch seen.
    pub fn open(&self, epoch: u64, cause: Cause, since: i64, at: i64) -> Self {
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
            forced: cause.forced,
            times: Times {
                suspected: self.times.suspected.filter(|_| self.state != ElectionState::Settled).or(Some(since)),
                opened: Some(at),
                ..Times::default()
            },
            ..self.clone()
        }
    }

    /// Names the candidate, before FAILOVER is sent.
    pub fn elect(&self, candidate: ReplicaName, number: SequenceNumber, deadline: i64, at: i64) -> Self {
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
            times: Times { elected: Some(at), ..self.times },
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
        next.forced = None;
        next.state = ElectionState::Void;
        next.number = None;
        next.deadline = None;
        next.times = Times { suspected: self.times.suspected, ..Times::default() };
        if let Some(previous) = next.previous.take() {
            next.primary = previous;
            next.followers = std::mem::take(&mut next.previous_followers);
        }
        next
    }

    /// Closes an election because the replica elected before it, whom nobody was recorded to follow, lives after all.
    pub fn reinstate(&self, epoch: u64, at: i64) -> Self {
        let times = Times { elected: Some(at), ..self.times };
        let state = ElectionState::Elected;
        Self { epoch, state, number: None, deadline: None, forced: None, times, ..self.clone() }
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

    /// Counts a member from now on as one that may have joined the primary.
    pub fn count(&mut self, name: &ReplicaName) {
        self.voters.insert(name.clone());
        self.apart.remove(name);
    }

    /// Whether a person said that what other replicas hold beyond the forced primary may be discarded.
    pub fn may_discard(&self) -> bool {
        self.forced.as_ref().is_some_and(|forced| forced.resume)
    }

    /// The primary serves after all: nothing is being changed.
    #[must_use]
    pub fn untimed(self) -> Self {
        Self { times: Times::default(), ..self }
    }

    /// When it was promoted and settled.
    #[must_use]
    pub fn settled_at(self, promoted: i64, settled: i64) -> Self {
        Self { times: Times { promoted: Some(promoted), settled: Some(settled), ..self.times }, ..self }
    }

    /// The primary is followed by a majority; after a forced failover it is alone, and whoever does not follow it yet is
    /// apart.
    pub fn settle(&self, followers: BTreeSet<ReplicaName>) -> Self {
        let mut apart = self.apart.clone();
        let mut voters = self.voters.clone();
        if self.forced.is_some() && self.state == ElectionState::Elected {
            let left = voters.iter().filter(|name| **name != self.primary && !followers.contains(*name));
            apart.extend(left.map(|name| (name.clone(), self.epoch)));
            voters.insert(self.primary.clone());
            voters.retain(|name| !apart.contains_key(name));
        }
        Self {
            voters,
            apart,
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
