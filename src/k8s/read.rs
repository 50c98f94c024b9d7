//! Uncached reads.

use super::{Error, Kube};
use crate::api::{AvailabilityGroup, Failover};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams},
    core::GroupVersionKind,
};
use std::collections::BTreeMap;

impl Kube {
    /// A group as it is now. `None`: deleted.
    pub async fn group(&self, namespace: &str, name: &str) -> Result<Option<AvailabilityGroup>, Error> {
        let api: Api<AvailabilityGroup> = Api::namespaced(self.client(), namespace);
        self.look(&format!("AvailabilityGroup {namespace}/{name}"), api.get_opt(name)).await
    }

    /// `Failover` objects of a group that are not finished, the oldest first.
    pub async fn failovers(&self, namespace: &str, group: &str) -> Result<Vec<Failover>, Error> {
        let api: Api<Failover> = Api::namespaced(self.client(), namespace);
        let list = self.look(&format!("Failovers in {namespace}"), api.list(&ListParams::default())).await?;
        let mut open: Vec<_> = list
            .items
            .into_iter()
            .filter(|object| object.spec.availability_group == group && !is_finished(object))
            .collect();
        open.sort_by_key(|object| (object.creation_timestamp(), object.name_any()));
        Ok(open)
    }

    /// Whether a `RollingUpgrade` exists, and is the one with this UID.
    pub async fn has_upgrade(&self, namespace: &str, name: &str, uid: &str) -> Result<bool, Error> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("quorate.dev", "v1alpha1", "RollingUpgrade"));
        let api: Api<DynamicObject> = Api::namespaced_with(self.client(), namespace, &kind);
        let found = self.look(&format!("RollingUpgrade {namespace}/{name}"), api.get_metadata_opt(name)).await?;
        Ok(found.is_some_and(|found| found.uid().as_deref() == Some(uid)))
    }

    /// Data of a Secret. `None`: it does not exist.
    pub async fn secret(&self, namespace: &str, name: &str) -> Result<Option<BTreeMap<String, Vec<u8>>>, Error> {
        Ok(self.versioned_secret(namespace, name).await?.map(|(data, _)| data))
    }

    /// The same, with a text that is another one after each change: its UID and resourceVersion.
    pub async fn versioned_secret(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<(BTreeMap<String, Vec<u8>>, String)>, Error> {
        let api: Api<Secret> = Api::namespaced(self.client(), namespace);
        let secret = self.look(&format!("Secret {namespace}/{name}"), api.get_opt(name)).await?;
        Ok(secret.map(|secret| {
            let version =
                format!("{}/{}", secret.uid().unwrap_or_default(), secret.resource_version().unwrap_or_default());
            (secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect(), version)
        }))
    }

    /// Data of a ConfigMap; empty when it does not exist.
    pub async fn config_map(&self, namespace: &str, name: &str) -> Result<BTreeMap<String, String>, Error> {
        let api: Api<ConfigMap> = Api::namespaced(self.client(), namespace);
        let map = self.look(&format!("ConfigMap {namespace}/{name}"), api.get_opt(name)).await?;
        Ok(map.and_then(|map| map.data).unwrap_or_default())
    }

    /// Selector of a Service; empty when it has none or does not exist.
    pub async fn selector(&self, namespace: &str, name: &str) -> Result<BTreeMap<String, String>, Error> {
        let api: Api<Service> = Api::namespaced(self.client(), namespace);
        let service = self.look(&format!("Service {namespace}/{name}"), api.get_opt(name)).await?;
        Ok(service.and_then(|service| service.spec).and_then(|spec| spec.selector).unwrap_or_default())
    }
}

fn is_finished(object: &Failover) -> bool {
    let conditions = object.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Succeeded" && condition.status != "Unknown")
}
