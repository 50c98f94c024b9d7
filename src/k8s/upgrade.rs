//! What a staged upgrade reads and writes: itself, endpoints, the Job of its script.

use super::{Error, Kube, manager, report::is_written};
use crate::api::RollingUpgrade;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ConfigMap, Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::{Api, ResourceExt, api::ListParams};
use serde_json::Value;
use std::collections::BTreeMap;

/// Label of EndpointSlices with the name of their Service.
const SERVICE: &str = "kubernetes.io/service-name";
/// Label of pods with the name of their Job.
const JOB: &str = "batch.kubernetes.io/job-name";

/// A Service as an upgrade sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceView {
    /// What it selects.
    pub selector: BTreeMap<String, String>,
    /// Its ports, as an apply may say them.
    pub ports: Vec<Value>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its pods, and whether each is ready.
    pub pods: BTreeMap<String, bool>,
}

/// How a Job stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobView {
    /// There is none, or it is on its way out.
    Absent,
    /// It has not ended.
    Running,
    /// It ended well.
    Complete,
    /// It did not: the last words of its pod, or what the Job says.
    Failed(String),
}

impl Kube {
    /// An upgrade as it is now. `None`: deleted.
    pub async fn rolling_upgrade(&self, namespace: &str, name: &str) -> Result<Option<RollingUpgrade>, Error> {
        let api: Api<RollingUpgrade> = Api::namespaced(self.client(), namespace);
        self.look(&format!("RollingUpgrade {namespace}/{name}"), api.get_opt(name)).await
    }

    /// Writes the record of an upgrade by compare-and-swap. Returns the new object.
    pub async fn upgrade_record(&self, read: &RollingUpgrade, record: &Value) -> Result<RollingUpgrade, Error> {
        let version = read.resource_version();
        self.apply_status(read, manager::UPGRADE, version, serde_json::json!({ "record": record })).await
    }

    /// Writes the status of an upgrade, its record apart, unless the object has it already. Returns whether it was written.
    pub async fn upgrade_status(&self, live: &RollingUpgrade, status: &Value) -> Result<bool, Error> {
        let now = serde_json::to_value(&live.status).unwrap_or_default();
        if is_written(now, status, &["record"]) {
            return Ok(false);
        }
        self.apply_status(live, manager::STATUS, None, status.clone()).await.map(|_| true)
    }

    /// Services of a namespace by these names, with their pods; those that do not exist are left out.
    pub async fn services_with_pods(
        &self,
        namespace: &str,
        names: &[String],
    ) -> Result<BTreeMap<String, ServiceView>, Error> {
        let api: Api<Service> = Api::namespaced(self.client(), namespace);
        let mut services = BTreeMap::new();
        for name in names {
            let found = self.look(&format!("Service {namespace}/{name}"), api.get_opt(name)).await?;
            services.extend(found.map(|service| (name.clone(), view(&service))));
        }
        let slices: Api<EndpointSlice> = Api::namespaced(self.client(), namespace);
        let params = ListParams::default().labels(&format!("{SERVICE} in ({})", names.join(",")));
        for slice in self.look(&format!("EndpointSlices in {namespace}"), slices.list(&params)).await?.items {
            let service = slice.labels().get(SERVICE).and_then(|name| services.get_mut(name));
            let Some(service) = service else { continue };
            for endpoint in slice.endpoints {
                let Some(pod) = endpoint.target_ref.and_then(|target| target.name) else { continue };
                let ready = endpoint.conditions.and_then(|conditions| conditions.ready) != Some(false);
                *service.pods.entry(pod).or_insert(false) |= ready;
            }
        }
        Ok(services)
    }

    /// Files of a ConfigMap by name. `None`: it does not exist.
    pub async fn files(&self, namespace: &str, name: &str) -> Result<Option<BTreeMap<String, Vec<u8>>>, Error> {
        let api: Api<ConfigMap> = Api::namespaced(self.client(), namespace);
        let map = self.look(&format!("ConfigMap {namespace}/{name}"), api.get_opt(name)).await?;
        Ok(map.map(|map| {
            let texts = map.data.unwrap_or_default().into_iter().map(|(name, text)| (name, text.into_bytes()));
            texts.chain(map.binary_data.unwrap_or_default().into_iter().map(|(name, bytes)| (name, bytes.0))).collect()
        }))
    }

    /// How a Job of an upgrade stands. One that belongs to another life of the upgrade counts as none.
    pub async fn job(&self, namespace: &str, name: &str, owner: &str) -> Result<JobView, Error> {
        let api: Api<Job> = Api::namespaced(self.client(), namespace);
        let found = self.look(&format!("Job {namespace}/{name}"), api.get_opt(name)).await?;
        let ours = |job: &Job| {
            job.metadata.deletion_timestamp.is_none()
                && job.owner_references().iter().any(|reference| reference.uid == owner)
        };
        let Some(job) = found.filter(ours) else { return Ok(JobView::Absent) };
        let conditions = job.status.and_then(|status| status.conditions).unwrap_or_default();
        let is = |kind: &str| conditions.iter().find(|condition| condition.type_ == kind && condition.status == "True");
        if is("Complete").is_some() {
            return Ok(JobView::Complete);
        }
        let Some(failed) = is("Failed") else { return Ok(JobView::Running) };
        let words = self.last_words(namespace, name).await?;
        Ok(JobView::Failed(words.unwrap_or_else(|| failed.message.clone().unwrap_or_default())))
    }

    /// What the pod of a Job said last.
    async fn last_words(&self, namespace: &str, job: &str) -> Result<Option<String>, Error> {
        let api: Api<Pod> = Api::namespaced(self.client(), namespace);
        let params = ListParams::default().labels(&format!("{JOB}={job}"));
        let pods = self.look(&format!("pods of Job {namespace}/{job}"), api.list(&params)).await?.items;
        let ends = pods.into_iter().filter_map(|pod| pod.status?.container_statuses).flatten();
        let words = ends.filter_map(|status| status.state?.terminated?.message);
        Ok(words.map(|words| words.trim().to_string()).find(|words| !words.is_empty()))
    }
}

fn view(service: &Service) -> ServiceView {
    let spec = service.spec.clone().unwrap_or_default();
    let ports = spec.ports.unwrap_or_default().into_iter().map(|port| {
        // A node's port is the server's to give.
        let port = k8s_openapi::api::core::v1::ServicePort { node_port: None, ..port };
        serde_json::to_value(port).unwrap_or_default()
    });
    ServiceView {
        selector: spec.selector.unwrap_or_default(),
        ports: ports.collect(),
        labels: service.metadata.labels.clone().unwrap_or_default(),
        annotations: service.metadata.annotations.clone().unwrap_or_default(),
        pods: BTreeMap::new(),
    }
}
