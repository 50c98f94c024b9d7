//! Logins and server roles. Passwords are kept as SQL Server keeps them: version 0x0200, four bytes of salt, SHA-512 of
//! the password in UTF-16 and the salt.

use super::{Catalog, Data, On, SERVER_ROLES, cannot, exists};
use crate::{
    errors::{Message, SqlResult},
    tsql::ast::LoginOptions,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha512};

/// How a login proves who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LoginKind {
    /// Password.
    #[default]
    Sql,
    /// Mapped to a certificate: cannot log in.
    Certificate,
}

/// A login.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Login {
    /// Name as written.
    pub name: String,
    /// `principal_id`
    pub id: i32,
    /// `sid`
    pub sid: Vec<u8>,
    /// Kind.
    pub kind: LoginKind,
    /// `password_hash`
    pub hash: Option<Vec<u8>>,
    /// `is_disabled`
    pub disabled: bool,
    /// `is_policy_checked`
    pub check_policy: bool,
    /// `default_database_name`
    pub default_database: String,
    /// Microseconds since 1970.
    pub created: i64,
    /// Microseconds since 1970.
    pub modified: i64,
}

impl Login {
    /// A login without password.
    pub fn new(name: &str, id: i32, sid: Vec<u8>, now: i64) -> Self {
        Self {
            name: name.into(),
            id,
            sid,
            kind: LoginKind::Sql,
            hash: None,
            disabled: false,
            check_policy: true,
            default_database: "master".into(),
            created: now,
            modified: now,
        }
    }

    /// Whether a password is this login's.
    pub fn accepts(&self, password: &str) -> bool {
        let Some(hash) = &self.hash else { return false };
        let salt = hash.get(2..6).unwrap_or_default();
        let expected = hash.get(6..).unwrap_or_default();
        let actual = digest(password, salt);
        // Every byte is looked at, whatever the first ones say.
        actual.len() == expected.len() && actual.iter().zip(expected).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
    }
}

fn digest(password: &str, salt: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = password.encode_utf16().flat_map(u16::to_le_bytes).collect();
    bytes.extend(salt);
    Sha512::digest(&bytes).to_vec()
}

/// `password_hash` of a password.
pub fn hash(password: &str) -> Vec<u8> {
    let salt: [u8; 4] = rand::random();
    let mut hash = vec![2, 0];
    hash.extend(salt);
    hash.extend(digest(password, &salt));
    hash
}

/// 15021 for what no password of this version gives.
fn check_hash(hash: &[u8]) -> SqlResult<()> {
    if hash.len() == 70 && hash.starts_with(&[2, 0]) {
        return Ok(());
    }
    let text = "Invalid value given for parameter PASSWORD. Specify a valid parameter value.";
    Err(Message::new(15_021, 16, text))
}

/// Three of four classes and eight characters, error 15118 or 15116.
fn check_policy(password: &str) -> SqlResult<()> {
    let failed = |number, text: &str| Err(Message::new(number, 16, format!("Password validation failed. {text}")));
    if password.chars().count() < 8 {
        return failed(
            15_116,
            "The password does not meet the operating system policy requirements because it is too short.",
        );
    }
    let classes =
        [char::is_uppercase as fn(char) -> bool, char::is_lowercase, char::is_numeric, |c| !c.is_alphanumeric()];
    if classes.iter().filter(|class| password.chars().any(**class)).count() < 3 {
        return failed(
            15_118,
            "The password does not meet the operating system policy requirements because it is not complex enough.",
        );
    }
    Ok(())
}

