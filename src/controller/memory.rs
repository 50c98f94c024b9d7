//! What this process remembers of a group between passes. Nothing here is needed for safety: after a restart every timer
//! starts at zero, and what was sent before is found out by looking.

use super::{
    backoff::Backoff,
    beside::{Running, Task},
    instances::Access,
};
use crate::{
    api::v1alpha1::AvailabilityGroupStatus,
    decide::{
        ElectionState, Observation, Reason, Step,
        diagnose::{self, View},
        observation::{DatabaseUser, FailoverMemo, LogBackup, Probe, QuorumRefused, Refusal, Replica},
        rejoin::due,
    },
    model::{DatabaseName, Group, ReplicaName, Role},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::Instant;

/// What one look gave, and when.
#[derive(Clone, Debug)]
pub struct Glance {
    /// The answer.
    pub probe: Probe,
    /// When it was given.
    pub at: Instant,
}

/// Users by database and name.
pub type Users = BTreeMap<DatabaseName, BTreeMap<String, DatabaseUser>>;

/// Log backups by database.
pub type LogBackups = BTreeMap<DatabaseName, LogBackup>;

/// What is asked beside the looks, so that nothing that matters waits for it.
pub struct Beside<T> {
    /// The last answer.
    pub read: Option<T>,
    /// When it was asked for or given.
    pub at: Option<Instant>,
    /// The question that goes on.
    pub task: Option<Task<Option<T>>>,
}

impl<T> Default for Beside<T> {
    fn default() -> Self {
        Self { read: None, at: None, task: None }
    }
}

/// A group's memory.
#[derive(Default)]
pub struct Memory {
    /// The life of the object that this is about.
    pub uid: Option<String>,
    /// Last look at each replica.
    pub glances: BTreeMap<ReplicaName, Glance>,
    /// Looks that go on beside the passes.
    pub looks: BTreeMap<ReplicaName, Task<Glance>>,
    /// Users of the databases of the primary they were read from.
    pub users: Beside<(ReplicaName, Users)>,
    /// Log backups of the databases, as a primary knew them.
    pub log_backups: Beside<LogBackups>,
    /// Major version of each instance.
    pub majors: BTreeMap<ReplicaName, u32>,
    /// Container that answered last, by replica.
    pub answered: BTreeMap<ReplicaName, String>,
    /// What is known of the FAILOVER sent last.
    pub failover: Option<FailoverMemo>,
    /// The commit quorum that was refused last.
    pub commit_quorum_refused: Option<QuorumRefused>,
    /// Batches that outlived the pass that sent them.
    pub running: Vec<Running<Step>>,
    /// Statements that return before their effect shows, and when each went through.
    pub accepted: Vec<(Step, Instant)>,
    /// What the last pass wrote to Kubernetes, the record apart, and in how many passes before it the same.
    pub repeated: (Vec<Step>, u32),
    /// Failures in a row.
    pub backoff: Backoff,
    /// Nothing was wrong and nothing was done in the last pass.
    pub at_rest: bool,
    /// UID of an upgrade that the API server said is gone.
    pub upgrade_gone: Option<String>,
    /// When it was asked last about the upgrade that the group takes part in.
    pub upgrade_asked: Option<Instant>,
    /// What the objects were applied for last.
    pub applied: Option<String>,
    /// The last wish that could be read.
    pub group: Option<Arc<Group>>,
    /// Public certificates of instances as they are kept, once they were read.
    pub kept: Option<BTreeMap<ReplicaName, String>>,
    /// How to be let in, as the Secrets say.
    pub access: Option<Arc<Access>>,
    /// What each instance was last known to be let in by, until it was told the present passwords.
    pub doors: BTreeMap<ReplicaName, Arc<Access>>,
    /// Instances that refuse the password of `sa`: the first and the last time that they did.
    pub admin_refused: BTreeMap<ReplicaName, (Instant, Instant)>,
    /// When the secrets were read. `None`: they are to be read.
    pub access_at: Option<Instant>,
    /// The status written last.
    pub told: Option<AvailabilityGroupStatus>,
    /// What the last pass saw.
    pub reason: Option<Reason>,
    silent: BTreeMap<ReplicaName, (Instant, i64)>,
    rejoining: BTreeMap<ReplicaName, Instant>,
    rejoined_for: BTreeMap<ReplicaName, Duration>,
    suspected: Option<Instant>,
    election: Option<((u64, ElectionState), Instant)>,
    promoted: Option<(u64, Instant)>,
}

impl Memory {
    /// Nothing yet about this life of an object.
    pub fn new(uid: Option<String>) -> Self {
        Self { uid, ..Self::default() }
    }

    /// Sets the timers of an observation from what was seen before, and remembers what it shows.
    pub fn time(&mut self, seen: &mut Observation, now: Instant) {
        let following = followers(seen);
        for (name, replica) in &mut seen.replicas {
            self.silence(name, replica, seen.at / 1_000, now);
            let rejoins =
                matches!(&replica.probe, Probe::Answered(facts) if facts.group.is_some()) && !following.contains(name);
            let refused = self.admin_refused.get(name);
            replica.admin_refused = refused.map(|(first, last)| Refusal { lasting: now - *first, asked: now - *last });
            replica.rejoining_for = since(&mut self.rejoining, name, rejoins, now);
            let before = self.rejoined_for.insert(name.clone(), replica.rejoining_for).unwrap_or_default();
            (replica.retry, replica.cure) = due(replica.rejoining_for, before);
        }
        self.silent.retain(|name, _| seen.replicas.contains_key(name));
        self.rejoined_for.retain(|name, _| seen.replicas.contains_key(name));
        self.rejoining.retain(|name, _| seen.replicas.contains_key(name));
        self.judge(seen, now);
    }

    /// The timers that depend on the record: once more when it was read again.
    pub fn judge(&mut self, seen: &mut Observation, now: Instant) {
        let state = seen.record.as_ref().map(|record| (record.epoch, record.state));
        if self.election.map(|(state, _)| state) != state {
            self.election = state.map(|state| (state, now));
        }
        seen.election_age = self.election.map_or(Duration::ZERO, |(_, from)| now - from);
        self.promoted = promoted(seen).map(|epoch| match self.promoted {
            Some((known, from)) if known == epoch => (epoch, from),
            _ => (epoch, now),
        });
        seen.promoted_for = self.promoted.map_or(Duration::ZERO, |(_, from)| now - from);
        self.suspected = match diagnose::primary_is_lost(seen) {
            true => Some(self.suspected.unwrap_or(now)),
            false => None,
        };
        seen.suspected_for = self.suspected.map_or(Duration::ZERO, |from| now - from);
        let epoch = seen.record.as_ref().map(|record| record.epoch);
        self.failover = self.failover.filter(|memo| epoch.is_some_and(|epoch| memo.epoch >= epoch));
        seen.failover = self.failover;
    }

    /// A pass took these steps to their end. Returns in how many passes in a row before this one it was the same.
    pub fn wrote(&mut self, steps: Vec<Step>) -> u32 {
        let same = !steps.is_empty() && self.repeated.0 == steps;
        self.repeated = (steps, if same { self.repeated.1 + 1 } else { 0 });
        self.repeated.1
    }

    /// A batch was sent to a replica: looks that began before it say nothing any more.
    pub fn touched(&mut self, replica: &ReplicaName) {
        self.looks.remove(replica);
        self.users = Beside::default();
    }

    fn silence(&mut self, name: &ReplicaName, replica: &mut Replica, at: i64, now: Instant) {
        if matches!(replica.probe, Probe::Silent { .. }) {
            let (from, wall) = *self.silent.entry(name.clone()).or_insert((now, at));
            replica.silent_for = now - from;
            replica.silent_since = Some(wall);
        } else {
            self.silent.remove(name);
            replica.silent_for = Duration::ZERO;
            replica.silent_since = None;
        }
    }
}

/// How long `holds` has been true for `name`.
fn since(timers: &mut BTreeMap<ReplicaName, Instant>, name: &ReplicaName, holds: bool, now: Instant) -> Duration {
    if !holds {
        timers.remove(name);
        return Duration::ZERO;
    }
    now - *timers.entry(name.clone()).or_insert(now)
}

/// The election whose candidate is primary and which is not settled yet.
fn promoted(seen: &Observation) -> Option<u64> {
    let record = seen.record.as_ref().filter(|record| record.state == ElectionState::Elected)?;
    seen.member(&record.primary).filter(|group| group.role == Role::Primary).map(|_| record.epoch)
}

/// Replicas that follow the recorded primary, and the primary itself.
fn followers(seen: &Observation) -> Vec<ReplicaName> {
    let Some(record) = &seen.record else { return Vec::new() };
    let view = View { seen, record };
    let serves = view.primary().is_some_and(|group| group.role == Role::Primary);
    let all = seen
        .members()
        .filter(|(name, _, group)| (**name == record.primary && serves) || diagnose::follows(group, &record.primary));
    all.map(|(name, _, _)| name.clone()).collect()
}
