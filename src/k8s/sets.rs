//! StatefulSets and their claims: what cannot change in place, what must not change by itself, what goes.

use super::{Error, Kube, apply::Outcome, manager};
use crate::model::quantity;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde_json::{Value, json};

const CLAIMS: &str = "/spec/volumeClaimTemplates";
const STORAGE: &str = "/spec/resources/requests/storage";
const PREPARE: &str = "/spec/template/spec/initContainers/0/image";

/// A StatefulSet as it can be applied over a live one: templates of claims keep their sizes, which Kubernetes does not
/// let change (the claims themselves grow, see [`Kube::grow`]).
pub(super) fn fitted(wanted: &Value, live: &Value) -> Value {
    let mut fitted = wanted.clone();
    let sizes = live.pointer(CLAIMS).and_then(Value::as_array).cloned().unwrap_or_default();
    let claims = fitted.pointer_mut(CLAIMS).and_then(Value::as_array_mut);
    for claim in claims.into_iter().flatten() {
        let name = claim.pointer("/metadata/name").cloned();
        let there = sizes.iter().find(|size| size.pointer("/metadata/name").cloned() == name);
        if let Some(size) = there.and_then(|there| there.pointer(STORAGE))
            && let Some(storage) = claim.pointer_mut(STORAGE)
        {
            storage.clone_from(size);
        }
    }
    fitted
}

/// The same with the init image that is live: a new image of the operator alone is no new template.
pub(super) fn with_live_prepare_image(wanted: &Value, live: &Value) -> Value {
    let mut kept = wanted.clone();
    if let Some(image) = live.pointer(PREPARE)
        && let Some(own) = kept.pointer_mut(PREPARE)
    {
        own.clone_from(image);
    }
    kept
}

impl Kube {
    /// Lets a claim grow to `size`. A claim that does not exist yet, or is large enough, is left alone. `Refused`: the
    /// storage class cannot expand volumes.
    pub async fn grow(&self, namespace: &str, claim: &str, size: &str) -> Result<Outcome, Error> {
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client(), namespace);
        let what = format!("PersistentVolumeClaim {namespace}/{claim}");
        let live = self.look(&what, api.get_opt(claim)).await?;
        let asked = live
            .and_then(|live| live.spec)
            .and_then(|spec| spec.resources)
            .and_then(|resources| resources.requests)
            .and_then(|requests| requests.get("storage").and_then(|size| quantity::parse(&size.0)));
        let small = asked.zip(quantity::parse(size)).is_some_and(|(asked, wanted)| asked < wanted);
        if !small {
            return Ok(Outcome::Unchanged);
        }
        let patch = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": { "name": claim, "namespace": namespace },
            "spec": { "resources": { "requests": { "storage": size } } },
        });
        let params = PatchParams::apply(manager::OBJECTS).force().validation_strict();
        self.write(&what, api.patch(claim, &params, &Patch::Apply(&patch))).await?;
        Ok(Outcome::Written)
    }

    /// Deletes an object of ours that is not wanted any more: exactly the one that was seen. Somebody else's stays.
    pub async fn remove(&self, unwanted: &Value) -> Result<Outcome, Error> {
        let (api, name, what) = self.api(unwanted)?;
        let Some(live) = self.look(&what, api.get_opt(&name)).await? else { return Ok(Outcome::Unchanged) };
        if live.metadata.deletion_timestamp.is_some() {
            return Ok(Outcome::Unchanged);
        }
        let value = serde_json::to_value(&live).map_err(|error| Error::Retry(error.to_string()))?;
        if super::apply::ours(unwanted, &value, &what).is_err() {
            return Ok(Outcome::Unchanged);
        }
        let preconditions = Preconditions { uid: live.metadata.uid, resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
        self.write(&what, api.delete(&name, &params)).await?;
        Ok(Outcome::Written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(size: &str, prepare: &str) -> Value {
        json!({ "spec": {
            "template": { "spec": { "initContainers": [{ "name": "prepare", "image": prepare }] } },
            "volumeClaimTemplates": [
                { "metadata": { "name": "data" }, "spec": { "resources": { "requests": { "storage": size } } } },
            ],
        } })
    }

    #[test]
    fn templates_of_claims_keep_their_size() {
        assert_eq!(fitted(&set("30Gi", "q:1"), &set("20Gi", "q:1")), set("20Gi", "q:1"));
    }

    #[test]
    fn another_image_of_the_operator_is_no_other_template() {
        assert_eq!(with_live_prepare_image(&set("20Gi", "q:2"), &set("20Gi", "q:1")), set("20Gi", "q:1"));
    }
}
