//! One moment of server and session, for the functions that ask and for the system views.

mod functions;
mod properties;

use super::{read, schema::Schema, session::Session};
use crate::{
    catalog::{self, On, database::DatabaseSecurity},
    errors::{Message, SqlResult},
    instance::Snapshot,
    server::Server,
    value::Value,
};
use rusqlite::{Connection, types::Value as Lite};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock, PoisonError},
};

/// What one database says about itself.
#[derive(Clone, Debug, Default)]
pub struct Described {
    /// Objects.
    pub schema: Schema,
    /// Users, roles, permissions.
    pub security: DatabaseSecurity,
    /// Extended properties: class, object, column, name, value.
    pub properties: Vec<(i64, String, String, String, Lite)>,
}

/// The moment.
pub struct State {
    /// The server.
    pub server: Server,
    /// The login that the session runs as now.
    pub login: String,
    /// The login that it began as.
    pub original: String,
    /// Current database.
    pub database: String,
    /// Databases described, by lower-case name; those that cannot be read are missing.
    pub described: BTreeMap<String, Arc<Described>>,
    /// The catalog.
    pub data: catalog::Data,
    /// `@@SPID`
    pub spid: u16,
    user: i32,
    context: BTreeMap<String, (Value, bool)>,
    caught: Option<Message>,
    xact_state: i64,
    identity: Option<i64>,
    application: String,
    host: String,
    snapshot: OnceLock<Snapshot>,
}

fn text(value: impl Into<String>) -> Lite {
    Lite::Text(value.into())
}

impl Described {
    fn load(connection: &Connection) -> SqlResult<Self> {
        let mut properties = vec![];
        if let Ok(mut statement) =
            connection.prepare_cached("SELECT class, major, minor, name, value FROM `~properties`")
            && let Ok(rows) =
                statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))
        {
            properties.extend(rows.flatten());
        }
        Ok(Self { schema: Schema::load(connection)?, security: DatabaseSecurity::load(connection)?, properties })
    }
}

/// Which commit of which SQLite database a connection sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(String, i64);

fn version(connection: &Connection) -> SqlResult<Version> {
    let version = connection.prepare_cached("PRAGMA data_version").and_then(|mut s| s.query_row([], |row| row.get(0)));
    let version = version.map_err(|error| Message::new(50_000, 16, error.to_string()))?;
    Ok(Version(connection.path().unwrap_or_default().into(), version))
}

impl Session {
    /// What a database says about itself. It is kept until somebody commits something there.
    pub(super) fn described(&self, database: &str) -> SqlResult<Arc<Described>> {
        let own = self.transaction.as_ref().is_some_and(|open| open.database.eq_ignore_ascii_case(database));
        self.on_connection(database, |connection| {
            if own {
                // Its own changes are not committed.
                return Ok(Arc::new(Described::load(connection)?));
            }
            let version = version(connection)?;
            let mut kept = self.described.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, known)) = kept.get(database).filter(|(of, _)| *of == version) {
                return Ok(known.clone());
            }
            let described = Arc::new(Described::load(connection)?);
            kept.insert(database.into(), (version, described.clone()));
            Ok(described)
        })
    }
}

impl State {
    /// Takes the moment. `databases`: those that the statement asks about, beside the current one and master.
    pub fn take(session: &Session, databases: &BTreeSet<String>) -> SqlResult<Self> {
        let current = session.database.to_lowercase();
        let names = databases.iter().map(String::as_str).chain(["master", current.as_str()]);
        let mut all = BTreeMap::new();
        for name in names {
            if all.contains_key(name) {
                continue;
            }
            match session.described(name) {
                Ok(found) => drop(all.insert(name.to_string(), found)),
                // What is locked is waited for; what cannot be opened has nothing to show.
                Err(message) if message.state == read::LOCKED => return Err(message),
                Err(_) => {}
            }
        }
        let user = all.get(&current).map_or(2, |found: &Arc<Described>| session.user_in(&found.security));
        Ok(Self {
            server: session.server.clone(),
            login: session.login.clone(),
            original: session.entry.login.clone(),
            database: session.database.clone(),
            described: all,
            data: session.server.catalog.read().clone(),
            spid: session.entry.spid,
            user,
            context: session.context.clone(),
            caught: session.caught.last().cloned(),
            xact_state: match (session.depth, session.doomed) {
                (0, _) => 0,
                (_, true) => -1,
                (_, false) => 1,
            },
            identity: session.identity,
            application: session.entry.application.clone(),
            host: session.entry.host.clone(),
            snapshot: OnceLock::new(),
        })
    }

    /// The instance at this moment.
    pub fn snapshot(&self) -> &Snapshot {
        self.snapshot.get_or_init(|| self.server.instance.snapshot())
    }

    /// The current database.
    pub fn current(&self) -> Option<&Described> {
        self.described.get(&self.database.to_lowercase()).map(Arc::as_ref)
    }

    /// Whether the login holds a server permission.
    pub fn holds(&self, permission: &str, on: &On) -> bool {
        self.data.holds(&self.login, permission, on)
    }

    /// `database_id` of a name.
    pub fn database_id(&self, name: &str) -> Option<i64> {
        let found = self.snapshot().databases.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, database)| i64::from(database.entry.id))
    }
}
