//! The policy of a `RollingUpgrade`: one value in ([`Observation`]), one value out ([`Plan`]) (upgrade.md).
//!
//! | File | Steps |
//! |---|---|
//! | `preflight.rs`, `check.rs` | Preflight: nothing is touched |
//! | `prepare.rs` | PreparingStage to ReadyForUpgrade: production serves as before |
//! | `freeze.rs` | ReadOnly, Synchronizing, Terminating: production is read-only |
//! | `release.rs` | RunningScript to Succeeded: the stage becomes production |
//! | `back.rs` | RollingBack: production gets its writers back |
//! | `discard.rs` | after the switch: back to production all the same |
//! | `geo.rs` | what copies in another region add to each step |
//! | `again.rs` | RolledBack, and something was corrected: the stage is emptied for another attempt |

mod act;
mod again;
mod back;
mod check;
mod discard;
mod freeze;
mod geo;
pub mod observation;
pub mod plan;
mod preflight;
mod prepare;
mod reason;
mod record;
mod release;
pub mod seen;

pub use act::{Act, Plan};
pub use check::Check;
pub use freeze::{is_level, is_quiet};
pub use geo::{chain_name, protected};
pub use observation::Facts;
pub use plan::{DropAs, Instance, Mark, Side, SqlStep};
pub use reason::Reason;
pub use record::{Failure, Inputs, Record, Said, Step};
pub use seen::Observation;

use crate::model::{ActiveUpgrade, DatabaseName, Fence, FenceState, GroupName, ReplicaName, Slot, upgrade::NEVER};
use seen::{Front, Group};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How often an upgrade is looked at while production is read-only.
const SOON: Duration = Duration::from_millis(250);
/// The fence opens by itself so long after the read-only time is over: an operator that lives has rolled back before.
const MARGIN: i64 = 30;

/// What a person does after an attempt that went back.
const AGAIN: &str = "correct the script or the spec, and another attempt begins on a fresh copy";

/// The whole policy: what one pass does about what it saw.
pub fn decide(seen: &Observation) -> Plan {
    let Some(record) = &seen.record else { return preflight::preflight(seen, 1) };
    if record.step.is_last() && !discard::is_wanted(seen, record) {
        return over(seen, record);
    }
    // To go back takes production alone.
    let goes_back = record.step == Step::RollingBack || record.step.is_read_only() || seen.wish.abort;
    let [_, (stage_name, _)] = &seen.wish.slots;
    let absent = Group::absent(stage_name.clone(), seen.wish.namespace.clone());
    let stage = seen.stage.found.as_ref().or(goes_back.then_some(&absent));
    let (Some(production), Some(stage)) = (&seen.production.found, stage) else {
        return groups_missing(seen, record);
    };
    let view = View { seen, record, production, stage };
    if let Some(plan) = latch(&view).or_else(|| back::must(&view)) {
        return plan;
    }
    let plan = step(&view);
    // What the promotion left suspended behind it goes on, whatever else is done.
    if record.terminating && record.step != Step::RollingBack { plan.wave(geo::resumes(&view)) } else { plan }
}

fn step(view: &View<'_>) -> Plan {
    match view.record.step {
        Step::Preflight | Step::PreparingStage => prepare::link(view),
        Step::Seeding => prepare::seed(view),
        Step::EndpointsOffline => prepare::endpoints(view),
        Step::ReadyForUpgrade => prepare::ready(view),
        Step::ReadOnly => freeze::fence(view),
        Step::Synchronizing => freeze::synchronize(view),
        Step::Terminating => freeze::terminate(view),
        Step::RunningScript => release::run(view),
        Step::Verifying => release::verify(view),
        Step::Switching => release::switch(view),
        Step::Soaking => release::soak(view),
        Step::Retiring => release::retire(view),
        Step::RollingBack => back::roll(view),
        Step::Succeeded | Step::RolledBack => over(view.seen, view.record),
    }
}

/// An observation whose groups are both there.
struct View<'a> {
    seen: &'a Observation,
    record: &'a Record,
    production: &'a Group,
    stage: &'a Group,
}

