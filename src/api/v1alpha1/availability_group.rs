//! `AvailabilityGroup`: a group with its pods, certificates, endpoints, databases, commit quorum, services and failover.

use super::{
    pods::{ConfigurationOnlyReplicas, DataReplicas, PodTemplate, Resources, Services, Storage},
    status::AvailabilityGroupStatus,
};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A SQL Server Always On availability group: its pods, certificates, databases, services and failover.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "quorate.dev",
    version = "v1alpha1",
    kind = "AvailabilityGroup",
    plural = "availabilitygroups",
    shortname = "ag",
    category = "quorate",
    namespaced,
    status = "AvailabilityGroupStatus",
    derive = "PartialEq",
    doc = "A SQL Server Always On availability group: its pods, certificates, databases, services and failover.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Primary", type_ = "string", json_path = ".status.primary"),
    printcolumn(name = "Synced", type_ = "string", json_path = ".status.synced"),
    printcolumn(name = "Quorum", type_ = "string", json_path = ".status.quorum"),
    printcolumn(name = "Failover", type_ = "string", json_path = ".status.failover"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Replicas", type_ = "string", json_path = ".status.connected", priority = 1),
    printcolumn(name = "Mode", type_ = "string", json_path = ".status.effective.failoverMode", priority = 1),
    printcolumn(name = "Sequence", type_ = "string", json_path = ".status.sequenceNumber", priority = 1),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version", priority = 1),
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.image", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message("metadata.name must start with a letter, have at most 40 characters, and only lower-case letters, digits and '-': Services are named after it; choose such a name")
)]
#[x_kube(validation = Rule::new("self.synchronous.replicas >= 1").message("spec.synchronous.replicas must be at least 1: only a synchronous replica can be primary; set it to 3 for automatic failover without loss").field_path(".synchronous.replicas"))]
#[x_kube(validation = Rule::new("self.synchronous.replicas + (has(self.asynchronous) ? self.asynchronous.replicas : 0) >= 2").message("spec.synchronous.replicas and spec.asynchronous.replicas together must be at least 2: a primary needs a secondary that holds data, and a configuration-only replica holds none; add a synchronous replica").field_path(".synchronous.replicas"))]
#[x_kube(validation = Rule::new("self.synchronous.replicas + (has(self.asynchronous) ? self.asynchronous.replicas : 0) <= 9").message("spec.synchronous.replicas and spec.asynchronous.replicas together must be at most 9: SQL Server allows no more; remove replicas").field_path(".synchronous.replicas"))]
#[x_kube(validation = Rule::new("!has(self.edition) || !(self.edition in ['Standard', 'StandardDeveloper']) || self.synchronous.replicas + (has(self.asynchronous) ? self.asynchronous.replicas : 0) <= 2").message("spec.edition Standard allows 2 data replicas, and a configuration-only one beside them: its groups are basic ones; remove replicas or set spec.edition to Enterprise").field_path(".edition"))]
#[x_kube(validation = Rule::new("!has(self.edition) || !(self.edition in ['Standard', 'StandardDeveloper']) || !has(self.databases) || size(self.databases) <= 1").message("spec.databases must hold one database with edition Standard, whose groups are basic ones; make a group for each database, or set spec.edition to Enterprise").field_path(".databases"))]
#[x_kube(validation = Rule::new("!has(self.edition) || !(self.edition in ['Standard', 'StandardDeveloper']) || !has(self.secondaryConnections) || self.secondaryConnections == 'No'").message("spec.secondaryConnections must be No with edition Standard, whose secondaries cannot be read; leave it out, or set spec.edition to Enterprise").field_path(".secondaryConnections"))]
#[x_kube(validation = Rule::new("!has(self.configurationOnly) || self.configurationOnly.replicas <= 1").message("spec.configurationOnly.replicas must be 0 or 1: SQL Server allows one; set it to 1").field_path(".configurationOnly.replicas"))]
#[x_kube(validation = Rule::new("!has(self.requiredSynchronizedSecondariesToCommit) || (self.requiredSynchronizedSecondariesToCommit >= 0 && self.requiredSynchronizedSecondariesToCommit <= self.synchronous.replicas - 1)").message("spec.requiredSynchronizedSecondariesToCommit must be from 0 to spec.synchronous.replicas - 1; lower it, or leave it out to have it computed").field_path(".requiredSynchronizedSecondariesToCommit"))]
#[x_kube(validation = Rule::new("(has(self.collation) ? self.collation : 'SQL_Latin1_General_CP1_CI_AS') == (has(oldSelf.collation) ? oldSelf.collation : 'SQL_Latin1_General_CP1_CI_AS')").message("spec.collation is immutable: SQL Server takes it when its system databases are made; make another group and move the databases"))]
#[x_kube(validation = Rule::new("has(self.synchronous.storage) == has(oldSelf.synchronous.storage)").message("spec.synchronous.storage cannot be added or removed later: volumes exist; keep it as it was").field_path(".synchronous"))]
#[x_kube(validation = Rule::new("!has(self.asynchronous) || !has(oldSelf.asynchronous) || oldSelf.asynchronous.replicas == 0 || has(self.asynchronous.storage) == has(oldSelf.asynchronous.storage)").message("spec.asynchronous.storage cannot be added or removed while asynchronous replicas exist; set their number to 0 first").field_path(".asynchronous"))]
#[x_kube(validation = Rule::new("!has(self.configurationOnly) || !has(oldSelf.configurationOnly) || oldSelf.configurationOnly.replicas == 0 || has(self.configurationOnly.storage) == has(oldSelf.configurationOnly.storage)").message("spec.configurationOnly.storage cannot be added or removed while the configuration-only replica exists; set the number to 0 first").field_path(".configurationOnly"))]
#[x_kube(validation = Rule::new("!has(self.synchronous.storage) || !has(self.synchronous.storage.deletionPolicy)").message("spec.synchronous.storage.deletionPolicy must be absent: one policy holds for the group; set spec.storage.deletionPolicy").field_path(".synchronous"))]
#[x_kube(validation = Rule::new("!has(self.asynchronous) || !has(self.asynchronous.storage) || !has(self.asynchronous.storage.deletionPolicy)").message("spec.asynchronous.storage.deletionPolicy must be absent: one policy holds for the group; set spec.storage.deletionPolicy").field_path(".asynchronous"))]
#[x_kube(validation = Rule::new("!has(self.configurationOnly) || !has(self.configurationOnly.storage) || !has(self.configurationOnly.storage.deletionPolicy)").message("spec.configurationOnly.storage.deletionPolicy must be absent: one policy holds for the group; set spec.storage.deletionPolicy").field_path(".configurationOnly"))]
#[serde(rename_all = "camelCase")]
pub struct AvailabilityGroupSpec {
    /// Must be true: you accept the licence terms of SQL Server.
    #[x_kube(validation = Rule::new("self == true").message("spec.acceptEula must be true: read the licence terms of SQL Server and accept them"))]
    pub accept_eula: bool,
    /// Image of SQL Server, with a tag that does not move or a digest.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// Edition of the data replicas (`MSSQL_PID`). Developer unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edition: Option<Edition>,
    /// Collation of the instances; immutable. SQL_Latin1_General_CP1_CI_AS unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[A-Za-z0-9_]+$"))]
    pub collation: Option<String>,
    /// Replicas that vote, hold the data and may become primary: 1 to 9.
    pub synchronous: DataReplicas,
    /// Replicas that hold the data, never vote and never become primary by themselves: 0 to 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asynchronous: Option<DataReplicas>,
    /// A replica that votes and holds no data: 0 or 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration_only: Option<ConfigurationOnlyReplicas>,
    /// Commit quorum: synchronized secondaries that a commit waits for. Computed from the topology when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required_synchronized_secondaries_to_commit: Option<i32>,
    /// Databases of the group. Each is created once, when it is new here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub databases: Vec<Database>,
    /// Application logins, with the same SID on every replica.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub logins: Vec<Login>,
    /// Who may connect to secondaries. All unless said; No with edition Standard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secondary_connections: Option<SecondaryConnections>,
    /// When a secondary is promoted without being asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover: Option<FailoverPolicy>,
    /// Secret with the password of `sa`. Generated and kept as `<name>-admin` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_secret: Option<SecretKey>,
    /// Server certificate for clients. Made by an authority of the group's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// A word of your choice, such as a date: when it changes, every instance makes itself a new certificate for its
    /// mirroring endpoint, one after another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9.-]+$')").message("spec.certificateRotation must consist of letters, digits, '.' and '-'; write a date, such as 2026-11-29"))]
    pub certificate_rotation: Option<String>,
    /// Volumes of the replicas.
    pub storage: Storage,
    /// Resources of the SQL Server container; `limits.memory` is required.
    pub resources: Resources,
    /// Pod fields that are passed through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodTemplate>,
    /// Keys of `mssql.conf` (`section.key`) and their values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    #[x_kube(validation = Rule::new("self.all(key, key.matches('^[a-zA-Z]+[.][a-zA-Z0-9_]+$'))").message("spec.configuration keys must be written section.key, as in 'sqlagent.enabled'; correct the key"))]
    #[x_kube(validation = Rule::new("self.all(key, !key.matches('^(?i)(hadr[.].*|eula[.].*|filelocation[.].*|memory[.]memorylimitmb|network[.](tcpport|tlscert|tlskey|ipaddress))$'))").message("spec.configuration must not set hadr.*, eula.*, filelocation.*, memory.memorylimitmb, network.tcpport, network.ipaddress, network.tlscert or network.tlskey: they follow from other fields; remove the key"))]
    pub configuration: BTreeMap<String, ConfigurationValue>,
    /// Type and annotations of the Services for clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<Services>,
    /// Other namespaces whose `RollingUpgrade`s this group may take part in, as the copy in another region.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(min = 1, max = 63)))]
    pub upgrades_from: Vec<String>,
    /// Stops everything that the operator does, failover included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
}

