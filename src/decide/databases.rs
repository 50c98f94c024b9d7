//! Databases and application logins of a group whose primary serves.

use super::{
    diagnose::{View, follows},
    observation::{DatabaseFacts, Facts, GroupDatabase, GroupFacts},
    plan::{Reason, Step},
};
use crate::model::{Database, DatabaseName, Login, Management, ReplicaName};

fn managed<'a>(view: &View<'a>) -> impl Iterator<Item = &'a Database> {
    view.seen.group.databases.iter().filter(|database| database.management == Management::Managed)
}

/// A managed database that existed once and is not on the primary: a person decides, never an empty new one.
fn missing<'a>(view: &View<'a>) -> impl Iterator<Item = &'a DatabaseName> {
    let own = view.seen.facts(&view.record.primary);
    let seen = view.seen;
    managed(view).map(|database| &database.name).filter(move |name| {
        seen.known_databases.contains(*name) && own.is_some_and(|facts| !facts.databases.contains_key(*name))
    })
}

/// Whether every managed database is in the group.
pub fn all_there(view: &View<'_>) -> bool {
    let Some(own) = view.primary() else { return false };
    managed(view).all(|database| own.databases.contains_key(&database.name))
}

/// What is wrong with databases or on its way, the most severe first.
pub fn problem(view: &View<'_>) -> Option<(Reason, String)> {
    let gone: Vec<_> = missing(view).map(DatabaseName::as_str).collect();
    if !gone.is_empty() {
        let message = format!(
            "{} was there and is gone from {}; to go on: restore it there and it is added again, or take it out of spec.databases",
            gone.join(", "),
            view.record.primary
        );
        return Some((Reason::DatabaseMissing, message));
    }
    let own = view.primary()?;
    let suspended: Vec<_> =
        own.databases.iter().filter(|(_, database)| database.suspended).map(|(name, _)| name.as_str()).collect();
    if !suspended.is_empty() {
        return Some((Reason::Suspended, format!("data movement of {} is suspended", suspended.join(", "))));
    }
    if let Some(message) = left_behind_in_words(view) {
        return Some((Reason::Suspended, message));
    }
    let coming: Vec<_> = coming(view, own).map(|database| database.name.as_str()).collect();
    (!coming.is_empty()).then(|| (Reason::Seeding, format!("{} is being created and added", coming.join(", "))))
}

/// Managed databases that are not in the group yet. A basic group holds one (35200); `requirements` says so.
fn coming<'a>(view: &View<'a>, own: &'a GroupFacts) -> impl Iterator<Item = &'a Database> {
    let full = own.basic && !own.databases.is_empty();
    managed(view).filter(move |database| !full && !own.databases.contains_key(&database.name))
}

/// Databases that the primary copies whole to a replica that has a copy: the log does not lead from there to here.
pub fn reseeding<'a>(view: &View<'a>, name: &ReplicaName) -> impl Iterator<Item = &'a DatabaseName> {
    let there = view.seen.facts(name);
    let copied = copied_to(view, name);
    copied.filter(move |database| there.is_some_and(|facts| facts.databases.contains_key(*database)))
}

/// Databases that the primary copies whole to a replica.
pub fn copied_to<'a>(view: &View<'a>, name: &ReplicaName) -> impl Iterator<Item = &'a DatabaseName> {
    let own = view.primary().into_iter().flat_map(|own| &own.databases);
    own.filter(move |(_, database)| database.seeding.contains(name)).map(|(name, _)| name)
}

/// Copies that a forced failover left behind, on secondaries that follow the primary.
fn left_behind<'a>(view: &View<'a>) -> impl Iterator<Item = (&'a ReplicaName, &'a DatabaseName, &'a GroupDatabase)> {
    let primary = &view.record.primary;
    let followers = view.seen.members().filter(move |(_, _, group)| follows(group, primary));
    followers.flat_map(|(name, _, group)| {
        let copies = group.databases.iter().filter(|(_, copy)| copy.left_behind);
        copies.map(move |(database, copy)| (name, database, copy))
    })
}

fn left_behind_in_words(view: &View<'_>) -> Option<String> {
    let end = |copy: &GroupDatabase| copy.end_of_log.clone().unwrap_or_else(|| "?".into());
    let copies: Vec<_> = left_behind(view)
        .map(|(name, database, copy)| format!("{database} on {name} (its log ends at {})", end(copy)))
        .collect();
    let remedy = if view.record.may_discard() {
        "it is being resumed, as spec.resumeDatabases says"
    } else {
        "to go on: save what only they have (a snapshot of the volume), then say ALTER DATABASE .. SET HADR RESUME there"
    };
    (!copies.is_empty()).then(|| {
        format!(
            "the forced failover to {} left behind {}; resuming discards what they hold beyond the primary; {remedy}",
            view.record.primary,
            copies.join(", ")
        )
    })
}

