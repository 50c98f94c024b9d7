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
};
use serde_json::{Value, json};

impl Kube {
    /// Writes the record by compare-and-swap: refused when the object changed since it was read. Returns the new object.
    pub async fn record(&self, read: &AvailabilityGroup, record: &Value) -> Result<AvailabilityGroup, Error> {
        let (api, name, what) = self.of(read);
        let patch = json!({
            "apiVersion": AvailabilityGroup::api_version(&()),
            "kind": AvailabilityGroup::kind(&()),
            "metadata": { "name": name, "resourceVersion": read.resource_version() },
            "status": { "election": record },
        });
        let params = PatchParams::apply(manager::ELECTION).force().validation_strict();
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
        if contains(&now, status) && contains(status, &without_others(now)) {
            return Ok(false);
        }
        let (api, name, what) = self.of(live);
        let patch = json!({
            "apiVersion": AvailabilityGroup::api_version(&()),
            "kind": AvailabilityGroup::kind(&()),
            "metadata": { "name": name },
            "status": status,
        });
        let params = PatchParams::apply(manager::STATUS).force().validation_strict();
        self.write(&what, api.patch_status(&name, &params, &Patch::Apply(&patch))).await?;
        Ok(true)
    }

    fn of(&self, group: &AvailabilityGroup) -> (Api<AvailabilityGroup>, String, String) {
        let namespace = group.namespace().unwrap_or_default();
        let name = group.name_any();
        let what = format!("AvailabilityGroup {namespace}/{name}");
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
    pub async fn announce(
        &self,
        about: &AvailabilityGroup,
        warning: bool,
        reason: &str,
        note: &str,
        id: &str,
    ) -> Result<(), Error> {
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

/// The fields of a status that this writer owns.
fn without_others(mut status: Value) -> Value {
    if let Some(map) = status.as_object_mut() {
        map.remove("election");
        map.remove("upgrade");
    }
    status
}
