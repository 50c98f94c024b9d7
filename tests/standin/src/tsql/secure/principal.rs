//! Users and roles of the current database.

use super::{no_permission, parameters};
use crate::{
    catalog::{cannot, database::DatabaseSecurity, exists},
    errors::{Message, SqlResult},
    tsql::{
        ast::{Securable, SecurityStatement},
        convert,
        parse::not_supported,
        schema::Schema,
        session::Session,
        write::setup,
    },
};
use rusqlite::types::Value as Lite;

/// One change of the tables that hold principals.
type Change = (String, Vec<(String, Lite)>);

fn change(sql: &str, pairs: Vec<(&str, Lite)>) -> Change {
    (sql.to_string(), parameters(pairs))
}

fn id(id: i32) -> Lite {
    Lite::Integer(i64::from(id))
}

/// The database as the session sees it while it changes a principal.
struct Principals<'a> {
    session: &'a Session,
    security: DatabaseSecurity,
    user: i32,
}

impl Session {
    pub(super) async fn principal_statement(&mut self, statement: &SecurityStatement) -> SqlResult<()> {
        let database = self.database.clone();
        let (security, user) = self.security(&database)?;
        let principals = Principals { session: self, security, user };
        let changes = match statement {
            SecurityStatement::CreateUser(name, login) => principals.create_user(name, login.as_deref())?,
            SecurityStatement::AlterUser(name, login, new_name) => {
                principals.alter_user(name, login.as_deref(), new_name.as_deref())?
            }
            SecurityStatement::CreateRole(name) => principals.create_role(name)?,
            SecurityStatement::DropUser { name, if_exists } => {
                principals.need("ALTER ANY USER")?;
                principals.owns_nothing(name)?;
                let Some(changes) = principals.remove('S', "user", name, *if_exists)? else { return Ok(()) };
                changes
            }
            SecurityStatement::DropRole { name, if_exists } => {
                principals.need("ALTER ANY ROLE")?;
                let Some(changes) = principals.remove('R', "role", name, *if_exists)? else { return Ok(()) };
                changes
            }
            SecurityStatement::AlterRole(role, member, adds) => principals.alter_role(role, member, *adds)?,
            SecurityStatement::AlterAuthorization(Securable::Schema(schema), owner) => principals.own(schema, owner)?,
            _ => return Err(not_supported("This statement")),
        };
        let mut statements = setup();
        statements.extend(changes);
        self.write_all(&database, &statements).await
    }
}

