//! Everything one pass saw. The field documentation is the glossary; a saved observation replays a decision.

use super::election::Record;
use crate::model::{ActiveUpgrade, DatabaseName, Group, LoginName, Mode, ReplicaName, Role, SequenceNumber};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// What one pass saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Wall clock, milliseconds since 1970; for people only, no role is decided by it.
    pub at: i64,
    /// The wish.
    pub group: Group,
    /// The record of role changes (`status.election`), read uncached in this pass. `None`: never written or lost.
    pub record: Option<Record>,
    /// Databases that existed once (`status.databases`): never created a second time.
    pub known_databases: BTreeSet<DatabaseName>,
    /// Every replica wanted or still a member, by name.
    pub replicas: BTreeMap<ReplicaName, Replica>,
    /// Log backups of the databases in FULL recovery, as a primary knew them last. `None`: not read yet.
    #[serde(default)]
    pub log_backups: Option<BTreeMap<DatabaseName, LogBackup>>,
    /// Where the Services point and how the pods are labelled.
    pub routed: Routed,
    /// How long `diagnose::primary_is_lost` has been true without a break; zero after a restart of the operator.
    pub suspected_for: Duration,
    /// How long this process has seen the record's epoch and state as they are; zero after a restart.
    pub election_age: Duration,
    /// How long this process has seen the elected replica as primary; zero when it is not, and after a restart.
    #[serde(default)]
    pub promoted_for: Duration,
    /// Since the last unplanned promotion. `None`: there was none.
    pub since_unplanned: Option<Duration>,
    /// What this process knows of the FAILOVER it sent last. `None`: it sent none.
    pub failover: Option<FailoverMemo>,
    /// The commit quorum that SQL Server refused this process, while it is asked of the same primary with the same members.
    #[serde(default)]
    pub commit_quorum_refused: Option<QuorumRefused>,
    /// The staged upgrade that the group takes part in (`status.upgrade`), read uncached in this pass.
    #[serde(default)]
    pub upgrade: Option<ActiveUpgrade>,
    /// The API server says that this upgrade does not exist any more.
    #[serde(default)]
    pub upgrade_gone: bool,
    /// The `Failover` object being served, if any: the oldest unfinished one.
    pub request: Option<Request>,
    /// Which versions of which Secrets the passwords come from; not the passwords. Empty: not read yet.
    #[serde(default)]
    pub passwords: String,
    /// Public certificates of instances, as kept in ConfigMap `<name>-certificates` (DER, lower-case hex).
    pub certificates: BTreeMap<ReplicaName, String>,
}

/// A commit quorum that the engine does not accept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuorumRefused {
    /// What it was asked for.
    pub value: u32,
    /// Who was asked.
    pub primary: ReplicaName,
    /// Its members then.
    pub members: BTreeSet<ReplicaName>,
    /// Error number and text.
    pub why: String,
}

/// When a database's log was backed up last. It stands in the database itself, whichever replica took the backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogBackup {
    /// Seconds since 1970, UTC. `None`: never.
    pub last: Option<i64>,
    /// When the database was created, or seeded here.
    pub created: i64,
    /// The instance's own clock when it said so: clocks may differ.
    pub read: i64,
}

/// One replica as seen from Kubernetes and from SQL Server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replica {
    /// Its mode: as the spec says, else as the group's configuration says.
    pub mode: Mode,
    /// The spec still wants it.
    pub wanted: bool,
    /// Its pod.
    pub pod: Pod,
    /// What its instance answered.
    pub probe: Probe,
    /// How long it has been silent; zero when it answered.
    pub silent_for: Duration,
    /// Wall clock of the first silence, seconds since 1970; for messages, so that they do not change while it lasts.
    pub silent_since: Option<i64>,
    /// Its instance refuses the password of `sa`, which a step needed. `None`: it does not, as far as known.
    #[serde(default)]
    pub admin_refused: Option<Refusal>,
    /// How long it has answered without following the primary; zero when it follows or is the primary.
    pub rejoining_for: Duration,
    /// Another [`RETRY`](super::rejoin::RETRY) of that has passed since the last pass.
    pub retry: bool,
    /// The number of the cure that is due in this pass because it does not follow; zero: none.
    pub cure: u32,
}

/// How long an instance has refused the password of `sa`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Since the first refusal.
    pub lasting: Duration,
    /// Since the last attempt.
    pub asked: Duration,
}

/// A replica's pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pod {
    /// The pod object exists.
    pub exists: bool,
    /// Its main container runs.
    pub running: bool,
    /// Its kubelet, on a Ready node, reports the main container terminated, or started after the last answer.
    pub terminated: bool,
    /// It is being deleted or evicted.
    pub deleting: bool,
    /// Our readiness gate as it stands. `None`: never set.
    pub gate: Option<bool>,
    /// The node it was put on. `None`: none yet.
    #[serde(default)]
    pub node: Option<String>,
    /// It was made from an older template than its StatefulSet has now.
    #[serde(default)]
    pub outdated: bool,
    /// Why the pod does not run, in Kubernetes' words; empty when it does.
    pub trouble: String,
}

