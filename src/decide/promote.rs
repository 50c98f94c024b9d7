//! Elections step by step: which step of switchover and failover is legal now (promotion.md 3 to 5).

use super::{
    diagnose::{View, follows, utc},
    election::{Cause, ElectionState, Record},
    forced,
    gate::{self, Evidence, Verdict, Wish},
    members,
    observation::Probe,
    plan::{Plan, Reason, Step},
    rejoin::CURE,
    setup,
    stand_down::{stale_admission, stood_down, to_stand_down},
};
use crate::model::{FailoverMode, Mode, ReplicaName, Role, SequenceNumber};
use std::{collections::BTreeSet, time::Duration};

/// How often a role change under way is looked at.
pub const POLL: Duration = Duration::from_millis(200);
/// How often voters that were asked to stand down are looked at: the statement returns before the role changes.
const STANDING_DOWN: Duration = Duration::from_millis(50);
/// How often anything wrong is looked at.
pub const WATCH: Duration = Duration::from_secs(1);
/// How often the voters are asked whether a silent primary has lost them, too: suspicion begins when they say so.
const LISTENING: Duration = Duration::from_millis(250);
/// For so long: the session timeout of the engine (10 s unless set) and as much again.
const LISTENS: Duration = Duration::from_secs(20);
/// How long settling waits for replicas that answer but do not follow yet, from the election on.
pub const PATIENCE: Duration = Duration::from_millis(1_500);
/// Candidates that the engine refused although their own copies are ready are tried again after this: a partner was
/// missing then, or did not admit them yet.
const REFUSED: Duration = Duration::from_secs(5);
/// Voters that do not get to follow a primary were cured three times by then.
const IN_VAIN: Duration = CURE.saturating_mul(3);
/// A switchover whose old primary does not stand down is closed after this.
pub const STAND_DOWN_LIMIT: Duration = Duration::from_secs(15);

/// A stored epoch above the record's lifts the record: the object is older than the instances.
pub fn lift(view: &View<'_>) -> Plan {
    let newest = view.newest_epoch();
    let settled = view
        .seen
        .replicas
        .values()
        .filter_map(|r| r.facts())
        .filter_map(|f| f.stored.settled.as_ref())
        .max_by_key(|r| r.epoch);
    let base = settled.filter(|settled| settled.epoch > view.record.epoch).unwrap_or(view.record);
    let record = Record { epoch: newest, ..base.void(newest, false).untimed() };
    Plan::new(
        Reason::RecordRestored,
        format!("the instances know epoch {newest}, the object only {}", view.record.epoch),
    )
    .record(record)
    .recheck(POLL)
}

/// The record names a primary that served: watch it, or open an election.
pub fn standing(view: &View<'_>) -> Plan {
    if let Some(plan) = adopt(view) {
        return plan;
    }
    match view.primary().map(|group| group.role) {
        Some(Role::Primary) if unfollowed(view) => {
            let why = format!(
                "{} says PRIMARY at {}, no majority follows it, and the other voters are ahead or cannot join it",
                view.record.primary,
                number_of(view, &view.record.primary)
            );
            policy(view)
                .unwrap_or_else(|| open_election(view, Cause { primary_stands_down: true, ..Cause::default() }, &why))
        }
        Some(Role::Primary) => members::keep(view),
        Some(Role::Resolving | Role::Secondary) => {
            let why = format!("{} answers without being primary", view.record.primary);
            waiting_for_answers(view)
                .or_else(|| policy(view))
                .unwrap_or_else(|| open_election(view, brought_back(view.record), &why))
        }
        None => suspect(view),
    }
}

/// The cause of an election whose old primary answers; a switchover that came to nothing goes on as one.
fn brought_back(record: &Record) -> Cause {
    let cause = Cause { primary_stands_down: true, ..Cause::default() };
    if record.state == ElectionState::Void && record.planned {
        Cause { planned: true, request: record.request.clone(), target: record.target.clone(), ..cause }
    } else {
        cause
    }
}

