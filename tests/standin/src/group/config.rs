//! The configuration of a group and one instance's persisted copy of it.

use crate::store::disk::Disk;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};
use uuid::Uuid;

/// A replica in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaConfig {
    /// `replica_id`
    pub id: Uuid,
    /// `tcp://host:port`
    pub endpoint_url: String,
    /// 0 asynchronous, 1 synchronous, 4 configuration only.
    pub availability_mode: u8,
    /// 0 automatic, 1 manual, 2 external.
    pub failover_mode: u8,
    /// 0 automatic, 1 manual.
    pub seeding_mode: u8,
    /// Seconds.
    pub session_timeout: i64,
    /// 0..100
    pub backup_priority: i64,
    /// 0 no, 1 read only, 2 all.
    pub secondary_connections: u8,
    /// 2 all, 3 read write.
    pub primary_connections: u8,
    /// `READ_ONLY_ROUTING_URL`
    pub read_only_routing_url: Option<String>,
    /// `READ_WRITE_ROUTING_URL`
    pub read_write_routing_url: Option<String>,
    /// `READ_ONLY_ROUTING_LIST`
    pub read_only_routing_list: Vec<Vec<String>>,
    /// It was connected once: only then does it count in configuration commits.
    pub joined: bool,
}

impl ReplicaConfig {
    /// Whether configuration commits ask it.
    pub fn votes(&self) -> bool {
        self.joined && self.availability_mode != 0
    }

    /// Whether it holds databases.
    pub fn holds_data(&self) -> bool {
        self.availability_mode != 4
    }

    /// Its session timeout, in whole seconds from 1.
    pub fn seconds(&self) -> u64 {
        self.session_timeout.max(1).unsigned_abs()
    }

    /// Host and port of its endpoint.
    pub fn address(&self) -> Option<(String, u16)> {
        let rest = self.endpoint_url.strip_prefix("tcp://").or_else(|| self.endpoint_url.strip_prefix("TCP://"))?;
        let (host, port) = rest.rsplit_once(':')?;
        Some((host.into(), port.parse().ok()?))
    }
}

/// A database in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseConfig {
    /// `group_database_id`
    pub id: Uuid,
    /// Replicas marked SYNCHRONIZED, the primary among them.
    pub synchronized: BTreeSet<String>,
    /// Replicas that have to suspend it after a forced failover and have not yet: `is_pending_secondary_suspend`.
    #[serde(default)]
    pub pending_suspend: BTreeSet<String>,
}

/// One configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// `sequence_number`: promotions in the high half, other changes in the low half.
    pub number: i64,
    /// `group_id`
    pub id: Uuid,
    /// Name.
    pub name: String,
    /// Replicas by name.
    pub replicas: BTreeMap<String, ReplicaConfig>,
    /// Databases by name.
    pub databases: BTreeMap<String, DatabaseConfig>,
    /// `required_synchronized_secondaries_to_commit`
    pub commit_quorum: i64,
    /// `db_failover`
    pub db_failover: bool,
    /// `failure_condition_level`
    pub failure_condition_level: i64,
    /// Milliseconds.
    pub health_check_timeout: i64,
    /// 0..3
    pub automated_backup_preference: u8,
    /// Created WITH (WRITE_LEASE_VALIDITY).
    pub external_lease: bool,
    /// Created WITH (BASIC): `basic_features`.
    #[serde(default)]
    pub basic: bool,
    /// A group of groups: each of its replicas is an availability group.
    #[serde(default)]
    pub distributed: bool,
    /// The distributed groups that this group is a member of: every replica knows them.
    #[serde(default)]
    pub links: BTreeMap<String, Link>,
}

/// A distributed group as the configuration of a member has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its members and options; no databases: those are the member's.
    pub config: Config,
    /// This member's side is the primary one.
    pub primary: bool,
}

impl Config {
    /// High half of the number.
    pub fn major(&self) -> i64 {
        self.number >> 32
    }

