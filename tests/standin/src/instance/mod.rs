//! One SQL Server: its databases, its availability groups, start, stop and crash.

mod listen;
mod recover;
mod shared;
pub mod snapshot;

use crate::{
    ddl::{GroupStatement, HadrStatement},
    errors::{Message, SqlResult},
    faults::Faults,
    group::{
        self, Copy, Group, Identity,
        roles::{Crown, Role},
    },
    net::SharedNetwork,
    store::database::Database,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64},
    },
    time::SystemTime,
};
use tokio::{sync::mpsc, task::AbortHandle, time::Instant};
use uuid::Uuid;

pub use crate::store::{
    database::{Database as OpenDatabase, RowSet, Transaction},
    disk::{Disk, MemoryDisk},
};
pub use snapshot::Snapshot;

/// What an instance is.
#[derive(Clone, Debug)]
pub struct Config {
    /// `SERVERPROPERTY('ServerName')`
    pub server_name: String,
    /// `16.0.4225.2`
    pub version: String,
    /// `Developer Edition (64-bit)`
    pub edition: String,
    /// 2 Standard, 3 Enterprise and Developer, 4 Express.
    pub engine_edition: i32,
    /// `IsHadrEnabled`
    pub hadr_enabled: bool,
    /// Its files.
    pub disk: Disk,
    /// Server collation.
    pub collation: String,
    /// Where its random numbers start.
    pub seed: u64,
}

/// `Edition` and `EngineEdition` of `MSSQL_PID`. Errors: it is none.
pub fn edition(pid: &str) -> Result<(&'static str, i32), String> {
    Ok(match pid.to_lowercase().as_str() {
        "" | "developer" => ("Developer Edition (64-bit)", 3),
        "enterprisedeveloper" => ("Enterprise Developer Edition (64-bit)", 3),
        "standarddeveloper" => ("Standard Developer Edition (64-bit)", 2),
        "evaluation" => ("Enterprise Evaluation Edition (64-bit)", 3),
        "enterprise" | "enterprisecore" => ("Enterprise Edition: Core-based Licensing (64-bit)", 3),
        "standard" => ("Standard Edition (64-bit)", 2),
        "web" => ("Web Edition (64-bit)", 2),
        "express" => ("Express Edition (64-bit)", 4),
        _ => return Err(format!("MSSQL_PID: '{pid}' is not an edition")),
    })
}

/// System databases: local, never in a group.
pub const SYSTEM: [&str; 4] = ["master", "tempdb", "model", "msdb"];

/// A database as the server's catalog knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseEntry {
    /// `database_id`
    pub id: i32,
    /// FULL, else SIMPLE.
    pub full: bool,
    /// A backup started the log chain.
    pub log_chain: bool,
    /// Start of the last log backup, microseconds since 1970.
    #[serde(default)]
    pub log_backup: Option<i64>,
    /// The log is backed up to here.
    #[serde(default)]
    pub backed_up: u64,
    /// Left a group as a secondary: RESTORING until dropped or joined again.
    pub restoring: bool,
    /// `group_database_id` that it had in the group it left.
    #[serde(default)]
    pub left: Option<Uuid>,
}

impl DatabaseEntry {
    /// A new database, in the FULL recovery model or else SIMPLE.
    pub fn new(id: i32, full: bool) -> Self {
        Self { id, full, log_chain: false, log_backup: None, backed_up: 0, restoring: false, left: None }
    }
}

/// The inside of an instance.
pub struct Shared {
    /// What it is.
    pub config: Config,
    /// How it reaches others.
    pub network: SharedNetwork,
    /// Switches.
    pub faults: Faults,
    /// Its catalog's word on certificates.
    pub identity: Arc<dyn Identity>,
    databases: Mutex<BTreeMap<String, Arc<Database>>>,
    entries: Mutex<BTreeMap<String, DatabaseEntry>>,
    groups: Mutex<BTreeMap<String, Arc<Group>>>,
    copies: Mutex<BTreeMap<String, Copy>>,
    joining: Mutex<BTreeMap<String, mpsc::Sender<group::Config>>>,
    tasks: Mutex<Vec<AbortHandle>>,
    random: AtomicU64,
    alive: AtomicBool,
    started: (SystemTime, Instant),
}

const ENTRIES: &str = "databases.json";

/// One SQL Server. Clones are the same one.
#[derive(Clone)]
pub struct Instance(Arc<Shared>);

