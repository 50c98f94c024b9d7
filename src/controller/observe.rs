//! Everything one pass sees, put together: stores, looks, memory.

use super::{
    instances::{Instances, LOOK},
    memory::Memory,
    watch::{Stores, group_of},
};
use crate::{
    api::{self, AvailabilityGroup, Failover, v1alpha1::FailoverRequestMode},
    decide::{
        Observation, Record,
        observation::{Pod as PodFacts, Probe, Replica, Request, Routed},
    },
    model::{ActiveUpgrade, DatabaseName, Group, Mode, ReplicaName, Role},
    resources,
};
use k8s_openapi::{
    api::core::v1::{ContainerStatus, Pod, Service},
    jiff::Timestamp,
};
use kube::runtime::reflector::ObjectRef;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// Age at which a look at a replica that is not primary is renewed while nothing is wrong.
pub const AT_REST: Duration = Duration::from_secs(5);

/// Everything but the looks: what the watches saw of a group.
pub struct Sight {
    /// Its pods by name.
    pub pods: BTreeMap<ReplicaName, Arc<Pod>>,
    /// Its Service for writes.
    pub read_write: Option<Arc<Service>>,
    /// Its Service for the primary's mirroring endpoint.
    pub primary: Option<Arc<Service>>,
    /// The oldest request that is not finished.
    pub request: Option<Failover>,
}

impl Sight {
    /// Reads the stores.
    pub fn new(stores: &Stores, group: &Group) -> Self {
        let key = (group.namespace.clone(), group.name.to_string());
        let pods = stores.pods.state().into_iter().filter(|pod| group_of(&pod.metadata).as_ref() == Some(&key));
        let named = pods.filter_map(|pod| Some((ReplicaName::new(pod.metadata.name.clone()?).ok()?, pod)));
        let service = |name: String| stores.services.get(&ObjectRef::new(&name).within(&group.namespace));
        Self {
            pods: named.collect(),
            read_write: service(resources::read_write_service(group)),
            primary: service(resources::primary_service(group)),
            request: oldest_request(stores, group),
        }
    }

    /// Addresses of the pods that have one.
    pub fn addresses(&self) -> BTreeMap<ReplicaName, String> {
        let address = |pod: &Pod| pod.status.as_ref()?.pod_ip.clone().filter(|address| !address.is_empty());
        self.pods.iter().filter_map(|(name, pod)| Some((name.clone(), address(pod)?))).collect()
    }
}

fn oldest_request(stores: &Stores, group: &Group) -> Option<Failover> {
    let requests = stores.failovers.state().into_iter().filter_map(|guarded| guarded.0.as_ref().ok().cloned());
    let ours = requests.filter(|request| {
        request.metadata.namespace.as_ref() == Some(&group.namespace)
            && request.spec.availability_group == group.name.as_str()
            && request.metadata.deletion_timestamp.is_none()
            && !request.finished()
    });
    ours.min_by_key(|request| (request.metadata.creation_timestamp.clone(), request.metadata.name.clone()))
}

