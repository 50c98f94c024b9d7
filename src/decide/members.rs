//! Membership: set up, create, join, rejoin, add, remove; and keeping a group that has a primary in shape.

use super::{
    ElectionState, Observation, Record, commit_quorum, databases,
    diagnose::{View, utc},
    election::Cause,
    fence, housekeeping, membership,
    plan::{Plan, Reason, Step},
    promote,
    promote::{POLL, WATCH, is_following, mode_of, open_election},
    rejoin::CURE,
    requirements, setup, switchover,
};
use crate::model::{Mode, ReplicaName, Role, quorum};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub use housekeeping::{PRIMARY, RESOLVING, tend};

/// From this cure on, after five minutes, a secondary that does not get back joins the group anew (promotion.md 6).
const LAST_CURE: u32 = 300 / CURE.as_secs() as u32;

/// No record: a new group, or an object that lost its status.
pub fn without_record(seen: &Observation) -> Plan {
    if let Some(plan) = restored(seen).or_else(|| found(seen)) {
        return plan;
    }
    let steps = setup::steps(seen);
    if let Some((reason, message)) = setup::refused(seen).or_else(|| requirements::unmet(seen)) {
        return tend_new(seen, Plan::new(reason, message).wave(steps).recheck(WATCH));
    }
    let waiting: Vec<_> =
        seen.replicas.iter().filter(|(_, r)| r.wanted && r.facts().is_none()).map(|(name, _)| name.as_str()).collect();
    if !waiting.is_empty() {
        let message = format!(
            "waiting for {} to answer before the group is created: a silent instance may hold an older life of it",
            waiting.join(", ")
        );
        let reason = if steps.is_empty() { Reason::WaitingForPods } else { Reason::SettingUp };
        return tend_new(seen, Plan::new(reason, message).wave(steps).recheck(WATCH));
    }
    if !steps.is_empty() || !setup::complete(seen) {
        let message = "instances are being set up and certificates exchanged".to_string();
        return tend_new(seen, Plan::new(Reason::SettingUp, message).wave(steps).recheck(POLL));
    }
    match seen.group.first() {
        Some(first) => Plan::new(Reason::CreatingGroup, format!("{first} will be the first primary"))
            .record(Record::first(first.clone(), seen.at))
            .recheck(Duration::ZERO),
        None => Plan::new(Reason::InvalidSpec, "spec.synchronous.replicas is 0".into()).recheck(WATCH),
    }
}

fn tend_new(seen: &Observation, plan: Plan) -> Plan {
    plan.wave(housekeeping::gates(seen))
}

/// The settled election that enough instances stored.
fn restored(seen: &Observation) -> Option<Plan> {
    let answers: Vec<_> = seen.replicas.values().filter_map(|replica| replica.facts()).collect();
    let settled = answers.iter().filter_map(|facts| facts.stored.settled.as_ref()).max_by_key(|record| record.epoch)?;
    let voices = seen
        .replicas
        .iter()
        .filter(|(name, replica)| {
            settled.voters.contains(*name) && replica.facts().is_some_and(|facts| facts.stored.epoch > 0)
        })
        .count() as u32;
    let need = quorum::need(settled.voters.len() as u32, settled.commit_quorum);
    if voices < need {
        let message = format!(
            "the object has no record of elections; {voices} of {need} instances that could give it back answer; to go on: start the missing replicas"
        );
        return Some(Plan::new(Reason::TooFewAnswers, message).recheck(WATCH));
    }
    let newest = answers.iter().map(|facts| facts.stored.epoch).max().unwrap_or(0);
    let mut record = settled.clone();
    if newest > settled.epoch {
        record = record.void(newest, false).untimed();
    }
    let message = format!(
        "the record of elections is back from {voices} instances: {} is the primary of epoch {}",
        record.primary, record.epoch
    );
    Some(
        Plan::new(Reason::RecordRestored, message.clone())
            .record(record)
            .wave(vec![Step::Announce { reason: Reason::RecordRestored, message }])
            .recheck(Duration::ZERO),
    )
}

