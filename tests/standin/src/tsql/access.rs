//! Whether this session may do what it asks for.

use super::{emit::Used, session::Session};
use crate::{
    catalog::{On, database::DatabaseSecurity},
    errors::{Message, SqlResult},
    store::database::Database,
    views,
};

impl Session {
    /// Member of sysadmin.
    pub(super) fn is_sysadmin(&self) -> bool {
        self.server.catalog.read().is_member(&self.login, "sysadmin")
    }

    /// Whether the login holds a permission of the server.
    pub(super) fn holds(&self, permission: &str, on: &On) -> bool {
        self.server.catalog.read().holds(&self.login, permission, on)
    }

    /// Refuses without a permission of the server.
    pub(super) fn need_server(&self, permission: &str, refusal: impl FnOnce() -> Message) -> SqlResult<()> {
        if self.holds(permission, &On::Server) { Ok(()) } else { Err(refusal()) }
    }

    /// The login's SID.
    pub(super) fn sid(&self) -> Vec<u8> {
        self.server.catalog.read().login(&self.login).map(|login| login.sid.clone()).unwrap_or_default()
    }

    /// `principal_id` of the session's user in a database: dbo for sysadmin, guest for a login without a user.
    pub(super) fn user_in(&self, security: &DatabaseSecurity) -> i32 {
        if self.is_sysadmin() {
            return 1;
        }
        security.user_of(&self.sid()).map_or(2, |user| user.id)
    }

    /// 916: the login has no user there.
    pub(super) fn admitted(&self, database: &Database) -> SqlResult<()> {
        let open_to_guests = ["master", "tempdb", "msdb"].contains(&database.name());
        if open_to_guests || self.is_sysadmin() || self.holds("CONNECT ANY DATABASE", &On::Server) {
            return Ok(());
        }
        let security = super::read::read(database, |connection| DatabaseSecurity::load(connection))?;
        let user = security.user_of(&self.sid());
        if user.is_some_and(|user| {
            !security.permissions.iter().any(|p| p.grantee == user.id && p.name == "CONNECT" && p.state == 'D')
        }) {
            return Ok(());
        }
        Err(Message::new(
            916,
            14,
            format!(
                "The server principal \"{}\" is not able to access the database \"{}\" under the current security context.",
                self.login,
                database.name()
            ),
        ))
    }

    /// Security of a database and this session's user in it.
    pub(super) fn security(&self, database: &str) -> SqlResult<(DatabaseSecurity, i32)> {
        let security = self.on_connection(database, |connection| DatabaseSecurity::load(connection))?;
        let user = self.user_in(&security);
        Ok((security, user))
    }

    /// 229 unless the permission on the table is held.
    pub(super) fn may(&self, permission: &str, database: &str, table: &str) -> SqlResult<()> {
        if database == "tempdb" || self.is_sysadmin() {
            return Ok(());
        }
        let (security, user) = self.security(database)?;
        if security.allows(user, permission, Some(table)) {
            return Ok(());
        }
        let (schema, name) = table.split_once('.').unwrap_or(("dbo", table));
        Err(Message::new(
            229,
            14,
            format!("The {permission} permission was denied on the object '{name}', database '{database}', schema '{schema}'."),
        )
        .state(5))
    }

    /// 262 unless the permission in the database is held.
    pub(super) fn may_define(&self, permission: &str, database: &str) -> SqlResult<()> {
        if self.is_sysadmin() {
            return Ok(());
        }
        let (security, user) = self.security(database)?;
        if security.allows(user, permission, None) {
            return Ok(());
        }
        Err(Message::new(262, 14, format!("{permission} permission denied in database '{database}'.")))
    }

    /// Whether a query may read what it names.
    pub(super) fn may_read(&self, used: &Used) -> SqlResult<()> {
        if self.is_sysadmin() {
            return Ok(());
        }
        for (database, table) in &used.tables {
            self.may("SELECT", database, table)?;
        }
        for (key, _) in &used.views {
            let Some(permission) = views::permission(key) else { continue };
            let newer = self.server.major() >= 16;
            let enough = self.holds(permission, &On::Server)
                || (newer && self.holds("VIEW SERVER PERFORMANCE STATE", &On::Server));
            if !enough {
                let named = if newer { "VIEW SERVER PERFORMANCE STATE" } else { permission };
                return Err(Message::new(
                    300,
                    14,
                    format!("{named} permission was denied on object 'server', database 'master'."),
                ));
            }
        }
        Ok(())
    }
}
