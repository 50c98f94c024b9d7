//! Another attempt after one that went back: what that one left on the stage goes, then everything begins anew.

use super::{
    Act, DropAs, Facts, Observation, Plan, Reason, Record, SqlStep, Step, at, freeze, link_name,
    preflight::preflight,
    seen::{Group, Script},
};
use crate::model::{DatabaseName, GroupName, ReplicaName, Role};

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
    let (production, stage) = (seen.production.found.as_ref()?, seen.stage.found.as_ref()?);
    // Only what this upgrade has brought there is its to take away.
    let ours = stage.upgrade.as_ref().is_some_and(|upgrade| upgrade.uid == seen.wish.uid);
    let link = link_name(&seen.wish.uid);
    let left = left(production, &link, []).chain(left(stage, &link, &record.inputs.databases)).collect::<Vec<_>>();
    if !ours || left.is_empty() {
        return Some(preflight(seen, record.attempt + 1));
    }
    let mut acts = freeze::drops(production, &link);
    acts.extend(empties(seen, stage, &link, record));
    let mut message = format!("attempt {}: still there is {}", record.attempt + 1, left.join(", "));
    if acts.is_empty() {
        message
            .push_str("; its primary does not answer, or it has no mark of this upgrade: drop it when nobody needs it");
    }
    Some(Plan::new(Step::RolledBack, Reason::Emptying, message).wave(acts))
}

/// What a group still has of the attempt: the link, and databases.
fn left<'a>(
    group: &'a Group,
    link: &'a GroupName,
    databases: impl IntoIterator<Item = &'a DatabaseName, IntoIter: Clone> + 'a,
) -> impl Iterator<Item = String> + 'a {
    let databases = databases.into_iter();
    group.facts.iter().flat_map(move |(name, facts)| {
        let linked = facts.links.contains_key(link).then(|| format!("the link on {name}"));
        let copies = databases.clone().filter(|database| facts.databases.contains_key(*database));
        linked.into_iter().chain(copies.map(|database| format!("{database} on {name}")).collect::<Vec<_>>())
    })
}

/// Links first, the primary's before all others; then its databases, which leaves those of its secondaries RESTORING.
fn empties(seen: &Observation, stage: &Group, link: &GroupName, record: &Record) -> Vec<Act> {
    let drop =
        |name: &ReplicaName, as_what| Act::Sql(SqlStep::DropLink { at: at(stage, name), link: link.clone(), as_what });
    let linked: Vec<_> = stage.facts.iter().filter(|(_, facts)| facts.links.contains_key(link)).collect();
    if let Some((name, facts)) = linked.iter().find(|(_, facts)| facts.leads()) {
        let role = facts.links.get(link).map(|link| link.role);
        return vec![drop(name, if role == Some(Role::Primary) { DropAs::Leading } else { DropAs::Abandoned })];
    }
    if !linked.is_empty() {
        return linked.into_iter().map(|(name, _)| drop(name, DropAs::Leftover)).collect();
    }
    let mut acts = Vec::new();
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
