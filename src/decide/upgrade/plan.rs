//! What an upgrade tells instances: steps with the guards that the instance itself checks.
//!
//! Every step may be sent twice: the second one finds its work done and does nothing.

use super::observation::LoginFacts;
use crate::model::{DatabaseName, GroupName, LoginName, Mode, ReplicaName};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// An instance among several groups.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Instance {
    /// Namespace of its group.
    pub namespace: String,
    /// Its own group.
    pub group: GroupName,
    /// Its replica.
    pub replica: ReplicaName,
}

/// A group as the member of a link.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Side {
    /// Its name.
    pub group: GroupName,
    /// Its namespace.
    pub namespace: String,
}

impl Side {
    /// `LISTENER_URL`: the Service of the primary's mirroring endpoint, which follows every failover.
    pub fn listener_url(&self) -> String {
        let port = crate::model::group::ENDPOINT_PORT;
        format!("tcp://{}-primary.{}.svc:{port}", self.group, self.namespace)
    }
}

/// What is dropped with the definition of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DropAs {
    /// Nothing: the instance is primary of its group, and its side is the link's primary one. On production, where the
    /// group stays as it is, and on a stage that was promoted.
    Leading,
    /// The databases of a stage that is given up: the instance is primary of its group, its side the secondary one, and the
    /// other side is not connected. They are RESTORING afterwards.
    Abandoned,
    /// Nothing: the instance is not the primary of its group, where a definition stays until it is dropped.
    Leftover,
}

/// An extended property of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Mark {
    /// `quorate_barrier`, on production.
    Barrier,
    /// `quorate_stage`, on a stage that was promoted.
    Stage,
    /// `quorate_script_done`, on a stage.
    Completion,
}

impl Mark {
    /// Name of the property.
    pub const fn property(self) -> &'static str {
        match self {
            Self::Barrier => "quorate_barrier",
            Self::Stage => "quorate_stage",
            Self::Completion => "quorate_script_done",
        }
    }
}

