//! Logins, server roles, certificates, the master key, endpoints; who owns what.

mod permission;
mod principal;

use crate::{
    catalog::{
        On, cannot,
        database::{CERTIFICATE, Principal},
    },
    errors::{Message, SqlResult},
    tsql::{
        ast::{EndpointOptions, LoginOptions, Securable, SecurityStatement},
        parse::not_supported,
        session::Session,
        write::setup,
    },
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
        match statement {
            SecurityStatement::CreateLogin(name, options) => {
                self.need_server("ALTER ANY LOGIN", no_permission)?;
                catalog.create_login(name, options, now)
            }
            SecurityStatement::AlterLogin(name, options) => self.alter_login(name, options),
            SecurityStatement::DropLogin(name) => self.drop_login(name),
            SecurityStatement::AlterServerRole(role, member, add) => {
                if !self.is_sysadmin() {
                    return Err(cannot("alter", "server role", role));
                }
                catalog.server_role_member(role, member, *add)
            }
            SecurityStatement::CreateMasterKey(_) => self.controls_master().and_then(|()| catalog.create_master_key()),
            SecurityStatement::DropMasterKey => self.controls_master().and_then(|()| catalog.drop_master_key()),
            SecurityStatement::KeepMasterKey => self.keep_master_key(),
            SecurityStatement::CreateCertificate(name, owner, source) => {
                self.controls_master()?;
                catalog.create_certificate(name, &self.owner(owner.as_deref())?, source, now)
            }
            SecurityStatement::DropCertificate { name, if_exists } => self.drop_certificate(name, *if_exists).await,
            SecurityStatement::CreateEndpoint(name, options) => self.create_endpoint(name, options),
            SecurityStatement::AlterEndpoint(name, options) => {
                if !self.holds("ALTER", &On::Endpoint(name.to_lowercase())) {
                    return Err(cannot("alter", "endpoint", name));
                }
                catalog.alter_endpoint(name, options)
            }
            SecurityStatement::DropEndpoint(name) => self.drop_endpoint(name),
            SecurityStatement::AlterAuthorization(Securable::Schema(_), _) => self.principal_statement(statement).await,
            SecurityStatement::AlterAuthorization(securable, owner) => self.alter_authorization(securable, owner),
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

    fn alter_login(&self, name: &str, options: &LoginOptions) -> SqlResult<()> {
        let catalog = &self.server.catalog;
        let own = name.eq_ignore_ascii_case(&self.login) && options.enable.is_none();
        let on = On::Login(catalog.read().principal_id(name).unwrap_or_default());
        if !own && !self.holds("ALTER", &on) {
            return Err(cannot("alter", "login", name));
        }
        let protected = catalog.read().is_member(name, "sysadmin");
        if protected && !self.is_sysadmin() {
            return Err(cannot("alter", "login", name));
        }
        catalog.alter_login(name, options, self.server.now())
    }

    fn drop_login(&self, name: &str) -> SqlResult<()> {
        if self.need_server("ALTER ANY LOGIN", no_permission).is_err() {
            return Err(cannot("drop", "login", name));
        }
        if self.server.sessions().iter().any(|session| session.login.eq_ignore_ascii_case(name)) {
            return Err(Message::new(
                15_434,
                16,
                format!("Could not drop login '{name}' as the user is currently logged in."),
            ));
        }
        self.server.catalog.drop_login(name)
    }

    /// OPEN, CLOSE, ALTER MASTER KEY: nothing changes, but the key must be there.
    fn keep_master_key(&self) -> SqlResult<()> {
        self.controls_master()?;
        if self.server.catalog.read().master_key {
            return Ok(());
        }
        Err(Message::new(
            15_581,
            16,
            "Please create a master key in the database or open the master key in the session before performing this operation.",
        ))
    }

    /// Needs CONTROL on the certificate, which its owner has; what was granted on it goes with it.
    async fn drop_certificate(&mut self, name: &str, if_exists: bool) -> SqlResult<()> {
        let found = self.server.catalog.read().certificates.get(&name.to_lowercase()).cloned();
        let Some(certificate) = found else {
            return if if_exists { Ok(()) } else { Err(cannot("drop", "certificate", name)) };
        };
        let (security, user) = self.security("master")?;
        let controls = self.holds("CONTROL SERVER", &On::Server)
            || security.allows(user, "CONTROL", None)
            || certificate.owner == user
            || security.controls_certificate(user, name);
        if !controls || !self.database.eq_ignore_ascii_case("master") {
            return Err(cannot("drop", "certificate", name));
        }
        self.server.catalog.drop_certificate(name)?;
        let gone = "DELETE FROM main.`~permissions` WHERE class = @class AND major = @major";
        let which = vec![("@class", Lite::Integer(CERTIFICATE)), ("@major", Lite::Text(certificate.name))];
        let mut statements = setup();
        statements.push((gone.into(), parameters(which)));
        self.write_all("master", &statements).await
    }

    fn create_endpoint(&self, name: &str, options: &EndpointOptions) -> SqlResult<()> {
        self.need_server("CREATE ENDPOINT", no_permission)?;
        let owner = self.server.catalog.read().login(&self.login).map_or(1, |login| login.id);
        let express = self.server.instance.config().engine_edition == 4;
        self.server.catalog.create_endpoint(name, options, owner, express)
    }

    fn drop_endpoint(&self, name: &str) -> SqlResult<()> {
        let controls = self.holds("CONTROL", &On::Endpoint(name.to_lowercase()));
        if !controls && !self.holds("ALTER ANY ENDPOINT", &On::Server) {
            return Err(cannot("drop", "endpoint", name));
        }
        self.server.catalog.drop_endpoint(name)
    }

    fn alter_authorization(&self, securable: &Securable, owner: &str) -> SqlResult<()> {
        let catalog = &self.server.catalog;
        match securable {
            Securable::Certificate(name) => {
                self.controls_master()?;
                let owner = self.owner(Some(owner))?;
                catalog.own_certificate(name, &owner)
            }
            Securable::Database(_) | Securable::Endpoint(_) | Securable::Group(_) => {
                let known = catalog.read().login(owner).is_some();
                if known && self.is_sysadmin() { Ok(()) } else { Err(cannot("find", "principal", owner)) }
            }
            _ => Err(not_supported("ALTER AUTHORIZATION on this")),
        }
    }

    /// Certificates and the master key are those of `master`.
    fn controls_master(&self) -> SqlResult<()> {
        if !self.database.eq_ignore_ascii_case("master") {
            return Err(not_supported("A certificate or master key outside master"));
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
}