/// Resumes what a forced failover left behind, where the person who accepted data loss said so.
pub fn resume(view: &View<'_>) -> Vec<Step> {
    if !view.record.may_discard() {
        return vec![];
    }
    let epoch = view.record.epoch;
    left_behind(view)
        .map(|(name, database, _)| Step::Resume { replica: name.clone(), database: database.clone(), epoch })
        .collect()
}

/// Creates and adds databases that are new to the spec, then logins and their users.
pub fn steps(view: &View<'_>) -> Vec<Step> {
    let primary = &view.record.primary;
    let (Some(facts), Some(own)) = (view.seen.facts(primary), view.primary()) else { return vec![] };
    let mut steps = Vec::new();
    for database in coming(view, own) {
        let name = &database.name;
        match facts.databases.get(name) {
            None if view.seen.known_databases.contains(name) => {}
            None => steps.push(Step::CreateDatabase { replica: primary.clone(), database: name.clone() }),
            Some(there) if there.in_group => {}
            Some(_) => steps.push(Step::AddDatabase { replica: primary.clone(), database: name.clone() }),
        }
    }
    for login in &view.seen.group.logins {
        steps.extend(login_steps(view, primary, facts, login));
    }
    steps
}

/// One login has one SID everywhere: the primary's word, else the first one that has it.
fn login_steps(view: &View<'_>, primary: &ReplicaName, own: &Facts, login: &Login) -> Vec<Step> {
    let anywhere = || view.seen.members().find_map(|(_, facts, _)| facts.logins.get(&login.name));
    let Some(sid) = own.logins.get(&login.name) else {
        let sid = anywhere().cloned();
        return vec![Step::EnsureLogin { replica: primary.clone(), login: login.name.clone(), sid }];
    };
    let mut steps = Vec::new();
    for (name, facts, _) in view.seen.members() {
        let data = view.seen.replicas.get(name).is_some_and(|replica| replica.mode.holds_data());
        if data && !facts.logins.contains_key(&login.name) {
            steps.push(Step::EnsureLogin { replica: name.clone(), login: login.name.clone(), sid: Some(sid.clone()) });
        }
    }
    if login.databases.iter().any(|(database, roles)| incomplete_user(own, login, database, roles)) {
        steps.push(Step::EnsureUsers { replica: primary.clone(), login: login.name.clone() });
    }
    steps
}

/// A login asked for that is not everywhere yet, and what it waits for.
pub fn missing_login(view: &View<'_>) -> Option<String> {
    let own = view.seen.facts(&view.record.primary)?;
    view.seen.group.logins.iter().find_map(|login| {
        let lacks = |facts: &Facts| !facts.logins.contains_key(&login.name);
        let data = |name: &ReplicaName| view.seen.replicas.get(name).is_some_and(|replica| replica.mode.holds_data());
        let members = view.seen.members().filter(|(name, facts, _)| data(name) && lacks(facts));
        let without: Vec<_> = members.map(|(name, _, _)| name.as_str()).collect();
        let (secret, key) = &login.password_secret;
        if !without.is_empty() {
            return Some(format!(
                "login {} is not on {} yet; it needs key {key} of Secret {secret}, with a password that SQL Server's policy accepts",
                login.name,
                without.join(", ")
            ));
        }
        let users = login.databases.iter().find(|(database, roles)| incomplete_user(own, login, database, roles));
        users.map(|(database, _)| format!("the user of login {} in {database} is not complete yet", login.name))
    })
}

fn incomplete_user(own: &Facts, login: &Login, database: &DatabaseName, roles: &[String]) -> bool {
    let Some(sid) = own.logins.get(&login.name) else { return false };
    own.databases.get(database).is_some_and(|facts| lacks_user(facts, login, sid, roles))
}

fn lacks_user(database: &DatabaseFacts, login: &Login, sid: &str, roles: &[String]) -> bool {
    let Some(users) = &database.users else { return false };
    match users.get(login.name.as_str()) {
        None => true,
        Some(user) => user.sid != sid || roles.iter().any(|role| !user.roles.contains(role)),
    }
}

/// Logins whose SIDs differ between answering replicas, with the replicas.
pub fn differing_logins(view: &View<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for login in &view.seen.group.logins {
        let Some(own) = view.seen.facts(&view.record.primary).and_then(|facts| facts.logins.get(&login.name)) else {
            continue;
        };
        for (name, facts, _) in view.seen.members() {
            if facts.logins.get(&login.name).is_some_and(|sid| sid != own) {
                found.push(format!("{} on {name}", login.name));
            }
        }
    }
    found
}
