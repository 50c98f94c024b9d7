//! Ownership of fields: who set what, and what each write does to it.

use super::{
    fieldset::{FieldSet, render},
    kind::Kind,
    shape::{Place, leaves},
    status::Failure,
};
use serde_json::{Value, json};

/// One entry of `managedFields`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Field manager.
    pub manager: String,
    /// Whether it applies (else it updates).
    pub applies: bool,
    /// `status` or empty.
    pub subresource: String,
    /// When its set last changed.
    pub time: String,
    /// What it owns.
    pub fields: FieldSet,
}

impl Owner {
    /// An entry that owns nothing yet.
    pub fn new(manager: &str, applies: bool, subresource: &str) -> Self {
        Self {
            manager: manager.into(),
            applies,
            subresource: subresource.into(),
            time: String::new(),
            fields: FieldSet::default(),
        }
    }

    fn is(&self, other: &Self) -> bool {
        self.manager == other.manager && self.applies == other.applies && self.subresource == other.subresource
    }
}

/// All owners of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners(pub Vec<Owner>);

impl Owners {
    /// What this owner has now.
    pub fn fields_of(&self, who: &Owner) -> FieldSet {
        self.0.iter().find(|owner| owner.is(who)).map(|owner| owner.fields.clone()).unwrap_or_default()
    }

    /// What everybody else has.
    pub fn fields_of_others(&self, who: &Owner) -> FieldSet {
        self.0.iter().filter(|owner| !owner.is(who)).fold(FieldSet::default(), |all, owner| all.union(&owner.fields))
    }

    /// Who else owns one of these fields, with the field.
    pub fn conflicts(&self, who: &Owner, changed: &FieldSet) -> Vec<(String, String)> {
        let others = self.0.iter().filter(|owner| !owner.is(who));
        others
            .flat_map(|owner| {
                owner.fields.common(changed).0.into_iter().map(|path| (owner.manager.clone(), render(&path)))
            })
            .collect()
    }

    /// Gives `who` exactly `fields`, takes `taken` from everybody else, and drops whoever owns nothing.
    pub fn assign(&mut self, who: &Owner, fields: FieldSet, taken: &FieldSet, now: &str) {
        for owner in self.0.iter_mut().filter(|owner| !owner.is(who)) {
            owner.fields = owner.fields.minus(taken);
        }
        match self.0.iter_mut().find(|owner| owner.is(who)) {
            Some(owner) if owner.fields == fields => {}
            Some(owner) => (owner.fields, owner.time) = (fields, now.into()),
            None => self.0.push(Owner { fields, time: now.into(), ..who.clone() }),
        }
        self.0.retain(|owner| !owner.fields.is_empty());
    }

    /// The form of `metadata.managedFields`.
    pub fn managed_fields(&self, kind: &Kind) -> Value {
        let entry = |owner: &Owner| {
            let operation = if owner.applies { "Apply" } else { "Update" };
            let mut entry = json!({
                "manager": owner.manager, "operation": operation, "apiVersion": kind.api_version(), "time": owner.time,
                "fieldsType": "FieldsV1", "fieldsV1": owner.fields.fields_v1(),
            });
            if !owner.subresource.is_empty() {
                entry["subresource"] = Value::from(owner.subresource.clone());
            }
            entry
        };
        self.0.iter().map(entry).collect()
    }
}

/// What differs between two states of an object.
#[derive(Clone, Debug, Default)]
pub struct Difference {
    /// Fields that are new or have another value.
    pub set: FieldSet,
    /// Fields that are gone.
    pub gone: FieldSet,
}

/// Compares two states without what the server itself writes.
pub fn difference(kind: &Kind, before: &Value, after: &Value) -> Difference {
    let (before, after) = (unowned_stripped(before), unowned_stripped(after));
    let place = Place::root(kind);
    let (old, new) = (leaves(&place, &before), leaves(&place, &after));
    let set = new.iter().filter(|(path, value)| old.get(*path) != Some(value)).map(|(path, _)| path.clone()).collect();
    let gone = old.keys().filter(|path| !new.contains_key(*path)).cloned().collect();
    Difference { set: FieldSet(set), gone: FieldSet(gone) }
}

/// Ownership after a write that is not an apply: what it changed is its own.
pub fn after_update(owners: &Owners, who: &Owner, difference: &Difference, now: &str) -> Owners {
    let mut owners = owners.clone();
    let fields = owners.fields_of(who).minus(&difference.gone).union(&difference.set);
    owners.assign(who, fields, &difference.set.union(&difference.gone), now);
    owners
}

/// Ownership after an apply, unless it takes what others own without force.
pub fn after_apply(
    owners: &Owners,
    who: &Owner,
    fields: FieldSet,
    difference: &Difference,
    force: bool,
    now: &str,
) -> Result<Owners, Failure> {
    let conflicts = owners.conflicts(who, &difference.set);
    if !force && !conflicts.is_empty() {
        return Err(Failure::apply_conflict(&conflicts));
    }
    let mut owners = owners.clone();
    owners.assign(who, fields, &difference.set.union(&difference.gone), now);
    Ok(owners)
}

/// An object without the fields that nobody owns.
pub fn unowned_stripped(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("apiVersion");
        fields.remove("kind");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for name in [
            "name",
            "generateName",
            "namespace",
            "uid",
            "resourceVersion",
            "generation",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "managedFields",
            "selfLink",
        ] {
            metadata.remove(name);
        }
        if metadata.is_empty() {
            object.as_object_mut().unwrap().remove("metadata");
        }
    }
    object
}
