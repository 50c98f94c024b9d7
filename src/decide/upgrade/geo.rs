//! What copies in another region add to each step (upgrade.md, "Option 2"): one follows production, one the stage. What
//! they hold is read there, by the barrier and the script's token, not concluded from queues here.

use super::{
    Act, Check, Facts, Observation, Plan, Reason, Record, SqlStep, View, at, back, named_after,
    observation::{CopyFacts, LinkFacts, Marks},
    prepare, release,
    seen::{Geo, Group, Slot},
};
use crate::{
    decide::observation::SYNCHRONIZED,
    model::{self, DatabaseName, GroupName, Role},
};
use std::collections::BTreeSet;

/// The link from the stage to its copy. It stays: the copy is the new version's from then on.
pub fn chain_name(uid: &str) -> GroupName {
    named_after(uid, "-chain")
}

/// The link from production to its copy, where nobody has made one before. It stays, whatever becomes of the upgrade.
fn own_link_name(uid: &str) -> GroupName {
    named_after(uid, "-dr")
}

/// The groups of another region.
struct Region<'a> {
    production: Option<&'a Group>,
    stage: Option<&'a Group>,
}

fn region<'a>(view: &View<'a>) -> Option<Region<'a>> {
    let geo = view.seen.geo.as_ref()?;
    Some(Region { production: geo.production.found.as_ref(), stage: geo.stage.found.as_ref() })
}

/// The link between two groups, whoever made it and whatever its name is.
fn link_between<'a>(facts: &'a Facts, groups: [&GroupName; 2]) -> Option<(&'a GroupName, &'a LinkFacts)> {
    facts
        .links
        .iter()
        .find(|(_, link)| link.members.len() == 2 && groups.iter().all(|name| link.members.contains_key(name)))
}

/// Whether a copy leads the link with the group that it is a copy of: a person made it production, since the region was lost.
pub fn leads(of: &GroupName, copy: &Group) -> bool {
    let link = copy.primary().and_then(|(_, facts)| link_between(facts, [of, &copy.name]));
    link.is_some_and(|(_, link)| link.role == Role::Primary)
}

/// Whether production's link to its copy is this upgrade's to make.
fn is_ours(view: &View<'_>, copy: &Group) -> bool {
    let own = view.production.primary().map(|(_, facts)| facts);
    let there = own.and_then(|facts| link_between(facts, [&view.production.name, &copy.name]));
    there.is_none_or(|(name, _)| *name == own_link_name(&view.seen.wish.uid))
}

/// Certificates, then logins and links that are still to be made. The stage's copy is sent what the stage has.
pub fn preparations(view: &View<'_>, stage_is_seeded: bool) -> Vec<Act> {
    let (Some(region), Some((_, own))) = (region(view), view.production.primary()) else { return Vec::new() };
    let production = region.production.filter(|copy| is_ours(view, copy));
    let trusts = [(view.production, production), (view.stage, region.stage)].into_iter().flat_map(|(here, there)| {
        there.into_iter().flat_map(|there| prepare::trusts(here, there).chain(prepare::trusts(there, here)))
    });
    let trusts: Vec<_> = trusts.collect();
    if !trusts.is_empty() {
        return trusts;
    }
    let copies = [production, region.stage].into_iter().flatten();
    let mut acts: Vec<_> = copies.flat_map(|copy| prepare::logins(own, copy)).collect();
    let uid = &view.seen.wish.uid;
    acts.extend(production.and_then(|copy| prepare::make(view.production, copy, &own_link_name(uid))));
    let chain = region.stage.filter(|_| stage_is_seeded);
    acts.extend(chain.and_then(|copy| prepare::make(view.stage, copy, &chain_name(uid))));
    acts
}

/// What does not follow in the other region, in a sentence.
pub fn behind(view: &View<'_>) -> Option<String> {
    let region = region(view)?;
    let pairs = [(&view.production.name, region.production), (&view.stage.name, region.stage)];
    pairs.into_iter().find_map(|(of, copy)| match copy {
        Some(copy) => copy_behind(&view.record.inputs.databases, of, copy),
        None => Some(format!("the copy of {of} in another region does not exist; apply its AvailabilityGroup")),
    })
}

