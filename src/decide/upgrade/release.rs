//! RunningScript to Succeeded: the stage becomes the new version, users are led to it in one write.

use super::{
    Act, Facts, Failure, Mark, Plan, Reason, Record, SqlStep, Step, View, at,
    back::give_up,
    discard, freeze, geo, plan,
    seen::{Answer, Job},
};
use crate::{
    decide::diagnose::utc,
    model::{
        DatabaseName, FenceState, ReplicaName, Slot,
        upgrade::{Approval, Script, ScriptOrder},
    },
};

/// The script runs on the stage.
pub fn run(view: &View<'_>) -> Plan {
    let Some((primary, its)) = view.stage.primary() else {
        return view.wait(Reason::Unreachable, "the stage's primary does not answer");
    };
    let Some(database) = start(view) else {
        return give_up(view, Reason::StageLost, "production's group has no databases".into());
    };
    match &view.seen.job {
        Job::Unknown => view.wait(Reason::Unreachable, "the Job of the script was not read"),
        Job::Absent => {
            let databases = view.record.inputs.databases.iter().map(|name| (name.clone(), view.token())).collect();
            let attempt = attempt(view);
            let login = Act::Sql(SqlStep::CreateRunner { at: at(view.stage, primary), attempt, databases });
            let order = ScriptOrder {
                database: database.clone(),
                barrier: view.token(),
                completion: view.completion(),
                hash: view.record.inputs.script.clone(),
                link: view.seen.geo.is_some().then(|| geo::chain_name(&view.seen.wish.uid)),
            };
            view.wait(Reason::RunningScript, "the script is started").wave([login]).wave([Act::RunScript(order)])
        }
        Job::Running => {
            view.wait(Reason::RunningScript, "the script runs; kubectl logs of its Job shows how far it is")
        }
        Job::Failed(words) if view.seen.wish.pauses => match &view.record.failure {
            None => pause(view, words),
            Some(_) if view.record.approved.contains_key(&Approval::Script) => {
                ended(view, primary, its, database, "a person brought the script to its end")
            }
            Some(_) => view.wait(Reason::ScriptFailed, paused(view, words)),
        },
        Job::Failed(words) => give_up(view, Reason::ScriptFailed, words.clone()),
        Job::Complete => ended(view, primary, its, database, "the script ended well"),
    }
}

/// The stage has all that the script was to do.
fn ended(view: &View<'_>, primary: &ReplicaName, its: &Facts, database: &DatabaseName, how: &str) -> Plan {
    if its.marks(database).is_some_and(|marks| marks.completion.as_ref() == Some(&view.completion())) {
        let record = Record { failure: None, ..view.record.to(Step::Verifying, view.seen.at) };
        return view.write(record, Reason::Verifying, how);
    }
    // Neither a Job of the user's own nor a person writes it.
    let mark = freeze::mark(view.stage, primary, database, Mark::Completion, &view.completion());
    view.wait(Reason::RunningScript, how).wave([mark])
}

/// Everything stays as it is for a person to decide. What was approved before nobody could know does not count.
fn pause(view: &View<'_>, words: &str) -> Plan {
    let failure = Failure { step: view.record.step, reason: Reason::ScriptFailed, message: words.into() };
    let mut record = Record { failure: Some(failure), ..view.record.clone() };
    record.approved.remove(&Approval::Script);
    record.stale.extend(view.seen.wish.approved.get(&Approval::Script));
    let message = paused(view, words);
    view.write(record, Reason::ScriptFailed, message.clone()).wave([Act::Announce(Reason::ScriptFailed, message)])
}

fn paused(view: &View<'_>, words: &str) -> String {
    let since = view.record.read_only_since.unwrap_or(view.seen.at) / 1_000;
    let limit = utc(since + view.seen.wish.read_only.as_secs() as i64);
    format!(
        "{words}; production stays read-only until {limit} at most: do on the stage what is left of the script, then add \
         Script to spec.approved; or set spec.abort"
    )
}

/// The database in which the script starts.
pub fn start<'a>(view: &View<'a>) -> Option<&'a DatabaseName> {
    let named = match &view.seen.wish.script {
        Script::Files { database, .. } => database.as_ref(),
        Script::Job(_) => None,
    };
    named.or_else(|| view.record.inputs.databases.first())
}

/// The word that the script's login is named after.
fn attempt(view: &View<'_>) -> String {
    plan::attempt(&view.seen.wish.name, view.record.attempt)
}

/// Queries, endpoint and a write on the stage.
pub fn verify(view: &View<'_>) -> Plan {
    let wish = &view.seen.wish;
    if view.seen.answers.len() < wish.verify.len() {
        return view.wait(Reason::Verifying, "the queries of spec.verify are asked");
    }
    for (number, (answer, expected)) in view.seen.answers.iter().zip(&wish.verify).enumerate() {
        let field = format!("spec.verify[{number}]");
        match answer {
            Answer::Value(value) if *value == expected.expect => {}
            Answer::Value(value) => {
                let message = format!("{field} gave {value:?}, expected {:?}", expected.expect);
                return give_up(view, Reason::VerificationFailed, message);
            }
            Answer::Error(why) => return give_up(view, Reason::VerificationFailed, format!("{field}: {why}")),
            Answer::Silent => return view.wait(Reason::Unreachable, format!("{field} was not answered")),
        }
    }
    if let Some(waits) = geo::lacks_script(view) {
        return view.wait(Reason::Verifying, waits);
    }
    let endpoint = &view.seen.stage.endpoint;
    if endpoint.ready == 0 {
        let message = format!("{} of {} pods of Service {} are ready", endpoint.ready, endpoint.pods, endpoint.name);
        return view.wait(Reason::Verifying, message);
    }
    // The login afterwards: whoever goes on in this step asks with it.
    view.next(Step::Switching, Reason::Verifying, "every check passed").wave(forget_script(view))
}

