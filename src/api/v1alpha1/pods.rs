//! What replicas are made of: volumes, resources, pod fields, Services.

use k8s_openapi::{
    api::core::v1::{Affinity, LocalObjectReference, Toleration, TopologySpreadConstraint},
    apimachinery::pkg::api::resource::Quantity,
};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Replicas of one mode that hold data.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DataReplicas {
    /// How many.
    #[x_kube(validation = Rule::new("self >= 0").message("replicas must not be negative; set it to 0 or more"))]
    pub replicas: i32,
    /// Volumes of these replicas, in place of spec.storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// Resources of these replicas, in place of spec.resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Pod fields of these replicas, in place of spec.pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodTemplate>,
}

/// The configuration-only replica.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ConfigurationOnlyReplicas {
    /// 0 or 1.
    #[x_kube(validation = Rule::new("self >= 0").message("replicas must not be negative; set it to 0 or 1"))]
    pub replicas: i32,
    /// Its edition (`MSSQL_PID`). Express unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edition: Option<ConfigurationOnlyEdition>,
    /// Its volumes, in place of spec.storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// Its resources, in place of spec.resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Its pod fields, in place of spec.pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodTemplate>,
}

/// Edition of a configuration-only replica: Express is enough.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[allow(missing_docs, reason = "the words are SQL Server's own")]
pub enum ConfigurationOnlyEdition {
    #[default]
    Express,
    Developer,
    Evaluation,
    Standard,
    Enterprise,
    EnterpriseCore,
    EnterpriseDeveloper,
    StandardDeveloper,
}

impl ConfigurationOnlyEdition {
    /// The word as SQL Server spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Express => "Express",
            Self::Developer => "Developer",
            Self::Evaluation => "Evaluation",
            Self::Standard => "Standard",
            Self::Enterprise => "Enterprise",
            Self::EnterpriseCore => "EnterpriseCore",
            Self::EnterpriseDeveloper => "EnterpriseDeveloper",
            Self::StandardDeveloper => "StandardDeveloper",
        }
    }
}

/// Volumes of a replica.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[x_kube(validation = Rule::new("isQuantity(self.size) && quantity(self.size).isGreaterThan(quantity('0'))").message("storage.size must be a quantity above 0, such as 20Gi; correct it").field_path(".size"))]
#[x_kube(validation = Rule::new("!isQuantity(self.size) || !isQuantity(oldSelf.size) || quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0").message("storage.size can only grow: volumes do not shrink; set it back to what it was or more").field_path(".size"))]
#[x_kube(validation = Rule::new("has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)").message("storage.storageClassName is immutable: volumes exist; set it back, or add replicas of another group and move the databases"))]
#[x_kube(validation = Rule::new("has(self.log) == has(oldSelf.log)").message("storage.log cannot be added or removed later: log files exist; set it back to what it was"))]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// Size of the data volume; it only grows.
    #[schemars(length(min = 1, max = 32))]
    pub size: String,
    /// Storage class; immutable. The cluster's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// A volume of its own for transaction logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogStorage>,
    /// Whether volumes, and the secrets that belong to them, go with the object. Retain unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
}

/// The volume for transaction logs.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[x_kube(validation = Rule::new("isQuantity(self.size) && quantity(self.size).isGreaterThan(quantity('0'))").message("storage.log.size must be a quantity above 0, such as 10Gi; correct it").field_path(".size"))]
#[x_kube(validation = Rule::new("!isQuantity(self.size) || !isQuantity(oldSelf.size) || quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0").message("storage.log.size can only grow: volumes do not shrink; set it back to what it was or more").field_path(".size"))]
#[serde(rename_all = "camelCase")]
pub struct LogStorage {
    /// Its size; it only grows.
    #[schemars(length(min = 1, max = 32))]
    pub size: String,
}

/// What happens to volumes when the object is deleted.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[allow(missing_docs, reason = "the words explain themselves")]
pub enum DeletionPolicy {
    #[default]
    Retain,
    Delete,
}

/// Resources of the SQL Server container.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new("has(self.limits) && 'memory' in self.limits && isQuantity(string(self.limits['memory'])) && quantity(string(self.limits['memory'])).compareTo(quantity('2Gi')) >= 0").message("resources.limits.memory must be at least 2Gi: SQL Server does not start with less and must know its limit; set it"))]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What the scheduler sets aside.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub requests: BTreeMap<String, Quantity>,
    /// What the container may use; memory is required.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub limits: BTreeMap<String, Quantity>,
}

/// Pod fields that are passed through.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PodTemplate {
    /// More labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    #[x_kube(validation = Rule::new("self.all(key, !key.startsWith('app.kubernetes.io/') && !key.startsWith('quorate.dev/'))").message("pod.labels must not begin with app.kubernetes.io/ or quorate.dev/: they are set by the operator; remove them"))]
    pub labels: BTreeMap<String, String>,
    /// More annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, String>,
    /// Labels a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that are tolerated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub tolerations: Vec<Toleration>,
    /// Affinity; it replaces the one that keeps replicas on different nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// How pods are spread over zones and the like.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Priority class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub priority_class_name: Option<String>,
    /// Secrets for pulling images.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Two replicas of the group never share a node: refused, not only discouraged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_spread: Option<bool>,
}

/// Services for clients.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Services {
    /// `<name>-rw`: the primary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_write: Option<ServiceSettings>,
    /// `<name>-ro`: synchronized, readable secondaries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<ServiceSettings>,
}

/// Settings of one Service.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSettings {
    /// Type of the Service. ClusterIP unless said.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<ServiceType>,
    /// Annotations of the Service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, String>,
}

/// Type of a Service.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[allow(missing_docs, reason = "the words are Kubernetes' own")]
pub enum ServiceType {
    #[default]
    ClusterIP,
    NodePort,
    LoadBalancer,
}