/// One effect on an instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SqlStep {
    /// Import the public certificate of a replica of another group, with a login and a user, and admit it.
    TrustPartner {
        /// Where.
        at: Instance,
        /// Whose.
        partner: Instance,
        /// DER, lower-case hex.
        certificate: String,
    },
    /// Take all of that away again.
    ForgetPartner {
        /// Where.
        at: Instance,
        /// Whose.
        partner: Instance,
    },
    /// `CREATE AVAILABILITY GROUP .. WITH (DISTRIBUTED)`, committing asynchronously, seeding automatically. Refused unless
    /// the instance is primary of its group, and where a link of that name has other members.
    CreateLink {
        /// The primary replica of the side that leads.
        at: Instance,
        /// Its name.
        link: GroupName,
        /// The side that leads: production, or the stage in a chain.
        from: Side,
        /// The side that follows.
        to: Side,
    },
    /// `JOIN AVAILABILITY GROUP` with the same members. Refused as above.
    JoinLink {
        /// The primary replica of the side that follows.
        at: Instance,
        /// Its name.
        link: GroupName,
        /// The side that leads.
        from: Side,
        /// The side that follows.
        to: Side,
    },
    /// `MODIFY AVAILABILITY GROUP` of both members, as one side has them: it takes this step on both sides. Refused unless
    /// the instance is primary of its group.
    SetLinkMode {
        /// The primary replica of one side.
        at: Instance,
        /// Which link.
        link: GroupName,
        /// Its members.
        members: BTreeSet<GroupName>,
        /// Synchronous or asynchronous.
        mode: Mode,
    },
    /// `DROP AVAILABILITY GROUP` of a link on one instance. Refused where roles are not as `as_what` says.
    DropLink {
        /// Where.
        at: Instance,
        /// Which link.
        link: GroupName,
        /// What goes with it.
        as_what: DropAs,
    },
    /// `FORCE_FAILOVER_ALLOW_DATA_LOSS` on the forwarder: its side leads from then on. Refused unless the link is there, the
    /// instance is primary of its group, the side is the secondary one, and no database is REVERTING or INITIALIZING.
    Promote {
        /// The forwarder.
        at: Instance,
        /// Which link.
        link: GroupName,
        /// Refuse while the other side is still connected: two sides would lead.
        unless_connected: bool,
    },
    /// `SET HADR RESUME` of a copy that a forced failover left suspended; of any other nothing.
    Resume {
        /// A secondary of the promoted group, or the forwarder of a link behind it.
        at: Instance,
        /// The group or link in which the copy is suspended.
        group: GroupName,
        /// Its database.
        database: DatabaseName,
    },
    /// Write an extended property of a database. Refused unless the instance is primary of its group, and the database is
    /// in that group and writable.
    WriteMark {
        /// The primary.
        at: Instance,
        /// Its database.
        database: DatabaseName,
        /// Which.
        mark: Mark,
        /// The value, at most 3500 characters.
        value: String,
    },
    /// Take a copy of an attempt that was given up away: out of the stage's group, and off the disk. Refused while a link is
    /// defined there.
    Discard {
        /// An instance of the stage.
        at: Instance,
        /// The database.
        database: DatabaseName,
        /// [`Mark::Stage`] in it, where it was promoted; the instance has to be the primary of its group then. `None`: it has
        /// to be RESTORING, and in no group.
        mark: Option<String>,
    },
    /// Create a login with the SID and password hash that it has elsewhere, or set the hash of the one that has this SID.
    /// Refused where the name has another SID, or the SID another name. The hash is given when the batch is built.
    CarryLogin {
        /// Where.
        at: Instance,
        /// Whose.
        login: LoginName,
        /// What it is on production.
        facts: LoginFacts,
    },
    /// Create the login that a script runs as, and its user in each database, who owns it. Refused unless the instance is
    /// primary of its group, and each database is writable and carries this mark of a stage. The password is given when
    /// the batch is built.
    CreateRunner {
        /// The primary of the stage.
        at: Instance,
        /// Who; the login is named [`runner`] of it.
        attempt: String,
        /// Its databases, and the value of [`Mark::Stage`] in each.
        databases: BTreeMap<DatabaseName, String>,
    },
    /// End the sessions of that login, drop it, and drop its user in each database that can be written here, giving what the user owned to `dbo`.
    DropRunner {
        /// Where.
        at: Instance,
        /// Who.
        attempt: String,
        /// Its databases.
        databases: BTreeSet<DatabaseName>,
    },
    /// `KILL` sessions, each only if it is still the one that was seen and is not ours.
    KillSessions {
        /// Where.
        at: Instance,
        /// Numbers and [`super::observation::Session::since`].
        sessions: BTreeMap<i64, String>,
    },
}

/// Prefix of the login that a script runs as.
pub const RUNNER: &str = "quorate_script_";

/// The word that an attempt's login is named after.
pub fn attempt(upgrade: &str, number: u32) -> String {
    format!("{upgrade}_{number}")
}

/// Name of the login that a script of an attempt runs as.
pub fn runner(attempt: &str) -> String {
    format!("{RUNNER}{attempt}")
}

impl SqlStep {
    /// One word for metric labels and logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::TrustPartner { .. } => "TrustPartner",
            Self::ForgetPartner { .. } => "ForgetPartner",
            Self::CreateLink { .. } => "CreateLink",
            Self::JoinLink { .. } => "JoinLink",
            Self::SetLinkMode { .. } => "SetLinkMode",
            Self::DropLink { .. } => "DropLink",
            Self::Promote { .. } => "Promote",
            Self::Resume { .. } => "Resume",
            Self::WriteMark { .. } => "WriteMark",
            Self::Discard { .. } => "Discard",
            Self::CarryLogin { .. } => "CarryLogin",
            Self::CreateRunner { .. } => "CreateRunner",
            Self::DropRunner { .. } => "DropRunner",
            Self::KillSessions { .. } => "KillSessions",
        }
    }

    /// The instance that it is sent to.
    pub fn at(&self) -> &Instance {
        match self {
            Self::TrustPartner { at, .. }
            | Self::ForgetPartner { at, .. }
            | Self::CreateLink { at, .. }
            | Self::JoinLink { at, .. }
            | Self::SetLinkMode { at, .. }
            | Self::DropLink { at, .. }
            | Self::Promote { at, .. }
            | Self::Resume { at, .. }
            | Self::WriteMark { at, .. }
            | Self::Discard { at, .. }
            | Self::CarryLogin { at, .. }
            | Self::CreateRunner { at, .. }
            | Self::DropRunner { at, .. }
            | Self::KillSessions { at, .. } => at,
        }
    }
}
