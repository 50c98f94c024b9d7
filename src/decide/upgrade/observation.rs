//! What one look at an instance of an upgrade saw. The field documentation is the glossary.
//!
//! A *link* is a distributed availability group from one group to another. Its members are groups; the databases are those
//! of the group on its primary side. The primary replica of that side's group is the *global primary*, the one of the
//! other side's group the *forwarder*; only the global primary knows how far the other side is.

use crate::{
    decide::observation::FenceFacts,
    model::{DatabaseName, GroupName, LoginName, Lsn, Mode, ReplicaName, Role},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// Facts of one instance, all from one round trip.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The instance itself.
    pub server: Server,
    /// The own group, as this instance has it. `None`: not a member.
    pub group: Option<GroupFacts>,
    /// Every link that is defined here, by its name, those of other upgrades included.
    pub links: BTreeMap<GroupName, LinkFacts>,
    /// Automatic seedings that this instance remembers, in the order of their start; they are forgotten at its restart.
    pub seedings: Vec<Seeding>,
    /// Its user databases, by name, those of no group included.
    pub databases: BTreeMap<DatabaseName, DatabaseFacts>,
    /// Sessions of clients that are not ours, by number.
    pub sessions: BTreeMap<i64, Session>,
    /// SQL logins that are neither ours nor the server's own; without their password hashes.
    pub logins: BTreeMap<LoginName, LoginFacts>,
    /// Replicas of other groups that are trusted here for a link, by [`trust_of`].
    pub trusted: BTreeMap<String, Trust>,
    /// The logon trigger of a fence. `None`: there is none.
    pub fence: Option<FenceFacts>,
}

/// `SERVERPROPERTY` and the endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// `ServerName`
    pub name: String,
    /// `ProductVersion`, e.g. `16.0.4225.2`.
    pub version: String,
    /// `Edition`
    pub edition: String,
    /// `EngineEdition`: 2 Standard, 3 Enterprise, Developer and Evaluation, 4 Express and Web.
    pub engine_edition: i64,
    /// `Collation`
    pub collation: String,
    /// Its own clock, seconds since 1970, UTC.
    pub utc: i64,
    /// Public half of the certificate of its mirroring endpoint, DER, lower-case hex. `None`: not set up.
    pub certificate: Option<String>,
}

/// The own group as one instance has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupFacts {
    /// `group_id`, which is the same on all its replicas.
    pub id: String,
    /// Role of this replica.
    pub role: Role,
    /// It is connected to a primary; meaningless unless it is SECONDARY.
    pub connected: bool,
    /// Its members, with what a primary knows of each.
    pub members: BTreeMap<ReplicaName, Member>,
}

/// A member of the own group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Its mode.
    pub mode: Mode,
    /// It is connected; only a primary knows of others.
    pub connected: bool,
    /// Whether its databases may be read while it is secondary, as DDL spells it: `NO`, `READ_ONLY`, `ALL`.
    pub readable: String,
    /// Its databases and how far each is; only a primary knows of others.
    pub databases: BTreeMap<DatabaseName, CopyFacts>,
}

/// A link as one instance has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinkFacts {
    /// `group_id` of the link in this instance's copy; that of the other side may be another one.
    pub id: String,
    /// Role of the local side: PRIMARY is the global primary's, SECONDARY the forwarder's. On a replica that is not the
    /// primary one of its own group it means nothing.
    pub role: Role,
    /// The local side is connected to the other one; meaningless unless `role` is SECONDARY.
    pub connected: bool,
    /// Both members, by the name of their group.
    pub members: BTreeMap<GroupName, LinkMember>,
    /// The databases that go over it, by name.
    pub databases: BTreeMap<DatabaseName, LinkDatabase>,
}

/// A group as member of a link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinkMember {
    /// `LISTENER_URL`
    pub listener_url: String,
    /// Its mode, as this side was told.
    pub mode: Mode,
    /// It is seeded automatically.
    pub automatic_seeding: bool,
    /// It is the group of this instance.
    pub local: bool,
    /// Connected state of its row: of the other side's only the global primary has one. `None`: no row.
    pub connected: Option<bool>,
}

/// A database that goes over a link, as one instance sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LinkDatabase {
    /// The local side's row. Its `hardened` is comparable with the remote one's on the global primary alone.
    pub local: Option<CopyFacts>,
    /// The other side's row; only the global primary has one.
    pub remote: Option<CopyFacts>,
}

/// A copy of a database, a row of `sys.dm_hadr_database_replica_states`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CopyFacts {
    /// `synchronization_state_desc`: `NOT SYNCHRONIZING`, `SYNCHRONIZING`, `SYNCHRONIZED`, `REVERTING`, `INITIALIZING`.
    pub state: String,
    /// `last_hardened_lsn`, the start of the next log block: everything before it is on disk there. `None` of a primary
    /// database that commits asynchronously. Two copies are equal when these are; the end of the log never is.
    pub hardened: Option<Lsn>,
    /// `last_commit_lsn`: of a primary its last commit, of a secondary the last one that was redone.
    pub committed: Option<Lsn>,
    /// `end_of_log_lsn`: for people only.
    pub end_of_log: Option<Lsn>,
    /// Log that it was not sent yet, KiB; none of a primary.
    pub send_queue: i64,
    /// Log that it did not redo yet, KiB; none of a primary.
    pub redo_queue: i64,
    /// Data movement is suspended.
    pub suspended: bool,
    /// `suspend_reason_desc`, e.g. `SUSPEND_FROM_PARTNER` after a forced failover elsewhere.
    pub suspend_reason: Option<String>,
}

