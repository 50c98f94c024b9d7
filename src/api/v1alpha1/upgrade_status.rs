//! What people see of a staged upgrade, and what the next process goes on from.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What people see of a staged upgrade. `record` is what the next process goes on from.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RollingUpgradeStatus {
    /// Generation of the spec that this status speaks of; -1: not looked at yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Conditions by type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The step that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Number of the attempt: one more when a corrected script starts over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i32>,
    /// The endpoint that users reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online: Option<String>,
    /// Endpoints by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub endpoints: Vec<EndpointStatus>,
    /// How long production has been read-only, or was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<ReadOnlyStatus>,
    /// The databases that are copied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub databases: Vec<CopyStatus>,
    /// What people approved, by whom and when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["step".into()]))]
    pub approvals: Vec<ApprovalStatus>,
    /// Steps of this attempt in order, with the time of each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepStatus>,
    /// What cannot be seen again. Its own field manager writes it, by compare-and-swap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("type" = "object", "x-kubernetes-preserve-unknown-fields" = true))]
    pub record: Option<BTreeMap<String, serde_json::Value>>,
}

/// An endpoint's line.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EndpointStatus {
    /// Name of its Service, with the namespace before it where that is another one.
    pub name: String,
    /// Online, Standby (the front Service names it as the one to go to when this region is lost) or Offline.
    pub traffic: String,
    /// Pods of it that are ready, of all: `2/2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,
}

/// How long production has been read-only.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ReadOnlyStatus {
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// When writers had somewhere to write again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// Seconds so far, or altogether.
    pub seconds: i32,
    /// Milliseconds of each part: drain, synchronize, terminate, script, verify, switch.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, i64>,
}

/// A database's line.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CopyStatus {
    /// Its name.
    pub name: String,
    /// Seeding, Synchronizing, Synchronized, Proven (the barrier was found on the promoted copy), Damaged (the attempt was
    /// given up after it was cut off: it is kept to be looked at), Discarded (users went back after the switch: what they wrote
    /// there is kept) or Unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Seeding: bytes sent, of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seeded: Option<String>,
    /// KiB of log that the stage has not received yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_queue: Option<i64>,
    /// KiB of log that it has not redone yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redo_queue: Option<i64>,
}

/// An approval's line.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalStatus {
    /// What was approved.
    pub step: String,
    /// The field manager that wrote it, such as `kubectl-patch` or `argocd-controller`: who a person is only the API server's audit
    /// log knows.
    pub by: String,
    /// When it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
}

/// A step's line.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StepStatus {
    /// Its name.
    pub name: String,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Time>,
    /// Milliseconds that it took; absent while it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took: Option<i64>,
    /// What came of it, where that is not its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}
