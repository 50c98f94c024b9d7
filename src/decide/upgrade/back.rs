//! RollingBack: production gets its writers back first of all; it needs no stage, no Job, no answer of anybody else.

use super::{Act, Failure, Plan, Reason, Record, Step, View, discard, freeze, geo, release};
use crate::model::{FenceState, Slot};

/// What sends an upgrade back whatever it does.
pub fn must(view: &View<'_>) -> Option<Plan> {
    let record = view.record;
    if let Some(plan) = geo::lost(view) {
        return Some(plan);
    }
    if record.step == Step::RollingBack {
        return None;
    }
    if record.switching {
        return discard::is_wanted(view.seen, record).then(|| discard::begin(view));
    }
    if record.aborted {
        return Some(give_up(view, Reason::Aborted, "spec.abort is true".into()));
    }
    let limit = view.seen.wish.read_only.as_secs() as i64;
    if let Some(seconds) = record.read_only_seconds(view.seen.at).filter(|seconds| *seconds > limit) {
        let message = format!("production has been read-only for {seconds} s, allowed are {limit} s");
        return Some(give_up(view, Reason::ReadOnlyTooLong, message));
    }
    let same = view.production.uid == record.inputs.production && view.stage.uid == record.inputs.stage;
    (!same).then(|| give_up(view, Reason::StageLost, "a group was deleted, or applied again".into()))
}

/// Records why, then opens production at once.
pub fn give_up(view: &View<'_>, reason: Reason, message: String) -> Plan {
    let record = failed(view, Step::RollingBack, reason, &message);
    let opens = opens(view);
    view.write(record, reason, message.clone()).wave([Act::Announce(reason, message)]).wave(opens)
}

/// Records why, and that it is over at once: this copy is production now, and what is left of the old one here keeps its
/// fence when it has one.
pub fn lose(view: &View<'_>, message: String, fenced: bool, copy: Slot) -> Plan {
    let reason = Reason::RegionLost;
    let until = view.record.read_only_since.map(|_| view.record.read_only_until.unwrap_or(view.seen.at));
    let record = Record { read_only_until: until, ..failed(view, Step::RolledBack, reason, &message) };
    let mut claims = fenced.then(|| view.claim(FenceState::Kept)).into_iter().collect::<Vec<_>>();
    claims.extend(view.releases(&[Slot::ProductionDr, copy]));
    claims.extend(view.releases(if fenced { &[] } else { &[Slot::Production] }));
    // The fence first: once this is over nobody looks after it.
    Plan::new(record.step, reason, message.clone())
        .wave(claims)
        .wave([Act::Record(Box::new(record))])
        .wave([Act::Announce(reason, message)])
        .recheck(std::time::Duration::ZERO)
}

pub fn failed(view: &View<'_>, step: Step, reason: Reason, message: &str) -> Record {
    let failure = Failure { step: view.record.step, reason, message: message.to_string() };
    Record { failure: Some(failure), ..view.record.to(step, view.seen.at) }
}

/// The fence goes. One that was only prepared kept nobody out, so that no reader has to connect again.
pub fn opens(view: &View<'_>) -> Option<Act> {
    let ours = view.production.claim(&view.seen.wish.uid)?;
    let fence = ours.fence.as_ref()?;
    match fence.state {
        FenceState::Lifted => None,
        FenceState::Prepared => Some(Act::Claim(Slot::Production, Some(Box::new(view.active(Slot::Production, None))))),
        FenceState::On | FenceState::Kept => Some(view.claim(FenceState::Lifted)),
    }
}

/// Production as it was: no fence, no link, users on it.
pub fn roll(view: &View<'_>) -> Plan {
    if let Some(closes) = discard::closes(view) {
        return closes;
    }
    if let Some(open) = opens(view) {
        return view.wait(Reason::RollingBack, "the fence is lifted").wave([open]).recheck(super::SOON);
    }
    let ours = view.production.claim(&view.seen.wish.uid);
    let mut acts = Vec::new();
    let endpoint = &view.seen.production.endpoint;
    if let (Some(front), Some(selector)) = (view.seen.front.as_ref().filter(|front| front.ours), &endpoint.selector)
        && front.selector != *selector
    {
        acts.push(view.lead(Slot::Production, selector.clone()));
    }
    let drops = freeze::drops(view.production, &view.link());
    acts.extend(drops);
    if ours.is_some_and(|upgrade| upgrade.fence.is_some()) || view.production.readers {
        return view.wait(Reason::RollingBack, "waiting for production to be writable").wave(acts).recheck(super::SOON);
    }
    if view.record.read_only_since.is_some() && view.record.read_only_until.is_none() {
        let record = Record { read_only_until: Some(view.seen.at), ..view.record.clone() };
        return view.write(record, Reason::RollingBack, "production is writable again").wave(acts);
    }
    if !acts.is_empty() || view.production.facts.is_empty() {
        return view.wait(Reason::RollingBack, "the link is cut on production").wave(acts).recheck(super::SOON);
    }
    let releases = view.releases(&[Slot::Production, Slot::ProductionDr]);
    if !releases.is_empty() {
        return view.wait(Reason::RollingBack, "production takes part no more").wave(releases).recheck(super::SOON);
    }
    let message = match view.record.failed_for(Reason::Discarded) {
        true => format!("users are on production as it was at the switch; {}", discard::KEPT),
        false => "users are on production as before; nothing was lost".to_string(),
    };
    let done = view.next(Step::RolledBack, Reason::RolledBack, message.clone());
    // Left for whoever looks at the stage, if it does not go.
    done.wave([Act::Announce(Reason::RolledBack, message)]).wave(release::forget_script(view))
}