/// A single PRIMARY that a majority follows but that is not recorded was made by a person: it is taken over.
fn adopt(view: &View<'_>) -> Option<Plan> {
    if view.primary().is_some_and(|group| group.role == Role::Primary) {
        return None;
    }
    let (name, _) = view.other_primaries().next()?;
    let followers = view.followers_of(name);
    if view.other_primaries().count() > 1
        || view.record.apart.contains_key(name)
        || (followers.len() as u32 + 1) < view.voters() / 2 + 1
    {
        return None;
    }
    let record = Record {
        epoch: view.next_epoch(),
        primary: name.clone(),
        from: Some(view.record.primary.clone()),
        // Nobody timed what a person did.
        ..view.record.settle(followers).untimed()
    };
    let message = format!(
        "{name} is primary and a majority follows it, though nobody elected it here: taken over from {}",
        view.record.primary
    );
    Some(
        Plan::new(Reason::PrimaryAdopted, message.clone())
            .record(record)
            .wave(vec![Step::Announce { reason: Reason::PrimaryAdopted, message }])
            .recheck(POLL),
    )
}

/// A primary that nobody follows while somebody else is ahead, or because voters are shut out, would never write again.
/// It goes when enough answer to elect another one.
fn unfollowed(view: &View<'_>) -> bool {
    let Some(own) = view.primary() else { return false };
    let followers: BTreeSet<_> = view.connected_to_primary().into_iter().cloned().collect();
    let ahead = view.highest_elsewhere().is_some_and(|highest| highest > own.number);
    view.enough_answer() && !view.is_majority(&view.record.primary, &followers) && (ahead || shut_out(view))
}

/// Voters that answer were sent to the primary again and again and were cured in vain (they may have promised a number
/// that nobody sees), and without them no majority can follow it. One whose connection only blinks may follow.
fn shut_out(view: &View<'_>) -> bool {
    let primary = &view.record.primary;
    let replica = |name: &ReplicaName| view.seen.replicas.get(name);
    let in_vain = |name: &ReplicaName| replica(name).is_some_and(|r| r.rejoining_for >= IN_VAIN);
    let silent =
        |name: &ReplicaName| replica(name).is_none_or(|r| r.silent_for >= view.seen.group.failover.suspect_after);
    let mut others = view.voter_names();
    others.remove(primary);
    let may_follow = others.iter().filter(|name| !in_vain(name) && !silent(name)).cloned().collect();
    others.iter().any(in_vain) && !view.is_majority(primary, &may_follow)
}

/// The recorded primary is silent, or has lost its volume.
fn suspect(view: &View<'_>) -> Plan {
    let primary = &view.record.primary;
    let connected = view.connected_to_primary();
    let silent = view.seen.replicas.get(primary);
    let since = silent.and_then(|replica| replica.silent_since).map(utc);
    let since = since.map_or_else(String::new, |since| format!(" since {since}"));
    if let Some(witness) = connected.first() {
        let again = if silent.is_some_and(|replica| replica.silent_for < LISTENS) { LISTENING } else { WATCH };
        let message = format!(
            "{primary} does not answer us{since}, but {witness} is connected to it: the path from here is broken, the group works; nothing is changed"
        );
        return members::tend(view, Plan::new(Reason::PrimaryUnreachable, message).recheck(again));
    }
    if let Some(plan) = waiting_for_answers(view) {
        return plan;
    }
    let stopped = view
        .seen
        .replicas
        .get(primary)
        .is_some_and(|replica| replica.pod.terminated || matches!(replica.probe, Probe::Answered(_)));
    let patience = view.seen.group.failover.suspect_after;
    if !stopped && view.seen.suspected_for < patience {
        let message = format!(
            "{primary} does not answer{since} and no voter is connected to it; suspected after {} s",
            patience.as_secs()
        );
        let left = patience.saturating_sub(view.seen.suspected_for).max(Duration::from_millis(50)).min(WATCH);
        return Plan::new(Reason::PrimarySuspected, message).recheck(left);
    }
    let why = if stopped {
        format!("the container of {primary} stopped")
    } else {
        format!("{primary} does not answer{since} and no voter is connected to it")
    };
    policy(view).unwrap_or_else(|| open_election(view, Cause::default(), &why))
}

/// Too few voters answer: nothing may be opened.
pub fn waiting_for_answers(view: &View<'_>) -> Option<Plan> {
    if view.enough_answer() {
        return None;
    }
    Some(blocked(view, Reason::TooFewAnswers, view.count_in_words()))
}

