//! What an observation means: the answers that every rule asks for, each computed in one place.

use super::{
    election::{ElectionState, Record},
    observation::{Facts, GroupFacts, Observation, Probe},
};
use crate::model::{ReplicaName, Role, SequenceNumber, quorum};
use std::collections::BTreeSet;

/// An observation together with the record it is judged by.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// What was seen.
    pub seen: &'a Observation,
    /// The record.
    pub record: &'a Record,
}

/// Why a voter does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Who.
    pub replica: ReplicaName,
    /// `silent since ..`, `not a member`, ..
    pub why: String,
}

/// Whether the primary is silent while enough voters answer and none of them is connected to it: the state that has to
/// last for `suspectAfterSeconds`. While somebody is elected in its place it is the one before who is asked about: when
/// that election comes to nothing it has been lost all the time.
pub fn primary_is_lost(seen: &Observation) -> bool {
    let Some(record) = &seen.record else { return false };
    let view = View { seen, record };
    let before = record.previous.as_ref().filter(|_| record.state == ElectionState::Elected);
    let primary = before.unwrap_or(&record.primary);
    seen.member(primary).is_none() && view.enough_answer() && view.connected_to(primary).is_empty()
}

impl<'a> View<'a> {
    /// Number of voters.
    pub fn voters(&self) -> u32 {
        self.voter_names().len() as u32
    }

    /// The largest membership that may be in force: the recorded voters, and those of the copy with the highest number.
    pub fn voter_names(&self) -> BTreeSet<ReplicaName> {
        let mut voters = self.record.voters.clone();
        if !self.record.bootstrapping
            && let Some((_, _, newest)) = self.seen.members().max_by_key(|(_, _, group)| group.number)
        {
            voters.extend(newest.voters().cloned());
        }
        voters.extend(self.record.apart.keys().cloned());
        // Whoever answers and was told nothing since it was left behind cannot have joined the primary that was forced.
        voters.retain(|name| match (self.record.apart.get(name), self.seen.facts(name)) {
            (Some(left), Some(facts)) => facts.stored.epoch >= *left,
            _ => true,
        });
        // Whoever a person named takes part in its election, whatever its mode.
        if self.record.forced.is_some() && matches!(self.record.state, ElectionState::Open | ElectionState::Elected) {
            voters.extend(self.record.target.clone());
        }
        voters
    }

    /// Answers that a promotion needs.
    pub fn need(&self) -> u32 {
        quorum::need(self.voters(), self.record.commit_quorum)
    }

    /// Voters that answer and are members with a usable number.
    pub fn answering(&self) -> impl Iterator<Item = (&'a ReplicaName, &'a Facts, &'a GroupFacts)> {
        let voters = self.voter_names();
        self.seen.members().filter(move |(name, _, group)| voters.contains(*name) && group.number.usable())
    }

    /// Whether at least `need` voters other than a silent primary answer.
    pub fn enough_answer(&self) -> bool {
        self.answering().count() as u32 >= self.need()
    }

