//! Label and field selectors.

use super::status::Failure;
use serde_json::Value;

#[derive(Clone, Debug)]
enum Term {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
}

/// What a list or watch selects.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    labels: Vec<Term>,
    fields: Vec<(String, String, bool)>,
}

impl Selector {
    /// From the query parameters `labelSelector` and `fieldSelector`.
    pub fn parse(labels: &str, fields: &str) -> Result<Self, Failure> {
        let labels = split_terms(labels).into_iter().map(|term| label_term(term.trim())).collect();
        let mut wanted = Vec::new();
        for term in fields.split(',').filter(|term| !term.is_empty()) {
            let (name, value, equal) = match term.split_once("!=") {
                Some((name, value)) => (name, value, false),
                None => {
                    let (name, value) =
                        term.split_once('=').ok_or_else(|| Failure::bad_request("bad field selector"))?;
                    (name, value.trim_start_matches('='), true)
                }
            };
            if !["metadata.name", "metadata.namespace", "spec.nodeName", "status.phase", "type"].contains(&name) {
                return Err(Failure::bad_request(format!("field label not supported: {name}")));
            }
            wanted.push((name.replace('.', "/"), value.to_owned(), equal));
        }
        Ok(Self { labels, fields: wanted })
    }

    /// Whether it selects this object.
    pub fn selects(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        let label = |key: &str| labels.get(key).and_then(Value::as_str);
        let labels_fit = self.labels.iter().all(|term| match term {
            Term::In(key, values) => label(key).is_some_and(|found| values.iter().any(|value| value == found)),
            Term::NotIn(key, values) => label(key).is_none_or(|found| values.iter().all(|value| value != found)),
            Term::Exists(key) => label(key).is_some(),
            Term::Missing(key) => label(key).is_none(),
        });
        labels_fit
            && self.fields.iter().all(|(path, value, equal)| {
                let found = object.pointer(&format!("/{path}")).and_then(Value::as_str).unwrap_or_default();
                (found == value) == *equal
            })
    }
}

/// Splits at commas outside parentheses.
fn split_terms(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut terms) = (0, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms.retain(|term| !term.trim().is_empty());
    terms
}

fn label_term(term: &str) -> Term {
    let list = |values: &str| {
        values.trim().trim_start_matches('(').trim_end_matches(')').split(',').map(|v| v.trim().to_owned()).collect()
    };
    if let Some((key, values)) = term.split_once(" notin ") {
        Term::NotIn(key.trim().into(), list(values))
    } else if let Some((key, values)) = term.split_once(" in ") {
        Term::In(key.trim().into(), list(values))
    } else if let Some((key, value)) = term.split_once("!=") {
        Term::NotIn(key.trim().into(), vec![value.trim().into()])
    } else if let Some((key, value)) = term.split_once('=') {
        Term::In(key.trim().into(), vec![value.trim_start_matches('=').trim().into()])
    } else if let Some(key) = term.strip_prefix('!') {
        Term::Missing(key.trim().into())
    } else {
        Term::Exists(term.into())
    }
}
