//! Constructs that the code refuses by name, and the system procedures that it has.

use super::{
    evidence::{Shown, row},
    source::Source,
    tokens::{Token, closing},
};
use standin::tsql::parse;
use std::{collections::BTreeSet, path::Path};

/// Constructs named in `not_supported(..)` and `unsupported(..)`, and statements that the parser knows and refuses.
pub fn section(source: &Source) -> String {
    let mut found = BTreeSet::new();
    for tokens in source.code.values() {
        for at in 0..tokens.len() {
            let refuses = tokens[at].is("not_supported") || tokens[at].is("unsupported");
            if !refuses || !tokens.get(at + 1).is_some_and(|t| t.sign('(')) {
                continue;
            }
            let call = &tokens[at + 1..closing(tokens, at + 1)];
            let text = call.iter().find_map(|token| if let Token::Text(text) = token { Some(text) } else { None });
            // Those that end in a name are listed by that name, or are whatever SQLite does not understand.
            found.extend(text.filter(|text| !text.contains('{')).cloned());
        }
    }
    for tokens in source.code.iter().filter(|(path, _)| path.starts_with("src/tsql")).map(|(_, tokens)| tokens) {
        for token in tokens {
            let Token::Text(word) = token else { continue };
            if !word.is_empty() && word.chars().all(|c| c.is_ascii_uppercase()) {
                let text = parse::batch(&format!("{word} x"), []).err().map(|message| message.text).unwrap_or_default();
                if text.starts_with(&format!("The statement {word} is not supported")) {
                    found.insert(format!("The statement {word}"));
                }
            }
        }
    }
    let lines: Vec<_> = found.iter().map(|construct| format!("- {}\n", construct.replace('|', "\\|"))).collect();
    format!("\n{}", lines.concat())
}

/// The table of system procedures.
pub fn procedures(source: &Source) -> String {
    let tokens = &source.code[Path::new("src/tsql/procedures/mod.rs")];
    let names: BTreeSet<&String> = tokens
        .iter()
        .filter_map(|token| match token {
            Token::Text(text) if text.starts_with("sp_") || text.starts_with("xp_") => Some(text),
            _ => None,
        })
        .filter(|text| text.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        .collect();
    let calls = |tokens: &[Token], name: &str| {
        tokens.iter().any(|token| matches!(token, Token::Text(text) if text.to_lowercase().contains(name)))
    };
    let mut text = String::from("\n| Procedure | | Shown by |\n|---|---|---|\n");
    for name in names {
        let mut shown = Shown::default();
        for test in source.tests.iter().filter(|test| !test.scripted) {
            if calls(&test.own, name) {
                shown.own.push(test.name.clone());
            } else if calls(&test.helpers, name) {
                shown.helped.push(test.name.clone());
            }
        }
        text.push_str(&row(name, &shown, &[]));
    }
    text
}
