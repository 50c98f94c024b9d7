//! PreparingStage to ReadyForUpgrade: everything that may take long, while production serves as before.

use super::{
    Act, Facts, Inputs, Plan, Reason, Record, SqlStep, Step, View, at, freeze, geo,
    observation::{Seeding, Session, trust_of},
    preflight::databases,
    seen::{Group, Script},
    side,
};
use crate::model::{DatabaseName, FenceState, GroupName, Mode, ReplicaName, Slot, upgrade::Approval};
use std::time::Duration;

/// Log that may be in use while the stage holds it, in percent (upgrade.md, step 3).
const LOG_LIMIT: i64 = 70;
/// Log that the stage may lack, KiB, when production becomes read-only: it is sent in the read-only time
/// (staged-upgrade.md 3.4).
const SEND_LIMIT: i64 = 16 * 1_024;
/// Log that it may not have redone yet, KiB (staged-upgrade.md 3.4).
const REDO_LIMIT: i64 = 64 * 1_024;
/// A transaction that is open for longer is waited for before production becomes read-only: ending it there and undoing it on
/// the promoted stage takes as long as it took (staged-upgrade.md 3.4).
const OPEN_LIMIT: Duration = Duration::from_secs(30);

/// Certificates, logins, the link.
pub fn link(view: &View<'_>) -> Plan {
    let (production, stage) = (view.production, view.stage);
    let waits = |message: &str| view.wait(Reason::Linking, message);
    let claims = claims(view);
    if !claims.is_empty() {
        return waits("the groups are told that they take part").wave(claims).recheck(super::SOON);
    }
    let (Some((_, own)), Some(_)) = (production.primary(), stage.primary()) else {
        return view.wait(Reason::Unreachable, "a primary of the two groups does not answer");
    };
    let trusts: Vec<_> = trusts(production, stage).chain(trusts(stage, production)).collect();
    if !trusts.is_empty() {
        return waits("each instance is told the certificates of the other group").wave(trusts).recheck(super::SOON);
    }
    let (mut work, link) = (logins(own, stage), view.link());
    work.extend(make(production, stage, &link));
    if !work.is_empty() {
        return waits("logins are carried over, the link is made").wave(work).recheck(super::SOON);
    }
    let connected = own.links.get(&link).and_then(|link| link.members.get(&stage.name)).and_then(|it| it.connected);
    if connected != Some(true) {
        return waits("waiting for the stage to connect to production");
    }
    let unfenced = view.without_fence(FenceState::Prepared);
    if !unfenced.is_empty() {
        return waits(&format!("waiting for the logon trigger on {}", unfenced.join(", ")));
    }
    view.next(Step::Seeding, Reason::Seeding, "the link is connected")
}

/// The statement that a link still lacks, the leading side's first.
pub fn make(from: &Group, to: &Group, link: &GroupName) -> Option<Act> {
    let ((leader, own), (follower, its)) = (from.primary()?, to.primary()?);
    let (link, leading, following) = (link.clone(), side(from), side(to));
    let step = match (own.links.contains_key(&link), its.links.contains_key(&link)) {
        (false, _) => SqlStep::CreateLink { at: at(from, leader), link, from: leading, to: following },
        (true, false) => SqlStep::JoinLink { at: at(to, follower), link, from: leading, to: following },
        (true, true) => return None,
    };
    Some(Act::Sql(step))
}

/// All groups know that they take part.
fn claims(view: &View<'_>) -> Vec<Act> {
    let mut claims = Vec::new();
    if !view.asked_for(FenceState::Prepared) {
        claims.push(view.claim(FenceState::Prepared));
    }
    for (slot, group) in [(Slot::Stage, view.stage)].into_iter().chain(geo::groups(view)) {
        let active = view.active(slot, None);
        if group.upgrade.as_ref() != Some(&active) {
            claims.push(Act::Claim(slot, Some(Box::new(active))));
        }
    }
    claims
}

