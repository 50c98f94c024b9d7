//! Any observation, possible or not: `decide` ends with a plan, and no plan breaks a rule of promotion.md 8.

use super::world::{World, group, name};
use proptest::{collection, prelude::*};
use quorate::{
    decide::{
        self, ElectionState, Observation, Plan, Record, Step,
        diagnose::View,
        election::Forced,
        fence_is_closed,
        observation::{FailoverAnswer, FailoverMemo, FenceFacts, Member, Probe, Request},
    },
    model::{ActiveUpgrade, FailoverMode, Fence, FenceState, Mode, ReplicaName, Role, SequenceNumber, Slot},
};
use std::{collections::BTreeSet, time::Duration};

/// Choices, each the smallest once the tape is over: a shorter tape is a simpler observation.
struct Tape(std::vec::IntoIter<u8>);

impl Tape {
    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[usize::from(self.0.next().unwrap_or(0)) % of.len()].clone()
    }

    fn some(&mut self, of: &BTreeSet<ReplicaName>) -> BTreeSet<ReplicaName> {
        of.iter().filter(|_| self.pick(&[true, false])).cloned().collect()
    }

    fn maybe<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        self.pick(&[false, true]).then(|| self.pick(of))
    }

    fn number(&mut self) -> SequenceNumber {
        let numbers = [(1, 4), (1, 5), (2, 0), (2, 1), (0, 0)];
        let (major, minor) = self.pick(&numbers);
        SequenceNumber::new(major, minor)
    }

    /// Zero, what rules wait for, and for ever.
    fn time(&mut self) -> Duration {
        Duration::from_millis(self.pick(&[0, 1_600, 3_100, 7_100, 16_000, 400_000]))
    }
}

/// A healthy group's observation with anything changed.
fn observation(tape: &mut Tape) -> Observation {
    let mut world = World::new(group(tape.pick(&[3, 2, 1, 4, 5]), tape.pick(&[false, true])));
    world.healthy();
    let mut seen = world.observe();
    let names: Vec<_> = seen.replicas.keys().cloned().collect();
    let all: BTreeSet<_> = names.iter().cloned().collect();
    let record = seen.record.take().unwrap();
    let record = any_record(tape, record, &names, &all);
    for who in &names {
        any_answer(tape, &mut seen, who, &names);
    }
    seen.suspected_for = tape.time();
    seen.election_age = tape.time();
    seen.promoted_for = tape.time();
    seen.since_unplanned = tape.maybe(&[Duration::from_secs(1), Duration::from_secs(100)]);
    seen.failover = tape
        .maybe(&[
            FailoverAnswer::Unknown,
            FailoverAnswer::Accepted,
            FailoverAnswer::Refused(41_142),
            FailoverAnswer::Refused(50_003),
        ])
        .map(|answer| FailoverMemo { epoch: record.epoch, answer });
    seen.request = tape.pick(&[false, true]).then(|| Request {
        name: tape.pick(&["now", "later"]).into(),
        forced: tape.pick(&[false, true]),
        target: tape.maybe(&names),
        expected_epoch: tape.maybe(&[record.epoch, record.epoch + 1]),
        expired: tape.pick(&[false, false, true]),
        ..Request::default()
    });
    seen.group.paused = tape.pick(&[false, false, false, false, true]);
    seen.group.failover.mode =
        tape.pick(&[FailoverMode::Automatic, FailoverMode::RequireCommitQuorum, FailoverMode::Manual]);
    seen.routed.read_write = tape.maybe(&names);
    any_fence(tape, &mut seen);
    seen.record = tape.pick(&[true, true, true, true, false]).then_some(record);
    seen
}

fn any_record(tape: &mut Tape, record: Record, names: &[ReplicaName], all: &BTreeSet<ReplicaName>) -> Record {
    let state = tape.pick(&[ElectionState::Settled, ElectionState::Open, ElectionState::Elected, ElectionState::Void]);
    let elected = state == ElectionState::Elected && tape.pick(&[true, true, false]);
    let forced = tape.pick(&[false, false, false, true]).then(Forced::default);
    let primary = tape.pick(names);
    // Whoever is forced is the one that a person named.
    let named =
        forced.is_some().then(|| if state == ElectionState::Elected { primary.clone() } else { tape.pick(names) });
    Record {
        epoch: tape.pick(&[3, 2, 4]),
        state,
        primary,
        number: elected.then(|| tape.number()),
        deadline: elected.then(|| tape.pick(&[i64::MAX / 2, 0])),
        previous: tape.maybe(names),
        followers: tape.some(all),
        previous_followers: tape.some(all),
        refused: tape.maybe(names).map(|who| (who, tape.number())).into_iter().collect(),
        commit_quorum: tape.pick(&[0, 1, 2]),
        bootstrapping: tape.pick(&[false, false, true]),
        planned: tape.pick(&[false, true]),
        request: tape.maybe(&["now".to_owned()]),
        target: named.or_else(|| tape.maybe(names)),
        from: tape.maybe(names),
        primary_stands_down: tape.pick(&[false, true]),
        forced,
        apart: tape.maybe(names).map(|who| (who, 3)).into_iter().collect(),
        ..record
    }
}

