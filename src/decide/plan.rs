//! What to do: waves of steps with their guards, and why.

pub use super::reason::Reason;

use super::election::Record;
use crate::model::{ActiveUpgrade, DatabaseName, Fence, GroupName, LoginName, Mode, ReplicaName, SequenceNumber};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, time::Duration};

/// What one pass does. Waves run in order, the steps of a wave at once; the first wave with a failed step is the last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What was seen, in one word.
    pub reason: Reason,
    /// One sentence with numbers: what is missing, since when, what a person can do. Empty when all is well.
    pub message: String,
    /// The steps.
    pub waves: Vec<Vec<Step>>,
    /// When to look again if nothing wakes us.
    pub recheck: Duration,
}

impl Plan {
    /// A plan without steps, looked at again in a second.
    pub fn new(reason: Reason, message: String) -> Self {
        Self { reason, message, waves: Vec::new(), recheck: Duration::from_secs(1) }
    }

    /// Adds a wave; an empty one is left out.
    #[must_use]
    pub fn wave(mut self, steps: Vec<Step>) -> Self {
        if !steps.is_empty() {
            self.waves.push(steps);
        }
        self
    }

    /// Adds several waves.
    #[must_use]
    pub fn waves(self, waves: Vec<Vec<Step>>) -> Self {
        waves.into_iter().fold(self, Self::wave)
    }

    /// Adds the wave that writes the record.
    #[must_use]
    pub fn record(self, record: Record) -> Self {
        self.wave(vec![Step::Record(Box::new(record))])
    }

    /// When to look again.
    #[must_use]
    pub fn recheck(mut self, after: Duration) -> Self {
        self.recheck = after;
        self
    }

    /// All steps in order.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.waves.iter().flatten()
    }
}

