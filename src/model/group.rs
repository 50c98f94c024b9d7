//! The validated wish: what a spec asks for, after `api::parse` refused everything that cannot be.

use super::{DatabaseName, GroupName, LoginName, Mode, ReplicaName, quorum};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// Port of SQL Server.
pub const SQL_PORT: u16 = 1433;
/// Port of the mirroring endpoint.
pub const ENDPOINT_PORT: u16 = 5022;

/// A group as its owner wants it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Name of the object and of the availability group.
    pub name: GroupName,
    /// Namespace of the object.
    pub namespace: String,
    /// UID of the object.
    pub uid: String,
    /// Generation of the spec this came from.
    pub generation: i64,
    /// Replicas wanted, by name.
    pub replicas: BTreeMap<ReplicaName, Mode>,
    /// Commit quorum said by the user; absent: computed.
    pub commit_quorum: Option<u32>,
    /// Databases, in the order of the spec.
    pub databases: Vec<Database>,
    /// Application logins, in the order of the spec.
    pub logins: Vec<Login>,
    /// Who may connect to secondaries.
    pub secondary_connections: SecondaryConnections,
    /// When the operator promotes by itself.
    pub failover: Failover,
    /// A word that the endpoint certificates of all instances are made for; another one asks for new ones.
    #[serde(default)]
    pub certificate_rotation: Option<String>,
    /// Everything stops.
    pub paused: bool,
    /// What the pods are made of.
    pub pods: Pods,
}

/// Name of the StatefulSet that holds the replicas of one mode: `<name>`, `<name>-a` or `<name>-c`.
pub fn set_name(group: &GroupName, mode: Mode) -> String {
    match mode {
        Mode::Synchronous => group.to_string(),
        Mode::Asynchronous => format!("{group}-a"),
        Mode::ConfigurationOnly => format!("{group}-c"),
    }
}

/// A commit quorum and where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitQuorum {
    /// Synchronized secondaries that a commit waits for.
    pub value: u32,
    /// Computed from the topology, not said by the user.
    pub computed: bool,
}

/// A database of the group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// Its name.
    pub name: DatabaseName,
    /// Whether the operator touches it.
    pub management: Management,
}

/// Whether the operator manages a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Management {
    /// Created, added to the group, reported.
    #[default]
    Managed,
    /// Left alone.
    Ignore,
}

/// An application login, the same on every replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// Its name.
    pub name: LoginName,
    /// Secret that holds the password: name and key.
    pub password_secret: (String, String),
    /// Roles by database.
    pub databases: BTreeMap<DatabaseName, Vec<String>>,
}

/// `SECONDARY_ROLE (ALLOW_CONNECTIONS = ..)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecondaryConnections {
    /// `ALL`
    #[default]
    All,
    /// `READ_ONLY`
    ReadIntentOnly,
    /// `NO`
    No,
}

impl SecondaryConnections {
    /// As DDL spells it.
    pub fn keyword(self) -> &'static str {
        match self {
            Self::All => "ALL",
            Self::ReadIntentOnly => "READ_ONLY",
            Self::No => "NO",
        }
    }
}

/// `spec.failover`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failover {
    /// When the operator promotes without being asked.
    pub mode: FailoverMode,
    /// Silence before a primary is suspected; 3 s unless said.
    pub suspect_after: Duration,
    /// Least time between two unplanned failovers; 60 s unless said.
    pub minimum_interval: Duration,
}

/// When the operator promotes without being asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailoverMode {
    /// Whenever the gate allows it.
    #[default]
    Automatic,
    /// Only while the recorded commit quorum is 1 or more.
    RequireCommitQuorum,
    /// Never; after a total restart the recorded primary alone is brought back.
    Manual,
}

