//! ReadOnly, Synchronizing, Terminating: production is read-only, and the stage becomes a copy of its own.

use super::{
    Act, DropAs, Facts, Instance, Mark, Observation, Plan, Reason, Record, SqlStep, Step, View, at,
    back::give_up,
    geo,
    observation::{LinkDatabase, LinkFacts, Session},
    seen::Group,
};
use crate::model::{DatabaseName, FenceState, GroupName, Mode, ReplicaName, Role};
use std::collections::BTreeMap;

/// Looks in a row that have to say the same (upgrade.md, steps 6 and 7).
const LOOKS: u32 = 3;

/// Whether the fence stands on production's primary and nobody is behind it: what [`Observation::quiet`] counts.
pub fn is_quiet(seen: &Observation) -> bool {
    let Some(view) = view(seen) else { return false };
    let primary = view.production.primary().map(|(name, _)| name.as_str());
    let fenced = primary.is_some_and(|name| !view.without_fence(FenceState::On).contains(&name));
    fenced && foreign(&view, view.production).is_empty()
}

/// Whether every database is level on both sides, with the barrier inside: what [`Observation::level`] counts.
pub fn is_level(seen: &Observation) -> bool {
    let Some(view) = view(seen) else { return false };
    let Some((_, own)) = view.production.primary() else { return false };
    let Some(link) = own.links.get(&view.link()) else { return false };
    let token = view.token();
    let level = |database: &DatabaseName| {
        link.databases.get(database).is_some_and(LinkDatabase::is_level)
            && own.marks(database).and_then(|marks| marks.barrier.as_ref()) == Some(&token)
    };
    is_quiet(seen) && !view.record.inputs.databases.is_empty() && view.record.inputs.databases.iter().all(level)
}

fn view(seen: &Observation) -> Option<View<'_>> {
    let (record, production, stage) =
        (seen.record.as_ref()?, seen.production.found.as_ref()?, seen.stage.found.as_ref()?);
    Some(View { seen, record, production, stage })
}

/// Sessions of others on a group's primary that the fence does not let in.
pub fn foreign<'a>(view: &View<'_>, group: &'a Group) -> BTreeMap<i64, &'a Session> {
    let allowed = |login: &str| view.seen.wish.allowed.iter().any(|name| name.as_str().eq_ignore_ascii_case(login));
    let sessions = group.primary().into_iter().flat_map(|(_, facts)| &facts.sessions);
    sessions.filter(|(_, session)| !allowed(&session.login)).map(|(id, session)| (*id, session)).collect()
}

/// The fence is closed and everybody who could write is gone.
pub fn fence(view: &View<'_>) -> Plan {
    if !view.asked_for(FenceState::On) {
        let claim = view.claim(FenceState::On);
        return view.wait(Reason::Fencing, "production is told to keep writers out").wave([claim]);
    }
    let Some((primary, _)) = view.production.primary() else {
        return view.wait(Reason::Unreachable, "production's primary does not answer");
    };
    let unfenced = view.without_fence(FenceState::On);
    if !unfenced.is_empty() || !view.production.readers {
        let message = format!("waiting for the logon trigger on {} and for -rw to lead to readers", list(&unfenced));
        return view.wait(Reason::Fencing, message);
    }
    let foreign = foreign(view, view.production);
    if foreign.is_empty() {
        return if view.seen.quiet >= LOOKS {
            view.next(Step::Synchronizing, Reason::Synchronizing, "nobody is left who could write")
        } else {
            view.wait(Reason::Fencing, format!("nobody is left on {primary}; looking again"))
        };
    }
    let drained = view.seen.at - view.record.since >= view.seen.wish.drain.as_millis() as i64;
    let open = foreign.values().filter(|session| session.transactions > 0).count();
    // An idle session could begin to write at any moment; only open transactions are waited for.
    let goes = |session: &Session| !session.rolling_back && (drained || session.transactions == 0);
    let kill = kill(at(view.production, primary), foreign.iter().filter(|(_, session)| goes(session)));
    let message = format!("{} sessions are left on {primary}, {open} of them with open transactions", foreign.len());
    view.wait(Reason::Fencing, message).wave(kill)
}

