//! Steps to T-SQL. Every statement that Quorate sends, the look apart, is built here.
//!
//! | File | Steps | Login |
//! |---|---|---|
//! | `setup.rs` | Provision, SetPasswords, ImportPartner | `sa` |
//! | `group.rs` | CreateGroup, Join | `sa` |
//! | `group.rs` | AddReplica, RemoveReplica, SetMode, SetCommitQuorum | `quorate_act` |
//! | `role.rs` | StandDown, Follow, Leave, Failover, StoreSettled, RestartEndpoint, AdmitAll | `quorate_act` |
//! | `fence.rs` | SetFence, EndSessions | `sa` |
//! | `database.rs` | CreateDatabase, AddDatabase, Resume, EnsureLogin, EnsureUsers | `sa` |
//! | `upgrade/` | those of an upgrade: [`upgrade`] | both |
//!
//! What is done once is done as `sa`; what an election needs is done as `quorate_act`, whose rights are:
//!
//! | Right of `quorate_act` | For |
//! |---|---|
//! | `ALTER ANY AVAILABILITY GROUP` | OFFLINE, SET, FAILOVER, DROP, ADD and REMOVE REPLICA |
//! | `VIEW SERVER STATE`, `VIEW ANY DEFINITION` | the guards |
//! | `CONTROL ON ENDPOINT::quorate_endpoint` | admit, deny, restart |
//! | `SELECT`, `INSERT`, `UPDATE ON master.dbo.quorate` | the epoch |
//!
//! | Right of `quorate_look` | For |
//! |---|---|
//! | `VIEW SERVER STATE`, `VIEW ANY DEFINITION` | catalog views and DMVs, the time of the last log backup among them |
//! | `CONNECT ANY DATABASE` | users of the databases |
//! | `SELECT ON master.dbo.quorate` | epoch and settled election |

mod database;
pub(super) mod fence;
mod group;
pub mod name;
mod role;
mod setup;
pub mod upgrade;

use super::Secret;
use crate::{
    decide::Step,
    model::{DatabaseName, Group, LoginName, ReplicaName},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

/// `program_name` of the session that runs FAILOVER, by which a look knows that it still runs.
pub const FAILOVER_PROGRAM: &str = "quorate-failover";
/// `program_name` of every other session.
pub const PROGRAM: &str = "quorate";

/// As whom a batch runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Login {
    /// `quorate_look`
    Look,
    /// `quorate_act`
    Act,
    /// `sa`
    Admin,
}

impl Login {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Look => name::LOOK,
            Self::Act => name::ACT,
            Self::Admin => name::ADMIN,
        }
    }
}

/// One batch, ready to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Batch {
    /// As whom.
    pub login: Login,
    /// Database to start in. `None`: `master`.
    pub database: Option<DatabaseName>,
    /// `program_name` of its session.
    pub program: &'static str,
    /// The text; may hold passwords.
    pub text: String,
    /// Time it has.
    pub within: Duration,
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({:?}, {} bytes)", self.login, self.text.len())
    }
}

impl Batch {
    fn new(login: Login, text: String) -> Self {
        Self { login, database: None, program: PROGRAM, text, within: Duration::from_secs(5) }
    }

    fn within(self, seconds: u64) -> Self {
        Self { within: Duration::from_secs(seconds), ..self }
    }
}

/// What a batch is built from beside its step.
pub struct Context<'a> {
    /// The wish.
    pub group: &'a Group,
    /// Partners known on the instance: imported there, wanted or recorded.
    pub partners: BTreeSet<ReplicaName>,
    /// Public certificates by replica, lower-case hex.
    pub certificates: &'a BTreeMap<ReplicaName, String>,
    /// Password of `quorate_look`.
    pub look: &'a Secret,
    /// Password of `quorate_act`.
    pub act: &'a Secret,
    /// Password of `sa`, where the instance has another one. `None`: it has this one.
    pub admin: Option<&'a Secret>,
    /// Passwords of application logins.
    pub logins: &'a BTreeMap<LoginName, Secret>,
    /// A new random password, different at each call.
    pub random: &'a (dyn Fn() -> Secret + Sync),
}