fn any_answer(tape: &mut Tape, seen: &mut Observation, who: &ReplicaName, names: &[ReplicaName]) {
    let replica = seen.replicas.get_mut(who).unwrap();
    replica.silent_for = tape.time();
    replica.rejoining_for = tape.time();
    replica.retry = tape.pick(&[false, true]);
    replica.cure = tape.pick(&[0, 1, 2, 12]);
    replica.wanted = tape.pick(&[true, true, true, false]);
    replica.pod.terminated = tape.pick(&[false, true]);
    replica.pod.deleting = tape.pick(&[false, false, true]);
    let facts = match (tape.pick(&[0, 0, 0, 1, 2]), &mut replica.probe) {
        (1, probe) => return *probe = Probe::Silent { why: "no answer".into() },
        (2, probe) => return *probe = Probe::LoginRefused,
        (_, Probe::Answered(facts)) => facts,
        _ => return,
    };
    facts.stored.epoch = tape.pick(&[3, 2, 4, 0]);
    facts.server.ticks = tape.pick(&[1_000, 2_000]);
    for partner in facts.setup.partners.values_mut() {
        partner.admitted = tape.pick(&[true, false]);
    }
    if tape.pick(&[false, false, false, false, true]) {
        facts.group = None;
    }
    let Some(group) = &mut facts.group else { return };
    group.role = tape.pick(&[Role::Resolving, Role::Secondary, Role::Primary]);
    group.number = tape.number();
    group.connected = tape.pick(&[true, false]);
    group.primary = tape.maybe(names);
    group.commit_quorum = tape.pick(&[0, 1, 2]);
    group.failover_running = tape.pick(&[false, false, true]);
    group.commit_pending = tape.pick(&[false, true]);
    for database in group.databases.values_mut() {
        database.failover_ready = tape.pick(&[true, false]);
    }
    if tape.pick(&[false, false, false, true]) {
        group.members.insert(name("orders-7"), Member { mode: Mode::Synchronous, connected: false });
    }
}

fn any_fence(tape: &mut Tape, seen: &mut Observation) {
    let states = [FenceState::Prepared, FenceState::On, FenceState::Kept, FenceState::Lifted];
    let now = seen.at / 1_000;
    let until = tape.pick(&[now + 60, now - 60]);
    let fence = tape.maybe(&states).map(|state| Fence { state, until, allowed: BTreeSet::new() });
    let (name, namespace, uid) = ("shop-v2".into(), "shop".into(), "1".into());
    let slot = tape.pick(&[Slot::Production, Slot::Stage]);
    seen.upgrade = tape.pick(&[false, true]).then_some(ActiveUpgrade { name, namespace, uid, slot, fence });
    seen.upgrade_gone = seen.upgrade.is_some() && tape.pick(&[false, true]);
    seen.routed.readers = tape.pick(&[false, true]);
    for replica in seen.replicas.values_mut() {
        if let Probe::Answered(facts) = &mut replica.probe {
            let mark = tape.maybe(&["other".to_string(), String::new()]);
            facts.fence = mark.map(|mark| FenceFacts { enabled: tape.pick(&[false, true]), mark });
        }
    }
}

/// upgrade.md, invariant 3: nobody opens a fence that is to be closed, and one that is kept is never forgotten.
fn keeps_the_fence(seen: &Observation, step: &Step) -> Result<(), &'static str> {
    let wanted = seen.upgrade.as_ref().and_then(|upgrade| upgrade.fence.as_ref());
    let kept = wanted.is_some_and(|fence| fence.state == FenceState::Kept);
    match step {
        Step::SetFence { fence: None, .. } | Step::EndSessions { .. } if fence_is_closed(seen) => {
            Err("a fence that is closed is opened")
        }
        Step::SetFence { fence: Some(fence), .. } if Some(fence) != wanted => Err("another fence than the one wanted"),
        Step::SetUpgrade(_) if kept => Err("a fence that is kept is forgotten"),
        Step::AddReplica { .. } | Step::RemoveReplica { .. } | Step::RotateCertificate(_) if seen.upgrade.is_some() => {
            Err("a replica comes, goes or gets another certificate while an upgrade counts on it")
        }
        _ => Ok(()),
    }
}