/// Answer of an instance to the look of one pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Probe {
    /// All facts of one round trip.
    Answered(Box<Facts>),
    /// No answer within the deadline, or no connection. Unknown is not false.
    Silent {
        /// Why, in words for people.
        why: String,
    },
    /// It answers, but our logins are refused (18456): not set up yet, or set up by somebody else.
    LoginRefused,
}

/// Facts of one instance, all from one round trip.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The instance itself.
    pub server: Server,
    /// Logins, certificates, endpoint.
    pub setup: Setup,
    /// Our own row in `master`.
    pub stored: Stored,
    /// Its own copy of the group. `None`: not a member.
    pub group: Option<GroupFacts>,
    /// Its user databases (`sys.databases`), by name.
    pub databases: BTreeMap<DatabaseName, DatabaseFacts>,
    /// SIDs of the application logins that exist there, upper-case hex.
    pub logins: BTreeMap<LoginName, String>,
    /// The logon trigger of a staged upgrade. `None`: there is none.
    #[serde(default)]
    pub fence: Option<FenceFacts>,
}

/// The logon trigger of a fence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceFacts {
    /// It is not disabled.
    pub enabled: bool,
    /// The word that its text was made with, [`crate::model::Fence::mark`].
    pub mark: String,
}

/// `SERVERPROPERTY` and clocks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// `ServerName`
    pub name: String,
    /// `ProductVersion`, e.g. `16.0.4225.2`.
    pub version: String,
    /// `Edition`
    pub edition: String,
    /// `IsHadrEnabled`
    pub hadr_enabled: bool,
    /// `sys.dm_os_sys_info.ms_ticks`: monotonic, milliseconds.
    pub ticks: i64,
}

/// How far an instance is set up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// Public half of its own endpoint certificate, DER, lower-case hex. `None`: not created yet.
    pub certificate: Option<String>,
    /// The word of `spec.certificateRotation` that it was made for; empty: none. Meaningless without a certificate.
    #[serde(default)]
    pub rotation: String,
    /// Partners imported here.
    pub partners: BTreeMap<ReplicaName, Partner>,
    /// The mirroring endpoint. `None`: not created yet.
    pub endpoint_started: Option<bool>,
}

/// A partner's certificate and right to connect, as one instance has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Partner {
    /// Public certificate imported, DER, lower-case hex. `None`: dropped or not yet imported.
    pub certificate: Option<String>,
    /// CONNECT on the endpoint is granted and not denied.
    pub admitted: bool,
}

/// Our one-row table in `master` of an instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// Highest epoch this instance stood down for or heard of; 0: never.
    pub epoch: u64,
    /// The last settled election it followed.
    pub settled: Option<Record>,
    /// The versions of Secrets whose passwords it was told last, as [`Observation::passwords`] writes them.
    #[serde(default)]
    pub passwords: Option<String>,
}

/// An instance's own copy of the group and its role in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupFacts {
    /// Its role.
    pub role: Role,
    /// A FAILOVER is under way here: `PENDING_FAILOVER`, or our batch is still running.
    pub failover_running: bool,
    /// It is a basic group, as edition Standard has them.
    #[serde(default)]
    pub basic: bool,
    /// Its sequence number.
    pub number: SequenceNumber,
    /// `required_synchronized_secondaries_to_commit` in its copy.
    pub commit_quorum: u32,
    /// It is connected to a primary (own row, role SECONDARY); meaningless for other roles.
    pub connected: bool,
    /// The primary it follows or is, by name.
    pub primary: Option<ReplicaName>,
    /// A configuration commit is waiting for votes.
    pub commit_pending: bool,
    /// Members in its copy, with what it knows of each.
    pub members: BTreeMap<ReplicaName, Member>,
    /// Databases in its copy.
    pub databases: BTreeMap<DatabaseName, GroupDatabase>,
}

/// A member as one instance knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Its mode in the configuration.
    pub mode: Mode,
    /// It is connected; only a primary knows of others.
    pub connected: bool,
}