/// Looks at the replicas that are due, and puts the observation together.
pub async fn observe(
    object: &AvailabilityGroup,
    instances: &Instances,
    stores: &Stores,
    sight: &Sight,
    memory: &mut Memory,
    wall: Timestamp,
) -> Observation {
    let group = &instances.group;
    let record = record_of(object);
    let known = replicas(group, record.as_ref(), memory);
    let due = due(&known, record.as_ref(), memory);
    instances.look(&due, memory).await;
    let others: Vec<_> = known.keys().filter(|name| !due.contains(name)).cloned().collect();
    if !others.is_empty() && !serves(record.as_ref(), memory) {
        instances.look(&others, memory).await;
    }
    // One that is silent must not hold up the pass that replaces it.
    if let Some(record) = record.as_ref().filter(|record| serves(Some(record), memory)) {
        instances.look_at_users(&record.primary, memory).await;
        instances.look_at_log_backups(&record.primary, memory).await;
    }
    remember_containers(sight, memory);
    let upgrade = upgrade_of(object);
    let known = replicas(group, record.as_ref(), memory);
    let replicas = known.iter().map(|(name, mode)| (name.clone(), replica(name, *mode, group, stores, sight, memory)));
    let mut seen = Observation {
        at: wall.as_millisecond(),
        group: (**group).clone(),
        replicas: replicas.collect(),
        known_databases: known_databases(object),
        log_backups: memory.log_backups.read.clone(),
        routed: routed(sight),
        suspected_for: Duration::ZERO,
        election_age: Duration::ZERO,
        promoted_for: Duration::ZERO,
        since_unplanned: since_unplanned(object, wall),
        failover: None,
        commit_quorum_refused: memory.commit_quorum_refused.clone(),
        upgrade_gone: upgrade.as_ref().is_some_and(|upgrade| memory.upgrade_gone.as_ref() == Some(&upgrade.uid)),
        upgrade,
        request: sight.request.as_ref().map(|request| request_of(request, wall)),
        passwords: memory.access.as_ref().map(|access| access.version.clone()).unwrap_or_default(),
        certificates: memory.kept.clone().unwrap_or_default(),
        record,
    };
    memory.time(&mut seen, tokio::time::Instant::now());
    seen
}

/// The same observation with the object read again: what a pass that acts decides by.
pub fn reread(seen: &mut Observation, object: &AvailabilityGroup, group: Group, memory: &mut Memory, wall: Timestamp) {
    for (name, replica) in &mut seen.replicas {
        replica.wanted = group.replicas.contains_key(name);
    }
    seen.at = wall.as_millisecond();
    seen.group = group;
    seen.record = record_of(object);
    seen.upgrade = upgrade_of(object);
    seen.upgrade_gone &= seen.upgrade.as_ref().map(|upgrade| &upgrade.uid) == memory.upgrade_gone.as_ref();
    seen.known_databases = known_databases(object);
    seen.since_unplanned = since_unplanned(object, wall);
    memory.judge(seen, tokio::time::Instant::now());
}

/// Replicas wanted, recorded, or members of anybody's copy, with their modes.
fn replicas(group: &Group, record: Option<&Record>, memory: &Memory) -> BTreeMap<ReplicaName, Mode> {
    let mut known = BTreeMap::new();
    for name in record.into_iter().flat_map(|record| record.voters.iter().chain(record.apart.keys())) {
        known.insert(name.clone(), Mode::Synchronous);
    }
    // A primary that serves says who is a member; whoever was removed keeps an old copy for ever.
    let serving = record.map(|record| &record.primary).filter(|_| serves(record, memory));
    let words = memory.glances.iter().filter(|(name, _)| serving.is_none_or(|primary| primary == *name));
    for (_, glance) in words {
        let Probe::Answered(facts) = &glance.probe else { continue };
        let members = facts.group.iter().flat_map(|group| &group.members);
        known.extend(members.map(|(name, member)| (name.clone(), member.mode)));
    }
    known.extend(group.replicas.iter().map(|(name, mode)| (name.clone(), *mode)));
    known
}

/// At rest the primary is looked at in each pass and the others each fifth second; else everybody in each pass.
fn due(known: &BTreeMap<ReplicaName, Mode>, record: Option<&Record>, memory: &mut Memory) -> Vec<ReplicaName> {
    memory.glances.retain(|name, _| known.contains_key(name));
    let primary = record.map(|record| &record.primary);
    let fresh = |name: &ReplicaName| memory.glances.get(name).is_some_and(|glance| glance.at.elapsed() < AT_REST);
    let due = known.keys().filter(|name| !memory.at_rest || Some(*name) == primary || !fresh(name));
    due.cloned().collect()
}