impl View<'_> {
    /// Name of the link.
    fn link(&self) -> GroupName {
        link_name(&self.seen.wish.uid)
    }

    /// The token of this attempt: the barrier, and the mark of its stage.
    fn token(&self) -> String {
        format!("{}/{}", self.seen.wish.uid, self.record.attempt)
    }

    /// What the script leaves behind.
    fn completion(&self) -> String {
        format!("{}/done", self.token())
    }

    /// The next step, recorded.
    fn next(&self, step: Step, reason: Reason, message: impl Into<String>) -> Plan {
        self.write(self.record.to(step, self.seen.at), reason, message)
    }

    /// Another record; looked at again at once.
    fn write(&self, record: Record, reason: Reason, message: impl Into<String>) -> Plan {
        Plan::new(record.step, reason, message).wave([Act::Record(Box::new(record))]).recheck(Duration::ZERO)
    }

    /// The same step goes on.
    fn wait(&self, reason: Reason, message: impl Into<String>) -> Plan {
        let plan = Plan::new(self.record.step, reason, message);
        if self.record.step.is_read_only() { plan.recheck(SOON) } else { plan }
    }

    /// What production is asked for, with this fence.
    fn claim(&self, state: FenceState) -> Act {
        let fence = self.fence(state);
        Act::Claim(Slot::Production, Some(Box::new(self.active(Slot::Production, Some(fence)))))
    }

    fn active(&self, slot: Slot, fence: Option<Fence>) -> ActiveUpgrade {
        let wish = &self.seen.wish;
        ActiveUpgrade { name: wish.name.clone(), namespace: wish.namespace.clone(), uid: wish.uid.clone(), slot, fence }
    }

    fn fence(&self, state: FenceState) -> Fence {
        let since = self.record.read_only_since.unwrap_or(self.seen.at) / 1_000;
        let until = match state {
            // Just before the switch it is moved out of reach.
            FenceState::On if self.record.step == Step::Switching => NEVER,
            FenceState::On => since + self.seen.wish.read_only.as_secs() as i64 + MARGIN,
            FenceState::Prepared | FenceState::Kept | FenceState::Lifted => 0,
        };
        Fence { state, until, allowed: self.seen.wish.allowed.clone() }
    }

    /// Whether production was asked for this fence.
    fn asked_for(&self, state: FenceState) -> bool {
        let ours = self.production.claim(&self.seen.wish.uid);
        ours.and_then(|upgrade| upgrade.fence.as_ref()) == Some(&self.fence(state))
    }

    /// Replicas of production with data that answer and do not have this fence yet.
    fn without_fence(&self, state: FenceState) -> Vec<&str> {
        unfenced(self.production, &self.fence(state), &self.record.inputs.databases)
    }

    /// Those of these slots that take part in this upgrade do so no more.
    fn releases(&self, slots: &[Slot]) -> Vec<Act> {
        let here = [(Slot::Production, self.production), (Slot::Stage, self.stage)];
        let ours = geo::groups(self).chain(here).filter(|(_, group)| group.claim(&self.seen.wish.uid).is_some());
        ours.filter(|(slot, _)| slots.contains(slot)).map(|(slot, _)| Act::Claim(slot, None)).collect()
    }

    /// Leads users to the endpoint of production or of the stage, which selects this.
    fn lead(&self, slot: Slot, selector: BTreeMap<String, String>) -> Act {
        let to = if slot == Slot::Production { &self.seen.production } else { &self.seen.stage };
        Act::Lead { endpoint: to.endpoint.name.clone(), selector, standby: geo::standby(self.seen, slot) }
    }

    /// The front Service, when it leads users there.
    fn led(&self, slot: Slot, selector: &BTreeMap<String, String>) -> Option<&Front> {
        let standby = geo::standby(self.seen, slot);
        self.seen.front.as_ref().filter(|front| front.selector == *selector && front.standby == standby)
    }
}