/// What the pods are made of: for `resources` only, no decision looks at it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pods {
    /// Image of SQL Server.
    pub image: String,
    /// Image that holds `quorate prepare`.
    pub prepare_image: String,
    /// `MSSQL_PID` of data replicas.
    pub edition: String,
    /// `MSSQL_PID` of the configuration-only replica.
    pub configuration_only_edition: String,
    /// Server collation.
    pub collation: String,
    /// `mssql.conf` keys (`section.key`) and values.
    pub configuration: BTreeMap<String, String>,
    /// Secret with the `sa` password: name and key.
    pub admin_secret: (String, String),
    /// Whether the admin secret is ours to generate.
    pub admin_generated: bool,
    /// Secret with the user's server certificate; absent: our own CA.
    pub tls_secret: Option<String>,
    /// Settings by mode; modes without replicas are absent.
    pub by_mode: BTreeMap<Mode, PodSettings>,
    /// Delete volumes and secrets with the object.
    pub delete_volumes: bool,
    /// `services.readWrite`: type and annotations.
    pub read_write: ServiceSettings,
    /// `services.readOnly`.
    pub read_only: ServiceSettings,
}

/// Settings of the pods of one mode.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PodSettings {
    /// Size of the data volume.
    pub storage_size: String,
    /// Storage class; absent: the cluster's default.
    pub storage_class: Option<String>,
    /// Size of a separate log volume.
    pub log_size: Option<String>,
    /// Resource requests and limits, as Kubernetes writes them.
    pub resources: serde_json::Value,
    /// `limits.memory` in MiB; `MSSQL_MEMORY_LIMIT_MB` is derived from it.
    pub memory_limit_mib: u64,
    /// Pod fields passed through unread: labels, annotations, nodeSelector, tolerations, affinity, ..
    pub pod: serde_json::Map<String, serde_json::Value>,
    /// Replicas on one host are refused, not only discouraged.
    pub require_spread: bool,
}

impl PodSettings {
    /// `MSSQL_MEMORY_LIMIT_MB`: four fifths of the container's limit, the share that SQL Server itself takes of a machine.
    pub fn server_memory_mib(&self) -> u64 {
        self.memory_limit_mib * 4 / 5
    }
}

/// Type and annotations of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSettings {
    /// `ClusterIP` unless said.
    pub kind: Option<String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// Whether `MSSQL_PID` asks for Standard or what behaves like it.
pub fn is_standard(edition: &str) -> bool {
    ["Standard", "StandardDeveloper"].contains(&edition)
}

impl Group {
    /// Whether its edition has basic availability groups only: two replicas with data, one database, no readers.
    pub fn is_basic(&self) -> bool {
        is_standard(&self.pods.edition)
    }

    /// Number of synchronous replicas wanted.
    pub fn synchronous(&self) -> u32 {
        self.replicas.values().filter(|mode| **mode == Mode::Synchronous).count() as u32
    }

    /// Replicas that vote.
    pub fn voters(&self) -> impl Iterator<Item = &ReplicaName> {
        self.replicas.iter().filter(|(_, mode)| mode.votes()).map(|(name, _)| name)
    }

    /// The commit quorum wanted.
    pub fn wanted_commit_quorum(&self) -> CommitQuorum {
        match self.commit_quorum {
            Some(value) => CommitQuorum { value, computed: false },
            None => CommitQuorum { value: quorum::default_commit_quorum(self.synchronous()), computed: true },
        }
    }

    /// The replica that a new group starts on: `<name>-0`.
    pub fn first(&self) -> Option<&ReplicaName> {
        self.replicas
            .iter()
            .filter(|(_, mode)| **mode == Mode::Synchronous)
            .map(|(name, _)| name)
            .min_by_key(|name| name.ordinal())
    }

    /// Host name of a replica inside the cluster, without the cluster's domain, which differs between clusters.
    pub fn host(&self, replica: &ReplicaName) -> String {
        format!("{replica}.{}-replicas.{}.svc", self.name, self.namespace)
    }

    /// `ENDPOINT_URL` of a replica.
    pub fn endpoint_url(&self, replica: &ReplicaName) -> String {
        format!("tcp://{}:{ENDPOINT_PORT}", self.host(replica))
    }
}
