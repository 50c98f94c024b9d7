//! One consistent moment of an instance, as plain data for the catalog views and DMVs.

use super::{DatabaseEntry, Shared};
use crate::group::{
    Group,
    config::ReplicaConfig,
    roles::{Role, Seeding, State},
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::time::Instant;
use uuid::Uuid;

/// The moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Databases by name.
    pub databases: BTreeMap<String, DatabaseMoment>,
    /// Groups by name.
    pub groups: BTreeMap<String, GroupMoment>,
}

/// A database.
#[derive(Clone, Debug)]
pub struct DatabaseMoment {
    /// Catalog entry.
    pub entry: DatabaseEntry,
    /// `state_desc` number: 0 ONLINE, 1 RESTORING, 2 RECOVERING.
    pub state: u8,
    /// The group it belongs to here: `replica_id` and `group_database_id`.
    pub group: Option<(Uuid, Uuid)>,
}

/// A group.
#[derive(Clone, Debug)]
pub struct GroupMoment {
    /// The copy of the configuration here.
    pub config: crate::group::Config,
    /// Role here.
    pub role: Role,
    /// `operational_state`: 0 PENDING_FAILOVER, 2 ONLINE, 3 OFFLINE.
    pub operational_state: u8,
    /// Local replica's name.
    pub me: String,
    /// Connected: a secondary to its primary; a primary always.
    pub connected: bool,
    /// `primary_replica`
    pub primary: Option<String>,
    /// Start of the pending configuration commit.
    pub commit_pending_since: Option<SystemTime>,
    /// Other replicas, as a primary sees them; else empty.
    pub partners: BTreeMap<String, PartnerMoment>,
    /// Databases of the configuration.
    pub databases: BTreeMap<String, GroupDatabaseMoment>,
    /// Seeding rows.
    pub seeding: Vec<Seeding>,
    /// Time until the external write lease ends; `None`: there is none.
    pub lease: Option<Duration>,
}

/// A partner as a primary sees it.
#[derive(Clone, Debug)]
pub struct PartnerMoment {
    /// A session is open.
    pub connected: bool,
    /// Why the last one ended.
    pub last_error: Option<String>,
    /// When: `last_connect_error_timestamp`.
    pub last_error_at: Option<SystemTime>,
}

/// A database of a group.
#[derive(Clone, Debug)]
pub struct GroupDatabaseMoment {
    /// `group_database_id`
    pub id: Uuid,
    /// The local copy, if there is one.
    pub local: Option<CopyMoment>,
    /// Copies of other replicas, as a primary sees them.
    pub remote: BTreeMap<String, CopyMoment>,
    /// Replicas marked synchronized in the configuration here: `is_failover_ready`.
    pub synchronized: Vec<String>,
    /// Replicas that have to suspend it after a forced failover: `is_pending_secondary_suspend`.
    pub pending_suspend: Vec<String>,
}

/// One copy of a database.
#[derive(Clone, Debug)]
pub struct CopyMoment {
    /// `synchronization_state`: 0 NOT SYNCHRONIZING, 1 SYNCHRONIZING, 2 SYNCHRONIZED.
    pub state: u8,
    /// `suspend_reason`. `None`: not suspended.
    pub suspended: Option<u8>,
    /// Hardened up to here.
    pub hardened: u64,
    /// Redone up to here.
    pub redone: u64,
    /// When the last record redone was written, microseconds since 1970.
    pub committed_at: Option<i64>,
}

impl CopyMoment {
    /// `redo_queue_size`, KB; a record counts as one.
    pub fn redo_queue(&self) -> u64 {
        self.hardened.saturating_sub(self.redone)
    }
}

/// Takes the moment.
pub fn take(shared: &Arc<Shared>) -> Snapshot {
    let groups: BTreeMap<_, _> =
        shared.all_groups().into_iter().map(|group| (group.name.clone(), group_moment(shared, &group))).collect();
    let databases =
        shared.entries().iter().map(|(name, entry)| (name.clone(), database_moment(name, entry, &groups))).collect();
    Snapshot { databases, groups }
}

fn database_moment(name: &str, entry: &DatabaseEntry, groups: &BTreeMap<String, GroupMoment>) -> DatabaseMoment {
    let plain = groups.values().filter(|group| !group.config.distributed);
    let group = plain.into_iter().find_map(|group| {
        let database = group.databases.get(name).filter(|database| database.local.is_some())?;
        Some((group.config.replicas.get(&group.me)?.id, database.id))
    });
    DatabaseMoment { state: u8::from(entry.restoring), entry: entry.clone(), group }
}