fn copy_behind(databases: &BTreeSet<DatabaseName>, of: &GroupName, copy: &Group) -> Option<String> {
    let Some((leader, facts)) = copy.primary() else {
        return Some(format!("the primary of AvailabilityGroup {} does not answer", copy.name));
    };
    let Some((_, link)) = link_between(facts, [of, &copy.name]) else {
        return Some(format!("{} has not joined its link to {of}", copy.name));
    };
    databases.iter().find_map(|database| {
        let local = link.databases.get(database).and_then(|rows| rows.local.as_ref());
        if !local.is_some_and(follows) {
            return Some(format!("{database} does not follow on {leader}"));
        }
        let late = prepare::late_secondary(leader, facts, database)?;
        Some(format!("{database} is on its way from {leader} to {late}"))
    })
}

/// Whether a copy takes what it is sent.
pub fn follows(copy: &CopyFacts) -> bool {
    (copy.state == "SYNCHRONIZING" || copy.state == SYNCHRONIZED) && !copy.suspended
}

/// Groups of the other region that exist.
pub fn groups<'a>(view: &View<'a>) -> impl Iterator<Item = (model::Slot, &'a Group)> {
    let region = region(view);
    let pairs = region.map(|it| [(model::Slot::ProductionDr, it.production), (model::Slot::StageDr, it.stage)]);
    pairs.into_iter().flatten().filter_map(|(slot, group)| Some((slot, group?)))
}

/// Which copy does not show the barrier yet, where users are not to be switched without it.
pub fn lacks_barrier(view: &View<'_>) -> Option<String> {
    let token = view.token();
    required(view)?.into_iter().find_map(|slot| {
        let lacks = |name: &&DatabaseName| !shows(slot, name, |marks| marks.barrier.as_ref() == Some(&token));
        let database = view.record.inputs.databases.iter().find(lacks)?;
        Some(format!("waiting for the barrier of {database} in {}", slot.group))
    })
}

/// Whether the stage's copy does not show yet that it has all that the script did, where users are not to be switched without.
pub fn lacks_script(view: &View<'_>) -> Option<String> {
    let [_, slot] = required(view)?;
    (!arrived(view)).then(|| format!("waiting for what the script did to reach {}", slot.group))
}

/// Whether the stage's copy shows that it has all that the script did.
fn arrived(view: &View<'_>) -> bool {
    let done = view.completion();
    let (geo, database) = (view.seen.geo.as_ref(), release::start(view));
    let shows =
        |(geo, database): (&Geo, _)| shows(&geo.stage, database, |marks| marks.completion.as_ref() == Some(&done));
    geo.zip(database).is_some_and(shows)
}

/// The slots of the other region, where users are not to be switched before both have everything.
fn required<'a>(view: &View<'a>) -> Option<[&'a Slot; 2]> {
    let geo = view.seen.geo.as_ref().filter(|_| view.seen.wish.geo.as_ref().is_some_and(|geo| geo.required))?;
    Some([&geo.production, &geo.stage])
}

fn shows(slot: &Slot, database: &DatabaseName, what: impl Fn(&Marks) -> bool) -> bool {
    let primary = slot.found.as_ref().and_then(Group::primary);
    primary.and_then(|(_, facts)| facts.marks(database)).is_some_and(what)
}

/// Copies behind a stage that was promoted: the promotion left them suspended (staged-upgrade.md 10, test 3).
pub fn resumes(view: &View<'_>) -> Vec<Act> {
    let Some(copy) = region(view).and_then(|region| region.stage) else { return Vec::new() };
    let Some((leader, facts)) = copy.primary() else { return Vec::new() };
    let chain = chain_name(&view.seen.wish.uid);
    let rows = facts.links.get(&chain).into_iter().flat_map(|link| &link.databases);
    let suspended = rows.filter(|(_, rows)| rows.local.as_ref().is_some_and(|copy| copy.suspended));
    let resume = |database: &DatabaseName| {
        Act::Sql(SqlStep::Resume { at: at(copy, leader), group: chain.clone(), database: database.clone() })
    };
    let first: Vec<_> = suspended.map(|(database, _)| resume(database)).collect();
    if first.is_empty() { super::freeze::resumes(copy, facts) } else { first }
}