/// One effect. SQL steps carry their guards, which the instance itself checks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// Write the record, by compare-and-swap against the object as it was read in this pass.
    Record(Box<Record>),
    /// Set an instance up as `sa`: our table, our logins, master key, own certificate, endpoint.
    Provision(ReplicaName),
    /// Have an instance make itself another endpoint certificate, as `sa`.
    RotateCertificate(ReplicaName),
    /// Tell an instance the present passwords of every login, as `sa`, and store which they are.
    SetPasswords {
        /// Where.
        replica: ReplicaName,
        /// [`super::Observation::passwords`]
        version: String,
    },
    /// Import a partner's public certificate, with its login, and admit it.
    ImportPartner {
        /// Where.
        replica: ReplicaName,
        /// Whose.
        partner: ReplicaName,
        /// DER, lower-case hex.
        certificate: String,
    },
    /// Keep a public certificate in ConfigMap `<name>-certificates`.
    KeepCertificate {
        /// Whose.
        replica: ReplicaName,
        /// DER, lower-case hex.
        certificate: String,
    },
    /// `CREATE AVAILABILITY GROUP` with these members, commit quorum 0, then GRANT CREATE ANY DATABASE.
    CreateGroup {
        /// The first primary.
        replica: ReplicaName,
        /// Members and their modes, the first primary included.
        members: Vec<(ReplicaName, Mode)>,
    },
    /// `JOIN`, then GRANT CREATE ANY DATABASE where it holds data.
    Join {
        /// Who joins.
        replica: ReplicaName,
        /// Whether it holds data.
        holds_data: bool,
    },
    /// `ADD REPLICA` on the primary.
    AddReplica {
        /// The primary.
        primary: ReplicaName,
        /// Who.
        replica: ReplicaName,
        /// As what.
        mode: Mode,
    },
    /// `REMOVE REPLICA` on the primary.
    RemoveReplica {
        /// The primary.
        primary: ReplicaName,
        /// Who.
        replica: ReplicaName,
    },
    /// `MODIFY REPLICA .. WITH (AVAILABILITY_MODE = ..)` on the primary.
    SetMode {
        /// The primary.
        primary: ReplicaName,
        /// Whose.
        replica: ReplicaName,
        /// Synchronous or asynchronous.
        mode: Mode,
        /// Refused where a newer one is stored.
        epoch: u64,
    },
    /// Store `epoch`, set admission, `OFFLINE`: one batch.
    StandDown {
        /// Who.
        replica: ReplicaName,
        /// Refused when a newer one is stored.
        epoch: u64,
        /// Refuse while connected to this primary. `None`: exempt.
        unless_connected_to: Option<ReplicaName>,
        /// Partners admitted; every other partner is denied.
        admit: BTreeSet<ReplicaName>,
        /// A configuration-only replica that refuses OFFLINE counts once its endpoint was restarted.
        configuration_only: bool,
    },
    /// Admit `primary` alone, then `SET (ROLE = SECONDARY)`.
    Follow {
        /// Who.
        replica: ReplicaName,
        /// Refused when a newer one is stored.
        epoch: u64,
        /// The recorded primary.
        primary: ReplicaName,
    },
    /// `OFFLINE`, then `DROP AVAILABILITY GROUP` on a secondary that is to join anew.
    Leave {
        /// Who. Refused where it is PRIMARY.
        replica: ReplicaName,
        /// Refused when a newer one is stored.
        epoch: u64,
        /// Refused while connected to it: it found its way back meanwhile.
        primary: ReplicaName,
        /// A configuration-only replica may refuse OFFLINE.
        configuration_only: bool,
    },
    /// `FAILOVER`, or `FORCE_FAILOVER_ALLOW_DATA_LOSS`, on the elected replica, then admit everyone: one batch.
    Failover {
        /// Who.
        replica: ReplicaName,
        /// Refused unless exactly this one is stored.
        epoch: u64,
        /// Refused unless this is still its number.
        number: SequenceNumber,
        /// Refused when the instance's `ms_ticks` is past it.
        deadline: i64,
        /// A person accepted data loss.
        force: bool,
    },
    /// Store a settled election beside the epoch.
    StoreSettled {
        /// Where.
        replica: ReplicaName,
        /// The record.
        record: Box<Record>,
    },
    /// `SET (REQUIRED_SYNCHRONIZED_SECONDARIES_TO_COMMIT = ..)` on the recorded primary.
    SetCommitQuorum {
        /// The primary.
        replica: ReplicaName,
        /// Refused when a newer one is stored.
        epoch: u64,
        /// The value.
        value: u32,
    },
    /// Stop and start the mirroring endpoint.
    RestartEndpoint(ReplicaName),
    /// Admit every partner again.
    AdmitAll(ReplicaName),
    /// `CREATE DATABASE`, FULL recovery, first backup.
    CreateDatabase {
        /// The primary.
        replica: ReplicaName,
        /// Its name.
        database: DatabaseName,
    },
    /// FULL recovery, a first backup where the log chain is missing, `ADD DATABASE`.
    AddDatabase {
        /// The primary.
        replica: ReplicaName,
        /// Its name.
        database: DatabaseName,
    },
    /// `SET HADR RESUME` on a secondary: what its copy holds beyond the primary's is discarded.
    Resume {
        /// The secondary.
        replica: ReplicaName,
        /// Its database.
        database: DatabaseName,
        /// Refused when a newer one is stored.
        epoch: u64,
    },
    /// Create an application login with this SID, or set its password.
    EnsureLogin {
        /// Where.
        replica: ReplicaName,
        /// Whose.
        login: LoginName,
        /// SID wanted, upper-case hex. `None`: the instance chooses (the first one to have it).
        sid: Option<String>,
    },
    /// Create the users of an application login in its databases, with their roles.
    EnsureUsers {
        /// The primary.
        replica: ReplicaName,
        /// Whose.
        login: LoginName,
    },
    /// Make the logon trigger of a fence as it is wanted, or drop it.
    SetFence {
        /// Where.
        replica: ReplicaName,
        /// How it is wanted. `None`: not at all.
        fence: Option<Fence>,
        /// It keeps nobody out at this moment.
        open: bool,
        /// Databases by whose role the trigger tells the primary.
        databases: BTreeSet<DatabaseName>,
    },
    /// End every session of others, so that clients connect again.
    EndSessions {
        /// Where.
        replica: ReplicaName,
    },
    /// Drop what is left of the link of an upgrade that is gone: it holds the log for a stage that takes no more.
    DropLink {
        /// Where.
        replica: ReplicaName,
        /// Which.
        link: GroupName,
        /// It is the primary of the group.
        leads: bool,
    },
    /// Write which upgrade the group takes part in, by compare-and-swap. `None`: in none.
    SetUpgrade(Option<Box<ActiveUpgrade>>),
    /// Point `-rw` at one pod, or at none.
    Route(Option<ReplicaName>),
    /// Label a pod with its role and whether it may be read from.
    Label {
        /// Whose pod.
        replica: ReplicaName,
        /// `primary`, `secondary`, `configuration-only` or `resolving`.
        role: String,
        /// Selected by `-ro`.
        readable: bool,
    },
    /// Set our readiness gate on a pod.
    Gate {
        /// Whose pod.
        replica: ReplicaName,
        /// Open or closed.
        ready: bool,
    },
    /// Say how a `Failover` object stands.
    Answer {
        /// Its name.
        request: String,
        /// Epoch of the election opened for it.
        epoch: Option<u64>,
        /// Finished, and whether well. `None`: under way.
        finished: Option<bool>,
        /// Why.
        reason: Reason,
        /// In a sentence.
        message: String,
    },
    /// Tell people: an event on the group.
    Announce {
        /// The word.
        reason: Reason,
        /// The sentence.
        message: String,
    },
}