/// One line of `mssql.conf`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(transparent)]
pub struct ConfigurationValue(
    /// The text after `=`.
    #[schemars(length(max = 1024), regex(pattern = "^[^\\x00-\\x1f]*$"))]
    pub String,
);

/// Edition of a data replica, `MSSQL_PID`.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[allow(missing_docs, reason = "the words are SQL Server's own; descriptions of variants make no structural schema")]
pub enum Edition {
    #[default]
    Developer,
    Evaluation,
    Standard,
    Enterprise,
    EnterpriseCore,
    EnterpriseDeveloper,
    StandardDeveloper,
}

impl Edition {
    /// The word as SQL Server spells it.
    pub fn as_str(self) -> &'static str {
        match self {
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

/// Who may connect to secondaries.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[allow(missing_docs, reason = "the words explain themselves")]
pub enum SecondaryConnections {
    #[default]
    All,
    ReadIntentOnly,
    No,
}

/// A database of the group.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Database {
    /// Name of the database: 1 to 128 characters.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = Rule::new("self.matches('^[^\\\\x00-\\\\x1f\\\\x7f]+$')").message("a database's name must not contain control characters; remove them"))]
    #[x_kube(validation = Rule::new("!(self.lowerAscii() in ['master', 'model', 'msdb', 'tempdb', 'distribution'])").message("a database's name must not be that of a system database; choose another one"))]
    pub name: String,
    /// Ignore leaves the database alone. Managed unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub management: Option<Management>,
}

/// Whether the operator touches a database.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[allow(missing_docs, reason = "the words explain themselves")]
pub enum Management {
    #[default]
    Managed,
    Ignore,
}

/// An application login.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Login {
    /// Name of the login: 1 to 128 characters, a SQL Server login.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = Rule::new("self.matches('^[^\\\\x00-\\\\x1f\\\\x7f\\\\\\\\]+$')").message("a login's name must not contain control characters or a backslash: only logins with a password are made; remove them"))]
    #[x_kube(validation = Rule::new("self.lowerAscii() != 'sa' && !self.lowerAscii().startsWith('quorate_') && !self.startsWith('##')").message("a login's name must not be 'sa' or begin with 'quorate_' or '##': those are taken; choose another one"))]
    pub name: String,
    /// Secret that holds its password.
    pub password_secret: SecretKey,
    /// Databases where it is a user, with its roles there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub databases: Vec<LoginDatabase>,
}

