//! GRANT, DENY, REVOKE: on the server and its objects, and inside a database.

use super::parameters;
use crate::{
    catalog::{
        On, SERVER_PERMISSIONS, cannot,
        database::{CERTIFICATE, DatabaseSecurity},
    },
    errors::{Message, SqlResult},
    tsql::{
        ast::{ObjectName, Securable, Verb},
        emit,
        read::SessionFacts,
        schema::Schema,
        session::Session,
        write::setup,
    },
};
use rusqlite::types::Value as Lite;

/// 4613
fn no_grant() -> Message {
    Message::new(4613, 16, "Grantor does not have GRANT permission.")
}

/// What `~permissions` says of a permission; `None`: no row.
fn state(verb: Verb, grant_option: bool) -> Option<&'static str> {
    match (verb, grant_option) {
        (Verb::Grant, false) => Some("G"),
        (Verb::Grant, true) => Some("W"),
        (Verb::Deny, _) => Some("D"),
        (Verb::Revoke, _) => None,
    }
}

impl Session {
    pub(super) async fn permission(
        &mut self,
        verb: Verb,
        permissions: &[String],
        on: Option<&Securable>,
        principals: &[String],
        grant_option: bool,
    ) -> SqlResult<()> {
        let server_wide = permissions.iter().all(|name| SERVER_PERMISSIONS.iter().any(|(known, _)| known == name));
        let of_master = |name: &String| name == "CONTROL" || name.starts_with("CREATE CERTIFICATE");
        let on = match on {
            None if server_wide && !permissions.iter().all(of_master) => On::Server,
            Some(Securable::Server) => On::Server,
            Some(Securable::Endpoint(name)) => self.endpoint_to_grant(name)?,
            Some(Securable::Group(name)) => self.group_to_grant(name)?,
            Some(Securable::Login(name)) => self.login_to_grant(name)?,
            Some(Securable::Database(_) | Securable::Schema(_) | Securable::Object(_) | Securable::Certificate(_))
            | None => {
                return self.database_permission(verb, permissions, on, principals, grant_option).await;
            }
        };
        if on == On::Server {
            if !self.database.eq_ignore_ascii_case("master") {
                return Err(Message::new(
                    4621,
                    16,
                    "Permissions at the server scope can only be granted when the current database is master.",
                ));
            }
            self.need_server("CONTROL SERVER", no_grant)?;
        }
        self.server.catalog.permission(verb, permissions, &on, principals, grant_option)
    }

    fn endpoint_to_grant(&self, name: &str) -> SqlResult<On> {
        let known = self.server.catalog.read().endpoint.as_ref().is_some_and(|e| e.name.eq_ignore_ascii_case(name));
        let on = On::Endpoint(name.to_lowercase());
        if known && self.holds("CONTROL", &on) { Ok(on) } else { Err(cannot("find", "endpoint", name)) }
    }

    fn group_to_grant(&self, name: &str) -> SqlResult<On> {
        let known = self.server.instance.snapshot().groups.keys().any(|group| group.eq_ignore_ascii_case(name));
        let on = On::Group(name.to_lowercase());
        if !known || !(self.holds("CONTROL", &on) || self.holds("ALTER ANY AVAILABILITY GROUP", &On::Server)) {
            return Err(cannot("find", "availability group", name));
        }
        Ok(on)
    }

    fn login_to_grant(&self, name: &str) -> SqlResult<On> {
        let id = self.server.catalog.read().principal_id(name);
        let on = On::Login(id.ok_or_else(|| cannot("find", "login", name))?);
        if self.holds("CONTROL", &on) { Ok(on) } else { Err(cannot("find", "login", name)) }
    }

    async fn database_permission(
        &mut self,
        verb: Verb,
        permissions: &[String],
        on: Option<&Securable>,
        principals: &[String],
        grant_option: bool,
    ) -> SqlResult<()> {
        let database = match on {
            Some(Securable::Object(name)) => name.database.clone().unwrap_or_else(|| self.database.clone()),
            Some(Securable::Database(Some(name))) => name.clone(),
            _ => self.database.clone(),
        };
        let (security, user) = self.security(&database)?;
        if !security.allows(user, "CONTROL", None) && !security.is_member(user, "db_securityadmin") {
            return Err(no_grant());
        }
        let (class, major) = match on {
            Some(Securable::Object(name)) => (1, self.object_to_grant(&database, name)?),
            Some(Securable::Schema(name)) => (3, name.clone()),
            Some(Securable::Certificate(name)) => (CERTIFICATE, self.certificate_to_grant(name)?),
            _ => (0, String::new()),
        };
        let state = state(verb, grant_option);
        let sql = if state.is_none() {
            "DELETE FROM main.`~permissions` WHERE grantee = @grantee AND class = @class AND major = @major AND name = @name"
        } else {
            "INSERT OR REPLACE INTO main.`~permissions` (grantee, class, major, name, state) VALUES (@grantee, @class, @major, @name, @state)"
        };
        let mut statements = setup();
        for principal in principals {
            let grantee = grantee(&security, user, principal)?;
            for permission in permissions {
                let pairs = vec![
                    ("@grantee", Lite::Integer(i64::from(grantee))),
                    ("@class", Lite::Integer(class)),
                    ("@major", Lite::Text(major.clone())),
                    ("@name", Lite::Text(permission.clone())),
                    ("@state", Lite::Text(state.unwrap_or_default().into())),
                ];
                statements.push((sql.into(), parameters(pairs)));
            }
        }
        self.write_all(&database, &statements).await
    }

    fn certificate_to_grant(&self, name: &str) -> SqlResult<String> {
        let found = self.server.catalog.read().certificates.get(&name.to_lowercase()).map(|c| c.name.clone());
        let here = self.database.eq_ignore_ascii_case("master");
        found.filter(|_| here).ok_or_else(|| cannot("find", "certificate", name))
    }

    /// The object's own name: of a table, view or procedure of the database, or of a system view.
    fn object_to_grant(&self, database: &str, name: &ObjectName) -> SqlResult<String> {
        let (_, object) = emit::resolve(&SessionFacts::new(self), name);
        let schema = self.on_connection(database, |connection| Schema::load(connection))?;
        let found = schema.object(&object).map(|object| object.name.clone());
        let found = found.or_else(|| {
            crate::views::find(name.schema.as_deref().unwrap_or_default(), &name.name).map(|v| v.key.to_string())
        });
        found.ok_or_else(|| cannot("find", "object", &name.name))
    }
}

/// Who gets the permission: 4624 for dbo and for `user`, who grants it.
fn grantee(security: &DatabaseSecurity, user: i32, name: &str) -> SqlResult<i32> {
    let grantee = security.principal(name).ok_or_else(|| cannot("find", "user", name))?.id;
    if grantee == 1 || grantee == user {
        return Err(Message::new(
            4624,
            16,
            "Cannot grant, deny, or revoke permissions to sa, dbo, entity owner, information_schema, sys, or yourself.",
        ));
    }
    Ok(grantee)
}
