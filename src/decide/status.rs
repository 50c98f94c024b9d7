//! What people are told: observation and plan to status and conditions (product.md, "What people see").

use super::{
    ElectionState, Observation, Plan, Reason, commit_quorum, databases,
    diagnose::View,
    observation::Facts,
    promote::{is_following, mode_of},
};
use crate::model::{DatabaseName, FailoverMode, Management, Mode, ReplicaName, Role, quorum};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Truth {
    /// `True`
    True,
    /// `False`
    False,
    /// `Unknown`
    Unknown,
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

/// A condition; those that are absent when not True are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// `Ready`, `Available`, ..
    pub kind: &'static str,
    /// Its status.
    pub status: Truth,
    /// One word.
    pub reason: Reason,
    /// One sentence.
    pub message: String,
}

/// What a replica's line says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplicaReport {
    /// Its name.
    pub name: ReplicaName,
    /// `PRIMARY`, `SECONDARY`, `RESOLVING`; `UNKNOWN` when silent, `NONE` when not a member.
    pub role: String,
    /// Its mode.
    pub mode: Mode,
    /// Every database SYNCHRONIZED, as the primary sees it; the primary itself is.
    pub synchronized: bool,
    /// It follows the primary; the primary itself is.
    pub connected: bool,
    /// `major:minor`; absent when silent.
    pub sequence_number: Option<String>,
    /// Product version; absent when silent.
    pub version: Option<String>,
    /// Databases that are being copied whole to it although it has a copy.
    pub reseeding: Vec<DatabaseName>,
    /// Why something is missing; empty when nothing is.
    pub message: String,
}

/// What a database's line says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DatabaseReport {
    /// Its name.
    pub name: String,
    /// `Synchronized`, `Seeding`, `Missing`, `Ignored`.
    pub state: &'static str,
    /// Replicas that have it SYNCHRONIZED, the primary included.
    pub synchronized: u32,
}

/// The status of a group, apart from the record and what only Kubernetes knows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Conditions in the order people read them.
    pub conditions: Vec<Condition>,
    /// Word of the column REASON.
    pub reason: Reason,
    /// The primary that serves and is routed.
    pub primary: Option<ReplicaName>,
    /// Replicas in name order.
    pub replicas: Vec<ReplicaReport>,
    /// Databases in the order of the spec.
    pub databases: Vec<DatabaseReport>,
    /// Number of the primary, `major:minor`.
    pub sequence_number: Option<String>,
    /// `2/2`: synchronous secondaries synchronized, of those wanted.
    pub synced: String,
    /// The commit quorum in force, as far as known.
    pub commit_quorum: u32,
    /// The commit quorum wanted.
    pub wanted_commit_quorum: u32,
    /// Product version of the primary.
    pub version: Option<String>,
    /// Warnings: word and sentence.
    pub warnings: Vec<(Reason, String)>,
    /// Replicas whose pods were made from an older template.
    pub outdated: Vec<ReplicaName>,
}

/// Reports one pass.
pub fn report(seen: &Observation, plan: &Plan) -> Report {
    let blank = super::Record::first(seen.group.first().cloned().unwrap_or_else(unnamed), 0);
    let record = seen.record.as_ref().unwrap_or(&blank);
    let view = View { seen, record };
    let serving = view.primary().filter(|own| own.role == Role::Primary && seen.record.is_some());
    let routed = serving.is_some() && seen.routed.read_write.as_ref() == Some(&record.primary);
    let wanted = seen.group.synchronous().saturating_sub(1);
    let synchronized = if serving.is_some() { super::switchover::targets(&view).count() as u32 } else { 0 };
    let mut report = Report {
        conditions: vec![],
        reason: plan.reason,
        primary: (serving.is_some() || plan.reason == Reason::PrimaryUnreachable).then(|| record.primary.clone()),
        replicas: seen.replicas.keys().map(|name| replica(&view, name)).collect(),
        databases: database_lines(&view),
        sequence_number: serving.map(|own| own.number.to_string()),
        synced: format!("{synchronized}/{wanted}"),
        commit_quorum: serving.map_or(record.commit_quorum, |own| own.commit_quorum),
        wanted_commit_quorum: seen.group.wanted_commit_quorum().value,
        version: seen
            .facts(&record.primary)
            .map(|facts| facts.server.version.clone())
            .filter(|version| !version.is_empty()),
        warnings: super::warnings::warnings(&view),
        outdated: outdated(seen),
    };
    report.conditions = conditions(&view, plan, routed, synchronized, wanted);
    report
}