/// A database of the group as one instance knows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupDatabase {
    /// Joined and synchronized in this instance's own copy: it would pass the engine's test at FAILOVER.
    pub failover_ready: bool,
    /// Synchronization state of the local copy, as the view spells it (`SYNCHRONIZED`, ..). `None`: no local copy.
    pub local: Option<String>,
    /// Data movement is suspended here.
    pub suspended: bool,
    /// Suspended by a forced failover elsewhere (`SUSPEND_FROM_PARTNER`), until somebody resumes it.
    #[serde(default)]
    pub left_behind: bool,
    /// Where the log of the local copy ends, as a decimal LSN. `None`: no local copy.
    #[serde(default)]
    pub end_of_log: Option<String>,
    /// Redo queue of the local copy, KiB.
    pub redo_queue: i64,
    /// Synchronization state of the other replicas; only a primary knows.
    pub remote: BTreeMap<ReplicaName, String>,
    /// Replicas to which it is being copied whole by automatic seeding; only a primary knows.
    #[serde(default)]
    pub seeding: BTreeSet<ReplicaName>,
}

/// `synchronization_state_desc` of a database that would survive on this replica.
pub const SYNCHRONIZED: &str = "SYNCHRONIZED";

/// A user database of an instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DatabaseFacts {
    /// `state_desc`: `ONLINE`, `RESTORING`, ..
    pub state: String,
    /// Recovery model FULL.
    pub full_recovery: bool,
    /// It belongs to an availability group.
    pub in_group: bool,
    /// A log chain exists (`last_log_backup_lsn` is set).
    pub log_chain: bool,
    /// Database users and their roles, with the SID of each, for databases that can be read here (the look login has
    /// CONNECT ANY DATABASE). `None`: not readable here now.
    pub users: Option<BTreeMap<String, DatabaseUser>>,
}

/// A user of a database.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DatabaseUser {
    /// Upper-case hex.
    pub sid: String,
    /// Database roles it is a member of.
    pub roles: BTreeSet<String>,
}

/// What this process knows of a FAILOVER batch that it sent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailoverMemo {
    /// Its election.
    pub epoch: u64,
    /// How the instance answered.
    pub answer: FailoverAnswer,
}

/// How the instance answered a FAILOVER batch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum FailoverAnswer {
    /// No answer (yet): it may still land.
    Unknown,
    /// The batch ended well; the role change may take a moment to show.
    Accepted,
    /// The batch ended with this error number: it did not and will not happen.
    Refused(i32),
}

/// Where traffic goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Routed {
    /// The replica that `-rw` selects; the one that `-primary` selects while `-rw` leads to readers.
    pub read_write: Option<ReplicaName>,
    /// `-rw` leads to readable secondaries: a fence keeps writers out.
    #[serde(default)]
    pub readers: bool,
    /// Role labels of the pods.
    pub roles: BTreeMap<ReplicaName, String>,
    /// Pods that `-ro` selects.
    pub readable: BTreeSet<ReplicaName>,
}

/// A `Failover` object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Its name.
    pub name: String,
    /// Data loss was accepted in writing (`mode: Forced`).
    pub forced: bool,
    /// The replica it names.
    pub target: Option<ReplicaName>,
    /// The epoch it expects; forced ones only.
    pub expected_epoch: Option<u64>,
    /// It is older than its `expiresAfterSeconds`.
    pub expired: bool,
    /// Databases of the other replicas are resumed afterwards; forced ones only.
    #[serde(default)]
    pub resume: bool,
    /// Epoch of the election opened for it. `None`: not begun.
    pub epoch: Option<u64>,
}

impl Observation {
    /// The facts of a replica that answered.
    pub fn facts(&self, name: &ReplicaName) -> Option<&Facts> {
        self.replicas.get(name)?.facts()
    }

    /// The group facts of a replica that answered and is a member.
    pub fn member(&self, name: &ReplicaName) -> Option<&GroupFacts> {
        self.facts(name)?.group.as_ref()
    }

    /// Members that answered, in name order.
    pub fn members(&self) -> impl Iterator<Item = (&ReplicaName, &Facts, &GroupFacts)> {
        self.replicas.iter().filter_map(|(name, replica)| {
            let facts = replica.facts()?;
            Some((name, facts, facts.group.as_ref()?))
        })
    }
}

impl GroupFacts {
    /// Members of this copy that vote.
    pub fn voters(&self) -> impl Iterator<Item = &ReplicaName> {
        self.members.iter().filter(|(_, member)| member.mode.votes()).map(|(name, _)| name)
    }

    /// Whether every database is synchronized on `replica`, as this primary sees it; true without databases.
    pub fn synchronized(&self, replica: &ReplicaName) -> bool {
        self.members.get(replica).is_some_and(|member| member.connected)
            && self.databases.values().all(|db| db.remote.get(replica).is_some_and(|state| state == SYNCHRONIZED))
    }
}

impl Replica {
    /// The facts, when it answered.
    pub fn facts(&self) -> Option<&Facts> {
        match &self.probe {
            Probe::Answered(facts) => Some(facts),
            Probe::Silent { .. } | Probe::LoginRefused => None,
        }
    }
}