/// Certificates that answering replicas of one group lack of the other's.
pub fn trusts<'a>(here: &'a Group, there: &'a Group) -> impl Iterator<Item = Act> + 'a {
    let partners = there.facts.iter().filter_map(|(name, facts)| Some((name, facts.server.certificate.as_ref()?)));
    let partners: Vec<_> = partners.collect();
    here.facts.iter().flat_map(move |(name, facts)| {
        let lacking = partners.clone().into_iter().filter(|(partner, certificate)| {
            let known = facts.trusted.get(&trust_of(&there.namespace, partner));
            known.is_none_or(|trust| trust.certificate.as_ref() != Some(*certificate) || !trust.admitted)
        });
        lacking
            .map(|(partner, certificate)| {
                Act::Sql(SqlStep::TrustPartner {
                    at: at(here, name),
                    partner: at(there, partner),
                    certificate: certificate.clone(),
                })
            })
            .collect::<Vec<_>>()
    })
}

/// Logins of production that the stage's replicas lack, or have with another SID or state.
pub fn logins(production: &Facts, stage: &Group) -> Vec<Act> {
    let mut steps = Vec::new();
    for name in stage.with_data() {
        let Some(facts) = stage.facts.get(name) else { continue };
        for (login, wanted) in
            production.logins.iter().filter(|(login, wanted)| facts.logins.get(*login) != Some(wanted))
        {
            let (at, login, facts) = (at(stage, name), login.clone(), wanted.clone());
            steps.push(Act::Sql(SqlStep::CarryLogin { at, login, facts }));
        }
    }
    steps
}

/// Databases are copied, then follow.
pub fn seed(view: &View<'_>) -> Plan {
    if let Some(plan) = held_back(view) {
        return plan;
    }
    let behind = behind(view);
    let acts = geo::preparations(view, behind.is_none());
    match behind.or_else(|| geo::behind(view)) {
        Some(what) => view.wait(Reason::Seeding, what).wave(acts),
        None => {
            view.next(Step::EndpointsOffline, Reason::Seeding, "every database follows on every replica of the stage")
        }
    }
}

/// The stage must never take production down.
fn held_back(view: &View<'_>) -> Option<Plan> {
    let (primary, facts) = view.production.primary()?;
    let full = view.record.inputs.databases.iter().find_map(|name| {
        let used = facts.marks(name)?.log_used_percent?;
        let held = facts.databases.get(name)?.log_wait == "AVAILABILITY_REPLICA";
        (held && used >= LOG_LIMIT).then_some((name, used))
    });
    let (database, used) = full?;
    let message = format!(
        "the log of {database} on {primary} is {used} % full and held for the stage, more than {LOG_LIMIT} %: the link is dropped"
    );
    Some(super::back::give_up(view, Reason::LogHeldBack, message))
}

/// What does not follow yet, in a sentence.
fn behind(view: &View<'_>) -> Option<String> {
    let Some((_, own)) = view.production.primary() else { return Some("production's primary does not answer".into()) };
    let Some((forwarder, its)) = view.stage.primary() else {
        return Some("the stage's primary does not answer".into());
    };
    let Some(link) = own.links.get(&view.link()) else { return Some("the link is gone on production".into()) };
    for database in &view.record.inputs.databases {
        let remote = link.databases.get(database).and_then(|it| it.remote.as_ref());
        if !remote.is_some_and(geo::follows) {
            return Some(format!("{database} is on its way to {forwarder}{}", progress(own, database)));
        }
        if let Some(name) = late_secondary(forwarder, its, database) {
            return Some(format!("{database} is on its way from {forwarder} to {name}"));
        }
    }
    None
}

/// A secondary of a primary that does not follow it.
pub fn late_secondary<'a>(primary: &ReplicaName, its: &'a Facts, database: &DatabaseName) -> Option<&'a ReplicaName> {
    let members = its.group.iter().flat_map(|group| &group.members);
    let mut others = members.filter(|(name, member)| *name != primary && member.mode != Mode::ConfigurationOnly);
    others.find(|(_, member)| !member.databases.get(database).is_some_and(geo::follows)).map(|(name, _)| name)
}

fn progress(sender: &Facts, database: &DatabaseName) -> String {
    match sender.sent(database).and_then(Seeding::moved) {
        Some((bytes, total)) if total > 0 => format!(": {} of {} MiB", bytes >> 20, total >> 20),
        _ => String::new(),
    }
}