fn group_moment(shared: &Arc<Shared>, group: &Arc<Group>) -> GroupMoment {
    let state = group.state();
    let primary = state.role == Role::Primary;
    let others = state.copy.config.replicas.keys().filter(|name| **name != group.me);
    let partners = others.filter(|_| primary).map(|name| {
        let partner = state.partners.get(name);
        (
            name.clone(),
            PartnerMoment {
                connected: partner.is_some_and(|p| p.connected),
                last_error: partner.and_then(|p| p.last_error.clone()),
                last_error_at: partner.and_then(|p| p.last_error_at),
            },
        )
    });
    GroupMoment {
        role: state.role,
        operational_state: match (state.pending_failover, state.role) {
            (true, _) => 0,
            (false, Role::Resolving) => 3,
            (false, _) => 2,
        },
        me: group.me.clone(),
        connected: primary || state.following.is_some(),
        primary: if primary {
            Some(group.me.clone())
        } else {
            state.following.clone().or_else(|| state.last_primary.clone())
        },
        commit_pending_since: state.pending.as_ref().map(|pending| pending.since),
        partners: partners.collect(),
        databases: state
            .copy
            .config
            .databases
            .iter()
            .map(|(name, database)| {
                (
                    name.clone(),
                    GroupDatabaseMoment {
                        id: database.id,
                        local: local_copy(shared, group, &state, name),
                        remote: remote_copies(shared, group, &state, name),
                        synchronized: database.synchronized.iter().cloned().collect(),
                        pending_suspend: database.pending_suspend.iter().cloned().collect(),
                    },
                )
            })
            .collect(),
        seeding: state.seeding.clone(),
        lease: state.lease.map(|end| end.saturating_duration_since(Instant::now())),
        config: state.copy.config.clone(),
    }
}

fn local_copy(shared: &Arc<Shared>, group: &Arc<Group>, state: &State, name: &str) -> Option<CopyMoment> {
    let here = state.copy.local.contains(name) || group.distributed && state.role == Role::Primary;
    let database = shared.database(name).filter(|_| here)?;
    let suspended = state.copy.suspended.get(name).copied();
    let marked =
        state.copy.config.databases.get(name).is_some_and(|database| database.synchronized.contains(&group.me));
    let synchronous = state.copy.config.replicas.get(&group.me).is_some_and(|replica| replica.availability_mode == 1);
    let state = match state.role {
        _ if suspended.is_some() => 0,
        Role::Primary => {
            if synchronous {
                2
            } else {
                1
            }
        }
        Role::Secondary if state.following.is_some() => {
            if marked {
                2
            } else {
                1
            }
        }
        Role::Secondary | Role::Resolving => 0,
    };
    let (hardened, redone) = database.positions();
    Some(CopyMoment { state, suspended, hardened, redone, committed_at: database.time_at(redone) })
}

fn remote_copies(shared: &Shared, group: &Arc<Group>, state: &State, name: &str) -> BTreeMap<String, CopyMoment> {
    if state.role != Role::Primary {
        return BTreeMap::new();
    }
    let holds = state
        .committed
        .replicas
        .iter()
        .filter(|(replica, config)| **replica != group.me && ReplicaConfig::holds_data(config) && config.joined);
    holds
        .map(|(replica, _)| {
            let partner = state.partners.get(replica);
            let connected = partner.is_some_and(|partner| partner.connected);
            let hardened = partner.and_then(|partner| partner.hardened.get(name)).copied();
            let marked =
                state.committed.databases.get(name).is_some_and(|database| database.synchronized.contains(replica));
            let own = state.copy.suspended.get(name).copied();
            let suspended = partner.and_then(|partner| partner.suspended.get(name)).copied().or(own);
            let value = match (connected, hardened) {
                _ if suspended.is_some() => 0,
                (true, Some(_)) if marked => 2,
                (true, Some(_)) => 1,
                _ => 0,
            };
            let redone = partner.and_then(|partner| partner.redone.get(name)).copied().unwrap_or(0);
            let committed_at = shared.database(name).and_then(|database| database.time_at(redone));
            let hardened = hardened.unwrap_or(0);
            (replica.clone(), CopyMoment { state: value, suspended, hardened, redone, committed_at })
        })
        .collect()
}