impl Instance {
    /// Starts from what the disk holds: crash recovery of databases, every group RESOLVING, the endpoint listening.
    pub async fn start(
        config: Config,
        network: SharedNetwork,
        faults: Faults,
        identity: Arc<dyn Identity>,
    ) -> io::Result<Self> {
        let config = Config { disk: config.disk.lease(), ..config };
        let entries: BTreeMap<String, DatabaseEntry> = match config.disk.read(ENTRIES)? {
            Some(bytes) => serde_json::from_slice(&bytes)?,
            None => BTreeMap::new(),
        };
        let copies = group::config::read(&config.disk)?;
        let random = AtomicU64::new(
            config.seed ^ copies.values().map(|copy| copy.config.number as u64).sum::<u64>().wrapping_mul(31),
        );
        let shared = Arc::new(Shared {
            config,
            network,
            faults,
            identity,
            databases: Mutex::default(),
            entries: Mutex::new(entries),
            groups: Mutex::default(),
            copies: Mutex::new(copies.clone()),
            joining: Mutex::default(),
            tasks: Mutex::default(),
            random,
            alive: AtomicBool::new(true),
            started: (SystemTime::now(), Instant::now()),
        });
        shared.open_databases(&copies)?;
        // A distributed group is put beside the group that is its member.
        let (distributed, plain): (Vec<_>, Vec<_>) = copies.into_iter().partition(|(_, copy)| copy.config.distributed);
        for (name, copy) in plain {
            let was_primary = copy.was_primary;
            let group = Group::new(&shared, &name, copy);
            shared.groups().insert(name, group.clone());
            group.state().stuck.ex_primary = was_primary;
            for local in group.state().copy.local.clone() {
                if let Some(database) = shared.database(&local) {
                    database.set_owner(Some(group::primary::owner(&group)));
                }
            }
            tracing::info!(
                group = group.name,
                "the local replica is starting (41058); its databases wait for a role (35262)"
            );
            if was_primary && shared.faults.get().restarts_as_primary {
                group.become_primary(Crown::Resumed).map_err(io::Error::other)?;
            } else if shared.faults.get().returns_by_itself.is_some() {
                group.become_role(Role::Resolving).map_err(io::Error::other)?;
            }
        }
        group::sides::start(&shared, distributed);
        let listening = shared.clone();
        shared.spawn(async move { listen::listen(listening).await });
        Ok(Self(shared))
    }

    /// Stops.
    pub fn stop(&self) {
        self.0.end();
    }

    /// kill -9: nothing more happens, nothing more is written.
    pub fn crash(&self) {
        self.0.end();
    }