/// The front Service leads to production; the stage's endpoint has pods.
pub fn endpoints(view: &View<'_>) -> Plan {
    let (production, stage) = (&view.seen.production.endpoint, &view.seen.stage.endpoint);
    let Some(selector) = production.selector.clone().filter(|selector| !selector.is_empty()) else {
        return view.wait(Reason::EndpointsMissing, format!("Service {} does not exist; apply it", production.name));
    };
    match &view.seen.front {
        Some(front) if !front.ours => {
            return view.wait(Reason::NameTaken, "spec.traffic.service exists and is not this upgrade's; delete it");
        }
        _ if view.led(Slot::Production, &selector).is_some() => {}
        _ => {
            let lead = view.lead(Slot::Production, selector);
            return view.wait(Reason::EndpointsMissing, "the front Service is made").wave([lead]).recheck(super::SOON);
        }
    }
    let there = view.seen.geo.iter().flat_map(|geo| [&geo.production.endpoint, &geo.stage.endpoint]);
    if let Some(empty) = std::iter::once(stage).chain(there).find(|endpoint| endpoint.pods == 0) {
        let message = format!("Service {} has no pods; deploy that version of the application", empty.name);
        return view.wait(Reason::EndpointsMissing, message);
    }
    view.next(Step::ReadyForUpgrade, Reason::AwaitingApproval, "prepared; production was not touched")
}

/// All of that stays true, for days if need be.
pub fn ready(view: &View<'_>) -> Plan {
    if let Some(plan) = held_back(view) {
        return plan;
    }
    let script = match &view.seen.script {
        Script::Ready(hash) => hash,
        Script::Wrong(why) => return view.wait(Reason::ScriptWrong, format!("spec.script: {why}")),
        Script::Unknown => return view.wait(Reason::Unreachable, "the script was not read"),
    };
    if *script != view.record.inputs.script || view.production.primary().is_some() && changed_databases(view) {
        let databases = databases(view.production);
        let inputs = Inputs { script: script.clone(), databases, ..view.record.inputs.clone() };
        let record = Record { inputs, ..view.record.to(Step::Seeding, view.seen.at) };
        return view.write(record, Reason::Seeding, "the script or production's databases changed: checked again");
    }
    if let Some(why) = late(view) {
        return view.wait(Reason::NotReady, why);
    }
    if !view.record.allows(Approval::Start) {
        let message = "ready; to make production read-only and start, add Start to spec.approved";
        return view.wait(Reason::AwaitingApproval, message);
    }
    let record = Record { read_only_since: Some(view.seen.at), ..view.record.to(Step::ReadOnly, view.seen.at) };
    view.write(record, Reason::Fencing, "production becomes read-only")
}

fn changed_databases(view: &View<'_>) -> bool {
    databases(view.production) != view.record.inputs.databases
}

fn is_long(session: &Session) -> bool {
    session.oldest_transaction.is_some_and(|age| age > OPEN_LIMIT)
}

/// What would make the read-only time long, or fail in it.
fn late(view: &View<'_>) -> Option<String> {
    for group in [view.production, view.stage].into_iter().chain(geo::groups(view).map(|(_, group)| group)) {
        if !group.ready {
            return Some(format!("AvailabilityGroup {} is not ready: {}", group.name, group.message));
        }
        if !group.silent().is_empty() {
            return Some(format!("{} does not answer", group.silent().join(", ")));
        }
    }
    if !view.asked_for(FenceState::Prepared) {
        return Some("production does not take part any more; delete this RollingUpgrade and apply it again".into());
    }
    if let Some(what) = behind(view).or_else(|| geo::behind(view)) {
        return Some(what);
    }
    let (primary, own) = view.production.primary()?;
    if let Some((id, session)) =
        freeze::foreign(view, view.production).into_iter().find(|(_, session)| is_long(session))
    {
        return Some(format!(
            "session {id} of login {} on {primary} has had a transaction open for more than {} s; wait for it, or end it",
            session.login,
            OPEN_LIMIT.as_secs()
        ));
    }
    let link = own.links.get(&view.link())?;
    view.record.inputs.databases.iter().find_map(|database| {
        let remote = link.databases.get(database)?.remote.as_ref()?;
        let (send, redo) = (remote.send_queue, remote.redo_queue);
        (send > SEND_LIMIT || redo > REDO_LIMIT).then(|| {
            format!("{database} on the stage lacks {send} KiB of log and has {redo} KiB to redo; at most {SEND_LIMIT} and {REDO_LIMIT}")
        })
    })
}
