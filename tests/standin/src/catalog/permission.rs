//! Permissions of the server: who was granted or denied what on which securable, and what covers what (SQL Server docs,
//! "Permissions (Database Engine)").

use super::{Catalog, Data, cannot};
use crate::{errors::SqlResult, tsql::ast::Verb};
use serde::{Deserialize, Serialize};

/// What a server permission is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum On {
    /// The server.
    Server,
    /// The endpoint of that name, lower case.
    Endpoint(String),
    /// The availability group of that name, lower case.
    Group(String),
    /// The login with that id.
    Login(i32),
}

/// One row of `sys.server_permissions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permission {
    /// Who.
    pub grantee: i32,
    /// Upper case.
    pub name: String,
    /// On what.
    pub on: On,
    /// `G`, `W` (with grant option) or `D`.
    pub state: char,
}

impl Permission {
    /// A grant.
    pub fn new(grantee: i32, name: &str, on: On) -> Self {
        Self { grantee, name: name.into(), on, state: 'G' }
    }
}

/// Server permissions that may be granted, with their type codes.
pub const SERVER_PERMISSIONS: &[(&str, &str)] = &[
    ("ADMINISTER BULK OPERATIONS", "ADBO"),
    ("ALTER ANY AVAILABILITY GROUP", "ALAG"),
    ("ALTER ANY CONNECTION", "ALCO"),
    ("ALTER ANY CREDENTIAL", "ALCD"),
    ("ALTER ANY DATABASE", "ALDB"),
    ("ALTER ANY ENDPOINT", "ALHE"),
    ("ALTER ANY LINKED SERVER", "ALLS"),
    ("ALTER ANY LOGIN", "ALLG"),
    ("ALTER ANY SERVER ROLE", "ALSR"),
    ("ALTER SERVER STATE", "ALSS"),
    ("ALTER SETTINGS", "ALST"),
    ("ALTER TRACE", "ALTR"),
    ("AUTHENTICATE SERVER", "AUTH"),
    ("CONNECT ANY DATABASE", "CADB"),
    ("CONNECT SQL", "COSQ"),
    ("CONTROL SERVER", "CL"),
    ("CREATE ANY DATABASE", "CRDB"),
    ("CREATE AVAILABILITY GROUP", "CRAC"),
    ("CREATE ENDPOINT", "CRHE"),
    ("CREATE SERVER ROLE", "CRSR"),
    ("IMPERSONATE ANY LOGIN", "IAL"),
    ("SELECT ALL USER SECURABLES", "SUS"),
    ("SHUTDOWN", "SHDN"),
    ("VIEW ANY DATABASE", "VWDB"),
    ("VIEW ANY DEFINITION", "VWAD"),
    ("VIEW ANY ERROR LOG", "VAEL"),
    ("VIEW ANY SECURITY DEFINITION", "VWASD"),
    ("VIEW SERVER PERFORMANCE STATE", "VWSP"),
    ("VIEW SERVER SECURITY STATE", "VWSS2"),
    ("VIEW SERVER STATE", "VWSS"),
];

/// Permissions of other securables, with their type codes.
const SECURABLE_PERMISSIONS: [(&str, &str); 6] = [
    ("ALTER", "AL"),
    ("CONNECT", "CO"),
    ("CONTROL", "CL"),
    ("TAKE OWNERSHIP", "TO"),
    ("VIEW DEFINITION", "VW"),
    ("IMPERSONATE", "IM"),
];

/// `class`, `class_desc` and type code of a permission.
pub fn class_of(permission: &Permission) -> (i64, &'static str, &'static str) {
    let code = |list: &'static [(&str, &'static str)]| {
        list.iter().find(|(name, _)| *name == permission.name).map_or("", |(_, code)| *code)
    };
    match permission.on {
        On::Server => (100, "SERVER", code(SERVER_PERMISSIONS)),
        On::Login(_) => (101, "SERVER_PRINCIPAL", code(&SECURABLE_PERMISSIONS)),
        On::Endpoint(_) => (105, "ENDPOINT", code(&SECURABLE_PERMISSIONS)),
        On::Group(_) => (108, "AVAILABILITY GROUP", code(&SECURABLE_PERMISSIONS)),
    }
}

