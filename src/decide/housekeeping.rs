//! What pods show: role labels, the label that `-ro` selects, our readiness gate.

use super::{
    ElectionState, Observation,
    diagnose::View,
    observation::SYNCHRONIZED,
    plan::{Plan, Step},
    promote::{is_following, mode_of},
};
use crate::model::{Mode, ReplicaName, Role, SecondaryConnections};

/// Label of the primary's pod.
pub const PRIMARY: &str = "primary";
/// Label of a pod in no role.
pub const RESOLVING: &str = "resolving";

/// Adds labels and gates to a plan that otherwise waits.
pub fn tend(view: &View<'_>, plan: Plan) -> Plan {
    let mut steps = labels(view);
    steps.extend(gates(view.seen));
    plan.wave(steps)
}

/// Labels that differ from what was seen. A silent replica keeps its role and loses `-ro`.
pub fn labels(view: &View<'_>) -> Vec<Step> {
    let routed = &view.seen.routed;
    let mut steps = Vec::new();
    for (name, replica) in view.seen.replicas.iter().filter(|(_, replica)| replica.pod.exists) {
        let role = role_label(view, name).or_else(|| routed.roles.get(name).cloned());
        let Some(role) = role else { continue };
        let readable = readable(view, name);
        if routed.roles.get(name) != Some(&role) || routed.readable.contains(name) != readable {
            steps.push(Step::Label { replica: name.clone(), role, readable });
        }
        debug_assert!(replica.pod.exists);
    }
    steps
}

fn role_label(view: &View<'_>, name: &ReplicaName) -> Option<String> {
    let group = view.seen.member(name)?;
    let label = match group.role {
        Role::Primary if *name == view.record.primary => PRIMARY,
        Role::Primary | Role::Resolving => RESOLVING,
        Role::Secondary if mode_of(view, name) == Mode::ConfigurationOnly => "configuration-only",
        Role::Secondary => "secondary",
    };
    Some(label.into())
}

/// Whether `-ro` may select a replica: a synchronized, readable secondary of a settled primary.
fn readable(view: &View<'_>, name: &ReplicaName) -> bool {
    let Some(group) = view.seen.member(name) else { return false };
    let synchronized = group.databases.values().all(|database| database.local.as_deref() == Some(SYNCHRONIZED));
    view.record.state == ElectionState::Settled
        && *name != view.record.primary
        && view.seen.group.secondary_connections != SecondaryConnections::No
        && mode_of(view, name) == Mode::Synchronous
        && is_following(view, name, &view.record.primary)
        && !group.databases.is_empty()
        && synchronized
}

/// Readiness gates that flip. Only an answer flips one: silence says nothing about a replica that clients may reach.
pub fn gates(seen: &Observation) -> Vec<Step> {
    let answered = seen
        .replicas
        .iter()
        .filter(|(_, replica)| replica.pod.exists)
        .filter_map(|(name, replica)| Some((name, replica, replica.facts()?)));
    answered
        .filter_map(|(name, replica, facts)| {
            let ready = facts.group.as_ref().is_some_and(|group| matches!(group.role, Role::Primary | Role::Secondary));
            (replica.pod.gate != Some(ready)).then(|| Step::Gate { replica: name.clone(), ready })
        })
        .collect()
}