/// Replicas of a group with data that answer and do not have this fence yet.
fn unfenced<'a>(group: &'a Group, fence: &Fence, databases: &BTreeSet<DatabaseName>) -> Vec<&'a str> {
    let (mark, enabled) = (fence.mark(databases), fence.state != FenceState::Prepared);
    let has = |facts: &Facts| facts.fence.as_ref().is_some_and(|there| there.enabled == enabled && there.mark == mark);
    let answering = group.with_data().filter_map(|name| Some((name, group.facts.get(name)?)));
    answering.filter(|(_, facts)| !has(facts)).map(|(name, _)| name.as_str()).collect()
}

/// A step of an instance.
fn at(group: &Group, replica: &ReplicaName) -> Instance {
    Instance { namespace: group.namespace.clone(), group: group.name.clone(), replica: replica.clone() }
}

fn side(group: &Group) -> Side {
    Side { group: group.name.clone(), namespace: group.namespace.clone() }
}

/// The name of an upgrade's link: from its UID, so that no two upgrades share one.
pub fn link_name(uid: &str) -> GroupName {
    named_after(uid, "")
}

fn named_after(uid: &str, what: &str) -> GroupName {
    GroupName::new(format!("quorate-{uid}{what}")).unwrap_or_else(|_| unreachable!("UIDs are short and plain"))
}

/// What a person said once is said for good.
fn latch(view: &View<'_>) -> Option<Plan> {
    let (wish, record) = (&view.seen.wish, view.record);
    let stale: BTreeSet<_> = record.stale.intersection(&wish.approved).copied().collect();
    let mut approved = record.approved.clone();
    for step in &wish.approved - &stale {
        let said = || Said { by: view.seen.approver.clone().unwrap_or_default(), at: view.seen.at };
        approved.entry(step).or_insert_with(said);
    }
    let aborted = record.aborted || (wish.abort && !record.switching);
    if (&approved, &stale, aborted) == (&record.approved, &record.stale, record.aborted) {
        return None;
    }
    let record = Record { approved, stale, aborted, ..record.clone() };
    Some(view.write(record, Reason::Checking, "what was approved or aborted is recorded"))
}

/// A group that is gone takes the upgrade with it, as far as it was not switched.
fn groups_missing(seen: &Observation, record: &Record) -> Plan {
    let missing: Vec<_> = [&seen.production, &seen.stage]
        .into_iter()
        .filter(|slot| slot.found.is_none())
        .map(|slot| format!("AvailabilityGroup {} does not exist", slot.group))
        .collect();
    let message = format!("{}; apply it again, or delete this RollingUpgrade", missing.join("; "));
    Plan::new(record.step, Reason::StageLost, message)
}

/// It is over, unless something was corrected after it went back.
fn over(seen: &Observation, record: &Record) -> Plan {
    if let Some(plan) = again::again(seen, record) {
        return plan;
    }
    let message = match &record.failure {
        Some(failure) => {
            let next = match &seen.script {
                _ if failure.reason == Reason::RegionLost => "see docs/upgrades.md, \"A region is lost\"".into(),
                _ if failure.reason == Reason::Discarded => discard::KEPT.into(),
                _ if seen.wish.abort => "while spec.abort is true no other attempt begins".into(),
                seen::Script::Wrong(why) => format!("no other attempt begins: spec.script: {why}"),
                _ => AGAIN.to_string(),
            };
            format!("{} in {:?}: {}; {next}", failure.reason, failure.step, failure.message)
        }
        None => format!("users are on {}{}", seen.stage.endpoint.name, discard::hint(seen)),
    };
    let reason = match &record.failure {
        Some(failure) if failure.reason == Reason::RegionLost => Reason::RegionLost,
        Some(_) => Reason::RolledBack,
        None => Reason::Retired,
    };
    // Replicas that were away still have the definition of the link.
    let groups = [&seen.production, &seen.stage].into_iter().filter_map(|slot| slot.found.as_ref());
    let groups = groups.take(if record.step == Step::Succeeded { 2 } else { 1 });
    let link = link_name(&seen.wish.uid);
    let leftovers: Vec<_> = groups.flat_map(|group| freeze::drops(group, &link)).collect();
    Plan::new(record.step, reason, message).wave(leftovers).recheck(Duration::from_secs(10))
}
