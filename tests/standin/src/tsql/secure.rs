//! Logins, users, roles, permissions, certificates, endpoints; databases as a whole; availability groups.

use super::{
    ast::{Securable, SecurityStatement, Verb},
    session::Session,
    write::setup,
};
use crate::{
    catalog::{On, SERVER_PERMISSIONS, cannot, database::Principal, exists},
    errors::{Message, SqlResult},
};
use rusqlite::types::Value as Lite;

/// 15247
fn no_permission() -> Message {
    Message::new(15_247, 16, "User does not have permission to perform this action.")
}

fn parameters(pairs: Vec<(&str, Lite)>) -> Vec<(String, Lite)> {
    pairs.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
}

impl Session {
    pub(super) async fn security_statement(&mut self, statement: &SecurityStatement) -> SqlResult<()> {
        let server = self.server.clone();
        let (catalog, now) = (&server.catalog, server.now());
        let alters_logins = |session: &Self| session.need_server("ALTER ANY LOGIN", no_permission);
        match statement {
            SecurityStatement::CreateLogin(name, options) => {
                alters_logins(self)?;
                catalog.create_login(name, options, now)
            }
            SecurityStatement::AlterLogin(name, options) => {
                let own = name.eq_ignore_ascii_case(&self.login) && options.enable.is_none();
                let on = On::Login(catalog.read().principal_id(name).unwrap_or_default());
                if !own && !self.holds("ALTER", &on) {
                    return Err(cannot("alter", "login", name));
                }
                let protected = catalog.read().is_member(name, "sysadmin");
                if protected && !self.is_sysadmin() {
                    return Err(cannot("alter", "login", name));
                }
                catalog.alter_login(name, options, now)
            }
            SecurityStatement::DropLogin(name) => {
                if self.need_server("ALTER ANY LOGIN", no_permission).is_err() {
                    return Err(cannot("drop", "login", name));
                }
                if server.sessions().iter().any(|session| session.login.eq_ignore_ascii_case(name)) {
                    return Err(Message::new(
                        15_434,
                        16,
                        format!("Could not drop login '{name}' as the user is currently logged in."),
                    ));
                }
                catalog.drop_login(name)
            }
            SecurityStatement::AlterServerRole(role, member, add) => {
                if !self.is_sysadmin() {
                    return Err(cannot("alter", "server role", role));
                }
                catalog.server_role_member(role, member, *add)
            }
            SecurityStatement::CreateMasterKey(_) => {
                self.controls_master()?;
                catalog.create_master_key()
            }
            SecurityStatement::DropMasterKey => {
                self.controls_master()?;
                catalog.drop_master_key()
            }
            SecurityStatement::KeepMasterKey => {
                self.controls_master()?;
                if catalog.read().master_key {
                    Ok(())
                } else {
                    Err(Message::new(
                        15_581,
                        16,
                        "Please create a master key in the database or open the master key in the session before performing this operation.",
                    ))
                }
            }
            SecurityStatement::CreateCertificate(name, owner, source) => {
                self.controls_master()?;
                let owner = self.owner(owner.as_deref())?;
                catalog.create_certificate(name, &owner, source, now)
            }
            SecurityStatement::DropCertificate { name, if_exists } => {
                self.controls_master().map_err(|_| cannot("drop", "certificate", name))?;
                let gone = !catalog.read().certificates.contains_key(&name.to_lowercase());
                if *if_exists && gone { Ok(()) } else { catalog.drop_certificate(name) }
            }
            SecurityStatement::CreateEndpoint(name, options) => {
                self.need_server("CREATE ENDPOINT", no_permission)?;
                let owner = catalog.read().login(&self.login).map_or(1, |login| login.id);
                let express = server.instance.config().engine_edition == 4;
                catalog.create_endpoint(name, options, owner, express)
            }
            SecurityStatement::AlterEndpoint(name, options) => {
                if !self.holds("ALTER", &On::Endpoint(name.to_lowercase())) {
                    return Err(cannot("alter", "endpoint", name));
                }
                catalog.alter_endpoint(name, options)
            }
            SecurityStatement::DropEndpoint(name) => {
                if !self.holds("CONTROL", &On::Endpoint(name.to_lowercase()))
                    && !self.holds("ALTER ANY ENDPOINT", &On::Server)
                {
                    return Err(cannot("drop", "endpoint", name));
                }
                catalog.drop_endpoint(name)
            }
            SecurityStatement::AlterAuthorization(Securable::Certificate(name), owner) => {
                self.controls_master()?;
                let owner = self.owner(Some(owner))?;
                catalog.own_certificate(name, &owner)
            }
            SecurityStatement::AlterAuthorization(
                Securable::Database(_) | Securable::Endpoint(_) | Securable::Group(_),
                owner,
            ) => {
                let known = catalog.read().login(owner).is_some();
                if known && self.is_sysadmin() { Ok(()) } else { Err(cannot("find", "principal", owner)) }
            }
            SecurityStatement::AlterAuthorization(..) => {
                Err(super::parse::not_supported("ALTER AUTHORIZATION on this"))
            }
            SecurityStatement::Permission { verb, permissions, on, principals, grant_option } => {
                self.permission(*verb, permissions, on.as_ref(), principals, *grant_option).await
            }
            SecurityStatement::CreateUser(..)
            | SecurityStatement::AlterUser(..)
            | SecurityStatement::DropUser { .. }
            | SecurityStatement::CreateRole(_)
            | SecurityStatement::DropRole { .. }
            | SecurityStatement::AlterRole(..) => self.principal_statement(statement).await,
        }
    }

