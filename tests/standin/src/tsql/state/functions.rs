//! Functions that ask for something of the server, the session or a database.

use super::{State, text};
use crate::{
    catalog::{self, On, SERVER_ROLES},
    errors::{Message, SqlResult},
    group::roles::Role,
    tsql::{
        convert,
        functions::plain_text,
        parse::{self, not_supported},
        procedures::lock_key,
        schema,
    },
    value::SqlType,
};
use rusqlite::types::Value as Lite;

/// A family of functions: the value of the named one for its arguments; `None` when the family has none of that name.
type Family = fn(&State, &str, &[Lite]) -> Option<Lite>;

const FAMILIES: [Family; 7] = [
    State::session_function,
    State::login_function,
    State::user_function,
    State::database_function,
    State::object_function,
    State::certificate_function,
    State::error_function,
];

fn argument(arguments: &[Lite], index: usize) -> String {
    arguments.get(index).map(plain_text).unwrap_or_default()
}

fn integer(arguments: &[Lite]) -> Option<i64> {
    match arguments.first() {
        Some(Lite::Integer(number)) => Some(*number),
        _ => None,
    }
}

fn flag(value: bool) -> Lite {
    Lite::Integer(i64::from(value))
}

impl State {
    /// A function: its name and its arguments.
    pub fn function(&self, arguments: &[Lite]) -> SqlResult<Lite> {
        let name = argument(arguments, 0);
        let rest = arguments.get(1..).unwrap_or_default();
        if name == "fn_hadr_is_primary_replica" {
            self.views_server_state()?;
        }
        let found = FAMILIES.iter().find_map(|family| family(self, &name, rest));
        found.ok_or_else(|| not_supported(&format!("The function {name}")))
    }

    /// 300 without the permission to view the server's state.
    fn views_server_state(&self) -> SqlResult<()> {
        let newer = self.server.major() >= 16;
        let named = if newer { "VIEW SERVER PERFORMANCE STATE" } else { "VIEW SERVER STATE" };
        if self.holds("VIEW SERVER STATE", &On::Server) || self.holds(named, &On::Server) {
            return Ok(());
        }
        let text = format!("{named} permission was denied on object 'server', database 'master'.");
        Err(Message::new(300, 14, text))
    }

    fn session_function(&self, name: &str, arguments: &[Lite]) -> Option<Lite> {
        let first = argument(arguments, 0);
        Some(match name {
            "serverproperty" => self.property(&first),
            "session_context" => {
                let found = self.context.get(&first.to_lowercase());
                found.map_or(Lite::Null, |(value, _)| convert::to_lite(value, SqlType::Variant))
            }
            "connectionproperty" => match first.to_lowercase().as_str() {
                "net_transport" => text("TCP"),
                "protocol_type" => text("TSQL"),
                "auth_scheme" => text("SQL"),
                _ => Lite::Null,
            },
            "host_name" => text(&self.host),
            "app_name" | "program_name" => text(&self.application),
            "xact_state" => Lite::Integer(self.xact_state),
            "scope_identity" => self.identity.map_or(Lite::Null, Lite::Integer),
            "applock_mode" => self.lock_mode(&argument(arguments, 1)),
            "has_perms_by_name" => self.has_permission(arguments),
            _ => return None,
        })
    }

    fn login_function(&self, name: &str, arguments: &[Lite]) -> Option<Lite> {
        let asked = if arguments.is_empty() { self.login.clone() } else { argument(arguments, 0) };
        let found = match name {
            "suser_id" => self.visible_principal(&asked).map(|id| Lite::Integer(i64::from(id))),
            "suser_sid" => self.data.login(&asked).map(|login| Lite::Blob(login.sid.clone())),
            "suser_name" | "suser_sname" => match arguments.first() {
                None => Some(text(&self.login)),
                Some(Lite::Integer(id)) => {
                    i32::try_from(*id).ok().and_then(|id| self.data.principal_name(id)).map(text)
                }
                Some(Lite::Blob(sid)) => self.data.login_by_sid(sid).map(|login| text(&login.name)),
                Some(_) => None,
            },
            "original_login" => Some(text(&self.original)),
            "system_user" => Some(text(&self.login)),
            "loginproperty" => Some(self.login_property(&asked, &argument(arguments, 1))),
            "is_srvrolemember" => {
                let role = argument(arguments, 0);
                let who = if arguments.len() > 1 { argument(arguments, 1) } else { self.login.clone() };
                let known = SERVER_ROLES.iter().any(|(known, _)| known.eq_ignore_ascii_case(&role));
                known.then(|| flag(self.data.is_member(&who, &role)))
            }
            _ => return None,
        };
        Some(found.unwrap_or(Lite::Null))
    }

    fn user_function(&self, name: &str, arguments: &[Lite]) -> Option<Lite> {
        let security = self.current().map(|current| &current.security);
        let asked = argument(arguments, 0);
        let found = match name {
            "user_id" | "database_principal_id" if arguments.is_empty() => Some(Lite::Integer(i64::from(self.user))),
            "user_id" | "database_principal_id" => {
                let found = security.and_then(|security| security.principal(&asked));
                found.map(|principal| Lite::Integer(i64::from(principal.id)))
            }
            "user_name" | "current_user" | "session_user" | "user" => {
                let id = integer(arguments).unwrap_or(i64::from(self.user));
                let found = security.and_then(|s| s.principals.iter().find(|p| i64::from(p.id) == id));
                found.map(|principal| text(&principal.name))
            }
            "is_member" | "is_rolemember" => {
                let known = security.filter(|s| s.principal(&asked).is_some_and(|role| role.kind == 'R'));
                known.map(|security| flag(security.is_member(self.user, &asked)))
            }
            _ => return None,
        };
        Some(found.unwrap_or(Lite::Null))
    }

