//! One moment of server and session, for the functions that ask and for the system views.

use super::{convert, schema::Schema, session::Session};
use crate::{
    catalog::{self, On, SERVER_ROLES, database::DatabaseSecurity},
    errors::{Message, SqlResult},
    group::roles::Role,
    instance::Snapshot,
    server::Server,
    value::{SqlType, Value},
};
use rusqlite::types::Value as Lite;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::OnceLock,
};

/// What one database says about itself.
#[derive(Clone, Debug, Default)]
pub struct Described {
    /// Objects.
    pub schema: Schema,
    /// Users, roles, permissions.
    pub security: DatabaseSecurity,
    /// Extended properties: class, object, column, name, value.
    pub properties: Vec<(i64, String, String, String, Option<String>)>,
}

/// The moment.
pub struct State {
    /// The server.
    pub server: Server,
    /// The login.
    pub login: String,
    /// Current database.
    pub database: String,
    /// Databases described, by lower-case name; those that cannot be read are missing.
    pub described: BTreeMap<String, Described>,
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

fn described(session: &Session, name: &str) -> SqlResult<Described> {
    session.on_connection(name, |connection| {
        let mut properties = vec![];
        if let Ok(mut statement) = connection.prepare("SELECT class, major, minor, name, value FROM `~properties`")
            && let Ok(rows) =
                statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))
        {
            properties.extend(rows.flatten());
        }
        Ok(Described { schema: Schema::load(connection)?, security: DatabaseSecurity::load(connection)?, properties })
    })
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
            match described(session, name) {
                Ok(found) => drop(all.insert(name.to_string(), found)),
                // What is locked is waited for; what cannot be opened has nothing to show.
                Err(message) if message.state == super::read::LOCKED => return Err(message),
                Err(_) => {}
            }
        }
        let user = all.get(&current).map_or(2, |found: &Described| session.user_in(&found.security));
        Ok(Self {
            server: session.server.clone(),
            login: session.login.clone(),
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
        self.described.get(&self.database.to_lowercase())
    }

    /// Whether the login holds a server permission.
    pub fn holds(&self, permission: &str, on: &On) -> bool {
        self.data.holds(&self.login, permission, on)
    }

    /// A function: its name and its arguments.
    pub fn function(&self, arguments: &[Lite]) -> SqlResult<Lite> {
        let name = arguments.first().map(super::functions::plain_text).unwrap_or_default();
        let rest = arguments.get(1..).unwrap_or_default();
        let first = rest.first();
        let name_argument = first.map(super::functions::plain_text).unwrap_or_default();
        let number = match first {
            Some(Lite::Integer(number)) => Some(*number),
            _ => None,
        };
        let none = rest.is_empty();
        let optional = |value: Option<Lite>| Ok(value.unwrap_or(Lite::Null));
        match name.as_str() {
            "serverproperty" => Ok(self.property(&name_argument)),
            "session_context" => {
                optional(self.context.get(&name_argument.to_lowercase()).map(|(value, _)| variant(value)))
            }
            "databasepropertyex" => Ok(self.database_property(&name_argument, rest.get(1))),
            "connectionproperty" => optional(match name_argument.to_lowercase().as_str() {
                "net_transport" => Some(text("TCP")),
                "protocol_type" => Some(text("TSQL")),
                "auth_scheme" => Some(text("SQL")),
                _ => None,
            }),
            "db_id" => {
                let name = if none { &self.database } else { &name_argument };
                optional(self.database_id(name).map(Lite::Integer))
            }
            "db_name" | "original_db_name" => optional(match number {
                None if none => Some(text(&self.database)),
                Some(id) => self.database_name(id).map(text),
                None => None,
            }),
            "suser_id" => {
                let name = if none { &self.login } else { &name_argument };
                optional(self.visible_principal(name).map(|id| Lite::Integer(i64::from(id))))
            }
            "suser_sid" => {
                let name = if none { &self.login } else { &name_argument };
                optional(self.data.login(name).map(|login| Lite::Blob(login.sid.clone())))
            }
            "suser_name" | "suser_sname" => optional(match first {
                None => Some(text(&self.login)),
                Some(Lite::Integer(id)) => {
                    i32::try_from(*id).ok().and_then(|id| self.data.principal_name(id)).map(text)
                }
                Some(Lite::Blob(sid)) => self.data.login_by_sid(sid).map(|login| text(&login.name)),
                Some(_) => None,
            }),
            "original_login" | "system_user" => Ok(text(&self.login)),
            "user_id" | "database_principal_id" => {
                let security = self.current().map(|current| &current.security);
                optional(if none {
                    Some(Lite::Integer(i64::from(self.user)))
                } else {
                    let found = security.and_then(|security| security.principal(&name_argument));
                    found.map(|principal| Lite::Integer(i64::from(principal.id)))
                })
            }
            "user_name" | "current_user" | "session_user" | "user" => {
                let id = number.unwrap_or(i64::from(self.user));
                let security = self.current().map(|current| &current.security);
                let found = security.and_then(|s| s.principals.iter().find(|p| i64::from(p.id) == id));
                optional(found.map(|principal| text(&principal.name)))
            }
            "object_id" => self.object_id(&name_argument, rest.get(1)),
            "object_name" => {
                let objects = self.current().map(|current| current.schema.objects.iter());
                let found = objects.and_then(|mut o| o.find(|object| Some(object.id()) == number));
                optional(found.map(|object| text(object.parts().1)))
            }
            "schema_id" => {
                let found = none || name_argument.eq_ignore_ascii_case("dbo");
                optional(found.then_some(Lite::Integer(1)))
            }
            "schema_name" => Ok(text("dbo")),
            "cert_id" => {
                let found = self.data.certificates.get(&name_argument.to_lowercase());
                optional(found.map(|certificate| Lite::Integer(i64::from(certificate.id))))
            }
            "certencoded" => {
                optional(number.and_then(|id| self.data.certificate(id)).map(|found| Lite::Blob(found.der.clone())))
            }
            "certprivatekey" => {
                if !self.data.is_member(&self.login, "sysadmin") {
                    return Ok(Lite::Null);
                }
                let key = number.and_then(|id| self.data.certificate(id)).and_then(|found| found.key.as_ref());
                let password = rest.get(1).map(super::functions::plain_text).unwrap_or_default();
                optional(key.filter(|_| !password.is_empty()).map(|key| Lite::Blob(catalog::encrypt(key, &password))))
            }
            _ => self.more(&name, rest),
        }
    }

    fn more(&self, name: &str, rest: &[Lite]) -> SqlResult<Lite> {
        let argument = |index: usize| rest.get(index).map(super::functions::plain_text).unwrap_or_default();
        let error = |part: fn(&Message) -> Lite| Ok(self.caught.as_ref().map_or(Lite::Null, part));
        match name {
            "has_perms_by_name" => Ok(self.has_permission(rest)),
            "has_dbaccess" => Ok(Lite::Integer(i64::from(self.described.contains_key(&argument(0).to_lowercase())))),
            "is_srvrolemember" => {
                let who = if rest.len() > 1 { argument(1) } else { self.login.clone() };
                let known = SERVER_ROLES.iter().any(|(role, _)| role.eq_ignore_ascii_case(&argument(0)));
                Ok(if known { Lite::Integer(i64::from(self.data.is_member(&who, &argument(0)))) } else { Lite::Null })
            }
            "is_member" | "is_rolemember" => {
                let Some(current) = self.current() else { return Ok(Lite::Null) };
                let known = current.security.principal(&argument(0)).is_some_and(|role| role.kind == 'R');
                let member = current.security.is_member(self.user, &argument(0));
                Ok(if known { Lite::Integer(i64::from(member)) } else { Lite::Null })
            }
            "fn_hadr_is_primary_replica" => Ok(self.is_primary(&argument(0))),
            "host_name" => Ok(text(&self.host)),
            "app_name" | "program_name" => Ok(text(&self.application)),
            "xact_state" => Ok(Lite::Integer(self.xact_state)),
            "scope_identity" => Ok(self.identity.map_or(Lite::Null, Lite::Integer)),
            "error_number" => error(|m| Lite::Integer(i64::from(m.number))),
            "error_severity" => error(|m| Lite::Integer(i64::from(m.class))),
            "error_state" => error(|m| Lite::Integer(i64::from(m.state))),
            "error_line" => error(|m| Lite::Integer(i64::from(m.line))),
            "error_message" => error(|m| Lite::Text(m.text.clone())),
            "error_procedure" => {
                error(|m| if m.procedure.is_empty() { Lite::Null } else { Lite::Text(m.procedure.clone()) })
            }
            "applock_mode" => Ok(self.lock_mode(&argument(1))),
            _ => Err(super::parse::not_supported(&format!("The function {name}"))),
        }
    }

    fn lock_mode(&self, resource: &str) -> Lite {
        let locks = self.server.locks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let key = super::procedures::lock_key(&self.database, resource);
        let held = locks.get(&key).and_then(|holders| holders.iter().find(|held| held.spid == self.spid));
        text(match held {
            Some(held) if held.exclusive => "Exclusive",
            Some(_) => "Shared",
            None => "NoLock",
        })
    }

    /// A principal that the login may know of.
    fn visible_principal(&self, name: &str) -> Option<i32> {
        let id = self.data.principal_id(name)?;
        let own = name.eq_ignore_ascii_case(&self.login) || id <= 10;
        (own || self.data.sees(&self.login, &On::Login(id))).then_some(id)
    }

    /// `database_id` of a name.
    pub fn database_id(&self, name: &str) -> Option<i64> {
        let found = self.snapshot().databases.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, database)| i64::from(database.entry.id))
    }

    fn database_name(&self, id: i64) -> Option<String> {
        self.snapshot().databases.iter().find(|(_, d)| i64::from(d.entry.id) == id).map(|(name, _)| name.clone())
    }

    fn object_id(&self, name: &str, kind: Option<&Lite>) -> SqlResult<Lite> {
        let Ok(name) = super::parse::object_name(name) else { return Ok(Lite::Null) };
        let kind = kind.map(super::functions::plain_text).map(|kind| kind.to_uppercase());
        let temporary = name.name.starts_with('#');
        let database = name.database.clone().unwrap_or_else(|| self.database.clone()).to_lowercase();
        let (database, wanted) = if temporary {
            ("tempdb".into(), format!("{}~{}", name.name.to_lowercase(), self.spid))
        } else {
            match &name.schema {
                Some(schema) if !schema.eq_ignore_ascii_case("dbo") => (database, format!("{schema}.{}", name.name)),
                _ => (database, name.name.clone()),
            }
        };
        if crate::views::find(name.schema.as_deref().unwrap_or_default(), &name.name).is_some() {
            return Ok(Lite::Integer(-super::schema::object_id(&name.name)));
        }
        let object = self.described.get(&database).and_then(|described| described.schema.object(&wanted));
        let object = object.filter(|object| kind.as_ref().is_none_or(|kind| kind.trim() == object.kind.to_string()));
        Ok(object.map_or(Lite::Null, |object| Lite::Integer(object.id())))
    }

    fn is_primary(&self, database: &str) -> Lite {
        let groups = &self.snapshot().groups;
        let group = groups.values().find(|g| g.databases.keys().any(|name| name.eq_ignore_ascii_case(database)));
        match group {
            Some(group) => Lite::Integer(i64::from(group.role == Role::Primary)),
            None if self.database_id(database).is_some() => Lite::Integer(1),
            None => Lite::Null,
        }
    }

    fn has_permission(&self, rest: &[Lite]) -> Lite {
        let argument = |index: usize| rest.get(index).filter(|v| **v != Lite::Null).map(super::functions::plain_text);
        let permission = argument(2).unwrap_or_default().to_uppercase();
        let on = match argument(1).map(|class| class.to_uppercase()).as_deref() {
            None | Some("SERVER") => On::Server,
            Some("ENDPOINT") => On::Endpoint(argument(0).unwrap_or_default().to_lowercase()),
            Some("AVAILABILITY GROUP") => On::Group(argument(0).unwrap_or_default().to_lowercase()),
            Some("DATABASE") => {
                let name = argument(0).unwrap_or_else(|| self.database.clone()).to_lowercase();
                let allowed =
                    self.described.get(&name).is_some_and(|d| d.security.allows(self.user, &permission, None));
                return Lite::Integer(i64::from(allowed));
            }
            Some("OBJECT") => {
                let name = argument(0).unwrap_or_default();
                let bare = name.rsplit('.').next().unwrap_or(&name).trim_matches(['[', ']']);
                let allowed = self.current().is_some_and(|d| d.security.allows(self.user, &permission, Some(bare)));
                return Lite::Integer(i64::from(allowed));
            }
            Some(_) => return Lite::Null,
        };
        Lite::Integer(i64::from(self.holds(&permission, &on)))
    }

    fn database_property(&self, name: &str, property: Option<&Lite>) -> Lite {
        let found = self.snapshot().databases.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        let Some((_, database)) = found else { return Lite::Null };
        match property.map(super::functions::plain_text).unwrap_or_default().to_lowercase().as_str() {
            "status" => text(if database.state == 0 { "ONLINE" } else { "RESTORING" }),
            "recovery" => text(if database.entry.full { "FULL" } else { "SIMPLE" }),
            "updateability" => text("READ_WRITE"),
            "useraccess" => text("MULTI_USER"),
            "collation" => text(&self.server.instance.config().collation),
            _ => Lite::Null,
        }
    }

    /// SERVERPROPERTY (SQL Server docs); NULL for what is not known.
    fn property(&self, name: &str) -> Lite {
        let config = self.server.instance.config();
        let version = config.version.as_str();
        match name.to_lowercase().as_str() {
            "servername" => text(&config.server_name),
            "machinename" | "computernamephysicalnetbios" => text(&config.server_name),
            "instancename" | "productupdatereference" | "productbuildtype" => Lite::Null,
            "productversion" => text(version),
            "productmajorversion" => text(self.server.major().to_string()),
            "productminorversion" => text(version.split('.').nth(1).unwrap_or("0")),
            "productbuild" => text(version.split('.').nth(2).unwrap_or("0")),
            "productlevel" => text("RTM"),
            "productupdatelevel" => text("CU"),
            "edition" => text(&config.edition),
            "engineedition" => Lite::Integer(i64::from(config.engine_edition)),
            "ishadrenabled" => Lite::Integer(i64::from(config.hadr_enabled)),
            "hadrmanagerstatus" => Lite::Integer(if config.hadr_enabled { 1 } else { 2 }),
            "collation" => text(&config.collation),
            "isclustered" | "isintegratedsecurityonly" | "issingleuser" | "isxtpsupported" | "islocaldb" => {
                Lite::Integer(0)
            }
            "lcid" => Lite::Integer(1033),
            "processid" => Lite::Integer(i64::from(std::process::id())),
            "instancedefaultdatapath" | "instancedefaultlogpath" => text("/var/opt/mssql/data/"),
            "errorlogfilename" => text("/var/opt/mssql/log/errorlog"),
            _ => Lite::Null,
        }
    }
}

/// A value of `sql_variant` in SQLite.
fn variant(value: &Value) -> Lite {
    convert::to_lite(value, SqlType::Variant)
}