    /// Certificates and the master key are those of `master`.
    fn controls_master(&self) -> SqlResult<()> {
        if !self.database.eq_ignore_ascii_case("master") {
            return Err(super::parse::not_supported("A certificate or master key outside master"));
        }
        let (security, user) = self.security("master")?;
        let allowed = self.holds("CONTROL SERVER", &On::Server) || security.allows(user, "CREATE CERTIFICATE", None);
        if allowed { Ok(()) } else { Err(no_permission()) }
    }

    fn owner(&self, name: Option<&str>) -> SqlResult<Principal> {
        let (security, user) = self.security("master")?;
        let found = match name {
            Some(name) => security.principal(name),
            None => security.principals.iter().find(|principal| principal.id == user),
        };
        found.cloned().ok_or_else(|| cannot("find", "user", name.unwrap_or_default()))
    }

    async fn permission(
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
            Some(Securable::Endpoint(name)) => {
                let known =
                    self.server.catalog.read().endpoint.as_ref().is_some_and(|e| e.name.eq_ignore_ascii_case(name));
                let on = On::Endpoint(name.to_lowercase());
                if !known || !self.holds("CONTROL", &on) {
                    return Err(cannot("find", "endpoint", name));
                }
                on
            }
            Some(Securable::Group(name)) => {
                let known = self.server.instance.snapshot().groups.keys().any(|group| group.eq_ignore_ascii_case(name));
                let on = On::Group(name.to_lowercase());
                if !known || !(self.holds("CONTROL", &on) || self.holds("ALTER ANY AVAILABILITY GROUP", &On::Server)) {
                    return Err(cannot("find", "availability group", name));
                }
                on
            }
            Some(Securable::Login(name)) => {
                let id = self.server.catalog.read().principal_id(name);
                let on = On::Login(id.ok_or_else(|| cannot("find", "login", name))?);
                if !self.holds("CONTROL", &on) {
                    return Err(cannot("find", "login", name));
                }
                on
            }
            Some(Securable::Certificate(_)) => {
                return Err(super::parse::not_supported("A permission on a certificate"));
            }
            Some(Securable::Database(_) | Securable::Schema(_) | Securable::Object(_)) | None => {
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
            self.need_server("CONTROL SERVER", || Message::new(4613, 16, "Grantor does not have GRANT permission."))?;
        }
        self.server.catalog.permission(verb, permissions, &on, principals, grant_option)
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
            return Err(Message::new(4613, 16, "Grantor does not have GRANT permission."));
        }
        let (class, major) = match on {
            Some(Securable::Object(name)) => {
                let (_, object) = super::emit::resolve(&super::read::SessionFacts::new(self), name);
                let schema = self.on_connection(&database, |connection| super::schema::Schema::load(connection))?;
                let found = schema.object(&object).map(|object| object.name.clone());
                let found = found.or_else(|| {
                    crate::views::find(name.schema.as_deref().unwrap_or_default(), &name.name)
                        .map(|v| v.key.to_string())
                });
                (1, found.ok_or_else(|| cannot("find", "object", &name.name))?)
            }
            Some(Securable::Schema(name)) => (3, name.clone()),
            _ => (0, String::new()),
        };
        let mut statements = setup();
        for principal in principals {
            let grantee = security.principal(principal).ok_or_else(|| cannot("find", "user", principal))?;
            if grantee.id == 1 || grantee.id == user {
                return Err(Message::new(
                    4624,
                    16,
                    "Cannot grant, deny, or revoke permissions to sa, dbo, entity owner, information_schema, sys, or yourself.",
                ));
            }
            for permission in permissions {
                let state = match (verb, grant_option) {
                    (Verb::Grant, false) => "G",
                    (Verb::Grant, true) => "W",
                    (Verb::Deny, _) => "D",
                    (Verb::Revoke, _) => "",
                };
                let sql = if state.is_empty() {
                    "DELETE FROM main.`~permissions` WHERE grantee = @grantee AND class = @class AND major = @major AND name = @name"
                } else {
                    "INSERT OR REPLACE INTO main.`~permissions` (grantee, class, major, name, state) VALUES (@grantee, @class, @major, @name, @state)"
                };
                statements.push((
                    sql.into(),
                    parameters(vec![
                        ("@grantee", Lite::Integer(i64::from(grantee.id))),
                        ("@class", Lite::Integer(class)),
                        ("@major", Lite::Text(major.clone())),
                        ("@name", Lite::Text(permission.clone())),
                        ("@state", Lite::Text(state.into())),
                    ]),
                ));
            }
        }
        self.write_all(&database, &statements).await
    }

    /// Users and roles of the current database.
    async fn principal_statement(&mut self, statement: &SecurityStatement) -> SqlResult<()> {
        let database = self.database.clone();
        let (security, user) = self.security(&database)?;
        let need = |permission: &str| {
            if security.allows(user, permission, None) || security.is_member(user, "db_securityadmin") {
                Ok(())
            } else {
                Err(no_permission())
            }
        };
        let next = security.principals.iter().map(|p| p.id).filter(|id| *id < 16_384).max().unwrap_or(4).max(4) + 1;
        let created = Lite::Text(super::convert::moment_text(self.server.now()));
        let mut statements = setup();
        let mut add = |sql: &str, pairs: Vec<(&str, Lite)>| statements.push((sql.to_string(), parameters(pairs)));
        let insert =
            "INSERT INTO main.`~principals` (id, name, kind, sid, created) VALUES (@id, @name, @kind, @sid, @created)";
        let row = |name: &str, kind: &str, sid: Lite| {
            vec![
                ("@id", Lite::Integer(i64::from(next))),
                ("@name", Lite::Text(name.into())),
                ("@kind", Lite::Text(kind.into())),
                ("@sid", sid),
                ("@created", created.clone()),
            ]
        };
        let login_sid = |login: &str| {
            let found = self.server.catalog.read().login(login).map(|login| login.sid.clone());
            found.ok_or_else(|| {
                Message::new(15_007, 16, format!("'{login}' is not a valid login or you do not have permission."))
            })
        };
        match statement {
            SecurityStatement::CreateUser(name, login) => {
                need("ALTER ANY USER")?;
                if security.principal(name).is_some() {
                    return Err(Message::new(
                        15_023,
                        16,
                        format!("User, group, or role '{name}' already exists in the current database."),
                    ));
                }
                let sid = match login {
                    Some(login) => login_sid(login)?,
                    None => self.server.instance.shared().uuid().as_bytes().to_vec(),
                };
                if let Some(other) = security.user_of(&sid) {
                    return Err(Message::new(
                        15_063,
                        16,
                        format!("The login already has an account under a different user name ('{}').", other.name),
                    ));
                }
                add(insert, row(name, "S", Lite::Blob(sid)));
            }
            SecurityStatement::AlterUser(name, login, new_name) => {
                need("ALTER ANY USER")?;
                let found = security.principal(name).filter(|p| p.kind == 'S' && p.id > 4);
                let id = Lite::Integer(i64::from(found.ok_or_else(|| cannot("alter", "user", name))?.id));
                if let Some(login) = login {
                    add(
                        "UPDATE main.`~principals` SET sid = @sid WHERE id = @id",
                        vec![("@sid", Lite::Blob(login_sid(login)?)), ("@id", id.clone())],
                    );
                }
                if let Some(new_name) = new_name {
                    add(
                        "UPDATE main.`~principals` SET name = @name WHERE id = @id",
                        vec![("@name", Lite::Text(new_name.clone())), ("@id", id)],
                    );
                }
            }
            SecurityStatement::CreateRole(name) => {
                need("ALTER ANY ROLE")?;
                if security.principal(name).is_some() {
                    return Err(exists(15_023, "user, group, or role", name));
                }
                add(insert, row(name, "R", Lite::Null));
            }
            SecurityStatement::DropUser { name, if_exists } | SecurityStatement::DropRole { name, if_exists } => {
                let user = matches!(statement, SecurityStatement::DropUser { .. });
                let (kind, what) = if user { ('S', "user") } else { ('R', "role") };
                need(if user { "ALTER ANY USER" } else { "ALTER ANY ROLE" })?;
                let found = security.principal(name).filter(|p| p.kind == kind && p.id > 4 && p.id < 16_384);
                let Some(found) = found else {
                    return if *if_exists { Ok(()) } else { Err(cannot("drop", what, name)) };
                };
                for sql in [
                    "DELETE FROM main.`~principals` WHERE id = @id",
                    "DELETE FROM main.`~members` WHERE member = @id OR role = @id",
                    "DELETE FROM main.`~permissions` WHERE grantee = @id",
                ] {
                    add(sql, vec![("@id", Lite::Integer(i64::from(found.id)))]);
                }
            }
            SecurityStatement::AlterRole(role, member, adds) => {
                need("ALTER ANY ROLE")?;
                let found = security.principal(role).filter(|p| p.kind == 'R' && p.id != 0);
                let role = found.ok_or_else(|| cannot("alter", "role", role))?.id;
                let member = security.principal(member).ok_or_else(|| cannot("add", "principal", member))?.id;
                let sql = if *adds {
                    "INSERT OR IGNORE INTO main.`~members` (role, member) VALUES (@role, @member)"
                } else {
                    "DELETE FROM main.`~members` WHERE role = @role AND member = @member"
                };
                add(
                    sql,
                    vec![("@role", Lite::Integer(i64::from(role))), ("@member", Lite::Integer(i64::from(member)))],
                );
            }
            _ => return Err(super::parse::not_supported("This statement")),
        }
        self.write_all(&database, &statements).await
    }
}