/// A person made a copy in the other region the one that users write to: this region is lost, and the upgrade with it. What
/// production is where it comes back takes no writers that this upgrade kept out.
pub fn lost(view: &View<'_>) -> Option<Plan> {
    let region = region(view)?;
    if view.record.failed_for(Reason::RegionLost) || view.record.switching {
        return None;
    }
    let (old, new) = (&view.production.name, &view.stage.name);
    let copies = [(model::Slot::ProductionDr, region.production, old), (model::Slot::StageDr, region.stage, new)];
    let mut led = copies.into_iter().filter_map(|(slot, copy, of)| Some((slot, copy.filter(|copy| leads(of, copy))?)));
    let (slot, copy) = led.next()?;
    let has = match slot {
        model::Slot::StageDr if arrived(view) => "it has what the script did: nothing is lost",
        model::Slot::StageDr => "it does not show that it has what the script did",
        _ if view.record.terminating => "it has the barrier: nothing is lost",
        _ => "see there what it has",
    };
    let fenced = view.record.read_only_since.is_some() && view.record.read_only_until.is_none();
    let stays = if fenced { format!("; {old} stays read-only where it comes back") } else { String::new() };
    let message = format!("{} was made production by a person; {has}{stays}", copy.name);
    Some(back::lose(view, message, fenced, slot))
}

/// Everything that is missing for copies in another region, each with its remedy.
pub fn problems(seen: &Observation) -> Vec<String> {
    let Some(geo) = &seen.geo else { return Vec::new() };
    let mut problems = Vec::new();
    for (slot, field) in [(&geo.production, "spec.geo.production"), (&geo.stage, "spec.geo.stage")] {
        problems.extend(slot.found.iter().flat_map(|group| admits(seen, group, field)));
    }
    for (field, here, there) in
        [("spec.geo.production", &seen.production, &geo.production), ("spec.geo.stage", &seen.stage, &geo.stage)]
    {
        let (Some(group), Some(copy)) = (&here.found, &there.found) else { continue };
        if leads(&group.name, copy) {
            problems.push(Check::CopyLeads.says(format_args!(
                "{field}: {} leads the link with {}: it is production now; apply another RollingUpgrade with it as spec.production",
                copy.name, group.name
            )));
        }
    }
    problems
}

fn admits(seen: &Observation, group: &Group, field: &str) -> Vec<String> {
    let (mut problems, ours) = (Vec::new(), &seen.wish.namespace);
    if group.namespace != *ours && !group.upgrades_from.contains(ours) {
        problems.push(Check::NotAdmitted.says(format_args!(
            "{field}: AvailabilityGroup {} of namespace {} does not take part in upgrades of {ours}; add {ours} to its spec.upgradesFrom",
            group.name, group.namespace
        )));
    }
    if group.secondary_connections != model::SecondaryConnections::All {
        problems.push(Check::SecondariesUnreadable.says(format_args!(
            "{field}: {} has secondaryConnections other than All, so that nobody could see what arrived there; set it to All",
            group.name
        )));
    }
    problems
}

/// Whether production's group has a link to this copy already, which brought its databases there.
pub fn is_linked(production: &Group, copy: &Group) -> bool {
    let own = production.primary().map(|(_, facts)| facts);
    own.is_some_and(|facts| link_between(facts, [&production.name, &copy.name]).is_some())
}

/// The endpoint of the other region behind this one.
pub fn standby(seen: &Observation, slot: model::Slot) -> Option<String> {
    let geo = seen.geo.as_ref()?;
    let behind: &Slot = if slot == model::Slot::Production { &geo.production } else { &geo.stage };
    Some(behind.address())
}

/// Whether what users write at this moment goes to another region, too; else why not. `None`: there is one region.
pub fn protected(seen: &Observation, record: &Record) -> Option<(bool, String)> {
    let geo = seen.geo.as_ref()?;
    let [(production, _), (stage, _)] = &seen.wish.slots;
    let (of, slot) = if record.is_switched() { (stage, &geo.stage) } else { (production, &geo.production) };
    let missing = match &slot.found {
        Some(copy) => copy_behind(&record.inputs.databases, of, copy),
        None => Some(format!("AvailabilityGroup {} does not exist", slot.group)),
    };
    Some((missing.is_none(), missing.unwrap_or_else(|| format!("{} follows {of}", slot.group))))
}