/// The script's login, Job and Secret go.
pub fn forget_script(view: &View<'_>) -> Vec<Act> {
    let attempt = attempt(view);
    let drop = view.stage.primary().map(|(primary, _)| {
        let databases = view.record.inputs.databases.clone();
        Act::Sql(SqlStep::DropRunner { at: at(view.stage, primary), attempt, databases })
    });
    drop.into_iter().chain([Act::ForgetScript]).collect()
}

/// The fence is made lasting, the last commit is checked, users are led to the stage.
pub fn switch(view: &View<'_>) -> Plan {
    if view.record.switching {
        return lead(view);
    }
    if !view.record.allows(Approval::Switch) {
        let message =
            "verified; to lead users to the stage, add Switch to spec.approved; production is read-only meanwhile";
        return view.wait(Reason::AwaitingApproval, message);
    }
    if !view.asked_for(FenceState::On) {
        let claim = view.claim(FenceState::On);
        return view.wait(Reason::Switching, "the fence is told not to open by itself any more").wave([claim]);
    }
    let Some((primary, own)) = view.production.primary() else {
        return view.wait(Reason::Unreachable, "production's primary does not answer");
    };
    let (silent, unfenced) = (view.production.silent(), view.without_fence(FenceState::On));
    if !silent.is_empty() || !unfenced.is_empty() {
        let names: Vec<_> = silent.into_iter().chain(unfenced).collect();
        let message = format!("waiting for {} to say that its fence does not open by itself", names.join(", "));
        return view.wait(Reason::Switching, message);
    }
    for (database, last) in &view.record.barrier {
        match own.databases.get(database).and_then(|facts| facts.own.as_ref()).and_then(|copy| copy.committed) {
            None => return view.wait(Reason::Switching, format!("waiting for the last commit of {database}")),
            Some(now) if now != *last => {
                let message = format!("{database} on {primary} committed at {now}, after the barrier at {last}");
                return give_up(view, Reason::LateCommit, message);
            }
            Some(_) => {}
        }
    }
    let Some(selector) = view.seen.stage.endpoint.selector.clone().filter(|selector| !selector.is_empty()) else {
        return view.wait(Reason::Switching, "the stage's Service is gone; apply it again");
    };
    if view.stage.primary().is_none() {
        return view.wait(Reason::Unreachable, "the stage's primary does not answer");
    }
    let record = Record { switching: true, ..view.record.clone() };
    // The login once more: whoever was to take it away after the checks may have died before.
    view.wait(Reason::Switching, "users are led to the stage")
        .wave(forget_script(view))
        .wave([Act::Record(Box::new(record))])
        .wave([view.claim(FenceState::Kept)])
        .wave([view.lead(Slot::Stage, selector)])
}

/// The decision is recorded: production stays fenced whatever happens, users go to the stage.
fn lead(view: &View<'_>) -> Plan {
    let endpoint = &view.seen.stage.endpoint;
    if !view.asked_for(FenceState::Kept) {
        return view.wait(Reason::Switching, "production stays fenced for good").wave([view.claim(FenceState::Kept)]);
    }
    let Some(selector) = endpoint.selector.clone().filter(|selector| !selector.is_empty()) else {
        return view.wait(Reason::Switching, "the stage's Service is gone; apply it again");
    };
    let Some(front) = view.led(Slot::Stage, &selector) else {
        return view.wait(Reason::Switching, "users are led to the stage").wave([view.lead(Slot::Stage, selector)]);
    };
    let others: u32 = front.leads_to.iter().filter(|(name, _)| **name != endpoint.name).map(|(_, pods)| pods).sum();
    let ours = front.leads_to.get(&endpoint.name).copied().unwrap_or_default();
    if others > 0 || ours == 0 {
        let message = format!("the front Service leads to {ours} pods of {} and {others} others", endpoint.name);
        return view.wait(Reason::Switching, message);
    }
    let record = Record { read_only_until: Some(view.seen.at), ..view.record.to(Step::Soaking, view.seen.at) };
    let message = format!("users are on {}", endpoint.name);
    view.write(record, Reason::Switched, message.clone()).wave([Act::Announce(Reason::Switched, message)])
}

/// Users are on the new version; production stays fenced.
pub fn soak(view: &View<'_>) -> Plan {
    let front = &view.seen.stage.endpoint.name;
    if !view.record.allows(Approval::Retire) {
        let hint = discard::hint(view.seen);
        let message = format!("users are on {front}; when the old version may go, add Retire to spec.approved{hint}");
        return view.wait(Reason::Switched, message);
    }
    view.next(Step::Retiring, Reason::Switched, "the old version may go")
}

/// The stage's group is free; nothing that a user applied is deleted.
pub fn retire(view: &View<'_>) -> Plan {
    let releases = view.releases(&[Slot::Stage, Slot::ProductionDr, Slot::StageDr]);
    if !releases.is_empty() {
        return view.wait(Reason::Retired, "the stage's group is a group like any other").wave(releases);
    }
    let message = "manifests of the old version may be removed; its group stays fenced";
    view.next(Step::Succeeded, Reason::Retired, message).wave([Act::Announce(Reason::Retired, message.into())])
}
