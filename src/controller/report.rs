//! Report of a pass to the status that people see.

use crate::{
    api::{
        self, AvailabilityGroup,
        condition::{condition, renew},
        v1alpha1::status::{
            AvailabilityGroupStatus, DatabaseStatus, FailoverStep, LastFailover, PendingUpdate, ReplicaStatus, Warning,
        },
    },
    decide::{
        Observation, Part, Reason, Record,
        observation::Probe,
        status::{Report, Truth},
    },
};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use std::{collections::BTreeSet, time::Duration};

/// The status, the record apart.
pub fn status(
    object: &AvailabilityGroup,
    seen: &Observation,
    report: &Report,
    refusal: Option<&str>,
    last: Option<LastFailover>,
    before: Option<&AvailabilityGroupStatus>,
    wall: Timestamp,
) -> AvailabilityGroupStatus {
    let generation = object.metadata.generation.unwrap_or_default();
    let connected = report.replicas.iter().filter(|replica| replica.connected).count();
    let quorum = if report.commit_quorum == report.wanted_commit_quorum {
        report.commit_quorum.to_string()
    } else {
        format!("{} -> {}", report.commit_quorum, report.wanted_commit_quorum)
    };
    let conditions = conditions(report, refusal);
    let old = before.map(|status| status.conditions.as_slice()).unwrap_or_default();
    AvailabilityGroupStatus {
        observed_generation: Some(generation),
        failover: Some(failover_word(report)),
        conditions: renew(old, conditions, generation, wall),
        primary: report.primary.as_ref().map(ToString::to_string),
        synced: Some(report.synced.clone()),
        quorum: Some(quorum),
        connected: Some(format!("{connected}/{}", seen.group.replicas.len())),
        sequence_number: report.sequence_number.clone(),
        version: report.version.clone(),
        replicas: replicas(report),
        databases: databases(seen, report, before),
        election: None,
        upgrade: None,
        last_failover: last.or_else(|| before.and_then(|status| status.last_failover.clone())),
        effective: Some(api::effective(&seen.group)),
        warnings: warnings(seen, report, before),
        update: update(report),
    }
}

/// The status of a group whose spec was never readable: what was there, with the refusal on top.
pub fn refused(object: &AvailabilityGroup, reason: &str, message: &str, wall: Timestamp) -> AvailabilityGroupStatus {
    let before = object.status.clone().unwrap_or_default();
    let generation = object.metadata.generation.unwrap_or_default();
    let wanted = vec![condition("Ready", "False", reason, message), condition("Stalled", "True", reason, message)];
    AvailabilityGroupStatus {
        observed_generation: Some(generation),
        conditions: renew(&before.conditions, wanted, generation, wall),
        election: None,
        upgrade: None,
        ..before
    }
}

fn conditions(report: &Report, refusal: Option<&str>) -> Vec<Condition> {
    let word = |truth| match truth {
        Truth::True => "True",
        Truth::False => "False",
        Truth::Unknown => "Unknown",
    };
    let made = report.conditions.iter();
    let mut all: Vec<_> =
        made.map(|made| condition(made.kind, word(made.status), made.reason.as_str(), &made.message)).collect();
    if let Some(refusal) = refusal {
        all.retain(|condition| !["Ready", "Stalled", "Reconciling"].contains(&condition.type_.as_str()));
        all.insert(0, condition("Ready", "False", "InvalidSpec", refusal));
        all.push(condition("Stalled", "True", "InvalidSpec", refusal));
    }
    all
}

fn failover_word(report: &Report) -> String {
    let ready = report.conditions.iter().find(|condition| condition.kind == "FailoverReady");
    ready.map_or_else(
        || "Unknown".into(),
        |ready| if ready.status == Truth::True { "Ready".into() } else { ready.reason.as_str().into() },
    )
}

fn replicas(report: &Report) -> Vec<ReplicaStatus> {
    let lines = report.replicas.iter().map(|replica| ReplicaStatus {
        name: replica.name.to_string(),
        role: Some(replica.role.clone()),
        mode: Some(format!("{:?}", replica.mode)),
        synchronized: replica.synchronized,
        connected: replica.connected,
        sequence_number: replica.sequence_number.clone(),
        version: replica.version.clone(),
        reseeding: replica.reseeding.iter().map(ToString::to_string).collect(),
        message: (!replica.message.is_empty()).then(|| replica.message.clone()),
    });
    lines.collect()
}

