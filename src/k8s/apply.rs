//! Server-side apply of the objects of a group. At rest nothing is written: an object carries the hash of what was
//! applied last, and is compared with what is wanted before anything is sent.

use super::{Error, Kube, manager, sets};
use crate::model::name::hash;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
};
use serde_json::Value;

/// Annotation with the hash of what was applied.
const APPLIED: &str = "quorate.dev/applied";

/// What an apply came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The live object is what is wanted.
    Unchanged,
    /// It was written.
    Written,
}

impl Kube {
    pub(super) fn api(&self, object: &Value) -> Result<(Api<DynamicObject>, String, String), Error> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_string();
        let (version, kind, name, namespace) =
            (text("/apiVersion"), text("/kind"), text("/metadata/name"), text("/metadata/namespace"));
        let (group, version) = version.split_once('/').unwrap_or(("", version.as_str()));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
        let what = format!("{kind} {namespace}/{name}");
        Ok((Api::namespaced_with(self.client(), &namespace, &resource), name, what))
    }

    /// Applies an object of ours. An object of that name that is not ours is left alone.
    pub async fn apply(&self, wanted: &Value) -> Result<Outcome, Error> {
        let (api, name, what) = self.api(wanted)?;
        let mut stamped = stamp(wanted);
        let live = self.look(&what, api.get_opt(&name)).await?;
        if let Some(live) = live {
            let live = serde_json::to_value(&live).map_err(|error| Error::Retry(error.to_string()))?;
            ours(wanted, &live, &what)?;
            if wanted.get("kind").and_then(Value::as_str) == Some("StatefulSet") {
                let fitted = sets::fitted(wanted, &live);
                if contains(&live, &stamp(&sets::with_live_prepare_image(&fitted, &live))) {
                    return Ok(Outcome::Unchanged);
                }
                stamped = stamp(&fitted);
            }
            if contains(&live, &stamped) {
                return Ok(Outcome::Unchanged);
            }
        }
        let params = PatchParams::apply(manager::OBJECTS).force().validation_strict();
        self.write(&what, api.patch(&name, &params, &Patch::Apply(&stamped))).await?;
        Ok(Outcome::Written)
    }

    /// Applies some fields of an object that exists, under a manager of their own.
    pub async fn apply_fields(&self, fields: &Value, manager: &str) -> Result<Outcome, Error> {
        let (api, name, what) = self.api(fields)?;
        let live = self.look(&what, api.get_opt(&name)).await?;
        let Some(live) = live else { return Err(Error::Retry(format!("{what} does not exist yet"))) };
        let live = serde_json::to_value(&live).map_err(|error| Error::Retry(error.to_string()))?;
        if contains(&live, fields) {
            return Ok(Outcome::Unchanged);
        }
        let params = PatchParams::apply(manager).force().validation_strict();
        self.write(&what, api.patch(&name, &params, &Patch::Apply(fields))).await?;
        Ok(Outcome::Written)
    }

    /// Creates an object that is made once, such as a generated secret; returns the one that is there.
    pub async fn keep(&self, made: &Value) -> Result<Value, Error> {
        let (api, name, what) = self.api(made)?;
        if let Some(live) = self.look(&what, api.get_opt(&name)).await? {
            let live = serde_json::to_value(&live).map_err(|error| Error::Retry(error.to_string()))?;
            ours(made, &live, &what)?;
            return Ok(live);
        }
        let object: DynamicObject =
            serde_json::from_value(made.clone()).map_err(|error| Error::Retry(error.to_string()))?;
        let created = self
            .write(
                &what,
                api.create(
                    &kube::api::PostParams { field_manager: Some(manager::OBJECTS.into()), ..Default::default() },
                    &object,
                ),
            )
            .await?;
        serde_json::to_value(&created).map_err(|error| Error::Retry(error.to_string()))
    }
}

/// Refuses objects of others. One whose owner is an older life of the group is on its way out.
pub(super) fn ours(wanted: &Value, live: &Value, what: &str) -> Result<(), Error> {
    let text = |object: &Value, pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_string);
    let group = "/metadata/labels/quorate.dev~1group";
    let marked = text(live, "/metadata/labels/app.kubernetes.io~1managed-by").as_deref() == Some("quorate");
    if !marked || text(live, group) != text(wanted, group) {
        return Err(Error::NameTaken(what.into()));
    }
    let owner = "/metadata/ownerReferences/0/uid";
    let (old, new) = (text(live, owner), text(wanted, owner));
    if old.is_some() && new.is_some() && old != new {
        return Err(Error::Retry(format!("{what} belongs to a deleted group of the same name and is on its way out")));
    }
    Ok(())
}

/// The object with the hash of itself.
fn stamp(wanted: &Value) -> Value {
    let mut stamped = wanted.clone();
    let hash = hash(&wanted.to_string());
    if let Some(metadata) = stamped.get_mut("metadata").and_then(Value::as_object_mut) {
        let annotations = metadata.entry("annotations").or_insert_with(|| Value::Object(serde_json::Map::new()));
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.insert(APPLIED.into(), Value::String(hash));
        }
    }
    stamped
}

/// Whether a live object has everything that is wanted. Lists of named things are compared by name: the server adds
/// defaults inside them.
pub(super) fn contains(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted.iter().all(|(key, wanted)| {
            if key == "stringData" {
                return true;
            }
            live.get(key).is_some_and(|live| contains(live, wanted)) || is_empty(wanted)
        }),
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| contains(live, wanted))
        }
        (live, wanted) => live == wanted || quantity(live) == quantity(wanted) && quantity(wanted).is_some(),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        other => other.is_null(),
    }
}

/// Quantities that are written differently and mean the same: `4096Mi` and `4Gi`.
fn quantity(value: &Value) -> Option<f64> {
    crate::model::quantity::parse(value.as_str()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_of_the_server_are_no_difference_and_a_lost_field_is() {
        let wanted = json!({ "spec": { "ports": [{ "name": "sql", "port": 1433 }], "selector": { "a": "b" } } });
        let live = json!({ "spec": { "ports": [{ "name": "sql", "port": 1433, "protocol": "TCP" }], "selector": { "a": "b" }, "clusterIP": "10.0.0.1" }, "status": {} });
        assert!(contains(&live, &wanted));
        assert!(!contains(&json!({ "spec": { "ports": [], "selector": { "a": "b" } } }), &wanted));
        assert!(!contains(
            &json!({ "spec": { "ports": [{ "name": "sql", "port": 1434 }], "selector": { "a": "b" } } }),
            &wanted
        ));
    }

    #[test]
    fn a_field_given_up_changes_the_stamp() {
        let with = json!({ "metadata": { "annotations": { "x": "y" } } });
        let without = json!({ "metadata": {} });
        assert_ne!(
            stamp(&with)["metadata"]["annotations"][APPLIED],
            stamp(&without)["metadata"]["annotations"][APPLIED]
        );
    }

    #[test]
    fn quantities_are_compared_by_what_they_mean() {
        assert!(contains(&json!("4Gi"), &json!("4096Mi")));
        assert!(!contains(&json!("4Gi"), &json!("5Gi")));
    }
}