fn outdated(seen: &Observation) -> Vec<ReplicaName> {
    seen.replicas.iter().filter(|(_, replica)| replica.pod.outdated).map(|(name, _)| name.clone()).collect()
}

fn unnamed() -> ReplicaName {
    // The parser refuses a group without synchronous replicas, so this name is never shown.
    ReplicaName::new("none").unwrap_or_else(|_| unreachable!("a constant name"))
}

fn conditions(view: &View<'_>, plan: &Plan, routed: bool, synchronized: u32, wanted: u32) -> Vec<Condition> {
    let available = available(view, plan, routed);
    let in_sync = synchronized_condition(view, plan, synchronized, wanted);
    let ready_to_fail_over = failover_ready(view);
    let quorum = commit_quorum_met(view, synchronized);
    let stalled = matches!(
        plan.reason,
        Reason::DatabaseMissing
            | Reason::InvalidSpec
            | Reason::Unsupported
            | Reason::CredentialsRefused
            | Reason::NameTaken
            | Reason::LogChainMissing
            | Reason::Refused
    );
    let complete = plan.reason == Reason::Healthy || plan.reason == Reason::Paused;
    let all = available.status == Truth::True && in_sync.status == Truth::True && quorum.status == Truth::True;
    let healthy = || format!("{}; {}", available.message, in_sync.message);
    let message = if plan.message.is_empty() { healthy() } else { plan.message.clone() };
    let ready = Condition { kind: "Ready", status: (all && complete).into(), reason: plan.reason, message };
    let blocked = plan.reason.blocks().then(|| Condition {
        kind: "FailoverBlocked",
        status: Truth::True,
        reason: plan.reason,
        message: plan.message.clone(),
    });
    let moving = !complete && !stalled;
    let mut conditions = vec![ready, available, in_sync, ready_to_fail_over, quorum];
    conditions.extend(spread(view));
    conditions.extend(blocked);
    conditions.extend(moving.then(|| Condition {
        kind: "Reconciling",
        status: Truth::True,
        reason: plan.reason,
        message: plan.message.clone(),
    }));
    conditions.extend(stalled.then(|| Condition {
        kind: "Stalled",
        status: Truth::True,
        reason: plan.reason,
        message: plan.message.clone(),
    }));
    let differing = databases::differing_logins(view);
    if !differing.is_empty() {
        conditions.push(Condition {
            kind: "LoginsDiffer",
            status: Truth::True,
            reason: Reason::LoginsDiffer,
            message: format!("another SID than on the primary: {}", differing.join(", ")),
        });
    }
    conditions
}

fn available(view: &View<'_>, plan: &Plan, routed: bool) -> Condition {
    let condition = |status, reason, message: String| Condition { kind: "Available", status, reason, message };
    if plan.reason == Reason::PrimaryUnreachable {
        return condition(Truth::Unknown, Reason::PrimaryUnreachable, plan.message.clone());
    }
    let own = view.primary().filter(|own| own.role == Role::Primary);
    let Some(own) = own.filter(|_| routed) else {
        return condition(Truth::False, Reason::NoPrimary, plan.message.clone());
    };
    if let Some(message) = super::fence::in_words(view.seen) {
        return condition(Truth::False, Reason::ReadOnly, message);
    }
    // The error that clients get comes first.
    if let Some(message) = below_commit_quorum(view) {
        return condition(Truth::False, Reason::CommitQuorumLost, message);
    }
    let present = view.connected_to_primary().len() as u32 + 1;
    if own.commit_pending && present < quorum::majority(view.voters()) {
        return condition(
            Truth::False,
            Reason::ConfigurationQuorumLost,
            format!(
                "{present} of {} voters needed to change the configuration are there",
                quorum::majority(view.voters())
            ),
        );
    }
    condition(Truth::True, Reason::Healthy, format!("{} is primary", view.record.primary))
}

