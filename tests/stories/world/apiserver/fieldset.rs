//! Sets of fields: who owns what.

use serde_json::{Map, Value};
use std::{collections::BTreeSet, fmt::Write as _};

/// One step into an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A field of a map or struct.
    Field(String),
    /// An element of a list map, by its keys (canonical JSON).
    Key(String),
    /// An element of a set, by its value (JSON).
    Item(String),
}

/// A field, from the root.
pub type Path = Vec<Step>;

/// A set of fields. An element of a list map is a member beside its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet(pub BTreeSet<Path>);

impl FieldSet {
    /// All fields of both.
    pub fn union(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).cloned().collect())
    }

    /// The fields that `other` does not have.
    pub fn minus(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).cloned().collect())
    }

    /// The fields of both.
    pub fn common(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }

    /// Whether a member is `path` or lies below it.
    pub fn reaches_below(&self, path: &Path) -> bool {
        self.0.range(path.clone()..).next().is_some_and(|found| found.starts_with(path))
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The form of `managedFields[].fieldsV1`.
    pub fn fields_v1(&self) -> Value {
        let mut root = Value::Object(Map::new());
        for path in &self.0 {
            let mut here = &mut root;
            for step in path {
                let name = match step {
                    Step::Field(name) => format!("f:{name}"),
                    Step::Key(keys) => format!("k:{keys}"),
                    Step::Item(value) => format!("v:{value}"),
                };
                here = here.as_object_mut().unwrap().entry(name).or_insert_with(|| Value::Object(Map::new()));
            }
            if matches!(path.last(), Some(Step::Key(_))) {
                here.as_object_mut().unwrap().insert(".".into(), Value::Object(Map::new()));
            }
        }
        root
    }
}

/// A path as conflicts name it: `.spec.containers[name="a"].image`.
pub fn render(path: &Path) -> String {
    path.iter().fold(String::new(), |mut text, step| {
        let _ = match step {
            Step::Field(name) => write!(text, ".{name}"),
            Step::Item(value) => write!(text, "[={value}]"),
            Step::Key(keys) => {
                let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                let keys: Vec<_> = keys.iter().map(|(k, v)| format!("{k}={v}")).collect();
                write!(text, "[{}]", keys.join(","))
            }
        };
        text
    })
}