/// One automatic seeding, a row of `sys.dm_hadr_automatic_seeding` with its `sys.dm_hadr_physical_seeding_stats`.
/// A FAILED one does not prove that a copy is missing: that is for the copies to say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seeding {
    /// The group or link that it belongs to.
    pub group: Option<GroupName>,
    /// Whose data. `None`: it is in no group any more.
    pub database: Option<DatabaseName>,
    /// The other end: a replica of the own group, or the other group of a link.
    pub partner: Option<String>,
    /// This instance sends; else it receives.
    pub source: bool,
    /// `current_state`: `SEEDING`, `COMPLETED`, `FAILED`, ..
    pub state: String,
    /// Bytes transferred.
    pub bytes: Option<i64>,
    /// Bytes in all.
    pub total: Option<i64>,
    /// Bytes per second now.
    pub rate: Option<i64>,
    /// What failed, in the server's words.
    pub failure: Option<String>,
}

/// A user database.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DatabaseFacts {
    /// `state_desc`: `ONLINE`, `RESTORING`, ..
    pub state: String,
    /// `DATABASEPROPERTYEX(.., 'Updateability')` is READ_WRITE, which it is on a primary alone.
    pub writable: bool,
    /// Recovery model FULL.
    pub full_recovery: bool,
    /// A log chain exists (`last_log_backup_lsn` is set).
    pub log_chain: bool,
    /// `recovery_fork_guid`: another one after each recovery from a point that others went beyond.
    pub fork: Option<String>,
    /// Its own availability group, never a link. `None`: it is in none.
    pub group: Option<GroupName>,
    /// The local copy has joined that group.
    pub joined: bool,
    /// The local copy in that group.
    pub own: Option<CopyFacts>,
    /// `log_reuse_wait_desc`: `NOTHING`, `LOG_BACKUP`, `AVAILABILITY_REPLICA`, ..
    pub log_wait: String,
    /// What stands inside it. `None`: not asked for.
    pub inside: Option<Inside>,
}

/// What can be read inside one database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Inside {
    /// It could be read.
    Read(Marks),
    /// It could not be read now, e.g. 976 of a secondary that nobody may read, 1222 of one that is locked.
    Unreadable {
        /// Error number.
        number: i64,
        /// Error text.
        why: String,
    },
}

/// Our extended properties of a database, and its log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Marks {
    /// `quorate_barrier`: everything that was committed before it was written is where it is found.
    pub barrier: Option<String>,
    /// `quorate_stage`: this database was promoted by an upgrade.
    pub stage: Option<String>,
    /// `quorate_script_done`: the script ended well here.
    pub completion: Option<String>,
    /// Part of the log that is in use, in percent rounded up.
    pub log_used_percent: Option<i64>,
}

/// A session of a client that is not ours.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// `login_time` as the instance writes it, without a zone. With the number it names the session for ever: numbers are
    /// used again.
    pub since: String,
    /// Who logged in (`original_login_name`).
    pub login: String,
    /// `program_name`, which a client may choose.
    pub program: String,
    /// `host_name`, which a client may choose.
    pub host: String,
    /// The database it is in. `None`: gone.
    pub database: Option<String>,
    /// Open transactions.
    pub transactions: i64,
    /// Age of the oldest one. `None`: none is open.
    pub oldest_transaction: Option<Duration>,
    /// It was killed and still rolls back.
    pub rolling_back: bool,
}

/// A login with a password, as it would be carried over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LoginFacts {
    /// Upper-case hex.
    pub sid: String,
    /// It may not log in.
    pub disabled: bool,
    /// Its default database.
    pub default_database: Option<String>,
    /// `CHECK_POLICY`
    pub check_policy: bool,
    /// `CHECK_EXPIRATION`
    pub check_expiration: bool,
}

/// What one instance has of a replica of another group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trust {
    /// Its public certificate, DER, lower-case hex. `None`: not imported.
    pub certificate: Option<String>,
    /// CONNECT on the endpoint is granted and not denied.
    pub admitted: bool,
}

/// The key of a replica of another group in [`Facts::trusted`]; neither part can hold an underscore.
pub fn trust_of(namespace: &str, replica: &ReplicaName) -> String {
    format!("{namespace}_{replica}")
}

impl Facts {
    /// Whether this instance is the primary of its own group.
    pub fn leads(&self) -> bool {
        self.group.as_ref().is_some_and(|group| group.role == Role::Primary)
    }

    /// The copy of a database that is being sent from here, the one begun last.
    pub fn sent(&self, database: &DatabaseName) -> Option<&Seeding> {
        self.seedings.iter().rfind(|it| it.source && it.database.as_ref() == Some(database) && it.state == "SEEDING")
    }

    /// What stands inside a database that could be read.
    pub fn marks(&self, database: &DatabaseName) -> Option<&Marks> {
        match &self.databases.get(database)?.inside {
            Some(Inside::Read(marks)) => Some(marks),
            Some(Inside::Unreadable { .. }) | None => None,
        }
    }
}

impl Seeding {
    /// Bytes that moved, of all. `None`: not known yet.
    pub fn moved(&self) -> Option<(i64, i64)> {
        Some((self.bytes?, self.total?))
    }
}

impl LinkDatabase {
    /// Whether both sides are SYNCHRONIZED and hardened the same log, as the global primary sees it at this moment.
    pub fn is_level(&self) -> bool {
        let (Some(local), Some(remote)) = (&self.local, &self.remote) else { return false };
        let synchronized = |copy: &CopyFacts| copy.state == crate::decide::observation::SYNCHRONIZED && !copy.suspended;
        synchronized(local) && synchronized(remote) && remote.hardened.is_some() && local.hardened == remote.hardened
    }
}