impl Catalog {
    /// CREATE LOGIN
    pub fn create_login(&self, name: &str, options: &LoginOptions, now: i64) -> SqlResult<()> {
        self.change(|data| {
            if data.principal_id(name).is_some() {
                return Err(exists(15_025, "server principal", name));
            }
            let policy = options.check_policy.unwrap_or(true);
            let hash = match (&options.password, &options.hashed) {
                (Some(password), _) => {
                    if policy {
                        check_policy(password)?;
                    }
                    Some(hash(password))
                }
                (None, hashed) => hashed.clone(),
            };
            options.hashed.as_deref().map_or(Ok(()), check_hash)?;
            let mut sid = options.sid.clone().unwrap_or_else(|| rand::random::<[u8; 16]>().to_vec());
            if sid.len() != 16 {
                return Err(Message::new(15_419, 16, "Supplied parameter sid should be binary(16)."));
            }
            if data.login_by_sid(&sid).is_some() {
                return Err(Message::new(15_433, 16, "Supplied parameter sid is in use."));
            }
            let mut kind = LoginKind::Sql;
            if let Some(certificate) = &options.certificate {
                let found = data.certificates.get(&certificate.to_lowercase());
                sid = found.ok_or_else(|| cannot("find", "certificate", certificate))?.thumbprint.clone();
                kind = LoginKind::Certificate;
            } else if hash.is_none() {
                return Err(Message::new(102, 15, format!("Incorrect syntax near '{name}'.")));
            }
            let id = data.id();
            let mut login = Login { hash, kind, check_policy: policy, ..Login::new(name, id, sid, now) };
            if let Some(database) = &options.default_database {
                login.default_database.clone_from(database);
            }
            data.logins.insert(name.to_lowercase(), login);
            data.permissions.push(super::Permission::new(id, "CONNECT SQL", On::Server));
            Ok(())
        })
    }

    /// ALTER LOGIN
    pub fn alter_login(&self, name: &str, options: &LoginOptions, now: i64) -> SqlResult<()> {
        self.change(|data| {
            let mut login = data.logins.remove(&name.to_lowercase()).ok_or_else(|| cannot("alter", "login", name))?;
            if let Some(policy) = options.check_policy {
                login.check_policy = policy;
            }
            if let Some(password) = &options.password {
                if login.check_policy {
                    check_policy(password)?;
                }
                login.hash = Some(hash(password));
            }
            if let Some(hashed) = &options.hashed {
                check_hash(hashed)?;
                login.hash = Some(hashed.clone());
            }
            if let Some(enable) = options.enable {
                login.disabled = !enable;
            }
            if let Some(database) = &options.default_database {
                login.default_database.clone_from(database);
            }
            if let Some(new) = &options.name {
                if data.principal_id(new).is_some() {
                    return Err(exists(15_025, "server principal", new));
                }
                login.name.clone_from(new);
            }
            login.modified = now;
            data.logins.insert(login.name.to_lowercase(), login);
            Ok(())
        })
    }

    /// DROP LOGIN; 15434 while it is logged in is the session's to check.
    pub fn drop_login(&self, name: &str) -> SqlResult<()> {
        self.change(|data| {
            if name.eq_ignore_ascii_case("sa") {
                return Err(cannot("drop", "login", name));
            }
            let login = data.logins.remove(&name.to_lowercase()).ok_or_else(|| cannot("drop", "login", name))?;
            let id = login.id;
            data.permissions.retain(|permission| permission.grantee != id && permission.on != On::Login(id));
            for members in data.role_members.values_mut() {
                members.remove(&id);
            }
            Ok(())
        })
    }

    /// ALTER SERVER ROLE .. ADD | DROP MEMBER
    pub fn server_role_member(&self, role: &str, member: &str, add: bool) -> SqlResult<()> {
        self.change(|data| {
            let found = SERVER_ROLES.iter().find(|(name, id)| *id != 2 && name.eq_ignore_ascii_case(role));
            let (_, role) = found.ok_or_else(|| cannot("alter", "server role", role))?;
            let member = data.login(member).map(|login| login.id).ok_or_else(|| cannot("find", "login", member))?;
            let members = data.role_members.entry(*role).or_default();
            if add {
                members.insert(member);
            } else {
                members.remove(&member);
            }
            Ok(())
        })
    }
}

impl Data {
    /// Ids of the roles that a login is in, `public` among them.
    pub fn roles_of(&self, login: i32) -> Vec<i32> {
        let member_of = self.role_members.iter().filter(|(_, members)| members.contains(&login)).map(|(role, _)| *role);
        member_of.chain([2]).collect()
    }

    /// Whether a login is in a fixed role.
    pub fn is_member(&self, login: &str, role: &str) -> bool {
        let Some(login) = self.login(login) else { return false };
        let role = SERVER_ROLES.iter().find(|(name, _)| name.eq_ignore_ascii_case(role)).map(|(_, id)| *id);
        role.is_some_and(|role| self.roles_of(login.id).contains(&role))
    }
}
