//! One pass over one group: observe, decide, act, report. Read this first.

use super::{
    Shared,
    act::{self, Actor, Done},
    bells::{Bell, Key},
    events,
    instances::{Access, Instances},
    memory::Memory,
    objects,
    observe::{self, Sight},
    report,
    watch::Guarded,
    writes::Writes,
};
use crate::{
    api::{
        self, AvailabilityGroup,
        v1alpha1::{AvailabilityGroupStatus, status::LastFailover},
    },
    decide::{self, ElectionState, Observation, Plan, Reason, Step, observation::Probe, status},
    k8s,
    model::{Fence, FenceState, Group, ReplicaName},
    resources,
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::time::Instant;

/// Pause when there is nothing to decide by: no object, no permit, no answer from the API server.
const AGAIN: Duration = Duration::from_secs(1);
/// How often the Secrets are read: a changed password is carried to the instances after so long.
const SECRETS: Duration = Duration::from_secs(30);
/// How often it is asked whether the upgrade that a group takes part in still exists.
const UPGRADE: Duration = Duration::from_secs(2);
/// Shortest pause between two passes: what we did ourselves has a moment to come back through the watches.
const SHORTEST: Duration = Duration::from_millis(10);

/// What the loop does next.
pub enum Next {
    /// Look again after this.
    After(Duration),
    /// The group is gone.
    Gone,
}

/// One pass.
pub async fn pass(shared: &Shared, key: &Key, bell: &Bell, memory: &mut Memory) -> Next {
    let Some(guarded) = shared.stores.group(key) else { return Next::Gone };
    let Guarded { 0: Ok(object) } = &*guarded else { return Next::After(AGAIN) };
    if object.metadata.deletion_timestamp.is_some() || shared.permits.permit().is_none() {
        return Next::After(AGAIN);
    }
    if memory.uid != object.metadata.uid {
        *memory = Memory::new(object.metadata.uid.clone());
    }
    act::collect(memory).await;
    let Some((group, refusal)) = read(shared, object, memory).await else { return Next::After(AGAIN) };

    let sight = Sight::new(&shared.stores, &group);
    let instances = instances(shared, &group, &sight, memory).await;
    if memory.kept.is_none() {
        memory.kept = objects::kept(&shared.kube, &group).await.ok();
    }
    ask_about_upgrade(shared, object, memory).await;
    let mut seen = observe::observe(object, &instances, &shared.stores, &sight, memory, shared.wall()).await;
    let mut plan = decide::decide(&seen);

    let mut writes = writes(shared, object.clone(), &sight);
    if is_restless(&plan, memory) {
        // Whatever is done is decided by the object as it is now, not as a watch saw it.
        match shared.kube.group(&key.0, &key.1).await {
            Ok(Some(now)) if now.metadata.uid == object.metadata.uid && now.metadata.deletion_timestamp.is_none() => {
                let group = parse(shared, &now, memory).map_or(group.clone(), |(group, _)| group);
                observe::reread(&mut seen, &now, (*group).clone(), memory, shared.wall());
                plan = decide::decide(&seen);
                writes.object = now;
            }
            Ok(_) => return Next::After(AGAIN),
            Err(error) => {
                tracing::warn!(group = %group.name, namespace = group.namespace, %error, "group not read; nothing is done");
                return Next::After(memory.backoff.failed(Duration::ZERO));
            }
        }
    }
    if let Err(plan) = apply_objects(shared, &seen, bell, memory).await {
        let told = Told { plan: &plan, refusal: refusal.as_deref(), routed: None };
        report(shared, &seen, told, &mut writes, memory).await;
        return Next::After(memory.backoff.failed(plan.recheck));
    }

    let done = act::act(
        &plan,
        &mut Actor { instances: &instances, writes: &mut writes, seen: &seen, random: shared.password() },
        memory,
    )
    .await;
    let told = Told { plan: &plan, refusal: refusal.as_deref(), routed: done.routed.as_ref() };
    report(shared, &seen, told, &mut writes, memory).await;
    if let Some(to) = &done.routed {
        let service = resources::read_write_service(&seen.group);
        let (fenced, name) = (decide::fence_is_closed(&seen), to.as_str());
        let whom = if fenced { "readable secondaries: the group is read-only" } else { name };
        writes.announce(Reason::Rerouted, &format!("{service} selects {whom}"));
    }
    log(&seen, &plan, &done, memory);
    shared.health.metrics.pass(plan.reason);
    bell.repeats(memory.wrote(if done.failed { Vec::new() } else { shown(&plan) }));
    Next::After(pace(&plan, &done, memory))
}

/// Whether the upgrade that a group takes part in still exists: nobody else lifts a fence whose upgrade was deleted. One
/// that is kept stays without it.
async fn ask_about_upgrade(shared: &Shared, object: &AvailabilityGroup, memory: &mut Memory) {
    let lasts = |fence: &Fence| fence.state != FenceState::Kept;
    let Some(upgrade) = observe::upgrade_of(object).filter(|upgrade| upgrade.fence.as_ref().is_none_or(lasts)) else {
        return;
    };
    if memory.upgrade_asked.is_some_and(|at| at.elapsed() < UPGRADE) {
        return;
    }
    memory.upgrade_asked = Some(Instant::now());
    match shared.kube.has_upgrade(&upgrade.namespace, &upgrade.name, &upgrade.uid).await {
        Ok(there) => memory.upgrade_gone = (!there).then_some(upgrade.uid),
        Err(error) => tracing::warn!(group = object.metadata.name, upgrade = upgrade.name, %error, "upgrade not read"),
    }
}

/// Steps whose effect comes back through the watches.
fn shown(plan: &Plan) -> Vec<Step> {
    let shows =
        |step: &&Step| matches!(step, Step::Route(_) | Step::Label { .. } | Step::Gate { .. } | Step::Answer { .. });
    plan.steps().filter(shows).cloned().collect()
}

/// The wish: as the spec says; a spec that cannot be read leaves the last one that could in force.
async fn read(
    shared: &Shared,
    object: &AvailabilityGroup,
    memory: &mut Memory,
) -> Option<(Arc<Group>, Option<String>)> {
    match parse(shared, object, memory) {
        Ok(read) => Some(read),
        Err(message) => {
            let status = report::refused(object, Reason::InvalidSpec.as_str(), &message, shared.wall());
            let status = serde_json::to_value(status).unwrap_or_default();
            if let Err(error) = shared.kube.status(object, &status).await {
                tracing::warn!(group = object.metadata.name, %error, "status not written");
            }
            None
        }
    }
}

fn parse(
    shared: &Shared,
    object: &AvailabilityGroup,
    memory: &mut Memory,
) -> Result<(Arc<Group>, Option<String>), String> {
    if let Some(group) = memory.group.as_ref().filter(|group| {
        Some(group.generation) == object.metadata.generation && Some(&group.uid) == object.metadata.uid.as_ref()
    }) {
        return Ok((group.clone(), None));
    }
    match api::parse(object, &shared.prepare_image) {
        Ok(group) => {
            let group = Arc::new(group);
            memory.group = Some(group.clone());
            memory.access_at = None;
            Ok((group, None))
        }
        Err(refusals) => match &memory.group {
            Some(group) if Some(&group.uid) == object.metadata.uid.as_ref() => {
                Ok((group.clone(), Some(refusals.to_string())))
            }
            _ => Err(refusals.to_string()),
        },
    }
}

/// The instances of a group, with what it takes to be let in.
pub async fn instances(shared: &Shared, group: &Arc<Group>, sight: &Sight, memory: &mut Memory) -> Instances {
    let refused = memory.glances.values().any(|glance| matches!(glance.probe, Probe::LoginRefused));
    let age = memory.access_at.map_or(Duration::MAX, |at| at.elapsed());
    if memory.access.is_none() || age > SECRETS || (refused && age > AGAIN) {
        match objects::access(&shared.kube, group).await {
            Ok(Some(access)) => take(access, memory),
            // A Secret that is gone takes no password with it; what is ours is made again.
            Ok(None) if memory.access.is_some() => memory.applied = None,
            Ok(None) => {}
            Err(error) => tracing::warn!(group = %group.name, namespace = group.namespace, %error, "secrets not read"),
        }
        memory.access_at = Some(Instant::now());
    }
    Instances {
        group: group.clone(),
        access: memory.access.clone(),
        doors: Arc::new(memory.doors.clone()),
        addresses: Arc::new(sight.addresses()),
        servers: shared.servers.clone(),
        health: shared.health.clone(),
    }
}

/// Other passwords than before: whoever refused the old ones may take these.
fn take(access: Access, memory: &mut Memory) {
    if memory.access.as_ref().is_none_or(|before| before.version != access.version) {
        memory.admin_refused.clear();
    }
    memory.access = Some(Arc::new(access));
}

fn writes(shared: &Shared, object: AvailabilityGroup, sight: &Sight) -> Writes {
    Writes {
        kube: shared.kube.clone(),
        permits: shared.permits.clone(),
        object,
        request: sight.request.clone(),
        wall: shared.wall(),
    }
}

/// Whether the pass will write, or follows one that did: then the object is read again first.
fn is_restless(plan: &Plan, memory: &Memory) -> bool {
    plan.steps().next().is_some() || memory.reason != Some(plan.reason) || !memory.at_rest
}

/// Has the Kubernetes objects of the group made and kept. Error: the plan that says what is in the way.
async fn apply_objects(shared: &Shared, seen: &Observation, bell: &Bell, memory: &mut Memory) -> Result<(), Plan> {
    let members: BTreeSet<_> = seen.replicas.keys().cloned().collect();
    let wanted = objects::fingerprint(&seen.group, &members);
    let drifted = bell.drifted();
    if seen.group.paused || (memory.applied.as_ref() == Some(&wanted) && !drifted) {
        return Ok(());
    }
    match objects::apply(&shared.kube, &seen.group, &members, &*shared.random).await {
        Ok(()) => {
            if memory.applied.as_ref() != Some(&wanted) {
                memory.access_at = None;
            }
            memory.applied = Some(wanted);
            Ok(())
        }
        Err(error) => {
            bell.drift();
            tracing::warn!(group = %seen.group.name, namespace = seen.group.namespace, %error, "objects not applied");
            // Only a new group waits for its objects: one that serves goes on.
            match (&error, status::served(seen)) {
                (k8s::Error::NameTaken(_), false) => Err(Plan::new(Reason::NameTaken, error.to_string())),
                (_, false) => Err(Plan::new(Reason::WaitingForPods, error.to_string())),
                (_, true) => Ok(()),
            }
        }
    }
}

/// What a pass has to tell, beside what it saw.
struct Told<'a> {
    plan: &'a Plan,
    /// Why the spec cannot be read.
    refusal: Option<&'a str>,
    /// Where this pass sent writers.
    routed: Option<&'a ReplicaName>,
}

