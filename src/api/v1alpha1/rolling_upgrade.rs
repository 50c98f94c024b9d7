//! `RollingUpgrade`: a new version of an application and its databases, switched in one write, reversible until then.

use super::upgrade_status::RollingUpgradeStatus;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A staged upgrade of an application and its databases.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "quorate.dev",
    version = "v1alpha1",
    kind = "RollingUpgrade",
    plural = "rollingupgrades",
    shortname = "rup",
    category = "quorate",
    namespaced,
    status = "RollingUpgradeStatus",
    derive = "PartialEq",
    doc = "A staged upgrade of an application and its databases: prepared on a synchronized copy, switched in one write, reversible until then.",
    printcolumn(name = "Production", type_ = "string", json_path = ".spec.production.availabilityGroup"),
    printcolumn(name = "Stage", type_ = "string", json_path = ".spec.stage.availabilityGroup"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.step"),
    printcolumn(name = "ReadOnly", type_ = "integer", json_path = ".status.readOnly.seconds"),
    printcolumn(name = "Online", type_ = "string", json_path = ".status.online"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason", priority = 1),
    printcolumn(name = "Attempt", type_ = "integer", json_path = ".status.attempt", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message("metadata.name must start with a letter, have at most 40 characters, and only lower-case letters, digits and '-': Jobs are named after it; choose such a name")
)]
#[x_kube(validation = Rule::new("self.production.availabilityGroup != self.stage.availabilityGroup").message("spec.stage.availabilityGroup must be another group than spec.production.availabilityGroup: the stage is a copy of it; name the group of the new version").field_path(".stage.availabilityGroup"))]
#[x_kube(validation = Rule::new("self.production.endpoint != self.stage.endpoint").message("spec.stage.endpoint must be another Service than spec.production.endpoint: each version of the application has its own; name the one of the new version").field_path(".stage.endpoint"))]
#[x_kube(validation = Rule::new("self.traffic.service != self.production.endpoint && self.traffic.service != self.stage.endpoint").message("spec.traffic.service must be another Service than the endpoints: users reach it, and its selector is copied from the endpoint that is online; choose another name").field_path(".traffic.service"))]
#[x_kube(validation = Rule::new("has(self.script.configMap) != has(self.script.job)").message("spec.script must have exactly one of configMap and job: files that Quorate runs, or a Job of your own").field_path(".script"))]
#[x_kube(validation = Rule::new("self.production == oldSelf.production && self.stage == oldSelf.stage && self.traffic == oldSelf.traffic && has(self.geo) == has(oldSelf.geo) && (!has(self.geo) || self.geo.production == oldSelf.geo.production && self.geo.stage == oldSelf.geo.stage)").message("spec.production, spec.stage, spec.traffic and the slots of spec.geo cannot be changed: another attempt is made with the same ones; apply another RollingUpgrade"))]
#[x_kube(validation = Rule::new("!has(self.geo) || [self.production.availabilityGroup, self.stage.availabilityGroup, self.geo.production.availabilityGroup, self.geo.stage.availabilityGroup].all(one, [self.production.availabilityGroup, self.stage.availabilityGroup, self.geo.production.availabilityGroup, self.geo.stage.availabilityGroup].exists_one(other, other == one))").message("spec.geo must name two more groups, each with a name of its own, whatever namespace they are in: members of a distributed availability group go by name; name the groups of the other region").field_path(".geo"))]
#[serde(rename_all = "camelCase")]
pub struct RollingUpgradeSpec {
    /// What users use now.
    pub production: UpgradeSlot,
    /// What they will use.
    pub stage: UpgradeSlot,
    /// Copies of both in another region. Without it there is one region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geo: Option<Geo>,
    /// Where users come in.
    pub traffic: Traffic,
    /// What makes the stage's databases those of the new version.
    pub script: Script,
    /// Queries on the stage after the script; each must give what is expected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub verify: Vec<Verification>,
    /// How long production may be read-only, and for whom it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<ReadOnly>,
    /// Which steps wait for a person. All are Automatic unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<Approvals>,
    /// Steps that a person approved, and Script for a script that failed and was brought to its end by hand (`script.onFailure: Pause`).
    /// What was approved once stays so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub approved: Vec<Approval>,
    /// Give up: production is writable again, the stage is let go. What was aborted once stays so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort: Option<bool>,
    /// With `abort` after the switch: users go back to production as it was at the switch, and what they wrote on the stage since is
    /// lost to them. Without it `abort` does nothing then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discard_stage_writes: Option<bool>,
}

/// One deployment of the application with its group.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct UpgradeSlot {
    /// Its `AvailabilityGroup`, in the same namespace.
    #[schemars(length(min = 1, max = 40))]
    pub availability_group: String,
    /// The Service of its application.
    #[schemars(length(min = 1, max = 63))]
    pub endpoint: String,
}

