//! The link itself, on one of its two sides (SQL Server docs, "Configure an Always On distributed availability group").

use super::{
    super::role::{in_turn, is_here, refuse_if, refuse_unless},
    Batch, Login, Unbuildable, indented, only_where_it_leads,
};
use crate::{
    decide::upgrade::{DropAs, Instance, Side},
    model::{DatabaseName, GroupName, Mode, Role, name::literal},
    sql::error::guard,
};
use std::collections::BTreeSet;

/// CREATE on the side that leads.
pub(super) fn create(at: &Instance, link: &GroupName, sides: [&Side; 2]) -> Batch {
    let create = format!("CREATE AVAILABILITY GROUP {} WITH (DISTRIBUTED) AVAILABILITY GROUP ON", link.quoted());
    define(at, link, sides, Role::Secondary, &create)
}

/// JOIN on the side that follows.
pub(super) fn join(at: &Instance, link: &GroupName, sides: [&Side; 2]) -> Batch {
    let join = format!("ALTER AVAILABILITY GROUP {} JOIN AVAILABILITY GROUP ON", link.quoted());
    define(at, link, sides, Role::Primary, &join)
}

/// Guard on the own role, on who the members are, and on the role of the side; then the statement.
fn define(at: &Instance, link: &GroupName, sides: [&Side; 2], never: Role, statement: &str) -> Batch {
    let members = sides.map(|side| {
        format!(
            "{} WITH (LISTENER_URL = {}, AVAILABILITY_MODE = ASYNCHRONOUS_COMMIT, FAILOVER_MODE = MANUAL, \
             SEEDING_MODE = AUTOMATIC)",
            side.group.literal(),
            literal(&side.listener_url())
        )
    });
    let known = sides.map(|side| {
        format!(
            "r.replica_server_name = {} AND r.endpoint_url = {}",
            side.group.literal(),
            literal(&side.listener_url())
        )
    });
    let other = format!(
        "EXISTS (SELECT 1 FROM sys.availability_groups AS g WHERE g.name = {} AND (g.is_distributed = 0 \
         OR (SELECT COUNT(*) FROM sys.availability_replicas AS r WHERE r.group_id = g.group_id AND ({})) <> 2))",
        link.literal(),
        known.join(" OR ")
    );
    let lines = [
        only_where_it_leads(&at.group),
        refuse_if(&other, guard::TAKEN, "a group of this name has other members"),
        refuse_if(&with_role(link, never), guard::CHANGED, "it is the other side of the link"),
        format!("IF NOT {}\n    {statement}\n        {};", is_defined(link), members.join(",\n        ")),
    ];
    Batch::new(Login::Admin, in_turn(&lines)).within(30)
}

/// MODIFY AVAILABILITY GROUP, where a member has another mode.
pub(super) fn set_mode(
    at: &Instance,
    link: &GroupName,
    members: &BTreeSet<GroupName>,
    mode: Mode,
) -> Result<Batch, Unbuildable> {
    let number = match mode {
        Mode::Asynchronous => 0,
        Mode::Synchronous => 1,
        Mode::ConfigurationOnly => return Err(Unbuildable::NotSql),
    };
    let modes: Vec<_> = members
        .iter()
        .map(|member| format!("{} WITH (AVAILABILITY_MODE = {})", member.literal(), mode.keyword()))
        .collect();
    let lines = [
        only_where_it_leads(&at.group),
        only_where_it_is_defined(link),
        format!(
            "IF EXISTS (SELECT 1 FROM sys.availability_groups AS g \
             JOIN sys.availability_replicas AS r ON r.group_id = g.group_id \
             WHERE g.name = {} AND r.availability_mode <> {number})\n    \
             ALTER AVAILABILITY GROUP {} MODIFY AVAILABILITY GROUP ON {};",
            link.literal(),
            link.quoted(),
            modes.join(", ")
        ),
    ];
    Ok(Batch::new(Login::Act, in_turn(&lines)).within(15))
}