/// Why a step has no batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unbuildable {
    /// It is not a step for an instance.
    #[error("not a step for SQL Server")]
    NotSql,
    /// The password of an application login is not known.
    #[error("the password of login {0} is not known: its secret or key is missing")]
    NoPassword(LoginName),
    /// The spec holds no such login.
    #[error("the spec has no login {0}")]
    NoLogin(LoginName),
    /// A certificate, SID or hash is not hexadecimal.
    #[error("{0} is not hexadecimal")]
    NotHex(&'static str),
    /// A name or value is longer than the engine takes.
    #[error("{0} is too long")]
    TooLong(&'static str),
    /// A text holds control characters, or cannot be a name otherwise.
    #[error("{0} is not a name")]
    NotAName(&'static str),
    /// A login that every instance has of itself.
    #[error("login {0} is not one to be carried over")]
    NotCarried(LoginName),
}

/// The batches of a step, in order; the first failure ends it.
pub fn batches(step: &Step, context: &Context<'_>) -> Result<Vec<Batch>, Unbuildable> {
    let one = |batch| Ok(vec![batch]);
    match step {
        Step::Provision(replica) => one(setup::provision(replica, context)),
        Step::RotateCertificate(replica) => one(setup::rotate(replica, context)),
        Step::SetPasswords { version, .. } => one(setup::passwords(version, context)),
        Step::ImportPartner { partner, certificate, .. } => one(setup::import(partner, certificate, context)?),
        Step::CreateGroup { members, .. } => Ok(group::create(members, context)),
        Step::Join { holds_data, .. } => Ok(group::join(*holds_data, context)),
        Step::AddReplica { replica, mode, .. } => one(group::add_replica(replica, *mode, context)),
        Step::RemoveReplica { replica, .. } => one(group::remove_replica(replica, context)),
        Step::SetMode { replica, mode, epoch, .. } => one(group::set_mode(replica, *mode, *epoch, context)),
        Step::SetCommitQuorum { epoch, value, .. } => one(group::set_commit_quorum(*epoch, *value, context)),
        Step::StandDown { replica, epoch, unless_connected_to, admit, configuration_only } => one(role::stand_down(
            &role::StandDown {
                replica,
                epoch: *epoch,
                unless_connected_to: unless_connected_to.as_ref(),
                admit,
                configuration_only: *configuration_only,
            },
            context,
        )),
        Step::Follow { replica, epoch, primary } => one(role::follow(replica, *epoch, primary, context)),
        Step::Leave { epoch, primary, configuration_only, .. } => {
            one(role::leave(*epoch, primary, *configuration_only, context))
        }
        Step::Failover { replica, epoch, number, deadline, force } => {
            let guards = role::Promotion { epoch: *epoch, number: *number, deadline: *deadline };
            one(role::failover(replica, &guards, *force, context))
        }
        Step::StoreSettled { record, .. } => one(role::store_settled(record, context)),
        Step::RestartEndpoint(_) => one(role::restart_endpoint()),
        Step::AdmitAll(replica) => one(role::admit_all(replica, context)),
        Step::CreateDatabase { database, .. } => Ok(database::create(database)),
        Step::AddDatabase { database, .. } => Ok(database::add(database, context)),
        Step::Resume { database, epoch, .. } => one(database::resume(database, *epoch, context)),
        Step::EnsureLogin { login, sid, .. } => one(database::ensure_login(login, sid.as_deref(), context)?),
        Step::EnsureUsers { login, .. } => database::ensure_users(login, context),
        Step::SetFence { fence, databases, .. } => Ok(fence::set(fence.as_ref(), databases, context)),
        Step::EndSessions { .. } => one(fence::end_sessions()),
        Step::DropLink { link, leads, .. } => one(upgrade::drop_link(&context.group.name, link, *leads)),
        Step::Record(_)
        | Step::SetUpgrade(_)
        | Step::KeepCertificate { .. }
        | Step::Route(_)
        | Step::Label { .. }
        | Step::Gate { .. }
        | Step::Answer { .. }
        | Step::Announce { .. } => Err(Unbuildable::NotSql),
    }
}

#[cfg(test)]
mod tests;
