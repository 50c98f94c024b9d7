//! What a primary and a readable secondary allow, and when a write is acknowledged.

use super::roles::{Group, Role, State};
use crate::{
    errors::{Message, SqlResult},
    store::database::Owner,
};
use futures::future::BoxFuture;
use std::sync::Arc;

struct GroupOwner(Arc<Group>);

/// The group as the owner of its databases.
pub fn owner(group: &Arc<Group>) -> Arc<dyn Owner> {
    Arc::new(GroupOwner(group.clone()))
}

impl Owner for GroupOwner {
    fn admit(&self, database: &str, write: bool) -> SqlResult<u64> {
        let state = self.0.state();
        match self.0.role_of_databases(&state) {
            Role::Resolving => Err(not_in_role(database)),
            Role::Primary => {
                let short = |group: &Group, state: &State| {
                    synchronized(state, &group.me, database) < state.committed.commit_quorum
                };
                let (reign, mut lacks) = (state.reign, short(&self.0, &state));
                drop(state);
                lacks |= links(&self.0).iter().any(|link| short(link, &link.state()));
                if lacks { Err(no_quorum(database)) } else { Ok(reign) }
            }
            Role::Secondary if write => Err(Message::new(
                3906,
                16,
                format!("Failed to update database \"{database}\" because the database is read-only."),
            )
            .state(2)),
            Role::Secondary => {
                let own = state.copy.config.replicas.get(&self.0.me);
                let allowed = own.is_some_and(|replica| replica.secondary_connections != 0);
                let (reign, mut suspended) = (state.reign, state.copy.suspended.contains_key(database));
                let forwarder = state.role == Role::Primary;
                drop(state);
                let links = self.0.instance().ok().filter(|_| forwarder).map(|shared| shared.links_of(&self.0.name));
                suspended |= links.unwrap_or_default().iter().any(|link| stopped(link, database));
                if allowed && !suspended { Ok(reign) } else { Err(not_readable(database)) }
            }
        }
    }

    fn fork(&self) -> u64 {
        self.0.state().fork
    }

    fn now(&self) -> i64 {
        let now = self.0.instance().map(|shared| shared.now()).unwrap_or_else(|_| std::time::SystemTime::now());
        let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }

    fn hardened(&self) {
        self.0.touch();
    }

    fn acknowledged<'a>(&'a self, database: &'a str, lsn: u64, reign: u64) -> BoxFuture<'a, SqlResult<()>> {
        Box::pin(async move {
            let mut changes = self.0.changes();
            loop {
                {
                    self.0.instance()?;
                    let state = self.0.state();
                    if self.0.role_of_databases(&state) != Role::Primary || state.reign != reign {
                        return Err(not_in_role(database));
                    }
                    if !state.copy.local.contains(database) {
                        // It has left the group, with what is in its log.
                        return Ok(());
                    }
                    let here = is_acknowledged(&state, &self.0.me, database, lsn);
                    drop(state);
                    let there = |link: &Arc<Group>| is_acknowledged(&link.state(), &link.me, database, lsn);
                    if here && links(&self.0).iter().all(there) {
                        return Ok(());
                    }
                }
                if changes.changed().await.is_err() {
                    return Err(not_in_role(database));
                }
            }
        })
    }
}

/// Whether a forwarder takes no log of a database from the other side.
fn stopped(link: &Group, database: &str) -> bool {
    let state = link.state();
    !state.copy.was_primary && state.copy.suspended.contains_key(database)
}

/// The distributed groups that this group leads.
pub fn links(group: &Arc<Group>) -> Vec<Arc<Group>> {
    let links = group.instance().map(|shared| shared.links_of(&group.name)).unwrap_or_default();
    links.into_iter().filter(|link| link.state().role == Role::Primary).collect()
}

/// Whether a session may use a database now: 976, 978 and 979 by the rights of a secondary, the rest by role.
pub fn may_connect(group: &Arc<Group>, database: &str, read_only_intent: bool) -> SqlResult<()> {
    let intent_required = {
        let state = group.state();
        let own = state.copy.config.replicas.get(&group.me);
        let primary = group.role_of_databases(&state) == Role::Primary;
        if read_only_intent && primary && own.is_some_and(|own| own.primary_connections == 3) {
            return Err(Message::new(
                979,
                14,
                format!(
                    "The target database ('{database}') is in an availability group and currently does not allow read only connections. For more information about application intent, see SQL Server Books Online."
                ),
            ));
        }
        group.role_of_databases(&state) == Role::Secondary
            && state.copy.config.replicas.get(&group.me).is_some_and(|own| own.secondary_connections == 1)
    };
    if intent_required && !read_only_intent {
        return Err(Message::new(
            978,
            14,
            format!(
                "The target database ('{database}') is in an availability group and is currently accessible for connections when the application intent is set to read only. For more information about application intent, see SQL Server Books Online."
            ),
        ));
    }
    GroupOwner(group.clone()).admit(database, false).map(|_| ())
}

/// Synchronous secondaries that are connected and marked synchronized.
pub fn synchronized(state: &State, me: &str, database: &str) -> i64 {
    let marked = state.committed.synchronized(database, me);
    marked.iter().filter(|name| state.partners.get(**name).is_some_and(|partner| partner.connected)).count() as i64
}

/// Every replica marked SYNCHRONIZED in the committed or the pending configuration has hardened it, and enough of them.
fn is_acknowledged(state: &State, me: &str, database: &str, lsn: u64) -> bool {
    if state.hold {
        return false;
    }
    let has = |name: &str| {
        state
            .partners
            .get(name)
            .and_then(|partner| partner.hardened.get(database))
            .is_some_and(|hardened| *hardened >= lsn)
    };
    let committed = state.committed.synchronized(database, me);
    let pending = state.pending.as_ref().map(|pending| pending.config.synchronized(database, me)).unwrap_or_default();
    let everybody = committed.iter().chain(&pending).all(|name| has(name));
    let enough = committed.iter().filter(|name| has(name)).count() as i64;
    let proposed = state.pending.as_ref().map_or(0, |pending| pending.config.commit_quorum);
    everybody && enough >= state.committed.commit_quorum.max(proposed)
}

/// 983
pub fn not_in_role(database: &str) -> Message {
    Message::new(
        983,
        14,
        format!(
            "Unable to access availability database '{database}' because the database replica is not in the PRIMARY or SECONDARY role. Connections to an availability database is permitted only when the database replica is in the PRIMARY or SECONDARY role. Try the operation again later."
        ),
    )
}

/// 988
fn no_quorum(database: &str) -> Message {
    Message::new(
        988,
        14,
        format!(
            "Unable to access database '{database}' because it lacks a quorum of nodes for high availability. Try the operation again later."
        ),
    )
}

/// 976
fn not_readable(database: &str) -> Message {
    Message::new(
        976,
        14,
        format!(
            "The target database, '{database}', is participating in an availability group and is currently not accessible for queries. Either data movement is suspended or the availability replica is not enabled for read access. To allow read-only access to this and other databases in the availability group, enable read access to one or more secondary availability replicas in the group. For more information, see the ALTER AVAILABILITY GROUP statement in SQL Server Books Online."
        ),
    )
}
