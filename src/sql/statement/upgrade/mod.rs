//! Steps of an upgrade to T-SQL.
//!
//! | File | Steps | Login | Why as this one |
//! |---|---|---|---|
//! | `partner.rs` | TrustPartner, ForgetPartner | `sa` | logins and certificates |
//! | `link.rs` | CreateLink, JoinLink | `sa` | CREATE AVAILABILITY GROUP asks for membership in `sysadmin` |
//! | `link.rs` | SetLinkMode, DropLink, Promote | `quorate_act` | ALTER ANY AVAILABILITY GROUP is enough |
//! | `link.rs` | Resume | `sa` | no login of ours may be a user of a database that cannot be opened |
//! | `discard.rs` | Discard | `sa` | DROP DATABASE, KILL |
//! | `mark.rs` | WriteMark | `sa` | `quorate_act` is no user of the databases |
//! | `login.rs` | CarryLogin, CreateRunner, DropRunner | `sa` | password hashes, users |
//! | `session.rs` | KillSessions | `sa` | `quorate_act` has no ALTER ANY CONNECTION |
//!
//! Every batch looks before it acts, so that it may be sent again; what it finds in the wrong role, or taken by somebody
//! else, it refuses with a number of [`crate::sql::error::guard`].

mod discard;
mod link;
mod login;
mod mark;
mod partner;
pub(in crate::sql) mod session;

use super::{Batch, Login, Unbuildable};
use crate::{
    decide::upgrade::{DropAs, SqlStep},
    model::{GroupName, LoginName, Role},
    sql::Secret,
};
use std::collections::BTreeMap;

/// What a batch is built from beside its step.
pub struct Context<'a> {
    /// Password hashes of logins that are carried over, upper-case hex; see [`crate::sql::upgrade::hashes_batch`].
    pub hashes: &'a BTreeMap<LoginName, Secret>,
    /// Password of the login that a script runs as. `None`: no such step is built.
    pub runner: Option<&'a Secret>,
    /// A new random password, different at each call.
    pub random: &'a (dyn Fn() -> Secret + Sync),
}

/// The batches of a step, in order; the first failure ends it.
pub fn batches(step: &SqlStep, context: &Context<'_>) -> Result<Vec<Batch>, Unbuildable> {
    let one = |batch| Ok(vec![batch]);
    match step {
        SqlStep::TrustPartner { partner, certificate, .. } => one(partner::trust(partner, certificate, context)?),
        SqlStep::ForgetPartner { partner, .. } => one(partner::forget(partner)?),
        SqlStep::CreateLink { at, link, from, to } => one(link::create(at, link, [from, to])),
        SqlStep::JoinLink { at, link, from, to } => one(link::join(at, link, [from, to])),
        SqlStep::SetLinkMode { at, link, members, mode } => one(link::set_mode(at, link, members, *mode)?),
        SqlStep::DropLink { at, link, as_what } => one(link::drop(&at.group, link, *as_what)),
        SqlStep::Promote { at, link, unless_connected } => one(link::promote(at, link, *unless_connected)),
        SqlStep::Resume { group, database, .. } => one(link::resume(group, database)),
        SqlStep::Discard { at, database, mark } => one(discard::discard(at, database, mark.as_deref())),
        SqlStep::WriteMark { at, database, mark, value } => one(mark::write(at, database, *mark, value)?),
        SqlStep::CarryLogin { login, facts, .. } => one(login::carry(login, facts, context)?),
        SqlStep::CreateRunner { at, attempt, databases } => login::create_runner(at, attempt, databases, context),
        SqlStep::DropRunner { at, attempt, databases } => login::drop_runner(at, attempt, databases),
        SqlStep::KillSessions { sessions, .. } => one(session::kill(sessions)),
    }
}

/// What an instance of `group` has of a link whose upgrade is gone.
pub(super) fn drop_link(group: &GroupName, link: &GroupName, leads: bool) -> Batch {
    link::drop(group, link, if leads { DropAs::Leading } else { DropAs::Leftover })
}

/// A condition: this instance is the primary replica of a group that is no link.
fn leads(group: &GroupName) -> String {
    let primary = Role::Primary.number();
    super::role::is_here(group, &format!("g.is_distributed = 0 AND rs.role = {primary}"))
}

fn indented(lines: &[String]) -> String {
    lines.iter().flat_map(|line| line.lines()).map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

/// Refuses unless this instance is the primary replica of its group.
fn only_where_it_leads(group: &GroupName) -> String {
    super::role::refuse_unless(&leads(group), crate::sql::error::guard::CHANGED, "not the primary of its group")
}

#[cfg(test)]
pub(in crate::sql) mod tests;
