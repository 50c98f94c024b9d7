//! `Failover`: one role change, once.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One planned or forced change of the primary, once.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[allow(clippy::duplicated_attributes)]
#[kube(
    group = "quorate.dev",
    version = "v1alpha1",
    kind = "Failover",
    plural = "failovers",
    shortname = "agfo",
    category = "quorate",
    namespaced,
    status = "FailoverStatus",
    derive = "PartialEq",
    doc = "One planned or forced change of the primary of an availability group, once.",
    printcolumn(name = "Group", type_ = "string", json_path = ".spec.availabilityGroup"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.target"),
    printcolumn(name = "Succeeded", type_ = "string", json_path = ".status.conditions[?(@.type=='Succeeded')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Succeeded')].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new("self == oldSelf").message("spec is immutable: a request is served once; make another Failover object"))]
#[x_kube(validation = Rule::new("self.mode != 'Forced' || has(self.target)").message("spec.target is required with mode Forced: name the replica that shall become primary"))]
#[x_kube(validation = Rule::new("self.mode != 'Forced' || has(self.expectedEpoch)").message("spec.expectedEpoch is required with mode Forced: copy status.election.epoch of the group"))]
#[x_kube(validation = Rule::new("self.mode != 'Forced' || (has(self.acceptDataLoss) && self.acceptDataLoss == 'I accept data loss in ' + self.availabilityGroup)").message("spec.acceptDataLoss must be exactly 'I accept data loss in <spec.availabilityGroup>' with mode Forced: acknowledged commits may be lost; write the sentence if you accept it"))]
#[x_kube(validation = Rule::new("self.mode == 'Forced' || (!has(self.acceptDataLoss) && !has(self.expectedEpoch) && !has(self.resumeDatabases))").message("spec.acceptDataLoss, spec.expectedEpoch and spec.resumeDatabases belong to mode Forced; remove them, a planned failover loses nothing"))]
#[serde(rename_all = "camelCase")]
pub struct FailoverSpec {
    /// The group, in the same namespace.
    #[schemars(length(min = 1, max = 40))]
    pub availability_group: String,
    /// Planned loses nothing or is refused. Forced may lose acknowledged commits.
    pub mode: FailoverRequestMode,
    /// The replica that shall become primary. With mode Planned, any synchronized one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub target: Option<String>,
    /// Epoch of the group that this request was written for; mode Forced only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 0").message("spec.expectedEpoch must not be negative; copy status.election.epoch of the group"))]
    pub expected_epoch: Option<i64>,
    /// The sentence that accepts data loss; mode Forced only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub accept_data_loss: Option<String>,
    /// Resume databases of the other replicas afterwards: what they hold beyond the new primary is discarded. Else they
    /// stay suspended until a person resumes them; mode Forced only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_databases: Option<bool>,
    /// Seconds after which a request that could not begin is given up: 1 to 86400. 300 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 86400").message("spec.expiresAfterSeconds must be from 1 to 86400; leave it out for 300"))]
    pub expires_after_seconds: Option<i32>,
}

/// Seconds after which a request that could not begin is given up, unless said.
pub const EXPIRES_AFTER_SECONDS: i32 = 300;

/// How much a change of the primary may cost.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[allow(missing_docs, reason = "FailoverSpec explains them")]
pub enum FailoverRequestMode {
    Planned,
    Forced,
}

/// How a request stands.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct FailoverStatus {
    /// Generation of the spec that this status speaks of; -1: not looked at yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Conditions by type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Epoch of the election opened for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
}

impl Failover {
    /// Whether it is finished, well or not: it is never served again.
    pub fn finished(&self) -> bool {
        let conditions = self.status.iter().flat_map(|status| &status.conditions);
        conditions.into_iter().any(|condition| condition.type_ == "Succeeded" && condition.status != "Unknown")
    }

    /// Seconds after which it is given up when it could not begin.
    pub fn expires_after_seconds(&self) -> i64 {
        self.spec.expires_after_seconds.unwrap_or(EXPIRES_AFTER_SECONDS).into()
    }
}
