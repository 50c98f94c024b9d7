//! After the switch: back to production as it was then, because a person said so. What users wrote on the stage since is
//! lost to them; the stage takes no writers any more before production takes them again, so that no two versions do.

use super::{
    Act, MARGIN, Observation, Plan, Reason, Record, SOON, Step, View, at, back, freeze, preflight::databases, unfenced,
};
use crate::model::{Fence, FenceState, Slot};

/// What becomes of what was written.
pub const KEPT: &str = "the stage keeps what was written there since, read-only";

/// Whether a person asks for it: users were led away, and both words are in the spec.
pub fn is_wanted(seen: &Observation, record: &Record) -> bool {
    record.is_switched() && seen.wish.abort && seen.wish.discards && seen.production.found.is_some()
}

/// What a person is told who gives up when it is too late.
pub fn hint(seen: &Observation) -> String {
    match (seen.wish.abort, seen.wish.discards, &seen.production.found) {
        (true, false, _) => "; spec.abort comes too late: to go back all the same, and lose what was written on the \
                             stage since, set spec.discardStageWrites, too"
            .into(),
        (true, true, None) => format!("; AvailabilityGroup {} is gone: there is no way back", seen.production.group),
        _ => String::new(),
    }
}

/// Records it, as soon as users can be led back: before that they stay where they are.
pub fn begin(view: &View<'_>) -> Plan {
    let (production, endpoint) = (view.production, &view.seen.production.endpoint);
    let ours = &view.seen.wish.uid;
    let other = view.stage.upgrade.as_ref().filter(|upgrade| upgrade.uid != *ours);
    let stays = |reason, why: String| view.wait(reason, format!("users stay on the stage: {why}"));
    if let Some(other) = other {
        let (group, name) = (&view.stage.name, &other.name);
        return stays(Reason::GroupBusy, format!("{group} takes part in RollingUpgrade {name}; go back there first"));
    }
    if production.claim(ours).is_none() {
        let why = format!("AvailabilityGroup {} was deleted since, or applied again", production.name);
        return stays(Reason::Retired, why);
    }
    if production.primary().is_none() {
        return stays(Reason::Unreachable, format!("the primary of {} does not answer", production.name));
    }
    if endpoint.ready == 0 {
        let why = format!("no pod of Service {} is ready; deploy the old version again", endpoint.name);
        return stays(Reason::EndpointsMissing, why);
    }
    let message = format!(
        "spec.abort and spec.discardStageWrites are true: what was written on {} since the switch is lost to its users",
        view.stage.name
    );
    let failed = back::failed(view, Step::RollingBack, Reason::Discarded, &message);
    view.write(failed, Reason::Discarded, message.clone()).wave([Act::Announce(Reason::Discarded, message)])
}

/// What is still to be done before production opens. Nothing waits for a stage that does not answer.
pub fn closes(view: &View<'_>) -> Option<Plan> {
    let (stage, now) = (view.stage, view.seen.at / 1_000);
    if !view.record.failed_for(Reason::Discarded) || stage.uid.is_empty() {
        return None;
    }
    let there = stage.claim(&view.seen.wish.uid).and_then(|claim| claim.fence.as_ref());
    if there.is_some_and(|fence| fence.state == FenceState::Kept) {
        return None;
    }
    let fence = |state, until| Fence { state, until, allowed: view.seen.wish.allowed.clone() };
    let claim = |fence| Act::Claim(Slot::Stage, Some(Box::new(view.active(Slot::Stage, Some(fence)))));
    let waits = |message: String, act| Some(view.wait(Reason::RollingBack, message).recheck(SOON).wave(act));
    // One that is about to open does not count.
    let closed = there.filter(|fence| fence.is_closed(now + MARGIN));
    if let (Some((primary, _)), Some(closed)) = (stage.primary(), closed) {
        let late = unfenced(stage, closed, &databases(stage));
        if !late.is_empty() {
            return waits(format!("waiting for the logon trigger on {}", late.join(", ")), None);
        }
        // What is rolled back is acknowledged to nobody any more.
        let mut foreign = freeze::foreign(view, stage);
        foreign.retain(|_, session| !session.rolling_back);
        let kill = freeze::kill(at(stage, primary), foreign.iter());
        if kill.is_some() {
            return waits(format!("{} sessions are left on {primary}", foreign.len()), kill);
        }
    } else if stage.primary().is_some() {
        // It opens by itself when nobody leads users back in time: they are there until then.
        let until = now + view.seen.wish.read_only.as_secs() as i64 + 2 * MARGIN;
        return waits("the stage is told to keep writers out".into(), Some(claim(fence(FenceState::On, until))));
    }
    // In this order: no two versions take writes, and no operator that dies here leaves none for longer than it takes the next.
    let message = "the stage takes no writers any more; production opens";
    Some(
        view.wait(Reason::RollingBack, message)
            .wave([claim(fence(FenceState::Kept, 0))])
            .wave(back::opens(view))
            .recheck(SOON),
    )
}
