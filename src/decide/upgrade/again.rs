//! Another attempt after one that went back: what that one left on the stage goes, then everything begins anew.

use super::{
    Act, DropAs, Facts, Observation, Plan, Reason, Record, SqlStep, Step, at, chain_name, freeze, link_name,
    preflight::preflight,
    seen::{Group, Script},
};
use crate::model::{DatabaseName, GroupName, Role};
use std::collections::BTreeSet;

/// What a copy is that belongs to nobody any more.
const RESTORING: &str = "RESTORING";

/// `None`: nothing was corrected since, or a person gave up for good.
pub fn again(seen: &Observation, record: &Record) -> Option<Plan> {
    let other = match &seen.script {
        Script::Ready(hash) => *hash != record.inputs.script || seen.wish.differs(&record.inputs.wish),
        Script::Wrong(_) | Script::Unknown => false,
    };
    if record.step != Step::RolledBack || seen.wish.abort || !other {
        return None;
    }
    if record.failed_for(Reason::RegionLost) || record.failed_for(Reason::Discarded) {
        // What it left may be all that shows what was lost.
        return Some(preflight(seen, record.attempt + 1));
    }
    let (production, stage) = (seen.production.found.as_ref()?, seen.stage.found.as_ref()?);
    let copy = seen.geo.as_ref().and_then(|geo| geo.stage.found.as_ref());
    // Only what this upgrade has brought there is its to take away.
    let ours = |group: &&Group| group.claim(&seen.wish.uid).is_some();
    let [link, chain] = [link_name(&seen.wish.uid), chain_name(&seen.wish.uid)];
    let mut all = left(production, &link, &BTreeSet::new());
    for group in [Some(stage), copy].into_iter().flatten().filter(ours) {
        all.extend(left(group, &link, &record.inputs.databases));
        all.extend(left(group, &chain, &BTreeSet::new()));
    }
    if !ours(&stage) || all.is_empty() {
        return Some(preflight(seen, record.attempt + 1));
    }
    let mut acts = freeze::drops(production, &link);
    acts.extend(freeze::drops(stage, &chain));
    if let Some(copy) = copy.filter(|_| acts.is_empty()).filter(ours) {
        acts.extend(empties(seen, copy, &chain, record));
    }
    if acts.is_empty() {
        acts.extend(empties(seen, stage, &link, record));
    }
    let mut message = format!("attempt {}: still there is {}", record.attempt + 1, all.join(", "));
    if acts.is_empty() {
        message
            .push_str("; its primary does not answer, or it has no mark of this upgrade: drop it when nobody needs it");
    }
    Some(Plan::new(Step::RolledBack, Reason::Emptying, message).wave(acts))
}

/// What a group still has of the attempt: the link, and databases.
fn left(group: &Group, link: &GroupName, databases: &BTreeSet<DatabaseName>) -> Vec<String> {
    let mut left = Vec::new();
    for (name, facts) in &group.facts {
        left.extend(facts.links.contains_key(link).then(|| format!("the link on {name}")));
        let copies = databases.iter().filter(|database| facts.databases.contains_key(*database));
        left.extend(copies.map(|database| format!("{database} on {name}")));
    }
    left
}

/// Links first, the primary's before all others; then its databases, which leaves those of its secondaries RESTORING.
fn empties(seen: &Observation, stage: &Group, link: &GroupName, record: &Record) -> Vec<Act> {
    let leading = stage.facts.values().find(|facts| facts.leads());
    let role = leading.and_then(|facts| facts.links.get(link)).map(|link| link.role);
    let promoted = role == Some(Role::Primary);
    let mut acts = freeze::drops_as(stage, link, if promoted { DropAs::Leading } else { DropAs::Abandoned });
    if !acts.is_empty() {
        return acts;
    }
    for (name, facts) in &stage.facts {
        for database in &record.inputs.databases {
            let Some(mark) = goes(seen, stage, facts, database) else { continue };
            acts.push(Act::Sql(SqlStep::Discard { at: at(stage, name), database: database.clone(), mark }));
        }
    }
    acts
}

/// Whether a copy can go now, and by which mark.
fn goes(seen: &Observation, stage: &Group, facts: &Facts, database: &DatabaseName) -> Option<Option<String>> {
    let copy = facts.databases.get(database)?;
    if copy.state == RESTORING && copy.group.is_none() {
        return Some(None);
    }
    let mark = facts.marks(database).and_then(|marks| marks.stage.clone())?;
    let whole = copy.group.as_ref().is_none_or(|group| *group == stage.name);
    let ours = mark.starts_with(&format!("{}/", seen.wish.uid));
    (facts.leads() && whole && ours).then_some(Some(mark))
}
