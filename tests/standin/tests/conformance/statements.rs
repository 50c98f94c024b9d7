//! Kinds of statements, from the parser's own enums, and the tests that run them.

use super::{
    evidence::{Shown, row},
    source::Source,
    tokens::Token,
};
use standin::tsql::{
    ast::{Located, Statement},
    parse,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// The enums that a statement is made of, by heading.
const FAMILIES: [(&str, &str, &str); 8] = [
    ("Availability groups", "src/ddl.rs", "GroupStatement"),
    ("Databases in groups", "src/ddl.rs", "HadrStatement"),
    ("Databases", "src/tsql/ast.rs", "DatabaseStatement"),
    ("Principals, certificates, endpoints", "src/tsql/ast.rs", "SecurityStatement"),
    ("Triggers of the server", "src/tsql/ast.rs", "TriggerStatement"),
    ("Objects", "src/tsql/ast.rs", "ObjectStatement"),
    ("Transactions", "src/tsql/ast.rs", "TransactionStatement"),
    ("Batches, queries, changes of data", "src/tsql/ast.rs", "Statement"),
];

/// A kind: its enum and its variant.
type Kind = (String, String);

/// The variants of an enum with the first line of what is said of each.
pub fn variants(path: &str, name: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let head = format!("pub enum {name} {{");
    let body = text.lines().skip_while(|line| *line != head).skip(1).take_while(|line| *line != "}");
    let (mut found, mut said) = (Vec::new(), None);
    for line in body.filter(|line| line.starts_with("    ") && !line.starts_with("     ")) {
        let line = line.trim();
        if let Some(doc) = line.strip_prefix("/// ") {
            said.get_or_insert(doc.to_string());
        } else if line.starts_with(char::is_uppercase) {
            let variant: String = line.chars().take_while(|c| c.is_alphanumeric()).collect();
            found.push((variant, said.take().unwrap()));
        }
    }
    assert!(!found.is_empty(), "{path} has no enum {name}");
    found
}

/// `CREATE USER: name, login` is CREATE USER.
fn label(said: &str) -> String {
    let end = said.find([':', ';']).unwrap_or(said.len());
    said[..end].replace('`', "").trim_end_matches([' ', '.']).to_string()
}

fn head(debug: &impl std::fmt::Debug) -> String {
    format!("{debug:?}").chars().take_while(|c| c.is_alphanumeric()).collect()
}

fn kinds(statements: &[Located], found: &mut BTreeSet<Kind>) {
    for located in statements {
        let one = |at: &Located, found: &mut BTreeSet<Kind>| kinds(std::slice::from_ref(at), found);
        let (family, variant) = match &located.statement {
            Statement::Group(_, inner) => ("GroupStatement", head(inner)),
            Statement::Security(inner) => ("SecurityStatement", head(inner)),
            Statement::Object(inner) => ("ObjectStatement", head(inner)),
            Statement::Transaction(inner) => ("TransactionStatement", head(inner)),
            Statement::Database(inner) => {
                if let standin::tsql::ast::DatabaseStatement::Hadr(_, hadr) = inner {
                    found.insert(("HadrStatement".into(), head(hadr)));
                }
                ("DatabaseStatement", head(inner))
            }
            other => ("Statement", head(other)),
        };
        found.insert((family.into(), variant));
        match &located.statement {
            Statement::Block(inner) => kinds(inner, found),
            Statement::Try { body, catch } => [body, catch].into_iter().for_each(|inner| kinds(inner, found)),
            Statement::While { body, .. } => one(body, found),
            Statement::If { then, otherwise, .. } => {
                one(then, found);
                otherwise.iter().for_each(|inner| one(inner, found));
            }
            _ => {}
        }
    }
}

/// A literal as T-SQL: what `format!` fills in becomes a name.
fn sql(text: &str) -> String {
    let (mut sql, mut inside) = (String::new(), false);
    for c in text.chars() {
        match c {
            '{' => sql.push('x'),
            '}' => {}
            _ if inside => {}
            _ => sql.push(c),
        }
        inside = c == '{' || inside && c != '}';
    }
    sql
}

/// A batch, alone or with the variables that it uses and does not declare; none when it is not T-SQL.
fn parsed(sql: &str) -> Vec<Located> {
    let words: Vec<_> = sql.split(|c: char| !c.is_alphanumeric() && c != '@' && c != '_').collect();
    let words = || words.iter().filter(|word| !word.is_empty());
    let declared: BTreeSet<_> = words()
        .zip(words().skip(1))
        .filter(|(before, _)| before.eq_ignore_ascii_case("DECLARE"))
        .map(|(_, v)| v)
        .collect();
    let given = words().filter(|word| word.starts_with('@') && !word.starts_with("@@") && !declared.contains(word));
    let alone = parse::batch(sql, []);
    alone.or_else(|_| parse::batch(sql, given.map(|word| word.to_string()))).unwrap_or_default()
}

fn named(tokens: &[Token]) -> BTreeSet<Kind> {
    let mut found = BTreeSet::new();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Text(text) if text.starts_with(|c: char| c.is_ascii_uppercase() || c.is_whitespace()) => {
                let sql = sql(text);
                let statements = parsed(&sql);
                // A word alone would be the name of a procedure.
                if sql.trim().contains(' ') || statements.iter().all(|s| head(&s.statement) != "Execute") {
                    kinds(&statements, &mut found);
                }
            }
            Token::Word(family) if FAMILIES.iter().any(|(_, _, known)| known == family) => {
                if let Some(Token::Word(variant)) = tokens.get(at + 3) {
                    found.insert((family.clone(), variant.clone()));
                }
            }
            _ => {}
        }
    }
    found
}

/// Who runs each kind.
fn runs(source: &Source) -> BTreeMap<Kind, Shown> {
    let mut runs: BTreeMap<Kind, Shown> = BTreeMap::new();
    for test in source.tests.iter().filter(|test| !test.scripted) {
        let own = named(&test.own);
        for kind in named(&test.helpers).difference(&own) {
            runs.entry(kind.clone()).or_default().helped.push(test.name.clone());
        }
        for kind in own {
            runs.entry(kind).or_default().own.push(test.name.clone());
        }
    }
    runs
}

/// The tables of statements.
pub fn section(source: &Source, switches: &[(String, String)]) -> String {
    let runs = runs(source);
    let mut text = String::new();
    for (heading, path, family) in FAMILIES {
        text.push_str(&format!("\n### {heading}\n\n| Statement | | Shown by |\n|---|---|---|\n"));
        for (variant, said) in variants(path, family) {
            if FAMILIES.iter().any(|(_, _, other)| *other == format!("{variant}Statement")) {
                continue;
            }
            let label = label(&said);
            let varies = switches.iter().filter(|(_, said)| label.split(", ").any(|part| speaks_of(said, part)));
            let varies: Vec<_> = varies.map(|(name, _)| name.as_str()).collect();
            let shown = runs.get(&(family.to_string(), variant)).cloned().unwrap_or_default();
            text.push_str(&row(&label, &shown, &varies));
        }
    }
    text
}

/// Whether a text has these words in capitals as words of their own.
fn speaks_of(said: &str, words: &str) -> bool {
    let free = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
    words.len() > 3
        && words.starts_with(char::is_uppercase)
        && said
            .match_indices(words)
            .any(|(at, _)| free(said[..at].chars().next_back()) && free(said[at + words.len()..].chars().next()))
}