/// Whether the recorded primary answered as one.
fn serves(record: Option<&Record>, memory: &Memory) -> bool {
    let glance = record.and_then(|record| memory.glances.get(&record.primary));
    let Some(Probe::Answered(facts)) = glance.map(|glance| &glance.probe) else { return false };
    facts.group.as_ref().is_some_and(|group| group.role == Role::Primary)
}

fn remember_containers(sight: &Sight, memory: &mut Memory) {
    for (name, glance) in &memory.glances {
        let answered = !matches!(glance.probe, Probe::Silent { .. }) && glance.at.elapsed() < LOOK;
        let Some(id) = sight.pods.get(name).and_then(|pod| container(pod)?.container_id.clone()) else { continue };
        if answered {
            memory.answered.insert(name.clone(), id);
        }
    }
}

fn replica(name: &ReplicaName, mode: Mode, group: &Group, stores: &Stores, sight: &Sight, memory: &Memory) -> Replica {
    let mut probe = memory
        .glances
        .get(name)
        .map_or_else(|| Probe::Silent { why: "not looked at yet".into() }, |glance| glance.probe.clone());
    if let (Probe::Answered(facts), Some((primary, users))) = (&mut probe, &memory.users.read)
        && primary == name
    {
        for (database, found) in users {
            if let Some(facts) = facts.databases.get_mut(database) {
                facts.users = Some(found.clone());
            }
        }
    }
    Replica {
        mode,
        wanted: group.replicas.contains_key(name),
        pod: sight.pods.get(name).map_or_else(PodFacts::default, |pod| pod_facts(name, pod, stores, memory)),
        probe,
        silent_for: Duration::ZERO,
        silent_since: None,
        admin_refused: None,
        rejoining_for: Duration::ZERO,
        retry: false,
        cure: 0,
    }
}

fn container(pod: &Pod) -> Option<&ContainerStatus> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == resources::CONTAINER)
}

fn pod_facts(name: &ReplicaName, pod: &Pod, stores: &Stores, memory: &Memory) -> PodFacts {
    let status = container(pod);
    let state = status.and_then(|status| status.state.as_ref());
    let running = state.is_some_and(|state| state.running.is_some());
    let stopped = state.is_some_and(|state| state.terminated.is_some());
    let restarted = match (memory.answered.get(name), status.and_then(|status| status.container_id.as_ref())) {
        (Some(before), Some(now)) => before != now,
        _ => false,
    };
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
    let node_ready =
        node.and_then(|node| stores.nodes.get(&ObjectRef::new(node))).is_some_and(|node| super::watch::is_ready(&node));
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let gate = conditions.into_iter().flatten().find(|condition| condition.type_ == resources::GATE);
    PodFacts {
        exists: true,
        running,
        terminated: node_ready && (stopped || restarted),
        deleting: pod.metadata.deletion_timestamp.is_some(),
        gate: gate.map(|condition| condition.status == "True"),
        node: node.cloned(),
        outdated: is_outdated(pod, stores),
        trouble: if running { String::new() } else { trouble(pod, status) },
    }
}

/// Whether its StatefulSet would make it from another template now.
fn is_outdated(pod: &Pod, stores: &Stores) -> bool {
    let meta = &pod.metadata;
    let own = meta.labels.as_ref().and_then(|labels| labels.get("controller-revision-hash"));
    let owner = meta.owner_references.iter().flatten().find(|owner| owner.kind == "StatefulSet");
    let (Some(own), Some(owner), Some(namespace)) = (own, owner, &meta.namespace) else { return false };
    let set = stores.sets.get(&ObjectRef::new(&owner.name).within(namespace));
    let Some(status) = set.as_ref().and_then(|set| set.status.as_ref()) else { return false };
    // A status that does not know the newest template yet says nothing.
    status.observed_generation == set.as_ref().and_then(|set| set.metadata.generation)
        && status.update_revision.as_ref().is_some_and(|revision| revision != own)
}

