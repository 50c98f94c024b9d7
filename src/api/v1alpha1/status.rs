//! What people see of a group.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What people see of a group. Nothing in it changes while nothing changes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AvailabilityGroupStatus {
    /// Generation of the spec that this status speaks of; -1: not looked at yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Conditions by type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The primary that serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<String>,
    /// Synchronous secondaries that are synchronized, of those wanted: `2/2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synced: Option<String>,
    /// The commit quorum in force, and `-> N` behind it when another one is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quorum: Option<String>,
    /// `Ready` when a failover would succeed now, else why not, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover: Option<String>,
    /// Replicas that are connected, of those wanted, the primary included: `3/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected: Option<String>,
    /// Sequence number of the primary, `major:minor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence_number: Option<String>,
    /// Product version of the primary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Replicas by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub replicas: Vec<ReplicaStatus>,
    /// Databases by name: those of the spec, and those that once were in the group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub databases: Vec<DatabaseStatus>,
    /// The record of role changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub election: Option<Election>,
    /// The staged upgrade that the group takes part in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Upgrade>,
    /// The last change of the primary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failover: Option<LastFailover>,
    /// Every value that was computed or defaulted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<Effective>,
    /// Things to know that do not stop anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["reason".into()]))]
    pub warnings: Vec<Warning>,
    /// What is asked of the pods and waits for their restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<PendingUpdate>,
}

/// The staged upgrade that a group takes part in. Its own field manager writes it, by compare-and-swap.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Upgrade {
    /// Name of the `RollingUpgrade`.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its UID.
    pub uid: String,
    /// Production or Stage.
    pub slot: String,
    /// What keeps writers out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<FenceStatus>,
}

/// What keeps writers out of a group: a logon trigger on every replica with data.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct FenceStatus {
    /// Prepared: there, and disabled. On: nobody writes, until it expires. Kept: nobody writes, for good. Lifted: it goes.
    pub state: String,
    /// When it opens by itself; with On only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// Logins that may enter the primary, beside the operator's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_logins: Vec<String>,
}

/// A replica's line.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaStatus {
    /// Its name: that of its pod.
    pub name: String,
    /// PRIMARY, SECONDARY, RESOLVING; UNKNOWN when silent, NONE when not a member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Synchronous, Asynchronous or ConfigurationOnly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Every database is synchronized.
    #[serde(default)]
    pub synchronized: bool,
    /// It follows the primary, or is it.
    #[serde(default)]
    pub connected: bool,
    /// Its sequence number, `major:minor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence_number: Option<String>,
    /// Its product version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Databases that are being copied whole to it although it has a copy: the log does not lead from that one on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reseeding: Vec<String>,
    /// What is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A database's line.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseStatus {
    /// Its name.
    pub name: String,
    /// Synchronized, Synchronizing, Seeding, Missing, Ignored or Unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Replicas that have it synchronized, the primary included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synchronized: Option<i32>,
    /// It was in the group once: it is never created a second time.
    #[serde(default)]
    pub known: bool,
    /// Time of the last log backup that the primary knows of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_log_backup: Option<Time>,
}

/// The record of role changes. Its own field manager writes it, by compare-and-swap.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Election {
    /// Number of the election; it grows for ever.
    pub epoch: i64,
    /// Open, Elected, Settled or Void.
    pub state: String,
    /// The primary: the one to be (Elected), the one that is (Settled), the last one (Open, Void).
    pub primary: String,
    /// Sequence number the candidate held when it was elected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<i64>,
    /// Clock of the candidate, in milliseconds, after which a promotion by this election has no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<i64>,
    /// The primary before this election.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// Voters seen following the settled primary.
    #[serde(default)]
    pub followers: Vec<String>,
    /// Followers of the previous primary, while this election is not settled.
    #[serde(default)]
    pub previous_followers: Vec<String>,
    /// Candidates that SQL Server refused, with the sequence number each held then.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, i64>,
    /// Voters of the largest membership that may be in force.
    pub voters: Vec<String>,
    /// The commit quorum that elections count with.
    pub commit_quorum: i32,
    /// No election was settled yet.
    #[serde(default)]
    pub bootstrapping: bool,
    /// Nobody failed: somebody asked, a drain, the first start.
    #[serde(default)]
    pub planned: bool,
    /// The Failover object that it serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// The primary when it was opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The replica that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The old primary stands down first.
    #[serde(default)]
    pub primary_stands_down: bool,
    /// A person accepted data loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced: Option<ForcedElection>,
    /// Members that a forced failover left behind, with its epoch, until they follow its primary.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub apart: BTreeMap<String, i64>,
    /// When it came how far.
    #[serde(default, skip_serializing_if = "ElectionTimes::is_unset")]
    pub times: ElectionTimes,
}

/// What a person accepted, and what was known then.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ForcedElection {
    /// Databases of other replicas are resumed.
    #[serde(default)]
    pub resume: bool,
    /// Who stood down with which number and log, and who was missing.
    #[serde(default)]
    pub evidence: String,
}

/// When an election came how far, in milliseconds since 1970.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ElectionTimes {
    /// The old primary was first silent, or was asked to go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspected: Option<i64>,
    /// The election was opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<i64>,
    /// One replica was elected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elected: Option<i64>,
    /// It was seen as primary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted: Option<i64>,
    /// A majority followed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<i64>,
}

impl ElectionTimes {
    fn is_unset(&self) -> bool {
        *self == Self::default()
    }
}

/// The last change of the primary.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LastFailover {
    /// Number of its election.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
    /// The primary before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The primary after.
    pub to: String,
    /// Planned, Unplanned or Forced.
    pub kind: String,
    /// Sequence numbers that were seen, and who was missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// What it consisted of, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<FailoverStep>,
    /// When it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
}

/// One part of a failover.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct FailoverStep {
    /// Its name.
    pub name: String,
    /// How long it took.
    pub seconds: f64,
}

/// Every value that was computed or defaulted.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Effective {
    /// The commit quorum wanted.
    pub required_synchronized_secondaries_to_commit: i32,
    /// It was computed from the topology.
    pub required_synchronized_secondaries_to_commit_computed: bool,
    /// Edition of the data replicas.
    pub edition: String,
    /// Edition of the configuration-only replica, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration_only_edition: Option<String>,
    /// Collation of the instances.
    pub collation: String,
    /// Who may connect to secondaries.
    pub secondary_connections: String,
    /// When a secondary is promoted without being asked.
    pub failover_mode: String,
    /// Seconds of silence before a primary is suspected.
    pub suspect_after_seconds: i32,
    /// Least seconds between two unplanned failovers.
    pub minimum_interval_seconds: i32,
    /// Secret with the password of `sa`, as name/key.
    pub admin_secret: String,
    /// Secret with the server certificate.
    pub tls_secret: String,
    /// `MSSQL_MEMORY_LIMIT_MB` by mode, in MiB.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub memory_limit_mib: BTreeMap<String, i64>,
    /// Whether volumes go with the object.
    pub deletion_policy: String,
}

/// Something to know that does not stop anything.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Warning {
    /// One word.
    pub reason: String,
    /// One sentence.
    pub message: String,
}

/// What is asked of the pods and waits for their restart.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PendingUpdate {
    /// Pods that run an older template.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<String>,
    /// How they get the new one.
    pub message: String,
}
