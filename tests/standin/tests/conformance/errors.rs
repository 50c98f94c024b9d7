//! Messages that the code raises, and the tests that expect them.

use super::{
    evidence::{Shown, row},
    source::{Source, items},
    tokens::{Token, closing},
};
use std::collections::{BTreeMap, BTreeSet};

/// Numbers that an operator, an administrator or Microsoft's Pacemaker agent can meet (SQL Server's error tables).
const DOCUMENTED: &[i64] = &[
    102, 922, 927, 942, 952, 976, 978, 979, 982, 983, 988, 1105, 1475, 1478, 3906, 4060, 9002, 15151, 15208, 15232,
    15282, 15297, 15352, 15578, 15580, 15581, 17187, 17892, 18401, 18456, 19406, 19407, 19421, 19497, 19498, 19499,
    19501, 19502, 19503, 19504, 19505, 19506, 19507, 19508, 19509, 19510, 19511, 19512, 19513, 35201, 35202, 35206,
    35207, 35209, 35210, 35212, 35214, 35221, 35223, 35232, 35233, 35235, 35236, 35237, 35238, 35239, 35240, 35242,
    35244, 35248, 35249, 35250, 35251, 35252, 35254, 35261, 35262, 35264, 35265, 35274, 35279, 35280, 35281, 35282,
    35283, 35284, 35285, 41042, 41044, 41058, 41059, 41061, 41074, 41075, 41091, 41094, 41100, 41104, 41106, 41113,
    41114, 41122, 41131, 41132, 41133, 41134, 41140, 41142, 41143, 41144, 41145, 41148, 41149, 41150, 41152, 41153,
    41156, 41157, 41158, 41159, 41160, 41161, 41162, 41163, 41164, 41165, 41166, 41172, 41173, 41177, 41178, 41181,
    41185, 41188, 41189, 41190, 41191, 41199, 47100, 47101, 47102, 47103, 47104, 47105, 47106, 47107, 47108, 47109,
    47110, 47111, 47112, 47113, 47114, 47115, 47116, 47117, 47118, 47119, 47120, 47121, 47122,
];

/// A message as the code raises it.
#[derive(Debug, Default)]
struct Raised {
    text: String,
    /// Only `tds` raises it.
    wire: bool,
    /// Only the error log has it.
    logged: bool,
}

/// The first argument of a call: its integers.
fn first_argument(tokens: &[Token], open: usize) -> Vec<i64> {
    let mut found = Vec::new();
    let mut at = open + 1;
    while at < tokens.len() && !tokens[at].sign(',') && !tokens[at].sign(')') {
        match &tokens[at] {
            // `if x.is_empty() { 213 } else { 109 }`
            Token::Symbol('(') => at = closing(tokens, at),
            Token::Number(number) => found.push(*number),
            _ => {}
        }
        at += 1;
    }
    found
}

fn first_text(tokens: &[Token]) -> String {
    let text = tokens.iter().find_map(|token| match token {
        Token::Text(text) => Some(text.clone()),
        _ => None,
    });
    text.unwrap_or_default()
}

/// Functions that take a number and make a message of it.
fn makers(source: &Source) -> BTreeMap<String, String> {
    let all = source.code.values().flat_map(|tokens| items(tokens));
    let takes = |tokens: &[Token]| tokens.windows(4).any(|w| w[0].sign('(') && w[1].is("number") && w[3].is("i32"));
    all.filter(|item| takes(&item.tokens) && item.name != "new" && item.tokens.iter().any(|t| t.is("Message")))
        .map(|item| (item.name.clone(), first_text(&item.tokens)))
        .collect()
}

