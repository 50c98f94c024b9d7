//! After FAILOVER was sent: did it happen, and does a majority follow (promotion.md 3, steps 7 to 9).

use super::{
    Record,
    diagnose::View,
    election::Cause,
    gate, members,
    observation::FailoverAnswer,
    plan::{Plan, Reason, Step},
    promote::{PATIENCE, POLL, number_of, open_election, waiting_for_answers},
};
use crate::model::{ReplicaName, Role};
use std::time::Duration;

/// A silent candidate is given up this long after its election: its window and a margin.
const CANDIDATE_SILENT: Duration = Duration::from_millis(gate::FAILOVER_WINDOW_MS as u64 + 2_000);
/// One replica is elected: see whether it became primary, then settle.
pub fn elected(view: &View<'_>) -> Plan {
    let record = view.record;
    let candidate = &record.primary;
    let Some(facts) = view.seen.facts(candidate) else { return candidate_silent(view) };
    let Some(group) = &facts.group else {
        return if record.bootstrapping { members::first_steps(view) } else { given_up(view, "has a new volume") };
    };
    if group.role == Role::Primary {
        return settle(view);
    }
    let memo = view.seen.failover.filter(|memo| memo.epoch == record.epoch);
    let raised = record.number.is_some_and(|number| group.number > number);
    if let Some(FailoverAnswer::Refused(number)) = memo.map(|memo| memo.answer).filter(|_| !raised) {
        let message =
            format!("election {} closed: SQL Server refused to promote {candidate} (error {number})", record.epoch);
        return Plan::new(Reason::ElectionClosed, message)
            .record(record.void(view.next_epoch(), number == 41_142))
            .recheck(POLL);
    }
    let (Some(number), Some(deadline)) = (record.number, record.deadline) else { return no_primary_any_more(view) };
    if group.failover_running || facts.server.ticks <= deadline {
        let message = format!("election {}: waiting for {candidate} to become primary", record.epoch);
        let plan = Plan::new(Reason::Promoting, message).recheck(POLL);
        // Recorded by a process that ended before it sent the batch, or whose answer is unknown: the same batch again is
        // guarded by the same epoch, number and deadline.
        return if memo.is_none() && !group.failover_running {
            let force = record.forced.is_some();
            plan.wave(vec![Step::Failover { replica: candidate.clone(), epoch: record.epoch, number, deadline, force }])
        } else {
            plan
        };
    }
    if raised {
        return no_primary_any_more(view);
    }
    let message = format!("election {}: {candidate} did not become primary in time", record.epoch);
    Plan::new(Reason::ElectionClosed, message).record(record.void(view.next_epoch(), false)).recheck(POLL)
}

/// The elected replica was primary, whatever ended that: its number is higher than when it was elected. Others may have
/// accepted it, or count it when they are compared: nobody goes back to the primary before it, all are asked again.
fn no_primary_any_more(view: &View<'_>) -> Plan {
    let why = format!("{} answers without being primary", view.record.primary);
    let cause = Cause { planned: true, primary_stands_down: true, ..Cause::default() };
    waiting_for_answers(view).unwrap_or_else(|| open_election(view, cause, &why))
}

fn candidate_silent(view: &View<'_>) -> Plan {
    let record = view.record;
    let candidate = &record.primary;
    if let Some(plan) = witnessed(view) {
        return plan;
    }
    if view.seen.election_age < CANDIDATE_SILENT {
        return Plan::new(Reason::Promoting, format!("election {}: {candidate} does not answer", record.epoch))
            .recheck(POLL);
    }
    given_up(view, "does not answer")
}

/// A voter is connected to the elected replica: whatever we see of it ourselves, nobody else is elected.
fn witnessed(view: &View<'_>) -> Option<Plan> {
    let witness = *view.connected_to_primary().first()?;
    let message = format!("{} does not answer us as a member, but {witness} is connected to it", view.record.primary);
    Some(Plan::new(Reason::PrimaryUnreachable, message).recheck(POLL))
}

/// No FAILOVER can land at the candidate any more, and if one did it is gone: the others elect again.
fn given_up(view: &View<'_>, why: &str) -> Plan {
    let record = view.record;
    let why = format!("{} was elected and {why}", record.primary);
    witnessed(view).or_else(|| waiting_for_answers(view)).unwrap_or_else(|| {
        open_election(
            view,
            // What a person accepted was accepted for this candidate.
            Cause {
                planned: record.planned,
                request: record.request.clone().filter(|_| record.forced.is_none()),
                ..Cause::default()
            },
            &why,
        )
    })
}

/// The candidate is primary: send the others to it, and settle when a majority follows.
fn settle(view: &View<'_>) -> Plan {
    let record = view.record;
    let primary = &record.primary;
    let followers = view.followers_of(primary);
    let expected = view.answering().filter(|(name, _, _)| *name != primary).count();
    let complete = followers.len() >= expected || view.seen.election_age >= PATIENCE;
    // One that was forced is alone until others come back to it.
    let alone = record.forced.is_some();
    if complete && (alone || view.is_majority(primary, &followers)) {
        let at = view.seen.at;
        let settled = record.settle(followers.clone()).settled_at(at - view.seen.promoted_for.as_millis() as i64, at);
        let message = promoted_message(view, &settled);
        let mut effects = members::store_settled(view, &settled);
        effects.push(Step::Label { replica: primary.clone(), role: members::PRIMARY.into(), readable: false });
        let moved = record.planned && record.from.as_ref().is_some_and(|from| from != primary);
        let reason = match (alone, moved) {
            (true, _) => Reason::Forced,
            (false, true) => Reason::SwitchoverCompleted,
            (false, false) => Reason::Promoted,
        };
        effects.push(Step::Announce { reason, message: message.clone() });
        let route = if members::is_routed(view) { vec![] } else { vec![Step::Route(Some(primary.clone()))] };
        return Plan::new(Reason::Promoted, message)
            .record(settled)
            .wave(route)
            .wave(effects)
            .wave(members::send_to(view, primary))
            .recheck(Duration::ZERO);
    }
    let message = format!(
        "election {}: {primary} is primary; {} of {} voters follow it",
        record.epoch,
        followers.len() + 1,
        view.voters()
    );
    Plan::new(Reason::Settling, message).waves(members::gather(view)).recheck(POLL)
}

fn promoted_message(view: &View<'_>, settled: &Record) -> String {
    let names: Vec<_> = settled.followers.iter().map(ReplicaName::as_str).collect();
    let from = settled.from.as_ref().map_or_else(String::new, |from| format!(" (before: {from})"));
    let lost = settled.forced.as_ref().map_or_else(String::new, |forced| {
        format!("; forced, acknowledged commits may be lost; what was known: {}", forced.evidence)
    });
    format!(
        "{} is primary{from} at {}; followed by {}{lost}",
        settled.primary,
        number_of(view, &settled.primary),
        if names.is_empty() { "nobody yet".into() } else { names.join(", ") }
    )
}