/// Ends these sessions of an instance. `None`: there are none.
pub fn kill<'a>(at: Instance, sessions: impl Iterator<Item = (&'a i64, &'a &'a Session)>) -> Option<Act> {
    let sessions: BTreeMap<_, _> = sessions.map(|(id, session)| (*id, session.since.clone())).collect();
    (!sessions.is_empty()).then_some(Act::Sql(SqlStep::KillSessions { at, sessions }))
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "no replica".into() } else { names.join(", ") }
}

/// The link commits synchronously; the barrier is in every database; both sides are level.
pub fn synchronize(view: &View<'_>) -> Plan {
    let (Some((global, own)), Some((forwarder, its))) = (view.production.primary(), view.stage.primary()) else {
        return view.wait(Reason::Unreachable, "a primary of the two groups does not answer");
    };
    if !is_quiet(view.seen) {
        return view.next(
            Step::ReadOnly,
            Reason::Fencing,
            "the fence is closed again, after a failover or a new session",
        );
    }
    let (Some(here), Some(there)) = (own.links.get(&view.link()), its.links.get(&view.link())) else {
        return give_up(view, Reason::StageLost, "the link is gone on one side".into());
    };
    let mut acts = Vec::new();
    let sides = [(view.production, global, here), (view.stage, forwarder, there)];
    let late = sides.into_iter().find(|(_, _, link)| !is_synchronous(link));
    // One side after the other, production first.
    acts.extend(late.map(|(group, name, link)| {
        Act::Sql(SqlStep::SetLinkMode {
            at: at(group, name),
            link: view.link(),
            members: link.members.keys().cloned().collect(),
            mode: Mode::Synchronous,
        })
    }));
    let token = view.token();
    for database in &view.record.inputs.databases {
        if own.marks(database).is_some_and(|marks| marks.barrier.as_ref() != Some(&token)) {
            acts.push(mark(view.production, global, database, Mark::Barrier, &token));
        }
    }
    if !acts.is_empty() {
        return view.wait(Reason::Synchronizing, "the link becomes synchronous, the barrier is written").wave(acts);
    }
    if view.seen.level < LOOKS {
        let behind: Vec<_> = view
            .record
            .inputs
            .databases
            .iter()
            .filter(|name| !here.databases.get(*name).is_some_and(LinkDatabase::is_level))
            .map(DatabaseName::as_str)
            .collect();
        return view.wait(Reason::Synchronizing, format!("waiting for {} to be level on both sides", list(&behind)));
    }
    if let Some(waits) = geo::lacks_barrier(view) {
        return view.wait(Reason::Synchronizing, waits);
    }
    let last = |name: &DatabaseName| Some((name.clone(), own.databases.get(name)?.own.as_ref()?.committed?));
    let barrier: BTreeMap<_, _> = view.record.inputs.databases.iter().filter_map(last).collect();
    if barrier.len() < view.record.inputs.databases.len() {
        return view.wait(Reason::Synchronizing, "waiting for production's last commits to be told");
    }
    let record = Record { barrier, terminating: true, ..view.record.to(Step::Terminating, view.seen.at) };
    view.write(record, Reason::Terminating, "both sides are level, the barrier is in every database")
}

fn is_synchronous(link: &LinkFacts) -> bool {
    link.members.values().all(|member| member.mode == Mode::Synchronous)
}

pub fn mark(group: &Group, name: &ReplicaName, database: &DatabaseName, mark: Mark, value: &str) -> Act {
    Act::Sql(SqlStep::WriteMark { at: at(group, name), database: database.clone(), mark, value: value.into() })
}