    /// The recorded primary's own facts, when it answers and is a member.
    pub fn primary(&self) -> Option<&'a GroupFacts> {
        self.seen.member(&self.record.primary)
    }

    /// Whether the recorded primary answers as a member.
    pub fn primary_answers(&self) -> bool {
        self.primary().is_some()
    }

    /// Answering members that are connected to the recorded primary. One that does not say to whom counts.
    pub fn connected_to_primary(&self) -> BTreeSet<&'a ReplicaName> {
        self.connected_to(&self.record.primary)
    }

    /// Answering voters connected to `primary`.
    pub fn connected_to(&self, primary: &ReplicaName) -> BTreeSet<&'a ReplicaName> {
        self.answering()
            .filter(|(name, _, group)| *name != primary && follows(group, primary))
            .map(|(name, _, _)| name)
            .collect()
    }

    /// Voters that follow `primary` at a number at least as high as the one read from it in this pass.
    pub fn followers_of(&self, primary: &ReplicaName) -> BTreeSet<ReplicaName> {
        let Some(own) = self.seen.member(primary) else { return BTreeSet::new() };
        self.answering()
            .filter(|(name, _, group)| *name != primary && follows(group, primary) && group.number >= own.number)
            .map(|(name, _, _)| name.clone())
            .collect()
    }

    /// Members apart that follow the recorded primary at its number: they count again.
    pub fn returned(&self) -> Vec<ReplicaName> {
        let primary = &self.record.primary;
        let Some(own) = self.seen.member(primary) else { return vec![] };
        let back = self.seen.members().filter(|(name, _, group)| {
            self.record.apart.contains_key(*name) && follows(group, primary) && group.number >= own.number
        });
        back.map(|(name, _, _)| name.clone()).collect()
    }

    /// Whether `followers` and the primary itself are a majority of all members that vote.
    pub fn is_majority(&self, primary: &ReplicaName, followers: &BTreeSet<ReplicaName>) -> bool {
        let mut voters = self.voter_names();
        if let Some(own) = self.seen.member(primary) {
            voters.extend(own.voters().cloned());
        }
        // A primary that was forced is alone until others are seen following it.
        voters.retain(|name| !self.record.apart.contains_key(name));
        followers.len() as u32 + 1 >= quorum::majority(voters.len() as u32)
    }

    /// Members that say PRIMARY and are not the recorded primary.
    pub fn other_primaries(&self) -> impl Iterator<Item = (&'a ReplicaName, &'a GroupFacts)> {
        let recorded = &self.record.primary;
        self.seen
            .members()
            .filter(move |(name, _, group)| *name != recorded && group.role == Role::Primary)
            .map(|(name, _, group)| (name, group))
    }

    /// Highest number of an answering voter other than the recorded primary and those it was forced upon.
    pub fn highest_elsewhere(&self) -> Option<SequenceNumber> {
        let others = self.answering().filter(|(name, _, _)| **name != self.record.primary);
        others.filter(|(name, _, _)| !self.record.apart.contains_key(*name)).map(|(_, _, group)| group.number).max()
    }

    /// The highest epoch anybody knows.
    pub fn newest_epoch(&self) -> u64 {
        let stored = self.seen.replicas.values().filter_map(|replica| replica.facts()).map(|facts| facts.stored.epoch);
        stored.max().unwrap_or(0).max(self.record.epoch)
    }

    /// The next epoch.
    pub fn next_epoch(&self) -> u64 {
        self.newest_epoch() + 1
    }

    /// Voters whose answer is missing, each with the reason.
    pub fn missing(&self) -> Vec<Missing> {
        let answering: BTreeSet<_> = self.answering().map(|(name, _, _)| name.clone()).collect();
        self.voter_names()
            .into_iter()
            .filter(|name| !answering.contains(name))
            .map(|name| Missing { why: self.why_missing(&name), replica: name })
            .collect()
    }

    fn why_missing(&self, name: &ReplicaName) -> String {
        let Some(replica) = self.seen.replicas.get(name) else { return "no pod known".into() };
        match &replica.probe {
            Probe::Answered(facts) if facts.group.is_none() => "answers, but is not a member: its volume is new".into(),
            Probe::Answered(_) => "answers without a usable sequence number".into(),
            Probe::LoginRefused => "refuses our logins".into(),
            Probe::Silent { why } => {
                let trouble = if replica.pod.trouble.is_empty() { why } else { &replica.pod.trouble };
                match replica.silent_since {
                    Some(since) => format!("silent since {}: {trouble}", utc(since)),
                    None => format!("silent: {trouble}"),
                }
            }
        }
    }

    /// `1 of 2 sequence numbers seen (orders-1 at 1:7); missing: orders-2 (silent since ..)`.
    pub fn count_in_words(&self) -> String {
        let seen: Vec<_> = self.answering().map(|(name, _, group)| format!("{name} at {}", group.number)).collect();
        let missing: Vec<_> = self.missing().into_iter().map(|m| format!("{} ({})", m.replica, m.why)).collect();
        let need = self.need();
        let count =
            if seen.len() < need as usize { format!("{} of {need}", seen.len()) } else { seen.len().to_string() };
        let numbers = format!("{count} sequence numbers seen{}", in_brackets(&seen));
        if missing.is_empty() { numbers } else { format!("{numbers}; missing: {}", missing.join(", ")) }
    }
}

/// Whether a member follows `primary` now.
pub fn follows(group: &GroupFacts, primary: &ReplicaName) -> bool {
    group.role == Role::Secondary && group.connected && group.primary.as_ref().is_none_or(|named| named == primary)
}

/// A wall-clock second as people write it.
pub fn utc(second: i64) -> String {
    jiff::Timestamp::from_second(second).map_or_else(|_| format!("second {second}"), |time| time.to_string())
}

fn in_brackets(items: &[String]) -> String {
    if items.is_empty() { String::new() } else { format!(" ({})", items.join(", ")) }
}