/// A group exists that nobody recorded: only a primary that a majority of its own members follows is taken over.
fn found(seen: &Observation) -> Option<Plan> {
    seen.members().next()?;
    let primaries: Vec<_> = seen.members().filter(|(_, _, group)| group.role == Role::Primary).collect();
    if let [(name, facts, group)] = primaries.as_slice() {
        let mut record = Record {
            voters: group.voters().cloned().collect(),
            epoch: facts.stored.epoch + 1,
            state: ElectionState::Settled,
            bootstrapping: false,
            ..Record::first((*name).clone(), seen.at)
        };
        let view = View { seen, record: &record };
        let followers = view.followers_of(name);
        if followers.len() as u32 + 1 > group.voters().count() as u32 / 2 {
            record.epoch = view.next_epoch();
            let record = record.settle(followers);
            return Some(
                Plan::new(Reason::PrimaryAdopted, format!("{name} is primary of a group that was there: taken over"))
                    .record(record)
                    .recheck(POLL),
            );
        }
    }
    let message = "instances hold a group, the object has no record of its elections, and no primary is followed by a majority; to go on: start the missing replicas, or make one primary by hand".to_string();
    Some(Plan::new(Reason::TooFewAnswers, message).recheck(WATCH))
}

/// The first primary is elected and is not a member yet.
pub fn first_steps(view: &View<'_>) -> Plan {
    let seen = view.seen;
    let primary = &view.record.primary;
    if view.record.bootstrapping && seen.members().next().is_none() {
        let members = seen.group.replicas.iter().map(|(name, mode)| (name.clone(), *mode));
        let (first, others): (Vec<_>, Vec<_>) = members.partition(|(name, _)| name == primary);
        let members = first.into_iter().chain(others).collect();
        return Plan::new(Reason::CreatingGroup, format!("creating the group on {primary}"))
            .wave(vec![Step::CreateGroup { replica: primary.clone(), members }])
            .recheck(POLL);
    }
    let message = format!(
        "the group is not set up yet, and {primary}, its first primary, has a new volume; {}; to go on: delete the group \
         and its volumes, which hold nothing, and apply it again",
        view.count_in_words()
    );
    tend(view, Plan::new(Reason::TooFewAnswers, message).recheck(WATCH))
}

/// Steps of an election whose candidate became primary: stray primaries stand down, voters follow, new members join.
pub fn gather(view: &View<'_>) -> Vec<Vec<Step>> {
    let primary = &view.record.primary;
    let mut record = view.record.clone();
    let mut steps = send_to(view, primary);
    steps.extend(setup::exchange(view.seen));
    steps.extend(membership::joins(view, &mut record));
    let first = if record == *view.record { vec![] } else { vec![Step::Record(Box::new(record))] };
    vec![first, steps]
}

/// Sends every answering member that does not follow `primary` to it, once it knows its certificate.
pub fn send_to(view: &View<'_>, primary: &ReplicaName) -> Vec<Step> {
    let epoch = view.record.epoch;
    let members = view.seen.members().filter(|(name, facts, _)| {
        *name != primary && facts.stored.epoch <= epoch && !setup::is_stranger(view.seen, name, primary)
    });
    let spared = view.is_majority(primary, &view.followers_of(primary));
    let mut steps = Vec::new();
    for (name, facts, group) in members {
        let replica = view.seen.replicas.get(name);
        let (retry, cure) = replica.map_or((false, 0), |replica| (replica.retry, replica.cure));
        // One that was told at this epoch may name its old primary until the new one has connected.
        let told = facts.stored.epoch == epoch && !group.connected;
        let elsewhere = !told && group.primary.as_ref().is_some_and(|named| named != primary);
        match group.role {
            Role::Secondary if is_following(view, name, primary) => {}
            Role::Secondary if !elsewhere && !retry => {}
            Role::Resolving if cure == 0 => {
                steps.push(Step::Follow { replica: name.clone(), epoch, primary: primary.clone() });
            }
            Role::Resolving | Role::Secondary if cure >= LAST_CURE && spared && may_lose(view, name) => {
                steps.extend(anew(view, name, primary, cure))
            }
            _ => {
                // OFFLINE and a new start of the endpoint here; every second cure restarts the primary's, too.
                steps.push(Step::StandDown {
                    replica: name.clone(),
                    epoch,
                    unless_connected_to: None,
                    admit: BTreeSet::from([primary.clone()]),
                    configuration_only: mode_of(view, name) == Mode::ConfigurationOnly,
                });
                if cure > 0 && cure.is_multiple_of(2) && group.role != Role::Primary {
                    steps.extend(both_endpoints(name, primary));
                }
            }
        }
    }
    steps
}