/// DROP on this instance alone; where it is not defined there is nothing to guard.
pub(super) fn drop(group: &GroupName, link: &GroupName, as_what: DropAs) -> Batch {
    let role = |role: Role, number, why: &str| refuse_unless(&with_role(link, role), number, why);
    let guards = match as_what {
        DropAs::Leading => vec![
            only_where_it_leads(group),
            role(Role::Primary, guard::CHANGED, "its side of the link is not the primary one"),
        ],
        DropAs::Abandoned => vec![
            only_where_it_leads(group),
            role(Role::Secondary, guard::CHANGED, "its side of the link is not the secondary one"),
            not_connected(link),
        ],
        DropAs::Leftover => vec![refuse_unless(
            &is_here(group, &format!("g.is_distributed = 0 AND rs.role = {}", Role::Secondary.number())),
            guard::CHANGED,
            "not a secondary of its group",
        )],
    };
    let lines = [
        format!("IF {}\nBEGIN", is_defined(link)),
        indented(&guards),
        format!("    DROP AVAILABILITY GROUP {};\nEND;", link.quoted()),
    ];
    Batch::new(Login::Act, in_turn(&lines)).within(15)
}

/// FORCE_FAILOVER_ALLOW_DATA_LOSS on the forwarder. The role of a side that leads already is what was wanted.
pub(super) fn promote(at: &Instance, link: &GroupName, unless_connected: bool) -> Batch {
    let mut guards =
        vec![refuse_unless(&with_role(link, Role::Secondary), guard::CHANGED, "its side is in no role to be promoted")];
    guards.extend(unless_connected.then(|| not_connected(link)));
    // A forced failover of such a copy leaves a database that cannot start (sys.dm_hadr_database_replica_states).
    guards.push(refuse_if(
        "EXISTS (SELECT 1 FROM sys.dm_hadr_database_replica_states AS ds \
         WHERE ds.is_local = 1 AND ds.synchronization_state IN (3, 4))",
        guard::UNSETTLED,
        "a database is reverting or initializing",
    ));
    let lines = [
        only_where_it_leads(&at.group),
        only_where_it_is_defined(link),
        format!("IF NOT {}\nBEGIN", with_role(link, Role::Primary)),
        indented(&guards),
        format!("    ALTER AVAILABILITY GROUP {} FORCE_FAILOVER_ALLOW_DATA_LOSS;\nEND;", link.quoted()),
    ];
    Batch::new(Login::Act, in_turn(&lines)).within(20)
}

/// SET HADR RESUME of a copy that is secondary in a group or link, and suspended by a forced failover (reason 1).
pub(super) fn resume(group: &GroupName, database: &DatabaseName) -> Batch {
    let text = format!(
        "\
IF EXISTS (SELECT 1 FROM sys.dm_hadr_database_replica_states AS ds
           JOIN sys.availability_groups AS g ON g.group_id = ds.group_id
           WHERE g.name = {} AND ds.is_local = 1 AND ds.is_primary_replica = 0 AND ds.suspend_reason = 1
               AND ds.database_id = DB_ID({}))
    ALTER DATABASE {} SET HADR RESUME;",
        group.literal(),
        database.literal(),
        database.quoted()
    );
    Batch::new(Login::Admin, in_turn(&[text]))
}

fn is_defined(link: &GroupName) -> String {
    format!(
        "EXISTS (SELECT 1 FROM sys.availability_groups AS g WHERE g.name = {} AND g.is_distributed = 1)",
        link.literal()
    )
}

fn with_role(link: &GroupName, role: Role) -> String {
    is_here(link, &format!("g.is_distributed = 1 AND rs.role = {}", role.number()))
}

fn only_where_it_is_defined(link: &GroupName) -> String {
    refuse_unless(&is_defined(link), guard::NO_LINK, "the link is not defined here")
}

/// What does not say that it is connected is not.
fn not_connected(link: &GroupName) -> String {
    refuse_if(
        &is_here(link, "g.is_distributed = 1 AND rs.connected_state = 1"),
        guard::STILL_CONNECTED,
        "the other side of the link is connected",
    )
}
