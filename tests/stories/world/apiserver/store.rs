//! The objects, their revisions and the log of changes that watches read.

use super::{
    fieldset::render,
    kind::Kind,
    owners::{Owners, difference},
    request::Request,
    status::Failure,
};
use crate::world::clock::Clock;
use serde_json::Value;
use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

/// Where an object is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// `statefulsets.apps`
    pub resource: String,
    /// Empty for cluster-wide kinds.
    pub namespace: String,
    /// Object name.
    pub name: String,
}

/// One object and who owns its fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// As a reader gets it; shared, since everybody looks and few change it.
    pub object: Arc<Value>,
    /// Its owners.
    pub owners: Owners,
}

/// What a change was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// A new object.
    Added,
    /// Another state.
    Modified,
    /// Gone.
    Deleted,
}

/// One change.
#[derive(Clone, Debug)]
pub struct Change {
    /// The revision it made.
    pub revision: u64,
    /// What it was.
    pub sort: Sort,
    /// Which object.
    pub key: Key,
    /// The object after it (for a deletion: its last state, at this revision).
    pub object: Arc<Value>,
    /// The object before it.
    pub before: Option<Arc<Value>>,
}

/// What a write came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// HTTP status.
    pub code: u16,
    /// Answer.
    pub body: Arc<Value>,
    /// What it changed, for the history; none for a write that changed nothing.
    pub diff: Option<String>,
}

/// The whole state of the API server.
#[derive(Debug)]
pub struct Store {
    pub(super) clock: Clock,
    pub(super) kinds: Vec<Arc<Kind>>,
    pub(super) objects: BTreeMap<Key, Stored>,
    pub(super) revision: u64,
    pub(super) log: Vec<Change>,
    /// Changes up to this revision are forgotten.
    pub(super) compacted: u64,
    serial: u64,
}

impl Store {
    /// An empty store.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            kinds: Kind::builtins().into_iter().map(Arc::new).collect(),
            objects: BTreeMap::new(),
            revision: 100,
            log: Vec::new(),
            compacted: 100,
            serial: 0,
        }
    }

    /// Serves a custom resource.
    pub fn install(&mut self, crd: &Value) {
        let new = Kind::of_crd(crd);
        self.kinds.retain(|kind| !new.iter().any(|n| n.full_name() == kind.full_name() && n.version == kind.version));
        self.kinds.extend(new.into_iter().map(Arc::new));
    }

    /// The kind that a request is about.
    pub fn kind_of(&self, request: &Request) -> Result<Arc<Kind>, Failure> {
        self.kinds
            .iter()
            .find(|kind| {
                kind.group == request.group && kind.version == request.version && kind.plural == request.plural
            })
            .cloned()
            .ok_or_else(Failure::no_such_resource)
    }

    /// The kind with this name in paths.
    pub fn kind_named(&self, plural: &str) -> Arc<Kind> {
        let found = self.kinds.iter().find(|kind| kind.plural == plural);
        found.unwrap_or_else(|| panic!("no kind is called {plural}")).clone()
    }

    /// Where the object of a request is kept.
    pub fn key(&self, kind: &Kind, request: &Request) -> Key {
        Key {
            resource: kind.full_name(),
            namespace: if kind.namespaced { request.namespace.clone() } else { String::new() },
            name: request.name.clone(),
        }
    }

    /// A number that was not given before.
    pub fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// A UID that was not given before.
    pub fn next_uid(&mut self) -> String {
        let serial = self.next_serial();
        format!("00000000-0000-4000-8000-{serial:012x}")
    }

    /// Objects of one kind, in the order of their names.
    pub fn all<'s>(&'s self, kind: &Kind, namespace: &str) -> impl Iterator<Item = &'s Arc<Value>> + use<'s> {
        let (resource, namespace) = (kind.full_name(), namespace.to_owned());
        self.objects
            .iter()
            .filter(move |(key, _)| key.resource == resource && (namespace.is_empty() || key.namespace == namespace))
            .map(|(_, stored)| &stored.object)
    }

    /// Stores a new state (or removes the object) as the next revision.
    pub fn commit(&mut self, kind: &Kind, key: &Key, sort: Sort, mut stored: Stored) -> Outcome {
        self.revision += 1;
        let metadata = Arc::make_mut(&mut stored.object)["metadata"].as_object_mut().unwrap();
        metadata.insert("resourceVersion".into(), self.revision.to_string().into());
        metadata.remove("managedFields");
        if !stored.owners.0.is_empty() {
            metadata.insert("managedFields".into(), stored.owners.managed_fields(kind));
        }
        let before = self.objects.get(key).map(|old| old.object.clone());
        let object = stored.object.clone();
        let diff = match sort {
            Sort::Deleted => "gone".to_owned(),
            _ => describe(kind, before.as_deref().unwrap_or(&Value::Null), &object),
        };
        self.log.push(Change { revision: self.revision, sort, key: key.clone(), object: object.clone(), before });
        match sort {
            Sort::Deleted => self.objects.remove(key),
            _ => self.objects.insert(key.clone(), stored),
        };
        Outcome { code: if sort == Sort::Added { 201 } else { 200 }, body: object, diff: Some(diff) }
    }

    /// Forgets the log, as a compaction does: watches that are not up to date get 410.
    pub fn compact(&mut self) {
        self.compacted = self.revision;
    }
}

/// A change in one short line.
fn describe(kind: &Kind, before: &Value, after: &Value) -> String {
    const SHOWN: usize = 6;
    let difference = difference(kind, before, after);
    let secret = kind.kind == "Secret";
    let mut text = String::new();
    for path in difference.set.0.iter().take(SHOWN) {
        let _ = match value_at(after, path) {
            Some(value) if !secret => write!(text, "{}={} ", render(path), shorten(value)),
            _ => write!(text, "+{} ", render(path)),
        };
    }
    for path in difference.gone.0.iter().take(SHOWN) {
        let _ = write!(text, "-{} ", render(path));
    }
    let all = difference.set.0.len() + difference.gone.0.len();
    let shown = difference.set.0.len().min(SHOWN) + difference.gone.0.len().min(SHOWN);
    if all > shown {
        let _ = write!(text, "and {} more", all - shown);
    }
    text.trim_end().to_owned()
}

fn value_at<'v>(object: &'v Value, path: &super::fieldset::Path) -> Option<&'v Value> {
    use super::fieldset::Step;
    path.iter().try_fold(object, |value, step| match step {
        Step::Field(name) => value.get(name),
        Step::Item(_) => None,
        Step::Key(keys) => {
            let keys: Value = serde_json::from_str(keys).ok()?;
            let fits =
                |item: &&Value| keys.as_object().is_some_and(|k| k.iter().all(|(name, v)| item.get(name) == Some(v)));
            value.as_array()?.iter().find(fits)
        }
    })
}

fn shorten(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() > 60 { format!("{}…", text.chars().take(59).collect::<String>()) } else { text }
}
