//! What people read of an upgrade.

use crate::{
    api::{
        RollingUpgrade,
        condition::{condition, renew},
        v1alpha1::upgrade_status::{
            ApprovalStatus, CopyStatus, EndpointStatus, ReadOnlyStatus, RollingUpgradeStatus, StepStatus,
        },
    },
    decide::upgrade::{
        Observation, Plan, Reason, Record, Said, Step, link_name, observation::LinkDatabase, protected, seen::Slot,
    },
    model::{DatabaseName, FenceState, upgrade::Approval},
};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use std::collections::BTreeMap;

/// The status after a pass; `record` as it is written now.
pub fn status(
    object: &RollingUpgrade,
    seen: &Observation,
    record: Option<&Record>,
    plan: &Plan,
    refusal: Option<&str>,
    wall: Timestamp,
) -> RollingUpgradeStatus {
    let before = object.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let generation = object.metadata.generation.unwrap_or_default();
    let step = record.map_or(plan.step, |record| record.step);
    let message = refusal.map_or_else(|| plan.message.clone(), |refusal| format!("{}; {refusal}", plan.message));
    RollingUpgradeStatus {
        observed_generation: Some(generation),
        conditions: renew(before, conditions(seen, record, step, plan.reason, &message), generation, wall),
        step: Some(format!("{step:?}")),
        attempt: record.and_then(|record| i32::try_from(record.attempt).ok()),
        online: online(seen),
        endpoints: endpoints(seen),
        read_only: record.and_then(|record| read_only(record, seen.at)),
        databases: record.map(|record| databases(seen, record)).unwrap_or_default(),
        approvals: record.map(approvals).unwrap_or_default(),
        steps: record.map(steps).unwrap_or_default(),
        record: None,
    }
}

/// The status of an upgrade whose spec cannot be read.
pub fn refused(object: &RollingUpgrade, why: &str, wall: Timestamp) -> RollingUpgradeStatus {
    let before = object.status.clone().unwrap_or_default();
    let generation = object.metadata.generation.unwrap_or_default();
    let kind = |kind: &str, status: &str| condition(kind, status, "InvalidSpec", why);
    RollingUpgradeStatus {
        observed_generation: Some(generation),
        conditions: renew(&before.conditions, vec![kind("Ready", "False"), kind("Stalled", "True")], generation, wall),
        record: None,
        ..before
    }
}

fn conditions(
    seen: &Observation,
    record: Option<&Record>,
    step: Step,
    reason: Reason,
    message: &str,
) -> Vec<Condition> {
    let word = |truth: bool| if truth { "True" } else { "False" };
    let made = |kind: &str, truth: bool| condition(kind, word(truth), reason.as_str(), message);
    let switched = matches!(step, Step::Soaking | Step::Retiring | Step::Succeeded);
    let mut all = vec![made("Ready", switched)];
    if !step.is_last() && step != Step::Soaking {
        all.push(condition("Progressing", "True", &format!("{step:?}"), message));
        all.push(condition("Reconciling", "True", &format!("{step:?}"), message));
    }
    let asks = [(Step::Preflight, Reason::PreflightFailed), (Step::RunningScript, Reason::ScriptFailed)];
    let stalled = step == Step::RolledBack || asks.contains(&(step, reason));
    all.extend(stalled.then(|| made("Stalled", true)));
    let Some(record) = record else { return all };
    let claim = seen.production.found.as_ref().and_then(|group| group.claim(&seen.wish.uid));
    let kept = claim.and_then(|claim| claim.fence.as_ref()).is_some_and(|fence| fence.state == FenceState::Kept);
    let fenced = kept || record.read_only_since.is_some() && (switched || record.read_only_until.is_none());
    all.push(made("ProductionReadOnly", fenced));
    all.push(made("StageSynchronized", seen.level > 0 || record.terminating));
    all.push(made("RollbackPossible", !record.switching && !step.is_last()));
    let protected = protected(seen, record);
    all.extend(
        protected.map(|(is, why)| condition("DrProtected", word(is), if is { "Follows" } else { "Behind" }, &why)),
    );
    all.push(made("SafeToRetire", matches!(step, Step::Retiring | Step::Succeeded)));
    all.extend(step.is_last().then(|| made("Succeeded", step == Step::Succeeded)));
    all
}

/// The endpoint whose pods users reach.
fn online(seen: &Observation) -> Option<String> {
    let front = seen.front.as_ref().filter(|front| front.ours)?;
    let leads = |slot: &&Slot| slot.endpoint.selector.as_ref() == Some(&front.selector);
    // Services of another namespace select no pods of this one, whatever labels they name.
    let slots = [&seen.production, &seen.stage];
    slots.into_iter().find(leads).map(|slot| slot.endpoint.name.clone())
}

