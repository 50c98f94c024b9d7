//! Names and texts of a spec.

use super::{Court, LONGEST_NAME};
use crate::{
    api::v1alpha1::availability_group::{ConfigurationValue, SecretKey},
    model::{DatabaseName, GroupName, LoginName},
};
use std::collections::BTreeMap;

/// Databases of SQL Server itself.
const SYSTEM_DATABASES: &[&str] = &["master", "model", "msdb", "tempdb", "distribution"];

pub(super) fn group(court: &mut Court, text: &str) -> Option<GroupName> {
    let legal = text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && text.len() <= LONGEST_NAME;
    if !legal {
        court.refuse(
            "metadata.name",
            format!("must start with a letter, have at most {LONGEST_NAME} characters, and only lower-case letters, digits and '-'"),
            "Services are named after it: choose such a name",
        );
        return None;
    }
    GroupName::new(text).ok()
}

pub(super) fn database(court: &mut Court, field: &str, text: &str) -> Option<DatabaseName> {
    if SYSTEM_DATABASES.iter().any(|system| system.eq_ignore_ascii_case(text)) {
        court.refuse(field, format!("{text:?} is a system database"), "choose another name");
        return None;
    }
    DatabaseName::new(text).map_err(|error| court.refuse(field, error.to_string(), "correct it")).ok()
}

pub(super) fn login(court: &mut Court, field: &str, text: &str) -> Option<LoginName> {
    let lower = text.to_ascii_lowercase();
    if lower == "sa" || lower.starts_with("quorate_") || lower.starts_with("##") {
        court.refuse(field, format!("{text:?} is taken"), "choose a name that is not 'sa', 'quorate_..' or '##..'");
        return None;
    }
    if text.contains('\\') {
        court.refuse(field, "must not contain a backslash", "only logins with a password are made: remove it");
        return None;
    }
    LoginName::new(text).map_err(|error| court.refuse(field, error.to_string(), "correct it")).ok()
}

pub(super) fn certificate_rotation(court: &mut Court, word: Option<&str>) -> Option<String> {
    let word = word?;
    let legal = (1..=40).contains(&word.len()) && word.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c));
    court.require(
        legal,
        "spec.certificateRotation",
        "must consist of at most 40 letters, digits, '.' and '-'",
        "write a date, such as 2026-11-29",
    );
    Some(word.to_owned())
}

pub(super) fn secret_key(court: &mut Court, field: &str, secret: &SecretKey) -> (String, String) {
    let edges = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let legal = !secret.name.is_empty()
        && secret.name.len() <= 253
        && secret.name.starts_with(edges)
        && secret.name.ends_with(edges)
        && secret.name.chars().all(|c| edges(c) || c == '-' || c == '.');
    court.require(legal, &format!("{field}.name"), "is not the name of a Secret", "correct it");
    let legal = !secret.key.is_empty()
        && secret.key.len() <= 253
        && secret.key.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    court.require(legal, &format!("{field}.key"), "is not a key of a Secret", "correct it");
    (secret.name.clone(), secret.key.clone())
}

pub(super) fn collation(court: &mut Court, text: &str) -> String {
    let legal = (1..=128).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    court.require(legal, "spec.collation", "is not the name of a collation", "leave it out for the default");
    text.to_owned()
}

/// Sections and keys of `mssql.conf` that follow from other fields.
fn is_ours(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let section = key.split('.').next().unwrap_or_default();
    matches!(section, "hadr" | "eula" | "filelocation")
        || matches!(
            key.as_str(),
            "memory.memorylimitmb" | "network.tcpport" | "network.ipaddress" | "network.tlscert" | "network.tlskey"
        )
}

pub(super) fn configuration(
    court: &mut Court,
    keys: &BTreeMap<String, ConfigurationValue>,
) -> BTreeMap<String, String> {
    for (key, value) in keys {
        let field = format!("spec.configuration[{key:?}]");
        let shaped = key.split_once('.').is_some_and(|(section, name)| {
            !section.is_empty()
                && !name.is_empty()
                && section.chars().all(|c| c.is_ascii_alphabetic())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        });
        court.require(shaped, &field, "is not written section.key", "write it as in 'sqlagent.enabled'");
        court.require(!is_ours(key), &field, "follows from other fields", "remove it");
        let clean = value.0.len() <= 1024 && !value.0.contains(char::is_control);
        court.require(clean, &field, "must be one line of at most 1024 characters", "shorten it");
    }
    keys.iter().map(|(key, value)| (key.clone(), value.0.clone())).collect()
}
