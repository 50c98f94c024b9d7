//! Status, the record of elections, answers to `Failover` objects, events.

use super::{Error, Kube, apply::contains, manager};
use crate::api::{AvailabilityGroup, Failover};
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    core::NamespaceResourceScope,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;

impl Kube {
    /// Writes the record by compare-and-swap: refused when the object changed since it was read. Returns the new object.
    pub async fn record(&self, read: &AvailabilityGroup, record: &Value) -> Result<AvailabilityGroup, Error> {
        let version = read.resource_version();
        self.apply_status(read, manager::ELECTION, version, json!({ "election": record })).await
    }

    /// Applies fields of a status under a manager of their own; with a version as a compare-and-swap.
    pub(super) async fn apply_status<K>(
        &self,
        object: &K,
        manager: &str,
        version: Option<String>,
        status: Value,
    ) -> Result<K, Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let (api, name, what) = self.of(object);
        let mut patch = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": { "name": name },
            "status": status,
        });
        if let Some(metadata) = patch.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.extend(version.map(|version| ("resourceVersion".to_string(), Value::from(version))));
        }
        let params = PatchParams::apply(manager).force().validation_strict();
        self.write(&what, api.patch_status(&name, &params, &Patch::Apply(&patch))).await
    }

    /// Writes which upgrade a group takes part in, by compare-and-swap. Returns the new object. A merge, since a field that
    /// somebody else wrote, too, would outlive an apply without it.
    pub async fn upgrade(&self, read: &AvailabilityGroup, upgrade: &Value) -> Result<AvailabilityGroup, Error> {
        let (api, name, what) = self.of(read);
        let patch = json!({
            "metadata": { "resourceVersion": read.resource_version() },
            "status": { "upgrade": upgrade },
        });
        let params = PatchParams { field_manager: Some(manager::UPGRADE.into()), ..PatchParams::default() };
        self.write(&what, api.patch_status(&name, &params, &Patch::Merge(&patch))).await
    }

    /// Writes the status, what has a manager of its own apart, unless the object has it already. Returns whether it was written.
    pub async fn status(&self, live: &AvailabilityGroup, status: &Value) -> Result<bool, Error> {
        let now = serde_json::to_value(&live.status).unwrap_or_default();
        if is_written(now, status, &["election", "upgrade"]) {
            return Ok(false);
        }
        self.apply_status(live, manager::STATUS, None, status.clone()).await.map(|_| true)
    }

    fn of<K>(&self, object: &K) -> (Api<K>, String, String)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        let namespace = object.namespace().unwrap_or_default();
        let name = object.name_any();
        let what = format!("{} {namespace}/{name}", K::kind(&()));
        (Api::namespaced(self.client(), &namespace), name, what)
    }

    /// Writes the status of a `Failover` object.
    pub async fn answer(&self, namespace: &str, name: &str, status: &Value) -> Result<(), Error> {
        let api: Api<Failover> = Api::namespaced(self.client(), namespace);
        let patch = json!({
            "apiVersion": Failover::api_version(&()),
            "kind": Failover::kind(&()),
            "metadata": { "name": name },
            "status": status,
        });
        let params = PatchParams::apply(manager::STATUS).force().validation_strict();
        self.write(&format!("Failover {namespace}/{name}"), api.patch_status(name, &params, &Patch::Apply(&patch)))
            .await?;
        Ok(())
    }

    /// Tells people; best effort, a lost event changes nothing. `id` makes the name unique.
    pub async fn announce<K>(&self, about: &K, warning: bool, reason: &str, note: &str, id: &str) -> Result<(), Error>
    where
        K: Resource<DynamicType = ()>,
    {
        let namespace = about.namespace().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(self.client(), &namespace);
        let event = Event {
            metadata: ObjectMeta {
                name: Some(format!("{}.{id}", about.name_any())),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            action: Some(reason.into()),
            event_time: Some(MicroTime(Timestamp::now())),
            note: Some(note.chars().take(1_000).collect()),
            reason: Some(reason.into()),
            regarding: Some(ObjectReference { ..about.object_ref(&()) }),
            reporting_controller: Some("quorate.dev/operator".into()),
            reporting_instance: Some("quorate".into()),
            type_: Some(if warning { "Warning" } else { "Normal" }.into()),
            ..Event::default()
        };
        self.write(&format!("event {reason}"), api.create(&PostParams::default(), &event)).await?;
        Ok(())
    }
}

/// Whether a live status says all of `status` and, fields of other writers apart, nothing else.
pub(super) fn is_written(mut live: Value, status: &Value, of_others: &[&str]) -> bool {
    if let Some(map) = live.as_object_mut() {
        of_others.iter().for_each(|field| drop(map.remove(*field)));
    }
    contains(&live, status) && contains(status, &live)
}
