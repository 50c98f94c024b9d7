//! Who is a member, and in which mode: the configuration follows the spec, one statement on the primary at a time.

use super::{
    Record, commit_quorum, databases,
    diagnose::{View, follows},
    observation::{GroupDatabase, GroupFacts},
    plan::Step,
    promote::mode_of,
    requirements, setup,
};
use crate::model::{Mode, ReplicaName};

/// JOIN for replicas in the primary's configuration that are not members; voters are recorded first.
pub fn joins(view: &View<'_>, record: &mut Record) -> Vec<Step> {
    let Some(own) = view.primary() else { return vec![] };
    let mut steps = Vec::new();
    for (name, replica) in &view.seen.replicas {
        let Some(facts) = replica.facts() else { continue };
        if facts.group.is_some() || !own.members.contains_key(name) || !setup::ready(view.seen, name) {
            continue;
        }
        if replica.mode.votes() {
            record.count(name);
        }
        steps.push(Step::Join { replica: name.clone(), holds_data: replica.mode.holds_data() });
    }
    steps
}

/// JOIN said again, for its GRANT: a process that ended between the two leaves a secondary that may not be seeded, and
/// nothing shows it but a copy that does not come.
pub fn seeding_allowed(view: &View<'_>) -> Vec<Step> {
    let primary = &view.record.primary;
    let members = view.seen.members().filter(|(name, facts, group)| {
        let comes = |database| databases::copied_to(view, name).any(|copied| copied == database);
        let absent = |database, copy: &GroupDatabase| copy.local.is_none() || !facts.databases.contains_key(database);
        let mut copies = group.databases.iter();
        follows(group, primary)
            && mode_of(view, name).holds_data()
            && copies.any(|(database, copy)| absent(database, copy) && !comes(database))
    });
    members.map(|(name, _, _)| Step::Join { replica: name.clone(), holds_data: true }).collect()
}

/// ADD REPLICA, REMOVE REPLICA and changes of modes, so that the configuration is what the spec wants.
pub fn steps(view: &View<'_>, record: &mut Record) -> Vec<Step> {
    let Some(own) = view.primary() else { return vec![] };
    // An upgrade counts replicas, trusts their certificates and fences them: none comes or goes meanwhile.
    if view.seen.upgrade.is_some() {
        return vec![];
    }
    let primary = &view.record.primary;
    let mut steps = Vec::new();
    let fit = requirements::unmet(view.seen).is_none();
    for (name, mode) in &view.seen.group.replicas {
        if fit && !own.members.contains_key(name) && setup::ready(view.seen, name) {
            if mode.votes() {
                record.count(name);
            }
            steps.push(Step::AddReplica { primary: primary.clone(), replica: name.clone(), mode: *mode });
        }
    }
    let lowered = own.commit_quorum <= commit_quorum::wanted(view);
    for name in own.members.keys().filter(|name| !view.seen.group.replicas.contains_key(*name) && *name != primary) {
        if lowered {
            steps.push(Step::RemoveReplica { primary: primary.clone(), replica: name.clone() });
        }
    }
    steps.extend(modes(view, own, lowered, record));
    forget(view, own, record);
    steps
}

/// An asynchronous replica that a person forced becomes synchronous: no secondary is ever SYNCHRONIZED with an asynchronous
/// primary (SQL Server docs, "Availability modes"), so that it could hand over to nobody. It is asynchronous again once it
/// is a secondary.
fn modes(view: &View<'_>, own: &GroupFacts, lowered: bool, record: &mut Record) -> Vec<Step> {
    let primary = &view.record.primary;
    let mut steps = Vec::new();
    let mut set = |replica: &ReplicaName, mode| {
        let (primary, epoch) = (primary.clone(), view.record.epoch);
        steps.push(Step::SetMode { primary, replica: replica.clone(), mode, epoch });
    };
    for (name, member) in &own.members {
        match (member.mode, view.seen.group.replicas.get(name)) {
            (Mode::Asynchronous, _) if name == primary => {
                record.count(name);
                set(name, Mode::Synchronous);
            }
            (Mode::Synchronous, Some(Mode::Asynchronous)) if name != primary && lowered => {
                set(name, Mode::Asynchronous);
            }
            _ => {}
        }
    }
    steps
}

/// Voters that are no members any more, or do not vote any more.
fn forget(view: &View<'_>, own: &GroupFacts, record: &mut Record) {
    if own.commit_pending {
        return;
    }
    let votes = |name: &ReplicaName| own.members.get(name).is_some_and(|member| member.mode.votes());
    let wanted = |name: &ReplicaName| view.seen.group.replicas.get(name).is_some_and(|mode| mode.votes());
    let stays = |name: &ReplicaName| *name == view.record.primary || votes(name) || wanted(name);
    record.voters.retain(|name| stays(name));
    record.followers.retain(|name| stays(name));
    record.apart.retain(|name, _| stays(name));
}