/// What the user allows without being asked, before anything is opened.
fn policy(view: &View<'_>) -> Option<Plan> {
    let failover = &view.seen.group.failover;
    let back = view.primary().is_some();
    if failover.mode == FailoverMode::Manual && !back {
        return Some(blocked(view, Reason::ManualFailoverOnly, "spec.failover.mode is Manual".into()));
    }
    if failover.mode == FailoverMode::RequireCommitQuorum && view.record.commit_quorum == 0 && !back {
        return Some(blocked(
            view,
            Reason::ManualFailoverOnly,
            "spec.failover.mode is RequireCommitQuorum and the recorded commit quorum is 0".into(),
        ));
    }
    // One that came back waits to be told what it is: nothing flaps, and until then nobody can write.
    let since = view.seen.since_unplanned.filter(|since| *since < failover.minimum_interval && !back)?;
    let left = failover.minimum_interval.saturating_sub(since);
    let message = format!(
        "the last unplanned failover was {} s ago, spec.failover.minimumIntervalSeconds is {}",
        since.as_secs(),
        failover.minimum_interval.as_secs()
    );
    Some(blocked(view, Reason::AntiFlap, message).recheck(left.min(WATCH)))
}

fn blocked(view: &View<'_>, reason: Reason, numbers: String) -> Plan {
    let remedy = match reason {
        Reason::TooFewAnswers => "start a missing replica",
        Reason::AntiFlap => "wait, or apply a Failover object",
        _ => "bring the old primary back, or apply a Failover object",
    };
    members::tend(view, Plan::new(reason, format!("{numbers}; to go on: {remedy}")).recheck(WATCH))
}

/// Writes the next election into the record.
pub fn open_election(view: &View<'_>, cause: Cause, why: &str) -> Plan {
    let epoch = view.next_epoch();
    let planned = cause.planned;
    let silent =
        view.seen.replicas.get(&view.record.primary).map_or(0, |replica| replica.silent_for.as_millis() as i64);
    let mut record = view.record.open(epoch, cause, view.seen.at - silent, view.seen.at);
    record.voters = view.voter_names();
    let reason = if planned { Reason::StandingDown } else { Reason::PrimarySuspected };
    let message = format!("{why}: election {epoch} opened; {}", view.count_in_words());
    Plan::new(reason, message.clone())
        .record(record)
        .wave(vec![Step::Announce { reason, message }])
        .recheck(Duration::ZERO)
}

/// Voters are standing down.
pub fn open(view: &View<'_>) -> Plan {
    if let Some(plan) = close(view) {
        return plan;
    }
    if let Some(forced) = &view.record.forced {
        return forced::open(view, forced);
    }
    let stood = stood_down(view);
    if stale_admission(view, &stood) {
        return reopen(view, "a voter that stood down no longer answers");
    }
    let asked = to_stand_down(view, &stood);
    let enough = stood.len() as u32 >= view.need();
    let message = format!("election {}: {} of {} voters stood down", view.record.epoch, stood.len(), view.need());
    let ask = |asked| Plan::new(Reason::StandingDown, message).wave(asked).recheck(STANDING_DOWN);
    if !asked.is_empty() && (!enough || view.seen.election_age < PATIENCE) {
        return ask(asked);
    }
    let evidence = Evidence { need: view.need(), answers: stood };
    let (record, verdict) = judge(view, &evidence);
    match verdict {
        Verdict::Elect { candidate, number, deadline } => elect(view, &record, candidate, number, deadline),
        // Whoever came late may hold what is missing.
        Verdict::Refuse { .. } if !asked.is_empty() => ask(asked),
        Verdict::Refuse { reason: Reason::TooFewAnswers, .. } => {
            blocked(view, Reason::TooFewAnswers, view.count_in_words())
        }
        Verdict::Refuse { reason, message } => blocked(view, reason, message),
    }
}

/// The verdict, and the record it is about: without refusals of candidates that are ready, once nobody else was left for
/// a while. The engine judges again; a refusal that repeats waits as long.
fn judge(view: &View<'_>, evidence: &Evidence) -> (Record, Verdict) {
    let mut record = view.record.clone();
    let verdict = gate::judge(&record, evidence, wish(view));
    if view.seen.election_age < REFUSED || !matches!(verdict, Verdict::Refuse { reason: Reason::EngineRefused, .. }) {
        return (record, verdict);
    }
    record.refused.retain(|name, _| evidence.answers.get(name).is_none_or(|answer| !answer.ready));
    let verdict = gate::judge(&record, evidence, wish(view));
    (record, verdict)
}