/// Copies of production and of the stage in another region.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Geo {
    /// Follows production.
    pub production: GeoSlot,
    /// Follows the stage: what users use after the switch is as safe as what they use now.
    pub stage: GeoSlot,
    /// Whether users are switched only when the copy of the stage has all that the script did. True unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_dr_before_switch: Option<bool>,
}

/// One deployment of the application with its group, in another region.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct GeoSlot {
    /// Its `AvailabilityGroup`.
    #[schemars(length(min = 1, max = 40))]
    pub availability_group: String,
    /// Namespace of group and Service; that of the `RollingUpgrade` unless said. A group of another namespace takes part only when its
    /// `spec.upgradesFrom` names this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: Option<String>,
    /// The Service of its application.
    #[schemars(length(min = 1, max = 63))]
    pub endpoint: String,
}

/// Where users come in.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// The Service that users reach. Quorate makes it and owns it; it selects what the endpoint that is online selects.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub service: String,
}

/// The upgrade script.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Script {
    /// T-SQL files (`*.sql`) in name order, with GO between batches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ScriptFiles>,
    /// The template of a Job of your own; `QUORATE_SERVER`, `QUORATE_DATABASE`, `QUORATE_LOGIN` and the file
    /// `QUORATE_PASSWORD_FILE` tell it where the stage is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<ScriptJob>,
    /// Seconds that it may take: 1 to 86400. 600 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 86400").message("spec.script.timeoutSeconds must be from 1 to 86400; leave it out for 600"))]
    pub timeout_seconds: Option<i32>,
    /// What becomes of the upgrade when it fails: Rollback gives production its writers back; Pause leaves everything as it is, production
    /// read-only, until you add Script to `approved`, set `abort`, or `readOnly.maximumSeconds` are over. Rollback unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
}

/// What becomes of an upgrade whose script fails.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[allow(missing_docs, reason = "the field explains them; descriptions of variants make no structural schema")]
pub enum OnFailure {
    #[default]
    Rollback,
    Pause,
}

/// Files of a script.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ScriptFiles {
    /// The ConfigMap that holds them, in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The database in which the first batch runs; the first one of production's group unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub database: Option<String>,
}

/// A Job of the user's own.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ScriptJob {
    /// A `batch/v1` JobSpec; one attempt is made, whatever it says. It names the service account that it runs as.
    #[schemars(extend("type" = "object", "x-kubernetes-preserve-unknown-fields" = true))]
    pub template: serde_json::Map<String, serde_json::Value>,
}

/// A query and its answer.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// Where it runs.
    #[schemars(length(min = 1, max = 128))]
    pub database: String,
    /// The query; its first column of its first row counts.
    #[schemars(length(min = 1, max = 8192))]
    pub query: String,
    /// That value as text.
    #[schemars(length(max = 1024))]
    pub expect: String,
}

/// How long production may be read-only, and for whom it is not.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ReadOnly {
    /// Seconds after which production is made writable again when the switch has not happened: 10 to 86400. 900 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 10 && self <= 86400").message("spec.readOnly.maximumSeconds must be from 10 to 86400; leave it out for 900"))]
    pub maximum_seconds: Option<i32>,
    /// Seconds that transactions have to end by themselves before their sessions are ended: 0 to 600. 10 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 600").message("spec.readOnly.drainSeconds must be from 0 to 600; leave it out for 10"))]
    pub drain_seconds: Option<i32>,
    /// Logins that may enter the primary meanwhile: monitoring, and nobody who writes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(min = 1, max = 128)))]
    pub allowed_logins: Vec<String>,
}

/// Which steps wait for a person.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Approvals {
    /// Before production becomes read-only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<ApprovalMode>,
    /// Before users are switched; production is read-only while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switch: Option<ApprovalMode>,
    /// Before the old version is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retire: Option<ApprovalMode>,
}

/// Whether a step waits for a person.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[allow(missing_docs, reason = "the field explains them; descriptions of variants make no structural schema")]
pub enum ApprovalMode {
    #[default]
    Automatic,
    Manual,
}

/// A step that a person approves.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[allow(missing_docs, reason = "the field explains them; descriptions of variants make no structural schema")]
pub enum Approval {
    Start,
    Script,
    Switch,
    Retire,
}

/// Seconds that a script may take, unless said.
pub const SCRIPT_SECONDS: i32 = 600;
/// Seconds that production may be read-only, unless said.
pub const READ_ONLY_SECONDS: i32 = 900;
/// Seconds that transactions have to end by themselves, unless said.
pub const DRAIN_SECONDS: i32 = 10;
