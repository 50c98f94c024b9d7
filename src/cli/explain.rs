//! `quorate explain`: a saved observation to the plan, for people.

use crate::decide::{self, Observation, Plan, Step, status};
use std::{fmt::Write, io::Read, path::Path};

/// Reads an observation and says what would be done. Errors: a file that is not there or not an observation.
pub fn explain(file: &Path, json: bool) -> Result<String, String> {
    let name = if file.as_os_str() == "-" { "standard input".into() } else { file.display().to_string() };
    let seen = parse(&read(file).map_err(|error| format!("{name}: {error}"))?)
        .map_err(|error| format!("{name} is not an observation: {error}"))?;
    let plan = decide::decide(&seen);
    if json {
        return serde_json::to_string_pretty(&plan).map_err(|error| error.to_string());
    }
    Ok(in_words(&seen, &plan))
}

fn read(file: &Path) -> std::io::Result<String> {
    if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(file)
}

/// JSON is tried first: its errors name line and column, and a large YAML reader is not needed for it.
fn parse(text: &str) -> Result<Observation, String> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| error.to_string());
    }
    serde_saphyr::from_str(text).map_err(|error| error.to_string())
}

fn in_words(seen: &Observation, plan: &Plan) -> String {
    let mut out = String::new();
    let report = status::report(seen, plan);
    let epoch = seen.record.as_ref().map_or_else(
        || "no record of elections".to_string(),
        |record| format!("epoch {}, {:?}, primary {}", record.epoch, record.state, record.primary),
    );
    let _ = writeln!(out, "{}/{}: {epoch}", seen.group.namespace, seen.group.name);
    for replica in &report.replicas {
        let number = replica.sequence_number.as_deref().unwrap_or("-");
        let missing = if replica.message.is_empty() { String::new() } else { format!("  ({})", replica.message) };
        let _ = writeln!(out, "  {:<20} {:<10} {number:>8}{missing}", replica.name.as_str(), replica.role);
    }
    let _ = writeln!(out, "\n{}: {}", plan.reason, if plan.message.is_empty() { "all is well" } else { &plan.message });
    let [cause, does, person] = plan.reason.explained();
    let _ = writeln!(out, "  cause: {cause}\n  Quorate: {does}\n  you: {person}");
    if plan.waves.is_empty() {
        let _ = writeln!(out, "nothing to do");
    }
    for (number, wave) in (1..).zip(&plan.waves) {
        for step in wave {
            let _ = writeln!(out, "  {number}. {}", step_in_words(step));
        }
    }
    let _ = writeln!(out, "look again in {} ms", plan.recheck.as_millis());
    out
}

/// One step in one line.
pub fn step_in_words(step: &Step) -> String {
    match step {
        Step::Record(record) => {
            format!("record epoch {} {:?}, primary {}", record.epoch, record.state, record.primary)
        }
        Step::StandDown { replica, epoch, unless_connected_to, admit, .. } => {
            let guard = unless_connected_to.as_ref().map_or_else(String::new, |p| format!(", unless connected to {p}"));
            let admit: Vec<_> = admit.iter().map(|name| name.as_str()).collect();
            format!("{replica} stands down for epoch {epoch}{guard}; it admits [{}]", admit.join(", "))
        }
        Step::Follow { replica, epoch, primary } => format!("{replica} follows {primary} (epoch {epoch})"),
        Step::Failover { replica, epoch, number, deadline, force } => {
            let verb = if *force { "FORCE_FAILOVER_ALLOW_DATA_LOSS" } else { "FAILOVER" };
            format!("{verb} on {replica} if epoch is {epoch}, number is {number} and ms_ticks <= {deadline}")
        }
        Step::SetCommitQuorum { replica, value, .. } => format!("commit quorum {value} on {replica}"),
        Step::Route(Some(replica)) => format!("route traffic to {replica}"),
        Step::SetFence { replica, fence: None, .. } => format!("drop the logon trigger on {replica}"),
        Step::SetFence { replica, open: true, .. } => format!("prepare a logon trigger on {replica}"),
        Step::SetFence { replica, .. } => format!("keep writers out of {replica} by a logon trigger"),
        Step::EndSessions { replica } => format!("end the sessions of others on {replica}"),
        Step::DropLink { replica, link, .. } => format!("drop link {link} on {replica}: its upgrade is gone"),
        Step::SetUpgrade(None) => "leave the upgrade".into(),
        Step::SetUpgrade(Some(upgrade)) => format!("take part in RollingUpgrade {}", upgrade.name),
        Step::Route(None) => "route traffic to nobody".into(),
        Step::Label { replica, role, readable } => {
            format!("label {replica} {role}{}", if *readable { ", readable" } else { "" })
        }
        Step::Gate { replica, ready } => format!("{replica} is {}", if *ready { "ready" } else { "not ready" }),
        Step::Announce { reason, message } => format!("event {reason}: {message}"),
        Step::Answer { request, message, .. } => format!("answer Failover {request}: {message}"),
        Step::ImportPartner { replica, partner, .. } => format!("{replica} imports the certificate of {partner}"),
        Step::KeepCertificate { replica, .. } => format!("keep the public certificate of {replica}"),
        Step::CreateDatabase { replica, database } => format!("create database {database} on {replica}"),
        Step::AddDatabase { replica, database } => format!("add database {database} to the group on {replica}"),
        Step::EnsureLogin { replica, login, .. } => format!("login {login} on {replica}"),
        Step::EnsureUsers { replica, login } => format!("users of {login} on {replica}"),
        Step::AddReplica { primary, replica, mode } => format!("{primary} adds {replica} as {}", mode.keyword()),
        Step::RemoveReplica { primary, replica } => format!("{primary} removes {replica}"),
        Step::SetMode { primary, replica, mode, .. } => format!("{primary} makes {replica} {}", mode.keyword()),
        other => {
            let where_to = other.instance().map_or_else(String::new, |replica| format!(" on {replica}"));
            format!("{}{where_to}", other.word())
        }
    }
}
