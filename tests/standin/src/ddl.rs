//! The statements that change a server or an availability group, as typed values: the T-SQL parser makes them, the
//! catalog and the group execute them. Grammar: SQL Server's CREATE / ALTER AVAILABILITY GROUP, ENDPOINT, CERTIFICATE,
//! LOGIN, USER and GRANT pages.

/// Role options, quorum and the like in CREATE and SET.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupOptions {
    /// `CLUSTER_TYPE = EXTERNAL | NONE | WSFC`, upper case.
    pub cluster_type: Option<String>,
    /// `DB_FAILOVER = ON | OFF`
    pub db_failover: Option<bool>,
    /// `DTC_SUPPORT = PER_DB | NONE`
    pub dtc_per_db: Option<bool>,
    /// `REQUIRED_SYNCHRONIZED_SECONDARIES_TO_COMMIT`
    pub required_synchronized_secondaries_to_commit: Option<i64>,
    /// `WRITE_LEASE_VALIDITY`, seconds.
    pub write_lease_validity: Option<i64>,
    /// `FAILURE_CONDITION_LEVEL`
    pub failure_condition_level: Option<i64>,
    /// `HEALTH_CHECK_TIMEOUT`, milliseconds.
    pub health_check_timeout: Option<i64>,
    /// `AUTOMATED_BACKUP_PREFERENCE`, upper case.
    pub automated_backup_preference: Option<String>,
    /// `BASIC`
    pub basic: bool,
    /// `DISTRIBUTED`
    pub distributed: bool,
    /// `CONTAINED`
    pub contained: bool,
}

/// Options of one replica in CREATE, ADD or MODIFY REPLICA; absent means not said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaOptions {
    /// `ENDPOINT_URL`; of a group in a distributed one `LISTENER_URL`.
    pub endpoint_url: Option<String>,
    /// `AVAILABILITY_MODE`: `SYNCHRONOUS_COMMIT | ASYNCHRONOUS_COMMIT | CONFIGURATION_ONLY`
    pub availability_mode: Option<String>,
    /// `FAILOVER_MODE`: `EXTERNAL | MANUAL | AUTOMATIC`
    pub failover_mode: Option<String>,
    /// `SEEDING_MODE`: `AUTOMATIC | MANUAL`
    pub seeding_mode: Option<String>,
    /// `SESSION_TIMEOUT`, seconds.
    pub session_timeout: Option<i64>,
    /// `BACKUP_PRIORITY`
    pub backup_priority: Option<i64>,
    /// `SECONDARY_ROLE (ALLOW_CONNECTIONS = ..)`: `NO | READ_ONLY | ALL`
    pub secondary_connections: Option<String>,
    /// `SECONDARY_ROLE (READ_ONLY_ROUTING_URL = ..)`
    pub read_only_routing_url: Option<String>,
    /// `PRIMARY_ROLE (ALLOW_CONNECTIONS = ..)`: `READ_WRITE | ALL`
    pub primary_connections: Option<String>,
    /// `PRIMARY_ROLE (READ_ONLY_ROUTING_LIST = ..)`; an empty list is NONE, inner lists are load-balanced sets.
    pub read_only_routing_list: Option<Vec<Vec<String>>>,
    /// `PRIMARY_ROLE (READ_WRITE_ROUTING_URL = ..)`
    pub read_write_routing_url: Option<String>,
}

/// One statement on an availability group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupStatement {
    /// `CREATE AVAILABILITY GROUP .. FOR DATABASE .. REPLICA ON ..`
    Create {
        /// Group options.
        options: GroupOptions,
        /// Databases named.
        databases: Vec<String>,
        /// Replicas in the order written.
        replicas: Vec<(String, ReplicaOptions)>,
    },
    /// `JOIN WITH (CLUSTER_TYPE = ..)`
    Join {
        /// Cluster type said.
        cluster_type: Option<String>,
    },
    /// `CREATE AVAILABILITY GROUP .. WITH (DISTRIBUTED) AVAILABILITY GROUP ON ..`
    CreateDistributed {
        /// Group options.
        options: GroupOptions,
        /// The two groups in the order written.
        members: Vec<(String, ReplicaOptions)>,
    },
    /// `JOIN AVAILABILITY GROUP ON ..`
    JoinDistributed(Vec<(String, ReplicaOptions)>),
    /// `MODIFY AVAILABILITY GROUP ON ..`
    ModifyGroups(Vec<(String, ReplicaOptions)>),
    /// `GRANT CREATE ANY DATABASE`
    GrantCreateAnyDatabase,
    /// `DENY CREATE ANY DATABASE`
    DenyCreateAnyDatabase,
    /// `ADD REPLICA ON`
    AddReplica(String, ReplicaOptions),
    /// `MODIFY REPLICA ON`
    ModifyReplica(String, ReplicaOptions),
    /// `REMOVE REPLICA ON`
    RemoveReplica(String),
    /// `ADD DATABASE`
    AddDatabases(Vec<String>),
    /// `REMOVE DATABASE`
    RemoveDatabases(Vec<String>),
    /// `FAILOVER`
    Failover,
    /// `FORCE_FAILOVER_ALLOW_DATA_LOSS`
    ForceFailover,
    /// `OFFLINE`
    Offline,
    /// `SET (ROLE = SECONDARY)`
    SetRoleSecondary,
    /// `SET (options)`
    Set(GroupOptions),
    /// `DROP AVAILABILITY GROUP`
    Drop,
}

/// `ALTER DATABASE .. SET HADR ..`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HadrStatement {
    /// `SET HADR AVAILABILITY GROUP = g`
    Join(String),
    /// `SET HADR OFF`
    Off,
    /// `SET HADR SUSPEND`
    Suspend,
    /// `SET HADR RESUME`
    Resume,
}