/// Records the candidate, then sends FAILOVER.
pub fn elect(view: &View<'_>, record: &Record, candidate: ReplicaName, number: SequenceNumber, deadline: i64) -> Plan {
    let record = record.elect(candidate.clone(), number, deadline, view.seen.at);
    let force = record.forced.is_some();
    let why = if force { "is forced at" } else { "holds the highest number" };
    let message = format!("election {}: {candidate} {why} {number}", record.epoch);
    let failover = Step::Failover { replica: candidate.clone(), epoch: record.epoch, number, deadline, force };
    let hide = Step::Label { replica: candidate.clone(), role: members::RESOLVING.into(), readable: false };
    let mut first = vec![Step::Record(Box::new(record))];
    first.push(Step::Announce { reason: Reason::StoodDown, message: format!("{message}; {}", view.count_in_words()) });
    first.extend(view.seen.routed.readable.contains(&candidate).then_some(hide));
    // The old primary is elected again: clients have to wait until a majority follows it, as for any other.
    let routed_there = view.seen.routed.read_write.as_ref() == Some(&candidate);
    first.extend(routed_there.then_some(Step::Route(None)));
    first.extend(setup::exchange(view.seen));
    Plan::new(Reason::Promoting, message).wave(first).wave(vec![failover]).recheck(POLL)
}

/// Closes an election that nobody needs: the primary answers again, or a voter is connected to it.
fn close(view: &View<'_>) -> Option<Plan> {
    let record = view.record;
    let says_primary = view.primary().is_some_and(|group| group.role == Role::Primary);
    let witness = view.connected_to_primary().first().map(|name| (*name).clone());
    let why = match (says_primary, witness) {
        (true, _) if record.previous.is_some() => return None,
        (true, _) if record.primary_stands_down && view.seen.election_age < STAND_DOWN_LIMIT => return None,
        (true, _) => format!("{} answers as primary", record.primary),
        (false, Some(witness)) if view.primary().is_none() => format!("{witness} is connected to {}", record.primary),
        (false, _) => return None,
    };
    let epoch = view.next_epoch();
    let next = if record.previous.is_some() {
        record.reinstate(epoch, view.seen.at)
    } else {
        record.void(epoch, false).untimed()
    };
    let message = format!("election {} closed: {why}", record.epoch);
    Some(
        Plan::new(Reason::ElectionClosed, message.clone())
            .record(next)
            .wave(vec![Step::Announce { reason: Reason::ElectionClosed, message }])
            .recheck(Duration::ZERO),
    )
}

fn reopen(view: &View<'_>, why: &str) -> Plan {
    if let Some(plan) = waiting_for_answers(view) {
        return plan;
    }
    let record = view.record;
    let cause = Cause {
        planned: record.planned,
        request: record.request.clone(),
        target: record.target.clone(),
        primary_stands_down: record.primary_stands_down,
        forced: None,
    };
    open_election(view, cause, why)
}

fn wish<'a>(view: &View<'a>) -> Wish<'a> {
    let record = view.record;
    let manual = view.seen.group.failover.mode == FailoverMode::Manual && !record.planned;
    Wish {
        prefer: record.target.as_ref(),
        avoid: record.planned.then_some(record.from.as_ref()).flatten(),
        only: manual.then_some(&record.primary),
    }
}

pub fn number_of(view: &View<'_>, name: &ReplicaName) -> String {
    view.seen.member(name).map_or_else(|| "?".into(), |group| group.number.to_string())
}

/// The mode of a replica: as the group's configuration on it says, else as the spec says.
pub fn mode_of(view: &View<'_>, name: &ReplicaName) -> Mode {
    let own = view.seen.member(name).and_then(|group| group.members.get(name)).map(|member| member.mode);
    own.or_else(|| view.seen.replicas.get(name).map(|replica| replica.mode)).unwrap_or(Mode::Asynchronous)
}

/// Whether an answering member follows `primary`.
pub fn is_following(view: &View<'_>, name: &ReplicaName, primary: &ReplicaName) -> bool {
    view.seen.member(name).is_some_and(|group| follows(group, primary))
}

/// Whether the record's state is one in which the primary served.
pub fn stands(record: &Record) -> bool {
    matches!(record.state, ElectionState::Settled | ElectionState::Void)
}
