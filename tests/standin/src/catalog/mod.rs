//! What `master` knows of the server's security: logins, server roles, permissions, the master key, certificates and the
//! mirroring endpoint. One file, written as a whole before a statement is answered.

mod certificate;
pub mod database;
mod endpoint;
mod login;
mod permission;
mod trigger;

use crate::{
    errors::{Message, SqlResult},
    store::disk::Disk,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
};
use tokio::sync::watch;

pub use certificate::{Certificate, describe, encrypt};
pub use endpoint::EndpointData;
pub use login::{Login, LoginKind};
pub use permission::{On, Permission, SERVER_PERMISSIONS, class_of};
pub use trigger::{Trigger, TriggerText};

const FILE: &str = "catalog.json";

/// Fixed server roles with their principal ids.
pub const SERVER_ROLES: [(&str, i32); 9] = [
    ("public", 2),
    ("sysadmin", 3),
    ("securityadmin", 4),
    ("serveradmin", 5),
    ("setupadmin", 6),
    ("processadmin", 7),
    ("diskadmin", 8),
    ("dbcreator", 9),
    ("bulkadmin", 10),
];

/// Everything that is kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Data {
    /// `@@SERVERNAME`, the host name at the first start.
    pub server_name: String,
    /// First start, microseconds since 1970.
    pub created: i64,
    next_id: i32,
    /// Logins by lower-case name.
    pub logins: BTreeMap<String, Login>,
    /// Members of server roles: role id, member ids.
    pub role_members: BTreeMap<i32, BTreeSet<i32>>,
    /// Server permissions.
    pub permissions: Vec<Permission>,
    /// The database master key of `master` exists.
    pub master_key: bool,
    /// Certificates of `master` by lower-case name.
    pub certificates: BTreeMap<String, Certificate>,
    /// The mirroring endpoint.
    pub endpoint: Option<EndpointData>,
    /// Triggers of the server by lower-case name.
    #[serde(default)]
    pub triggers: BTreeMap<String, Trigger>,
    /// Partners' names of groups that permissions are granted on are not checked here.
    #[serde(default)]
    pub user_messages: BTreeMap<i32, String>,
}

/// The catalog of one instance.
pub struct Catalog {
    data: Mutex<Data>,
    disk: Disk,
    changes: watch::Sender<u64>,
    /// How often the endpoint was stopped since the start.
    stops: AtomicU64,
}

/// What a new catalog starts from.
#[derive(Clone, Debug)]
pub struct First<'a> {
    /// Host name.
    pub server_name: &'a str,
    /// Password of `sa`.
    pub sa_password: &'a str,
    /// Microseconds since 1970.
    pub now: i64,
}

impl Catalog {
    /// Reads the catalog of a disk, or starts a new one.
    pub fn open(disk: &Disk, first: &First<'_>) -> io::Result<Self> {
        let data = match disk.read(FILE)? {
            Some(bytes) => serde_json::from_slice(&bytes)?,
            None => {
                let data = Data::new(first);
                disk.write(FILE, &serde_json::to_vec(&data)?)?;
                data
            }
        };
        Ok(Self {
            data: Mutex::new(data),
            disk: disk.clone(),
            changes: watch::Sender::new(0),
            stops: AtomicU64::new(0),
        })
    }

    /// The data now.
    pub fn read(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the data: written first, then seen.
    pub fn change<T>(&self, change: impl FnOnce(&mut Data) -> SqlResult<T>) -> SqlResult<T> {
        let mut data = self.read();
        let mut next = data.clone();
        let result = change(&mut next)?;
        let bytes = serde_json::to_vec(&next).map_err(|error| damaged(&error.to_string()))?;
        self.disk.write(FILE, &bytes).map_err(|error| damaged(&error.to_string()))?;
        *data = next;
        drop(data);
        self.changes.send_modify(|count| *count += 1);
        Ok(result)
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

fn damaged(error: &str) -> Message {
    Message::new(823, 24, format!("The operating system returned error {error} to SQL Server."))
}

impl Data {
    fn new(first: &First<'_>) -> Self {
        let mut data =
            Self { server_name: first.server_name.into(), created: first.now, next_id: 259, ..Self::default() };
        let sa = Login::new("sa", 1, vec![1], first.now);
        data.logins.insert("sa".into(), Login { hash: Some(login::hash(first.sa_password)), ..sa });
        data.role_members.insert(3, BTreeSet::from([1]));
        data.permissions.push(Permission::new(2, "VIEW ANY DATABASE", On::Server));
        data
    }

    fn id(&mut self) -> i32 {
        self.next_id += 1;
        self.next_id
    }

    /// A login in any case.
    pub fn login(&self, name: &str) -> Option<&Login> {
        self.logins.get(&name.to_lowercase())
    }

    /// A login by SID.
    pub fn login_by_sid(&self, sid: &[u8]) -> Option<&Login> {
        self.logins.values().find(|login| login.sid == sid)
    }

    /// Name of a server principal.
    pub fn principal_name(&self, id: i32) -> Option<String> {
        let role = SERVER_ROLES.iter().find(|(_, role)| *role == id).map(|(name, _)| (*name).to_string());
        role.or_else(|| self.logins.values().find(|login| login.id == id).map(|login| login.name.clone()))
    }

    /// Id of a server principal, login or role.
    pub fn principal_id(&self, name: &str) -> Option<i32> {
        let role = SERVER_ROLES.iter().find(|(role, _)| role.eq_ignore_ascii_case(name)).map(|(_, id)| *id);
        self.login(name).map(|login| login.id).or(role)
    }
}

/// 15151 for something that is altered, dropped or found.
pub fn cannot(verb: &str, what: &str, name: &str) -> Message {
    Message::new(
        15_151,
        16,
        format!("Cannot {verb} the {what} '{name}', because it does not exist or you do not have permission."),
    )
}

/// 15025 and the like: a principal's name is taken.
pub fn exists(number: i32, what: &str, name: &str) -> Message {
    Message::new(number, 16, format!("The {what} '{name}' already exists."))
}
