//! Planned switchover: asked for by a `Failover` object, or by the deletion or eviction of the primary's pod.

use super::{
    commit_quorum,
    diagnose::{View, follows},
    election::{Cause, ElectionState, Record},
    members::switch_over,
    observation::Request,
    plan::{Plan, Reason, Step},
};
use crate::model::{Mode, ReplicaName};

/// Answers to a request that needs no election, and the plan of one that does.
pub fn asked(view: &View<'_>) -> (Vec<Step>, Option<Plan>) {
    if let Some(request) = &view.seen.request {
        return serve(view, request);
    }
    (vec![], leaving(view))
}

/// The primary's pod is being deleted, or the spec wants the replica no more: another one takes over before it goes.
fn leaving(view: &View<'_>) -> Option<Plan> {
    let primary = &view.record.primary;
    let own = view.seen.replicas.get(primary)?;
    // Once: when the gate elected the same replica again, the pod goes and the ordinary road takes over.
    let tried = view.record.planned && view.record.from.as_ref() == Some(primary);
    let goes = own.pod.deleting || !own.wanted;
    // Where too few answer to elect anybody, the primary serves until its pod goes.
    if !goes || tried || view.record.state != ElectionState::Settled || !view.enough_answer() {
        return None;
    }
    let wanted = |name: &&ReplicaName| view.seen.replicas.get(*name).is_some_and(|replica| replica.wanted);
    let target = targets(view).filter(wanted).min_by_key(|name| name.ordinal())?;
    let why = if own.pod.deleting { "its pod is being deleted" } else { "the spec wants it no more" };
    let cause = Cause { planned: true, target: Some(target.clone()), primary_stands_down: true, ..Cause::default() };
    Some(switch_over(view, cause, &format!("{primary} goes, {why}")))
}

fn serve(view: &View<'_>, request: &Request) -> (Vec<Step>, Option<Plan>) {
    let record = view.record;
    let primary = &record.primary;
    let answer = |well: bool, reason: Reason, message: String| {
        (
            vec![Step::Answer {
                request: request.name.clone(),
                epoch: Some(record.epoch),
                finished: Some(well),
                reason,
                message,
            }],
            None,
        )
    };
    if record.request.as_ref() == Some(&request.name) {
        let from = record.from.as_ref().map_or("nobody", ReplicaName::as_str);
        let evidence = record.forced.as_ref().map(|forced| format!("; what was known: {}", forced.evidence));
        let moved = request.target.as_ref().map_or(record.from.as_ref() != Some(primary), |target| target == primary);
        return if moved && stands_by_it(record, request) {
            let reason = if request.forced { Reason::Forced } else { Reason::SwitchoverCompleted };
            let evidence = evidence.unwrap_or_default();
            let message = format!("{primary} is primary, before: {from}; epoch {}{evidence}", record.epoch);
            answer(true, reason, message)
        } else if request.forced {
            answer(false, Reason::ElectionClosed, format!("{primary} answers as primary: nothing was forced"))
        } else {
            answer(
                false,
                Reason::NotSynchronized,
                format!(
                    "{primary} is primary: the gate could not promote another replica without loss; epoch {}",
                    record.epoch
                ),
            )
        };
    }
    if request.expired {
        return answer(false, Reason::Expired, "older than expiresAfterSeconds".into());
    }
    if request.forced {
        return answer(
            false,
            Reason::NotLegal,
            format!("{primary} is primary: a forced failover is for a group without one; use mode Planned"),
        );
    }
    if request.target.as_ref() == Some(primary) {
        return answer(true, Reason::SwitchoverCompleted, format!("{primary} is primary already"));
    }
    if let Some(why) = illegal(view, request.target.as_ref()) {
        return answer(false, Reason::NotLegal, why);
    }
    let cause = Cause {
        planned: true,
        request: Some(request.name.clone()),
        target: request.target.clone(),
        primary_stands_down: true,
        forced: None,
    };
    (vec![], Some(switch_over(view, cause, &format!("Failover {} asks for it", request.name))))
}

/// Whether the request's own election made the primary: a forced one that was closed leaves the old one in place.
fn stands_by_it(record: &Record, request: &Request) -> bool {
    !request.forced || record.state == ElectionState::Settled
}

/// Why a planned switchover is not legal now.
fn illegal(view: &View<'_>, target: Option<&ReplicaName>) -> Option<String> {
    if view.record.state != ElectionState::Settled {
        return Some("the last election is not settled yet".into());
    }
    let ready: Vec<_> = targets(view).map(ReplicaName::as_str).collect();
    match target {
        Some(target) if !view.seen.replicas.contains_key(target) => {
            Some(format!("{target} is not a replica of this group"))
        }
        Some(target) if !ready.contains(&target.as_str()) => {
            let list = if ready.is_empty() { "none".into() } else { ready.join(", ") };
            Some(format!("{target} is not a synchronous replica with every database SYNCHRONIZED; ready now: {list}"))
        }
        _ if !view.enough_answer() => {
            Some(format!("too few voters answer to elect anybody: {}; start what is missing", view.count_in_words()))
        }
        None if ready.is_empty() => Some("no synchronous secondary has every database SYNCHRONIZED".into()),
        _ if (ready.len() as u32) < commit_quorum::wanted(view) => Some(format!(
            "commit quorum {} would not be met afterwards: {} synchronized secondaries",
            commit_quorum::wanted(view),
            ready.len()
        )),
        _ => None,
    }
}

/// Synchronous secondaries that could take over without loss.
pub fn targets<'a>(view: &View<'a>) -> impl Iterator<Item = &'a ReplicaName> {
    let primary = &view.record.primary;
    let own = view.primary();
    view.answering()
        .filter(move |(name, _, group)| {
            let mode = own.and_then(|own| own.members.get(*name)).map(|member| member.mode);
            *name != primary
                && mode == Some(Mode::Synchronous)
                && follows(group, primary)
                && own.is_some_and(|own| own.synchronized(name))
        })
        .map(|(name, _, _)| name)
}
