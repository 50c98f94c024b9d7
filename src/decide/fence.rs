//! The fence of a staged upgrade: a logon trigger on every replica with data, where `-rw` leads meanwhile, and the way back
//! (upgrade.md, step 6 and invariant 3).
//!
//! The upgrade says what is wanted; the group does it, on whichever replica answers, for as long as the wish stands. A
//! wish whose upgrade is gone is one to be lifted, unless users write elsewhere by now.

use super::{
    Observation,
    diagnose::{View, utc},
    observation::Facts,
    plan::Step,
    promote::mode_of,
};
use crate::model::{DatabaseName, Fence, FenceState, ReplicaName, Slot};
use std::collections::BTreeSet;

/// Whether writers are kept out at this moment: `-rw` leads to readers then.
pub fn is_closed(seen: &Observation) -> bool {
    wanted(seen).is_some_and(|fence| fence.is_closed(seen.at / 1_000))
}

/// In words for people, while it is closed.
pub fn in_words(seen: &Observation) -> Option<String> {
    let upgrade = seen.upgrade.as_ref().filter(|_| is_closed(seen))?;
    let until = match upgrade.fence.as_ref()? {
        Fence { state: FenceState::Kept, .. } => "for good, since its users write elsewhere".to_string(),
        fence => format!("until {} at the latest", utc(fence.until)),
    };
    Some(format!("RollingUpgrade {} keeps the group read-only {until}", upgrade.name))
}

/// The fence that should stand. `None`: none.
fn wanted(seen: &Observation) -> Option<&Fence> {
    let fence = seen.upgrade.as_ref()?.fence.as_ref()?;
    let kept = fence.state == FenceState::Kept;
    (fence.state != FenceState::Lifted && (kept || !seen.upgrade_gone)).then_some(fence)
}

/// What has to be done about the fence, by when in the pass.
#[derive(Debug, Default)]
pub struct Work {
    /// Before `-rw` leads to the primary again: its trigger goes.
    pub before_route: Vec<Step>,
    /// After `-rw` leads away from the primary: its trigger comes.
    pub after_route: Vec<Step>,
    /// Any time: triggers of other replicas.
    pub beside: Vec<Step>,
    /// Last of all, one wave after another: readers that were led there as writers reconnect; the wish is forgotten.
    pub at_last: [Vec<Step>; 2],
}

/// The work of this pass.
pub fn work(view: &View<'_>) -> Work {
    let (seen, primary) = (view.seen, &view.record.primary);
    let mut work = Work::default();
    let Some(upgrade) = &seen.upgrade else { return orphans(view) };
    let wanted = wanted(seen);
    let databases = databases(view);
    let differing = replicas(view).into_iter().filter(|(_, facts)| differs(facts, wanted, &databases));
    for (name, _) in differing {
        let step = Step::SetFence {
            replica: name.clone(),
            fence: wanted.cloned(),
            open: wanted.is_some_and(|fence| !fence.is_closed(seen.at / 1_000)),
            databases: databases.clone(),
        };
        match (name == primary, is_closed(seen)) {
            (true, true) => work.after_route.push(step),
            (true, false) => work.before_route.push(step),
            (false, _) => work.beside.push(step),
        }
    }
    if seen.upgrade_gone && upgrade.slot == Slot::Production && wanted.is_none() {
        work.at_last[0].extend(links(view, &upgrade.uid));
    }
    let lifted = wanted.is_none() && upgrade.fence.is_some();
    let clear = seen.facts(primary).is_some_and(|facts| facts.fence.is_none());
    if lifted && clear && !seen.routed.readers {
        let readers = replicas(view).into_iter().filter(|(name, _)| *name != primary);
        let [ends, forgets] = &mut work.at_last;
        ends.extend(readers.map(|(name, _)| Step::EndSessions { replica: name.clone() }));
        let rest = (!seen.upgrade_gone).then(|| crate::model::ActiveUpgrade { fence: None, ..upgrade.clone() });
        forgets.push(Step::SetUpgrade(rest.map(Box::new)));
    } else if seen.upgrade_gone && upgrade.fence.is_none() {
        work.at_last[1].push(Step::SetUpgrade(None));
    }
    work
}

/// The link of an upgrade that is gone, wherever it may be.
fn links(view: &View<'_>, uid: &str) -> Vec<Step> {
    let link = super::upgrade::link_name(uid);
    let step = |(name, _): (&ReplicaName, _)| Step::DropLink {
        replica: name.clone(),
        link: link.clone(),
        leads: *name == view.record.primary,
    };
    replicas(view).into_iter().map(step).collect()
}

/// Triggers on replicas that were away when the fence was lifted.
fn orphans(view: &View<'_>) -> Work {
    let left = replicas(view).into_iter().filter(|(_, facts)| facts.fence.is_some());
    let step = |(name, _): (&ReplicaName, _)| Step::SetFence {
        replica: name.clone(),
        fence: None,
        open: true,
        databases: BTreeSet::new(),
    };
    Work { before_route: left.map(step).collect(), ..Work::default() }
}

/// Replicas with data that answer.
fn replicas<'a>(view: &View<'a>) -> Vec<(&'a ReplicaName, &'a Facts)> {
    let members = view.seen.members().filter(|(name, ..)| mode_of(view, name).holds_data());
    members.map(|(name, facts, _)| (name, facts)).collect()
}

/// Databases by whose role a trigger tells the primary: those of the group, as its primary knows them.
fn databases(view: &View<'_>) -> BTreeSet<DatabaseName> {
    view.primary().into_iter().flat_map(|own| own.databases.keys().cloned()).collect()
}

fn differs(facts: &Facts, wanted: Option<&Fence>, databases: &BTreeSet<DatabaseName>) -> bool {
    match (wanted, &facts.fence) {
        (None, there) => there.is_some(),
        (Some(_), _) if databases.is_empty() => false,
        (Some(_), None) => true,
        (Some(fence), Some(there)) => {
            let enabled = fence.state != FenceState::Prepared;
            there.mark != fence.mark(databases) || there.enabled != enabled
        }
    }
}