    /// Names of the replicas that vote.
    pub fn voters(&self) -> BTreeSet<&str> {
        self.replicas.iter().filter(|(_, replica)| replica.votes()).map(|(name, _)| name.as_str()).collect()
    }

    /// Votes that commit a configuration: two synchronous replicas are the documented exception, one is enough. Of a
    /// distributed group each side has its own: nobody else is asked.
    pub fn majority(&self) -> usize {
        self.majority_of(self.voters().len())
    }

    /// The same for so many voters.
    pub fn majority_of(&self, voters: usize) -> usize {
        match voters {
            _ if self.distributed => 0,
            2 => 1,
            _ => voters / 2 + 1,
        }
    }

    /// Replicas other than `primary` that a commit in `database` waits for.
    pub fn synchronized(&self, database: &str, primary: &str) -> BTreeSet<&str> {
        let names = self
            .databases
            .get(database)
            .map(|db| db.synchronized.iter().map(String::as_str).filter(|name| *name != primary).collect());
        names.unwrap_or_default()
    }
}

/// `SUSPEND_FROM_PARTNER`: by a forced failover elsewhere.
pub const FROM_PARTNER: u8 = 1;

/// One instance's copy of a group, persisted before anybody is told of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// The last configuration accepted here.
    pub config: Config,
    /// It is known to be committed.
    pub committed: bool,
    /// Nothing below this is accepted any more.
    pub promised: i64,
    /// GRANT CREATE ANY DATABASE was said here.
    pub may_create_databases: bool,
    /// It was PRIMARY when it was last written; of a distributed group: this side is the primary one.
    pub was_primary: bool,
    /// Of a distributed group: the group here that is its member.
    #[serde(default)]
    pub member: Option<String>,
    /// Databases that hold a copy here.
    pub local: BTreeSet<String>,
    /// Databases suspended here, with the documented reason number.
    pub suspended: BTreeMap<String, u8>,
    /// Databases whose files are being replaced by seeding: nothing in them counts.
    #[serde(default)]
    pub seeding: BTreeSet<String>,
    /// What SET HADR asked for of databases that are not in `local`: to join (true), or to stay out (false).
    #[serde(default)]
    pub asked: BTreeMap<String, bool>,
    /// On a primary whose proposal is not committed yet: the configuration in force.
    #[serde(default)]
    pub in_force: Option<Config>,
}

impl Copy {
    /// A first copy.
    pub fn new(config: Config, was_primary: bool) -> Self {
        Self {
            config,
            committed: true,
            promised: 0,
            may_create_databases: false,
            was_primary,
            member: None,
            local: BTreeSet::new(),
            suspended: BTreeMap::new(),
            seeding: BTreeSet::new(),
            asked: BTreeMap::new(),
            in_force: None,
        }
    }

    /// Suspends what a forced failover elsewhere has pending for this replica. What is suspended is a copy (reference 7.6):
    /// where there is none, one is seeded.
    pub fn suspend_pending(&mut self, databases: &BTreeMap<String, DatabaseConfig>, me: &str) {
        let pending = databases.iter().filter(|(_, database)| database.pending_suspend.contains(me));
        for (name, _) in pending.filter(|(name, _)| self.local.contains(*name)) {
            self.suspended.entry(name.clone()).or_insert(FROM_PARTNER);
        }
    }

    /// Whether every database of the group is here, marked SYNCHRONIZED and not suspended.
    pub fn ready(&self, me: &str) -> bool {
        self.config.databases.iter().all(|(name, database)| {
            database.synchronized.contains(me) && self.local.contains(name) && !self.suspended.contains_key(name)
        })
    }
}

const FILE: &str = "availability-groups.json";

/// Reads all copies of an instance.
pub fn read(disk: &Disk) -> io::Result<BTreeMap<String, Copy>> {
    match disk.read(FILE)? {
        Some(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
        None => Ok(BTreeMap::new()),
    }
}

/// Writes all copies of an instance.
pub fn write(disk: &Disk, copies: &BTreeMap<String, Copy>) -> io::Result<()> {
    disk.write(FILE, &serde_json::to_vec(copies)?)
}