/// Databases of the spec, and those that once were in the group: what was seen there is known for ever.
fn databases(seen: &Observation, report: &Report, before: Option<&AvailabilityGroupStatus>) -> Vec<DatabaseStatus> {
    let in_group: BTreeSet<_> = seen.members().flat_map(|(_, _, group)| group.databases.keys()).collect();
    let known = |name: &str| {
        seen.known_databases.iter().any(|known| known.as_str() == name)
            || in_group.iter().any(|known| known.as_str() == name)
    };
    let mut lines: Vec<_> = report
        .databases
        .iter()
        .map(|line| DatabaseStatus {
            name: line.name.clone(),
            state: Some(line.state.into()),
            synchronized: i32::try_from(line.synchronized).ok(),
            known: known(&line.name),
            last_log_backup: last_log_backup(&line.name, seen, before),
        })
        .collect();
    let elsewhere = seen.known_databases.iter().chain(in_group.iter().copied()).collect::<BTreeSet<_>>();
    for name in elsewhere {
        if !lines.iter().any(|line| line.name == name.as_str()) {
            lines.push(DatabaseStatus { name: name.to_string(), known: true, ..DatabaseStatus::default() });
        }
    }
    lines
}

/// As it was read last; an operator that has not read it yet leaves what was told.
fn last_log_backup(name: &str, seen: &Observation, before: Option<&AvailabilityGroupStatus>) -> Option<Time> {
    let read = seen.log_backups.iter().flatten().find(|(known, _)| known.as_str() == name);
    match read {
        Some((_, backup)) => backup.last.and_then(|last| Timestamp::from_second(last).ok()).map(Time),
        None => before?.databases.iter().find(|line| line.name == name)?.last_log_backup.clone(),
    }
}

/// Pods are restarted by people: nothing here deletes one.
fn update(report: &Report) -> Option<PendingUpdate> {
    let mut order = report.outdated.clone();
    order.sort_by_key(|name| report.primary.as_ref() == Some(name));
    let first = order.first()?;
    let message = format!(
        "{} of {} pods run an older template (image, resources or settings); each gets the new one when it is deleted, one \
         at a time and the primary last: kubectl delete pod {first}",
        order.len(),
        report.replicas.len(),
    );
    Some(PendingUpdate { pods: order.iter().map(ToString::to_string).collect(), message })
}

fn warnings(seen: &Observation, report: &Report, before: Option<&AvailabilityGroupStatus>) -> Vec<Warning> {
    let unread = seen.log_backups.is_none();
    let known = before.map(|status| status.warnings.as_slice()).unwrap_or_default();
    let kept = known.iter().filter(|warning| unread && warning.reason == Reason::LogBackupOverdue.as_str());
    let mut seen = BTreeSet::new();
    let first = report.warnings.iter().filter(|(reason, _)| seen.insert(*reason));
    first
        .map(|(reason, message)| Warning { reason: reason.to_string(), message: message.clone() })
        .chain(kept.cloned())
        .collect()
}

/// The line about a change of the primary that is over.
pub fn last_failover(seen: &Observation, record: &Record, parts: &[(Part, Duration)]) -> LastFailover {
    let kind = match (&record.forced, record.planned) {
        (Some(_), _) => "Forced",
        (None, true) => "Planned",
        (None, false) => "Unplanned",
    };
    let numbers: Vec<_> = seen.members().map(|(name, _, group)| format!("{name} at {}", group.number)).collect();
    let silent: Vec<_> = seen
        .replicas
        .iter()
        .filter(|(_, replica)| matches!(replica.probe, Probe::Silent { .. }))
        .map(|(name, _)| name.as_str())
        .collect();
    let missing = if silent.is_empty() { String::new() } else { format!("; missing: {}", silent.join(", ")) };
    LastFailover {
        epoch: i64::try_from(record.epoch).ok(),
        from: record.from.as_ref().map(ToString::to_string),
        to: record.primary.to_string(),
        kind: kind.into(),
        evidence: Some(match &record.forced {
            Some(forced) => format!("epoch {}: {}", record.epoch, forced.evidence),
            None => format!("epoch {}: {}{missing}", record.epoch, numbers.join(", ")),
        }),
        steps: parts
            .iter()
            .map(|(part, took)| FailoverStep { name: part.to_string(), seconds: seconds(*took) })
            .collect(),
        at: record.times.settled.and_then(|at| Timestamp::from_second(at.div_euclid(1_000)).ok()).map(Time),
    }
}

/// Seconds with three digits after the point.
fn seconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 1_000.0).round() / 1_000.0
}
