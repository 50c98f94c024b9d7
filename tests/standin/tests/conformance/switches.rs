//! The switches, and the tests that turn them.

use super::{
    evidence::{Shown, row},
    source::Source,
    tokens::Token,
};
use std::{collections::BTreeSet, fs, path::Path};

/// Name and description of every switch.
pub fn all() -> Vec<(String, String)> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/faults.rs")).unwrap();
    let body = text.lines().skip_while(|line| *line != "pub struct Switches {").skip(1).take_while(|line| *line != "}");
    let (mut found, mut said) = (Vec::new(), String::new());
    for line in body.map(str::trim) {
        if let Some(doc) = line.strip_prefix("/// ") {
            said = format!("{said} {doc}").trim().to_string();
        } else if let Some((name, _)) = line.strip_prefix("pub ").and_then(|field| field.split_once(':')) {
            found.push((name.to_string(), std::mem::take(&mut said)));
        }
    }
    assert!(!found.is_empty());
    found
}

/// `switches.name = ..` and `name: ..`; the engine of FAILOVER is handed around as a value.
fn turned(tokens: &[Token]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, token) in tokens.iter().enumerate() {
        let Token::Word(word) = token else { continue };
        let set = tokens.get(at + 1).is_some_and(|t| t.sign('=') || t.sign(':'));
        if word == "FailoverEngine" {
            found.insert("failover".to_string());
        } else if set {
            found.insert(word.clone());
        }
    }
    found
}

/// The table of switches.
pub fn section(source: &Source, switches: &[(String, String)]) -> String {
    let mut text = String::from("\n| Switch | | Turned by |\n|---|---|---|\n");
    for (name, said) in switches {
        let mut shown = Shown::default();
        for test in source.tests.iter().filter(|test| !test.scripted) {
            if turned(&test.own).contains(name) {
                shown.own.push(test.name.clone());
            } else if name != "failover" && turned(&test.helpers).contains(name) {
                shown.helped.push(test.name.clone());
            }
        }
        text.push_str(&row(&format!("`{name}`: {said}"), &shown, &[]).replace("| supported |", "| turned |"));
    }
    text
}
