//! Commit quorum: what it should be, and setting it (promotion.md 1).

use super::{ElectionState, Record, databases, diagnose::View, plan::Step, switchover};
use crate::model::{Mode, ReplicaName, quorum};

/// The commit quorum for the members there are and the members wanted, whichever is less: lowered before a removal,
/// raised after an addition.
pub fn wanted(view: &View<'_>) -> u32 {
    let group = &view.seen.group;
    let now = view
        .primary()
        .map_or(0, |own| own.members.values().filter(|member| member.mode == Mode::Synchronous).count() as u32);
    let synchronous = now.min(group.synchronous());
    let wanted = group.commit_quorum.unwrap_or_else(|| quorum::default_commit_quorum(synchronous));
    wanted.min(quorum::largest_commit_quorum(synchronous))
}

/// Synchronized followers that are at the primary's own number: what a new commit quorum may count on. The looks of a pass
/// are not of one instant: one of them may show the number before.
fn synchronized_followers(view: &View<'_>) -> u32 {
    let Some(own) = view.primary() else { return 0 };
    let up_to_date = |name: &&ReplicaName| view.seen.member(name).is_some_and(|group| group.number >= own.number);
    switchover::targets(view).filter(up_to_date).count() as u32
}

/// Commit quorum: lowering is recorded first, raising is done first (promotion.md 1).
pub fn set(view: &View<'_>, record: &mut Record) -> Option<Step> {
    let own = view.primary()?;
    let wanted = wanted(view);
    let raised = own.commit_quorum > record.commit_quorum && own.commit_quorum <= wanted;
    if raised && synchronized_followers(view) >= own.commit_quorum {
        record.commit_quorum = own.commit_quorum;
    }
    record.commit_quorum = record.commit_quorum.min(wanted).min(own.commit_quorum);
    let settled = view.record.state == ElectionState::Settled;
    let allowed = wanted < own.commit_quorum || synchronized_followers(view) >= wanted;
    let accepts = refused(view).is_none();
    let differs = settled && wanted != own.commit_quorum && allowed && accepts && databases::all_there(view);
    differs.then(|| Step::SetCommitQuorum {
        replica: view.record.primary.clone(),
        epoch: view.record.epoch,
        value: wanted,
    })
}

/// What SQL Server said to the commit quorum that is wanted, if it refused it as things are.
pub fn refused<'a>(view: &View<'a>) -> Option<&'a str> {
    let own = view.primary()?;
    let refused = view.seen.commit_quorum_refused.as_ref()?;
    let same = refused.primary == view.record.primary && refused.members.iter().eq(own.members.keys());
    (same && refused.value == wanted(view)).then_some(refused.why.as_str())
}

/// What is in force instead, and what to do.
pub fn refused_message(view: &View<'_>, in_force: u32, why: &str) -> String {
    format!(
        "SQL Server refuses commit quorum {}: {why}; {in_force} is in force; to go on: set \
         spec.requiredSynchronizedSecondariesToCommit to {in_force}, or take it out",
        wanted(view)
    )
}