/// promotion.md 8, as far as one plan can break it.
fn keeps_the_rules(seen: &Observation, plan: &Plan) -> Result<(), String> {
    let fail = |why: &str| Err(format!("{why}: {} {} {:#?}", plan.reason, plan.message, plan.waves));
    if seen.group.paused && !plan.waves.is_empty() {
        return fail("a paused group is touched");
    }
    if plan.reason.blocks() && seen.record.is_some() && !plan.message.contains("to go on: ") {
        return fail("a refusal does not say what to do");
    }
    let Some(before) = &seen.record else {
        let elects = |step: &Step| matches!(step, Step::StandDown { .. } | Step::Follow { .. } | Step::Failover { .. });
        return if plan.steps().any(elects) { fail("a role is changed without a record") } else { Ok(()) };
    };
    let view = View { seen, record: before };
    let mut record = before.clone();
    for step in plan.steps() {
        match step {
            Step::Record(next) => {
                record_follows(&view, &record, next).or_else(|why| fail(&why))?;
                record = (**next).clone();
            }
            Step::Failover { replica, epoch, number, deadline, force } => {
                let recorded = (&record.primary, record.epoch, record.number, record.deadline);
                let elected = record.state == ElectionState::Elected;
                if !elected || recorded != (replica, *epoch, Some(*number), Some(*deadline)) {
                    return fail("FAILOVER without a recorded election");
                }
                if *force && (record.forced.is_none() || record.target.as_ref() != Some(replica)) {
                    return fail("FORCE without a person who named the replica");
                }
            }
            Step::StandDown { replica, epoch, .. } => {
                let serves = *replica == record.primary
                    && seen.member(replica).is_some_and(|own| own.role == Role::Primary)
                    && record.state != ElectionState::Open;
                if serves || *epoch != record.epoch {
                    return fail("the recorded primary is taken down, or an epoch is not the record's");
                }
            }
            Step::Follow { primary, epoch, .. } if (primary, *epoch) != (&record.primary, record.epoch) => {
                return fail("somebody is sent to another primary than the recorded one");
            }
            Step::Route(Some(to)) => {
                let serves = seen.member(to).is_some_and(|own| own.role == Role::Primary);
                if record.state != ElectionState::Settled || *to != record.primary || !serves {
                    return fail("clients are sent to one that is not settled as primary");
                }
            }
            _ => keeps_the_fence(seen, step).or_else(fail)?,
        }
        let answered =
            |who: &ReplicaName| !matches!(seen.replicas.get(who).map(|r| &r.probe), Some(Probe::Silent { .. }) | None);
        if step.instance().is_some_and(|who| !answered(who)) {
            return fail("a batch for one that does not answer");
        }
    }
    Ok(())
}

/// What a record may become.
fn record_follows(view: &View<'_>, before: &Record, next: &Record) -> Result<(), String> {
    use ElectionState::{Elected, Open};
    let higher = next.epoch > before.epoch;
    if next.epoch < before.epoch || next.state == Open && before.state != Open && !higher {
        return Err("an election without an epoch of its own".into());
    }
    if next.state == Open && higher {
        let forced = next.forced.is_some();
        let witness = view.connected_to_primary();
        if !view.primary_answers() && !witness.is_empty() && !forced {
            return Err("an election although a voter is connected to the silent primary".into());
        }
        if !view.enough_answer() && !forced {
            return Err("an election that too few could decide".into());
        }
    }
    if next.state == Elected && before.state == Open && next.number.is_some() && next.forced.is_none() {
        return is_evident(view, next);
    }
    Ok(())
}

/// The elected one holds the highest number among enough voters that stood down at this epoch, and may be primary.
fn is_evident(view: &View<'_>, elected: &Record) -> Result<(), String> {
    let stood: Vec<_> = view
        .answering()
        .filter(|(who, facts, group)| {
            let witness = view.seen.replicas[*who].mode == Mode::ConfigurationOnly;
            facts.stored.epoch == elected.epoch && (group.role == Role::Resolving || witness && !group.connected)
        })
        .collect();
    let highest = stood.iter().map(|(_, _, group)| group.number).max();
    let candidate = &elected.primary;
    if (stood.len() as u32) < view.need() {
        return Err(format!("{} of {} stood down", stood.len(), view.need()));
    }
    if highest != elected.number
        || !stood.iter().any(|(who, _, group)| *who == candidate && Some(group.number) == highest)
    {
        return Err(format!("{candidate} does not hold the highest number {highest:?}"));
    }
    if view.seen.member(candidate).and_then(|own| own.members.get(candidate)).map(|own| own.mode)
        != Some(Mode::Synchronous)
    {
        return Err(format!("{candidate} is no synchronous replica"));
    }
    // With two voters and a commit quorum nothing is acknowledged before both have it: either may be elected (gate.rs).
    let both = elected.voters.len() == 2 && elected.commit_quorum > 0;
    if !both && !view.record.lineage().contains(candidate) {
        return Err(format!("{candidate} was never seen following"));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if std::env::var_os("QUORATE_LONG").is_some() { 200_000 } else { 4_000 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_is_seen_no_plan_breaks_a_rule(tape in collection::vec(any::<u8>(), 0..400)) {
        let seen = observation(&mut Tape(tape.into_iter()));
        let plan = decide::decide(&seen);
        let kept = keeps_the_rules(&seen, &plan);
        prop_assert!(kept.is_ok(), "{}\n{seen:#?}", kept.unwrap_err());
    }
}