    /// The inside, for views.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.0
    }

    /// What it is.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Its switches.
    pub fn faults(&self) -> &Faults {
        &self.0.faults
    }

    /// One moment, for the views.
    pub fn snapshot(&self) -> Snapshot {
        snapshot::take(&self.0)
    }

    /// A statement on an availability group. `external`: the session said `external_cluster = yes`.
    pub async fn execute_group(
        &self,
        group: &str,
        statement: GroupStatement,
        external: bool,
    ) -> SqlResult<Vec<Message>> {
        group::statements::execute(&self.0, group, statement, external).await
    }

    /// `ALTER DATABASE .. SET HADR`.
    pub async fn execute_hadr(&self, database: &str, statement: HadrStatement) -> SqlResult<Vec<Message>> {
        group::hadr::execute(&self.0, database, statement).await
    }

    /// CREATE DATABASE; error 1801 when it exists.
    pub async fn create_database(&self, name: &str) -> SqlResult<()> {
        if self.0.database(name).is_some() {
            return Err(Message::new(
                1801,
                16,
                format!("Database '{name}' already exists. Choose a different database name."),
            )
            .state(3));
        }
        self.0.create(name).map(|_| ()).map_err(disk_error)
    }

    /// DROP DATABASE; 3701 when it does not exist, 3708 a system database, 3702 in use, 3752 while it is in a group.
    pub async fn drop_database(&self, name: &str) -> SqlResult<()> {
        let Some(database) = self.0.database(name) else {
            return Err(Message::new(
                3701,
                11,
                format!("Cannot drop the database '{name}', because it does not exist or you do not have permission."),
            ));
        };
        let name = database.name();
        if SYSTEM.contains(&name) {
            let text = format!("Cannot drop the database '{name}' because it is a system database.");
            return Err(Message::new(3708, 16, text).state(4));
        }
        if self.0.group_of(name).is_some() {
            return Err(Message::new(
                3752,
                16,
                format!(
                    "The database '{name}' is currently joined to an availability group. Before you can drop the database, you need to remove it from the availability group."
                ),
            ));
        }
        if database.is_written() {
            let text = format!("Cannot drop database \"{name}\" because it is currently in use.");
            return Err(Message::new(3702, 16, text).state(3));
        }
        self.0.databases().remove(name);
        self.0.entries().remove(name);
        self.0.save_entries().map_err(disk_error)?;
        Database::erase(&self.0.config.disk, name).map_err(disk_error)
    }

    /// SET RECOVERY; leaving FULL ends the log chain. 5058 for tempdb, 5052 while RESTORING, 1468 in a group.
    pub async fn set_recovery(&self, name: &str, full: bool) -> SqlResult<()> {
        let database = self.0.database(name).ok_or_else(|| unknown(name))?;
        let name = database.name();
        if name == "tempdb" {
            return Err(Message::new(5058, 16, "Option 'RECOVERY' cannot be set in database 'tempdb'."));
        }
        self.not_restoring(name)?;
        if !full {
            self.not_in_group(name)?;
        }
        self.0.change_entry(name, |entry| {
            entry.log_chain &= full;
            entry.full = full;
        })
    }

    /// BACKUP DATABASE: the stand-in keeps no backup, but the log chain starts.
    pub async fn backup_database(&self, name: &str) -> SqlResult<()> {
        let database = self.0.database(name).ok_or_else(|| unknown(name))?;
        let name = database.name();
        self.on_primary(name)?;
        let end = database.end();
        self.0.change_entry(name, |entry| {
            if entry.full && !entry.log_chain {
                // The chain begins here: what is before is in the backup.
                (entry.log_chain, entry.backed_up) = (true, end);
            }
        })
    }

    /// BACKUP LOG at `now`, microseconds since 1970, truncates the log as far as no replica needs it; 4208 in SIMPLE, 4214
    /// without a chain.
    pub async fn backup_log(&self, name: &str, now: i64) -> SqlResult<()> {
        let database = self.0.database(name).ok_or_else(|| unknown(name))?;
        let name = database.name();
        self.on_primary(name)?;
        match self.0.entries().get(name) {
            Some(entry) if !entry.full => {
                return Err(Message::new(
                    4208,
                    16,
                    "The statement BACKUP LOG is not allowed while the recovery model is SIMPLE. Use BACKUP DATABASE or change the recovery model using ALTER DATABASE.",
                ));
            }
            Some(entry) if !entry.log_chain => {
                return Err(Message::new(
                    4214,
                    16,
                    "BACKUP LOG cannot be performed because there is no current database backup.",
                ));
            }
            Some(_) => {}
            None => return Err(unknown(name)),
        }
        let end = database.end();
        self.0.change_entry(name, |entry| (entry.log_backup, entry.backed_up) = (Some(now), end))?;
        let group = self.0.group_of(name);
        database.truncate_log(Self::not_needed(group.as_ref(), name)).map_err(disk_error)?;
        if let Some(group) = group {
            group.touch();
        }
        Ok(())
    }

    /// The last record that no replica of the group needs, nor the other side of a distributed group.
    fn not_needed(group: Option<&Arc<Group>>, name: &str) -> u64 {
        let Some(group) = group else { return u64::MAX };
        let beyond = group::primary::links(group).iter().map(|link| link.not_needed(name)).min();
        group.not_needed(name).min(beyond.unwrap_or(u64::MAX))
    }

    /// 3059 on a secondary. (SQL Server takes copy-only and log backups there; the stand-in takes none.)
    fn on_primary(&self, name: &str) -> SqlResult<()> {
        let secondary = |group: Arc<Group>| group.role_of_databases(&group.state()) != Role::Primary;
        if self.0.group_of(name).is_some_and(secondary) {
            return Err(Message::new(
                3059,
                16,
                "This BACKUP or RESTORE command is not supported on a database mirror or secondary replica.",
            ));
        }
        Ok(())
    }

    /// Opens a database for a session: 911 unknown, 927 restoring, 976 / 978 / 983 / 988 by role.
    pub fn open(&self, name: &str, read_only_intent: bool) -> SqlResult<Arc<Database>> {
        let database = self.0.database(name).ok_or_else(|| unknown(name))?;
        if self.0.entries().get(name).is_some_and(|entry| entry.restoring) {
            return Err(Message::new(
                927,
                14,
                format!("Database '{name}' cannot be opened. It is in the middle of a restore."),
            )
            .state(2));
        }
        if let Some(group) = self.0.group_of(name) {
            group::primary::may_connect(&group, name, read_only_intent)?;
        }
        Ok(database)
    }
}

fn unknown(name: &str) -> Message {
    Message::new(911, 16, format!("Database '{name}' does not exist. Make sure that the name is entered correctly."))
}

fn disk_error(error: io::Error) -> Message {
    Message::new(823, 24, format!("The operating system returned error {error} to SQL Server."))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