impl Step {
    /// One word for metric labels and logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Record(_) => "Record",
            Self::Provision(_) => "Provision",
            Self::RotateCertificate(_) => "RotateCertificate",
            Self::SetPasswords { .. } => "SetPasswords",
            Self::ImportPartner { .. } => "ImportPartner",
            Self::KeepCertificate { .. } => "KeepCertificate",
            Self::CreateGroup { .. } => "CreateGroup",
            Self::Join { .. } => "Join",
            Self::AddReplica { .. } => "AddReplica",
            Self::RemoveReplica { .. } => "RemoveReplica",
            Self::SetMode { .. } => "SetMode",
            Self::StandDown { .. } => "StandDown",
            Self::Follow { .. } => "Follow",
            Self::Leave { .. } => "Leave",
            Self::Failover { .. } => "Failover",
            Self::StoreSettled { .. } => "StoreSettled",
            Self::SetCommitQuorum { .. } => "SetCommitQuorum",
            Self::RestartEndpoint(_) => "RestartEndpoint",
            Self::AdmitAll(_) => "AdmitAll",
            Self::CreateDatabase { .. } => "CreateDatabase",
            Self::AddDatabase { .. } => "AddDatabase",
            Self::Resume { .. } => "Resume",
            Self::EnsureLogin { .. } => "EnsureLogin",
            Self::EnsureUsers { .. } => "EnsureUsers",
            Self::SetFence { .. } => "SetFence",
            Self::EndSessions { .. } => "EndSessions",
            Self::DropLink { .. } => "DropLink",
            Self::SetUpgrade(_) => "SetUpgrade",
            Self::Route(_) => "Route",
            Self::Label { .. } => "Label",
            Self::Gate { .. } => "Gate",
            Self::Answer { .. } => "Answer",
            Self::Announce { .. } => "Announce",
        }
    }

    /// The replica whose SQL Server the step talks to. `None`: a Kubernetes step.
    pub fn instance(&self) -> Option<&ReplicaName> {
        match self {
            Self::Provision(r) | Self::RotateCertificate(r) | Self::RestartEndpoint(r) | Self::AdmitAll(r) => Some(r),
            Self::AddReplica { primary, .. } | Self::RemoveReplica { primary, .. } | Self::SetMode { primary, .. } => {
                Some(primary)
            }
            Self::SetPasswords { replica, .. }
            | Self::ImportPartner { replica, .. }
            | Self::CreateGroup { replica, .. }
            | Self::Join { replica, .. }
            | Self::StandDown { replica, .. }
            | Self::Follow { replica, .. }
            | Self::Leave { replica, .. }
            | Self::Failover { replica, .. }
            | Self::StoreSettled { replica, .. }
            | Self::SetCommitQuorum { replica, .. }
            | Self::CreateDatabase { replica, .. }
            | Self::AddDatabase { replica, .. }
            | Self::Resume { replica, .. }
            | Self::EnsureLogin { replica, .. }
            | Self::EnsureUsers { replica, .. }
            | Self::SetFence { replica, .. }
            | Self::DropLink { replica, .. }
            | Self::EndSessions { replica } => Some(replica),
            Self::Record(_)
            | Self::KeepCertificate { .. }
            | Self::SetUpgrade(_)
            | Self::Route(_)
            | Self::Label { .. }
            | Self::Gate { .. }
            | Self::Answer { .. }
            | Self::Announce { .. } => None,
        }
    }
}