/// Whether what a replica holds beyond the primary may go: after a forced failover only when the person said so.
fn may_lose(view: &View<'_>, name: &ReplicaName) -> bool {
    !view.record.apart.contains_key(name) || view.record.may_discard()
}

fn both_endpoints(name: &ReplicaName, primary: &ReplicaName) -> [Step; 2] {
    let message = format!(
        "{name} does not get back to {primary}: both endpoints are restarted; other secondaries of {primary} lose their \
         connection for a moment"
    );
    [Step::RestartEndpoint(primary.clone()), Step::Announce { reason: Reason::EndpointRestarted, message }]
}

/// A member that the engine refuses for good leaves the group; it is joined again as soon as it is seen without one. What
/// it promised or latched goes with its copy of the configuration. A majority works without it, and its databases stay.
fn anew(view: &View<'_>, name: &ReplicaName, primary: &ReplicaName, cure: u32) -> [Step; 2] {
    let message = format!(
        "{name} has not got back to {primary} for {} seconds: it leaves the group and joins it anew; its databases catch up \
         from the log, or are copied whole where log backups have truncated it",
        u64::from(cure) * CURE.as_secs()
    );
    let configuration_only = mode_of(view, name) == Mode::ConfigurationOnly;
    [
        Step::Leave { replica: name.clone(), epoch: view.record.epoch, primary: primary.clone(), configuration_only },
        Step::Announce { reason: Reason::RejoiningAnew, message },
    ]
}

/// Stores the settled election on every answering follower and on the primary, where it differs.
pub fn store_settled(view: &View<'_>, record: &Record) -> Vec<Step> {
    let members = view.seen.members().filter(|(name, facts, _)| {
        let follows = **name == record.primary || record.followers.contains(*name);
        follows && facts.stored.epoch <= record.epoch && facts.stored.settled.as_ref() != Some(record)
    });
    members.map(|(name, _, _)| Step::StoreSettled { replica: name.clone(), record: Box::new(record.clone()) }).collect()
}

/// The primary serves: keep the group as the spec wants it.
pub fn keep(view: &View<'_>) -> Plan {
    let (refusal, plan) = switchover::asked(view);
    if let Some(plan) = plan {
        return plan;
    }
    let primary = &view.record.primary;
    let mut record = view.record.clone();
    record.followers.extend(view.followers_of(primary));
    for name in view.returned() {
        record.count(&name);
        record.followers.insert(name);
    }
    // A new volume under a known name has followed nobody.
    record.followers.retain(|name| view.seen.facts(name).is_none_or(|facts| facts.group.is_some()));
    let mut steps = refusal;
    steps.extend(membership::joins(view, &mut record));
    steps.extend(membership::steps(view, &mut record));
    steps.extend(commit_quorum::set(view, &mut record));
    if record.state == ElectionState::Void && view.is_majority(primary, &view.followers_of(primary)) {
        record = record.settle(record.followers.clone()).untimed();
    }
    steps.extend(send_to(view, primary));
    steps.extend(setup::steps(view.seen));
    steps.extend(setup::passwords(view.seen));
    steps.extend(setup::admit_all(view.seen, primary));
    if record.state == ElectionState::Settled {
        steps.extend(store_settled(view, &record));
        steps.extend(setup::rotate(view));
        steps.extend(databases::steps(view));
        steps.extend(databases::resume(view));
    }
    steps.extend(housekeeping::labels(view));
    steps.extend(housekeeping::gates(view.seen));
    let fence = fence::work(view);
    steps.extend(fence.beside);
    let first = if record == *view.record { vec![] } else { vec![Step::Record(Box::new(record.clone()))] };
    let reroute = record.state == ElectionState::Settled && !is_routed(view);
    let route = if reroute { vec![Step::Route(Some(primary.clone()))] } else { vec![] };
    let (reason, message) = condition(view);
    let [ends, forgets] = fence.at_last;
    let waves = vec![first, fence.before_route, route, fence.after_route, steps, ends, forgets];
    let mut plan = Plan::new(reason, message).waves(waves);
    plan.recheck = if plan.waves.is_empty() { WATCH } else { POLL };
    // Said again now and then: no work that is waited for.
    plan.wave(membership::seeding_allowed(view))
}