    fn database_function(&self, name: &str, arguments: &[Lite]) -> Option<Lite> {
        let asked = argument(arguments, 0);
        Some(match name {
            "databasepropertyex" => self.database_property(&asked, arguments.get(1)),
            "db_id" => {
                let name = if arguments.is_empty() { &self.database } else { &asked };
                self.database_id(name).map_or(Lite::Null, Lite::Integer)
            }
            "db_name" | "original_db_name" if arguments.is_empty() => text(&self.database),
            "db_name" | "original_db_name" => {
                integer(arguments).and_then(|id| self.database_name(id)).map_or(Lite::Null, text)
            }
            "has_dbaccess" => flag(self.described.contains_key(&asked.to_lowercase())),
            "fn_hadr_is_primary_replica" => self.is_primary(&asked),
            _ => return None,
        })
    }

    fn object_function(&self, name: &str, arguments: &[Lite]) -> Option<Lite> {
        let asked = argument(arguments, 0);
        Some(match name {
            "object_id" => self.object_id(&asked, arguments.get(1)),
            "object_name" => {
                let objects = self.current().map(|current| current.schema.objects.iter());
                let found = objects.and_then(|mut o| o.find(|object| Some(object.id()) == integer(arguments)));
                found.map_or(Lite::Null, |object| text(object.parts().1))
            }
            "schema_id" if arguments.is_empty() || asked.eq_ignore_ascii_case("dbo") => Lite::Integer(1),
            "schema_id" => Lite::Null,
            "schema_name" => text("dbo"),
            _ => return None,
        })
    }

    fn certificate_function(&self, name: &str, arguments: &[Lite]) -> Option<Lite> {
        let by_id = || integer(arguments).and_then(|id| self.data.certificate(id));
        let found = match name {
            "cert_id" => {
                let found = self.data.certificates.get(&argument(arguments, 0).to_lowercase());
                found.map(|certificate| Lite::Integer(i64::from(certificate.id)))
            }
            "certencoded" => by_id().map(|found| Lite::Blob(found.der.clone())),
            "certprivatekey" if self.data.is_member(&self.login, "sysadmin") => {
                let password = argument(arguments, 1);
                let key = by_id().and_then(|found| found.key.as_ref()).filter(|_| !password.is_empty());
                key.map(|key| Lite::Blob(catalog::encrypt(key, &password)))
            }
            "certprivatekey" => None,
            _ => return None,
        };
        Some(found.unwrap_or(Lite::Null))
    }

    /// Parts of the error that a CATCH block caught.
    fn error_function(&self, name: &str, _arguments: &[Lite]) -> Option<Lite> {
        let part: fn(&Message) -> Lite = match name {
            "error_number" => |m| Lite::Integer(i64::from(m.number)),
            "error_severity" => |m| Lite::Integer(i64::from(m.class)),
            "error_state" => |m| Lite::Integer(i64::from(m.state)),
            "error_line" => |m| Lite::Integer(i64::from(m.line)),
            "error_message" => |m| Lite::Text(m.text.clone()),
            "error_procedure" => |m| if m.procedure.is_empty() { Lite::Null } else { Lite::Text(m.procedure.clone()) },
            _ => return None,
        };
        Some(self.caught.as_ref().map_or(Lite::Null, part))
    }

    fn lock_mode(&self, resource: &str) -> Lite {
        let locks = self.server.locks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let key = lock_key(&self.database, resource);
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

    fn database_name(&self, id: i64) -> Option<String> {
        self.snapshot().databases.iter().find(|(_, d)| i64::from(d.entry.id) == id).map(|(name, _)| name.clone())
    }

    fn object_id(&self, name: &str, kind: Option<&Lite>) -> Lite {
        let Ok(name) = parse::object_name(name) else { return Lite::Null };
        let kind = kind.map(plain_text).map(|kind| kind.to_uppercase());
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
            return Lite::Integer(-schema::object_id(&name.name));
        }
        let object = self.described.get(&database).and_then(|described| described.schema.object(&wanted));
        let object = object.filter(|object| kind.as_ref().is_none_or(|kind| kind.trim() == object.kind.to_string()));
        object.map_or(Lite::Null, |object| Lite::Integer(object.id()))
    }

    fn is_primary(&self, database: &str) -> Lite {
        let shared = self.server.instance.shared();
        match shared.group_of(database) {
            Some(group) => {
                let state = group.state();
                let forwarder_counts = self.server.instance.faults().get().forwarder_is_primary_replica;
                let role = if forwarder_counts { state.role } else { group.role_of_databases(&state) };
                Lite::Integer(i64::from(role == Role::Primary))
            }
            None if self.server.instance.faults().get().outside_groups_primary_is_null => Lite::Null,
            None => Lite::Integer(0),
        }
    }

    fn has_permission(&self, rest: &[Lite]) -> Lite {
        let argument = |index: usize| rest.get(index).filter(|v| **v != Lite::Null).map(plain_text);
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
}