fn raised(source: &Source) -> BTreeMap<i64, Raised> {
    let makers = makers(source);
    let mut found: BTreeMap<i64, Raised> = BTreeMap::new();
    for (path, tokens) in &source.code {
        let wire = path.starts_with("src/tds");
        for at in 0..tokens.len() {
            let Token::Word(word) = &tokens[at] else { continue };
            let open =
                if word == "Message" && tokens.get(at + 3).is_some_and(|t| t.is("new")) { at + 4 } else { at + 1 };
            if !tokens.get(open).is_some_and(|t| t.sign('(')) || (open == at + 1 && !makers.contains_key(word)) {
                continue;
            }
            let text = first_text(&tokens[open..=closing(tokens, open)]);
            let text = makers.get(word).filter(|_| open == at + 1).cloned().unwrap_or(text);
            for number in first_argument(tokens, open) {
                let entry = found.entry(number).or_insert(Raised { text: text.clone(), wire, logged: false });
                entry.wire &= wire;
                if entry.text.is_empty() {
                    entry.text.clone_from(&text);
                }
            }
        }
    }
    for (number, text) in logged(source) {
        found.entry(number).or_insert(Raised { text, wire: false, logged: true });
    }
    // Information without a number, and SQLite's own words before they are translated.
    found.retain(|number, _| *number > 0 && *number != 50_000);
    found
}

/// `tracing::info!("… (41074)")`
fn logged(source: &Source) -> Vec<(i64, String)> {
    let mut found = Vec::new();
    for tokens in source.code.values() {
        for window in tokens.windows(2) {
            let [Token::Text(text), Token::Symbol(')')] = window else { continue };
            let number = text.strip_suffix(')').and_then(|text| text.rsplit_once(" ("));
            if let Some((text, number)) = number.and_then(|(text, number)| Some((text, number.parse().ok()?))) {
                found.push((number, text.to_string()));
            }
        }
    }
    found
}

/// Numbers that a test compares with. Small ones are numbers of errors only beside `number` or after a statement.
fn expected(tokens: &[Token]) -> BTreeSet<i64> {
    let mut found = BTreeSet::new();
    for (at, token) in tokens.iter().enumerate() {
        let Token::Number(number) = token else { continue };
        let before = &tokens[at.saturating_sub(12)..at];
        let near = before.iter().any(|t| t.is("number") || t.is("numbers"));
        let paired = matches!(before, [.., Token::Text(text), Token::Symbol(',')] if text.contains(' '));
        if *number >= 1_000 || near || paired {
            found.insert(*number);
        }
    }
    found
}

/// The table of errors.
pub fn section(source: &Source, switches: &[(String, String)]) -> String {
    let raised = raised(source);
    let mut shown: BTreeMap<i64, Shown> = BTreeMap::new();
    for test in &source.tests {
        let real = |number: &&i64| raised.get(*number).is_some_and(|raised| !test.scripted || raised.wire);
        let own = expected(&test.own);
        for number in own.iter().filter(real) {
            shown.entry(*number).or_default().own.push(test.name.clone());
        }
        for number in expected(&test.helpers).difference(&own).filter(real) {
            shown.entry(*number).or_default().helped.push(test.name.clone());
        }
    }
    let mut text = String::from("\n| Message | | Shown by |\n|---|---|---|\n");
    for (number, message) in &raised {
        let label = format!("{number} {}", beginning(&message.text));
        if message.logged {
            text.push_str(&format!("| {label} | error log only | |\n"));
            continue;
        }
        let varies = switches
            .iter()
            .filter(|(_, said)| said.split(|c: char| !c.is_ascii_digit()).any(|n| n == number.to_string()));
        let varies: Vec<_> = varies.map(|(name, _)| name.as_str()).collect();
        text.push_str(&row(&label, shown.get(number).unwrap_or(&Shown::default()), &varies));
    }
    let missing = DOCUMENTED.iter().filter(|number| !raised.contains_key(number)).map(ToString::to_string);
    text.push_str(&format!("\nNot supported (never raised): {}.\n", missing.collect::<Vec<_>>().join(", ")));
    text
}

/// The first words of a text; what it is filled with is left out.
fn beginning(text: &str) -> String {
    let (mut short, mut depth) = (String::new(), 0usize);
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            '\n' => short.push(' '),
            _ if depth == 0 => short.push(c),
            _ => {}
        }
        if c == '{' && depth == 1 {
            short.push('%');
        }
    }
    let words: String = short.chars().take(70).collect();
    if words.len() < short.len() { format!("{}…", words.trim_end()) } else { words }
}