/// Whether the Services lead to the recorded primary, and `-rw` to readers when a fence is closed.
pub fn is_routed(view: &View<'_>) -> bool {
    let routed = &view.seen.routed;
    routed.read_write.as_ref() == Some(&view.record.primary) && routed.readers == fence::is_closed(view.seen)
}

/// The most severe thing to say about a group whose primary serves.
fn condition(view: &View<'_>) -> (Reason, String) {
    if let Some(problem) = databases::problem(view) {
        return problem;
    }
    if let Some(refused) = setup::refused(view.seen).or_else(|| requirements::unmet(view.seen)) {
        return refused;
    }
    let primary = &view.record.primary;
    let Some(own) = view.primary() else { return (Reason::NoPrimary, String::new()) };
    let mut states = BTreeMap::new();
    for (name, replica) in view.seen.replicas.iter().filter(|(name, replica)| *name != primary && replica.wanted) {
        let state = if replica.facts().is_none() {
            let since = replica.silent_since.map(utc).map_or_else(String::new, |since| format!(" since {since}"));
            Some((Reason::ReplicaDown, format!("{name} does not answer{since}")))
        } else if !is_following(view, name, primary) {
            Some((Reason::Rejoining, not_following(view, name)))
        } else if let Some(database) = databases::copied_to(view, name).next() {
            Some((Reason::Seeding, format!("{database} is being copied whole to {name}")))
        } else if mode_of(view, name) == Mode::Synchronous && !own.synchronized(name) {
            Some((Reason::NotSynchronizing, format!("{name} is not synchronized yet")))
        } else {
            None
        };
        if let Some((reason, message)) = state {
            states.entry(reason).or_insert_with(Vec::new).push(message);
        }
    }
    if let Some((reason, messages)) = states.into_iter().next() {
        return (reason, messages.join("; "));
    }
    if let Some(why) = commit_quorum::refused(view) {
        return (Reason::Refused, commit_quorum::refused_message(view, own.commit_quorum, why));
    }
    if own.commit_quorum != commit_quorum::wanted(view) {
        return (
            Reason::WaitingForReplica,
            format!("commit quorum {} is not in force yet, {} is", commit_quorum::wanted(view), own.commit_quorum),
        );
    }
    if let Some(message) = databases::missing_login(view) {
        return (Reason::LoginMissing, message);
    }
    if let Some(message) = fence::in_words(view.seen) {
        return (Reason::ReadOnly, message);
    }
    (Reason::Healthy, String::new())
}

/// Why a member that answers does not follow. One that was left behind by a forced failover, and knows more than its primary
/// does, is let in by no cure but the one that discards what it has.
fn not_following(view: &View<'_>, name: &ReplicaName) -> String {
    let (record, primary) = (view.record, &view.record.primary);
    let knows_more = view.seen.member(name).zip(view.primary()).is_some_and(|(it, own)| it.number > own.number);
    if record.apart.contains_key(name) && knows_more && !record.may_discard() {
        return format!(
            "{name} was left behind by the forced failover to {primary} and holds a higher number, so that it does not get \
             back; to go on: save what only it has (a snapshot of the volume), then say DROP AVAILABILITY GROUP [{}] \
             and DROP DATABASE there, and it joins anew",
            view.seen.group.name
        );
    }
    format!("{name} does not follow {primary} yet")
}

/// Opens the election of a planned switchover.
pub fn switch_over(view: &View<'_>, cause: Cause, why: &str) -> Plan {
    debug_assert!(promote::stands(view.record));
    open_election(view, cause, why)
}
