//! Preflight: queries only, and everything that is missing in one answer, each with its remedy.

use super::{
    Act, Check, Facts, Inputs, Observation, Plan, Reason, Record, Step, geo,
    seen::{Group, Script, Slot},
};
use crate::model::{self, DatabaseName, FenceState, LoginName, ReplicaName, SecondaryConnections};
use std::{collections::BTreeSet, time::Duration};

/// Editions with distributed availability groups: Enterprise, Developer, Evaluation (SQL Server docs, "Distributed
/// availability groups").
const ENTERPRISE: i64 = 3;

/// Queries only.
pub fn preflight(seen: &Observation, attempt: u32) -> Plan {
    let problems = problems(seen);
    if let Some(busy) = busy(seen) {
        return Plan::new(Step::Preflight, Reason::GroupBusy, busy);
    }
    if !problems.is_empty() {
        let message = problems.join("; ");
        return Plan::new(Step::Preflight, Reason::PreflightFailed, message).recheck(Duration::from_secs(3));
    }
    let (Some(production), Some(stage), Script::Ready(hash)) =
        (&seen.production.found, &seen.stage.found, &seen.script)
    else {
        return Plan::new(Step::Preflight, Reason::Checking, "looking at both groups");
    };
    let databases = databases(production);
    let inputs = Inputs {
        production: production.uid.clone(),
        stage: stage.uid.clone(),
        databases,
        script: hash.clone(),
        wish: seen.wish.clone(),
    };
    let stale = if attempt > 1 { seen.wish.approved.clone() } else { BTreeSet::new() };
    let record = Record { stale, ..Record::first(attempt, inputs, seen.at) };
    Plan::new(Step::PreparingStage, Reason::Linking, "every check passed")
        .wave([Act::Record(Box::new(record))])
        .recheck(Duration::ZERO)
}

/// Databases of production's group.
pub fn databases(production: &Group) -> BTreeSet<DatabaseName> {
    let primary = production.primary().map(|(_, facts)| facts);
    let all = primary.into_iter().flat_map(|facts| &facts.databases);
    all.filter(|(_, facts)| facts.group.as_ref() == Some(&production.name)).map(|(name, _)| name.clone()).collect()
}

/// Another upgrade has one of the groups.
fn busy(seen: &Observation) -> Option<String> {
    let groups = seen.slots().filter_map(|(_, slot)| slot.found.as_ref());
    let mut others = groups.filter_map(|group| {
        let upgrade = group.upgrade.as_ref().filter(|upgrade| upgrade.uid != seen.wish.uid)?;
        Some(format!(
            "AvailabilityGroup {} takes part in RollingUpgrade {} of namespace {}; wait until that is over, or delete it",
            group.name, upgrade.name, upgrade.namespace
        ))
    });
    others.next()
}

/// Everything that is missing, each with its remedy.
fn problems(seen: &Observation) -> Vec<String> {
    let mut problems = Vec::new();
    for (which, slot) in seen.slots() {
        let field = field(which);
        problems.extend(slot_problems(slot, field));
        let (Some(production), Some(group)) = (&seen.production.found, &slot.found) else { continue };
        problems.extend(edition_problems(group));
        match which {
            model::Slot::Production => problems.extend(production_problems(group)),
            model::Slot::ProductionDr if geo::is_linked(production, group) => {}
            _ => problems.extend(copy_problems(production, group, field)),
        }
    }
    problems.extend(geo::problems(seen));
    if let (Some(old), Some(new)) = (&seen.production.endpoint.selector, &seen.stage.endpoint.selector)
        && !old.is_empty()
        && old == new
    {
        let [old, new] = [&seen.production.endpoint.name, &seen.stage.endpoint.name];
        problems.push(Check::EndpointsAlike.says(format_args!(
            "spec.stage.endpoint: Services {old} and {new} select the same pods; give each version a label of its own"
        )));
    }
    match &seen.script {
        Script::Wrong(why) => problems.push(Check::ScriptWrong.says(format_args!("spec.script: {why}"))),
        Script::Unknown => problems.push(Check::ScriptWrong.says("spec.script was not read yet; wait")),
        Script::Ready(_) => {}
    }
    if seen.front.as_ref().is_some_and(|front| !front.ours) {
        problems.push(
            Check::FrontTaken
                .says("spec.traffic.service exists and is not this upgrade's; choose another name, or delete it"),
        );
    }
    problems
}

/// Where the spec names a slot.
fn field(slot: model::Slot) -> &'static str {
    match slot {
        model::Slot::Production => "spec.production",
        model::Slot::Stage => "spec.stage",
        model::Slot::ProductionDr => "spec.geo.production",
        model::Slot::StageDr => "spec.geo.stage",
    }
}