async fn report(shared: &Shared, seen: &Observation, told: Told<'_>, writes: &mut Writes, memory: &mut Memory) {
    let Told { plan, refusal, routed } = told;
    let told = status::report(seen, plan);
    // What was told last is newer than what a watch may have seen.
    let before = memory.told.as_ref().or(writes.object.status.as_ref());
    let last = changed_primary(shared, seen, routed, &writes.object, before);
    let status = report::status(&writes.object, seen, &told, refusal, last, before, shared.wall());
    if !memory.at_rest || memory.told.as_ref() != Some(&status) {
        let value = serde_json::to_value(&status).unwrap_or_default();
        match shared.kube.status(&writes.object, &value).await {
            Ok(_) => {
                announce_warnings(&status, before, writes);
                for (reason, message) in before.map(|before| events::between(before, &status)).unwrap_or_default() {
                    writes.announce(reason, &message);
                }
                memory.told = Some(status);
            }
            Err(error) => {
                tracing::warn!(group = %seen.group.name, namespace = seen.group.namespace, %error, "status not written");
                memory.told = None;
                memory.at_rest = false;
            }
        }
    }
    let blocked = told.conditions.iter().any(|condition| condition.kind == "FailoverBlocked");
    if memory.reason != Some(plan.reason) {
        if blocked {
            writes.announce(Reason::FailoverBlocked, &plan.message);
        }
        keep(shared, seen, blocked);
    }
}