/// The link is cut, production first; the stage is promoted and shows the barrier. What to do is read off both sides.
pub fn terminate(view: &View<'_>) -> Plan {
    let link = view.link();
    let drops = drops(view.production, &link);
    if !drops.is_empty() {
        return view.wait(Reason::Terminating, "the link is cut on production").wave(drops);
    }
    let (Some((_, own)), Some((forwarder, its))) = (view.production.primary(), view.stage.primary()) else {
        return view.wait(Reason::Unreachable, "a primary of the two groups does not answer");
    };
    if own.links.contains_key(&link) {
        return view.wait(Reason::Terminating, "the link is cut on production");
    }
    match its.links.get(&link).map(|link| link.role) {
        Some(Role::Primary) => {}
        Some(_) => {
            let step = SqlStep::Promote { at: at(view.stage, forwarder), link, unless_connected: true };
            return view.wait(Reason::Terminating, format!("{forwarder} is promoted")).wave([Act::Sql(step)]);
        }
        None if writable(view, its) => {}
        None => {
            let message =
                format!("{forwarder} has lost the link without being promoted: its databases cannot be opened");
            return give_up(view, Reason::StageLost, message);
        }
    }
    if !writable(view, its) {
        return view.wait(Reason::Terminating, format!("waiting for the databases of {forwarder} to open"));
    }
    // A commit quorum keeps the promoted databases closed (988) until its secondaries follow.
    let resumes = resumes(view.stage, its);
    if !resumes.is_empty() {
        return view.wait(Reason::Terminating, "the secondaries of the stage go on").wave(resumes);
    }
    if let Some(plan) = proven(view, forwarder, its) {
        return plan;
    }
    let drops = self::drops(view.stage, &link);
    if !drops.is_empty() {
        return view.wait(Reason::Terminating, "the link is cut on the stage").wave(drops);
    }
    view.next(Step::RunningScript, Reason::RunningScript, "the stage is a copy of its own and shows the barrier")
}

fn writable(view: &View<'_>, its: &Facts) -> bool {
    view.record.inputs.databases.iter().all(|name| its.databases.get(name).is_some_and(|database| database.writable))
}

/// Every database of the promoted copy shows the barrier and is marked as a stage; else what to do.
fn proven(view: &View<'_>, forwarder: &ReplicaName, its: &Facts) -> Option<Plan> {
    let token = view.token();
    let mut marks = Vec::new();
    for database in &view.record.inputs.databases {
        let Some(inside) = its.marks(database) else {
            return Some(view.wait(Reason::Terminating, format!("waiting to read {database} on {forwarder}")));
        };
        if inside.barrier.as_ref() != Some(&token) {
            let message = format!("{database} on {forwarder} does not show the barrier of this attempt");
            return Some(give_up(view, Reason::BarrierMissing, message));
        }
        if inside.stage.as_ref() != Some(&token) {
            marks.push(mark(view.stage, forwarder, database, Mark::Stage, &token));
        }
    }
    let message = "the barrier is in every database of the promoted copy";
    (!marks.is_empty()).then(|| view.wait(Reason::Terminating, message).wave(marks))
}

/// The definitions of a link that replicas of a group still have, the primary's first, of the side that leads.
pub fn drops(group: &Group, link: &GroupName) -> Vec<Act> {
    drops_as(group, link, DropAs::Leading)
}

/// The same where it is known what goes with the primary's.
pub fn drops_as(group: &Group, link: &GroupName, primary: DropAs) -> Vec<Act> {
    let having = group.facts.iter().filter(|(_, facts)| facts.links.contains_key(link));
    let drop =
        |name: &ReplicaName, as_what| Act::Sql(SqlStep::DropLink { at: at(group, name), link: link.clone(), as_what });
    let (leading, others): (Vec<_>, Vec<_>) = having.partition(|(_, facts)| facts.leads());
    if leading.is_empty() {
        return others.into_iter().map(|(name, _)| drop(name, DropAs::Leftover)).collect();
    }
    leading.into_iter().map(|(name, _)| drop(name, primary)).collect()
}

/// Copies on answering secondaries of a group that a promotion left suspended.
pub fn resumes(group: &Group, its: &Facts) -> Vec<Act> {
    let members = its.group.iter().flat_map(|group| &group.members);
    let mut acts = Vec::new();
    for (name, member) in members.filter(|(name, _)| group.facts.contains_key(*name)) {
        for (database, _) in member.databases.iter().filter(|(_, copy)| copy.suspended) {
            acts.push(Act::Sql(SqlStep::Resume {
                at: at(group, name),
                group: group.name.clone(),
                database: database.clone(),
            }));
        }
    }
    acts
}