/// A database where a login is a user.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LoginDatabase {
    /// Name of a database of the group.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// Database roles, such as db_datareader.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 128)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub roles: Vec<String>,
}

/// A key of a Secret in the same namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// Key in it.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// Server certificate for clients.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// Secret of type kubernetes.io/tls with the server certificate. Empty: the group's own authority makes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$"))]
    pub secret_name: Option<String>,
}

/// When a secondary is promoted without being asked.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct FailoverPolicy {
    /// Automatic: whenever it is safe. RequireCommitQuorum: only with a commit quorum of at least 1. Manual: never.
    /// Automatic unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<FailoverMode>,
    /// Seconds of silence before a primary is suspected: 1 to 600. 3 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 1 && self <= 600").message("spec.failover.suspectAfterSeconds must be from 1 to 600; leave it out for 3"))]
    pub suspect_after_seconds: Option<i32>,
    /// Least seconds between two unplanned failovers: 0 to 86400. 60 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 0 && self <= 86400").message("spec.failover.minimumIntervalSeconds must be from 0 to 86400; leave it out for 60"))]
    pub minimum_interval_seconds: Option<i32>,
}

/// When a secondary is promoted without being asked.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[allow(missing_docs, reason = "FailoverPolicy explains them")]
pub enum FailoverMode {
    #[default]
    Automatic,
    RequireCommitQuorum,
    Manual,
}
