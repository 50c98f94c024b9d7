//! SERVERPROPERTY, DATABASEPROPERTYEX and LOGINPROPERTY.

use super::{State, text};
use crate::{
    catalog::{LoginKind, On},
    group::roles::Role,
    tsql::functions::plain_text,
};
use rusqlite::types::Value as Lite;

impl State {
    pub(super) fn database_property(&self, name: &str, property: Option<&Lite>) -> Lite {
        let found = self.snapshot().databases.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        let Some((_, database)) = found else { return Lite::Null };
        match property.map(plain_text).unwrap_or_default().to_lowercase().as_str() {
            "status" => text(if database.state == 0 { "ONLINE" } else { "RESTORING" }),
            "recovery" => text(if database.entry.full { "FULL" } else { "SIMPLE" }),
            "updateability" => text(if self.is_secondary(name) { "READ_ONLY" } else { "READ_WRITE" }),
            "useraccess" => text("MULTI_USER"),
            "collation" => text(&self.server.instance.config().collation),
            _ => Lite::Null,
        }
    }

    /// Whether the copy here is a secondary of its group.
    fn is_secondary(&self, name: &str) -> bool {
        let shared = self.server.instance.shared();
        shared.group_of(name).is_some_and(|group| group.role_of_databases(&group.state()) != Role::Primary)
    }

    /// LOGINPROPERTY (SQL Server docs); NULL for what is not known, and for the hash without CONTROL SERVER.
    pub(super) fn login_property(&self, name: &str, property: &str) -> Lite {
        let own = name.eq_ignore_ascii_case(&self.login);
        let found = self.data.login(name).filter(|login| login.kind == LoginKind::Sql);
        let Some(login) = found.filter(|login| own || self.data.sees(&self.login, &On::Login(login.id))) else {
            return Lite::Null;
        };
        let sees_hash = self.holds("CONTROL SERVER", &On::Server);
        match property.to_lowercase().as_str() {
            "passwordhash" if sees_hash => login.hash.clone().map_or(Lite::Null, Lite::Blob),
            "passwordhashalgorithm" => Lite::Integer(2),
            "defaultdatabase" => text(&login.default_database),
            "defaultlanguage" => text("us_english"),
            "isexpired" | "islocked" | "ismustchange" | "badpasswordcount" | "historylength" => Lite::Integer(0),
            _ => Lite::Null,
        }
    }

    /// SERVERPROPERTY (SQL Server docs); NULL for what is not known.
    pub(super) fn property(&self, name: &str) -> Lite {
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