fn endpoints(seen: &Observation) -> Vec<EndpointStatus> {
    let (online, standby) = (online(seen), seen.front.as_ref().and_then(|front| front.standby.clone()));
    let line = |slot: &Slot| {
        let (endpoint, elsewhere) = (&slot.endpoint, slot.namespace != seen.wish.namespace);
        let traffic = match &online {
            Some(name) if *name == endpoint.name && !elsewhere => "Online",
            _ if standby == Some(slot.address()) => "Standby",
            _ => "Offline",
        };
        EndpointStatus {
            name: if elsewhere { slot.address() } else { endpoint.name.clone() },
            traffic: traffic.into(),
            ready: endpoint.selector.as_ref().map(|_| format!("{}/{}", endpoint.ready, endpoint.pods)),
        }
    };
    seen.slots().map(|(_, slot)| line(slot)).collect()
}

/// Names of the parts of the read-only time (upgrade.md, invariant 5).
fn part(step: Step) -> Option<&'static str> {
    match step {
        Step::ReadOnly => Some("drain"),
        Step::Synchronizing => Some("synchronize"),
        Step::Terminating => Some("terminate"),
        Step::RunningScript => Some("script"),
        Step::Verifying => Some("verify"),
        Step::Switching => Some("switch"),
        Step::RollingBack => Some("rollBack"),
        _ => None,
    }
}

/// A moment in milliseconds since 1970, to the second.
fn time(at: i64) -> Option<Time> {
    Timestamp::from_second(at.div_euclid(1_000)).ok().map(Time)
}

fn read_only(record: &Record, at: i64) -> Option<ReadOnlyStatus> {
    let mut parts = BTreeMap::new();
    // Who goes back after the switch was not kept out by the upgrade's own read-only time.
    let own = |step: Step| step != Step::RollingBack || !record.switching;
    for (step, took) in record.took.iter().filter(|(step, _)| own(*step)) {
        if let Some(part) = part(*step) {
            *parts.entry(part.to_string()).or_insert(0) += took;
        }
    }
    Some(ReadOnlyStatus {
        since: time(record.read_only_since?),
        until: record.read_only_until.and_then(time),
        seconds: i32::try_from(record.read_only_seconds(at)?).unwrap_or(i32::MAX),
        parts,
    })
}

fn databases(seen: &Observation, record: &Record) -> Vec<CopyStatus> {
    let own = seen.production.found.as_ref().and_then(|group| group.primary()).map(|(_, facts)| facts);
    let link = own.and_then(|facts| facts.links.get(&link_name(&seen.wish.uid)));
    let line = |name: &DatabaseName| {
        let copy = link.and_then(|link| link.databases.get(name));
        let remote = copy.and_then(|copy| copy.remote.as_ref());
        let seeded = own.and_then(|facts| facts.sent(name)?.moved());
        let seeded = seeded.map(|(bytes, total)| format!("{} of {} MiB", bytes >> 20, total >> 20));
        CopyStatus {
            name: name.to_string(),
            state: Some(state(record, copy, seeded.is_some()).into()),
            seeded,
            send_queue: remote.map(|copy| copy.send_queue),
            redo_queue: remote.map(|copy| copy.redo_queue),
        }
    };
    record.inputs.databases.iter().map(line).collect()
}

fn state(record: &Record, copy: Option<&LinkDatabase>, seeding: bool) -> &'static str {
    let remote = copy.and_then(|copy| copy.remote.as_ref());
    match remote.map(|copy| copy.state.as_str()) {
        _ if record.failed_for(Reason::Discarded) => "Discarded",
        _ if record.failure.is_some() && record.terminating => "Damaged",
        // The barrier was found on every promoted copy before the script was begun.
        _ if record.step == Step::RunningScript || record.took.iter().any(|(step, _)| *step == Step::RunningScript) => {
            "Proven"
        }
        _ if seeding => "Seeding",
        Some("SYNCHRONIZED") => "Synchronized",
        Some("SYNCHRONIZING") => "Synchronizing",
        _ => "Unknown",
    }
}

fn approvals(record: &Record) -> Vec<ApprovalStatus> {
    let line = |(step, said): (&Approval, &Said)| ApprovalStatus {
        step: format!("{step:?}"),
        by: said.by.clone(),
        at: time(said.at),
    };
    record.approved.iter().map(line).collect()
}

/// Steps in order with the time of each, the present one without.
fn steps(record: &Record) -> Vec<StepStatus> {
    let mut began = record.since - record.took.iter().map(|(_, took)| took).sum::<i64>();
    let mut lines = Vec::new();
    for (step, took) in &record.took {
        lines.push(StepStatus { name: format!("{step:?}"), started: time(began), took: Some(*took), result: None });
        began += took;
    }
    let result = record.failure.as_ref().map(|failure| format!("{}: {}", failure.reason, failure.message));
    lines.push(StepStatus { name: format!("{:?}", record.step), started: time(record.since), took: None, result });
    lines
}