fn below_commit_quorum(view: &View<'_>) -> Option<String> {
    let own = view.primary()?;
    let there = own
        .members
        .iter()
        .filter(|(name, member)| {
            **name != view.record.primary && member.mode == Mode::Synchronous && own.synchronized(name)
        })
        .count() as u32;
    (there < own.commit_quorum && !own.databases.is_empty()).then(|| {
        format!(
            "{there} synchronized secondaries, commit quorum {}: writes get error 988 until one more is synchronized",
            own.commit_quorum
        )
    })
}

fn synchronized_condition(view: &View<'_>, plan: &Plan, synchronized: u32, wanted: u32) -> Condition {
    let good = synchronized >= wanted && databases::all_there(view);
    let reason = match plan.reason {
        _ if good => Reason::Healthy,
        reason @ (Reason::Seeding | Reason::ReplicaDown | Reason::Suspended | Reason::DatabaseMissing) => reason,
        _ => Reason::NotSynchronizing,
    };
    let message = format!("{synchronized} of {wanted} synchronous secondaries have every database synchronized");
    Condition { kind: "Synchronized", status: good.into(), reason, message }
}

/// Whether every pod has a node of its own: the loss of one takes what is together on it.
fn spread(view: &View<'_>) -> Option<Condition> {
    let mut nodes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, replica) in &view.seen.replicas {
        nodes.entry(replica.pod.node.as_deref()?).or_default().push(name.as_str());
    }
    let shared: Vec<_> = nodes.iter().filter(|(_, pods)| pods.len() > 1).collect();
    let together: Vec<_> = shared.iter().map(|(node, pods)| format!("{} are on {node}", pods.join(" and "))).collect();
    let (reason, message) = if shared.is_empty() {
        (Reason::Spread, format!("{} pods on {} nodes", view.seen.replicas.len(), nodes.len()))
    } else {
        let remedy = "its loss takes all of them; add nodes and delete one of the pods, or set spec.pod.requireSpread";
        (Reason::SharedNode, format!("{}: {remedy}", together.join(", ")))
    };
    Some(Condition { kind: "Spread", status: shared.is_empty().into(), reason, message })
}

/// Whether the gate would promote if the primary died now.
fn failover_ready(view: &View<'_>) -> Condition {
    let condition =
        |good: bool, reason, message: String| Condition { kind: "FailoverReady", status: good.into(), reason, message };
    let group = &view.seen.group;
    if group.paused {
        return condition(false, Reason::Paused, "spec.paused is true".into());
    }
    let manual = group.failover.mode == FailoverMode::Manual
        || (group.failover.mode == FailoverMode::RequireCommitQuorum && view.record.commit_quorum == 0);
    if manual {
        return condition(false, Reason::ManualFailoverOnly, "spec.failover.mode leaves it to a person".into());
    }
    let survivors = view.connected_to_primary().len() as u32;
    if survivors < view.need() {
        return condition(
            false,
            Reason::TooFewAnswers,
            format!("without {} {survivors} voters would answer, {} are needed", view.record.primary, view.need()),
        );
    }
    let recorded = super::switchover::targets(view).any(|name| view.record.followers.contains(name));
    if !recorded {
        return condition(
            false,
            Reason::NotSynchronized,
            "no synchronous secondary has every database synchronized".into(),
        );
    }
    if view.seen.since_unplanned.is_some_and(|since| since < group.failover.minimum_interval) {
        return condition(
            false,
            Reason::AntiFlap,
            format!(
                "there was an unplanned failover less than {} s ago (spec.failover.minimumIntervalSeconds); another one \
                 would wait for the rest",
                group.failover.minimum_interval.as_secs()
            ),
        );
    }
    condition(true, Reason::Healthy, "a synchronized secondary can take over".into())
}

