//! `Failover` objects of a group that has no primary: where nothing is promoted by itself a person may ask for it, and may
//! accept data loss in writing (product.md, Failover; promotion.md 3, last paragraphs).

use super::{
    diagnose::View,
    election::{Cause, Forced, Record},
    gate::FAILOVER_WINDOW_MS,
    observation::{GroupFacts, Request},
    plan::{Plan, Reason, Step},
    promote::{self, STAND_DOWN_LIMIT, WATCH, mode_of, open_election, stands},
    stand_down::{stood_down, to_stand_down},
};
use crate::model::{DatabaseName, Mode, ReplicaName, Role, SequenceNumber};

/// States of a copy that would not start as primary: it was seeded or reverted half.
const HALF: [&str; 2] = ["REVERTING", "INITIALIZING"];

/// What was decided, or what a request makes of it. A primary that serves has its requests served by `switchover`.
pub fn instead(view: &View<'_>, plan: Plan) -> Plan {
    let record = view.record;
    let serves = view.primary().is_some_and(|own| own.role == Role::Primary);
    let Some(request) = view.seen.request.as_ref().filter(|_| !(serves && stands(record))) else { return plan };
    if record.request.as_ref() == Some(&request.name) {
        // A planned one goes on with the next election, or is answered by whoever serves then.
        return if stands(record) && request.forced {
            refused(plan, request, Reason::ElectionClosed, came_to_nothing(record))
        } else {
            plan
        };
    }
    if request.expired {
        return refused(plan, request, Reason::Expired, "older than expiresAfterSeconds".into());
    }
    if !request.forced {
        let policy = matches!(plan.reason, Reason::ManualFailoverOnly | Reason::AntiFlap);
        return if policy { begin(view, request) } else { plan };
    }
    if plan.reason != Reason::PrimaryUnreachable && !plan.reason.blocks() {
        return plan;
    }
    match illegal(view, request) {
        Some(why) => refused(plan, request, Reason::NotLegal, why),
        None => begin(view, request),
    }
}

fn came_to_nothing(record: &Record) -> String {
    format!("its election was closed without a promotion; the group is at epoch {} now", record.epoch)
}

fn refused(plan: Plan, request: &Request, reason: Reason, message: String) -> Plan {
    plan.wave(vec![Step::Answer { request: request.name.clone(), epoch: None, finished: Some(false), reason, message }])
}

fn begin(view: &View<'_>, request: &Request) -> Plan {
    let cause = Cause {
        planned: true,
        request: Some(request.name.clone()),
        target: request.target.clone(),
        primary_stands_down: view.primary_answers(),
        forced: request.forced.then(|| Forced { resume: request.resume, evidence: String::new() }),
    };
    open_election(view, cause, &format!("Failover {} asks for it", request.name))
}

/// Why data may not be lost now although a person accepted it.
fn illegal(view: &View<'_>, request: &Request) -> Option<String> {
    let (record, primary) = (view.record, &view.record.primary);
    if let Some(witness) = view.connected_to_primary().first() {
        return Some(format!("{witness} is connected to {primary}, which lives; nothing may be forced beside it"));
    }
    if request.expected_epoch != Some(record.epoch) {
        return Some(format!(
            "spec.expectedEpoch is {}, the group is at epoch {}: look at it again, then write another Failover",
            request.expected_epoch.map_or_else(|| "absent".into(), |epoch| epoch.to_string()),
            record.epoch
        ));
    }
    let Some(target) = &request.target else { return Some("spec.target names no replica".into()) };
    if !view.seen.replicas.contains_key(target) {
        return Some(format!("{target} is not a replica of this group"));
    }
    if mode_of(view, target) == Mode::ConfigurationOnly {
        return Some(format!("{target} is a configuration-only replica: it holds no data"));
    }
    let Some(own) = view.seen.member(target) else {
        return Some(format!("{target} does not answer as a member of the group; start it, or name another replica"));
    };
    if let Some((database, state)) = half(own) {
        return Some(format!("the copy of {database} on {target} is not whole ({state}); name another replica"));
    }
    better(view, target, own.number).map(|(other, number)| {
        format!(
            "{other} holds the higher number {number}, {target} only {}: name {other}, or stop its pod if it must not be",
            own.number
        )
    })
}

fn half(own: &GroupFacts) -> Option<(&DatabaseName, &str)> {
    own.databases.iter().find_map(|(name, database)| match database.local.as_deref() {
        None => Some((name, "missing")),
        Some(state) => HALF.contains(&state).then_some((name, state)),
    })
}

/// A replica that answers, holds data and knows of more than `number`.
fn better<'a>(
    view: &View<'a>,
    target: &ReplicaName,
    number: SequenceNumber,
) -> Option<(&'a ReplicaName, SequenceNumber)> {
    let others = view.seen.members().filter(|(name, _, group)| *name != target && group.number > number);
    others.map(|(name, _, group)| (name, group.number)).find(|(name, _)| mode_of(view, name).holds_data())
}

/// The election that a person forces: whoever answers stands down, then the replica that was named is promoted.
pub fn open(view: &View<'_>, forced: &Forced) -> Plan {
    let record = view.record;
    let Some(target) = &record.target else { return void(view, "nobody was named") };
    let stood = stood_down(view);
    let asked = to_stand_down(view, &stood);
    let message = format!("election {}: {} voters stood down, {target} will be forced", record.epoch, stood.len());
    let here = view.seen.facts(target).filter(|_| stood.contains_key(target));
    match (here, view.seen.member(target)) {
        (Some(facts), Some(own)) if asked.is_empty() || view.seen.election_age >= promote::PATIENCE => {
            let forced = Forced { evidence: evidence(view), ..forced.clone() };
            let record = Record { forced: Some(forced), ..record.clone() };
            promote::elect(view, &record, target.clone(), own.number, facts.server.ticks + FAILOVER_WINDOW_MS)
        }
        (None, _) if view.seen.election_age >= STAND_DOWN_LIMIT => void(view, "it did not stand down in time"),
        _ => Plan::new(Reason::StandingDown, message).wave(asked).recheck(promote::POLL),
    }
}

fn void(view: &View<'_>, why: &str) -> Plan {
    let message = format!("election {} closed: {why}", view.record.epoch);
    Plan::new(Reason::ElectionClosed, message).record(view.record.void(view.next_epoch(), false)).recheck(WATCH)
}

/// What is known of the replicas when one is forced: their numbers, the ends of their logs, and who was not seen.
fn evidence(view: &View<'_>) -> String {
    let seen = view.seen.members().map(|(name, _, group)| {
        let logs = group.databases.iter().filter_map(|(database, copy)| Some((database, copy.end_of_log.as_ref()?)));
        let logs: Vec<_> = logs.map(|(database, end)| format!(", log of {database} to {end}")).collect();
        format!("{name} at {}{}", group.number, logs.concat())
    });
    let missing: Vec<_> = view.missing().into_iter().map(|m| format!("{} ({})", m.replica, m.why)).collect();
    let seen: Vec<_> = seen.collect();
    let missing = if missing.is_empty() { "nobody".into() } else { missing.join(", ") };
    format!("{}; not seen: {missing}", seen.join("; "))
}