/// Why a pod does not run, in Kubernetes' words.
fn trouble(pod: &Pod, status: Option<&ContainerStatus>) -> String {
    let words = |reason: &Option<String>, message: &Option<String>| {
        [reason.as_deref(), message.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(": ")
    };
    if let Some(state) = status.and_then(|status| status.state.as_ref()) {
        if let Some(waiting) = &state.waiting {
            return words(&waiting.reason, &waiting.message);
        }
        if let Some(ended) = &state.terminated {
            return format!("{} (exit code {})", words(&ended.reason, &ended.message), ended.exit_code);
        }
    }
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let unscheduled = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    unscheduled.map_or_else(
        || pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default(),
        |condition| words(&condition.reason, &condition.message),
    )
}

fn routed(sight: &Sight) -> Routed {
    fn selector<'a>(service: Option<&'a Arc<Service>>, key: &str) -> Option<&'a String> {
        service?.spec.as_ref()?.selector.as_ref()?.get(key)
    }
    let readers = selector(sight.read_write.as_ref(), resources::READABLE).is_some();
    let leads = if readers { sight.primary.as_ref() } else { sight.read_write.as_ref() };
    let read_write = selector(leads, resources::POD_NAME).cloned();
    let label = |pod: &Pod, key: &str| pod.metadata.labels.as_ref()?.get(key).cloned();
    let roles = sight.pods.iter().filter_map(|(name, pod)| Some((name.clone(), label(pod, resources::ROLE)?)));
    let readable = sight.pods.iter().filter(|(_, pod)| label(pod, resources::READABLE).as_deref() == Some("true"));
    Routed {
        read_write: read_write.and_then(|name| ReplicaName::new(name).ok()),
        readers,
        roles: roles.collect(),
        readable: readable.map(|(name, _)| name.clone()).collect(),
    }
}

fn known_databases(object: &AvailabilityGroup) -> BTreeSet<DatabaseName> {
    let databases = object.status.iter().flat_map(|status| &status.databases);
    databases.filter(|line| line.known).filter_map(|line| DatabaseName::new(&line.name).ok()).collect()
}

/// The record in the object's status. One that cannot be read is one that was lost.
pub fn record_of(object: &AvailabilityGroup) -> Option<Record> {
    let election = object.status.as_ref()?.election.as_ref()?;
    let value = serde_json::to_value(election).ok()?;
    match serde_json::from_value(value) {
        Ok(record) => Some(record),
        Err(error) => {
            tracing::warn!(%error, group = object.metadata.name, "status.election cannot be read");
            None
        }
    }
}

/// The upgrade that a group takes part in, as its status says.
pub fn upgrade_of(object: &AvailabilityGroup) -> Option<ActiveUpgrade> {
    object.status.as_ref()?.upgrade.as_ref().map(api::upgrade_from_status)
}

fn since_unplanned(object: &AvailabilityGroup, wall: Timestamp) -> Option<Duration> {
    let last = object.status.as_ref()?.last_failover.as_ref().filter(|last| last.kind == "Unplanned")?;
    let seconds = wall.as_second().saturating_sub(last.at.as_ref()?.0.as_second());
    // A clock that went back must not hold up a failover: it then counts as long ago.
    Some(u64::try_from(seconds).map_or(Duration::MAX, Duration::from_secs))
}

fn request_of(request: &Failover, wall: Timestamp) -> Request {
    let created = request.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second());
    let spec = &request.spec;
    Request {
        name: request.metadata.name.clone().unwrap_or_default(),
        forced: spec.mode == FailoverRequestMode::Forced,
        target: spec.target.as_ref().and_then(|name| ReplicaName::new(name).ok()),
        expected_epoch: spec.expected_epoch.and_then(|epoch| u64::try_from(epoch).ok()),
        resume: spec.resume_databases.unwrap_or_default(),
        expired: wall.as_second().saturating_sub(created) > request.expires_after_seconds(),
        epoch: request.status.as_ref().and_then(|status| status.epoch).and_then(|epoch| u64::try_from(epoch).ok()),
    }
}