/// Each warning that was not told before, once.
fn announce_warnings(status: &AvailabilityGroupStatus, before: Option<&AvailabilityGroupStatus>, writes: &Writes) {
    let known = before.map(|status| status.warnings.as_slice()).unwrap_or_default();
    for warning in status.warnings.iter().filter(|warning| !known.iter().any(|old| old.reason == warning.reason)) {
        if let Some(reason) = Reason::ALL.iter().find(|reason| reason.as_str() == warning.reason) {
            writes.announce(*reason, &warning.message);
        }
    }
}

/// A saved observation replays the decision: the log has it at debug, and the health port those of blocked failovers.
fn keep(shared: &Shared, seen: &Observation, blocked: bool) {
    if !blocked && !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let Ok(json) = serde_json::to_string(seen) else { return };
    tracing::debug!(group = %seen.group.name, namespace = seen.group.namespace, observation = json);
    if blocked {
        shared.health.keep(&seen.group.namespace, seen.group.name.as_str(), json);
    }
}

/// The line of a change of the primary that is over and was not told yet, whoever began it. The status is what tells it
/// apart, so that a process that ends in between leaves it to the next one.
fn changed_primary(
    shared: &Shared,
    seen: &Observation,
    routed: Option<&ReplicaName>,
    object: &AvailabilityGroup,
    before: Option<&AvailabilityGroupStatus>,
) -> Option<LastFailover> {
    let record = observe::record_of(object).filter(|record| {
        record.state == ElectionState::Settled && record.from.is_some() && record.times.elected.is_some()
    })?;
    let told = before.and_then(|status| status.last_failover.as_ref()?.epoch);
    let routed = routed.or(seen.routed.read_write.as_ref()) == Some(&record.primary);
    // A record that came back from the instances was routed in another life of the object.
    let restored = seen.record.is_none();
    if told == i64::try_from(record.epoch).ok() || !(routed || restored) {
        return None;
    }
    let parts = record.times.parts((!restored).then(|| shared.wall().as_millisecond()));
    for (part, took) in &parts {
        shared.health.metrics.part(*part, *took);
    }
    Some(report::last_failover(seen, &record, &parts))
}

/// One line per pass that changed something, or saw something new.
fn log(seen: &Observation, plan: &Plan, done: &Done, memory: &mut Memory) {
    if done.changed || done.failed || memory.reason != Some(plan.reason) {
        tracing::info!(
            namespace = seen.group.namespace,
            group = %seen.group.name,
            epoch = seen.record.as_ref().map(|record| record.epoch),
            reason = %plan.reason,
            message = plan.message,
            steps = done.steps.join("; "),
            "pass"
        );
    }
    memory.reason = Some(plan.reason);
}

fn pace(plan: &Plan, done: &Done, memory: &mut Memory) -> Duration {
    memory.at_rest = plan.reason == Reason::Healthy && !done.changed && !done.failed && plan.waves.is_empty();
    if done.failed {
        return memory.backoff.failed(plan.recheck);
    }
    memory.backoff.reset();
    plan.recheck.max(SHORTEST)
}