fn commit_quorum_met(view: &View<'_>, synchronized: u32) -> Condition {
    let condition = |good: bool, reason, message: String| Condition {
        kind: "CommitQuorumMet",
        status: good.into(),
        reason,
        message,
    };
    let wanted = view.seen.group.wanted_commit_quorum().value;
    let Some(own) = view.primary().filter(|own| own.role == Role::Primary) else {
        return condition(false, Reason::Lost, "no primary".into());
    };
    if let Some(why) = commit_quorum::refused(view) {
        return condition(false, Reason::Refused, commit_quorum::refused_message(view, own.commit_quorum, why));
    }
    if own.commit_quorum != wanted {
        return condition(
            false,
            Reason::WaitingForReplica,
            format!("commit quorum {} is in force, {wanted} is wanted", own.commit_quorum),
        );
    }
    let met = synchronized >= own.commit_quorum;
    condition(
        met,
        if met { Reason::Healthy } else { Reason::Lost },
        format!("{synchronized} synchronized secondaries, commit quorum {}", own.commit_quorum),
    )
}

fn replica(view: &View<'_>, name: &ReplicaName) -> ReplicaReport {
    let primary = &view.record.primary;
    let facts = view.seen.facts(name);
    let group = facts.and_then(|facts| facts.group.as_ref());
    let serving = view.primary().filter(|own| own.role == Role::Primary);
    let is_primary = name == primary && serving.is_some();
    let role = match (facts, group) {
        (_, Some(group)) => group.role.to_string(),
        (Some(_), None) => "NONE".into(),
        (None, _) => "UNKNOWN".into(),
    };
    let missing = view.missing().into_iter().find(|missing| missing.replica == *name);
    ReplicaReport {
        name: name.clone(),
        role,
        mode: mode_of(view, name),
        synchronized: is_primary || serving.is_some_and(|own| own.synchronized(name)),
        connected: is_primary || is_following(view, name, primary),
        sequence_number: group.map(|group| group.number.to_string()),
        version: facts.map(|facts: &Facts| facts.server.version.clone()),
        reseeding: databases::reseeding(view, name).cloned().collect(),
        message: missing.map(|missing| missing.why).unwrap_or_default(),
    }
}

fn database_lines(view: &View<'_>) -> Vec<DatabaseReport> {
    let serving = view.primary().filter(|own| own.role == Role::Primary);
    let lines = view.seen.group.databases.iter().map(|database| {
        let there = serving.and_then(|own| own.databases.get(&database.name));
        let remote = there.map_or(0, |db| {
            db.remote.values().filter(|state| *state == super::observation::SYNCHRONIZED).count() as u32
        });
        let synchronous = view.seen.group.synchronous();
        let state = match there {
            _ if database.management == Management::Ignore => "Ignored",
            Some(_) if remote + 1 >= synchronous => "Synchronized",
            Some(_) => "Synchronizing",
            None if serving.is_none() => "Unknown",
            None if view.seen.known_databases.contains(&database.name) => "Missing",
            None => "Seeding",
        };
        DatabaseReport {
            name: database.name.to_string(),
            state,
            synchronized: if there.is_some() { remote + 1 } else { 0 },
        }
    });
    lines.collect()
}

/// Whether the record says that the group once served.
pub fn served(seen: &Observation) -> bool {
    seen.record.as_ref().is_some_and(|record| {
        matches!(record.state, ElectionState::Settled | ElectionState::Void) || !record.bootstrapping
    })
}