fn slot_problems(slot: &Slot, field: &str) -> Vec<String> {
    let mut problems = Vec::new();
    match &slot.found {
        None => problems.push(Check::GroupMissing.says(format_args!(
            "{field}.availabilityGroup: AvailabilityGroup {} does not exist in namespace {}; apply it",
            slot.group, slot.namespace
        ))),
        Some(group) if !group.ready => {
            problems.push(
                Check::GroupNotReady.says(format_args!(
                    "{field}.availabilityGroup: {} is not ready: {}; wait",
                    slot.group, group.message
                )),
            );
        }
        Some(group) if !group.silent().is_empty() => {
            let silent = group.silent().join(", ");
            problems.push(
                Check::InstanceSilent
                    .says(format_args!("{field}.availabilityGroup: {silent} did not answer; start what is missing")),
            );
        }
        Some(_) => {}
    }
    match &slot.endpoint.selector {
        None => problems.push(Check::EndpointMissing.says(format_args!(
            "{field}.endpoint: Service {} does not exist in namespace {}; apply it",
            slot.endpoint.name, slot.namespace
        ))),
        Some(selector) if selector.is_empty() => problems.push(Check::EndpointMissing.says(format_args!(
            "{field}.endpoint: Service {} selects nothing; give it a selector",
            slot.endpoint.name
        ))),
        Some(_) => {}
    }
    problems
}

fn production_problems(group: &Group) -> Vec<String> {
    let mut problems = Vec::new();
    if group.secondary_connections != SecondaryConnections::All {
        problems.push(Check::SecondariesUnreadable.says(format_args!(
            "spec.production.availabilityGroup: {} has secondaryConnections other than All, so that nobody could read while it is read-only; set it to All",
            group.name
        )));
    }
    if group.upgrade.iter().flat_map(|upgrade| &upgrade.fence).any(|fence| fence.state == FenceState::Kept) {
        problems.push(Check::ReadOnlyForGood.says(format_args!(
            "spec.production.availabilityGroup: {} is read-only for good, since users write elsewhere; delete it and its volumes",
            group.name
        )));
    }
    if group.with_data().count() < 2 {
        problems.push(Check::NoSecondary.says(format_args!(
            "spec.production.availabilityGroup: {} has no secondary to read from; add one",
            group.name
        )));
    }
    let Some((primary, facts)) = group.primary() else { return problems };
    for (name, database) in &facts.databases {
        let ours = database.group.as_ref() == Some(&group.name);
        if !ours {
            problems.push(Check::DatabaseOutside.says(format_args!(
                "database {name} on {primary} is outside the group, and its writers would be kept out, too; move it to another instance"
            )));
        } else if !(database.full_recovery && database.log_chain && database.writable) {
            problems.push(Check::DatabaseUnfit.says(format_args!(
                "database {name} on {primary} is not writable with FULL recovery and a log chain; wait"
            )));
        }
    }
    if databases(group).is_empty() {
        problems.push(
            Check::NoDatabases
                .says(format_args!("spec.production.availabilityGroup: {} has no databases; add one", group.name)),
        );
    }
    problems
}

/// A group that gets production's databases.
fn copy_problems(production: &Group, copy: &Group, field: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if copy.databases > 0 {
        problems.push(Check::DatabasesInSpec.says(format_args!(
            "{field}.availabilityGroup: {} has databases in its spec, and gets production's; remove spec.databases there",
            copy.name
        )));
    }
    let major = |facts: &Facts| facts.server.version.split('.').next().unwrap_or_default().to_string();
    let of = |group: &Group| group.primary().map(|(_, facts)| major(facts));
    if let (Some(old), Some(new)) = (of(production), of(copy))
        && old != new
    {
        problems.push(Check::VersionDiffers.says(format_args!(
            "{field}.availabilityGroup: {} runs version {new} and production version {old}; automatic seeding needs the same (946); set the same image",
            copy.name
        )));
    }
    problems.extend(other_logins(production, copy));
    let foreign = copy.facts.iter().flat_map(|(name, facts)| facts.databases.keys().map(move |db| (name, db)));
    for (name, database) in foreign {
        problems.push(Check::DatabaseInTheWay.says(format_args!(
            "{field}: {name} has a database {database} already; drop it there, it gets production's"
        )));
    }
    problems
}

fn edition_problems(group: &Group) -> Vec<String> {
    let with_data = group.with_data().filter_map(|name| Some((name, group.facts.get(name)?)));
    let other = with_data.filter(|(_, facts)| facts.server.engine_edition != ENTERPRISE);
    let sentence = |(name, facts): (&ReplicaName, &Facts)| {
        let edition = &facts.server.edition;
        Check::Edition.says(format_args!(
            "{name} is of edition {edition}, which has no distributed availability groups; use Enterprise or Developer"
        ))
    };
    other.map(sentence).collect()
}

/// Logins that could not be carried over, since users of the copied databases are bound to production's SID.
fn other_logins(production: &Group, copy: &Group) -> Vec<String> {
    let Some((_, own)) = production.primary() else { return Vec::new() };
    let theirs =
        copy.facts.iter().flat_map(|(name, facts)| facts.logins.iter().map(move |(login, it)| (name, login, it)));
    let other = theirs.filter(|(_, login, it)| own.logins.get(*login).is_some_and(|known| known.sid != it.sid));
    let sentence = |(name, login, _): (&ReplicaName, &LoginName, _)| {
        Check::LoginDiffers.says(format_args!(
            "login {login} on {name} has another SID than on production; take it out of spec.logins of \
             AvailabilityGroup {} and drop it there, production's is carried over",
            copy.name
        ))
    };
    other.map(sentence).collect()
}