impl Principals<'_> {
    fn need(&self, permission: &str) -> SqlResult<()> {
        let security = &self.security;
        if security.allows(self.user, permission, None) || security.is_member(self.user, "db_securityadmin") {
            Ok(())
        } else {
            Err(no_permission())
        }
    }

    fn login_sid(&self, login: &str) -> SqlResult<Vec<u8>> {
        let found = self.session.server.catalog.read().login(login).map(|login| login.sid.clone());
        found.ok_or_else(|| {
            Message::new(15_007, 16, format!("'{login}' is not a valid login or you do not have permission."))
        })
    }

    /// A new principal, with the next free id.
    fn insert(&self, name: &str, kind: &str, sid: Lite) -> Change {
        let ids = self.security.principals.iter().map(|p| p.id).filter(|id| *id < 16_384);
        let next = ids.max().unwrap_or(4).max(4) + 1;
        change(
            "INSERT INTO main.`~principals` (id, name, kind, sid, created) VALUES (@id, @name, @kind, @sid, @created)",
            vec![
                ("@id", id(next)),
                ("@name", Lite::Text(name.into())),
                ("@kind", Lite::Text(kind.into())),
                ("@sid", sid),
                ("@created", Lite::Text(convert::moment_text(self.session.server.now()))),
            ],
        )
    }

    fn create_user(&self, name: &str, login: Option<&str>) -> SqlResult<Vec<Change>> {
        self.need("ALTER ANY USER")?;
        if self.security.principal(name).is_some() {
            return Err(Message::new(
                15_023,
                16,
                format!("User, group, or role '{name}' already exists in the current database."),
            ));
        }
        let sid = match login {
            Some(login) => self.login_sid(login)?,
            None => self.session.server.instance.shared().uuid().as_bytes().to_vec(),
        };
        if let Some(other) = self.security.user_of(&sid) {
            return Err(Message::new(
                15_063,
                16,
                format!("The login already has an account under a different user name ('{}').", other.name),
            ));
        }
        Ok(vec![self.insert(name, "S", Lite::Blob(sid))])
    }

    fn alter_user(&self, name: &str, login: Option<&str>, new_name: Option<&str>) -> SqlResult<Vec<Change>> {
        self.need("ALTER ANY USER")?;
        let found = self.security.principal(name).filter(|p| p.kind == 'S' && p.id > 4);
        let user = found.ok_or_else(|| cannot("alter", "user", name))?.id;
        let mut changes = Vec::new();
        if let Some(login) = login {
            changes.push(change(
                "UPDATE main.`~principals` SET sid = @sid WHERE id = @id",
                vec![("@sid", Lite::Blob(self.login_sid(login)?)), ("@id", id(user))],
            ));
        }
        if let Some(new_name) = new_name {
            changes.push(change(
                "UPDATE main.`~principals` SET name = @name WHERE id = @id",
                vec![("@name", Lite::Text(new_name.into())), ("@id", id(user))],
            ));
        }
        Ok(changes)
    }

    fn create_role(&self, name: &str) -> SqlResult<Vec<Change>> {
        self.need("ALTER ANY ROLE")?;
        if self.security.principal(name).is_some() {
            return Err(exists(15_023, "user, group, or role", name));
        }
        Ok(vec![self.insert(name, "R", Lite::Null)])
    }

    fn schemas(&self) -> SqlResult<Vec<(String, i32)>> {
        Ok(self.session.on_connection(&self.session.database, |connection| Schema::load(connection))?.schemas)
    }

    /// 15138 (sys.messages)
    fn owns_nothing(&self, user: &str) -> SqlResult<()> {
        let Some(user) = self.security.principal(user).map(|user| user.id) else { return Ok(()) };
        if self.schemas()?.iter().any(|(_, owner)| *owner == user) {
            return Err(Message::new(
                15_138,
                16,
                "The database principal owns a schema in the database, and cannot be dropped.",
            ));
        }
        Ok(())
    }

    /// ALTER AUTHORIZATION ON SCHEMA
    fn own(&self, schema: &str, owner: &str) -> SqlResult<Vec<Change>> {
        let known = self.schemas()?.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(schema));
        let allowed = |owner: i32| owner == self.user || self.security.allows(self.user, "CONTROL", None);
        let (name, _) = known.filter(|(_, owner)| allowed(*owner)).ok_or_else(|| cannot("find", "schema", schema))?;
        let owner = self.security.principal(owner).ok_or_else(|| cannot("find", "principal", owner))?.id;
        let sql = "UPDATE main.`~schemas` SET owner = @owner WHERE name = @name";
        Ok(vec![change(sql, vec![("@owner", id(owner)), ("@name", Lite::Text(name))])])
    }

    /// `None`: it was not there, and that is well.
    fn remove(&self, kind: char, what: &str, name: &str, if_exists: bool) -> SqlResult<Option<Vec<Change>>> {
        let found = self.security.principal(name).filter(|p| p.kind == kind && p.id > 4 && p.id < 16_384);
        let Some(found) = found else {
            return if if_exists { Ok(None) } else { Err(cannot("drop", what, name)) };
        };
        let tables = [
            "DELETE FROM main.`~principals` WHERE id = @id",
            "DELETE FROM main.`~members` WHERE member = @id OR role = @id",
            "DELETE FROM main.`~permissions` WHERE grantee = @id",
        ];
        Ok(Some(tables.iter().map(|sql| change(sql, vec![("@id", id(found.id))])).collect()))
    }

    fn alter_role(&self, role: &str, member: &str, adds: bool) -> SqlResult<Vec<Change>> {
        self.need("ALTER ANY ROLE")?;
        let found = self.security.principal(role).filter(|p| p.kind == 'R' && p.id != 0);
        let role = found.ok_or_else(|| cannot("alter", "role", role))?.id;
        let member = self.security.principal(member).ok_or_else(|| cannot("add", "principal", member))?.id;
        let sql = if adds {
            "INSERT OR IGNORE INTO main.`~members` (role, member) VALUES (@role, @member)"
        } else {
            "DELETE FROM main.`~members` WHERE role = @role AND member = @member"
        };
        Ok(vec![change(sql, vec![("@role", id(role)), ("@member", id(member))])])
    }
}