/// Permissions that include this one, with the securable that they must be held on.
fn covering(name: &str, on: &On) -> Vec<(String, On)> {
    let server = |name: &str| (name.to_string(), On::Server);
    let mut covering = vec![(name.to_string(), on.clone()), server("CONTROL SERVER")];
    match on {
        On::Server => covering.extend(match name {
            "VIEW SERVER STATE" => vec![server("ALTER SERVER STATE")],
            "VIEW SERVER PERFORMANCE STATE" | "VIEW SERVER SECURITY STATE" => {
                vec![server("VIEW SERVER STATE"), server("ALTER SERVER STATE")]
            }
            "VIEW ANY DATABASE" => vec![server("VIEW ANY DEFINITION")],
            "CREATE ANY DATABASE" => vec![server("ALTER ANY DATABASE")],
            "CREATE ENDPOINT" => vec![server("ALTER ANY ENDPOINT")],
            "CREATE AVAILABILITY GROUP" => vec![server("ALTER ANY AVAILABILITY GROUP")],
            _ => vec![],
        }),
        _ => {
            covering.push(("CONTROL".into(), on.clone()));
            if name == "VIEW DEFINITION" {
                covering.push(("ALTER".into(), on.clone()));
                covering.push(server("VIEW ANY DEFINITION"));
            }
            let any = match on {
                On::Endpoint(_) => "ALTER ANY ENDPOINT",
                On::Group(_) => "ALTER ANY AVAILABILITY GROUP",
                _ => "ALTER ANY LOGIN",
            };
            if name == "ALTER" || name == "VIEW DEFINITION" {
                covering.push(server(any));
            }
        }
    }
    covering
}

impl Data {
    /// Whether a login holds a permission: a DENY of it, or of something that covers it, wins over every GRANT.
    pub fn holds(&self, login: &str, name: &str, on: &On) -> bool {
        let Some(login) = self.login(login) else { return false };
        let roles = self.roles_of(login.id);
        if roles.contains(&3) {
            return true;
        }
        let fixed = match name {
            "ALTER ANY LOGIN" => Some(4),
            "ALTER ANY ENDPOINT" | "ALTER SERVER STATE" | "VIEW SERVER STATE" => Some(5),
            "ALTER ANY CONNECTION" => Some(7),
            "CREATE ANY DATABASE" | "ALTER ANY DATABASE" => Some(9),
            _ => None,
        };
        let covering = covering(name, on);
        let mut granted = fixed.is_some_and(|role| roles.contains(&role));
        for permission in &self.permissions {
            let whose = permission.grantee == login.id || roles.contains(&permission.grantee);
            if whose && covering.iter().any(|(name, on)| *name == permission.name && *on == permission.on) {
                if permission.state == 'D' {
                    return false;
                }
                granted = true;
            }
        }
        granted
    }

    /// Whether a login holds anything on a securable, which makes it visible.
    pub fn sees(&self, login: &str, on: &On) -> bool {
        ["VIEW DEFINITION", "ALTER", "CONTROL", "CONNECT"].iter().any(|name| self.holds(login, name, on))
    }
}

impl Catalog {
    /// GRANT, DENY, REVOKE of server permissions. Names must be valid for the securable.
    pub fn permission(
        &self,
        verb: Verb,
        permissions: &[String],
        on: &On,
        principals: &[String],
        grant_option: bool,
    ) -> SqlResult<()> {
        let valid: &[(&str, &str)] = if *on == On::Server { SERVER_PERMISSIONS } else { &SECURABLE_PERMISSIONS };
        for permission in permissions {
            if !valid.iter().any(|(name, _)| name == permission) {
                return Err(crate::errors::Message::new(102, 15, format!("Incorrect syntax near '{permission}'.")));
            }
        }
        self.change(|data| {
            for principal in principals {
                let grantee = data.principal_id(principal).ok_or_else(|| cannot("find", "login", principal))?;
                if grantee == 1 || grantee == 3 {
                    return Err(crate::errors::Message::new(
                        4624,
                        16,
                        "Cannot grant, deny, or revoke permissions to sa, dbo, entity owner, information_schema, sys, or yourself.",
                    ));
                }
                for permission in permissions {
                    data.permissions.retain(|old| !(old.grantee == grantee && old.name == *permission && old.on == *on));
                    let state = match (verb, grant_option) {
                        (Verb::Revoke, true) => 'G',
                        (Verb::Revoke, false) => continue,
                        (Verb::Deny, _) => 'D',
                        (Verb::Grant, true) => 'W',
                        (Verb::Grant, false) => 'G',
                    };
                    data.permissions.push(Permission { state, ..Permission::new(grantee, permission, on.clone()) });
                }
            }
            Ok(())
        })
    }
}
