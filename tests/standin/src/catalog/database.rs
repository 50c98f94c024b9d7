//! Users, roles and permissions of one database. They lie in the database itself, so they replicate with it; a user finds
//! its login on another instance by SID alone.

use crate::errors::SqlResult;
use rusqlite::{Connection, OptionalExtension};

/// Tables of the stand-in's own inside a database; their names cannot be written in T-SQL without being refused.
pub const SETUP: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS `~principals` (id INTEGER PRIMARY KEY, name TEXT NOT NULL COLLATE TSQL UNIQUE, kind TEXT NOT NULL, sid BLOB, created TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS `~members` (role INTEGER NOT NULL, member INTEGER NOT NULL, PRIMARY KEY (role, member))",
    "CREATE TABLE IF NOT EXISTS `~permissions` (grantee INTEGER NOT NULL, class INTEGER NOT NULL, major TEXT NOT NULL COLLATE TSQL, name TEXT NOT NULL, state TEXT NOT NULL, PRIMARY KEY (grantee, class, major, name))",
    "CREATE TABLE IF NOT EXISTS `~columns` (tab TEXT NOT NULL COLLATE TSQL, col TEXT NOT NULL COLLATE TSQL, seed INTEGER, increment INTEGER, next INTEGER, value TEXT, PRIMARY KEY (tab, col))",
    "CREATE TABLE IF NOT EXISTS `~modules` (name TEXT NOT NULL COLLATE TSQL PRIMARY KEY, kind TEXT NOT NULL, text TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS `~schemas` (name TEXT NOT NULL COLLATE TSQL PRIMARY KEY, owner INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS `~properties` (class INTEGER NOT NULL, major TEXT NOT NULL COLLATE TSQL, minor TEXT NOT NULL COLLATE TSQL, name TEXT NOT NULL COLLATE TSQL, value, PRIMARY KEY (class, major, minor, name))",
];

/// Fixed principals of every database.
pub const FIXED: [(&str, i32, char); 14] = [
    ("public", 0, 'R'),
    ("dbo", 1, 'S'),
    ("guest", 2, 'S'),
    ("INFORMATION_SCHEMA", 3, 'S'),
    ("sys", 4, 'S'),
    ("db_owner", 16_384, 'R'),
    ("db_accessadmin", 16_385, 'R'),
    ("db_securityadmin", 16_386, 'R'),
    ("db_ddladmin", 16_387, 'R'),
    ("db_backupoperator", 16_389, 'R'),
    ("db_datareader", 16_390, 'R'),
    ("db_datawriter", 16_391, 'R'),
    ("db_denydatareader", 16_392, 'R'),
    ("db_denydatawriter", 16_393, 'R'),
];

/// `class` of a permission on a certificate.
pub const CERTIFICATE: i64 = 25;

/// A user or role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// `principal_id`
    pub id: i32,
    /// Name.
    pub name: String,
    /// `S` user, `R` role.
    pub kind: char,
    /// SID.
    pub sid: Option<Vec<u8>>,
}

/// A permission inside the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabasePermission {
    /// Who.
    pub grantee: i32,
    /// 0 database, 1 object, 3 schema, 25 certificate.
    pub class: i32,
    /// Object, schema or certificate; empty for the database.
    pub major: String,
    /// Upper case.
    pub name: String,
    /// `G`, `W`, `D`
    pub state: char,
}

/// Security of one database.
#[derive(Clone, Debug, Default)]
pub struct DatabaseSecurity {
    /// Users and roles, fixed ones first.
    pub principals: Vec<Principal>,
    /// Role, member.
    pub members: Vec<(i32, i32)>,
    /// Permissions.
    pub permissions: Vec<DatabasePermission>,
}

fn missing(connection: &Connection) -> bool {
    connection
        .query_row("SELECT 1 FROM sqlite_master WHERE name = '~principals'", [], |_| Ok(()))
        .optional()
        .is_ok_and(|row| row.is_none())
}

fn letter(text: &str) -> char {
    text.chars().next().unwrap_or('G')
}

impl DatabaseSecurity {
    /// Reads it.
    pub fn load(connection: &Connection) -> SqlResult<Self> {
        Self::read(connection).map_err(|error| crate::errors::Message::new(823, 24, error.to_string()))
    }

    fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let fixed = FIXED.iter().map(|(name, id, kind)| Principal {
            id: *id,
            name: (*name).into(),
            kind: *kind,
            sid: match id {
                1 => Some(vec![1]),
                2 => Some(vec![0]),
                _ => None,
            },
        });
        let mut security = Self { principals: fixed.collect(), ..Self::default() };
        if missing(connection) {
            return Ok(security);
        }
        let mut statement = connection.prepare_cached("SELECT id, name, kind, sid FROM `~principals` ORDER BY id")?;
        let rows = statement.query_map([], |row| {
            Ok(Principal {
                id: row.get(0)?,
                name: row.get(1)?,
                kind: letter(&row.get::<_, String>(2)?),
                sid: row.get(3)?,
            })
        })?;
        security.principals.extend(rows.collect::<rusqlite::Result<Vec<_>>>()?);
        let mut statement = connection.prepare_cached("SELECT role, member FROM `~members` ORDER BY role, member")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        security.members = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        let mut statement =
            connection.prepare_cached("SELECT grantee, class, major, name, state FROM `~permissions`")?;
        let rows = statement.query_map([], |row| {
            Ok(DatabasePermission {
                grantee: row.get(0)?,
                class: row.get(1)?,
                major: row.get(2)?,
                name: row.get(3)?,
                state: letter(&row.get::<_, String>(4)?),
            })
        })?;
        security.permissions = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(security)
    }

    /// A principal in any case.
    pub fn principal(&self, name: &str) -> Option<&Principal> {
        self.principals.iter().find(|principal| principal.name.eq_ignore_ascii_case(name))
    }

    /// The user of a login.
    pub fn user_of(&self, sid: &[u8]) -> Option<&Principal> {
        self.principals.iter().find(|principal| principal.kind == 'S' && principal.sid.as_deref() == Some(sid))
    }

    /// Roles that a user is in, directly or through roles, and `public`.
    pub fn roles_of(&self, user: i32) -> Vec<i32> {
        let mut found = vec![0];
        let mut next = vec![user];
        while let Some(member) = next.pop() {
            for (role, _) in self.members.iter().filter(|(_, m)| *m == member) {
                if !found.contains(role) {
                    found.push(*role);
                    next.push(*role);
                }
            }
        }
        found
    }

    /// Whether a user is in a role.
    pub fn is_member(&self, user: i32, role: &str) -> bool {
        user == 1 || self.principal(role).is_some_and(|role| self.roles_of(user).contains(&role.id))
    }

    /// Whether a user holds a permission, on an object or on the database. A DENY wins, except over an owner.
    pub fn allows(&self, user: i32, permission: &str, object: Option<&str>) -> bool {
        let roles = self.roles_of(user);
        if user == 1 || roles.contains(&16_384) {
            return true;
        }
        let denied_by_role = match permission {
            "SELECT" => roles.contains(&16_392),
            "INSERT" | "UPDATE" | "DELETE" => roles.contains(&16_393),
            _ => false,
        };
        if denied_by_role {
            return false;
        }
        let mut granted = match permission {
            "SELECT" => roles.contains(&16_390),
            "INSERT" | "UPDATE" | "DELETE" => roles.contains(&16_391),
            "CREATE TABLE" | "CREATE VIEW" | "CREATE PROCEDURE" | "CREATE SCHEMA" | "ALTER" => roles.contains(&16_387),
            "BACKUP DATABASE" | "BACKUP LOG" => roles.contains(&16_389),
            "ALTER ANY USER" => roles.contains(&16_385),
            "ALTER ANY ROLE" => roles.contains(&16_386),
            _ => false,
        };
        let schema = object.map(|object| object.split_once('.').map_or("dbo", |(schema, _)| schema));
        for held in &self.permissions {
            let whose = held.grantee == user || roles.contains(&held.grantee);
            let what = held.name == permission || held.name == "CONTROL";
            let on = match held.class {
                0 => true,
                3 => schema.is_some_and(|schema| schema.eq_ignore_ascii_case(&held.major)),
                1 => object.is_some_and(|object| object.eq_ignore_ascii_case(&held.major)),
                _ => false,
            };
            if whose && what && on {
                if held.state == 'D' {
                    return false;
                }
                granted = true;
            }
        }
        granted
    }

    /// Whether a user controls a certificate by a permission on it. A DENY wins.
    pub fn controls_certificate(&self, user: i32, name: &str) -> bool {
        let roles = self.roles_of(user);
        let mut held = self.permissions.iter().filter(|held| {
            i64::from(held.class) == CERTIFICATE
                && held.major.eq_ignore_ascii_case(name)
                && held.name == "CONTROL"
                && (held.grantee == user || roles.contains(&held.grantee))
        });
        held.clone().next().is_some() && held.all(|held| held.state != 'D')
    }
}
